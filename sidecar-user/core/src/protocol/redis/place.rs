//! Where each side stands, by whole commands of the table and whole values, and what is forgotten where that is not known.

use super::detect;
use super::parser::{Database, Redis, Replies};
use super::pending::Pending;
use super::subscriptions::Subscriptions;
use super::value::{Value, Values};
use crate::model::{Ktime, Outcome, Side};
use crate::protocol::Signal;
use crate::protocol::pipelined::{Line, Pipelined};

impl Redis {
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
}

impl Pipelined for Redis {
    type Ask = Pending;
    type Answer = Value;

    fn line(&mut self) -> Line<'_, Pending, Value> {
        let Redis { limits, place, trial, odd, is_started, is_dropped, is_closing, is_opaque, .. } = self;
        Line { limits, place, trial, odd, is_started, is_dropped, is_closing, is_opaque }
    }

    fn hide(&mut self, side: Side) {
        Redis::hide(self, side);
    }

    fn restart(&mut self) {
        self.commands.restart();
        self.values = Values::new();
        self.replies = Replies::On;
        self.is_queueing = false;
    }

    fn forget(&mut self) {
        self.queue.beyond = 0;
        self.database = Database { now: None, queued: None };
        self.subscriptions = Subscriptions::unknown();
        self.is_monitoring = true;
    }

    fn begin(&mut self, pending: Pending, out: &mut Vec<Signal>) {
        self.start(pending.started, out);
        self.is_started = false;
        self.queue.push(pending);
    }

    fn told(&mut self, value: Value, out: &mut Vec<Signal>) {
        Redis::told(self, value, out);
    }

    fn finish_sending(&mut self, outcome: Outcome, at: Ktime, out: &mut Vec<Signal>) {
        Redis::finish_sending(self, outcome, at, out);
    }

    fn finish_unseen(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        self.finish_all(out, |_| (Outcome::NotObserved, at));
    }
}
