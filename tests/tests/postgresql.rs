//! PostgreSQL, against its own account: `pg_stat_statements` of what succeeded, its log of what failed.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;
use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port,
    phases::{FIRST, Load, SECOND, THIRD, odd},
    process::{self, Process},
    python, root,
    scrape::Scrape,
    sidecar::Sidecar,
};

/// Where the package puts each version.
const VERSIONS: &str = "/usr/lib/postgresql";
const AS_OWNER: [&str; 4] = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"];
const DATABASE: &str = "bench";

/// Every statement of the clients, without its literals, and its summary.
const SUMMARIES: &[(&str, &str)] = &[
    ("BEGIN", "BEGIN"),
    ("END", "END"),
    ("COMMIT", "COMMIT"),
    (
        "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES ($1, $2, $3, $4, CURRENT_TIMESTAMP)",
        "INSERT pgbench_history",
    ),
    ("SELECT abalance FROM pgbench_accounts WHERE aid = $1", "SELECT pgbench_accounts"),
    ("UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2", "UPDATE pgbench_accounts"),
    ("UPDATE pgbench_branches SET bbalance = bbalance + $1 WHERE bid = $2", "UPDATE pgbench_branches"),
    ("UPDATE pgbench_tellers SET tbalance = tbalance + $1 WHERE tid = $2", "UPDATE pgbench_tellers"),
    ("select count(*) from pgbench_branches", "SELECT pgbench_branches"),
    (
        "select o.n, p.partstrat, pg_catalog.count(i.inhparent) from pg_catalog.pg_class as c join \
         pg_catalog.pg_namespace as n on (n.oid = c.relnamespace) cross join lateral (select \
         pg_catalog.array_position(pg_catalog.current_schemas($1), n.nspname)) as o(n) left join \
         pg_catalog.pg_partitioned_table as p on (p.partrelid = c.oid) left join pg_catalog.pg_inherits as i on \
         (c.oid = i.inhparent) where c.relname = $2 and o.n is not null group by 1, 2 order by 1 asc limit $3",
        "SELECT pg_catalog.pg_class pg_catalog.pg_namespace SELECT pg_catalog.pg_partitioned_table pg_catalog.pg_inherits",
    ),
    ("COPY pgbench_branches TO STDOUT", "COPY pgbench_branches"),
    ("CREATE TABLE items (id int PRIMARY KEY, name text)", "CREATE TABLE items"),
    ("INSERT INTO items VALUES ($1, $2)", "INSERT items"),
    ("SELECT name FROM items WHERE id = $1", "SELECT items"),
    ("SELECT id, repeat($1, $2) FROM items", "SELECT items"),
    ("SELECT count(*) FROM items", "SELECT items"),
    ("COPY items FROM STDIN", "COPY items"),
    ("COPY items TO STDOUT", "COPY items"),
    ("UPDATE items SET name = $1 WHERE id = $2", "UPDATE items"),
    ("DELETE FROM items WHERE id = $1", "DELETE items"),
    ("DECLARE \"some\" CURSOR FOR SELECT id FROM items ORDER BY id", "DECLARE SELECT items"),
    ("FETCH FORWARD 10 FROM \"some\"", "FETCH"),
    ("CLOSE \"some\"", "CLOSE"),
    ("DROP TABLE items", "DROP TABLE items"),
    ("SELECT count(*) FROM pgbench_branches", "SELECT pgbench_branches"),
    ("UPDATE pgbench_branches SET bbalance = $1 WHERE bid = $2", "UPDATE pgbench_branches"),
];

/// How often by summary, or by SQLSTATE.
type Counts = BTreeMap<String, u64>;

