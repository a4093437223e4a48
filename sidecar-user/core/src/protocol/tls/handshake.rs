//! The handshake, from the ClientHello to where it is over or fails.

use std::sync::Arc;

use super::hello::{ClientHello, ServerHello};
use super::record::{ALERT, CLIENT_HELLO, Came, Records, SERVER_HELLO, Shown};
use super::{APPLICATION_DATA, CHANGE_CIPHER_SPEC, HANDSHAKE};
use crate::model::{Cut, Detail, Exchange, Ktime, Outcome, Side, Start, Tls, TlsVersion};
use crate::protocol::{Birth, Close, Limits, Next, Oddities, Parser, Signal, Step, Transcript, Want};

/// Handshake messages that only a full handshake has: its certificate, or what stands for it, up to ServerHelloDone
/// (RFC 5246 section 7.3). That of a session that goes on has no more than a new ticket (RFC 5077 section 3.1).
const FULL: std::ops::RangeInclusive<u8> = 11..=14;
/// Level of an alert that ends the connection, and the number of one that does so at any level (RFC 5246 section 7.2).
const FATAL: u8 = 2;
const CLOSE_NOTIFY: u8 = 0;
/// What a Finished has besides a hash: its header, its record's inner type.
const FINISHED: usize = 4 + 1;
/// Lengths of hashes that Finished may have.
const HASHES: [usize; 2] = [32, 48];

pub(super) fn open(limits: Arc<Limits>, birth: Birth) -> Box<dyn Parser> {
    Box::new(Handshake {
        hold: limits.head_bytes,
        sides: Default::default(),
        stage: if birth == Birth::Seen { Stage::Silent } else { Stage::Over(Next::Encrypted) },
        begins: None,
        requested: None,
        answered: None,
        hello: ClientHello::default(),
        answer: None,
        is_resumed: None,
        version: None,
        is_finished: [false; 2],
        first_end: None,
        odd: Oddities::default(),
        transcript: Transcript::default(),
    })
}

struct Handshake {
    /// Most bytes of a hello that are held.
    hold: usize,
    sides: [Records; 2],
    stage: Stage,
    /// The first byte of the client's first record passed.
    begins: Option<Ktime>,
    requested: Option<Ktime>,
    answered: Option<Ktime>,
    hello: ClientHello,
    answer: Option<ServerHello>,
    is_resumed: Option<bool>,
    /// As a request for another ClientHello says it.
    version: Option<TlsVersion>,
    /// Whose Finished passed, before TLS 1.3.
    is_finished: [bool; 2],
    /// Whose FIN came first, and when.
    first_end: Option<(Side, Ktime)>,
    odd: Oddities,
    transcript: Transcript,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The client has not begun.
    Silent,
    Open,
    Over(Next),
}

impl Handshake {
    fn came(&mut self, side: Side, at: Ktime, came: Came, out: &mut Vec<Signal>) {
        let is_sealed = self.answer.as_ref().is_some_and(|answer| answer.is_sealed);
        match (came, side) {
            (Came::Nothing, _) => {}
            (Came::Begins(kind), side) => self.message_begins(side, kind, at, out),
            (Came::Message(kind, body), side) => {
                self.message_begins(side, kind, at, out);
                self.message(side, kind, &body, at, out);
            }
            (Came::Alert([level, number]), _) => {
                if level == FATAL || number == CLOSE_NOTIFY {
                    self.finish(Outcome::Complete, Some(number), at, out);
                }
            }
            (Came::Record(CHANGE_CIPHER_SPEC, _), _) => {
                // Some send one in TLS 1.3 too, where it says nothing (RFC 8446 section D.4).
                if !is_sealed && self.answer.is_some() {
                    self.sides[side.index()].is_sealed = true;
                    self.is_resumed = self.is_resumed.or((side == Side::Server).then_some(true));
                }
            }
            (Came::Record(HANDSHAKE, _), _) => {
                self.is_finished[side.index()] = true;
                if self.is_finished == [true; 2] {
                    self.finish(Outcome::Complete, None, at, out);
                }
            }
            (Came::Record(APPLICATION_DATA, len), Side::Client) if is_sealed => {
                if self.is_final(len) {
                    self.finish(Outcome::Complete, None, at, out);
                }
            }
            // Data before the answer; that of the server while the client has not said that it is done, or before TLS 1.3
            // of a client that does not wait for the server's Finished (RFC 7918); alerts that are encrypted.
            (Came::Record(APPLICATION_DATA | ALERT, _), _) => {}
            (Came::Record(..) | Came::Malformed, _) => {
                self.odd.malformed += 1;
                self.give_up(Next::Opaque, at, out);
            }
        }
    }

    fn message_begins(&mut self, side: Side, kind: u8, at: Ktime, out: &mut Vec<Signal>) {
        match (self.stage, side, kind) {
            (Stage::Silent, Side::Client, CLIENT_HELLO) => {
                self.stage = Stage::Open;
                let since = self.begins.unwrap_or(at);
                out.push(Signal::Started(Start { at: since, method: None, is_excluded: false }));
            }
            (Stage::Silent, ..) => {
                self.odd.malformed += 1;
                self.give_up(Next::Opaque, at, out);
            }
            (Stage::Open, Side::Server, kind) if FULL.contains(&kind) && self.answer.is_some() => {
                self.is_resumed = self.is_resumed.or(Some(false));
            }
            (Stage::Open | Stage::Over(_), ..) => {}
        }
    }

