//! What of a message may be shown: its type and lengths, SQLSTATE and severity, statements without what is not in their summaries, the
//! session's database. All else is overwritten, byte by byte, so that the message is one of the same form.

use std::collections::BTreeMap;

use super::message::{self, NAME_MAX};
use super::parser::SESSION;
use crate::model::Side;
use crate::protocol::sql::{self, Dialect};
use crate::protocol::{TEXT, Transcript};

/// No message begins with it.
pub(super) const NOTHING: u8 = 0;
/// Names of statements and portals that are told apart.
const NAMES: usize = 4096;
/// What stands for them is written with these, and what comes after them.
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
const SEVERITIES: &[&[u8]] =
    &[b"ERROR", b"FATAL", b"PANIC", b"WARNING", b"NOTICE", b"DEBUG", b"INFO", b"LOG"];

/// Names by the order in which they came, of each length.
#[derive(Debug)]
pub(super) struct Names {
    by_name: BTreeMap<Box<[u8]>, u64>,
    n: [u64; NAME_MAX + 1],
}

impl Default for Names {
    fn default() -> Self {
        Names { by_name: BTreeMap::new(), n: [0; NAME_MAX + 1] }
    }
}

impl Names {
    /// Another name of the same length: always the same, and no other's.
    fn of(&mut self, name: &[u8]) -> Vec<u8> {
        let name = &name[..name.len().min(NAME_MAX)];
        let mut number = self.by_name.get(name).copied().unwrap_or_else(|| {
            let n = &mut self.n[name.len()];
            if self.by_name.len() < NAMES {
                self.by_name.insert(name.into(), *n);
            }
            *n += 1;
            *n - 1
        });
        let mut other = vec![LETTERS[0]; name.len()];
        // A name is of any bytes but NUL: so many of a length there are at most.
        for byte in other.iter_mut().rev() {
            let digit = (number % 255) as u8;
            *byte = LETTERS.get(usize::from(digit)).copied().unwrap_or_else(|| beyond_letters(digit));
            number /= 255;
        }
        other
    }

    pub(super) fn held(&self) -> usize {
        self.by_name.keys().map(|name| name.len() + 64).sum()
    }
}

/// The bytes but NUL that are no letter in lower case, in order.
fn beyond_letters(digit: u8) -> u8 {
    let byte = digit - LETTERS.len() as u8 + 1;
    if byte < LETTERS[0] { byte } else { byte + LETTERS.len() as u8 }
}

/// Tells of the whole body of a message.
pub(super) fn tell(transcript: &mut Transcript, names: &mut Names, side: Side, kind: u8, body: &[u8]) {
    let mut telling = Telling { transcript, names, side, rest: body };
    let done = match (side, kind) {
        (Side::Client, SESSION) => telling.session(),
        (Side::Client, b'Q') => telling.statement(),
        (Side::Client, b'P') => telling.parse(),
        (Side::Client, b'B') => telling.bind(),
        (Side::Client, b'D' | b'C') => telling.keep(1).and_then(|()| telling.name()),
        (Side::Client, b'E') => telling.name(),
        (Side::Server, b'Z' | b'G' | b'H' | b'W') => telling.keep(body.len()),
        (Side::Server, b'C') => telling.tag(),
        (Side::Server, b'E' | b'N') => telling.fields(),
        (Side::Server, b'T') => telling.columns(),
        (Side::Server, b'D') => telling.values(),
        (Side::Server, b't') => telling.keep(2),
        (Side::Server, b'S') => telling.texts(),
        (Side::Server, b'R') => telling.keep(4),
        (Side::Server, b'A') => telling.hide(4, NOTHING).and_then(|()| telling.texts()),
        _ => None,
    };
    let _ = done;
    let n = telling.rest.len();
    let _ = telling.hide(n, NOTHING);
}

/// A body that is gone through; what is not told of is hidden.
struct Telling<'a, 'b> {
    transcript: &'a mut Transcript,
    names: &'a mut Names,
    side: Side,
    rest: &'b [u8],
}

