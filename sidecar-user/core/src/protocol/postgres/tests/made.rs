//! Messages that are made: what the recorded clients did not do.

use super::*;
use crate::protocol::Want;

pub(super) fn message(kind: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let len = u32::try_from(body.len() + 4).expect("a short message");
    [&[kind], &len.to_be_bytes()[..], &body].concat()
}

pub(super) fn session() -> Vec<u8> {
    let parameters = b"user\0CANARY\0database\0shop\0\0";
    let len = parameters.len() as u32 + 8;
    [&len.to_be_bytes()[..], &[0, 3, 0, 0], parameters].concat()
}

pub(super) fn query(text: &str) -> Vec<u8> {
    message(b'Q', &[text.as_bytes(), b"\0"])
}

pub(super) fn parse(name: &str, text: &str) -> Vec<u8> {
    message(b'P', &[name.as_bytes(), b"\0", text.as_bytes(), b"\0", &[0, 0]])
}

pub(super) fn bind(name: &str) -> Vec<u8> {
    message(b'B', &[b"\0", name.as_bytes(), b"\0", &[0, 0], &[0, 1, 0, 0, 0, 6], b"CANARY", &[0, 0]])
}

pub(super) fn execute() -> Vec<u8> {
    message(b'E', &[b"\0", &[0; 4]])
}

pub(super) fn sync() -> Vec<u8> {
    message(b'S', &[])
}

pub(super) fn row() -> Vec<u8> {
    message(b'D', &[&[0, 1, 0, 0, 0, 6], b"CANARY"])
}

pub(super) fn done(tag: &str) -> Vec<u8> {
    message(b'C', &[tag.as_bytes(), b"\0"])
}

pub(super) fn ready() -> Vec<u8> {
    message(b'Z', &[b"I"])
}

fn failure(severity: &str, code: &str) -> Vec<u8> {
    let fields = format!("S{severity}\0V{severity}\0C{code}\0MCANARY\0\0");
    message(b'E', &[fields.as_bytes()])
}

pub(super) fn one(kind: u8) -> Vec<u8> {
    message(kind, &[])
}

pub(super) fn c(messages: &[Vec<u8>]) -> (Side, Vec<u8>) {
    (Side::Client, messages.concat())
}

pub(super) fn s(messages: &[Vec<u8>]) -> (Side, Vec<u8>) {
    (Side::Server, messages.concat())
}

/// After a session has begun.
fn check(name: &str, talk: &[(Side, Vec<u8>)], expected: &[&str], odd: Oddities) {
    let begin = [c(&[session()]), s(&[message(b'R', &[&[0; 4]]), ready()])];
    let talk: Talk = begin.iter().chain(talk).cloned().collect();
    let told = play(Birth::Seen, pieces(&talk));
    assert_eq!(
        (told.lines(), told.odd),
        (expected.iter().map(|line| (*line).to_owned()).collect(), odd),
        "{name}"
    );
    check_shown(Birth::Seen, &told, name);
    for exchange in &told.exchanges {
        assert!(!format!("{exchange:?}").contains("CANARY"), "{name}: {exchange:?}");
    }
}

const NONE: Oddities = Oddities {
    orphan_responses: 0,
    malformed: 0,
    oversized: 0,
    overflow: 0,
    resyncs: 0,
    before_join: 0,
    unresolved: 0,
};

