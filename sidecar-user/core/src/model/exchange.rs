//! One request and what came of it.

use super::{Db, Dns, Http, Ktime, Method, Rpc, Side, Tls, TraceContext, WebSocket};

/// A request began: its first line is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// When the request's first byte passed.
    pub at: Ktime,
    /// HTTP's method, where it is surely a request of HTTP and tells one; the exchange that follows has the same. `None`: of
    /// anything else.
    pub method: Option<Method>,
    /// The exchange that follows has the same.
    pub is_excluded: bool,
}

/// A request that is over, whichever way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// When the request's first byte passed.
    pub started: Ktime,
    /// When the request's last byte passed, if it did.
    pub requested: Option<Ktime>,
    /// When the application next read from its socket, where that was seen and no other request was outstanding: not
    /// before `requested`, not after `answered`.
    pub read: Option<Ktime>,
    /// When the (final) response's first byte passed, if it did.
    pub answered: Option<Ktime>,
    /// When the exchange was over: the response's last byte, or what ended it instead.
    pub ended: Ktime,
    /// What became of it.
    pub outcome: Outcome,
    /// Its path is one that is to be left out of all signals.
    pub is_excluded: bool,
    /// Bytes of its connection, either way, whose records were lost while it was outstanding; 4 GiB are as good as more.
    pub lost: u32,
    /// The span that the request names as its parent, if it names one.
    pub trace: Option<Box<TraceContext>>,
    /// What the protocol says of it.
    pub detail: Detail,
}

/// What became of a request. Names of `error.type` are in `signal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The response was seen to its end (or to where the connection properly ended it).
    Complete,
    /// The connection ended when the response had begun, before it was whole.
    Truncated(Cut),
    /// The connection ended before any response.
    Unanswered(Cut),
    /// The response went by in bytes that were not captured: nothing is known of it.
    NotObserved,
    /// The connection ended before any response, and before the request was whole.
    Aborted(Cut),
}

/// What ended a connection in the middle of an exchange. The side is the one that ended it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// FIN. `None`: whose was first was not seen.
    Closed(Option<Side>),
    /// RST.
    Reset(Side),
    /// RST_STREAM, which ends one exchange of many (RFC 9113 section 6.4), or a GOAWAY that leaves this one out (section
    /// 6.8).
    Stream(Side),
    /// One side acknowledged nothing until the other's kernel gave it up.
    Expired,
}

/// What only some protocols have: one variant for each family of the semantic conventions, whoever speaks it on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// HTTP, any version.
    Http(Http),
    /// A remote procedure call.
    Rpc(Box<Rpc>),
    /// A database's operation.
    Db(Box<Db>),
    /// A question of the DNS.
    Dns(Box<Dns>),
    /// The handshake of TLS.
    Tls(Box<Tls>),
    /// A connection's time as WebSocket, from its upgrade on.
    WebSocket(Box<WebSocket>),
}

impl Exchange {
    /// The HTTP request that it is or is made of.
    #[must_use]
    pub fn http(&self) -> Option<&Http> {
        match &self.detail {
            Detail::Http(http) => Some(http),
            Detail::Rpc(rpc) => Some(&rpc.http),
            Detail::Db(_) | Detail::Dns(_) | Detail::Tls(_) | Detail::WebSocket(_) => None,
        }
    }

    /// The same, to be changed.
    pub fn http_mut(&mut self) -> Option<&mut Http> {
        match &mut self.detail {
            Detail::Http(http) => Some(http),
            Detail::Rpc(rpc) => Some(&mut rpc.http),
            Detail::Db(_) | Detail::Dns(_) | Detail::Tls(_) | Detail::WebSocket(_) => None,
        }
    }

    /// Forgets the path that was asked for. What a call's method is called is not hidden: it names the code, not the data.
    pub fn hide_path(&mut self) {
        match &mut self.detail {
            Detail::Http(http) => http.path = None,
            Detail::WebSocket(socket) => socket.path = None,
            Detail::Rpc(_) | Detail::Db(_) | Detail::Dns(_) | Detail::Tls(_) => {}
        }
    }
}
