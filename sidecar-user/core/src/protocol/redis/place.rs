//! Where each side stands, and what becomes of it where that is not known: in the middle of a connection, or after a loss.
//!
//! A place is found where the bytes of a packet begin with a whole command of the table, or a whole value; it is lost where they
//! do not go on so. Which answer is whose is another matter, and settled by `trial`.

use super::detect;
use super::parser::{Database, Redis, Replies};
use super::subscriptions::Subscriptions;
use super::value::Values;
use crate::model::{Ktime, Outcome, Side};
use crate::protocol::Signal;
use crate::protocol::trial::Trial;

/// Turns in a row that are nothing that is known end the reading.
const STRANGE_MAX: u32 = 64;

/// What is known of the place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Where messages of each side begin and end.
    framed: [bool; 2],
    /// It was met in the middle, and nothing was settled yet.
    is_joining: bool,
    /// It was met in the middle, or bytes were lost: what is believed may turn out to be wrong.
    pub(super) is_doubtful: bool,
    /// Times that it did.
    n_wrong: u32,
    n_strange: u32,
    spoke: Option<Side>,
}

impl Place {
    pub(super) fn new(is_joined: bool) -> Self {
        Place {
            framed: [!is_joined; 2],
            is_joining: is_joined,
            is_doubtful: is_joined,
            n_wrong: 0,
            n_strange: 0,
            spoke: None,
        }
    }

    pub(super) fn is_framed(&self, side: Side) -> bool {
        self.framed[side.index()]
    }
}

impl Redis {
    /// `side` speaks. Says whether the other one did before.
    pub(super) fn spoken(&mut self, side: Side, at: Ktime, out: &mut Vec<Signal>) -> bool {
        if self.trial.as_mut().is_some_and(|trial| trial.speaks(side, at)) {
            self.settle(out);
        }
        self.place.spoke.replace(side) != Some(side)
    }

    /// Whether it is known how the bytes of `side` are to be read, of which these are next.
    pub(super) fn frame(&mut self, side: Side, is_turn: bool, bytes: &[u8]) -> bool {
        let framed = &mut self.place.framed[side.index()];
        *framed = *framed
            || match side {
                Side::Client => detect::is_command(bytes),
                Side::Server => detect::is_value(bytes) || is_turn && detect::is_long_value(bytes),
            };
        *framed
    }

    /// `n` bytes passed while the place was not known.
    pub(super) fn unread(&mut self, n: u64) {
        if self.place.is_joining {
            self.odd.before_join += n;
        }
    }

    /// Bytes were nothing that is known.
    pub(super) fn wonder(&mut self, is_turn: bool, at: Ktime, out: &mut Vec<Signal>) {
        self.place.n_strange += u32::from(is_turn);
        if self.place.n_strange >= STRANGE_MAX {
            self.give_up(at, out);
        }
    }

    /// Bytes of `side` are no message, with the `n` from here on.
    pub(super) fn malformed(&mut self, side: Side, n: u64, at: Ktime, out: &mut Vec<Signal>) {
        self.hide(side);
        if self.place.is_doubtful {
            // Most likely the place was none.
            self.unread(n);
            self.lose(at, out);
            return self.wonder(true, at, out);
        }
        self.odd.malformed += 1;
        match side {
            // It is told so, and the connection closed.
            Side::Client => {
                self.is_closing = true;
                self.finish_sending(Outcome::NotObserved, at, out);
            }
            Side::Server => self.give_up(at, out),
        }
    }

    /// Where both sides stand is not known any more.
    pub(super) fn lose(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        self.place.framed = [false; 2];
        self.hide(Side::Client);
        self.hide(Side::Server);
        self.doubt(at, out);
        self.commands.restart();
        self.values = Values::new();
        self.is_dropped = false;
        self.replies = Replies::On;
        self.is_queueing = false;
    }

    /// What was believed of answers was wrong.
    pub(super) fn mistrust(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        self.place.n_wrong += 1;
        self.doubt(at, out);
        self.wonder(true, at, out);
    }

    /// Which answer is whose is not known any more.
    fn doubt(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        self.drop_trial();
        self.finish_all(out, |_| (Outcome::NotObserved, at));
        self.is_dropped = self.is_started;
        self.finish_sending(Outcome::NotObserved, at, out);
        self.queue.beyond = 0;
        self.trial = Some(Trial::new(self.place.n_wrong));
        self.place.is_doubtful = true;
        self.database = Database { now: None, queued: None };
        self.subscriptions = Subscriptions::unknown();
        self.is_monitoring = true;
    }

    /// What is held unsettled is told as what is not known.
    pub(super) fn drop_trial(&mut self) {
        let Some(trial) = self.trial.take() else { return };
        let (requests, answers) = trial.len();
        self.odd.unresolved += u32::try_from(requests).unwrap_or(u32::MAX);
        self.odd.orphan_responses += u32::try_from(answers).unwrap_or(u32::MAX);
    }

    /// There is room for what is unsettled, or the oldest of it is dropped.
    pub(super) fn make_room(&mut self) {
        let Some(trial) = &mut self.trial else { return };
        let (answers, requests) = trial.make_room(&self.limits);
        self.odd.unresolved += u32::try_from(requests).unwrap_or(u32::MAX);
        self.odd.orphan_responses += u32::try_from(answers).unwrap_or(u32::MAX);
    }

    /// What is unsettled is dropped.
    pub(super) fn try_anew(&mut self) {
        self.drop_trial();
        self.trial = Some(Trial::new(self.place.n_wrong));
    }

    /// It is believed which answer is whose.
    pub(super) fn settle(&mut self, out: &mut Vec<Signal>) {
        let Some(trial) = self.trial.take() else { return };
        let settled = trial.settle();
        self.odd.orphan_responses += u32::try_from(settled.orphans).unwrap_or(u32::MAX);
        if !std::mem::take(&mut self.place.is_joining) {
            self.odd.resyncs += 1;
        }
        self.place.n_strange = 0;
        for pending in settled.requests {
            self.start(pending.started, out);
            self.is_started = false;
            self.queue.push(pending);
        }
        for value in settled.answers {
            self.told(value, out);
        }
    }

    /// Nothing more is read. What was outstanding is over, and nothing is known of its end.
    pub(super) fn give_up(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        self.is_opaque = true;
        self.drop_trial();
        self.finish_sending(Outcome::NotObserved, at, out);
        self.finish_all(out, |_| (Outcome::NotObserved, at));
    }
}
