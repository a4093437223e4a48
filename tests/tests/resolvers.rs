//! Resolvers of many makes in a pod, against dnsmasq outside of it: what they are told is what they are told where nobody is in
//! the way, and what dnsmasq was configured with. What it was asked is told by its own log.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Command,
    thread::sleep,
    time::Duration,
};

use sidecar_tests::{
    cgroup::Cgroup,
    compile::{self, Library},
    dnsmasq,
    netns::Netns,
    nginx::Nginx,
    process::{self, Process},
    root,
    sidecar::Sidecar,
};

const POD: [&str; 2] = ["10.88.0.1", "fd88::1"];
const OUTSIDE: [&str; 2] = ["10.88.0.2", "fd88::2"];
const MAPPED: &str = "::ffff:10.88.0.2";

/// Names that dnsmasq knows, with as many addresses of each family: messages of up to 512 bytes, up to 1,232, up to the 4,096
/// that dnsmasq sends in one datagram, and more.
const NAMES: [(&str, usize, usize); 8] = [
    ("small.example", 1, 1),
    ("large.example", 40, 40),
    ("larger.example", 150, 100),
    ("huge.example", 300, 200),
    ("four.example", 2, 0),
    ("six.example", 0, 2),
    ("real.example", 1, 1),
    ("many.example", 150, 100),
];

/// What is asked for of each name: one family's addresses, or both.
const FAMILIES: [char; 3] = ['4', '6', '0'];

const SERVICES: &str = "traffic:
  services:
    - name: virtual
      hosts: [api.internal]
      ports: [80]
      endpoints: ['10.88.0.2:8080']
      while_running: true
    - name: both
      hosts: ['*.both.internal']
      endpoints: ['10.88.0.2:8080', '[fd88::2]:8080']
      while_running: true
    - name: real
      hosts: [real.example, many.example]
      resolve: real
      ports: [80]
      endpoints: ['10.88.0.2:8080', '[fd88::2]:8080']
";

/// The addresses of the name at this place of `NAMES`, of one family or (`'0'`) of both.
fn addresses(at: usize, family: char) -> BTreeSet<String> {
    let (_, fours, sixes) = NAMES[at];
    let four = |n: usize| format!("10.{}.{}.{}", 90 + at, n / 250, n % 250 + 1);
    let six = |n: usize| format!("fd90:{:x}::{:x}", at + 1, n + 1);
    let (fours, sixes) = ((0..fours).map(four), (0..sixes).map(six));
    match family {
        '4' => fours.collect(),
        '6' => sixes.collect(),
        _ => fours.chain(sixes).collect(),
    }
}

/// A pod, a resolver and a server outside of it.
struct World {
    pod: Netns,
    cgroup: Cgroup,
    nginx: Nginx,
    #[expect(dead_code, reason = "guards")]
    processes: ([Process; 2], Netns),
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let (pod, outside, dir) = (Netns::new(), Netns::new(), tempfile::tempdir().expect("a folder"));
        let with = |[four, six]: [&str; 2]| [format!("{four}/24"), format!("{six}/64")];
        let (ours, theirs) = (with(POD), with(OUTSIDE));
        pod.cable(&outside, "wire0", [&ours, &theirs]);
        let mut hosts = String::new();
        for (at, (name, _, _)) in NAMES.iter().enumerate() {
            let all = addresses(at, '4').into_iter().chain(addresses(at, '6'));
            hosts.extend(all.map(|address| format!("{address} {name}\n")));
        }
        fs::write(dir.path().join("hosts"), hosts).expect("a file of hosts");
        let more = [
            format!("--addn-hosts={}", dir.path().join("hosts").display()),
            format!("--listen-address={}", OUTSIDE[1]),
            "--local=/example/".into(),
            "--local=/internal/".into(),
            "--local=/test/".into(),
            "--no-round-robin".into(),
            "--edns-packet-max=4096".into(),
        ];
        let first = addresses(0, '4').pop_first().expect("an address");
        let log = dir.path().join("dns");
        let resolver = outside.within(|| dnsmasq::start(OUTSIDE[0], &more, &log, ["small.example", &first]));
        let nginx = Nginx::prepare(dir.path(), OUTSIDE[0], 8080, "");
        let listen = format!("listen {}:8080 ;", OUTSIDE[0]);
        nginx.amend(&listen, &format!("{listen} listen [{}]:8080;", OUTSIDE[1]));
        let words = [outside.network(), nginx.command()].concat();
        let server = Process::start(Command::new(&words[0]).args(&words[1..]), &dir.path().join("nginx.out"));
        outside.within(|| nginx.await_listening());
        World { pod, cgroup: Cgroup::new(), nginx, processes: ([resolver, server], outside), dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self) -> Sidecar {
        let settings = self.path("settings.yaml");
        fs::write(&settings, SERVICES).expect("settings");
        Sidecar::beside(&self.pod, &self.cgroup, self.dir.path(), &settings)
    }

