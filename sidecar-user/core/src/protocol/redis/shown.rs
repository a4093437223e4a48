//! What of commands and answers may be shown: names of commands, what says how many and how long words are, and the first word of
//! an error. Keys and values are not, nor numbers, nor what a server tells in words of its own.

use super::name::{Modules, Name, Verb};
use super::value::{is_monitored, word};
use crate::model::Side;
use crate::protocol::line::number;
use crate::protocol::{TEXT, Transcript};

/// What detects no command and no value.
pub(super) const NO_MESSAGE: u8 = 0;

pub(super) fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace()
}

/// Whether a word of a command, after these, is one that says what is done.
pub(super) fn is_word(before: &[&[u8]], word: &[u8], modules: &mut Modules) -> bool {
    let is = |words: &[&str]| words.iter().any(|known| word.eq_ignore_ascii_case(known.as_bytes()));
    match *before {
        [] => Name::of([word, b""], modules) != Name::Unknown,
        [first] => match Name::of([first, word], modules) {
            Name::Known(_, Some(_)) => true,
            Name::Known(..) if first.eq_ignore_ascii_case(b"select") => number(word).is_some(),
            Name::Known(..) if first.eq_ignore_ascii_case(b"replconf") => is(&["ACK"]),
            Name::Known(..) | Name::Module(_) | Name::Unknown => false,
        },
        [first, second, ..] => {
            let is_reply = first.eq_ignore_ascii_case(b"client") && second.eq_ignore_ascii_case(b"reply");
            is_reply && is(&["ON", "OFF", "SKIP"])
        }
    }
}

/// A command that is a line of words.
pub(super) fn words(line: &[u8], modules: &mut Modules, transcript: &mut Transcript) {
    let mut before: Vec<&[u8]> = Vec::new();
    for piece in line.chunk_by(|a, b| is_space(*a) == is_space(*b)) {
        let is_word = piece.first().is_some_and(|first| !is_space(*first));
        if !is_word || self::is_word(&before[..before.len().min(2)], piece, modules) && before.len() < 3 {
            transcript.keep(Side::Client, piece);
        } else {
            transcript.hide(Side::Client, piece.len() as u64, TEXT);
        }
        if is_word {
            before.push(piece);
        }
    }
}

/// Of a value's first line, how many bytes are shown, and what stands for the others; its end is shown.
pub(super) fn value(line: &[u8], is_counted: bool) -> (usize, u8) {
    let text = line.strip_suffix(b"\r\n").unwrap_or(line);
    let Some((kind, text)) = text.split_first() else { return (line.len(), TEXT) };
    match kind {
        b'+' => match text {
            b"OK" | b"PONG" | b"QUEUED" => (line.len(), TEXT),
            // When that was is no secret.
            _ if is_monitored(text) => {
                let end = text.iter().position(|byte| *byte == b'[').unwrap_or(0);
                (1 + end + 1, TEXT)
            }
            _ => (1, TEXT),
        },
        b'-' => {
            const UNKNOWN: &[u8] = b"ERR unknown command";
            let n = if text.starts_with(UNKNOWN) {
                UNKNOWN.len()
            } else {
                word(text).map_or(0, |word| word.len())
            };
            // The word ends there.
            let is_ended = text.get(n).is_none_or(|byte| *byte == b' ');
            (1 + n + usize::from(is_ended && n < text.len()), TEXT)
        }
        b':' if is_counted => (line.len(), TEXT),
        b':' | b'(' => (1 + usize::from(text.starts_with(b"-") || text.starts_with(b"+")), b'0'),
        b',' => (1, b'0'),
        b'#' => (1, b't'),
        _ => (line.len(), TEXT),
    }
}

/// The first value in what a server tells may be a word that says what that is.
pub(super) fn is_verb(word: &[u8]) -> bool {
    matches!(word, b"message" | b"smessage" | b"pmessage") || Verb::of(word).is_some()
}
