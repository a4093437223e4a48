//! MariaDB, against its own account: the digests of `performance_schema` for texts, its events for commands.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port,
    phases::{FIRST, Load, SECOND, THIRD, odd},
    process::{self, Process},
    python, root,
    scrape::Scrape,
    sidecar::Sidecar,
};

/// Every text of the clients, without its literals, and its summary.
const SUMMARIES: &[(&str, &str)] = &[
    ("SET NAMES `utf8mb4`", "SET"),
    ("SET NAMES ? COLLATE ?", "SET"),
    ("SET @@SESSION . `autocommit` = ON", "SET"),
    ("CREATE TABLE `items` ( ID INTEGER PRIMARY KEY , NAME LONGTEXT )", "CREATE TABLE items"),
    ("INSERT INTO `items` VALUES (...)", "INSERT items"),
    ("INSERT INTO `items` VALUES (...) /* , ... */", "INSERT items"),
    ("LOAD DATA LOCAL INFILE ? INTO TABLE `items`", "LOAD DATA items"),
    ("SELECT NAME FROM `items` WHERE ID = ?", "SELECT items"),
    ("SELECT ID , NAME FROM `items`", "SELECT items"),
    ("SELECT ID FROM `nowhere`", "SELECT nowhere"),
    ("BEGIN", "BEGIN"),
    ("UPDATE `items` SET NAME = ? WHERE ID < ?", "UPDATE items"),
    ("ROLLBACK", "ROLLBACK"),
    (
        "CREATE PROCEDURE `twice` ( ) BEGIN SELECT ID FROM `items` WHERE ID < ? ; SELECT ? ; END",
        "CREATE PROCEDURE twice",
    ),
    ("DROP PROCEDURE `twice`", "DROP PROCEDURE twice"),
    ("CREATE TABLE `things` ( ID INTEGER PRIMARY KEY , NAME TEXT )", "CREATE TABLE things"),
    ("INSERT INTO `things` SELECT ID , NAME FROM `items` WHERE ID < ?", "INSERT things SELECT items"),
    ("SELECT COUNT ( * ) FROM `items`", "SELECT items"),
    ("DROP TABLE `items` , `things`", "DROP TABLE items things"),
    ("SHOW TABLES", "SHOW"),
    ("SELECT ?", "SELECT"),
    ("SELECT `nothing`", "SELECT"),
];

/// What is executed by its number, and on nothing of which there is a text.
const PREPARED: [&str; 3] = ["SELECT things", "UPDATE things", "INSERT things"];

/// Commands that are answered, by the names of their events, and what they are called.
const COMMANDS: &[(&str, &str)] = &[
    ("statement/com/Execute", "EXECUTE"),
    ("statement/com/Prepare", "PREPARE"),
    ("statement/com/Reset stmt", "STMT_RESET"),
    ("statement/com/Ping", "PING"),
    ("statement/com/Init DB", "INIT_DB"),
    // What cannot be parsed has no digest.
    ("statement/sql/error", ""),
];

/// How often by summary, or by error's number.
type Counts = BTreeMap<String, u64>;