#[test]
fn conversations() {
    let select = |n: usize| -> Vec<Vec<u8>> {
        (0..n).flat_map(|n| [parse("", &format!("SELECT 'CANARY' FROM t{n}")), bind(""), execute()]).collect()
    };
    let selected = || [one(b'1'), one(b'2'), row(), done("SELECT 1")];
    check(
        "a query",
        &[c(&[query("SELECT 1")]), s(&[row(), done("SELECT 1"), ready()])],
        &["SELECT (1)"],
        NONE,
    );
    check(
        "one of several statements fails",
        &[
            c(&[query("SELECT 1; UPDATE t SET a = 'CANARY'")]),
            s(&[row(), done("SELECT 1"), failure("ERROR", "23505"), ready()]),
        ],
        &["SELECT UPDATE t (1) 23505"],
        NONE,
    );
    check(
        "the session is ended in it",
        &[c(&[query("SELECT 1")]), s(&[failure("FATAL", "57P01")])],
        &["SELECT 57P01"],
        NONE,
    );
    check("the session is ended in idleness", &[s(&[failure("FATAL", "57P01")])], &[], NONE);
    check(
        "a notice is no error",
        &[
            c(&[query("SELECT 1")]),
            s(&[message(b'N', &[b"SWARNING\0C01000\0\0"]), done("SELECT 0"), ready()]),
        ],
        &["SELECT (0)"],
        NONE,
    );
    check(
        "several syncs at once",
        &[
            c(&[select(1), vec![sync()], select(2), vec![sync()]].concat()),
            s(&[&selected()[..], &[ready()], &selected(), &selected(), &[ready()]].concat()),
        ],
        &["SELECT t0 (1)", "SELECT t0 (1)", "SELECT t1 (1)"],
        NONE,
    );
    check(
        "what follows an error is skipped, up to the sync",
        &[
            c(&[select(3), vec![sync()], select(1), vec![sync()]].concat()),
            s(&[
                &selected()[..],
                &[one(b'1'), one(b'2'), failure("ERROR", "22012"), ready()],
                &selected(),
                &[ready()],
            ]
            .concat()),
        ],
        &["SELECT t0 (1)", "SELECT t1 22012", "SELECT t0 (1)"],
        NONE,
    );
    check(
        "the sync comes after the error",
        &[
            c(&select(1)),
            s(&[failure("ERROR", "42601")]),
            c(&[select(2), vec![sync()], vec![query("SELECT 1")]].concat()),
            s(&[ready(), done("SELECT 0"), ready()]),
        ],
        &["SELECT t0 42601", "SELECT (0)"],
        NONE,
    );
    check(
        "a parse alone",
        &[
            c(&[parse("a", "SELECT FROM t"), sync()]),
            s(&[one(b'1'), ready()]),
            c(&[parse("a", "SELECT FROM u"), sync()]),
            s(&[failure("ERROR", "42P05"), ready()]),
            c(&[bind("a"), execute(), sync()]),
            s(&[one(b'2'), done("SELECT 0"), ready()]),
        ],
        &["SELECT u 42P05", "SELECT t (0)"],
        NONE,
    );
    check(
        "a statement that nobody saw",
        &[c(&[bind("b"), execute(), sync()]), s(&[one(b'2'), done("SELECT 7"), ready()])],
        &["- (7)"],
        Oddities { unresolved: 1, ..NONE },
    );
    check(
        "a portal that is suspended",
        &[
            c(&[parse("", "SELECT FROM t"), bind(""), execute(), one(b'H')]),
            s(&[one(b'1'), one(b'2'), row(), row(), one(b's')]),
            c(&[execute(), sync()]),
            s(&[row(), done("SELECT 1"), ready()]),
        ],
        &["SELECT t (2)", "SELECT t (1)"],
        NONE,
    );
    let copied = [message(b'd', &[b"CANARY\n"]), one(b'c')];
    check(
        "a copy by an execute, whose first sync is passed over",
        &[
            c(&[parse("", "COPY t FROM STDIN"), bind(""), execute(), sync()]),
            s(&[one(b'1'), one(b'2'), message(b'G', &[&[0, 0, 1, 0, 0]])]),
            c(&[&copied[..], &[sync()]].concat()),
            s(&[done("COPY 1"), ready()]),
            c(&[query("SELECT 1")]),
            s(&[done("SELECT 0"), ready()]),
        ],
        &["COPY t", "SELECT (0)"],
        NONE,
    );
    check(
        "a copy that the server refuses",
        &[
            c(&[query("COPY t FROM STDIN")]),
            s(&[message(b'G', &[&[0, 0, 1, 0, 0]])]),
            c(&copied[..1]),
            s(&[failure("ERROR", "22P04"), ready()]),
            c(&[one(b'c'), query("SELECT 1")]),
            s(&[done("SELECT 0"), ready()]),
        ],
        &["COPY t 22P04", "SELECT (0)"],
        NONE,
    );
    check(
        "a function's call",
        &[c(&[message(b'F', &[b"CANARY"])]), s(&[message(b'V', &[b"CANARY"]), ready()])],
        &["-"],
        NONE,
    );
    check(
        "an answer to nothing",
        &[s(&[done("SELECT 0"), ready()]), c(&[query("SELECT 1")]), s(&[done("SELECT 0"), ready()])],
        &["SELECT (0)"],
        Oddities { orphan_responses: 1, resyncs: 1, ..NONE },
    );
    check(
        "an answer to something else",
        &[
            c(&[query("SELECT 1")]),
            s(&[one(b'1'), ready()]),
            c(&[query("SELECT 2")]),
            s(&[done("SELECT 0"), ready()]),
        ],
        &["SELECT NotObserved", "SELECT (0)"],
        Oddities { resyncs: 1, ..NONE },
    );
    check(
        "no message",
        &[
            c(&[query("SELECT 1")]),
            s(&[b"\xff\xff\xff\xff\xff\xff".to_vec(), ready()]),
            c(&[query("SELECT 2")]),
            s(&[done("SELECT 0"), ready()]),
        ],
        &["SELECT NotObserved", "SELECT (0)"],
        Oddities { malformed: 1, resyncs: 1, ..NONE },
    );
}