/// PostgreSQL in a cgroup, and clients in the same or another.
struct World {
    server: Process,
    /// The clients'.
    cgroup: Cgroup,
    port: u16,
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let cgroup = Cgroup::new();
        let server = cgroup.wrapper();
        World::served(cgroup, server)
    }

    /// The server runs where `wrapper` puts it.
    fn served(cgroup: Cgroup, wrapper: Vec<String>) -> World {
        let (dir, port) = (tempfile::tempdir().expect("a folder"), free_port());
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("open the folder");
        let data = dir.path().join("data");
        process::run(Command::new("install").args(["-d", "-o", "postgres", "-g", "postgres"]).arg(&data));
        let data = data.display().to_string();
        let version = fs::read_dir(VERSIONS).expect(VERSIONS).next().expect("a version").expect("its folder");
        let program = |name: &str| version.path().join("bin").join(name).display().to_string();
        let initdb = program("initdb");
        let words = [&initdb, "--auth=trust", "--no-sync", "--no-locale", "--encoding=UTF8", "-D", &data];
        process::run(Command::new(AS_OWNER[0]).args(&AS_OWNER[1..]).args(words));
        let (postgres, port_word) = (program("postgres"), port.to_string());
        let mut words = vec![&*postgres, "-D", &data, "-p", &port_word];
        let sockets = format!("unix_socket_directories={data}");
        for setting in [
            "listen_addresses=127.0.0.1",
            &sockets,
            "shared_preload_libraries=pg_stat_statements",
            "log_line_prefix=%e %d ",
            "log_statement=all",
            "fsync=off",
        ] {
            words.extend(["-c", setting]);
        }
        let command = [wrapper, [&AS_OWNER[..], &words].concat().into_iter().map(str::to_owned).collect()];
        let command = command.concat();
        let log = dir.path().join("postgresql.log");
        let server = Process::start(Command::new(&command[0]).args(&command[1..]), &log);
        let world = World { server, cgroup, port, dir };
        eventually("the server to answer", || {
            let answer = process::output(&mut world.owner("psql", &["-c", "SELECT 1", "postgres"]));
            answer.status.success().then_some(())
        });
        world.ask("CREATE EXTENSION pg_stat_statements");
        process::run(&mut world.owner("createdb", &[DATABASE]));
        process::run(&mut world.owner("pgbench", &["--initialize", "--quiet", DATABASE]));
        world.ask("SELECT pg_stat_statements_reset()");
        world
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("postgresql.log")
    }

    /// A client on the socket that is no network's.
    fn owner(&self, program: &str, words: &[&str]) -> Command {
        let mut owner = Command::new(program);
        owner.arg("-h").arg(self.dir.path().join("data"));
        owner.args(["-p", &self.port.to_string(), "-U", "postgres"]).args(words);
        owner
    }

    fn ask(&self, question: &str) -> String {
        let words = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "-c", question, "postgres"];
        process::run(&mut self.owner("psql", &words))
    }

    /// A program of PostgreSQL's in the cgroup, over TCP.
    fn client(&self, program: &str, words: &[&str]) -> Command {
        let port = self.port.to_string();
        let to = [program, "-h", "127.0.0.1", "-p", &port, "-U", "postgres"];
        self.cgroup.within(&[&to[..], words, &[DATABASE]].concat())
    }

    fn sidecar(&self) -> Sidecar {
        let path = self.cgroup.path().display().to_string();
        let room = ["--set", "capture.ring_bytes=33554432"];
        let sidecar = Sidecar::run(self.dir.path(), &[&["--cgroup", &path], &room[..]].concat(), &[]);
        sidecar.await_ready();
        sidecar
    }

    /// Statements that succeeded, by summary. `pg_stat_statements` counts DEALLOCATE never, and what has no plan only the
    /// first time that it is executed after it was prepared: of these the log tells.
    fn account(&self) -> Counts {
        let told = self.ask(&format!(
            "SELECT calls, regexp_replace(query, '\\s+', ' ', 'g') FROM pg_stat_statements \
             JOIN pg_database ON pg_database.oid = dbid WHERE datname = '{DATABASE}'"
        ));
        let mut account = Counts::new();
        for line in told.lines() {
            let (calls, statement) = line.split_once('|').expect("calls and a statement");
            let known = SUMMARIES.iter().find(|(text, _)| *text == statement);
            let (_, summary) = known.unwrap_or_else(|| panic!("what is {statement}?"));
            *account.entry((*summary).to_owned()).or_default() += calls.parse::<u64>().expect("a number");
        }
        let log = process::read(&self.log());
        let executed = log.lines().filter_map(|line| {
            let (_, executed) = line.split_once(&format!(" {DATABASE} LOG:  "))?;
            Some(executed.split_once(": ")?.1.trim_end_matches(';'))
        });
        let executed: Vec<_> = executed.collect();
        for (text, summary) in [("BEGIN", "BEGIN"), ("END", "END"), ("DEALLOCATE ALL", "DEALLOCATE")] {
            let n = executed.iter().filter(|executed| **executed == text).count() as u64;
            let counted = account.insert(summary.to_owned(), n).unwrap_or_default();
            assert!(counted <= n, "{text}: {counted} of {n}");
        }
        account.retain(|_, n| *n > 0);
        account
    }

    /// Statements that failed, by SQLSTATE.
    fn failures(&self) -> Counts {
        let mut failures = Counts::new();
        let log = process::read(&self.log());
        for line in log.lines().filter(|line| line.contains(&format!(" {DATABASE} ERROR: "))) {
            let (state, _) = line.split_once(' ').expect("a state");
            *failures.entry(state.to_owned()).or_default() += 1;
        }
        failures
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // It does not wait for its clients then.
        self.server.signal(Signal::INT);
    }
}

