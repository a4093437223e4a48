//! HTTP/2 (RFC 9113) without TLS, and gRPC in it: frames are read, their bodies passed over, each stream is an exchange.
//!
//! `parser` is the entry; it goes from one `reader::Place` to the next. `frames` acts on frames that were read, `lost`
//! finds the next one where bytes were not, `ending` is about the connection's end. `hpack` reads field blocks and `head`
//! makes facts of them, of which `stream` is one exchange's part. Flow control and priorities change nothing here.

mod detect;
mod ending;
mod frame;
mod frames;
mod head;
mod hpack;
mod lost;
mod parser;
mod reader;
mod shown;
mod stream;
mod streams;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::{Birth, Limits, Parser, Protocol, Successor, Then};
use crate::model::{Http, Ktime, TraceContext};

/// The row of the table.
pub const PROTOCOL: Protocol =
    Protocol { name: "http2", detect: detect::detect, ports: &[50_051], then: Then::Parse(open) };

fn open(limits: Arc<Limits>, birth: Birth) -> Box<dyn Parser> {
    Box::new(parser::Http2::new(limits, birth))
}

/// A request of HTTP/1 that upgraded its connection (RFC 7540 section 3.2): stream 1, which HTTP/2 answers.
pub(super) struct Upgraded {
    pub(super) started: Ktime,
    pub(super) requested: Option<Ktime>,
    pub(super) http: Http,
    pub(super) trace: Option<Box<TraceContext>>,
    pub(super) is_excluded: bool,
}

/// Who reads an upgraded connection from its first frames on.
pub(super) fn successor(limits: Arc<Limits>, upgraded: Option<Upgraded>) -> Successor {
    let mut parser = parser::Http2::new(limits, Birth::Seen);
    parser.upgrade(upgraded);
    Successor { protocol: &PROTOCOL, parser: Box::new(parser), signals: Vec::new() }
}
