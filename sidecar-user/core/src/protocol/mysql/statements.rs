//! What is known of statements: of texts, and of those that were prepared, by their numbers.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::protocol::sql::Summary;

/// What a statement does.
#[derive(Debug, Default)]
pub(super) struct Statement {
    pub(super) operation: Option<Box<str>>,
    pub(super) collection: Option<Box<str>>,
    pub(super) summary: Option<Box<str>>,
    /// Statements in it, where it is of several.
    pub(super) batch: Option<u32>,
}

/// Bytes of a summary.
const SUMMARY_MAX: usize = 255;

impl Statement {
    pub(super) fn new(summary: Summary) -> Self {
        let Summary { operation, collection, summary, statements } = summary;
        Statement { operation, collection, summary, batch: statements.filter(|n| *n > 1) }
    }

    /// A command with a name; on this statement, if on any.
    pub(super) fn named(name: &str, on: Option<&Statement>) -> Self {
        let summary = match on.and_then(|on| on.summary.as_deref()) {
            Some(on) => {
                let mut text = format!("{name} {on}");
                // At the end of a name.
                if text.len() > SUMMARY_MAX {
                    let end = text.floor_char_boundary(SUMMARY_MAX + 1);
                    text.truncate(text[..end].rfind(' ').unwrap_or(name.len()));
                }
                text.into()
            }
            None => name.into(),
        };
        Statement {
            operation: Some(name.into()),
            collection: on.and_then(|on| on.collection.clone()),
            summary: Some(summary),
            batch: None,
        }
    }

    /// Bytes that it holds.
    pub(super) fn held(&self) -> usize {
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        size_of::<Statement>() + text(&self.operation) + text(&self.collection) + text(&self.summary)
    }
}

/// Statements that are prepared. Past their bound, those go that were not used for longest.
#[derive(Debug, Default)]
pub(super) struct Statements {
    by_number: FxHashMap<u32, Entry>,
    /// What was prepared last: it may be executed before its number is known.
    last: Option<Arc<Statement>>,
    /// Counts uses.
    clock: u64,
    texts: usize,
}

#[derive(Debug)]
struct Entry {
    statement: Arc<Statement>,
    used: u64,
}

/// The number that stands for what was prepared last (MariaDB).
const LAST: u32 = u32::MAX;

impl Statements {
    pub(super) fn get(&mut self, number: u32) -> Option<Arc<Statement>> {
        if number == LAST {
            return self.last.clone();
        }
        self.clock += 1;
        let entry = self.by_number.get_mut(&number)?;
        entry.used = self.clock;
        Some(Arc::clone(&entry.statement))
    }

    /// A statement is on its way to be prepared.
    pub(super) fn preparing(&mut self, statement: Arc<Statement>) {
        self.last = Some(statement);
    }

    pub(super) fn insert(&mut self, number: u32, statement: Arc<Statement>, most: usize) {
        while self.by_number.len() >= most.max(1) {
            let oldest = self.by_number.iter().min_by_key(|(_, entry)| entry.used);
            let Some(oldest) = oldest.map(|(number, _)| *number) else { break };
            self.close(oldest);
        }
        self.clock += 1;
        self.close(number);
        self.texts += statement.held();
        self.by_number.insert(number, Entry { statement, used: self.clock });
    }

    pub(super) fn close(&mut self, number: u32) {
        if let Some(entry) = self.by_number.remove(&number) {
            self.texts -= entry.statement.held();
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Statements { clock: self.clock, ..Statements::default() };
    }

    /// Bytes that it holds.
    pub(super) fn held(&self) -> usize {
        self.by_number.capacity() * size_of::<(u32, Entry)>()
            + self.texts
            + self.last.as_ref().map_or(0, |last| last.held())
    }
}
