//! The server's side: values of RESP2 and RESP3, nested as they may be. What they hold passes by; kept is of which kind they
//! are, an error's first word, and what tells messages from answers.

use super::name::Verb;
use super::shown;
use super::table::{INTEGER, MANY, NULL, OTHER, SIMPLE, TEXT};
use crate::model::{Ktime, Side};
use crate::protocol::line::{Line, number};
use crate::protocol::{TEXT as HIDDEN, Transcript};

/// Levels of values in values.
const DEPTH: usize = 128;
/// The longest line of a length or number; of a big number it is not held.
const NUMBER: u64 = 64;
/// The longest first word of an error that is kept.
const ERROR: usize = 32;
/// The longest first word of a message that means anything, and one.
const VERB: usize = 16;

/// A value that was read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    /// When its first and its last byte passed.
    pub(super) began: Ktime,
    pub(super) ended: Ktime,
    /// Its kind, by the numbers of the table.
    pub(super) kind: u8,
    /// What it is besides.
    pub(super) what: What,
    /// The first word of the first error in it, where it is a word in capitals.
    pub(super) error: Option<Box<str>>,
    /// Some value in it is an error.
    pub(super) has_error: bool,
    /// Values in it.
    pub(super) n: u32,
    /// The last number in it.
    pub(super) number: u64,
    /// Bytes on the wire, and those of the last value in it.
    pub(super) bytes: u64,
    pub(super) content: u64,
    /// It is told out of turn (RESP3).
    pub(super) is_push: bool,
}

/// What tells values apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Nothing.
    Plain,
    /// `OK`
    Ok,
    /// `PONG`
    Pong,
    /// `QUEUED`
    Queued,
    /// A line of `MONITOR`.
    Monitored,
    /// It is an error.
    Error,
    /// An error: the command is not known.
    UnknownCommand,
    /// Something published: `message` and its like.
    Message,
    /// Subscribed, or no more; how much is subscribed to is its number.
    Confirmed(Verb),
}

/// What came of bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    More,
    Value(Value),
    Malformed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before a value, or in its first line.
    Line,
    /// In what has a length, with so many bytes to come, and its end after them.
    Content(u64),
    /// In that end.
    End,
}

/// Something that holds values.
#[derive(Clone, Copy, Debug)]
struct Level {
    /// Values that have not come; `None`: as many as there are before its end.
    left: Option<u64>,
    /// It says something of the value after it, and is none itself.
    is_attribute: bool,
}

/// Reads values.
#[derive(Debug)]
pub(super) struct Values {
    place: Place,
    line: Line,
    levels: Vec<Level>,
    /// What is read is a piece of a string whose length is not told before.
    is_piece: bool,
    bytes: u64,
    value: Value,
    /// The first value in it, as far as it may be a verb.
    first: ([u8; VERB], u8),
    n_begun: u64,
    /// Bytes of the line or string that is coming that nobody was told of yet.
    untold: u64,
}

impl Value {
    fn new(at: Ktime) -> Self {
        Value {
            began: at,
            ended: at,
            kind: 0,
            what: What::Plain,
            error: None,
            has_error: false,
            n: 0,
            number: 0,
            bytes: 0,
            content: 0,
            is_push: false,
        }
    }
}

impl Values {
    pub(super) fn new() -> Self {
        Values {
            place: Place::Line,
            line: Line::default(),
            levels: Vec::new(),
            is_piece: false,
            bytes: 0,
            value: Value::new(Ktime::default()),
            first: ([0; VERB], 0),
            n_begun: 0,
            untold: 0,
        }
    }

    /// When the value began that is being read; whether one is.
    pub(super) fn begun(&self) -> Option<Ktime> {
        (self.bytes > 0).then_some(self.value.began)
    }

    /// What is being read is told out of turn.
    pub(super) fn is_push(&self) -> bool {
        self.value.is_push
    }

    /// Bytes of content that are to come, without its end.
    pub(super) fn left(&self) -> u64 {
        if let Place::Content(left) = self.place { left } else { 0 }
    }

    pub(super) fn held(&self) -> usize {
        self.levels.capacity() * size_of::<Level>()
    }

