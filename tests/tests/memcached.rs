//! memcached in words and in packets, against its own account: `stats`.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
};

use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port,
    phases::{Counts, FIRST, Load, SECOND, THIRD, odd},
    process::{self, Process},
    python, root,
    scrape::Scrape,
    sidecar::Sidecar,
};

/// `memcached` in a cgroup, and clients in the same.
struct World {
    dir: tempfile::TempDir,
    cgroup: Cgroup,
    port: u16,
}

impl World {
    fn new() -> World {
        World { dir: tempfile::tempdir().expect("a folder"), cgroup: Cgroup::new(), port: free_port() }
    }

    fn serve(&self) -> Process {
        let port = self.port.to_string();
        let server =
            self.start(&["memcached", "-u", "root", "-l", "127.0.0.1", "-p", &port], "memcached.out");
        eventually("the server to listen", || TcpStream::connect(("127.0.0.1", self.port)).ok());
        server
    }

    fn observe(&self) -> Sidecar {
        let path = self.cgroup.path().display().to_string();
        let args = ["--cgroup", &path, "--set", "capture.ring_bytes=33554432"];
        let sidecar = Sidecar::run(self.dir.path(), &args, &[]);
        sidecar.await_ready();
        sidecar
    }

    fn start(&self, words: &[&str], output: &str) -> Process {
        Process::start(&mut self.cgroup.within(words), &self.dir.path().join(output))
    }

    /// What memcached says, from outside of the cgroup.
    fn account(&self) -> BTreeMap<String, u64> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("connect");
        stream.write_all(b"stats\r\n").expect("ask");
        let lines = BufReader::new(stream).lines().map(|line| line.expect("a line"));
        let stat = |line: String| {
            let (name, value) = line.strip_prefix("STAT ")?.split_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        lines.take_while(|line| line != "END").filter_map(stat).collect()
    }
}

fn script() -> String {
    root().join("tests/support/memcached_client.py").display().to_string()
}

/// Commands that memcached counts together, as the daemon tells them of a role.
fn told(scrape: &Scrape, role: &str) -> BTreeMap<&'static str, u64> {
    let mut calls = BTreeMap::new();
    for (labels, n) in scrape.all(&format!("db_{role}_operation_duration_seconds_count")) {
        let counted = match labels.get("db_operation_name").map(String::as_str) {
            Some("GET" | "GETS") => "cmd_get",
            Some("SET" | "ADD" | "REPLACE" | "APPEND" | "PREPEND" | "CAS") => "cmd_set",
            Some("TOUCH") => "cmd_touch",
            Some("FLUSH_ALL") => "cmd_flush",
            Some("DECR") => "decr",
            Some("DELETE") => "delete",
            _ => continue,
        };
        *calls.entry(counted).or_default() += n as u64;
    }
    calls.retain(|_, n| *n > 0);
    calls
}

/// The same as memcached tells it.
fn counted(account: &BTreeMap<String, u64>) -> BTreeMap<&'static str, u64> {
    let of = |name: &str| account[name];
    let mut calls: BTreeMap<_, _> =
        ["cmd_get", "cmd_set", "cmd_touch", "cmd_flush"].map(|name| (name, of(name))).into();
    calls.insert("decr", of("decr_hits") + of("decr_misses"));
    calls.insert("delete", of("delete_hits") + of("delete_misses"));
    calls.retain(|_, n| *n > 0);
    calls
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn every_command_is_told_as_memcached_counts_it() {
    let world = World::new();
    let sidecar = world.observe();
    let _server = world.serve();
    process::run(&mut world.cgroup.within(&[&python(), &script(), "all", &world.port.to_string()]));
    let account = world.account();
    let scrape = sidecar.scrape_at_rest();
    let mut expected = counted(&account);
    // One command of twenty keys is told as one.
    *expected.get_mut("cmd_get").expect("some") -= 19;
    for role in ["server", "client"] {
        assert_eq!(told(&scrape, role), expected, "{role}");
        // What memcached does not count: it refuses to, as the value is no number.
        let refused = [("db_operation_name", "INCR"), ("error_type", "CLIENT_ERROR")];
        assert_eq!(scrape.count(&format!("db_{role}_operation_duration_seconds_count"), &refused), 1);
    }
    assert_eq!(scrape.count("db_client_response_returned_rows_sum", &[]), account["get_hits"]);
    assert_eq!(scrape.bytes("seen"), scrape.bytes("explained"));
    assert_eq!(scrape.drops(), BTreeMap::new());
    assert_eq!(scrape.oddities(), BTreeMap::new());
}

