//! A line of words as it comes. Words are not kept: the first is, numbers are, and of the rest what is asked for by rules.

use std::hash::{Hash as _, Hasher as _};

use rustc_hash::FxHasher;

use super::shown::Shown;
use crate::protocol::TEXT;
use crate::protocol::line::number;

/// Bytes of a word that are held while it comes: an opaque token's most, with its flag.
const HELD: usize = 36;
/// Words whose numbers are kept.
const NUMBERS: usize = 6;
/// The longest line that is followed. memcached takes 2 KiB, and for retrievals as much as comes.
const LINE_MAX: u64 = 1 << 20;
/// The longest key (`KEY_MAX_LENGTH`).
const KEY_MAX: u32 = 250;

/// A line, so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    held: Held,
    /// Bytes of the word that is coming.
    len: u32,
    /// The first word.
    first: Held,
    /// Words that are whole.
    pub(super) n: u32,
    /// Bytes so far.
    pub(super) bytes: u64,
    /// Words that are numbers, by their place.
    pub(super) numbers: [Option<u64>; NUMBERS],
    /// Some word is longer than any key.
    pub(super) has_long: bool,
    /// The last word is `noreply`.
    pub(super) is_noreply: bool,
    /// A flag of a meta command: `q`.
    pub(super) is_quiet: bool,
    /// The same: an opaque token, by its hash.
    pub(super) opaque: Option<u64>,
    is_returned: bool,
    /// Bytes of the word that is coming that nobody was told of yet.
    untold: usize,
}

/// The beginning of a word.
#[derive(Clone, Copy, Debug)]
struct Held {
    bytes: [u8; HELD],
    len: u8,
}

impl Default for Held {
    fn default() -> Self {
        Held { bytes: [0; HELD], len: 0 }
    }
}

impl Held {
    fn text(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// What came of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    More,
    Whole,
    /// It has what no line has, or no end.
    Malformed,
}

impl Words {
    /// Takes from the beginning of `bytes` what belongs to the line; says how many those are. Words are flags from this place on.
    pub(super) fn take(&mut self, bytes: &[u8], flags_from: usize, shown: &mut Shown<'_>) -> (usize, Line) {
        for (at, byte) in bytes.iter().enumerate() {
            let used = at + 1;
            let is_returned = std::mem::replace(&mut self.is_returned, *byte == b'\r');
            match byte {
                b'\n' => {
                    self.end_word(flags_from, shown);
                    shown.keep(&[*byte]);
                    self.bytes += used as u64;
                    return (used, Line::Whole);
                }
                _ if is_returned => return (used, Line::Malformed),
                b' ' | b'\r' => {
                    self.end_word(flags_from, shown);
                    shown.keep(&[*byte]);
                }
                0..0x20 | 0x7f => return (used, Line::Malformed),
                byte => {
                    self.len = self.len.saturating_add(1);
                    if let Some(place) = self.held.bytes.get_mut(usize::from(self.held.len)) {
                        *place = *byte;
                        self.held.len += 1;
                    }
                    self.untold += 1;
                    if self.len as usize > HELD {
                        shown.hide(std::mem::take(&mut self.untold), TEXT);
                    }
                }
            }
        }
        self.bytes += bytes.len() as u64;
        (bytes.len(), if self.bytes > LINE_MAX { Line::Malformed } else { Line::More })
    }

    /// The first word, as far as it is held.
    pub(super) fn first(&self) -> &[u8] {
        if self.n == 0 { self.held.text() } else { self.first.text() }
    }

    /// Nobody will be told more of what came so far.
    pub(super) fn forget(&mut self) {
        self.untold = 0;
    }

    fn end_word(&mut self, flags_from: usize, shown: &mut Shown<'_>) {
        if self.len == 0 {
            return;
        }
        let text = self.held.text();
        let at = self.n as usize;
        match std::mem::take(&mut self.untold) {
            untold if untold == self.len as usize => shown.word(self.n, self.first(), text),
            untold => shown.hide(untold, TEXT),
        }
        self.has_long |= self.len > KEY_MAX;
        self.is_noreply = text == b"noreply";
        if at == 0 {
            self.first = self.held;
        } else if at >= flags_from {
            self.is_quiet |= text == b"q";
            if text[0] == b'O' && self.len as usize <= HELD {
                let mut hasher = FxHasher::default();
                text.hash(&mut hasher);
                self.opaque = Some(hasher.finish());
            }
        }
        if let Some(place) = self.numbers.get_mut(at) {
            *place = number(text).filter(|_| self.len as usize <= HELD);
        }
        self.n += 1;
        self.held.len = 0;
        self.len = 0;
    }
}
