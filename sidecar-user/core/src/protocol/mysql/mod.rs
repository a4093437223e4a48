//! The client/server protocol of MySQL and MariaDB: commands are answered in order, and what is answered is an exchange.
//!
//! What counts is what the server counts: each command that it answers is an exchange, as it is an event of its
//! `performance_schema` (`statement/sql/*` and `statement/com/*`), but for a text of several statements, which is one exchange with
//! their number ([`crate::model::Db::batch`]). Commands without an answer (COM_QUIT, COM_STMT_CLOSE, COM_STMT_SEND_LONG_DATA) are
//! none, nor is the login. A text's operation is what the SQL says; of a prepared statement that is executed it is the
//! statement's; other commands are called by their names.
//!
//! Not for the X protocol. A connection that is compressed after its login, or that follows a binary log, is opaque; one that
//! asks for TLS goes on as that.
//!
//! `parser` is the entry: `packet` cuts a side's bytes into messages, `commands` acts on the client's, `answers` on the server's,
//! `lost` on bytes that were not read, `ending` on the connection's end; `shown` says which bytes others may see. The rest are parts without state of the connection's.
//!
//! Where the login was not seen, nothing of it needs to be guessed: whether definitions and rows are ended by EOF or OK, and
//! whether definitions are sent at all, shows in the packets themselves. Which of both databases it is shows in few: in what only
//! MariaDB says or understands, and in the text of what is no statement. Until then it is neither (`other_sql`), unless another
//! connection to the same server has told. Only where a prepared statement has no columns is it open whether an EOF is still to come; the answer is over with the next
//! packet then, of whichever side.

mod answer;
mod answers;
mod attributes;
mod command;
mod commands;
mod detect;
mod ending;
mod field;
mod lost;
mod packet;
mod parser;
mod queue;
mod session;
mod shown;
mod statements;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::{Birth, Limits, Parser, Protocol, Then};

/// The row of the table.
pub const PROTOCOL: Protocol =
    Protocol { name: "mysql", detect: detect::detect, ports: &[3306], then: Then::Parse(open) };

fn open(limits: Arc<Limits>, birth: Birth) -> Box<dyn Parser> {
    Box::new(parser::Mysql::new(limits, birth))
}
