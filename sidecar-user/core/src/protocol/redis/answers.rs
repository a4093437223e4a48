//! Commands and answers as they were read, and what they lead to.

use super::command::Command;
use super::name::{Effect, Verb};
use super::parser::{Redis, Replies};
use super::pending::{Parts, Pending};
use super::subscriptions::Subscriptions;
use super::table::MANY;
use super::value::{Value, What};
use crate::model::{Db, DbSystem, Detail, Exchange, Ktime, Message, MessageKind, Outcome, Side, Start};
use crate::protocol::ends::Progress;
use crate::protocol::pipelined::Pipelined;
use crate::protocol::{Close, Signal};

impl Redis {
    /// Whether the next command will be followed.
    pub(super) fn has_room(&self) -> bool {
        self.trial.is_none() && self.queue.beyond == 0 && self.queue.len() < self.limits.small()
    }

    /// A command began.
    pub(super) fn start(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        self.is_started = true;
        out.push(Signal::Started(Start { at, method: None, is_excluded: false }));
    }

    /// A command was sent whole.
    pub(super) fn asked(&mut self, command: Command, started: Ktime, at: Ktime, out: &mut Vec<Signal>) {
        if std::mem::take(&mut self.is_dropped) {
            return;
        }
        let Command { name, effect, bytes } = command;
        let pending = Pending { started, requested: at, bytes, name, effect, lost: 0 };
        if effect == Effect::IsReplica || effect == Effect::Replicate && self.trial.is_some() {
            return self.give_up(at, out);
        }
        let is_silencing = matches!(effect, Effect::ReplyOff | Effect::ReplySkip);
        // Whether it is done will only show when the transaction is.
        if is_silencing && self.is_queueing {
            return self.lose(at, out);
        }
        if self.is_silent(effect) {
            if !std::mem::take(&mut self.is_started) {
                self.start(started, out);
                self.is_started = false;
            }
            return self.finish(
                pending,
                Parts { last: at, ..Parts::default() },
                None,
                Outcome::Complete,
                out,
            );
        }
        self.is_queueing = match effect {
            Effect::Multi => true,
            Effect::Exec | Effect::Discard | Effect::Reset => false,
            _ => self.is_queueing,
        };
        if let Some(trial) = &mut self.trial {
            trial.asked(pending);
            // How many answers it has is not known.
            if matches!(effect, Effect::UnsubscribeAll(_)) {
                self.try_anew();
            }
            return self.make_room();
        }
        if !self.is_started && !self.has_room() {
            return self.overflow(&pending, at, out);
        }
        if !std::mem::take(&mut self.is_started) {
            self.start(started, out);
            self.is_started = false;
        }
        self.queue.push(pending);
    }

    /// There is no room for it: its answers are counted, so that those after it find their place.
    fn overflow(&mut self, pending: &Pending, at: Ktime, out: &mut Vec<Signal>) {
        self.odd.overflow += 1;
        match pending.effect {
            Effect::Subscribe(_, n) => self.queue.beyond += u64::from(n),
            Effect::None => self.queue.beyond += 1,
            // What it changes would be missed.
            _ => self.mistrust(at, out),
        }
    }

    /// Whether a command is not answered, and what it does to those after it.
    fn is_silent(&mut self, effect: Effect) -> bool {
        match (self.replies, effect) {
            (_, Effect::ReplyOn | Effect::Reset) => {
                self.replies = Replies::On;
                false
            }
            (_, Effect::ReplyOff) => {
                self.replies = Replies::Off;
                true
            }
            (Replies::Off, _) => true,
            (_, Effect::ReplySkip) => {
                self.replies = Replies::Skip;
                true
            }
            (Replies::Skip, _) => {
                self.replies = Replies::On;
                true
            }
            (Replies::On, _) => false,
        }
    }

    /// The server told something.
    pub(super) fn told(&mut self, value: Value, out: &mut Vec<Signal>) {
        if self.is_message(&value) {
            let Value { ended: at, content: bytes, .. } = value;
            out.push(Signal::Message(Message { at, side: Side::Server, kind: MessageKind::Push, bytes }));
        } else if let Some(trial) = &mut self.trial {
            trial.answered(value);
            self.make_room();
        } else {
            self.answered(value, out);
        }
    }

    /// It was not asked for.
    fn is_message(&self, value: &Value) -> bool {
        let is_awaited = |verb: Verb| match &self.trial {
            Some(_) => true,
            None => self.queue.front().is_some_and(|pending| pending.verb() == Some(verb)),
        };
        match value.what {
            What::Confirmed(verb) if value.is_push => !is_awaited(verb),
            _ if value.is_push => true,
            What::Message => self.subscriptions.is_any(),
            What::Monitored => self.is_monitoring,
            _ => false,
        }
    }

