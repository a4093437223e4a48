//! Real receivers hold the numbers that the scrape shows: Prometheus and its lint, rotel, and gRPC's own core.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;
use sidecar_tests::{
    eventually, free_port,
    nginx::Nginx,
    otlp::{Metrics, Numbers, Receiver, Span},
    parts,
    process::{self, Process},
    rotel::Rotel,
    scrape::{self, Kind, Labels, Scrape},
    sidecar::Sidecar,
};

/// nginx under a daemon.
fn start(dir: &Path, args: &[&str]) -> (Nginx, Sidecar) {
    let nginx = Nginx::prepare(dir, "127.0.0.1", free_port(), "");
    let words = nginx.command();
    let sidecar = Sidecar::run(dir, args, &words.iter().map(String::as_str).collect::<Vec<_>>());
    nginx.await_listening();
    (nginx, sidecar)
}

/// Some of each kind; gives the scrape at rest, which equals nginx's account.
fn load(nginx: &Nginx, sidecar: &Sidecar) -> Scrape {
    let url = |path: &str| format!("http://127.0.0.1:{}/{path}", nginx.port);
    let h2load = ["--h1", "-n", "300", "-c", "4", "-t", "1"];
    process::run(Command::new("h2load").args(h2load).args([url("1000.bin"), url("10000.bin")]));
    let paths = ["60000.bin", "status/503", "status/301", "status/204", "nowhere", "0.bin"];
    for words in
        [&["-s"][..], &["-s", "-I"], &["-s", "-d", "body"], &["-s", "-X", "DELETE"], &["-s", "-X", "QUERY"]]
    {
        process::run(Command::new("curl").args(words).args(paths.map(url)));
    }
    let scrape = sidecar.scrape_at_rest();
    assert_eq!(scrape.requests("server"), nginx.answered());
    assert!(scrape.requests("server").len() > 10 && scrape.drops().is_empty(), "{:?}", scrape.drops());
    scrape
}

/// The scrape's series of a metric, in OpenTelemetry's spelling.
fn points(
    scrape: &Scrape,
    name: &str,
    exposed: &str,
    spelling: &[&str],
) -> BTreeMap<(String, Labels), Numbers> {
    let original = |labels: &Labels| -> Labels {
        let key = |label: &str| {
            let key = spelling.iter().find(|key| key.replace('.', "_") == label);
            (*key.unwrap_or_else(|| panic!("{label} has no original"))).to_owned()
        };
        labels
            .iter()
            .filter(|(label, _)| *label != "le")
            .map(|(label, value)| (key(label), value.clone()))
            .collect()
    };
    let mut points = BTreeMap::new();
    for (labels, value) in scrape.all(exposed) {
        points.insert((name.to_owned(), original(labels)), Numbers::Value(value));
    }
    for (labels, count) in scrape.all(&format!("{exposed}_count")) {
        // These labels and no others: a series without a route has those of all series of a method.
        let has = |of: &Labels| of.iter().filter(|(key, _)| *key != "le").eq(labels.iter());
        let name_of_buckets = format!("{exposed}_bucket");
        let buckets = scrape.all(&name_of_buckets).filter(|(of, _)| has(of)).map(|(_, value)| value as u64);
        // Each of them alone: the exposition adds them up.
        let mut before = 0;
        let buckets = buckets.map(|upto| upto - std::mem::replace(&mut before, upto)).collect();
        let sum = scrape.all(&format!("{exposed}_sum")).find(|(of, _)| has(of)).expect("a sum").1;
        let histogram = Numbers::Histogram { count: count as u64, sum, buckets };
        points.insert((name.to_owned(), original(labels)), histogram);
    }
    points
}

/// What the receiver of the last push holds is what the scrape showed.
fn check_metrics(metrics: &Metrics, scrape: &Scrape) {
    const HTTP: [&str; 6] = [
        "http.request.method",
        "url.scheme",
        "http.response.status_code",
        "error.type",
        "http.route",
        "network.protocol.version",
    ];
    const TCP: [&str; 2] = ["sidecar.tcp.role", "network.io.direction"];
    for (name, exposed, spelling) in [
        ("http.server.request.duration", "http_server_request_duration_seconds", &HTTP[..]),
        ("sidecar.tcp.io", "sidecar_tcp_io_bytes_total", &TCP),
        ("sidecar.tcp.connection.opened", "sidecar_tcp_connection_opened_total", &TCP),
    ] {
        let expected = points(scrape, name, exposed, spelling);
        let found = metrics.points.iter().filter(|((one, _), _)| one == name);
        let found: BTreeMap<_, _> = found.map(|(key, value)| (key.clone(), value.clone())).collect();
        assert!(!expected.is_empty());
        assert_eq!(found, expected, "{name}");
    }
    assert_eq!(metrics.resource["service.name"], "shop");
    assert_eq!(metrics.resource["telemetry.distro.name"], "sidecar");
}

