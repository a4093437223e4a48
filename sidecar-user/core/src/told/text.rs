//! Text of strangers, for a terminal and for JSON: nothing in it moves a cursor, hides, or turns a line's direction.

use std::{borrow::Cow, fmt::Write as _};

/// Whether a terminal, or whoever reads it, may be led astray by a character: controls (C0, DEL, C1), formats that show
/// nothing or change the direction of what follows (UAX #9, and general category Cf), separators of lines.
#[must_use]
pub fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// As a terminal may have it: what is hostile as `\u{…}`, and so that this can be told apart `\` as `\\`.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(|c| is_hostile(c) || c == '\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // A `String` takes whatever is written.
            c if is_hostile(c) => _ = write!(out, "\\u{{{:x}}}", u32::from(c)),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// The value of a `key=value`: escaped, and between quotes where it would not be one word otherwise.
#[must_use]
pub fn quoted(text: &str) -> Cow<'_, str> {
    let escaped = escape(text);
    let is_word = !text.is_empty()
        && !text.contains(|c: char| c.is_whitespace() || c == '"' || c == '=' || is_hostile(c));
    if is_word { escaped } else { format!("\"{}\"", escaped.replace('"', "\\\"")).into() }
}

/// A JSON string. What is hostile is escaped there, too: lines of JSON are looked at in terminals.
pub(super) fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_hostile(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // A `String` takes whatever is written.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Adds a member to an object that was opened.
pub(super) fn member(object: &mut String, key: &str, value: &str) {
    let comma = if object.ends_with('{') { "" } else { "," };
    // A `String` takes whatever is written.
    let _ = write!(object, "{comma}{}:{value}", json(key));
}
