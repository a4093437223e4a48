//! Redis, and what speaks like it: RESP2 and RESP3, and lines of words.
//!
//! A command is an exchange. It is answered in its turn, and but for that nothing says which answer is whose; `trial` finds the
//! place in the line where the connection was met in the middle. Not answered are those that `CLIENT REPLY` silences: they are
//! complete when they were sent. What is published, or watched by `MONITOR`, is a message.
//!
//! In a transaction each command is answered `QUEUED` when it is sent, and that is its exchange: what came of it is the answer to
//! `EXEC`, an error where any in it is, and a batch. So exchanges are what `info commandstats` counts, rejected calls
//! included, where all that was queued was executed, but for commands that scripts call. Operations are called as commandstats does,
//! in upper case and with a space: the conventions would have them as they were sent.
//!
//! What a replica is sent after `PSYNC` is not read.

mod answers;
mod command;
mod detect;
mod name;
mod parser;
mod pending;
mod place;
mod shown;
mod subscriptions;
mod table;
#[cfg(test)]
mod tests;
mod value;

use std::sync::Arc;

use super::{Birth, Limits, Parser, Protocol, Then};

/// The row of the table.
pub const PROTOCOL: Protocol =
    Protocol { name: "redis", detect: detect::detect, ports: &[6379, 6380, 26379], then: Then::Parse(open) };

fn open(limits: Arc<Limits>, birth: Birth) -> Box<dyn Parser> {
    Box::new(parser::Redis::new(limits, birth))
}
