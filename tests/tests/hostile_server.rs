//! A server that means harm to its clients, and to who reads along: each request counts once, series are bounded, and what
//! other servers answer is counted exactly.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    slice,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::net::sockopt::set_socket_linger;
use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port,
    load::Load,
    nginx::Nginx,
    process::{self, Process},
    scrape::Scrape,
    sidecar::Sidecar,
};

/// Answers `/status/CODE` with that, however many digits it has, and `/attack/N` as `ATTACKS` says.
struct Hostile {
    port: u16,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    n_requests: AtomicU64,
    stops: AtomicBool,
    /// It answers before anything is asked.
    is_hasty: AtomicBool,
}

/// What is sent instead of an answer, and how the connection ends.
enum Attack {
    Bytes(Vec<u8>),
    Reset,
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn attacks() -> Vec<Attack> {
    let mut noise = 7u64;
    let mut garbage = |n: usize| -> Vec<u8> {
        let mut next = || {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (noise >> 33) as u8
        };
        (0..n).map(|_| next()).collect()
    };
    let head = |lines: &str, rest: &str| format!("HTTP/1.1 200 OK\r\n{lines}\r\n{rest}").into_bytes();
    let mut all: Vec<Vec<u8>> = vec![
        Vec::new(),
        // Heads without an end.
        format!("HTTP/1.1 200 OK\r\n{}", "X-Small: a\r\n".repeat(10_000)).into_bytes(),
        format!("HTTP/1.1 200 OK\r\nX: {}", "v".repeat(4 << 20)).into_bytes(),
        format!("HTTP/1.1 200 {}", "r".repeat(2 << 20)).into_bytes(),
        b"HTTP/1.1 200".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-".to_vec(),
        // Interim responses without an end, and with one.
        "HTTP/1.1 102 Wait\r\n\r\n".repeat(100_000).into_bytes(),
        format!("{}{OK}", "HTTP/1.1 103 Hint\r\nLink: a\r\n\r\n".repeat(10_000)).into_bytes(),
        // Lengths that are none, or not what follows.
        head("Content-Length: 100\r\n", "ok"),
        head("Content-Length: 1\r\n", "much more than one"),
        head("Content-Length: -1\r\n", "ok"),
        head("Content-Length: 99999999999999999999999\r\n", "ok"),
        head("Content-Length: 2\r\nContent-Length: 3\r\n", "ok!"),
        head("Content-Length: 18446744073709551615\r\n", "ok"),
        head("Transfer-Encoding: chunked\r\n", "ffffffffffffffff\r\nok"),
        head("Transfer-Encoding: chunked\r\n", "10000000000000000\r\nok"),
        head("Transfer-Encoding: chunked\r\n", "no size\r\n"),
        head("Transfer-Encoding: chunked\r\n", &"1;x=y\r\na\r\n".repeat(200_000)),
        head("Transfer-Encoding: chunked\r\n", &format!("0\r\n{}", "T: a\r\n".repeat(10_000))),
        head("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "2\r\nok\r\n0\r\n\r\n"),
        // First lines that are none.
        b"HTTP/1.1 abc No\r\n\r\n".to_vec(),
        b"HTTP/1.1 -12 No\r\n\r\n".to_vec(),
        b"HTTP/1.1 20 Short\r\n\r\n".to_vec(),
        b"HTTP/1.1 2000 Long\r\n\r\n".to_vec(),
        b"HTTP/9.9 200 OK\r\n\r\n".to_vec(),
        b"ICY 200 OK\r\n\r\n".to_vec(),
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n\x00\x01\x02".to_vec(),
        // Answers to what nobody asked for.
        OK.repeat(2).into_bytes(),
        OK.repeat(10_000).into_bytes(),
    ];
    all.extend((0..40).map(|n| garbage(1 << (n % 18))));
    all.extend((0..10).map(|n| [OK.as_bytes(), &garbage(1 << n)].concat()));
    all.into_iter().map(Attack::Bytes).chain([Attack::Reset]).collect()
}

impl Hostile {
    fn start() -> Hostile {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen");
        let port = listener.local_addr().expect("its address").port();
        let shared = Arc::new(Shared::default());
        let accepting = thread::spawn({
            let (shared, attacks) = (Arc::clone(&shared), Arc::new(attacks()));
            move || {
                let mut serving = Vec::new();
                for stream in listener.incoming() {
                    if shared.stops.load(Ordering::Relaxed) {
                        break;
                    }
                    let (shared, attacks) = (Arc::clone(&shared), Arc::clone(&attacks));
                    let stream = stream.expect("a connection");
                    serving.push(thread::spawn(move || serve(stream, &shared, &attacks)));
                }
                serving.into_iter().for_each(|thread| thread.join().expect("a connection served"));
            }
        });
        Hostile { port, shared, accepting: Some(accepting) }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// Requests that arrived.
    fn asked(&self) -> u64 {
        self.shared.n_requests.load(Ordering::Relaxed)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.shared.stops.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        let _ = self.accepting.take().map(JoinHandle::join);
    }
}

/// Serves one connection. Writing fails where the client has had enough.
fn serve(stream: TcpStream, shared: &Shared, attacks: &[Attack]) {
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out");
    let (mut reader, mut writer) = (BufReader::new(stream.try_clone().expect("the socket again")), stream);
    if shared.is_hasty.load(Ordering::Relaxed) {
        let _ = writer.write_all(OK.repeat(3).as_bytes());
    }
    while let Some(path) = asked(&mut reader) {
        shared.n_requests.fetch_add(1, Ordering::Relaxed);
        if let Some(code) = path.strip_prefix("/status/") {
            // What is interim is no answer.
            let end = if code.starts_with('1') { OK } else { "" };
            let answer = format!("HTTP/1.1 {code} Any\r\nContent-Length: 0\r\n\r\n{end}");
            // What would follow 101 is something else.
            if writer.write_all(answer.as_bytes()).is_err() || code == "101" {
                return;
            }
            continue;
        }
        let number: usize = path.strip_prefix("/attack/").and_then(|n| n.parse().ok()).expect("an attack");
        match &attacks[number] {
            Attack::Bytes(bytes) => drop(writer.write_all(bytes)),
            Attack::Reset => set_socket_linger(&writer, Some(Duration::ZERO)).expect("a reset at the end"),
        }
        return;
    }
}

/// The target of the next request.
fn asked(reader: &mut impl BufRead) -> Option<String> {
    let (mut first, mut line) = (String::new(), String::new());
    reader.read_line(&mut first).ok()?;
    while line != "\r\n" {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
    }
    first.split(' ').nth(1).map(str::to_owned)
}

/// curl in the cgroup asks for all of these, one after the other: the status of each as curl tells it, 0 where it had none
/// or did not take the response.
fn curl(cgroup: &Cgroup, dir: &Path, urls: &[String]) -> Vec<u64> {
    let mut config = String::new();
    for (n, url) in urls.iter().enumerate() {
        let next = if n == 0 { "" } else { "next\n" };
        let told = "write-out = \"%{http_code} %{exitcode}\\n\"";
        writeln!(config, "{next}url = \"{url}\"\noutput = /dev/null\nsilent\nmax-time = 30\n{told}")
            .expect("text");
    }
    let path = dir.join("hostile.conf");
    fs::write(&path, config).expect("curl's configuration");
    let curl = ["curl", "-K", &path.display().to_string()].map(str::to_owned);
    let words = [cgroup.wrapper(), curl.to_vec()].concat();
    let said = process::output(Command::new(&words[0]).args(&words[1..])).stdout;
    let said = String::from_utf8(said).expect("text");
    let status = |line: &str| {
        let (status, exit) = line.split_once(' ').expect("two numbers");
        if exit == "0" { status.parse().expect("a status") } else { 0 }
    };
    said.lines().map(status).collect()
}

/// Requests to a port, by status or `error.type`.
fn of_port(scrape: &Scrape, port: u16) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (labels, n) in scrape.all("http_client_request_duration_seconds_count") {
        if labels.get("server_port") == Some(&port.to_string()) {
            let what = labels.get("http_response_status_code").or_else(|| labels.get("error_type"));
            *counts.entry(what.cloned().unwrap_or_default()).or_default() += n as u64;
        }
    }
    counts
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_hostile_server_is_borne_and_others_are_counted() {
    const HONEST: u64 = 2_000;
    let dir = tempfile::tempdir().expect("a folder");
    let (cgroup, hostile) = (Cgroup::new(), Hostile::start());
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    let words = nginx.command();
    let _nginx = Process::start(Command::new(&words[0]).args(&words[1..]), &dir.path().join("nginx.out"));
    nginx.await_listening();
    let path = cgroup.path().display().to_string();
    let mut sidecar =
        Sidecar::run(dir.path(), &["--cgroup", &path, "--set", "capture.held_bytes=2097152"], &[]);
    let at_rest = || {
        eventually("the connections to go", || {
            let scrape = sidecar.scrape();
            (scrape.count("sidecar_connections_tracked", &[]) == 0).then_some(scrape)
        })
    };

    // Every status that has three digits.
    let urls: Vec<_> = (0..1000).map(|code| hostile.url(&format!("status/{code:03}"))).collect();
    let told = curl(&cgroup, dir.path(), &urls);
    let counted = of_port(&at_rest(), hostile.port);
    assert_eq!(counted.values().sum::<u64>(), hostile.asked(), "each request once");
    // What has three digits is a status here as there, but for the one after which something else is spoken.
    let mut own: BTreeMap<String, u64> = BTreeMap::new();
    for status in told.into_iter().filter(|status| (102..=999).contains(status)) {
        *own.entry(status.to_string()).or_default() += 1;
    }
    let is_status = |what: &str| what.parse::<u16>().is_ok();
    let statuses: BTreeMap<_, _> =
        counted.clone().into_iter().filter(|(what, _)| is_status(what) && what != "101").collect();
    assert_eq!(statuses, own);
    let others: Vec<_> = counted.iter().filter(|(what, _)| !is_status(what)).collect();
    println!("without a status {others:?}");

    // While others are honest.
    let mut honest = Load::new(dir.path(), &cgroup.wrapper());
    let n_attacks = attacks().len();
    thread::scope(|scope| {
        scope.spawn(|| {
            let urls: Vec<_> = (0..n_attacks).map(|n| hostile.url(&format!("attack/{n}"))).collect();
            // Some of them end curl.
            urls.iter().for_each(|url| drop(curl(&cgroup, dir.path(), slice::from_ref(url))));
            hostile.shared.is_hasty.store(true, Ordering::Relaxed);
            urls.iter().take(20).for_each(|url| drop(curl(&cgroup, dir.path(), slice::from_ref(url))));
        });
        honest.h2load(("GET", 200), HONEST, "-c 4", 0, &nginx.url("100.bin"));
        honest.hey("POST", 200, "-c 4 -d abc", &nginx.url("made"));
    });
    let scrape = at_rest();
    let counted = of_port(&scrape, hostile.port);
    println!("{} requests, dropped {:?}", hostile.asked(), scrape.drops());
    println!("oddities {:?}", scrape.all("sidecar_parser_oddities_total").collect::<Vec<_>>());
    assert_eq!(counted.values().sum::<u64>(), hostile.asked(), "each request once");
    assert_eq!(honest.answered, nginx.answered());
    let by_status = honest.answered.iter().map(|((_, status), n)| (status.clone(), *n)).collect();
    assert_eq!(of_port(&scrape, nginx.port), by_status);
    // 900 statuses, errors, nginx's two.
    let n_series = scrape.all("http_client_request_duration_seconds_count").count();
    println!("{n_series} series of durations");
    assert!(n_series < 920);
    sidecar.assert_sound("a hostile server", 48 * 1024);
}
