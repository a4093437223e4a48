//! What a metric is called, everywhere.

/// One metric of the catalogue. Prometheus spellings are computed from it, never typed.
#[derive(Debug, PartialEq)]
pub struct MetricDef {
    /// OpenTelemetry name.
    pub name: &'static str,
    /// What it measures with.
    pub kind: Kind,
    /// UCUM unit, as OpenTelemetry writes it: `s`, `By`, `{request}`, `1`.
    pub unit: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Attribute keys that its points may carry.
    pub attributes: &'static [&'static str],
}

/// How a metric aggregates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Monotonic sum, u64.
    Counter,
    /// Monotonic sum, f64 (seconds, mostly).
    CounterF64,
    /// A value that goes up and down.
    Gauge,
    /// A number of things that are there now, each counted in and out: a sum that is not monotonic.
    UpDown,
    /// Always 1; what it says is in its attributes.
    Info,
    /// Explicit-bucket histogram with these upper bounds.
    Histogram(&'static [f64]),
}
