//! Commands and answers as they were read, and what they lead to.

use super::parser::Memcached;
use super::pending::{Answer, Asked, Pending};
use super::reply::{Reply, What};
use super::{binary, command};
use crate::model::{Db, DbSystem, Detail, Exchange, Ktime, Outcome, Side, Start};
use crate::protocol::ends::Progress;
use crate::protocol::pipelined::Pipelined;
use crate::protocol::{Close, Signal};

/// Answers of the binary protocol that say that it was as asked for, or that there was nothing such: no key, a key,
/// not stored, and that there is more to authenticate.
const NO_ERRORS: [u16; 5] = [0, 1, 2, 5, 0x21];

/// Whose an answer is.
enum Owner {
    /// This one's, of those that are not answered.
    One(usize),
    /// One of several that are answered only where there is something to say.
    Any,
    Nobody,
}

/// How a command ended.
#[derive(Clone, Copy)]
struct End {
    answered: Option<Ktime>,
    ended: Ktime,
    outcome: Outcome,
    what: Option<What>,
    bytes: u64,
}

impl Memcached {
    /// Whether the next command will be followed.
    pub(super) fn has_room(&self) -> bool {
        self.trial.is_none() && self.queue.len() < self.limits.small()
    }

    /// A command began.
    pub(super) fn start(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        self.is_started = true;
        out.push(Signal::Started(Start { at, method: None, is_excluded: false }));
    }

    /// A command was sent whole.
    pub(super) fn asked(&mut self, asked: Asked, at: Ktime, out: &mut Vec<Signal>) {
        if std::mem::take(&mut self.is_dropped) {
            return;
        }
        let started = self.since;
        let follows_silent = std::mem::replace(&mut self.has_silent, asked.is_silent);
        let pending = Pending { started, requested: at, asked, lost: 0, follows_silent };
        if asked.is_silent {
            self.told_of(started, out);
            self.has_silent |= follows_silent;
            let end = End { answered: None, ended: at, outcome: Outcome::Complete, what: None, bytes: 0 };
            return self.finish(&pending, end, None, out);
        }
        if let Some(trial) = &mut self.trial {
            if asked.is_quiet {
                // Whether it is answered is not known.
                self.try_anew();
            } else {
                trial.asked(pending);
                self.make_room();
            }
            return;
        }
        if !self.is_started && !self.has_room() {
            let Some(front) = self.queue.front() else { return };
            // Nothing but quiet commands, of which none had anything to say.
            if !front.asked.is_quiet {
                self.odd.overflow += 1;
                return self.mistrust(at, out);
            }
            self.finish_silent(1, at, out);
        }
        self.told_of(started, out);
        self.queue.push_back(pending);
    }

    /// It was told that a command began.
    fn told_of(&mut self, started: Ktime, out: &mut Vec<Signal>) {
        if !std::mem::take(&mut self.is_started) {
            self.start(started, out);
            self.is_started = false;
        }
    }

    /// The server answered something.
    pub(super) fn told(&mut self, reply: Reply, out: &mut Vec<Signal>) {
        if let Some(trial) = &mut self.trial {
            if !matches!(reply.what, What::Binary { is_part: true, .. }) {
                trial.answered(reply);
                self.make_room();
            }
            return;
        }
        match self.owner(&reply) {
            Owner::One(at) => self.answered(at, &reply, out),
            Owner::Any => {
                self.odd.unresolved += 1;
                self.is_ambiguous = true;
            }
            Owner::Nobody => {
                self.odd.orphan_responses += 1;
                if self.place.is_doubtful || !self.queue.is_empty() {
                    self.mistrust(reply.ended, out);
                }
            }
        }
    }

    /// Quiet commands may be passed over, up to the first that is not.
    fn owner(&self, reply: &Reply) -> Owner {
        let is_last = |pending: &Pending| !pending.asked.is_quiet;
        let n = self.queue.iter().position(is_last).map_or(self.queue.len(), |at| at + 1);
        let may_have = |at: &usize| self.queue[*at].asked.may_have(reply);
        let mut owners = (0..n).filter(may_have);
        let (Some(first), second) = (owners.next(), owners.next()) else { return Owner::Nobody };
        let is_error = matches!(reply.what, What::Error(_));
        match second {
            // It may be that of one before it that is not answered but where it is refused.
            None if is_error && self.queue[first].follows_silent => Owner::Nobody,
            None => Owner::One(first),
            Some(_) if (0..n).filter(may_have).all(|at| self.queue[at].asked.is_quiet) => Owner::Any,
            Some(_) => Owner::Nobody,
        }
    }

    fn answered(&mut self, at: usize, reply: &Reply, out: &mut Vec<Signal>) {
        self.finish_silent(at, reply.began, out);
        let (began, bytes, _) = self.parts.take().unwrap_or((reply.began, 0, 0));
        if matches!(reply.what, What::Binary { is_part: true, .. }) {
            self.parts = Some((began, bytes + reply.bytes, 0));
            return;
        }
        let Some(pending) = self.pop() else { return };
        let end = End {
            answered: Some(began),
            ended: reply.ended,
            outcome: Outcome::Complete,
            what: Some(reply.what),
            bytes: bytes + reply.bytes,
        };
        let rows = if pending.asked.is_retrieval() { rows(reply.what) } else { None };
        self.is_ambiguous &= pending.asked.is_quiet;
        let is_watching = pending.asked.answer == Answer::Watch && reply.what == What::Word("OK");
        self.finish(&pending, end, rows, out);
        if is_watching {
            self.give_up(reply.ended, out);
        }
    }

