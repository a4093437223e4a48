//! What the relay does when something that it needs is used up: it says so by connection, lays it to nobody, and goes on.

use std::{fs, path::PathBuf, process::Command};

use sidecar_tests::{
    cgroup::Cgroup,
    eventually,
    netns::Netns,
    process::{self, Process},
    scrape::Scrape,
    sidecar::Sidecar,
};

/// Echoes, on each of the addresses.
const SERVER: &str = r#"
import selectors, socket, sys
all = selectors.DefaultSelector()
for address in sys.argv[1:]:
    host, port = address.split("/")
    listener = socket.create_server((host, int(port)), backlog=4096)
    listener.setblocking(False)
    all.register(listener, selectors.EVENT_READ, True)
print("listening", flush=True)
while True:
    for key, _ in all.select():
        if key.data:
            connection, _ = key.fileobj.accept()
            all.register(connection, selectors.EVENT_READ, False)
            continue
        try: data = key.fileobj.recv(64)
        except ConnectionError: data = b""
        if data: key.fileobj.send(data)
        else: all.unregister(key.fileobj); key.fileobj.close()
"#;
/// Opens N connections, and says what came of them; then closes all, and tries until one succeeds: how many did not.
const CLIENT: &str = r#"
import collections, socket, sys
def go():
    s = socket.socket()
    s.settimeout(20)
    try:
        s.connect((sys.argv[1], 80)); s.send(b"x")
        return s, "echo" if s.recv(1) == b"x" else "closed"
    except OSError as error: return s, type(error).__name__
all = [go() for _ in range(int(sys.argv[2]))]
said = collections.Counter(word for _, word in all)
print(*(f"{word}={n}" for word, n in sorted(said.items())))
for s, _ in all: s.close()
import time
for _ in range(200):
    if go()[1] == "echo": print(said["ConnectionResetError"]); break
    said["ConnectionResetError"] += 1
    time.sleep(0.05)
"#;

struct World {
    dir: tempfile::TempDir,
    cgroup: Cgroup,
    _server: Process,
}

impl World {
    fn new(addresses: &[&str]) -> World {
        let dir = tempfile::tempdir().expect("a folder");
        let output = dir.path().join("server");
        let mut command = Command::new("python3");
        let server = Process::start(command.args(["-c", SERVER]).args(addresses), &output);
        eventually("the server to listen", || process::read(&output).contains("listening").then_some(()));
        World { dir, cgroup: Cgroup::new(), _server: server }
    }

    fn run(&self, wrapper: &[&str], endpoints: &str) -> Sidecar {
        let settings: PathBuf = self.dir.path().join("settings.yaml");
        let text = format!(
            "traffic:\n  services:\n    - {{name: web, addresses: [10.9.0.1], gear: proxy, endpoints: [{endpoints}], limits: {{connections: 100000}}}}\n"
        );
        fs::write(&settings, text).expect("settings");
        let (cgroup, settings) = (self.cgroup.path().display().to_string(), settings.display().to_string());
        let args = ["--cgroup", &cgroup, "--config", &settings];
        let mut sidecar = Sidecar::spawn(self.dir.path(), wrapper, &args, &[]);
        sidecar.await_attached();
        sidecar.await_ready();
        sidecar
    }

    /// What came of so many connections, and how many were reset in all.
    fn open(&self, n: u64) -> (String, u64) {
        let client = ["python3", "-c", CLIENT, "10.9.0.1", &n.to_string()].map(str::to_owned);
        let words = [self.cgroup.wrapper(), client.to_vec()].concat();
        let said = process::run(Command::new(&words[0]).args(&words[1..]));
        let (came, reset) = said.trim_end().split_once('\n').expect("two lines");
        (came.to_owned(), reset.parse().expect("a number"))
    }
}

fn failures(scrape: &Scrape, reason: &str) -> u64 {
    scrape.count("sidecar_relay_failures_total", &[("sidecar_reason", reason)])
}

/// Both limits of descriptors, as the kernel tells them.
fn descriptors(pid: &str) -> [u64; 2] {
    let limits = process::read(&PathBuf::from(format!("/proc/{pid}/limits")));
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("the limit");
    let mut words = line.split_whitespace().map(|n| n.parse().expect("a number"));
    std::array::from_fn(|_| words.next().expect("two limits"))
}

