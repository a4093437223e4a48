//! What OpenSSL 3.0 says to itself, split and cut at every byte. `talks.txt` has a flight a line: `>` the client's.

use std::fmt::Write as _;

use super::super::handshake::open;
use crate::model::{Detail, Exchange, Ktime, Outcome, Side, Tls};
use crate::protocol::{Birth, Close, Limits, Next, Signal, transcript::witness::Witness};

const TALKS: &str = include_str!("talks.txt");

type Flight = (Side, Vec<u8>);

fn talks() -> Vec<(&'static str, Vec<Flight>)> {
    let mut talks: Vec<(&str, Vec<Flight>)> = Vec::new();
    for line in TALKS.lines() {
        let (mark, rest) = line.split_once(' ').expect("a mark");
        let side = match mark {
            "#" => {
                talks.push((rest, Vec::new()));
                continue;
            }
            ">" => Side::Client,
            "<" => Side::Server,
            other => panic!("{other}"),
        };
        let bytes = rest.as_bytes().chunks(2);
        let byte = |two: &[u8]| u8::from_str_radix(str::from_utf8(two).expect("text"), 16).expect("hex");
        talks.last_mut().expect("a name").1.push((side, bytes.map(byte).collect()));
    }
    talks
}

fn talk(name: &str) -> Vec<Flight> {
    talks().into_iter().find(|(known, _)| *known == name).expect("a talk of this name").1
}

/// What a conversation came to. Flight `n` passes at time `n`; each is split by `piece`.
struct Run {
    exchanges: Vec<Exchange>,
    next: Next,
    explained: u64,
    malformed: u32,
    oversized: u32,
}

fn run(flights: &[Flight], limits: &Limits, how: Close, piece: impl Fn(usize) -> usize) -> Run {
    let mut parser = open(limits.clone().into(), Birth::Seen);
    let (mut out, mut next, mut explained) = (Vec::new(), Next::Continue, 0);
    for ((side, bytes), at) in flights.iter().zip((1..).map(Ktime)) {
        let mut rest = &bytes[..];
        while !rest.is_empty() && next == Next::Continue {
            let (now, later) = rest.split_at(piece(rest.len()).clamp(1, rest.len()));
            let step = parser.push(*side, at, now, &mut out);
            (next, explained) = (step.next, explained + step.explained);
            rest = later;
            assert!(parser.held() <= 4 * limits.head_bytes, "{}", parser.held());
        }
    }
    parser.close(Ktime(flights.len() as u64 + 1), how, &mut out);
    let odd = parser.oddities();
    let finished = |signal: &Signal| match signal {
        Signal::Finished(exchange) => Some(exchange.clone()),
        Signal::Started(_) | Signal::Message(_) => None,
    };
    let exchanges: Vec<Exchange> = out.iter().filter_map(finished).collect();
    assert_eq!(out.len(), 2 * exchanges.len(), "each start is finished");
    Run { exchanges, next, explained, malformed: odd.malformed, oversized: odd.oversized }
}

fn tls(exchange: &Exchange) -> &Tls {
    let Detail::Tls(tls) = &exchange.detail else { panic!("a handshake: {exchange:?}") };
    tls
}

fn written(exchange: &Exchange) -> String {
    let tls = tls(exchange);
    let name = |name: &Option<Box<str>>| name.as_deref().unwrap_or("-").to_owned();
    let mut text = format!("{} {} ", name(&tls.server_name), name(&tls.alpn));
    let _ = match tls.version {
        Some(version) => write!(text, "{version:?}"),
        None => write!(text, "-"),
    };
    let _ = match tls.is_resumed {
        Some(is_resumed) => write!(text, " {}", if is_resumed { "resumed" } else { "new" }),
        None => write!(text, " -"),
    };
    let _ = write!(text, " {:?}", exchange.outcome);
    if let Some(alert) = tls.alert {
        let _ = write!(text, " {alert}");
    }
    let at = |at: Option<Ktime>| at.map_or("-".to_owned(), |at| at.0.to_string());
    let times = [Some(exchange.started), exchange.requested, exchange.answered, Some(exchange.ended)];
    let _ = write!(text, " {:?} @{}", tls.bytes, times.map(at).join(" "));
    text
}