    fn message(&mut self, side: Side, kind: u8, body: &[u8], at: Ktime, out: &mut Vec<Signal>) {
        self.odd.oversized += u32::from(!body.is_empty() && body.len() >= self.hold);
        match (side, kind) {
            (Side::Client, CLIENT_HELLO) if self.answer.is_none() => {
                self.requested.get_or_insert(at);
                self.hello = ClientHello::read(body);
            }
            (Side::Server, SERVER_HELLO) if self.answer.is_none() => match ServerHello::read(body) {
                Some(retry) if retry.is_retry => self.version = retry.version,
                Some(answer) => {
                    if answer.is_sealed {
                        self.is_resumed = Some(answer.has_key);
                    }
                    self.answer = Some(answer);
                }
                None => {
                    self.odd.malformed += 1;
                    self.give_up(Next::Opaque, at, out);
                }
            },
            _ => {}
        }
    }

    /// Whether an encrypted record of the client's, of so many bytes, is where the handshake is over.
    fn is_final(&self, len: usize) -> bool {
        let Some(answer) = &self.answer else { return false };
        let tag = answer.sealed_alert - 3;
        if self.hello.has_early_data {
            return HASHES.iter().any(|hash| len == FINISHED + hash + tag);
        }
        len != answer.sealed_alert
    }

    /// `n` bytes passed that nobody saw.
    fn miss(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) -> Step {
        if n == 0 || matches!(self.stage, Stage::Over(_)) {
            return self.step(0);
        }
        match self.sides[side.index()].pass(n) {
            Some(taken) => {
                self.came(side, at, taken.came, out);
                self.step(taken.explained)
            }
            None => {
                self.give_up(Next::Encrypted, at, out);
                self.step(0)
            }
        }
    }

    /// How it ended is not known.
    fn give_up(&mut self, next: Next, at: Ktime, out: &mut Vec<Signal>) {
        self.finish(Outcome::NotObserved, None, at, out);
        self.stage = Stage::Over(next);
    }

    fn finish(&mut self, outcome: Outcome, alert: Option<u8>, ended: Ktime, out: &mut Vec<Signal>) {
        let is_open = self.stage == Stage::Open;
        self.stage = Stage::Over(Next::Encrypted);
        if !is_open {
            return;
        }
        let hello = std::mem::take(&mut self.hello);
        let (version, alpn) = match self.answer.take() {
            Some(answer) if answer.is_sealed => (answer.version, hello.alpn),
            Some(answer) => (answer.version, answer.alpn),
            None => (self.version, hello.alpn),
        };
        let tls = Tls {
            server_name: hello.server_name,
            alpn,
            version,
            is_resumed: self.is_resumed,
            alert,
            bytes: [self.sides[0].bytes, self.sides[1].bytes],
        };
        out.push(Signal::Finished(Exchange {
            started: self.begins.unwrap_or(ended),
            requested: self.requested,
            read: None,
            answered: self.answered,
            ended,
            outcome,
            is_excluded: false,
            lost: 0,
            trace: None,
            detail: Detail::Tls(Box::new(tls)),
        }));
        self.sides = Default::default();
    }

    fn step(&self, explained: u64) -> Step {
        let next = if let Stage::Over(next) = self.stage { next } else { Next::Continue };
        Step { next, explained, want: [Want::Undecided; 2] }
    }
}

impl Parser for Handshake {
    fn push(&mut self, side: Side, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) -> Step {
        let (mut rest, mut explained) = (bytes, 0);
        while !rest.is_empty() && !matches!(self.stage, Stage::Over(_)) {
            match side {
                Side::Client => _ = self.begins.get_or_insert(at),
                Side::Server => _ = self.answered.get_or_insert(at),
            }
            let mut shown = Shown { transcript: &mut self.transcript, side };
            let taken = self.sides[side.index()].take(rest, self.hold, &mut shown);
            rest = &rest[taken.used..];
            explained += taken.explained;
            self.came(side, at, taken.came, out);
        }
        self.step(explained)
    }

    fn skipped(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) -> Step {
        self.miss(side, at, n, out)
    }

    fn gap(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) -> Step {
        self.miss(side, at, n, out)
    }

    fn end(&mut self, side: Side, at: Ktime, _: &mut Vec<Signal>) -> Step {
        self.first_end.get_or_insert((side, at));
        self.step(0)
    }

    fn limit(&mut self, limits: &Arc<Limits>) {
        self.hold = limits.head_bytes;
    }

    /// A handshake that was not over failed.
    fn close(&mut self, at: Ktime, how: Close, out: &mut Vec<Signal>) {
        let (cut, ended) = match (how, self.first_end) {
            (Close::Forgotten, _) => return self.give_up(Next::Encrypted, at, out),
            (Close::Expired, _) => (Cut::Expired, at),
            (Close::Reset(by), first) if first.is_none_or(|(side, _)| side == by) => {
                (Cut::Reset(by), first.map_or(at, |(_, end)| end))
            }
            (_, Some((side, end))) => (Cut::Closed(Some(side)), end),
            (_, None) => (Cut::Closed(None), at),
        };
        let outcome = match (self.requested, self.answered) {
            (_, Some(_)) => Outcome::Truncated(cut),
            (Some(_), None) => Outcome::Unanswered(cut),
            (None, None) => Outcome::Aborted(cut),
        };
        self.finish(outcome, None, ended, out);
    }

    fn transcript(&mut self) -> Option<&mut Transcript> {
        Some(&mut self.transcript)
    }

    fn oddities(&mut self) -> Oddities {
        std::mem::take(&mut self.odd)
    }

    fn held(&self) -> usize {
        self.sides.iter().map(Records::held).sum::<usize>()
            + self.hello.server_name.as_ref().map_or(0, |name| name.len())
    }
}
