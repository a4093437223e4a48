//! Lookups of the DNS by dnsmasq's own log: over UDP and TCP, of glibc's resolver, dig and dnspython.

use std::{
    collections::BTreeMap,
    net::UdpSocket,
    path::{Path, PathBuf},
    process::Command,
};

use sidecar_tests::{
    cgroup::Cgroup,
    dnsmasq, eventually,
    phases::{self, Counts, Load},
    process::{self, Process},
    python, root,
    scrape::{self, Labels, Scrape},
    sidecar::Sidecar,
};

const RESOLVER: &str = "127.53.1.1";
/// What dnsmasq calls a name that is no text.
const UNPRINTABLE: &str = "<name unprintable>";

/// Lookups by name and type.
type Lookups = BTreeMap<(String, String), u64>;

/// A resolver and an application's cgroup.
struct World {
    dir: tempfile::TempDir,
    cgroup: Cgroup,
}

impl World {
    fn new() -> World {
        World { dir: tempfile::tempdir().expect("a folder"), cgroup: Cgroup::new() }
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("dnsmasq.log")
    }

    fn resolver(&self, wrapper: &[String]) -> Process {
        let text = "x".repeat(250);
        let mut more: Vec<_> =
            ["--local=/example/", "--edns-packet-max=4096", "--host-record=www.example,127.8.0.1,fd00::1"]
                .map(str::to_owned)
                .into();
        more.extend((0..8).map(|n| format!("--txt-record=big.example,{n}{text}")));
        dnsmasq::start_by(wrapper, RESOLVER, &more, &self.log(), ["www.example", "127.8.0.1"])
    }

    fn sidecar(&self, settings: &str) -> Sidecar {
        let file = self.dir.path().join("settings.yaml");
        std::fs::write(&file, settings).expect("settings");
        let (cgroup, file) = (self.cgroup.path().display().to_string(), file.display().to_string());
        let args = ["--cgroup", &cgroup, "--config", &file, "--set", "explain.exchanges=500"];
        let sidecar = Sidecar::run(self.dir.path(), &args, &[]);
        sidecar.await_ready();
        sidecar
    }

    /// Words before an application's, that finds the resolver in its /etc/resolv.conf.
    fn wrapper(&self) -> Vec<String> {
        let conf = self.dir.path().join("resolv.conf");
        [self.cgroup.wrapper(), dnsmasq::resolving(&[RESOLVER], "options timeout:2\n", &conf)].concat()
    }

