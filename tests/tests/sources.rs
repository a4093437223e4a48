//! Endpoints that resolvers and files tell of, and services that begin at their first use: real resolvers, clients and servers. Who
//! got a connection is told by the servers' own logs.

use std::{fs, os::unix::fs::symlink, path::PathBuf, process::Command};

use rustix::process::Signal;
use sidecar_tests::{
    binary,
    bpffs::Bpffs,
    cgroup::Cgroup,
    dnsmasq, eventually, free_port,
    nginx::Nginx,
    process::{self, Process},
    sidecar::Sidecar,
};

const RESOLVER: &str = "127.61.0.53";
/// Who is asked for; the others are endpoints.
const ASKED: usize = 0;
const HOSTS: [&str; 5] = ["127.61.0.9", "127.61.0.1", "127.61.0.2", "127.61.0.3", "[::1]"];

/// Servers at one port of several addresses, a resolver whose names a file has, and an application's cgroup.
struct World {
    dir: tempfile::TempDir,
    cgroup: Cgroup,
    port: u16,
    servers: Vec<(Nginx, Process)>,
    resolver: Option<Process>,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let servers = HOSTS.iter().enumerate().map(|(n, host)| {
            let nginx = Nginx::prepare(&dir.path().join(n.to_string()), host, port, "");
            let words = nginx.command();
            let output = dir.path().join(format!("{n}.log"));
            let running = Process::start(Command::new(&words[0]).args(&words[1..]), &output);
            nginx.await_listening();
            (nginx, running)
        });
        let servers = servers.collect();
        World { dir, cgroup: Cgroup::new(), port, servers, resolver: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What the resolver knows, in /etc/hosts' words, for a second each.
    fn names(&self, lines: &str) {
        fs::write(self.path("hosts"), lines).expect("names");
        if let Some(resolver) = &self.resolver {
            resolver.signal(Signal::HUP);
        }
    }

    fn resolve(&mut self, more: &[&str]) {
        let own = ["--local-ttl=1".to_owned(), "--local=/example/".to_owned()];
        let names = format!("--addn-hosts={}", self.path("hosts").display());
        let more = own.into_iter().chain([names]).chain(more.iter().map(|word| (*word).to_owned()));
        let more: Vec<_> = more.collect();
        self.resolver =
            Some(dnsmasq::start(RESOLVER, &more, &self.path("dns"), ["nobody.example", "NXDOMAIN"]));
    }

    fn resolver(&self) -> &Process {
        self.resolver.as_ref().expect("a resolver")
    }

    /// Words before a command that finds this resolver in its /etc/resolv.conf.
    fn resolving(&self) -> Vec<String> {
        dnsmasq::resolving(&[RESOLVER], "", &self.path("resolv.conf"))
    }

    fn settings(&self, text: &str) -> PathBuf {
        let path = self.path("settings.yaml");
        fs::write(self.path("settings.new"), text.replace("PORT", &self.port.to_string())).expect("settings");
        fs::rename(self.path("settings.new"), &path).expect("settings");
        path
    }

    /// The daemon, in the application's own cgroup and with the resolver for its own.
    fn run(&self, settings: &str) -> Sidecar {
        let settings = self.settings(settings).display().to_string();
        let cgroup = self.cgroup.path().display().to_string();
        let wrapper = [self.cgroup.wrapper(), self.resolving()].concat();
        let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
        let sidecar =
            Sidecar::spawn(self.dir.path(), &wrapper, &["--cgroup", &cgroup, "--config", &settings], &[]);
        sidecar.await_ready();
        sidecar
    }

    /// So many connections in a row, one for each request: what curl says of those that fail.
    fn get(&self, host: &str, n: u64) -> String {
        let url = format!("http://{host}/0.bin?[1-{n}]");
        let curl =
            ["curl", "-s", "-S", "-o", "/dev/null", "--max-time", "10", "-H", "Connection: close", &url];
        let words = [self.cgroup.wrapper(), self.resolving(), curl.map(str::to_owned).to_vec()].concat();
        let output = process::output(Command::new(&words[0]).args(&words[1..]));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// What the resolver is asked by the application, and what comes of it, as `dig` prints that.
    fn dig(&self, words: &str) -> String {
        let at = format!("@{RESOLVER}");
        let dig = ["dig", "+time=5", "+tries=1", &at].into_iter().chain(words.split(' ')).map(str::to_owned);
        let words: Vec<_> = self.cgroup.wrapper().into_iter().chain(dig).collect();
        process::run(Command::new(&words[0]).args(&words[1..]))
    }

    /// So many connections to whom no endpoint is.
    fn ask(&self, n: u64) {
        assert_eq!(self.get(&format!("{}:{}", HOSTS[ASKED], self.port), n), "");
    }

    /// How many requests each server answered by now, since they were `before` so many.
    fn served(&self) -> [u64; HOSTS.len()] {
        std::array::from_fn(|at| self.servers[at].0.answered().values().sum())
    }

    fn served_since(&self, before: [u64; HOSTS.len()]) -> [u64; HOSTS.len()] {
        let now = self.served();
        std::array::from_fn(|at| now[at] - before[at])
    }
}

fn source(sidecar: &Sidecar, what: &str, source: &str) -> Option<f64> {
    let name = format!("sidecar_traffic_source_{what}");
    sidecar.scrape().sum(&name, &[("sidecar_endpoint_source", source)])
}

fn await_endpoints(sidecar: &Sidecar, name: &str, n: f64) {
    eventually(&format!("{name} to tell of {n}"), || {
        (source(sidecar, "endpoints", name) == Some(n)).then_some(())
    });
}

fn verdicts(sidecar: &Sidecar, verdict: &str, reason: &str) -> u64 {
    let labels = [("sidecar_verdict", verdict), ("sidecar_reason", reason)];
    sidecar.scrape().count("sidecar_traffic_connections_total", &labels)
}

fn failures(sidecar: &Sidecar, name: &str, reason: &str) -> u64 {
    let labels = [("sidecar_endpoint_source", name), ("sidecar_reason", reason)];
    sidecar.scrape().count("sidecar_traffic_source_failures_total", &labels)
}

fn explain(sidecar: &Sidecar, destination: &str) -> String {
    let admin = format!("127.0.0.1:{}", sidecar.admin_port);
    process::run(Command::new(binary()).args(["explain", "--admin", &admin, destination]))
}

/// The share of a service's endpoint, once the daemon tells of it.
fn share(sidecar: &Sidecar, service: &str, endpoint: &str) -> Option<f64> {
    let labels = [("sidecar_service", service), ("sidecar_endpoint", endpoint)];
    sidecar.scrape().sum("sidecar_traffic_endpoint_weight_ratio", &labels)
}

/// The first connection goes where it asks, later ones where the resolver says; while that is silent, where it said last.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn addresses_of_a_name_are_endpoints() {
    let mut world = World::new();
    world.names("127.61.0.1 web.example\n127.61.0.2 web.example\n127.61.0.3 api.example\n::1 api.example\n");
    world.resolve(&[]);
    // The name that the application asks for is the one that the daemon asks for.
    let mut sidecar = world.run(
        "traffic:
  services:
    - {name: web, addresses: [127.61.0.9], ports: [PORT], sources: [{dns: web.example}]}
    - {name: api, hosts: [api.example], while_running: true, sources: [{dns: 'api.example:PORT'}]}
",
    );
    let asked = format!("{}:{}", HOSTS[ASKED], world.port);
    let before = world.served();
    assert!(explain(&sidecar, &asked).contains("begins at first use"));
    assert_eq!(source(&sidecar, "endpoints", "dns:web.example"), Some(0.0));
    world.ask(1);
    assert_eq!(world.served_since(before), [1, 0, 0, 0, 0]);
    assert_eq!(verdicts(&sidecar, "passed", "first_use"), 1);
    await_endpoints(&sidecar, "dns:web.example", 2.0);
    world.ask(20);
    let [asked_for, one, two, three, six] = world.served_since(before);
    assert_eq!([asked_for, one + two, three, six], [1, 20, 0, 0]);
    assert!(one > 0 && two > 0, "{one} {two}");

    // The question for a name is a use, too: its very first connection has an endpoint.
    let before = world.served();
    assert_eq!(world.get("api.example", 10), "");
    let [.., three, six] = world.served_since(before);
    assert!(three + six == 10, "{three} {six}");
    assert_eq!(verdicts(&sidecar, "denied", "first_use"), 0);

    world.names("127.61.0.3 web.example\n127.61.0.1 web2.example\n");
    await_endpoints(&sidecar, "dns:web.example", 1.0);
    let before = world.served();
    world.ask(10);
    assert_eq!(world.served_since(before), [0, 0, 0, 10, 0]);

    world.resolver().signal(Signal::STOP);
    eventually("silence", || (failures(&sidecar, "dns:web.example", "timeout") > 0).then_some(()));
    assert_eq!(source(&sidecar, "stale", "dns:web.example"), Some(1.0));
    assert_eq!(source(&sidecar, "endpoints", "dns:web.example"), Some(1.0));
    let told = explain(&sidecar, &asked);
    assert!(told.contains("dns:web.example: 1 endpoints") && told.contains("stale (timeout)"), "{told}");
    let before = world.served();
    world.ask(10);
    assert_eq!(world.served_since(before), [0, 0, 0, 10, 0]);

    // That there is nobody is an answer.
    world.names("127.61.0.1 web2.example\n");
    world.resolver().signal(Signal::CONT);
    await_endpoints(&sidecar, "dns:web.example", 0.0);
    assert_eq!(source(&sidecar, "stale", "dns:web.example"), Some(0.0));
    let before = world.served();
    world.ask(3);
    assert_eq!(world.served_since(before), [3, 0, 0, 0, 0]);
    assert_eq!(verdicts(&sidecar, "passed", "no_endpoint"), 3);
    assert!(explain(&sidecar, &asked).contains("its sources tell of no endpoint"));
    sidecar.stop();
}

/// Those of the lowest priority, by their weights; a resolver that is gone changes nothing, and its return does.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn records_of_services_are_balanced_by_weight() {
    let mut world = World::new();
    world.names("127.61.0.1 one.example\n127.61.0.2 two.example\n127.61.0.3 three.example\n");
    let srv = |target: &str, priority, weight| {
        format!("--srv-host=_http._tcp.web.example,{target}.example,{},{priority},{weight}", world.port)
    };
    let records = [srv("one", 1, 30), srv("two", 1, 10), srv("three", 2, 99)];
    world.resolve(&records.each_ref().map(String::as_str));
    let sidecar = world.run(&format!(
        "traffic:
  resolvers: ['{RESOLVER}:53']
  services:
    - name: web
      addresses: [127.61.0.9]
      balance: random
      sources: [{{srv: _http._tcp.web.example}}]
"
    ));
    world.ask(1);
    await_endpoints(&sidecar, "srv:_http._tcp.web.example", 2.0);
    let before = world.served();
    world.ask(400);
    // Three in four, 300, within five standard deviations of that.
    let [asked, one, two, rest @ ..] = world.served_since(before);
    assert_eq!((asked, one + two, rest), (0, 400, [0, 0]));
    assert!((257..=343).contains(&one), "{one} {two}");

