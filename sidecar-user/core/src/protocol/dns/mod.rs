//! The DNS over TCP (RFC 1035, 4.2.2; RFC 7766): each message after its length, many questions at a time, answers in any order.
//!
//! `parser` goes from message to message, `lookups` pairs them, `frame` tells a message from anything else. What a
//! message says is read by [`crate::dns`]; `shown` says what of it may be. What comes in datagrams is `flow`'s, which makes a [`Lookup`] of it too.

mod frame;
mod lookup;
mod lookups;
mod parser;
mod shown;
#[cfg(test)]
mod tests;

pub use lookup::{Answer, Lookup};
pub use shown::shown;

use std::sync::Arc;

use super::{Birth, Detect, Limits, Parser, Protocol, Then};
use crate::dns::{HEADER, PORT};

/// The row of the table.
pub const PROTOCOL: Protocol = Protocol { name: "dns", detect, ports: &[PORT], then: Then::Parse(open) };

/// A whole message of one side is enough. Where there is none, one whose header fits is waited for, whatever the other side
/// says.
fn detect(client: &[u8], server: &[u8]) -> Detect {
    let has_header = |bytes: &[u8]| bytes.len() >= frame::LENGTH + HEADER;
    match (frame::question(client), frame::answer(server)) {
        (Detect::Yes, _) | (_, Detect::Yes) => Detect::Yes,
        (Detect::NeedMore, Detect::NeedMore) => Detect::NeedMore,
        (Detect::NeedMore, Detect::No) if has_header(client) => Detect::NeedMore,
        (Detect::No, Detect::NeedMore) if has_header(server) => Detect::NeedMore,
        _ => Detect::No,
    }
}

fn open(limits: Arc<Limits>, birth: Birth) -> Box<dyn Parser> {
    Box::new(parser::Dns::new(limits, birth))
}
