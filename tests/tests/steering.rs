//! Connections that are steered, against the accounts of whoever got them.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command};

use rustix::process::Signal;
use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port,
    nginx::Nginx,
    process::{self, Process},
    scrape::Scrape,
    sidecar::{Sidecar, TWO_CAPABILITIES},
};

/// Accepts, says what the client's first line was, and answers with its own name.
const ENDPOINT: &str = r#"
import socket, sys, threading
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
listener = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family, backlog=1024)
listener.setsockopt(socket.SOL_TCP, socket.TCP_FASTOPEN, 64)
def serve(s):
    with s, s.makefile("rwb") as f:
        for line in f:
            print(line.decode().strip(), flush=True)
            f.write(sys.argv[3].encode() + b"\n"); f.flush()
while True: threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"#;

/// Says something to each address in one of several ways, and prints who answered, whom it took for its peer, or the error.
const CLIENT: &str = r#"
import errno, socket, sys
how, addresses = sys.argv[1], sys.argv[2:]
for n, address in enumerate(addresses):
    host, port = address.rsplit("/", 1)
    to = (host, int(port))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM, 262 if "mptcp" in how else 0)
    said = f"{how} {n}\n".encode()
    try:
        if how == "device": s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        if "bound" in how: s.bind(("127.0.0.9", 0))
        if how == "early": s.sendto(said, socket.MSG_FASTOPEN, to)
        else:
            if how == "lazy": s.setsockopt(socket.SOL_TCP, 30, 1)
            s.connect(to)
            s.sendall(said)
        peer = s.getpeername()
        print(s.makefile("r").readline().strip(), peer[0], peer[1])
    except OSError as error: print(errno.errorcode[error.errno])
    s.close()
"#;

