//! Statements of SQL, reduced to their operations and what these are on: `db.query.summary` of the semantic conventions
//! v1.44.0 ("Generating a summary of the query"). No protocol of its own, and no parser of SQL: what it does not know, it
//! says nothing of.
//!
//! No literal, comment, variable or name of a user ever gets into a summary. Operations are written in upper case, targets as
//! they are written. Names of common table expressions are no targets; nor are those that an application makes up as it goes
//! (savepoints, cursors, prepared statements), and the settings of `SET` and `SHOW`.

mod keywords;
mod lexer;
mod shown;
mod statement;
#[cfg(test)]
mod tests;
mod written;

use lexer::Lexer;
pub use shown::shown;
use statement::Statements;

/// Bytes of a summary, and of any name in it.
const SUMMARY_MAX: usize = 255;

/// Whose SQL it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL's.
    PostgreSql,
    /// MySQL's and MariaDB's.
    MySql,
    /// MySQL's, where the server says that a backslash is one like any other (`SERVER_STATUS_NO_BACKSLASH_ESCAPES`).
    MySqlNoBackslash,
}

/// What a text of one or several statements does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The operation, where there is exactly one.
    pub operation: Option<Box<str>>,
    /// The table or view, where there is exactly one operation, and it is on exactly one.
    pub collection: Option<Box<str>>,
    /// All operations and targets, in order; at most 255 bytes, cut between two of them. `None` where the text was not
    /// understood, or has no statement.
    pub summary: Option<Box<str>>,
    /// How many statements; `None` where the text was not understood.
    pub statements: Option<u32>,
}

impl Summary {
    /// Bytes of memory that it holds besides itself.
    #[must_use]
    pub fn held(&self) -> usize {
        [&self.operation, &self.collection, &self.summary].into_iter().flatten().map(|text| text.len()).sum()
    }
}

/// Summarises a whole text.
#[must_use]
pub fn summarize(text: &[u8], dialect: Dialect) -> Summary {
    let mut summarizer = Summarizer::new(dialect);
    summarizer.push(text);
    summarizer.finish()
}

/// Summarises a text that comes in pieces, and holds nothing of it but names.
#[derive(Debug)]
pub struct Summarizer {
    lexer: Lexer,
    statements: Statements,
}

impl Summarizer {
    /// For a text of which nothing has come.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        Summarizer { lexer: Lexer::new(dialect), statements: Statements::new(dialect) }
    }

    /// The next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        let Summarizer { lexer, statements } = self;
        lexer.push(bytes, &mut |token, _| statements.token(token));
    }

    /// It was all there.
    #[must_use]
    pub fn finish(mut self) -> Summary {
        let Summarizer { lexer, statements } = &mut self;
        if lexer.finish(&mut |token, _| statements.token(token)) {
            self.statements.finish()
        } else {
            Summary::default()
        }
    }

    /// The rest will not be seen. A summary that has its full length already is the same whatever follows; any other
    /// might be wrong.
    #[must_use]
    pub fn cut(self) -> Summary {
        if self.lexer.is_understood() { self.statements.cut() } else { Summary::default() }
    }

    /// Bytes of memory that it holds.
    #[must_use]
    pub fn held(&self) -> usize {
        self.lexer.held() + self.statements.held()
    }
}
