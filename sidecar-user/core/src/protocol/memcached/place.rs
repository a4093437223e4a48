//! Where each side stands, by a command or an answer of either protocol.

use super::binary;
use super::detect;
use super::parser::{Memcached, Readers};
use super::pending::Pending;
use super::reply::Reply;
use crate::model::{Ktime, Outcome, Side};
use crate::protocol::Signal;
use crate::protocol::pipelined::{Line, Pipelined};

impl Memcached {
    /// Whether it is known how the bytes of `side` are to be read, of which these are next.
    pub(super) fn frame(&mut self, side: Side, bytes: &[u8]) -> bool {
        let is_binary = matches!(self.readers, Readers::Binary(_));
        if self.place.is_framed(side) {
            if !std::mem::replace(&mut self.is_sorted, true) && bytes[0] & 0x80 != 0 {
                self.readers = Readers::binary();
            }
            return true;
        }
        let is_header = (!self.is_sorted || is_binary) && binary::is_header(side, bytes) == Some(true);
        let is_text = (!self.is_sorted || !is_binary)
            && match side {
                Side::Client => detect::is_command(bytes),
                Side::Server => detect::is_reply(bytes),
            };
        if is_header && !is_binary {
            self.readers = Readers::binary();
        }
        self.is_sorted |= is_header || is_text;
        self.place.framed[side.index()] = is_header || is_text;
        is_header || is_text
    }
}

impl Pipelined for Memcached {
    type Ask = Pending;
    type Answer = Reply;

    fn line(&mut self) -> Line<'_, Pending, Reply> {
        let Memcached { limits, place, trial, odd, is_started, is_dropped, is_closing, is_opaque, .. } = self;
        Line { limits, place, trial, odd, is_started, is_dropped, is_closing, is_opaque }
    }

    fn hide(&mut self, side: Side) {
        Memcached::hide(self, side);
    }

    fn restart(&mut self) {
        self.readers.restart();
    }

    fn forget(&mut self) {}

    fn begin(&mut self, pending: Pending, out: &mut Vec<Signal>) {
        self.start(pending.started, out);
        self.is_started = false;
        self.queue.push_back(pending);
    }

    fn told(&mut self, reply: Reply, out: &mut Vec<Signal>) {
        Memcached::told(self, reply, out);
    }

    fn finish_sending(&mut self, outcome: Outcome, at: Ktime, out: &mut Vec<Signal>) {
        Memcached::finish_sending(self, outcome, at, out);
    }

    fn finish_unseen(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        self.finish_all(out, |_| (Outcome::NotObserved, at));
    }
}