/// A policy, who is steered by it, and where the endpoints' accounts are.
struct World {
    dir: tempfile::TempDir,
    cgroup: Cgroup,
    endpoints: Vec<(String, Process)>,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().expect("a folder");
        World { dir, cgroup: Cgroup::new(), endpoints: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts one that answers with `name`: its port.
    fn endpoint(&mut self, name: &str, address: &str) -> u16 {
        let port = free_port();
        let arguments = [address, &port.to_string(), name];
        let mut command = Command::new("python3");
        let process = Process::start(command.args(["-c", ENDPOINT]).args(arguments), &self.path(name));
        eventually("the endpoint to listen", || std::net::TcpStream::connect((address, port)).ok());
        self.endpoints.push((name.to_owned(), process));
        port
    }

    /// What an endpoint was told, by how it was said.
    fn told(&self, name: &str) -> BTreeMap<String, u64> {
        let mut told = BTreeMap::new();
        for line in process::read(&self.path(name)).lines() {
            *told.entry(line.split(' ').next().unwrap_or_default().to_owned()).or_default() += 1;
        }
        told
    }

    fn settings(&self, services: &str) -> PathBuf {
        let path = self.path("settings.yaml");
        let new = self.path("settings.new");
        fs::write(&new, format!("traffic:\n  services:\n{services}")).expect("settings");
        fs::rename(new, &path).expect("settings");
        path
    }

    fn run(&self, services: &str) -> Sidecar {
        let settings = self.settings(services).display().to_string();
        let cgroup = self.cgroup.path().display().to_string();
        let sidecar = Sidecar::run(self.dir.path(), &["--cgroup", &cgroup, "--config", &settings], &[]);
        sidecar.await_ready();
        sidecar
    }

    /// What a script says that is steered.
    fn python(&self, script: &str, arguments: &[&str]) -> String {
        let words = [self.cgroup.wrapper(), ["python3", "-c", script].map(str::to_owned).to_vec()].concat();
        process::run(Command::new(&words[0]).args(&words[1..]).args(arguments))
    }

    /// Says something in one way to each address: what came of it.
    fn say(&self, how: &str, addresses: &[&str]) -> Vec<String> {
        let said = self.python(CLIENT, &[&[how], addresses].concat());
        said.lines().map(str::to_owned).collect()
    }
}

fn verdicts(scrape: &Scrape) -> BTreeMap<String, u64> {
    let all = scrape.all("sidecar_traffic_connections_total");
    let all = all.filter(|(labels, _)| labels["sidecar_traffic_direction"] == "outbound");
    let word =
        |labels: &sidecar_tests::scrape::Labels, name: &str| labels.get(name).cloned().unwrap_or_default();
    all.map(|(labels, n)| {
        let (verdict, reason) = (word(labels, "sidecar_verdict"), word(labels, "sidecar_reason"));
        (format!("{verdict} {reason}"), n as u64)
    })
    .collect()
}

/// Every place was given back.
fn assert_idle(sidecar: &Sidecar) {
    eventually("places to be given back", || {
        let scrape = sidecar.scrape();
        let mut active = scrape.all("sidecar_traffic_service_active");
        active.all(|(_, n)| n == 0.0).then_some(())
    });
}

fn counts(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs.iter().map(|(key, n)| ((*key).to_owned(), *n)).collect()
}

const WAYS: [&str; 4] = ["plain", "early", "lazy", "mptcp"];

/// Whichever way a connection is made, the endpoint gets it and the application believes that it has what it asked for.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn each_way_to_connect_is_steered() {
    let mut world = World::new();
    let [a, b] = ["a", "b"].map(|name| world.endpoint(name, "127.0.0.1"));
    let six = world.endpoint("six", "::1");
    let mut sidecar = world.run(&format!(
        "
    - name: direct
      addresses: [10.9.0.1, 'fd99::1']
      ports: [80]
      endpoints: ['127.0.0.1:{a}', '127.0.0.1:{b}', '[::1]:{six}']
    - name: proxied
      addresses: [10.9.0.2, 'fd99::2']
      gear: proxy
      endpoints: ['127.0.0.1:{a}', '127.0.0.1:{b}', '[::1]:{six}']
    - name: relayed
      addresses: [127.0.0.1]
      ports: [{a}]
      gear: proxy
"
    ));
    for way in WAYS {
        for (to, peer, answers) in [
            ("10.9.0.1/80", "10.9.0.1 80", vec!["a", "b"]),
            ("::ffff:10.9.0.1/80", "::ffff:10.9.0.1 80", vec!["a", "b"]),
            ("fd99::1/80", "fd99::1 80", vec!["six"]),
            ("10.9.0.2/443", "10.9.0.2 443", vec!["a", "b"]),
            ("::ffff:10.9.0.2/443", "::ffff:10.9.0.2 443", vec!["a", "b"]),
            ("fd99::2/443", "fd99::2 443", vec!["six"]),
        ] {
            let expected: Vec<_> = answers.iter().map(|name| format!("{name} {peer}")).collect();
            for said in world.say(way, &[to; 10]) {
                assert!(expected.contains(&said), "{way} {to}: {said}, not one of {expected:?}");
            }
        }
        // Without endpoints the relay dials what was asked for.
        let said = world.say(way, &[&format!("127.0.0.1/{a}")]);
        assert_eq!(said, [format!("a 127.0.0.1 {a}")], "{way}");
    }
    let told = |name: &str| WAYS.map(|way| world.told(name).get(way).copied().unwrap_or_default());
    let (of_a, of_b, of_six) = (told("a"), told("b"), told("six"));
    assert_eq!(of_six, [20; 4]);
    for way in 0..WAYS.len() {
        assert_eq!(of_a[way] + of_b[way], 41, "{of_a:?} {of_b:?}");
        assert!(of_a[way] > 5 && of_b[way] > 5, "{of_a:?} {of_b:?}");
    }
    assert_eq!(verdicts(&sidecar.scrape()), counts(&[("direct gear", 120), ("proxied gear", 124)]));
    assert_idle(&sidecar);
    let scrape = sidecar.scrape();
    assert_eq!(scrape.count("sidecar_relay_accepted_total", &[]), 124);
    for reason in ["stranger", "unreachable", "broken", "accept"] {
        assert_eq!(
            scrape.count("sidecar_relay_failures_total", &[("sidecar_reason", reason)]),
            0,
            "{reason}"
        );
    }
    sidecar.assert_sound("steering", 64 * 1024);
}