/// MariaDB in a cgroup, and clients in the same.
struct World {
    _server: Process,
    cgroup: Cgroup,
    port: u16,
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let (dir, cgroup, port) = (tempfile::tempdir().expect("a folder"), Cgroup::new(), free_port());
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("open the folder");
        let data = dir.path().join("data");
        process::run(Command::new("install").args(["-d", "-o", "mysql", "-g", "mysql"]).arg(&data));
        let data = format!("--datadir={}", data.display());
        let common = ["--no-defaults", "--user=mysql", &data, "--innodb-flush-method=nosync"];
        process::run(Command::new("mariadb-install-db").args(common).arg("--skip-test-db"));
        let (port_word, socket) =
            (format!("--port={port}"), format!("--socket={}", socket(dir.path()).display()));
        let own = [&port_word, &socket, "--bind-address=127.0.0.1", "--performance-schema=ON"];
        let words =
            [&["mariadbd"], &common[..], &own, &["--skip-name-resolve", "--local-infile=ON"]].concat();
        let command = [cgroup.wrapper(), words.into_iter().map(str::to_owned).collect()].concat();
        let log = dir.path().join("mariadb.log");
        let server = Process::start(Command::new(&command[0]).args(&command[1..]), &log);
        let world = World { _server: server, cgroup, port, dir };
        eventually("the server to answer", || {
            process::output(&mut world.owner("SELECT 1")).status.success().then_some(())
        });
        world.ask("CREATE DATABASE bench");
        world.ask("CREATE USER app@'127.0.0.1' IDENTIFIED BY 'secret'");
        world.ask("GRANT ALL ON *.* TO app@'127.0.0.1'");
        world
    }

    /// A client on the socket that is no network's.
    fn owner(&self, question: &str) -> Command {
        let mut owner = Command::new("mariadb");
        owner.args(["--no-defaults", "--user=root", "--batch", "--skip-column-names", "-S"]);
        owner.arg(socket(self.dir.path())).args(["-e", question]);
        owner
    }

    fn ask(&self, question: &str) -> String {
        process::run(&mut self.owner(question))
    }

    fn sidecar(&self) -> Sidecar {
        let path = self.cgroup.path().display().to_string();
        let args = ["--cgroup", &path, "--set", "capture.ring_bytes=33554432"];
        let sidecar = Sidecar::run(self.dir.path(), &args, &[]);
        sidecar.await_ready();
        sidecar
    }

    /// The account begins anew.
    fn reset(&self) {
        for table in ["by_digest", "by_account_by_event_name"] {
            self.ask(&format!("TRUNCATE performance_schema.events_statements_summary_{table}"));
        }
    }

    /// Texts by summary, and commands by name.
    fn account(&self) -> Counts {
        let digests = self.ask(
            "SELECT count_star, digest_text FROM performance_schema.events_statements_summary_by_digest \
             WHERE schema_name = 'bench'",
        );
        let mut account = Counts::new();
        for line in digests.lines() {
            let (n, text) = line.split_once('\t').expect("a count and a text");
            let known = SUMMARIES.iter().find(|(known, _)| *known == text.trim_end());
            let (_, summary) = known.unwrap_or_else(|| panic!("what is {text}?"));
            *account.entry((*summary).to_owned()).or_default() += n.parse::<u64>().expect("a number");
        }
        for line in self.events().lines() {
            let [event, n, _] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("three columns: {line}")
            };
            if let Some((_, name)) = COMMANDS.iter().find(|(name, _)| *name == event) {
                account.insert((*name).to_owned(), n.parse().expect("a number"));
            }
        }
        account
    }

    /// Events, how often, and how many of them failed.
    fn events(&self) -> String {
        self.ask(
            "SELECT event_name, count_star, sum_errors FROM \
             performance_schema.events_statements_summary_by_account_by_event_name \
             WHERE user = 'app' AND count_star > 0",
        )
    }

    /// How many failed.
    fn failed(&self) -> u64 {
        let events = self.events();
        let failed = events.lines().map(|line| line.rsplit('\t').next().expect("a column"));
        failed.map(|n| n.parse::<u64>().expect("a number")).sum()
    }
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("data/socket")
}

fn script() -> String {
    root().join("tests/support/mysql_client.py").display().to_string()
}

/// What the daemon says of a role, where it saw the answer: all of it by summary, and what failed by the error's number.
fn told(scrape: &Scrape, role: &str) -> [Counts; 2] {
    let mut told = [Counts::new(), Counts::new()];
    for (labels, n) in scrape.all(&format!("db_{role}_operation_duration_seconds_count")) {
        if labels.get("error_type").is_some_and(|error| error == "response_not_observed") {
            continue;
        }
        let error = labels.get("error_type");
        assert_eq!(error, labels.get("db_response_status_code"));
        let summary = labels.get("db_query_summary").cloned().unwrap_or_default();
        *told[0].entry(summary).or_default() += n as u64;
        if let Some(error) = error {
            *told[1].entry(error.clone()).or_default() += n as u64;
        }
    }
    told
}

