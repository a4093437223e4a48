//! Connections that come in, against nginx's own account of who came.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use rustix::process::Signal;
use serde_json::Value;
use sidecar_tests::{
    eventually,
    inbound::{CLIENT, CLIENT6, KEPT, Kept, OTHER, POD, POD6, PORT, Talker, World, curl},
    load::Load,
    process::{self, Process},
    scrape::{self, Scrape},
    sidecar::Sidecar,
};

const SECOND: &str = "10.77.0.4";
const SECOND6: &str = "fd77::4";
/// Of another network, so that the first is the primary one.
const NEW: &str = "10.78.0.1";
const NEWER: &str = "10.78.0.2";

fn count(scrape: &Scrape, service: &str, verdict: &str) -> u64 {
    let labels = [("sidecar_service", service), ("sidecar_verdict", verdict)];
    scrape.count("sidecar_traffic_service_connections_total", &labels)
}

fn failures(scrape: &Scrape, reason: &str) -> u64 {
    scrape.count("sidecar_relay_failures_total", &[("sidecar_reason", reason)])
}

fn refused(scrape: &Scrape, service: &str, reason: &str) -> u64 {
    let labels = [("sidecar_service", service), ("sidecar_reason", reason)];
    scrape.count("sidecar_relay_refused_total", &labels)
}

/// Connections that came in, by verdict and reason.
fn inbound(scrape: &Scrape) -> BTreeMap<String, u64> {
    let all = scrape.all("sidecar_traffic_connections_total");
    let inbound = all.filter(|(labels, _)| labels["sidecar_traffic_direction"] == "inbound");
    let named = |(labels, n): (&BTreeMap<String, String>, f64)| {
        (format!("{} {}", labels["sidecar_verdict"], labels["sidecar_reason"]), n as u64)
    };
    inbound.map(named).collect()
}

