//! The expositions against each other and against a text written by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use sidecar_core::model::{
    Account, Activity, Connection, ConnectionId, Db, DbSystem, Detail, Dns, End, Exchange, Failure, Http,
    HttpVersion, Ktime, Message, MessageKind, Method, Outcome, Role, Rpc, RpcSystem, Side, Start, Tcp, Tls,
    TlsVersion, WebSocket, health::Condition,
};
use sidecar_core::signal::application::{self, Application, Cpu, Program, Readings, Source};
use sidecar_core::signal::endpoints::{Endpoint, Endpoints};
use sidecar_core::signal::{
    Derive, ExemplarIds, IdSource, IfInstrumented, Instrumented, Moment, Options, Root, Sampler, Scope,
    Snapshot, Span, Steering, Store, Tracer, UnixNanos, catalogue, kernel, sources, steering,
};
use sidecar_ebpf::abi::count::Traffic;

use super::protobuf::message::{Histogram, Metric, MetricFamily};
use super::{ExportStats, Format, Resource};

/// A snapshot in which every metric of the catalogue has a series.
pub(super) fn snapshot() -> Snapshot {
    let started = Moment { ktime: Ktime(0), unix: UnixNanos(1_000_000_000) };
    let derive = Derive { spans: true, graph: true, service: "shop".into() };
    let mut store =
        Store::new(Options { series_cap: 2, started, exponential: true, derive, ..Options::default() });
    for (i, role) in [Role::Client, Role::Server, Role::Client, Role::Client].into_iter().enumerate() {
        let connection = connection(role);
        let (at, took) = (Ktime(30_000_000), Duration::from_millis(2));
        let account = Account { bytes: [10, 20], retransmits: 1, rtt: Some(took) };
        for what in [
            Tcp::Opened(Some(took)),
            Tcp::Counted(account),
            Tcp::Closed(Some(End::Sent)),
            Tcp::Failed(Failure::Timeout),
        ] {
            store.tcp(at, Some(&connection), what);
        }
        store.delivered(at, &connection, took);
        store.activity(&connection, None, Some(Activity::Idle));
        store.started(&connection, &Start { at: Ktime(0), method: Some(Method::Get), is_excluded: false });
        let exchange = exchange(&format!("odd\"host\\{i}\n"), Ktime(0), Ktime(30_000_000 << i));
        let span = ExemplarIds { trace: [i as u8; 16], span: [0xab; 8] };
        store.exchange(&connection, "http", &exchange, Some(span).filter(|_| i < 2));
        if i < 2 {
            for (protocol, detail) in others(&exchange) {
                store.exchange(&connection, protocol, &Exchange { detail, ..exchange.clone() }, None);
            }
            let message = Message { at, side: Side::Client, kind: MessageKind::Text, bytes: 5 };
            store.message(&connection, "websocket", &message);
        }
    }
    let traffic = |entry| Traffic { bytes: [entry as u64, 2 * entry as u64], retransmits: 1 };
    let counted = kernel::Counted {
        slots: std::array::from_fn(|slot| slot as u64 + 1),
        traffic: std::array::from_fn(traffic),
    };
    let understood = kernel::Understood {
        explained: 7,
        before_join: 3,
        lost: 1,
        late: [0; 4],
        refused: 0,
        records: 5,
        copied: 6,
    };
    kernel::record(&mut store, &counted, understood);
    store.add(&catalogue::PARSER_ODDITIES, &["malformed"], 1u64);
    store.set(&catalogue::CONNECTIONS_TRACKED, &[], 3u64);
    store.set(&catalogue::CONNECTIONS_GAPS, &[], 1u64);
    store.set(&catalogue::TAP_LEFT_OUT, &["rate"], 1u64);
    store.set(&catalogue::RECORD_LEFT_OUT, &["slow"], 1u64);
    store.set(&catalogue::CONNECTIONS_UNREPORTED, &[], 0u64);
    store.set(&catalogue::EXCLUDED_CONNECTIONS, &["port"], 1u64);
    store.set(&catalogue::ROUTES, &["learned"], 2u64);
    store.set(&catalogue::ROUTES_OVERFLOWED, &[], 0u64);
    store.set(&catalogue::CPU_TIME, &["user"], 0.25);
    store.set(&catalogue::MEMORY_USAGE, &[], 20_000_000u64);
    store.set(&catalogue::BUILD, &["0.1.0"], 1u64);
    let instrumented = Instrumented::new(Scope::Process);
    Tracer::new(true, Sampler::default(), IdSource::new(1), instrumented, IfInstrumented::Skip)
        .record(&mut store);
    ExportStats::default().record(&mut store);
    application::record(&mut store, &readings());
    store.snapshot(Moment { ktime: Ktime(1_000_000_000), unix: UnixNanos(2_000_000_000) })
}

