//! How the health of endpoints is judged, as the user says it, and what comes of it.

use std::time::Duration;

/// When an endpoint gets no new connections, and how it gets some again.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// Failures in a row that eject it.
    pub consecutive: u32,
    /// The share of failures that ejects it.
    pub share: FailureShare,
    /// An answer that begins later than this is a failure.
    pub slow: Option<Duration>,
    /// How long its first ejection lasts, the second twice as long, and so on.
    pub base: Duration,
    /// No ejection lasts longer.
    pub max: Duration,
    /// For so long after its return it gets less than its share.
    pub slow_start: Duration,
    /// Below this share of healthy endpoints, in percent, all are tried. They are in any case where none is healthy.
    pub panic_percent: u8,
    /// How it is asked, if it is.
    pub probe: Option<Probe>,
}

/// So many percent of at least so many exchanges (or connections).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureShare {
    /// Percent; above 100: never.
    pub percent: u8,
    /// Within the last 5 to 10 seconds.
    pub volume: u32,
}

/// A question that an endpoint is asked, again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Which.
    pub ask: Ask,
    /// At this port; `None`: at the endpoint's own.
    pub port: Option<u16>,
    /// From one to the next.
    pub interval: Duration,
    /// Without an answer for so long it is a bad one.
    pub timeout: Duration,
    /// Good answers in a row that make it healthy.
    pub healthy: u32,
    /// Bad ones in a row that eject it.
    pub unhealthy: u32,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// `GET` of this path, by HTTP/1.1: 200 to 399 is good.
    Http(String),
    /// `grpc.health.v1.Health/Check` for this service: `SERVING` is good.
    Grpc(String),
}

/// Why an endpoint was ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// Answers with a server's error, in a row.
    Errors,
    /// Connections that the server ended before an answer was whole.
    CutOff,
    /// Answers that came late.
    Slow,
    /// The share of failed exchanges.
    Share,
    /// Connections that could not be made.
    Connect,
    /// Connections that ended by a reset, or in silence, of which nobody could tell more.
    Reset,
    /// Bad answers to probes.
    Probe,
}

impl Cause {
    /// All, in the order of their numbers.
    pub const ALL: [Cause; 7] =
        [Cause::Errors, Cause::CutOff, Cause::Slow, Cause::Share, Cause::Connect, Cause::Reset, Cause::Probe];
}

/// What an endpoint is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It gets its share.
    Healthy,
    /// It came back lately, and gets less than its share.
    Returning,
    /// It fails, and is not ejected because no other is healthy.
    LastOne(Cause),
    /// It gets nothing.
    Ejected(Cause),
    /// The next connection, or one that was made, will show whether it is well again.
    OnTrial(Cause),
}
