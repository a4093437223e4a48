//! memcached over TCP: the text protocol with its meta commands, and the binary one. Not UDP.
//!
//! An exchange is a command; a retrieval of several keys is one with a batch, and the values that came back are its rows. So
//! `cmd_get` is the sum of batches (1 where there is none) and `get_hits` that of rows; a miss is no error. What is sent with `noreply` is
//! not answered: it is complete when it was sent, whatever came of it. Quiet commands are answered only where there is something to
//! say; they are complete when the next answer shows that there was not. Where an answer may be of more than one of them, it
//! is counted as unresolved, and told of none.
//!
//! The binary protocol's opcodes are called as the text commands that do the same, whether they are quiet or name the key.

mod answers;
mod binary;
mod command;
mod detect;
mod parser;
mod pending;
mod place;
mod reply;
mod shown;
#[cfg(test)]
mod tests;
mod words;

use std::sync::Arc;

use super::{Birth, Limits, Parser, Protocol, Then};

/// The row of the table.
pub const PROTOCOL: Protocol =
    Protocol { name: "memcached", detect: detect::detect, ports: &[11211], then: Then::Parse(open) };

fn open(limits: Arc<Limits>, birth: Birth) -> Box<dyn Parser> {
    Box::new(parser::Memcached::new(limits, birth))
}
