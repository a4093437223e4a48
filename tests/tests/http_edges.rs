//! What HTTP metrics say where a request is not as most are, against the logs of servers and clients.

use std::{
    collections::BTreeMap, io::Write as _, net::TcpStream, path::Path, process::Command, time::Duration,
};

use rustix::net::sockopt::set_socket_linger;
use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port,
    nginx::Nginx,
    process::{self, Process},
    root,
    scrape::Scrape,
    sidecar::Sidecar,
};

/// Runs a client in the observed cgroup to its end.
fn run(cgroup: &Cgroup, words: &[&str]) -> String {
    let words = [cgroup.wrapper(), words.iter().map(|word| (*word).to_owned()).collect()].concat();
    process::run(Command::new(&words[0]).args(&words[1..]))
}

/// Starts a server in the observed cgroup and waits until it listens.
fn serve(cgroup: &Cgroup, words: &[String], port: u16, log: &Path) -> Process {
    let words = [cgroup.wrapper(), words.to_vec()].concat();
    let server = Process::start(Command::new(&words[0]).args(&words[1..]), log);
    eventually("the server to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
    server
}

/// Requests of a role, by the value of a label.
fn by(scrape: &Scrape, role: &str, label: &str) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for (labels, n) in scrape.all(&format!("http_{role}_request_duration_seconds_count")) {
        *found.entry(labels.get(label).cloned().unwrap_or_default()).or_default() += n as u64;
    }
    found
}

/// How often each version of HTTP stands in a log as the last word of a request line in quotes.
fn versions(log: &str) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for line in log.lines() {
        if let Some(version) = line.split('"').nth(1).and_then(|request| request.rsplit_once("HTTP/")) {
            *found.entry(version.1.to_owned()).or_default() += 1;
        }
    }
    found
}

/// nginx answers HTTP/1.0 in HTTP/1.1, Python's server HTTP/1.1 in HTTP/1.0.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn the_version_is_that_of_the_request() {
    let dir = tempfile::tempdir().expect("a folder");
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    nginx.amend("log_format counts '", "log_format counts '\"$request_method $server_protocol\" ");
    let cgroup = Cgroup::new();
    let sidecar = Sidecar::run(dir.path(), &["--cgroup", &cgroup.path().display().to_string()], &[]);
    let _nginx = serve(&cgroup, &nginx.command(), nginx.port, &dir.path().join("nginx.out"));
    let python = free_port();
    let command = ["python3", "-u", "-m", "http.server", "--bind", "127.0.0.1", &python.to_string()];
    let log = dir.path().join("python.out");
    let _python = serve(&cgroup, &command.map(str::to_owned), python, &log);
    let url = nginx.url("100.bin");
    for version in ["-0", "-0", "--http1.1"] {
        let told =
            run(&cgroup, &["curl", "-s", "-o", "/dev/null", version, "--write-out", "%{http_version}", &url]);
        assert_eq!(told, "1.1", "nginx answers in its own version");
    }
    let url = format!("http://127.0.0.1:{python}/");
    for version in ["-0", "--http1.1", "--http1.1", "--http1.1"] {
        let told =
            run(&cgroup, &["curl", "-s", "-o", "/dev/null", version, "--write-out", "%{http_version}", &url]);
        assert_eq!(told, "1", "Python's server answers in its own version");
    }
    let mut logged = versions(&process::read(&dir.path().join("access.log")));
    for (version, n) in versions(&process::read(&log)) {
        *logged.entry(version).or_default() += n;
    }
    assert_eq!(logged, BTreeMap::from([("1.0".to_owned(), 3), ("1.1".to_owned(), 4)]));
    let scrape = sidecar.scrape_at_rest();
    for role in ["server", "client"] {
        assert_eq!(by(&scrape, role, "network_protocol_version"), logged, "{role}");
    }
}

/// curl's exit status, for a request that is not to end well.
fn curl_fails(cgroup: &Cgroup, args: &[&str]) -> i32 {
    let words = [cgroup.wrapper(), ["curl", "-s", "-o", "/dev/null"].map(str::to_owned).to_vec()].concat();
    let status = Command::new(&words[0]).args(&words[1..]).args(args).status().expect("curl");
    status.code().expect("an exit status")
}

const EMPTY_REPLY: i32 = 52;
const PARTIAL_FILE: i32 = 18;
const RECEIVE_ERROR: i32 = 56;
const TIMED_OUT: i32 = 28;

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn who_ended_it_and_how_is_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let (cgroup, port) = (Cgroup::new(), free_port());
    let sidecar = Sidecar::run(dir.path(), &["--cgroup", &cgroup.path().display().to_string()], &[]);
    let script = root().join("tests/support/ending_server.py").display().to_string();
    let command = ["python3".to_owned(), script, port.to_string()];
    let _server = serve(&cgroup, &command, port, &dir.path().join("server.out"));
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    for (path, exit) in [
        ("/close", EMPTY_REPLY),
        ("/reset", RECEIVE_ERROR),
        ("/body/close", PARTIAL_FILE),
        ("/body/reset", RECEIVE_ERROR),
    ] {
        assert_eq!(curl_fails(&cgroup, &[&url(path)]), exit, "{path}");
    }
    assert_eq!(curl_fails(&cgroup, &["--max-time", "1", &url("/")]), TIMED_OUT);
    assert_eq!(curl_fails(&cgroup, &["--max-time", "1", &url("/body/")]), TIMED_OUT);
    let expected = [
        "server_closed",
        "server_reset",
        "server_closed_in_response",
        "server_reset_in_response",
        "client_closed",
        "client_closed_in_response",
    ];
    let expected: BTreeMap<String, u64> = expected.map(|error| (error.to_owned(), 1)).into();
    let scrape = eventually("all to be over", || {
        let scrape = sidecar.scrape_at_rest();
        (scrape.count("http_client_request_duration_seconds_count", &[]) == 6).then_some(scrape)
    });
    for role in ["server", "client"] {
        assert_eq!(by(&scrape, role, "error_type"), expected, "{role}");
    }
    let outcome = |outcome| scrape.count("sidecar_parser_outcomes_total", &[("sidecar_outcome", outcome)]);
    assert_eq!((outcome("unanswered"), outcome("truncated")), (6, 6));
}

