//! A question, and what came of it.

use crate::dns::{Question, Reader};
use crate::model::{Detail, Dns, Exchange, Ktime, Outcome};

/// Longest name that is told of, bytes (RFC 1035, 2.3.4): longer ones are made of octets that are no text.
const NAME: usize = 253;

/// A question without its answer.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// What its client calls it.
    pub id: u16,
    /// What is asked for.
    pub question: Question,
    /// When its first byte passed.
    pub started: Ktime,
    /// When its last byte did.
    pub requested: Option<Ktime>,
    /// Bytes of its message.
    pub bytes: Option<u64>,
    /// Bytes of its connection that were lost meanwhile.
    pub lost: u32,
}

/// What answered it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answer {
    /// When its first byte passed.
    pub began: Ktime,
    /// RCODE.
    pub code: Option<u16>,
    /// Records in it.
    pub answers: u16,
    /// TC.
    pub is_truncated: bool,
    /// Bytes of its message.
    pub bytes: Option<u64>,
}

impl Answer {
    /// What was read of it.
    #[must_use]
    pub fn of(reader: &Reader, began: Ktime, bytes: Option<u64>) -> Self {
        let header = reader.header();
        Answer {
            began,
            code: reader.code(),
            answers: header.map_or(0, |header| header.n_answers()),
            is_truncated: header.is_some_and(|header| header.is_truncated()),
            bytes,
        }
    }
}

impl Lookup {
    /// Whether a message under this id is its answer. One that fails may leave the question out.
    #[must_use]
    pub fn is_answered_by(&self, id: u16, question: Option<&Question>) -> bool {
        self.id == id && question.is_none_or(|question| *question == self.question)
    }

    /// It is over.
    #[must_use]
    pub fn finish(self, answer: Option<Answer>, ended: Ktime, outcome: Outcome) -> Exchange {
        let Lookup { question, started, requested, bytes, lost, .. } = self;
        let mut name = question.name;
        if name.len() > NAME {
            name = name[..NAME].into();
        }
        let detail = Dns {
            name,
            is_other: false,
            record_type: question.record_type,
            code: answer.and_then(|answer| answer.code),
            answers: answer.map_or(0, |answer| answer.answers),
            is_truncated: answer.is_some_and(|answer| answer.is_truncated),
            bytes: [bytes, answer.and_then(|answer| answer.bytes)],
        };
        Exchange {
            started,
            requested,
            read: None,
            answered: answer.map(|answer| answer.began),
            ended,
            outcome,
            is_excluded: false,
            lost,
            trace: None,
            detail: Detail::Dns(Box::new(detail)),
        }
    }
}