/// A socket that is bound to a device would never come back from loopback; one with an address of its own does.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn bound_sockets_get_what_they_can() {
    let mut world = World::new();
    let a = world.endpoint("a", "127.0.0.1");
    let sidecar = world.run(&format!(
        "
    - name: direct
      addresses: [127.7.0.1]
      endpoints: ['127.0.0.1:{a}']
    - name: proxied
      addresses: [127.0.0.1]
      ports: [{a}]
      gear: proxy
    - name: denied
      addresses: [127.7.0.3]
      gear: deny
      while_running: true
"
    ));
    let to = ["127.7.0.1/80", &format!("127.0.0.1/{a}"), "127.7.0.3/80"];
    let [direct, proxied] = ["a 127.7.0.1 80".to_owned(), format!("a 127.0.0.1 {a}")];
    for way in ["bound", "device"] {
        assert_eq!(world.say(way, &to), [direct.clone(), proxied.clone(), "EPERM".to_owned()], "{way}");
    }
    let expected = [("direct gear", 2), ("proxied gear", 1), ("passed device", 1), ("denied gear", 2)];
    assert_eq!(verdicts(&sidecar.scrape()), counts(&expected));
}

/// What is refused is refused with an errno that says so, and whatever came of a connection gives its place back.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn limits_bind_and_places_come_back() {
    let mut world = World::new();
    let a = world.endpoint("a", "127.0.0.1");
    let closed = free_port();
    let sidecar = world.run(&format!(
        "
    - name: narrow
      addresses: [10.9.0.1]
      endpoints: ['127.0.0.1:{a}']
      limits: {{connections: 2}}
    - name: refusing
      addresses: [10.9.0.2]
      endpoints: ['127.0.0.1:{closed}']
      limits: {{connections: 2}}
    - name: unroutable
      addresses: [10.9.0.3]
      endpoints: ['203.0.113.9:9']
      limits: {{connections: 2}}
    - name: relayed
      addresses: [10.9.0.4]
      gear: proxy
      endpoints: ['127.0.0.1:{closed}']
      limits: {{connections: 2}}
    - name: slow
      addresses: [10.9.0.5]
      endpoints: ['127.0.0.1:{a}']
      limits: {{rate: 1, burst: 3}}
"
    ));
    // Three at once, then each again after one was closed.
    let script = r#"
import socket, sys
def go():
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, int(sys.argv[1]))
    try: s.connect(("10.9.0.1", 80)); print("open", flush=True)
    except OSError as error: print(type(error).__name__, flush=True)
    return s
one, two, three = go(), go(), go()
one.close()
import time
for _ in range(100):
    s = socket.socket()
    try: s.connect(("10.9.0.1", 80)); print("open again"); break
    except ConnectionRefusedError: time.sleep(0.05)
"#;
    for protocol in ["0", "262"] {
        let said = world.python(script, &[protocol]);
        let expected = ["open", "open", "ConnectionRefusedError", "open again"];
        assert_eq!(said.lines().collect::<Vec<_>>(), expected, "{protocol}");
        assert_idle(&sidecar);
    }
    // Fast open sends nothing before there is something to say.
    let silent = r#"
import socket
for _ in range(4):
    s = socket.socket()
    s.setsockopt(socket.SOL_TCP, 30, 1)
    s.setsockopt(socket.SOL_TCP, 34, 1)
    s.connect(("10.9.0.1", 80)); s.close()
    print("silent")
"#;
    assert_eq!(world.python(silent, &[]).lines().count(), 4);
    assert_idle(&sidecar);
    // So many more than the limit that one that kept its place would show.
    for (to, expected) in [("10.9.0.2/80", vec!["ECONNREFUSED"]), ("10.9.0.4/80", vec!["ECONNRESET", ""])] {
        for said in world.say("plain", &[to; 8]) {
            assert!(expected.iter().any(|word| said == *word), "{to}: {said}");
            assert_idle(&sidecar);
        }
    }
    // From loopback no route leads out. The kernel lets go of a path's socket without a word.
    for how in ["bound", "bound mptcp"] {
        for said in world.say(how, &["10.9.0.3/80"; 8]) {
            assert!(["EINVAL", "ENETUNREACH"].contains(&&*said), "{how}: {said}");
        }
        assert_idle(&sidecar);
    }
    let mut rated = world.say("plain", &["10.9.0.5/80"; 6]);
    rated.sort();
    assert_eq!(rated.iter().filter(|said| *said == "ECONNREFUSED").count(), 3, "{rated:?}");
    assert_idle(&sidecar);
    let scrape = sidecar.scrape();
    let verdicts = verdicts(&scrape);
    assert!(verdicts["denied connection_limit"] >= 1, "{verdicts:?}");
    assert_eq!(verdicts["denied rate_limit"], 3);
    assert_eq!(scrape.count("sidecar_relay_failures_total", &[("sidecar_reason", "unreachable")]), 8);
}

