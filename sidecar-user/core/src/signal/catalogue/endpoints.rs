//! Metrics of the endpoints of services.

use super::{def, key};
use crate::model::{Kind, MetricDef};

/// What the table is dealt by.
pub static ENDPOINT_WEIGHT: MetricDef = def(
    "sidecar.traffic.endpoint.weight",
    Kind::Gauge,
    "1",
    "Share of a service's new connections, of an endpoint's address family, that the endpoint gets where all are equally busy.",
    &[key::SERVICE, key::ENDPOINT],
);
/// 1 while it gets none.
pub static ENDPOINT_EJECTED: MetricDef = def(
    "sidecar.traffic.endpoint.ejected",
    Kind::Gauge,
    "{endpoint}",
    "1: the endpoint gets no new connections, as it failed; else 0. Where no other is healthy it gets some all the same.",
    &[key::SERVICE, key::ENDPOINT],
);
/// How often it was ejected.
pub static ENDPOINT_EJECTIONS: MetricDef = def(
    "sidecar.traffic.endpoint.ejections",
    Kind::Counter,
    "{ejection}",
    "Times that the endpoint was ejected.",
    &[key::SERVICE, key::ENDPOINT, key::REASON],
);
/// How often it was tried.
pub static ENDPOINT_TRIALS: MetricDef = def(
    "sidecar.traffic.endpoint.trials",
    Kind::Counter,
    "{connection}",
    "Connections that went to the endpoint while it was ejected, to see whether it is well again.",
    &[key::SERVICE, key::ENDPOINT],
);
/// What it answered.
pub static ENDPOINT_PROBES: MetricDef = def(
    "sidecar.traffic.endpoint.probes",
    Kind::Counter,
    "{probe}",
    "Questions that the endpoint was asked, by how it answered.",
    &[key::SERVICE, key::ENDPOINT, key::STATE],
);
/// All endpoints are tried.
pub static TRAFFIC_SERVICE_PANICS: MetricDef = def(
    "sidecar.traffic.service.panics",
    Kind::Counter,
    "{panic}",
    "Times that all endpoints of a service began to be tried, as none was healthy, or fewer than `health.panic_percent`.",
    &[key::SERVICE],
);
