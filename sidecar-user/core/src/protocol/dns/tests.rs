use super::*;
use crate::model::{Cut, Detail, Exchange, Ktime, Outcome, Side};
use crate::protocol::{
    Close,
    Detect::{NeedMore, No, Yes},
    Next, Oddities, Signal,
};

/// As dig asks for `www.example` over TCP, with EDNS and a cookie.
fn question(id: u16, name: &str, record_type: u16) -> Vec<u8> {
    let cookie = b"\0\0\x29\x04\xd0\0\0\0\0\0\x0c\0\x0a\0\x08abcdefgh";
    framed(id, [0x01, 0x20], [1, 0, 0, 1], &[&asked(name, record_type), cookie])
}

fn asked(name: &str, record_type: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&record_type.to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    bytes
}

fn framed(id: u16, flags: [u8; 2], counts: [u16; 4], parts: &[&[u8]]) -> Vec<u8> {
    let header = [&id.to_be_bytes()[..], &flags, &counts.map(u16::to_be_bytes).concat()].concat();
    let message = [header, parts.concat()].concat();
    [&(message.len() as u16).to_be_bytes()[..], &message].concat()
}

const OPT: &[u8] = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";

/// An answer with `n` addresses.
fn answer(id: u16, name: &str, record_type: u16, code: u8, n: u16) -> Vec<u8> {
    let record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\0\x01".repeat(n.into());
    framed(id, [0x81, 0x80 | code], [1, n, 0, 1], &[&asked(name, record_type), &record, OPT])
}

fn soa() -> Vec<u8> {
    [&b"\xc0\x0c\0\x06\0\x01\0\0\0\x3c\0\x16"[..], &[0; 22]].concat()
}

type Piece = (Side, Vec<u8>);

/// What comes of pieces, each at its number as time, and of the end.
fn run(birth: Birth, pieces: &[Piece], how: Close) -> (Vec<Exchange>, Oddities, u64) {
    let mut parser = open(Arc::default(), birth);
    let (mut out, mut explained) = (Vec::new(), 0);
    for (at, (side, bytes)) in (1..).map(Ktime).zip(pieces) {
        let step = parser.push(*side, at, bytes, &mut out);
        explained += step.explained;
        if step.next != Next::Continue {
            break;
        }
    }
    parser.close(Ktime(99), how, &mut out);
    let finished = out.into_iter().filter_map(|signal| match signal {
        Signal::Finished(exchange) => Some(exchange),
        _ => None,
    });
    (finished.collect(), parser.oddities(), explained)
}

/// Name, type, code, answers and outcome.
type Told = (String, u16, Option<u16>, u16, Outcome);

fn told(exchange: &Exchange) -> Told {
    let Detail::Dns(dns) = &exchange.detail else { panic!("{exchange:?}") };
    (dns.name.to_string(), dns.record_type, dns.code, dns.answers, exchange.outcome)
}

fn all(exchanges: &[Exchange]) -> Vec<Told> {
    exchanges.iter().map(told).collect()
}

fn complete(name: &str, record_type: u16, code: u16, answers: u16) -> Told {
    (name.into(), record_type, Some(code), answers, Outcome::Complete)
}

use Side::{Client, Server};

/// Three questions in a row, two of one id; answers in another order, one of them long, two in a piece.
fn conversation() -> Vec<Piece> {
    let (a, aaaa, mx) =
        (question(1, "Www.Example", 1), question(2, "www.example", 28), question(1, "b.example", 15));
    let answers = [answer(1, "b.example", 15, 3, 0), answer(1, "www.EXAMPLE", 1, 0, 100)].concat();
    vec![
        (Client, [a, aaaa].concat()),
        (Client, mx),
        (Server, answer(2, "www.example", 28, 0, 0)),
        (Server, answers),
        (Client, question(3, "c", 1)),
        (Server, answer(3, "c", 1, 2, 0)),
    ]
}

