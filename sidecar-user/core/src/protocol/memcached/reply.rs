//! The server's side of the text protocol.

use super::shown::Shown;
use super::words::{Line, Words};
use crate::model::Ktime;

/// Words that are an answer.
const WORDS: &[&str] = &[
    "STORED",
    "NOT_STORED",
    "EXISTS",
    "NOT_FOUND",
    "DELETED",
    "TOUCHED",
    "HD",
    "EN",
    "NF",
    "NS",
    "EX",
    "MN",
    "OK",
    "RESET",
    "BUSY",
    "BADCLASS",
    "NOSPARE",
    "NOTFULL",
    "UNSAFE",
    "SAME",
];
const ERRORS: &[&str] = &["ERROR", "CLIENT_ERROR", "SERVER_ERROR"];
/// Those that more follows.
const OTHERS: &[&str] = &["VALUE", "END", "VA", "VERSION", "ME"];
/// Lines of which there are several.
const LISTED: &[&str] = &["STAT", "ITEM", "PREFIX"];

/// A line may begin with it.
pub(super) fn is_known(word: &[u8]) -> bool {
    [WORDS, ERRORS, LISTED, OTHERS].iter().any(|list| list.iter().any(|known| known.as_bytes() == word))
}

/// Not of one command only.
pub(super) fn is_plain(word: &str) -> bool {
    WORDS.iter().position(|known| *known == word).is_some_and(|at| at >= 12)
}

/// An answer that was read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) began: Ktime,
    pub(super) ended: Ktime,
    pub(super) what: What,
    /// What it repeats of its command, and the key that it names: by hashes.
    pub(super) token: Option<u64>,
    pub(super) key: Option<u64>,
    pub(super) bytes: u64,
}

/// What an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Word(&'static str),
    Error(&'static str),
    Number,
    Version,
    /// So many values, and their end.
    Values(u32),
    /// An end, and nothing before it.
    End,
    /// Lines, and their end.
    Lines,
    /// A meta command's value.
    Value,
    /// What `me` tells.
    Debug,
    /// Of the binary protocol.
    Binary {
        opcode: u8,
        status: u16,
        /// More like it follow.
        is_part: bool,
    },
}

/// What came of bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    More,
    Reply(Reply),
    Malformed,
}

/// Reads answers.
#[derive(Debug, Default)]
pub(super) struct Replies {
    words: Words,
    /// In a value, with so many bytes to come, its end among them.
    left: u64,
    /// A meta command's, with the token that its line has.
    value: Option<Option<u64>>,
    n_values: u32,
    n_lines: u32,
    bytes: u64,
    began: Ktime,
}

impl Replies {
    /// Bytes of a value that are to come.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// When the answer began that is being read; whether one is.
    pub(super) fn begun(&self) -> Option<Ktime> {
        (self.bytes > 0).then_some(self.began)
    }

    /// Nobody will be told more of what came so far.
    pub(super) fn forget(&mut self) {
        self.words.forget();
    }

    pub(super) fn take(&mut self, at: Ktime, bytes: &[u8], shown: &mut Shown<'_>) -> (usize, Read) {
        if self.bytes == 0 {
            self.began = at;
        }
        if self.left > 0 {
            let used = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            // What ends a value.
            let end = bytes[..used].iter().enumerate().skip((self.left as usize).saturating_sub(2));
            let is_end =
                |(n, byte): (usize, &u8)| *byte == if self.left - n as u64 == 2 { b'\r' } else { b'\n' };
            if !end.into_iter().all(is_end) {
                return (used, Read::Malformed);
            }
            shown.value(self.left, &bytes[..used]);
            self.left -= used as u64;
            self.bytes += used as u64;
            if let (0, Some(token)) = (self.left, self.value) {
                return (used, self.finish(at, What::Value, token));
            }
            return (used, Read::More);
        }
        let before = self.words.bytes;
        let (used, line) = self.words.take(bytes, 1, shown);
        self.bytes += self.words.bytes.saturating_sub(before);
        match line {
            Line::More if !begins(self.words.first(), self.words.n) => (used, Read::Malformed),
            Line::More => (used, Read::More),
            Line::Malformed => (used, Read::Malformed),
            Line::Whole => (used, self.line(at)),
        }
    }

    /// `n` bytes passed; says how many of them are of the value that they begin in.
    pub(super) fn pass(&mut self, n: u64) -> u64 {
        let passed = n.min(self.left.saturating_sub(2));
        self.left -= passed;
        self.bytes += passed;
        passed
    }

    fn line(&mut self, at: Ktime) -> Read {
        let words = std::mem::take(&mut self.words);
        let word = words.first();
        let known = |list: &[&'static str]| list.iter().copied().find(|known| known.as_bytes() == word);
        let is_alone = self.n_values == 0 && self.n_lines == 0;
        if let Some(word) = known(ERRORS) {
            return self.finish(at, What::Error(word), None);
        }
        if word == b"VALUE" && self.n_lines == 0 {
            let (Some(length), 4..=5) = (words.numbers[3], words.n) else { return Read::Malformed };
            self.n_values += 1;
            self.left = length + 2;
            return Read::More;
        }
        if known(LISTED).is_some() || word.starts_with(b"key=") {
            self.n_lines += 1;
            return if self.n_values == 0 { Read::More } else { Read::Malformed };
        }
        let what = match word {
            b"END" if words.n == 1 => match (self.n_values, self.n_lines) {
                (0, 0) => What::End,
                (0, _) => What::Lines,
                (n, _) => What::Values(n),
            },
            _ if !is_alone => return Read::Malformed,
            b"VA" => {
                let Some(length) = words.numbers[1] else { return Read::Malformed };
                (self.left, self.value) = (length + 2, Some(words.opaque));
                return Read::More;
            }
            b"VERSION" => What::Version,
            b"ME" => What::Debug,
            _ if words.n == 1 && words.numbers[0].is_some() => What::Number,
            // Counters go up to 2^64 - 1.
            _ if words.n == 1 && (19..=20).contains(&word.len()) && word.iter().all(u8::is_ascii_digit) => {
                What::Number
            }
            _ => match known(WORDS) {
                Some(word) => What::Word(word),
                None => return Read::Malformed,
            },
        };
        let token = words.opaque.filter(|_| matches!(what, What::Word(_)));
        self.finish(at, what, token)
    }

    fn finish(&mut self, at: Ktime, what: What, token: Option<u64>) -> Read {
        let reply = Reply { began: self.began, ended: at, what, token, key: None, bytes: self.bytes };
        *self = Replies::default();
        Read::Reply(reply)
    }
}

/// A line that begins so may be an answer.
fn begins(word: &[u8], n: u32) -> bool {
    let is =
        |known: &&str| if n == 0 { known.as_bytes().starts_with(word) } else { known.as_bytes() == word };
    word.starts_with(b"key=")
        || b"key=".starts_with(word)
        || word.iter().all(u8::is_ascii_digit)
        || [WORDS, ERRORS, LISTED, OTHERS].iter().any(|list| list.iter().any(is))
}