/// nginx logs 499 where the client was gone before the answer, and 200 where it went in the middle of it.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn clients_that_nginx_says_gave_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let (cgroup, port) = (Cgroup::new(), free_port());
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    nginx.amend(
        "location = /made",
        &format!("location /never {{ proxy_pass http://127.0.0.1:{port}; }}\n    location = /made"),
    );
    // Not observed.
    let script = root().join("tests/support/ending_server.py");
    let mut command = Command::new("python3");
    command.arg(script).arg(port.to_string());
    let _behind = Process::start(&mut command, &dir.path().join("server.out"));
    eventually("the server to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
    let sidecar = Sidecar::run(dir.path(), &["--cgroup", &cgroup.path().display().to_string()], &[]);
    let _nginx = serve(&cgroup, &nginx.command(), nginx.port, &dir.path().join("nginx.out"));
    for _ in 0..2 {
        let mut stream = TcpStream::connect(("127.0.0.1", nginx.port)).expect("connect");
        stream.write_all(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n").expect("send");
        let open = |scrape: &Scrape| {
            scrape.sum("http_client_open_connections", &[("http_connection_state", "active")]).unwrap_or(0.0)
        };
        eventually("nginx to ask in turn", || (open(&sidecar.scrape()) > 0.0).then_some(()));
        set_socket_linger(&stream, Some(Duration::ZERO)).expect("a reset instead of a FIN");
        drop(stream);
        eventually("nginx to be done", || (open(&sidecar.scrape()) == 0.0).then_some(()));
    }
    for _ in 0..3 {
        assert_eq!(curl_fails(&cgroup, &["--max-time", "1", &nginx.url("never")]), TIMED_OUT);
    }
    let slow = ["--limit-rate", "10k", "--max-time", "1"];
    assert_eq!(curl_fails(&cgroup, &[&slow[..], &[&nginx.url("5000000.bin")]].concat()), TIMED_OUT);
    let of =
        |kinds: &BTreeMap<_, u64>, status: &str| kinds.get(&("GET".to_owned(), status.to_owned())).copied();
    let logged = eventually("nginx's log", || {
        let logged = nginx.answered();
        (logged.values().sum::<u64>() == 6).then_some(logged)
    });
    assert_eq!((of(&logged, "499"), of(&logged, "200")), (Some(5), Some(1)));
    let scrape = sidecar.scrape_at_rest();
    let errors = |role| by(&scrape, role, "error_type");
    let [given_up, reset, in_response] =
        ["client_closed", "client_reset", "client_reset_in_response"].map(str::to_owned);
    let of_server = BTreeMap::from([(given_up.clone(), 3), (reset, 2), (in_response.clone(), 1)]);
    assert_eq!(errors("server"), of_server);
    // curl's four, and nginx's five, which it gave up in turn.
    assert_eq!(errors("client"), BTreeMap::from([(given_up, 3 + 5), (in_response, 1)]));
    let status = [("error_type", "client_reset_in_response"), ("http_response_status_code", "200")];
    assert_eq!(scrape.count("http_server_request_duration_seconds_count", &status), 1);
}

/// A long body that ends with the connection, at the end that receives it: nothing of it is taken to be lost.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_body_until_the_close_has_no_gap() {
    let dir = tempfile::tempdir().expect("a folder");
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    // With its length not known before, and no chunks, the close ends it.
    let until_close =
        "sub_filter_types *; sub_filter zzzzqqqq y; chunked_transfer_encoding off; client_max_body_size 0;";
    nginx.amend("client_max_body_size 0;", until_close);
    let command = nginx.command();
    let _nginx = Process::start(Command::new(&command[0]).args(&command[1..]), &dir.path().join("nginx.out"));
    nginx.await_listening();
    let cgroup = Cgroup::new();
    let sidecar = Sidecar::run(dir.path(), &["--cgroup", &cgroup.path().display().to_string()], &[]);
    for _ in 0..10 {
        let args = ["curl", "-s", "-o", "/dev/null", "-w", "%{size_download}", &nginx.url("5000000.bin")];
        assert_eq!(run(&cgroup, &args), "5000000");
    }
    let scrape = sidecar.scrape_at_rest();
    assert_eq!(scrape.requests("client"), nginx.answered());
    let sizes = scrape.sum("http_client_response_body_size_bytes_sum", &[]);
    assert_eq!(sizes, Some(50_000_000.0));
    let seen = scrape.bytes("seen");
    assert_eq!((scrape.bytes("lost"), scrape.bytes("explained")), (0, seen));
    assert_eq!(scrape.count("sidecar_connections_gaps_total", &[]), 0);
}