    world.resolver = None;
    eventually("a failure", || {
        let reasons = ["unreachable", "timeout", "refused"];
        let n: u64 =
            reasons.map(|reason| failures(&sidecar, "srv:_http._tcp.web.example", reason)).iter().sum();
        (n > 0).then_some(())
    });
    let before = world.served();
    world.ask(10);
    assert_eq!(world.served_since(before)[ASKED], 0);
    world.resolve(&[&records[2]]);
    await_endpoints(&sidecar, "srv:_http._tcp.web.example", 1.0);
    let before = world.served();
    world.ask(10);
    assert_eq!(world.served_since(before), [0, 0, 0, 10, 0]);
}

/// A file is read again however it is changed; while it is wrong or gone, what it said last holds.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn a_file_lists_endpoints() {
    let world = World::new();
    let port = world.port;
    let folder = world.path("lists");
    fs::create_dir_all(folder.join("1")).expect("a folder");
    let list = folder.join("web.yaml");
    let name = format!("file:{}", list.display());
    // As Kubernetes mounts what it keeps: the file leads to a folder that is exchanged.
    fs::write(folder.join("1/web.yaml"), format!("- 127.61.0.1:{port}\n")).expect("a list");
    symlink("1", folder.join("..data")).expect("a link");
    symlink("..data/web.yaml", &list).expect("a link");
    let sidecar = world.run(&format!(
        "traffic:
  services:
    - name: web
      addresses: [127.61.0.9]
      endpoints: ['127.61.0.3:PORT']
      balance: random
      sources: [{{file: '{}'}}]
      health: {{slow_start: 0s}}
",
        list.display()
    ));
    world.ask(1);
    await_endpoints(&sidecar, &name, 1.0);
    let both = |expected: [bool; HOSTS.len()]| {
        let before = world.served();
        // One that was slow just now is asked as well, if seldom.
        world.ask(150);
        let served = world.served_since(before);
        assert_eq!(served.map(|n| n > 0), expected, "{served:?}");
    };
    both([false, true, false, true, false]);
    fs::create_dir_all(folder.join("2")).expect("a folder");
    let two = format!("[\"127.61.0.1:{port}\", {{\"address\": \"127.61.0.2:{port}\", \"weight\": 100}}]");
    fs::write(folder.join("2/web.yaml"), &two).expect("a list");
    symlink("2", folder.join("..new")).expect("a link");
    fs::rename(folder.join("..new"), folder.join("..data")).expect("exchanged");
    await_endpoints(&sidecar, &name, 2.0);
    both([false, true, true, true, false]);

    // Written in place, and wrong.
    fs::write(folder.join("2/web.yaml"), "- 127.61.0.1\n").expect("a list");
    eventually("the fault", || (failures(&sidecar, &name, "invalid") == 1).then_some(()));
    assert_eq!(source(&sidecar, "stale", &name), Some(1.0));
    let told = explain(&sidecar, &format!("127.61.0.9:{port}"));
    assert!(
        told.contains(&format!("stale (invalid): {}:1:3: `127.61.0.1` is not an endpoint", list.display())),
        "{told}"
    );
    both([false, true, true, true, false]);
    fs::remove_file(&list).expect("removed");
    eventually("the file to be missed", || (failures(&sidecar, &name, "unreadable") == 1).then_some(()));
    both([false, true, true, true, false]);
    // Nobody writes into it: neither is it waited for, nor are settings taken that name it.
    process::run(Command::new("mkfifo").arg(&list));
    eventually("the FIFO to be seen", || (failures(&sidecar, &name, "unreadable") == 2).then_some(()));
    both([false, true, true, true, false]);
    let settings = world.path("settings.yaml").display().to_string();
    let check = process::output(Command::new(binary()).args(["check", &settings]));
    let told = String::from_utf8_lossy(&check.stderr).into_owned();
    let expected = format!("source {} is no regular file", list.display());
    assert!(!check.status.success() && told.contains(&expected), "{told}");

    // Renamed over, without anybody in it: the file of settings still names one.
    fs::write(folder.join("new"), "[]").expect("a list");
    fs::rename(folder.join("new"), &list).expect("renamed");
    await_endpoints(&sidecar, &name, 0.0);
    assert_eq!(source(&sidecar, "stale", &name), Some(0.0));
    both([false, false, false, true, false]);

    // Other settings: what the source said holds, and a source that is gone is nobody's.
    fs::write(&list, format!("['127.61.0.2:{port}']")).expect("a list");
    await_endpoints(&sidecar, &name, 1.0);
    world.settings(
        "traffic:
  services:
    - {name: web, addresses: [127.61.0.9], endpoints: ['127.61.0.1:PORT']}
",
    );
    eventually("the source to be gone", || source(&sidecar, "endpoints", &name).is_none().then_some(()));
    both([false, true, false, false, false]);
}