    /// What a program in the application's cgroup says.
    fn say(&self, words: &[&str]) -> String {
        let all = [self.wrapper(), words.iter().map(|word| (*word).to_owned()).collect()].concat();
        let output = process::output(Command::new(&all[0]).args(&all[1..]));
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    fn dig(&self, words: &str) -> String {
        self.say(&["dig"].into_iter().chain(words.split(' ')).collect::<Vec<_>>())
    }

    /// Questions of every kind that dnsmasq answers.
    fn ask(&self) {
        let at = format!("@{RESOLVER}");
        for (words, expected) in [
            ("www.example A", "127.8.0.1"),
            ("+tcp www.example AAAA", "fd00::1"),
            ("+noedns www.example A", "127.8.0.1"),
            // Too long for a datagram: it asks again over TCP by itself.
            ("+bufsize=1232 big.example TXT", "xxx"),
            // Not in a fragment.
            ("+bufsize=4096 +ignore big.example TXT", "xxx"),
            ("nowhere.example A", "NXDOMAIN"),
            ("elsewhere.test A", "REFUSED"),
            (". NS", "REFUSED"),
        ] {
            let said = self.dig(&format!("+time=5 +tries=1 {at} {words}"));
            assert!(said.contains(expected), "{words}: {said}");
        }
        for _ in 0..5 {
            assert!(self.say(&["getent", "ahosts", "www.example"]).contains("127.8.0.1"));
        }
        let script = script();
        assert_eq!(self.say(&[&python(), &script, RESOLVER, "mixed"]), "done\n");
    }
}

fn script() -> String {
    root().join("tests/support/dns_client.py").display().to_string()
}

/// What dnsmasq was asked, but for its first `skipped` questions.
fn logged(log: &Path, skipped: usize) -> Lookups {
    let mut lookups = Lookups::new();
    for line in questions(log).iter().skip(skipped) {
        let (_, rest) = line.split_once("query[").expect("a question");
        let (kind, rest) = rest.split_once("] ").expect("its name");
        let (name, _) = rest.rsplit_once(" from ").expect("who asked");
        *lookups.entry((name.to_ascii_lowercase(), kind.to_owned())).or_default() += 1;
    }
    lookups
}

fn questions(log: &Path) -> Vec<String> {
    process::read(log).lines().filter(|line| line.contains("query[")).map(str::to_owned).collect()
}

const CLIENT: &str = "dns_lookup_duration_seconds_count";
const SERVER: &str = "sidecar_dns_server_lookup_duration_seconds_count";

/// What was counted of a role, where `of` likes the labels.
fn counted(scrape: &Scrape, metric: &str, of: impl Fn(&Labels) -> bool) -> Lookups {
    let mut lookups = Lookups::new();
    for (labels, value) in scrape.all(metric).filter(|(labels, _)| of(labels)) {
        let name = labels["dns_question_name"].clone();
        let name = if name.contains('\\') { UNPRINTABLE.to_owned() } else { name };
        *lookups.entry((name, labels["sidecar_dns_question_type"].clone())).or_default() += value as u64;
    }
    lookups
}

fn odd(scrape: &Scrape) -> Vec<(String, u64)> {
    let odd = scrape.all("sidecar_parser_oddities_total").filter(|(_, value)| *value > 0.0);
    odd.map(|(labels, value)| (labels["sidecar_reason"].clone(), value as u64)).collect()
}

/// Other ends of the lookups that are remembered, and how many each has.
fn remotes(sidecar: &Sidecar, query: &str) -> BTreeMap<String, u64> {
    let answer = scrape::get(sidecar.admin_port, &format!("/explain?{query}&limit=500"), "");
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let mut remotes = BTreeMap::new();
    for one in answer["exchanges"].as_array().expect("a list") {
        let remote = one["connection"]["remote"].as_str().expect("an address").to_owned();
        *remotes.entry(remote).or_default() += 1;
    }
    remotes
}

fn total(lookups: &Lookups) -> u64 {
    lookups.values().sum()
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn both_ends_by_dnsmasqs_log() {
    let world = World::new();
    let sidecar = world.sidecar("dns: {question_names: 50}\n");
    let _resolver = world.resolver(&world.cgroup.wrapper());
    // Asked from outside the cgroup until it answered: only its own end of that is seen.
    let before = questions(&world.log()).len();
    world.ask();
    let scrape = sidecar.scrape_at_rest();
    let (all, own) = (logged(&world.log(), 0), logged(&world.log(), before));
    assert!(total(&own) > 60, "{own:?}");
    assert_eq!(counted(&scrape, SERVER, |_| true), all);
    assert_eq!(counted(&scrape, CLIENT, |_| true), own);
    let error = |labels: &Labels, code: &str| labels.get("error_type").is_some_and(|error| error == code);
    for (code, name) in [("NXDOMAIN", "nowhere.example"), ("REFUSED", "elsewhere.test"), ("REFUSED", ".")] {
        let (of, n) = ((name.to_owned(), if name == "." { "NS" } else { "A" }.to_owned()), own.iter());
        let n = n.filter(|(lookup, _)| **lookup == of).map(|(_, n)| *n).sum::<u64>();
        assert_eq!(counted(&scrape, CLIENT, |labels| error(labels, code)).get(&of), Some(&n), "{code}");
    }
    let remotes = remotes(&sidecar, "metric=dns.lookup.duration");
    assert_eq!(remotes, BTreeMap::from([(format!("{RESOLVER}:53"), total(&own))]));
    assert_eq!((scrape.drops(), odd(&scrape)), (BTreeMap::new(), vec![]));
    // Of connections every byte is explained; datagrams are no part of that.
    assert_eq!(scrape.bytes("explained"), scrape.bytes("seen"));
    assert!(scrape.bytes("seen") > 10_000);
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_connection_from_before_and_names_beyond_the_bound() {
    let world = World::new();
    let _resolver = world.resolver(&[]);
    let go = world.dir.path().join("go").display().to_string();
    let words =
        [world.cgroup.wrapper(), [&python(), &script(), RESOLVER, "held", &go].map(str::to_owned).into()];
    let words = words.concat();
    let out = world.dir.path().join("held");
    let _client = Process::start(Command::new(&words[0]).args(&words[1..]), &out);
    eventually("an answer", || process::read(&out).contains("asked").then_some(()));
    let before = questions(&world.log()).len();
    let sidecar = world.sidecar("dns: {question_names: 2}\n");
    std::fs::write(&go, "").expect("the file");
    eventually("the others", || process::read(&out).contains("done").then_some(()));
    let scrape = sidecar.scrape_at_rest();
    let mut expected = Lookups::new();
    for ((name, kind), n) in logged(&world.log(), before) {
        // In the order in which they are answered, nowhere is before big.
        let name = if name == "big.example" { "_OTHER".to_owned() } else { name };
        *expected.entry((name, kind)).or_default() += n;
    }
    assert_eq!(total(&expected), 60);
    assert_eq!(counted(&scrape, CLIENT, |_| true), expected);
    assert_eq!((scrape.drops(), odd(&scrape)), (BTreeMap::new(), vec![]));
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn nobody_answers() {
    let world = World::new();
    let silent = UdpSocket::bind(("127.53.1.2", 53)).expect("a silent resolver");
    silent.set_nonblocking(true).expect("a socket");
    let sidecar = world.sidecar("");
    // Sent again by itself; and where nobody is there at all.
    world.dig("+time=1 +tries=3 @127.53.1.2 silent.example");
    world.dig("+time=1 +tries=1 @127.53.1.3 dead.example");
    let mut n = 0;
    while silent.recv_from(&mut [0; 512]).is_ok() {
        n += 1;
    }
    assert_eq!(n, 3, "as dig says it tries");
    let timeouts = || {
        let scrape = sidecar.scrape();
        counted(&scrape, CLIENT, |labels| labels.get("error_type").is_some_and(|error| error == "timeout"))
    };
    let of = |name: &str| (name.to_owned(), "A".to_owned());
    eventually("the questions to be given up", || (total(&timeouts()) > n).then_some(()));
    let found = timeouts();
    assert_eq!(found.get(&of("silent.example")), Some(&n));
    // dig asks a resolver that refuses again, as often as its version does: at least once.
    assert!(found.get(&of("dead.example")).is_some_and(|n| *n >= 1), "{found:?}");
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn once_where_names_are_steered() {
    let world = World::new();
    let _resolver = world.resolver(&[]);
    let before = questions(&world.log()).len();
    let sidecar = world.sidecar(
        "traffic: {services: [{name: own, hosts: [own.internal], ports: [80], endpoints: ['127.0.0.1:1'], \
         while_running: true}]}\n",
    );
    world.ask();
    for words in ["own.internal A", "+tcp own.internal A", "own.internal AAAA"] {
        let said = world.dig(&format!("+time=5 +tries=1 @{RESOLVER} {words}"));
        assert!(said.contains("NOERROR"), "{said}");
    }
    let scrape = sidecar.scrape_at_rest();
    let of = |kind: &str| ("own.internal".to_owned(), kind.to_owned());
    let mut expected = logged(&world.log(), before);
    assert!(total(&expected) > 60);
    expected.extend([(of("A"), 2), (of("AAAA"), 1)]);
    assert_eq!(counted(&scrape, CLIENT, |_| true), expected);
    // Whom datagrams asked, and not who answers; a connection's other end is its own. Over those: 48 of dnspython, three of dig.
    let mut remotes = remotes(&sidecar, "metric=dns.lookup.duration");
    assert_eq!(remotes.remove(&format!("{RESOLVER}:53")), Some(total(&expected) - 51));
    assert!(remotes.keys().all(|remote| remote.starts_with("127.0.0.1:")), "{remotes:?}");
    assert_eq!((scrape.drops(), odd(&scrape)), (BTreeMap::new(), vec![]));
}

/// Lookups of names that have the phase in them, by both.
fn of_phase(lookups: Lookups, phase: &str) -> Counts {
    let suffix = format!(".{phase}.example");
    let of_phase = lookups.into_iter().filter(|((name, _), _)| name.ends_with(&suffix));
    of_phase.map(|((name, kind), n)| (format!("{kind} {name}"), n)).collect()
}

/// Over UDP, and ten at a time over TCP, while daemons come and are killed, and one does not see all.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn begun_in_mid_load() {
    let world = World::new();
    let _resolver = world.resolver(&world.cgroup.wrapper());
    let folder = world.dir.path().display().to_string();
    let load = Load {
        cgroup: &world.cgroup,
        dir: world.dir.path(),
        client: vec![python(), script(), RESOLVER.into(), "phases".into(), folder],
        settings: &["--set", "dns.question_names=1000"],
        may_be_unresolved: false,
        account: &|phase| of_phase(logged(&world.log(), 0), phase),
        told: &|sidecar, role, phase| {
            let metric = if role == "server" { SERVER } else { CLIENT };
            of_phase(counted(&sidecar.scrape(), metric, |_| true), phase)
        },
    };
    let mut running = load.start();
    let by_second = running.observe();
    assert_eq!(phases::odd(&by_second, 2 * 2 * (1 + 10)), Counts::new());
    running.hide();
}
