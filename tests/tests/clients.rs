//! Clients of many makes in a pod, which know nothing of what they are steered by: the accounts of the servers outside of it say
//! who came, and where to.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::IpAddr,
    path::PathBuf,
    process::Command,
};

use sidecar_tests::{
    arrival::Arrival,
    cgroup::Cgroup,
    compile, dnsmasq, eventually,
    haproxy::Haproxy,
    netns::Netns,
    nginx::Nginx,
    parts,
    process::{self, Process},
    root,
    sidecar::Sidecar,
};

const POD: [&str; 2] = ["10.88.0.1", "fd88::1"];
const NGINX: [&str; 2] = ["10.88.0.2", "fd88::2"];
const HAPROXY: [&str; 2] = ["10.88.0.3", "fd88::3"];
const PORT: u16 = 8080;
/// Requests of one client to one host; each needs a connection.
const N: usize = 4;

/// Over what a host is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Four,
    Six,
    Either,
}

/// A destination of the application.
struct Host {
    name: &'static str,
    over: Over,
    service: &'static str,
}

/// What the application asks: nobody has these addresses, but for what a resolver says of the last name of each gear.
const HOSTS: [Host; 14] = [
    Host { name: "10.9.0.1", over: Over::Four, service: "direct" },
    Host { name: "[fd99::1]", over: Over::Six, service: "direct" },
    Host { name: "[::ffff:10.9.0.1]", over: Over::Four, service: "direct" },
    Host { name: "direct4.internal", over: Over::Four, service: "direct-4" },
    Host { name: "direct6.internal", over: Over::Six, service: "direct-6" },
    Host { name: "direct.internal", over: Over::Either, service: "direct-both" },
    Host { name: "direct.example", over: Over::Either, service: "direct-real" },
    Host { name: "10.9.0.2", over: Over::Four, service: "proxied" },
    Host { name: "[fd99::2]", over: Over::Six, service: "proxied" },
    Host { name: "[::ffff:10.9.0.2]", over: Over::Four, service: "proxied" },
    Host { name: "proxied4.internal", over: Over::Four, service: "proxied-4" },
    Host { name: "proxied6.internal", over: Over::Six, service: "proxied-6" },
    Host { name: "proxied.internal", over: Over::Either, service: "proxied-both" },
    Host { name: "proxied.example", over: Over::Either, service: "proxied-real" },
];

impl Host {
    fn is_literal(&self) -> bool {
        !self.name.ends_with(['l', 'e'])
    }

    /// A client may take this for its peer that asked for it.
    fn is_peer(&self, peer: &str) -> bool {
        let address: IpAddr = peer.parse().unwrap_or_else(|_| panic!("{peer} is no address"));
        let plain = address.to_canonical().to_string();
        match self.service {
            "direct-real" => ["10.9.1.1", "fd99:1::1"].contains(&&*plain),
            "proxied-real" => ["10.9.1.2", "fd99:1::2"].contains(&&*plain),
            _ if self.is_literal() => {
                self.name.trim_matches(['[', ']']).trim_start_matches("::ffff:") == plain
            }
            _ => {
                let pool = if address.to_canonical().is_ipv4() { "240.240." } else { "fd97:1c6e:53b0:53:" };
                plain.starts_with(pool)
            }
        }
    }
}

