//! Shapes of traffic that a budget could cut: long heads on a connection that alternates, pipelined bodies of middle size,
//! and TLS on connections that are over before anybody has judged them.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
};

use sidecar_tests::{eventually, free_port, nginx::Nginx, process, sidecar::Sidecar};

/// Sends `requests` at once, and reads so many bodies of `size` bytes.
fn ask(stream: &mut TcpStream, requests: impl AsRef<[u8]>, n: usize, size: usize) {
    stream.write_all(requests.as_ref()).expect("send");
    let mut got = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    for _ in 0..n {
        loop {
            let head = got.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(head) = head.filter(|head| got.len() >= head + 4 + size) {
                got.drain(..head + 4 + size);
                break;
            }
            let n = stream.read(&mut buffer).expect("an answer");
            assert!(n > 0, "the server closed");
            got.extend_from_slice(&buffer[..n]);
        }
    }
}

/// nginx as the daemon's own command.
fn observed(dir: &Path) -> (Sidecar, Nginx) {
    let nginx = Nginx::prepare(dir, "127.0.0.1", free_port(), "");
    let command = nginx.command();
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let sidecar = Sidecar::run(dir, &[], &words);
    nginx.await_listening();
    (sidecar, nginx)
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn long_heads_and_pipelined_bodies() {
    let dir = tempfile::tempdir().expect("a folder");
    let (sidecar, nginx) = observed(dir.path());
    let connect = || TcpStream::connect(("127.0.0.1", nginx.port)).expect("connect");
    let mut stream = connect();
    let cookie = "x".repeat(6000);
    for _ in 0..20 {
        let request = format!("GET /100.bin HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n");
        ask(&mut stream, &request, 1, 100);
        // A verdict comes between two requests, as with any client that thinks.
        let _ = sidecar.scrape();
    }
    let pipelined = "GET /60000.bin HTTP/1.1\r\nHost: a\r\n\r\n".repeat(16);
    ask(&mut connect(), &pipelined, 16, 60_000);
    let scrape = sidecar.scrape_at_rest();
    assert_eq!(scrape.requests("server"), nginx.answered());
    assert_eq!(scrape.bytes("explained"), scrape.bytes("seen"));
}

/// Request lines that no grammar has, and that nginx answers: what is around them is read too.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn odd_request_lines() {
    let dir = tempfile::tempdir().expect("a folder");
    let (sidecar, nginx) = observed(dir.path());
    let plain = b"GET /100.bin HTTP/1.1\r\nHost: a\r\n\r\n";
    let lines: [&[u8]; 4] = [
        b"GET /100.bin?name=Ren\xe9 HTTP/1.1",
        b"GET /100.bin HTTP/1.2",
        b"GET /100.bin HTTP/1.1 ",
        b"GET  /100.bin?\xff\xfe  HTTP/1.1",
    ];
    for line in lines {
        let odd = [line, b"\r\nHost: a\r\n\r\n"].concat();
        let mut stream = TcpStream::connect(("127.0.0.1", nginx.port)).expect("connect");
        ask(&mut stream, plain, 1, 100);
        ask(&mut stream, &odd, 1, 100);
        ask(&mut stream, plain, 1, 100);
        // At once, and the first of its connection.
        ask(&mut stream, [&odd[..], plain, &odd[..]].concat(), 3, 100);
        let mut stream = TcpStream::connect(("127.0.0.1", nginx.port)).expect("connect");
        ask(&mut stream, &odd, 1, 100);
        ask(&mut stream, plain, 1, 100);
    }
    let scrape = sidecar.scrape_at_rest();
    assert_eq!(nginx.answered().values().sum::<u64>(), 4 * 8);
    assert_eq!(scrape.requests("server"), nginx.answered());
    assert_eq!(scrape.bytes("explained"), scrape.bytes("seen"));
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn short_tls_connections_are_encrypted_and_not_missed() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (key, certificate) = (path("key.pem"), path("certificate.pem"));
    let new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=a"];
    process::run(Command::new("openssl").args(new).args(["-keyout", &key, "-out", &certificate]));
    let port = free_port();
    let accept = port.to_string();
    let server =
        ["openssl", "s_server", "-www", "-quiet", "-accept", &accept, "-key", &key, "-cert", &certificate];
    let sidecar = Sidecar::run(dir.path(), &[], &server);
    let url = format!("https://127.0.0.1:{port}/");
    let get =
        || process::output(Command::new("curl").args(["-sk", "-o", "/dev/null", &url])).status.success();
    eventually("openssl to answer", || get().then_some(()));
    for _ in 0..5 {
        assert!(get());
    }
    let scrape = sidecar.scrape_at_rest();
    assert!(scrape.bytes("seen") > 5000);
    assert_eq!(scrape.bytes("encrypted"), scrape.bytes("seen"));
    assert_eq!(scrape.sum("sidecar_capture_coverage_ratio", &[]), None, "0/0");
}
