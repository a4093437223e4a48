//! TLS towards the collector: certificates of openssl, TLS of nginx, which asks the client for its certificate.

use std::{path::Path, process::Command};

use serde_json::Value;
use sidecar_tests::{
    binary, eventually, free_port,
    nginx::Nginx,
    otlp::Receiver,
    pki::{Pki, TlsFront},
    process,
    rotel::Rotel,
    sidecar::Sidecar,
};

/// A few requests under a daemon with these settings; the daemon is told to stop, and gives its account of spans.
fn pushed(dir: &Path, settings: &[String]) -> (u64, [u64; 3], String) {
    let nginx = Nginx::prepare(dir, "127.0.0.1", free_port(), "");
    let words = nginx.command();
    let args: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting.as_str()]).collect();
    let mut sidecar = Sidecar::run(dir, &args, &words.iter().map(String::as_str).collect::<Vec<_>>());
    nginx.await_listening();
    let url = format!("http://127.0.0.1:{}/100.bin", nginx.port);
    process::run(Command::new("h2load").args(["--h1", "-n", "100", "-c", "2", "-t", "1", &url]));
    assert_eq!(sidecar.scrape_at_rest().requests("server"), nginx.answered());
    sidecar.stop();
    let log = sidecar.log();
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let last = lines.iter().rfind(|line| !line["spans_sent"].is_null()).expect("the last word");
    let spans = ["spans_sent", "spans_failed", "spans_dropped"].map(|name| last[name].as_u64().expect(name));
    (nginx.answered().values().sum(), spans, log)
}

fn settings(endpoint: &str, pki: &Pki, files: &[(&str, &str)], more: &[&str]) -> Vec<String> {
    let files = files.iter().map(|(key, name)| format!("otlp.{key}={}", pki.path(name)));
    let more = more.iter().map(|one| (*one).to_owned());
    [format!("otlp.endpoint={endpoint}")].into_iter().chain(files).chain(more).collect()
}

const ALL: [(&str, &str); 3] =
    [("certificate", "ca.pem"), ("client_certificate", "client.pem"), ("client_key", "client.key")];

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn grpc_and_http_with_a_client_certificate() {
    for (args, pass, more) in [
        (&[][..], "grpc_pass grpc", &["otlp.compression=gzip"][..]),
        (&["--http"], "proxy_pass http", &["otlp.protocol=http/protobuf"]),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let (pki, receiver) = (Pki::new(dir.path()), Receiver::with(dir.path(), args));
        let front = TlsFront::start(&pki, &format!("{pass}://127.0.0.1:{}", receiver.port()));
        let (n, spans, log) = pushed(dir.path(), &settings(&front.endpoint(), &pki, &ALL, more));
        assert_eq!((spans, receiver.taken("traces")), ([n, 0, 0], n), "{pass}: {log}");
        assert!(receiver.taken("metrics") > 0);
    }
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn rotel_behind_tls_and_an_endpoint_without_a_scheme() {
    let dir = tempfile::tempdir().expect("a folder");
    let (pki, rotel) = (Pki::new(dir.path()), Rotel::start(dir.path()));
    let front = TlsFront::start(&pki, &format!("grpc_pass {}", rotel.endpoint().replace("http", "grpc")));
    let bare = front.endpoint().replace("https://127.0.0.1", "localhost");
    let (n, spans, log) = pushed(dir.path(), &settings(&bare, &pki, &ALL, &[]));
    assert_eq!(spans, [n, 0, 0], "{log}");
    eventually("each span", || (rotel.spans().len() as u64 == n).then_some(()));
}

/// Who is not trusted gets nothing, and who does not show a certificate brings nothing.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn what_is_not_trusted_is_not_used() {
    for (files, reason) in [
        (&[("certificate", "other.pem"), ALL[1], ALL[2]][..], "UnknownIssuer"),
        (&[ALL[1], ALL[2]], "UnknownIssuer"),
        // nginx answers 400 to whoever shows none.
        (&[ALL[0]], "answered"),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let (pki, receiver) = (Pki::new(dir.path()), Receiver::start(dir.path()));
        let front = TlsFront::start(&pki, &format!("grpc_pass grpc://127.0.0.1:{}", receiver.port()));
        let more = ["otlp.interval=1s", "log.level=debug"];
        let (n, [sent, failed, dropped], log) =
            pushed(dir.path(), &settings(&front.endpoint(), &pki, files, &more));
        assert_eq!((sent, failed + dropped, receiver.requests("traces").len()), (0, n, 0), "{log}");
        assert!(log.contains(reason), "{reason}: {log}");
    }
}

/// A file that cannot be used is named before anything is observed or started.
#[test]
fn files_that_cannot_be_used_are_named_at_the_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let pki = Pki::new(dir.path());
    for (files, named) in [
        (vec![("certificate", "none.pem")], "none.pem"),
        (vec![("certificate", "ca.key")], "ca.key holds no certificates"),
        (
            vec![ALL[0], ("client_certificate", "client.csr"), ALL[2]],
            "client.csr holds no client certificate",
        ),
        (vec![ALL[0], ALL[1], ("client_key", "ca.pem")], "ca.pem holds no client key"),
        (vec![ALL[0], ALL[1], ("client_key", "server.key")], "server.key"),
        (vec![ALL[0], ALL[1]], "otlp.client_key is missing"),
    ] {
        let keys: String = files.iter().map(|(key, name)| format!("  {key}: {}\n", pki.path(name))).collect();
        let file = dir.path().join("sidecar.yaml");
        std::fs::write(&file, format!("otlp:\n  endpoint: https://127.0.0.1:1\n{keys}")).expect("written");
        let file = file.display().to_string();
        for args in [&["check", &file][..], &["run", "--strict", "--config", &file, "--", "echo", "it runs"]]
        {
            let output = process::output(Command::new(binary()).args(args));
            let (out, err) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert_eq!((output.status.code(), out.as_ref()), (Some(2), ""), "{args:?}: {err}");
            assert!(err.contains(named), "{named}: {err}");
        }
        let output = process::output(Command::new(binary()).arg("doctor").env("SIDECAR_CONFIG", &file));
        let out = String::from_utf8_lossy(&output.stdout);
        let line = out.lines().find(|line| line.contains("settings")).expect("a line");
        assert!(line.starts_with("FAIL") && out.contains(named) && output.status.code() == Some(1), "{out}");
    }
}
