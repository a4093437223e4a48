//! Which requests become spans.

use std::{collections::BTreeSet, fs, process::Command};

use sidecar_tests::{free_port, load::Load, nginx::Nginx, otlp::Receiver, process, python, sidecar::Sidecar};

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