/// One exchange of each family besides HTTP's.
fn others(exchange: &Exchange) -> Vec<(&'static str, Detail)> {
    let http = exchange.http().expect("HTTP").clone();
    let (system, timeout, reset) = (RpcSystem::Grpc, None, None);
    let rpc = Rpc { system, http, status: Some(0), messages: [Some(1); 2], timeout, reset };
    let db = Db { rows: Some(3), ..Db::new(DbSystem::PostgreSql) };
    let (code, answers, is_truncated, bytes) = (Some(3), 0, false, [Some(30), Some(90)]);
    let dns =
        Dns { name: "a.test".into(), is_other: false, record_type: 1, code, answers, is_truncated, bytes };
    let (server_name, alpn, version) = (Some("a.test".into()), None, Some(TlsVersion::Tls13));
    let tls = Tls { server_name, alpn, version, is_resumed: Some(false), alert: None, bytes: [9, 9] };
    let socket = WebSocket { path: None, host: None, messages: [1, 2], bytes: [5, 6], close: Some(1000) };
    vec![
        ("http2", Detail::Rpc(Box::new(rpc))),
        ("postgresql", Detail::Db(Box::new(db))),
        ("dns", Detail::Dns(Box::new(dns))),
        ("tls", Detail::Tls(Box::new(tls))),
        ("websocket", Detail::WebSocket(Box::new(socket))),
    ]
}

/// An application of two containers, everything of which can be read.
fn readings() -> Readings {
    let program = Program {
        name: Some("shop".to_owned()),
        cpu: Cpu { user_s: 1.5, system_s: 0.5 },
        memory: 4096,
        threads: 2,
        files: Some(9),
    };
    let container = |name: &str| Application {
        container: Some(name.to_owned()),
        cpu: Some((Source::CgroupV2, Cpu { user_s: 2.5, system_s: 1.0 })),
        memory: Some((Source::CgroupV1, 8192)),
        threads: Some((Source::Processes, 2)),
        files: Some((Source::Processes, 9)),
        n_read: 1,
        n_skipped: 0,
        programs: vec![program.clone()],
    };
    let service = steering::Service {
        name: "orders".to_owned(),
        active: 2,
        limit: Some(10),
        verdicts: vec![("direct", 7)],
        refused: [2, 3],
    };
    let endpoint = Endpoint {
        service: "orders".to_owned(),
        address: ([10, 0, 0, 2], 8080).into(),
        share: 0.25,
        condition: Condition::Healthy,
        ejections: [1, 0, 0, 0, 2, 0, 0],
        trials: 3,
        probes: [4, 5],
    };
    let source = sources::Source {
        name: "dns:web.internal".to_owned(),
        endpoints: 3,
        is_stale: true,
        age: Some(Duration::from_secs(2)),
        failures: [1, 2, 3, 4, 5, 6, 7],
        left_out: [1, 2, 3],
    };
    let steering = Steering {
        decisions: vec![steering::Decision {
            direction: "outbound",
            verdict: "direct",
            reason: "gear",
            n: 7,
        }],
        arrivals: Arc::default(),
        services: vec![service],
        endpoints: Endpoints { all: vec![endpoint], panics: vec![("orders".to_owned(), 1)] },
        pinned: Some(true),
        heartbeat: steering::Heartbeat { age: Duration::from_millis(100), n_late: 1 },
        names: steering::Names {
            queries: [1, 2, 3, 4],
            failures: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
            outstanding: 1,
            addresses: 2,
        },
        sources: vec![source],
        relay: steering::Relay { accepted: 3, active: 1, bytes: [5, 6], failures: [1, 2, 3, 4, 5, 6, 7] },
    };
    Readings { all: vec![container("a"), container("b")], steering: Some(steering), ..Readings::default() }
}

