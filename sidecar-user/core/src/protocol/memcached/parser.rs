//! The parser: reads both sides, text or binary as the first byte says.

use std::collections::VecDeque;
use std::sync::Arc;

use super::binary::{self, Message, Messages};
use super::command::{self, Commands};
use super::pending::{Asked, Pending};
use super::reply::{self, Replies, Reply};
use super::shown::{NO_MESSAGE, Shown};
use crate::model::{Ktime, Side};
use crate::protocol::ends::Ends;
use crate::protocol::pipelined::{Pipelined, Place};
use crate::protocol::trial::Trial;
use crate::protocol::{Birth, Close, Limits, Next, Oddities, Parser, Signal, Step, Transcript, Want};

/// A value with less than this to come is not worth a verdict to the kernel.
const SKIP_FROM: u64 = 16 * 1024;

/// One connection that speaks memcached's protocol.
#[derive(Debug)]
pub(super) struct Memcached {
    pub(super) limits: Arc<Limits>,
    pub(super) readers: Readers,
    pub(super) queue: VecDeque<Pending>,
    /// When the answer of several messages began, bytes of it, and which command has it.
    pub(super) parts: Option<(Ktime, u64, usize)>,
    /// Some answer since the oldest command may be any quiet one's.
    pub(super) is_ambiguous: bool,
    /// Where it is not known which answer is whose.
    pub(super) trial: Option<Trial<Pending, Reply>>,
    /// Since the last command that is answered there was one that is not.
    pub(super) has_silent: bool,
    /// The command that is being sent was told of.
    pub(super) is_started: bool,
    /// And is over already, as nothing is known of it.
    pub(super) is_dropped: bool,
    /// The command that was read last began then.
    pub(super) since: Ktime,
    pub(super) place: Place,
    /// Text or binary: that is known.
    pub(super) is_sorted: bool,
    pub(super) ends: Ends,
    pub(super) odd: Oddities,
    transcript: Transcript,
    /// Bytes of each side so far.
    given: [u64; 2],
    /// Bytes of this call that were explained.
    pub(super) explained: u64,
    /// What the client sends is no command any more: only what is outstanding is followed.
    pub(super) is_closing: bool,
    pub(super) is_opaque: bool,
}

/// What reads both sides.
#[derive(Debug)]
pub(super) enum Readers {
    Text(Box<(Commands, Replies)>),
    Binary(Box<[Messages; 2]>),
}

enum Read {
    More,
    Asked(Asked),
    Reply(Reply),
    Malformed,
}

impl Readers {
    fn take(&mut self, at: Ktime, bytes: &[u8], shown: &mut Shown<'_>) -> (usize, Read) {
        let side = shown.side;
        match self {
            Readers::Text(text) => match side {
                Side::Client => {
                    let (used, read) = text.0.take(at, bytes, shown);
                    let read = match read {
                        command::Read::More => Read::More,
                        command::Read::Asked(asked) => Read::Asked(asked),
                        command::Read::Malformed => Read::Malformed,
                    };
                    (used, read)
                }
                Side::Server => {
                    let (used, read) = text.1.take(at, bytes, shown);
                    let read = match read {
                        reply::Read::More => Read::More,
                        reply::Read::Reply(reply) => Read::Reply(reply),
                        reply::Read::Malformed => Read::Malformed,
                    };
                    (used, read)
                }
            },
            Readers::Binary(messages) => {
                let (used, read) = messages[side.index()].take(at, bytes, shown);
                let read = match read {
                    binary::Read::More => Read::More,
                    binary::Read::Message(Message::Asked(asked)) => Read::Asked(asked),
                    binary::Read::Message(Message::Reply(reply)) => Read::Reply(reply),
                    binary::Read::Malformed => Read::Malformed,
                };
                (used, read)
            }
        }
    }

    fn pass(&mut self, side: Side, n: u64) -> u64 {
        match (self, side) {
            (Readers::Text(text), Side::Client) => text.0.pass(n),
            (Readers::Text(text), Side::Server) => text.1.pass(n),
            (Readers::Binary(messages), side) => messages[side.index()].pass(n),
        }
    }

    fn left(&self, side: Side) -> u64 {
        match (self, side) {
            (Readers::Text(text), Side::Client) => text.0.left(),
            (Readers::Text(text), Side::Server) => text.1.left(),
            (Readers::Binary(messages), side) => messages[side.index()].left(),
        }
    }

    /// When the answer began that is being read.
    pub(super) fn answering(&self) -> Option<Ktime> {
        match self {
            Readers::Text(text) => text.1.begun(),
            Readers::Binary(messages) => messages[Side::Server.index()].begun(),
        }
    }

    /// The command that is being sent, and when it began, where it is known which.
    pub(super) fn asking(&self) -> Option<(Asked, Ktime)> {
        match self {
            Readers::Text(text) => Some((*text.0.begun()?, text.0.since)),
            Readers::Binary(messages) => {
                let messages = &messages[Side::Client.index()];
                Some((messages.asked()?, messages.since))
            }
        }
    }

    pub(super) fn restart(&mut self) {
        *self = match self {
            Readers::Text(_) => Readers::text(),
            Readers::Binary(_) => Readers::binary(),
        };
    }

    pub(super) fn text() -> Self {
        Readers::Text(Box::default())
    }

    pub(super) fn binary() -> Self {
        Readers::Binary(Box::new([Messages::new(Side::Client), Messages::new(Side::Server)]))
    }

