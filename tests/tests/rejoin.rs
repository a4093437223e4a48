//! A daemon that is killed leaves nothing behind, and the next picks up what is open.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::Command,
    time::Duration,
};

use rustix::process::Signal;
use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port,
    nginx::Nginx,
    process::{self, Process},
    sidecar::Sidecar,
};

/// A connection that stays open, one request at a time.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(nginx: &Nginx) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", nginx.port)).expect("connect to nginx");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
        Client(BufReader::new(stream))
    }

    fn ask(&mut self, path: &str) {
        let request = format!("GET /{path} HTTP/1.1\r\nHost: test\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes()).expect("send a request");
    }

    /// Reads a head: the status, and how much content follows.
    fn head(&mut self) -> (u16, u64) {
        let (mut status, mut length) = (None, 0);
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).expect("a line of the head");
            let line = line.trim_end();
            if line.is_empty() {
                return (status.expect("a status line"), length);
            }
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest[..3].parse().ok();
            }
            if let Some((name, value)) = line.split_once(": ")
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.parse().expect("a length");
            }
        }
    }

    fn skip(&mut self, n: u64) {
        let got = std::io::copy(&mut self.0.by_ref().take(n), &mut std::io::sink()).expect("content");
        assert_eq!(got, n, "the connection was cut");
    }

    fn get(&mut self, path: &str) -> u16 {
        self.ask(path);
        let (status, length) = self.head();
        self.skip(length);
        status
    }
}

/// The programs attached to this cgroup, as bpftool sees them.
fn attached(cgroup: &Cgroup) -> Vec<String> {
    let path = cgroup.path().display().to_string();
    let said = process::run(Command::new("bpftool").args(["cgroup", "show", &path]));
    said.lines()
        .filter(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit()))
        .map(str::to_owned)
        .collect()
}

struct World {
    dir: tempfile::TempDir,
    nginx: Nginx,
    server: Process,
    cgroup: Cgroup,
}

fn world() -> World {
    let dir = tempfile::tempdir().expect("a folder");
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    let cgroup = Cgroup::new();
    let command = [cgroup.wrapper(), nginx.command()].concat();
    let output = dir.path().join("nginx.out");
    let server = Process::start(Command::new(&command[0]).args(&command[1..]), &output);
    nginx.await_listening();
    World { dir, nginx, server, cgroup }
}

impl World {
    fn observe(&self) -> Sidecar {
        Sidecar::run(self.dir.path(), &["--cgroup", &self.cgroup.path().display().to_string()], &[])
    }

    fn kill(&self, mut sidecar: Sidecar) {
        assert!(!attached(&self.cgroup).is_empty(), "bpftool shows what is attached");
        sidecar.signal(Signal::KILL);
        sidecar.wait();
        // The kernel lets go of links when it gets to it.
        eventually("nothing to be attached", || attached(&self.cgroup).is_empty().then_some(()));
    }
}

fn kinds<const N: usize>(kinds: [(&str, &str, u64); N]) -> BTreeMap<(String, String), u64> {
    kinds.map(|(method, status, n)| ((method.to_owned(), status.to_owned()), n)).into()
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_killed_daemon_is_not_missed() {
    let mut world = world();
    let mut client = Client::connect(&world.nginx);
    let first = world.observe();
    assert_eq!(client.get("1000.bin"), 200);
    assert_eq!(first.scrape_at_rest().requests("server"), kinds([("GET", "200", 1)]));
    world.kill(first);
    assert_eq!(client.get("100.bin"), 200, "between two daemons");
    assert!(world.server.is_running());

    let second = world.observe();
    assert_eq!(client.get("status/403"), 403);
    let scrape = second.scrape_at_rest();
    assert_eq!(scrape.requests("server"), kinds([("GET", "403", 1)]));
    assert_eq!(scrape.requests("client"), BTreeMap::new());
    assert_eq!(scrape.sum("sidecar_tcp_connection_joined_total", &[]), Some(1.0));
    assert_eq!(scrape.sum("sidecar_capture_coverage_ratio", &[]), Some(1.0));
    assert_eq!(client.get("10000.bin"), 200);
    assert_eq!(client.get("nowhere"), 404);
    let expected = kinds([("GET", "200", 1), ("GET", "403", 1), ("GET", "404", 1)]);
    assert_eq!(second.scrape_at_rest().requests("server"), expected);
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn joined_in_the_middle_of_a_response() {
    let world = world();
    let mut client = Client::connect(&world.nginx);
    let first = world.observe();
    client.ask("5000000.bin");
    let (status, length) = client.head();
    assert_eq!(status, 200);
    // The rest fills both sockets' buffers; nginx waits for room.
    client.skip(length / 10);
    world.kill(first);

    let second = world.observe();
    client.skip(length - length / 10);
    let scrape = second.scrape_at_rest();
    assert_eq!(scrape.requests("server"), BTreeMap::new(), "of the first response nothing is known");
    assert_eq!(client.get("status/410"), 410);
    assert_eq!(client.get("1000.bin"), 200);
    let scrape = second.scrape_at_rest();
    assert_eq!(scrape.requests("server"), kinds([("GET", "200", 1), ("GET", "410", 1)]));
    assert_eq!(scrape.sum("sidecar_tcp_connection_joined_total", &[]), Some(1.0));
    assert!(scrape.bytes("before_join") > 0, "what passed before the first message is told apart");
    assert_eq!(scrape.drops(), BTreeMap::new());
}
