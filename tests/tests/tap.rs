//! `sidecar tap`, against what the server's own log says.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sidecar_tests::{binary, eventually, free_port, load::Load, nginx::Nginx, process, sidecar::Sidecar};

struct World {
    dir: tempfile::TempDir,
    nginx: Nginx,
    sidecar: Sidecar,
}

/// A reader that is told of what comes.
struct Tap {
    child: Child,
    out: std::path::PathBuf,
    err: std::path::PathBuf,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().expect("a folder");
        let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
        let command = nginx.command();
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let sidecar = Sidecar::run(dir.path(), &[], &command);
        nginx.await_listening();
        World { dir, nginx, sidecar }
    }

    fn admin(&self) -> String {
        format!("127.0.0.1:{}", self.sidecar.admin_port)
    }

    fn curl(&self, paths: &[&str]) {
        let urls = paths.iter().map(|path| self.nginx.url(path));
        let args = urls.flat_map(|url| ["-o".to_owned(), "/dev/null".to_owned(), url]);
        process::run(Command::new("curl").arg("-s").args(args));
    }

    /// Returns once it is told of requests for `/0.bin`, beside what it asks for.
    fn tap(&self, name: &str, args: &[&str]) -> Tap {
        let path = |kind: &str| self.dir.path().join(format!("{name}.{kind}"));
        let (out, err) = (path("out"), path("err"));
        let file = |path: &Path| File::create(path).expect("a file");
        let mut command = Command::new(binary());
        command.args(["tap", "--admin", &self.admin(), "--path", "/0.bin"]).args(args);
        let child = command.stdout(file(&out)).stderr(file(&err)).spawn().expect("sidecar tap");
        let tap = Tap { child, out, err };
        eventually("a line", || {
            self.curl(&["0.bin"]);
            (!process::read(&tap.out).is_empty()).then_some(())
        });
        tap
    }
}

impl Tap {
    /// Those that were not asked for to see that it is told of anything.
    fn lines(&self) -> Vec<String> {
        process::read(&self.out).lines().filter(|line| !line.contains("/0.bin")).map(str::to_owned).collect()
    }

    /// Ended from the terminal: the status, and what was said on standard error.
    fn end(&mut self) -> (Option<i32>, String) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::INT).expect("a signal");
        (self.child.wait().expect("its end").code(), process::read(&self.err))
    }
}

