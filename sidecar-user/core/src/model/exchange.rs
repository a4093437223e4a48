//! One request and what came of it.

use std::sync::Arc;

use super::{Ktime, Route, Side};

/// A request began: its first line is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// When the request's first byte passed.
    pub at: Ktime,
    /// HTTP's method; the exchange that follows has the same.
    pub method: Method,
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
    /// One side acknowledged nothing until the other's kernel gave it up.
    Expired,
}

/// What only one protocol has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// HTTP, any version.
    Http(Http),
}

/// The parts of an HTTP exchange that metrics and spans use. Nothing else leaves the parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Request method.
    pub method: Method,
    /// The method as it was sent, at most 64 bytes, where the conventions do not list it.
    pub method_original: Option<Box<str>>,
    /// Version of the request. A server may answer in another one.
    pub version: HttpVersion,
    /// Status code of the final response, 100 to 999 as it was on the wire; `None` if no response was seen.
    pub status: Option<u16>,
    /// `Host` (or the authority of an absolute-form target), at most 255 bytes, lower case; without a port.
    pub host: Option<Box<str>>,
    /// The port of `Host`, if it names one.
    pub port: Option<u16>,
    /// The target's path without its query, at most 1024 bytes; only where spans or routes want it.
    pub path: Option<Box<str>>,
    /// The path's pattern, as far as there is one. No parser knows it: it is added behind them.
    pub route: Option<Route>,
    /// Request headers that were asked for by name.
    pub request_headers: Headers,
    /// The same of the (final) response.
    pub response_headers: Headers,
    /// `traceparent`, if it was sent and well-formed.
    pub parent: Option<TraceParent>,
    /// `tracestate` beside it, at most 512 bytes; of several lines one list.
    pub trace_state: Option<Box<str>>,
    /// The signal that the request exports by OTLP/HTTP, if it does.
    pub exports: Option<Telemetry>,
    /// Bytes of the request's body, after chunked coding was removed; `None` unless it was seen to its end before the
    /// exchange was over.
    pub request_body: Option<u64>,
    /// The same of the response's, or of what came of it before it was cut off; `None` where there was none, or its end
    /// was not seen.
    pub response_body: Option<u64>,
}

/// Headers that were asked for by name, as far as they were sent: each name in lower case, and its values in order.
pub type Headers = Vec<(Arc<str>, Vec<Box<str>>)>;

/// Version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// A method that the semantic conventions list (RFC 9110, PATCH of RFC 5789, QUERY of RFC 10008), or any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the methods")]
pub enum Method {
    Connect,
    Delete,
    Get,
    Head,
    Options,
    Patch,
    Post,
    Put,
    Trace,
    Query,
    Other,
}

/// A signal of OpenTelemetry, as OTLP's requests carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Telemetry {
    /// Spans.
    Traces,
    /// Metrics.
    Metrics,
    /// Logs.
    Logs,
}

impl Telemetry {
    /// All, in the order of their numbers.
    pub const ALL: [Telemetry; 3] = [Telemetry::Traces, Telemetry::Metrics, Telemetry::Logs];

    /// `traces`, `metrics` or `logs`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Telemetry::Traces => "traces",
            Telemetry::Metrics => "metrics",
            Telemetry::Logs => "logs",
        }
    }
}

/// W3C Trace Context, level 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceParent {
    /// Trace id, not all zero.
    pub trace: [u8; 16],
    /// Parent span id, not all zero.
    pub span: [u8; 8],
    /// Trace flags; bit 0 is `sampled`.
    pub flags: u8,
}
