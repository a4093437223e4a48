//! Attribute keys, as OpenTelemetry's semantic conventions v1.44.0 spell them, and our own under `sidecar.`.

/// `receive` or `transmit`, seen from the application.
pub const IO_DIRECTION: &str = "network.io.direction";
/// `user` or `system`.
pub const CPU_MODE: &str = "cpu.mode";
/// Other end's IP address, taken for the client's (server spans).
pub const CLIENT_ADDRESS: &str = "client.address";
/// Why a request or an attempt is an error; absent where it is none.
pub const ERROR_TYPE: &str = "error.type";
/// `active` or `idle`.
pub const CONNECTION_STATE: &str = "http.connection.state";
/// A method that the conventions list, or `_OTHER`.
pub const METHOD: &str = "http.request.method";
/// Pattern of the path, configured or learned; absent where there is none.
pub const ROUTE: &str = "http.route";
/// The method as it was sent, where it is `_OTHER` (spans).
pub const METHOD_ORIGINAL: &str = "http.request.method_original";
/// 100 to 999: what was on the wire.
pub const STATUS: &str = "http.response.status_code";
/// IP address of the socket's other end; beyond the relay, of whom that talks to.
pub const PEER_ADDRESS: &str = "network.peer.address";
/// Port of the same; of metrics only where it is a server's.
pub const PEER_PORT: &str = "network.peer.port";
/// `grpc` or `grpc_web`.
pub const RPC_SYSTEM: &str = "rpc.system.name";
/// Service and method: `grpc.health.v1.Health/Check`.
pub const RPC_METHOD: &str = "rpc.method";
/// gRPC's status by name; absent where none was sent.
pub const RPC_STATUS: &str = "rpc.response.status_code";
/// `postgresql`, `mysql`, `mariadb`, `redis` or `memcached`; `other_sql`: MySQL or MariaDB, which has not shown.
pub const DB_SYSTEM: &str = "db.system.name";
/// The operation, where it is one.
pub const DB_OPERATION: &str = "db.operation.name";
/// Table or the like, where it is one.
pub const DB_COLLECTION: &str = "db.collection.name";
/// Operations and what they are on, without any literal.
pub const DB_SUMMARY: &str = "db.query.summary";
/// Database, or its number.
pub const DB_NAMESPACE: &str = "db.namespace";
/// What the server says by code: SQLSTATE, error number, or an error's first word.
pub const DB_STATUS: &str = "db.response.status_code";
/// Rows that came back (spans).
pub const DB_ROWS: &str = "db.response.returned_rows";
/// Operations of a batch (spans).
pub const DB_BATCH: &str = "db.operation.batch.size";
/// The name that was asked for; in metrics `_OTHER` beyond `dns.question_names` of them.
pub const DNS_QUESTION: &str = "dns.question.name";
/// `A`, `AAAA`, ...: the type that was asked for.
pub const DNS_TYPE: &str = "sidecar.dns.question.type";
/// Records that the answer has (spans).
pub const DNS_ANSWERS: &str = "sidecar.dns.answers";
/// The answer was cut short (spans).
pub const DNS_TRUNCATED: &str = "sidecar.dns.truncated";
/// `1.2`, `1.3`, ...: what was agreed on.
pub const TLS_VERSION: &str = "tls.protocol.version";
/// Whether an earlier session went on; absent where that does not show.
pub const TLS_RESUMED: &str = "tls.resumed";
/// The application protocol, as far as it shows (ALPN).
pub const TLS_ALPN: &str = "tls.next_protocol";
/// Server name that the client asked for (SNI).
pub const TLS_SERVER_NAME: &str = "tls.client.server_name";
/// `text`, `binary`, `ping`, `pong`, `close`, `event`, `call` or `push`.
pub const MESSAGE_TYPE: &str = "sidecar.message.type";
/// Messages that were sent, of a stream (spans).
pub const MESSAGES_SENT: &str = "sidecar.messages.sent";
/// Messages that were received, of a stream (spans).
pub const MESSAGES_RECEIVED: &str = "sidecar.messages.received";
/// `service.name`, as an attribute of metrics that span several services.
pub const SERVICE_NAME: &str = "service.name";
/// What a span is called.
pub const SPAN_NAME: &str = "span.name";
/// `SPAN_KIND_CLIENT` or `SPAN_KIND_SERVER`.
pub const SPAN_KIND: &str = "span.kind";
/// `STATUS_CODE_UNSET` or `STATUS_CODE_ERROR`.
pub const SPAN_STATUS: &str = "status.code";
/// Who asks.
pub const EDGE_CLIENT: &str = "client";
/// Who is asked.
pub const EDGE_SERVER: &str = "server";
/// A protocol of the table: `http`, `http2`, `redis`, ...
pub const PROTOCOL_NAME: &str = "network.protocol.name";
/// `1.0` or `1.1`: the request's, whatever the server answers in.
pub const PROTOCOL_VERSION: &str = "network.protocol.version";
/// Host that the request names, or the server's IP address: the one that was asked for, where another was given.
pub const SERVER_ADDRESS: &str = "server.address";
/// Port that the request names, or the server's.
pub const SERVER_PORT: &str = "server.port";
/// Absolute URL, without a query (client spans).
pub const URL_FULL: &str = "url.full";
/// Path, without a query.
pub const URL_PATH: &str = "url.path";
/// `http`: what was read was plaintext.
pub const URL_SCHEME: &str = "url.scheme";
/// True on the series that takes what the cap keeps out (metrics SDK specification, "overflow attribute").
pub const OVERFLOW: &str = "otel.metric.overflow";
/// `client`, `server` or `unknown`: what the observed end is to a TCP connection.
pub const TCP_ROLE: &str = "sidecar.tcp.role";
/// `configured` or `learned`.
pub const ROUTE_SOURCE: &str = "sidecar.route.source";
/// `User-Agent`, where the configuration names it.
pub const USER_AGENT: &str = "user_agent.original";
/// Why something was dropped or odd; each metric has a fixed set, in `reason`.
pub const REASON: &str = "sidecar.reason";
/// Who tells of endpoints: `dns:NAME`, `srv:NAME` or `file:PATH`.
pub const ENDPOINT_SOURCE: &str = "sidecar.endpoint.source";
/// How payload bytes were accounted for.
pub const CLASS: &str = "sidecar.class";
/// What became of an exchange.
pub const OUTCOME: &str = "sidecar.outcome";
/// Whether an exchange became a span, or why not.
pub const DECISION: &str = "sidecar.decision";
/// `metrics`, `traces` or `logs`.
pub const SIGNAL: &str = "sidecar.signal";
/// Version of the program.
pub const VERSION: &str = "sidecar.version";
/// A container's id, else its cgroup's name; only from when on several were observed at a time, and of connections only
/// where the process that made the socket is known to be in one of them.
pub const CONTAINER_NAME: &str = "container.name";
/// Base name of the executable of a process.
pub const EXECUTABLE_NAME: &str = "process.executable.name";
/// `cpu`, `memory`, `threads` or `file_descriptors`.
pub const RESOURCE: &str = "sidecar.resource";
/// Where a figure was read: `cgroup_v2`, `cgroup_v1` or `processes`.
pub const SOURCE: &str = "sidecar.source";
/// What became of something; each metric has a fixed set.
pub const STATE: &str = "sidecar.state";
/// Which way a connection goes: `outbound` or `inbound`.
pub const TRAFFIC_DIRECTION: &str = "sidecar.traffic.direction";
/// What became of a connection that the application wanted: `direct`, `proxied`, `passed` or `denied`.
pub const VERDICT: &str = "sidecar.verdict";
/// Name of a service of the configuration.
pub const SERVICE: &str = "sidecar.service";
/// `IP:PORT` of an endpoint of a service.
pub const ENDPOINT: &str = "sidecar.endpoint";