fn expected() -> Vec<Told> {
    vec![
        complete("www.example", 28, 0, 0),
        complete("b.example", 15, 3, 0),
        complete("www.example", 1, 0, 100),
        complete("c", 1, 2, 0),
    ]
}

#[test]
fn answers_in_any_order() {
    let (exchanges, oddities, explained) = run(Birth::Seen, &conversation(), Close::Closed);
    assert_eq!(all(&exchanges), expected());
    assert_eq!(oddities, Oddities::default());
    assert_eq!(explained, conversation().iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>());
    let times = |n: usize| {
        let Exchange { started, requested, answered, ended, .. } = exchanges[n];
        [Some(started), requested, answered, Some(ended)].map(|at| at.map(|at| at.0))
    };
    assert_eq!(times(0), [Some(1), Some(1), Some(3), Some(3)]);
    assert_eq!(times(3), [Some(5), Some(5), Some(6), Some(6)]);
    let Detail::Dns(first) = &exchanges[2].detail else { panic!() };
    assert_eq!(first.bytes, [Some(question(1, "www.example", 1).len() as u64 - 2), Some(1640)]);
}

#[test]
fn split_at_every_byte() {
    let pieces = conversation();
    for (n, (side, bytes)) in pieces.iter().enumerate() {
        for at in 0..=bytes.len() {
            let mut split = pieces.clone();
            let (first, second) = bytes.split_at(at);
            split.splice(n..=n, [(*side, first.to_vec()), (*side, second.to_vec())]);
            let (exchanges, oddities, _) = run(Birth::Seen, &split, Close::Closed);
            assert_eq!(all(&exchanges), expected(), "{n} {at}");
            assert_eq!(oddities, Oddities::default());
        }
    }
    let single = |(side, bytes): &Piece| bytes.iter().map(|byte| (*side, vec![*byte])).collect::<Vec<_>>();
    let (exchanges, ..) =
        run(Birth::Seen, &pieces.iter().flat_map(single).collect::<Vec<_>>(), Close::Closed);
    assert_eq!(all(&exchanges), expected());
}

#[test]
fn cut_at_every_byte() {
    let pieces = conversation();
    for (n, (side, bytes)) in pieces.iter().enumerate() {
        for at in 0..bytes.len() {
            let mut cut = pieces[..n].to_vec();
            cut.push((*side, bytes[..at].to_vec()));
            let (exchanges, oddities, _) = run(Birth::Seen, &cut, Close::Reset(Server));
            let whole: Vec<_> =
                all(&exchanges).into_iter().filter(|told| told.4 == Outcome::Complete).collect();
            assert!(expected().starts_with(&whole), "{n} {at}: {whole:?}");
            let is_cut = |told: &Told| {
                told.2.is_none()
                    && matches!(
                        told.4,
                        Outcome::Unanswered(Cut::Reset(Server))
                            | Outcome::Truncated(Cut::Reset(Server))
                            | Outcome::Aborted(Cut::Reset(Server))
                    )
            };
            assert!(all(&exchanges)[whole.len()..].iter().all(is_cut), "{n} {at}");
            assert_eq!(oddities, Oddities::default());
        }
    }
}

#[test]
fn met_anywhere() {
    // From each byte of a long answer on: what was asked before is nobody's, what is asked after is found.
    let long = answer(9, "before.example", 1, 0, 200);
    for at in 1..long.len() {
        let mut pieces = vec![(Server, long[at..].to_vec())];
        pieces.extend(conversation());
        let (exchanges, oddities, _) = run(Birth::Joined, &pieces, Close::Closed);
        assert_eq!(all(&exchanges), expected(), "{at}");
        assert_eq!((oddities.before_join, oddities.orphan_responses), ((long.len() - at) as u64, 0), "{at}");
    }
    let mut pieces = vec![(Server, long.clone())];
    pieces.extend(conversation());
    let (exchanges, oddities, _) = run(Birth::Joined, &pieces, Close::Closed);
    assert_eq!((all(&exchanges), oddities.orphan_responses), (expected(), 1));
}

