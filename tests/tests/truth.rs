//! The daemon's counts equal the servers' and the clients' own.

use std::{collections::BTreeMap, path::Path, process::Command};

use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port,
    load::Load,
    nginx::Nginx,
    process::{self, Process},
    scrape::{Kind, known_method},
    sidecar::Sidecar,
};

/// Mixed methods, statuses, sizes and tools: 20,000 requests.
fn mixed(load: &mut Load, nginx: &Nginx) {
    let url = |path: &str| nginx.url(path);
    load.h2load(("GET", 200), 6_200, "-c 10", 0, &url("100.bin"));
    load.h2load(("GET", 200), 4_000, "-c 8 -m 16", 0, &url("1000.bin"));
    in_bursts(load, ("GET", 200), (100, 12), &url("10000.bin"));
    in_bursts(load, ("GET", 200), (16, 28), &url("60000.bin"));
    load.h2load(("GET", 200), 500, "-c 4", 0, &url("60000.bin"));
    load.h2load(("GET", 200), 6, "-c 2", 0, &url("5000000.bin"));
    load.h2load(("GET", 404), 600, "-c 4 -m 16", 0, &url("nowhere"));
    load.h2load(("GET", 204), 600, "-c 4 -m 16", 0, &url("status/204"));
    load.h2load(("GET", 304), 300, "-c 4 -m 16", 0, &url("status/304"));
    load.h2load(("HEAD", 200), 300, "-c 4 -m 16", 0, &url("0.bin"));
    load.h2load(("POST", 201), 600, "-c 4 -m 16", 10_000, &url("made"));
    load.h2load(("PUT", 201), 300, "-c 4", 60_000, &url("made"));
    load.h2load(("OPTIONS", 405), 300, "-c 4 -m 16", 0, &url("100.bin"));
    load.h2load(("BREW", 410), 300, "-c 4 -m 16", 0, &url("status/410"));
    load.ab(("GET", 200), 1_000, "-c 8", &url("1000.bin"));
    load.ab(("GET", 200), 1_000, "-k -c 8", &url("1000.bin"));
    load.ab(("HEAD", 200), 200, "-i -c 2", &url("60000.bin"));
    let body = load.body(1_000);
    load.ab(("POST", 201), 300, &format!("-c 4 -p {body}"), &url("made"));
    load.ab(("GET", 503), 200, "-k -c 4", &url("status/503"));
    load.hey("GET", 800, "-c 8", &url("10000.bin"));
    load.hey("GET", 200, "-c 4 -disable-keepalive", &url("10000.bin"));
    load.hey("DELETE", 200, "-c 4", &url("status/403"));
    let body = load.body(60_000);
    load.hey("POST", 200, &format!("-c 4 -D {body}"), &url("made"));
    let upload = format!("data-binary = \"@{}\"", load.body(5_000_000));
    let form = "data = \"a=b\"";
    let requests = [
        ("GET", "", url("status/301")),
        ("GET", "", url("status/400")),
        ("HEAD", "", url("60000.bin")),
        ("PATCH", form, url("status/500")),
        ("PROPFIND", "", url("100.bin")),
        ("DELETE", "", url("status/204")),
        ("OPTIONS", "", url("status/204")),
        ("TRACE", "", url("100.bin")),
        ("GET", "http1.0", url("1000.bin")),
        ("GET", "range = 5-9", url("1000.bin")),
        ("POST", "header = \"Transfer-Encoding: chunked\"\ndata = \"abc\"", url("made")),
        ("HEAD", "", url("nowhere")),
    ];
    load.curl(&requests, 25);
    load.curl(&[("GET", "", url("5000000.bin"))], 3);
    // nginx answers before the body comes. What a client sends next may then begin in the body's last packet, in the
    // middle of what is not copied, and only a verdict that came in time would show it: one connection each.
    for _ in 0..3 {
        load.curl(&[("PUT", &upload, url("made"))], 1);
    }
    assert!(load.total() >= 20_000, "{} requests", load.total());
}

