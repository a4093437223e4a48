//! How long requests lay in their sockets, by the servers' own accounts of when they read; and that nothing is said of it
//! where nobody asked, or the kernel does not let it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
};

use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;
use sidecar_tests::{
    binary,
    cgroup::Cgroup,
    eventually, free_port,
    load::Load,
    nginx::Nginx,
    process, root,
    scrape::Scrape,
    sidecar::{Sidecar, TWO_CAPABILITIES},
};

const ON: [&str; 2] = ["--set", "capture.socket_wait=true"];

const SOCKET_WAIT: &str = "sidecar_http_server_socket_wait_duration_seconds";
const WORK: &str = "sidecar_http_server_work_duration_seconds";
const WAIT: &str = "sidecar_http_server_wait_duration_seconds";

/// As Python's `time.monotonic()`.
fn monotonic() -> f64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

fn sum(scrape: &Scrape, name: &str, route: &str) -> f64 {
    scrape.sum(&format!("{name}_sum"), &[("http_route", route)]).unwrap_or_else(|| panic!("{name} {route}"))
}

/// `tests/support/queue_server.py`, observed.
struct Queue {
    sidecar: Sidecar,
    port: u16,
}

impl Queue {
    fn start(dir: &Path, args: &[&str]) -> Queue {
        let port = free_port();
        let (script, folder) =
            (root().join("tests/support/queue_server.py").display().to_string(), dir.display().to_string());
        let routes = ["--set", "http.routes=/held,/queued,/upload"];
        let command = ["python3", &script, &port.to_string(), &folder];
        let sidecar = Sidecar::run(dir, &[&routes, args].concat(), &command);
        // It answers one at a time: a connection that asks nothing would hold it up.
        eventually("the server to listen", || {
            let listening = process::run(Command::new("ss").args(["-Htln", &format!("sport = :{port}")]));
            (!listening.trim().is_empty()).then_some(())
        });
        Queue { sidecar, port }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connect");
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).expect("a time-out");
        stream
    }

    /// What the server says of a request, if it has.
    fn said(&self, path: &str, what: &str) -> Option<Value> {
        let log = self.sidecar.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["path"] == path).find(|line| line[what].is_f64())
    }

    fn at(&self, path: &str, what: &str) -> f64 {
        eventually(what, || self.said(path, what)?[what].as_f64())
    }

    fn held(&self, path: &str) -> f64 {
        eventually("its end", || self.said(path, "done")?["held"].as_f64())
    }

    /// One request that is worked on while another lies in its socket, and one whose end does. When each of the three had
    /// not been sent to its end.
    fn play(&self, dir: &Path) -> [(&'static str, f64); 3] {
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let [mut held, mut queued, mut upload] = [self.connect(), self.connect(), self.connect()];
        let go = dir.join("go");
        let held_from = monotonic();
        held.write_all(get("/held").as_bytes()).expect("send");
        self.at("/held", "began");
        let queued_from = monotonic();
        queued.write_all(get("/queued").as_bytes()).expect("send");
        fs::write(&go, "").expect("the sign");
        for stream in [&mut held, &mut queued] {
            assert!(answer(stream).ends_with("ok"));
        }
        fs::remove_file(&go).expect("the sign taken back");
        let half = "x".repeat(20_000);
        let head = format!("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 2 * half.len());
        upload.write_all((head + &half).as_bytes()).expect("send");
        self.at("/upload", "half");
        let upload_from = monotonic();
        upload.write_all(half.as_bytes()).expect("send");
        fs::write(&go, "").expect("the sign");
        assert!(answer(&mut upload).ends_with("ok"));
        [("/held", held_from), ("/queued", queued_from), ("/upload", upload_from)]
    }
}

/// All that comes: the server closes after each.
fn answer(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup and a tracepoint"]
fn the_wait_in_the_socket_is_what_the_server_knows_it_was() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = Queue::start(dir.path(), &ON);
    let sent = queue.play(dir.path());
    let scrape = queue.sidecar.scrape_at_rest();
    for (path, from) in sent {
        let [socket_wait, work, wait] = [SOCKET_WAIT, WORK, WAIT].map(|name| sum(&scrape, name, path));
        println!("{path}: {socket_wait} s in the socket, {work} s of work, {wait} s in all");
        for name in [SOCKET_WAIT, WORK, WAIT] {
            assert_eq!(scrape.count(&format!("{name}_count"), &[("http_route", path)]), 1, "{name} {path}");
        }
        assert!((socket_wait + work - wait).abs() < 1e-6, "{path}: {socket_wait} + {work}, {wait}");
        // It came after `from`, and had been read when the server began with it.
        let (began, done) = (queue.at(path, "began"), queue.at(path, "done"));
        if path == "/upload" {
            // What it began with is the read.
            assert!(socket_wait >= queue.held(path) && socket_wait <= done - from, "{path}: {socket_wait}");
            continue;
        }
        assert!(socket_wait <= began - from, "{path}: {socket_wait}, {}", began - from);
        assert!(work >= done - began, "{path}: {work}, {}", done - began);
    }
    // The other one was held, by the server's own clock, while this one lay there.
    let [lay, held] = [sum(&scrape, SOCKET_WAIT, "/queued"), queue.held("/held")];
    assert!(lay >= held && held >= 0.2, "{lay}, {held}");
    assert!(sum(&scrape, WORK, "/held") >= held);

    let url = format!("http://127.0.0.1:{}/explain?http.route=/queued", queue.sidecar.admin_port);
    let found: Value =
        serde_json::from_str(&process::run(Command::new("curl").args(["-s", &url]))).expect("JSON");
    let seconds = &found["exchanges"][0]["seconds"];
    assert!(seconds["socket_wait"].as_f64().is_some_and(|lay| lay >= held), "{found:#}");
    let metric = "metric=sidecar.http.server.socket_wait.duration";
    let url = format!("http://127.0.0.1:{}/explain?{metric}", queue.sidecar.admin_port);
    let found: Value =
        serde_json::from_str(&process::run(Command::new("curl").args(["-s", &url]))).expect("JSON");
    assert_eq!(found["matched"], 3, "{found:#}");
}

/// Of an event loop every request is measured that was alone on its connection, and none of those that were not.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup and a tracepoint"]
fn every_request_that_is_alone_is_measured() {
    let dir = tempfile::tempdir().expect("a folder");
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    let command = nginx.command();
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let sidecar = Sidecar::run(dir.path(), &ON, &words);
    nginx.await_listening();
    let mut load = Load::new(dir.path(), &[]);
    load.h2load(("GET", 200), 400, "-c 8", 0, &nginx.url("1000.bin"));
    load.ab(("GET", 200), 100, "-c 4", &nginx.url("60000.bin"));
    load.h2load(("POST", 201), 100, "-c 4", 10_000, &nginx.url("made"));
    let n = load.total();
    let scrape = sidecar.scrape_at_rest();
    assert_eq!(scrape.requests("server"), nginx.answered());
    let count = |name: &str| scrape.count(&format!("{name}_count"), &[]);
    assert_eq!([SOCKET_WAIT, WORK, WAIT].map(count), [n; 3]);
    let [lay, work, wait] = [SOCKET_WAIT, WORK, WAIT].map(|name| scrape.sum(&format!("{name}_sum"), &[]));
    let (lay, work, wait) = (lay.expect("a sum"), work.expect("a sum"), wait.expect("a sum"));
    assert!((lay + work - wait).abs() < 1e-6, "{lay} + {work}, {wait}");

    let pipelined = "GET /100.bin HTTP/1.1\r\nHost: a\r\n\r\n".repeat(8)
        + "GET /100.bin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let mut stream = TcpStream::connect(("127.0.0.1", nginx.port)).expect("connect");
    stream.write_all(pipelined.as_bytes()).expect("send");
    stream.read_to_end(&mut Vec::new()).expect("nine answers");
    // nginx logs the last one when the client has closed too.
    drop(stream);
    eventually("nginx's log", || (nginx.answered().values().sum::<u64>() == n + 9).then_some(()));
    let scrape = sidecar.scrape_at_rest();
    assert_eq!(scrape.requests("server"), nginx.answered());
    assert_eq!(scrape.count(&format!("{SOCKET_WAIT}_count"), &[]), n);
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn nothing_is_said_unless_it_was_asked_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let queue = Queue::start(dir.path(), &[]);
    queue.play(dir.path());
    let scrape = queue.sidecar.scrape_at_rest();
    assert_eq!(scrape.count(&format!("{WAIT}_count"), &[]), 3);
    for name in [SOCKET_WAIT, WORK] {
        assert_eq!(scrape.sum(&format!("{name}_count"), &[]), None, "{name}");
    }
    assert!(queue.sidecar.log().contains("9 of 9 programs"), "{}", queue.sidecar.log());
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn without_the_capability_it_is_absent_and_said_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let cgroup = Cgroup::new();
    let path = cgroup.path().display().to_string();
    let mut sidecar =
        Sidecar::spawn(dir.path(), &TWO_CAPABILITIES, &[&["--cgroup", &path], &ON[..]].concat(), &[]);
    sidecar.await_attached();
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    let words = [cgroup.wrapper(), nginx.command()].concat();
    let _nginx =
        process::Process::start(Command::new(&words[0]).args(&words[1..]), &dir.path().join("nginx.out"));
    nginx.await_listening();
    process::run(Command::new("curl").args(["-s", "-o", "/dev/null", &nginx.url("100.bin")]));
    let scrape = sidecar.scrape_at_rest();
    assert_eq!(scrape.requests("server"), nginx.answered());
    assert_eq!(scrape.sum(&format!("{SOCKET_WAIT}_count"), &[]), None);
    let log = sidecar.log();
    let line = log.lines().find(|line| line.contains("\"WARN\"") && line.contains("tcp_read"));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("CAP_PERFMON") && line.contains("capture.socket_wait"), "{line}");

    // The doctor says it before: no loss while nobody asks for it.
    for (asked, status, state) in [("false", 0, "ok"), ("true", 3, "lost")] {
        let words = [cgroup.wrapper(), TWO_CAPABILITIES.map(str::to_owned).to_vec()].concat();
        let mut doctor = Command::new(&words[0]);
        doctor.args(&words[1..]).arg(binary()).arg("doctor").env("SIDECAR_CAPTURE_SOCKET_WAIT", asked);
        let output = process::output(&mut doctor);
        let said = String::from_utf8(output.stdout).expect("text");
        assert_eq!(output.status.code(), Some(status), "{said}");
        let line = said.lines().find(|line| line.contains("tcp_read")).expect("a line");
        assert!(line.starts_with(state) && line.contains("CAP_PERFMON"), "{line}");
    }
}

