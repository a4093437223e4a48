//! Signals: exchanges and counts become series and spans, under names from one catalogue. Not for protocols (they
//! yield [`crate::model::Exchange`]) and not for formats: every exposition is an encoder of a [`Snapshot`].

pub mod application;
mod calls;
pub mod catalogue;
mod containers;
mod coverage;
mod delta;
mod derived;
pub mod endpoints;
mod exemplar;
pub mod explain;
mod exponential;
mod family;
mod histogram;
mod http;
mod ids;
mod instrumented;
mod interned;
pub mod kernel;
pub mod key;
pub mod names;
mod now;
pub mod reason;
mod reference;
mod requests;
mod route;
mod sampling;
mod series;
mod snapshot;
pub mod sources;
mod span;
pub mod steering;
mod store;
mod tcp;
#[cfg(test)]
mod tests;
pub mod top;
mod tracer;
mod worded;

pub use containers::Containers;
pub use coverage::{Bytes, coverage};
pub use derived::Derive;
pub use exemplar::{Exemplar, ExemplarIds};
pub use exponential::{Exponential, MAX_BUCKETS, MAX_SCALE};
pub use histogram::{Histogram, Layout};
pub use ids::IdSource;
pub use instrumented::{App, Instrumented, Scope};
pub use reference::reference;
pub use route::{RouteOptions, Routes};
pub use sampling::{Root, Sampler};
pub use snapshot::{Attributes, Family, Moment, Point, PointValue, Snapshot, UnixNanos, Value};
pub use span::{Span, SpanIds};
pub use steering::Steering;
pub use store::{Number, Options, Store};
pub use tracer::{Decision, IfInstrumented, Tracer};
pub use worded::Worded;
