//! Bytes that were not read, and how the place is found again: the client begins a command where the server has been quiet, and what
//! the server says next answers that.

use super::answer::Answer;
use super::command::{CHANGE_USER, RESET_CONNECTION};
use super::commands::Asking;
use super::packet::{HEADER, Reader};
use super::parser::{Mysql, Phase, Place, Trial};
use crate::model::{Ktime, Outcome, Side};
use crate::protocol::{Next, Signal};

/// Times in a row that the place may not be found again.
const STRANGE_MAX: u32 = 64;

impl Mysql {
    /// `side` begins to speak after the other.
    pub(super) fn turn(&mut self, side: Side, at: Ktime, out: &mut Vec<Signal>) {
        if self.phase != Phase::Commands || self.places == [Place::Known; 2] {
            return;
        }
        match side {
            Side::Client => self.try_again(at, out),
            Side::Server if self.place(side) == Place::Lost && self.queue.is_empty() => {
                self.odd.orphan_responses += 1;
            }
            Side::Server => {}
        }
    }

    /// What the client sends now may be a command. Whatever was asked before is over: it does not ask again before it is
    /// answered.
    fn try_again(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        let is_in_message = !self.readers[Side::Client.index()].is_idle();
        match self.place(Side::Client) {
            // The rest of one that it was in before: the server speaks too early, or that was all lost.
            Place::Known if is_in_message => return,
            Place::Known => {}
            Place::Trial => self.fail(at, out),
            Place::Lost => {}
        }
        if self.over.is_some() {
            return;
        }
        if self.place(Side::Server) == Place::Known && !self.queue.is_empty() {
            // Only the client's place is lost, and the answer to what is known is not over.
            return;
        }
        self.finish_unseen(at, out);
        self.restart(Side::Client);
        self.asking = Asking::default();
        self.data = None;
        self.places = [Place::Trial, Place::Lost];
    }

    /// A command is on trial: what the server says next has to answer it.
    pub(super) fn await_answer(&mut self) {
        if self.place(Side::Server) == Place::Lost {
            self.restart(Side::Server);
            self.heard.clear();
            self.is_heard_cut = false;
            self.places[Side::Server.index()] = Place::Trial;
        }
    }

    /// The answer is one: both places are known.
    pub(super) fn confirm(&mut self, out: &mut Vec<Signal>) {
        if self.place(Side::Server) != Place::Trial {
            return;
        }
        self.places = [Place::Known; 2];
        self.n_strange = 0;
        self.explained += std::mem::take(&mut self.trial).explained;
        if !std::mem::take(&mut self.is_joining) {
            self.odd.resyncs += 1;
        }
        self.queue.tell(out);
    }

    /// What was on trial is nothing that is known.
    fn fail(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        let trial = std::mem::take(&mut self.trial);
        self.unread(trial.bytes);
        self.queue.drop_untold();
        self.forget();
        self.n_strange += 1;
        if self.n_strange > STRANGE_MAX {
            self.give_up(at, out);
        }
    }

    /// What came is not what has to come there.
    pub(super) fn malformed(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        if self.places.contains(&Place::Trial) {
            return self.fail(at, out);
        }
        self.odd.malformed += 1;
        if self.phase != Phase::Commands || self.has_pipelined {
            return self.give_up(at, out);
        }
        self.finish_unseen(at, out);
        self.fail(at, out);
    }

    /// Where `side`'s bytes stand is not known any more.
    pub(super) fn lose(&mut self, side: Side, at: Ktime, out: &mut Vec<Signal>) {
        if self.places.contains(&Place::Trial) {
            return self.fail(at, out);
        }
        if self.has_pipelined || self.session.is_compressed {
            return self.give_up(at, out);
        }
        if self.phase != Phase::Commands {
            // The login may be over where they are found again.
            self.phase = Phase::Commands;
            return self.forget();
        }
        let is_in_command = side == Side::Client && self.queue.is_sending;
        self.places[side.index()] = Place::Lost;
        self.restart(side);
        match side {
            Side::Client => {
                self.asking = Asking::default();
                self.distrust();
            }
            Side::Server => self.heard.clear(),
        }
        // How many packets the rest of a command had decides what its answer's are numbered by.
        if is_in_command || self.data.is_some() {
            self.queue.is_sending = false;
            self.places[Side::Server.index()] = Place::Lost;
            self.restart(Side::Server);
        }
    }

    /// What the session stands at may have been changed by what was not seen.
    fn distrust(&mut self) {
        self.statements.clear();
        self.session.namespace = None;
    }

    /// What was read of the message of `side` is none.
    fn restart(&mut self, side: Side) {
        self.hide_untold(side);
        *self.reader(side) = Reader::default();
    }

    /// Both places are lost.
    fn forget(&mut self) {
        self.distrust();
        self.places = [Place::Lost; 2];
        self.restart(Side::Client);
        self.restart(Side::Server);
        self.asking = Asking::default();
        self.heard.clear();
        self.is_heard_cut = false;
        self.data = None;
        self.trial = Trial::default();
    }

    /// What is outstanding was answered in bytes that nobody saw.
    fn finish_unseen(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        self.settle(out);
        while let Some(oldest) = self.queue.oldest() {
            oldest.answer = Answer::new();
            let (may_change, code) = (oldest.may_change_database(), oldest.command.code);
            if may_change {
                self.session.namespace = None;
            }
            if matches!(code, CHANGE_USER | RESET_CONNECTION) {
                self.statements.clear();
            }
            self.queue.finish(self.session.system, Outcome::NotObserved, at, out);
        }
    }

    /// It goes no further.
    pub(super) fn give_up(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        self.finish_unseen(at, out);
        self.over = Some(Next::Opaque);
    }

    /// So many bytes were taken for nothing.
    pub(super) fn unread(&mut self, n: u64) {
        if self.is_joining {
            self.odd.before_join += n;
        }
    }

    /// `n` bytes of `side` passed that nobody saw.
    pub(super) fn passed(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) {
        match self.place(side) {
            Place::Lost => return self.unread(n),
            Place::Trial => {
                self.fail(at, out);
                return self.unread(n);
            }
            Place::Known => {}
        }
        // Nothing was seen of what it is.
        if self.reader(side).message().passed == HEADER as u64 && !self.reader(side).is_idle() {
            return self.lose(side, at, out);
        }
        let passed = self.reader(side).pass(n);
        if passed.used > 0 {
            match side {
                Side::Client => self.ask_unseen(),
                Side::Server => self.hear_unseen(),
            }
            if passed.is_last {
                match side {
                    Side::Client => self.asked(at, &[], false, true, out),
                    Side::Server => self.heard_out(at, out),
                }
            }
        }
        if passed.used < n && self.over.is_none() {
            self.lose(side, at, out);
        }
    }
}
