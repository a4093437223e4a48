//! HTTP/1.0 and 1.1 (RFC 9110, RFC 9112): heads are read, bodies are passed over, responses are paired with requests
//! in order. Not for HTTP/2, whose preface is refused here.
//!
//! `parser` is the entry; it goes from one `reader::Place` to the next. `messages` acts on heads and bodies that
//! were read, `lost` on bytes that were not, `ending` on the connection's end; `upgrade` hands it over to another
//! protocol; `shown` says what of the bytes may be shown. The rest are parts without state.

mod blank_line;
mod body;
mod chunked;
mod ending;
mod events;
mod head;
mod lost;
mod messages;
mod odd_line;
mod parser;
mod plain;
mod queue;
mod reader;
mod shown;
mod start_line;
#[cfg(test)]
mod tests;
mod upgrade;
mod want;

use std::sync::Arc;

use super::{Birth, Detect, Limits, Parser, Protocol, Then};

/// The row of the table.
pub const PROTOCOL: Protocol =
    Protocol { name: "http", detect, ports: &[80, 8000, 8080], then: Then::Parse(open) };

/// One side is enough, since a connection may be met in the middle of a body; where a side's bytes are no beginning
/// of a message, only the other's saying yes outweighs it.
fn detect(client: &[u8], server: &[u8]) -> Detect {
    match (start_line::request(client), start_line::response(server)) {
        (Detect::Yes, _) | (_, Detect::Yes) => Detect::Yes,
        (Detect::No, _) | (_, Detect::No) => Detect::No,
        (Detect::NeedMore, Detect::NeedMore) => Detect::NeedMore,
    }
}

fn open(limits: Arc<Limits>, birth: Birth) -> Box<dyn Parser> {
    Box::new(parser::Http1::new(limits, birth))
}
