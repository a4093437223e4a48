//! Connections that come in, against nginx's own account of who came.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use rustix::process::Signal;
use serde_json::Value;
use sidecar_tests::{
    cgroup::Cgroup,
    eventually,
    load::Load,
    netns::Netns,
    nginx::Nginx,
    process::{self, Process},
    scrape::{self, Scrape},
    sidecar::Sidecar,
};

const POD: &str = "10.77.0.1";
const POD6: &str = "fd77::1";
const SECOND: &str = "10.77.0.4";
const SECOND6: &str = "fd77::4";
const CLIENT: &str = "10.77.0.2";
const OTHER: &str = "10.77.0.3";
const CLIENT6: &str = "fd77::2";
const PORT: u16 = 8080;

/// nginx in a network namespace that its clients are not in, and the daemon beside it.
struct World {
    pod: Netns,
    clients: Netns,
    cgroup: Cgroup,
    dir: tempfile::TempDir,
    nginx: Nginx,
    server: Process,
}

impl World {
    fn new() -> World {
        World::listening("")
    }

    /// `how` nginx listens.
    fn listening(how: &str) -> World {
        let (pod, clients) = (Netns::new(), Netns::new());
        let ours = [format!("{POD}/24"), format!("{POD6}/64")];
        let theirs = [format!("{CLIENT}/24"), format!("{OTHER}/24"), format!("{CLIENT6}/64")];
        pod.cable(
            &clients,
            "wire0",
            [&ours.each_ref().map(String::as_str), &theirs.each_ref().map(String::as_str)],
        );
        let (dir, cgroup) = (tempfile::tempdir().expect("a folder"), Cgroup::new());
        let nginx = Nginx::prepare(dir.path(), POD, PORT, "");
        let all =
            [POD, &format!("[{POD6}]"), "127.0.0.1"].map(|at| format!("listen {at}:{PORT} {how};")).concat();
        nginx.amend(&format!("listen {POD}:{PORT} ;"), &all);
        let words = [cgroup.wrapper(), pod.network(), nginx.command()].concat();
        let server = Process::start(Command::new(&words[0]).args(&words[1..]), &dir.path().join("nginx.out"));
        pod.within(|| nginx.await_listening());
        World { pod, clients, cgroup, dir, nginx, server }
    }

    fn settings(&self, inbound: &str) -> String {
        let path = self.dir.path().join("settings.yaml");
        let new = self.dir.path().join("settings.new");
        fs::write(&new, format!("traffic:\n  inbound:\n{inbound}")).expect("settings");
        fs::rename(new, &path).expect("settings");
        path.display().to_string()
    }

    fn run(&self, inbound: &str) -> Sidecar {
        let settings = self.settings(inbound);
        let cgroup = self.cgroup.path().display().to_string();
        let wrapper = self.pod.network();
        let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
        let arguments = ["--cgroup", &cgroup, "--config", &settings];
        let mut sidecar = Sidecar::spawn(self.dir.path(), &wrapper, &arguments, &[]);
        sidecar.await_attached();
        self.pod.within(|| sidecar.await_ready());
        sidecar
    }

    fn scrape(&self, sidecar: &Sidecar) -> Scrape {
        self.pod.within(|| sidecar.scrape_at_rest())
    }

    /// Has nginx log each request as `format` from now on.
    fn relog(&self, format: &str) {
        self.nginx.amend("'$request_method $status $remote_addr $body_bytes_sent'", &format!("'{format}'"));
        self.nginx.amend("/access.log counts", "/access.new counts");
        self.server.signal(Signal::HUP);
        eventually("nginx to go by its new log", || {
            self.ask(CLIENT, POD, PORT);
            self.logged().lines().last().map(drop)
        });
        fs::write(self.dir.path().join("access.new"), "").expect("an empty log");
    }

    /// What it logged since.
    fn logged(&self) -> String {
        process::read(&self.dir.path().join("access.new"))
    }

    /// Asks from outside, from an address: the status, or curl's own exit code where there is none.
    fn ask(&self, from: &str, to: &str, port: u16) -> String {
        curl(&self.clients.network(), &["--interface", from], to, port)
    }

    /// Asks as the application.
    fn ask_itself(&self, to: &str, port: u16) -> String {
        curl(&[self.cgroup.wrapper(), self.pod.network()].concat(), &[], to, port)
    }