/// The soft limit is raised, what is more than the hard one is enough for is refused and counted, and the rest is served.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn more_than_there_are_descriptors_for_are_refused_and_counted() {
    let world = World::new(&["127.0.0.1/9101"]);
    let mut sidecar = world.run(&["prlimit", "--nofile=256:800"], "'127.0.0.1:9101'");
    assert_eq!(descriptors(&sidecar.process().pid().to_string()), [800, 800]);
    let said = "traffic.services: `web` may have 100000 connections at a time, and the relay has descriptors for 300";
    assert_eq!(sidecar.log().matches(said).count(), 1, "{}", sidecar.log());
    let admin = format!("127.0.0.1:{}", sidecar.admin_port);
    let explained = process::run(Command::new(sidecar_tests::binary()).args([
        "explain",
        "10.9.0.1:80",
        "--admin",
        &admin,
    ]));
    assert!(
        explained.contains("\n  check      `web` may have 100000 connections at a time, and"),
        "{explained}"
    );
    // A quarter is left to others, and each connection takes two.
    let (came, n_reset) = world.open(330);
    assert_eq!(came, "ConnectionResetError=30 echo=300");
    let scrape = sidecar.scrape();
    let reasons = ["descriptors", "accept", "unreachable"];
    assert_eq!(reasons.map(|reason| failures(&scrape, reason)), [n_reset, 0, 0]);
    assert!(sidecar.stop().success());
    // A command that is started keeps what it was given.
    let output = world.dir.path().join("limit");
    let script = format!("ulimit -Sn >{}", output.display());
    let wrapper = ["prlimit", "--nofile=256:800"];
    let mut sidecar = Sidecar::spawn(world.dir.path(), &wrapper, &[], &["sh", "-c", &script]);
    assert!(sidecar.wait().success(), "{}", sidecar.log());
    assert_eq!(process::read(&output), "256\n");
}

/// That it cannot accept is told when it begins and when it is over, however often it comes and goes.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn a_relay_that_cannot_accept_says_so_once() {
    let world = World::new(&["127.0.0.1/9101"]);
    let mut sidecar = world.run(&[], "'127.0.0.1:9101'");
    let pid = sidecar.process().pid().to_string();
    let [_, usual] = descriptors(&pid);
    let limit = |n: u64| {
        process::run(Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={n}:{usual}")]));
    };
    for _ in 0..3 {
        // Fewer than it has already.
        limit(3);
        let said = {
            let script = "import socket; s = socket.socket(); s.settimeout(0.3); s.connect(('10.9.0.1', 80)); s.send(b'x'); s.recv(1)";
            let words =
                [world.cgroup.wrapper(), ["python3", "-c", script].map(str::to_owned).to_vec()].concat();
            process::output(Command::new(&words[0]).args(&words[1..])).status
        };
        assert!(!said.success());
        limit(usual);
        assert_eq!(world.open(1).0, "echo=1");
    }
    let n_told = |what| sidecar.log().matches(what).count();
    assert_eq!(n_told("the relay cannot accept"), 1, "{}", sidecar.log());
    let n = eventually("the end of it", || {
        let log = sidecar.log();
        let line = log.lines().find(|line| line.contains("the relay accepts again"))?;
        serde_json::from_str::<serde_json::Value>(line).ok()?["failures"].as_u64()
    });
    assert!(n >= 3, "{n}");
    assert_eq!(failures(&sidecar.scrape(), "accept"), n);
    assert_eq!((n_told("the relay cannot accept"), n_told("the relay accepts again")), (1, 1));
}

/// Ports towards an endpoint end where they would end without the relay, and not before; that is not the endpoint's fault.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn ports_end_upstream_and_no_endpoint_is_blamed() {
    let netns = Netns::new();
    // The daemon's own listeners are elsewhere.
    let few = |range| netns.sysctl("net.ipv4.ip_local_port_range", range);
    netns.within(|| {
        let world = World::new(&["127.0.0.1/9101", "127.0.0.2/9101"]);
        for (n, endpoints) in [(140, "'127.0.0.1:9101'"), (300, "'127.0.0.1:9101', '127.0.0.2:9101'")] {
            few("20000 30000");
            let sidecar = world.run(&[], endpoints);
            few("40000 40099");
            let (came, n_reset) = world.open(n);
            let scrape = sidecar.scrape();
            assert_eq!(["no_port", "unreachable"].map(|reason| failures(&scrape, reason)), [n_reset, 0]);
            assert_eq!(scrape.count("sidecar_traffic_endpoint_ejections_total", &[]), 0);
            // Of two it is the balancing that chooses, which does not know of ports.
            if n == 140 {
                assert_eq!(came, "ConnectionResetError=40 echo=100");
            } else {
                assert!(n_reset >= 100, "{came}");
            }
        }
    });
}
