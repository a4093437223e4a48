//! Conversations of real clients with a real server, byte for byte, and messages made for what they did not say.

mod joined;
mod made;

use std::fmt::Write as _;

use super::{PROTOCOL, open};
use crate::model::{Db, Detail, Exchange, Ktime, MessageKind, Outcome, Side};
use crate::protocol::transcript::witness::Witness;
use crate::protocol::{Birth, Close, Detect, Limits, Next, Oddities, Signal};

/// What each side sent, in the order in which it passed.
pub(super) type Talk = Vec<(Side, Vec<u8>)>;

/// Lines of a side (`C`, `S`) and bytes.
fn talk(text: &str) -> Talk {
    let line = |line: &str| {
        let (side, hex) = line.split_once(' ').expect("a side and bytes");
        let side = if side == "C" { Side::Client } else { Side::Server };
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("a byte");
        (side, (0..hex.len()).step_by(2).map(byte).collect())
    };
    text.lines().map(line).collect()
}

/// `summary (rows) status`, `-` for what is not known.
pub(super) fn line(exchange: &Exchange) -> String {
    let Detail::Db(db) = &exchange.detail else { unreachable!("it is a database's") };
    let Db { summary, rows, status, .. } = &**db;
    let mut line = summary.as_deref().unwrap_or("-").to_owned();
    if let Some(rows) = rows {
        let _ = write!(line, " ({rows})");
    }
    if let Some(status) = status {
        let _ = write!(line, " {status}");
    }
    if exchange.outcome != Outcome::Complete {
        let _ = write!(line, " {:?}", exchange.outcome);
    }
    line
}

pub(super) struct Told {
    pub(super) exchanges: Vec<Exchange>,
    pub(super) n_messages: usize,
    pub(super) odd: Oddities,
    pub(super) explained: u64,
    pub(super) given: u64,
    pub(super) next: Next,
    /// What others may see of it.
    pub(super) shown: Vec<(Side, u64, Vec<u8>)>,
}

impl Told {
    pub(super) fn lines(&self) -> Vec<String> {
        self.exchanges.iter().map(line).collect()
    }
}

pub(super) fn play<'a>(birth: Birth, pieces: impl IntoIterator<Item = (Side, u64, &'a [u8])>) -> Told {
    let mut parser = open(Limits::default().into(), birth);
    let mut told = Told {
        exchanges: Vec::new(),
        n_messages: 0,
        odd: Oddities::default(),
        explained: 0,
        given: 0,
        next: Next::Continue,
        shown: Vec::new(),
    };
    let (mut out, mut last) = (Vec::new(), 0);
    let mut witness = Witness::new(parser.as_mut());
    for (side, at, bytes) in pieces {
        witness.pushes(side, bytes, at);
        let step = parser.push(side, Ktime(at), bytes, &mut out);
        told.explained += step.explained;
        told.given += bytes.len() as u64;
        told.next = step.next;
        last = at;
        witness.pushed(parser.as_mut(), step.next, "postgresql");
        if step.next != Next::Continue {
            break;
        }
    }
    parser.close(Ktime(last + 1), Close::Closed, &mut out);
    told.odd = parser.oddities();
    witness.closed(parser.as_mut(), "postgresql");
    witness.shown(|at, side, bytes, n_hidden| {
        let hidden = vec![0; n_hidden as usize];
        told.shown.push((side, at, [bytes, &hidden].concat()));
    });
    let mut n_open = 0;
    for signal in out {
        match signal {
            Signal::Started(_) => n_open += 1,
            Signal::Finished(exchange) => {
                n_open -= 1;
                told.exchanges.push(exchange);
            }
            Signal::Message(message) => {
                assert_eq!(message.kind, MessageKind::Push);
                told.n_messages += 1;
            }
        }
        assert!(n_open >= 0);
    }
    assert_eq!(n_open, 0);
    told
}

pub(super) fn pieces(talk: &Talk) -> impl Iterator<Item = (Side, u64, &[u8])> {
    talk.iter().zip(1..).map(|((side, bytes), at)| (*side, at, bytes.as_slice()))
}

