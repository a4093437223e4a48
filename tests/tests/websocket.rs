//! WebSocket and server-sent events, against what servers counted themselves.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port,
    process::{self, Process},
    python, root,
    scrape::Scrape,
    sidecar::Sidecar,
};

/// A server in a cgroup, observed from its start; clients join it.
struct World {
    sidecar: Sidecar,
    _server: Process,
    cgroup: Cgroup,
    log: PathBuf,
    port: u16,
}

impl World {
    fn start(dir: &Path, program: &str, script: &str, args: &[&str]) -> World {
        let (cgroup, log, port) = (Cgroup::new(), dir.join("server.log"), free_port());
        let path = cgroup.path().display().to_string();
        let sidecar = Sidecar::run(dir, &["--cgroup", &path], &[]);
        let fixed = [program.to_owned(), support(script), port.to_string()];
        let words = fixed.into_iter().chain(args.iter().map(|arg| (*arg).to_owned())).collect();
        let command = [cgroup.wrapper(), words].concat();
        let server = Process::start(Command::new(&command[0]).args(&command[1..]), &log);
        eventually("the server to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
        World { sidecar, _server: server, cgroup, log, port }
    }

    /// Runs a client in the cgroup.
    fn client(&self, words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let command = [self.cgroup.wrapper(), words].concat();
        process::run(Command::new(&command[0]).args(&command[1..]).env("NODE_PATH", "/usr/share/nodejs"))
    }

    /// The lines that the server wrote, once there are as many.
    fn lines(&self, n: usize) -> Vec<String> {
        eventually("the server's account", || {
            let lines: Vec<String> = process::read(&self.log).lines().map(str::to_owned).collect();
            (lines.len() >= n).then_some(lines)
        })
    }
}

fn support(name: &str) -> String {
    root().join("tests/support").join(name).display().to_string()
}

fn sum(scrape: &Scrape, name: &str, labels: &[(&str, &str)]) -> f64 {
    scrape.sum(name, labels).unwrap_or(0.0)
}

/// Both ends are observed: each message is sent by one and received by the other.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn messages_are_those_that_the_server_counted() {
    let dir = tempfile::tempdir().expect("a folder");
    let world = World::start(dir.path(), &python(), "websocket_server.py", &["deflate"]);
    let url = |path: &str| format!("ws://127.0.0.1:{}/{path}", world.port);
    let (python, client, node) = (python(), support("websocket_client.py"), support("websocket_client.js"));
    let py = |path: &str, words: &[&str]| {
        world.client(&[&[python.as_str(), client.as_str(), &url(path)], words].concat());
    };
    py("one", &["hello", "text 125", "text 126", "binary 65535", "binary 65536", "push 200 700"]);
    py("large", &["binary 600000", "text 300000", "ping"]);
    py("told", &["text 5", "close 4001"]);
    py("dropped", &["text 5", "drop"]);
    world.client(&["node", &node, &url("node"), "hello", "push 20 10"]);
    let sessions: Vec<Value> =
        world.lines(5).iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(sessions.len(), 5);
    let told = |session: &Value, which: &str, at: usize| session[which][at].as_u64().expect("a number");
    let counted = |which: &str, at: usize| sessions.iter().map(|one| told(one, which, at)).sum::<u64>();
    let scrape = world.sidecar.scrape_at_rest();
    let messages = |direction: &str| {
        ["text", "binary"]
            .map(|kind| {
                let labels = [
                    ("network_protocol_name", "websocket"),
                    ("network_io_direction", direction),
                    ("sidecar_message_type", kind),
                ];
                sum(&scrape, "sidecar_messages_total", &labels)
            })
            .iter()
            .sum::<f64>() as u64
    };
    let all = counted("received", 0) + counted("sent", 0);
    let shed = sum(&scrape, "sidecar_capture_shed_bytes_total", &[]);
    assert_eq!(
        (messages("receive"), messages("transmit")),
        (all, all),
        "of {shed} bytes nothing was seen: {sessions:?}"
    );
    // Only of what went uncompressed does the wire have the size.
    let plain = sessions.iter().filter(|session| session["path"] != "/node");
    let bytes: u64 = plain.map(|one| told(one, "received", 1) + told(one, "sent", 1)).sum();
    let labels = [("network_protocol_name", "websocket"), ("network_io_direction", "receive")];
    let sized = sum(&scrape, "sidecar_message_size_bytes_sum", &labels) as u64;
    assert!(sized > bytes && sized < bytes + 1000, "{sized} of {bytes}, and what was compressed");
    for role in ["server", "client"] {
        let name = format!("sidecar_websocket_{role}_session_duration_seconds_count");
        let of = |error: &str| sum(&scrape, &name, &[("error_type", error)]) as u64;
        assert_eq!(sum(&scrape, &name, &[]), 5.0, "{role}");
        assert_eq!(of("4001"), 1, "{role}");
        assert_eq!(of("server_closed_in_response"), 1, "{role}");
        let upgrades = [("http_response_status_code", "101")];
        let requests = format!("http_{role}_request_duration_seconds_count");
        assert_eq!(sum(&scrape, &requests, &upgrades), 5.0, "{role}");
    }
    assert_eq!(scrape.bytes("explained"), scrape.bytes("seen"));
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn events_are_those_that_the_server_sent() {
    let dir = tempfile::tempdir().expect("a folder");
    let world = World::start(dir.path(), "node", "events_server.js", &[]);
    let paths = ["chunked", "crlf", "length", "close", "none"];
    for path in paths {
        world.client(&["curl", "-s", "-o", "/dev/null", &format!("http://127.0.0.1:{}/{path}", world.port)]);
    }
    let reader = "import sys, urllib.request\n\
                  for path in sys.argv[2:]:\n    urllib.request.urlopen(sys.argv[1] + path).read()";
    let url = format!("http://127.0.0.1:{}/", world.port);
    world.client(&[&["python3", "-c", reader, &url], &paths[..]].concat());
    let (mut events, mut bytes) = (0.0, 0.0);
    for line in world.lines(8) {
        let numbers: Vec<f64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        events += numbers[0];
        bytes += numbers[1];
    }
    let scrape = world.sidecar.scrape_at_rest();
    for direction in ["receive", "transmit"] {
        let labels = [
            ("network_protocol_name", "http"),
            ("network_io_direction", direction),
            ("sidecar_message_type", "event"),
        ];
        let of = |name: &str| sum(&scrape, name, &labels);
        assert_eq!(of("sidecar_messages_total"), events, "{direction}");
        assert_eq!(of("sidecar_message_size_bytes_sum"), bytes, "{direction}");
    }
    for role in ["server", "client"] {
        let n = sum(&scrape, &format!("http_{role}_request_duration_seconds_count"), &[]);
        assert_eq!(n, 10.0, "each stream is one request: {role}");
    }
    assert_eq!(scrape.bytes("explained"), scrape.bytes("seen"));
}