/// A pod, and outside of it a resolver and two servers.
struct World {
    pod: Netns,
    outside: Netns,
    cgroup: Cgroup,
    nginx: Nginx,
    haproxy: Haproxy,
    #[expect(dead_code, reason = "guards")]
    processes: [Process; 3],
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let (pod, outside, dir) = (Netns::new(), Netns::new(), tempfile::tempdir().expect("a folder"));
        let with = |[four, six]: [&str; 2]| [format!("{four}/24"), format!("{six}/64")];
        let (ours, theirs) = (with(POD), [with(NGINX), with(HAPROXY)].concat());
        let theirs: Vec<_> = theirs.iter().map(String::as_str).collect();
        pod.cable(&outside, "wire0", [&ours.each_ref().map(String::as_str), &theirs]);
        let [nginx, haproxy] = ["nginx", "haproxy"].map(|name| dir.path().join(name));
        let nginx = Nginx::prepare(&nginx, NGINX[0], PORT, "");
        let listen = format!("listen {}:{PORT} ;", NGINX[0]);
        nginx.amend(&listen, &format!("{listen} listen [{}]:{PORT};", NGINX[1]));
        nginx.log_arrivals();
        let binds = [format!("{}:{PORT}", HAPROXY[0]), format!("[{}]:{PORT}", HAPROXY[1])];
        let rules = "  http-request return status 200 content-type text/plain string one";
        let haproxy = Haproxy::prepare(&haproxy, &binds.each_ref().map(String::as_str), rules, "");
        let words = [outside.network(), nginx.command()].concat();
        let more = [
            "--host-record=direct.example,10.9.1.1,fd99:1::1".to_owned(),
            "--host-record=proxied.example,10.9.1.2,fd99:1::2".to_owned(),
            "--local=/example/".to_owned(),
        ];
        let processes = outside.within(|| {
            [
                Process::start(Command::new(&words[0]).args(&words[1..]), &dir.path().join("nginx.out")),
                haproxy.start(&outside.network()),
                dnsmasq::start(NGINX[0], &more, &dir.path().join("dns"), ["direct.example", "10.9.1.1"]),
            ]
        });
        outside.within(|| {
            nginx.await_listening();
            eventually("HAProxy to listen", || std::net::TcpStream::connect((HAPROXY[0], PORT)).ok());
        });
        World { pod, outside, cgroup: Cgroup::new(), nginx, haproxy, processes, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self) -> Sidecar {
        let four = format!("'{}:{PORT}', '{}:{PORT}'", NGINX[0], HAPROXY[0]);
        let six = format!("'[{}]:{PORT}', '[{}]:{PORT}'", NGINX[1], HAPROXY[1]);
        let of = |n: usize, gear: &str, verdict: &str| {
            let rest = format!("ports: [80], gear: {gear}");
            let named = "while_running: true";
            format!(
                "    - {{name: {verdict}, addresses: [10.9.0.{n}, 'fd99::{n}'], endpoints: [{four}, {six}], {rest}}}\n\
                 \x20   - {{name: {verdict}-4, hosts: [{verdict}4.internal], endpoints: [{four}], {named}, {rest}}}\n\
                 \x20   - {{name: {verdict}-6, hosts: [{verdict}6.internal], endpoints: [{six}], {named}, {rest}}}\n\
                 \x20   - {{name: {verdict}-both, hosts: [{verdict}.internal], endpoints: [{four}, {six}], {named}, {rest}}}\n\
                 \x20   - {{name: {verdict}-real, hosts: [{verdict}.example], resolve: real, endpoints: [{four}, {six}], {rest}}}\n"
            )
        };
        let services = [of(1, "direct", "direct"), of(2, "proxy", "proxied")].concat();
        fs::write(self.path("settings.yaml"), format!("traffic:\n  services:\n{services}"))
            .expect("settings");
        Sidecar::beside(&self.pod, &self.cgroup, self.dir.path(), &self.path("settings.yaml"))
    }

    /// Words that run what follows them as the application.
    fn inside(&self) -> Vec<String> {
        let resolving = dnsmasq::resolving(&[NGINX[0]], "", &self.path("resolv.conf"));
        [self.cgroup.wrapper(), self.pod.network(), resolving].concat()
    }

    /// What both servers answered.
    fn arrivals(&self) -> Vec<Arrival> {
        [self.nginx.arrivals(), self.haproxy.arrivals()].concat()
    }

    /// Each host got its requests of this client, which came from the pod, over what the host is reached over, at a server of the
    /// service.
    fn assert_served(&self, who: &str, hosts: &[usize]) {
        let prefix = format!("{who}-");
        let mine = || -> Vec<Arrival> {
            self.arrivals().into_iter().filter(|arrival| arrival.query.starts_with(&prefix)).collect()
        };
        // A line is written after its answer.
        eventually("all requests to be logged", || (mine().len() >= N * hosts.len()).then_some(()));
        let mut came = BTreeMap::new();
        for arrival in mine() {
            let n = number(&arrival.query);
            *came.entry(n).or_default() += 1;
            let at = usize::from(arrival.server.contains(':'));
            let may = [Over::Either, [Over::Four, Over::Six][at]].contains(&HOSTS[n].over);
            let is_right = [NGINX[at], HAPROXY[at]].contains(&&*arrival.server) && arrival.client == POD[at];
            assert!(may && is_right, "{who} {}: {arrival:?}", HOSTS[n].name);
        }
        assert_eq!(came, hosts.iter().map(|n| (*n, N)).collect(), "{who}");
    }

