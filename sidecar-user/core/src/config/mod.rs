//! What the user asked for: the tree of settings and, from it, everything said about them.
//!
//! A key is one field here: its doc comment is its documentation, its type refuses what cannot be meant, a
//! `range` holds its bounds, `check` what no single field can know. Names, variables, defaults and
//! `docs/config.md` are derived from the schema ([`keys()`], [`reference()`]).
//!
//! Not for reading: files and the environment are `sidecar-user`'s `config::load`.

use std::{collections::BTreeMap, net::SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod aggregation;
mod check;
mod environment;
mod keys;
mod layer;
mod otel;
mod otlp;
mod print;
mod reference;
mod reload;
mod resolve;
mod secret;
mod text;
mod traffic;
mod value;
mod watch;

pub use aggregation::{Buckets, Histograms, Temporality};
pub use environment::FILE_VARIABLE;
pub use keys::{Key, Keys, Kind, Place, keys};
pub use layer::{Layers, Notice, Origin, Problem, Setting};
pub use otlp::{Compression, File, Otlp, Protocol, Target, Tls};
pub use reference::reference;
pub use reload::{Reload, is_live, reload};
pub use resolve::{Resolved, resolve};
pub use secret::{Headers, Secret};
pub use traffic::{EndpointSettings, InboundSettings, ServiceSettings, Traffic, endpoints_of};
pub use value::{
    AdminListen, Duration, Endpoint, HeaderName, Instrumented, Level, Listen, LogFormat, Pattern, Peers,
    Ratio, Refused, RingBytes, Sampler,
};
pub use watch::{Look, Watch};

/// All settings, each with its default.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The public listener: `/metrics`, `/startupz`, `/livez`, `/readyz`.
    pub metrics: Metrics,
    /// The listener for the operator: connections, settings, log level.
    pub admin: Admin,
    /// Who the observed application is, as OpenTelemetry names it.
    pub service: Service,
    /// Further resource attributes, by name. In a variable: `name=value,name=value` with `%XX` for what a value may
    /// not hold. What several layers give is merged name by name.
    pub resource: BTreeMap<String, String>,
    /// What is copied from the kernel, and how much of it is kept.
    pub capture: Capture,
    /// What is made of HTTP besides the metrics: routes, headers.
    pub http: Http,
    /// What is made of lookups of the DNS.
    pub dns: Dns,
    /// What is left out: neither metrics of requests nor spans, and counted as excluded.
    pub exclude: Exclude,
    /// TCP connections, whatever they speak.
    pub tcp: Tcp,
    /// Pushing metrics and spans to an OpenTelemetry collector. Off until an endpoint is given.
    pub otlp: Otlp,
    /// Which requests become spans, and what spans say.
    pub spans: Spans,
    /// Where connections of the application go.
    pub traffic: Traffic,
    /// What `/explain` on the admin listener has to tell.
    pub explain: Explain,
    /// How the daemon stops.
    pub shutdown: Shutdown,
    /// The daemon's own log, on standard error.
    pub log: Log,
    /// Debug lines of the programs in the kernel, up to this level, in the daemon's log. For developers: each line
    /// costs time on the application's path.
    pub kernel_log: Level,
}

/// Section `metrics`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Address of the public listener, `IP:PORT` or `:PORT`. `[::]` takes IPv4 too; where IPv6 is off, `0.0.0.0` is
    /// taken in its place.
    pub listen: Listen,
    /// Series that one metric may have. Those beyond it are summed into one marked `otel.metric.overflow`.
    #[schemars(range(min = 10, max = 1_000_000))]
    pub series: u32,
    /// How long a series of requests may go without one before it vanishes and gives its room back. Should it return,
    /// it begins at 0. `0s`: none ever vanishes. Where metrics are pushed, a series waits until its last value was.
    pub expiry: Duration,
    /// Upper bounds of histograms in place of those in `docs/metrics.md`, by OpenTelemetry's name of the metric, in its
    /// unit: 1 to 100 numbers, ascending, with spaces between them: `http.server.request.duration: 0.1 0.5 1`.
    pub buckets: BTreeMap<String, Buckets>,
    /// Whether histograms keep exponential buckets too, for Prometheus servers that ask for native histograms (by
    /// protobuf). A series then takes up to 1.3 KB more for each histogram.
    pub native_histograms: bool,
    /// Whether exchanges are counted by what their spans are called too (`traces.span.metrics.*`), as OpenTelemetry's collector
    /// does: for dashboards that are made of these.
    pub span_metrics: bool,
    /// Whether exchanges are counted by who asks whom too (`traces.service.graph.*`): for service graphs.
    pub service_graph: bool,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            listen: Listen(SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 9464))),
            series: 2000,
            expiry: Duration::from_secs(300),
            buckets: BTreeMap::new(),
            native_histograms: true,
            span_metrics: false,
            service_graph: false,
        }
    }
}

