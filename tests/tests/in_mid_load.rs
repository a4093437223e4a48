//! A daemon that comes, or is killed and comes again, while the application is at work: whatever is asked from when it says
//! that it is ready is told, once. Each request has a number in its path, which is read back from the spans.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    time::Instant,
};

use rustix::process::Signal;
use sidecar_tests::{
    cgroup::{self, Cgroup},
    eventually, free_port,
    nginx::Nginx,
    numbered::{self, Numbered, Sent},
    process::Process,
    rotel::Rotel,
    sidecar::Sidecar,
};

/// nginx in a cgroup of its own, loaded from outside, and somebody who takes spans.
struct World {
    dir: tempfile::TempDir,
    nginx: Nginx,
    server: Process,
    cgroup: Cgroup,
    rotel: Rotel,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().expect("a folder");
        let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
        let cgroup = Cgroup::new();
        let command = [cgroup.wrapper(), nginx.command()].concat();
        let output = dir.path().join("nginx.out");
        let server = Process::start(Command::new(&command[0]).args(&command[1..]), &output);
        nginx.await_listening();
        let rotel = Rotel::start(dir.path());
        World { dir, nginx, server, cgroup, rotel }
    }

    fn load(&self) -> Numbered {
        let load = Numbered::start(&self.nginx, &numbered::MIXED, 8, 4);
        load.go_on(1_000);
        load
    }

    /// Starts a daemon that calls its application so; when it said that it was ready.
    fn observe(&self, name: &str) -> (Sidecar, Instant) {
        let path = self.cgroup.path().display().to_string();
        let endpoint = self.rotel.endpoint();
        let args = ["--cgroup", &path, "--otlp-endpoint", &endpoint, "--service-name", name];
        let sidecar = Sidecar::spawn(self.dir.path(), &[], &args, &[]);
        let ready = sidecar.await_ready();
        (sidecar, ready)
    }

    /// Of these requests none is told twice, and each that was sent after the last daemon, called `name`, was ready is told,
    /// in its metrics too. Ends it.
    fn check(&mut self, mut sidecar: Sidecar, name: &str, ready: Instant, sent: &[Sent]) {
        let scrape = sidecar.scrape_at_rest();
        let counted: u64 = scrape.requests("server").values().sum();
        // Before it is stopped: then it has only so long for what is left.
        eventually("its spans to be accepted", || {
            let n = sidecar.scrape().count("sidecar_export_sent_total", &[("sidecar_signal", "traces")]);
            (n == counted).then_some(())
        });
        assert!(sidecar.stop().success());
        // rotel prints after it has answered.
        let told = eventually("as many spans as requests were counted", || {
            let told = numbered::told(&self.rotel.spans());
            let of_last = told.values().flatten().filter(|by| *by == name).count() as u64;
            (of_last >= counted).then_some(told)
        });
        let of_last = told.values().flatten().filter(|by| *by == name).count() as u64;
        assert_eq!(of_last, counted);
        let before_join = scrape.bytes("before_join");
        println!("{} sent, {} told, {before_join} bytes before the join", sent.len(), told.len());

        let twice: Vec<_> = told.iter().filter(|(_, by)| by.len() > 1).collect();
        assert!(twice.is_empty(), "told more than once: {twice:?}");
        let missing: BTreeSet<u64> =
            sent.iter().map(|one| one.number).filter(|n| !told.contains_key(n)).collect();
        let after: Vec<_> =
            sent.iter().filter(|one| one.began > ready && missing.contains(&one.number)).collect();
        assert!(after.is_empty(), "sent after it was ready, and not told: {after:?}");
        assert!(sent.iter().filter(|one| one.began > ready).count() as u64 > MORE / 2);

        // What passed of requests that were under way is told apart, to the byte, and nothing was lost.
        let (seen, explained) = (scrape.bytes("seen"), scrape.bytes("explained"));
        assert_eq!(seen - before_join, explained);
        assert_eq!(scrape.sum("sidecar_capture_coverage_ratio", &[]), Some(1.0));
        assert_eq!(scrape.drops(), BTreeMap::new());
        assert_eq!(scrape.count("sidecar_export_dropped_total", &[]), 0);

        // The application went on as if nothing was.
        assert!(self.server.is_running());
        assert_eq!(self.nginx.errors(), "");
        let answered: u64 = self.nginx.answered().values().sum();
        assert_eq!(answered, sent.len() as u64);
    }
}

/// After the daemon is ready: what its queue of spans has room for, however slow their receiver is.
const MORE: u64 = 1_500;

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn started_in_mid_load() {
    for _ in 0..3 {
        let mut world = World::new();
        let load = world.load();
        let (sidecar, ready) = world.observe("only");
        load.go_on(MORE);
        let sent = load.stop();
        world.check(sidecar, "only", ready, &sent);
    }
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn killed_and_started_again_in_mid_load() {
    let mut world = World::new();
    let load = world.load();
    let (mut first, _) = world.observe("first");
    load.go_on(MORE);
    assert!(!cgroup::attached(world.cgroup.path()).is_empty());
    first.signal(Signal::KILL);
    first.wait();
    // The kernel lets go of links when it gets to it.
    eventually("nothing to be attached", || cgroup::attached(world.cgroup.path()).is_empty().then_some(()));
    load.go_on(MORE);
    let (second, ready) = world.observe("second");
    load.go_on(MORE);
    let sent = load.stop();
    world.check(second, "second", ready, &sent);
}
