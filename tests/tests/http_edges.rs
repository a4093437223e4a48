//! What HTTP metrics say where a request is not as most are, against the logs of servers and clients.

use std::{collections::BTreeMap, net::TcpStream, path::Path, process::Command};

use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port,
    nginx::Nginx,
    process::{self, Process},
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
