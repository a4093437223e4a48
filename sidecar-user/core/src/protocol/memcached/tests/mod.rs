//! Conversations, and what is told of them.

mod binary;
mod joined;
mod text;

use std::sync::Arc;

use super::PROTOCOL;
use crate::model::{Detail, Exchange, Ktime, Outcome, Side};
use crate::protocol::{Birth, Close, Limits, Next, Oddities, Parser, Signal, Step, Then};
use Side::{Client, Server};

/// What passes, in order.
type Pushes<'a> = &'a [(Side, &'a [u8])];

struct Play {
    parser: Box<dyn Parser>,
    out: Vec<Signal>,
    odd: Oddities,
    next: Next,
    at: u64,
    given: u64,
    explained: u64,
}

impl Play {
    fn new(birth: Birth) -> Play {
        let Then::Parse(open) = PROTOCOL.then else { unreachable!("it is parsed") };
        Play {
            parser: open(Arc::new(Limits::default()), birth),
            out: Vec::new(),
            odd: Oddities::default(),
            next: Next::Continue,
            at: 0,
            given: 0,
            explained: 0,
        }
    }

    fn took(&mut self, step: Step, n: u64) {
        (self.given, self.explained) = (self.given + n, self.explained + step.explained);
        assert!(self.explained <= self.given);
        self.odd.add(self.parser.oddities());
        self.next = step.next;
    }

    fn push(&mut self, side: Side, bytes: &[u8]) {
        if self.next == Next::Continue {
            self.at += 1;
            let step = self.parser.push(side, Ktime(self.at), bytes, &mut self.out);
            self.took(step, bytes.len() as u64);
        }
    }

    fn gap(&mut self, side: Side, n: u64) {
        self.at += 1;
        let step = self.parser.gap(side, Ktime(self.at), n, &mut self.out);
        self.took(step, n);
    }

    fn close(&mut self) -> Vec<String> {
        self.at += 1;
        self.parser.close(Ktime(self.at), Close::Closed, &mut self.out);
        self.odd.add(self.parser.oddities());
        self.told()
    }

    /// Exchanges so far, in order.
    fn told(&self) -> Vec<String> {
        let line = |signal: &Signal| match signal {
            Signal::Finished(exchange) => Some(line(exchange)),
            Signal::Started(_) | Signal::Message(_) => None,
        };
        self.out.iter().filter_map(line).collect()
    }
}

/// `GET hits=1 of 2 SERVER_ERROR` and what else there is.
fn line(exchange: &Exchange) -> String {
    let Detail::Db(db) = &exchange.detail else { panic!("a database's") };
    let mut line = db.operation.as_deref().unwrap_or("?").to_owned();
    let mut add = |word: &str| {
        line.push(' ');
        line.push_str(word);
    };
    if let Some(rows) = db.rows {
        add(&format!("hits={rows}"));
    }
    if let Some(n) = db.batch {
        add(&format!("of {n}"));
    }
    if let Some(status) = &db.status {
        add(status);
    }
    assert_eq!(db.is_error, db.status.is_some());
    match exchange.outcome {
        Outcome::Complete if exchange.answered.is_none() => add("silent"),
        Outcome::Complete => {}
        other => add(&format!("{other:?}")),
    }
    assert!(exchange.started <= exchange.requested.unwrap_or(exchange.ended));
    assert!(exchange.answered.unwrap_or(exchange.ended) <= exchange.ended);
    line
}

/// Plays it whole, with each push in two at each byte, byte by byte, and cut off at each byte.
fn check(name: &str, pushes: Pushes<'_>, expected: &[&str]) {
    let play = |pieces: &dyn Fn(&[u8]) -> Vec<Vec<u8>>| {
        let mut play = Play::new(Birth::Seen);
        for (side, bytes) in pushes {
            pieces(bytes).iter().for_each(|piece| play.push(*side, piece));
        }
        let told = play.close();
        if play.next == Next::Continue {
            assert_eq!(play.explained, play.given, "{name}");
        }
        told
    };
    assert_eq!(play(&|bytes| vec![bytes.to_vec()]), expected, "{name}");
    assert_eq!(
        play(&|bytes| bytes.chunks(1).map(<[u8]>::to_vec).collect()),
        expected,
        "{name}, byte by byte"
    );
    for at in 0..=pushes.iter().map(|(_, bytes)| bytes.len()).max().unwrap_or(0) {
        let split = |bytes: &[u8]| {
            let (first, second) = bytes.split_at(at.min(bytes.len()));
            vec![first.to_vec(), second.to_vec()]
        };
        assert_eq!(play(&split), expected, "{name}, split at {at}");
    }
    for end in 0..pushes.iter().map(|(_, bytes)| bytes.len()).sum() {
        let (mut play, mut left) = (Play::new(Birth::Seen), end);
        for (side, bytes) in pushes {
            let n = left.min(bytes.len());
            play.push(*side, &bytes[..n]);
            left -= n;
        }
        let told = play.close();
        let over: Vec<_> = told.iter().filter(|line| !line.contains("Closed")).collect();
        assert!(over.len() <= expected.len());
        assert!(over.iter().zip(expected).all(|(one, other)| one == other), "{name}, cut at {end}: {told:?}");
    }
}

#[test]
fn detection() {
    use crate::protocol::Detect::{NeedMore, No, Yes};
    let get = super::tests::binary::message(0x80, 0, 0, b"", b"key", b"", 7);
    let got = super::tests::binary::message(0x81, 0, 1, b"", b"", b"Not found", 7);
    for (name, client, server, answer) in [
        ("a retrieval", &b"get k\r\n"[..], &b""[..], NeedMore),
        ("and its answer", b"get k\r\n", b"END\r\n", Yes),
        ("and another's", b"get k\r\n", b"$-1\r\n", No),
        ("a value", b"set k 0 0 5\r\n", b"", Yes),
        ("its beginning", b"set k 0 0", b"", NeedMore),
        ("Redis", b"set k v\r\n", b"", No),
        ("Redis, as an array", b"*1\r\n$4\r\nPING\r\n", b"", No),
        ("HTTP", b"GET / HTTP/1.1\r\n", b"", No),
        ("HTTP's beginning", b"G", b"", No),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n", b"", No),
        ("TLS", &[0x16, 3, 1], b"", No),
        ("PostgreSQL", &[0, 0, 0, 8], b"", No),
        ("MySQL", b"", &[0x4a, 0, 0, 0, 0x0a], No),
        ("a mail server", b"quit\r\n", b"220 smtp\r\n", No),
        ("nothing", b"", b"", NeedMore),
        ("met in a value", b"\x00\x01", b"VALUE k 0 2\r\nab\r\nEND\r\n", Yes),
        ("met in a value, little said", b"\x00\x01", b"STORED\r\n", No),
        ("binary", &get, b"", Yes),
        ("binary, its beginning", &get[..10], b"", NeedMore),
        ("binary, an answer", b"", &got, Yes),
        ("binary, but no opcode", &[0x80, 0xf0], b"", No),
        ("meta", b"mn\r\n", b"MN\r\n", Yes),
    ] {
        assert_eq!((PROTOCOL.detect)(client, server), answer, "{name}");
    }
}