fn assert_inbound(world: &World, sidecar: &Sidecar, expected: &[(&str, u64)]) {
    let mut told = BTreeMap::new();
    eventually(&format!("{expected:?}"), || {
        told = inbound(&world.scrape(sidecar));
        (told == who(expected)).then_some(())
    });
    // None comes late.
    assert_eq!(inbound(&world.scrape(sidecar)), told);
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

/// The application sees who came in, though the relay carries it, and what does not come in from outside is left alone.
#[test]
#[ignore = "privileged: attaches BPF programs, makes network namespaces"]
fn who_comes_in_is_who_the_application_sees() {
    let world = World::plain();
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
    for reason in ["stranger", "unreachable", "broken", "accept"] {
        assert_eq!(failures(&scrape, reason), 0, "{reason}");
    }

    // So it is explained.
    for (from, port, part) in [
        (CLIENT, PORT, "the relay takes it, and the application sees this client"),
        (OTHER, PORT, "the application gets it: the client is excepted"),
        (CLIENT, 9999, "the application gets it: nothing is said"),
        ("127.0.0.1", PORT, "the application gets it: the client is this host itself"),
        (POD, PORT, "the application gets it: the client is this host itself"),
        (POD6, PORT, "the application gets it: the client is this host itself"),
    ] {
        let said = world.explain(&sidecar, port, from);
        assert!(said.starts_with(&format!("port {port} from {from}: {part}")), "{said}");
    }

    // The last connections of the service: of them all 23 are kept, the newest first.
    let said = world.explain(&sidecar, PORT, CLIENT);
    let last: Vec<_> =
        said.lines().filter_map(|line| line.split_once(&format!(" asked {POD}:{PORT}: "))).collect();
    let came = |what: &str| last.iter().filter(|(_, came)| *came == what).count();
    assert_eq!(
        [came("proxied (gear), established"), came("passed (exception), established")],
        [10, 3],
        "{said}"
    );
    assert!(last.iter().all(|(who, _)| who.contains(CLIENT) || who.contains(OTHER)), "{said}");

    // A port of no service, at which nobody listens.
    assert_eq!(world.ask(CLIENT, POD, 9999), "curl 7");
    let expected = [("passed exception", 3), ("passed local", 3), ("proxied gear", 20)];
    assert_inbound(&world, &sidecar, &expected);
    sidecar.assert_sound("what came in", 64 * 1024);
    // Killed, nothing of it is left in the way.
    sidecar.signal(Signal::KILL);
    sidecar.wait();
    assert_eq!(world.ask(CLIENT, POD, PORT), "200");
    assert_eq!(kept.say(), format!("200 {CLIENT}"));
    assert_eq!(world.came(), who(&[(CLIENT, 2)]));
}

/// Linux dials a secondary address of its own from the primary one. The relay does not; the application does, and does not come
/// in: it is told by its address, for as long as the host has that.
#[test]
#[ignore = "privileged: attaches BPF programs, makes network namespaces"]
fn secondary_addresses_are_reached_once() {
    let world = World::plain();
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

    // The application calls itself from its primary address, with IPv6 from where it calls.
    for to in [SECOND, SECOND6] {
        assert_eq!(world.ask_itself(to, PORT), "200");
        assert_eq!(n_accepted(), 20);
    }
    assert_eq!(world.came(), who(&[(POD, 1), (SECOND6, 1)]));
    // Out through the relay, and not in.
    assert_eq!(world.ask_itself("10.99.0.1", 80), "200");
    assert_eq!(n_accepted(), 21);
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
    change(THROUGH, "direct");
    assert_eq!(world.ask_itself("10.99.0.1", 80), "200");
    assert_eq!(n_accepted(), 21);
    assert_eq!(world.came(), who(&[(POD, 2)]));
    // What is denied to all others is not to itself.
    change("\n    - {name: web, ports: [8080], gear: deny, while_running: true}\n", "direct");
    for (to, port) in [(POD, PORT), (SECOND, PORT), (SECOND6, PORT), ("10.99.0.1", 80)] {
        assert_eq!(world.ask_itself(to, port), "200", "{to}");
    }
    let before = [world.cgroup.wrapper(), world.pod.network()].concat();
    assert_eq!(curl(&before, &["--interface", "127.0.0.7"], POD, PORT), "200");
    for (from, to) in all {
        assert_eq!(world.ask(from, to, PORT), "curl 7", "{from} {to}");
    }
    assert_eq!(world.came(), who(&[("127.0.0.7", 1), (POD, 3), (SECOND6, 1)]));

    // Addresses come while it runs, and go to another host.
    let is_own = |address: &str, own: bool| {
        let what = format!("{address} to be {}", if own { "the pod's" } else { "another's" });
        let says = || world.explain(&sidecar, PORT, address).contains("the client is this host itself");
        eventually(&what, || (says() == own).then_some(()));
    };
    is_own(NEW, false);
    for address in [NEW, NEWER] {
        world.pod.ip(&format!("address add {address}/24 dev wire0"));
    }
    let more = format!("listen {NEWER}:{PORT};");
    world.nginx.amend(&loopback, &format!("{loopback}{more}"));
    world.server.signal(Signal::HUP);
    is_own(NEW, true);
    eventually("nginx to listen there", || (world.ask_itself(NEWER, PORT) == "200").then_some(()));
    assert_eq!(world.came(), who(&[(NEW, 1)]));
    world.pod.ip(&format!("address delete {SECOND}/24 dev wire0"));
    is_own(SECOND, false);
    world.clients.ip(&format!("address add {SECOND}/24 dev wire0"));
    assert_eq!(world.ask(SECOND, POD, PORT), "curl 7");
    change(THROUGH, "direct");
    assert_eq!(world.ask(SECOND, POD, PORT), "200");
    assert_eq!(n_accepted(), 22);
    assert_eq!(world.came(), who(&[(SECOND, 1)]));
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
    let world = World::plain();
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
    let world = World::plain();
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
    assert_eq!((refused(&scrape, "web", "connection_limit"), failures(&scrape, "unreachable")), (1, 1));
    let active = scrape.count("sidecar_traffic_service_active", &[("sidecar_service", "web")]);
    assert_eq!(active, 2);
    let said = world.explain(&sidecar, PORT, CLIENT);
    assert!(said.contains("  limits     2 of 2 connections"), "{said}");
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

/// A server that says what it was sent until its end, and one that answers in part, and waits.
const HEARS: &str = r#"
import socket, sys
l = socket.create_server((sys.argv[1], 8080))
s = l.accept()[0]
s.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
print(b"".join(iter(lambda: s.recv(100), b"")).decode(), flush=True)
s = l.accept()[0]; s.sendall(b"in part")
l.accept()
"#;

/// Its clients: the second one says how it ended.
const SAYS: &str = r#"
import socket, sys
at = (sys.argv[1], 8080)
s = socket.create_connection(at, 20); s.sendall(b"abc"); s.send(b"!", socket.MSG_OOB); s.sendall(b"def"); s.close()
s = socket.create_connection(at, 20); print(s.recv(100).decode(), flush=True)
try: print("ended" if s.recv(100) == b"" else "more", flush=True)
except ConnectionResetError: print("reset", flush=True)
"#;

/// Urgent bytes stay in the stream. A connection that the daemon's end cuts off is not one that came to its end.
#[test]
#[ignore = "privileged: attaches BPF programs, makes network namespaces"]
fn nothing_is_left_out_and_what_is_cut_off_is_reset() {
    let mut world = World::plain();
    world.server.signal(Signal::QUIT);
    world.server.wait();
    let inside = [world.cgroup.wrapper(), world.pod.network()].concat();
    let mut server = Talker::within(&inside, HEARS, &[POD]);
    let listens =
        [world.pod.network(), ["ss", "-Htln", "sport", "=", ":8080"].map(str::to_owned).to_vec()].concat();
    eventually("the server to listen", || {
        (!process::run(Command::new(&listens[0]).args(&listens[1..])).is_empty()).then_some(())
    });
    let mut sidecar = world.run(THROUGH);
    let mut client = Talker::new(&world, SAYS, &[POD]);
    assert_eq!(server.hear(), "abc!def");
    assert_eq!(client.hear(), "in part");
    assert_eq!(accepted(&world.scrape(&sidecar)), 2);
    sidecar.signal(Signal::TERM);
    assert_eq!(client.hear(), "reset");
    sidecar.wait();
}

/// A server that sends for as long as anybody takes it.
const STREAMS: &str = r#"
import socket, sys, threading
def serve(s):
    try:
        while True: s.sendall(bytes(65536))
    except OSError: s.close()
l = socket.create_server((sys.argv[1], 8093))
while True: threading.Thread(target=serve, args=[l.accept()[0]]).start()
"#;

/// Clients that take some of it, and go.
const LEAVES: &str = r#"
import socket, sys
for _ in range(50):
    s = socket.create_connection((sys.argv[1], 8093), 20)
    s.recv(1000); s.close()
"#;

/// Each that came in has a verdict, and a reason: also those that the relay did not bring.
#[test]
#[ignore = "privileged: attaches BPF programs, makes network namespaces"]
fn what_came_in_has_a_verdict() {
    let world = World::plain();
    let loopback = format!("listen 127.0.0.1:{PORT} ;");
    world.nginx.amend(&loopback, &format!("{loopback}listen {POD}:8090;listen {POD}:8091;"));
    world.server.signal(Signal::HUP);
    eventually("nginx to listen there", || (world.ask_itself(POD, 8091) == "200").then_some(()));
    let older = Kept::new(&world);
    let sidecar = world.run(&format!("{THROUGH}\n    - {{name: open, ports: [8091], gear: direct}}\n    - {{name: shut, ports: [8092], gear: deny, while_running: true}}\n"));
    let (outside, inside) = (world.clients.network(), [world.cgroup.wrapper(), world.pod.network()].concat());
    let all = [
        (&outside, CLIENT, POD, "8080", ["proxied", "gear", "web"]),
        (&outside, OTHER, POD, "8080", ["passed", "exception", "web"]),
        (&outside, CLIENT, POD, "8090", ["passed", "no_rule", ""]),
        (&outside, CLIENT, POD, "8091", ["passed", "gear", "open"]),
        (&inside, POD, POD, "8080", ["passed", "local", ""]),
        (&inside, "127.0.0.1", "127.0.0.1", "8080", ["passed", "local", ""]),
    ];
    let mut kept = Vec::new();
    let mut expected = BTreeSet::new();
    for (before, from, to, port, verdict) in all {
        let mut one = Kept(Talker::within(before, KEPT, &[to, port, from]));
        assert_eq!(one.say(), format!("200 {from}"));
        kept.push(one);
        expected.insert((from.to_owned(), format!("{to}:{port}"), verdict.map(str::to_owned).to_vec()));
    }
    let told = || -> BTreeSet<_> {
        let lines = world.pod.within(|| scrape::get(sidecar.admin_port, "/connections", ""));
        let lines: Vec<Value> = serde_json::from_str(&lines).expect("JSON");
        let servers = lines.iter().filter(|line| line["role"] == "server" && line["closed"] == false);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let of = |line: &Value| {
            let remote = text(&line["remote"]);
            let from = remote.rsplit_once(':').expect("a port").0.to_owned();
            (
                from,
                text(&line["local"]),
                ["verdict", "reason", "service"].map(|key| text(&line[key])).to_vec(),
            )
        };
        servers.map(of).collect()
    };
    eventually("each to be told of", || (told() == expected).then_some(()));
    let mut counts = vec![
        ("passed exception", 1),
        ("passed gear", 1),
        ("passed local", 2),
        ("passed no_rule", 1),
        ("proxied gear", 1),
    ];
    assert_inbound(&world, &sidecar, &counts);
    // Segments of connections that the application has left come in by themselves.
    let _server = Talker::new(&world, STREAMS, &[CLIENT]);
    let left = [inside.clone(), ["python3", "-c", LEAVES, CLIENT].map(str::to_owned).to_vec()].concat();
    eventually("connections to be left", || {
        process::output(Command::new(&left[0]).args(&left[1..])).status.success().then_some(())
    });
    assert_inbound(&world, &sidecar, &counts);
    // Whoever is denied is counted by the kernel.
    assert_eq!(world.ask(CLIENT, POD, 8092), "curl 7");
    counts.insert(0, ("denied gear", 1));
    assert_inbound(&world, &sidecar, &counts);
    drop(older);
}

/// What the daemon tells of a connection that came in is of whoever came, as nginx has it: address and port, the service that
/// let it in, and what is asked for by peers.
#[test]
#[ignore = "privileged: attaches BPF programs, makes network namespaces"]
fn who_comes_in_is_who_is_told_of() {
    let world = World::plain();
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
        let n = |key: &str, value: Value| lines.iter().filter(|line| line[key] == value).count();
        // Those that were let pass are told to be over only after that.
        (n("verdict", "proxied".into()) == 3 && n("closed", false.into()) == 3).then_some(lines)
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
    let world = World::plain();
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
    let world = World::plain();
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
