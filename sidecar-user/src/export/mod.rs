//! Exposition: encoders of a `Snapshot` for those who pull (Prometheus, OpenMetrics) and one exporter for those who
//! are pushed to (OTLP). The only place that knows `prometheus_client`, `prost` and `opentelemetry*`. Not for deciding what is
//! measured: that is `sidecar_core::signal`.

mod format;
pub(crate) mod gzip;
mod openmetrics;
pub(crate) mod otlp;
mod protobuf;
mod resource;
mod stats;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use format::Format;
pub(crate) use resource::Resource;
pub(crate) use stats::{Dropped, ExportStats, Failed, Signal};

/// Lower-case hexadecimal, as ids of traces and spans are written.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
