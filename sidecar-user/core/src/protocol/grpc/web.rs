//! The status of a call of gRPC-Web, at the end of the response's body (PROTOCOL-WEB).

use super::{Messages, Part, Show, status};
use crate::protocol::TEXT;

/// Bytes of a trailer that are looked at, and may be held.
pub(in crate::protocol) const TRAILER_MAX: usize = 1024;

/// The line that it is in.
const LINE: &[u8] = b"grpc-status:";
/// What stands for text in base64 that is not shown: nothing to whoever reads it.
const NOTHING: u8 = b'.';

/// Reads a response's body for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::protocol) struct Trailer {
    /// Of a body that is text: its last characters, less than make three bytes.
    text: Option<(u32, u8)>,
    held: Vec<u8>,
    /// How much of [`LINE`] the current line has begun with; `None` where it is another.
    line: Option<usize>,
}

impl Trailer {
    /// `is_text`: the body is base64.
    pub(in crate::protocol) fn new(is_text: bool) -> Self {
        Trailer { text: is_text.then_some((0, 0)), held: Vec::new(), line: Some(0) }
    }

    /// The next bytes of the body; of them `messages` is told what they are, `show` what may be seen of them, and `each` of
    /// each message that ends.
    pub(in crate::protocol) fn take(
        &mut self,
        bytes: &[u8],
        messages: &mut Messages,
        mut show: impl FnMut(&[u8], Show),
        mut each: impl FnMut(u64),
    ) {
        let Trailer { text, held, line } = self;
        let mut part = |part: Part<'_>, show: &mut dyn FnMut(&[u8], Show)| match part {
            Part::Prefix(piece) => show(piece, Show::As),
            Part::Content(piece) => show(piece, Show::Filled(TEXT)),
            Part::Ended(len) => each(len),
            Part::Trailer(piece) => {
                let room = TRAILER_MAX.saturating_sub(held.len()).min(piece.len());
                held.extend_from_slice(&piece[..room]);
                for byte in piece {
                    show(&[*byte], if is_of_status(line, *byte) { Show::As } else { Show::Filled(TEXT) });
                }
            }
        };
        let Some((bits, n)) = text else { return messages.take(bytes, |of| part(of, &mut show)) };
        show(bytes, Show::Filled(NOTHING));
        for byte in bytes {
            // Each piece is padded for itself.
            if *byte == b'=' {
                (*bits, *n) = (0, 0);
            }
            let Some(six) = sixth(*byte) else { continue };
            (*bits, *n) = (*bits << 6 | six, *n + 6);
            if *n >= 8 {
                *n -= 8;
                messages.take(&[(*bits >> *n) as u8], |of| part(of, &mut |_, _| {}));
                *bits &= (1 << *n) - 1;
            }
        }
    }

    /// What it says.
    pub(in crate::protocol) fn status(&self) -> Option<u32> {
        self.held.split(|b| *b == b'\n').find_map(value).and_then(status)
    }
}

/// Whether a byte of a trailer is of the line that says the status, or ends one.
fn is_of_status(line: &mut Option<usize>, byte: u8) -> bool {
    match (byte, *line) {
        (b'\n', _) => {
            *line = Some(0);
            true
        }
        (b'\r', _) => true,
        (_, Some(n)) if n == LINE.len() => byte == b' ' || byte.is_ascii_digit(),
        (_, Some(n)) if LINE[n].eq_ignore_ascii_case(&byte) => {
            *line = Some(n + 1);
            true
        }
        _ => {
            *line = None;
            false
        }
    }
}

/// The value of a trailer's line, if it is the status.
fn value(line: &[u8]) -> Option<&[u8]> {
    let (name, value) = line.split_at_checked(line.iter().position(|b| *b == b':')?)?;
    name.trim_ascii().eq_ignore_ascii_case(b"grpc-status").then(|| value[1..].trim_ascii())
}

/// A character of base64 (RFC 4648 section 4).
fn sixth(byte: u8) -> Option<u32> {
    let (first, base) = match byte {
        b'A'..=b'Z' => (b'A', 0),
        b'a'..=b'z' => (b'a', 26),
        b'0'..=b'9' => (b'0', 52),
        b'+' => (b'+', 62),
        b'/' => (b'/', 63),
        _ => return None,
    };
    Some(u32::from(byte - first) + base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies() {
        let binary = b"\x00\x00\x00\x00\x03abc\x80\x00\x00\x00\x22grpc-message: no\r\ngrpc-status: 5\r\n";
        let seen = b"\x00\x00\x00\x00\x03xxx\x80\x00\x00\x00\x22grpc-xxxxxxxxxxx\r\ngrpc-status: 5\r\n";
        // Python's base64.b64encode of the message and of the trailer, each for itself.
        let text = b"AAAAAANhYmM=gAAAACJncnBjLW1lc3NhZ2U6IG5vDQpncnBjLXN0YXR1czogNQ0K";
        for (is_text, body) in [(false, &binary[..]), (true, &text[..])] {
            for piece in 1..=body.len() {
                let (mut trailer, mut messages) = (Trailer::new(is_text), Messages::default());
                let (mut lengths, mut shown) = (Vec::new(), Vec::new());
                for bytes in body.chunks(piece) {
                    let show = |bytes: &[u8], how| match how {
                        Show::As => shown.extend_from_slice(bytes),
                        Show::Filled(filler) => shown.resize(shown.len() + bytes.len(), filler),
                    };
                    trailer.take(bytes, &mut messages, show, |len| lengths.push(len));
                }
                assert_eq!((trailer.status(), &lengths[..]), (Some(5), &[3][..]), "{is_text} by {piece}");
                let expected = if is_text { &[NOTHING; 64] } else { &seen[..] };
                assert_eq!(
                    shown.escape_ascii().to_string(),
                    expected.escape_ascii().to_string(),
                    "by {piece}"
                );
            }
        }
        assert_eq!(Trailer::new(false).status(), None);
    }
}
