//! Conversations, from the request that is upgraded on, cut and lost at every byte.

use crate::model::{Cut, Detail, Ktime, MessageKind, Outcome, Side};
use crate::protocol::{Birth, Close, Keep, Limits, Next, Parser, Signal, Then, Want, http1};

const REQUEST: &[u8] =
    b"GET /chat?a HTTP/1.1\r\nHost: ws.test:8080\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/// The frames of RFC 6455 section 5.7, and of RFC 7692 section 7.2.3.1.
const HELLO: &[u8] = &[0x81, 5, b'H', b'e', b'l', b'l', b'o'];
const MASKED_HELLO: &[u8] = &[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
const HEL: &[u8] = &[0x01, 3, b'H', b'e', b'l'];
const LO: &[u8] = &[0x80, 2, b'l', b'o'];
const PING: &[u8] = &[0x89, 5, b'H', b'e', b'l', b'l', b'o'];
const MASKED_PONG: &[u8] = &[0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
const COMPRESSED: &[u8] = &[0xc1, 7, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
/// 1001 and a reason; the same, masked.
const GOING: &[u8] = &[0x88, 5, 0x03, 0xe9, b'b', b'y', b'e'];
const MASKED_GOING: &[u8] = &[0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xe9 ^ 2];
const NO_CODE: &[u8] = &[0x88, 0];

#[derive(Clone, Copy)]
enum Do<'a> {
    Push(Side, &'a [u8]),
    Skip(Side, u64),
    Gap(Side, u64),
    End(Side),
}

const fn c(bytes: &[u8]) -> Do<'_> {
    Do::Push(Side::Client, bytes)
}

const fn s(bytes: &[u8]) -> Do<'_> {
    Do::Push(Side::Server, bytes)
}

/// What a conversation came to, as `Flow` would have it: the messages, and the sessions.
#[derive(Debug, PartialEq, Eq)]
struct Came {
    messages: Vec<String>,
    sessions: Vec<String>,
    explained: u64,
    given: u64,
    malformed: u32,
    next: Next,
}

/// Step `n` happens at time `n`; each push is split by `piece`.
fn run(script: &[Do<'_>], how: Close, limits: &Limits, piece: impl Fn(usize) -> usize) -> Came {
    let Then::Parse(open) = http1::PROTOCOL.then else { panic!("a parser") };
    let mut parser = open(limits.clone().into(), Birth::Seen);
    let mut out = Vec::new();
    let (mut explained, mut given, mut next) = (0, 0, Next::Continue);
    let mut odd = crate::protocol::Oddities::default();
    let mut follow = |parser: &mut Box<dyn Parser>, step: crate::protocol::Step, out: &mut Vec<Signal>| {
        explained += step.explained;
        odd.add(parser.oddities());
        next = step.next;
        if next == Next::Become {
            let mut successor = parser.successor().expect("somebody goes on");
            out.append(&mut successor.signals);
            *parser = successor.parser;
        }
    };
    for (at, step) in (1..).map(Ktime).zip(script) {
        match *step {
            Do::Push(side, mut rest) => {
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(piece(rest.len()).clamp(1, rest.len()));
                    given += now.len() as u64;
                    let step = parser.push(side, at, now, &mut out);
                    follow(&mut parser, step, &mut out);
                    rest = later;
                }
            }
            Do::Skip(side, n) | Do::Gap(side, n) => {
                given += n;
                let is_skip = matches!(step, Do::Skip(..));
                let step = if is_skip {
                    parser.skipped(side, at, n, &mut out)
                } else {
                    parser.gap(side, at, n, &mut out)
                };
                follow(&mut parser, step, &mut out);
            }
            Do::End(side) => {
                let step = parser.end(side, at, &mut out);
                follow(&mut parser, step, &mut out);
            }
        }
    }
    parser.close(Ktime(script.len() as u64 + 1), how, &mut out);
    odd.add(parser.oddities());
    let (mut messages, mut sessions) = (Vec::new(), Vec::new());
    for signal in out {
        match signal {
            Signal::Started(_) => {}
            Signal::Message(message) => {
                messages.push(format!("{:?} {:?} {}", message.side, message.kind, message.bytes));
            }
            Signal::Finished(exchange) => match exchange.detail {
                Detail::WebSocket(socket) => sessions.push(format!(
                    "{} {} {:?} {:?} {} {:?} @{} {}",
                    socket.host.as_deref().unwrap_or("-"),
                    socket.path.as_deref().unwrap_or("-"),
                    socket.messages,
                    socket.bytes,
                    socket.close.map_or("-".to_owned(), |code| code.to_string()),
                    exchange.outcome,
                    exchange.started.0,
                    exchange.ended.0,
                )),
                Detail::Http(http) => assert!(matches!(http.status, None | Some(101))),
                other => panic!("{other:?}"),
            },
        }
    }
    Came { messages, sessions, explained, given, malformed: odd.malformed, next }
}

/// However it is split, `script` comes to these messages and to this session, and everything is explained but `unexplained`.
fn check(name: &str, script: &[Do<'_>], how: Close, messages: &[&str], session: &str, unexplained: u64) {
    for at in 0..40 {
        let piece = |len: usize| if at == 0 { len } else { at };
        let came = run(script, how, &Limits::default(), piece);
        assert_eq!(came.messages, messages, "{name}, by {at}");
        assert_eq!(came.sessions, [session], "{name}, by {at}");
        assert_eq!(came.given - came.explained, unexplained, "{name}, by {at}");
    }
}

const TALK: [Do<'static>; 13] = [
    c(REQUEST),
    s(ANSWER),
    s(HELLO),
    c(MASKED_HELLO),
    s(HEL),
    s(PING),
    c(MASKED_PONG),
    s(LO),
    s(COMPRESSED),
    s(GOING),
    c(MASKED_GOING),
    Do::End(Side::Server),
    Do::End(Side::Client),
];
const TOLD: [&str; 8] = [
    "Server Text 5",
    "Client Text 5",
    "Server Ping 5",
    "Client Pong 5",
    "Server Text 5",
    "Server Text 7",
    "Server Close 5",
    "Client Close 2",
];

#[test]
fn sessions() {
    check(
        "a session that is closed in order",
        &TALK,
        Close::Closed,
        &TOLD,
        "ws.test /chat [1, 3] [5, 17] 1001 Complete @2 11",
        0,
    );
    check(
        "the answer and a message at once",
        &[c(REQUEST), s(&[ANSWER, HELLO, NO_CODE].concat()), Do::End(Side::Server)],
        Close::Closed,
        &["Server Text 5", "Server Close 0"],
        "ws.test /chat [0, 1] [0, 5] 1005 Truncated(Closed(Some(Server))) @2 3",
        0,
    );
    check(
        "reset",
        &[c(REQUEST), s(ANSWER), c(&MASKED_HELLO[..8])],
        Close::Reset(Side::Client),
        &[],
        "ws.test /chat [0, 0] [0, 0] - Truncated(Reset(Client)) @2 4",
        0,
    );
    let large = [&[0x82, 127, 0, 0, 0, 0, 0, 2, 0, 0][..], &[7; 100]].concat();
    for lost in [Do::Skip(Side::Server, 0x1_ff9c), Do::Gap(Side::Server, 0x1_ff9c)] {
        check(
            "a payload that is passed over",
            &[c(REQUEST), s(ANSWER), s(&large), lost, s(HELLO)],
            Close::Closed,
            &["Server Binary 131072", "Server Text 5"],
            "ws.test /chat [0, 2] [0, 131077] - Truncated(Closed(None)) @2 6",
            0,
        );
    }
    check(
        "lost in a header",
        &[c(REQUEST), s(ANSWER), s(HELLO), Do::Gap(Side::Server, 1), s(HELLO), c(MASKED_HELLO)],
        Close::Closed,
        &["Server Text 5"],
        "ws.test /chat [0, 1] [0, 5] - NotObserved @2 4",
        1 + 7 + 11,
    );
    check(
        "one side breaks the rules, and the other says so",
        &[c(REQUEST), s(ANSWER), c(HELLO), s(&[0x88, 2, 0x03, 0xea])],
        Close::Closed,
        &["Server Close 2"],
        "ws.test /chat [0, 0] [0, 0] 1002 Truncated(Closed(None)) @2 5",
        7,
    );
}

#[test]
fn what_is_cut_off_tells_fewer_messages_and_none_that_is_wrong() {
    let all: Vec<(Side, u8)> = TALK
        .iter()
        .filter_map(|step| match step {
            Do::Push(side, bytes) => Some(bytes.iter().map(|byte| (*side, *byte))),
            _ => None,
        })
        .flatten()
        .collect();
    for n in 0..all.len() {
        let bytes: Vec<[u8; 1]> = all[..n].iter().map(|(_, byte)| [*byte]).collect();
        let script: Vec<Do<'_>> =
            all.iter().zip(&bytes).map(|((side, _), byte)| Do::Push(*side, &byte[..])).collect();
        let came = run(&script, Close::Closed, &Limits::default(), |len| len);
        assert_eq!(came.messages, TOLD[..came.messages.len()], "{n} bytes");
        assert_eq!(came.sessions.len(), usize::from(n >= REQUEST.len() + ANSWER.len()), "{n} bytes");
    }
}

#[test]
fn what_is_no_frame_is_said() {
    for (name, client, server, malformed) in [
        ("a client's without a mask", HELLO, HELLO, 1),
        ("a server's with one", MASKED_HELLO, MASKED_HELLO, 1),
        ("a reserved opcode", &[0x83, 0x80, 0, 0, 0, 0][..], &[0x8b, 0][..], 2),
        ("reserved bits", &[0xa1, 0x80, 0, 0, 0, 0], &[0x91, 0], 2),
        ("a control frame in pieces", &[0x09, 0x80, 0, 0, 0, 0], &[0x08, 0], 2),
        ("a long control frame", &[0x89, 0xfe, 0, 126, 0, 0, 0, 0], &[0x8a, 126, 0, 126], 2),
        ("nothing to continue", &[0x80, 0x80, 0, 0, 0, 0], LO, 2),
        ("a message in a message", &[0x01, 0x80, 0, 0, 0, 0, 0x81, 0x80, 0, 0, 0, 0], HEL, 1),
        ("a length of 63 bits", MASKED_HELLO, &[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], 1),
    ] {
        for at in 1..12 {
            let script = [c(REQUEST), s(ANSWER), c(client), s(server)];
            let came = run(&script, Close::Closed, &Limits::default(), |_| at);
            assert_eq!(came.malformed, malformed, "{name}, by {at}");
            assert_eq!(came.next, Next::Continue, "{name}");
        }
    }
}

#[test]
fn what_is_left_out_is_left_out_whole() {
    let keep = Keep { paths: true, excluded: vec!["/chat".parse().expect("a pattern")], ..Keep::default() };
    let limits = Limits { keep: keep.into(), ..Limits::default() };
    let came = run(&TALK, Close::Closed, &limits, |len| len);
    assert_eq!(came.messages, [""; 0]);
    assert_eq!(came.sessions.len(), 1);
}

#[test]
fn an_unread_protocol_is_not_read() {
    for upgrade in ["", "Upgrade: tunnel\r\n", "Upgrade: websocket, tunnel\r\n"] {
        let answer = format!("HTTP/1.1 101 Switching Protocols\r\n{upgrade}\r\n");
        let came = run(&[c(REQUEST), s(answer.as_bytes())], Close::Closed, &Limits::default(), |len| len);
        assert_eq!((came.next, came.sessions.len()), (Next::Opaque, 0), "{upgrade}");
    }
}

#[test]
fn a_long_payload_need_not_be_copied() {
    let mut successor = super::successor(Ktime(1), super::Upgraded::default());
    let mut out = Vec::new();
    let mut want = |side, bytes: &[u8]| successor.parser.push(side, Ktime(2), bytes, &mut out).want;
    assert_eq!(want(Side::Server, HELLO), [Want::Stream; 2]);
    assert_eq!(
        want(Side::Server, &[0x82, 127, 0, 0, 0, 0, 0, 2, 0, 0, 1]),
        [Want::Stream, Want::Skip(0x1_ffff)]
    );
    assert_eq!(successor.signals.len(), 1, "it began");
    assert_eq!(successor.parser.held(), 0);
    let kind =
        |signal: &Signal| matches!(signal, Signal::Message(message) if message.kind == MessageKind::Text);
    assert!(out.iter().all(kind));
    successor.parser.close(Ktime(3), Close::Reset(Side::Server), &mut out);
    let Some(Signal::Finished(exchange)) = out.last() else { panic!("it is over") };
    assert_eq!(exchange.outcome, Outcome::Truncated(Cut::Reset(Side::Server)));
}