impl<'b> Telling<'_, 'b> {
    fn take(&mut self, n: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(taken)
    }

    fn keep(&mut self, n: usize) -> Option<()> {
        let taken = self.take(n)?;
        self.transcript.keep(self.side, taken);
        Some(())
    }

    fn hide(&mut self, n: usize, filler: u8) -> Option<()> {
        self.take(n)?;
        self.transcript.hide(self.side, n as u64, filler);
        Some(())
    }

    /// Shows others in the place of the next bytes.
    fn write(&mut self, others: &[u8]) {
        self.transcript.write(self.side, others.len() as u64, || others.to_vec());
        self.rest = &self.rest[others.len()..];
    }

    /// The next text, without the NUL that ends it.
    fn text(&self) -> Option<&'b [u8]> {
        message::text(self.rest).map(|(text, _)| text)
    }

    /// Shows the next text if it is one of these.
    fn text_if(&mut self, is_shown: impl FnOnce(&[u8]) -> bool) -> Option<()> {
        let text = self.text()?;
        match is_shown(text) {
            true => self.keep(text.len())?,
            false => self.hide(text.len(), TEXT)?,
        }
        self.keep(1)
    }

    fn texts(&mut self) -> Option<()> {
        while self.text().is_some() {
            self.text_if(|_| false)?;
        }
        Some(())
    }

    /// A number of two bytes.
    fn count(&mut self) -> Option<usize> {
        let count = self.rest.first_chunk().map(|count| u16::from_be_bytes(*count))?;
        self.keep(2)?;
        Some(count.into())
    }

    /// Of a session's parameters, its database.
    fn session(&mut self) -> Option<()> {
        let database = message::database(self.rest).map(str::as_bytes);
        while let Some(name) = self.text().filter(|name| !name.is_empty()) {
            let is_database = name == b"database";
            self.text_if(|_| is_database)?;
            self.text_if(|value| is_database && database == Some(value))?;
        }
        self.keep(1)
    }

    fn name(&mut self) -> Option<()> {
        let name = self.text()?;
        let other = self.names.of(name);
        self.write(&other);
        self.hide(name.len() - other.len(), TEXT)?;
        self.keep(1)
    }

    fn statement(&mut self) -> Option<()> {
        let text = self.text()?;
        self.write(&sql::shown(text, Dialect::PostgreSql));
        self.keep(1)
    }

    fn parse(&mut self) -> Option<()> {
        self.name()?;
        self.statement()?;
        self.count().map(drop)
    }

    fn bind(&mut self) -> Option<()> {
        self.name()?;
        self.name()?;
        self.formats()?;
        self.values()?;
        self.formats()
    }

    fn formats(&mut self) -> Option<()> {
        let count = self.count()?;
        self.keep(2 * count)
    }

    /// Lengths without what they are of.
    fn values(&mut self) -> Option<()> {
        for _ in 0..self.count()? {
            let len = self.rest.first_chunk().map(|len| i32::from_be_bytes(*len))?;
            self.keep(4)?;
            self.hide(usize::try_from(len).unwrap_or(0), TEXT)?;
        }
        Some(())
    }

    fn tag(&mut self) -> Option<()> {
        let body = self.rest;
        if !message::is_tag(body) {
            return self.texts();
        }
        let is_returned = message::returned(body).is_some();
        let is_shown = |byte: u8| is_returned || !byte.is_ascii_digit();
        self.transcript.sift(self.side, body, b'0', is_shown);
        self.rest = b"";
        Some(())
    }

    fn fields(&mut self) -> Option<()> {
        while let Some((kind, text)) = self.text()?.split_first() {
            let (kind, len) = (*kind, text.len());
            self.keep(1)?;
            let is_code = |byte: &u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
            self.text_if(|text| match kind {
                b'S' | b'V' => SEVERITIES.contains(&text),
                b'C' => len == 5 && text.iter().all(is_code),
                _ => false,
            })?;
        }
        self.keep(1)
    }

    /// What rows are of: how many columns.
    fn columns(&mut self) -> Option<()> {
        /// Table, column, type, size, modifier, format.
        const FIELD: usize = 18;
        for _ in 0..self.count()? {
            self.text_if(|_| false)?;
            self.hide(FIELD, NOTHING)?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_names_are_no_others() {
        let mut names = Names::default();
        let mut seen = std::collections::BTreeSet::new();
        for byte in 1..=255u8 {
            let other = names.of(&[byte]);
            assert!(!other.contains(&0) && seen.insert(other), "{byte}");
        }
        for n in 0..3000u32 {
            let other = names.of(format!("s{n:04}").as_bytes());
            assert!(other.len() == 5 && seen.insert(other), "{n}");
        }
        assert_eq!(names.of(b"s0001"), names.of(b"s0001"));
        assert_eq!((names.of(b""), names.of(&[b'a'; 100]).len()), (Vec::new(), NAME_MAX));
    }
}