/// Section `admin`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Address of the admin listener: `IP:PORT`, or `unix:PATH` for a socket of mode 0600. It asks for no password:
    /// keep it on loopback.
    pub listen: AdminListen,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: AdminListen::Tcp(SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 9465))) }
    }
}

/// Section `service`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Service {
    /// Name of the application, `service.name`. Unset: the name of the container, pod, command, unit or executable that is
    /// observed.
    pub name: Option<String>,
    /// What tells applications of one name apart, `service.namespace`.
    pub namespace: Option<String>,
    /// Version of the application, `service.version`.
    pub version: Option<String>,
}

/// Section `capture`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Capture {
    /// Bytes of the ring between kernel and daemon, a power of two from 65536. All of it is resident.
    pub ring_bytes: RingBytes,
    /// Connections followed at once. Those beyond it are counted, not parsed.
    #[schemars(range(min = 16, max = 4_194_304))]
    pub connections: u32,
    /// Bytes copied from one side in one turn of a connection before the daemon has judged it.
    #[schemars(range(min = 1024, max = 16_777_216))]
    pub turn_bytes: u32,
    /// Bytes copied of each turn where only its head is wanted. A head that is longer is lost, so keep it above the longest
    /// that the application takes.
    #[schemars(range(min = 1024, max = 1_048_576))]
    pub head_bytes: u32,
    /// Bytes of memory that all connections together may hold of what passed: beginnings of messages, requests that are
    /// not over, packets that came out of order. At the bound those that hold most are read no further, and counted.
    #[schemars(range(min = 1_048_576, max = 1_073_741_824))]
    pub held_bytes: u32,
    /// Whether the time that a request lies in its socket before the application reads it is told apart from the
    /// application's work (`sidecar.http.server.socket_wait.duration`, `sidecar.http.server.work.duration`). It takes a
    /// program on the kernel's tracepoint `tcp_rcv_space_adjust`, which runs at every read of every TCP socket of the
    /// node, whoever's it is: at those that are not observed only for one look. It needs CAP_PERFMON and the kernel's BTF;
    /// without them the log says so, and neither metric is there.
    pub socket_wait: bool,
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            ring_bytes: RingBytes::DEFAULT,
            connections: 65_536,
            turn_bytes: 4_194_304,
            head_bytes: 16_384,
            held_bytes: 8_388_608,
            socket_wait: false,
        }
    }
}

/// Section `http`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Routes of the application, `http.route`: patterns such as `/users/{id}` or `/static/*`, the first that matches a
    /// path is its route. At most 512.
    pub routes: Vec<Pattern>,
    /// Whether routes of other paths are learned: segments that look like ids, or of which there are many, become
    /// `{id}`. A learned route never changes. Only answers of 2xx, 3xx and 500 make one. Off, `http.route` is only what
    /// the conventions allow: what `http.routes` says.
    pub learn_routes: bool,
    /// Routes that are learned at most. Requests to further ones have no `http.route`.
    #[schemars(range(min = 1, max = 10_000))]
    pub route_cap: u32,
    /// Request headers that spans show, as `http.request.header.NAME` (`user-agent` as `user_agent.original`). At most 16;
    /// 4 values of each, 256 bytes of each value, 2048 of all of a message. Values of `authorization`, `cookie`,
    /// `proxy-authorization` and `set-cookie` are always `REDACTED`; `referer`, `location`, `content-location` and `origin`
    /// lose query, fragment and user.
    pub request_headers: Vec<HeaderName>,
    /// Response headers that spans show, as `http.response.header.NAME`, with the same bounds.
    pub response_headers: Vec<HeaderName>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            routes: Vec::new(),
            learn_routes: true,
            route_cap: 64,
            request_headers: Vec::new(),
            response_headers: Vec::new(),
        }
    }
}

