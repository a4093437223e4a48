//! The language of the cases, and what checks them.
//!
//! Step `n` happens at time `n`, counted from 1. An exchange is written `METHOD host:port/path -> status outcome
//! request/response bytes @started requested answered ended`, with `-` for what is not known; a call as `System path ->
//! status …`, with its messages instead of bytes.

use std::fmt::Write as _;

use super::super::open;
use crate::model::{Cut, Detail, Exchange, Http, Ktime, Method, Outcome, Side};
use crate::protocol::{
    Birth, Close, Limits, Next, Oddities, Parser, Signal, Step, transcript::witness::Witness,
};

pub(super) const CLIENT: Side = Side::Client;
pub(super) const SERVER: Side = Side::Server;

/// One thing that happens on a connection.
#[derive(Clone, Debug)]
pub(super) enum Do {
    Push(Side, Vec<u8>),
    Skip(Side, u64),
    Gap(Side, u64),
    End(Side),
    Close(Close),
}

pub(super) fn c(frames: &[Vec<u8>]) -> Do {
    Do::Push(Side::Client, frames.concat())
}

pub(super) fn s(frames: &[Vec<u8>]) -> Do {
    Do::Push(Side::Server, frames.concat())
}

/// A frame.
pub(super) fn f(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub(super) fn data(flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    f(0, flags, stream, payload)
}

pub(super) fn headers(flags: u8, stream: u32, block: &[u8]) -> Vec<u8> {
    f(1, flags, stream, block)
}

pub(super) fn reset(stream: u32, code: u32) -> Vec<u8> {
    f(3, 0, stream, &code.to_be_bytes())
}

pub(super) fn away(last: u32) -> Vec<u8> {
    f(7, 0, 0, &[&last.to_be_bytes()[..], &[0; 4]].concat())
}

/// Fields that are written out and not inserted.
pub(super) fn plain(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| {
        assert!(text.len() < 127, "a length of one byte");
        [&[text.len() as u8], text.as_bytes()].concat()
    };
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
/// `GET`, `http`, `/`.
pub(super) const GET: &[u8] = b"\x82\x86\x84";
/// `POST`, `http`, `/`.
pub(super) const POST: &[u8] = b"\x83\x86\x84";
pub(super) const OK: &[u8] = b"\x88";
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const BOTH: u8 = END_STREAM | END_HEADERS;

/// A conversation and what it should come to.
#[must_use]
pub(super) struct Case {
    name: &'static str,
    script: Vec<Do>,
    exchanges: Vec<String>,
    birth: Birth,
    limits: Limits,
    odd: Oddities,
    unexplained: u64,
    next: Next,
    is_shown: bool,
}

/// After the preface, unless it is joined.
pub(super) fn case(name: &'static str, script: &[Do], exchanges: &[&str]) -> Case {
    Case {
        name,
        script: script.to_vec(),
        exchanges: exchanges.iter().map(|line| (*line).to_owned()).collect(),
        birth: Birth::Seen,
        limits: Limits::default(),
        odd: Oddities::default(),
        unexplained: 0,
        next: Next::Continue,
        is_shown: true,
    }
}

impl Case {
    /// Others may not see enough of it to tell the same.
    pub(super) fn hidden(self) -> Self {
        Case { is_shown: false, ..self }
    }

    pub(super) fn joined(self) -> Self {
        Case { birth: Birth::Joined, ..self }
    }

    pub(super) fn limits(self, limits: Limits) -> Self {
        Case { limits, ..self }
    }

    pub(super) fn odd(self, odd: Oddities) -> Self {
        Case { odd, ..self }
    }

    /// So many bytes stay unexplained.
    pub(super) fn unexplained(self, unexplained: u64) -> Self {
        Case { unexplained, ..self }
    }

    pub(super) fn opaque(self) -> Self {
        Case { next: Next::Opaque, ..self }
    }

    /// However the bytes are cut, the same must come out.
    pub(super) fn check(&self) {
        self.check_cut("whole", |bytes| bytes.len());
        self.check_cut("bytewise", |_| 1);
        for at in 1..120 {
            self.check_cut(&format!("first cut at {at}"), |bytes| at.min(bytes.len()));
        }
        for seed in 0..20u64 {
            let mut state = seed;
            self.check_cut(&format!("random {seed}"), |_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                1 + (state >> 33) as usize % 30
            });
        }
    }

    /// As it is, for what is too long to be cut.
    pub(super) fn check_whole(&self) {
        self.check_cut("whole", |bytes| bytes.len());
    }

    fn check_cut(&self, how: &str, piece: impl FnMut(&[u8]) -> usize) {
        let run = run(open_at(self.birth, &self.limits), &self.script, piece);
        let name = self.name;
        let exchanges: Vec<String> = run.exchanges.iter().map(written).collect();
        assert_eq!(exchanges, self.exchanges, "{name}, {how}");
        assert_eq!(run.odd, self.odd, "{name}, {how}");
        assert_eq!(run.given - run.explained, self.unexplained, "{name}, {how}: unexplained");
        assert_eq!(run.next, self.next, "{name}, {how}");
        // Where bytes are missing or their beginning is, less is shown.
        let is_whole = !self.script.iter().any(|step| matches!(step, Do::Gap(..) | Do::Skip(..)));
        if self.birth == Birth::Seen && is_whole && self.is_shown {
            let again = play(open_at(self.birth, &self.limits), &run.shown);
            let exchanges: Vec<String> = again.exchanges.iter().map(written).collect();
            assert_eq!(exchanges, self.exchanges, "{name}, {how}, as it is shown: {:?}", run.shown);
        }
    }
}

fn play(parser: Box<dyn Parser>, script: &[Do]) -> Run {
    run(parser, script, |bytes| bytes.len())
}

/// A parser; where it saw the beginning, the preface too.
fn open_at(birth: Birth, limits: &Limits) -> Box<dyn Parser> {
    let mut parser = open(limits.clone().into(), birth);
    if birth == Birth::Seen {
        let step = parser.push(Side::Client, Ktime(0), PREFACE, &mut Vec::new());
        assert_eq!(step.explained, PREFACE.len() as u64);
    }
    parser
}

/// What a conversation came to.
pub(super) struct Run {
    pub(super) exchanges: Vec<Exchange>,
    pub(super) messages: Vec<(Side, u64)>,
    pub(super) odd: Oddities,
    pub(super) given: u64,
    pub(super) explained: u64,
    pub(super) next: Next,
    /// The same conversation as others may see it.
    pub(super) shown: Vec<Do>,
}

pub(super) fn run(mut parser: Box<dyn Parser>, script: &[Do], mut piece: impl FnMut(&[u8]) -> usize) -> Run {
    let mut out = Vec::new();
    let (mut given, mut explained, mut next) = (0, 0, Next::Continue);
    let mut witness = Witness::new(parser.as_mut());
    for (at, what) in (1..).map(Ktime).zip(script) {
        let mut said = |step: Step| {
            explained += step.explained;
            if step.next != Next::Continue {
                next = step.next;
            }
        };
        match what {
            Do::Push(side, bytes) => {
                given += bytes.len() as u64;
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(piece(rest).clamp(1, rest.len()));
                    witness.pushes(*side, now, what);
                    let step = parser.push(*side, at, now, &mut out);
                    witness.pushed(parser.as_mut(), step.next, "http2");
                    said(step);
                    rest = later;
                }
            }
            Do::Skip(side, n) => {
                given += n;
                said(parser.skipped(*side, at, *n, &mut out));
                witness.missed(parser.as_mut(), *side, what, "http2");
            }
            Do::Gap(side, n) => {
                given += n;
                said(parser.gap(*side, at, *n, &mut out));
                witness.missed(parser.as_mut(), *side, what, "http2");
            }
            Do::End(side) => {
                said(parser.end(*side, at, &mut out));
                witness.called(parser.as_mut(), *side, what, "http2");
            }
            Do::Close(how) => {
                parser.close(at, *how, &mut out);
                witness.called(parser.as_mut(), Side::Client, what, "http2");
            }
        }
    }
    let odd = parser.oddities();
    witness.closed(parser.as_mut(), "http2");
    let shown = shown(witness);
    let finished = |out: &[Signal]| out.iter().filter(|signal| matches!(signal, Signal::Finished(_))).count();
    let at_rest = finished(&out);
    parser.close(Ktime(script.len() as u64 + 1), Close::Forgotten, &mut out);
    let n_started = out.iter().filter(|signal| matches!(signal, Signal::Started(_))).count();
    assert_eq!(n_started, finished(&out), "each start is finished: {out:?}");
    let (mut exchanges, mut messages) = (Vec::new(), Vec::new());
    for signal in out {
        match signal {
            Signal::Finished(exchange) => exchanges.push(exchange),
            Signal::Message(message) => messages.push((message.side, message.bytes)),
            Signal::Started(_) => {}
        }
    }
    // What only the end of the test finished is no part of the case, so that a case may stop anywhere.
    exchanges.truncate(at_rest);
    Run { exchanges, messages, odd, given, explained, next, shown }
}

