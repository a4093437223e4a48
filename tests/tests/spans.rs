//! Which requests become spans.

use std::{collections::BTreeSet, fs, process::Command};

use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port,
    load::Load,
    nginx::Nginx,
    otlp::Receiver,
    process::{self, Process},
    python, root,
    rotel::Rotel,
    sidecar::Sidecar,
};

/// By ratio the same traces are taken as by OpenTelemetry's SDK for Python, whatever their senders decided.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_ratio_takes_the_traces_that_an_sdk_takes() {
    const SAMPLED_BY_THE_SDK: &str = "
import sys
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
sampler = TraceIdRatioBased(float(sys.argv[1]))
for line in open(sys.argv[2]):
    if sampler.should_sample(None, int(line, 16), '').decision is Decision.RECORD_AND_SAMPLE:
        print(line.strip())
";
    const RATIO: &str = "0.3";
    let dir = tempfile::tempdir().expect("a folder");
    let traces: Vec<String> = (1..=200u128)
        .map(|n| format!("{:032x}", n.wrapping_mul(0x2d35_8dcc_aa6c_78a5_9e37_79b9_7f4a_7c15)))
        .collect();
    let file = dir.path().join("traces.txt");
    fs::write(&file, traces.join("\n")).expect("the traces");
    let words = ["-c", SAMPLED_BY_THE_SDK, RATIO, &file.display().to_string()];
    let sampled = process::run(Command::new(python()).args(words));
    let sampled: BTreeSet<String> = sampled.lines().map(str::to_owned).collect();
    assert!((30..90).contains(&sampled.len()), "{}", sampled.len());

    let receiver = Receiver::start(dir.path());
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    let command = nginx.command();
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let environment =
        ["env", "OTEL_TRACES_SAMPLER=traceidratio", &format!("OTEL_TRACES_SAMPLER_ARG={RATIO}")];
    let args = ["--otlp-endpoint", &receiver.endpoint()];
    let mut sidecar = Sidecar::spawn(dir.path(), &environment, &args, &command);
    sidecar.await_attached();
    nginx.await_listening();

    let headers: Vec<String> = (traces.iter().zip(["00", "01"].iter().cycle()))
        .map(|(trace, flags)| format!("header = \"traceparent: 00-{trace}-00f067aa0ba902b7-{flags}\""))
        .collect();
    let requests: Vec<_> =
        headers.iter().map(|header| ("GET", header.as_str(), nginx.url("100.bin"))).collect();
    let mut load = Load::new(dir.path(), &[]);
    load.curl(&requests, 1);
    let scrape = sidecar.scrape_at_rest();
    assert_eq!(scrape.requests("server"), nginx.answered());
    let decided = |word| scrape.count("sidecar_spans_total", &[("sidecar_decision", word)]) as usize;
    assert_eq!((decided("sampled"), decided("not_sampled")), (sampled.len(), 200 - sampled.len()));
    sidecar.stop();
    let spans = receiver.spans();
    assert_eq!(spans.len(), sampled.len());
    assert_eq!(spans.into_iter().map(|span| span.trace).collect::<BTreeSet<_>>(), sampled);
}

/// An application that exports its own spans is not traced twice from when that shows, and its neighbour in the same
/// cgroup is; metrics count all. Its exports are no spans in any case.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn an_instrumented_application_is_not_traced_twice() {
    for (setting, n_of_app) in [("detect", 1), ("ignore", 21)] {
        let dir = tempfile::tempdir().expect("a folder");
        let (collector, receiver) = (Rotel::start(dir.path()), Receiver::start(dir.path()));
        let cgroup = Cgroup::new();
        let inside = |words: &[&str], output: &str| {
            let wrapper = cgroup.wrapper();
            let mut command = Command::new(&wrapper[0]);
            Process::start(command.args(&wrapper[1..]).args(words), &dir.path().join(output))
        };
        let folder = cgroup.path().display().to_string();
        let setting = format!("spans.instrumented={setting}");
        let args = ["--cgroup", &folder, "--otlp-endpoint", &receiver.endpoint(), "--set", &setting];
        let mut sidecar = Sidecar::run(dir.path(), &args, &[]);
        let (port, script) = (free_port(), root().join("tests/support/instrumented_app.py"));
        let python = python();
        let app = [&python, &script.display().to_string(), &port.to_string(), &collector.http_endpoint()];
        let _app = inside(&app.map(String::as_str), "app.log");
        let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
        let command = nginx.command();
        let _nginx = inside(&command.iter().map(String::as_str).collect::<Vec<_>>(), "nginx.log");
        nginx.await_listening();
        eventually("the application to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());

        let get = |url: &str| process::run(Command::new("curl").args(["-s", url]));
        let own = format!("http://127.0.0.1:{port}/");
        assert_eq!(get(&own), "ok");
        eventually("its export to be seen", || {
            let seen = sidecar.scrape().count("sidecar_app_otlp", &[("sidecar_signal", "traces")]);
            (seen == 1).then_some(())
        });
        for _ in 0..20 {
            assert_eq!(get(&own), "ok");
            get(&nginx.url("100.bin"));
        }
        let scrape = sidecar.scrape_at_rest();
        assert_eq!(scrape.requests("server").values().sum::<u64>(), 41);
        // Each of its spans is one export.
        eventually("the collector to have its spans", || (collector.spans().len() == 21).then_some(()));
        assert_eq!(scrape.requests("client").values().sum::<u64>(), 21);
        sidecar.stop();
        let spans = receiver.spans();
        assert!(spans.iter().all(|span| span.kind == "SPAN_KIND_SERVER"), "{setting}");
        let of = |port: u16| {
            spans.iter().filter(|span| span.attributes["server.port"] == port.to_string()).count()
        };
        assert_eq!((of(port), of(nginx.port)), (n_of_app, 20), "{setting}");
        assert!(sidecar.log().contains("exports traces of its own"), "{}", sidecar.log());
    }
}
