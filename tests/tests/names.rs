//! Services by name, for real resolvers and clients. What was asked on is told by dnsmasq's own log, what was reached by
//! nginx's.

use std::{fs, path::PathBuf, process::Command};

use rustix::process::Signal;
use sidecar_tests::{
    cgroup::Cgroup,
    compile::{self, Library},
    dnsmasq, eventually, free_port,
    nginx::Nginx,
    process::{self, Process},
    sidecar::Sidecar,
};

const ONE: &str = "127.53.0.1";
const TWO: &str = "127.53.0.2";

/// Two resolvers that differ in what they say of `who.example`, two servers, and an application's cgroup.
struct World {
    dir: tempfile::TempDir,
    cgroup: Cgroup,
    servers: Vec<(Nginx, Process)>,
    resolvers: Vec<Process>,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().expect("a folder");
        let mut world = World { dir, cgroup: Cgroup::new(), servers: Vec::new(), resolvers: Vec::new() };
        for (address, six, who) in [(ONE, Some("::1"), "127.8.0.1"), (TWO, None, "127.8.0.2")] {
            world.resolver(address, six, who);
        }
        for name in ["a", "b"] {
            let folder = world.path(name);
            fs::create_dir(&folder).expect("a folder");
            let server = Nginx::prepare(&folder, "127.0.0.1", free_port(), "");
            let words = server.command();
            let running = Process::start(Command::new(&words[0]).args(&words[1..]), &folder.join("out"));
            server.await_listening();
            world.servers.push((server, running));
        }
        world
    }

    fn resolver(&mut self, address: &str, six: Option<&str>, who: &str) {
        let text = "x".repeat(250);
        let mut more = vec!["--local-ttl=60".to_owned(), "--edns-packet-max=4096".to_owned()];
        more.extend(["--cache-size=0", "--local=/example/", "--local=/internal/"].map(str::to_owned));
        more.extend(six.map(|six| format!("--listen-address={six}")));
        let records = [format!("who.example,{who}"), "real.example,127.8.0.3".to_owned()];
        more.extend(records.iter().map(|record| format!("--host-record={record}")));
        more.push("--host-record=other.example,127.8.0.3".to_owned());
        more.extend((0..8).map(|n| format!("--txt-record=big.example,{n}{text}")));
        let log = self.path(&format!("dns-{address}"));
        self.resolvers.push(dnsmasq::start(address, &more, &log, ["who.example", who]));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, services: &str) -> Sidecar {
        let [a, b] = [0, 1].map(|at| self.servers[at].0.port);
        let settings = self.path("settings.yaml");
        let text = services.replace("ENDPOINTS", &format!("['127.0.0.1:{a}', '127.0.0.1:{b}']"));
        fs::write(&settings, format!("traffic:\n  services:\n{text}")).expect("settings");
        let (settings, cgroup) = (settings.display().to_string(), self.cgroup.path().display().to_string());
        let sidecar = Sidecar::run(self.dir.path(), &["--cgroup", &cgroup, "--config", &settings], &[]);
        sidecar.await_ready();
        sidecar
    }

    /// Runs a program in the application's cgroup, with these resolvers in its /etc/resolv.conf: what it said.
    fn say(&self, resolvers: &[&str], words: &[&str]) -> String {
        let conf = self.path("resolv.conf");
        let resolving = dnsmasq::resolving(resolvers, "options timeout:2 attempts:2\n", &conf);
        let outer = [self.cgroup.wrapper(), resolving];
        let all = [outer.concat(), words.iter().map(|word| (*word).to_owned()).collect()].concat();
        let output = process::output(Command::new(&all[0]).args(&all[1..]));
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).into_owned()
    }

    /// `dig`, in the application's cgroup.
    fn dig(&self, address: &str, words: &str) -> String {
        let words = [vec!["dig".to_owned()], dig(address, words)].concat();
        self.say(&[ONE], &words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// How often a resolver was asked for something, by its own log.
    fn asked(&self, address: &str, question: &str) -> usize {
        let log = process::read(&self.path(&format!("dns-{address}")));
        log.lines().filter(|line| line.contains(&format!("query[{question}"))).count()
    }

    /// How many requests both servers answered.
    fn served(&self) -> [u64; 2] {
        [0, 1].map(|at| self.servers[at].0.answered().values().sum())
    }
}

fn dig(address: &str, words: &str) -> Vec<String> {
    let at = format!("@{address}");
    ["+time=2", "+tries=1", "+nocookie", &at].into_iter().chain(words.split(' ')).map(str::to_owned).collect()
}

fn queries(sidecar: &Sidecar, outcome: &str) -> u64 {
    sidecar.scrape().count("sidecar_dns_queries_total", &[("sidecar_outcome", outcome)])
}

fn failures(sidecar: &Sidecar, reason: &str) -> u64 {
    sidecar.scrape().count("sidecar_dns_failures_total", &[("sidecar_reason", reason)])
}

const SERVICES: &str = "
    - name: api
      hosts: [api.internal, '*.svc.internal']
      ports: [80]
      endpoints: ENDPOINTS
      while_running: true
    - name: real
      hosts: [real.example]
      ports: [80]
      resolve: real
      endpoints: ENDPOINTS
    - name: other
      hosts: [other.example]
      resolve: real
      ports: [80, 81]
    - name: denied
      hosts: [bad.internal]
      gear: deny
      while_running: true
";

/// Sends a question from one unconnected socket to each resolver in turn, and says whose answer it was and what.
const PYTHON: &str = r#"
import socket, struct, sys
family, connected, resolvers = sys.argv[1], sys.argv[2] == "connected", sys.argv[3:]
def question(n, name):
    labels = b"".join(bytes([len(l)]) + l.encode() for l in name.split("."))
    return struct.pack(">6H", n, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1)
s = socket.socket(socket.AF_INET6 if family == "6" else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
for n in range(3):
    for resolver in resolvers:
        to = (resolver, 53)
        if connected:
            s = socket.socket(s.family, socket.SOCK_DGRAM); s.settimeout(5)
            s.connect(to); s.send(question(n, "who.example"))
            assert s.getpeername()[:2] == to, s.getpeername()
        else: s.sendto(question(n, "who.example"), to)
        answer, source = s.recvfrom(4096)
        assert struct.unpack(">H", answer[:2])[0] == n
        print(source[0], source[1], socket.inet_ntoa(answer[-4:]))
"#;

/// Whoever is asked answers, also where several are asked by one socket; over both families, connected or not.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn answers_come_from_whom_was_asked() {
    let world = World::new();
    let sidecar = world.run(SERVICES);
    let mut n = 0;
    for (family, prefix) in [("4", ""), ("6", "::ffff:")] {
        for how in ["unconnected", "connected"] {
            let [one, two] = [ONE, TWO].map(|address| format!("{prefix}{address}"));
            let said = world.say(&[ONE], &["python3", "-c", PYTHON, family, how, &one, &two]);
            let round = format!("{one} 53 127.8.0.1\n{two} 53 127.8.0.2\n");
            assert_eq!(said, round.repeat(3), "{family} {how}");
            n += 6;
        }
    }
    for how in ["unconnected", "connected"] {
        let said = world.say(&[ONE], &["python3", "-c", PYTHON, "6", how, "::1"]);
        assert_eq!(said, "::1 53 127.8.0.1\n".repeat(3), "{how}");
        n += 3;
    }
    assert_eq!(queries(&sidecar, "forwarded"), n);
    // One of each was asked to see that it runs, by nobody whose questions are caught.
    assert_eq!([ONE, TWO].map(|address| world.asked(address, "A] who.example")), [12 + 6 + 1, 12 + 1]);
}

/// A request without `Host` is told of by the name that its address is of; what stands for many names stands for none.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn a_request_without_a_host_is_told_by_its_name() {
    let world = World::new();
    let sidecar = world.run(SERVICES);
    let any = world.dig(ONE, "x.svc.internal A +short").trim().to_owned();
    for host in ["api.internal", "x.svc.internal"] {
        let url = format!("http://{host}/100.bin");
        let words = ["curl", "-4", "-0", "-s", "-H", "Host:", "-o", "/dev/null", "-w", "%{http_code}", &url];
        assert_eq!(world.say(&[ONE], &words), "200", "{host}");
    }
    assert_eq!(world.served().iter().sum::<u64>(), 2);
    let scrape = sidecar.scrape_at_rest();
    let told = |address: &str| {
        let labels = [("server_address", address), ("server_port", "80")];
        scrape.count("http_client_request_duration_seconds_count", &labels)
    };
    assert_eq!([told("api.internal"), told(&any), told("x.svc.internal")], [1, 1, 0]);
}