/// Resets whoever says something, or leaves attempts without an answer: its queue is full.
const BAD_ENDPOINT: &str = r#"
import socket, struct, sys, threading
if sys.argv[1] == "deaf":
    deaf = socket.socket()
    deaf.bind(("127.0.0.1", int(sys.argv[2]))); deaf.listen(0)
    waiting = [socket.socket() for _ in range(4)]
    for s in waiting: s.setblocking(False); s.connect_ex(deaf.getsockname())
else: listener = socket.create_server(("127.0.0.1", int(sys.argv[2])))
print("listens", flush=True)
if sys.argv[1] == "deaf": threading.Event().wait()
while True:
    s = listener.accept()[0]
    s.recv(9)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)); s.close()
"#;

/// Ends connections, and attempts, in ways that are the client's own doing, then says something and waits for what comes.
const QUITTER: &str = r#"
import ctypes, socket, struct
libc = ctypes.CDLL(None, use_errno=True)
nowhere = struct.pack("16x")
def connect(host, protocol=0, blocks=True):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol)
    s.setblocking(blocks)
    s.connect_ex((host, 80))
    return s
def disconnect(s):
    assert libc.connect(s.fileno(), nowhere, 16) == 0
def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)); s.close()
for _ in range(20):
    disconnect(connect("10.9.0.1"))
    reset(connect("10.9.0.1"))
    reset(connect("10.9.0.1", 262))
    s = connect("10.9.0.2", blocks=False)
    s.shutdown(2)
    disconnect(connect("10.9.0.2", blocks=False))
    reset(connect("10.9.0.2", blocks=False))
for _ in range(20):
    s = connect("10.9.0.3")
    s.sendall(b"hello")
    try: s.recv(9)
    except ConnectionResetError: print("reset")
"#;

/// What the application breaks off says nothing of its endpoint; what the peer resets does.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn an_application_that_gives_up_ejects_nobody() {
    let mut world = World::new();
    let well = [world.endpoint("a", "127.0.0.1"), world.endpoint("b", "127.0.0.1")];
    let mut bad = Vec::new();
    let mut start = |how: &str| {
        let port = free_port();
        let mut command = Command::new("python3");
        command.args(["-c", BAD_ENDPOINT, how, &port.to_string()]);
        let said = world.path(&port.to_string());
        bad.push(Process::start(&mut command, &said));
        eventually("the endpoint to listen", || process::read(&said).contains("listens").then_some(()));
        port
    };
    let resets = ["resets", "resets"].map(&mut start);
    let deaf = ["deaf", "deaf"].map(&mut start);
    let service = |n, [a, b]: [u16; 2]| {
        format!(
            "\n    - name: s{n}\n      addresses: [10.9.0.{n}]\n      endpoints: ['127.0.0.1:{a}', '127.0.0.1:{b}']"
        )
    };
    let sidecar = world.run(&[service(1, well), service(2, deaf), service(3, resets)].concat());
    assert_eq!(world.python(QUITTER, &[]).lines().count(), 20);
    let ejections = |service: &str, reason: &str| {
        let labels = [("sidecar_service", service), ("sidecar_reason", reason)];
        sidecar.scrape().count("sidecar_traffic_endpoint_ejections_total", &labels)
    };
    eventually("the ejection", || (ejections("s3", "reset") > 0).then_some(()));
    for service in ["s1", "s2"] {
        assert_eq!((ejections(service, "reset"), ejections(service, "connect")), (0, 0), "{service}");
    }
    assert_idle(&sidecar);
}

