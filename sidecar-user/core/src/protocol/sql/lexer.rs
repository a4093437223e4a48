//! Bytes of SQL to tokens, in any pieces. Of literals and comments nothing is kept.
//!
//! Where a text can be read in two ways, by settings of a server that are not known here, it is not understood: what looks like
//! a name may be inside of a literal.

use std::ops::Range;

use super::{Dialect, SUMMARY_MAX};

/// A token. Comments and white space are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A word without quotes: keyword or name.
    Word(&'a str),
    /// A name in quotes, with them.
    Name(&'a str),
    /// A name that cannot be shown: too long, no UTF-8, or with control characters.
    Hidden,
    /// A literal or a parameter.
    Literal,
    /// Anything else.
    Symbol(u8),
}

/// The greatest version of `/*!NNNNN */` that every server of today executes: MySQL 5.5. MariaDB 10 leaves out some of
/// later ones.
const EXECUTED_BY_ALL: u32 = 50_500;

#[derive(Debug)]
pub(super) struct Lexer {
    dialect: Dialect,
    state: State,
    /// The word, name or tag that is being read; no more than [`SUMMARY_MAX`] and one byte.
    held: Vec<u8>,
    /// Inside `/*! */`, whose content is executed.
    is_executed: bool,
    text: Utf8,
    /// Where in the text it is, and where what it reads began.
    at: usize,
    begun: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Between,
    Word,
    /// `U&`, of PostgreSQL's names and strings with Unicode escapes.
    Unicode,
    Number,
    Quoted(Quoted),
    Minus,
    /// `--`, which is a comment of MySQL's only before white space.
    TwoMinus,
    LineComment,
    Slash,
    /// `/*`, of MySQL.
    Opened,
    /// `/*!`, and the version so far.
    Version {
        digits: u8,
        version: u32,
    },
    Star,
    Comment {
        depth: u32,
        last: u8,
    },
    /// `$` and, held, the tag so far.
    Tag,
    /// In a string between two tags; so much of the second was seen.
    Dollars {
        matched: usize,
    },
    /// Not understood: nothing is read any more.
    Lost,
}

/// Inside of quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Quoted {
    quote: u8,
    is_name: bool,
    backslash: Backslash,
    /// The last byte was a backslash that takes the next one's meaning, or may.
    is_escaped: bool,
    /// The last byte was the quote: the end, unless another follows.
    is_closing: bool,
}

/// What a backslash before a quote means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backslash {
    /// Nothing.
    Plain,
    /// The quote does not end the literal.
    Escapes,
    /// One or the other, by `standard_conforming_strings`.
    Either,
}

impl Lexer {
    pub(super) fn new(dialect: Dialect) -> Self {
        Lexer {
            dialect,
            state: State::Between,
            held: Vec::new(),
            is_executed: false,
            text: Utf8::default(),
            at: 0,
            begun: 0,
        }
    }