/// Step by step, so that times are the same.
fn shown(mut witness: Witness<&Do>) -> Vec<Do> {
    let mut steps: Vec<(*const Do, Do)> = Vec::new();
    witness.shown(|step, side, shown, n_hidden| {
        let is_more = steps.last().is_some_and(|(last, _)| std::ptr::eq(*last, step));
        match (step, steps.last_mut()) {
            (Do::Push(..), Some((_, Do::Push(_, bytes)))) if is_more => bytes.extend_from_slice(shown),
            (Do::Push(..), _) => steps.push((step, Do::Push(side, shown.to_vec()))),
            (other, _) => steps.push((step, other.clone())),
        }
        // Nobody reads them.
        if let Some((_, Do::Push(_, bytes))) = steps.last_mut() {
            bytes.resize(bytes.len() + n_hidden as usize, 0);
        }
    });
    steps.into_iter().map(|(_, step)| step).collect()
}

fn cut_by(cut: Cut) -> &'static str {
    match cut {
        Cut::Closed(Some(Side::Client)) => "client FIN",
        Cut::Closed(Some(Side::Server)) => "server FIN",
        Cut::Closed(None) => "FIN",
        Cut::Reset(Side::Client) => "client RST",
        Cut::Reset(Side::Server) => "server RST",
        Cut::Stream(Side::Client) => "client's stream end",
        Cut::Stream(Side::Server) => "server's stream end",
        Cut::Expired => "timeout",
    }
}

