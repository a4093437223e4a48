//! Text of others, made fit for a terminal: nothing in it moves a cursor, changes a colour or turns the line round.

use std::borrow::Cow;

use sidecar_core::told::is_hostile;

/// The text with every character that does not show, or does more than show, as `\u{…}`.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hostile(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_more_than_show_is_escaped() {
        for (text, expected) in [
            ("GET /a b", "GET /a b"),
            ("\u{e9}\u{65e5}", "\u{e9}\u{65e5}"),
            ("a\x1b[2Jb\r\n\t", "a\\u{1b}[2Jb\\u{d}\\u{a}\\u{9}"),
            ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("a\u{202e}b\u{200b}", "a\\u{202e}b\\u{200b}"),
        ] {
            assert_eq!(plain(text), expected, "{text:?}");
        }
    }
}