    /// What a program in the pod says, as the application or as somebody else, and what dnsmasq was asked for that.
    fn say(&self, who: Who, conf: &Conf, words: &[String]) -> (String, BTreeMap<String, usize>) {
        let before = process::read(&self.path("dns")).len();
        let resolving = dnsmasq::resolving(conf.0, conf.1, &self.path("resolv.conf"));
        let outer = if who == Who::Application { self.cgroup.wrapper() } else { Vec::new() };
        let all = [outer, self.pod.network(), resolving, words.to_vec()].concat();
        let output = process::output(Command::new(&all[0]).args(&all[1..]));
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let mut log = process::read(&self.path("dns"));
        // Of two resolvers musl asks both, and waits for one.
        while conf.0.len() > 1 {
            sleep(Duration::from_millis(100));
            let now = process::read(&self.path("dns"));
            if now.len() == log.len() {
                break;
            }
            log = now;
        }
        (said, asked(&log[before..]))
    }
}

/// Questions in dnsmasq's log: `A] small.example`, and how often.
fn asked(log: &str) -> BTreeMap<String, usize> {
    let mut asked = BTreeMap::new();
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once(": query[")
            && let Some((question, _)) = rest.split_once(" from ")
        {
            *asked.entry(question.to_owned()).or_default() += 1;
        }
    }
    asked
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Application,
    SomebodyElse,
}

/// Resolvers and options of /etc/resolv.conf.
type Conf<'a> = (&'a [&'a str], &'a str);

/// What resolvers are to ask for of these names.
fn words<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let each = |name: &'a str| FAMILIES.map(|family| format!("{name}/{family}"));
    names.into_iter().flat_map(each).collect()
}

/// A program that asks for `NAME/4`, `NAME/6` and `NAME/0`, and says of each what it was told.
struct Resolver {
    name: &'static str,
    words: Vec<String>,
    /// Of more addresses it tells so many at least, and not all.
    most: usize,
    /// It says of a name whether it is there without an address, or not at all.
    tells_apart: bool,
}

impl Resolver {
    fn all(world: &World) -> [Resolver; 6] {
        let dir = world.dir.path();
        let script = root().join("tests/support/resolvers/resolver.js").display().to_string();
        let c = |source, library| vec![compile::c(source, library, dir)];
        let resolver = |name, words, most, tells_apart| Resolver { name, words, most, tells_apart };
        [
            resolver("glibc", c("resolvers/libc.c", Library::System(None)), usize::MAX, true),
            // What was truncated is all that it gets.
            resolver("musl", c("resolvers/libc.c", Library::Musl), 17, false),
            resolver("newer musl", c("resolvers/libc.c", Library::NewerMusl), 48, true),
            resolver("c-ares", c("resolvers/cares.c", Library::System(Some("cares"))), usize::MAX, true),
            resolver("Node's c-ares", vec!["node".into(), script], usize::MAX, true),
            resolver("Go", vec![compile::go("resolvers/resolver.go", dir)], usize::MAX, false),
        ]
    }

