//! One protocol's detection and parser, given any calls.

use std::{fmt, sync::Arc};

use sidecar_core::{
    model::{Exchange, Ktime, Side},
    protocol::{
        self, Birth, Close, Detect, Keep, Limits, Next, Oddities, Parser, Protocol, Signal, Successor, Then,
    },
};

use crate::{choices::Choices, transcript::witness::Witness};

/// What a call begins with; a byte that says which follows.
pub const CALL: [u8; 2] = [0xf7, 0xe3];
/// That byte, of bytes that a side sent.
pub const PUSH: [u8; 2] = [0, 1];
/// Bytes in which choices come before the first call.
pub const CHOICES: usize = 3;
/// As many bytes as pushes that are repeated come to.
const REPEATED: usize = 16 * 1024;

enum Call<'a> {
    Push(Side, &'a [u8], usize),
    Skipped(Side, u64),
    Gap(Side, u64),
    End(Side),
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::Push(side, bytes, n) => write!(f, "{side:?} {n} x \"{}\"", bytes.escape_ascii()),
            Call::Skipped(side, n) => write!(f, "{side:?} skipped {n}"),
            Call::Gap(side, n) => write!(f, "{side:?} lost {n}"),
            Call::End(side) => write!(f, "{side:?} ends"),
        }
    }
}

/// As [`protocol::ALL`] has it.
pub(crate) fn check(name: &str, input: &[u8]) {
    let row = protocol::ALL.iter().find(|protocol| protocol.name == name);
    let row = row.unwrap_or_else(|| panic!("no protocol {name}"));
    let mut choices = Choices::new(input);
    let (which, pieces, how) = (choices.byte(), choices.byte(), choices.byte());
    let calls = calls(input.get(CHOICES..).unwrap_or_default());
    detect(row, &calls);

    let birth = if which & 1 == 0 { Birth::Seen } else { Birth::Joined };
    let limits = if which & 2 == 0 { Limits::default() } else { small() };
    let how = match how % 5 {
        0 => Close::Closed,
        1 => Close::Reset(Side::Client),
        2 => Close::Reset(Side::Server),
        3 => Close::Expired,
        _ => Close::Forgotten,
    };
    let at_once = Run::new(row, birth, limits.clone()).all(&calls, how, &mut |n| n);
    let mut state = u64::from(pieces);
    let longest = [1, 3, 30, 600][usize::from(pieces) % 4];
    let in_pieces = Run::new(row, birth, limits).all(&calls, how, &mut |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        1 + (state >> 33) as usize % longest
    });
    // After a loss a packet's first byte counts for something, and so it does after the join.
    let is_whole = |call: &Call<'_>| matches!(call, Call::Push(..) | Call::End(_));
    if birth == Birth::Joined || !calls.iter().all(is_whole) {
        return;
    }
    // Where it loses its place it may do so sooner or later, but what it said before that is the same.
    let n_sure = [at_once.n_sure, in_pieces.n_sure].into_iter().flatten().min();
    let (mut at_once, mut in_pieces) = (at_once.exchanges, in_pieces.exchanges);
    if let Some(n) = n_sure {
        at_once.truncate(n);
        in_pieces.truncate(n);
    }
    assert!(at_once == in_pieces, "{name}: {at_once:?}, but {in_pieces:?}, of {calls:?}");
}

/// Bounds that are soon reached, and all that may be kept.
fn small() -> Limits {
    let keep = Keep {
        paths: true,
        shown_paths: true,
        request_headers: vec!["host".into(), "x-request-id".into()],
        response_headers: vec!["content-length".into()],
        b3: true,
        excluded: vec!["/".parse().expect("a pattern")],
    };
    Limits { head_bytes: 64, outstanding: 4, keep: Arc::new(keep) }
}

/// What is not it is never it, whatever else comes of the side that spoke.
fn detect(row: &Protocol, calls: &[Call<'_>]) {
    let first = |side: Side| {
        let of = |call: &Call<'_>| match call {
            Call::Push(from, bytes, _) if *from == side => Some(bytes.to_vec()),
            _ => None,
        };
        calls.iter().find_map(of).unwrap_or_default()
    };
    let (client, server) = (first(Side::Client), first(Side::Server));
    let _ = ((row.detect)(&client, &server), (row.detect)(&server, &client));
    for (bytes, is_client) in [(&client, true), (&server, false)] {
        let mut is_refused = false;
        for n in 1..=bytes.len().min(128) {
            let said =
                if is_client { (row.detect)(&bytes[..n], b"") } else { (row.detect)(b"", &bytes[..n]) };
            let shown = bytes.escape_ascii();
            assert!(!is_refused || said == Detect::No, "{}: No, then {said:?}, at {n} of {shown}", row.name);
            is_refused = said == Detect::No;
        }
    }
}

/// Bytes to calls: what no mark begins is the client's.
fn calls(input: &[u8]) -> Vec<Call<'_>> {
    let mut calls = Vec::new();
    let mut rest = input;
    let mut which = PUSH[0];
    loop {
        let end = rest.windows(2).position(|two| two == CALL);
        let mut content = &rest[..end.unwrap_or(rest.len())];
        let side = if which & 1 == 0 { Side::Client } else { Side::Server };
        let mut length = || {
            let (length, after) = content.split_at(content.len().min(4));
            content = after;
            length.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte))
        };
        match which & 7 {
            2 | 3 => calls.push(Call::Skipped(side, length())),
            4 | 5 => calls.push(Call::Gap(side, length())),
            6 | 7 => calls.push(Call::End(side)),
            _ => {}
        }
        if !content.is_empty() {
            let n = if which & 16 == 0 { 1 } else { (REPEATED / content.len()).clamp(1, 300) };
            calls.push(Call::Push(side, content, n));
        }
        let Some(end) = end else { return calls };
        let Some((next, after)) = rest[end + CALL.len()..].split_first() else { return calls };
        (which, rest) = (*next, after);
    }
}

