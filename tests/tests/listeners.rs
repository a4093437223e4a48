//! The two listeners: who reaches what, under which name.

use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use serde_json::Value;
use sidecar_tests::{
    binary,
    cgroup::Cgroup,
    eventually, free_port,
    nginx::Nginx,
    process::{self, Process},
    sidecar::Sidecar,
};

/// Status and body of a request by curl.
fn curl(args: &[&str]) -> (u16, String) {
    let words = ["-s", "-g", "--max-time", "10", "-w", "\n%{http_code}"];
    let answer = process::run(Command::new("curl").args(words).args(args));
    let (body, status) = answer.rsplit_once('\n').expect("a status");
    (status.parse().expect("a number"), body.to_owned())
}

fn json(args: &[&str]) -> Value {
    let (status, body) = curl(args);
    assert_eq!(status, 200, "{args:?}: {body}");
    serde_json::from_str(&body).expect("JSON")
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn the_public_one_has_four_paths_under_any_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let sidecar = Sidecar::run(dir.path(), &[], &["sleep", "infinity"]);
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", sidecar.port);
    for host in ["localhost", "10.9.8.7:9464", "shop.example", "evil.example"] {
        for path in ["/metrics", "/startupz", "/livez", "/readyz"] {
            let (status, body) = curl(&["-H", &format!("Host: {host}"), &url(path)]);
            assert_eq!(status, 200, "{path} of {host}");
            assert!(!body.is_empty());
        }
    }
    for path in ["/", "/connections", "/config", "/log", "/metrics/", "/debug"] {
        assert_eq!(curl(&[&url(path)]).0, 404, "{path}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(curl(&["-X", method, &url("/metrics")]).0, 405, "{method}");
    }
    assert!(curl(&[&url("/readyz")]).1.contains("9 of 9 programs"));
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn the_admin_one_is_for_this_machine_and_no_browser() {
    let dir = tempfile::tempdir().expect("a folder");
    let args = ["--set", "otlp.headers=authorization=hunter2", "--service-name", "shop"];
    let mut sidecar = Sidecar::run(dir.path(), &args, &["sleep", "infinity"]);
    let port = sidecar.admin_port;
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    for (host, expected) in [
        ("localhost", 200),
        ("127.0.0.1:9465", 200),
        ("[::1]", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
    ] {
        for path in ["/connections", "/config", "/log"] {
            assert_eq!(curl(&["-H", &format!("Host: {host}"), &url(path)]).0, expected, "{path} of {host}");
        }
    }
    for origin in ["http://localhost", "http://evil.example", "null"] {
        assert_eq!(curl(&["-H", &format!("Origin: {origin}"), &url("/config")]).0, 403, "{origin}");
    }
    assert_eq!(curl(&[&url("/metrics")]).0, 404);

    let config = json(&[&url("/config")]);
    assert_eq!(config["config"]["service"]["name"], "shop");
    assert_eq!(config["origins"]["service.name"], "--service-name");
    assert!(!config.to_string().contains("hunter2") && config.to_string().contains("***"), "{config:#}");

    // The level is changed by PUT with JSON, and by nothing else.
    let level = || json(&[&url("/log")])["level"].clone();
    let kind = "Content-Type: application/json";
    let body = r#"{"level": "debug"}"#;
    for (words, expected) in [
        (&["-X", "POST", "-H", kind, "-d", body][..], 405),
        (&["-X", "PUT", "-H", "Content-Type: text/plain", "-d", body], 415),
        (&["-X", "PUT", "-d", body], 415),
        (&["-X", "PUT", "-H", kind, "-d", r#"{"level": "loud"}"#], 400),
        (&["-X", "PUT", "-H", kind, "-d", r#"{"level": "debug", "more": 1}"#], 400),
        (&["-X", "PUT", "-H", kind, "-H", "Origin: http://localhost", "-d", body], 403),
    ] {
        let target = url("/log");
        assert_eq!(curl(&[words, &[&target]].concat()).0, expected, "{words:?}");
        assert_eq!(level(), "info", "{words:?}");
    }
    json(&["-X", "PUT", "-H", kind, "-d", body, &url("/log")]);
    assert_eq!(level(), "debug");
    // It takes effect: the end, which is told of at level info, is not.
    json(&["-X", "PUT", "-H", kind, "-d", r#"{"level": "warn"}"#, &url("/log")]);
    sidecar.stop();
    let log = sidecar.log();
    assert!(log.contains("\"attached\"") && !log.contains("\"stopping\""), "{log}");
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn open_connections_are_listed() {
    let dir = tempfile::tempdir().expect("a folder");
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    let words = nginx.command();
    let sidecar = Sidecar::run(dir.path(), &[], &words.iter().map(String::as_str).collect::<Vec<_>>());
    nginx.await_listening();
    let url = format!("http://127.0.0.1:{}/connections", sidecar.admin_port);

    let mut stream = std::net::TcpStream::connect(("127.0.0.1", nginx.port)).expect("connected");
    let request = "GET /100.bin HTTP/1.1\r\nHost: shop\r\n\r\n";
    std::io::Write::write_all(&mut stream, request.as_bytes()).expect("sent");
    let (ours, theirs) = (stream.local_addr().expect("ours"), stream.peer_addr().expect("theirs"));
    let line = eventually("the connection with its request", || {
        let lines = json(&[&url]);
        let line = lines.as_array()?.iter().find(|line| line["remote"] == ours.to_string().as_str())?;
        (line["exchanges"] == 1).then(|| line.clone())
    });
    assert_eq!((&line["role"], &line["protocol"]), (&"server".into(), &"http".into()), "{line:#}");
    assert_eq!(line["local"], theirs.to_string().as_str());
    assert_eq!(
        (&line["joined"], &line["bytes_received"]),
        (&false.into(), &request.len().into()),
        "{line:#}"
    );
    drop(stream);
    eventually("its end", || (json(&[&url]) == Value::Array(vec![])).then_some(()));
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_socket_file_is_its_owners() {
    let dir = tempfile::tempdir().expect("a folder");
    let socket = dir.path().join("admin.sock");
    let admin = format!("unix:{}", socket.display());
    let cgroup = Cgroup::new();
    let (mut process, port) = start(&cgroup, &[], dir.path(), "127.0.0.1:0", &admin);
    assert!(port > 0);
    assert_eq!(socket.metadata().expect("there").permissions().mode() & 0o777, 0o600);
    let path = socket.display().to_string();
    let config = json(&["--unix-socket", &path, "http://localhost/config"]);
    assert_eq!(config["config"]["admin"]["listen"], admin.as_str());
    process.signal(rustix::process::Signal::TERM);
    process.wait();
    assert!(!socket.exists());
}

#[test]
#[ignore = "privileged: makes a network namespace"]
fn every_address_means_both_families() {
    let dir = tempfile::tempdir().expect("a folder");
    let cgroup = Cgroup::new();
    let (_process, port) = start(&cgroup, &[], dir.path(), "[::]:0", "127.0.0.1:0");
    for host in ["127.0.0.1", "[::1]"] {
        assert_eq!(curl(&[&format!("http://{host}:{port}/livez")]).0, 200, "{host}");
    }

    // The kernel still lets `[::]` be bound, and IPv4 reaches it. That it may refuse the family is a unit test's.
    let script = "ip link set lo up && echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6 && exec \"$@\"";
    let wrapper = ["unshare", "--net", "--", "sh", "-c", script, "sh"];
    let cgroup = Cgroup::new();
    let (process, port) = start(&cgroup, &wrapper, dir.path(), "[::]:0", "127.0.0.1:0");
    let net = format!("--net=/proc/{}/ns/net", process.pid().as_raw_nonzero());
    let url = format!("http://127.0.0.1:{port}/livez");
    assert_eq!(process::run(Command::new("nsenter").args([&net, "curl", "-s", &url])), "ok\n");
}

/// Another program has the port, and then ends: what the daemon counted meanwhile is there.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_port_that_becomes_free_is_taken() {
    let dir = tempfile::tempdir().expect("a folder");
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    let words = nginx.command();
    let command: Vec<&str> = words.iter().map(String::as_str).collect();
    let ports = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
    let (address, port) = ports[0].split_once(':').expect("an address");
    let server = ["-m", "http.server", "--bind", address, port];
    let mut held = Process::start(Command::new("python3").args(server), &dir.path().join("python.out"));
    let url = |path: &str| format!("http://{}{path}", ports[0]);
    eventually("python to listen", || std::net::TcpStream::connect(&ports[0]).ok());

    let args = ["run", "--listen", &ports[0], "--admin", &ports[1], "--"];
    let output = dir.path().join("out");
    let mut process = Process::start(Command::new(binary()).args(args).args(&command), &output);
    nginx.await_listening();
    eventually("the daemon to attach", || process::read(&output).contains("attached").then_some(()));
    let log = process::read(&output);
    assert!(log.contains("listener not opened: going on without, and trying again"), "{log}");
    assert!(log.contains("Address already in use"), "{log}");
    assert_eq!(curl(&[&nginx.url("100.bin")]).0, 200);
    assert_eq!(curl(&[&url("/livez")]).0, 404, "python's");

    held.signal(rustix::process::Signal::KILL);
    held.wait();
    eventually("the listener", || process::read(&output).contains("listener opened").then_some(()));
    assert_eq!(curl(&[&url("/readyz")]).0, 200);
    let (_, metrics) = curl(&[&url("/metrics")]);
    let counted = metrics.lines().find(|line| {
        line.starts_with("http_server_request_duration_seconds_count") && line.contains("\"200\"")
    });
    let counted = counted.and_then(|line| line.rsplit(' ').next()).expect("a count");
    let answered: u64 = nginx.answered().values().sum();
    assert_eq!(counted.parse(), Ok(answered));
    process.signal(rustix::process::Signal::TERM);
    assert_eq!(process.wait().code(), Some(0));
}

/// A daemon on these addresses, and the port that it says it got. The cgroup's guard ends its command.
fn start(cgroup: &Cgroup, wrapper: &[&str], dir: &Path, listen: &str, admin: &str) -> (Process, u16) {
    let binary = binary().display().to_string();
    let args =
        ["run", "--listen", listen, "--admin", admin, "--set", "log.format=json", "--", "sleep", "infinity"];
    let words = [wrapper, &[&binary], &args].concat();
    let output = dir.join("out");
    let inside = cgroup.wrapper();
    let process = Process::start(Command::new(&inside[0]).args(&inside[1..]).args(words), &output);
    let port = eventually("the daemon to attach", || {
        let log = process::read(&output);
        let line = log
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find(|line| line["message"] == "attached")?;
        line["metrics"].as_str()?.rsplit(':').next()?.parse().ok()
    });
    (process, port)
}