/// The last number before a word.
fn number(text: &str, word: &str) -> u64 {
    let before = text.split(word).next().expect("a text");
    let digits: String =
        before.chars().rev().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits
        .chars()
        .rev()
        .collect::<String>()
        .parse()
        .unwrap_or_else(|_| panic!("no number before `{word}` in {text}"))
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn each_request_is_a_line() {
    let world = World::new();
    let mut all = world.tap("all", &["-o", "ndjson", "--path", "/*", "--role", "server"]);
    let mut failed = world
        .tap("failed", &["--path", "/*", "--status", "5xx", "--status", "200", "--not", "path=/100.bin"]);
    let begin = world.nginx.answered().values().sum::<u64>();
    world.curl(&["100.bin", "1000.bin", "status/503", "nowhere", "status/500", "%1b%5b2J%c2%9b"]);
    eventually("six lines", || (all.lines().len() >= 6).then_some(()));
    assert_eq!(world.nginx.answered().values().sum::<u64>() - begin, 6);
    let told: Vec<Value> = all.lines().iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let shown: Vec<_> = told
        .iter()
        .map(|line| {
            let text = |value: &Value| value.as_str().map(str::to_owned).unwrap_or_default();
            (text(&line["status"]), text(&line["attributes"]["url.path"]), line["response.bytes"].as_u64())
        })
        .collect();
    let row = |status: &str, path: &str, bytes| (status.to_owned(), path.to_owned(), bytes);
    assert_eq!(shown[..2], [row("200", "/100.bin", Some(100)), row("200", "/1000.bin", Some(1000))]);
    let statuses: Vec<_> = shown.iter().map(|(status, ..)| status.as_str()).collect();
    assert_eq!(statuses, ["200", "200", "503", "404", "500", "404"]);
    assert_eq!(told[0]["server.port"], world.nginx.port);

    eventually("three lines", || (failed.lines().len() >= 3).then_some(()));
    let paths: Vec<_> = failed
        .lines()
        .iter()
        .filter_map(|line| line.split(' ').find_map(|word| word.strip_prefix("url.path=")).map(str::to_owned))
        .collect();
    assert_eq!(paths, ["/1000.bin", "/status/503", "/status/500"]);
    for tap in [&mut all, &mut failed] {
        assert_eq!(tap.end(), (Some(0), String::new()));
    }
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn what_is_beyond_the_rate_is_counted() {
    let world = World::new();
    let mut tap = world.tap("rate", &["--path", "/100.bin", "--rate", "5"]);
    let mut load = Load::new(world.dir.path(), &[]);
    load.h2load(("GET", 200), 200, "-c 1 -t 1", 100, &world.nginx.url("100.bin"));
    let count = |scrape: sidecar_tests::scrape::Scrape| {
        scrape.count("sidecar_tap_left_out_total", &[("sidecar_reason", "rate")])
    };
    let left_out = eventually("all of it to be told or counted", || {
        let left_out = count(world.sidecar.scrape());
        (left_out + tap.lines().len() as u64 >= 200).then_some(left_out)
    });
    assert!(left_out > 0 && left_out + tap.lines().len() as u64 == 200);
    // It is said within a second, and again when it is ended; what was asked for to see it may be left out, too.
    eventually("the note", || {
        let before = count(world.sidecar.scrape());
        world.curl(&["0.bin"]);
        (process::read(&tap.out).lines().count() > tap.lines().len() + 10 && before >= left_out).then_some(())
    });
    let (status, said) = tap.end();
    assert_eq!(status, Some(0), "{said}");
    assert!(number(&said, " beyond 5 a second") >= left_out, "{said}");

    let admin = world.admin();
    let ask =
        |args: &[&str]| process::output(Command::new(binary()).args(["tap", "--admin", &admin]).args(args));
    let nothing = ask(&["--for", "100ms", "--path", "/nowhere"]);
    assert_eq!((nothing.status.code(), nothing.stdout, nothing.stderr), (Some(0), Vec::new(), Vec::new()));
    let wrong = ask(&["--role", "both"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("neither client nor server"));
}

/// It loses lines, is told how many, and nothing else is lost.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_reader_that_does_not_read() {
    let world = World::new();
    // More than the sockets hold on its way.
    let mut stream = TcpStream::connect(world.admin()).expect("the admin listener");
    let ask = "GET /tap?rate=100000&path=/1000.bin&count=100000 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(ask.as_bytes()).expect("asked");
    // The answer's head is there before anything is told.
    let mut head = [0; 1];
    stream.read_exact(&mut head).expect("an answer");
    let mut load = Load::new(world.dir.path(), &[]);
    load.h2load(("GET", 200), 10_000, "-c 1 -t 1 --rps 2000", 1000, &world.nginx.url("1000.bin"));
    let scrape = world.sidecar.scrape_at_rest();
    assert_eq!(scrape.requests("server"), world.nginx.answered());
    let slow = scrape.count("sidecar_tap_left_out_total", &[("sidecar_reason", "slow")]);
    assert!(slow > 0);
    // What it was told, and how much it was not: all there were.
    let (mut seen, mut buffer) = (Vec::new(), vec![0; 1 << 20]);
    stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).expect("a bound");
    let note = format!("\"slow\":{slow}");
    loop {
        let text = String::from_utf8_lossy(&seen);
        let told = text.matches("\"protocol\":\"http\"").count() as u64;
        if told + slow == 10_000 && text.contains(&note) {
            break;
        }
        assert!(told + slow <= 10_000, "{told} lines, and {slow} left out");
        drop(text);
        let n = stream.read(&mut buffer).expect("more lines, or the note of what was left out");
        seen.extend_from_slice(&buffer[..n]);
    }
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn there_are_four_places() {
    let world = World::new();
    let admin = world.admin();
    let mut readers: Vec<Tap> = (0..4).map(|n| world.tap(&format!("reader-{n}"), &[])).collect();
    let another = || process::output(Command::new(binary()).args(["tap", "--admin", &admin, "--for", "1ms"]));
    let refused = another();
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{why}");
    assert!(why.contains("4 read already"), "{why}");
    assert_eq!(readers.remove(0).end().0, Some(0));
    eventually("a place", || (another().status.code() == Some(0)).then_some(()));
    // Enough is enough.
    let out = world.dir.path().join("counted");
    let mut counted = Command::new(binary());
    counted.args(["tap", "--admin", &admin, "-n", "2"]).stdout(File::create(&out).expect("a file"));
    let mut counted = counted.spawn().expect("a reader");
    let ended = eventually("two lines", || {
        world.curl(&["0.bin"]);
        counted.try_wait().expect("its state")
    });
    assert_eq!((ended.code(), process::read(&out).lines().count()), (Some(0), 2));
    readers.iter_mut().for_each(|reader| assert_eq!(reader.end().0, Some(0)));
}