    /// Takes from the beginning of `bytes` what belongs to one value; says how many those are.
    pub(super) fn take(&mut self, at: Ktime, bytes: &[u8], transcript: &mut Transcript) -> (usize, Read) {
        if self.bytes == 0 {
            self.value = Value::new(at);
        }
        if let Place::Content(left) = self.place {
            let used = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            self.add_to_first(&bytes[..used]);
            self.pass(used as u64);
            self.untold += used as u64;
            self.tell_content(transcript);
            return (used, Read::More);
        }
        let was_held = self.line.is_held();
        let taken = self.line.take(bytes);
        self.bytes += taken.used as u64;
        self.untold += taken.used as u64;
        if !self.line.is_held() {
            self.tell_long(was_held, &bytes[..taken.used], transcript);
        }
        if !taken.is_whole {
            let is_text = self.line.begins_with(b"+-(,");
            let is_long = self.line.len() > NUMBER && !is_text;
            return (taken.used, if is_long { Read::Malformed } else { Read::More });
        }
        let untold = std::mem::take(&mut self.untold);
        let line = transcript.is_recorded().then(|| (self.line.held(), self.is_counted()));
        let is_read = match self.place {
            Place::Line => self.first_line(),
            Place::Content(_) | Place::End => {
                self.place = Place::Line;
                (self.line.len() == 2 && self.line.is_proper()).then(|| self.is_piece || self.is_whole())
            }
        };
        self.line = Line::default();
        match (is_read, line) {
            (None, _) => self.untold = untold,
            (_, None) => transcript.hide(Side::Server, untold, HIDDEN),
            (_, Some(((line, len), is_counted))) => {
                let line = &line[..len.min(untold as usize)];
                tell(line, shown::value(line, is_counted), transcript);
            }
        }
        match is_read {
            None => (taken.used, Read::Malformed),
            Some(true) if !self.is_piece && self.levels.is_empty() => (taken.used, self.finish(at)),
            Some(_) => (taken.used, Read::More),
        }
    }

    /// Nobody will be told more of what came so far.
    pub(super) fn forget(&mut self) {
        self.untold = 0;
    }

    /// The number that comes is how much is subscribed to.
    fn is_counted(&self) -> bool {
        let first = &self.first.0[..usize::from(self.first.1)];
        self.depth() == 1 && self.n_begun > 1 && Verb::of(first).is_some()
    }

    /// What of a string may be shown, once it is whole or too long to mean anything.
    fn tell_content(&mut self, transcript: &mut Transcript) {
        let first = &self.first.0[..usize::from(self.first.1)];
        let may_be_verb = self.n_begun == 1 && self.depth() == 1 && self.untold <= first.len() as u64;
        let is_whole = self.place == Place::End;
        if may_be_verb && !is_whole && first.len() < VERB {
            return;
        }
        let is_all = may_be_verb && is_whole && self.untold == first.len() as u64;
        if is_all && shown::is_verb(first) {
            transcript.keep(Side::Server, first);
        } else {
            transcript.hide(Side::Server, self.untold, HIDDEN);
        }
        self.untold = 0;
    }

    /// More of a line than is held came.
    fn tell_long(&mut self, was_held: bool, piece: &[u8], transcript: &mut Transcript) {
        // What is not held of a line decides nothing.
        let (held, _) = self.line.held();
        let (n, filler) = shown::value(&held[..held.len() - 1], false);
        let n_before = std::mem::take(&mut self.untold) as usize - piece.len();
        let n_shown = if was_held { n.saturating_sub(n_before) } else { 0 };
        tell(&held[..n_before], (n, filler), transcript);
        tell(piece, (n_shown, filler), transcript);
    }

    /// `n` bytes passed; says how many of them are of the content that they begin in.
    pub(super) fn pass(&mut self, n: u64) -> u64 {
        let Place::Content(left) = &mut self.place else { return 0 };
        let passed = n.min(*left);
        *left -= passed;
        if *left == 0 {
            self.place = Place::End;
        }
        self.bytes = self.bytes.saturating_add(passed);
        passed
    }

