//! PostgreSQL's protocol, versions 3.0 to 3.2: statements and what came of them.
//!
//! An exchange is a simple query, whatever number of statements it has, or an Execute, or a function call. That of an
//! Execute begins with the first byte of the Parse, Bind or Describe that leads to it, if that was not answered before it came,
//! and ends with what completes or suspends it; that of a simple query ends with ReadyForQuery. A Parse that fails and that no Execute follows is one, too. What a
//! server skips after an error, up to the next Sync, was not executed, and is none, as it is none in
//! `pg_stat_statements`; so is a request to cancel, and what is said before the first ReadyForQuery.
//!
//! `parser` goes through both sides' bytes, `exchanges` pairs what they say. In the middle of a connection `evidence` finds the
//! first message, and `unsettled` holds both sides' until it is known which are whose. `statements` knows what was prepared.

mod ask;
mod evidence;
mod exchanges;
mod message;
mod parser;
mod pending;
mod shown;
mod statements;
#[cfg(test)]
mod tests;
mod unsettled;

use std::sync::Arc;

use super::{Birth, Detect, Limits, Parser, Protocol, Then};
use crate::model::Side;

/// The row of the table.
pub const PROTOCOL: Protocol =
    Protocol { name: "postgresql", detect, ports: &[5432, 6432], then: Then::Parse(open) };

/// What a client begins with is enough. Of a connection that was met in the middle, a chain of messages of either side is.
fn detect(client: &[u8], server: &[u8]) -> Detect {
    if message::begins_session(client) == Detect::Yes {
        return Detect::Yes;
    }
    let of_client = match (message::begins_session(client), evidence::chain(Side::Client, client)) {
        (Detect::NeedMore, _) | (_, Detect::NeedMore) => Detect::NeedMore,
        (_, chain) => chain,
    };
    match (of_client, evidence::chain(Side::Server, server)) {
        (Detect::Yes, _) | (_, Detect::Yes) => Detect::Yes,
        (Detect::No, _) | (_, Detect::No) => Detect::No,
        (Detect::NeedMore, Detect::NeedMore) => Detect::NeedMore,
    }
}

fn open(limits: Arc<Limits>, birth: Birth) -> Box<dyn Parser> {
    Box::new(parser::Postgres::new(limits, birth))
}