/// What the kernel has no room for is one source's, which is tried again; others that speak at the same time are heard.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn a_source_that_there_is_no_room_for_stands_alone() {
    let world = World::new();
    let lists = ["big", "web"].map(|name| world.path(name));
    let [big, web] = lists.each_ref().map(|list| format!("file:{}", list.display()));
    let write = |list: &PathBuf, text: &str| {
        fs::write(world.path("new"), text).expect("a list");
        fs::rename(world.path("new"), list).expect("in its place");
    };
    lists.iter().for_each(|list| write(list, "[]"));
    let [of_big, of_web] = lists.each_ref().map(|list| format!("sources: [{{file: {}}}]", list.display()));
    let settings = |of_web: &str| {
        let mut services = format!("    - {{name: web, addresses: [127.61.0.9], {of_web}}}\n");
        for n in 1..=4 {
            services += &format!("    - {{name: big{n}, addresses: [127.61.1.{n}], {of_big}}}\n");
        }
        format!("traffic:\n  services:\n{services}")
    };
    let sidecar = world.run(&settings(&format!("endpoints: ['127.61.0.1:PORT'], {of_web}")));
    world.ask(1);
    for n in 1..=4 {
        let said = world.get(&format!("127.61.1.{n}:{}", world.port), 1);
        assert!(said.contains("connect to server"), "{said}");
    }
    eventually("all to begin", || (verdicts(&sidecar, "passed", "first_use") == 5).then_some(()));
    for name in [&big, &web] {
        eventually("it to be asked", || source(&sidecar, "age_seconds", name));
    }
    // Four times 512 endpoints are all that there is room for, and web has one of its own.
    let many: Vec<_> = (0..512).map(|n| format!("'127.62.{}.{}:80'", n / 256, n % 256)).collect();
    write(&lists[0], &format!("[{}]", many.join(",")));
    write(&lists[1], &format!("['127.61.0.2:{}']", world.port));
    await_endpoints(&sidecar, &web, 1.0);
    eventually("the rest to be refused", || (failures(&sidecar, &big, "not_steered") > 0).then_some(()));
    assert_eq!(
        (source(&sidecar, "endpoints", &big), source(&sidecar, "stale", &big)),
        (Some(0.0), Some(1.0))
    );
    assert_eq!((failures(&sidecar, &web, "not_steered"), source(&sidecar, "stale", &web)), (0, Some(0.0)));
    let before = world.served();
    world.ask(30);
    assert_eq!(world.served_since(before).map(|n| n > 0), [false, true, true, false, false]);
    // There is room again, though the file is as it was.
    world.settings(&settings("endpoints: []"));
    eventually("the source to be gone", || source(&sidecar, "endpoints", &web).is_none().then_some(()));
    await_endpoints(&sidecar, &big, 512.0);
    assert_eq!(source(&sidecar, "stale", &big), Some(0.0));
}