/// Section `dns`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// Names that metrics of lookups tell apart, `dns.question.name`, of clients and of servers each. Those beyond it are
    /// `_OTHER`. A name that nobody asked for in `metrics.expiry` gives its room back. Spans have every name.
    #[schemars(range(min = 1, max = 10_000))]
    pub question_names: u32,
}

impl Default for Dns {
    fn default() -> Self {
        Self { question_names: 200 }
    }
}

/// Section `exclude`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Exclude {
    /// Ports of servers, the application's own or others': connections to them are not read. At most 64.
    pub ports: Vec<u16>,
    /// Patterns of paths, written as those of `http.routes`: requests to them are read and left out, such as a
    /// kubelet's probes. At most 64.
    pub paths: Vec<Pattern>,
    /// Networks, `10.0.0.0/8` or one address: connections with them are not read. At most 64.
    pub peers: Vec<Peers>,
}

/// Section `tcp`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tcp {
    /// Peers that are told apart, by address, by port where they are servers, and by container where several are observed. Those beyond it are summed into one
    /// series marked `otel.metric.overflow`. `0` tells none apart.
    #[schemars(range(min = 0, max = 10_000))]
    pub peers: u32,
}

impl Default for Tcp {
    fn default() -> Self {
        Self { peers: 64 }
    }
}

/// Section `spans`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Spans {
    /// Who decides which requests become spans, as OpenTelemetry's SDKs name it: `parentbased_…` follows the decision
    /// in a request's `traceparent`, and decides only of requests without one.
    pub sampler: Sampler,
    /// The share of traces that the `…traceidratio` samplers take, 0 to 1. By their ids: an SDK with the same ratio takes
    /// the same ones.
    pub ratio: Ratio,
    /// Whether headers of B3 (`b3`, or `X-B3-TraceId` and `X-B3-SpanId`) name the parent of a request that has no valid
    /// `traceparent`: what OpenTelemetry's SDKs call the propagators `b3` and `b3multi`. One that leaves the decision open counts as not
    /// sampled.
    pub b3: bool,
    /// What is done about an application that makes spans by itself. That shows by its exports, if they go out as
    /// plaintext OTLP/HTTP; towards a TLS or gRPC endpoint nobody can see it: then say `assume`.
    pub instrumented: Instrumented,
    /// Whether spans and `/explain` show the path, `url.path` and `url.full`. The query is never shown; but a path may name
    /// a person too (`/users/ada@example.org`, an account's number, a token for a reset): where it may not be told, switch
    /// it off.
    pub url_path: bool,
}

impl Default for Spans {
    fn default() -> Self {
        Self {
            sampler: Sampler::default(),
            ratio: Ratio::default(),
            b3: false,
            instrumented: Instrumented::default(),
            url_path: true,
        }
    }
}

/// Section `explain`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Explain {
    /// Exchanges that are kept in memory, the newest, and a quarter more of errors that these pushed out. Each takes 1 KiB
    /// at most; 0 keeps none.
    #[schemars(range(max = 65_536))]
    pub exchanges: u32,
}

impl Default for Explain {
    fn default() -> Self {
        Self { exchanges: 1024 }
    }
}

/// Section `shutdown`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Shutdown {
    /// Time for the last exports after SIGTERM, or after the command has ended. `0s` drops them.
    pub deadline: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(5) }
    }
}

/// Section `log`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Least important level that is written. Can be changed while running: `PUT /log` on the admin listener.
    pub level: Level,
    /// `text` for people, `json` for machines: one object a line.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: Level::Info, format: LogFormat::Text }
    }
}

#[cfg(test)]
mod tests;
