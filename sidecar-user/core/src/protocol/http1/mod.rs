//! HTTP/1 stub
use super::{Detect, Protocol, Then};
/// The row of the table.
pub const PROTOCOL: Protocol = Protocol { name: "http", detect, then: Then::Encrypted };
fn detect(_client: &[u8], _server: &[u8]) -> Detect {
    Detect::No
}