    /// A value's first line. Says whether the value that was begun outermost is whole, `None` if this is none.
    fn first_line(&mut self) -> Option<bool> {
        if !self.line.is_proper() {
            return None;
        }
        let line = std::mem::take(&mut self.line);
        let (kind, text) = line.text().split_first()?;
        if self.is_piece {
            return self.piece(*kind, text);
        }
        if *kind == b'.' {
            return self.end_of_stream(text);
        }
        let is_attribute = *kind == b'|';
        let depth = self.depth();
        if !is_attribute {
            self.value.content = if depth <= 1 { 0 } else { self.value.content };
            self.n_begun += u64::from(depth == 1);
        }
        match kind {
            b'+' => {
                self.note(depth, SIMPLE);
                self.simple(depth, text);
                self.value.content += line.content() - 1;
            }
            b'-' => self.error(depth, text),
            b':' => {
                let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
                let number = number(digits).or_else(|| is_number(digits).then_some(0))?;
                self.note(depth, INTEGER);
                self.value.number = if depth == 1 { number } else { self.value.number };
            }
            b'_' if text.is_empty() => self.note(depth, NULL),
            b'#' if matches!(text, b"t" | b"f") => self.note(depth, OTHER),
            b',' if !text.is_empty() => self.note(depth, TEXT),
            b'(' if is_number(text.strip_prefix(b"-").unwrap_or(text)) => self.note(depth, TEXT),
            b'$' | b'!' | b'=' => return self.blob(depth, *kind, text),
            b'*' | b'~' | b'>' | b'%' | b'|' => return self.aggregate(depth, *kind, text),
            _ => return None,
        }
        Some(self.is_whole())
    }

    /// A string with a length.
    fn blob(&mut self, depth: usize, kind: u8, text: &[u8]) -> Option<bool> {
        if (kind, text) == (b'$', b"-1") {
            self.note(depth, NULL);
            return Some(self.is_whole());
        }
        self.note(depth, TEXT);
        if kind == b'!' {
            self.error(depth, b"");
        }
        if (kind, text) == (b'$', b"?") {
            self.is_piece = true;
            return Some(false);
        }
        let length = number(text)?;
        self.value.content = self.value.content.saturating_add(length);
        self.place = if length == 0 { Place::End } else { Place::Content(length) };
        Some(false)
    }

    /// A piece of a string without a length; the last one is empty.
    fn piece(&mut self, kind: u8, text: &[u8]) -> Option<bool> {
        match number(text).filter(|_| kind == b';')? {
            0 => {
                self.is_piece = false;
                Some(self.is_whole())
            }
            length => {
                self.value.content = self.value.content.saturating_add(length);
                self.place = Place::Content(length);
                Some(false)
            }
        }
    }

    fn aggregate(&mut self, depth: usize, kind: u8, text: &[u8]) -> Option<bool> {
        if (kind, text) == (b'*', b"-1") {
            self.note(depth, NULL);
            return Some(self.is_whole());
        }
        let is_attribute = kind == b'|';
        if kind == b'>' && depth > 0 {
            return None;
        }
        let per_entry = if matches!(kind, b'%' | b'|') { 2 } else { 1 };
        let left = if text == b"?" && !is_attribute && kind != b'>' {
            None
        } else {
            Some(number(text).filter(|n| *n <= i32::MAX as u64)? * per_entry)
        };
        if !is_attribute {
            self.note(depth, MANY);
        }
        if depth == 0 && !is_attribute {
            self.value.is_push = kind == b'>';
            self.value.n = left.map_or(0, |n| u32::try_from(n).unwrap_or(u32::MAX));
        }
        match left {
            Some(0) if is_attribute => Some(false),
            Some(0) => Some(self.is_whole()),
            _ if self.levels.len() >= DEPTH => None,
            left => {
                self.levels.push(Level { left, is_attribute });
                Some(false)
            }
        }
    }

    /// The end of what did not tell how many values it holds.
    fn end_of_stream(&mut self, text: &[u8]) -> Option<bool> {
        if !text.is_empty() || self.levels.last()?.left.is_some() {
            return None;
        }
        self.levels.pop();
        Some(self.is_whole())
    }

