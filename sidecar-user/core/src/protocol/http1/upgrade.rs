//! Changes of protocol on an open connection (RFC 9110 section 7.8): who goes on after `101 Switching Protocols`.

use std::sync::Arc;

use super::parser::Http1;
use super::queue::Pending;
use crate::model::Ktime;
use crate::protocol::{Limits, Successor, websocket};

/// What a connection can change to. What is not here is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upgrade {
    /// RFC 6455.
    WebSocket,
}

/// Names in `Upgrade`, and who reads on.
const ALL: [(&str, Upgrade, Open); 1] = [("websocket", Upgrade::WebSocket, websocket)];

/// Opens the next parser, by the request that was upgraded: `None` where that was not seen. The response's last byte
/// passed then.
type Open = fn(Arc<Limits>, Option<&Pending>, Ktime) -> Successor;

impl Upgrade {
    /// By the field's value in the response. Several are layers of which nobody reads the lower ones.
    pub(super) fn named(value: &[u8]) -> Option<Upgrade> {
        let is_named = |(name, ..): &(&str, Upgrade, Open)| value.eq_ignore_ascii_case(name.as_bytes());
        ALL.iter().find(|row| is_named(row)).map(|(_, upgrade, _)| *upgrade)
    }
}

impl Http1 {
    /// Who goes on after the response to the oldest request, whose last byte passes.
    pub(super) fn upgrade(&self, to: Upgrade, at: Ktime) -> Successor {
        let (.., open) = ALL[to as usize];
        open(Arc::clone(&self.limits), self.queue.oldest().filter(|_| !self.is_orphan), at)
    }
}

fn websocket(_: Arc<Limits>, request: Option<&Pending>, at: Ktime) -> Successor {
    let upgraded = request.map(|request| websocket::Upgraded {
        path: request.http.path.clone(),
        host: request.http.host.clone(),
        trace: request.trace.clone(),
        is_excluded: request.is_excluded,
    });
    websocket::successor(at, upgraded.unwrap_or_default())
}
