//! Plain values that every layer speaks of. No behaviour beyond what the value itself means.

mod arrivals;
mod connection;
mod exchange;
mod executable;
pub mod health;
mod host;
mod metric;
mod network;
mod pattern;
pub mod policy;
mod route;
mod steered;
mod tcp;
mod time;
mod uids;

pub use arrivals::Arrivals;
pub use connection::{Activity, Connection, ConnectionId, Dir, Role, Side};
pub use exchange::{
    Cut, Detail, Exchange, Headers, Http, HttpVersion, Method, Outcome, Start, Telemetry, TraceParent,
};
pub use executable::{Executable, FileId};
pub use host::{Host, MalformedHost};
pub use metric::{Kind, MetricDef};
pub use network::{MalformedNetwork, Network};
pub use pattern::{Malformed, PathPattern};
pub use route::{Route, RouteSource};
pub use steered::{Directory, Inbound, Reason, Steered, Verdict};
pub use tcp::{Account, End, Failure, Tcp};
pub use time::Ktime;
pub use uids::{MalformedUids, Uids};