    /// What it says of each name was configured with dnsmasq.
    fn assert_right(&self, said: &BTreeMap<String, BTreeSet<String>>, how: &str) {
        for (at, (name, _, _)) in NAMES.iter().enumerate() {
            for family in FAMILIES {
                let (told, all) = (&said[&format!("{name}/{family}")], addresses(at, family));
                let told_of = format!("{how}: {name}/{family}: {told:?}");
                if all.is_empty() {
                    assert_eq!(*told, self.nothing(), "{told_of}");
                } else if all.len() <= self.most {
                    assert_eq!(*told, all, "{told_of}");
                } else {
                    assert!(told.is_subset(&all) && told.len() >= self.most, "{told_of}");
                }
            }
        }
        for word in words(["nobody.example", "nobody.internal"]) {
            assert_eq!(said[&word], ["NONAME".to_owned()].into(), "{how}: {word}");
        }
    }

    /// What it says of a name without an address.
    fn nothing(&self) -> BTreeSet<String> {
        [if self.tells_apart { "NODATA" } else { "NONAME" }.to_owned()].into()
    }
}

fn by_name(said: &str) -> BTreeMap<String, BTreeSet<String>> {
    let line = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        Some((words.next()?, words.collect()))
    };
    said.lines().filter_map(line).collect()
}

/// Each resolver is told the same with and without us, of small and large answers, by datagrams and TCP, over IPv4, IPv6 and
/// mapped, and asks as often; but of virtual names.
#[test]
#[ignore = "privileged: attaches BPF programs, makes network namespaces"]
fn every_resolver_is_told_what_it_asks_for() {
    let world = World::new();
    let mut sidecar = world.run();
    let virtuals = ["api.internal", "x.both.internal"];
    let names = NAMES.iter().map(|(name, _, _)| *name).chain(["nobody.example", "nobody.internal"]);
    let names = words(names.chain(virtuals));
    let confs: [Conf<'_>; 7] = [
        (&OUTSIDE[..1], ""),
        (&OUTSIDE[1..], ""),
        (&[MAPPED], ""),
        (&OUTSIDE, ""),
        (&OUTSIDE[..1], "options edns0\n"),
        (&OUTSIDE[1..], "options use-vc\n"),
        (&OUTSIDE[..1], "search one.test two.test\noptions ndots:5\n"),
    ];
    let mut n_forwarded = 0;
    // Of virtual names.
    let mut told = Vec::new();
    for resolver in Resolver::all(&world) {
        let command = [resolver.words.clone(), names.clone()].concat();
        for conf in &confs {
            let how = format!("{} {conf:?}", resolver.name);
            let is_virtual = |question: &str| virtuals.iter().any(|name| question.ends_with(name));
            let (without, mut expected) = world.say(Who::SomebodyElse, conf, &command);
            let mut without = by_name(&without);
            let (with, asked) = world.say(Who::Application, conf, &command);
            let mut with = by_name(&with);
            resolver.assert_right(&with, &how);
            assert_eq!(with.remove("api.internal/6"), Some(resolver.nothing()), "{how}");
            told.push(
                words(virtuals).into_iter().filter_map(|word| with.remove_entry(&word)).collect::<Vec<_>>(),
            );
            without.retain(|word, _| !is_virtual(word.split('/').next().unwrap_or_default()));
            assert_eq!(with, without, "{how}");
            expected.retain(|question, _| !is_virtual(question));
            assert_eq!(asked, expected, "{how}");
            n_forwarded += asked.values().sum::<usize>() as u64;
        }
    }
    // To all the same.
    let first = told.first().expect("an answer");
    assert!(told.iter().all(|one| one == first), "{told:?}");
    let pools = |word: &str| -> Vec<&str> {
        let all = &first.iter().find(|(key, _)| key == word).expect("an answer").1;
        all.iter().map(|address| if address.starts_with("240.240.") { "4" } else { &address[..4] }).collect()
    };
    for (word, expected) in [
        ("api.internal/4", &["4"][..]),
        ("api.internal/0", &["4"]),
        ("x.both.internal/4", &["4"]),
        ("x.both.internal/6", &["fd97"]),
        ("x.both.internal/0", &["4", "fd97"]),
    ] {
        assert_eq!(pools(word), expected, "{word}");
    }
    let scrape = world.pod.within(|| sidecar.scrape());
    let outcome = |outcome| scrape.count("sidecar_dns_queries_total", &[("sidecar_outcome", outcome)]);
    assert_eq!(outcome("forwarded"), n_forwarded);
    assert_eq!(scrape.all("sidecar_dns_failures_total").map(|(_, n)| n).sum::<f64>(), 0.0);
    sidecar.assert_sound("resolvers", 64 * 1024);
}

