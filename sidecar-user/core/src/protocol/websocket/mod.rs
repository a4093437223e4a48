//! WebSocket (RFC 6455), from the response that upgrades a connection on. Frames are counted, and nothing of their content
//! is read but a close frame's code; what a compression makes of it has the size that it has on the wire.

mod frame;
mod session;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::{Birth, Detect, Limits, Parser, Protocol, Signal, Successor, Then};
use crate::model::{Ktime, TraceContext};

/// The row of the table.
pub const PROTOCOL: Protocol = Protocol { name: "websocket", detect, ports: &[], then: Then::Parse(open) };

/// Frames begin with any byte: nothing tells them from others but what came before them.
fn detect(_: &[u8], _: &[u8]) -> Detect {
    Detect::No
}

fn open(_: Arc<Limits>, birth: Birth) -> Box<dyn Parser> {
    Box::new(session::Session::new(birth, Upgraded::default()))
}

/// What the request said that was upgraded; nothing where it was not seen.
#[derive(Debug, Default)]
pub(super) struct Upgraded {
    /// Its path.
    pub(super) path: Option<Box<str>>,
    /// Its host.
    pub(super) host: Option<Box<str>>,
    /// The span that it names as its parent.
    pub(super) trace: Option<Box<TraceContext>>,
    /// Its path is to be left out.
    pub(super) is_excluded: bool,
}

/// Who reads a connection that was upgraded by what ended at `at`.
pub(super) fn successor(at: Ktime, request: Upgraded) -> Successor {
    let mut session = session::Session::new(Birth::Seen, request);
    let mut signals: Vec<Signal> = Vec::new();
    session.begin(at, &mut signals);
    Successor { protocol: &PROTOCOL, parser: Box::new(session), signals }
}
