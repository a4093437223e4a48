//! Raw requests over real sockets against both listeners.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use sidecar_core::config::{AdminListen, Level, Listen};
use tokio::sync::watch;

use super::{
    Answer, Check, Facts, Lines, NoTap, Verdict,
    bind::{self, Address, Bound},
    serve::{self, Face},
};

/// Shorter than in use, longer than any test's pause.
const HEADER_TIMEOUT: Duration = Duration::from_secs(2);
/// Longer than any test.
const NEVER: Duration = Duration::from_secs(600);

/// Facts that a test sets.
struct Fixed {
    level: Mutex<Level>,
    is_ready: bool,
}

impl Fixed {
    fn check(&self) -> Vec<Check> {
        let ring = Check { name: "ring", verdict: Verdict::Ok, detail: String::new() };
        vec![
            ring,
            Check { name: "otlp", verdict: Verdict::of(self.is_ready), detail: "no answer".to_owned() },
        ]
    }
}

impl Facts for Fixed {
    fn metrics<'a>(&'a self, accept: &'a str) -> Answer<'a, (String, Bytes)> {
        Box::pin(async move { ("text/plain; version=0.0.4".to_owned(), format!("up 1 # {accept}\n").into()) })
    }

    fn connections(&self, limit: usize) -> Answer<'_, (Vec<Value>, usize)> {
        Box::pin(async move { (vec![json!({ "id": 7 }); limit.min(2)], 2) })
    }

    fn explain<'a>(
        &'a self,
        query: &'a str,
        accept: &'a str,
    ) -> Answer<'a, Result<(&'static str, Bytes), String>> {
        Box::pin(async move {
            let body = json!({ "query": query, "accept": accept }).to_string();
            if query.is_empty() { Err("no query".to_owned()) } else { Ok(("application/json", body.into())) }
        })
    }

    fn top(&self) -> Answer<'_, Value> {
        Box::pin(async { json!({ "rows": [] }) })
    }

    fn record<'a>(&'a self, query: &'a str) -> Answer<'a, Result<(&'static str, Lines), NoTap>> {
        self.tap(query, "")
    }

    fn tap<'a>(&'a self, query: &'a str, _: &'a str) -> Answer<'a, Result<(&'static str, Lines), NoTap>> {
        Box::pin(async move {
            if query == "busy" {
                return Err(NoTap::Busy("too many".to_owned()));
            }
            let n = query.parse().map_err(|_| NoTap::Query(format!("`{query}` is no number")))?;
            let (lines, taken) = tokio::sync::mpsc::channel(1);
            tokio::spawn(async move {
                for at in 0..n {
                    if lines.send(format!("line {at}\n").into()).await.is_err() {
                        return;
                    }
                }
            });
            Ok(("application/x-ndjson", Lines::new(taken)))
        })
    }

    fn config(&self) -> Value {
        json!({ "config": {} })
    }

    fn started(&self) -> Vec<Check> {
        self.check()[..1].to_vec()
    }

    fn live(&self) -> Vec<Check> {
        self.check()[..1].to_vec()
    }

    fn ready(&self) -> Vec<Check> {
        self.check()
    }

    fn log_level(&self) -> Level {
        *self.level.lock().expect("not poisoned")
    }

    fn set_log_level(&self, level: Level) -> Result<(), String> {
        *self.level.lock().expect("not poisoned") = level;
        Ok(())
    }
}