#[test]
fn handshakes() {
    let told = [
        ("1.2", "a.test h2 Tls12 new Complete [288, 863] @1 1 2 4"),
        ("1.2, a ticket", "a.test h2 Tls12 resumed Complete [568, 150] @1 1 2 3"),
        ("1.2, no tickets", "a.test - Tls12 new Complete [279, 691] @1 1 2 4"),
        ("1.2, a session id", "a.test - Tls12 resumed Complete [269, 141] @1 1 2 3"),
        ("1.3", "a.test h2 Tls13 new Complete [597, 778] @1 1 2 3"),
        ("1.3, a ticket", "a.test h2 Tls13 resumed Complete [642, 250] @1 1 2 3"),
        ("1.3, asked again", "a.test - Tls13 new Complete [1114, 927] @1 1 2 5"),
        ("1.2, not trusted", "a.test - Tls12 new Complete 48 [524, 612] @1 1 2 3"),
        ("1.3, not trusted", "a.test - Tls13 new Complete 48 [524, 769] @1 1 2 3"),
        ("no version in common", "a.test - - - Complete 70 [240, 7] @1 1 2 2"),
        ("1.3, no certificate of the client", "a.test - Tls13 new Complete [276, 836] @1 1 2 3"),
        ("1.3, a certificate of the client", "a.test - Tls13 new Complete [660, 836] @1 1 2 3"),
        ("1.2, no certificate of the client", "a.test - Tls12 new Complete 40 [282, 676] @1 1 2 4"),
    ];
    assert_eq!(
        told.map(|(name, _)| name).to_vec(),
        talks().iter().map(|(name, _)| *name).collect::<Vec<_>>()
    );
    for (name, told) in told {
        let flights = talk(name);
        let longest = flights.iter().map(|(_, bytes)| bytes.len()).max().unwrap_or(0);
        for at in 0..longest {
            let piece = |len: usize| if at == 0 { len } else { at };
            let run = run(&flights, &Limits::default(), Close::Closed, piece);
            let [exchange] = &run.exchanges[..] else { panic!("{name}: {:?}", run.exchanges) };
            assert_eq!(written(exchange), told, "{name}, by {at}");
            assert_eq!((run.next, run.malformed), (Next::Encrypted, 0), "{name}, by {at}");
            assert_eq!(run.explained, tls(exchange).bytes.iter().sum::<u64>(), "{name}, by {at}");
        }
    }
}

#[test]
fn what_is_cut_off_never_says_what_is_wrong() {
    for (name, flights) in talks() {
        let whole = run(&flights, &Limits::default(), Close::Closed, |len| len);
        let whole = &whole.exchanges[0];
        let len: usize = flights.iter().map(|(_, bytes)| bytes.len()).sum();
        for n in 0..len {
            let mut left = n;
            let cut: Vec<Flight> = flights
                .iter()
                .map(|(side, bytes)| {
                    let part = &bytes[..left.min(bytes.len())];
                    left -= part.len();
                    (*side, part.to_vec())
                })
                .collect();
            let run = run(&cut, &Limits::default(), Close::Closed, |len| len);
            assert_eq!(run.exchanges.len(), usize::from(n >= 6), "{name}, {n} bytes");
            let Some(exchange) = run.exchanges.first() else { continue };
            if exchange.outcome == Outcome::Complete {
                assert_eq!(exchange, whole, "{name}, {n} bytes");
            }
            let (part, whole) = (tls(exchange), tls(whole));
            let is_part = |part: &Option<Box<str>>, whole| part.is_none() || part == whole;
            assert!(is_part(&part.server_name, &whole.server_name), "{name}, {n} bytes");
            assert!(part.version.is_none() || part.version == whole.version, "{name}, {n} bytes");
            assert!(part.is_resumed.is_none() || part.is_resumed == whole.is_resumed, "{name}, {n} bytes");
            assert!(part.alert.is_none(), "{name}, {n} bytes");
        }
    }
}

/// So many flights, and then the connection is gone.
fn ended(name: &str, n: usize, how: Close) -> String {
    let run = run(&talk(name)[..n], &Limits::default(), how, |len| len);
    written(&run.exchanges[0])
}

#[test]
fn failures() {
    let (closed, reset) = (Close::Closed, Close::Reset(Side::Server));
    let unanswered = "a.test h2 - - Unanswered(Reset(Server)) [517, 0] @1 1 - 2";
    assert_eq!(ended("1.3", 1, reset), unanswered);
    let cut = "a.test h2 Tls13 new Truncated(Closed(None)) [517, 778] @1 1 2 3";
    assert_eq!(ended("1.3", 2, closed), cut);
    assert_eq!(ended("1.2", 2, closed), "a.test h2 Tls12 new Truncated(Closed(None)) [195, 621] @1 1 2 3");
    assert_eq!(
        ended("1.3, asked again", 2, closed),
        "a.test - Tls13 - Truncated(Closed(None)) [517, 99] @1 1 2 3"
    );
    assert_eq!(ended("1.3", 2, Close::Forgotten), "a.test h2 Tls13 new NotObserved [517, 778] @1 1 2 3");
    // A client that encrypts its alert, as most do.
    let mut flights = talk("1.3")[..2].to_vec();
    flights.push((Side::Client, [&[0x17, 3, 3, 0, 19][..], &[7; 19]].concat()));
    let run = |flights: &[Flight]| run(flights, &Limits::default(), closed, |len| len);
    let refused = run(&flights);
    assert_eq!(
        written(&refused.exchanges[0]),
        "a.test h2 Tls13 new Truncated(Closed(None)) [541, 778] @1 1 2 4"
    );
    assert_eq!(refused.next, Next::Continue);
    let plain = [talk("1.3")[0].clone(), (Side::Server, b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())];
    let plain = run(&plain);
    assert_eq!((plain.next, plain.malformed), (Next::Opaque, 1));
    assert_eq!(plain.exchanges[0].outcome, Outcome::NotObserved);
}

