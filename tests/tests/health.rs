//! Endpoints that fail and recover, judged without anybody on the way: who still gets connections is told by the servers' own
//! logs.

use std::{fs, path::PathBuf, process::Command};

use rustix::process::Signal;
use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port,
    nginx::Nginx,
    pki::Pki,
    process::{self, Process},
    scrape::{self, Scrape},
    sidecar::Sidecar,
};

/// A server, and what it is to be asked.
struct Server {
    nginx: Nginx,
    process: Process,
    log: PathBuf,
}

impl Server {
    /// Before it runs, `amend` may change its configuration.
    fn start(dir: PathBuf, listen: &str, amend: impl FnOnce(&Nginx)) -> Server {
        let nginx = Nginx::prepare(&dir, "127.0.0.1", free_port(), listen);
        amend(&nginx);
        let log = dir.with_extension("log");
        let process = run(&nginx, &log);
        Server { nginx, process, log }
    }

    fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.nginx.port)
    }

    fn n_answered(&self) -> u64 {
        self.nginx.answered().values().sum()
    }

    /// Lets it answer everything with 503, or not any more. Asked by nobody who is observed.
    fn fail(&self, fails: bool) {
        let (well, broken) =
            ("location = /made { return", "location = /100.bin { return 503; } location = /made { return");
        if fails {
            self.nginx.amend(well, broken)
        } else {
            self.nginx.amend(broken, well)
        }
        self.process.signal(Signal::HUP);
        eventually("nginx to go by its new configuration", || {
            let code = ["-s", "-o", "/dev/null", "-w", "%{http_code}"];
            let said = process::run(Command::new("curl").args(code).arg(self.nginx.url("100.bin")));
            ((said == "503") == fails).then_some(())
        });
    }

    fn kill(&mut self) {
        self.process.signal(Signal::KILL);
        assert!(!self.process.wait().success());
    }

    fn start_again(&mut self) {
        self.process = run(&self.nginx, &self.log);
    }
}

fn run(nginx: &Nginx, log: &std::path::Path) -> Process {
    let command = nginx.command();
    let process = Process::start(Command::new(&command[0]).args(&command[1..]), log);
    nginx.await_listening();
    process
}

struct World {
    dir: tempfile::TempDir,
    cgroup: Cgroup,
}

impl World {
    fn new() -> World {
        World { dir: tempfile::tempdir().expect("a folder"), cgroup: Cgroup::new() }
    }

    fn servers<const N: usize>(&self, listen: &str, amend: impl Fn(&Nginx)) -> [Server; N] {
        std::array::from_fn(|_| {
            let name = format!("nginx-{}", free_port());
            Server::start(self.dir.path().join(name), listen, &amend)
        })
    }

    fn settings(&self, services: &str) -> String {
        let (path, new) = (self.dir.path().join("settings.yaml"), self.dir.path().join("settings.new"));
        fs::write(&new, format!("traffic:\n  services:\n{services}")).expect("settings");
        fs::rename(new, &path).expect("settings");
        path.display().to_string()
    }

    fn run(&self, services: &str) -> Sidecar {
        let settings = self.settings(services);
        let cgroup = self.cgroup.path().display().to_string();
        let sidecar = Sidecar::run(self.dir.path(), &["--cgroup", &cgroup, "--config", &settings], &[]);
        sidecar.await_ready();
        sidecar
    }

    /// So many requests, each on a connection of its own.
    fn load(&self, n: u64, url: &str) {
        let n = n.to_string();
        let hey = ["hey", "-disable-keepalive", "-n", &n, "-c", "4", "-t", "10", url].map(str::to_owned);
        let words = [self.cgroup.wrapper(), hey.to_vec()].concat();
        process::run(Command::new(&words[0]).args(&words[1..]));
    }

    /// Requests until `probe` has an answer.
    fn load_until<T>(&self, what: &str, url: &str, mut probe: impl FnMut() -> Option<T>) -> T {
        eventually(what, || {
            self.load(20, url);
            probe()
        })
    }
}

/// A service at 10.9.0.`n`.
fn service(name: &str, n: u8, servers: &[&Server], more: &str) -> String {
    let endpoints: Vec<_> = servers.iter().map(|server| format!("'{}'", server.endpoint())).collect();
    let endpoints = endpoints.join(", ");
    format!("    - name: {name}\n      addresses: [10.9.0.{n}]\n      endpoints: [{endpoints}]\n{more}")
}

