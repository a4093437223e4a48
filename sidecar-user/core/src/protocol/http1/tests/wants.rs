//! How much the parser asks for, and what it holds.

use super::super::open;
use super::script::{CLIENT, Do, SERVER, c, s};
use crate::model::Ktime;
use crate::protocol::{Birth, Limits, Want};

const GET: &str = "GET / HTTP/1.1|Host: a||";
const OK: &str = "HTTP/1.1 200 OK|Content-Length: 2||ok";
const CHUNKS: &str = "HTTP/1.1 200 OK|Transfer-Encoding: chunked||";

/// What is wanted of the client and of the server after a conversation.
fn check(name: &str, birth: Birth, script: &[Do], want: [Want; 2]) {
    check_paced(name, 0, birth, script, want);
}

/// The same, with so many nanoseconds between two steps.
fn check_paced(name: &str, pace: u64, birth: Birth, script: &[Do], want: [Want; 2]) {
    let mut parser = open(Limits::default().into(), birth);
    let mut wanted = [Want::Stream; 2];
    let mut out = Vec::new();
    for (step, at) in script.iter().zip((0..).map(|n| Ktime(1 + n * pace))) {
        wanted = match step {
            Do::Push(side, bytes) => parser.push(*side, at, bytes, &mut out).want,
            Do::Skip(side, n) => parser.skipped(*side, at, *n, &mut out).want,
            Do::Gap(side, n) => parser.gap(*side, at, *n, &mut out).want,
            Do::End(_) | Do::Close(_) => wanted,
        };
    }
    assert_eq!(wanted, want, "{name}");
}

#[test]
fn wants() {
    let long = "HTTP/1.1 200 OK|Content-Length: 100000||";
    let seen = |name, script: &[Do], want| check(name, Birth::Seen, script, want);
    seen("nothing is known yet", &[c("GET")], [Want::Undecided, Want::Undecided]);
    seen("a request", &[c(GET)], [Want::Heads, Want::Undecided]);
    seen("messages alternate", &[c(GET), s(OK)], [Want::Heads, Want::Heads]);
    seen("a head goes on", &[c(GET), s(OK), c("GET /")], [Want::Undecided, Want::Heads]);
    seen("a long body", &[c(GET), s(long)], [Want::Heads, Want::Skip(100_000)]);
    seen("a body's last part", &[c(GET), s(long), Do::Skip(SERVER, 90_000)], [Want::Heads, Want::Heads]);
    seen("after a body", &[c(GET), s(long), Do::Skip(SERVER, 100_000)], [Want::Heads, Want::Heads]);
    seen(
        "a long request body",
        &[c("PUT / HTTP/1.1|Content-Length: 20000||")],
        [Want::Skip(20_000), Want::Undecided],
    );
    let early = [c("PUT / HTTP/1.1|Content-Length: 5||ab"), s(OK)];
    seen("answered before its body", &early, [Want::Stream, Want::Stream]);
    let events = "HTTP/1.1 200 OK|Content-Type: text/event-stream||data: a";
    seen("events", &[c(GET), s(events)], [Want::Heads, Want::Stream]);
    seen("until the close", &[c(GET), s("HTTP/1.0 200 OK||")], [Want::Heads, Want::Heads]);
    seen("pipelined", &[c(GET), c(GET)], [Want::Stream, Want::Stream]);
    seen("pipelined once", &[c(GET), c(GET), s(OK), s(OK), c(GET)], [Want::Stream, Want::Stream]);
    seen("chunks", &[c(GET), s(CHUNKS)], [Want::Heads, Want::Stream]);
    seen("chunks once", &[c(GET), s(CHUNKS), s("0||"), c(GET), s(OK)], [Want::Heads, Want::Stream]);
    let raw = [c(GET), c("no request||")];
    seen("the client goes on with something else", &raw, [Want::Skip(u64::MAX), Want::Undecided]);
    let large = [c(GET), s(CHUNKS), s("200000|"), Do::Skip(SERVER, 0x11_0000)];
    seen("a large chunk", &large, [Want::Heads, Want::Skip(0x0f_0000)]);
    let end = [&large[..], &[Do::Skip(SERVER, 0x0f_0000)]].concat();
    seen("after a large chunk", &end, [Want::Heads, Want::Stream]);
    let after = [&end[..], &[s("|0||")]].concat();
    seen("after the body", &after, [Want::Heads, Want::Stream]);
    // Small chunks, at once and one a millisecond.
    let chunk = format!("1000|{}|", "x".repeat(0x1000));
    let many = [vec![c(GET), s(CHUNKS)], vec![s(&chunk); 300]].concat();
    seen("many chunks at once", &many, [Want::Heads, Want::Heads]);
    check_paced("many chunks over time", 1_000_000, Birth::Seen, &many, [Want::Heads, Want::Stream]);
    check(
        "the body of a response to what may have been a HEAD",
        Birth::Joined,
        &[s(long)],
        [Want::Undecided, Want::Heads],
    );
}

#[test]
fn what_is_held_is_bounded() {
    let limits = Limits::default();
    let mut parser = open(limits.clone().into(), Birth::Seen);
    let mut out = Vec::new();
    let _ = parser.push(CLIENT, Ktime(1), b"GET / HTTP/1.1\r\nCookie: ", &mut out);
    let _ = parser.push(SERVER, Ktime(1), b"HTTP/1.1 200 OK\r\nSet-Cookie: ", &mut out);
    for _ in 0..1000 {
        let _ = parser.push(CLIENT, Ktime(2), &[b'x'; 1000], &mut out);
        let _ = parser.push(SERVER, Ktime(2), &[b'x'; 1000], &mut out);
        assert!(parser.held() < 5 * limits.head_bytes, "{}", parser.held());
    }
    let odd = parser.oddities();
    assert_eq!((odd.oversized, odd.orphan_responses), (2, 0));
}
