//! The client's side: commands, as arrays of bulk strings or as a line of words. Of their words only those are looked at that
//! say what is done; keys and values pass by.

use super::name::{Effect, Modules, Name};
use super::shown;
use crate::model::{Ktime, Side};
use crate::protocol::line::{Line, number};
use crate::protocol::{TEXT, Transcript};

/// Words that are looked at,
const WORDS: usize = 3;
/// and bytes of each: one more than the longest that means anything.
const WORD: usize = 32;
/// The longest line that Redis takes (`PROTO_INLINE_MAX_SIZE`).
const INLINE_MAX: u64 = 64 * 1024;
/// The most words.
const WORDS_MAX: u64 = i32::MAX as u64;

/// A command that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) name: Name,
    pub(super) effect: Effect,
    /// Bytes on the wire.
    pub(super) bytes: u64,
}

/// What came of bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    More,
    Command(Command),
    /// What Redis reads over: an empty line, an empty array.
    Empty,
    Malformed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before a command, or in its first line.
    First,
    /// In the line with a word's length.
    Length,
    /// In a word, with so many bytes to come, and its end after them.
    Word(u64),
    /// In a word's end.
    End,
}

/// Reads commands.
#[derive(Debug)]
pub(super) struct Commands {
    place: Place,
    line: Line,
    /// The command is a line of words; and its last byte so far is one of a word.
    is_inline: bool,
    is_in_word: bool,
    /// Words of the command, and those that have not come.
    n_words: u64,
    left: u64,
    words: [Word; WORDS],
    /// Bytes of the command so far.
    bytes: u64,
    /// When the command's first byte came.
    pub(super) since: Ktime,
    pub(super) modules: Modules,
    /// Bytes of the line or word that is coming that nobody was told of yet.
    untold: u64,
}

/// The beginning of a word.
#[derive(Clone, Copy, Debug, Default)]
struct Word {
    held: [u8; WORD],
    len: u8,
}

impl Word {
    fn add(&mut self, bytes: &[u8]) {
        let at = usize::from(self.len);
        let room = (WORD - at).min(bytes.len());
        self.held[at..at + room].copy_from_slice(&bytes[..room]);
        self.len += room as u8;
    }

    /// What is held of it. What is longer than that is no word that means anything, nor is its beginning.
    fn text(&self) -> &[u8] {
        &self.held[..usize::from(self.len)]
    }
}

impl Commands {
    pub(super) fn new() -> Self {
        Commands {
            place: Place::First,
            line: Line::default(),
            is_inline: false,
            is_in_word: false,
            n_words: 0,
            left: 0,
            words: Default::default(),
            bytes: 0,
            since: Ktime::default(),
            modules: Modules::default(),
            untold: 0,
        }
    }

    /// Forgets what it has of a command, but for when it began.
    pub(super) fn restart(&mut self) {
        *self = Commands { modules: std::mem::take(&mut self.modules), since: self.since, ..Commands::new() };
    }

    /// A command has begun, and its first word is known.
    pub(super) fn is_named(&self) -> bool {
        !self.is_inline && self.left < self.n_words
    }

    /// Which it is, as far as it has come.
    pub(super) fn name(&mut self) -> Name {
        let [first, second, _] = &self.words;
        let second = if self.n_words - self.left >= 2 { second.text() } else { b"" };
        Name::of([first.text(), second], &mut self.modules)
    }

    /// Bytes of a word that are to come, without its end.
    pub(super) fn left(&self) -> u64 {
        if let Place::Word(left) = self.place { left } else { 0 }
    }