/// An address of loopback's, while it lives.
struct Address(&'static str);

impl Address {
    fn new(address: &'static str) -> Self {
        process::run(Command::new("ip").args(["address", "add", address, "dev", "lo"]));
        Address(address)
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["address", "del", self.0, "dev", "lo"]).status();
    }
}

/// Sends questions from an address, and waits for no answer.
const ASK_ONLY: &str = r#"
import socket, struct, sys
source, resolver, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((source, 0))
for n in range(n):
    name = b"\3who\7example\0"
    s.sendto(struct.pack(">6H", n, 0x100, 1, 0, 0, 0) + name + struct.pack(">2H", 1, 1), (resolver, 53))
"#;

/// Answers to whoever is gone with its address: each is counted, and it is told once.
#[test]
#[ignore = "privileged: attaches BPF programs, adds an address to the loopback device"]
fn answers_that_cannot_be_sent_are_counted() {
    let world = World::new();
    let sidecar = world.run(SERVICES);
    let address = Address::new("10.77.53.1/32");
    world.resolvers[0].signal(Signal::STOP);
    world.say(&[ONE], &["python3", "-c", ASK_ONLY, "10.77.53.1", ONE, "5"]);
    eventually("the questions to wait", || {
        (sidecar.scrape().count("sidecar_dns_outstanding", &[]) == 5).then_some(())
    });
    drop(address);
    world.resolvers[0].signal(Signal::CONT);
    eventually("the answers", || (failures(&sidecar, "unsent") == 5).then_some(()));
    let log = sidecar.log();
    assert_eq!(log.matches("an answer could not be sent").count(), 1, "{log}");
    let n = eventually("it to be over", || {
        let log = sidecar.log();
        let line = log.lines().find(|line| line.contains("answers are sent again"))?;
        serde_json::from_str::<serde_json::Value>(line).ok()?["failures"].as_u64()
    });
    assert_eq!(n, 5);
    assert_eq!(world.dig(ONE, "who.example A +short"), "127.8.0.1\n");
}