fn script() -> String {
    root().join("tests/support/postgresql_client.py").display().to_string()
}

/// What the daemon says of a role, where it saw the answer: what succeeded, by summary, and what failed, by status.
fn told(scrape: &Scrape, role: &str) -> [Counts; 2] {
    let mut told = [Counts::new(), Counts::new()];
    for (labels, n) in scrape.all(&format!("db_{role}_operation_duration_seconds_count")) {
        if labels.get("error_type").is_some_and(|error| error == "response_not_observed") {
            continue;
        }
        assert_eq!(labels["db_system_name"], "postgresql");
        let error = labels.get("error_type");
        assert_eq!(error, labels.get("db_response_status_code"));
        let (counts, by) = match error {
            Some(error) => (&mut told[1], error.clone()),
            None => (&mut told[0], labels.get("db_query_summary").cloned().unwrap_or_default()),
        };
        *counts.entry(by).or_default() += n as u64;
    }
    told
}

fn touch(file: &Path) {
    fs::write(file, "").expect("write");
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn every_statement_is_told_as_postgresql_counts_it() {
    let world = World::new();
    let sidecar = world.sidecar();
    for mode in ["simple", "extended", "prepared"] {
        let words = ["--no-vacuum", "--protocol", mode, "--client", "2", "--transactions", "100"];
        process::run(&mut world.client("pgbench", &words));
    }
    let words = ["--no-psqlrc", "-c", "COPY pgbench_branches TO STDOUT", "-c", "SELECT nothing FROM nowhere"];
    assert!(!process::output(&mut world.client("psql", &words)).status.success());
    process::run(&mut world.cgroup.within(&[&python(), &script(), "all", &world.port.to_string()]));
    let scrape = sidecar.scrape_at_rest();
    assert_eq!((scrape.drops(), scrape.bytes("lost")), (BTreeMap::new(), 0));
    assert_eq!(scrape.count("sidecar_capture_shed_bytes_total", &[]), 0);
    let (account, failures) = (world.account(), world.failures());
    assert!(account.values().sum::<u64>() > 4_000);
    assert_eq!(failures.keys().collect::<Vec<_>>(), ["22012", "23505", "42P01"]);
    for role in ["server", "client"] {
        assert_eq!(told(&scrape, role), [account.clone(), failures.clone()], "{role}");
    }
    assert_eq!(odd(&scrape, 0), Counts::new());
    assert_eq!(scrape.bytes("seen"), scrape.bytes("explained"));
    for name in ["db_server_operation_duration_seconds_count", "db_client_operation_duration_seconds_count"] {
        assert!(scrape.all(name).all(|(labels, _)| labels["db_namespace"] == DATABASE));
    }
}

/// What was prepared before the daemon came is counted when it is executed, and its text is not known.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_connection_that_was_there_before() {
    let world = World::new();
    let folder = world.dir.path();
    let (port, folder_word) = (world.port.to_string(), folder.display().to_string());
    let mut client = Process::start(
        &mut world.cgroup.within(&[&python(), &script(), "held", &port, &folder_word]),
        &folder.join("client.log"),
    );
    eventually("a prepared statement", || folder.join("prepared").exists().then_some(()));
    let sidecar = world.sidecar();
    world.ask("SELECT pg_stat_statements_reset()");
    touch(&folder.join("go"));
    assert!(client.wait().success(), "{}", process::read(&folder.join("client.log")));
    let scrape = sidecar.scrape_at_rest();
    let mut account = world.account();
    let prepared = account.remove("SELECT pgbench_accounts").expect("it was executed");
    account.insert(String::new(), prepared);
    for role in ["server", "client"] {
        assert_eq!(told(&scrape, role), [account.clone(), Counts::new()], "{role}");
    }
    assert_eq!(odd(&scrape, 0), Counts::from([("unresolved".to_owned(), 2 * prepared)]));
    assert_eq!((scrape.drops(), prepared), (BTreeMap::new(), 20));
}

