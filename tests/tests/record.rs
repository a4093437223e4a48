//! `sidecar record`, of what real programs say, against their own accounts and another program that reads captures.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sidecar_tests::{
    binary, cgroup::Cgroup, dnsmasq, eventually, free_port, nginx::Nginx, process, process::Process,
    sidecar::Sidecar,
};

/// In every field that is not exported. As base64 in three ways, and in what curl makes of a password.
const CANARY: &str = "c4n4ryS3cret";
const BASE64: [&str; 3] = ["YzRuNHJ5UzNjcmV0", "M0bjRyeVMzY3JldA", "jNG40cnlTM2NyZXQ"];

struct World {
    dir: tempfile::TempDir,
    cgroup: Cgroup,
    sidecar: Sidecar,
}

/// A recording that goes on.
struct Recording {
    child: Child,
    file: PathBuf,
    err: PathBuf,
}

impl World {
    fn new() -> World {
        let (dir, cgroup) = (tempfile::tempdir().expect("a folder"), Cgroup::new());
        let path = cgroup.path().display().to_string();
        let sidecar = Sidecar::run(dir.path(), &["--cgroup", &path], &[]);
        sidecar.await_ready();
        World { dir, cgroup, sidecar }
    }

    /// Starts a server in the cgroup.
    fn serve(&self, words: &[String], log: &str) -> Process {
        let command = [self.cgroup.wrapper(), words.to_vec()].concat();
        Process::start(Command::new(&command[0]).args(&command[1..]), &self.dir.path().join(log))
    }

    fn nginx(&self) -> (Nginx, Process) {
        let nginx = Nginx::prepare(self.dir.path(), "127.0.0.1", free_port(), "");
        let process = self.serve(&nginx.command(), "nginx.out");
        nginx.await_listening();
        (nginx, process)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(["record", "--admin", &format!("127.0.0.1:{}", self.sidecar.admin_port)]).args(args);
        command
    }

    /// Returns once it goes on.
    fn record(&self, name: &str, args: &[&str]) -> Recording {
        let path = |kind: &str| self.dir.path().join(format!("{name}.{kind}"));
        let (file, err) = (path("pcapng"), path("err"));
        let mut command = self.command(&["-o", &file.display().to_string()]);
        let stderr = File::create(&err).expect("a file");
        let child = command.args(args).stderr(stderr).spawn().expect("sidecar record");
        eventually("the file to begin", || {
            fs::metadata(&file).is_ok_and(|file| file.len() > 0).then_some(())
        });
        Recording { child, file, err }
    }
}

impl Recording {
    /// Waits until there are so many exchanges in it, and ends it as from a terminal.
    fn end(&mut self, n: usize) -> Vec<Value> {
        eventually("all exchanges", || (replayed(&self.file).len() >= n).then_some(()));
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("a signal");
        assert!(self.child.wait().expect("its end").success());
        let said = process::read(&self.err);
        let n_packets = said
            .strip_prefix("sidecar: ")
            .and_then(|said| said.strip_suffix(" packets recorded; left out: none\n"));
        let n_packets: u64 = n_packets.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{said}"));
        accepted(&self.file, n_packets);
        replayed(&self.file)
    }
}

/// Another program reads it, and finds nothing wrong in it.
fn accepted(file: &Path, n_packets: u64) {
    let file = file.display().to_string();
    let counted = process::run(Command::new("capinfos").args(["-Mc", &file]));
    assert_eq!(counted.split_whitespace().last(), Some(&*n_packets.to_string()), "{counted}");
    // Of records whose data are hidden it wants to know more than that.
    let bad = "(_ws.malformed and not dns) or tcp.analysis.flags";
    let found = process::run(Command::new("tshark").args(["-n", "-r", &file, "-Y", bad]));
    assert_eq!(found, "", "{file}");
}

