//! Exposition: encoders of a `Snapshot` for those who pull (Prometheus, OpenMetrics) and one exporter for those who
//! are pushed to (OTLP). The only place that knows `prometheus_client` and `opentelemetry*`. Not for deciding what is
//! measured: that is `sidecar_core::signal`.

mod format;
pub(crate) mod gzip;
mod openmetrics;
pub(crate) mod otlp;
mod prometheus;
mod resource;
mod stats;
#[cfg(test)]
mod tests;

pub(crate) use format::Format;
pub(crate) use resource::Resource;
pub(crate) use stats::{Dropped, ExportStats, Failed, Signal};