/// The same is told of what others may see, and nothing of what they may not is in it.
pub(super) fn check_shown(birth: Birth, told: &Told, name: &str) {
    let pieces = told.shown.iter().map(|(side, at, bytes)| (*side, *at, bytes.as_slice()));
    let again = play(birth, pieces);
    assert_eq!((again.exchanges, again.odd), (told.exchanges.clone(), told.odd), "{name}");
    for side in [Side::Client, Side::Server] {
        let bytes = told.shown.iter().filter(|(of, ..)| *of == side).flat_map(|(.., bytes)| bytes);
        let bytes: Vec<u8> = bytes.copied().collect();
        assert!(!bytes.windows(6).any(|six| six == b"CANARY"), "{name}: {}", bytes.escape_ascii());
    }
}

const PSYCOPG: &str = include_str!("psycopg.txt");
const PIPELINE: &str = include_str!("pipeline.txt");
const ASYNCPG: &str = include_str!("asyncpg.txt");
const SIMPLE: &str = include_str!("pgbench_simple.txt");
const EXTENDED: &str = include_str!("pgbench_extended.txt");
const PREPARED: &str = include_str!("pgbench_prepared.txt");
const ALL: [&str; 6] = [PSYCOPG, PIPELINE, ASYNCPG, SIMPLE, EXTENDED, PREPARED];

fn check(text: &str, expected: &[&str]) {
    let talk = talk(text);
    let told = play(Birth::Seen, pieces(&talk));
    assert_eq!(told.lines(), expected);
    assert_eq!((told.explained, told.odd), (told.given, Oddities::default()));
    check_shown(Birth::Seen, &told, expected[0]);
    for exchange in &told.exchanges {
        let Detail::Db(db) = &exchange.detail else { unreachable!("it is a database's") };
        assert_eq!(db.namespace.as_deref(), Some("postgres"));
        let times = [Some(exchange.started), exchange.requested, exchange.answered, Some(exchange.ended)];
        assert!(times.iter().all(Option::is_some) && times.is_sorted(), "{exchange:?}");
        assert!(db.request_bytes.is_some_and(|n| n > 0) && db.response_bytes.is_some_and(|n| n > 0));
        assert!(!format!("{exchange:?}").contains("CANARY"), "{exchange:?}");
    }
}

#[test]
fn psycopg() {
    check(
        PSYCOPG,
        &[
            "CREATE TABLE t",
            "INSERT t",
            "SELECT t (2)",
            "SELECT t (0)",
            "SELECT t (1)",
            "SELECT t (1)",
            "SELECT t (0)",
            "SELECT t (0)",
            "SELECT t (0)",
            "SELECT t (0)",
            "SELECT nowhere 42P01",
            "COPY t",
            "COPY t",
            "LISTEN",
            "NOTIFY",
            "SELECT SELECT UPDATE t (2)",
            "-",
        ],
    );
    assert_eq!(play(Birth::Seen, pieces(&talk(PSYCOPG))).n_messages, 1);
    // What follows the error was not executed.
    check(PIPELINE, &["BEGIN", "SELECT t (0)", "SELECT t (1)", "SELECT t (1)", "SELECT 22012", "ROLLBACK"]);
}

#[test]
fn asyncpg() {
    check(
        ASYNCPG,
        &[
            "SELECT t (5)",
            "UPDATE t",
            "INSERT t",
            "INSERT t",
            "INSERT t",
            "INSERT t",
            "INSERT t",
            "BEGIN",
            "SELECT t (3)",
            "SELECT t (3)",
            "SELECT t (3)",
            "SELECT t (3)",
            "SELECT t (0)",
            "COMMIT",
            "SELECT 42703",
        ],
    );
}

const TPC_B: [&str; 7] = [
    "BEGIN",
    "UPDATE pgbench_accounts",
    "SELECT pgbench_accounts (1)",
    "UPDATE pgbench_tellers",
    "UPDATE pgbench_branches",
    "INSERT pgbench_history",
    "END",
];

#[test]
fn pgbench() {
    for text in [SIMPLE, EXTENDED, PREPARED] {
        check(text, &[TPC_B, TPC_B].concat());
    }
}

