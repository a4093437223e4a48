//! The client's side of the text protocol.

use super::pending::{Answer, Asked};
use super::shown::Shown;
use super::words::{Line, Words};
use crate::model::{Ktime, Side};
use crate::protocol::Transcript;

/// After a meta command and its key.
const FLAGS_FROM: usize = 2;
/// The longest value (`item_size_max` allows 1 GiB).
const VALUE_MAX: u64 = i32::MAX as u64;

/// Commands: their words, what they are called, how they are answered, and how many words they need.
const COMMANDS: &[(&str, &str, Answer, u32)] = &[
    ("get", "GET", Answer::Values, 2),
    ("gets", "GETS", Answer::Values, 2),
    ("gat", "GAT", Answer::Values, 3),
    ("gats", "GATS", Answer::Values, 3),
    ("set", "SET", Answer::Stored, 5),
    ("add", "ADD", Answer::Stored, 5),
    ("replace", "REPLACE", Answer::Stored, 5),
    ("append", "APPEND", Answer::Stored, 5),
    ("prepend", "PREPEND", Answer::Stored, 5),
    ("cas", "CAS", Answer::Stored, 6),
    ("delete", "DELETE", Answer::Deleted, 2),
    ("incr", "INCR", Answer::Number, 3),
    ("decr", "DECR", Answer::Number, 3),
    ("touch", "TOUCH", Answer::Touched, 3),
    ("mg", "MG", Answer::MetaGet, 2),
    ("ms", "MS", Answer::MetaSet, 3),
    ("md", "MD", Answer::MetaDelete, 2),
    ("ma", "MA", Answer::MetaArithmetic, 2),
    ("mn", "MN", Answer::Noop, 1),
    ("me", "ME", Answer::MetaDebug, 2),
    ("stats", "STATS", Answer::Stats, 1),
    ("lru_crawler", "LRU_CRAWLER", Answer::Stats, 1),
    ("version", "VERSION", Answer::Version, 1),
    ("flush_all", "FLUSH_ALL", Answer::Word, 1),
    ("verbosity", "VERBOSITY", Answer::Word, 1),
    ("cache_memlimit", "CACHE_MEMLIMIT", Answer::Word, 1),
    ("slabs", "SLABS", Answer::Word, 1),
    ("lru", "LRU", Answer::Word, 1),
    ("shutdown", "SHUTDOWN", Answer::Word, 1),
    ("watch", "WATCH", Answer::Watch, 1),
    ("quit", "QUIT", Answer::None, 1),
];

/// A word's place in the table.
fn find(word: &[u8]) -> Option<usize> {
    COMMANDS.iter().position(|(name, ..)| name.as_bytes() == word)
}

/// How a command is answered.
pub(super) fn answer(word: &[u8]) -> Option<Answer> {
    find(word).map(|at| COMMANDS[at].2)
}

/// What a command is called.
pub(super) fn operation(number: u8) -> Option<&'static str> {
    COMMANDS.get(usize::from(number)).map(|(_, operation, ..)| *operation)
}

/// What a line is that may be one of the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// It may become one.
    Begun,
    /// It is one, and may be anybody's.
    Words,
    /// It is one that has as much form as nothing else.
    Formed,
    None,
}

/// Whether bytes begin with a command.
pub(super) fn sort(bytes: &[u8]) -> Sort {
    let mut words = Words::default();
    let mut nobody = Transcript::default();
    let shown = &mut Shown { transcript: &mut nobody, side: Side::Client };
    let (_, line) = words.take(bytes, FLAGS_FROM, shown);
    let is_begun = COMMANDS.iter().any(|(name, ..)| name.as_bytes().starts_with(words.first()));
    match (line, find(words.first())) {
        (Line::Malformed, _) => Sort::None,
        (Line::More, Some(_)) => Sort::Begun,
        (Line::More, None) if words.n == 0 && is_begun => Sort::Begun,
        (Line::More, None) => Sort::None,
        (Line::Whole, Some(at)) if words.n >= COMMANDS[at].3 => match COMMANDS[at].2 {
            Answer::Stored if value_after(at, &words).is_some() => Sort::Formed,
            Answer::Stored => Sort::None,
            _ => Sort::Words,
        },
        (Line::Whole, _) => Sort::None,
    }
}

