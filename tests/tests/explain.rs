//! `/explain`: the exchanges behind a number, as the server and the client know them.

use std::process::Command;

use serde_json::Value;
use sidecar_tests::{free_port, load::Load, nginx::Nginx, otlp::Receiver, process, scrape, sidecar::Sidecar};

/// The answer to a query; each pair is encoded by curl.
fn explain(sidecar: &Sidecar, pairs: &[&str]) -> Value {
    let mut words = vec!["-s", "-G"];
    words.extend(pairs.iter().flat_map(|pair| ["--data-urlencode", pair]));
    let url = format!("http://127.0.0.1:{}/explain", sidecar.admin_port);
    let answer = process::run(Command::new("curl").args(words).arg(url));
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn errors_are_explained_after_a_flood_of_others() {
    let dir = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start(dir.path());
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    let command = nginx.command();
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let args = ["--otlp-endpoint", &receiver.endpoint(), "--set", "explain.exchanges=64"];
    let sidecar = Sidecar::run(dir.path(), &args, &command);
    nginx.await_listening();

    let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let header = format!("header = \"traceparent: 00-{trace}-{parent}-01\"");
    let mut load = Load::new(dir.path(), &[]);
    load.curl(&[("GET", "", nginx.url("status/503?token=secret")), ("POST", "", nginx.url("nowhere"))], 3);
    load.h2load(("GET", 200), 500, "-c 4 -t 1", 0, &nginx.url("100.bin"));
    load.curl(&[("GET", &header, nginx.url("1000.bin"))], 1);
    let rest = sidecar.scrape_at_rest();
    assert_eq!(rest.requests("server"), nginx.answered());

    // Found by either spelling, though 500 others came after them.
    let selector = "selector=http_server_request_duration_seconds{http_response_status_code=~\"5..\"}";
    for query in [
        &["metric=http.server.request.duration", "http.response.status_code=503"][..],
        &[selector],
        &["error.type=503"],
    ] {
        let found = explain(&sidecar, query);
        assert_eq!(found["matched"], 3, "{query:?}: {found:#}");
        for one in found["exchanges"].as_array().expect("a list") {
            assert_eq!((&one["path"], &one["status"]), (&"/status/503".into(), &503.into()), "{one:#}");
            assert_eq!((&one["role"], &one["outcome"]), (&"server".into(), &"complete".into()));
            assert_eq!(one["error"]["type"], "503");
            assert_eq!(one["connection"]["local"], format!("127.0.0.1:{}", nginx.port));
            assert_eq!(one["bytes"]["lost"], 0);
            let times = ["started", "requested", "answered", "ended"].map(|key| one["times"][key].as_str());
            assert!(times.is_sorted() && times[0].is_some(), "{one:#}");
        }
        assert!(!found.to_string().contains("secret"), "a query is never shown");
    }

    // What the newest is: the server's bytes, the client's trace.
    let found = explain(&sidecar, &["metric=http.server.response.body.size", "limit=1"]);
    let one = &found["exchanges"][0];
    assert_eq!((one["value"].as_f64(), &one["unit"]), (Some(1000.0), &"By".into()), "{found:#}");
    assert_eq!((&one["span"]["decision"], &one["span"]["trace_id"]), (&"sampled".into(), &trace.into()));
    assert_eq!(one["span"]["parent_span_id"], parent);
    // Its series has it as an exemplar.
    let span = one["span"]["span_id"].as_str().expect("an id");
    let openmetrics =
        scrape::get(sidecar.port, "/metrics", "Accept: application/openmetrics-text;version=1.0.0\r\n");
    let exemplar = format!("trace_id=\"{trace}\",span_id=\"{span}\"");
    assert!(openmetrics.contains(&exemplar), "{openmetrics}");

    let url = format!("http://127.0.0.1:{}/explain", sidecar.admin_port);
    let text = process::run(Command::new("curl").args(["-s", "-H", "Accept: text/plain", &url]));
    assert!(text.contains("/1000.bin 200, complete") && text.contains("sampled"), "{text}");
    let refused = explain(&sidecar, &["metric=http.server.request.duration", "job=a"]);
    assert!(refused["error"].as_str().is_some_and(|why| why.contains("no label `job`")), "{refused}");
}
