//! The one place where metrics are named. A metric is one item here, one entry of [`ALL`], and one recording.
//!
//! HTTP follows semantic conventions v1.44.0; `sidecar.tcp.*` is the application's traffic under our own names (the
//! conventions have none that fit); `container.*` and `process.*` its resources, `sidecar.app.*` what the conventions
//! have no name for; the rest of `sidecar.*` is the daemon's own health.

mod calls;
mod derived;
mod endpoints;
mod tcp;
mod traffic;

pub use calls::*;
pub use derived::*;
pub use endpoints::*;
pub use tcp::*;
pub use traffic::*;

use super::key;
use crate::model::{Kind, MetricDef};

/// Every metric, in the order in which expositions show them.
pub const ALL: &[&MetricDef] = &[
    &HTTP_SERVER_DURATION,
    &HTTP_SERVER_FIRST_BYTE,
    &HTTP_SERVER_WAIT,
    &HTTP_SERVER_SOCKET_WAIT,
    &HTTP_SERVER_WORK,
    &HTTP_SERVER_DELIVERY,
    &HTTP_SERVER_REQUEST_SIZE,
    &HTTP_SERVER_RESPONSE_SIZE,
    &HTTP_SERVER_ACTIVE,
    &HTTP_CLIENT_DURATION,
    &HTTP_CLIENT_FIRST_BYTE,
    &HTTP_CLIENT_WAIT,
    &HTTP_CLIENT_REQUEST_SIZE,
    &HTTP_CLIENT_RESPONSE_SIZE,
    &HTTP_CLIENT_OPEN,
    &RPC_SERVER_DURATION,
    &RPC_CLIENT_DURATION,
    &DB_SERVER_DURATION,
    &DB_CLIENT_DURATION,
    &DB_CLIENT_ROWS,
    &DNS_SERVER_DURATION,
    &DNS_CLIENT_DURATION,
    &TLS_SERVER_DURATION,
    &TLS_CLIENT_DURATION,
    &WEBSOCKET_SERVER_DURATION,
    &WEBSOCKET_CLIENT_DURATION,
    &MESSAGES,
    &MESSAGE_SIZE,
    &SPAN_CALLS,
    &SPAN_DURATION,
    &EDGE_REQUESTS,
    &EDGE_FAILED,
    &EDGE_CLIENT,
    &EDGE_SERVER,
    &TCP_ACTIVE,
    &TCP_OPENED,
    &TCP_CLOSED,
    &TCP_RESET,
    &TCP_FAILED,
    &TCP_JOINED,
    &TCP_IO,
    &TCP_RETRANSMITS,
    &TCP_CONNECT,
    &TCP_RTT,
    &PEER_ACTIVE,
    &PEER_OPENED,
    &PEER_CLOSED,
    &PEER_RESET,
    &PEER_FAILED,
    &PEER_IO,
    &PEER_RETRANSMITS,
    &TRAFFIC_CONNECTIONS,
    &TRAFFIC_SERVICE_CONNECTIONS,
    &TRAFFIC_SERVICE_ACTIVE,
    &TRAFFIC_SERVICE_LIMIT,
    &TRAFFIC_PINNED,
    &HEARTBEAT_AGE,
    &HEARTBEAT_LATE,
    &TRAFFIC_SERVICE_PANICS,
    &ENDPOINT_WEIGHT,
    &ENDPOINT_EJECTED,
    &ENDPOINT_EJECTIONS,
    &ENDPOINT_TRIALS,
    &ENDPOINT_PROBES,
    &SOURCE_ENDPOINTS,
    &SOURCE_STALE,
    &SOURCE_AGE,
    &SOURCE_FAILURES,
    &SOURCE_LEFT_OUT,
    &DNS_QUERIES,
    &DNS_FAILURES,
    &DNS_OUTSTANDING,
    &DNS_ADDRESSES,
    &RELAY_ACCEPTED,
    &RELAY_ACTIVE,
    &RELAY_IO,
    &RELAY_REFUSED,
    &RELAY_FAILURES,
    &CGROUPS,
    &CGROUP_CHANGES,
    &APP_SOURCE,
    &APP_CPU_TIME,
    &APP_MEMORY,
    &APP_THREADS,
    &APP_FILES,
    &APP_PROCESSES,
    &PROCESS_CPU_TIME,
    &PROCESS_MEMORY,
    &PROCESS_THREADS,
    &PROCESS_FILES,
    &CAPTURE_RECORDS,
    &CAPTURE_COPIED,
    &CAPTURE_SHED,
    &CAPTURE_DROPS,
    &CAPTURE_BYTES,
    &CAPTURE_COVERAGE,
    &PARSER_OUTCOMES,
    &PARSER_ODDITIES,
    &EXCLUDED_EXCHANGES,
    &EXCLUDED_CONNECTIONS,
    &ROUTES,
    &ROUTES_OVERFLOWED,
    &CONNECTIONS_TRACKED,
    &CONNECTIONS_GAPS,
    &CONNECTIONS_UNREPORTED,
    &SPANS,
    &TAP_LEFT_OUT,
    &RECORD_LEFT_OUT,
    &APP_OTLP,
    &EXPORT_QUEUE,
    &EXPORT_SENT,
    &EXPORT_FAILED,
    &EXPORT_DROPPED,
    &CPU_TIME,
    &MEMORY_USAGE,
    &CONFIG_RELOADS,
    &SERIES,
    &SERIES_OVERFLOWED,
    &SERIES_EXPIRED,
    &BUILD,
];

