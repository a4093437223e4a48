//! Server-sent events: told as they pass, and the exchange stays one of HTTP.

use super::super::open;
use super::script::{CLIENT, Do, SERVER, c, s, written};
use crate::model::{Ktime, MessageKind};
use crate::protocol::{Birth, Close, Keep, Limits, Signal};

const GET: &str = "GET /s HTTP/1.1|Host: a||";
const STREAM: &str = "HTTP/1.1 200 OK|Content-Type: text/event-stream;charset=utf-8|";

/// What is told of a conversation: exchanges as elsewhere, events as `event BYTES @TIME`.
fn told(script: &[Do], limits: &Limits, piece: usize) -> Vec<String> {
    let mut parser = open(limits.clone().into(), Birth::Seen);
    let mut out = Vec::new();
    for (at, step) in (1..).map(Ktime).zip(script) {
        match step {
            Do::Push(side, bytes) => {
                for bytes in bytes.chunks(piece) {
                    let _ = parser.push(*side, at, bytes, &mut out);
                }
            }
            Do::Skip(side, n) => _ = parser.skipped(*side, at, *n, &mut out),
            Do::Gap(side, n) => _ = parser.gap(*side, at, *n, &mut out),
            Do::End(side) => _ = parser.end(*side, at, &mut out),
            Do::Close(how) => parser.close(at, *how, &mut out),
        }
    }
    let line = |signal: &Signal| match signal {
        Signal::Started(_) => None,
        Signal::Finished(exchange) => Some(written(exchange)),
        Signal::Message(message) => {
            assert_eq!((message.side, message.kind), (SERVER, MessageKind::Event));
            Some(format!("event {} @{}", message.bytes, message.at.0))
        }
    };
    out.iter().filter_map(line).collect()
}

fn check(name: &str, script: &[Do], expected: &[&str]) {
    for piece in 1..200 {
        assert_eq!(told(script, &Limits::default(), piece), expected, "{name}, by {piece}");
    }
}

#[test]
fn events() {
    let chunked = format!("{STREAM}Transfer-Encoding: chunked||");
    check(
        "in chunks of any size",
        &[
            c(GET),
            s(&chunked),
            s("9|data: a||"),
            s("2|||"),
            s("8|data: bc|3||:|4||||0||"),
            c(GET),
            s("HTTP/1.1 204 None||"),
        ],
        &[
            "event 1 @4",
            "event 2 @5",
            "GET a/s -> 200 complete 0/26 @1 1 2 5",
            "GET a/s -> 204 complete 0/0 @6 6 7 7",
        ],
    );
    check(
        "until the close",
        &[
            c(GET),
            s(&format!("{STREAM}|")),
            s("data: a||data: b|"),
            Do::End(SERVER),
            Do::Close(Close::Closed),
        ],
        &["event 1 @3", "GET a/s -> 200 complete 0/20 @1 1 2 3"],
    );
    check(
        "of a length, part of which is lost",
        &[
            c(GET),
            s(&format!("{STREAM}Content-Length: 52||data: a||data")),
            Do::Gap(SERVER, 11),
            s("||data: c||data: d||"),
        ],
        &["event 1 @2", "event 1 @4", "event 1 @4", "GET a/s -> 200 complete 0/52 @1 1 2 4"],
    );
    for other in ["Content-Encoding: gzip|", "Content-Type: text/plain|"] {
        let head = STREAM.replace("Content-Type: text/event-stream;charset=utf-8|", "");
        let kind = if other.starts_with("Content-T") { "" } else { "Content-Type: text/event-stream|" };
        check(
            "nothing that could be read",
            &[c(GET), s(&format!("{head}{kind}{other}Content-Length: 11||data: a||")), Do::End(CLIENT)],
            &["GET a/s -> 200 complete 0/11 @1 1 2 2"],
        );
    }
}

#[test]
fn those_of_what_is_left_out_are_left_out() {
    let keep = Keep { paths: true, excluded: vec!["/s".parse().expect("a pattern")], ..Keep::default() };
    let limits = Limits { keep: keep.into(), ..Limits::default() };
    let script = [c(GET), s(&format!("{STREAM}Content-Length: 11||data: a||"))];
    assert_eq!(told(&script, &limits, 1000).len(), 1);
}
