//! What all versions of HTTP say in the same words: targets, trace context, headers that are asked for. No protocol of its own.

pub(super) mod authority;
pub(super) mod b3;
pub(super) mod captured;
pub(super) mod otlp;
pub(super) mod request;
pub(super) mod traceparent;
pub(super) mod tracestate;