/// Buckets that the conventions advise for request durations, in seconds.
pub const DURATION_BUCKETS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Buckets of body sizes, in bytes: bodies that are empty, and powers of four to 1 GiB. The conventions advise none.
pub const SIZE_BUCKETS: &[f64] = &[
    0.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
];

/// Attributes of every histogram of requests that the application answered.
const OF_SERVER: &[&str] = &[
    key::METHOD,
    key::URL_SCHEME,
    key::STATUS,
    key::ERROR_TYPE,
    key::ROUTE,
    key::PROTOCOL_VERSION,
    key::CONTAINER_NAME,
];
/// Attributes of every histogram of requests that the application sent.
const OF_CLIENT: &[&str] = &[
    key::METHOD,
    key::URL_SCHEME,
    key::STATUS,
    key::ERROR_TYPE,
    key::PROTOCOL_VERSION,
    key::SERVER_ADDRESS,
    key::SERVER_PORT,
    key::PEER_ADDRESS,
    key::PEER_PORT,
    key::CONTAINER_NAME,
];
/// Buckets of what takes a network some time, in seconds.
pub const LATENCY_BUCKETS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

const fn def(
    name: &'static str,
    kind: Kind,
    unit: &'static str,
    help: &'static str,
    attributes: &'static [&'static str],
) -> MetricDef {
    MetricDef { name, kind, unit, help, attributes }
}