/// Where endpoints are found by hashing, the table is made at the first use.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn a_hashed_service_begins_at_its_first_use() {
    let world = World::new();
    let sidecar = world.run(
        "traffic:
  services:
    - name: web
      addresses: [127.61.0.9]
      balance: hash_user
      endpoints: ['127.61.0.1:PORT', '127.61.0.2:PORT', '127.61.0.3:PORT']
",
    );
    let is_there = || sidecar.scrape().all("sidecar_traffic_endpoint_weight_ratio").count();
    assert_eq!(is_there(), 0, "nobody has used it");
    let before = world.served();
    world.ask(1);
    assert_eq!(world.served_since(before), [1, 0, 0, 0, 0]);
    eventually("it to begin", || (is_there() == 3).then_some(()));
    world.ask(20);
    let mut served = world.served_since(before);
    served.sort_unstable();
    assert_eq!(served, [0, 0, 0, 1, 20], "one user has one endpoint");
}

/// A daemon that goes on where another ended has nobody wait, though the source is silent by now.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn what_is_pinned_stays_warm() {
    let mut world = World::new();
    let bpffs = Bpffs::new();
    world.names("127.61.0.1 web.example\n127.61.0.2 web.example\n");
    world.resolve(&[]);
    let settings = format!(
        "traffic:
  pin: {}
  services:
    - {{name: web, addresses: [127.61.0.9], ports: [PORT], sources: [{{dns: web.example}}]}}
    - {{name: cold, addresses: [127.61.0.9], sources: [{{dns: 'cold.example:80'}}]}}
",
        bpffs.pins().display()
    );
    let mut sidecar = world.run(&settings);
    world.ask(1);
    await_endpoints(&sidecar, "dns:web.example", 2.0);
    let before = world.served();
    world.ask(10);
    assert_eq!(world.served_since(before)[ASKED], 0);
    sidecar.signal(Signal::KILL);
    sidecar.wait();
    world.resolver().signal(Signal::STOP);
    world.ask(10);
    let sidecar = world.run(&settings);
    world.ask(10);
    assert_eq!(world.served_since(before)[ASKED], 0);
    assert_eq!(source(&sidecar, "stale", "dns:web.example"), Some(1.0));
    assert_eq!(source(&sidecar, "stale", "dns:cold.example"), Some(0.0), "it has not begun");
    world.names("127.61.0.3 web.example\n");
    world.resolver().signal(Signal::CONT);
    await_endpoints(&sidecar, "dns:web.example", 1.0);
    let before = world.served();
    world.ask(10);
    assert_eq!(world.served_since(before), [0, 0, 0, 10, 0]);
}