#[test]
fn what_is_lost_makes_no_answer() {
    let second = answer(2, "b", 1, 0, 3);
    for (lost, left, expected, is_found_again) in [
        // In the middle of an answer, whose question came: it is one.
        (20, second.len() - 20, Some(complete("a", 1, 0, 40)), false),
        // Beyond its end, with the beginning of the next.
        (700, 0, Some(complete("a", 1, 0, 40)), true),
    ] {
        let mut parser = open(Arc::default(), Birth::Seen);
        let mut out = Vec::new();
        let both = [question(1, "a", 1), question(2, "b", 1)].concat();
        let _ = parser.push(Client, Ktime(1), &both, &mut out);
        let first = answer(1, "a", 1, 0, 40);
        let _ = parser.push(Server, Ktime(2), &first[..40], &mut out);
        let _ = parser.gap(Server, Ktime(3), lost, &mut out);
        let rest = if left > 0 { first[40 + lost as usize..].to_vec() } else { second[9..].to_vec() };
        let _ = parser.push(Server, Ktime(4), &rest, &mut out);
        let _ = parser.push(Client, Ktime(5), &question(3, "c", 1), &mut out);
        let _ = parser.push(Server, Ktime(6), &answer(3, "c", 1, 0, 1), &mut out);
        parser.close(Ktime(7), Close::Closed, &mut out);
        let finished: Vec<_> = out
            .iter()
            .filter_map(|signal| match signal {
                Signal::Finished(exchange) => Some(told(exchange)),
                _ => None,
            })
            .collect();
        let unseen =
            if is_found_again { Outcome::NotObserved } else { Outcome::Unanswered(Cut::Closed(None)) };
        let last = ("b".into(), 1, None, 0, unseen);
        assert_eq!(finished, [expected.expect("one"), complete("c", 1, 0, 1), last]);
        assert_eq!(parser.oddities().resyncs, u32::from(is_found_again));
    }
}

#[test]
fn a_zone_comes_in_several_messages() {
    let name = asked("zone", 252);
    let record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\0\x01";
    let message = |parts: &[&[u8]], n: u16| framed(5, [0x84, 0], [1, n, 0, 0], parts);
    let first = message(&[&name, &soa(), record], 2);
    let pieces = vec![
        (Client, question(5, "zone", 252)),
        (Server, first.clone()),
        (Server, message(&[&name, record, record], 2)),
        (Server, message(&[&name, record, &soa()], 2)),
    ];
    let (exchanges, oddities, _) = run(Birth::Seen, &pieces, Close::Closed);
    assert_eq!(all(&exchanges), [complete("zone", 252, 0, 6)]);
    assert_eq!((exchanges[0].ended, oddities), (Ktime(4), Oddities::default()));
    let (exchanges, ..) = run(Birth::Seen, &pieces[..3], Close::Reset(Server));
    let cut = ("zone".to_owned(), 252, None, 4, Outcome::Truncated(Cut::Reset(Server)));
    assert_eq!(all(&exchanges), [cut]);
    let (exchanges, ..) =
        run(Birth::Seen, &[pieces[0].clone(), (Server, answer(5, "zone", 252, 5, 0))], Close::Closed);
    assert_eq!(all(&exchanges), [complete("zone", 252, 5, 0)]);
}

#[test]
fn what_is_no_lookup_makes_none() {
    let notify = framed(7, [0x24, 0], [1, 0, 0, 0], &[&asked("zone", 6)]);
    let two = framed(8, [1, 0], [2, 0, 0, 0], &[&asked("a", 1), &asked("b", 1)]);
    let (exchanges, oddities, _) = run(
        Birth::Seen,
        &[
            (Client, question(1, "a", 1)),
            (Client, [notify, two].concat()),
            (Client, vec![0, 3, 1, 2, 3]),
            (Server, framed(7, [0xa4, 0], [1, 0, 0, 0], &[&asked("zone", 6)])),
            (Server, answer(4, "a", 1, 0, 0)),
            (Server, answer(1, "b", 1, 0, 0)),
            // An answer that has no question.
            (Server, framed(1, [0x81, 0x85], [0; 4], &[])),
        ],
        Close::Closed,
    );
    assert_eq!(all(&exchanges), [complete("a", 1, 5, 0)]);
    assert_eq!((oddities.malformed, oddities.orphan_responses), (1, 2));
}