    /// The oldest command was answered, or in part.
    fn answered(&mut self, value: Value, out: &mut Vec<Signal>) {
        let Some(front) = self.queue.front().copied() else {
            if self.queue.beyond > 0 {
                self.queue.beyond -= 1;
                return;
            }
            self.odd.orphan_responses += 1;
            if self.place.is_doubtful {
                self.mistrust(value.ended, out);
            }
            return;
        };
        let (effect, verb) = (front.effect, front.verb());
        if let (Effect::UnsubscribeAll(_), 1..) = (effect, self.queue.parts.n)
            && value.what != verb.map_or(What::Plain, What::Confirmed)
        {
            // There were no more.
            self.finish_front(None, out);
            return self.answered(value, out);
        }
        if self.place.is_doubtful && !crate::protocol::trial::Asks::fits(&front, &value) {
            return self.mistrust(value.ended, out);
        }
        let parts = &mut self.queue.parts;
        parts.began = parts.began.or(Some(value.began));
        parts.last = value.ended;
        parts.bytes += value.bytes;
        parts.n += 1;
        if let What::Confirmed(verb) = value.what {
            let is_over = match effect {
                Effect::Subscribe(_, n) => parts.n >= u64::from(n),
                Effect::UnsubscribeAll(_) => {
                    parts.of = parts.of.or(self.subscriptions.ending(verb));
                    value.number == 0 || parts.of.is_some_and(|of| parts.n >= of)
                }
                _ => true,
            };
            if front.verb().is_some() {
                self.subscriptions.confirm(verb, value.number);
            }
            if !is_over {
                return;
            }
        }
        self.affect(effect, &value);
        let is_replicating = effect == Effect::Replicate && value.what != What::Error;
        let at = value.ended;
        self.finish_front(Some(value), out);
        if is_replicating {
            self.give_up(at, out);
        }
    }

    /// What an answered command changed.
    fn affect(&mut self, effect: Effect, value: &Value) {
        let database = &mut self.database;
        match (effect, value.what) {
            (Effect::Select(to), What::Ok) => database.now = to,
            (Effect::Select(to), What::Queued) => {
                let before = database.queued.map_or(database.now, |[before, _]| before);
                database.queued = Some([before, to]);
                database.now = None;
            }
            (Effect::Exec, _) => {
                if let Some([before, after]) = database.queued.take() {
                    database.now = match value.kind {
                        MANY if value.has_error => None,
                        MANY => after,
                        _ => before,
                    };
                }
            }
            (Effect::Discard, What::Ok) => {
                database.now = database.queued.take().map_or(database.now, |[before, _]| before);
            }
            (Effect::Reset, What::Plain) => {
                (database.now, database.queued) = (Some(0), None);
                self.subscriptions = Subscriptions::default();
                self.is_monitoring = false;
            }
            (Effect::Monitor, What::Ok) => self.is_monitoring = true,
            _ => {}
        }
    }

    /// The oldest command is over, with this as the last of its answer.
    fn finish_front(&mut self, value: Option<Value>, out: &mut Vec<Signal>) {
        if let Some((pending, parts)) = self.queue.pop() {
            self.finish(pending, parts, value.as_ref(), Outcome::Complete, out);
        }
    }

    /// What answers a replica has begun, and will not end.
    pub(super) fn replicate(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        if let Some((pending, _)) = self.queue.pop() {
            let parts = Parts { began: Some(at), last: at, ..Parts::default() };
            self.finish(pending, parts, None, Outcome::NotObserved, out);
        }
        self.give_up(at, out);
    }

    /// A command is over.
    fn finish(
        &mut self,
        pending: Pending,
        parts: Parts,
        value: Option<&Value>,
        outcome: Outcome,
        out: &mut Vec<Signal>,
    ) {
        let what = value.map_or(What::Plain, |value| value.what);
        let is_refused = matches!(what, What::Error | What::UnknownCommand);
        let is_exec = pending.effect == Effect::Exec;
        let is_error = is_refused || is_exec && value.is_some_and(|value| value.has_error);
        let is_named = what != What::UnknownCommand || pending.name.known().is_some();
        let operation = pending.name.operation(&self.commands.modules).filter(|_| is_named);
        let n_executed = value.filter(|value| is_exec && value.kind == MANY).map(|value| value.n);
        let db = Db {
            summary: operation.clone(),
            operation,
            namespace: self.database.now.map(|now| now.to_string().into()),
            status: value.filter(|_| is_error).and_then(|value| value.error.clone()),
            is_error,
            batch: n_executed.filter(|n| *n >= 2),
            request_bytes: Some(pending.bytes),
            response_bytes: (outcome == Outcome::Complete).then_some(parts.bytes),
            ..Db::new(DbSystem::Redis)
        };
        out.push(Signal::Finished(Exchange {
            started: pending.started,
            requested: Some(pending.requested),
            read: None,
            answered: parts.began,
            ended: parts.last,
            outcome,
            is_excluded: false,
            lost: pending.lost,
            trace: None,
            detail: Detail::Db(Box::new(db)),
        }));
    }

    /// All that were sent are over. `how` is told how far they had come.
    pub(super) fn finish_all(&mut self, out: &mut Vec<Signal>, how: impl Fn(Progress) -> (Outcome, Ktime)) {
        let mut begun = self.values.begun().filter(|_| !self.values.is_push());
        while let Some((pending, mut parts)) = self.queue.pop() {
            parts.began = parts.began.or(begun.take());
            let progress = if parts.began.is_some() { Progress::Answering } else { Progress::Sent };
            let (outcome, ended) = how(progress);
            parts.last = ended;
            self.finish(pending, parts, None, outcome, out);
        }
    }

    /// The command that is being sent is over, if it was told of.
    pub(super) fn finish_sending(&mut self, outcome: Outcome, at: Ktime, out: &mut Vec<Signal>) {
        if !std::mem::take(&mut self.is_started) {
            return;
        }
        let name = self.commands.name();
        out.push(Signal::Finished(Exchange {
            started: self.commands.since,
            requested: None,
            read: None,
            answered: None,
            ended: at,
            outcome,
            is_excluded: false,
            lost: 0,
            trace: None,
            detail: Detail::Db(Box::new(Db {
                operation: name.operation(&self.commands.modules),
                summary: name.operation(&self.commands.modules),
                namespace: self.database.now.map(|now| now.to_string().into()),
                ..Db::new(DbSystem::Redis)
            })),
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
