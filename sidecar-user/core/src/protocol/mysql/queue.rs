//! Commands whose answer has not ended, in order. The oldest is the one that is being answered.

use std::collections::VecDeque;
use std::sync::Arc;

use super::answer::Answer;
use super::command::{CHANGE_USER, Command, INIT_DB, Reply};
use super::statements::Statement;
use crate::model::{Db, DbSystem, Detail, Exchange, Ktime, Outcome, Start};
use crate::protocol::Signal;

#[derive(Debug, Default)]
pub(super) struct Queue {
    commands: VecDeque<Pending>,
    /// The youngest command's last byte has not come.
    pub(super) is_sending: bool,
}

/// A command whose answer has not ended.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) command: &'static Command,
    started: Ktime,
    pub(super) requested: Option<Ktime>,
    pub(super) answered: Option<Ktime>,
    lost: u32,
    /// What it does, where that is known.
    pub(super) statement: Option<Arc<Statement>>,
    /// What it prepares.
    pub(super) prepared: Option<Arc<Statement>>,
    /// A database that it is to make the default.
    pub(super) wanted: Option<Box<str>>,
    /// It is not known whether it makes another database the default.
    pub(super) is_unclear: bool,
    pub(super) namespace: Option<Arc<str>>,
    /// Bytes of either side; `None` where not all were seen.
    pub(super) sent: Option<u64>,
    pub(super) received: u64,
    /// The sequence number of the packet that comes next, whoever sends it.
    pub(super) sequence: u8,
    pub(super) answer: Answer,
    /// `Started` was said of it.
    is_told: bool,
    /// When it was over, if nothing follows.
    pub(super) perhaps: Option<Ktime>,
}

impl Pending {
    pub(super) fn new(command: &'static Command, started: Ktime, namespace: Option<Arc<str>>) -> Self {
        Pending {
            command,
            started,
            requested: None,
            answered: None,
            lost: 0,
            statement: None,
            prepared: None,
            wanted: None,
            is_unclear: false,
            namespace,
            sent: Some(0),
            received: 0,
            sequence: 0,
            answer: Answer::new(),
            is_told: false,
            perhaps: None,
        }
    }

    /// Another database may be the default after it.
    pub(super) fn may_change_database(&self) -> bool {
        let summary = self.statement.as_ref().and_then(|statement| statement.summary.as_deref());
        self.is_unclear
            || matches!(self.command.code, INIT_DB | CHANGE_USER)
            || self.command.reply != Reply::Prepared
                && summary.is_some_and(|summary| summary.split(' ').any(|word| word == "USE"))
    }

    /// It is of several statements.
    pub(super) fn is_batch(&self) -> bool {
        self.statement.as_ref().is_some_and(|statement| statement.batch.is_some())
    }

    fn held(&self) -> usize {
        let text = |text: Option<usize>| text.unwrap_or_default();
        text(self.statement.as_ref().map(|statement| statement.held()))
            + text(self.prepared.as_ref().map(|statement| statement.held()))
            + text(self.wanted.as_ref().map(|wanted| wanted.len()))
            + text(self.answer.told.schema.as_ref().map(|schema| schema.len()))
    }

    fn exchange(self, system: Option<DbSystem>, outcome: Outcome, ended: Ktime) -> Exchange {
        let is_over = outcome == Outcome::Complete;
        let told = self.answer.told;
        let mut db = Db::new(system.unwrap_or(DbSystem::OtherSql));
        if let Some(statement) = self.statement {
            let statement = Arc::try_unwrap(statement).unwrap_or_else(|shared| Statement {
                operation: shared.operation.clone(),
                collection: shared.collection.clone(),
                summary: shared.summary.clone(),
                batch: shared.batch,
            });
            let Statement { operation, collection, summary, batch } = statement;
            (db.operation, db.collection, db.summary, db.batch) = (operation, collection, summary, batch);
        }
        db.namespace = self.namespace.map(|namespace| namespace.as_ref().into());
        db.is_error = told.error.is_some();
        db.status = told.error.map(|error| error.to_string().into());
        db.rows = told.rows.filter(|_| is_over);
        db.request_bytes = self.sent.filter(|_| self.requested.is_some());
        db.response_bytes = Some(self.received).filter(|_| is_over);
        Exchange {
            started: self.started,
            requested: self.requested,
            read: None,
            answered: self.answered,
            ended,
            outcome,
            is_excluded: false,
            lost: self.lost,
            trace: None,
            detail: Detail::Db(Box::new(db)),
        }
    }
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    pub(super) fn oldest(&mut self) -> Option<&mut Pending> {
        self.commands.front_mut()
    }

    pub(super) fn youngest(&mut self) -> Option<&mut Pending> {
        self.commands.back_mut()
    }

    /// The oldest is still being sent.
    pub(super) fn is_sending_oldest(&self) -> bool {
        self.is_sending && self.commands.len() == 1
    }

    pub(super) fn push(&mut self, pending: Pending) {
        if self.commands.capacity() == 0 {
            self.commands.reserve_exact(1);
        }
        self.commands.push_back(pending);
    }

    /// Says that those began of which that was not said.
    pub(super) fn tell(&mut self, out: &mut Vec<Signal>) {
        for pending in self.commands.iter_mut().filter(|pending| !pending.is_told) {
            pending.is_told = true;
            out.push(Signal::Started(Start { at: pending.started, method: None, is_excluded: false }));
        }
    }

    /// Forgets those that nothing was said of.
    pub(super) fn drop_untold(&mut self) {
        self.commands.retain(|pending| pending.is_told);
        self.is_sending &= !self.commands.is_empty();
    }

    /// So many bytes of the connection were lost, and may be of any that is outstanding.
    pub(super) fn lose(&mut self, n: u64) {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        self.commands.iter_mut().for_each(|pending| pending.lost = pending.lost.saturating_add(n));
    }

    /// The oldest is over.
    pub(super) fn finish(
        &mut self,
        system: Option<DbSystem>,
        outcome: Outcome,
        ended: Ktime,
        out: &mut Vec<Signal>,
    ) {
        let Some(pending) = self.commands.pop_front() else { return };
        if self.commands.is_empty() {
            self.is_sending = false;
            if self.commands.capacity() > 4 {
                self.commands = VecDeque::new();
            }
        }
        if pending.is_told {
            out.push(Signal::Finished(pending.exchange(system, outcome, ended)));
        }
    }

    /// Bytes that it holds.
    pub(super) fn held(&self) -> usize {
        self.commands.capacity() * size_of::<Pending>()
            + self.commands.iter().map(Pending::held).sum::<usize>()
    }
}
