//! What tracing backends make of spans, by the names that they use: the span metrics of OpenTelemetry's collector
//! (connector `spanmetrics`), the service graph of its connector `servicegraph` and of Tempo.

use super::{DURATION_BUCKETS, def};
use crate::model::{Kind, MetricDef};
use crate::signal::key;

const OF_SPAN: &[&str] = &[key::SERVICE_NAME, key::SPAN_NAME, key::SPAN_KIND, key::SPAN_STATUS];
const OF_EDGE: &[&str] = &[key::EDGE_CLIENT, key::EDGE_SERVER];

/// Exchanges by what their spans are called. Fed by `Store::exchange`, as those below.
pub static SPAN_CALLS: MetricDef = def(
    "traces.span.metrics.calls",
    Kind::Counter,
    "{call}",
    "Exchanges by what their spans are called, sampled or not; only with `metrics.span_metrics`.",
    OF_SPAN,
);
/// How long they took.
pub static SPAN_DURATION: MetricDef = def(
    "traces.span.metrics.duration",
    Kind::Histogram(DURATION_BUCKETS),
    "s",
    "Duration of exchanges by what their spans are called; only with `metrics.span_metrics`.",
    OF_SPAN,
);
/// Exchanges by both ends.
pub static EDGE_REQUESTS: MetricDef = def(
    "traces.service.graph.request",
    Kind::Counter,
    "{request}",
    "Exchanges by who asked whom: the application by its service's name, the other end by its own or its address; only with \
     `metrics.service_graph`.",
    OF_EDGE,
);
/// Those of them that were errors.
pub static EDGE_FAILED: MetricDef = def(
    "traces.service.graph.request.failed",
    Kind::Counter,
    "{request}",
    "Exchanges that were errors, by who asked whom; only with `metrics.service_graph`.",
    OF_EDGE,
);
/// As the client sees it.
pub static EDGE_CLIENT: MetricDef = def(
    "traces.service.graph.request.client",
    Kind::Histogram(DURATION_BUCKETS),
    "s",
    "Duration of exchanges as the client saw them, by who asked whom; only with `metrics.service_graph`.",
    OF_EDGE,
);
/// As the server sees it.
pub static EDGE_SERVER: MetricDef = def(
    "traces.service.graph.request.server",
    Kind::Histogram(DURATION_BUCKETS),
    "s",
    "Duration of exchanges as the server saw them, by who asked whom; only with `metrics.service_graph`.",
    OF_EDGE,
);
