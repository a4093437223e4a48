//! The finer forms of histograms, held by programs that are not ours: native ones with exemplars in Prometheus,
//! exponential ones as differences in an OTLP receiver.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use serde_json::Value;
use sidecar_tests::{
    eventually, free_port,
    nginx::Nginx,
    otlp::{Metrics, Numbers, Receiver},
    parts,
    process::{self, Process},
    scrape::{Kind, Labels},
    sidecar::Sidecar,
};

/// nginx under a daemon that pushes to a receiver.
fn start(dir: &Path, args: &[&str]) -> (Receiver, Nginx, Sidecar) {
    let receiver = Receiver::start(dir);
    let nginx = Nginx::prepare(dir, "127.0.0.1", free_port(), "");
    let words = nginx.command();
    let endpoint = receiver.endpoint();
    let args = [&["--otlp-endpoint", endpoint.as_str()], args].concat();
    let sidecar = Sidecar::run(dir, &args, &words.iter().map(String::as_str).collect::<Vec<_>>());
    nginx.await_listening();
    (receiver, nginx, sidecar)
}

fn load(nginx: &Nginx) {
    let url = |path: &str| format!("http://127.0.0.1:{}/{path}", nginx.port);
    let h2load = ["--h1", "-n", "200", "-c", "4", "-t", "1"];
    process::run(Command::new("h2load").args(h2load).args([url("1000.bin"), url("10000.bin")]));
    process::run(Command::new("curl").arg("-s").args(["60000.bin", "status/503", "status/204"].map(url)));
}

/// Prometheus, scraping as one who wants native histograms and exemplars.
fn prometheus(dir: &Path, sidecar: &Sidecar) -> (Process, impl Fn(&str, &[&str]) -> Option<Value> + use<>) {
    let port = free_port();
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: sidecar\n  \
         static_configs: [{{targets: ['127.0.0.1:{}']}}]\n",
        sidecar.port
    );
    let file = dir.join("prometheus.yml");
    fs::write(&file, config).expect("written");
    let mut command = Command::new(parts().join("bin/prometheus"));
    command.arg("--enable-feature=native-histograms,exemplar-storage");
    command.arg("--config.file").arg(&file).arg("--storage.tsdb.path").arg(dir.join("tsdb"));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let process = Process::start(&mut command, &dir.join("prometheus.log"));
    let ask = move |path: &str, parameters: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-G"]).args(parameters.iter().flat_map(|one| ["--data-urlencode", one]));
        let answer = process::output(curl.arg(format!("http://127.0.0.1:{port}/api/v1/{path}"))).stdout;
        serde_json::from_slice::<Value>(&answer).ok().map(|mut answer| answer["data"].take())
    };
    (process, ask)
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn histograms_are_native_to_prometheus() {
    let dir = tempfile::tempdir().expect("a folder");
    let (receiver, nginx, mut sidecar) = start(dir.path(), &[]);
    let (_prometheus, ask) = prometheus(dir.path(), &sidecar);
    load(&nginx);
    let number = |query: &str| {
        let answer = ask("query", &[&format!("query={query}")])?;
        answer["result"][0]["value"][1].as_str()?.parse::<f64>().ok()
    };
    let counts = || {
        let answer = ask("query", &["query=histogram_count(http_server_request_duration_seconds)"])?;
        let mut kinds: BTreeMap<Kind, u64> = BTreeMap::new();
        for series in answer["result"].as_array()? {
            let label = |name: &str| series["metric"][name].as_str().unwrap_or_default().to_owned();
            let value: f64 = series["value"][1].as_str()?.parse().ok()?;
            *kinds.entry((label("http_request_method"), label("http_response_status_code"))).or_default() +=
                value as u64;
        }
        Some(kinds)
    };
    // What a native histogram counts is what nginx answered.
    eventually("Prometheus to have it all", || (counts()? == nginx.answered()).then_some(()));
    let bytes =
        |query: &str| number(&query.replace("SIZE", "http_server_response_body_size_bytes")).expect(query);
    let requests = nginx.answered().values().sum::<u64>() as f64;
    assert_eq!(bytes("sum(histogram_count(SIZE))"), requests);
    // curl and h2load asked for known sizes: most for 1,000 or 10,000, one for 60,000. A bucket is 9 % wide at most
    // where eight share a power of two, and ours are not wider.
    let top = bytes("histogram_quantile(1, sum(SIZE{http_response_status_code=\"200\"}))");
    assert!((60_000.0 * 0.91..=60_000.0 * 1.1).contains(&top), "{top}");
    let below = bytes("histogram_fraction(0, 20000, sum(SIZE{http_response_status_code=\"200\"}))");
    assert!((below - 200.0 / 201.0).abs() < 1e-6, "{below}");

    let (from, to) = ("start=2020-01-01T00:00:00Z", "end=2100-01-01T00:00:00Z");
    let query = "query=http_server_request_duration_seconds";
    let exemplars = eventually("exemplars", || {
        let answer = ask("query_exemplars", &[query, from, to])?;
        let ids: BTreeSet<String> = answer
            .as_array()?
            .iter()
            .flat_map(|series| series["exemplars"].as_array().into_iter().flatten())
            .filter_map(|one| one["labels"]["trace_id"].as_str().map(str::to_owned))
            .collect();
        (!ids.is_empty()).then_some(ids)
    });
    sidecar.stop();
    let traces: BTreeSet<String> = receiver.spans().into_iter().map(|span| span.trace).collect();
    assert!(exemplars.is_subset(&traces), "{exemplars:?}");
}