/// `kernel.bpf_stats_enabled`, and back to what it was when dropped.
struct Counting(String);

const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl Counting {
    fn start() -> Counting {
        let before = fs::read_to_string(STATS).expect("the setting");
        fs::write(STATS, "1").expect("programs counted");
        Counting(before)
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        let _ = fs::write(STATS, self.0.trim());
    }
}

/// Runs of the one tracing program that the process holds, and how many ns they took, by the kernel's account.
fn runs(pid: i32) -> [u64; 2] {
    /// `BPF_PROG_TYPE_TRACING` (linux/bpf.h).
    const TRACING: u64 = 26;
    let files = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("its descriptors");
    let texts = files.filter_map(|file| fs::read_to_string(file.ok()?.path()).ok());
    let field = |text: &str, name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.and_then(|value| value.trim().parse::<u64>().ok())
    };
    let mut found = texts
        .filter(|text| field(text, "prog_type") == Some(TRACING))
        .filter_map(|text| Some([field(&text, "run_cnt")?, field(&text, "run_time_ns")?]));
    let runs = found.next().expect("a tracing program");
    assert_eq!(found.next(), None);
    runs
}

/// What is not observed pays for a look, which is what the documents say.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup and a tracepoint"]
fn it_runs_for_the_whole_node() {
    let dir = tempfile::tempdir().expect("a folder");
    let cgroup = Cgroup::new();
    let path = cgroup.path().display().to_string();
    let mut sidecar = Sidecar::run(dir.path(), &[&["--cgroup", &path], &ON[..]].concat(), &[]);
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    let words = nginx.command();
    let _nginx =
        process::Process::start(Command::new(&words[0]).args(&words[1..]), &dir.path().join("nginx.out"));
    nginx.await_listening();
    let pid = sidecar.process().pid().as_raw_nonzero().get();
    let _counting = Counting::start();
    let before = runs(pid);
    let mut load = Load::new(dir.path(), &[]);
    load.h2load(("GET", 200), 20_000, "-c 8", 0, &nginx.url("100.bin"));
    let after = runs(pid);
    let [n, ns] = [after[0] - before[0], after[1] - before[1]];
    println!("{n} runs of tcp_read at sockets that are not observed, {:.1} ns each", ns as f64 / n as f64);
    // Server and client read once for each.
    assert!(n >= 2 * load.total(), "{n} runs");
    let scrape = sidecar.scrape_at_rest();
    assert_eq!((scrape.requests("server"), scrape.bytes("seen")), ([].into(), 0));
}
