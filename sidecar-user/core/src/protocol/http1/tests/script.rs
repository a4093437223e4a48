//! The language of the cases, and the one function that checks them.
//!
//! In messages `|` stands for CRLF. Step `n` happens at time `n`, counted from 1. An exchange is written
//! `METHOD host:port/path -> status outcome request/response bytes @started requested answered ended`, with `-` for
//! what is not known.

use std::fmt::Write as _;

use super::super::open;
use crate::model::{Cut, Detail, Exchange, HttpVersion, Ktime, Method, Outcome, Side};
use crate::protocol::{Birth, Close, Limits, Next, Oddities, Parser, Signal, transcript::witness::Witness};

/// One thing that happens on a connection.
#[derive(Clone, Debug)]
pub(super) enum Do {
    Push(Side, Vec<u8>),
    Skip(Side, u64),
    Gap(Side, u64),
    End(Side),
    Close(Close),
}

/// The client sends.
pub(super) fn c(text: &str) -> Do {
    Do::Push(Side::Client, text.replace('|', "\r\n").into_bytes())
}

/// The server sends.
pub(super) fn s(text: &str) -> Do {
    Do::Push(Side::Server, text.replace('|', "\r\n").into_bytes())
}

pub(super) const CLIENT: Side = Side::Client;
pub(super) const SERVER: Side = Side::Server;
pub(super) const CLOSED: Do = Do::Close(Close::Closed);
pub(super) const RESET: Do = Do::Close(Close::Reset(Side::Server));
pub(super) const RESET_BY_CLIENT: Do = Do::Close(Close::Reset(Side::Client));
pub(super) const EXPIRED: Do = Do::Close(Close::Expired);
pub(super) const FORGOTTEN: Do = Do::Close(Close::Forgotten);

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
}

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
    }
}

impl Case {
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
        for at in 1..200 {
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

    /// `piece` says how long the next piece of the bytes to come should be.
    fn check_cut(&self, how: &str, piece: impl FnMut(&[u8]) -> usize) {
        let run = run(&self.script, self.limits.clone(), self.birth, piece);
        let name = self.name;
        let exchanges: Vec<String> = run.exchanges.iter().map(written).collect();
        assert_eq!(exchanges, self.exchanges, "{name}, {how}");
        assert_eq!(run.odd, self.odd, "{name}, {how}");
        assert_eq!(run.given - run.explained, self.unexplained, "{name}, {how}: unexplained");
        assert_eq!(run.next, self.next, "{name}, {how}");
        self.check_shown(&run.shown, how);
    }

    /// What is shown of it comes to the same.
    fn check_shown(&self, shown: &[Do], how: &str) {
        let again = run(shown, self.limits.clone(), self.birth, |bytes| bytes.len());
        let exchanges: Vec<String> = again.exchanges.iter().map(written).collect();
        let without_state = |line: &String| line.split(" state ").next().unwrap_or_default().to_owned();
        let expected: Vec<String> = self.exchanges.iter().map(without_state).collect();
        assert_eq!(exchanges, expected, "{}, {how}, as it is shown: {shown:?}", self.name);
    }
}

/// What a conversation came to.
pub(super) struct Run {
    pub(super) exchanges: Vec<Exchange>,
    pub(super) odd: Oddities,
    pub(super) given: u64,
    pub(super) explained: u64,
    pub(super) next: Next,
    /// The same conversation as others may see it.
    pub(super) shown: Vec<Do>,
}

pub(super) fn run(script: &[Do], limits: Limits, birth: Birth, mut piece: impl FnMut(&[u8]) -> usize) -> Run {
    let mut parser = open(limits.into(), birth);
    let mut out = Vec::new();
    let (mut given, mut explained, mut next) = (0, 0, Next::Continue);
    let mut witness = Witness::new(parser.as_mut());
    for (at, step) in (1..).map(Ktime).zip(script) {
        let mut said = |step: crate::protocol::Step| {
            explained += step.explained;
            if step.next == Next::Opaque {
                next = Next::Opaque;
            }
        };
        match step {
            Do::Push(side, bytes) => {
                given += bytes.len() as u64;
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(piece(rest).clamp(1, rest.len()));
                    witness.pushes(*side, now, step);
                    let step = parser.push(*side, at, now, &mut out);
                    witness.pushed(parser.as_mut(), step.next, "http1");
                    said(step);
                    rest = later;
                }
            }
            Do::Skip(side, n) => {
                given += n;
                said(parser.skipped(*side, at, *n, &mut out));
                witness.missed(parser.as_mut(), *side, step, "http1");
            }
            Do::Gap(side, n) => {
                given += n;
                said(parser.gap(*side, at, *n, &mut out));
                witness.missed(parser.as_mut(), *side, step, "http1");
            }
            Do::End(side) => {
                said(parser.end(*side, at, &mut out));
                witness.called(parser.as_mut(), *side, step, "http1");
            }
            Do::Close(how) => {
                parser.close(at, *how, &mut out);
                witness.called(parser.as_mut(), Side::Client, step, "http1");
            }
        }
    }
    let odd = parser.oddities();
    witness.closed(parser.as_mut(), "http1");
    let shown = shown(witness);
    Run { exchanges: finished(parser, script.len(), out), odd, given, explained, next, shown }
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

/// Every start has its end, at the latest when the connection is gone.
fn finished(mut parser: Box<dyn Parser>, n_steps: usize, mut out: Vec<Signal>) -> Vec<Exchange> {
    let finished = |out: &[Signal]| out.iter().filter(|signal| matches!(signal, Signal::Finished(_))).count();
    out.retain(|signal| !matches!(signal, Signal::Message(_)));
    let at_rest = finished(&out);
    parser.close(Ktime(n_steps as u64 + 1), Close::Forgotten, &mut out);
    assert_eq!(out.len(), 2 * finished(&out), "each start is finished: {out:?}");
    // What only the end of the test finished is no part of the case, so that a case may stop anywhere.
    let exchanges = out.into_iter().filter_map(|signal| match signal {
        Signal::Finished(exchange) => Some(exchange),
        Signal::Started(_) | Signal::Message(_) => None,
    });
    exchanges.take(at_rest).collect()
}

fn cut_by(cut: Cut) -> &'static str {
    match cut {
        Cut::Closed(Some(Side::Client)) => "client FIN",
        Cut::Closed(Some(Side::Server)) => "server FIN",
        Cut::Closed(None) => "FIN",
        Cut::Reset(Side::Client) => "client RST",
        Cut::Reset(Side::Server) => "server RST",
        Cut::Stream(_) => "a stream's reset",
        Cut::Expired => "timeout",
    }
}