    /// Who came since the last time that somebody asked, by nginx's account.
    fn came(&self) -> BTreeMap<String, u64> {
        let came = self.nginx.clients();
        fs::write(self.dir.path().join("access.log"), "").expect("an empty log");
        came
    }
}

fn curl(before: &[String], words: &[&str], to: &str, port: u16) -> String {
    let to = if to.contains(':') { format!("[{to}]") } else { to.to_owned() };
    let url = format!("http://{to}:{port}/100.bin");
    let curl = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "20"];
    let output = process::output(Command::new(&before[0]).args(&before[1..]).args(curl).args(words).arg(url));
    match output.status.code() {
        Some(0) => String::from_utf8_lossy(&output.stdout).into_owned(),
        code => format!("curl {}", code.unwrap_or(-1)),
    }
}

fn count(scrape: &Scrape, service: &str, verdict: &str) -> u64 {
    let labels = [("sidecar_service", service), ("sidecar_verdict", verdict)];
    scrape.count("sidecar_traffic_service_connections_total", &labels)
}

fn failures(scrape: &Scrape, reason: &str) -> u64 {
    scrape.count("sidecar_relay_failures_total", &[("sidecar_reason", reason)])
}

fn accepted(scrape: &Scrape) -> u64 {
    scrape.count("sidecar_relay_accepted_total", &[])
}

fn who(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs.iter().map(|(who, n)| ((*who).to_owned(), *n)).collect()
}

const THROUGH: &str = "
    - name: web
      ports: [8080]
      except: [10.77.0.3]
";

/// A client that keeps its connection: says how each answer to a word of ours came.
const KEPT: &str = r#"
import http.client, sys
c = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=20)
for _ in sys.stdin:
    c.request("GET", "/100.bin"); r = c.getresponse(); r.read()
    print(r.status, c.sock.getsockname()[0], flush=True)
"#;

/// A client that is told when.
struct Talker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Talker {
    /// From outside.
    fn new(world: &World, script: &str, arguments: &[&str]) -> Talker {
        let words = [&["python3", "-c", script], arguments].concat();
        let words = [world.clients.network(), words.into_iter().map(str::to_owned).collect()].concat();
        let mut command = Command::new(&words[0]);
        let mut child =
            command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a client");
        let (input, output) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        Talker { child, input, output: BufReader::new(output) }
    }

    fn tell(&mut self) {
        self.input.write_all(b"\n").expect("a word");
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("an answer");
        line.trim().to_owned()
    }
}

/// One that keeps its connection.
struct Kept(Talker);

impl Kept {
    fn new(world: &World) -> Kept {
        Kept::at(world, "8080")
    }

    fn at(world: &World, port: &str) -> Kept {
        Kept(Talker::new(world, KEPT, &[POD, port]))
    }