fn replayed(file: &Path) -> Vec<Value> {
    let told = process::run(Command::new(binary()).arg("replay").arg(file));
    told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn without_canaries(file: &Path) {
    let bytes = fs::read(file).expect("the recording");
    for canary in [&[CANARY][..], &BASE64].concat() {
        let at = bytes.windows(canary.len()).position(|window| window == canary.as_bytes());
        assert_eq!(at, None, "{canary} in {}", file.display());
    }
}

/// How many there are of each, by these keys.
fn counted(exchanges: &[Value], keys: [&str; 2]) -> BTreeMap<[String; 2], u64> {
    let mut counts = BTreeMap::new();
    for line in exchanges {
        let text = |key: &str| line[key].as_str().unwrap_or("-").to_owned();
        *counts.entry(keys.map(text)).or_default() += 1;
    }
    counts
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn requests_are_told_as_the_server_logs_them_and_nothing_else_is() {
    let world = World::new();
    let (nginx, _process) = world.nginx();
    let mut recording = world.record("http", &["--protocol", "http", "--role", "server"]);
    let before = nginx.answered();
    let secret = |what: &str| format!("{what}{CANARY}");
    let url = |path: &str| format!("{}?token={CANARY}", nginx.url(path));
    let (cookie, header, user) = (secret("a="), secret("X-Key: "), secret("me:"));
    let common = ["-s", "-o", "/dev/null", "-b", &cookie, "-H", &header, "-u", &user];
    for (more, paths) in [
        (&[][..], &["100.bin", "1000.bin", "nowhere", "status/503"][..]),
        (&["-d", CANARY], &["100.bin"]),
        (&["-d", CANARY, "-H", "Transfer-Encoding: chunked"], &["status/500"]),
        (&["-I"], &["100.bin", "1000.bin"]),
        (&["-H", "Accept: a", "-A", CANARY, "-e", CANARY], &["100000.bin"]),
    ] {
        let urls: Vec<_> = paths.iter().map(|path| url(path)).collect();
        let urls = urls.iter().flat_map(|url| ["-o", "/dev/null", url]);
        process::run(Command::new("curl").args(common).args(more).args(urls));
    }
    let mut answered = nginx.answered();
    for (kind, n) in before {
        *answered.entry(kind).or_default() -= n;
    }
    answered.retain(|_, n| *n > 0);
    let n = answered.values().sum::<u64>();
    assert_eq!(n, 9);
    let exchanges = recording.end(n as usize);
    let told: BTreeMap<_, _> = counted(&exchanges, ["operation", "status"])
        .into_iter()
        .map(|([operation, status], n)| {
            ((operation.split(' ').next().unwrap_or_default().to_owned(), status), n)
        })
        .fold(BTreeMap::new(), |mut counts, (kind, n)| {
            *counts.entry(kind).or_default() += n;
            counts
        });
    assert_eq!(told, answered);
    assert_eq!(exchanges[0]["attributes"]["url.path"], "/100.bin");
    assert_eq!(exchanges[0]["response.bytes"], 100);
    without_canaries(&recording.file);
    // As a recording of the recording.
    let again = world.dir.path().join("again.pcapng");
    let mut command = Command::new(binary());
    let output =
        process::output(command.arg("record").arg("--from").arg(&recording.file).arg("-o").arg(&again));
    assert!(output.status.success());
    assert_eq!(replayed(&again), exchanges);
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn commands_and_lookups_without_keys_values_and_answers() {
    let world = World::new();
    let port = free_port();
    let words = ["redis-server", "--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""];
    let _redis = world.serve(&words.map(str::to_owned), "redis.log");
    eventually("the server to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
    let txt = format!("--txt-record=name.test,{CANARY}");
    let known = ["--address=/name.test/10.9.8.7".to_owned(), txt];
    let log = world.dir.path().join("dnsmasq.log");
    let _dnsmasq =
        dnsmasq::start_by(&world.cgroup.wrapper(), "127.0.0.1", &known, &log, ["name.test", "10.9.8.7"]);

    let mut recording = world.record("redis", &["--port", &port.to_string()]);
    let key = format!("key:{CANARY}");
    let script = format!("return '{CANARY}'");
    for (words, _) in [
        (&["SET", &key, CANARY][..], ()),
        (&["GET", &key], ()),
        (&["INCR", &key], ()),
        (&["AUTH", CANARY], ()),
        (&["AUTH", "me", CANARY], ()),
        (&["HSET", &key, CANARY, CANARY], ()),
        (&["EVAL", &script, "0"], ()),
        (&["CONFIG", "SET", "requirepass", CANARY], ()),
        (&["-a", CANARY, "--no-auth-warning", "-3", "LRANGE", &key, "0", "1"], ()),
        (&[CANARY, CANARY], ()),
    ] {
        let mut command = Command::new("redis-cli");
        process::output(command.args(["-p", &port.to_string()]).args(words));
    }
    let exchanges = recording.end(10);
    let told = counted(&exchanges, ["operation", "error.type"]);
    let mut command = Command::new("redis-cli");
    let words = ["-p", &port.to_string(), "-a", CANARY, "--no-auth-warning", "info", "commandstats"];
    let stats = process::run(command.args(words));
    for (name, operation) in
        [("set", "SET"), ("get", "GET"), ("incr", "INCR"), ("hset", "HSET"), ("eval", "EVAL")]
    {
        let line = stats.lines().find(|line| line.starts_with(&format!("cmdstat_{name}:")));
        let calls = line.and_then(|line| line.split_once("calls=")?.1.split(',').next()?.parse::<u64>().ok());
        let n: u64 = told.iter().filter(|([told, _], _)| told == operation).map(|(_, n)| n).sum();
        assert_eq!(calls, Some(n), "{operation}: {told:?}\n{stats}");
    }
    without_canaries(&recording.file);

    let mut recording = world.record("dns", &["--protocol", "dns", "--role", "server"]);
    let before = asked(&log);
    let mut expected = BTreeMap::new();
    for record_type in ["A", "TXT", "AAAA"] {
        for way in ["+notcp", "+tcp"] {
            let said = process::run(Command::new("dig").args([way, "@127.0.0.1", "name.test", record_type]));
            let status = said.split_once("status: ").and_then(|(_, rest)| rest.split(',').next());
            let answered = [record_type, status.unwrap_or_else(|| panic!("no status: {said}"))];
            *expected.entry(answered.map(str::to_owned)).or_default() += 1;
        }
    }
    let exchanges = recording.end(6);
    let told = counted(&exchanges, ["operation", "status"]);
    assert_eq!(asked(&log) - before, 6);
    assert_eq!(told, expected);
    assert!(exchanges.iter().all(|line| line["attributes"]["dns.question.name"] == "name.test"));
    without_canaries(&recording.file);
}

/// Questions that dnsmasq logged.
fn asked(log: &Path) -> usize {
    process::read(log).lines().filter(|line| line.contains(" query[")).count()
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn one_at_a_time_with_an_end() {
    let world = World::new();
    let (nginx, _process) = world.nginx();
    let mut first = world.record("first", &[]);
    let refused = process::output(&mut world.command(&["-o", "/dev/null"]));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!((refused.status.code(), &*said), (Some(2), "sidecar: somebody records already\n"));
    process::run(Command::new("curl").args(["-s", "-o", "/dev/null", &nginx.url("100.bin")]));
    // Both ends are in no cgroup but the server's.
    assert_eq!(first.end(1).len(), 1);
    for (args, why) in [
        (&["--port", "0"][..], "sidecar: port: `0` is no number from 1 to 65535\n"),
        (&["--role", "x"], "sidecar: role: `x` is neither client nor server\n"),
        (&["--for", "1"], "sidecar: `1` is no length of time: write 10ms, 1.5s or 2m\n"),
        (&["--not", "path=/"], "sidecar: `path` is no condition: there are protocol, role, peer, port\n"),
    ] {
        let refused = process::output(world.command(&["-o", "/dev/null"]).args(args));
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!((refused.status.code(), &*said), (Some(2), why));
    }
    // What is left out is counted, and what is there is whole.
    let mut full = world.record("full", &["--max-bytes", "2000"]);
    let mut load = sidecar_tests::load::Load::new(world.dir.path(), &[]);
    load.h2load(("GET", 200), 20, "-c 1 -t 1", 0, &nginx.url("100.bin"));
    assert!(full.child.wait().expect("its end").success());
    let said = process::read(&full.err);
    assert!(said.contains("packets recorded; left out: ") && said.ends_with(" full\n"), "{said}");
    assert!(fs::metadata(&full.file).expect("the recording").len() <= 2000 + 200);
    assert!(!replayed(&full.file).is_empty());
    let left_out =
        world.sidecar.scrape().count("sidecar_record_left_out_total", &[("sidecar_reason", "full")]);
    assert!(left_out > 0);
}
