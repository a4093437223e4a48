//! TCP in other clothes: IPv6 with extension headers, MPTCP, and requests that a SYN carries.

use std::{collections::BTreeMap, process::Command};

use sidecar_tests::{
    cgroup::Cgroup,
    free_port,
    load::Load,
    netns::Netns,
    nginx::Nginx,
    process::{self, Process},
    root,
    scrape::Scrape,
    sidecar::Sidecar,
};

/// nginx and its clients in a cgroup and a namespace, seen at both ends.
struct World {
    netns: Netns,
    sidecar: Sidecar,
    nginx: Nginx,
    server: Process,
    cgroup: Cgroup,
    dir: tempfile::TempDir,
}

impl World {
    /// `wrapper` goes before nginx.
    fn new(address: &str, wrapper: &[&str]) -> World {
        Self::within(Netns::new(), address, wrapper)
    }

    fn within(netns: Netns, address: &str, wrapper: &[&str]) -> World {
        let (dir, cgroup) = (tempfile::tempdir().expect("a folder"), Cgroup::new());
        let path = cgroup.path().display().to_string();
        let sidecar = Sidecar::run(dir.path(), &["--cgroup", &path], &[]);
        let nginx = Nginx::prepare(dir.path(), address, free_port(), "");
        let wrapper: Vec<String> = wrapper.iter().map(|word| (*word).to_owned()).collect();
        let words = [cgroup.wrapper(), netns.wrapper(), wrapper, nginx.command()].concat();
        let server = Process::start(Command::new(&words[0]).args(&words[1..]), &dir.path().join("nginx.out"));
        netns.within(|| nginx.await_listening());
        World { netns, sidecar, nginx, server, cgroup, dir }
    }

    /// Words that run a client inside. Inside the namespace the cgroups are out of sight.
    fn inside(&self) -> Vec<String> {
        [self.cgroup.wrapper(), self.netns.wrapper()].concat()
    }
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn ipv6_with_destination_options() {
    let world = World::new("[::1]", &[]);
    let script = root().join("tests/support/ipv6_options.py").display().to_string();
    let client = ["python3", &script, &world.nginx.port.to_string(), "/1000.bin", "40"].map(str::to_owned);
    let words = [world.inside(), client.to_vec()].concat();
    let told = process::run(Command::new(&words[0]).args(&words[1..]));
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    // The three requests of each connection at least.
    assert!(told["extended"].as_u64() > Some(3 * 40), "{told}");
    let mut asked = BTreeMap::new();
    for (kind, n) in told["statuses"].as_object().expect("statuses") {
        let (method, status) = kind.split_once(' ').expect("a method and a status");
        asked.insert((method.to_owned(), status.to_owned()), n.as_u64().expect("a count"));
    }
    let scrape = world.sidecar.scrape_at_rest();
    assert_eq!(world.nginx.answered(), asked);
    scrape.assert_whole(&[("server", asked.clone()), ("client", asked)]);
}

/// Its paths are told apart from TCP and not read, but for those that fell back to it.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn mptcp() {
    let mut world = World::new("127.0.0.1", &["mptcpize", "run"]);
    let mut load =
        Load::new(world.dir.path(), &[world.inside(), vec!["mptcpize".into(), "run".into()]].concat());
    let url = |path: &str| world.nginx.url(path);
    let opened = |scrape: &Scrape, role: &str| {
        scrape.count("sidecar_tcp_connection_opened_total", &[("sidecar_tcp_role", role)])
    };
    // Who waited for nginx to listen did so by TCP.
    let before = world.sidecar.scrape_at_rest();
    load.h2load(("GET", 200), 200, "-c 4", 0, &url("1000.bin"));
    load.h2load(("POST", 201), 40, "-c 2", 60_000, &url("made"));
    load.curl(&[("GET", "", url("5000000.bin")), ("HEAD", "", url("100.bin"))], 5);
    let n_paths = world.netns.snmp("MPTcpExt", "MPCapableACKRX");
    assert!(n_paths > 5, "both sides speak MPTCP");
    assert_eq!(world.netns.snmp("MPTcpExt", "MPCapableFallbackACK"), 0);
    let scrape = world.sidecar.scrape_at_rest();
    assert!(world.server.is_running());
    for role in ["server", "client"] {
        assert!(scrape.requests(role).is_empty(), "{role}: {:?}", scrape.requests(role));
        assert_eq!(opened(&scrape, role) - opened(&before, role), n_paths, "{role}");
    }
    assert!(scrape.bytes("seen") > 2 * 5 * 5_000_000, "at both ends");
    assert_eq!((scrape.bytes("mptcp"), scrape.bytes("explained")), (scrape.bytes("seen"), 0));
    assert!(scrape.drops().is_empty(), "{:?}", scrape.drops());

    // The same server, asked by TCP.
    let before = world.nginx.answered();
    let mut load = Load::new(world.dir.path(), &world.inside());
    load.h2load(("GET", 200), 100, "-c 4", 0, &url("1000.bin"));
    let fell_back: BTreeMap<_, _> = [(("GET".to_owned(), "200".to_owned()), 100)].into();
    let of_all = world.nginx.answered();
    assert_eq!(of_all.values().sum::<u64>(), before.values().sum::<u64>() + 100);
    let scrape = world.sidecar.scrape_at_rest();
    for role in ["server", "client"] {
        assert_eq!(scrape.requests(role), fell_back, "{role}");
    }
}

/// TCP Fast Open (RFC 7413): from the second connection on the request is in the SYN, for both ends.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn fast_open() {
    let netns = Netns::new();
    // Clients, servers, and every listening socket (`tcp_fastopen` in the kernel's ip-sysctl.rst).
    netns.sysctl("net.ipv4.tcp_fastopen", &(0x1 | 0x2 | 0x400).to_string());
    let world = World::within(netns, "127.0.0.1", &[]);
    let mut load = Load::new(world.dir.path(), &world.inside());
    for _ in 0..20 {
        load.curl(&[("GET", "tcp-fastopen", world.nginx.url("1000.bin"))], 1);
    }
    load.curl(&[("POST", "tcp-fastopen\ndata = \"a=b\"", world.nginx.url("made"))], 1);
    let n_early = world.netns.snmp("TcpExt", "TCPFastOpenPassive");
    assert!(n_early >= 20, "{n_early} requests were in a SYN");
    assert_eq!(world.netns.snmp("TcpExt", "TCPFastOpenActive"), n_early);
    let scrape = world.sidecar.scrape_at_rest();
    let asked = load.answered.clone();
    assert_eq!(world.nginx.answered(), asked);
    scrape.assert_whole(&[("server", asked.clone()), ("client", asked)]);
}