    /// One request: status, and as whom it came.
    fn say(&mut self) -> String {
        self.0.tell();
        self.0.hear()
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The application sees who came in, though the relay carries it, and what does not come in from outside is left alone.
#[test]
#[ignore = "privileged: attaches BPF programs, makes network namespaces"]
fn who_comes_in_is_who_the_application_sees() {
    let world = World::new();
    // Older than the daemon.
    let mut kept = Kept::new(&world);
    assert_eq!(kept.say(), format!("200 {CLIENT}"));
    world.came();
    let mut sidecar = world.run(THROUGH);
    for _ in 0..10 {
        assert_eq!(world.ask(CLIENT, POD, PORT), "200");
        assert_eq!(world.ask(CLIENT6, POD6, PORT), "200");
    }
    assert_eq!(world.came(), who(&[(CLIENT, 10), (CLIENT6, 10)]));
    let scrape = world.scrape(&sidecar);
    assert_eq!((accepted(&scrape), count(&scrape, "web", "proxied")), (20, 20));
    let expected: BTreeMap<_, _> = [(("GET".to_owned(), "200".to_owned()), 20)].into();
    assert_eq!(scrape.requests("server"), expected);

    // As they are: an exception, one that was there before, and the application that calls itself.
    for _ in 0..3 {
        assert_eq!(world.ask(OTHER, POD, PORT), "200");
    }
    assert_eq!(kept.say(), format!("200 {CLIENT}"));
    for to in ["127.0.0.1", POD, POD6] {
        assert_eq!(world.ask_itself(to, PORT), "200", "{to}");
    }
    let own = [(OTHER, 3), (CLIENT, 1), ("127.0.0.1", 1), (POD, 1), (POD6, 1)];
    assert_eq!(world.came(), who(&own));
    let scrape = world.scrape(&sidecar);
    assert_eq!((accepted(&scrape), count(&scrape, "web", "passed")), (20, 3));
    for reason in ["stranger", "unreachable", "broken", "accept", "connection_limit", "rate_limit"] {
        assert_eq!(failures(&scrape, reason), 0, "{reason}");
    }

    // So it is explained.
    for (from, port, part) in [
        (CLIENT, PORT, "the relay takes it, and the application sees this client"),
        (OTHER, PORT, "the application gets it: the client is excepted"),
        (CLIENT, 9999, "the application gets it: nothing is said"),
    ] {
        let admin = format!("127.0.0.1:{}", sidecar.admin_port);
        let binary = sidecar_tests::binary().display().to_string();
        let to = format!("{POD}:{port}");
        let words = [&binary, "explain", &to, "--from", from, "--admin", &admin].map(str::to_owned).to_vec();
        let words = [world.pod.network(), words].concat();
        let said = process::run(Command::new(&words[0]).args(&words[1..]));
        assert!(said.starts_with(&format!("port {port} from {from}: {part}")), "{said}");
    }

    // A port of the service at which nobody listens.
    assert_eq!(world.ask(CLIENT, POD, 9999), "curl 7");
    sidecar.assert_sound("what came in", 64 * 1024);
    // Killed, nothing of it is left in the way.
    sidecar.signal(Signal::KILL);
    sidecar.wait();
    assert_eq!(world.ask(CLIENT, POD, PORT), "200");
    assert_eq!(kept.say(), format!("200 {CLIENT}"));
    assert_eq!(world.came(), who(&[(CLIENT, 2)]));
}

/// Linux dials a secondary address of its own from the primary one. The relay does not; the application does, and comes in
/// then, once.
#[test]
#[ignore = "privileged: attaches BPF programs, makes network namespaces"]
fn secondary_addresses_are_reached_once() {
    let world = World::new();
    world.pod.ip(&format!("address add {SECOND}/24 dev wire0"));
    world.pod.ip(&format!("address add {SECOND6}/64 dev wire0 nodad"));
    let loopback = format!("listen 127.0.0.1:{PORT} ;");
    let more = [SECOND, &format!("[{SECOND6}]")].map(|at| format!("listen {at}:{PORT};")).concat();
    world.nginx.amend(&loopback, &format!("{loopback}{more}"));
    world.server.signal(Signal::HUP);
    eventually("nginx to listen there", || (world.ask_itself(SECOND, PORT) == "200").then_some(()));
    assert_eq!(world.came(), who(&[(POD, 1)]), "what the kernel takes for its source");
    let policy = |inbound: &str, gear: &str| {
        format!(
            "{inbound}  services:
    - {{name: out, addresses: [10.99.0.1], endpoints: ['{SECOND}:{PORT}'], gear: {gear}}}
"
        )
    };
    let sidecar = world.run(&policy(THROUGH, "proxy"));
    let n_accepted = || accepted(&world.scrape(&sidecar));
    let all = [(CLIENT, SECOND), (CLIENT6, SECOND6), (CLIENT, POD), (CLIENT6, POD6)];
    for (n, (from, to)) in (1..).zip(all) {
        for _ in 0..5 {
            assert_eq!(world.ask(from, to, PORT), "200", "{from} {to}");
        }
        assert_eq!(n_accepted(), 5 * n, "{from} {to}");
    }
    assert_eq!(world.came(), who(&[(CLIENT, 10), (CLIENT6, 10)]));

    // The application that calls itself comes in from its primary address; with IPv6 it calls from where it calls.
    assert_eq!(world.ask_itself(SECOND, PORT), "200");
    assert_eq!(n_accepted(), 21);
    assert_eq!(world.ask_itself(SECOND6, PORT), "200");
    assert_eq!(n_accepted(), 21);
    assert_eq!(world.came(), who(&[(POD, 1), (SECOND6, 1)]));
    // Out through the relay, and in.
    assert_eq!(world.ask_itself("10.99.0.1", 80), "200");
    assert_eq!(n_accepted(), 23);
    let mut n_applied = 0;
    let mut change = |inbound: &str, gear: &str| {
        world.settings(&policy(inbound, gear));
        sidecar.signal(Signal::HUP);
        n_applied += 1;
        let applied = [("sidecar_state", "applied")];
        eventually("the new settings", || {
            let scrape = world.pod.within(|| sidecar.scrape());
            (scrape.count("sidecar_config_reloads_total", &applied) == n_applied).then_some(())
        });
    };
    // In only.
    change(THROUGH, "direct");
    assert_eq!(world.ask_itself("10.99.0.1", 80), "200");
    assert_eq!(n_accepted(), 24);
    assert_eq!(world.came(), who(&[(POD, 2)]));
    // Denied like anybody who comes from there.
    change("\n    - {name: web, ports: [8080], gear: deny, while_running: true}\n", "direct");
    for to in [SECOND, "10.99.0.1"] {
        assert_eq!(world.ask_itself(to, if to == SECOND { PORT } else { 80 }), "curl 7", "{to}");
    }
    for to in [POD, SECOND6] {
        assert_eq!(world.ask_itself(to, PORT), "200", "{to}");
    }
    // Unless its primary address is excepted.
    let excepted =
        format!("\n    - {{name: web, ports: [8080], gear: deny, while_running: true, except: [{POD}]}}\n");
    change(&excepted, "direct");
    assert_eq!(world.ask_itself(SECOND, PORT), "200");
    assert_eq!(world.ask_itself("10.99.0.1", 80), "200");
    assert_eq!(world.ask(CLIENT, SECOND, PORT), "curl 7");
    assert_eq!(world.came(), who(&[(POD, 3), (SECOND6, 1)]));
    assert_eq!(n_accepted(), 24);
    let scrape = world.scrape(&sidecar);
    for reason in ["stranger", "unreachable", "broken", "no_port", "client_unknown"] {
        assert_eq!(failures(&scrape, reason), 0, "{reason}");
    }
}

/// The relay binds the socket by which it reaches the application. Its port is taken for that destination only: with four ports
/// there are four connections to each of two.
#[test]
#[ignore = "privileged: attaches BPF programs, makes network namespaces"]
fn a_port_to_the_application_is_taken_for_one_destination() {
    let world = World::new();
    let first = format!("listen {POD}:{PORT} ;");
    world.nginx.amend(&first, &format!("{first}listen {POD}:8082;"));
    world.server.signal(Signal::HUP);
    eventually("nginx to listen there", || (world.ask_itself(POD, 8082) == "200").then_some(()));
    let sidecar = world.run("\n    - {name: web, ports: [8080, 8082]}\n");
    world.pod.sysctl("net.ipv4.ip_local_port_range", "40000 40003");
    let mut kept: Vec<_> =
        ["8080", "8082"].repeat(4).into_iter().map(|port| Kept::at(&world, port)).collect();
    for one in &mut kept {
        assert_eq!(one.say(), format!("200 {CLIENT}"));
    }
    let scrape = world.scrape(&sidecar);
    assert_eq!((accepted(&scrape), failures(&scrape, "no_port")), (8, 0));
    // The fifth.
    let answer = world.ask(CLIENT, POD, PORT);
    assert!(["curl 7", "curl 56"].contains(&answer.as_str()), "{answer}");
    assert_eq!(failures(&world.scrape(&sidecar), "no_port"), 1);
}

/// Denials, limits, an application that is not there, strangers, and another policy while running.
#[test]
#[ignore = "privileged: attaches BPF programs, makes network namespaces"]
fn what_comes_in_is_limited_and_refused() {
    let world = World::new();
    let python = ["python3", "-m", "http.server", "8081"].map(str::to_owned).to_vec();
    let words = [world.cgroup.wrapper(), world.pod.network(), python].concat();
    let mut command = Command::new(&words[0]);
    let html = world.dir.path().join("html");
    let _server =
        Process::start(command.args(&words[1..]).current_dir(html), &world.dir.path().join("python"));
    eventually("the other server", || (world.ask_itself("127.0.0.1", 8081) == "200").then_some(()));
    let mut sidecar = world.run(
        "
    - name: shut
      ports: [8081]
      gear: deny
      while_running: true
    - name: web
      ports: [8080, 9999]
      limits: {connections: 2}
    - name: again
      ports: [8082]
",
    );
    // The relay's connections have the application's port, and the application gets it again. (This server closes first.)
    let serve = |log: &str| {
        let python = ["python3", "-m", "http.server", "8082"].map(str::to_owned).to_vec();
        let words = [world.cgroup.wrapper(), world.pod.network(), python].concat();
        let mut command = Command::new(&words[0]);
        let html = world.dir.path().join("html");
        let server = Process::start(command.args(&words[1..]).current_dir(html), &world.dir.path().join(log));
        eventually("a server", || (world.ask_itself("127.0.0.1", 8082) == "200").then_some(()));
        server
    };
    for log in ["first", "second"] {
        let _server = serve(log);
        assert_eq!(world.ask(CLIENT, POD, 8082), "200", "{log}");
    }
    assert_eq!(world.ask(CLIENT, POD, 8081), "curl 7");
    assert_eq!(world.ask_itself("127.0.0.1", 8081), "200");
    // Nobody listens: the client hears of it, as soon as it is connected or just then.
    let is_reset = |answer: String| assert!(["curl 7", "curl 56"].contains(&answer.as_str()), "{answer}");
    is_reset(world.ask(CLIENT, POD, 9999));
    // The third of three at a time.
    let mut two = [Kept::new(&world), Kept::new(&world)];
    for one in &mut two {
        assert_eq!(one.say(), format!("200 {CLIENT}"));
    }
    is_reset(world.ask(CLIENT, POD, PORT));
    let scrape = world.scrape(&sidecar);
    assert_eq!((failures(&scrape, "connection_limit"), failures(&scrape, "unreachable")), (1, 1));
    let active = scrape.count("sidecar_traffic_service_active", &[("sidecar_service", "web")]);
    assert_eq!(active, 2);
    // Neither leg is kept for ever where its peer has vanished.
    let daemon = format!("pid={},", sidecar.process().pid().as_raw_nonzero());
    let words = [world.pod.network(), ["ss", "-Htnop", "state", "established"].map(str::to_owned).to_vec()];
    let words = words.concat();
    let said = process::run(Command::new(&words[0]).args(&words[1..]));
    let legs: Vec<_> = said.lines().filter(|line| line.contains(&daemon) && line.contains(":8080")).collect();
    assert!(legs.len() == 4 && legs.iter().all(|leg| leg.contains("timer:(keepalive,")), "{said}");
    drop(two);
    eventually("a place to be free", || (world.ask(CLIENT, POD, PORT) == "200").then_some(()));
    // Whoever finds the relay's own ports is sent away.
    let pid = format!("pid={},", sidecar.process().pid().as_raw_nonzero());
    let words = [world.pod.network(), ["ss", "-Htlnp"].map(str::to_owned).to_vec()].concat();
    let listening = process::run(Command::new(&words[0]).args(&words[1..]));
    let own = [sidecar.port, sidecar.admin_port];
    let ports: Vec<(String, u16)> = listening
        .lines()
        .filter(|line| line.contains(&pid))
        .filter_map(|line| line.split_whitespace().nth(3)?.rsplit_once(':'))
        .map(|(host, port)| (host.trim_matches(['[', ']']).to_owned(), port.parse().expect("a port")))
        .filter(|(_, port)| !own.contains(port))
        .collect();
    assert!(ports.iter().all(|(host, _)| host == "127.0.0.1" || host == "::1"), "{listening}");
    for (host, port) in &ports {
        let answer = world.ask_itself(host, *port);
        assert!(["curl 52", "curl 56"].contains(&answer.as_str()), "{host}:{port}: {answer}");
    }
    assert_eq!(failures(&world.scrape(&sidecar), "stranger"), ports.len() as u64);

    // Another policy.
    world.settings("\n    - name: web\n      ports: [8080]\n      gear: direct\n");
    sidecar.signal(Signal::HUP);
    eventually("the denial to be gone", || (world.ask(CLIENT, POD, 8081) == "200").then_some(()));
    let before = accepted(&world.scrape(&sidecar));
    assert_eq!(world.ask(CLIENT, POD, PORT), "200");
    let scrape = world.scrape(&sidecar);
    assert_eq!((accepted(&scrape), count(&scrape, "web", "passed")), (before, 1));
}

/// What the daemon tells of a connection that came in is of whoever came, as nginx has it: address and port, the service that
/// let it in, and what is asked for by peers.
#[test]
#[ignore = "privileged: attaches BPF programs, makes network namespaces"]
fn who_comes_in_is_who_is_told_of() {
    let world = World::new();
    world.relog("$remote_addr $remote_port");
    let pair = |line: &str| line.split_once(' ').map(|(address, port)| (address.to_owned(), port.to_owned()));
    let told = |sidecar: &Sidecar| -> Vec<Value> {
        let lines = world.pod.within(|| scrape::get(sidecar.admin_port, "/connections", ""));
        serde_json::from_str(&lines).expect("JSON")
    };
    let settings = format!("{THROUGH}\nexclude: {{peers: [{CLIENT6}]}}\n");
    let sidecar = world.run(&settings);
    let mut kept: Vec<_> = (0..3).map(|_| Kept::new(&world)).collect();
    for one in &mut kept {
        assert_eq!(one.say(), format!("200 {CLIENT}"));
    }
    assert_eq!(world.ask(CLIENT6, POD6, PORT), "200");
    // By the relay no more than by themselves.
    assert_eq!(world.ask(OTHER, POD, PORT), "200");
    let logged: Vec<_> = world.logged().lines().filter_map(pair).collect();
    assert_eq!(logged.len(), 5, "{logged:?}");
    let expected: BTreeSet<_> = logged.iter().filter(|(address, _)| address == CLIENT).cloned().collect();
    let lines = eventually("the connections", || {
        let lines = told(&sidecar);
        (lines.iter().filter(|line| line["verdict"] == "proxied").count() == 3).then_some(lines)
    });
    let own = format!("{POD}:{PORT}");
    let mut seen = BTreeSet::new();
    for line in lines.iter().filter(|line| line["closed"] == false) {
        let (address, port) =
            line["remote"].as_str().and_then(|remote| remote.split_once(':')).expect("a peer");
        seen.insert((address.to_owned(), port.to_owned()));
        assert_eq!((&line["role"], &line["local"]), (&"server".into(), &own.as_str().into()), "{line}");
        let steered = ["verdict", "reason", "service", "asked", "endpoint"].map(|key| line[key].as_str());
        assert_eq!(steered, [Some("proxied"), Some("gear"), Some("web"), Some(own.as_str()), None], "{line}");
    }
    assert_eq!(seen, expected);
    let scrape = world.scrape(&sidecar);
    let opened = |peer: &str| {
        let labels = [("sidecar_tcp_role", "server"), ("network_peer_address", peer)];
        scrape.count("sidecar_tcp_peer_connection_opened_total", &labels)
    };
    assert_eq!([CLIENT, OTHER, CLIENT6, POD].map(opened), [3, 1, 1, 0]);
    // Whose peer is excluded is counted, and not read.
    let expected: BTreeMap<_, _> = [(("GET".to_owned(), "200".to_owned()), 4)].into();
    assert_eq!(scrape.requests("server"), expected);
}

/// Where accept is deferred a request comes before its connection has a socket of its own. By way of the relay or not, each is
/// read.
#[test]
#[ignore = "privileged: attaches BPF programs, makes network namespaces"]
fn what_comes_in_before_it_is_accepted_is_read() {
    let world = World::listening("deferred");
    let sidecar = world.run(THROUGH);
    let mut load = Load::new(world.dir.path(), &world.clients.network());
    let url = |path: &str| world.nginx.url(path);
    load.h2load(("GET", 200), 200, "-c 50", 0, &url("100.bin"));
    load.h2load(("POST", 201), 40, "-c 20", 60_000, &url("made"));
    load.h2load(("GET", 404), 40, "-c 20", 0, &format!("http://[{POD6}]:{PORT}/nowhere"));
    // One request a connection.
    load.h2load(("GET", 200), 30, "-c 30", 0, &url("60000.bin"));
    for _ in 0..10 {
        assert_eq!(world.ask(OTHER, POD, PORT), "200");
        assert_eq!(world.ask_itself(POD, PORT), "200");
    }
    let scrape = world.scrape(&sidecar);
    // curl is of the application, too, where it asks itself.
    let itself: BTreeMap<_, _> = [(("GET".to_owned(), "200".to_owned()), 10)].into();
    scrape.assert_whole(&[("server", world.nginx.answered()), ("client", itself)]);
    assert_eq!((accepted(&scrape), count(&scrape, "web", "proxied")), (120, 120));
    let opened = |peer: &str| {
        let labels = [("sidecar_tcp_role", "server"), ("network_peer_address", peer)];
        scrape.count("sidecar_tcp_peer_connection_opened_total", &labels)
    };
    assert_eq!([CLIENT, CLIENT6, OTHER, POD].map(opened), [100, 20, 10, 10]);
}

/// Asks for something, and has all of it; breaks off by a reset in the middle of what it says then, once it is told to.
const BREAKS_OFF: &str = r#"
import socket, struct, sys
s = socket.create_connection((sys.argv[1], 8080), timeout=20)
s.sendall(b"GET /60000.bin HTTP/1.1\r\nHost: a\r\n\r\n")
got = b""
while len(got.partition(b"\r\n\r\n")[2]) < 60000: got += s.recv(65536)
s.sendall(b"POST /collected HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50000)
print("said", flush=True)
input()
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
s.close()
"#;

/// What was carried of a connection is counted as it goes, and stays so where a reset ends it: nginx counts the same.
#[test]
#[ignore = "privileged: attaches BPF programs, makes network namespaces"]
fn what_was_carried_of_a_broken_connection_is_counted() {
    let world = World::new();
    // nginx collects all of a body before it goes on.
    let collected = format!("location = /collected {{ proxy_pass http://127.0.0.1:{PORT}/made; }}");
    world.nginx.amend("location = /made", &format!("{collected}\n    location = /made"));
    world.relog("$request_method $request_length $bytes_sent");
    let sidecar = world.run(THROUGH);
    let carried = || {
        let scrape = world.scrape(&sidecar);
        ["transmit", "receive"]
            .map(|way| scrape.count("sidecar_relay_io_bytes_total", &[("network_io_direction", way)]))
    };
    let mut client = Talker::new(&world, BREAKS_OFF, &[POD]);
    assert_eq!(client.hear(), "said");
    eventually("all of it to be carried", || (carried()[0] > 50_000).then_some(()));
    let queues = [world.pod.network(), ["ss", "-Htn", "sport", "=", ":8080"].map(str::to_owned).to_vec()];
    let queues = queues.concat();
    eventually("nginx to have read it", || {
        let all = process::run(Command::new(&queues[0]).args(&queues[1..]));
        all.lines().all(|line| line.split_whitespace().nth(1) == Some("0")).then_some(())
    });
    let while_open = carried();
    assert_eq!(failures(&world.scrape(&sidecar), "broken"), 0);
    client.tell();
    eventually("the end", || (failures(&world.scrape(&sidecar), "broken") == 1).then_some(()));
    let logged = eventually("nginx's account", || {
        let logged = world.logged();
        (logged.lines().count() == 2).then_some(logged)
    });
    let column =
        |n| logged.lines().map(|line| line.split(' ').nth(n)?.parse::<u64>().ok()).sum::<Option<u64>>();
    let expected = [column(1), column(2)].map(|sum| sum.expect("two numbers a line"));
    assert_eq!(carried(), expected, "{logged}");
    assert_eq!(while_open, expected);
}

/// Where the kernel has no memory left for who came, the connection is carried all the same, and counted.
#[test]
#[ignore = "privileged: attaches BPF programs, makes network namespaces"]
fn a_client_that_the_application_is_not_told_of_is_counted() {
    let world = World::new();
    let sidecar = world.run(THROUGH);
    assert_eq!(world.ask(CLIENT, POD, PORT), "200");
    assert_eq!(world.came(), who(&[(CLIENT, 1)]));
    assert_eq!(failures(&world.scrape(&sidecar), "client_unknown"), 0);
    world.pod.sysctl("net.core.optmem_max", "0");
    for _ in 0..3 {
        assert_eq!(world.ask(CLIENT, POD, PORT), "200");
    }
    // The relay dials from the address that was dialled.
    assert_eq!(world.came(), who(&[(POD, 3)]));
    assert_eq!(failures(&world.scrape(&sidecar), "client_unknown"), 3);
}