/// Who was ejected when a daemon ended is an endpoint for the next one too, and weights are those that the silent source told last.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn what_was_ejected_is_adopted() {
    let mut world = World::new();
    let bpffs = Bpffs::new();
    world.names("127.61.0.1 one.example\n127.61.0.2 two.example\n");
    let srv = |target: &str, weight| {
        format!("--srv-host=_http._tcp.web.example,{target}.example,{},1,{weight}", world.port)
    };
    let records = [srv("one", 30), srv("two", 10)];
    world.resolve(&records.each_ref().map(String::as_str));
    let settings = format!(
        "traffic:
  pin: {}
  services:
    - name: web
      addresses: [127.61.0.9]
      sources: [{{srv: _http._tcp.web.example}}]
      health: {{ejection: 60s}}
",
        bpffs.pins().display()
    );
    let mut sidecar = world.run(&settings);
    let port = world.port;
    let endpoints = [1, 2].map(|n| format!("127.61.0.{n}:{port}"));
    let shares = |sidecar: &Sidecar| endpoints.each_ref().map(|endpoint| share(sidecar, "web", endpoint));
    world.ask(1);
    eventually("both to be had", || (shares(&sidecar) == [Some(0.75), Some(0.25)]).then_some(()));
    world.servers[1].1.signal(Signal::TERM);
    eventually("an ejection", || {
        world.get(&format!("{}:{port}", HOSTS[ASKED]), 5);
        (shares(&sidecar) == [Some(0.0), Some(1.0)]).then_some(())
    });
    world.resolver().signal(Signal::STOP);
    sidecar.signal(Signal::KILL);
    sidecar.wait();
    let sidecar = world.run(&settings);
    assert_eq!(shares(&sidecar), [Some(0.75), Some(0.25)]);
    assert_eq!(source(&sidecar, "stale", "srv:_http._tcp.web.example"), Some(1.0));
}