#[test]
fn more_than_may_be_outstanding_is_counted_and_not_told() {
    let n = Limits::default().small();
    let request = [bind("a"), execute()].concat().repeat(n + 44);
    let answer = [one(b'2'), done("UPDATE 1")].concat().repeat(n + 44);
    let talk = [
        c(&[parse("a", "UPDATE t SET a = $1"), request, sync()]),
        s(&[one(b'1'), answer, ready()]),
        c(&[query("SELECT 1")]),
        s(&[done("SELECT 0"), ready()]),
    ];
    let mut expected = vec!["UPDATE t"; n];
    expected.push("SELECT (0)");
    check("all at once", &talk, &expected, Oddities { overflow: 44, ..NONE });
}

#[test]
fn before_a_session() {
    let wish = |code: u32| [&8u32.to_be_bytes()[..], &code.to_be_bytes()].concat();
    let (tls, gss) = (wish(80_877_103), wish(80_877_104));
    let cancel = [&16u32.to_be_bytes()[..], &80_877_102u32.to_be_bytes(), b"CANARY!!"].concat();
    let go_on = [c(&[session()]), s(&[ready()]), c(&[query("SELECT 1")]), s(&[done("SELECT 0"), ready()])];
    let say_so = |wish: &[u8]| (Side::Client, wish.to_vec());
    let say = |byte: &[u8]| (Side::Server, byte.to_vec());
    let played = |talk: &[(Side, Vec<u8>)]| {
        let talk = talk.to_vec();
        let told = play(Birth::Seen, pieces(&talk));
        (told.lines().join(", "), told.next, told.explained)
    };
    let refused = [&[say_so(&gss), say(b"N"), say_so(&tls), say(b"N")], &go_on[..]].concat();
    let n = refused.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    assert_eq!(played(&refused), ("SELECT (0)".to_owned(), Next::Continue, n));
    assert_eq!(played(&[say_so(&tls), say(b"S")]), (String::new(), Next::Become, 9));
    assert_eq!(played(&[say_so(&gss), say(b"G")]), (String::new(), Next::Encrypted, 9));
    assert_eq!(played(&[c(&[cancel])]), (String::new(), Next::Continue, 16));
    assert_eq!(played(&[say_so(&tls), say(b"x")]).1, Next::Opaque);
    // What a server said before it was asked is no part of what it answers.
    assert_eq!(played(&[say(b"E\0\0\0\x40SERRORab"), say_so(&tls), say(b"NZ\0\0\0\x05I")]).1, Next::Continue);
    assert_eq!(played(&[(Side::Client, b"GET / HTTP/1.1\r\n".to_vec())]).1, Next::Opaque);

    let mut parser = open(Limits::default().into(), Birth::Seen);
    let mut out = Vec::new();
    let _ = parser.push(Side::Client, Ktime(1), &tls, &mut out);
    let _ = parser.push(Side::Server, Ktime(2), b"S", &mut out);
    assert_eq!(parser.successor().map(|next| next.protocol.name), Some("tls"));
}