#[test]
fn split_at_every_byte() {
    for text in ALL {
        let talk = talk(text);
        let whole = play(Birth::Seen, pieces(&talk));
        let n: usize = talk.iter().map(|(_, bytes)| bytes.len()).sum();
        let bytes =
            |(side, at, bytes): (Side, u64, &'static [u8])| bytes.chunks(1).map(move |byte| (side, at, byte));
        let leaked: &'static Talk = Box::leak(Box::new(talk.clone()));
        let single = play(Birth::Seen, pieces(leaked).flat_map(bytes));
        assert_eq!(single.exchanges, whole.exchanges);
        check_shown(Birth::Seen, &single, "byte by byte");
        for at in 0..n {
            let mut left = at;
            let mut split = Vec::new();
            for (side, time, bytes) in pieces(&talk) {
                let (first, second) = bytes.split_at(left.min(bytes.len()));
                left -= first.len();
                split.extend([(side, time, first), (side, time, second)]);
            }
            assert_eq!(play(Birth::Seen, split).exchanges, whole.exchanges, "split at {at}");
        }
    }
}

/// The first `at` bytes, or what follows them.
fn cut(talk: &Talk, at: usize, is_first: bool) -> impl Iterator<Item = (Side, u64, &[u8])> {
    let mut left = at;
    let cut = pieces(talk).map(move |(side, time, bytes)| {
        let (first, second) = bytes.split_at(left.min(bytes.len()));
        left -= first.len();
        (side, time, if is_first { first } else { second })
    });
    cut.filter(|(.., bytes)| !bytes.is_empty())
}

#[test]
fn cut_off_at_every_byte() {
    for text in ALL {
        let talk = talk(text);
        let whole = play(Birth::Seen, pieces(&talk)).lines();
        let n: usize = talk.iter().map(|(_, bytes)| bytes.len()).sum();
        for at in 0..n {
            let told = play(Birth::Seen, cut(&talk, at, true));
            let complete: Vec<_> =
                told.exchanges.iter().filter(|one| one.outcome == Outcome::Complete).map(line).collect();
            assert!(whole.starts_with(&complete), "cut at {at}: {complete:?}");
            assert_eq!(told.odd, Oddities::default(), "cut at {at}");
        }
    }
}

/// Without what was told before: the session's parameters, and, where it is not known, what was prepared.
fn met(mut exchange: Exchange, is_named: bool) -> Exchange {
    let Detail::Db(db) = &mut exchange.detail else { unreachable!("it is a database's") };
    db.namespace = None;
    if !is_named {
        (db.operation, db.collection, db.summary, db.batch) = (None, None, None, None);
    }
    exchange
}

/// To the byte and to the time the same exchanges, or fewer.
#[test]
fn met_at_every_byte() {
    for text in ALL {
        let talk = talk(text);
        let whole = play(Birth::Seen, pieces(&talk)).exchanges;
        let n: usize = talk.iter().map(|(_, bytes)| bytes.len()).sum();
        let mut n_told = 0;
        for at in 0..n {
            let told = play(Birth::Joined, cut(&talk, at, false));
            assert!(told.explained + told.odd.before_join <= told.given, "met at {at}: {:?}", told.odd);
            if at % 7 == 0 {
                check_shown(Birth::Joined, &told, &format!("met at {at}"));
            }
            let (mut from, mut n_unknown) = (whole.iter(), 0);
            for exchange in told.exchanges.iter().filter(|one| one.outcome == Outcome::Complete) {
                let is_named = !line(exchange).starts_with('-');
                let same = |one: &Exchange| met(one.clone(), is_named) == met(exchange.clone(), is_named);
                let same = from.find(|one| same(one)).unwrap_or_else(|| panic!("met at {at}: {exchange:?}"));
                n_unknown += u32::from(!is_named && !line(same).starts_with('-'));
                n_told += 1;
            }
            assert!(told.odd.unresolved >= n_unknown, "met at {at}: {:?}", told.odd);
        }
        assert!(n_told > n / 4, "{n_told} of {n}");
    }
}

#[test]
fn its_first_bytes() {
    for text in ALL {
        let talk = talk(text);
        let (client, server) = (&talk[0].1, &talk[1].1);
        assert_eq!((PROTOCOL.detect)(client, b""), Detect::Yes);
        assert_eq!((PROTOCOL.detect)(client, server), Detect::Yes);
        assert_eq!((PROTOCOL.detect)(b"", client), Detect::No, "the other way round");
    }
}
