//! The session: messages as they pass, and one exchange for the whole.

use super::Upgraded;
use super::frame::{Came, Frames};
use crate::model::{Cut, Detail, Exchange, Ktime, Message, MessageKind, Outcome, Side, Start, WebSocket};
use crate::protocol::{Birth, Close, Limits, Next, Oddities, Parser, Signal, Step, TEXT, Transcript, Want};
use std::sync::Arc;

/// A payload with less than this to come is not worth a verdict to the kernel.
const SKIP_FROM: u64 = 16 * 1024;

/// One connection that speaks WebSocket.
pub(super) struct Session {
    sides: [Reader; 2],
    stage: Stage,
    started: Ktime,
    request: Upgraded,
    messages: [u64; 2],
    bytes: [u64; 2],
    /// The code of the first close frame.
    close: Option<u16>,
    /// Whose FIN came first, and when.
    first_end: Option<(Side, Ktime)>,
    odd: Oddities,
    transcript: Transcript,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing was told of it.
    New,
    Open,
    /// It is over, in order: whatever comes is no message.
    Over,
    /// It is over to us: nothing more is read.
    Lost,
}

struct Reader {
    frames: Frames,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// It sent a close frame: it sends nothing more (RFC 6455 section 5.5.1).
    Closed,
    /// It sent what is no frame. The other side will say so.
    Broken,
}

impl Session {
    pub(super) fn new(birth: Birth, request: Upgraded) -> Self {
        let reader = |side| Reader { frames: Frames::new(side), state: State::Open };
        Session {
            sides: [reader(Side::Client), reader(Side::Server)],
            stage: if birth == Birth::Seen { Stage::New } else { Stage::Lost },
            started: Ktime::default(),
            request,
            messages: [0; 2],
            bytes: [0; 2],
            close: None,
            first_end: None,
            odd: Oddities::default(),
            transcript: Transcript::default(),
        }
    }

    /// It was opened at `at`.
    pub(super) fn begin(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        if self.stage == Stage::New {
            self.stage = Stage::Open;
            self.started = at;
            out.push(Signal::Started(Start { at, method: None, is_excluded: self.request.is_excluded }));
        }
    }

    fn came(&mut self, side: Side, at: Ktime, came: Came, out: &mut Vec<Signal>) {
        let (kind, bytes) = match came {
            Came::Nothing => return,
            Came::Malformed => {
                self.odd.malformed += 1;
                self.sides[side.index()].state = State::Broken;
                return;
            }
            Came::Message(kind, bytes) => (kind, bytes),
            Came::Close(code, bytes) => {
                if !self.sides.iter().any(|reader| reader.state == State::Closed) {
                    self.close = code;
                }
                self.sides[side.index()].state = State::Closed;
                (MessageKind::Close, bytes)
            }
        };
        if matches!(kind, MessageKind::Text | MessageKind::Binary) {
            self.messages[side.index()] += 1;
            self.bytes[side.index()] = self.bytes[side.index()].saturating_add(bytes);
        }
        if !self.request.is_excluded {
            out.push(Signal::Message(Message { at, side, kind, bytes }));
        }
        if self.sides.iter().all(|reader| reader.state == State::Closed) {
            self.finish(Outcome::Complete, at, out);
            self.stage = Stage::Over;
        }
    }

    /// `n` bytes of `side` passed that nobody saw. Where they are not all one payload's, nothing tells frames any more.
    fn miss(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) -> Step {
        self.begin(at, out);
        let reader = &mut self.sides[side.index()];
        if n == 0 || self.stage != Stage::Open || reader.state != State::Open {
            return self.step(0);
        }
        let taken = reader.frames.pass(n);
        self.came(side, at, taken.came, out);
        if taken.used < n && self.stage == Stage::Open && self.sides[side.index()].state == State::Open {
            self.finish(Outcome::NotObserved, at, out);
            self.stage = Stage::Lost;
        }
        self.step(taken.explained)
    }

    fn step(&self, explained: u64) -> Step {
        let next = if self.stage == Stage::Lost { Next::Opaque } else { Next::Continue };
        let want = [Side::Client, Side::Server].map(|side| {
            let reader = &self.sides[side.index()];
            match reader.frames.left() {
                _ if self.stage == Stage::Over || reader.state != State::Open => Want::Skip(u64::MAX),
                left if left > SKIP_FROM => Want::Skip(left),
                _ => Want::Stream,
            }
        });
        Step { next, explained, want }
    }

    fn finish(&mut self, outcome: Outcome, ended: Ktime, out: &mut Vec<Signal>) {
        let Upgraded { path, host, trace, is_excluded } = std::mem::take(&mut self.request);
        // Nobody counted it to that end.
        let close = self.close.filter(|_| outcome != Outcome::NotObserved);
        let socket = WebSocket { path, host, messages: self.messages, bytes: self.bytes, close };
        out.push(Signal::Finished(Exchange {
            started: self.started,
            requested: None,
            read: None,
            answered: None,
            ended,
            outcome,
            is_excluded,
            lost: 0,
            trace,
            detail: Detail::WebSocket(Box::new(socket)),
        }));
    }
}

impl Parser for Session {
    fn push(&mut self, side: Side, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) -> Step {
        self.begin(at, out);
        let (mut rest, mut explained) = (bytes, 0);
        while !rest.is_empty() && self.stage == Stage::Open {
            let reader = &mut self.sides[side.index()];
            if reader.state != State::Open {
                break;
            }
            let taken = reader.frames.take(rest, &mut self.transcript);
            explained += taken.explained;
            rest = &rest[taken.used as usize..];
            self.came(side, at, taken.came, out);
        }
        self.transcript.hide(side, rest.len() as u64, TEXT);
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

    fn limit(&mut self, _: &Arc<Limits>) {}

    /// A session that no close frame ended was cut off by whoever ended the connection first.
    fn close(&mut self, at: Ktime, how: Close, out: &mut Vec<Signal>) {
        if std::mem::replace(&mut self.stage, Stage::Lost) != Stage::Open {
            return;
        }
        let (cut, ended) = match (how, self.first_end) {
            (Close::Forgotten, _) => return self.finish(Outcome::NotObserved, at, out),
            (Close::Expired, _) => (Cut::Expired, at),
            (Close::Reset(by), first) if first.is_none_or(|(side, _)| side == by) => {
                (Cut::Reset(by), first.map_or(at, |(_, end)| end))
            }
            (_, Some((side, end))) => (Cut::Closed(Some(side)), end),
            (_, None) => (Cut::Closed(None), at),
        };
        self.finish(Outcome::Truncated(cut), ended, out);
    }

    fn transcript(&mut self) -> Option<&mut Transcript> {
        Some(&mut self.transcript)
    }

    fn oddities(&mut self) -> Oddities {
        std::mem::take(&mut self.odd)
    }
}
