//! HTTP/2 without TLS, against nginx's own account.

use std::{collections::BTreeMap, fs};

use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port,
    nginx::Nginx,
    phases::{Counts, FIRST, Load, SECOND, THIRD, odd},
    process::{self, Process},
    python, root,
    scrape::{Kind, Scrape},
    sidecar::Sidecar,
};

/// nginx that speaks HTTP/2 in a cgroup, and clients in the same.
struct World {
    dir: tempfile::TempDir,
    cgroup: Cgroup,
    nginx: Nginx,
}

impl World {
    fn new() -> World {
        let (dir, cgroup) = (tempfile::tempdir().expect("a folder"), Cgroup::new());
        let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "http2");
        World { dir, cgroup, nginx }
    }

    fn serve(&self) -> Process {
        let command: Vec<_> = self.nginx.command();
        let server = self.start(&command.iter().map(String::as_str).collect::<Vec<_>>(), "nginx.out");
        self.nginx.await_listening();
        server
    }

    fn observe(&self) -> Sidecar {
        let path = self.cgroup.path().display().to_string();
        // Room for both ends of a whole load: what a crowded ring leaves out is another test's.
        let args = ["--cgroup", &path, "--set", "capture.ring_bytes=33554432"];
        let sidecar = Sidecar::run(self.dir.path(), &args, &[]);
        sidecar.await_ready();
        sidecar
    }

    fn start(&self, words: &[&str], output: &str) -> Process {
        Process::start(&mut self.cgroup.within(words), &self.dir.path().join(output))
    }

    fn is_there(&self, name: &str) {
        eventually(name, || self.dir.path().join(name).exists().then_some(()));
    }
}

fn total(kinds: &BTreeMap<Kind, u64>) -> u64 {
    kinds.values().sum()
}

fn less(mut kinds: BTreeMap<Kind, u64>, before: &BTreeMap<Kind, u64>) -> BTreeMap<Kind, u64> {
    for (kind, n) in before {
        *kinds.entry(kind.clone()).or_default() -= n;
    }
    kinds.retain(|_, n| *n > 0);
    kinds
}