/// A listener that is served until the value is dropped.
struct Served {
    address: Address,
    drain: watch::Sender<bool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Served {
    fn start(face: Face, is_ready: bool, bound: Bound) -> Self {
        Self::start_within(HEADER_TIMEOUT, face, is_ready, bound)
    }

    fn start_within(header_timeout: Duration, face: Face, is_ready: bool, bound: Bound) -> Self {
        let address = bound.address.clone();
        let (drain, draining) = watch::channel(false);
        let facts = Arc::new(Fixed { level: Mutex::new(Level::Info), is_ready });
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let serving = serve::serve_within(header_timeout, bound, face, facts, draining);
            runtime.block_on(serving)
        });
        Self { address, drain, thread: Some(thread) }
    }

    fn public(is_ready: bool) -> Self {
        let bound = bind::public(Listen(([127, 0, 0, 1], 0).into())).expect("bound");
        Self::start(Face::Public, is_ready, bound)
    }

    fn admin() -> Self {
        let bound = bind::admin(&AdminListen::Tcp(([127, 0, 0, 1], 0).into())).expect("bound");
        Self::start(Face::Admin, true, bound)
    }

    fn tcp(&self) -> SocketAddr {
        match self.address {
            Address::Tcp(address) => address,
            Address::Unix(_) => panic!("a socket file"),
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.tcp()).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
        stream
    }

    /// Connections, more than there are places, that each sent half a head.
    fn halves(&self) -> Vec<TcpStream> {
        let half = |_| {
            let mut stream = self.connect();
            stream.write_all(b"GET /livez HTTP/1.1\r\nhost:").expect("sent");
            stream
        };
        (0..200).map(half).collect()
    }

    /// Sends the lines of a request, `connection: close` and a body; the answer's status, header and body.
    fn ask(&self, head: &str, body: &str) -> Reply {
        ask(self.connect(), head, body)
    }

    fn stop(&mut self) -> io::Result<()> {
        self.drain.send_replace(true);
        self.thread.take().map_or(Ok(()), |thread| thread.join().expect("no panic"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let stopped = self.stop();
        assert!(stopped.is_ok() || std::thread::panicking(), "{stopped:?}");
    }
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

fn ask(mut stream: impl Read + Write, head: &str, body: &str) -> Reply {
    let lines: String = head.lines().map(|line| format!("{line}\r\n")).collect();
    write!(stream, "{lines}connection: close\r\n\r\n{body}").expect("sent");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("an answer");
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a header");
    let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
    Reply { status, head, body: bytes[end + 4..].to_vec() }
}

#[test]
fn the_public_listener_has_three_resources_under_any_host() {
    let served = Served::public(false);
    for (line, status, body) in [
        ("GET /metrics", 200, "up 1 # \n"),
        ("GET /startupz", 200, "ok\n"),
        ("GET /startupz?verbose", 200, "ring ok\nok\n"),
        ("GET /livez", 200, "ok\n"),
        ("GET /livez?verbose", 200, "ring ok\nok\n"),
        ("GET /readyz", 503, "ring ok\notlp failed: no answer\nfailed\n"),
        ("HEAD /metrics", 200, ""),
        ("POST /metrics", 405, "only GET, HEAD\n"),
        ("PUT /readyz", 405, "only GET, HEAD\n"),
        ("GET /", 404, "here are /metrics, /startupz, /livez and /readyz\n"),
        ("GET /config", 404, "here are /metrics, /startupz, /livez and /readyz\n"),
        ("PUT /log", 404, "here are /metrics, /startupz, /livez and /readyz\n"),
    ] {
        let reply = served.ask(&format!("{line} HTTP/1.1\nhost: pod.example:9464\norigin: http://x"), "");
        assert_eq!((reply.status, reply.text()), (status, body), "{line}");
        assert!(reply.head.contains("cache-control: no-store"), "{}", reply.head);
        assert_eq!(status == 405, reply.head.contains("\r\nallow: get, head"), "{line}");
    }
    assert_eq!(Served::public(true).ask("GET /readyz HTTP/1.1\nhost: x", "").status, 200);
}

#[test]
fn metrics_see_what_is_accepted_and_are_compressed_on_demand() {
    let served = Served::public(true);
    let reply = served.ask("GET /metrics HTTP/1.1\nhost: x\naccept: a/b\naccept: c/d;q=0.1", "");
    assert_eq!(reply.text(), "up 1 # a/b, c/d;q=0.1\n");
    assert!(
        reply.head.contains("content-type: text/plain; version=0.0.4") && reply.head.contains("vary: accept")
    );
    let reply = served.ask("GET /metrics HTTP/1.1\nhost: x\naccept-encoding: deflate, gzip", "");
    assert!(reply.head.contains("content-encoding: gzip"), "{}", reply.head);
    let mut text = String::new();
    GzDecoder::new(&reply.body[..]).read_to_string(&mut text).expect("gzip");
    assert_eq!(text, "up 1 # \n");
}

#[test]
fn the_admin_listener_answers_its_operator() {
    let served = Served::admin();
    let port = served.tcp().port();
    for (line, status, body) in [
        ("GET /connections", 200, json!([{ "id": 7 }, { "id": 7 }])),
        ("GET /connections?limit=1", 200, json!([{ "id": 7 }])),
        ("GET /connections?limit=10000&", 200, json!([{ "id": 7 }, { "id": 7 }])),
        ("GET /connections?limit=0", 400, json!({ "error": "limit: a number from 1 to 10000" })),
        ("GET /connections?limit=10001", 400, json!({ "error": "limit: a number from 1 to 10000" })),
        ("GET /connections?limit=-1", 400, json!({ "error": "limit: a number from 1 to 10000" })),
        ("GET /connections?limit", 400, json!({ "error": "`limit`: there is only limit=N" })),
        ("GET /connections?role=server", 400, json!({ "error": "`role=server`: there is only limit=N" })),
        ("GET /explain?a=b%20c", 200, json!({ "query": "a=b%20c", "accept": "" })),
        ("GET /top", 200, json!({ "rows": [] })),
        ("GET /explain", 400, json!({ "error": "no query" })),
        ("GET /config", 200, json!({ "config": {} })),
        ("GET /log", 200, json!({ "level": "info" })),
        (
            "GET /metrics",
            404,
            json!({ "error": "here are /connections, /explain, /top, /tap, /record, /config and /log" }),
        ),
    ] {
        for host in ["localhost", &format!("127.0.0.1:{port}"), "[::1]:1"] {
            let reply = served.ask(&format!("{line} HTTP/1.1\nhost: {host}"), "");
            let value: Value = serde_json::from_slice(&reply.body).expect("JSON");
            assert_eq!((reply.status, &value), (status, &body), "{line} {host}");
        }
    }
    for (limit, is_cut) in [(1, "true"), (2, "false")] {
        let reply = served.ask(&format!("GET /connections?limit={limit} HTTP/1.1\nhost: localhost"), "");
        for header in ["sidecar-connections-total: 2", &format!("sidecar-connections-cut: {is_cut}")] {
            assert!(reply.head.lines().any(|line| line == header), "{reply:?}");
        }
    }
    let reply = served.ask("DELETE /log HTTP/1.1\nhost: localhost", "");
    assert!(reply.status == 405 && reply.head.contains("allow: get, head, put"), "{reply:?}");
    let reply = served.ask("PUT /config HTTP/1.1\nhost: localhost", "");
    let allow = reply.head.lines().find(|line| line.starts_with("allow: "));
    assert_eq!((reply.status, allow), (405, Some("allow: get, head")));
}

#[test]
fn the_admin_listener_refuses_browsers() {
    let served = Served::admin();
    for (head, status) in [
        ("GET /log HTTP/1.1\nhost: evil.example", 421),
        ("GET http://evil.example/log HTTP/1.1\nhost: localhost", 421),
        ("GET /log HTTP/1.1", 421),
        ("GET /log HTTP/1.0", 421),
        ("GET /log HTTP/1.1\nhost: localhost\norigin: http://localhost", 403),
        (
            "PUT /log HTTP/1.1\nhost: localhost\norigin: null\ncontent-type: application/json\ncontent-length: 17",
            403,
        ),
    ] {
        assert_eq!(served.ask(head, "{\"level\":\"debug\"}").status, status, "{head}");
    }
    assert!(served.ask("GET /log HTTP/1.1\nhost: localhost", "").text().contains("info"));
}

#[test]
fn the_log_level_changes_by_put_with_json_only() {
    let served = Served::admin();
    let put = |media: &str, body: &str| {
        let n = body.len();
        let head = format!("PUT /log HTTP/1.1\nhost: localhost\ncontent-type: {media}\ncontent-length: {n}");
        served.ask(&head, body)
    };
    for (media, body, status) in [
        ("text/plain", "{\"level\":\"debug\"}", 415),
        ("application/x-www-form-urlencoded", "level=debug", 415),
        ("application/json", "{\"level\":\"loud\"}", 400),
        ("application/json", "{\"level\":\"debug\",\"more\":1}", 400),
        ("application/json", "", 400),
    ] {
        let reply = put(media, body);
        assert!(
            reply.status == status && reply.text().starts_with("{\"error\":"),
            "{media} {body}: {reply:?}"
        );
    }
    assert_eq!(put("application/json", &" ".repeat((64 << 10) + 1)).status, 413);
    assert!(served.ask("GET /log HTTP/1.1\nhost: localhost", "").text().contains("info"));
    let reply = put("application/json; charset=utf-8", "{\"level\": \"debug\"}");
    assert_eq!((reply.status, reply.text()), (200, "{\"level\":\"debug\"}\n"));
    assert!(served.ask("GET /log HTTP/1.1\nhost: localhost", "").text().contains("debug"));
}

#[test]
fn a_body_of_unknown_length_is_bounded_too() {
    let served = Served::admin();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let head =
        "PUT /log HTTP/1.1\nhost: localhost\ncontent-type: application/json\ntransfer-encoding: chunked";
    let reply = served.ask(head, &format!("{chunk}1\r\n \r\n0\r\n\r\n"));
    assert_eq!(reply.status, 413);
}

#[test]
fn the_socket_file_serves_the_same_and_goes_with_its_listener() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("admin.sock");
    let bound = bind::admin(&AdminListen::Unix(path.clone())).expect("bound");
    let mut served = Served::start(Face::Admin, true, bound);
    let ask = |path: &Path, head: &str| ask(UnixStream::connect(path).expect("connected"), head, "").status;
    assert_eq!(ask(&path, "GET /log HTTP/1.1\nhost: localhost"), 200);
    // No browser gets to a socket file, whatever it takes the name for.
    assert_eq!(ask(&path, "GET /log HTTP/1.1\nhost: docker"), 200);
    assert_eq!(ask(&path, "GET /log HTTP/1.1\nhost: localhost\norigin: null"), 403);
    served.stop().expect("stopped");
    assert!(!path.exists());
}

#[test]
fn half_a_head_from_everybody_keeps_no_probe_out() {
    let bound = bind::public(Listen(([127, 0, 0, 1], 0).into())).expect("bound");
    let served = Served::start_within(NEVER, Face::Public, true, bound);
    let _halves = served.halves();
    assert_eq!(served.ask("GET /livez HTTP/1.1\nhost: x", "").status, 200);
}

#[test]
fn a_request_that_is_answered_keeps_its_place() {
    let bound = bind::admin(&AdminListen::Tcp(([127, 0, 0, 1], 0).into())).expect("bound");
    let served = Served::start_within(NEVER, Face::Admin, true, bound);
    let body = "{\"level\":\"debug\"}";
    let mut asked = served.connect();
    let head = "PUT /log HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nexpect: 100-continue";
    let media = "content-type: application/json";
    write!(asked, "{head}\r\n{media}\r\ncontent-length: {}\r\n\r\n", body.len()).expect("sent");
    let go_on = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut answer = vec![0; go_on.len()];
    asked.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, go_on);
    let _halves = served.halves();
    // Accepted in this order: by now, all of them were.
    assert_eq!(served.ask("GET /log HTTP/1.1\nhost: localhost", "").status, 200);
    asked.write_all(body.as_bytes()).expect("sent");
    let mut answer = String::new();
    asked.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn headers_are_bounded_in_bytes() {
    let served = Served::public(true);
    let reply = served.ask(&format!("GET /livez HTTP/1.1\nhost: x\nx: {}", "y".repeat(20 << 10)), "");
    assert_eq!(reply.status, 431);
}

#[test]
fn a_silent_connection_is_closed() {
    let served = Served::public(true);
    for sent in ["", "GET /livez HTTP/1.1\r\n"] {
        let mut stream = served.connect();
        stream.write_all(sent.as_bytes()).expect("sent");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("closed");
    }
}
