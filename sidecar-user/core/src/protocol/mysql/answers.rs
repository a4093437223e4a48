//! What the server sends.

use super::answer::{Answer, LOOKED_AT, Said};
use super::command::{CHANGE_USER, RESET_CONNECTION, STMT_BULK_EXECUTE};
use super::commands::Data;
use super::detect;
use super::packet::Message;
use super::parser::{Mysql, Phase, Place};
use super::queue::Pending;
use super::session;
use crate::model::{DbSystem, Ktime, Outcome, Side};
use crate::protocol::{Next, Signal};

const OK: u8 = 0x00;
const ERR: u8 = 0xff;
/// Statements that are held, for each command that may be.
const STATEMENTS: usize = 2;

impl Mysql {
    /// Some of the server's current message.
    pub(super) fn heard(
        &mut self,
        at: Ktime,
        bytes: &[u8],
        is_first: bool,
        is_last: bool,
        out: &mut Vec<Signal>,
    ) {
        if is_first && is_last {
            return self.message(at, &bytes[..bytes.len().min(LOOKED_AT)], out);
        }
        if is_first {
            self.heard.clear();
            self.is_heard_cut = false;
        }
        if !self.is_heard_cut {
            let room = (LOOKED_AT - self.heard.len()).min(bytes.len());
            self.heard.extend_from_slice(&bytes[..room]);
        }
        if is_last {
            self.heard_out(at, out);
        }
    }

    /// The server's current message, which came in pieces, was sent to its end.
    pub(super) fn heard_out(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        let heard = std::mem::take(&mut self.heard);
        if std::mem::take(&mut self.is_heard_cut) && !self.is_told_by(&heard) {
            return self.lose(Side::Server, at, out);
        }
        self.message(at, &heard, out);
        self.heard = heard;
        self.heard.clear();
    }

    /// What the server's current message is can be told by these first bytes of it, though others were not seen.
    fn is_told_by(&mut self, heard: &[u8]) -> bool {
        let message = self.reader(Side::Server).message();
        let is_row = |pending: &mut Pending| pending.answer.is_row(heard);
        heard.len() as u64 >= message.len.min(LOOKED_AT as u64)
            || self.phase == Phase::Commands && self.queue.oldest().is_some_and(is_row)
    }

    /// Some of it passed unseen.
    pub(super) fn hear_unseen(&mut self) {
        self.is_heard_cut = true;
    }

    /// A connection that was joined may have been joined before its first byte.
    pub(super) fn greet(&mut self, bytes: &[u8]) {
        if self.is_joining && self.place(Side::Client) == Place::Lost && detect::is_greeting(bytes) {
            (self.is_joining, self.phase, self.places) = (false, Phase::Greeting, [Place::Known; 2]);
        }
    }

    /// A message whose first bytes are `payload`.
    fn message(&mut self, at: Ktime, payload: &[u8], out: &mut Vec<Signal>) {
        let message = self.reader(Side::Server).message();
        match self.phase {
            Phase::Commands => return self.answer(at, message, payload, out),
            Phase::Greeting => match session::greeting(payload) {
                Some(greeting) if message.first == 0 => {
                    self.session.system = Some(greeting.system);
                    self.session.follow(greeting.status);
                    self.capabilities = greeting.capabilities;
                    self.phase = Phase::Login;
                }
                _ if payload.first() == Some(&ERR) => self.phase = Phase::Authentication,
                _ => return self.malformed(at, out),
            },
            Phase::Login => {}
            Phase::Authentication => match payload.first() {
                Some(&OK) if self.session.is_compressed => self.over = Some(Next::Opaque),
                Some(&OK) => self.phase = Phase::Commands,
                _ => {}
            },
        }
        self.explain(Side::Server, message.passed);
    }