/// A source that fails from the start: a question for its service's name has no answer, and a connection to an address that somebody
/// remembers is refused.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn a_name_whose_source_fails_is_refused() {
    let mut world = World::new();
    world.names("127.61.0.1 web.example\n");
    world.resolve(&[]);
    let sidecar = world.run(
        "traffic:
  services:
    - {name: web, hosts: [web.internal], while_running: true, sources: [{dns: 'web.example:PORT'}]}
",
    );
    world.resolver().signal(Signal::STOP);
    let told = explain(&sidecar, &format!("web.internal:{}", world.port));
    let address =
        told.split(|c: char| c != '.' && !c.is_ascii_digit()).find(|word| word.starts_with("240.240."));
    let address = format!("{}:{}", address.expect(&told), world.port);
    let said = world.get(&address, 1);
    assert!(said.contains("connect to server"), "{said}");
    assert_eq!(verdicts(&sidecar, "denied", "first_use"), 1);
    let said = world.dig("web.internal A");
    assert!(said.contains("status: SERVFAIL"), "{said}");
    let n = sidecar.scrape().count("sidecar_dns_failures_total", &[("sidecar_reason", "no_endpoints")]);
    assert_eq!(n, 1);
    eventually("a failure", || (failures(&sidecar, "dns:web.example", "timeout") > 0).then_some(()));
    world.get(&address, 1);
    assert_eq!(verdicts(&sidecar, "denied", "first_use"), 2, "it has no endpoint yet");
    world.resolver().signal(Signal::CONT);
    await_endpoints(&sidecar, "dns:web.example", 1.0);
    let before = world.served();
    assert_eq!(world.get(&address, 3), "");
    assert_eq!(world.served_since(before), [0, 3, 0, 0, 0]);
    assert!(world.dig("web.internal A").contains("240.240."));
}

