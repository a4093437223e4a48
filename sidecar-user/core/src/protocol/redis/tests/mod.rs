//! Conversations, and what is told of them.

mod conversations;
mod joined;

use std::sync::Arc;

use super::PROTOCOL;
use crate::model::{Detail, Exchange, Ktime, Outcome, Side};
use crate::protocol::{Birth, Close, Limits, Next, Oddities, Parser, Signal, Step, Then};
use Side::{Client, Server};

/// What passes, in order.
pub(super) type Pushes<'a> = &'a [(Side, &'a [u8])];

pub(super) struct Play {
    pub(super) parser: Box<dyn Parser>,
    pub(super) out: Vec<Signal>,
    pub(super) odd: Oddities,
    pub(super) next: Next,
    at: u64,
    given: u64,
    pub(super) explained: u64,
}

impl Play {
    pub(super) fn new(birth: Birth) -> Play {
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

    pub(super) fn push(&mut self, side: Side, bytes: &[u8]) {
        if self.next != Next::Continue {
            return;
        }
        self.at += 1;
        let step = self.parser.push(side, Ktime(self.at), bytes, &mut self.out);
        self.took(step, bytes.len() as u64);
    }

    pub(super) fn gap(&mut self, side: Side, n: u64) {
        self.at += 1;
        let step = self.parser.gap(side, Ktime(self.at), n, &mut self.out);
        self.took(step, n);
    }

    pub(super) fn wait(&mut self, ns: u64) {
        self.at += ns;
    }

    pub(super) fn close(&mut self) -> Vec<String> {
        self.at += 1;
        self.parser.close(Ktime(self.at), Close::Closed, &mut self.out);
        self.odd.add(self.parser.oddities());
        self.told()
    }

    /// Exchanges and messages so far, in order.
    pub(super) fn told(&self) -> Vec<String> {
        let line = |signal: &Signal| match signal {
            Signal::Started(_) => None,
            Signal::Finished(exchange) => Some(line(exchange)),
            Signal::Message(message) => Some(format!("message of {}", message.bytes)),
        };
        self.out.iter().filter_map(line).collect()
    }
}

/// `GET 0 ERR` and what else there is.
fn line(exchange: &Exchange) -> String {
    let Detail::Db(db) = &exchange.detail else { panic!("a database's") };
    assert_eq!(db.operation, db.summary);
    assert_eq!(db.collection, None);
    let mut line = db.operation.as_deref().unwrap_or("?").to_owned();
    let mut add = |word: &str| {
        line.push(' ');
        line.push_str(word);
    };
    if let Some(namespace) = &db.namespace {
        add(namespace);
    }
    if let Some(n) = db.batch {
        add(&format!("batch={n}"));
    }
    if let Some(status) = &db.status {
        add(status);
    }
    assert!(db.is_error || db.status.is_none());
    match exchange.outcome {
        Outcome::Complete if exchange.answered.is_none() => add("silent"),
        Outcome::Complete => {}
        other => add(&format!("{other:?}")),
    }
    assert!(exchange.started <= exchange.requested.unwrap_or(exchange.ended));
    assert!(exchange.answered.unwrap_or(exchange.ended) <= exchange.ended);
    line
}

/// Plays a conversation from its beginning to its end.
pub(super) fn whole(pushes: Pushes<'_>) -> Vec<String> {
    let mut play = Play::new(Birth::Seen);
    for (side, bytes) in pushes {
        play.push(*side, bytes);
    }
    play.close()
}

/// Plays it with each push in two, at each byte, and byte by byte: it is the same.
pub(super) fn check(name: &str, pushes: Pushes<'_>, expected: &[&str]) {
    assert_eq!(whole(pushes), expected, "{name}");
    let longest = pushes.iter().map(|(_, bytes)| bytes.len()).max().unwrap_or(0);
    for at in 0..=longest {
        let mut play = Play::new(Birth::Seen);
        for (side, bytes) in pushes {
            let (first, second) = bytes.split_at(at.min(bytes.len()));
            play.push(*side, first);
            play.push(*side, second);
        }
        assert_eq!(play.close(), expected, "{name}, split at {at}");
    }
    let mut play = Play::new(Birth::Seen);
    for (side, bytes) in pushes {
        bytes.chunks(1).for_each(|byte| play.push(*side, byte));
    }
    assert_eq!(play.close(), expected, "{name}, byte by byte");
    cut(name, pushes, expected);
}

/// Ends it at each byte: what was over by then is told as it was.
fn cut(name: &str, pushes: Pushes<'_>, expected: &[&str]) {
    let total: usize = pushes.iter().map(|(_, bytes)| bytes.len()).sum();
    for end in 0..total {
        let (mut play, mut left) = (Play::new(Birth::Seen), end);
        for (side, bytes) in pushes {
            let n = left.min(bytes.len());
            play.push(*side, &bytes[..n]);
            left -= n;
        }
        let told = play.close();
        let is_over = |line: &&String| !line.contains("Cut") && !line.contains("Closed");
        let over: Vec<_> = told.iter().filter(is_over).collect();
        let n = over.len();
        assert!(over.iter().zip(expected).all(|(one, other)| one == other), "{name}, cut at {end}: {told:?}");
        assert!(n <= expected.len());
    }
}

/// A command as clients write it.
pub(super) fn command(words: &str) -> Vec<u8> {
    let words: Vec<_> = words.split(' ').collect();
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
    }
    bytes
}

/// Several, one after the other.
pub(super) fn commands(words: &[&str]) -> Vec<u8> {
    words.iter().flat_map(|words| command(words)).collect()
}

#[test]
fn detection() {
    use crate::protocol::Detect::{NeedMore, No, Yes};
    for (name, client, server, answer) in [
        ("a command", &b"*1\r\n$4\r\nPING\r\n"[..], &b""[..], Yes),
        ("in lower case", b"*2\r\n$3\r\nget\r\n$1\r\nk\r\n", b"", Yes),
        ("its beginning", b"*1\r\n$4\r\nPI", b"", NeedMore),
        ("nothing", b"", b"", NeedMore),
        ("no command", b"*1\r\n$4\r\nPONG\r\n", b"", NeedMore),
        ("no command, refused", b"*1\r\n$4\r\nPONG\r\n", b"-ERR unknown command 'PONG'\r\n", Yes),
        ("no command, and no answer", b"*1\r\n$4\r\nPONG\r\n", b"HTTP/1.1 400\r\n", No),
        ("a line", b"PING\r\n", b"", NeedMore),
        ("a line and its answer", b"PING\r\n", b"+PONG\r\n", Yes),
        ("memcached", b"get k\r\n", b"", NeedMore),
        ("memcached, and its answer", b"get k\r\n", b"END\r\n", No),
        ("memcached, set", b"set k 0 0 1\r\n", b"STORED\r\n", No),
        ("HTTP", b"GET / HTTP/1.1\r\n", b"", No),
        ("HTTP's beginning", b"GET / H", b"", No),
        ("POST", b"POS", b"", No),
        ("SMTP", b"QUIT\r\n", b"220 smtp\r\n", No),
        ("TLS", &[0x16, 3, 1], b"", No),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n", b"", No),
        ("PostgreSQL", &[0, 0, 0, 8], b"", No),
        ("MySQL", b"", &[0x4a, 0, 0, 0, 0x0a], No),
        ("met in a value", b"\x00\x01", b"$2\r\nab\r\n", Yes),
        ("met in a value, little said", b"\x00\x01", b"+OK\r\n", No),
        ("met while it is told of messages", b"", b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n", Yes),
        ("a mail server", b"", b"+OK POP3 ready\r\n", NeedMore),
        ("the sides swapped", b"+OK\r\n", b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", No),
    ] {
        assert_eq!((PROTOCOL.detect)(client, server), answer, "{name}");
    }
}