    /// A message that answers a command.
    fn answer(&mut self, at: Ktime, message: Message, payload: &[u8], out: &mut Vec<Signal>) {
        if self.is_last_eof(message, payload) {
            self.explain(Side::Server, message.passed);
            return self.answer_ended(at, message, out);
        }
        self.settle(out);
        let (is_error, place) = (payload.first() == Some(&ERR), self.place(Side::Server));
        let is_sending = self.queue.is_sending_oldest();
        let Some(oldest) = self.queue.oldest() else {
            return self.unasked(at, message, is_error, out);
        };
        // What is too large is refused before it is all there.
        let is_refused = is_sending && is_error;
        if is_sending && !is_error || !is_refused && message.first != oldest.sequence {
            return self.malformed(at, out);
        }
        let (reply, is_trial) = (oldest.command.reply, place == Place::Trial);
        let said = oldest.answer.take(reply, payload, message.len, &mut self.session.has_eof);
        oldest.sequence = message.last.wrapping_add(1);
        match said {
            Said::Odd => return self.malformed(at, out),
            Said::Infile | Said::Asked if is_trial => {
                return self.malformed(at, out);
            }
            Said::Part { .. } | Said::Over | Said::PerhapsOver => {
                oldest.answered.get_or_insert(message.since);
            }
            Said::Progress | Said::Infile | Said::Asked => {}
        }
        self.explain(Side::Server, message.passed);
        match said {
            Said::Over => return self.answer_ended(at, message, out),
            Said::PerhapsOver => oldest_of(&mut self.queue).perhaps = Some(at),
            Said::Infile => {
                oldest_of(&mut self.queue).requested = None;
                self.data = Some(Data::File);
            }
            Said::Asked => {
                oldest_of(&mut self.queue).requested = None;
                self.data = Some(Data::Login);
            }
            Said::Part { .. } | Said::Progress | Said::Odd => {}
        }
        oldest_of(&mut self.queue).received += message.passed;
        if matches!(said, Said::Part { is_sure: true } | Said::PerhapsOver) {
            self.confirm(out);
        }
    }

    /// The message is what the oldest command's answer may still have.
    fn is_last_eof(&mut self, message: Message, payload: &[u8]) -> bool {
        let Some(oldest) = self.queue.oldest() else { return false };
        let is_it = oldest.perhaps.is_some()
            && oldest.sequence == message.first
            && Answer::is_eof(payload, message.len);
        if is_it {
            self.session.has_eof = Some(true);
        }
        is_it
    }

    /// The server says what it was not asked for: as a rule that it is about to close.
    fn unasked(&mut self, at: Ktime, message: Message, is_error: bool, out: &mut Vec<Signal>) {
        self.odd.orphan_responses += 1;
        if is_error && self.place(Side::Client) == Place::Known {
            self.explain(Side::Server, message.passed);
        } else {
            self.lose(Side::Server, at, out);
        }
    }

    /// The oldest command's answer was over before this, if nothing more has come of it.
    pub(super) fn settle(&mut self, out: &mut Vec<Signal>) {
        if let Some(at) = self.queue.oldest().and_then(|oldest| oldest.perhaps) {
            self.finish_answered(at, out);
        }
    }

    /// The oldest command's answer was sent to its end with this message.
    fn answer_ended(&mut self, at: Ktime, message: Message, out: &mut Vec<Signal>) {
        oldest_of(&mut self.queue).received += message.passed;
        self.confirm(out);
        self.finish_answered(at, out);
    }

    /// The oldest command is over, as its answer says.
    fn finish_answered(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        let Some(oldest) = self.queue.oldest() else { return };
        let is_done = oldest.answer.told.error.is_none();
        if let Some(status) = oldest.answer.told.status {
            self.session.follow(status);
        }
        let is_bulk = is_done && oldest.command.code == STMT_BULK_EXECUTE;
        let shown = oldest.answer.told.system.or(is_bulk.then_some(DbSystem::MariaDb));
        self.session.system = self.session.system.or(shown);
        let (schema, wanted) = (oldest.answer.told.schema.take(), oldest.wanted.take());
        let statement = oldest.prepared.take().zip(oldest.answer.told.statement);
        let code = oldest.command.code;
        let (may_change, is_batch) = (oldest.may_change_database(), oldest.is_batch());
        if let Some((statement, number)) = statement.filter(|_| is_done) {
            self.statements.insert(number, statement, STATEMENTS * self.limits.outstanding);
        }
        if is_done && matches!(code, CHANGE_USER | RESET_CONNECTION) {
            self.statements.clear();
        }
        // What is not told is what was asked for; of a batch that failed in the middle nobody knows.
        match schema {
            Some(schema) => self.session.namespace = Some(schema.into()),
            None if may_change && is_done => self.session.namespace = wanted.map(Into::into),
            None if may_change && is_batch => self.session.namespace = None,
            None => {}
        }
        self.data = None;
        self.queue.finish(self.session.system, Outcome::Complete, at, out);
    }
}

/// The command that is being answered: whoever calls has seen it.
fn oldest_of(queue: &mut super::queue::Queue) -> &mut Pending {
    queue.oldest().expect("a command is being answered")
}