    fn since(&self) -> Ktime {
        match self {
            Readers::Text(text) => text.0.since,
            Readers::Binary(messages) => messages[Side::Client.index()].since,
        }
    }
}

impl Memcached {
    pub(super) fn new(limits: Arc<Limits>, birth: Birth) -> Self {
        let is_joined = birth == Birth::Joined;
        Memcached {
            limits,
            readers: Readers::text(),
            queue: VecDeque::new(),
            parts: None,
            is_ambiguous: false,
            trial: is_joined.then(|| Trial::new(0)),
            has_silent: false,
            is_started: false,
            is_dropped: false,
            since: Ktime::default(),
            place: Place::new(is_joined),
            is_sorted: false,
            ends: Ends::default(),
            odd: Oddities::default(),
            transcript: Transcript::default(),
            given: [0; 2],
            explained: 0,
            is_closing: false,
            is_opaque: false,
        }
    }

    fn take(&mut self, side: Side, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) -> usize {
        if side == Side::Client && self.is_closing {
            self.hide(side);
            return bytes.len();
        }
        let mut shown = Shown { transcript: &mut self.transcript, side };
        let (used, read) = self.readers.take(at, bytes, &mut shown);
        if side == Side::Client {
            self.since = self.readers.since();
        }
        match read {
            Read::Malformed => {
                self.malformed(side, bytes.len() as u64, at, out);
                return bytes.len();
            }
            Read::More if side == Side::Client && !self.is_started && !self.is_dropped => {
                if self.has_room() && self.readers.asking().is_some() {
                    self.start(self.since, out);
                }
            }
            Read::More => {}
            Read::Asked(asked) => self.asked(asked, at, out),
            Read::Reply(reply) => self.told(reply, out),
        }
        self.explained += used as u64;
        used
    }

    /// `n` bytes passed that nobody saw.
    fn pass(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) -> Step {
        self.explained = 0;
        if n == 0 || self.is_opaque {
            return self.step();
        }
        self.spoken(side, at, out);
        self.hide(side);
        if !self.place.is_framed(side) {
            self.unread(n);
            return self.step();
        }
        let used = self.readers.pass(side, n);
        self.explained += used;
        if used < n {
            self.lose(at, out);
        }
        self.step()
    }

    /// What came of `side` and was not told of is not shown.
    pub(super) fn hide(&mut self, side: Side) {
        let untold = self.given[side.index()].saturating_sub(self.transcript.told(side));
        self.transcript.hide(side, untold, NO_MESSAGE);
        match (&mut self.readers, side) {
            (Readers::Text(text), Side::Client) => text.0.forget(),
            (Readers::Text(text), Side::Server) => text.1.forget(),
            (Readers::Binary(_), _) => {}
        }
    }

    fn want(&self, side: Side) -> Want {
        match self.readers.left(side) {
            _ if side == Side::Client && self.is_closing => Want::Skip(u64::MAX),
            // What ends a value is looked at.
            left if left > SKIP_FROM => Want::Skip(left - 2),
            _ => Want::Stream,
        }
    }

    fn step(&self) -> Step {
        let next = if self.is_opaque { Next::Opaque } else { Next::Continue };
        Step { next, explained: self.explained, want: [self.want(Side::Client), self.want(Side::Server)] }
    }
}

impl Parser for Memcached {
    fn push(&mut self, side: Side, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) -> Step {
        self.explained = 0;
        if bytes.is_empty() || self.is_opaque {
            return self.step();
        }
        self.given[side.index()] += bytes.len() as u64;
        let is_turn = self.spoken(side, at, out);
        if !self.frame(side, bytes) {
            self.hide(side);
            self.unread(bytes.len() as u64);
            self.wonder(is_turn, at, out);
            return self.step();
        }
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_opaque {
            let used = if self.place.is_framed(side) {
                self.take(side, at, rest, out)
            } else {
                self.hide(side);
                self.unread(rest.len() as u64);
                rest.len()
            };
            rest = &rest[used..];
        }
        self.step()
    }

    fn skipped(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) -> Step {
        self.pass(side, at, n, out)
    }

    fn gap(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) -> Step {
        let lost = u32::try_from(n).unwrap_or(u32::MAX);
        self.queue.iter_mut().for_each(|pending| pending.lost = pending.lost.saturating_add(lost));
        self.pass(side, at, n, out)
    }

    fn end(&mut self, side: Side, at: Ktime, out: &mut Vec<Signal>) -> Step {
        self.explained = 0;
        if !self.is_opaque {
            self.side_ended(side, at, out);
        }
        self.step()
    }

    fn limit(&mut self, limits: &Arc<Limits>) {
        self.limits = Arc::clone(limits);
    }

    fn close(&mut self, at: Ktime, how: Close, out: &mut Vec<Signal>) {
        self.closed(at, how, out);
    }

    fn transcript(&mut self) -> Option<&mut Transcript> {
        Some(&mut self.transcript)
    }

    fn oddities(&mut self) -> Oddities {
        std::mem::take(&mut self.odd)
    }

    fn held(&self) -> usize {
        let readers = match self.readers {
            Readers::Text(_) => size_of::<(Commands, Replies)>(),
            Readers::Binary(_) => size_of::<[Messages; 2]>(),
        };
        let trial = self.trial.as_ref().map_or(0, Trial::held);
        self.queue.capacity() * size_of::<Pending>() + trial + readers
    }
}