/// A connection's parser, and what must hold of it.
struct Run {
    name: &'static str,
    parser: Box<dyn Parser>,
    bound: usize,
    out: Vec<Signal>,
    given: u64,
    explained: u64,
    /// Signals that were looked at, and the exchanges among them.
    n_signals: usize,
    n_exchanges: usize,
    n_sure: Option<usize>,
    witness: Witness<()>,
}

/// What came of it.
struct Told {
    exchanges: Vec<Exchange>,
    /// How many there were before it met what it could not read, or more than it may hold, if it did.
    n_sure: Option<usize>,
}

impl Run {
    fn new(row: &Protocol, birth: Birth, limits: Limits) -> Run {
        let bound = 4 * limits.head_bytes + 4096 * limits.outstanding + 256 * limits.small();
        let (Then::Parse(open) | Then::Handshake(open)) = row.then;
        let mut parser = open(Arc::new(limits), birth);
        let witness = Witness::new(parser.as_mut());
        Run {
            name: row.name,
            parser,
            bound,
            out: Vec::new(),
            given: 0,
            explained: 0,
            n_signals: 0,
            n_exchanges: 0,
            n_sure: None,
            witness,
        }
    }

    /// The exchanges that come of these calls, each push cut where `piece` says.
    fn all(mut self, calls: &[Call<'_>], how: Close, piece: &mut dyn FnMut(usize) -> usize) -> Told {
        'all: for (at, call) in (1..).map(Ktime).zip(calls) {
            match call {
                Call::Push(side, bytes, n) => {
                    for _ in 0..*n {
                        let mut rest = *bytes;
                        while !rest.is_empty() {
                            let (now, later) = rest.split_at(piece(rest.len()).clamp(1, rest.len()));
                            self.given += now.len() as u64;
                            rest = later;
                            self.witness.pushes(*side, now, ());
                            let step = self.parser.push(*side, at, now, &mut self.out);
                            self.witness.pushed(self.parser.as_mut(), step.next, self.name);
                            if !self.follow(step) {
                                break 'all;
                            }
                        }
                    }
                    continue;
                }
                Call::Skipped(_, n) | Call::Gap(_, n) => self.given += n,
                Call::End(_) => {}
            }
            let (parser, out) = (&mut self.parser, &mut self.out);
            let step = match call {
                Call::Skipped(side, n) => parser.skipped(*side, at, *n, out),
                Call::Gap(side, n) => parser.gap(*side, at, *n, out),
                Call::End(side) | Call::Push(side, ..) => parser.end(*side, at, out),
            };
            match call {
                Call::Skipped(side, 1..) | Call::Gap(side, 1..) => {
                    self.witness.missed(self.parser.as_mut(), *side, (), self.name);
                }
                Call::Skipped(side, 0) | Call::Gap(side, 0) | Call::End(side) | Call::Push(side, ..) => {
                    self.witness.called(self.parser.as_mut(), *side, (), self.name);
                }
            }
            if !self.follow(step) {
                break;
            }
        }
        self.parser.close(Ktime(calls.len() as u64 + 1), how, &mut self.out);
        self.witness.closed(self.parser.as_mut(), self.name);
        self.witness.shown(|(), _, _, _| {});
        let (mut n_open, mut exchanges) = (0i64, Vec::new());
        for signal in self.out {
            match signal {
                Signal::Started(_) => n_open += 1,
                Signal::Message(_) => {}
                Signal::Finished(exchange) => {
                    n_open -= 1;
                    exchanges.push(exchange);
                }
            }
            assert!(n_open >= 0, "{}: finished before it started", self.name);
        }
        assert_eq!(n_open, 0, "{}: started and never finished", self.name);
        Told { exchanges, n_sure: self.n_sure }
    }

    /// Checks what holds after each call; whether there are more.
    fn follow(&mut self, step: protocol::Step) -> bool {
        let (name, given) = (self.name, self.given);
        self.explained += step.explained;
        assert!(self.explained <= given, "{name}: {} of {given} bytes explained", self.explained);
        assert!(self.parser.held() <= self.bound, "{name}: holds {}", self.parser.held());
        let odd = self.parser.oddities();
        if step.next == Next::Opaque || odd != Oddities::default() {
            self.n_sure.get_or_insert(self.n_exchanges);
        }
        let is_exchange = |signal: &&Signal| matches!(signal, Signal::Finished(_));
        self.n_exchanges += self.out[self.n_signals..].iter().filter(is_exchange).count();
        self.n_signals = self.out.len();
        if step.next == Next::Become {
            let Some(Successor { protocol, mut parser, mut signals }) = self.parser.successor() else {
                return false;
            };
            if parser.transcript().is_none() {
                self.witness = Witness::new(parser.as_mut());
            }
            (self.name, self.parser) = (protocol.name, parser);
            self.out.append(&mut signals);
            return true;
        }
        step.next == Next::Continue
    }
}
