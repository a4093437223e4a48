//! Metrics of connections that are steered.

use super::{def, key};
use crate::model::{Kind, MetricDef};

/// Decisions at `connect()`.
pub static TRAFFIC_CONNECTIONS: MetricDef = def(
    "sidecar.traffic.connections",
    Kind::Counter,
    "{connection}",
    "Connections that the application wanted (outbound), by what became of them: the endpoint was written (direct), they went to the \
     relay (proxied), where they asked (passed), or nowhere (denied); and those \
     that came in to it (inbound): by way of the relay (proxied), by themselves (passed), or not (denied).",
    &[key::TRAFFIC_DIRECTION, key::VERDICT, key::REASON],
);
/// The same by service, those of none left out.
pub static TRAFFIC_SERVICE_CONNECTIONS: MetricDef = def(
    "sidecar.traffic.service.connections",
    Kind::Counter,
    "{connection}",
    "Connections that the application wanted to a service, or others of it by an inbound one, by what became of them.",
    &[key::SERVICE, key::VERDICT],
);
/// Connections that count against a service's limit.
pub static TRAFFIC_SERVICE_ACTIVE: MetricDef = def(
    "sidecar.traffic.service.active",
    Kind::UpDown,
    "{connection}",
    "Connections to a service that are open, or being opened.",
    &[key::SERVICE],
);
/// Its limit.
pub static TRAFFIC_SERVICE_LIMIT: MetricDef = def(
    "sidecar.traffic.service.limit",
    Kind::UpDown,
    "{connection}",
    "Connections to a service that may be open at a time, where `limits.connections` says so.",
    &[key::SERVICE],
);
/// Signs of life.
pub static HEARTBEAT_AGE: MetricDef = def(
    "sidecar.traffic.heartbeat.age",
    Kind::Gauge,
    "s",
    "How long ago the daemon gave the kernel's programs its last sign of life.",
    &[],
);
/// Those that were none.
pub static HEARTBEAT_LATE: MetricDef = def(
    "sidecar.traffic.heartbeat.late",
    Kind::Counter,
    "{heartbeat}",
    "Signs of life that came later than `traffic.heartbeat`: until then the daemon counted as hung, and `when_gone` held.",
    &[],
);
/// Whether the policy outlives the daemon.
pub static TRAFFIC_PINNED: MetricDef = def(
    "sidecar.traffic.pinned",
    Kind::Gauge,
    "{policy}",
    "1 for what becomes of the policy at the daemon's end: it ends too (unpinned), or stays at work (new, or adopted from a \
     daemon before).",
    &[key::STATE],
);
/// What sources tell of.
pub static SOURCE_ENDPOINTS: MetricDef = def(
    "sidecar.traffic.source.endpoints",
    Kind::UpDown,
    "{endpoint}",
    "Endpoints that a source told of last: `dns:NAME`, `srv:NAME` or `file:PATH`.",
    &[key::ENDPOINT_SOURCE],
);
/// Whether they fail.
pub static SOURCE_STALE: MetricDef = def(
    "sidecar.traffic.source.stale",
    Kind::Gauge,
    "{source}",
    "1 while a source fails, so that what it told last holds; or has told nothing yet, so that endpoints of before hold.",
    &[key::ENDPOINT_SOURCE],
);
/// How old their word is.
pub static SOURCE_AGE: MetricDef = def(
    "sidecar.traffic.source.age",
    Kind::Gauge,
    "s",
    "How long ago a source last told of endpoints, or that they are the same.",
    &[key::ENDPOINT_SOURCE],
);
/// How often they fail, by `reason::SourceFails`.
pub static SOURCE_FAILURES: MetricDef = def(
    "sidecar.traffic.source.failures",
    Kind::Counter,
    "{failure}",
    "Times that a source could not tell of endpoints, of all or of one address family's.",
    &[key::ENDPOINT_SOURCE, key::REASON],
);
/// What of their word is not used, by `reason::EndpointLeftOut`.
pub static SOURCE_LEFT_OUT: MetricDef = def(
    "sidecar.traffic.source.left_out",
    Kind::UpDown,
    "{endpoint}",
    "Endpoints of a source's last word that are not used.",
    &[key::ENDPOINT_SOURCE, key::REASON],
);
/// Questions of the DNS that were caught.
pub static DNS_QUERIES: MetricDef = def(
    "sidecar.dns.queries",
    Kind::Counter,
    "{query}",
    "Questions of the DNS that the application's sockets were caught with, by what became of them.",
    &[key::OUTCOME],
);
/// What went wrong with them.
pub static DNS_FAILURES: MetricDef = def(
    "sidecar.dns.failures",
    Kind::Counter,
    "{failure}",
    "What went wrong with questions of the DNS, and with their answers.",
    &[key::REASON],
);
/// Questions that were passed on.
pub static DNS_OUTSTANDING: MetricDef = def(
    "sidecar.dns.outstanding",
    Kind::UpDown,
    "{query}",
    "Questions of the DNS that wait for a resolver's answer.",
    &[],
);
/// What resolvers told.
pub static DNS_ADDRESSES: MetricDef = def(
    "sidecar.dns.addresses",
    Kind::UpDown,
    "{address}",
    "Addresses that resolvers told of services' names, which are those services' now.",
    &[],
);
/// Connections that the relay took over.
pub static RELAY_ACCEPTED: MetricDef = def(
    "sidecar.relay.accepted",
    Kind::Counter,
    "{connection}",
    "Connections that the relay took over.",
    &[],
);
/// Connections that it carries.
pub static RELAY_ACTIVE: MetricDef =
    def("sidecar.relay.active", Kind::UpDown, "{connection}", "Connections that the relay carries now.", &[]);
/// What it carried.
pub static RELAY_IO: MetricDef = def(
    "sidecar.relay.io",
    Kind::Counter,
    "By",
    "Payload that the relay carried from the application (transmit) and to it (receive).",
    &[key::IO_DIRECTION],
);
/// What it refused, by `reason::RelayRefused`.
pub static RELAY_REFUSED: MetricDef = def(
    "sidecar.relay.refused",
    Kind::Counter,
    "{connection}",
    "Connections that came in, and that the relay reset, as they were more than their service's limits allow.",
    &[key::SERVICE, key::REASON],
);
/// What went wrong, by `reason::RelayFailed`.
pub static RELAY_FAILURES: MetricDef = def(
    "sidecar.relay.failures",
    Kind::Counter,
    "{failure}",
    "Connections that the relay could not carry: nobody had handed them over (stranger), their destination could not be \
     reached (unreachable), either side broke them off (broken), no local \
     port was left for them (no_port), or no file descriptors (descriptors); times that it could not accept any (accept); and connections \
     that it carried, but as its own (client_unknown).",
    &[key::REASON],
);