/// Rules hold in their order; what no rule has, or an exception has, goes where it asks; nobody else gets through the relay.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn the_first_rule_decides_and_strangers_are_turned_away() {
    let mut world = World::new();
    let [a, b] = ["a", "b"].map(|name| world.endpoint(name, "127.0.0.1"));
    let mut sidecar = world.run(&format!(
        "
    - name: narrow
      addresses: [127.1.0.0/16]
      except: {{addresses: [127.1.9.0/24], ports: [{b}]}}
      endpoints: ['127.0.0.1:{a}']
    - name: wide
      addresses: [127.0.0.0/8]
      ports: [80]
      gear: proxy
      endpoints: ['127.0.0.1:{b}']
"
    ));
    let to = [
        "127.1.0.1/80",
        "127.2.0.1/80",
        "127.1.9.1/80",
        &format!("127.1.2.3/{b}"),
        &format!("127.0.0.1/{b}"),
    ];
    let b_asked = |host: &str| format!("b {host} {b}");
    assert_eq!(
        world.say("plain", &to),
        ["a 127.1.0.1 80", "b 127.2.0.1 80", "ECONNREFUSED", "ECONNREFUSED", &b_asked("127.0.0.1")]
    );
    let expected = [("direct gear", 1), ("proxied gear", 1), ("passed exception", 2), ("passed no_rule", 1)];
    assert_eq!(verdicts(&sidecar.scrape()), counts(&expected));
    // The relay's own ports, found as anybody would find them.
    let pid = format!("pid={},", sidecar.process().pid().as_raw_nonzero());
    let listening = process::run(Command::new("ss").args(["-Htlnp"]));
    let of_relay = listening.lines().filter(|line| line.contains(&pid)).filter_map(|line| {
        let local = line.split_whitespace().nth(3)?;
        let (host, port) = local.rsplit_once(':')?;
        let port: u16 = port.parse().ok()?;
        (port != sidecar.port && port != sidecar.admin_port)
            .then(|| (host.trim_matches(['[', ']']).to_owned(), port))
    });
    let of_relay: Vec<_> = of_relay.collect();
    assert!(
        of_relay.len() >= 8 && of_relay.iter().all(|(host, _)| host == "127.0.0.1" || host == "::1"),
        "{listening}"
    );
    let mut n = 0;
    for (host, port) in &of_relay {
        let mut stream = std::net::TcpStream::connect((host.as_str(), *port)).expect("a listener");
        let got = std::io::Read::read(&mut stream, &mut [0; 1]);
        assert!(matches!(got, Ok(0) | Err(_)), "{got:?}");
        n += 1;
    }
    let strangers =
        |scrape: &Scrape| scrape.count("sidecar_relay_failures_total", &[("sidecar_reason", "stranger")]);
    eventually("strangers to be counted", || (strangers(&sidecar.scrape()) == n).then_some(()));
    // Once it has stopped, all go where they ask.
    sidecar.stop();
    assert_eq!(world.say("plain", &["127.1.0.1/80", &format!("127.1.2.3/{a}")])[0], "ECONNREFUSED");
}

