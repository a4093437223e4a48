//! Redis, against its own account: `INFO commandstats`.

use std::{collections::BTreeMap, fs, net::TcpStream, path::Path, process::Command};

use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port,
    phases::{Counts, FIRST, Load, SECOND, THIRD, odd},
    process::{self, Process},
    python, root,
    scrape::Scrape,
    sidecar::Sidecar,
};

/// Calls of each operation, and how many of them failed.
type Calls = BTreeMap<String, [u64; 2]>;

/// `redis-server` in a cgroup, and clients in the same or another.
struct World {
    dir: tempfile::TempDir,
    /// The clients'.
    cgroup: Cgroup,
    port: u16,
    _server: Process,
}

impl World {
    fn new(before: impl FnOnce(&Path, &Cgroup)) -> World {
        World::served(Cgroup::wrapper, before)
    }

    /// The server runs where `wrapper` puts it.
    fn served(wrapper: impl FnOnce(&Cgroup) -> Vec<String>, before: impl FnOnce(&Path, &Cgroup)) -> World {
        let (dir, cgroup, port) = (tempfile::tempdir().expect("a folder"), Cgroup::new(), free_port());
        before(dir.path(), &cgroup);
        let words = ["redis-server", "--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""];
        let command = [wrapper(&cgroup), words.map(str::to_owned).to_vec()].concat();
        let server =
            Process::start(Command::new(&command[0]).args(&command[1..]), &dir.path().join("redis.log"));
        eventually("the server to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
        World { dir, cgroup, port, _server: server }
    }

    /// What Redis says, from outside of the cgroup. It counts this question only after it was answered.
    fn account(&self) -> Calls {
        let port = self.port.to_string();
        let told = process::run(Command::new("redis-cli").args(["-p", &port, "info", "commandstats"]));
        let calls = |line: &str| {
            let (name, counts) = line.trim().strip_prefix("cmdstat_")?.split_once(':')?;
            let of = |name: &str| -> Option<u64> {
                counts.split(',').find_map(|count| count.strip_prefix(name)?.strip_prefix('='))?.parse().ok()
            };
            let (rejected, failed) = (of("rejected_calls")?, of("failed_calls")?);
            let operation = name.to_uppercase().replace('|', " ");
            Some((operation, [of("calls")? + rejected, rejected + failed]))
        };
        told.lines().filter_map(calls).collect()
    }
}

/// What the daemon says of a role, where it saw the answer.
fn told(scrape: &Scrape, role: &str) -> Calls {
    let mut calls = Calls::new();
    for (labels, n) in scrape.all(&format!("db_{role}_operation_duration_seconds_count")) {
        if labels.get("error_type").is_some_and(|error| error == "response_not_observed") {
            continue;
        }
        let operation = labels.get("db_operation_name").cloned().unwrap_or_default();
        let [all, failed] = calls.entry(operation).or_default();
        *all += n as u64;
        *failed += if labels.contains_key("error_type") { n as u64 } else { 0 };
    }
    calls.retain(|_, [n, _]| *n > 0);
    calls
}

fn less(mut calls: Calls, before: &Calls) -> Calls {
    for (operation, [n, failed]) in before {
        let [all, all_failed] = calls.entry(operation.clone()).or_default();
        (*all, *all_failed) = (*all - n, *all_failed - failed);
    }
    calls.retain(|_, [n, _]| *n > 0);
    calls
}

fn script() -> String {
    root().join("tests/support/redis_client.py").display().to_string()
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn every_command_is_told_as_redis_counts_it() {
    let mut sidecar = None;
    let world = World::new(|dir, cgroup| {
        let path = cgroup.path().display().to_string();
        // Room for both ends of a whole benchmark: what a crowded ring leaves out is another test's.
        sidecar = Some(Sidecar::run(dir, &["--cgroup", &path, "--set", "capture.ring_bytes=33554432"], &[]));
    });
    let (sidecar, port) = (sidecar.expect("it runs"), world.port.to_string());
    for (depth, n) in [("1", "500"), ("16", "1600"), ("1000", "4000")] {
        let words = ["redis-benchmark", "-p", &port, "-q", "-c", "4", "-n", n, "-P", depth];
        let tests = ["-t", "ping,set,get,incr,lpush,rpop,sadd,hset,zadd"];
        process::run(&mut world.cgroup.within(&[&words[..], &tests].concat()));
    }
    process::run(&mut world.cgroup.within(&[&python(), &script(), "all", &port]));
    let account = world.account();
    let scrape = sidecar.scrape_at_rest();
    assert_eq!((scrape.drops(), scrape.bytes("lost")), (BTreeMap::new(), 0));
    assert_eq!(scrape.count("sidecar_capture_shed_bytes_total", &[]), 0);
    let mut server = told(&scrape, "server");
    let asked = server.remove("INFO").expect("the account was asked for");
    assert_eq!(asked, [1 + account.get("INFO").map_or(0, |[n, _]| *n), 0]);
    let mut client = told(&scrape, "client");
    client.remove("INFO");
    let mut account = account;
    account.remove("INFO");
    // Redis counts no subcommand that it does not know: those of a client that is newer.
    for counted in [&mut server, &mut client] {
        for operation in ["CLIENT", "CLIENT SETINFO"] {
            let unknown = counted.remove(operation).unwrap_or_default();
            assert_eq!(unknown[0], unknown[1]);
        }
    }
    assert_eq!(server, account, "server");
    assert_eq!(client, account, "client");
    assert!(account.values().map(|[n, _]| n).sum::<u64>() > 50_000);
    assert_eq!(scrape.bytes("seen"), scrape.bytes("explained"));
    assert_eq!(scrape.drops(), BTreeMap::new());
    // Published to both clients, told to both ends.
    let messages = scrape.count("sidecar_messages_total", &[("sidecar_message_type", "push")]);
    assert_eq!(messages, 40);
    let databases: Vec<_> = scrape
        .all("db_server_operation_duration_seconds_count")
        .filter_map(|(labels, _)| labels.get("db_namespace").cloned())
        .collect();
    assert!(["0", "2", "3"].iter().all(|known| databases.iter().any(|database| database == known)));
}

/// The daemon sees one end of what is said, and says of it what the server counts.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn clients_whose_server_is_elsewhere() {
    let world = World::served(|_| Vec::new(), |_, _| {});
    let (path, port) = (world.cgroup.path().display().to_string(), world.port.to_string());
    let sidecar = Sidecar::run(world.dir.path(), &["--cgroup", &path], &[]);
    sidecar.await_ready();
    process::run(&mut world.cgroup.within(&[
        "redis-benchmark",
        "-p",
        &port,
        "-q",
        "-n",
        "500",
        "-t",
        "set,get",
    ]));
    process::run(&mut world.cgroup.within(&[&python(), &script(), "all", &port]));
    let mut account = world.account();
    let scrape = sidecar.scrape_at_rest();
    let mut client = told(&scrape, "client");
    for counted in [&mut account, &mut client] {
        counted.retain(|operation, _| !["INFO", "CLIENT", "CLIENT SETINFO"].contains(&&**operation));
    }
    assert!(account["GET"][0] > 2_500);
    assert_eq!(client, account);
    assert_eq!(told(&scrape, "server"), Calls::new());
    assert_eq!((scrape.drops(), scrape.bytes("seen")), (BTreeMap::new(), scrape.bytes("explained")));
}

/// Connections with pipelines in flight when the daemon comes: what was asked since is told, once, and what answers
/// something from before is told apart.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn connections_that_were_there_before() {
    let world = World::new(|_, _| {});
    let (port, folder) = (world.port.to_string(), world.dir.path().display().to_string());
    let client =
        world.cgroup.within(&[&python(), &script(), "load", &port, &folder]).spawn().expect("start it");
    let _client = scopeguard(client);
    let at_least = |n: u64| {
        eventually("a load", || (world.account().get("GET").map_or(0, |[n, _]| *n) >= n).then_some(()));
    };
    at_least(5_000);
    let path = world.cgroup.path().display().to_string();
    let sidecar = Sidecar::run(world.dir.path(), &["--cgroup", &path], &[]);
    sidecar.await_ready();
    let n = world.account()["GET"][0];
    at_least(n + 20_000);
    fs::write(world.dir.path().join("pause"), "").expect("write");
    eventually("a pause", || world.dir.path().join("paused").exists().then_some(()));
    let before = world.account();
    let scrape = sidecar.scrape_at_rest();
    let (server, by_client) = (told(&scrape, "server"), told(&scrape, "client"));
    // What was asked since it was ready is told, no more than there was, or it is said that it could not be told whose the
    // answers are: of five commands each time, at both ends.
    let all =
        |calls: &Calls| calls.iter().filter(|(name, _)| *name != "INFO").map(|(_, [n, _])| *n).sum::<u64>();
    let unresolved = scrape.count("sidecar_parser_oddities_total", &[("sidecar_reason", "unresolved")]);
    let told_of = all(&server) + all(&by_client);
    assert!(told_of + unresolved >= 2 * 5 * 20_000, "{told_of} {unresolved}");
    for calls in [&server, &by_client] {
        assert!(calls["GET"][0] > 0 && calls["GET"][0] <= before["GET"][0], "{calls:?}");
    }
    fs::write(world.dir.path().join("go"), "").expect("write");
    eventually("the rest", || world.dir.path().join("done").exists().then_some(()));
    let since = less(world.account(), &before);
    let scrape = sidecar.scrape_at_rest();
    let mut now = less(told(&scrape, "server"), &server);
    now.remove("INFO");
    let mut expected = since;
    expected.remove("INFO");
    assert_eq!(now, expected, "server");
    assert_eq!(less(told(&scrape, "client"), &by_client), expected, "client");
    assert_eq!(scrape.drops(), BTreeMap::new());
}

/// Of the calls those whose names say that they are of this phase, and how many of them failed.
fn of_phase(calls: Calls, phase: &str) -> Counts {
    let is_of = |name: &str| match phase {
        FIRST => ["HSET", "HGET", "HKEYS", "HINCRBY"].contains(&name),
        SECOND => ["SADD", "SMEMBERS", "SISMEMBER", "SPOP"].contains(&name),
        THIRD => ["ZADD", "ZRANGE", "ZSCORE", "ZREM"].contains(&name),
        _ => ["SET", "GET", "INCR", "LPUSH", "LTRIM"].contains(&name),
    };
    let of_phase = calls.into_iter().filter(|(name, _)| is_of(name));
    of_phase.flat_map(|(name, [n, failed])| [(format!("{name} failed"), failed), (name, n)]).collect()
}

/// Pipelines of 4 to 500 commands on connections with both versions of the protocol, while daemons come and are killed, and one does not see all.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn begun_in_mid_load() {
    let world = World::new(|_, _| {});
    let (port, folder) = (world.port.to_string(), world.dir.path().display().to_string());
    let load = Load {
        cgroup: &world.cgroup,
        dir: world.dir.path(),
        client: vec![python(), script(), "phases".into(), port, folder],
        settings: &[],
        may_be_unresolved: true,
        account: &|phase| of_phase(world.account(), phase),
        told: &|sidecar, role, phase| of_phase(told(&sidecar.scrape(), role), phase),
    };
    let mut running = load.start();
    let by_second = running.observe();
    // A whole round of each connection.
    let odd = odd(&by_second, 2 * 5 * (1 + 8 + 32 + 100));
    assert!(odd.keys().all(|why| why == "unresolved"), "{odd:?}");
    running.hide();
}

/// Ends it with the test.
fn scopeguard(child: std::process::Child) -> impl Drop {
    struct Guard(std::process::Child);
    impl Drop for Guard {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    Guard(child)
}