/// `times` over, `n` pipelined responses of together about 1 MB: what fits into the ring also where both ends are seen, as
/// nothing promises that its reader gets the CPU while both cores copy 1 GB a second (`loss_of_records` is about that).
fn in_bursts(load: &mut Load, kind: (&str, u16), (n, times): (u64, usize), url: &str) {
    for _ in 0..times {
        load.h2load(kind, n, "-c 1 -m 16", 0, url);
    }
}

fn words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// The daemon starts nginx; the tools are outside.
fn check_server(address: &str, listen: &str) {
    let dir = tempfile::tempdir().expect("a folder");
    let nginx = Nginx::prepare(dir.path(), address, free_port(), listen);
    let sidecar = Sidecar::run(dir.path(), &[], &words(&nginx.command()));
    nginx.await_listening();
    let mut load = Load::new(dir.path(), &[]);
    mixed(&mut load, &nginx);
    let scrape = sidecar.scrape_at_rest();
    scrape.assert_whole(&[("server", nginx.answered())]);
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn nginx_by_its_own_log() {
    check_server("127.0.0.1", "");
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn nginx_with_deferred_accept() {
    check_server("127.0.0.1", "deferred");
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn nginx_over_ipv6() {
    check_server("[::1]", "");
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn clients_by_their_own_count() {
    let dir = tempfile::tempdir().expect("a folder");
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    let command = nginx.command();
    let _nginx = Process::start(Command::new(&command[0]).args(&command[1..]), &dir.path().join("nginx.out"));
    nginx.await_listening();
    let cgroup = Cgroup::new();
    let path = cgroup.path().display().to_string();
    let sidecar = Sidecar::run(dir.path(), &["--cgroup", &path], &[]);
    let mut load = Load::new(dir.path(), &cgroup.wrapper());
    mixed(&mut load, &nginx);
    let scrape = sidecar.scrape_at_rest();
    scrape.assert_whole(&[("client", load.answered)]);
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn both_ends_in_one_cgroup() {
    let dir = tempfile::tempdir().expect("a folder");
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    let cgroup = Cgroup::new();
    let path = cgroup.path().display().to_string();
    // Four times the default: each byte goes up twice, and nothing promises the ring's reader a processor meanwhile.
    let ring = "capture.ring_bytes=16777216";
    let sidecar = Sidecar::run(dir.path(), &["--cgroup", &path, "--set", ring], &[]);
    let command = [cgroup.wrapper(), nginx.command()].concat();
    let _nginx = Process::start(Command::new(&command[0]).args(&command[1..]), &dir.path().join("nginx.out"));
    nginx.await_listening();
    let mut load = Load::new(dir.path(), &cgroup.wrapper());
    mixed(&mut load, &nginx);
    let scrape = sidecar.scrape_at_rest();
    scrape.assert_whole(&[("server", nginx.answered()), ("client", load.answered)]);
}

/// What Python's http.server logged: `… "GET /x HTTP/1.1" 200 -`.
fn logged_by_python(log: &Path) -> BTreeMap<Kind, u64> {
    let mut kinds = BTreeMap::new();
    for line in process::read(log).lines() {
        let mut parts = line.split('"');
        if let (Some(request), Some(status)) = (parts.nth(1), parts.next()) {
            let (method, _) = request.split_once(' ').expect("a request line");
            let status = status.split_whitespace().next().expect("a status").to_owned();
            *kinds.entry((known_method(method).to_owned(), status)).or_default() += 1;
        }
    }
    kinds
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn python_by_its_own_log() {
    let dir = tempfile::tempdir().expect("a folder");
    let html = dir.path().join("html");
    std::fs::create_dir(&html).expect("a folder for content");
    for size in [0, 1_000, 60_000, 5_000_000] {
        std::fs::write(html.join(format!("{size}.bin")), vec![b'x'; size]).expect("content");
    }
    let (port, cgroup, log) = (free_port().to_string(), Cgroup::new(), dir.path().join("python.log"));
    let mut command = cgroup.wrapper();
    let html = html.display().to_string();
    command
        .extend(["python3", "-m", "http.server", &port, "-b", "127.0.0.1", "-d", &html].map(str::to_owned));
    let python = Process::start(Command::new(&command[0]).args(&command[1..]), &log);
    eventually("python to listen", || std::net::TcpStream::connect(format!("127.0.0.1:{port}")).ok());
    let pid = python.pid().as_raw_nonzero().to_string();
    let sidecar = Sidecar::run(dir.path(), &["--pid", &pid], &[]);
    let mut load = Load::new(dir.path(), &[]);
    let url = |path: &str| format!("http://127.0.0.1:{port}/{path}");
    load.ab(("GET", 200), 600, "-c 4", &url("1000.bin"));
    load.hey("GET", 200, "-c 4", &url("60000.bin"));
    load.hey("POST", 100, "-c 4 -d abc", &url("1000.bin"));
    let requests = [
        ("GET", "", url("")),
        ("HEAD", "", url("60000.bin")),
        ("GET", "", url("nowhere")),
        ("BREW", "", url("0.bin")),
        ("GET", "", url("5000000.bin")),
    ];
    load.curl(&requests, 10);
    let scrape = sidecar.scrape_at_rest();
    scrape.assert_whole(&[("server", logged_by_python(&log))]);
}

/// Logs what it answered; bodies without a length are chunked.
const NODE: &str = r#"
const fs = require('fs'), log = fs.openSync(process.argv[2], 'a');
require('http').createServer((request, response) => {
  response.on('finish', () => fs.writeSync(log, request.method + ' ' + response.statusCode + '\n'));
  const [, status, size, pieces] = request.url.split('/').map(Number);
  request.resume().on('end', () => {
    response.writeHead(status);
    for (let i = 0; i < pieces; i++) response.write(Buffer.alloc(size, 'x'));
    response.end();
  });
}).listen(Number(process.argv[3]), '127.0.0.1');
"#;

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn node_by_its_own_log() {
    let dir = tempfile::tempdir().expect("a folder");
    let (script, log) = (dir.path().join("server.js"), dir.path().join("node.log"));
    std::fs::write(&script, NODE).expect("the server's source");
    let (script, log_text, port) =
        (script.display().to_string(), log.display().to_string(), free_port().to_string());
    let sidecar = Sidecar::run(dir.path(), &[], &["node", &script, &log_text, &port]);
    eventually("node to listen", || std::net::TcpStream::connect(format!("127.0.0.1:{port}")).ok());
    let mut load = Load::new(dir.path(), &[]);
    let url = |path: &str| format!("http://127.0.0.1:{port}/{path}");
    load.h2load(("GET", 200), 2_000, "-c 8", 0, &url("200/100/1"));
    load.h2load(("GET", 200), 1_000, "-c 4 -m 16", 0, &url("200/1000/3"));
    in_bursts(&mut load, ("GET", 404), (16, 12), &url("404/20000/3"));
    load.h2load(("POST", 201), 300, "-c 4 -m 16", 10_000, &url("201/10/1"));
    load.ab(("GET", 200), 300, "-c 4", &url("200/1000/2"));
    load.hey("PUT", 300, "-c 4 -d abc", &url("500/0/0"));
    let upload = format!("data-binary = \"@{}\"", load.body(5_000_000));
    let requests = [
        ("HEAD", "", url("200/1000/2")),
        ("GET", "", url("200/10000/16")),
        ("PURGE", "", url("410/10/1")),
        ("GET", "", url("304/0/0")),
    ];
    load.curl(&requests, 10);
    load.curl(&[("POST", &upload, url("201/0/0"))], 3);
    let scrape = sidecar.scrape_at_rest();
    let mut answered = BTreeMap::new();
    for line in process::read(&log).lines() {
        let (method, status) = line.split_once(' ').expect("a line of the log");
        *answered.entry((known_method(method).to_owned(), status.to_owned())).or_default() += 1;
    }
    scrape.assert_whole(&[("server", answered)]);
}
