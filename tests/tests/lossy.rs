//! A wire that loses, swaps and doubles packets changes no count.

use std::process::Command;

use sidecar_tests::{
    cgroup::Cgroup,
    eventually,
    load::Load,
    netns::Netns,
    nginx::Nginx,
    process::Process,
    scrape::Scrape,
    sidecar::Sidecar,
    wire::{Faults, Wire},
};

const FAULTS: Faults = Faults { lost: 20, swapped: 100, doubled: 50 };

fn requests(load: &mut Load, nginx: &Nginx) {
    load.h2load(("GET", 200), 800, "-c 16", 0, &nginx.url("1000.bin"));
    load.h2load(("GET", 200), 300, "-c 12", 0, &nginx.url("60000.bin"));
    load.h2load(("GET", 200), 400, "-c 8 -m 16", 0, &nginx.url("10000.bin"));
    load.h2load(("POST", 201), 200, "-c 8", 10_000, &nginx.url("made"));
    load.h2load(("GET", 404), 200, "-c 8 -m 16", 0, &nginx.url("nowhere"));
    load.ab(("GET", 200), 100, "-c 8", &nginx.url("1000.bin"));
    let upload = format!("data-binary = \"@{}\"", load.body(60_000));
    let requests = [
        ("GET", "", nginx.url("10000.bin")),
        ("PUT", &upload, nginx.url("made")),
        ("HEAD", "", nginx.url("60000.bin")),
        ("GET", "", nginx.url("status/500")),
    ];
    load.curl(&requests, 5);
}

/// Counts, coverage and retransmits of one role, whose sockets are all of `netns`.
fn assert_told(sidecar: &Sidecar, scrape: &Scrape, role: &str, netns: &Netns) {
    assert_eq!(scrape.drops().len(), 0, "{:?}", scrape.drops());
    assert_eq!(scrape.bytes("explained"), scrape.bytes("seen"));
    assert_eq!(scrape.sum("sidecar_capture_coverage_ratio", &[]), Some(1.0));
    // The last ones may be of connections that are closing: they are told when those are over. Not of any connection are
    // SYN+ACKs to a late copy of a SYN, which nobody takes.
    let (retransmits, own) = eventually("both to count the same retransmits", || {
        let labels = [("sidecar_tcp_role", role)];
        let counted = sidecar.scrape().count("sidecar_tcp_retransmits_total", &labels);
        let own = netns.snmp("Tcp", "RetransSegs");
        let handshakes = netns.snmp("TcpExt", "TCPSynRetrans");
        (own - handshakes..=own).contains(&counted).then_some((counted, own))
    });
    println!("retransmits of the {role}: {retransmits}, the namespace's own count {own}");
    assert!(retransmits > 0);
}

fn check(listen: &str, seed: u64) {
    let (server, client) = (Netns::new(), Netns::new());
    let ends = [server.tun("wire0", "10.77.0.1/24"), client.tun("wire0", "10.77.0.2/24")];
    for netns in [&server, &client] {
        // A lost tail is sent again after 40 ms rather than 200: more goes wrong in less time.
        netns.ip("route replace 10.77.0.0/24 dev wire0 rto_min 40ms");
    }
    let wire = Wire::new(ends, FAULTS, seed);
    let (near, far) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let nginx = Nginx::prepare(near.path(), "10.77.0.1", 8080, listen);
    let (servers, clients) = (Cgroup::new(), Cgroup::new());
    let observe = |cgroup: &Cgroup, dir: &tempfile::TempDir| {
        let path = cgroup.path().display().to_string();
        Sidecar::run(dir.path(), &["--cgroup", &path], &[])
    };
    let (at_server, at_client) = (observe(&servers, &near), observe(&clients, &far));
    let command = [servers.wrapper(), server.wrapper(), nginx.command()].concat();
    let _nginx =
        Process::start(Command::new(&command[0]).args(&command[1..]), &near.path().join("nginx.out"));
    eventually("nginx to start", || {
        near.path().join("nginx.pid").metadata().ok().filter(|file| file.len() > 0)
    });
    let mut load = Load::new(far.path(), &[clients.wrapper(), client.wrapper()].concat());
    requests(&mut load, &nginx);
    let of_server = at_server.scrape_at_rest();
    let of_client = at_client.scrape_at_rest();
    assert_eq!(of_server.requests("server"), nginx.answered());
    assert_eq!(of_client.requests("client"), load.answered);
    assert_told(&at_server, &of_server, "server", &server);
    assert_told(&at_client, &of_client, "client", &client);
    let [from_server, from_client] = wire.stop();
    println!("server to client: {from_server:?}\nclient to server: {from_client:?}");
}

#[test]
#[ignore = "privileged: attaches BPF programs, makes network namespaces and TUN devices"]
fn a_lossy_wire() {
    check("", 1);
}

#[test]
#[ignore = "privileged: attaches BPF programs, makes network namespaces and TUN devices"]
fn a_lossy_wire_and_deferred_accept() {
    check("deferred", 2);
}