/// What is played with holes: bytes, bytes by design not copied, or lost.
enum Do {
    Push(Side, Vec<u8>),
    Skip(Side, u64),
    Gap(Side, u64),
    Close(Close),
}

fn holes(script: &[Do]) -> (Vec<String>, Oddities) {
    let mut parser = open(Limits::default().into(), Birth::Seen);
    let (mut out, mut is_closed) = (Vec::new(), false);
    for (at, step) in (1..).map(Ktime).zip(script) {
        let _ = match step {
            Do::Push(side, bytes) => parser.push(*side, at, bytes, &mut out),
            Do::Skip(side, n) => parser.skipped(*side, at, *n, &mut out),
            Do::Gap(side, n) => parser.gap(*side, at, *n, &mut out),
            Do::Close(how) => {
                parser.close(at, *how, &mut out);
                is_closed = true;
                continue;
            }
        };
    }
    let odd = parser.oddities();
    if !is_closed {
        parser.close(Ktime(99), Close::Closed, &mut out);
    }
    let told = out.iter().filter_map(|signal| match signal {
        Signal::Finished(exchange) => Some(line(exchange)),
        Signal::Started(_) | Signal::Message(_) => None,
    });
    (told.collect(), odd)
}

#[test]
fn bytes_that_nobody_saw() {
    let push = |(side, bytes): (Side, Vec<u8>)| Do::Push(side, bytes);
    let begin = || [push(c(&[session()])), push(s(&[ready()]))];
    let check = |name: &str, script: Vec<Do>, expected: &[&str], odd: Oddities| {
        let script: Vec<Do> = begin().into_iter().chain(script).collect();
        let (lines, counted) = holes(&script);
        assert_eq!(
            (lines, counted),
            (expected.iter().map(|line| (*line).to_owned()).collect(), odd),
            "{name}"
        );
    };
    let asked = || push(c(&[query("SELECT 1 FROM t")]));
    let again = || [push(c(&[query("SELECT 2")])), push(s(&[done("SELECT 0"), ready()]))];
    let large = |kind: u8| [&[kind], &1_000_004u32.to_be_bytes()[..], b"abc"].concat();
    let mut script = vec![asked(), Do::Push(Side::Server, large(b'D')), Do::Skip(Side::Server, 999_997)];
    script.push(push(s(&[done("SELECT 1"), ready()])));
    check("a large row is not copied", script, &["SELECT t (1)"], NONE);
    let mut script = vec![asked(), Do::Push(Side::Server, large(b'D')), Do::Gap(Side::Server, 999_997)];
    script.push(push(s(&[done("SELECT 1"), ready()])));
    check("a large row is lost", script, &["SELECT t"], NONE);
    let text = [&b"Q"[..], &1_000_004u32.to_be_bytes(), b"INSERT INTO t VALUES ("].concat();
    let script = vec![
        Do::Push(Side::Client, text),
        Do::Gap(Side::Client, 1_000_000 - 22),
        push(s(&[done("INSERT 0 1"), ready()])),
    ];
    check("the rest of a statement is lost", script, &["-"], NONE);
    let mut script = vec![asked(), Do::Gap(Side::Server, 10), push(s(&[ready()]))];
    script.extend(again());
    check(
        "an answer is lost",
        script,
        &["SELECT t NotObserved", "SELECT (0)"],
        Oddities { resyncs: 1, ..NONE },
    );
    let mut script = vec![Do::Gap(Side::Client, 20), push(s(&[done("SELECT 0"), ready()]))];
    script.extend(again());
    check("a request is lost", script, &["SELECT (0)"], Oddities { resyncs: 1, ..NONE });
    let unfinished = || Do::Push(Side::Client, query("SELECT 1 FROM t")[..10].to_vec());
    let cut = |how: Close, outcome: &str, script: Vec<Do>| {
        let script = script.into_iter().chain([Do::Close(how)]).collect();
        check(outcome, script, &[outcome], NONE);
    };
    cut(Close::Reset(Side::Server), "SELECT t Unanswered(Reset(Server))", vec![asked()]);
    cut(Close::Forgotten, "SELECT t NotObserved", vec![asked()]);
    cut(Close::Expired, "- Aborted(Expired)", vec![unfinished()]);
    cut(Close::Reset(Side::Client), "SELECT t Truncated(Reset(Client))", vec![asked(), push(s(&[row()]))]);
}

