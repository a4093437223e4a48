//! An application whose connections come in through the relay, and that calls itself: its own log says who came, and nothing goes
//! round.

use std::{collections::BTreeMap, fs, net::TcpStream, path::PathBuf, process::Command};

use sidecar_tests::{
    arrival::Arrival,
    cgroup::Cgroup,
    dnsmasq, eventually,
    haproxy::Haproxy,
    netns::Netns,
    nginx::Nginx,
    process::{self, Process},
    scrape::Scrape,
    sidecar::Sidecar,
};

const POD: [&str; 2] = ["10.88.0.1", "fd88::1"];
const OUTSIDE: [&str; 2] = ["10.88.0.2", "fd88::2"];
/// Where the application listens for IPv4 and for IPv6.
const PLAIN: u16 = 8080;
/// Where it does for both by one socket, at which IPv4 is mapped.
const DUAL: u16 = 8081;
/// Of each way to call; as many as show that a service's connections go to each of its endpoints, also to one that was slow just
/// now: drawn at random, it gets a 17th of them at least.
const N: usize = 100;

/// A pod without its application, and a server outside of it.
struct World {
    pod: Netns,
    outside: Netns,
    cgroup: Cgroup,
    other: Nginx,
    #[expect(dead_code, reason = "a guard")]
    server: Process,
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let (pod, outside, dir) = (Netns::new(), Netns::new(), tempfile::tempdir().expect("a folder"));
        let with = |[four, six]: [&str; 2]| [format!("{four}/24"), format!("{six}/64")];
        let (ours, theirs) = (with(POD), with(OUTSIDE));
        pod.cable(&outside, "wire0", [&ours, &theirs]);
        let other = Nginx::prepare(&dir.path().join("other"), OUTSIDE[0], 8080, "");
        let listen = format!("listen {}:8080 ;", OUTSIDE[0]);
        other.amend(&listen, &format!("{listen} listen [{}]:8080;", OUTSIDE[1]));
        other.log_arrivals();
        let words = [outside.network(), other.command()].concat();
        let server = Process::start(Command::new(&words[0]).args(&words[1..]), &dir.path().join("other.out"));
        outside.within(|| other.await_listening());
        World { pod, outside, cgroup: Cgroup::new(), other, server, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// With a service for each gear and family that can be had at the application and outside.
    fn run(&self) -> Sidecar {
        let mut settings =
            format!("traffic:\n  inbound:\n    - {{name: web, ports: [{PLAIN}, {DUAL}]}}\n  services:\n");
        for gear in ["direct", "proxy"] {
            for (family, [own, other]) in [
                ("4", [format!("{}:{PLAIN}", POD[0]), format!("{}:8080", OUTSIDE[0])]),
                ("6", [format!("[{}]:{PLAIN}", POD[1]), format!("[{}]:8080", OUTSIDE[1])]),
            ] {
                settings += &format!(
                    "    - {{name: {gear}{family}, hosts: [{gear}{family}.internal], gear: {gear}, \
                     balance: random, while_running: true, endpoints: ['{own}', '{other}']}}\n"
                );
            }
        }
        fs::write(self.path("settings.yaml"), settings).expect("settings");
        Sidecar::beside(&self.pod, &self.cgroup, self.dir.path(), &self.path("settings.yaml"))
    }

    /// Words that run what follows them as the application.
    fn inside(&self) -> Vec<String> {
        // Nobody is asked there: all names are ours.
        let resolving = dnsmasq::resolving(&[OUTSIDE[0]], "", &self.path("resolv.conf"));
        [self.cgroup.wrapper(), self.pod.network(), resolving].concat()
    }

    fn start(&self, words: &[String], log: &str) -> Process {
        let words = [&self.inside(), words].concat();
        Process::start(Command::new(&words[0]).args(&words[1..]), &self.path(log))
    }

    fn scrape(&self, sidecar: &Sidecar) -> Scrape {
        self.pod.within(|| sidecar.scrape())
    }
}

/// Asks `N` times, each on a connection of its own.
fn ask(before: &[String], url: &str) {
    let words = ["curl", "-gsS", "-H", "Connection: close", "--max-time", "20", "-w", "%{http_code}\n"];
    let words = [&words[..], &["-o", "/dev/null"].repeat(N), &[url].repeat(N)].concat();
    let words = [before, &words.into_iter().map(str::to_owned).collect::<Vec<_>>()].concat();
    assert_eq!(process::run(Command::new(&words[0]).args(&words[1..])), "200\n".repeat(N), "{url}");
}

/// Where the application is called at, and who came then by its own account.
struct Way {
    to: String,
    /// Whose address it was called at, too.
    client: &'static str,
    /// A service, whose other connections are had by the server outside.
    is_service: bool,
}

fn ways() -> Vec<Way> {
    let way = |to: String, client| Way { to, client, is_service: false };
    let mut ways = vec![
        way(format!("127.0.0.1:{PLAIN}"), "127.0.0.1"),
        way(format!("[::1]:{PLAIN}"), "::1"),
        way(format!("{}:{PLAIN}", POD[0]), POD[0]),
        way(format!("[{}]:{PLAIN}", POD[1]), POD[1]),
        way(format!("[::ffff:{}]:{PLAIN}", POD[0]), POD[0]),
        way(format!("127.0.0.1:{DUAL}"), "::ffff:127.0.0.1"),
        way(format!("[::1]:{DUAL}"), "::1"),
        way(format!("{}:{DUAL}", POD[0]), "::ffff:10.88.0.1"),
        way(format!("[{}]:{DUAL}", POD[1]), POD[1]),
    ];
    for (name, client) in [("direct4", 0), ("direct6", 1), ("proxy4", 0), ("proxy6", 1)] {
        ways.push(Way { to: format!("{name}.internal"), client: POD[client], is_service: true });
    }
    ways
}

/// Calls the application, whose own account is `arrivals`. What it is asked for at `/N/` it asks of the n-th way.
fn check(world: &World, sidecar: &Sidecar, arrivals: &dyn Fn() -> Vec<Arrival>) {
    let came = |of: &str| {
        let mut came: BTreeMap<[String; 2], usize> = BTreeMap::new();
        for arrival in arrivals().into_iter().filter(|arrival| arrival.query == of) {
            *came.entry([arrival.client, arrival.server]).or_default() += 1;
        }
        came
    };
    let outside = |of: &str| world.other.arrivals().into_iter().filter(|one| one.query == of).count();
    // Who called from outside, and at which address; and the way that the application was called then.
    let assert_came = |of: &str, from_outside: Option<[&str; 2]>, way: Option<&Way>| {
        let n_all = N * (usize::from(from_outside.is_some()) + usize::from(way.is_some()));
        // A line is written after its answer.
        let n = || came(of).values().sum::<usize>() + outside(of);
        eventually("all requests to be logged", || (n() >= n_all).then_some(()));
        let mut expected: BTreeMap<_, _> =
            from_outside.into_iter().map(|ends| (ends.map(str::to_owned), N)).collect();
        if let Some(way) = way {
            let elsewhere = outside(of);
            assert!(way.is_service == (elsewhere > 0) && elsewhere < N, "{}: {elsewhere}", way.to);
            expected.insert([way.client; 2].map(str::to_owned), N - elsewhere);
        }
        assert_eq!(came(of), expected, "{of} {}", way.map_or("", |way| &way.to));
    };
    let accepted = || {
        let scrape = world.scrape(sidecar);
        let labels = [("sidecar_service", "web"), ("sidecar_verdict", "proxied")];
        let inbound = scrape.count("sidecar_traffic_service_connections_total", &labels);
        (scrape.count("sidecar_relay_accepted_total", &[]), inbound)
    };

    let n = N as u64;
    for (at, way) in ways().iter().enumerate() {
        let before = accepted();
        let outbound = if way.to.starts_with("proxy") { n } else { 0 };
        // Somebody beside it.
        let of = format!("beside-{at}");
        ask(&world.inside(), &format!("http://{}/100.bin?{of}", way.to));
        assert_came(&of, None, Some(way));
        assert_eq!(accepted(), (before.0 + outbound, before.1), "{}", way.to);
        // Itself, as it is asked from outside.
        let of = format!("within-{at}");
        ask(&world.outside.network(), &format!("http://{}:{PLAIN}/{at}/100.bin?{of}", POD[0]));
        assert_came(&of, Some([OUTSIDE[0], POD[0]]), Some(way));
        assert_eq!(accepted(), (before.0 + 2 * outbound + n, before.1 + n), "{}", way.to);
    }
    let mapped = ["::ffff:10.88.0.2", "::ffff:10.88.0.1"];
    for (at, (to, ends)) in [
        (format!("{}:{PLAIN}", POD[0]), [OUTSIDE[0], POD[0]]),
        (format!("[{}]:{PLAIN}", POD[1]), [OUTSIDE[1], POD[1]]),
        (format!("[::ffff:{}]:{PLAIN}", POD[0]), [OUTSIDE[0], POD[0]]),
        (format!("{}:{DUAL}", POD[0]), mapped),
        (format!("[{}]:{DUAL}", POD[1]), [OUTSIDE[1], POD[1]]),
    ]
    .into_iter()
    .enumerate()
    {
        let before = accepted();
        let of = format!("outside-{at}");
        ask(&world.outside.network(), &format!("http://{to}/100.bin?{of}"));
        assert_came(&of, Some(ends), None);
        assert_eq!(accepted(), (before.0 + n, before.1 + n), "{to}");
    }
    let scrape = world.scrape(sidecar);
    for reason in ["stranger", "unreachable", "accept", "client_unknown", "no_port"] {
        let labels = [("sidecar_reason", reason)];
        assert_eq!(scrape.count("sidecar_relay_failures_total", &labels), 0, "{reason}");
    }
}

/// By loopback, by its own addresses and by services that it is of, over both families; nginx as the application.
#[test]
#[ignore = "privileged: attaches BPF programs, makes network namespaces"]
fn nginx_calls_itself_and_sees_who_calls() {
    let world = World::new();
    let mut sidecar = world.run();
    let dir = world.path("app");
    let nginx = Nginx::prepare(&dir, "0.0.0.0", PLAIN, "");
    let listen = format!("listen {PLAIN}; listen [::]:{PLAIN}; listen [::]:{DUAL} ipv6only=off;");
    nginx.amend(&format!("listen 0.0.0.0:{PLAIN} ;"), &listen);
    nginx.log_arrivals();
    let pass = |(at, way): (usize, &Way)| format!("location /{at}/ {{ proxy_pass http://{}/; }}\n", way.to);
    let locations: String = ways().iter().enumerate().map(pass).collect();
    nginx.amend("location = /made", &format!("{locations}location = /made"));
    let _server = world.start(&nginx.command(), "app.out");
    world.pod.within(|| nginx.await_listening());
    check(&world, &sidecar, &|| nginx.arrivals());
    sidecar.assert_sound("nginx that calls itself", 64 * 1024);
}

/// The same with HAProxy.
#[test]
#[ignore = "privileged: attaches BPF programs, makes network namespaces"]
fn haproxy_calls_itself_and_sees_who_calls() {
    let world = World::new();
    let mut sidecar = world.run();
    let answer =
        "  http-request return status 200 content-type text/plain string one unless { path_reg ^/[0-9]+/ }\n";
    let (mut rules, mut sections) = (answer.to_owned(), String::new());
    for (at, way) in ways().iter().enumerate() {
        let port = if way.is_service { ":80" } else { "" };
        rules += &format!("  use_backend {at} if {{ path_beg /{at}/ }}\n");
        sections += &format!(
            "backend {at}\n  http-request replace-path /[0-9]+/(.*) /\\1\n  server one {}{port}\n",
            way.to
        );
    }
    let binds = [format!("0.0.0.0:{PLAIN}"), format!("[::]:{PLAIN} v6only"), format!("[::]:{DUAL} v4v6")];
    let binds = binds.each_ref().map(String::as_str);
    let haproxy = Haproxy::prepare(&world.path("app"), &binds, &rules, &sections);
    let _server = haproxy.start(&world.inside());
    world.pod.within(|| eventually("HAProxy to listen", || TcpStream::connect(("127.0.0.1", DUAL)).ok()));
    check(&world, &sidecar, &|| haproxy.arrivals());
    sidecar.assert_sound("HAProxy that calls itself", 64 * 1024);
}