    /// What the servers got was carried as its service says, by the daemon's account.
    fn assert_carried(&self, sidecar: &Sidecar) {
        let scrape = self.pod.within(|| sidecar.scrape());
        let mut served = BTreeMap::new();
        for arrival in self.arrivals() {
            *served.entry(HOSTS[number(&arrival.query)].service).or_default() += 1;
        }
        for (service, expected) in served {
            let carried = ["direct", "proxied"].map(|verdict| {
                let labels = [("sidecar_service", service), ("sidecar_verdict", verdict)];
                scrape.count("sidecar_traffic_service_connections_total", &labels)
            });
            let at = usize::from(service.starts_with("proxied"));
            // Of a name's two families a client may try both at once.
            let is_right =
                carried[at] == expected || service.ends_with("-both") || service.ends_with("-real");
            assert!(is_right && carried[at] >= expected, "{service}: {carried:?} of {expected}");
            assert_eq!(carried[1 - at], 0, "{service}");
        }
        for reason in ["stranger", "unreachable", "accept"] {
            let labels = [("sidecar_reason", reason)];
            assert_eq!(scrape.count("sidecar_relay_failures_total", &labels), 0, "{reason}");
        }
    }
}

/// A host's number, at the end of what was asked for.
fn number(query: &str) -> usize {
    query.rsplit('-').next().and_then(|n| n.parse().ok()).expect("a host's number")
}

/// `N` requests for each host, at a place of its own.
fn urls(who: &str, hosts: &[usize], place: impl Fn(usize) -> String) -> Vec<String> {
    let url = |n: &usize| format!("http://{}/100.bin?{who}-{n}", place(*n));
    hosts.iter().flat_map(|n| std::iter::repeat_n(url(n), N)).collect()
}

/// What runs curl for so many URLs, each on a connection of its own; it says as much of them as the other clients do.
fn curl(n: usize) -> Vec<String> {
    let format = "%{url} %{http_code} %{remote_ip} %{remote_port}\n";
    let words = ["curl", "-gsS", "-H", "Connection: close", "--max-time", "20", "-w", format];
    [&words[..], &["-o", "/dev/null"].repeat(n)].concat().into_iter().map(str::to_owned).collect()
}

/// Whatever its make, a client's connections by address and by name, over IPv4, IPv6 and mapped, get to the servers of the service,
/// by the kernel or through the relay, as from the pod; and it believes that it has what it asked for.
#[test]
#[ignore = "privileged: attaches BPF programs, makes network namespaces"]
fn every_client_is_steered() {
    let world = World::new();
    let mut sidecar = world.run();
    let client = |name: &str| root().join("tests/support/clients").join(name).display().to_string();
    let hosts = |is: fn(&Host) -> bool| (0..HOSTS.len()).filter(|n| is(&HOSTS[*n])).collect::<Vec<_>>();
    let (all, fours) = (hosts(|_| true), hosts(|host| host.over != Over::Six));
    let literals = hosts(Host::is_literal);
    let go = compile::go("clients/client.go", world.dir.path());
    let java = client("Client.java");
    for (who, hosts, words) in [
        ("curl", &all, vec!["curl"]),
        ("python", &all, vec!["python3", &client("client.py")]),
        ("node", &all, vec!["node", &client("client.js")]),
        // With its own resolver.
        ("go", &all, vec![&go]),
        // Its sockets are IPv6's, so that IPv4 is mapped; then without those.
        ("java", &all, vec!["java", &java]),
        ("java4", &fours, vec!["java", "-Djava.net.preferIPv4Stack=true", &java]),
        ("uring", &literals, vec![env!("CARGO_BIN_EXE_uring_client")]),
    ] {
        let urls = urls(who, hosts, |n| HOSTS[n].name.to_owned());
        let words =
            if who == "curl" { curl(urls.len()) } else { words.into_iter().map(str::to_owned).collect() };
        let words = [world.inside(), words, urls.clone()].concat();
        let said = process::run(Command::new(&words[0]).args(&words[1..]));
        let lines: Vec<Vec<_>> = said.lines().map(|line| line.split(' ').collect()).collect();
        let answered: Vec<_> = lines.iter().map(|words| format!("{} {}", words[0], words[1])).collect();
        let expected: Vec<_> = urls.iter().map(|url| format!("{url} 200")).collect();
        assert_eq!(answered, expected, "{who}: {said}");
        world.assert_served(who, hosts);
        for line in &lines {
            // Those of io_uring and Java do not say.
            let [url, _, peer, port] = line[..] else { continue };
            assert!(HOSTS[number(url)].is_peer(peer) && port == "80", "{who}: {line:?}");
        }
    }
    // All four were of use.
    let arrivals = world.arrivals();
    let servers: BTreeSet<_> = arrivals.iter().map(|arrival| arrival.server.as_str()).collect();
    assert_eq!(servers, [NGINX, HAPROXY].concat().into_iter().collect());
    world.assert_carried(&sidecar);
    sidecar.assert_sound("clients", 64 * 1024);
}