/// Bytes of the value that follows a line, if one does.
fn value_after(at: usize, words: &Words) -> Option<u64> {
    let (_, _, answer, least) = COMMANDS[at];
    let number = |at: usize| words.numbers.get(at).copied().flatten();
    let length = match answer {
        _ if words.n < least || words.has_long => None,
        // The time may be negative.
        Answer::Stored => number(2).and(number(4)),
        Answer::MetaSet => number(2),
        _ => None,
    };
    length.filter(|length| *length <= VALUE_MAX)
}

/// What came of bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    More,
    Asked(Asked),
    Malformed,
}

/// Reads commands.
#[derive(Debug, Default)]
pub(super) struct Commands {
    words: Words,
    /// In a value, with so many bytes to come, its end among them.
    left: u64,
    /// The command whose value it is.
    asked: Option<Asked>,
    pub(super) since: Ktime,
}

impl Commands {
    /// Bytes of a value that are to come.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// The command whose value is coming.
    pub(super) fn begun(&self) -> Option<&Asked> {
        self.asked.as_ref()
    }

    /// Nobody will be told more of what came so far.
    pub(super) fn forget(&mut self) {
        self.words.forget();
    }

    pub(super) fn take(&mut self, at: Ktime, bytes: &[u8], shown: &mut Shown<'_>) -> (usize, Read) {
        if self.asked.is_some() {
            let used = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            shown.value(self.left, &bytes[..used]);
            self.left -= used as u64;
            return (used, self.value_taken());
        }
        if self.words.bytes == 0 {
            self.since = at;
        }
        let (used, line) = self.words.take(bytes, FLAGS_FROM, shown);
        match line {
            Line::More => return (used, Read::More),
            Line::Malformed => return (used, Read::Malformed),
            Line::Whole => {}
        }
        let words = std::mem::take(&mut self.words);
        let Some(number) = find(words.first()) else {
            return (used, Read::Asked(Asked::unknown(words.bytes)));
        };
        let (_, _, answer, least) = COMMANDS[number];
        let first_key = if words.first().starts_with(b"gat") { 2 } else { 1 };
        let is_meta =
            matches!(answer, Answer::MetaGet | Answer::MetaSet | Answer::MetaDelete | Answer::MetaArithmetic);
        let is_whole = words.n >= least;
        let asked = Asked {
            operation: Some(number as u8),
            answer,
            keys: if answer == Answer::Values { words.n.saturating_sub(first_key) } else { 1 },
            is_silent: is_whole && answer == Answer::None || is_whole && !is_meta && words.is_noreply,
            is_quiet: is_meta && words.is_quiet,
            token: words.opaque.filter(|_| is_meta),
            key: None,
            opcode: None,
            bytes: words.bytes,
        };
        match value_after(number, &words) {
            Some(length) => {
                (self.left, self.asked) =
                    (length + 2, Some(Asked { bytes: words.bytes + length + 2, ..asked }));
                (used, Read::More)
            }
            None => (used, Read::Asked(asked)),
        }
    }

    /// `n` bytes passed; says how many of them are of the value that they begin in.
    pub(super) fn pass(&mut self, n: u64) -> u64 {
        // The last byte is waited for, as it ends the command.
        let passed = n.min(self.left.saturating_sub(2));
        self.left -= passed;
        passed
    }

    fn value_taken(&mut self) -> Read {
        match self.asked.take_if(|_| self.left == 0) {
            Some(asked) => Read::Asked(asked),
            None => Read::More,
        }
    }
}