/// What `dig` shows of names that are ours, and of those that are not: the latter is what it shows without us.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn dig_sees_what_the_rfcs_say() {
    let world = World::new();
    let sidecar = world.run(SERVICES);
    let address = world.dig(ONE, "api.internal A +short");
    assert!(address.starts_with("240.240."), "{address}");
    for words in ["API.InterNAL A +short", "api.internal A +short +tcp", "api.internal A +short +noedns"] {
        assert_eq!(world.dig(ONE, words), address, "{words}");
    }
    assert_eq!(world.dig(TWO, "api.internal A +short"), address);
    assert!(world.dig(ONE, "API.InterNAL A").contains("API.InterNAL."), "the question's case");
    let below = world.dig(ONE, "x.y.svc.internal A +short");
    assert!(below.starts_with("240.240.") && below != address, "{below}");
    for (words, parts) in [
        // The service has no endpoint of IPv6; the name is there.
        ("api.internal AAAA", vec!["status: NOERROR", "ANSWER: 0", "AUTHORITY: 0"]),
        ("api.internal MX", vec!["status: NOERROR", "ANSWER: 0"]),
        ("api.internal HTTPS", vec!["status: NOERROR", "ANSWER: 0"]),
        (
            "api.internal A +edns=1 +noednsnegotiation",
            vec!["status: BADVERS", "EDNS: version: 0", "ANSWER: 0"],
        ),
        (
            "api.internal A +bufsize=4096 +dnssec",
            vec!["status: NOERROR", "EDNS: version: 0, flags: do; udp: 1232"],
        ),
        ("api.internal A +opcode=status", vec!["status: NOTIMP"]),
        ("api.internal A +header-only", vec!["status: FORMERR"]),
    ] {
        let said = world.dig(ONE, words);
        assert!(parts.iter().all(|part| said.contains(part)), "{words}: {said}");
    }
    assert!(!world.dig(ONE, "api.internal A +noedns").contains("EDNS"), "what was not asked for");
    assert_eq!(world.asked(ONE, "A] api.internal") + world.asked(ONE, "AAAA] api.internal"), 0);
    // The same with and without us, but for ids and times.
    let told = |said: &str| {
        let is_told = |line: &&str| {
            !["; <<>>", ";; Query time", ";; WHEN", ";; ->>HEADER"].iter().any(|p| line.starts_with(p))
        };
        let status = said
            .lines()
            .filter(|line| line.contains("status:"))
            .map(|line| line.split(", id").next().unwrap_or(line));
        let rest = said.lines().filter(is_told).filter(|line| !line.is_empty());
        let mut lines: Vec<_> = rest.chain(status).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    for words in [
        "who.example A",
        "who.example AAAA",
        "nobody.example A",
        "WHO.example A +noedns",
        "big.example TXT +noedns +ignore",
        "big.example TXT +noedns",
        "big.example TXT +bufsize=1232 +ignore",
        "big.example TXT +bufsize=4096",
        "big.example TXT +tcp",
        "big.example TXT +dnssec +nsid",
        "version.bind CH TXT",
    ] {
        let without = process::run(Command::new("dig").args(dig(ONE, words)));
        assert_eq!(told(&world.dig(ONE, words)), told(&without), "{words}");
    }
    // Nobody is there: the application is told, and no more is waited for.
    let said = world.dig("127.53.0.9", "who.example A");
    assert!(said.contains("SERVFAIL"), "{said}");
    assert_eq!(failures(&sidecar, "unreachable"), 1);
    assert_eq!([failures(&sidecar, "timeout"), failures(&sidecar, "mismatched")], [0, 0]);
}