fn of(scrape: &Scrape, metric: &str, service: &str, server: &Server) -> f64 {
    let labels = [("sidecar_service", service), ("sidecar_endpoint", &server.endpoint())];
    let name = format!("sidecar_traffic_endpoint_{metric}");
    scrape.sum(&name, &labels).unwrap_or_else(|| panic!("no {name} of {labels:?}"))
}

fn is_ejected(sidecar: &Sidecar, service: &str, server: &Server) -> bool {
    of(&sidecar.scrape(), "ejected", service, server) == 1.0
}

fn ejections(sidecar: &Sidecar, service: &str, server: &Server, reason: &str) -> u64 {
    let labels =
        [("sidecar_service", service), ("sidecar_endpoint", &server.endpoint()), ("sidecar_reason", reason)];
    sidecar.scrape().count("sidecar_traffic_endpoint_ejections_total", &labels)
}

/// One of four answers 503: it gets no connections but those that try it, also after a reload, and its share when it is well.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn one_that_answers_with_errors_is_avoided_and_comes_back() {
    let world = World::new();
    let servers: [Server; 4] = world.servers("", |_| {});
    let all: Vec<_> = servers.iter().collect();
    let health = "      health: {ejection: 1s, slow_start: 0s}\n";
    let mut sidecar = world.run(&service("web", 1, &all, health));
    let url = "http://10.9.0.1/100.bin";
    world.load(200, url);
    let answered = all.iter().map(|server| server.n_answered()).collect::<Vec<_>>();
    assert_eq!(answered.iter().sum::<u64>(), 200);
    assert!(answered.iter().all(|n| *n > 20), "{answered:?}");
    let bad = &servers[0];
    bad.fail(true);
    world.load_until("the ejection", url, || is_ejected(&sidecar, "web", bad).then_some(()));
    // One connection each time that its ejection is over, and no other: what it logged is what was tried.
    let state = |sidecar: &Sidecar| {
        let scrape = sidecar.scrape();
        (bad.n_answered(), of(&scrape, "trials_total", "web", bad) as u64)
    };
    let before = state(&sidecar);
    world.load(400, url);
    let after = eventually("the last trial to be told", || {
        let now = state(&sidecar);
        (now.0 - before.0 == now.1 - before.1).then_some(now)
    });
    assert!(after.0 - before.0 < 40, "{before:?} {after:?}: a quarter would be 100");
    // What is known of endpoints that stay goes on under new settings.
    world.settings(&service("web", 1, &all, &format!("{health}      limits: {{connections: 1000}}\n")));
    sidecar.signal(Signal::HUP);
    let applied = [("sidecar_state", "applied")];
    eventually("the reload", || {
        (sidecar.scrape().count("sidecar_config_reloads_total", &applied) == 1).then_some(())
    });
    assert!(is_ejected(&sidecar, "web", bad));
    let before = bad.n_answered();
    world.load(200, url);
    assert!(bad.n_answered() - before < 20, "{}", sidecar.log());
    assert_eq!(sidecar.scrape().count("sidecar_traffic_service_panics_total", &[]), 0);
    bad.fail(false);
    world.load_until("the return", url, || (!is_ejected(&sidecar, "web", bad)).then_some(()));
    let before = bad.n_answered();
    world.load(200, url);
    assert!(bad.n_answered() - before > 20);
    assert!(ejections(&sidecar, "web", bad, "errors") >= 1);
    sidecar.assert_sound("ejections", 64 * 1024);
}

/// Has each socket refused by a port that nobody is at before it asks.
const REFUSED_BEFORE: &str = r#"
import socket
for _ in range(20):
    s = socket.socket()
    try: raise SystemExit(s.connect(("127.0.0.1", 1)))
    except ConnectionRefusedError: s.connect(("10.9.0.1", 80))
    s.sendall(b"GET /100.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    while s.recv(4096): pass
    s.close()
"#;

/// What it answers on a socket that was refused elsewhere before counts as well.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn one_that_is_asked_by_sockets_that_were_refused_is_judged() {
    let world = World::new();
    let servers: [Server; 2] = world.servers("", |_| {});
    let [bad, good] = &servers;
    let sidecar = world.run(&service("web", 1, &[bad, good], "      health: {ejection: 60s}\n"));
    bad.fail(true);
    let words =
        [world.cgroup.wrapper(), ["python3", "-c", REFUSED_BEFORE].map(str::to_owned).to_vec()].concat();
    eventually("the ejection", || {
        process::run(Command::new(&words[0]).args(&words[1..]));
        is_ejected(&sidecar, "web", bad).then_some(())
    });
    assert_eq!(ejections(&sidecar, "web", bad, "errors"), 1);
    assert!(!is_ejected(&sidecar, "web", good));
}

