//! Requests that have not been answered to the end.

use super::message::Failure;
use super::statements::Statement;
use crate::model::{Db, DbSystem, Detail, Exchange, Ktime, Outcome, Start};
use crate::protocol::Signal;

/// A request that has not been answered to the end.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) started: Ktime,
    pub(super) requested: Option<Ktime>,
    pub(super) is_started: bool,
    pub(super) lost: u32,
    pub(super) statement: Statement,
    pub(super) bytes: u64,
    pub(super) rows: u64,
    /// Rows by the tags.
    pub(super) returned: Option<u64>,
    pub(super) failure: Option<Failure>,
}

impl Pending {
    pub(super) fn start(&mut self, out: &mut Vec<Signal>) {
        if !std::mem::replace(&mut self.is_started, true) {
            out.push(Signal::Started(Start { at: self.started, method: None, is_excluded: false }));
        }
    }

    pub(super) fn exchange(
        self,
        outcome: Outcome,
        ended: Ktime,
        answered: Option<Ktime>,
        response_bytes: Option<u64>,
        namespace: Option<Box<str>>,
    ) -> Exchange {
        let statement = self.statement.as_deref().cloned().unwrap_or_default();
        let rows = Some(self.rows).filter(|rows| *rows > 0).or(self.returned);
        let db = Db {
            operation: statement.operation,
            collection: statement.collection,
            summary: statement.summary,
            namespace,
            status: self.failure.and_then(|failure| Some(std::str::from_utf8(&failure.code?).ok()?.into())),
            is_error: self.failure.is_some(),
            rows: rows.filter(|_| self.lost == 0 && outcome == Outcome::Complete),
            batch: statement.statements.filter(|n| *n >= 2),
            request_bytes: self.requested.map(|_| self.bytes),
            response_bytes,
            ..Db::new(DbSystem::PostgreSql)
        };
        Exchange {
            started: self.started,
            requested: self.requested,
            read: None,
            answered,
            ended,
            outcome,
            is_excluded: false,
            lost: self.lost,
            trace: None,
            detail: Detail::Db(Box::new(db)),
        }
    }
}