/// Resolvers of glibc, musl, c-ares and Go, with two resolvers configured, lead to the service's endpoints.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn every_libc_finds_the_service() {
    let world = World::new();
    let sidecar = world.run(SERVICES);
    let address = world.dig(ONE, "api.internal A +short").trim().to_owned();
    let program = compile::c("resolvers/libc.c", Library::Musl, world.dir.path());
    let node = |name: &str| {
        format!("require('dns').resolve4('{name}', (e, a) => console.log(e ? e.code : a.join()))")
    };
    let [ours, theirs, nobody] = ["api.internal", "who.example", "nobody.example"].map(node);
    let both = [ONE, TWO];
    for (words, expected) in [
        (vec!["getent", "ahostsv4", "api.internal"], address.as_str()),
        (vec!["getent", "hosts", "who.example"], "127.8.0.1"),
        (vec![&program, "api.internal/4"], &address),
        (vec![&program, "who.example/4"], "127.8.0."),
        (vec!["node", "-e", &ours], &address),
        (vec!["node", "-e", &theirs], "127.8.0.1"),
        (vec!["node", "-e", &nobody], "ENOTFOUND"),
    ] {
        let said = world.say(&both, &words);
        assert!(said.contains(expected), "{words:?}: {said}");
    }
    // Connections go to the endpoints, by turns; nobody else gets any.
    let get = |words: &[&str]| world.say(&both, words);
    for _ in 0..20 {
        assert_eq!(
            get(&["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://api.internal/100.bin"]),
            "200"
        );
    }
    let by_curl = world.served();
    assert!(by_curl.iter().sum::<u64>() == 20 && by_curl.iter().all(|n| *n > 0), "{by_curl:?}");
    let go = [
        "env",
        "GODEBUG=netdns=go",
        "hey",
        "-n",
        "20",
        "-c",
        "2",
        "-disable-keepalive",
        "http://x.svc.internal/100.bin",
    ];
    let said = get(&go);
    assert!(said.contains("[200]\t20 responses"), "{said}");
    assert_eq!(world.served().iter().sum::<u64>(), 40);
    // What nobody answers for leads nowhere.
    for url in ["http://api.internal:81/", "http://240.240.9.9/", "http://bad.internal/"] {
        let said = get(&["curl", "-sS", "--max-time", "5", url]);
        assert!(
            said.contains("refused") || said.contains("not permitted") || said.contains("connect"),
            "{url}: {said}"
        );
        assert!(!said.contains("timed out"), "{url}: {said}");
    }
    let denied = |reason| {
        let labels = [("sidecar_verdict", "denied"), ("sidecar_reason", reason)];
        sidecar.scrape().count("sidecar_traffic_connections_total", &labels)
    };
    assert!(denied("no_endpoint") >= 2 && denied("gear") >= 1);
    assert_eq!(world.asked(ONE, "A] api.internal") + world.asked(TWO, "A] api.internal"), 0);
}