/// Requests that the application answered. Fed by `Store::exchange`.
pub static HTTP_SERVER_DURATION: MetricDef = def(
    "http.server.request.duration",
    Kind::Histogram(DURATION_BUCKETS),
    "s",
    "Duration of HTTP server requests, from the first byte of the request to the last byte of the response.",
    OF_SERVER,
);
/// What of the duration passed before the final response began. An interim response (100, 103) is none. Fed by
/// `Store::exchange`; absent where no response began.
pub static HTTP_SERVER_FIRST_BYTE: MetricDef = def(
    "sidecar.http.server.time_to_first_byte",
    Kind::Histogram(DURATION_BUCKETS),
    "s",
    "Time from the first byte of an HTTP server request to the first byte of its final response.",
    OF_SERVER,
);
/// What of it was the application's own. Fed by `Store::exchange`; absent where the response began before the request
/// had ended.
pub static HTTP_SERVER_WAIT: MetricDef = def(
    "sidecar.http.server.wait.duration",
    Kind::Histogram(DURATION_BUCKETS),
    "s",
    "Time from the last byte of an HTTP server request to the first byte of its final response.",
    OF_SERVER,
);
/// What of that the request lay in its socket, unread. Fed by `Store::exchange`; absent unless `capture.socket_wait` is on
/// and the kernel lets it, and for a request that another overlapped.
pub static HTTP_SERVER_SOCKET_WAIT: MetricDef = def(
    "sidecar.http.server.socket_wait.duration",
    Kind::Histogram(DURATION_BUCKETS),
    "s",
    "Time from the arrival of the last byte of an HTTP server request to the application's next read from the socket; \
     only with `capture.socket_wait`, and only where one request was answered at a time.",
    OF_SERVER,
);
/// The rest of it. Fed and absent as the wait in the socket.
pub static HTTP_SERVER_WORK: MetricDef = def(
    "sidecar.http.server.work.duration",
    Kind::Histogram(DURATION_BUCKETS),
    "s",
    "Time from the application's first read after the last byte of an HTTP server request arrived to the first byte of \
     its final response; measured where the wait in the socket is.",
    OF_SERVER,
);
/// Bodies that the application received, of requests without one too. Fed by `Store::exchange`; absent where the body had
/// not ended when the exchange was over, or its end was not seen.
pub static HTTP_SERVER_REQUEST_SIZE: MetricDef = def(
    "http.server.request.body.size",
    Kind::Histogram(SIZE_BUCKETS),
    "By",
    "Size of HTTP server request bodies, without chunked coding; only of those that had ended when the exchange was over.",
    OF_SERVER,
);
/// Bodies that the application sent, as far as they came. Fed by `Store::exchange`; absent where no response began, or its
/// end was not seen.
pub static HTTP_SERVER_RESPONSE_SIZE: MetricDef = def(
    "http.server.response.body.size",
    Kind::Histogram(SIZE_BUCKETS),
    "By",
    "Size of HTTP server response bodies, without chunked coding, or of what came of those that were cut off; none where the end was not seen.",
    OF_SERVER,
);
/// Requests that began and are not over. Fed by `Store::started` and `Store::exchange`.
pub static HTTP_SERVER_ACTIVE: MetricDef = def(
    "http.server.active_requests",
    Kind::UpDown,
    "{request}",
    "HTTP server requests that have begun and are not over.",
    &[key::METHOD, key::URL_SCHEME, key::CONTAINER_NAME],
);
/// Requests that the application sent. Fed by `Store::exchange`.
pub static HTTP_CLIENT_DURATION: MetricDef = def(
    "http.client.request.duration",
    Kind::Histogram(DURATION_BUCKETS),
    "s",
    "Duration of HTTP client requests, from the first byte of the request to the last byte of the response.",
    OF_CLIENT,
);
/// As of servers. Fed by `Store::exchange`.
pub static HTTP_CLIENT_FIRST_BYTE: MetricDef = def(
    "sidecar.http.client.time_to_first_byte",
    Kind::Histogram(DURATION_BUCKETS),
    "s",
    "Time from the first byte of an HTTP client request to the first byte of its final response.",
    OF_CLIENT,
);
/// As of servers: the other end's time and the network's. Fed by `Store::exchange`.
pub static HTTP_CLIENT_WAIT: MetricDef = def(
    "sidecar.http.client.wait.duration",
    Kind::Histogram(DURATION_BUCKETS),
    "s",
    "Time from the last byte of an HTTP client request to the first byte of its final response.",
    OF_CLIENT,
);
/// As of servers. Fed by `Store::exchange`.
pub static HTTP_CLIENT_REQUEST_SIZE: MetricDef = def(
    "http.client.request.body.size",
    Kind::Histogram(SIZE_BUCKETS),
    "By",
    "Size of HTTP client request bodies, without chunked coding; only of those that had ended when the exchange was over.",
    OF_CLIENT,
);
/// As of servers. Fed by `Store::exchange`.
pub static HTTP_CLIENT_RESPONSE_SIZE: MetricDef = def(
    "http.client.response.body.size",
    Kind::Histogram(SIZE_BUCKETS),
    "By",
    "Size of HTTP client response bodies, without chunked coding, or of what came of those that were cut off; none where the end was not seen.",
    OF_CLIENT,
);
/// The server is named by its IP address: a connection may carry requests to many hosts. Fed by `Store::activity`.
pub static HTTP_CLIENT_OPEN: MetricDef = def(
    "http.client.open_connections",
    Kind::UpDown,
    "{connection}",
    "Outbound HTTP connections that are active (a request is outstanding) or idle.",
    &[key::CONNECTION_STATE, key::SERVER_ADDRESS, key::SERVER_PORT, key::URL_SCHEME, key::CONTAINER_NAME],
);
/// Cgroups by whether they are observed. Fed by `application::record`, as those below.
pub static CGROUPS: MetricDef = def(
    "sidecar.cgroup.observed",
    Kind::Gauge,
    "{cgroup}",
    "Cgroups of the application: attached, or unreachable (the log and /readyz say why).",
    &[key::STATE],
);
/// Cgroups that came and went.
pub static CGROUP_CHANGES: MetricDef = def(
    "sidecar.cgroup.changes",
    Kind::Counter,
    "{cgroup}",
    "Cgroups that were attached to, were gone while observed, or were refused (by the kernel, or beyond 64).",
    &[key::STATE],
);
/// Which of the possible places a figure of the application is from.
pub static APP_SOURCE: MetricDef = def(
    "sidecar.app.source",
    Kind::Info,
    "1",
    "Where the figures of the application are read: its cgroup (v2, or v1 with the same processes) or its processes.",
    &[key::RESOURCE, key::SOURCE, key::CONTAINER_NAME],
);
/// Processor time of the application's cgroup.
pub static APP_CPU_TIME: MetricDef = def(
    "container.cpu.time",
    Kind::CounterF64,
    "s",
    "Processor time that the application used.",
    &[key::CPU_MODE, key::CONTAINER_NAME],
);
/// Memory of the application's cgroup.
pub static APP_MEMORY: MetricDef = def(
    "container.memory.usage",
    Kind::UpDown,
    "By",
    "Memory in use by the application: what its cgroup is charged with, else the resident memory of its processes.",
    &[key::CONTAINER_NAME],
);
/// Threads of the application.
pub static APP_THREADS: MetricDef = def(
    "sidecar.app.threads",
    Kind::UpDown,
    "{thread}",
    "Threads of the application, over all its processes.",
    &[key::CONTAINER_NAME],
);
/// Descriptors of the application.
pub static APP_FILES: MetricDef = def(
    "sidecar.app.file_descriptors",
    Kind::UpDown,
    "{file_descriptor}",
    "Open file descriptors of the application, over all its processes.",
    &[key::CONTAINER_NAME],
);
/// Processes of the application, and whether they could be read: beyond the cap and in foreign PID namespaces not.
pub static APP_PROCESSES: MetricDef = def(
    "sidecar.app.processes",
    Kind::UpDown,
    "{process}",
    "Processes of the application: read, or skipped (of another PID namespace, or more than are read at once).",
    &[key::STATE, key::CONTAINER_NAME],
);
/// Processor time by executable: only where the daemon sees the processes.
pub static PROCESS_CPU_TIME: MetricDef = def(
    "process.cpu.time",
    Kind::CounterF64,
    "s",
    "Processor time of the processes of an executable, since they were first seen.",
    &[key::CPU_MODE, key::EXECUTABLE_NAME, key::CONTAINER_NAME],
);
/// Resident memory by executable.
pub static PROCESS_MEMORY: MetricDef = def(
    "process.memory.usage",
    Kind::UpDown,
    "By",
    "Resident memory of the processes of an executable; what they share is counted in each.",
    &[key::EXECUTABLE_NAME, key::CONTAINER_NAME],
);
/// Threads by executable.
pub static PROCESS_THREADS: MetricDef = def(
    "process.thread.count",
    Kind::UpDown,
    "{thread}",
    "Threads of the processes of an executable.",
    &[key::EXECUTABLE_NAME, key::CONTAINER_NAME],
);
/// Descriptors by executable.
pub static PROCESS_FILES: MetricDef = def(
    "process.unix.file_descriptor.count",
    Kind::UpDown,
    "{file_descriptor}",
    "Open file descriptors of the processes of an executable.",
    &[key::EXECUTABLE_NAME, key::CONTAINER_NAME],
);
/// Responses on their way. Fed by `Store::delivered`.
pub static HTTP_SERVER_DELIVERY: MetricDef = def(
    "sidecar.http.server.delivery.duration",
    Kind::Histogram(LATENCY_BUCKETS),
    "s",
    "Time from the first byte of a response that the application sent to the acknowledgement of its last by the peer, \
     told when the peer's next packet with payload passes or the connection ends; only where one request was answered \
     at a time.",
    &[key::CONTAINER_NAME],
);
/// Records that arrived.
pub static CAPTURE_RECORDS: MetricDef = def(
    "sidecar.capture.records",
    Kind::Counter,
    "{record}",
    "Records of the kernel programs that arrived through the ring buffer.",
    &[],
);
/// Payload inside those records.
pub static CAPTURE_COPIED: MetricDef =
    def("sidecar.capture.copied", Kind::Counter, "By", "Payload bytes that arrived in records.", &[]);
