//! Requests on whose end two readers may disagree, to servers of many opinions: what is counted as answered is what went over
//! the wire, or the connection is marked.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use serde_json::Value;
use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port,
    nginx::Nginx,
    process::{self, Process},
    scrape::{self, Scrape},
    servers::{self, Counts, Server},
    sidecar::Sidecar,
};

const GET: &str = "GET /200/100 HTTP/1.1\r\nHost: a\r\n\r\n";
const CHUNKS: &str = "5\r\nhello\r\n0\r\n\r\n";

/// Header lines of a POST whose body is [`CHUNKS`], which are 15 bytes; a GET follows.
const FRAMINGS: &[(&str, &str)] = &[
    ("length and chunks", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
    ("chunks and the length", "Transfer-Encoding: chunked\r\nContent-Length: 15\r\n"),
    ("no length and chunks", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"),
    ("chunked, identity in two lines", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
    ("identity, chunked in two lines", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"),
    ("chunked, identity in a line", "Transfer-Encoding: chunked, identity\r\n"),
    ("an unknown coding", "Transfer-Encoding: xchunked\r\n"),
    ("an unknown coding and a length", "Transfer-Encoding: xchunked\r\nContent-Length: 15\r\n"),
    ("chunked in capitals", "Transfer-Encoding: CHUNKED\r\n"),
    ("chunked in quotes", "Transfer-Encoding: \"chunked\"\r\n"),
    ("chunked after a vertical tab", "Transfer-Encoding: \u{b}chunked\r\n"),
    ("chunked before a tab", "Transfer-Encoding: chunked\t\r\n"),
    ("a space before the coding's colon", "Transfer-Encoding : chunked\r\n"),
    ("a folded coding", "Transfer-Encoding:\r\n chunked\r\n"),
    (
        "a coding as the folded end of another",
        "X: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 15\r\n",
    ),
    ("an underscore in the name", "Transfer_Encoding: chunked\r\nContent-Length: 15\r\n"),
    ("a bare line feed after the coding", "Transfer-Encoding: chunked\n"),
    ("a bare line feed before the coding", "X: a\nTransfer-Encoding: chunked\r\n"),
    ("a bare return before the coding", "X: a\rTransfer-Encoding: chunked\r\nContent-Length: 15\r\n"),
    ("a zero byte in the coding", "Transfer-Encoding: chunked\0\r\nContent-Length: 15\r\n"),
    ("two lengths", "Content-Length: 5\r\nContent-Length: 15\r\n"),
    ("two lengths the other way", "Content-Length: 15\r\nContent-Length: 5\r\n"),
    ("two lengths in a line", "Content-Length: 5, 15\r\n"),
    ("the same length twice", "Content-Length: 15\r\nContent-Length: 15\r\n"),
    ("the same length twice in a line", "Content-Length: 15, 15\r\n"),
    ("a plus", "Content-Length: +15\r\n"),
    ("a minus", "Content-Length: -15\r\n"),
    ("a hexadecimal length", "Content-Length: 0xf\r\n"),
    ("letters after the length", "Content-Length: 15abc\r\n"),
    ("zeros before the length", "Content-Length: 00000000000000000000015\r\n"),
    ("a length beyond 64 bits", "Content-Length: 18446744073709551631\r\n"),
    ("an underscore in the length", "Content-Length: 1_5\r\n"),
    ("a space before the length's colon", "Content-Length : 15\r\n"),
    ("a zero byte after the length's name", "Content-Length\0: 15\r\n"),
    ("an empty length", "Content-Length:\r\n"),
    ("no framing", ""),
    ("chunks", "Transfer-Encoding: chunked\r\n"),
    ("a length", "Content-Length: 15\r\n"),
];

/// Chunked bodies; a GET follows.
const BODIES: &[(&str, &str)] = &[
    ("an extension", "5;a=b\r\nhello\r\n0;c\r\n\r\n"),
    ("a line feed in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
    ("a return in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
    (
        "a quoted line end in an extension",
        "5;a=\"\r\n0\r\n\r\nGET /200/100 HTTP/1.1\r\nHost: a\r\n\r\n\"\r\nhello\r\n0\r\n\r\n",
    ),
    ("0x before the size", "0x5\r\nhello\r\n0\r\n\r\n"),
    ("zeros before the size", "00000000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("a size beyond 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("the largest size", "ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    ("a size of 32 bits and more", "100000005\r\nhello\r\n0\r\n\r\n"),
    ("a negative size", "-5\r\nhello\r\n0\r\n\r\n"),
    ("a space after the size", "5 \r\nhello\r\n0\r\n\r\n"),
    ("a space before the size", " 5\r\nhello\r\n0\r\n\r\n"),
    ("no size", "\r\nhello\r\n0\r\n\r\n"),
    ("bare line feeds", "5\nhello\n0\n\n"),
    ("a bare return after the size", "5\rhello\r\n0\r\n\r\n"),
    ("more data than was said", "5\r\nhello!\r\n0\r\n\r\n"),
    ("no line end after the data", "5\r\nhello0\r\n\r\n"),
    ("trailers that frame", "5\r\nhello\r\n0\r\nContent-Length: 35\r\nTransfer-Encoding: x\r\n\r\n"),
    ("trailers that do not end", "5\r\nhello\r\n0\r\n"),
    ("no last chunk", "5\r\nhello\r\n"),
];

/// Whole heads; a GET follows.
const HEADS: &[(&str, &str)] = &[
    ("a body on a GET", "GET /200/100 HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n"),
    (
        "chunks by HTTP/1.0",
        "POST /201/100 HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
    ("bare line feeds", "GET /200/100 HTTP/1.1\nHost: a\n\n"),
    ("a line feed and a line end", "GET /200/100 HTTP/1.1\r\nHost: a\n\r\n"),
    ("two spaces", "GET  /200/100 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a tab for a space", "GET\t/200/100 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a space after the version", "GET /200/100 HTTP/1.1 \r\nHost: a\r\n\r\n"),
    ("a space in the target", "GET /200/100 x HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("HTTP/1.2", "GET /200/100 HTTP/1.2\r\nHost: a\r\n\r\n"),
    ("HTTP/1.10", "GET /200/100 HTTP/1.10\r\nHost: a\r\n\r\n"),
    ("HTTP/2.0", "GET /200/100 HTTP/2.0\r\nHost: a\r\n\r\n"),
    ("no version", "GET /200/100\r\n"),
    ("no host", "GET /200/100 HTTP/1.1\r\n\r\n"),
    ("two hosts", "GET /200/100 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    ("a bad host", "GET /200/100 HTTP/1.1\r\nHost: a b\r\n\r\n"),
    ("another host in the target", "GET http://b/200/100 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a space before the first line", "GET /200/100 HTTP/1.1\r\n Host: a\r\n\r\n"),
    ("a line without a colon", "GET /200/100 HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n"),
    ("an empty name", "GET /200/100 HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
    ("line ends before it", "\r\n\r\nGET /200/100 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("close", "GET /200/100 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    ("HTTP/1.0", "GET /200/100 HTTP/1.0\r\nHost: a\r\n\r\n"),
    (
        "an expectation",
        "POST /201/100 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    ),
    (
        "an unknown expectation",
        "POST /201/100 HTTP/1.1\r\nHost: a\r\nExpect: x\r\nContent-Length: 5\r\n\r\nhello",
    ),
    (
        "an upgrade to HTTP/2",
        "GET /200/100 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    ),
    (
        "an upgrade to nothing",
        "GET /200/100 HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ),
    ("a tunnel", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
    ("garbage", "\0\x01\x02\r\n\r\n"),
];

fn attacks() -> Vec<(String, String)> {
    let post =
        |lines: &str, body: &str| format!("POST /201/100 HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}{GET}");
    let framings = FRAMINGS.iter().map(|(name, lines)| ((*name).to_owned(), post(lines, CHUNKS)));
    let bodies = BODIES
        .iter()
        .map(|(name, body)| (format!("chunks: {name}"), post("Transfer-Encoding: chunked\r\n", body)));
    let heads = HEADS.iter().map(|(name, head)| (format!("a head: {name}"), format!("{head}{GET}")));
    let all: Vec<_> = framings.chain(bodies).chain(heads).collect();
    // Each once more behind an honest one.
    let behind =
        all.iter().map(|(name, bytes)| (format!("{name}, behind a GET"), format!("{GET}{bytes}"))).collect();
    [all, behind].concat()
}

/// Sends it: the client's port, and the statuses of the final responses that came back.
fn attack(port: u16, bytes: &str) -> (u16, Vec<u64>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
    let own = stream.local_addr().expect("its address").port();
    // The server may have had enough before the end, and reset it.
    let _ = stream.write_all(bytes.as_bytes());
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    // No body has these words.
    let statuses =
        answer.match_indices("HTTP/1.").filter_map(|(at, _)| answer.get(at + 9..at + 12)?.parse().ok());
    (own, statuses.filter(|status| *status >= 200).collect())
}

/// Requests of a connection as the daemon counted them, in their order.
#[derive(Debug, Default)]
struct Counted {
    statuses: Vec<u64>,
    /// `error.type` of those without a status.
    errors: Vec<String>,
}

/// What the daemon counted on the connection of a client's port.
fn counted(sidecar: &Sidecar, port: u16) -> Counted {
    let path = "/explain?limit=50&metric=http.server.request.duration";
    let answer: Value = serde_json::from_str(&scrape::get(sidecar.admin_port, path, "")).expect("JSON");
    let mut counted = Counted::default();
    for one in answer["exchanges"].as_array().expect("exchanges").iter().rev() {
        if one["connection"]["remote"] == format!("127.0.0.1:{port}") {
            match one["status"].as_u64() {
                Some(status) => counted.statuses.push(status),
                None => counted.errors.push(one["error"]["type"].as_str().expect("an error").to_owned()),
            }
        }
    }
    counted
}

/// How much the daemon said that it did not understand: bytes, malformed heads, responses to nobody.
fn marks(scrape: &Scrape) -> u64 {
    let odd = |reason| scrape.count("sidecar_parser_oddities_total", &[("sidecar_reason", reason)]);
    scrape.bytes("seen") - scrape.bytes("explained") + odd("malformed") + odd("orphan_response")
}

/// nginx with answers to what the attacks ask for.
fn nginx(dir: &Path) -> Nginx {
    let nginx = Nginx::prepare(dir, "127.0.0.1", free_port(), "");
    let answer = |status: u16| format!("location = /{status}/100 {{ return {status} a; }}\n    ");
    nginx.amend("location = /made", &format!("{}{}location = /made", answer(200), answer(201)));
    nginx
}

/// A server, or a proxy and the server behind it, and what they say that they answered.
struct Subject {
    name: &'static str,
    commands: Vec<Vec<String>>,
    port: u16,
    /// Of the last's output.
    account: Box<dyn Fn(&str) -> Counts + Send>,
    /// What is behind a proxy.
    behind: Option<Nginx>,
}

impl Subject {
    fn server(name: &'static str, server: Server) -> Subject {
        let (commands, port) = (vec![server.command.clone()], server.port);
        let account = Box::new(move |output: &str| server.answered(output));
        Subject { name, commands, port, account, behind: None }
    }

    fn nginx(dir: &Path) -> Subject {
        let nginx = nginx(dir);
        let (commands, port) = (vec![nginx.command()], nginx.port);
        Subject { name: "nginx", commands, port, account: Box::new(move |_| nginx.answered()), behind: None }
    }

    /// What it takes for one request nginx may take for two.
    fn haproxy(dir: &Path) -> Subject {
        let (nginx, port, config) = (nginx(dir), free_port(), dir.join("haproxy.cfg"));
        let text = format!(
            "global\n  log stdout format raw local0\ndefaults\n  mode http\n  log global\n  log-format \"%HM %ST\"\n\
             \x20 option http-server-close\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
             listen shop\n  bind 127.0.0.1:{port}\n  server backend 127.0.0.1:{}\n",
            nginx.port
        );
        fs::write(&config, text).expect("the configuration");
        let haproxy = ["haproxy", "-db", "-f", &config.display().to_string()].map(str::to_owned).to_vec();
        let (commands, behind) = (vec![nginx.command(), haproxy], nginx.clone());
        let account = Box::new(move |output: &str| {
            let mut both = servers::counted(output);
            nginx.answered().into_iter().for_each(|(kind, n)| *both.entry(kind).or_default() += n);
            both
        });
        Subject { name: "haproxy", commands, port, account, behind: Some(behind) }
    }

    fn check(self, dir: &Path) {
        let Subject { name, commands, port, account, behind } = self;
        let cgroup = Cgroup::new();
        let path = cgroup.path().display().to_string();
        let mut sidecar = Sidecar::run(dir, &["--cgroup", &path], &[]);
        let output = |n: usize| dir.join(format!("output-{n}"));
        let start = |(n, command): (usize, &Vec<String>)| {
            let words = [cgroup.wrapper(), command.clone()].concat();
            Process::start(Command::new(&words[0]).args(&words[1..]), &output(n))
        };
        let _processes: Vec<_> = commands.iter().enumerate().map(start).collect();
        eventually("the server to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
        let at_rest = || {
            eventually("the connections to go", || {
                let scrape = sidecar.scrape();
                (scrape.count("sidecar_connections_tracked", &[]) == 0).then_some(scrape)
            })
        };
        let mut before = at_rest();
        let (mut n_marked, mut n_unanswered) = (0, 0);
        for (attack, bytes) in attacks() {
            let what = format!("{name}: {attack}");
            let (client, answered) = self::attack(port, &bytes);
            let after = at_rest();
            let Counted { statuses, errors } = counted(&sidecar, client);
            // What is missing is what was not understood, and that is said.
            let is_marked = marks(&after) > marks(&before);
            let is_beginning = answered.starts_with(&statuses);
            assert!(
                statuses == answered || is_beginning && is_marked,
                "{what}: answered {answered:?}, counted {statuses:?}"
            );
            n_marked += u32::from(statuses != answered);
            // The rest was sent behind what the server closed for, and nothing was made of nothing.
            let n_sent = bytes.matches("HTTP/1.").count();
            assert!(
                statuses.len() + errors.len() <= n_sent,
                "{what}: {n_sent} sent, counted {statuses:?} {errors:?}"
            );
            let without_answer = ["client_", "server_", "response_not_observed"];
            assert!(
                errors.iter().all(|error| without_answer.iter().any(|begin| error.starts_with(begin))),
                "{what}: {errors:?}"
            );
            n_unanswered += errors.len();
            before = after;
        }
        let answered = account(&process::read(&output(commands.len() - 1)));
        let seen = before.requests("server");
        println!(
            "{name}: {n_marked} connections marked, {n_unanswered} requests unanswered: {seen:?}; its account {answered:?}"
        );
        // By method and status: what the server itself says is never less.
        for (kind, n) in seen.iter().filter(|((_, status), _)| matches!(status.as_str(), "200" | "201")) {
            assert!(answered.get(kind) >= Some(n), "{name}: {kind:?} {n}, {answered:?}");
        }
        if let Some(nginx) = behind {
            // Of some that it is answering the proxy has had enough before the answer comes.
            let sum = |counts: Counts| counts.values().sum::<u64>();
            assert_eq!(sum(before.requests("client")), sum(nginx.answered()), "{name} to nginx");
        }
        sidecar.assert_sound(name, 64 * 1024);
    }
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn requests_that_two_readers_end_differently() {
    thread::scope(|scope| {
        let makers: [fn(&Path) -> Subject; 7] = [
            Subject::nginx,
            Subject::haproxy,
            |dir| Subject::server("java", Server::java(dir)),
            |dir| Subject::server("node", Server::node(dir)),
            |dir| Subject::server("python", Server::python(dir)),
            |_| Subject::server("uvicorn", Server::uvicorn()),
            |dir| Subject::server("caddy", Server::caddy(dir)),
        ];
        for make in makers {
            scope.spawn(move || {
                let dir = tempfile::tempdir().expect("a folder");
                make(dir.path()).check(dir.path());
            });
        }
    });
}

/// What a server refuses is counted if its first line came, with the status that the server gave.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn refused_requests_are_counted_from_their_first_line_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let nginx = nginx(dir.path());
    nginx.amend("client_max_body_size 0", "client_max_body_size 1k");
    let command = nginx.command();
    let sidecar = Sidecar::run(dir.path(), &[], &command.iter().map(String::as_str).collect::<Vec<_>>());
    nginx.await_listening();
    let send = |all: &[String]| {
        let n: usize = all.iter().map(|bytes| attack(nginx.port, bytes).1.len()).sum();
        eventually("the connections to go", || {
            let scrape = sidecar.scrape();
            (scrape.count("sidecar_connections_tracked", &[]) == 0).then_some((n, scrape))
        })
    };
    let line = "GET /200/100 HTTP/1.1\r\n";
    let whole = [
        format!("{line}\r\n"),
        format!("{line}Host: a b\r\n\r\n"),
        format!("{line}Host: a\r\nHost: b\r\n\r\n"),
        format!("{line}Host: a\r\nX: {}\r\n\r\n", "v".repeat(12_000)),
        format!("{line}Host: a\r\nX: {}\r\n\r\n", "v".repeat(60_000)),
        "TRACE /200/100 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "POST /100.bin HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
        "POST /made HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n".to_owned(),
        "POST /made HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n".to_owned(),
        "POST /made HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n".to_owned(),
    ];
    let (n, counted) = send(&whole);
    let refused = nginx.answered();
    println!("refused {refused:?}");
    assert_eq!(n, whole.len());
    assert!(refused.keys().all(|(_, status)| status.starts_with(['4', '5'])), "{refused:?}");
    assert_eq!(counted.requests("server"), refused);

    let n_before = counted.bytes("seen") - counted.bytes("explained");
    let without = [
        "GET /200/100".to_owned(),
        format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "p".repeat(100_000)),
        "GET /200/100\r\n".to_owned(),
        "\0\x01\x02\r\n\r\n".to_owned(),
        "GET /200/100 HTTP/2.0\r\nHost: a\r\n\r\n".to_owned(),
    ];
    let (_, after) = send(&without);
    let logged: u64 = nginx.answered().values().sum();
    assert_eq!(logged, (whole.len() + without.len()) as u64);
    assert_eq!(after.requests("server"), refused);
    assert!(after.bytes("seen") - after.bytes("explained") > n_before);
}
