//! Servers and proxies of many makes: the daemon's counts equal their own.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::Path,
    process::Command,
};

use sidecar_tests::{
    eventually, free_port,
    load::Load,
    process::{self, Process},
    servers::{Counts, Server, counted, support},
    sidecar::Sidecar,
};

/// Requests for `/STATUS/SIZE` of every kind.
fn visit(load: &mut Load, port: u16) {
    let url = |path: &str| format!("http://127.0.0.1:{port}/{path}");
    load.h2load(("GET", 200), 400, "-c 8", 0, &url("200/1000"));
    load.h2load(("GET", 404), 200, "-c 2", 0, &url("404/20000"));
    load.h2load(("POST", 201), 200, "-c 4", 10_000, &url("201/100"));
    load.hey("PUT", 100, "-c 4 -d abc", &url("500/10"));
    load.ab(("GET", 200), 100, "-c 4", &url("200/3000"));
    load.curl(&[("HEAD", "", url("200/100")), ("GET", "", url("200/2000000"))], 3);
}

fn check_server(server: &Server, dir: &Path) -> Sidecar {
    let command: Vec<&str> = server.command.iter().map(String::as_str).collect();
    check(&command, server.port, dir, |sidecar| server.answered(&sidecar.log()))
}

/// The daemon starts the server, tools visit it, and what was counted is what the server logged.
fn check(command: &[&str], port: u16, dir: &Path, account: impl Fn(&Sidecar) -> Counts) -> Sidecar {
    let sidecar = Sidecar::run(dir, &[], command);
    eventually("the server to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
    let mut load = Load::new(dir, &[]);
    visit(&mut load, port);
    let scrape = sidecar.scrape_at_rest();
    let answered = account(&sidecar);
    assert_eq!(answered.values().sum::<u64>(), load.total(), "the server logged what the tools count");
    scrape.assert_whole(&[("server", answered)]);
    sidecar
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn java() {
    let dir = tempfile::tempdir().expect("a folder");
    check_server(&Server::java(dir.path()), dir.path());
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn python_asyncio() {
    let dir = tempfile::tempdir().expect("a folder");
    check_server(&Server::uvicorn(), dir.path());
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn go() {
    let dir = tempfile::tempdir().expect("a folder");
    check_server(&Server::caddy(dir.path()), dir.path());
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn io_uring() {
    let dir = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let server = env!("CARGO_BIN_EXE_uring_server");
    let mut sidecar =
        check(&[server, &port.to_string()], port, dir.path(), |sidecar| counted(&sidecar.log()));
    // It is what it says: the ring is among its files.
    let daemon = sidecar.process().pid().as_raw_nonzero();
    let children = process::read(Path::new(&format!("/proc/{daemon}/task/{daemon}/children")));
    let files = std::fs::read_dir(format!("/proc/{}/fd", children.trim())).expect("the server's files");
    let mut targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    assert!(targets.any(|target| target.ends_with("anon_inode:[io_uring]")));
}

/// Sends by reference: the packets have pages of the application's.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn msg_zerocopy() {
    let dir = tempfile::tempdir().expect("a folder");
    let (log, port) = (dir.path().join("zerocopy.log"), free_port());
    let server =
        ["python3", &support("zerocopy.py"), &log.display().to_string(), &port.to_string(), "300000"];
    let sidecar = Sidecar::run(dir.path(), &[], &server);
    eventually("the server to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
    let url = format!("http://127.0.0.1:{port}/");
    let mut load = Load::new(dir.path(), &[]);
    load.h2load(("GET", 200), 60, "-c 1", 0, &url);
    load.curl(&[("GET", "", url.clone())], 20);
    let scrape = sidecar.scrape_at_rest();
    // The server writes its line after it has answered.
    let text = eventually("the server's last line", || {
        let text = process::read(&log);
        (counted(&text).values().sum::<u64>() == load.total()).then_some(text)
    });
    scrape.assert_whole(&[("server", counted(&text))]);
    let reported = text.lines().filter_map(|line| line.strip_prefix("zerocopy ")?.parse::<u64>().ok());
    assert!(reported.sum::<u64>() >= load.total(), "each answer was sent so");
}

/// One program is client and server, on both loopback addresses: each exchange counts once for each role.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn talking_to_itself() {
    const N: u64 = 50;
    let dir = tempfile::tempdir().expect("a folder");
    let sidecar = Sidecar::run(dir.path(), &[], &["python3", &support("talker.py"), &N.to_string()]);
    let line = eventually("it to have asked", || {
        sidecar.log().lines().find(|line| line.starts_with("{\"asked\"")).map(str::to_owned)
    });
    let account: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let counts = |name: &str| -> Counts {
        let rows = account[name].as_object().expect("counts").iter();
        rows.map(|(kind, n)| {
            let (method, status) = kind.split_once(' ').expect("a method and a status");
            ((method.to_owned(), status.to_owned()), n.as_u64().expect("a count"))
        })
        .collect()
    };
    let (asked, answered) = (counts("asked"), counts("answered"));
    assert_eq!((asked.values().sum::<u64>(), &asked), (6 * N, &answered));
    let scrape = sidecar.scrape_at_rest();
    scrape.assert_whole(&[("server", answered), ("client", asked)]);
    // A connection that was kept and N others, by each of the two families, at each of the two ends.
    for role in ["server", "client"] {
        let opened = scrape.count("sidecar_tcp_connection_opened_total", &[("sidecar_tcp_role", role)]);
        assert_eq!(opened, 2 * (N + 1), "{role}");
    }
}

/// A proxy that moves bodies from socket to socket by splice(2), in the middle of what is observed and what is not.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn haproxy_with_splice() {
    let dir = tempfile::tempdir().expect("a folder");
    let (port, backend) = (free_port(), free_port());
    // One that takes a body before it answers.
    let log = dir.path().join("backend.log");
    let mut server = Command::new(env!("CARGO_BIN_EXE_uring_server"));
    let _server = Process::start(server.arg(backend.to_string()), &log);
    let (config, socket) = (dir.path().join("haproxy.cfg"), dir.path().join("haproxy.sock"));
    // Of two threads that log at once, one gives up after some tries and only counts the line (DroppedLogs).
    let text = format!(
        "global\n  nbthread 1\n  log stdout format raw local0\n  stats socket {socket}\n\
         defaults\n  mode http\n  log global\n  log-format \"%HM %ST\"\n  option dontlognull\n  option splice-auto\n\
         \x20 option splice-request\n  option splice-response\n  timeout connect 5s\n  timeout client 30s\n\
         \x20 timeout server 30s\n\
         listen shop\n  bind 127.0.0.1:{port}\n  server backend 127.0.0.1:{backend}\n",
        socket = socket.display(),
    );
    std::fs::write(&config, text).expect("the configuration");
    let config = config.display().to_string();
    let sidecar = Sidecar::run(dir.path(), &[], &["haproxy", "-db", "-f", &config]);
    for (port, what) in [(backend, "the backend to listen"), (port, "haproxy to listen")] {
        eventually(what, || TcpStream::connect(("127.0.0.1", port)).ok());
    }

    let mut load = Load::new(dir.path(), &[]);
    visit(&mut load, port);
    let url = |path: &str| format!("http://127.0.0.1:{port}/{path}");
    load.h2load(("POST", 201), 60, "-c 2", 60_000, &url("201/60000"));
    let upload = format!("data-binary = \"@{}\"", load.body(5_000_000));
    load.curl(&[("GET", "", url("200/5000000")), ("PUT", &upload, url("200/0"))], 5);

    let scrape = sidecar.scrape_at_rest();
    let mut stats = UnixStream::connect(&socket).expect("haproxy's socket");
    stats.write_all(b"show info\n").expect("ask");
    let mut info = String::new();
    stats.read_to_string(&mut info).expect("an answer");
    let told = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).expect("its number");
    assert_eq!(told("DroppedLogs: "), "0", "haproxy's log is whole");
    let (own, passed_on) = (counted(&sidecar.log()), counted(&process::read(&log)));
    assert_eq!(own.values().sum::<u64>(), load.total(), "haproxy logged what the tools count");
    assert_eq!(passed_on, own, "and passed all of it on");
    scrape.assert_whole(&[("server", own), ("client", passed_on)]);
    // It keeps the pipes that it has used.
    assert_ne!(told("PipesFree: "), "0", "nothing was spliced");
}
