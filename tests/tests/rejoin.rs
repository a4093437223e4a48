//! A daemon that is killed leaves nothing behind, and the next picks up what is open.

use std::{collections::BTreeMap, process::Command};

use rustix::process::Signal;
use sidecar_tests::{
    cgroup::{self, Cgroup},
    client::Client,
    eventually, free_port,
    nginx::Nginx,
    process::Process,
    sidecar::Sidecar,
};

struct World {
    dir: tempfile::TempDir,
    nginx: Nginx,
    server: Process,
    cgroup: Cgroup,
}

fn world() -> World {
    let dir = tempfile::tempdir().expect("a folder");
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    let cgroup = Cgroup::new();
    let command = [cgroup.wrapper(), nginx.command()].concat();
    let output = dir.path().join("nginx.out");
    let server = Process::start(Command::new(&command[0]).args(&command[1..]), &output);
    nginx.await_listening();
    World { dir, nginx, server, cgroup }
}

impl World {
    fn observe(&self) -> Sidecar {
        Sidecar::run(self.dir.path(), &["--cgroup", &self.cgroup.path().display().to_string()], &[])
    }

    fn kill(&self, mut sidecar: Sidecar) {
        assert!(!cgroup::attached(self.cgroup.path()).is_empty(), "bpftool shows what is attached");
        sidecar.signal(Signal::KILL);
        sidecar.wait();
        // The kernel lets go of links when it gets to it.
        eventually("nothing to be attached", || {
            cgroup::attached(self.cgroup.path()).is_empty().then_some(())
        });
    }
}

fn kinds<const N: usize>(kinds: [(&str, &str, u64); N]) -> BTreeMap<(String, String), u64> {
    kinds.map(|(method, status, n)| ((method.to_owned(), status.to_owned()), n)).into()
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_killed_daemon_is_not_missed() {
    let mut world = world();
    let mut client = Client::connect(&world.nginx);
    let first = world.observe();
    let mut seen_from_its_beginning = Client::connect(&world.nginx);
    assert_eq!(client.get("1000.bin"), 200);
    assert_eq!(first.scrape_at_rest().requests("server"), kinds([("GET", "200", 1)]));
    world.kill(first);
    assert_eq!(client.get("100.bin"), 200, "between two daemons");
    assert!(world.server.is_running());

    let second = world.observe();
    assert_eq!(client.get("status/403"), 403);
    let scrape = second.scrape_at_rest();
    assert_eq!(scrape.requests("server"), kinds([("GET", "403", 1)]));
    assert_eq!(scrape.requests("client"), BTreeMap::new());
    assert_eq!(scrape.sum("sidecar_tcp_connection_joined_total", &[]), Some(1.0));
    assert_eq!(scrape.sum("sidecar_capture_coverage_ratio", &[]), Some(1.0));
    assert_eq!(client.get("10000.bin"), 200);
    assert_eq!(client.get("nowhere"), 404);
    let expected = kinds([("GET", "200", 1), ("GET", "403", 1), ("GET", "404", 1)]);
    assert_eq!(second.scrape_at_rest().requests("server"), expected);

    // The end of one that the first had seen begin is no attempt that failed.
    assert_eq!(seen_from_its_beginning.get("status/410"), 410);
    drop(seen_from_its_beginning);
    let scrape = eventually("its end", || {
        let scrape = second.scrape_at_rest();
        (scrape.count("sidecar_connections_tracked", &[]) == 1).then_some(scrape)
    });
    assert_eq!(scrape.count("sidecar_tcp_connection_failed_total", &[]), 0);
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn joined_in_the_middle_of_a_response() {
    let world = world();
    let mut client = Client::connect(&world.nginx);
    let first = world.observe();
    client.ask("5000000.bin");
    let (status, length) = client.head();
    assert_eq!(status, 200);
    // The rest fills both sockets' buffers; nginx waits for room.
    client.skip(length / 10);
    world.kill(first);

    let second = world.observe();
    client.skip(length - length / 10);
    let scrape = second.scrape_at_rest();
    assert_eq!(scrape.requests("server"), BTreeMap::new(), "of the first response nothing is known");
    assert_eq!(client.get("status/410"), 410);
    assert_eq!(client.get("1000.bin"), 200);
    let scrape = second.scrape_at_rest();
    assert_eq!(scrape.requests("server"), kinds([("GET", "200", 1), ("GET", "410", 1)]));
    assert_eq!(scrape.sum("sidecar_tcp_connection_joined_total", &[]), Some(1.0));
    assert!(scrape.bytes("before_join") > 0, "what passed before the first message is told apart");
    assert_eq!(scrape.drops(), BTreeMap::new());
}