/// A proxy that is the application has its servers found for it, by address and by name: nginx and HAProxy, which have resolvers of
/// their own, and Caddy, whose client and resolver are Go's.
#[test]
#[ignore = "privileged: attaches BPF programs, makes network namespaces"]
fn a_proxys_servers_are_found() {
    let world = World::new();
    let sidecar = world.run();
    let each = |text: &dyn Fn(usize, &Host) -> String| -> String {
        HOSTS.iter().enumerate().map(|(n, host)| text(n, host)).collect()
    };

    let nginx = Nginx::prepare(&world.path("inner-nginx"), "0.0.0.0", 8081, "");
    let locations = each(&|n, host| {
        let path = format!("rewrite ^/{n}/(.*) /$1 break;");
        format!("location /{n}/ {{ set $to {}; {path} proxy_pass http://$to; }}\n", host.name)
    });
    let resolver = format!("resolver {};", NGINX[0]);
    nginx.amend("location = /made", &format!("{resolver}\n{locations}location = /made"));

    // Names are asked for while it runs; it takes the family that it is told.
    let resolvers = format!("resolvers pod\n  nameserver one {}:53\n", NGINX[0]);
    let rules = each(&|n, _| format!("  use_backend {n} if {{ path_beg /{n}/ }}\n"));
    let backends = each(&|n, host| {
        let over = if host.over == Over::Six { 6 } else { 4 };
        let how = format!("resolvers pod init-addr none resolve-prefer ipv{over}");
        let how = if host.is_literal() { String::new() } else { how };
        format!(
            "backend {n}\n  http-request replace-path /[0-9]+/(.*) /\\1\n  server one {}:80 {how}\n",
            host.name
        )
    });
    let haproxy = Haproxy::prepare(
        &world.path("inner-haproxy"),
        &["*:8082"],
        &rules,
        &format!("{resolvers}{backends}"),
    );

    let handlers = each(&|n, host| {
        format!(
            "  handle_path /{n}/* {{\n    reverse_proxy {}:80 {{\n      transport http {{\n        keepalive off\n      }}\n    }}\n  }}\n",
            host.name
        )
    });
    let caddyfile = world.path("Caddyfile").display().to_string();
    let config = format!("{{\n  admin off\n  persist_config off\n}}\nhttp://:8083 {{\n{handlers}}}\n");
    fs::write(&caddyfile, config).expect("settings");
    let home = format!("HOME={}", world.dir.path().display());
    let program = parts().join("venv/bin/caddy").display().to_string();
    let caddy = ["env", &home, &program, "run", "--config", &caddyfile].map(str::to_owned);

    let start = |words: &[String], log: &str| {
        let words = [&world.inside(), words].concat();
        Process::start(Command::new(&words[0]).args(&words[1..]), &world.path(log))
    };
    let _proxies = [
        start(&nginx.command(), "inner-nginx.out"),
        haproxy.start(&world.inside()),
        start(&caddy, "caddy.out"),
    ];
    let hosts: Vec<_> = (0..HOSTS.len()).collect();
    for (who, port) in [("nginx", 8081), ("haproxy", 8082), ("caddy", 8083)] {
        let to = format!("{}:{port}", POD[0]);
        let ask = |urls: Vec<String>| {
            let words = [world.outside.network(), curl(urls.len()), urls].concat();
            String::from_utf8(process::output(Command::new(&words[0]).args(&words[1..])).stdout)
        };
        let place = |n| format!("{to}/{n}");
        // HAProxy listens before it has asked for its servers.
        let first: Vec<_> = hosts.iter().map(|n| format!("http://{}/100.bin?first-{n}", place(*n))).collect();
        eventually("the proxy to know its servers", || {
            let said = ask(first.clone()).ok()?;
            said.lines().all(|line| line.contains(" 200 ")).then_some(()).filter(|()| !said.is_empty())
        });
        let said = ask(urls(who, &hosts, place)).expect("text");
        assert!(said.lines().all(|line| line.contains(" 200 ")), "{who}: {said}");
        world.assert_served(who, &hosts);
    }
    world.assert_carried(&sidecar);
}