fn connection(role: Role) -> Connection {
    Connection {
        id: ConnectionId(1),
        role: Some(role),
        local: ([10, 0, 0, 1], 5000).into(),
        remote: ([10, 0, 0, 2], 8080).into(),
        tgid: 0,
        cgroup: 0,
        joined: false,
        steered: None,
    }
}

fn exchange(host: &str, started: Ktime, ended: Ktime) -> Exchange {
    let http = Http {
        method: Some(Method::Get),
        method_original: None,
        version: HttpVersion::Http11,
        status: Some(200),
        host: Some(host.into()),
        port: None,
        path: None,
        route: None,
        request_headers: Vec::new(),
        response_headers: Vec::new(),
        exports: None,
        request_body: Some(0),
        response_body: Some(0),
        is_doubtful: false,
    };
    Exchange {
        started,
        requested: Some(Ktime(started.0 + 10_000_000)),
        read: Some(Ktime(started.0 + 15_000_000)),
        answered: Some(Ktime(started.0 + 20_000_000)),
        ended,
        outcome: Outcome::Complete,
        is_excluded: false,
        lost: 0,
        trace: None,
        detail: Detail::Http(http),
    }
}

/// A snapshot after `n` requests to a server, taken `n` seconds after its start.
pub(super) fn served(n: u64) -> Snapshot {
    let mut store = Store::new(Options { exponential: true, ..Options::default() });
    for i in 1..=n {
        let ended = Ktime(i * 1_000_000_000);
        store.exchange(
            &connection(Role::Server),
            "http",
            &exchange("a", Ktime(ended.0 - 1_000_000), ended),
            None,
        );
    }
    let now = n * 1_000_000_000;
    store.snapshot(Moment { ktime: Ktime(now), unix: UnixNanos(now) })
}

/// A server's span without attributes.
pub(super) fn span() -> Span {
    Span {
        name: "GET".into(),
        role: Role::Server,
        trace: [1; 16],
        id: [2; 8],
        parent: None,
        trace_state: Box::default(),
        flags: 1,
        started: Ktime(1),
        ended: Ktime(2),
        attributes: Vec::new(),
        headers: Vec::new(),
        error: false,
    }
}

pub(super) fn resource() -> Resource {
    Resource::new([
        ("service.name".to_owned(), "shop \"one\"".to_owned()),
        ("service_name".to_owned(), "two".to_owned()),
    ])
}

fn exposed(format: Format) -> String {
    let exposition = format.encode(&Arc::new(snapshot()), &Arc::new(resource())).expect("an exposition");
    String::from_utf8(exposition).expect("text")
}

fn families() -> Vec<MetricFamily> {
    let exposition =
        Format::Protobuf.encode(&Arc::new(snapshot()), &Arc::new(resource())).expect("an exposition");
    let mut rest = exposition.as_slice();
    let mut families = Vec::new();
    while !rest.is_empty() {
        families.push(MetricFamily::decode_length_delimited(&mut rest).expect("a family"));
    }
    families
}

/// A sample's key: its name, and its labels in alphabetical order.
pub(super) fn key<'a>(name: &str, labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let quoted = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels = labels.into_iter().map(|(name, value)| format!("{name}=\"{}\"", quoted(value)));
    let mut labels: Vec<String> = labels.collect();
    labels.sort_unstable();
    format!("{name}{{{}}}", labels.join(","))
}

/// The samples that a histogram is in a text format.
pub(super) fn flattened(
    out: &mut BTreeMap<String, f64>,
    name: &str,
    labels: &[(&str, &str)],
    cumulative: impl IntoIterator<Item = (f64, u64)>,
    (sum, count): (f64, u64),
) {
    let with = |suffix, le: Option<&str>| {
        let name = format!("{name}{suffix}");
        key(&name, labels.iter().copied().chain(le.map(|le| ("le", le))))
    };
    for (bound, n) in cumulative {
        let le = if bound.is_finite() { format!("{bound:?}") } else { "+Inf".to_owned() };
        out.insert(with("_bucket", Some(&le)), n as f64);
    }
    out.insert(with("_sum", None), sum);
    out.insert(with("_count", None), count as f64);
}

