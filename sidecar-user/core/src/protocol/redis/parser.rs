//! The parser: reads both sides, and keeps the place in the line.

use std::sync::Arc;

use super::command::{self, Commands};
use super::name::Effect;
use super::pending::{Pending, Queue};
use super::shown;
use super::subscriptions::Subscriptions;
use super::value::{self, Value, Values};
use crate::model::{Ktime, Side};
use crate::protocol::ends::Ends;
use crate::protocol::pipelined::{Pipelined, Place};
use crate::protocol::trial::Trial;
use crate::protocol::{Birth, Close, Limits, Next, Oddities, Parser, Signal, Step, Transcript, Want};

/// Content with less than this to come is not worth a verdict to the kernel.
const SKIP_FROM: u64 = 16 * 1024;

/// One connection that speaks RESP.
#[derive(Debug)]
pub(super) struct Redis {
    pub(super) limits: Arc<Limits>,
    pub(super) commands: Commands,
    pub(super) values: Values,
    pub(super) queue: Queue,
    /// Where it is not known which answer is whose.
    pub(super) trial: Option<Trial<Pending, Value>>,
    /// Whether answers come, and what else a command changed for those after it.
    pub(super) replies: Replies,
    /// `MULTI` was sent, and neither `EXEC` nor `DISCARD`.
    pub(super) is_queueing: bool,
    /// The request that is being sent was told of.
    pub(super) is_started: bool,
    /// And is over already, as nothing is known of it.
    pub(super) is_dropped: bool,
    pub(super) database: Database,
    pub(super) subscriptions: Subscriptions,
    pub(super) is_monitoring: bool,
    pub(super) place: Place,
    pub(super) ends: Ends,
    pub(super) odd: Oddities,
    transcript: Transcript,
    /// Bytes of each side so far.
    given: [u64; 2],
    /// Bytes of this call that were explained.
    pub(super) explained: u64,
    /// What the client sends is no Redis any more: only what is outstanding is followed.
    pub(super) is_closing: bool,
    pub(super) is_opaque: bool,
}

/// Whether commands are answered (`CLIENT REPLY`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Replies {
    On,
    Off,
    /// But for the next.
    Skip,
}

/// The database that commands are on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Database {
    pub(super) now: Option<u32>,
    /// What it was before, and will be after, the transaction that is being queued.
    pub(super) queued: Option<[Option<u32>; 2]>,
}

impl Redis {
    pub(super) fn new(limits: Arc<Limits>, birth: Birth) -> Self {
        let is_joined = birth == Birth::Joined;
        Redis {
            limits,
            commands: Commands::new(),
            values: Values::new(),
            queue: Queue::default(),
            trial: is_joined.then(|| Trial::new(0)),
            replies: Replies::On,
            is_queueing: false,
            is_started: false,
            is_dropped: false,
            database: Database { now: (!is_joined).then_some(0), queued: None },
            subscriptions: if is_joined { Subscriptions::unknown() } else { Subscriptions::default() },
            is_monitoring: is_joined,
            place: Place::new(is_joined),
            ends: Ends::default(),
            odd: Oddities::default(),
            transcript: Transcript::default(),
            given: [0; 2],
            explained: 0,
            is_closing: false,
            is_opaque: false,
        }
    }

    fn take_client(&mut self, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) -> usize {
        if self.is_closing {
            self.hide(Side::Client);
            return bytes.len();
        }
        let (used, read) = self.commands.take(at, bytes, &mut self.transcript);
        if read == command::Read::Malformed {
            self.malformed(Side::Client, bytes.len() as u64, at, out);
            return bytes.len();
        }
        self.explained += used as u64;
        if let command::Read::Command(command) = read {
            let started = self.commands.since;
            self.asked(command, started, at, out);
        } else if self.commands.is_named() && !self.is_started && !self.is_dropped && self.has_room() {
            self.start(self.commands.since, out);
        }
        used
    }

    fn take_server(&mut self, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) -> usize {
        if self.values.begun().is_none() && self.queue.front().is_some_and(Pending::is_replication) {
            // What keeps the connection alive until there is an answer.
            if bytes[0] == b'\n' {
                self.transcript.keep(Side::Server, &bytes[..1]);
                self.explained += 1;
                return 1;
            }
            if bytes[0] == b'$' {
                self.replicate(at, out);
                return bytes.len();
            }
        }
        let (used, read) = self.values.take(at, bytes, &mut self.transcript);
        match read {
            value::Read::More => {}
            value::Read::Value(value) => {
                self.explained += used as u64;
                self.told(value, out);
                return used;
            }
            value::Read::Malformed => {
                self.malformed(Side::Server, bytes.len() as u64, at, out);
                return bytes.len();
            }
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
        let used = match side {
            Side::Client => self.commands.pass(n),
            Side::Server => self.values.pass(n),
        };
        self.explained += used;
        if used < n {
            self.lose(at, out);
        }
        self.step()
    }

    /// What came of `side` and was not told of is not shown.
    pub(super) fn hide(&mut self, side: Side) {
        let untold = self.given[side.index()].saturating_sub(self.transcript.told(side));
        self.transcript.hide(side, untold, shown::NO_MESSAGE);
        match side {
            Side::Client => self.commands.forget(),
            Side::Server => self.values.forget(),
        }
    }

    fn want(&self, side: Side) -> Want {
        let left = match side {
            Side::Client if self.is_closing => u64::MAX,
            Side::Client => self.commands.left(),
            Side::Server => self.values.left(),
        };
        if left > SKIP_FROM { Want::Skip(left) } else { Want::Stream }
    }

    fn step(&self) -> Step {
        let next = if self.is_opaque { Next::Opaque } else { Next::Continue };
        Step { next, explained: self.explained, want: [self.want(Side::Client), self.want(Side::Server)] }
    }
}

impl Parser for Redis {
    fn push(&mut self, side: Side, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) -> Step {
        self.explained = 0;
        if bytes.is_empty() || self.is_opaque {
            return self.step();
        }
        self.given[side.index()] += bytes.len() as u64;
        let is_turn = self.spoken(side, at, out);
        if !self.frame(side, is_turn, bytes) {
            self.hide(side);
            self.unread(bytes.len() as u64);
            self.wonder(is_turn, at, out);
            return self.step();
        }
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_opaque {
            let used = match side {
                _ if !self.place.is_framed(side) => {
                    self.hide(side);
                    self.unread(rest.len() as u64);
                    rest.len()
                }
                Side::Client => self.take_client(at, rest, out),
                Side::Server => self.take_server(at, rest, out),
            };
            rest = &rest[used..];
        }
        self.step()
    }

    fn skipped(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) -> Step {
        self.pass(side, at, n, out)
    }

    fn gap(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) -> Step {
        self.queue.lose(n);
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
        let trial = self.trial.as_ref().map_or(0, Trial::held);
        self.queue.held() + trial + self.values.held() + self.commands.modules.held()
    }
}

impl Pending {
    fn is_replication(&self) -> bool {
        self.effect == Effect::Replicate
    }
}
