//! Commands that are not answered yet.

use super::reply::{Reply, What};
use crate::model::Ktime;
use crate::protocol::trial::Asks;

/// How a command is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// `VALUE` and its like, then `END`.
    Values,
    Stored,
    Deleted,
    Number,
    Touched,
    MetaGet,
    MetaSet,
    MetaDelete,
    MetaArithmetic,
    MetaDebug,
    Noop,
    /// `STAT` and its like, then `END`; or a word.
    Stats,
    Version,
    /// A word.
    Word,
    /// A word, and then what goes on without end.
    Watch,
    /// Not at all.
    None,
    /// Only to say that it is not known.
    Refused,
    /// As the binary protocol does.
    Binary,
}

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// Its place in the table of its protocol; `None`: nobody knows it.
    pub(super) operation: Option<u8>,
    pub(super) answer: Answer,
    /// Keys that it names.
    pub(super) keys: u32,
    /// It has no answer.
    pub(super) is_silent: bool,
    /// It is answered only where there is something to say.
    pub(super) is_quiet: bool,
    /// What its answer repeats, and the key that it may name: by hashes.
    pub(super) token: Option<u64>,
    pub(super) key: Option<u64>,
    /// Of the binary protocol.
    pub(super) opcode: Option<u8>,
    /// Bytes on the wire.
    pub(super) bytes: u64,
}

impl Asked {
    pub(super) fn unknown(bytes: u64) -> Asked {
        Asked {
            operation: None,
            answer: Answer::Refused,
            keys: 1,
            is_silent: false,
            is_quiet: false,
            token: None,
            key: None,
            opcode: None,
            bytes,
        }
    }

    /// It asks for values.
    pub(super) fn is_retrieval(&self) -> bool {
        match self.opcode {
            Some(opcode) => super::binary::is_retrieval(opcode),
            None => matches!(self.answer, Answer::Values | Answer::MetaGet),
        }
    }

    /// It may be answered so.
    pub(super) fn may_have(&self, reply: &Reply) -> bool {
        if let (Some(opcode), What::Binary { opcode: other, status, .. }) = (self.opcode, reply.what) {
            let is_key = self.key.is_none() || reply.key.is_none() || self.key == reply.key;
            let is_said = !self.is_quiet || status != u16::from(super::binary::is_retrieval(opcode));
            return opcode == other && self.token == reply.token && is_key && is_said;
        }
        if self.token.is_some() != reply.token.is_some() && !matches!(reply.what, What::Error(_))
            || self.token.is_some() && reply.token.is_some() && self.token != reply.token
        {
            return false;
        }
        let said: &[&str] = match (self.answer, reply.what) {
            (Answer::Binary, _) | (_, What::Binary { .. }) => return false,
            (_, What::Error(_)) => return true,
            (Answer::Values, what) => return matches!(what, What::Values(_) | What::End),
            (Answer::Stats, What::Lines | What::End) => return true,
            (Answer::Number, what) => return matches!(what, What::Number | What::Word("NOT_FOUND")),
            (Answer::Version, what) => return what == What::Version,
            (Answer::MetaGet, What::Value) | (Answer::MetaArithmetic, What::Value) => return true,
            (Answer::MetaDebug, What::Debug) => return true,
            (Answer::Stored, _) => &["STORED", "NOT_STORED", "EXISTS", "NOT_FOUND"],
            (Answer::Deleted, _) => &["DELETED", "NOT_FOUND"],
            (Answer::Touched, _) => &["TOUCHED", "NOT_FOUND"],
            (Answer::MetaGet, _) if self.is_quiet => &["HD"],
            (Answer::MetaGet, _) => &["HD", "EN"],
            (Answer::MetaSet, _) if self.is_quiet => &["NS", "EX", "NF"],
            (Answer::MetaSet, _) => &["HD", "NS", "EX", "NF"],
            (Answer::MetaDelete, _) if self.is_quiet => &["EX", "NS"],
            (Answer::MetaDelete, _) => &["HD", "NF", "EX", "NS"],
            (Answer::MetaArithmetic, _) if self.is_quiet => &["EX", "NS"],
            (Answer::MetaArithmetic, _) => &["HD", "NF", "EX", "NS"],
            (Answer::MetaDebug, _) => &["EN"],
            (Answer::Noop, _) => &["MN"],
            (Answer::Stats | Answer::Word | Answer::Watch, What::Word(word)) => {
                return super::reply::is_plain(word);
            }
            (Answer::Stats | Answer::Word | Answer::Watch | Answer::None | Answer::Refused, _) => &[],
        };
        matches!(reply.what, What::Word(word) if said.contains(&word))
    }
}

/// A command that was sent whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) started: Ktime,
    pub(super) requested: Ktime,
    pub(super) asked: Asked,
    /// Bytes of its connection that were lost since.
    pub(super) lost: u32,
    /// Another one before it has no answer, unless it is refused.
    pub(super) follows_silent: bool,
}

impl Asks<Reply> for Pending {
    fn answers(&self) -> u32 {
        1
    }

    fn fits(&self, answer: &Reply) -> bool {
        self.asked.may_have(answer)
    }

    fn is_blocking(&self) -> bool {
        false
    }
}