    /// Values that the next is in, attributes not counted: in one it is deeper than any.
    fn depth(&self) -> usize {
        if self.levels.iter().any(|level| level.is_attribute) { DEPTH } else { self.levels.len() }
    }

    fn note(&mut self, depth: usize, kind: u8) {
        if depth == 0 {
            self.value.kind = kind;
        }
    }

    fn simple(&mut self, depth: usize, text: &[u8]) {
        if depth == 1 && self.n_begun == 1 {
            self.add_to_first(text);
        }
        if depth == 0 {
            self.value.what = match text {
                b"OK" => What::Ok,
                b"PONG" => What::Pong,
                b"QUEUED" => What::Queued,
                _ if is_monitored(text) => What::Monitored,
                _ => What::Plain,
            };
        }
    }

    fn error(&mut self, depth: usize, text: &[u8]) {
        self.note(depth, OTHER);
        if depth == 0 {
            let is_unknown = text.starts_with(b"ERR unknown command");
            self.value.what = if is_unknown { What::UnknownCommand } else { What::Error };
        }
        // What an attribute says is no answer.
        if depth < DEPTH && !std::mem::replace(&mut self.value.has_error, true) {
            self.value.error = word(text);
        }
    }

    /// What comes of the first value in the outermost one.
    fn add_to_first(&mut self, bytes: &[u8]) {
        if self.n_begun == 1 && self.depth() == 1 {
            let at = usize::from(self.first.1);
            let room = (VERB - at).min(bytes.len());
            self.first.0[at..at + room].copy_from_slice(&bytes[..room]);
            self.first.1 += room as u8;
        }
    }

    /// A value is over: so may be those that it is in. Says whether the outermost is.
    fn is_whole(&mut self) -> bool {
        while let Some(level) = self.levels.last_mut() {
            let Some(left) = &mut level.left else { return false };
            *left -= 1;
            if *left > 0 {
                return false;
            }
            let is_attribute = level.is_attribute;
            self.levels.pop();
            if is_attribute {
                return false;
            }
        }
        true
    }

    fn finish(&mut self, at: Ktime) -> Read {
        let mut value = std::mem::replace(&mut self.value, Value::new(at));
        let first = &self.first.0[..usize::from(self.first.1)];
        if value.kind == MANY {
            value.what = match first {
                b"message" | b"smessage" if value.n == 3 => What::Message,
                b"pmessage" if value.n == 4 => What::Message,
                _ if value.n == 3 => Verb::of(first).map_or(What::Plain, What::Confirmed),
                _ => What::Plain,
            };
        }
        (value.ended, value.bytes) = (at, self.bytes);
        let levels = std::mem::take(&mut self.levels);
        *self = Values { levels, ..Values::new() };
        Read::Value(value)
    }
}

/// So many bytes of a line, and its end, are shown.
fn tell(line: &[u8], (n, filler): (usize, u8), transcript: &mut Transcript) {
    let (shown, rest) = line.split_at(n.min(line.len()));
    transcript.keep(Side::Server, shown);
    transcript.sift(Side::Server, rest, filler, |byte| matches!(byte, b'\r' | b'\n'));
}

/// An error's first word, if it is one in capitals: what scripts make up may have anything in it.
pub(super) fn word(text: &[u8]) -> Option<Box<str>> {
    let word = text.split(|byte| *byte == b' ').next()?;
    let is_word = word.len() >= 2
        && word.len() <= ERROR
        && word[0].is_ascii_uppercase()
        && word.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_');
    std::str::from_utf8(word).ok().filter(|_| is_word).map(Into::into)
}

fn is_number(digits: &[u8]) -> bool {
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// `1339518083.107412 [0 127.0.0.1:60866] "keys" "*"`
pub(super) fn is_monitored(text: &[u8]) -> bool {
    let mut parts = text.splitn(3, |byte| *byte == b' ');
    let time = parts.next().and_then(|time| std::str::from_utf8(time).ok()?.split_once('.'));
    time.is_some_and(|(seconds, rest)| is_number(seconds.as_bytes()) && is_number(rest.as_bytes()))
        && parts.next().is_some_and(|part| part.starts_with(b"["))
}