/// The samples that protobuf's explicit buckets come to.
fn decoded(families: &[MetricFamily]) -> BTreeMap<String, f64> {
    let mut out = BTreeMap::new();
    for MetricFamily { name, metric, .. } in families {
        for Metric { label, gauge, counter, histogram } in metric {
            let labels: Vec<_> = label.iter().map(|one| (one.name.as_str(), one.value.as_str())).collect();
            let number = gauge.as_ref().map(|one| one.value).or(counter.as_ref().map(|one| one.value));
            if let Some(value) = number {
                out.insert(key(name, labels.iter().copied()), value);
            }
            if let Some(Histogram { bucket, sample_sum, sample_count, .. }) = histogram {
                let buckets = bucket.iter().map(|one| (one.upper_bound, one.cumulative_count));
                flattened(&mut out, name, &labels, buckets, (*sample_sum, *sample_count));
            }
        }
    }
    out
}

/// The samples of the text format, by [`key`].
pub(super) fn samples() -> BTreeMap<String, f64> {
    parsed(&exposed(Format::Text))
}

fn parsed(exposition: &str) -> BTreeMap<String, f64> {
    let mut out = BTreeMap::new();
    for line in exposition.lines().filter(|line| !line.starts_with('#')) {
        let line = line.split_once(" # ").map_or(line, |(sample, _exemplar)| sample);
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}').expect("a closing brace");
        let mut labels: Vec<&str> = labels.split(',').collect();
        labels.sort_unstable();
        let series = format!("{name}{{{}}}", labels.join(","));
        let again = out.insert(series, value.parse::<f64>().expect("a number"));
        assert!(again.is_none(), "{line} came twice");
    }
    out
}

#[test]
fn every_metric_is_in_the_snapshot() {
    let snapshot = snapshot();
    for def in catalogue::ALL {
        assert!(snapshot.family(def).is_some(), "{}", def.name);
    }
}

#[test]
fn expositions_agree_sample_by_sample() {
    let (text, openmetrics) = (samples(), parsed(&exposed(Format::OpenMetrics)));
    assert!(text.len() > 100);
    assert_eq!(text, openmetrics);
    assert_eq!(text, decoded(&families()));
}

/// The native buckets of each histogram count what its explicit ones count, where they can be compared: between powers
/// of two, which are bounds at every scale.
#[test]
fn native_histograms_count_the_same() {
    let mut n = 0;
    for Metric { histogram, .. } in families().iter().flat_map(|family| &family.metric) {
        let Some(Histogram { schema, positive_span, positive_delta, .. }) = histogram else { continue };
        let histogram = histogram.as_ref().expect("it is one");
        let (mut index, mut count, mut all) = (0, 0, histogram.zero_count);
        let mut deltas = positive_delta.iter();
        for span in positive_span {
            index += span.offset;
            for _ in 0..span.length {
                count += deltas.next().expect("a count for each bucket of the spans");
                assert!(count > 0);
                all += count as u64;
                // Each value is below what its bucket ends with, so as many are as the cumulative explicit count says.
                let ends = 2f64.powf(f64::from(index) * 2f64.powi(-schema));
                let upto = histogram.bucket.iter().find(|bucket| bucket.upper_bound >= ends);
                assert!(upto.is_some_and(|bucket| bucket.cumulative_count >= all), "{histogram:?}");
                index += 1;
            }
        }
        assert_eq!((deltas.next(), all), (None, histogram.sample_count));
        assert!((-4..=8).contains(schema) && histogram.start_timestamp.is_some());
        n += 1;
    }
    assert!(n > 10);
}