/// What `dig` shows of answers of each size, whichever way it asks, but for ids and times.
#[test]
#[ignore = "privileged: attaches BPF programs, makes network namespaces"]
fn dig_is_shown_what_it_is_shown_without_us() {
    let world = World::new();
    let _sidecar = world.run();
    let ways =
        ["", "+noedns", "+noedns +ignore", "+bufsize=1232 +ignore", "+bufsize=4096", "+tcp", "+dnssec"];
    // It takes no mapped address for a server.
    for server in OUTSIDE {
        let mut words = format!("dig +time=2 +tries=1 +nocookie @{server}");
        for name in NAMES.iter().map(|(name, _, _)| *name).chain(["nobody.example"]) {
            for way in ways {
                words += &format!(" {name} A {way} {name} AAAA {way}");
            }
        }
        let words: Vec<_> = words.split_whitespace().map(str::to_owned).collect();
        let show = |who| {
            let (said, asked) = world.say(who, &(&OUTSIDE[..1], ""), &words);
            let is_told =
                |line: &&str| !["; <<>>", ";; Query time", ";; WHEN"].iter().any(|p| line.starts_with(p));
            let without_id = |line: &str| match line.split_once(", id: ") {
                Some((status, _)) => status.to_owned(),
                None => line.to_owned(),
            };
            (said.lines().filter(is_told).map(without_id).collect::<Vec<_>>(), asked)
        };
        let (without, expected) = show(Who::SomebodyElse);
        let (with, asked) = show(Who::Application);
        let count = |part: &str| with.iter().filter(|line| line.contains(part)).count();
        // 40 and 150 addresses do not go into 512 bytes, 100 not into 1,232, and 200 not into 4,096.
        for (part, at_least) in
            [("flags: qr aa tc rd", 10), ("(TCP)", 20), ("status: NXDOMAIN", 14), ("ANSWER: 300,", 3)]
        {
            assert!(count(part) >= at_least, "{server}: {part}: {}", count(part));
        }
        let first = with.iter().zip(&without).find(|(with, without)| with != without);
        assert_eq!((first, with.len()), (None, without.len()), "{server}");
        assert_eq!(asked, expected, "{server}");
    }
}

/// All addresses of a large answer are the service's, in either family.
#[test]
#[ignore = "privileged: attaches BPF programs, makes network namespaces"]
fn every_address_of_a_large_answer_is_the_services() {
    let world = World::new();
    let sidecar = world.run();
    let get = |host: &str| {
        let url = format!("http://{host}/100.bin");
        let words = ["curl", "-gs", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "20", &url];
        world.say(Who::Application, &(&OUTSIDE[..1], ""), &words.map(str::to_owned)).0
    };
    let (fours, sixes) = (addresses(7, '4'), addresses(7, '6'));
    let hosts: Vec<_> = [fours.first(), fours.last()].into_iter().flatten().cloned().collect();
    let mapped = hosts.iter().map(|four| format!("[::ffff:{four}]"));
    let six = [sixes.first(), sixes.last()].into_iter().flatten().map(|six| format!("[{six}]"));
    let hosts: Vec<_> = hosts.iter().cloned().chain(mapped).chain(six).collect();
    for host in &hosts {
        assert_eq!(get(host), "000", "{host}: nobody is there");
    }
    assert_eq!(get("many.example"), "200");
    for host in &hosts {
        assert_eq!(get(host), "200", "{host}");
    }
    // By its name it was reached over one of both.
    let came = world.nginx.clients();
    let came = POD.map(|pod| came.get(pod).copied().unwrap_or_default());
    assert!([[5, 2], [4, 3]].contains(&came), "{came:?}");
    let scrape = world.pod.within(|| sidecar.scrape());
    assert_eq!(scrape.count("sidecar_dns_addresses", &[]), (fours.len() + sixes.len()) as u64);
}