/// A name's own addresses are told, and lead to whom the source names.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn real_names_have_sources_too() {
    let mut world = World::new();
    world.names("127.61.0.9 real.example\n127.61.0.1 pool.example\n");
    world.resolve(&[]);
    let sidecar = world.run(
        "traffic:
  services:
    - {name: real, hosts: [real.example], resolve: real, ports: [PORT], sources: [{dns: pool.example}]}
",
    );
    let said = world.dig("real.example A +short");
    assert_eq!(said.trim(), "127.61.0.9");
    await_endpoints(&sidecar, "dns:pool.example", 1.0);
    let before = world.served();
    assert_eq!(world.get(&format!("real.example:{}", world.port), 10), "");
    assert_eq!(world.served_since(before), [0, 10, 0, 0, 0]);
    assert_eq!(verdicts(&sidecar, "direct", "gear"), 10);
}

/// The relay carries what goes to endpoints that a source tells of.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn the_relay_has_sources_too() {
    let mut world = World::new();
    world.names("127.61.0.1 web.example\n127.61.0.2 web.example\n");
    world.resolve(&[]);
    let sidecar = world.run(
        "traffic:
  services:
    - {name: web, gear: proxy, addresses: [127.61.0.9], ports: [PORT], sources: [{dns: web.example}]}
",
    );
    let before = world.served();
    world.ask(1);
    assert_eq!(world.served_since(before), [1, 0, 0, 0, 0]);
    assert_eq!(verdicts(&sidecar, "passed", "first_use"), 1);
    await_endpoints(&sidecar, "dns:web.example", 2.0);
    world.ask(20);
    let served = world.served_since(before);
    assert_eq!((served[0], served[1] + served[2]), (1, 20), "{served:?}");
    assert!(served[1] > 0 && served[2] > 0, "{served:?}");
    assert_eq!(verdicts(&sidecar, "proxied", "gear"), 20);
}