#[test]
fn large_bodies_are_not_asked_for() {
    let mut parser = open(Limits::default().into(), Birth::Seen);
    let mut out = Vec::new();
    let mut want = |side: Side, bytes: &[u8]| parser.push(side, Ktime(1), bytes, &mut out).want[side.index()];
    assert_eq!(want(Side::Client, &session()), Want::Stream);
    assert_eq!(want(Side::Server, &ready()), Want::Stream);
    assert_eq!(want(Side::Client, &query("SELECT 1")), Want::Stream);
    let large = |kind: u8| [&[kind], &1_000_004u32.to_be_bytes()[..]].concat();
    assert_eq!(want(Side::Server, &large(b'D')), Want::Skip(1_000_000));
    // The names in a Bind come first; a statement is read to its end.
    assert_eq!(want(Side::Client, &large(b'B')), Want::Stream);
    assert_eq!(want(Side::Client, &[0; 600]), Want::Skip(999_400));
}

#[test]
fn others_are_none_from_their_first_packet() {
    let others: [&[u8]; 13] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03",
        b"J\x00\x00\x00\x0a8.0.33\x00abcdefghijk",
        b"D\x00\x00\x00\x0a5.5.5-10.11.19-MariaDB\x00abcde",
        b"*1\r\n$4\r\nPING\r\n",
        b"+PONG\r\n",
        b"get key\r\n",
        b"\x00\x1d\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01",
        b"\x00\x00\x00\x14\x00\x03\x00\x00\x00\x00\x00\x01\x00\x00",
        b"Q\x00\x00\x00\x0b\x1bEGIN;\x00",
    ];
    for bytes in others {
        for (client, server) in [(bytes, &b""[..]), (b"", bytes)] {
            assert_eq!((PROTOCOL.detect)(client, server), Detect::No, "{}", bytes.escape_ascii());
        }
    }
}

#[test]
fn in_the_middle_by_either_side() {
    let yes: [(&[u8], &[u8]); 5] = [
        (&query("SELECT a FROM t"), b""),
        (&[bind("a"), execute(), sync()].concat(), b""),
        (&parse("", "SELECT 1"), b""),
        (b"", &[done("SELECT 1"), ready()].concat()),
        (b"", &[row(), row()].concat()),
    ];
    for (client, server) in yes {
        assert_eq!((PROTOCOL.detect)(client, server), Detect::Yes, "{client:?} {server:?}");
        assert_ne!((PROTOCOL.detect)(server, client), Detect::Yes, "{client:?} {server:?}");
        let first = |bytes: &[u8]| bytes[..bytes.len().saturating_sub(1)].to_vec();
        assert_ne!((PROTOCOL.detect)(&first(client), &first(server)), Detect::No, "{client:?} {server:?}");
    }
    assert_eq!((PROTOCOL.detect)(&sync(), b""), Detect::NeedMore);
    assert_eq!((PROTOCOL.detect)(b"", &ready()), Detect::NeedMore);
}