    /// Gives `out` each token, and where in the text it is.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut impl FnMut(Token<'_>, Range<usize>)) {
        for byte in bytes {
            if self.text.is_misread(*byte, self.dialect) {
                self.state = State::Lost;
            }
            if self.state == State::Lost {
                return;
            }
            // A byte may end a token, and then be looked at again.
            while !self.take(*byte, out) {}
            self.at += 1;
        }
    }

    /// The end of the text. Says whether it was understood.
    pub(super) fn finish(&mut self, out: &mut impl FnMut(Token<'_>, Range<usize>)) -> bool {
        match self.state {
            State::Between | State::TwoMinus | State::LineComment => {}
            // Any byte that belongs to no token ends one.
            _ => while !self.take(b'\n', out) {},
        }
        !self.is_executed && matches!(self.state, State::Between | State::TwoMinus | State::LineComment)
    }

    pub(super) fn is_understood(&self) -> bool {
        self.state != State::Lost
    }

    pub(super) fn held(&self) -> usize {
        self.held.capacity()
    }

    fn is_mysql(&self) -> bool {
        self.dialect != Dialect::PostgreSql
    }

    /// Looks at a byte. `false`: it ended what was being read, and is not taken.
    fn take(&mut self, byte: u8, out: &mut impl FnMut(Token<'_>, Range<usize>)) -> bool {
        match self.state {
            State::Between => self.begin(byte, out),
            State::Word if is_word(byte) => self.hold(byte),
            State::Word => return self.end_word(byte, out),
            State::Unicode if byte == b'"' => {
                self.hold(byte);
                self.quoted(byte, true, Backslash::Plain);
            }
            State::Unicode if byte == b'\'' => self.quoted(byte, false, Backslash::Either),
            State::Unicode => {
                self.held.pop();
                self.emit_word(self.begun + 1, out);
                out(Token::Symbol(b'&'), self.begun + 1..self.begun + 2);
                return self.again();
            }
            State::Number if is_word(byte) || byte == b'.' => {}
            State::Number => {
                out(Token::Literal, self.begun..self.at);
                return self.again();
            }
            State::Quoted(quoted) => return self.take_quoted(quoted, byte, out),
            State::Minus if byte == b'-' && self.is_mysql() => self.state = State::TwoMinus,
            State::Minus if byte == b'-' => self.state = State::LineComment,
            State::Minus => {
                out(Token::Symbol(b'-'), self.begun..self.begun + 1);
                return self.again();
            }
            State::TwoMinus if byte <= b' ' => {
                self.state = State::LineComment;
                return false;
            }
            State::TwoMinus => {
                out(Token::Symbol(b'-'), self.begun..self.begun + 1);
                out(Token::Symbol(b'-'), self.begun + 1..self.begun + 2);
                return self.again();
            }
            State::LineComment if matches!(byte, b'\n' | b'\r') => self.state = State::Between,
            State::LineComment => {}
            State::Slash if byte == b'*' && self.is_mysql() => self.state = State::Opened,
            State::Slash if byte == b'*' => self.state = State::Comment { depth: 1, last: 0 },
            State::Slash => {
                out(Token::Symbol(b'/'), self.begun..self.begun + 1);
                return self.again();
            }
            State::Opened if byte == b'!' => self.state = State::Version { digits: 0, version: 0 },
            // `/*M!`: MariaDB executes it, MySQL does not.
            State::Opened if byte == b'M' => self.state = State::Comment { depth: 1, last: b'M' },
            State::Opened => {
                self.state = State::Comment { depth: 1, last: 0 };
                return false;
            }
            State::Version { digits, version } if byte.is_ascii_digit() && digits < 6 => {
                let version = version * 10 + u32::from(byte - b'0');
                self.state = State::Version { digits: digits + 1, version };
            }
            State::Version { version, .. } if version > EXECUTED_BY_ALL || self.is_executed => {
                self.state = State::Lost;
            }
            State::Version { .. } => {
                self.is_executed = true;
                return self.again();
            }
            State::Star if byte == b'/' => {
                self.is_executed = false;
                self.state = State::Between;
            }
            State::Star => {
                out(Token::Symbol(b'*'), self.begun..self.begun + 1);
                return self.again();
            }
            State::Comment { last: b'M', .. } if byte == b'!' => self.state = State::Lost,
            State::Comment { depth, last } => self.comment(depth, last, byte),
            State::Tag => return self.take_tag(byte, out),
            State::Dollars { matched } => self.in_dollars(matched, byte, out),
            State::Lost => {}
        }
        true
    }

    /// A byte between two tokens.
    fn begin(&mut self, byte: u8, out: &mut impl FnMut(Token<'_>, Range<usize>)) {
        let is_mysql = self.is_mysql();
        self.held.clear();
        self.begun = self.at;
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => {}
            b'\'' => self.string(byte),
            b'"' if is_mysql => self.string(byte),
            b'"' => self.name(byte),
            b'`' if is_mysql => self.name(byte),
            b'0'..=b'9' => self.state = State::Number,
            b'$' if !is_mysql => {
                self.hold(byte);
                self.state = State::Tag;
            }
            b'-' => self.state = State::Minus,
            b'/' => self.state = State::Slash,
            b'#' if is_mysql => self.state = State::LineComment,
            b'*' if self.is_executed => self.state = State::Star,
            _ if is_word(byte) => {
                self.hold(byte);
                self.state = State::Word;
            }
            _ => out(Token::Symbol(byte), self.at..self.at + 1),
        }
    }

    fn again(&mut self) -> bool {
        self.state = State::Between;
        false
    }

    fn string(&mut self, quote: u8) {
        let backslash = match self.dialect {
            Dialect::PostgreSql => Backslash::Either,
            Dialect::MySql => Backslash::Escapes,
            Dialect::MySqlNoBackslash => Backslash::Plain,
        };
        self.quoted(quote, false, backslash);
    }

    fn name(&mut self, quote: u8) {
        self.hold(quote);
        self.quoted(quote, true, Backslash::Plain);
    }

    fn quoted(&mut self, quote: u8, is_name: bool, backslash: Backslash) {
        let quoted = Quoted { quote, is_name, backslash, is_escaped: false, is_closing: false };
        self.state = State::Quoted(quoted);
    }

    fn hold(&mut self, byte: u8) {
        if self.held.len() <= SUMMARY_MAX {
            self.held.push(byte);
        }
    }

    fn end_word(&mut self, byte: u8, out: &mut impl FnMut(Token<'_>, Range<usize>)) -> bool {
        let is_pg = !self.is_mysql();
        match (byte, self.held.as_slice()) {
            (b'&', b"u" | b"U") if is_pg => {
                self.hold(byte);
                self.state = State::Unicode;
                return true;
            }
            (b'\'', b"e" | b"E") if is_pg => {
                self.quoted(byte, false, Backslash::Escapes);
                return true;
            }
            // Bits, bytes, and strings of the national character set.
            (b'\'', b"b" | b"B" | b"x" | b"X" | b"n" | b"N") => {}
            _ => self.emit_word(self.at, out),
        }
        self.again()
    }

    fn emit_word(&mut self, end: usize, out: &mut impl FnMut(Token<'_>, Range<usize>)) {
        let span = self.begun..end;
        match shown(&self.held) {
            Some(word) => out(Token::Word(word), span),
            None => out(Token::Hidden, span),
        }
    }

    fn take_quoted(
        &mut self,
        quoted: Quoted,
        byte: u8,
        out: &mut impl FnMut(Token<'_>, Range<usize>),
    ) -> bool {
        let Quoted { quote, is_name, backslash, is_escaped, is_closing } = quoted;
        let mut next = Quoted { is_escaped: false, is_closing: false, ..quoted };
        match byte {
            _ if is_closing && byte == quote => {}
            _ if is_closing => {
                let span = self.begun..self.at;
                match shown(&self.held).filter(|_| is_name) {
                    Some(name) => out(Token::Name(name), span),
                    None => out(if is_name { Token::Hidden } else { Token::Literal }, span),
                }
                return self.again();
            }
            _ if is_escaped && byte == quote && backslash == Backslash::Either => {
                self.state = State::Lost;
                return true;
            }
            _ if is_escaped => {}
            b'\\' if backslash != Backslash::Plain => next.is_escaped = true,
            _ => next.is_closing = byte == quote,
        }
        if is_name {
            self.hold(byte);
        }
        self.state = State::Quoted(next);
        true
    }

    fn comment(&mut self, depth: u32, last: u8, byte: u8) {
        self.state = match (last, byte) {
            (b'*', b'/') if depth == 1 => State::Between,
            (b'*', b'/') => State::Comment { depth: depth - 1, last: 0 },
            (b'/', b'*') if !self.is_mysql() => State::Comment { depth: depth.saturating_add(1), last: 0 },
            _ => State::Comment { depth, last: byte },
        };
    }

    fn take_tag(&mut self, byte: u8, out: &mut impl FnMut(Token<'_>, Range<usize>)) -> bool {
        match byte {
            _ if self.held.len() > SUMMARY_MAX => self.state = State::Lost,
            b'$' => {
                self.hold(byte);
                self.state = State::Dollars { matched: 0 };
            }
            b'0'..=b'9' if self.held.len() == 1 => self.state = State::Number,
            _ if is_word(byte) => self.hold(byte),
            _ => {
                out(Token::Hidden, self.begun..self.at);
                return self.again();
            }
        }
        true
    }

    fn in_dollars(&mut self, matched: usize, byte: u8, out: &mut impl FnMut(Token<'_>, Range<usize>)) {
        // A tag has no dollar in it, so that a match that fails can begin anew only with this byte.
        let matched = match self.held.get(matched) {
            Some(next) if *next == byte => matched + 1,
            _ => usize::from(byte == b'$'),
        };
        self.state = State::Dollars { matched };
        if matched == self.held.len() {
            out(Token::Literal, self.begun..self.at + 1);
            self.state = State::Between;
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..)
}

/// A name as it can be shown.
fn shown(held: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(held).ok()?;
    (name.len() <= SUMMARY_MAX && !name.chars().any(char::is_control)).then_some(name)
}

/// Whether a text is UTF-8. In other encodings, a backslash or a back-tick may be half of a character.
#[derive(Debug, Default)]
struct Utf8 {
    missing: u8,
    is_broken: bool,
    is_high: bool,
}

impl Utf8 {
    /// Notes a byte. Says whether it may be half of a character, and does not look like it.
    fn is_misread(&mut self, byte: u8, dialect: Dialect) -> bool {
        let was_high = std::mem::replace(&mut self.is_high, byte >= 0x80);
        if byte < 0x80 {
            self.is_broken |= std::mem::take(&mut self.missing) > 0;
            let is_half = byte == b'\\' || byte == b'`' && dialect != Dialect::PostgreSql;
            return is_half && was_high && self.is_broken;
        }
        match (self.missing, byte) {
            (1.., 0x80..=0xbf) => self.missing -= 1,
            (missing, _) => {
                self.is_broken |= missing > 0 || !(0xc2..=0xf4).contains(&byte);
                self.missing = match byte {
                    0xc2..=0xdf => 1,
                    0xe0..=0xef => 2,
                    0xf0..=0xf4 => 3,
                    _ => 0,
                };
            }
        }
        false
    }
}