/// Takes out those that are so, and says how many they were together.
fn take(counts: &mut Counts, is: impl Fn(&str) -> bool) -> u64 {
    let taken = counts.iter().filter(|(summary, _)| is(summary)).map(|(_, n)| n).sum();
    counts.retain(|summary, _| !is(summary));
    taken
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn every_statement_is_told_as_mariadb_counts_it() {
    let world = World::new();
    let sidecar = world.sidecar();
    let port = world.port.to_string();
    let mut refused = process::run(&mut world.cgroup.within(&[&python(), &script(), "all", &port]));
    let client =
        ["mariadb", "--no-defaults", "-h", "127.0.0.1", "-P", &port, "--user=app", "--password=secret"];
    let texts = ["--batch", "-e", "SHOW TABLES; SELECT 1; SELECT nothing", "bench"];
    let failed = process::output(&mut world.cgroup.within(&[&client[..], &texts].concat()));
    let said = String::from_utf8_lossy(&failed.stderr);
    let number = said.split("ERROR ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a number");
    refused.push_str(number);
    let mut errors = Counts::new();
    for number in refused.lines() {
        *errors.entry(number.to_owned()).or_default() += 1;
    }
    let scrape = sidecar.scrape_at_rest();
    assert_eq!((scrape.drops(), scrape.bytes("lost")), (BTreeMap::new(), 0));
    assert_eq!(scrape.count("sidecar_capture_shed_bytes_total", &[]), 0);
    let account = world.account();
    assert_eq!(errors.values().sum::<u64>(), world.failed());
    assert!(account["EXECUTE"] > 150 && account.values().sum::<u64>() > 600);
    for role in ["server", "client"] {
        let [mut all, failed] = told(&scrape, role);
        assert_eq!(PREPARED.map(|summary| all.get(summary).copied()), [Some(100), Some(50), Some(1)]);
        let executed = take(&mut all, |summary| PREPARED.contains(&summary));
        let prepared = take(&mut all, |summary| summary.starts_with("PREPARE "));
        all.extend([("EXECUTE".to_owned(), executed), ("PREPARE".to_owned(), prepared)]);
        assert_eq!((all, failed), (account.clone(), errors.clone()), "{role}");
    }
    assert_eq!(odd(&scrape, 0), Counts::new());
    assert_eq!(scrape.bytes("seen"), scrape.bytes("explained"));
    for name in ["db_server_operation_duration_seconds_count", "db_client_operation_duration_seconds_count"] {
        let is_known = scrape
            .all(name)
            .all(|(labels, _)| labels["db_system_name"] == "mariadb" && labels["db_namespace"] == "bench");
        assert!(is_known, "{name}");
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
    world.reset();
    fs::write(folder.join("go"), "").expect("write");
    assert!(client.wait().success(), "{}", process::read(&folder.join("client.log")));
    let scrape = sidecar.scrape_at_rest();
    let mut account = world.account();
    let executed = account.remove("EXECUTE").expect("it was executed");
    *account.entry(String::new()).or_default() += executed;
    let failed = Counts::from([("1064".to_owned(), world.failed())]);
    for role in ["server", "client"] {
        assert_eq!(told(&scrape, role), [account.clone(), failed.clone()], "{role}");
        // Until the server says which it is, it may be MySQL's.
        let named = |system: &str| {
            let name = format!("db_{role}_operation_duration_seconds_count");
            scrape.count(&name, &[("db_system_name", system)])
        };
        let all = account.values().sum::<u64>();
        assert_eq!([named("other_sql"), named("mariadb")], [all - 11, 11], "{role}");
    }
    assert_eq!(odd(&scrape, 0), Counts::from([("unresolved".to_owned(), 2 * executed)]));
    assert_eq!((scrape.drops(), executed), (BTreeMap::new(), 20));
}

/// Statements of a phase: texts by summary, and of what was prepared as many as there are rows, by no summary where that was
/// before any daemon.
fn on_tables(world: &World, phase: &str) -> Counts {
    let mut account = Counts::new();
    let told = world.ask(
        "SELECT count_star, digest_text FROM performance_schema.events_statements_summary_by_digest \
         WHERE schema_name = 'bench'",
    );
    for line in told.lines() {
        let (n, text) = line.split_once('\t').expect("a count and a text");
        let mut words = text.split([' ', '`']).filter(|word| !word.is_empty());
        let verb = words.next().expect("a verb").to_owned();
        let table = words.find(|word| word.starts_with(&format!("{phase}_")));
        if let Some(table) = table.filter(|table| !["made", "kept"].iter().any(|own| table.ends_with(own))) {
            *account.entry(format!("{verb} {table}")).or_default() += n.parse::<u64>().expect("a number");
        }
    }
    let rows = |table: &str| -> u64 {
        let n = world.ask(&format!("SELECT count(*) FROM bench.{phase}_{table}"));
        n.trim().parse().expect("a number")
    };
    account.insert(format!("INSERT {phase}_made"), rows("made"));
    account.insert(String::new(), rows("kept"));
    account.retain(|_, n| *n > 0);
    account
}

/// Statements in text and prepared, while daemons come and are killed, and one does not see all.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn begun_in_mid_load() {
    let world = World::new();
    let mut make = String::from("USE bench; ");
    for phase in ["before", "meanwhile", "between", FIRST, SECOND, THIRD] {
        for table in ["0", "1", "2"] {
            make += &format!("CREATE TABLE {phase}_{table} AS SELECT seq AS id FROM seq_1_to_5; ");
        }
        make += &format!("CREATE TABLE {phase}_made (id INT); CREATE TABLE {phase}_kept (id INT); ");
    }
    world.ask(&make);
    world.reset();
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
                _ => summary.contains(&format!(" {phase}_")) && !summary.starts_with("PREPARE"),
            };
            told.into_iter().filter(|(summary, _)| of_phase(summary)).collect()
        },
    };
    let mut running = load.start();
    let by_second = running.observe();
    let prepared = on_tables(&world, SECOND)[""];
    assert_eq!(odd(&by_second, 2 * 7), Counts::from([("unresolved".to_owned(), 2 * prepared)]));
    running.hide();
}