/// Payload that a nearly full ring kept out.
pub static CAPTURE_SHED: MetricDef = def(
    "sidecar.capture.shed",
    Kind::Counter,
    "By",
    "Payload bytes that were not copied because the ring buffer was nearly full.",
    &[],
);
/// What was lost between the packet and the parser, each reason with its own bound.
pub static CAPTURE_DROPS: MetricDef = def(
    "sidecar.capture.drops",
    Kind::Counter,
    "{record}",
    "Records that were not written, could not be read or found a table full, by reason.",
    &[key::REASON],
);
/// The account of payload bytes, whose classes overlap by design: see `Bytes`.
pub static CAPTURE_BYTES: MetricDef = def(
    "sidecar.capture.bytes",
    Kind::Counter,
    "By",
    "Account of payload bytes: seen (all of them), encrypted (TLS), unclassified (no known protocol), \
     excluded (left out by configuration), mptcp (its paths are not read), \
     before_join (before the first message boundary of a connection met in the middle), explained (inside messages \
     that a parser read), lost (copied too late or not at all).",
    &[key::CLASS],
);
/// explained / (seen - encrypted - excluded - before_join); absent while the divisor is 0.
pub static CAPTURE_COVERAGE: MetricDef = def(
    "sidecar.capture.coverage",
    Kind::Gauge,
    "1",
    "Share of readable payload bytes that lie inside messages which a parser read.",
    &[],
);
/// Exchanges by what became of them. Fed by `Store::exchange`.
pub static PARSER_OUTCOMES: MetricDef = def(
    "sidecar.parser.outcomes",
    Kind::Counter,
    "{exchange}",
    "Requests that parsers reported, by what became of them.",
    &[key::OUTCOME, key::PROTOCOL_NAME],
);
/// Things met that are not exchanges.
pub static PARSER_ODDITIES: MetricDef = def(
    "sidecar.parser.oddities",
    Kind::Counter,
    "{event}",
    "Things that parsers met and that are not requests: orphan responses, malformed heads, resynchronisations.",
    &[key::REASON],
);
/// Requests that the configuration leaves out. Fed by `Store::exchange`.
pub static EXCLUDED_EXCHANGES: MetricDef = def(
    "sidecar.excluded.exchanges",
    Kind::Counter,
    "{exchange}",
    "Requests that were read and left out of all signals, as the configuration wants it, by reason.",
    &[key::REASON],
);
/// Connections that the configuration leaves out.
pub static EXCLUDED_CONNECTIONS: MetricDef = def(
    "sidecar.excluded.connections",
    Kind::Counter,
    "{connection}",
    "Connections that were not read, as the configuration wants it, by reason.",
    &[key::REASON],
);
/// Routes that `http.route` may name.
pub static ROUTES: MetricDef = def(
    "sidecar.routes",
    Kind::Gauge,
    "{route}",
    "Routes of the application that are known, by who says so: configured or learned.",
    &[key::ROUTE_SOURCE],
);
/// What the cap of learned routes keeps out.
pub static ROUTES_OVERFLOWED: MetricDef = def(
    "sidecar.routes.overflowed",
    Kind::Counter,
    "{exchange}",
    "Requests that have no http.route because as many routes as may be are learned.",
    &[],
);
/// Size of the connection table.
pub static CONNECTIONS_TRACKED: MetricDef = def(
    "sidecar.connections.tracked",
    Kind::Gauge,
    "{connection}",
    "Connections whose bytes are being followed.",
    &[],
);
/// Connections of which something is missing.
pub static CONNECTIONS_GAPS: MetricDef = def(
    "sidecar.connections.gaps",
    Kind::Counter,
    "{connection}",
    "Connections of whose bytes some were lost, or the report of their end; requests may be missing. /connections lists the last.",
    &[],
);
/// Connections of which everything is missing.
pub static CONNECTIONS_UNREPORTED: MetricDef = def(
    "sidecar.connections.unreported",
    Kind::Gauge,
    "{connection}",
    "Connections that were established and of which no record has arrived; their requests are missing.",
    &[],
);
/// Items on their way to a receiver.
pub static EXPORT_QUEUE: MetricDef = def(
    "sidecar.export.queue.size",
    Kind::Gauge,
    "{item}",
    "Data points and spans that wait to be pushed, or for the receiver's answer.",
    &[key::SIGNAL],
);
/// Items that a receiver took.
pub static EXPORT_SENT: MetricDef = def(
    "sidecar.export.sent",
    Kind::Counter,
    "{item}",
    "Data points and spans that a receiver accepted.",
    &[key::SIGNAL],
);
/// Items that a receiver did not take, by the reason of the last try.
pub static EXPORT_FAILED: MetricDef = def(
    "sidecar.export.failed",
    Kind::Counter,
    "{item}",
    "Data points and spans that were pushed and not accepted, by reason.",
    &[key::SIGNAL, key::REASON],
);
/// Exchanges, by what the tracer decided of them; absent where spans are not wanted. The conventions' own
/// `otel.sdk.span.started` is the application's SDK's, if it has one. Fed by `Tracer::record`.
pub static SPANS: MetricDef = def(
    "sidecar.spans",
    Kind::Counter,
    "{span}",
    "Exchanges that could become spans, by whether they did.",
    &[key::DECISION],
);
/// Exchanges that a reader of `sidecar tap` asked for and was not told of; each reader counts.
pub static TAP_LEFT_OUT: MetricDef = def(
    "sidecar.tap.left_out",
    Kind::Counter,
    "{exchange}",
    "Exchanges that a live view asked for and was not told of.",
    &[key::REASON],
);
/// Packets that `sidecar record` asked for and that are not in what it got, or of which only the length is.
pub static RECORD_LEFT_OUT: MetricDef = def(
    "sidecar.record.left_out",
    Kind::Counter,
    "{packet}",
    "Packets that a recording asked for and does not have.",
    &[key::REASON],
);
/// Parts of the application that trace, measure or log by themselves. Fed by `Instrumented::record`.
pub static APP_OTLP: MetricDef = def(
    "sidecar.app.otlp",
    Kind::Gauge,
    "{application}",
    "Processes (in a container: containers) of the application that were seen to export by OTLP/HTTP, by signal.",
    &[key::SIGNAL],
);
/// Items that were given up before they were answered for.
pub static EXPORT_DROPPED: MetricDef = def(
    "sidecar.export.dropped",
    Kind::Counter,
    "{item}",
    "Data points and spans that were given up before a receiver answered for them, by reason.",
    &[key::SIGNAL, key::REASON],
);
/// Processor time of the daemon.
pub static CPU_TIME: MetricDef = def(
    "sidecar.process.cpu.time",
    Kind::CounterF64,
    "s",
    "Processor time that the sidecar itself used.",
    &[key::CPU_MODE],
);
/// Resident set of the daemon.
pub static MEMORY_USAGE: MetricDef = def(
    "sidecar.process.memory.usage",
    Kind::Gauge,
    "By",
    "Physical memory in use by the sidecar itself.",
    &[],
);
/// New settings by what became of them. Fed by `application::record`.
pub static CONFIG_RELOADS: MetricDef = def(
    "sidecar.config.reloads",
    Kind::Counter,
    "{reload}",
    "Times that settings were read again: applied, or refused because they were not valid.",
    &[key::STATE],
);
/// Series held. Fed by `Store::snapshot`.
pub static SERIES: MetricDef =
    def("sidecar.series", Kind::Gauge, "{series}", "Time series that the sidecar holds.", &[]);