/// A ClientHello that offers to send data before it is answered, and sends some: rewritten from one that resumes.
#[test]
fn early_data_is_not_taken_for_the_end() {
    let mut flights = talk("1.3, a ticket");
    let (_, hello) = &mut flights[0];
    // The extension for encrypt-then-mac has no content either.
    let at = hello.windows(4).position(|four| four == [0, 22, 0, 0]).expect("encrypt_then_mac");
    hello[at + 1] = 42;
    let early = [&[0x17, 3, 3, 0, 40][..], &[7; 40]].concat();
    flights.insert(1, (Side::Client, early.clone()));
    let end = [&[0x17, 3, 3, 0, 21][..], &[7; 21]].concat();
    flights.insert(3, (Side::Client, [early, end].concat()));
    let run = run(&flights, &Limits::default(), Close::Closed, |len| len);
    assert_eq!(written(&run.exchanges[0]), "a.test h2 Tls13 resumed Complete [758, 250] @1 1 3 5");
}

#[test]
fn a_hello_that_is_too_long_says_what_it_can() {
    let limits = Limits { head_bytes: 120, ..Limits::default() };
    for at in [1, 7, 1000] {
        let run = run(&talk("1.3"), &limits, Close::Closed, |_| at);
        assert_eq!(run.oversized, 1);
        assert_eq!(tls(&run.exchanges[0]).alpn, None);
        assert_eq!(run.exchanges.len(), 1);
    }
}

/// A hello in records of its own length, each with a few bytes: the exchange has the same words.
#[test]
fn a_hello_in_many_records() {
    let mut flights = talk("1.3");
    let (_, hello) = &mut flights[0];
    let mut records = Vec::new();
    for piece in hello[5..].chunks(7) {
        records.extend_from_slice(&[0x16, 3, 1, 0, piece.len() as u8]);
        records.extend_from_slice(piece);
    }
    *hello = records;
    let run = run(&flights, &Limits::default(), Close::Closed, |len| len);
    let told = "a.test h2 Tls13 new Complete";
    assert_eq!(written(&run.exchanges[0]).split(" [").next(), Some(told));
}

#[test]
fn what_is_lost_in_a_certificate_is_no_loss() {
    let flights = talk("1.2");
    let certificate = 5 + 74 + 5 + 4;
    for is_skip in [true, false] {
        for (from, n, outcome) in [
            (certificate, 100, Outcome::Complete),
            (certificate + 300, 103, Outcome::Complete),
            (certificate, 500, Outcome::NotObserved),
            (7, 10, Outcome::NotObserved),
        ] {
            let mut parser = open(Limits::default().into(), Birth::Seen);
            let mut out = Vec::new();
            let mut next = Next::Continue;
            for ((side, bytes), at) in flights.iter().zip((1..).map(Ktime)) {
                let mut push = |bytes: &[u8]| {
                    if next == Next::Continue {
                        next = parser.push(*side, at, bytes, &mut out).next;
                    }
                };
                if at == Ktime(2) {
                    push(&bytes[..from]);
                    let miss = if is_skip {
                        parser.skipped(*side, at, n as u64, &mut out)
                    } else {
                        parser.gap(*side, at, n as u64, &mut out)
                    };
                    next = miss.next;
                    let rest = &bytes[from + n..];
                    if next == Next::Continue {
                        next = parser.push(*side, at, rest, &mut out).next;
                    }
                } else {
                    push(bytes);
                }
            }
            let Some(Signal::Finished(exchange)) = out.last() else { panic!("it is over") };
            assert_eq!(exchange.outcome, outcome, "{from} {n}");
            assert_eq!(next, Next::Encrypted);
        }
    }
}

/// Found by the fuzzer: what other records say in the middle of a hello passed after its beginning.
#[test]
fn a_hello_that_is_interrupted_is_told_of_in_order() {
    let (_, flights) = talks().swap_remove(0);
    let hello = [b"\x16\x03\x03\x00\x2a\x02\x40\x00\x51\x03\x03".as_slice(), &[7; 36]].concat();
    let answer = [&hello[..], b"\x14\x03\x03\x00\x01\x01", b"\x16\x03\x03\x00\x04abcd"].concat();
    for n in 1..answer.len() {
        let mut parser = open(Limits::default().into(), Birth::Seen);
        let mut witness = Witness::new(parser.as_mut());
        let (first, second) = answer.split_at(n);
        for (side, bytes) in
            [(Side::Client, &flights[0].1[..]), (Side::Server, first), (Side::Server, second)]
        {
            witness.pushes(side, bytes, ());
            let step = parser.push(side, Ktime(1), bytes, &mut Vec::new());
            witness.pushed(parser.as_mut(), step.next, "tls");
        }
        parser.close(Ktime(2), Close::Closed, &mut Vec::new());
        witness.closed(parser.as_mut(), "tls");
    }
}