/// Behind the relay the endpoint is judged by its answers, too, and its connections are those that the relay makes.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn one_that_answers_with_errors_behind_the_relay_is_avoided() {
    let world = World::new();
    let servers: [Server; 3] = world.servers("", |_| {});
    let all: Vec<_> = servers.iter().collect();
    let health = "      health: {ejection: 1s, slow_start: 0s}\n      gear: proxy\n";
    let sidecar = world.run(&service("web", 1, &all, health));
    let url = "http://10.9.0.1/100.bin";
    world.load(60, url);
    let bad = &servers[0];
    bad.fail(true);
    world.load_until("the ejection", url, || is_ejected(&sidecar, "web", bad).then_some(()));
    assert!(ejections(&sidecar, "web", bad, "errors") >= 1);
    let before = bad.n_answered();
    world.load(200, url);
    assert!(bad.n_answered() - before < 20, "a third would be 66");
    bad.fail(false);
    world.load_until("the return", url, || (!is_ejected(&sidecar, "web", bad)).then_some(()));
    assert_eq!(ejections(&sidecar, "web", bad, "connect"), 0);
}

/// Killed: in each gear, and where nothing can be read. Connections tell.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn one_that_is_killed_is_avoided_and_comes_back() {
    let world = World::new();
    let pki = Pki::new(world.dir.path());
    let certificate = format!(
        "ssl_certificate {}; ssl_certificate_key {}; access_log",
        pki.path("server.pem"),
        pki.path("server.key")
    );
    // One process: what is killed is gone.
    let alone = |nginx: &Nginx| nginx.amend("worker_processes 1;", "master_process off;");
    let [mut one, two] = world.servers::<2>("", alone);
    let [mut sealed, sealed_too] = world.servers::<2>("ssl", |nginx| {
        alone(nginx);
        nginx.amend("access_log", &certificate);
    });
    let health = "      health: {ejection: 1s, slow_start: 0s}\n";
    let sidecar = world.run(
        &[
            service("clear", 1, &[&one, &two], health),
            service("sealed", 2, &[&sealed, &sealed_too], health),
            service("relayed", 3, &[&one, &two], &format!("{health}      gear: proxy\n")),
        ]
        .concat(),
    );
    let cases = [
        ("clear", "http://10.9.0.1/100.bin"),
        ("sealed", "https://10.9.0.2/100.bin"),
        ("relayed", "http://10.9.0.3/100.bin"),
    ];
    for (name, url) in cases {
        world.load(40, url);
        let scrape = sidecar.scrape();
        let labels = [("sidecar_service", name)];
        assert_eq!(scrape.sum("sidecar_traffic_endpoint_ejected", &labels), Some(0.0), "{name}");
    }
    let answered = [&one, &two, &sealed, &sealed_too].map(Server::n_answered);
    assert!(answered.iter().all(|n| *n > 3), "{answered:?}");
    one.kill();
    sealed.kill();
    for (name, url) in cases {
        let server = if name == "sealed" { &sealed } else { &one };
        world.load_until(name, url, || is_ejected(&sidecar, name, server).then_some(()));
        assert!(ejections(&sidecar, name, server, "connect") >= 1, "{name}");
        let before = [&two, &sealed_too].map(Server::n_answered);
        world.load(100, url);
        let after = [&two, &sealed_too].map(Server::n_answered);
        // All but those few that tried the other one.
        assert!(after.iter().sum::<u64>() - before.iter().sum::<u64>() > 80, "{name}: {before:?} {after:?}");
    }
    one.start_again();
    sealed.start_again();
    for (name, url) in cases {
        let server = if name == "sealed" { &sealed } else { &one };
        world.load_until(name, url, || (!is_ejected(&sidecar, name, server)).then_some(()));
        let before = server.n_answered();
        world.load(100, url);
        assert!(server.n_answered() - before > 10, "{name}");
    }
}

