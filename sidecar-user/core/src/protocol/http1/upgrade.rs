//! Changes of protocol on an open connection (RFC 9110 section 7.8): who goes on after `101 Switching Protocols`.

use std::sync::Arc;

use super::parser::Http1;
use super::queue::Queue;
use crate::model::{Ktime, Side};
use crate::protocol::{Limits, Successor, http2, websocket};

/// What a connection can change to. What is not here is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upgrade {
    /// RFC 6455.
    WebSocket,
    /// RFC 7540 section 3.2: the request that asked for it is answered in the new protocol.
    Http2,
}

/// Names in `Upgrade`, and who reads on.
const ALL: [(&str, Upgrade, Open); 2] =
    [("websocket", Upgrade::WebSocket, websocket), ("h2c", Upgrade::Http2, h2c)];

/// Opens the next parser. Where the request that was upgraded was seen, it is the queue's oldest. The response's last byte
/// passed then.
type Open = fn(Arc<Limits>, Option<&mut Queue>, Ktime) -> Successor;

impl Upgrade {
    /// By the field's value in the response. Several are layers of which nobody reads the lower ones.
    pub(super) fn named(value: &[u8]) -> Option<Upgrade> {
        let is_named = |(name, ..): &(&str, Upgrade, Open)| value.eq_ignore_ascii_case(name.as_bytes());
        ALL.iter().find(|row| is_named(row)).map(|(_, upgrade, _)| *upgrade)
    }
}

impl Http1 {
    /// Who goes on after the response to the oldest request, whose last byte passes.
    pub(super) fn upgrade(&mut self, to: Upgrade, at: Ktime) -> Successor {
        let (.., open) = ALL[to as usize];
        let is_seen = !self.is_orphan;
        let mut next = open(Arc::clone(&self.limits), is_seen.then_some(&mut self.queue), at);
        // Whoever reads on begins after what this one still held of a head.
        let held = std::mem::take(&mut self.reader(Side::Client).held);
        self.tell_unread(Side::Client, &held);
        self.transcript.hand_over(next.parser.as_mut());
        next
    }
}

fn websocket(_: Arc<Limits>, queue: Option<&mut Queue>, at: Ktime) -> Successor {
    let request = queue.as_deref().and_then(Queue::oldest);
    let upgraded = request.map(|request| websocket::Upgraded {
        path: request.http.path.clone(),
        host: request.http.host.clone(),
        trace: request.trace.clone(),
        is_excluded: request.is_excluded,
    });
    websocket::successor(at, upgraded.unwrap_or_default())
}

fn h2c(limits: Arc<Limits>, queue: Option<&mut Queue>, _: Ktime) -> Successor {
    http2::successor(limits, queue.and_then(Queue::hand_over))
}