/// A span for each request, and each as its request was.
fn check_spans(spans: &[Span], nginx: &Nginx) {
    let mut kinds: BTreeMap<Kind, u64> = BTreeMap::new();
    for span in spans {
        assert_eq!(
            (span.kind.as_str(), span.resource["service.name"].as_str()),
            ("SPAN_KIND_SERVER", "shop")
        );
        let (method, status) =
            (&span.attributes["http.request.method"], &span.attributes["http.response.status_code"]);
        let name = if method == "_OTHER" { "HTTP" } else { method };
        let name =
            span.attributes.get("http.route").map_or(name.to_owned(), |route| format!("{name} {route}"));
        assert_eq!((&span.name, span.error), (&name, status.starts_with('5')), "{span:?}");
        assert_eq!(span.attributes["server.port"], nginx.port.to_string());
        assert!(span.attributes["url.path"].starts_with('/') && span.trace.len() == 32, "{span:?}");
        *kinds.entry((method.clone(), status.clone())).or_default() += 1;
    }
    assert_eq!(kinds, nginx.answered());
}

const NAMED: [&str; 2] = ["--service-name", "shop"];

/// Under `settings`, towards rotel.
fn rotel_agrees(rotel: &Rotel, dir: &Path, endpoint: &str, settings: &[&str]) {
    let sets = settings.iter().flat_map(|setting| ["--set", *setting]);
    let args: Vec<&str> = NAMED.into_iter().chain(["--otlp-endpoint", endpoint]).chain(sets).collect();
    let (nginx, mut sidecar) = start(dir, &args);
    let scrape = load(&nginx, &sidecar);
    sidecar.stop();
    // It writes after it has answered.
    let n = nginx.answered().values().sum::<u64>() as usize;
    eventually("each span", || (rotel.spans().len() == n).then_some(()));
    eventually("the last push", || (!rotel.metrics().points.is_empty()).then_some(()));
    check_spans(&rotel.spans(), &nginx);
    check_metrics(&rotel.metrics(), &scrape);
    assert!(sidecar.log().contains(&format!("\"spans_sent\":{n},\"spans_failed\":0,\"spans_dropped\":0")));
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn rotel_holds_what_the_scrape_shows() {
    let dir = tempfile::tempdir().expect("a folder");
    let rotel = Rotel::start(dir.path());
    rotel_agrees(&rotel, dir.path(), &rotel.endpoint(), &[]);
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn rotel_holds_it_by_http_and_gzip() {
    let dir = tempfile::tempdir().expect("a folder");
    let rotel = Rotel::start(dir.path());
    let settings = ["otlp.protocol=http/protobuf", "otlp.compression=gzip"];
    rotel_agrees(&rotel, dir.path(), &rotel.http_endpoint(), &settings);
}

/// One collector for each signal, each with its own protocol, port and compression.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn each_signal_has_its_own_way() {
    let dir = tempfile::tempdir().expect("a folder");
    let rotel = Rotel::start(dir.path());
    let traces = format!("otlp.traces_endpoint={}/v1/traces", rotel.http_endpoint());
    let settings = [traces.as_str(), "otlp.traces_protocol=http/protobuf", "otlp.metrics_compression=gzip"];
    rotel_agrees(&rotel, dir.path(), &rotel.endpoint(), &settings);
}

/// What the receiver got, and which headers came along, by each protocol.
fn receiver_agrees(args: &[&str], settings: &[&str]) {
    let dir = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::with(dir.path(), args);
    let endpoint = receiver.endpoint();
    let sets = settings.iter().flat_map(|setting| ["--set", *setting]);
    let common = ["--otlp-endpoint", &endpoint, "--set", "otlp.headers=x-tenant=a"];
    let (nginx, mut sidecar) =
        start(dir.path(), &NAMED.into_iter().chain(common).chain(sets).collect::<Vec<_>>());
    let scrape = load(&nginx, &sidecar);
    sidecar.stop();
    check_spans(&receiver.spans(), &nginx);
    check_metrics(&receiver.metrics(), &scrape);
    for request in receiver.requests("traces").iter().chain(&receiver.requests("metrics")) {
        assert_eq!(request["headers"]["x-tenant"], "a");
        assert!(request["headers"]["user-agent"].as_str().is_some_and(|agent| agent.starts_with("sidecar/")));
    }
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn grpcs_own_core_holds_what_the_scrape_shows() {
    receiver_agrees(&[], &[]);
    receiver_agrees(&[], &["otlp.compression=gzip"]);
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn pythons_http_server_holds_what_the_scrape_shows() {
    receiver_agrees(&["--http"], &["otlp.protocol=http/protobuf"]);
    receiver_agrees(&["--http"], &["otlp.protocol=http/protobuf", "otlp.compression=gzip"]);
}

/// A request that belongs to a trace gets its span there, unless its sender does not sample the trace.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_traceparent_becomes_the_parent() {
    let dir = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start(dir.path());
    let (nginx, mut sidecar) = start(dir.path(), &["--otlp-endpoint", &receiver.endpoint()]);
    let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let requests = [
        ("100.bin", format!("traceparent: 00-{trace}-{parent}-01")),
        ("1000.bin", format!("traceparent: 00-{trace}-{parent}-00")),
        ("10000.bin", format!("traceparent: 00-{trace}-0000000000000000-01")),
        ("0.bin", "x-none: 1".to_owned()),
    ];
    for (path, header) in &requests {
        let url = format!("http://127.0.0.1:{}/{path}", nginx.port);
        process::run(Command::new("curl").args(["-s", "-o", "/dev/null", "-H", header, &url]));
    }
    assert_eq!(sidecar.scrape_at_rest().requests("server").values().sum::<u64>(), 4);
    sidecar.stop();
    let spans = receiver.spans();
    let of = |path: &str| spans.iter().find(|span| span.attributes["url.path"] == path);
    let sampled = of("/100.bin").expect("the sampled one");
    assert_eq!((sampled.trace.as_str(), sampled.parent.as_str()), (trace, parent));
    assert_eq!(of("/1000.bin"), None, "not sampled by its sender");
    for path in ["/10000.bin", "/0.bin"] {
        let own = of(path).expect(path);
        assert!(own.trace != trace && own.parent.is_empty(), "{own:?}");
    }
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn promtool_finds_nothing_to_mind() {
    let dir = tempfile::tempdir().expect("a folder");
    let (nginx, sidecar) = start(dir.path(), &NAMED);
    let _ = load(&nginx, &sidecar);
    let text = dir.path().join("metrics.txt");
    fs::write(&text, scrape::get(sidecar.port, "/metrics", "")).expect("written");
    let mut lint = Command::new(parts().join("bin/promtool"));
    let lint = lint.args(["check", "metrics"]).stdin(Stdio::from(fs::File::open(&text).expect("the text")));
    let answer = lint.output().expect("promtool");
    // Names of the semantic conventions that end in `count`, which promtool keeps for histograms.
    const CONVENTIONS: [&str; 2] = ["process_thread_count ", "process_unix_file_descriptor_count "];
    let said = String::from_utf8([answer.stdout, answer.stderr].concat()).expect("text");
    let minded = said.lines().filter(|line| {
        !(line.ends_with("should not have \"_count\" suffix")
            && CONVENTIONS.iter().any(|name| line.starts_with(name)))
    });
    assert_eq!(minded.collect::<Vec<_>>(), [""; 0]);
    // 1 is for what cannot be read, 3 for what is minded.
    assert!(matches!(answer.status.code(), Some(0 | 3)), "{:?}", answer.status);
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn prometheus_holds_what_the_scrape_shows() {
    let dir = tempfile::tempdir().expect("a folder");
    let (nginx, sidecar) = start(dir.path(), &NAMED);
    let port = free_port();
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: sidecar\n  \
         static_configs: [{{targets: ['127.0.0.1:{}']}}]\n",
        sidecar.port
    );
    let file = dir.path().join("prometheus.yml");
    fs::write(&file, config).expect("written");
    let mut command = Command::new(parts().join("bin/prometheus"));
    command.arg("--config.file").arg(&file).arg("--storage.tsdb.path").arg(dir.path().join("tsdb"));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let _prometheus = Process::start(&mut command, &dir.path().join("prometheus.log"));
    let ask = |path: &str, parameter: &str| -> Option<Value> {
        let url = format!("http://127.0.0.1:{port}/api/v1/{path}");
        let words = ["-s", "-G", "--data-urlencode", parameter, &url];
        let answer = process::output(Command::new("curl").args(words)).stdout;
        serde_json::from_slice::<Value>(&answer).ok().map(|mut answer| answer["data"].take())
    };
    let scrape = load(&nginx, &sidecar);

    let query = "query=http_server_request_duration_seconds_count{job=\"sidecar\"}";
    let counts = || {
        let answer = ask("query", query)?;
        let mut kinds: BTreeMap<Kind, u64> = BTreeMap::new();
        for series in answer["result"].as_array()? {
            let label = |name: &str| series["metric"][name].as_str().unwrap_or_default().to_owned();
            let value: f64 = series["value"][1].as_str()?.parse().ok()?;
            *kinds.entry((label("http_request_method"), label("http_response_status_code"))).or_default() +=
                value as u64;
        }
        Some(kinds)
    };
    eventually("Prometheus to have it all", || (counts()? == scrape.requests("server")).then_some(()));
    let up = ask("query", "query=up").expect("up");
    assert_eq!(up["result"][0]["value"][1], "1", "{up:#}");
    let targets = ask("targets", "state=active").expect("targets");
    assert_eq!(targets["activeTargets"][0]["lastError"], "", "{targets:#}");
    // Units are said in OpenMetrics only: that is what was negotiated.
    let metadata = ask("metadata", "metric=http_server_request_duration_seconds").expect("metadata");
    let about = &metadata["http_server_request_duration_seconds"][0];
    assert_eq!((&about["type"], &about["unit"]), (&"histogram".into(), &"seconds".into()), "{metadata:#}");
}