#[test]
fn no_more_than_allowed_wait() {
    let questions: Vec<u8> = (0..300).flat_map(|id| question(id, "a", 1)).collect();
    let answers: Vec<u8> = (0..300).flat_map(|id| answer(id, "a", 1, 0, 0)).collect();
    let (exchanges, oddities, _) = run(Birth::Seen, &[(Client, questions), (Server, answers)], Close::Closed);
    assert_eq!((exchanges.len(), oddities.overflow, oddities.orphan_responses), (256, 44, 44));
}

#[test]
fn told_from_everything_else() {
    let ask = question(1, "www.example", 1);
    let plain = framed(1, [1, 0], [1, 0, 0, 0], &[&asked("a", 1)]);
    let reply = answer(1, "www.example", 1, 0, 3);
    let large = answer(1, "www.example", 1, 0, 2000);
    for (name, client, server, expected) in [
        ("a question", &ask[..], &b""[..], Yes),
        ("a question without EDNS", &plain, b"", Yes),
        ("a question for the root", b"\0\x11\0\x01\x01\0\0\x01\0\0\0\0\0\0\0\0\x02\0\x01", b"", Yes),
        ("part of one", &ask[..ask.len() - 1], b"", NeedMore),
        ("a byte", &ask[..1], b"", NeedMore),
        ("nothing", b"", b"", NeedMore),
        ("an answer", b"", &reply, Yes),
        ("part of one", b"", &reply[..reply.len() - 1], NeedMore),
        ("the beginning of a large one", b"", &large[..600], Yes),
        ("the middle of something, and a question", &ask, b"\xff\xff\xff\xff\xff\xff", Yes),
        ("the middle of something, and an answer", b"\xff\xff\xff", &reply, Yes),
        ("turned round", &reply, b"", No),
        ("turned round too", b"", &ask, No),
        ("HTTP/1", b"GET / HTTP/1.1\r\n", b"", No),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"", No),
        ("TLS", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", b"", No),
        ("PostgreSQL", b"\0\0\0\x29\0\x03\0\0user\0", b"", No),
        ("PostgreSQL asks for TLS", b"\0\0\0\x08\x04\xd2\x16\x2f", b"", No),
        ("MySQL", b"", b"\x4a\0\0\0\x0a5.5.5-10.11.6-MariaDB\0", No),
        ("RESP", b"*1\r\n$4\r\nPING\r\n", b"", No),
        ("memcached", b"get a\r\n", b"", No),
        ("memcached's binary", b"\x80\0\0\x01\0\0\0\0\0\0\0\x01", b"", No),
        ("SSH", b"", b"SSH-2.0-OpenSSH_9.2\r\n", No),
        ("zeros", &[0; 64], b"", No),
    ] {
        assert_eq!(detect(client, server), expected, "{name}");
    }
    // It ends where its length says.
    for change in [-1i32, 1] {
        let mut odd = [&plain[..], &[0; 8]].concat();
        odd[1] = (i32::from(odd[1]) + change) as u8;
        assert_eq!(detect(&odd, b""), No, "{change}");
    }
}

#[test]
fn what_is_none_is_left_alone() {
    let mut parser = open(Arc::default(), Birth::Seen);
    let mut out = Vec::new();
    let step = parser.push(Client, Ktime(1), b"\0\x04abcd\0\x04abcd", &mut out);
    assert_eq!((step.next, step.explained), (Next::Opaque, 0));
}
