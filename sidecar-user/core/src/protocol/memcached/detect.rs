//! Is it memcached?

use super::binary;
use super::command::{self, Sort};
use super::reply::{Read, Replies, What};
use super::shown::Shown;
use crate::model::{Ktime, Side};
use crate::protocol::{Detect, Transcript};

/// A header of the binary protocol is enough, and so is a line that is followed by a value, or an answer with one. Other lines are words
/// that anybody may speak: they take an answer.
pub(super) fn detect(client: &[u8], server: &[u8]) -> Detect {
    match (binary::is_header(Side::Client, client), binary::is_header(Side::Server, server)) {
        (Some(true), _) | (_, Some(true)) => return Detect::Yes,
        (None, None) if !client.is_empty() || !server.is_empty() => return Detect::NeedMore,
        _ => {}
    }
    let sort = if client.is_empty() { Sort::Begun } else { command::sort(client) };
    match (sort, replies(server)) {
        (Sort::Formed, _) | (_, Said::Formed) => Detect::Yes,
        (Sort::Words, Said::Words) => Detect::Yes,
        (Sort::None, _) | (_, Said::None) => Detect::No,
        _ => Detect::NeedMore,
    }
}

/// Bytes of a client begin with a whole command, or its line.
pub(super) fn is_command(bytes: &[u8]) -> bool {
    matches!(command::sort(bytes), Sort::Formed | Sort::Words)
}

/// Bytes of a server begin with an answer, or with the line before a value.
pub(super) fn is_reply(bytes: &[u8]) -> bool {
    matches!(replies(bytes), Said::Formed | Said::Words)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    None,
    Begun,
    /// An answer of words.
    Words,
    /// A value, with the line before it.
    Formed,
}

fn replies(bytes: &[u8]) -> Said {
    let mut nobody = Transcript::default();
    let shown = &mut Shown { transcript: &mut nobody, side: Side::Server };
    let (mut rest, mut replies, mut said) = (bytes, Replies::default(), Said::Begun);
    while !rest.is_empty() {
        let (used, read) = replies.take(Ktime::default(), rest, shown);
        rest = &rest[used..];
        match read {
            Read::Malformed => return Said::None,
            Read::More if replies.left() > 0 => said = Said::Formed,
            Read::More => {}
            Read::Reply(reply) if matches!(reply.what, What::Values(_) | What::Value) => said = Said::Formed,
            Read::Reply(_) if said == Said::Begun => said = Said::Words,
            Read::Reply(_) => {}
        }
    }
    said
}
