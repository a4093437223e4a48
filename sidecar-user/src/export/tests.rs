//! The expositions against each other and against a text written by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use sidecar_core::model::{
    Activity, Connection, ConnectionId, Detail, Exchange, Http, HttpVersion, Ktime, Method, Outcome, Role,
    Start,
};
use sidecar_core::signal::application::{self, Application, Cpu, Program, Readings, Source};
use sidecar_core::signal::{
    IdSource, IfInstrumented, Instrumented, Moment, Options, Root, Sampler, Scope, Snapshot, Span, Store,
    Tracer, UnixNanos, catalogue, kernel,
};
use sidecar_ebpf::abi::count::Traffic;

use super::{ExportStats, Format, Resource};

/// A snapshot in which every metric of the catalogue has a series.
pub(super) fn snapshot() -> Snapshot {
    let started = Moment { ktime: Ktime(0), unix: UnixNanos(1_000_000_000) };
    let mut store = Store::new(Options { series_cap: 2, started, ..Options::default() });
    for (i, role) in [Role::Client, Role::Server, Role::Client, Role::Client].into_iter().enumerate() {
        let connection = Connection {
            id: ConnectionId(1),
            role: Some(role),
            local: ([10, 0, 0, 1], 5000).into(),
            remote: ([10, 0, 0, 2], 8080).into(),
            tgid: 0,
            cgroup: 0,
            joined: false,
        };
        let http = Http {
            method: Method::Get,
            version: HttpVersion::Http11,
            status: Some(200),
            host: Some(format!("odd\"host\\{i}\n").into()),
            port: None,
            path: None,
            route: None,
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            parent: None,
            exports: None,
            request_body: 0,
            response_body: 0,
        };
        store.activity(&connection, None, Some(Activity::Idle));
        store.started(&connection, &Start { at: Ktime(0), method: Method::Get, is_excluded: false });
        store.exchange(
            &connection,
            &Exchange {
                started: Ktime(0),
                requested: Some(Ktime(10_000_000)),
                answered: Some(Ktime(20_000_000)),
                ended: Ktime(30_000_000 << i),
                outcome: Outcome::Complete,
                is_excluded: false,
                lost: 0,
                detail: Detail::Http(http),
            },
            None,
        );
    }
    let traffic = |entry| Traffic { bytes: [entry as u64, 2 * entry as u64], retransmits: 1 };
    let counted = kernel::Counted {
        slots: std::array::from_fn(|slot| slot as u64 + 1),
        traffic: std::array::from_fn(traffic),
    };
    let understood =
        kernel::Understood { explained: 7, before_join: 3, lost: 1, late: [0; 3], records: 5, copied: 6 };
    kernel::record(&mut store, &counted, understood);
    store.add(&catalogue::PARSER_ODDITIES, &["malformed"], 1u64);
    store.set(&catalogue::CONNECTIONS_TRACKED, &[], 3u64);
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
    Readings { all: vec![container("a"), container("b")], ..Readings::default() }
}

/// A server's span without attributes.
pub(super) fn span() -> Span {
    Span {
        name: "GET".into(),
        role: Role::Server,
        trace: [1; 16],
        id: [2; 8],
        parent: None,
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
    format.encode(&Arc::new(snapshot()), &Arc::new(resource())).expect("an exposition")
}

/// Samples by name and labels, the labels in alphabetical order.
fn samples(exposition: &str) -> BTreeMap<String, f64> {
    let mut out = BTreeMap::new();
    for line in exposition.lines().filter(|line| !line.starts_with('#')) {
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
    let (text, openmetrics) = (samples(&exposed(Format::Text)), samples(&exposed(Format::OpenMetrics)));
    assert!(text.len() > 100);
    assert_eq!(text, openmetrics);
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