/// Each push of a metric's exponential histograms: the time of the push, since when it counts, attributes, count.
fn pushes(receiver: &Receiver, name: &str) -> Vec<(u64, u64, Labels, u64)> {
    let number = |value: &Value| value.as_str().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let mut points = Vec::new();
    for push in receiver.requests("metrics") {
        let scopes = push["request"]["resourceMetrics"][0]["scopeMetrics"].as_array().into_iter().flatten();
        let metrics = scopes.flat_map(|scope| scope["metrics"].as_array().into_iter().flatten());
        for metric in metrics.filter(|metric| metric["name"] == name) {
            let histogram = &metric["exponentialHistogram"];
            assert_eq!(histogram["aggregationTemporality"], "AGGREGATION_TEMPORALITY_DELTA", "{metric:#}");
            for point in histogram["dataPoints"].as_array().into_iter().flatten() {
                let buckets = point["positive"]["bucketCounts"].as_array().into_iter().flatten();
                let inside: u64 = buckets.map(number).sum();
                let count = number(&point["count"]);
                assert_eq!(inside + number(&point["zeroCount"]), count, "{point:#}");
                let pair = |pair: &Value| {
                    let value = pair["value"].as_object()?.values().next()?;
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    Some((pair["key"].as_str()?.to_owned(), text))
                };
                let attributes = point["attributes"].as_array().into_iter().flatten();
                let labels: Labels = attributes.filter_map(pair).collect();
                let (at, since) = (number(&point["timeUnixNano"]), number(&point["startTimeUnixNano"]));
                points.push((at, since, labels, count));
            }
        }
    }
    points
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn histograms_as_differences_add_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let wanted = ["otlp.temporality=delta", "otlp.histograms=exponential", "otlp.interval=1s"];
    let args: Vec<&str> = wanted.iter().flat_map(|setting| ["--set", setting]).collect();
    let (receiver, nginx, mut sidecar) = start(dir.path(), &args);
    let name = "http.server.request.duration";
    let n_pushes = || pushes(&receiver, name).iter().map(|(at, ..)| *at).collect::<BTreeSet<_>>().len();
    // Twice, so that there is a push between which has had the first and not the second.
    load(&nginx);
    eventually("the first push", || (n_pushes() > 0).then_some(()));
    load(&nginx);
    let _ = sidecar.scrape_at_rest();
    sidecar.stop();

    let pushed = pushes(&receiver, name);
    let mut kinds: BTreeMap<Kind, u64> = BTreeMap::new();
    let mut ends: BTreeMap<&Labels, u64> = BTreeMap::new();
    for (at, since, labels, count) in &pushed {
        assert!(since < at && *count > 0, "an interval with something in it");
        let end = ends.insert(labels, *at).unwrap_or_default();
        assert!(*since >= end, "intervals of a series do not overlap");
        let kind = (labels["http.request.method"].clone(), labels["http.response.status_code"].clone());
        *kinds.entry(kind).or_default() += count;
    }
    assert!(n_pushes() > 1);
    assert_eq!(kinds, nginx.answered());
    // What goes down too is pushed as it stands.
    let Metrics { points, .. } = receiver.metrics();
    let mut open = points.iter().filter(|((name, _), _)| name == "http.server.active_requests");
    assert!(open.all(|(_, value)| *value == Numbers::Value(0.0)));
}