/// One connection in words and one in packets, both older than the daemon.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn connections_that_were_there_before() {
    let world = World::new();
    let _server = world.serve();
    let (port, folder) = (world.port.to_string(), world.dir.path());
    let folder_word = folder.display().to_string();
    let mut client = world.start(&[&python(), &script(), "held", &port, &folder_word], "client.out");
    eventually("a command in words and one in packets", || folder.join("asked").exists().then_some(()));
    let sidecar = world.observe();
    let before = world.account();
    fs::write(folder.join("go"), "").expect("write");
    assert!(client.wait().success(), "{}", process::read(&folder.join("client.out")));
    let mut account = world.account();
    account.iter_mut().for_each(|(name, n)| *n = n.saturating_sub(before[name]));
    let scrape = sidecar.scrape_at_rest();
    assert_eq!(account["get_hits"], 201);
    for role in ["server", "client"] {
        assert_eq!(told(&scrape, role), counted(&account), "{role}");
    }
    assert_eq!(scrape.count("db_client_response_returned_rows_sum", &[]), account["get_hits"]);
    assert_eq!(scrape.bytes("seen"), scrape.bytes("explained"));
    assert_eq!(scrape.drops(), BTreeMap::new());
    assert_eq!(scrape.oddities(), BTreeMap::new());
}

/// Commands of a phase by name, as memcached counts them.
fn by_name(account: &BTreeMap<String, u64>, phase: &str) -> Counts {
    let counters: &[(&str, &[&str])] = match phase {
        FIRST => &[("TOUCH", &["cmd_touch"]), ("DELETE", &["delete_hits", "delete_misses"])],
        SECOND => {
            &[("INCR", &["incr_hits", "incr_misses"]), ("CAS", &["cas_hits", "cas_misses", "cas_badval"])]
        }
        THIRD => &[("DECR", &["decr_hits", "decr_misses"]), ("FLUSH_ALL", &["cmd_flush"])],
        _ => &[],
    };
    let sum = |of: &[&str]| of.iter().map(|counter| account[*counter]).sum();
    counters.iter().map(|(name, of)| ((*name).to_owned(), sum(of))).collect()
}

/// Commands in words and in packets, while daemons come and are killed, and one does not see all.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn begun_in_mid_load() {
    let world = World::new();
    let _server = world.serve();
    let (port, folder) = (world.port.to_string(), world.dir.path().display().to_string());
    let load = Load {
        cgroup: &world.cgroup,
        dir: world.dir.path(),
        client: vec![python(), script(), "phases".into(), port, folder],
        settings: &[],
        may_be_unresolved: true,
        account: &|phase| by_name(&world.account(), phase),
        told: &|sidecar, role, phase| {
            let (scrape, name) = (sidecar.scrape(), format!("db_{role}_operation_duration_seconds_count"));
            let of = |command: &String| scrape.count(&name, &[("db_operation_name", command)]);
            by_name(&world.account(), phase)
                .into_keys()
                .map(|command| (command.clone(), of(&command)))
                .collect()
        },
    };
    let mut running = load.start();
    let by_second = running.observe();
    let odd = odd(&by_second, 2 * 5);
    assert!(odd.keys().all(|why| why == "unresolved"), "{odd:?}");
    running.hide();
}