/// Measurements that the cap moved. Fed by `Store::snapshot`.
pub static SERIES_OVERFLOWED: MetricDef = def(
    "sidecar.series.overflowed",
    Kind::Counter,
    "{measurement}",
    "Measurements that went to an overflow series because their metric was at its cap.",
    &[],
);
/// Series that vanished. Fed by `Store::snapshot`.
pub static SERIES_EXPIRED: MetricDef = def(
    "sidecar.series.expired",
    Kind::Counter,
    "{series}",
    "Time series that vanished because nothing was measured for metrics.expiry.",
    &[],
);
/// What runs.
pub static BUILD: MetricDef =
    def("sidecar.build", Kind::Info, "1", "Version of the sidecar.", &[key::VERSION]);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::signal::names;

    #[test]
    fn names_are_unique_and_plain_in_both_spellings() {
        let mut otel = HashSet::new();
        let mut prometheus = HashSet::new();
        for def in ALL {
            assert!(otel.insert(def.name), "{} twice", def.name);
            assert!(prometheus.insert(names::metric(def).sample()), "{} clashes", def.name);
            assert!(
                def.name.bytes().all(|b| b.is_ascii_lowercase() || b"._".contains(&b)),
                "{} is not an OpenTelemetry name",
                def.name
            );
        }
    }

    /// OpenMetrics' library writes help as it is, so there must be nothing in it that wants escaping.
    #[test]
    fn help_is_one_plain_sentence() {
        for def in ALL {
            assert!(def.help.ends_with('.'), "{}", def.name);
            assert!(!def.help.contains(['\\', '\n', '"']), "{}", def.name);
            assert!(!def.help.contains("  "), "{}", def.name);
        }
    }

    #[test]
    fn attribute_keys_are_distinct_as_labels() {
        for def in ALL {
            let labels: HashSet<String> = def.attributes.iter().map(|key| names::label(key)).collect();
            assert_eq!(labels.len(), def.attributes.len(), "{}", def.name);
        }
    }
}
