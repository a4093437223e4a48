//! Trace context: what a request says of the trace it belongs to.

/// What came with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// `traceparent`, well-formed, or what another header says of the same.
    pub parent: TraceParent,
    /// `tracestate` beside it, at most 512 bytes; of several lines one list.
    pub state: Option<Box<str>>,
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
