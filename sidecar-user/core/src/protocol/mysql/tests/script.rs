//! Conversations that were recorded or written by hand, and what is made of them.
//!
//! A conversation is lines of `C` or `S`, who sends, and bytes in hexadecimal. Line `n` happens at time `n`, counted from 1. An exchange
//! is written `summary (operation) on collection in namespace -> error rows outcome request/response bytes @started requested
//! answered ended`, with `-` for what is not known.

use std::fmt::Write as _;

use super::super::open;
use crate::model::{DbSystem, Detail, Exchange, Ktime, Outcome, Side};
use crate::protocol::transcript::witness::Witness;
use crate::protocol::{Birth, Close, Limits, Next, Oddities, Signal};

/// One thing that happens on a connection.
#[derive(Clone, Debug)]
pub(super) enum Do {
    Push(Side, Vec<u8>),
    Gap(Side, u64),
    End(Side),
    Close(Close),
}

/// What a conversation came to.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) exchanges: Vec<Exchange>,
    pub(super) odd: Oddities,
    pub(super) given: u64,
    pub(super) explained: u64,
    pub(super) next: Next,
    /// What others may see of it.
    pub(super) shown: Vec<(u64, Do)>,
}

/// The same is told of what others may see.
pub(super) fn check_shown(told: &Run, birth: Birth, why: &str) {
    let again = run_timed(&told.shown, birth, &Limits::default(), &mut |bytes: &[u8]| bytes.len());
    let lines = |run: &Run| run.exchanges.iter().map(written).collect::<Vec<_>>();
    assert_eq!(lines(&again), lines(told), "{why}, as it is shown: {:?}", told.shown);
    let systems = |run: &Run| run.exchanges.iter().map(system).collect::<Vec<_>>();
    assert_eq!(systems(&again), systems(told), "{why}");
}

pub(super) fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).expect("digits"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal")).collect()
}

/// Reads a recorded conversation.
pub(super) fn recorded(text: &str) -> Vec<Do> {
    let line = |line: &str| {
        let (side, hex) = line.split_once(' ').expect("a side and bytes");
        let side = if side == "C" { Side::Client } else { Side::Server };
        if hex == "FIN" { Do::End(side) } else { Do::Push(side, bytes(hex)) }
    };
    text.lines().map(line).collect()
}

/// A packet with this number.
pub(super) fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let [a, b, c, _] = u32::try_from(payload.len()).expect("a short payload").to_le_bytes();
    [&[a, b, c, sequence], payload].concat()
}

/// The client sends a command.
pub(super) fn command(payload: &[u8]) -> Do {
    Do::Push(Side::Client, packet(0, payload))
}

/// The server sends packets, numbered from 1.
pub(super) fn answer(payloads: &[&[u8]]) -> Do {
    answer_from(1, payloads)
}

pub(super) fn answer_from(first: u8, payloads: &[&[u8]]) -> Do {
    let numbered = (0..).zip(payloads).map(|(index, payload)| packet(first.wrapping_add(index), payload));
    Do::Push(Side::Server, numbered.collect::<Vec<_>>().concat())
}

pub(super) fn run(script: &[Do], birth: Birth) -> Run {
    run_pieces(script, birth, &Limits::default(), |bytes| bytes.len())
}

/// `piece` says how long the next piece of the bytes to come should be.
pub(super) fn run_pieces(
    script: &[Do],
    birth: Birth,
    limits: &Limits,
    mut piece: impl FnMut(&[u8]) -> usize,
) -> Run {
    let timed = (1..).zip(script.iter().cloned()).collect::<Vec<_>>();
    run_timed(&timed, birth, limits, &mut piece)
}

/// What is finished of a conversation that was seen, where several things happen at one time.
pub(super) fn run_at(script: &[(u64, Do)]) -> Vec<Exchange> {
    run_timed(script, Birth::Seen, &Limits::default(), &mut |bytes: &[u8]| bytes.len()).exchanges
}