/// What was asked of whom.
pub(super) fn asked(http: &Http) -> String {
    let mut line = match http.method {
        None => "-".to_owned(),
        Some(Method::Other) => http.method_original.as_deref().unwrap_or("?").to_owned(),
        Some(method) => format!("{method:?}").to_uppercase(),
    };
    let _ = write!(line, " {}", http.host.as_deref().unwrap_or("-"));
    if let Some(port) = http.port {
        let _ = write!(line, ":{port}");
    }
    line.push_str(http.path.as_deref().unwrap_or("-"));
    line
}

fn outcome(outcome: Outcome) -> String {
    match outcome {
        Outcome::Complete => "complete".to_owned(),
        Outcome::Truncated(cut) => format!("truncated by {}", cut_by(cut)),
        Outcome::Unanswered(cut) => format!("unanswered by {}", cut_by(cut)),
        Outcome::NotObserved => "not observed".to_owned(),
        Outcome::Aborted(cut) => format!("aborted by {}", cut_by(cut)),
    }
}

pub(super) fn or_dash(number: Option<impl ToString>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

/// What it came to, without times.
pub(super) fn result(exchange: &Exchange) -> String {
    let outcome = outcome(exchange.outcome);
    match &exchange.detail {
        Detail::Http(http) => {
            let [sent, got] = [http.request_body, http.response_body].map(or_dash);
            format!("{} {outcome} {sent}/{got}", or_dash(http.status))
        }
        Detail::Rpc(rpc) => {
            let [sent, got] = rpc.messages.map(or_dash);
            let mut line = format!("{} {outcome} {sent}/{got}", or_dash(rpc.status));
            if let Some(timeout) = rpc.timeout {
                let _ = write!(line, " within {timeout:?}");
            }
            if let Some((_, code)) = rpc.reset {
                let _ = write!(line, " code {code}");
            }
            line
        }
        other => panic!("HTTP or a call: {other:?}"),
    }
}

/// An exchange as the cases write it.
pub(super) fn written(exchange: &Exchange) -> String {
    let mut line = match &exchange.detail {
        Detail::Rpc(rpc) => format!("{:?} {}", rpc.system, rpc.method().unwrap_or("-")),
        _ => asked(exchange.http().expect("HTTP")),
    };
    let _ = write!(line, " -> {} @{}", result(exchange), exchange.started.0);
    for at in [exchange.requested, exchange.answered, Some(exchange.ended)] {
        let _ = write!(line, " {}", or_dash(at.map(|at| at.0)));
    }
    if let Some(trace) = &exchange.trace {
        let _ = write!(line, " parent {:02x}", trace.parent.span[7]);
    }
    line
}
