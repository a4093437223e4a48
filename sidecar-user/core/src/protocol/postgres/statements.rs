//! What was prepared, by name, and what portals are of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::message::NAME_MAX;
use crate::protocol::sql::Summary;

/// Bytes that an entry takes besides its texts, about.
const ENTRY: usize = 160;
/// Portals with a name that are known at a time.
const PORTALS: usize = 16;

/// A statement's summary; `None` where it is not known.
pub(super) type Statement = Option<Arc<Summary>>;

#[derive(Debug, Default)]
pub(super) struct Statements {
    by_name: BTreeMap<Box<[u8]>, (u64, Arc<Summary>)>,
    portals: BTreeMap<Box<[u8]>, Statement>,
    /// How many were ever prepared: the oldest goes first.
    n: u64,
    held: usize,
}

impl Statements {
    /// `name` stands for this from here on; what it stood for. No more than `room` bytes are held.
    pub(super) fn prepare(&mut self, name: &[u8], statement: Statement, room: usize) -> Statement {
        let before = self.forget(name);
        if let Some(statement) = statement {
            self.n += 1;
            self.held += size(name, &statement);
            self.by_name.insert(name.into(), (self.n, statement));
        }
        while self.held > room
            && let Some(oldest) =
                self.by_name.iter().min_by_key(|(_, (n, _))| *n).map(|(name, _)| name.clone())
        {
            self.forget(&oldest);
        }
        before
    }

    pub(super) fn forget(&mut self, name: &[u8]) -> Statement {
        let (_, statement) = self.by_name.remove(name)?;
        self.held -= size(name, &statement);
        Some(statement)
    }

    pub(super) fn statement(&self, name: &[u8]) -> Statement {
        self.by_name.get(name).map(|(_, statement)| Arc::clone(statement))
    }

    pub(super) fn bind(&mut self, portal: &[u8], statement: Statement) {
        if self.portals.len() < PORTALS || self.portals.contains_key(portal) {
            self.portals.insert(portal.into(), statement);
        }
    }

    /// `None`: nobody knows the portal.
    pub(super) fn portal(&self, portal: &[u8]) -> Option<Statement> {
        self.portals.get(portal).cloned()
    }

    pub(super) fn close_portal(&mut self, portal: &[u8]) {
        self.portals.remove(portal);
    }

    /// Portals end with their transaction.
    pub(super) fn transaction_ended(&mut self) {
        self.portals.clear();
    }

    pub(super) fn clear(&mut self) {
        *self = Statements::default();
    }

    pub(super) fn held(&self) -> usize {
        self.held + self.portals.len() * (NAME_MAX + ENTRY)
    }
}

fn size(name: &[u8], statement: &Summary) -> usize {
    ENTRY + name.len() + statement.held()
}
