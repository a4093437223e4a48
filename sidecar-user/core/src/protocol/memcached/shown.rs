//! What of commands and answers may be shown: their names, what says how long values are, opaque tokens, letters of flags. Keys,
//! values and numbers are not.

use super::command;
use super::pending::Answer;
use super::reply;
use crate::model::Side;
use crate::protocol::line::number;
use crate::protocol::{TEXT, Transcript};

/// What begins no message.
pub(super) const NO_MESSAGE: u8 = 0;
const DIGIT: u8 = b'0';
/// Answers to meta commands, whose words are flags.
const META: [&[u8]; 7] = [b"HD", b"EN", b"NF", b"NS", b"EX", b"MN", b"VA"];

/// Who is told what of a side's bytes may be shown.
pub(super) struct Shown<'a> {
    pub(super) transcript: &'a mut Transcript,
    pub(super) side: Side,
}

impl Shown<'_> {
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        self.transcript.keep(self.side, bytes);
    }

    pub(super) fn hide(&mut self, n: usize, filler: u8) {
        self.transcript.hide(self.side, n as u64, filler);
    }

    /// A word of a line: its place, and the line's first.
    pub(super) fn word(&mut self, at: u32, first: &[u8], word: &[u8]) {
        if !self.transcript.is_recorded() {
            return self.hide(word.len(), TEXT);
        }
        let (n, filler) = match self.side {
            Side::Client => asked(at, first, word),
            Side::Server => answered(at, first, word),
        };
        self.keep(&word[..n]);
        self.hide(word.len() - n, filler);
    }

    /// Bytes of a value, of which with its end `left` were to come.
    pub(super) fn value(&mut self, left: u64, bytes: &[u8]) {
        let content = usize::try_from(left.saturating_sub(2)).unwrap_or(usize::MAX).min(bytes.len());
        let (content, end) = bytes.split_at(content);
        self.hide(content.len(), TEXT);
        self.transcript.sift(self.side, end, TEXT, |byte| matches!(byte, b'\r' | b'\n'));
    }
}

/// Of a command's word, how many bytes are shown, and what stands for the others.
fn asked(at: u32, first: &[u8], word: &[u8]) -> (usize, u8) {
    let all = (word.len(), TEXT);
    let Some(answer) = command::answer(first) else { return (0, TEXT) };
    match (answer, at) {
        (_, 0) => all,
        _ if word == b"noreply" => all,
        (Answer::Stored, 4) | (Answer::MetaSet, 2) if number(word).is_some() => all,
        (Answer::Stored, 2) if number(word).is_some() => (0, DIGIT),
        (Answer::MetaGet | Answer::MetaSet | Answer::MetaDelete | Answer::MetaArithmetic, 2..) => flag(word),
        _ => (0, TEXT),
    }
}

/// The same of an answer's.
fn answered(at: u32, first: &[u8], word: &[u8]) -> (usize, u8) {
    let all = (word.len(), TEXT);
    match (first, at) {
        (_, 0) if reply::is_known(word) => all,
        (_, 0) if word.starts_with(b"key=") => (4, TEXT),
        (_, 0) if word.iter().all(u8::is_ascii_digit) => (0, DIGIT),
        (b"VALUE", 3) | (b"VA", 1) if number(word).is_some() => all,
        (b"VALUE", 2 | 4) => (0, DIGIT),
        (first, 1..) if META.contains(&first) => flag(word),
        _ => (0, TEXT),
    }
}

/// A token tells which answer is whose; of the others only the letter says what they are.
fn flag(word: &[u8]) -> (usize, u8) {
    (if word.starts_with(b"O") { word.len() } else { 1 }, DIGIT)
}