/// New endpoints and gears while requests are under way: none fails, and none goes to an endpoint that was not allowed any more.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn a_reload_loses_nothing() {
    let world = World::new();
    let mut servers = Vec::new();
    for name in ["one", "two"] {
        let nginx = Nginx::prepare(&world.path(name), "127.0.0.1", free_port(), "");
        let command = nginx.command();
        let process = Process::start(
            Command::new(&command[0]).args(&command[1..]),
            &world.path(&format!("{name}.log")),
        );
        nginx.await_listening();
        servers.push((nginx, process));
    }
    let service = |port: u16, gear: &str| {
        format!(
            "    - name: web\n      addresses: [10.9.0.1]\n      gear: {gear}\n      endpoints: ['127.0.0.1:{port}']\n"
        )
    };
    let ports = [servers[0].0.port, servers[1].0.port];
    let mut sidecar = world.run(&service(ports[0], "direct"));
    let output = world.path("load");
    let words = [
        world.cgroup.wrapper(),
        ["h2load", "--h1", "-D", "8", "-c", "4", "-t", "1", "http://10.9.0.1/100.bin"]
            .map(str::to_owned)
            .to_vec(),
    ]
    .concat();
    let mut load = Process::start(Command::new(&words[0]).args(&words[1..]), &output);
    let reloads = |sidecar: &Sidecar| {
        sidecar.scrape().count("sidecar_config_reloads_total", &[("sidecar_state", "applied")])
    };
    let posted = |server: usize| {
        let answered = servers[server].0.answered();
        answered.get(&("POST".to_owned(), "201".to_owned())).copied().unwrap_or_default()
    };
    let mut expected = [0, 0];
    for round in 0..10 {
        let (server, gear) = (round % 2, if round % 3 == 0 { "proxy" } else { "direct" });
        world.settings(&service(ports[server], gear));
        sidecar.signal(Signal::HUP);
        eventually("the reload", || (reloads(&sidecar) > round as u64).then_some(()));
        // From now on connections go there and nowhere else.
        let post = ["curl", "-s", "-o", "/dev/null", "-d", "x", "http://10.9.0.1/made"].map(str::to_owned);
        for _ in 0..5 {
            let words = [world.cgroup.wrapper(), post.to_vec()].concat();
            process::run(Command::new(&words[0]).args(&words[1..]));
        }
        expected[server] += 5;
        assert_eq!([posted(0), posted(1)], expected, "round {round}, {gear}");
    }
    assert!(load.wait().success());
    let said = process::read(&output);
    assert!(said.contains(" 0 failed, 0 errored, 0 timeout"), "{said}");
    // Not valid: what holds stays.
    world.settings("    - name: web\n      addresses: [10.9.0.1]\n      gear: sideways\n");
    sidecar.signal(Signal::HUP);
    let refused = |sidecar: &Sidecar| {
        sidecar.scrape().count("sidecar_config_reloads_total", &[("sidecar_state", "refused")])
    };
    eventually("the refusal", || (refused(&sidecar) >= 1).then_some(()));
    let ready = || sidecar_tests::scrape::get(sidecar.port, "/readyz", "");
    assert!(ready().contains("settings.yaml:"), "{}", ready());
    // Nor is what the kernel has no room for.
    let hashed = |n: usize| {
        format!(
            "    - {{name: s{n}, addresses: [10.8.0.{n}], balance: hash_user, endpoints: ['127.0.0.1:1']}}\n"
        )
    };
    world.settings(&(1..=131).map(hashed).collect::<String>());
    eventually("the refusal", || (refused(&sidecar) >= 2).then_some(()));
    eventually("what it says", || ready().contains("the old ones hold").then_some(()));
    assert!(ready().contains("settings.yaml:133:") && ready().contains("room for 32768"), "{}", ready());
    assert_eq!(sidecar.log().matches("room for 32768").count(), 1, "{}", sidecar.log());
    assert!(sidecar.stop().success());
}

/// The two that observing needs are enough: the verifier is stricter with them alone.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn two_capabilities_suffice() {
    let mut world = World::new();
    let a = world.endpoint("a", "127.0.0.1");
    let settings = world.settings(&format!(
        "    - name: direct\n      addresses: [10.9.0.1, 'fd99::1']\n      endpoints: ['127.0.0.1:{a}']\n\
         \x20   - name: proxied\n      addresses: [10.9.0.2]\n      gear: proxy\n      endpoints: ['127.0.0.1:{a}']\n"
    ));
    let (cgroup, settings) = (world.cgroup.path().display().to_string(), settings.display().to_string());
    let args = ["--cgroup", &cgroup, "--config", &settings];
    let mut sidecar = Sidecar::spawn(world.dir.path(), &TWO_CAPABILITIES, &args, &[]);
    sidecar.await_attached();
    assert_eq!(world.say("plain", &["10.9.0.1/80", "10.9.0.2/80"]), ["a 10.9.0.1 80", "a 10.9.0.2 80"]);
    assert_idle(&sidecar);
    assert!(sidecar.stop().success());
}

/// Endpoints of a family that all weigh 0 get nothing.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn a_family_that_weighs_nothing_goes_where_it_asks() {
    let mut world = World::new();
    let a = world.endpoint("a", "127.0.0.1");
    let [six, there] = ["six", "there"].map(|name| world.endpoint(name, "::1"));
    let sidecar = world.run(&format!(
        "
    - name: web
      addresses: [10.9.0.1, '::1']
      ports: [{there}]
      endpoints: ['127.0.0.1:{a}', {{address: '[::1]:{six}', weight: 0}}]
"
    ));
    let said = world.say("plain", &[&format!("::1/{there}"), &format!("10.9.0.1/{there}")]);
    assert_eq!(said, [format!("there ::1 {there}"), format!("a 10.9.0.1 {there}")]);
    assert_eq!(world.told("six"), BTreeMap::new());
    assert_eq!(verdicts(&sidecar.scrape()), counts(&[("direct gear", 1), ("passed no_endpoint", 1)]));
    assert_idle(&sidecar);
}