/// Real addresses are the service's from the answer on, and two names on one address are told of.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn real_addresses_become_the_services() {
    let world = World::new();
    let sidecar = world.run(SERVICES);
    let get = |url: &str| world.say(&[ONE], &["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url]);
    // Nobody is there.
    assert_eq!(get("http://127.8.0.3/100.bin"), "000");
    assert_eq!(get("http://real.example/100.bin"), "200");
    assert_eq!(get("http://127.8.0.3/100.bin"), "200");
    assert_eq!(world.served().iter().sum::<u64>(), 2);
    assert!(world.asked(ONE, "A] real.example") >= 1);
    assert_eq!(failures(&sidecar, "shared"), 0);
    // Its other name: the first in the file has it.
    assert!(world.dig(ONE, "other.example A +short +tcp").contains("127.8.0.3"));
    assert_eq!(failures(&sidecar, "shared"), 1);
    let log = sidecar.log();
    let told: Vec<_> = log.lines().filter(|line| line.contains("is another service's, too")).collect();
    assert!(told.len() == 1, "{log}");
    let told: serde_json::Value = serde_json::from_str(told[0]).expect("JSON");
    let fields = ["service", "other", "address"].map(|field| told[field].as_str());
    assert_eq!(fields, ["other", "real", "127.8.0.3"].map(Some));
    assert_eq!(get("http://other.example/100.bin"), "200");
    assert_eq!(sidecar.scrape().count("sidecar_dns_addresses", &[]), 2);
    // Whoever asks by a name is told of the address that the application was told.
    let explained = |to: &str| {
        let admin = format!("127.0.0.1:{}", sidecar.admin_port);
        let output =
            process::output(Command::new(sidecar_tests::binary()).args(["explain", to, "--admin", &admin]));
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let ours = world.dig(ONE, "api.internal A +short").trim().to_owned();
    for (to, part) in [
        ("api.internal:80", format!("api.internal is {ours}:80: connect() is given one of the endpoints")),
        ("real.example:80", "real.example is 127.8.0.3:80: connect() is given".to_owned()),
        ("other.example:80", "rule       service real: 127.8.0.3/32, port 80".to_owned()),
        ("other.example:80", "shadows    other: they have this destination too, and come later".to_owned()),
        ("bad.internal:443", "connect() fails with EPERM".to_owned()),
        ("who.example:80", "no service has the name `who.example`".to_owned()),
        ("api.internal", "write IP:PORT, [IPv6]:PORT or HOST:PORT".to_owned()),
    ] {
        assert!(explained(to).contains(&part), "{to}: {}", explained(to));
    }
}

/// A daemon that hangs, and one that is gone, is in nobody's way; one that comes back gives the same addresses.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn without_the_daemon_questions_pass() {
    let world = World::new();
    let mut sidecar = world.run(SERVICES);
    let ours = world.dig(ONE, "api.internal A +short");
    let asked = world.asked(ONE, "A] who.example");
    sidecar.signal(Signal::STOP);
    for words in ["who.example A +short", "who.example A +short +tcp"] {
        eventually("an answer past a daemon that hangs", || {
            (world.dig(ONE, words) == "127.8.0.1\n").then_some(())
        });
    }
    assert!(world.asked(ONE, "A] who.example") >= asked + 2);
    sidecar.signal(Signal::CONT);
    eventually("the daemon to answer again", || {
        (world.dig(ONE, "api.internal A +short") == ours).then_some(())
    });
    sidecar.signal(Signal::KILL);
    sidecar.process().wait();
    assert_eq!(world.dig(ONE, "who.example A +short"), "127.8.0.1\n");
    assert!(world.dig(ONE, "api.internal A").contains("NXDOMAIN"));
    drop(sidecar);
    let _again = world.run(SERVICES);
    assert_eq!(world.dig(ONE, "api.internal A +short"), ours);
}

/// The first name that comes while running is answered, and leads to the endpoints; so are those that are taken back and come again.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn the_first_name_needs_no_restart() {
    let world = World::new();
    let sidecar = world.run("    - {name: plain, addresses: [10.9.0.1], endpoints: ENDPOINTS}\n");
    let answer = || world.dig(ONE, "api.internal A +short");
    assert_eq!(answer(), "");
    assert_eq!(world.asked(ONE, "A] api.internal"), 1);
    let [a, b] = [0, 1].map(|at| world.servers[at].0.port);
    let named = SERVICES.replace("ENDPOINTS", &format!("['127.0.0.1:{a}', '127.0.0.1:{b}']"));
    for (n, services) in
        [(1, named.as_str()), (2, "    - {name: plain, addresses: [10.9.0.1]}\n"), (3, &named)]
    {
        fs::write(world.path("settings.yaml"), format!("traffic:\n  services:\n{services}"))
            .expect("settings");
        sidecar.signal(Signal::HUP);
        eventually("the new settings", || {
            (sidecar.log().matches("settings read again").count() == n).then_some(())
        });
        let before = (world.asked(ONE, "A] api.internal"), world.served().iter().sum::<u64>());
        let answer = answer();
        let curl =
            ["curl", "-4", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://api.internal/100.bin"];
        let said = world.say(&[ONE], &curl);
        let after = (world.asked(ONE, "A] api.internal"), world.served().iter().sum::<u64>());
        if services == named {
            assert!(answer.starts_with("240.240."), "{answer}");
            assert_eq!((said.as_str(), after), ("200", (before.0, before.1 + 1)));
        } else {
            assert_eq!((answer.as_str(), said.as_str(), after), ("", "000", (before.0 + 2, before.1)));
        }
        // Other names are asked of whom was asked.
        assert_eq!(world.dig(ONE, "who.example A +short").trim(), "127.8.0.1");
        assert_eq!(world.dig(TWO, "who.example A +short").trim(), "127.8.0.2");
    }
}