/// Endpoints of IPv6 are none for who asks by IPv4: where that address is real the connection goes there, where nobody has it, it is
/// refused.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn families_are_not_mixed() {
    let mut world = World::new();
    world.names("127.61.0.1 six.example\n");
    world.resolve(&[]);
    let sidecar = world.run(
        "traffic:
  services:
    - {name: six, hosts: [six.internal], addresses: [127.61.0.9], resolve: virtual, while_running: true, sources: [{dns: 'six.example:PORT'}]}
",
    );
    let port = world.port;
    let remembered = world.dig("six.internal A +short").trim().to_owned();
    assert!(remembered.starts_with("240.240."), "{remembered}");
    await_endpoints(&sidecar, "dns:six.example", 1.0);
    let before = world.served();
    assert_eq!(world.get(&format!("{remembered}:{port}"), 2), "");
    assert_eq!(world.served_since(before), [0, 2, 0, 0, 0]);
    world.names("::1 six.example\n");
    eventually("the other family", || share(&sidecar, "six", &format!("[::1]:{port}")));
    let said = world.dig("six.internal A");
    assert!(said.contains("status: NOERROR") && said.contains("ANSWER: 0"), "{said}");
    assert!(world.dig("six.internal AAAA").contains("ANSWER: 1"));
    let before = world.served();
    assert_eq!(world.get(&format!("six.internal:{port}"), 4), "");
    assert_eq!(world.served_since(before), [0, 0, 0, 0, 4]);
    world.ask(3);
    assert_eq!(world.served_since(before), [3, 0, 0, 0, 4]);
    assert_eq!(verdicts(&sidecar, "passed", "no_endpoint"), 3);
    let said = world.get(&format!("{remembered}:{port}"), 1);
    assert!(said.contains("connect to server"), "{said}");
    assert_eq!(verdicts(&sidecar, "denied", "no_endpoint"), 1);
}

/// What there is no room for is refused as a whole, as often as somebody wants it, and told once.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn what_the_kernel_has_no_room_for_is_told_once() {
    let world = World::new();
    let list = world.path("endpoints.yaml");
    let many: String =
        (0..500).map(|n| format!("- 127.62.{}.{}:{}\n", n / 250, n % 250 + 1, world.port)).collect();
    fs::write(&list, many).expect("endpoints");
    let service = |n: u32| {
        format!("    - {{name: s{n}, addresses: [127.61.1.{n}], sources: [{{file: {}}}]}}\n", list.display())
    };
    let services = |n: u32| format!("traffic:\n  services:\n{}", (1..=n).map(service).collect::<String>());
    let sidecar = world.run(&services(5));
    let uses = |n: u32| {
        // Nobody is there: it is a use all the same.
        world.get(&format!("127.61.1.{n}:{}", world.port), 1);
    };
    let began = |n: u32| sidecar.log().contains(&format!("\"service\":\"s{n}\""));
    for n in 1..=4 {
        eventually("the service to begin", || {
            uses(n);
            began(n).then_some(())
        });
    }
    // 2,500 endpoints, and there is room for 2,048.
    let told = || {
        let log = sidecar.log();
        let lines = log.lines().filter(|line| line.contains("\"service\":\"s5\"")).map(str::to_owned);
        lines.collect::<Vec<_>>()
    };
    eventually("the refusal", || {
        uses(5);
        (!told().is_empty()).then_some(())
    });
    // Whoever uses it goes where it asks.
    let n_passed = || verdicts(&sidecar, "passed", "first_use");
    let before = n_passed();
    (0..100).for_each(|_| uses(5));
    assert_eq!(n_passed(), before + 100);
    let told_once = told();
    assert_eq!(told_once.len(), 1, "{told_once:?}");
    for part in ["cannot begin", "more than 2048 endpoints"] {
        assert!(told_once[0].contains(part), "{told_once:?}");
    }
    let over = eventually("the end of it", || told().into_iter().nth(1));
    assert!(over.contains("the kernel has refused nothing for a while"), "{over}");
}