/// Requests of a role by the version of HTTP.
fn versions(scrape: &Scrape, role: &str) -> BTreeMap<String, u64> {
    let mut versions = BTreeMap::new();
    for (labels, n) in scrape.all(&format!("http_{role}_request_duration_seconds_count")) {
        let version = labels.get("network_protocol_version").cloned().unwrap_or_default();
        *versions.entry(version).or_default() += n as u64;
    }
    versions.retain(|_, n| *n > 0);
    versions
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn every_request_is_told_as_nginx_counts_it() {
    let world = World::new();
    let sidecar = world.observe();
    let streams = "http2_max_concurrent_streams 1000;";
    world.nginx.amend("client_max_body_size 0;", &format!("client_max_body_size 0; {streams}"));
    let _nginx = world.serve();
    let body = world.dir.path().join("upload");
    fs::write(&body, vec![b'b'; 20_000]).expect("a body");
    let body = body.display().to_string();
    for (n, args, path) in [
        ("500", &["-c", "1", "-m", "1"][..], "1000.bin"),
        ("2000", &["-c", "4", "-m", "10"], "100.bin"),
        ("4000", &["-c", "2", "-m", "100"], "100.bin"),
        ("6000", &["-c", "2", "-m", "1000"], "100.bin"),
        ("300", &["-c", "2", "-m", "100"], "60000.bin"),
        ("4", &["-c", "1", "-m", "2"], "5000000.bin"),
        ("500", &["-c", "2", "-m", "10"], "status/503"),
        ("500", &["-c", "2", "-m", "10", "-H", ":method: HEAD"], "1000.bin"),
        ("200", &["-c", "2", "-m", "10", "-d", &body], "made"),
    ] {
        let url = world.nginx.url(path);
        let said = process::run(&mut world.cgroup.within(&[&["h2load", "-n", n], args, &[&url]].concat()));
        assert!(said.contains(&format!("{n} done")), "{said}");
    }
    for (method, path) in [("GET", "1000.bin"), ("GET", "nowhere"), ("DELETE", "1000.bin"), ("POST", "made")]
    {
        let url = world.nginx.url(path);
        let curl = ["curl", "-sS", "--http2-prior-knowledge", "-o", "/dev/null", "-X", method, &url];
        process::run(&mut world.cgroup.within(&curl));
    }

    let scrape = sidecar.scrape_at_rest();
    let answered = world.nginx.answered();
    assert_eq!(total(&answered), 14_004 + 4);
    scrape.assert_whole(&[("server", answered.clone()), ("client", answered.clone())]);
    for role in ["server", "client"] {
        assert_eq!(versions(&scrape, role), BTreeMap::from([("2".to_owned(), total(&answered))]), "{role}");
    }
    assert_eq!(scrape.oddities(), BTreeMap::new());
}

/// A connection with requests in flight when the daemon comes: what is asked since is told once, and what its header
/// table had before is counted and not guessed.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_connection_that_was_there_before() {
    let world = World::new();
    let _nginx = world.serve();
    let script = root().join("tests/support/http2_client.py").display().to_string();
    let folder = world.dir.path().display().to_string();
    let _client = world.start(&[&python(), &script, "held", &world.nginx.url(""), &folder], "client.out");
    let more = |n: u64| {
        let enough = total(&world.nginx.answered()) + n;
        eventually("a load", || (total(&world.nginx.answered()) >= enough).then_some(()));
    };
    more(200);
    let sidecar = world.observe();
    let ready = total(&world.nginx.answered());
    more(500);
    fs::write(world.dir.path().join("pause"), "").expect("write");
    world.is_there("paused");
    let before = world.nginx.answered();
    let scrape = sidecar.scrape_at_rest();
    let told = ["server", "client"].map(|role| scrape.requests(role));
    for requests in &told {
        assert!(total(requests) >= total(&before) - ready - 10 && total(requests) <= total(&before));
    }
    fs::write(world.dir.path().join("go"), "").expect("write");
    world.is_there("done");
    let since = less(world.nginx.answered(), &before);
    let scrape = sidecar.scrape_at_rest();
    let mut expected = BTreeMap::new();
    for ((method, status), n) in since {
        // By an entry of the header table that came before: a method that nobody knows.
        let method = if method == "GET" { method } else { "_OTHER".to_owned() };
        *expected.entry((method, status)).or_default() += n;
    }
    assert_eq!(total(&expected), 1_000);
    for (role, before) in ["server", "client"].iter().zip(&told) {
        assert_eq!(less(scrape.requests(role), before), expected, "{role}");
    }
    assert!(scrape.count("sidecar_parser_oddities_total", &[("sidecar_reason", "unresolved")]) > 0);
    assert_eq!((scrape.drops(), scrape.bytes("unclassified")), (BTreeMap::new(), 0));
}

/// Statuses that the load asks for in a phase, and the only one to do so.
fn is_of(status: &str, phase: &str) -> bool {
    match phase {
        FIRST => ["403", "500"].contains(&status),
        SECOND => ["410", "503"].contains(&status),
        THIRD => ["301", "400"].contains(&status),
        _ => ["200", "204"].contains(&status),
    }
}

fn of_phase(kinds: BTreeMap<Kind, u64>, phase: &str) -> Counts {
    let of_phase = kinds.into_iter().filter(|((_, status), _)| is_of(status, phase));
    of_phase.map(|((method, status), n)| (format!("{method} {status}"), n)).collect()
}

/// Ten streams at a time on each of three connections, while daemons come and are killed, and one does not see all.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn begun_in_mid_load() {
    let world = World::new();
    let _nginx = world.serve();
    let script = root().join("tests/support/http2_client.py").display().to_string();
    let folder = world.dir.path().display().to_string();
    let load = Load {
        cgroup: &world.cgroup,
        dir: world.dir.path(),
        client: vec![python(), script, "phases".into(), world.nginx.url(""), folder],
        settings: &[],
        may_be_unresolved: false,
        account: &|phase| of_phase(world.nginx.answered(), phase),
        told: &|sidecar, role, phase| of_phase(sidecar.scrape().requests(role), phase),
    };
    let mut running = load.start();
    let by_second = running.observe();
    // Names that the connections' header tables have from before.
    let odd = odd(&by_second, 2 * 30);
    assert!(odd.keys().eq(["unresolved"]), "{odd:?}");
    assert_eq!(by_second.bytes("seen") - by_second.bytes("before_join"), by_second.bytes("explained"));
    running.hide();
}
