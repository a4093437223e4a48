//! Plain values that every layer speaks of. No behaviour beyond what the value itself means.

mod connection;
mod exchange;
mod metric;
mod time;

pub use connection::{Connection, ConnectionId, Dir, Role, Side};
pub use exchange::{Detail, Exchange, Http, HttpVersion, Method, Outcome, Start, TraceParent};
pub use metric::{Kind, MetricDef};
pub use time::Ktime;