/// An exchange as the cases write it.
pub(super) fn written(exchange: &Exchange) -> String {
    let (http, rpc) = match &exchange.detail {
        Detail::Http(http) => (http, None),
        Detail::Rpc(rpc) => (&rpc.http, Some(rpc)),
        other => panic!("HTTP's own: {other:?}"),
    };
    let mut line = match http.method {
        Some(Method::Other) | None => "?".to_owned(),
        Some(method) => format!("{method:?}").to_uppercase(),
    };
    let _ = write!(line, " {}", http.host.as_deref().unwrap_or("-"));
    if let Some(port) = http.port {
        let _ = write!(line, ":{port}");
    }
    let _ = write!(line, "{} ->", http.path.as_deref().unwrap_or("-"));
    match http.status {
        Some(status) => {
            let _ = write!(line, " {status}");
        }
        None => line.push_str(" -"),
    }
    let outcome = match exchange.outcome {
        Outcome::Complete => "complete".to_owned(),
        Outcome::Truncated(cut) => format!("truncated by {}", cut_by(cut)),
        Outcome::Unanswered(cut) => format!("unanswered by {}", cut_by(cut)),
        Outcome::NotObserved => "not observed".to_owned(),
        Outcome::Aborted(cut) => format!("aborted by {}", cut_by(cut)),
    };
    let [sent, got] = [http.request_body, http.response_body]
        .map(|bytes| bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string()));
    let _ = write!(line, " {outcome} {sent}/{got} @{}", exchange.started.0);
    for at in [exchange.requested, exchange.answered, Some(exchange.ended)] {
        match at {
            Some(at) => {
                let _ = write!(line, " {}", at.0);
            }
            None => line.push_str(" -"),
        }
    }
    if http.version == HttpVersion::Http10 {
        line.push_str(" 1.0");
    }
    if let Some(rpc) = rpc {
        let or_dash = |n: Option<u32>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
        let (status, [sent, got]) = (or_dash(rpc.status), rpc.messages.map(or_dash));
        let _ = write!(line, " call {} {status} {sent}/{got}", rpc.method().unwrap_or("-"),);
        if let Some(timeout) = rpc.timeout {
            let _ = write!(line, " within {timeout:?}");
        }
    }
    if let Some(trace) = &exchange.trace {
        let _ = write!(line, " parent {:02x}", trace.parent.span[7]);
        if let Some(state) = &trace.state {
            let _ = write!(line, " state {state}");
        }
    }
    line
}