/// The daemon sees one end of what is said, and says of it what the server counts.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn clients_whose_server_is_elsewhere() {
    let world = World::served(Cgroup::new(), Vec::new());
    let sidecar = world.sidecar();
    let words = ["--no-vacuum", "--protocol", "prepared", "--client", "2", "--transactions", "50"];
    process::run(&mut world.client("pgbench", &words));
    process::run(&mut world.cgroup.within(&[&python(), &script(), "all", &world.port.to_string()]));
    let scrape = sidecar.scrape_at_rest();
    let (account, failures) = (world.account(), world.failures());
    assert!(account.values().sum::<u64>() > 1_500);
    assert_eq!(told(&scrape, "client"), [account, failures]);
    assert_eq!(told(&scrape, "server"), [Counts::new(), Counts::new()]);
    assert_eq!((odd(&scrape, 0), scrape.drops()), (Counts::new(), BTreeMap::new()));
    assert_eq!(scrape.bytes("seen"), scrape.bytes("explained"));
}

/// Tables of each phase, and the one that only statements ask which were prepared before.
const TABLES: [&str; 4] = ["0", "1", "2", "kept"];

/// Statements that succeeded on tables of a phase, by summary; by none where they were prepared before. Of each execution the log
/// tells, also of what has no plan.
fn on_tables(world: &World, phase: &str) -> Counts {
    let told = world.ask("SELECT calls, query FROM pg_stat_statements");
    let mut account = Counts::new();
    for line in told.lines() {
        let (calls, statement) = line.split_once('|').expect("calls and a statement");
        let words: Vec<&str> = statement.split(' ').collect();
        let table = words.iter().copied().find(|word| word.starts_with(&format!("{phase}_")));
        let Some(table) = table.filter(|_| words[0] != "CREATE") else { continue };
        let summary = if table.ends_with("kept") { String::new() } else { format!("{} {table}", words[0]) };
        *account.entry(summary).or_default() += calls.parse::<u64>().expect("a number");
    }
    account
}

/// Statements in text, extended, pipelined and prepared, while daemons come and are killed, and one does not see all.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn begun_in_mid_load() {
    let world = World::new();
    for phase in ["before", "meanwhile", "between", FIRST, SECOND, THIRD] {
        for table in TABLES {
            let made = format!(
                "CREATE TABLE {phase}_{table} AS SELECT n AS id, 'name' AS name FROM generate_series(1, 5) n"
            );
            process::run(&mut world.owner("psql", &["--quiet", "-c", &made, DATABASE]));
        }
    }
    let (port, folder) = (world.port.to_string(), world.dir.path().display().to_string());
    let load = Load {
        cgroup: &world.cgroup,
        dir: world.dir.path(),
        client: vec![python(), script(), "phases".into(), port, folder],
        settings: &[],
        may_be_unresolved: false,
        account: &|phase| on_tables(&world, phase),
        told: &|sidecar, role, phase| {
            let [told, failed] = told(&sidecar.scrape(), role);
            assert_eq!(failed, Counts::new());
            let of_phase = |summary: &str| match summary {
                "" => phase != THIRD,
                _ => summary.contains(&format!(" {phase}_")),
            };
            told.into_iter().filter(|(summary, _)| of_phase(summary)).collect()
        },
    };
    let mut running = load.start();
    let by_second = running.observe();
    let prepared = on_tables(&world, SECOND)[""];
    // And what was on its way.
    let in_flight = 2 * (3 + 10);
    let odd = odd(&by_second, in_flight);
    assert!(odd.keys().eq(["unresolved"]), "{odd:?}");
    assert!((2 * prepared..=2 * prepared + in_flight).contains(&odd["unresolved"]), "{odd:?} {prepared}");
    running.hide();
}