/// Slow: it gets less, and nothing where that is said to be a failure.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn one_that_is_slow_gets_less() {
    let world = World::new();
    let delayed = r#"
import http.server, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(0.2)
        self.send_response(200); self.send_header("content-length", "2"); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;
    let port = free_port();
    let upstream = ["-c", delayed, &port.to_string()];
    let _upstream =
        Process::start(Command::new("python3").args(upstream), &world.dir.path().join("upstream"));
    eventually("the upstream", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    let [slow] = world.servers::<1>("", |nginx| {
        let location =
            format!("location = /100.bin {{ proxy_pass http://127.0.0.1:{port}; }} location = /made {{");
        nginx.amend("location = /made {", &location);
    });
    let others: [Server; 3] = world.servers("", |_| {});
    let all = [&slow, &others[0], &others[1], &others[2]];
    let sidecar = world.run(&service("web", 1, &all, "      balance: random\n"));
    let url = "http://10.9.0.1/100.bin";
    world.load_until("the slow one to weigh less", url, || {
        (of(&sidecar.scrape(), "weight_ratio", "web", &slow) < 0.05).then_some(())
    });
    let before = slow.n_answered();
    world.load(300, url);
    let n = slow.n_answered() - before;
    assert!(n < 30, "{n} of 300: its share is a 49th, a quarter would be 75");
    assert!(!is_ejected(&sidecar, "web", &slow));
    // It is asked all the same: by its weight it would get nearly everything.
    let judged = service("web", 1, &all, "      health: {slow: 100ms, ejection: 60s, consecutive: 2}\n");
    let (plain, weighty) =
        (format!("'{}'", slow.endpoint()), format!("{{address: '{}', weight: 65535}}", slow.endpoint()));
    world.settings(&judged.replace(&plain, &weighty));
    sidecar.signal(Signal::HUP);
    world.load_until("the ejection", url, || (ejections(&sidecar, "web", &slow, "slow") == 1).then_some(()));
    let before = slow.n_answered();
    world.load(100, url);
    assert_eq!(slow.n_answered(), before);
}

/// Both of two fail: none is without connections, and the probe brings back whoever is well.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn the_last_one_stays_and_a_probe_brings_back() {
    let world = World::new();
    let [one, two] = world.servers::<2>("", |_| {});
    let health = "      health: {ejection: 1s, slow_start: 0s, probe: {http: /100.bin, interval: 200ms, unhealthy: 100}}\n";
    let sidecar = world.run(&service("web", 1, &[&one, &two], health));
    let url = "http://10.9.0.1/100.bin";
    assert_eq!((one.n_answered(), two.n_answered()), (0, 0), "nobody is asked before the first use");
    one.fail(true);
    two.fail(true);
    let panics = |sidecar: &Sidecar| {
        sidecar.scrape().count("sidecar_traffic_service_panics_total", &[("sidecar_service", "web")])
    };
    world.load_until("both to fail", url, || (panics(&sidecar) == 1).then_some(()));
    let n_ejected =
        |sidecar: &Sidecar| [&one, &two].iter().filter(|server| is_ejected(sidecar, "web", server)).count();
    assert_eq!(n_ejected(&sidecar), 1, "the last one is not ejected");
    let before = [one.n_answered(), two.n_answered()];
    world.load(200, url);
    let after = [one.n_answered(), two.n_answered()];
    assert!(after[0] - before[0] > 40 && after[1] - before[1] > 40, "{before:?} {after:?}");
    let ready = scrape::get(sidecar.port, "/readyz", "");
    assert!(ready.starts_with("HTTP/1.1 200") || ready.contains("ok"), "{ready}");
    // Without a connection of the application's own.
    one.fail(false);
    two.fail(false);
    let scrape = eventually("a probe to bring it back", || {
        let scrape = sidecar.scrape();
        (of(&scrape, "ejected", "web", &one) + of(&scrape, "ejected", "web", &two) == 0.0).then_some(scrape)
    });
    let probes =
        |state: &str| scrape.count("sidecar_traffic_endpoint_probes_total", &[("sidecar_state", state)]);
    assert!(probes("good") >= 2 && probes("bad") >= 1);
    assert_eq!(of(&scrape, "trials_total", "web", &one) + of(&scrape, "trials_total", "web", &two), 0.0);
}