#[test]
fn exemplars_are_in_every_format_that_has_them() {
    let lines = |format| {
        let exposition = exposed(format);
        let found = exposition.lines().filter(|line| line.contains(" # ")).map(str::to_owned);
        found.collect::<Vec<_>>()
    };
    assert!(lines(Format::Text).is_empty());
    let openmetrics = lines(Format::OpenMetrics);
    // The second exchange was the server's: 60 ms, ended 60 ms after the start.
    let line = "http_server_request_duration_seconds_bucket{le=\"0.075\",http_request_method=\"GET\",url_scheme=\"http\",\
                http_response_status_code=\"200\",network_protocol_version=\"1.1\"} 1 \
                # {trace_id=\"01010101010101010101010101010101\",span_id=\"abababababababab\"} 0.06 1.060000000";
    assert!(openmetrics.iter().any(|is| is == line), "{openmetrics:#?}");
    // A duration, a first byte, a wait and two sizes of each of two exchanges; of the server's the wait's two parts; the
    // durations by span and by edge of each.
    assert_eq!(openmetrics.len(), 16);
    let (mut classic, mut native) = (0, 0);
    for Histogram { bucket, exemplars, .. } in
        families().iter().flat_map(|family| &family.metric).filter_map(|metric| metric.histogram.as_ref())
    {
        classic += bucket.iter().filter(|bucket| bucket.exemplar.is_some()).count();
        native += exemplars.iter().filter(|one| one.timestamp.is_some()).count();
    }
    assert_eq!((classic, native), (16, 16));
}

#[test]
fn text() {
    let exposition = exposed(Format::Text);
    let lines = [
        "# HELP target_info Target metadata.",
        "# TYPE target_info gauge",
        r#"target_info{service_name="shop \"one\";two"} 1"#,
        "# TYPE http_server_request_duration_seconds histogram",
        "# TYPE sidecar_tcp_io_bytes_total counter",
        "# TYPE sidecar_capture_coverage_ratio gauge",
        "# TYPE sidecar_build_info gauge",
        r#"sidecar_build_info{sidecar_version="0.1.0"} 1"#,
        r#"sidecar_process_cpu_time_seconds_total{cpu_mode="user"} 0.25"#,
        "sidecar_process_memory_usage_bytes 20000000",
        r#"http_client_request_duration_seconds_count{otel_metric_overflow="true"} 1"#,
        "http_server_request_duration_seconds_bucket{http_request_method=\"GET\",url_scheme=\"http\",\
         http_response_status_code=\"200\",network_protocol_version=\"1.1\",le=\"1.0\"} 1",
        "http_client_request_duration_seconds_bucket{http_request_method=\"GET\",url_scheme=\"http\",\
         http_response_status_code=\"200\",network_protocol_version=\"1.1\",\
         server_address=\"odd\\\"host\\\\0\\n\",server_port=\"8080\",le=\"+Inf\"} 1",
    ];
    for line in lines {
        assert!(exposition.lines().any(|is| is == line), "{line}\nis not in\n{exposition}");
    }
}

#[test]
fn openmetrics() {
    let exposition = exposed(Format::OpenMetrics);
    let lines = [
        "# TYPE target info",
        "# TYPE sidecar_tcp_io_bytes counter",
        "# UNIT sidecar_tcp_io_bytes bytes",
        "# TYPE http_server_request_duration_seconds histogram",
        "# UNIT http_server_request_duration_seconds seconds",
        "# UNIT sidecar_capture_coverage_ratio ratio",
        "# TYPE sidecar_build info",
        "# TYPE sidecar_connections_tracked gauge",
    ];
    for line in lines {
        assert!(exposition.lines().any(|is| is == line), "{line}\nis not in\n{exposition}");
    }
    assert!(exposition.ends_with("\n# EOF\n"));
}

/// OpenTelemetry's SDK for Rust samples the same traces by ratio.
#[test]
fn sampled_alike() {
    use opentelemetry::trace::{SpanKind, TraceId};
    use opentelemetry_sdk::trace::{Sampler as Theirs, SamplingDecision, ShouldSample as _};
    let mut ids = IdSource::new(4);
    let mut n_sampled = 0;
    for ratio in [0.0, 1e-6, 0.001, 0.25, 0.5, 0.999, 1.0].repeat(1000) {
        let trace = ids.trace();
        let theirs = Theirs::TraceIdRatioBased(ratio);
        let theirs =
            theirs.should_sample(None, TraceId::from_bytes(trace), "", &SpanKind::Server, &[], &[]).decision;
        let ours = Sampler { is_parent_based: false, root: Root::Ratio(ratio) }.samples(trace, None);
        assert_eq!(ours, theirs == SamplingDecision::RecordAndSample, "{ratio} {trace:?}");
        n_sampled += usize::from(ours);
    }
    assert!((2500..3000).contains(&n_sampled), "{n_sampled} of 7000, of 2750 expected");
}
