//! HTTP, any version.

use std::sync::Arc;

use super::Route;

/// The parts of an HTTP exchange that metrics and spans use. Nothing else leaves the parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Request method; `None` where what was seen of the request does not tell it.
    pub method: Option<Method>,
    /// The method as it was sent, at most 64 bytes, where the conventions do not list it.
    pub method_original: Option<Box<str>>,
    /// Version of the request. A server may answer in another one.
    pub version: HttpVersion,
    /// Status code of the final response, 100 to 999 as it was on the wire; `None` if no response was seen, or what was seen
    /// of it does not tell the code.
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
    /// The signal that the request exports by OTLP/HTTP, if it does.
    pub exports: Option<Telemetry>,
    /// Bytes of the request's body, after chunked coding was removed; `None` unless it was seen to its end before the
    /// exchange was over.
    pub request_body: Option<u64>,
    /// The same of the response's, or of what came of it before it was cut off; `None` where there was none, or its end
    /// was not seen.
    pub response_body: Option<u64>,
    /// It might as well have become a remote procedure call, as what was seen of the request does not tell: its start told no
    /// method.
    pub is_doubtful: bool,
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
    /// HTTP/2
    Http2,
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
