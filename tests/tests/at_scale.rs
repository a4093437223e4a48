//! 200,000 requests as fast as both cores allow, in each of two patterns of connections: counted as the server and the
//! client count them.

use std::process::Command;

use sidecar_tests::{
    cgroup::Cgroup, load::Load, netns::Netns, nginx::Nginx, process::Process, scrape::Kind, sidecar::Sidecar,
};

/// Of each pattern.
const REQUESTS: u64 = 200_000;

/// Four times the default: nothing promises the ring's reader a processor while the load takes both.
const RING: &str = "capture.ring_bytes=16777216";

/// Both ends are in the observed cgroup, in a namespace that has ports for all of its connections.
fn check(load: impl FnOnce(&mut Load, &str), connections: u64) {
    let dir = tempfile::tempdir().expect("a folder");
    let (netns, cgroup) = (Netns::new(), Cgroup::new());
    netns.sysctl("net.ipv4.ip_local_port_range", "1024 65535");
    let inside = [cgroup.wrapper(), netns.wrapper()].concat();
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", 80, "backlog=4096");
    let path = cgroup.path().display().to_string();
    let sidecar = Sidecar::run(dir.path(), &["--cgroup", &path, "--set", RING], &[]);
    let command = [inside.clone(), nginx.command()].concat();
    let _nginx = Process::start(Command::new(&command[0]).args(&command[1..]), &dir.path().join("nginx.out"));
    netns.within(|| nginx.await_listening());
    let mut tools = Load::new(dir.path(), &inside);
    load(&mut tools, &nginx.url("100.bin"));
    let scrape = sidecar.scrape_at_rest();
    let kind: Kind = ("GET".to_owned(), "200".to_owned());
    assert_eq!(tools.answered, [(kind, REQUESTS)].into());
    scrape.assert_whole(&[("server", nginx.answered()), ("client", tools.answered)]);
    let opened = scrape.count("sidecar_tcp_connection_opened_total", &[("sidecar_tcp_role", "client")]);
    // ab opens a few more than it uses.
    assert!(opened >= connections, "{opened} connections");
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup, makes a network namespace"]
fn over_64_connections_that_are_kept() {
    check(|load, url| load.h2load(("GET", 200), REQUESTS, "-c 64 -t 1", 0, url), 64);
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup, makes a network namespace"]
fn over_a_connection_each() {
    check(|load, url| load.ab(("GET", 200), REQUESTS, "-c 64", url), REQUESTS);
}