fn run_timed(
    script: &[(u64, Do)],
    birth: Birth,
    limits: &Limits,
    piece: &mut dyn FnMut(&[u8]) -> usize,
) -> Run {
    let mut parser = open(limits.clone().into(), birth);
    let mut out = Vec::new();
    let (mut given, mut explained, mut next) = (0, 0, Next::Continue);
    let mut witness = Witness::new(parser.as_mut());
    for (index, (at, step)) in script.iter().enumerate() {
        let at = Ktime(*at);
        let mut said = |step: crate::protocol::Step| {
            explained += step.explained;
            if step.next != Next::Continue {
                next = step.next;
            }
        };
        match step {
            Do::Push(side, bytes) => {
                given += bytes.len() as u64;
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(piece(rest).clamp(1, rest.len()));
                    witness.pushes(*side, now, index);
                    let step = parser.push(*side, at, now, &mut out);
                    witness.pushed(parser.as_mut(), step.next, "mysql");
                    said(step);
                    rest = later;
                }
            }
            Do::Gap(side, n) => {
                given += n;
                said(parser.gap(*side, at, *n, &mut out));
                witness.missed(parser.as_mut(), *side, index, "mysql");
            }
            Do::End(side) => {
                said(parser.end(*side, at, &mut out));
                witness.called(parser.as_mut(), *side, index, "mysql");
            }
            Do::Close(how) => {
                parser.close(at, *how, &mut out);
                witness.called(parser.as_mut(), Side::Client, index, "mysql");
            }
        }
    }
    witness.closed(parser.as_mut(), "mysql");
    let shown = shown(witness, script);
    let at_rest = finished(&out);
    let mut odd = parser.oddities();
    parser.close(Ktime(script.len() as u64 + 1), Close::Forgotten, &mut out);
    odd.add(parser.oddities());
    assert_eq!(out.len(), 2 * finished(&out), "each start is finished: {out:?}");
    // What only the end of the test finished is no part of the case, so that a case may stop anywhere.
    let exchanges = out.into_iter().filter_map(|signal| match signal {
        Signal::Finished(exchange) => Some(exchange),
        Signal::Started(_) | Signal::Message(_) => None,
    });
    Run { exchanges: exchanges.take(at_rest).collect(), odd, given, explained, next, shown }
}

/// Step by step, so that times are the same.
fn shown(mut witness: Witness<usize>, script: &[(u64, Do)]) -> Vec<(u64, Do)> {
    let mut shown = script.to_vec();
    for (_, step) in &mut shown {
        if let Do::Push(_, bytes) = step {
            bytes.clear();
        }
    }
    witness.shown(|index, _, bytes, n_hidden| {
        if let Do::Push(_, shown) = &mut shown[index].1 {
            shown.extend_from_slice(bytes);
            shown.resize(shown.len() + n_hidden as usize, 0);
        }
    });
    shown
}

fn finished(out: &[Signal]) -> usize {
    out.iter().filter(|signal| matches!(signal, Signal::Finished(_))).count()
}

/// An exchange as the cases write it.
pub(super) fn written(exchange: &Exchange) -> String {
    let Detail::Db(db) = &exchange.detail else { panic!("a database's: {exchange:?}") };
    let or = |text: &Option<Box<str>>| text.as_deref().unwrap_or("-").to_owned();
    let mut line = or(&db.summary);
    if db.operation != db.summary {
        let _ = write!(line, " ({})", or(&db.operation));
    }
    if let Some(collection) = &db.collection {
        let _ = write!(line, " on {collection}");
    }
    if let Some(namespace) = &db.namespace {
        let _ = write!(line, " in {namespace}");
    }
    if let Some(batch) = db.batch {
        let _ = write!(line, " x{batch}");
    }
    line.push_str(" ->");
    assert_eq!(db.is_error, db.status.is_some());
    if let Some(status) = &db.status {
        let _ = write!(line, " error {status}");
    }
    if let Some(rows) = db.rows {
        let _ = write!(line, " {rows} rows");
    }
    if exchange.outcome != Outcome::Complete {
        let _ = write!(line, " {:?}", exchange.outcome);
    }
    let size = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string());
    let _ = write!(line, " {}/{}", size(db.request_bytes), size(db.response_bytes));
    let _ = write!(line, " @{}", exchange.started.0);
    for at in [exchange.requested, exchange.answered, Some(exchange.ended)] {
        let _ = write!(line, " {}", size(at.map(|at| at.0)));
    }
    line
}

pub(super) fn system(exchange: &Exchange) -> DbSystem {
    let Detail::Db(db) = &exchange.detail else { panic!("a database's: {exchange:?}") };
    db.system
}