    /// The first `n` commands, all quiet, had nothing to say.
    fn finish_silent(&mut self, n: usize, at: Ktime, out: &mut Vec<Signal>) {
        for _ in 0..n {
            let Some(pending) = self.pop() else { return };
            let rows = (pending.asked.is_retrieval() && !self.is_ambiguous).then_some(0);
            let ended = at.max(pending.requested);
            let end = End { answered: None, ended, outcome: Outcome::Complete, what: None, bytes: 0 };
            self.finish(&pending, end, rows, out);
        }
    }

    fn pop(&mut self) -> Option<Pending> {
        let pending = self.queue.pop_front()?;
        if self.queue.is_empty() {
            // A connection that idles holds nothing.
            self.queue = std::collections::VecDeque::new();
        }
        Some(pending)
    }

    /// A command is over.
    fn finish(&self, pending: &Pending, end: End, rows: Option<u64>, out: &mut Vec<Signal>) {
        let Pending { started, requested, asked, lost, .. } = *pending;
        let mut db = describe(&asked);
        (db.is_error, db.status) = match end.what {
            Some(What::Error(word)) => (true, Some(word.into())),
            Some(What::Binary { status, .. }) if !NO_ERRORS.contains(&status) => {
                (true, Some(status.to_string().into()))
            }
            _ => (false, None),
        };
        db.rows = rows.filter(|_| !db.is_error);
        db.request_bytes = Some(asked.bytes);
        db.response_bytes = (end.outcome == Outcome::Complete).then_some(end.bytes);
        out.push(Signal::Finished(Exchange {
            started,
            requested: Some(requested),
            read: None,
            answered: end.answered,
            ended: end.ended,
            outcome: end.outcome,
            is_excluded: false,
            lost,
            trace: None,
            detail: Detail::Db(Box::new(db)),
        }));
    }

    /// All that were sent are over. `how` is told how far they had come.
    pub(super) fn finish_all(&mut self, out: &mut Vec<Signal>, how: impl Fn(Progress) -> (Outcome, Ktime)) {
        let mut begun = self.parts.take().map(|(began, ..)| began).or(self.readers.answering());
        self.is_ambiguous = false;
        while let Some(pending) = self.pop() {
            let answered = begun.take();
            let (outcome, ended) = how(if answered.is_some() { Progress::Answering } else { Progress::Sent });
            self.finish(&pending, End { answered, ended, outcome, what: None, bytes: 0 }, None, out);
        }
    }

    /// The command that is being sent is over, if it was told of.
    pub(super) fn finish_sending(&mut self, outcome: Outcome, at: Ktime, out: &mut Vec<Signal>) {
        if !std::mem::take(&mut self.is_started) {
            return;
        }
        let asking = self.readers.asking();
        let (asked, started) = asking.unwrap_or((Asked::unknown(0), self.since));
        out.push(Signal::Finished(Exchange {
            started,
            requested: None,
            read: None,
            answered: None,
            ended: at,
            outcome,
            is_excluded: false,
            lost: 0,
            trace: None,
            detail: Detail::Db(Box::new(describe(&asked))),
        }));
    }

    /// `side` sent its last byte. After the client's the server may still answer; after the server's nothing is answered.
    pub(super) fn side_ended(&mut self, side: Side, at: Ktime, out: &mut Vec<Signal>) {
        self.ends.ended(side);
        let ends = self.ends;
        match side {
            Side::Client => {
                self.finish_sending(ends.unanswered(Progress::Sending), at, out);
                self.is_closing = true;
            }
            Side::Server => {
                self.end_trial(out);
                self.finish_all(out, |progress| (ends.unanswered(progress), at));
            }
        }
    }

    /// The connection is gone.
    pub(super) fn closed(&mut self, at: Ktime, how: Close, out: &mut Vec<Signal>) {
        if how != Close::Forgotten {
            self.end_trial(out);
        }
        self.drop_trial();
        let ends = self.ends;
        self.finish_sending(ends.outcome(how, Progress::Sending), at, out);
        self.finish_all(out, |progress| (ends.outcome(how, progress), at));
        self.is_opaque = true;
    }
}

/// Values that came back.
fn rows(what: What) -> Option<u64> {
    match what {
        What::Values(n) => Some(u64::from(n)),
        What::Value | What::Word("HD") | What::Binary { status: 0, .. } => Some(1),
        What::End | What::Word("EN") | What::Binary { status: 1, .. } => Some(0),
        _ => None,
    }
}

/// What is known of a command without its answer.
fn describe(asked: &Asked) -> Db {
    let operation = match asked.opcode {
        Some(opcode) => binary::operation(opcode),
        None => asked.operation.and_then(command::operation),
    };
    Db {
        operation: operation.map(Into::into),
        summary: operation.map(Into::into),
        batch: Some(asked.keys).filter(|keys| *keys >= 2),
        ..Db::new(DbSystem::Memcached)
    }
}