    /// Takes from the beginning of `bytes` what belongs to one command; says how many those are.
    pub(super) fn take(&mut self, at: Ktime, bytes: &[u8], transcript: &mut Transcript) -> (usize, Read) {
        if self.bytes == 0 {
            self.since = at;
        }
        if let Place::Word(left) = self.place {
            let used = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            if let Some(word) = self.words.get_mut((self.n_words - self.left) as usize) {
                word.add(&bytes[..used]);
            }
            self.pass(used as u64);
            self.untold += used as u64;
            self.tell_word(transcript);
            return (used, Read::More);
        }
        if self.bytes == 0 {
            self.is_inline = bytes.first().is_some_and(|first| *first != b'*');
        }
        let was_held = self.line.is_held();
        let taken = self.line.take(bytes);
        self.bytes += taken.used as u64;
        self.untold += taken.used as u64;
        if self.is_inline && !self.line.is_held() {
            // Longer than any that is looked at.
            if was_held {
                transcript.hide(Side::Client, self.untold - taken.used as u64, TEXT);
            }
            transcript.sift(Side::Client, &bytes[..taken.used], TEXT, shown::is_space);
            self.untold = 0;
        }
        if self.is_inline {
            self.count_words(&bytes[..taken.used]);
        }
        if !taken.is_whole {
            let bound = if self.is_inline { INLINE_MAX } else { WORD as u64 };
            let read = if self.line.len() > bound { Read::Malformed } else { Read::More };
            return (taken.used, read);
        }
        let untold = std::mem::take(&mut self.untold);
        let line = transcript.is_recorded().then(|| self.line.held());
        let is_inline = self.is_inline;
        let read = match self.place {
            Place::First if self.is_inline => self.inline(),
            Place::First => self.array(),
            Place::Length => self.length(),
            Place::End | Place::Word(_) => self.end(),
        };
        self.line = Line::default();
        match (&read, line) {
            (Read::Malformed, _) => self.untold = untold,
            (_, None) => transcript.hide(Side::Client, untold, TEXT),
            (_, Some((line, len))) => {
                let line = &line[..len.min(untold as usize)];
                if is_inline {
                    shown::words(line, &mut self.modules, transcript);
                } else {
                    transcript.keep(Side::Client, line);
                }
            }
        }
        (taken.used, read)
    }

    /// Nobody will be told more of what came so far.
    pub(super) fn forget(&mut self) {
        self.untold = 0;
    }

    /// What of a word may be shown, once it is whole or too long to mean anything.
    fn tell_word(&mut self, transcript: &mut Transcript) {
        let at = (self.n_words - self.left) as usize;
        let Some(word) = self.words.get(at) else {
            transcript.hide(Side::Client, std::mem::take(&mut self.untold), TEXT);
            return;
        };
        let is_whole = self.place == Place::End;
        let text = word.text();
        if text.len() < WORD && !is_whole {
            return;
        }
        let is_all = is_whole && text.len() as u64 == self.untold;
        let before = [self.words[0].text(), self.words[1].text()];
        if is_all && transcript.is_recorded() && shown::is_word(&before[..at.min(2)], text, &mut self.modules)
        {
            transcript.keep(Side::Client, text);
        } else {
            transcript.hide(Side::Client, self.untold, TEXT);
        }
        self.untold = 0;
    }

    /// `n` bytes passed; says how many of them are of the word that they begin in.
    pub(super) fn pass(&mut self, n: u64) -> u64 {
        let Place::Word(left) = &mut self.place else { return 0 };
        let passed = n.min(*left);
        *left -= passed;
        if *left == 0 {
            self.place = Place::End;
        }
        self.bytes = self.bytes.saturating_add(passed);
        passed
    }

    fn array(&mut self) -> Read {
        match self.line.text() {
            b"*0" | b"*-1" if self.line.is_proper() => {
                self.restart();
                Read::Empty
            }
            text => match number(&text[1..]) {
                Some(n) if n <= WORDS_MAX && self.line.is_proper() => {
                    (self.n_words, self.left, self.place) = (n, n, Place::Length);
                    Read::More
                }
                _ => Read::Malformed,
            },
        }
    }

    fn length(&mut self) -> Read {
        let length = match self.line.text() {
            [b'$', digits @ ..] if self.line.is_proper() => number(digits),
            _ => None,
        };
        match length {
            Some(n) => {
                self.place = if n == 0 { Place::End } else { Place::Word(n) };
                Read::More
            }
            None => Read::Malformed,
        }
    }

    /// A word's end has come, or what is there instead.
    fn end(&mut self) -> Read {
        if self.line.len() != 2 || !self.line.is_proper() {
            return Read::Malformed;
        }
        self.left -= 1;
        self.place = Place::Length;
        if self.left > 0 { Read::More } else { self.command() }
    }

    /// A line of words. Quotes are not looked at: no word that means anything needs them.
    fn inline(&mut self) -> Read {
        if self.n_words == 0 {
            self.restart();
            return Read::Empty;
        }
        let words = self.line.text().split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        for (held, word) in self.words.iter_mut().zip(words) {
            held.add(word);
        }
        self.command()
    }

    /// Counts the words that begin in a piece of a line.
    fn count_words(&mut self, piece: &[u8]) {
        for byte in piece {
            let is_space = byte.is_ascii_whitespace();
            self.n_words += u64::from(!is_space && !self.is_in_word);
            self.is_in_word = !is_space;
        }
    }

    fn command(&mut self) -> Read {
        let [first, second, third] = &self.words;
        let name = Name::of([first.text(), second.text()], &mut self.modules);
        let effect = Effect::of(name, [second.text(), third.text()], self.n_words);
        let command = Command { name, effect, bytes: self.bytes };
        self.restart();
        Read::Command(command)
    }
}
