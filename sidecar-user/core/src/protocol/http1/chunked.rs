//! Chunked transfer coding (RFC 9112 section 7.1), split anywhere, with extensions and trailers.

use super::blank_line::BlankLine;
use super::body::{self, State, Taken};

/// A chunked body that is being passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chunked {
    part: Part,
    /// Bytes of the body that were read so far, framing included.
    pub(super) read: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// In the digits of a chunk's size; `None` before the first.
    Size(Option<u64>),
    /// Past the digits, in the rest of the line.
    Extension(u64),
    /// In a chunk's data, this much to come.
    Data(u64),
    /// At the line end that closes a chunk's data.
    DataEnd,
    /// In the trailer section.
    Trailer(BlankLine),
}

impl Default for Part {
    fn default() -> Self {
        Part::Size(None)
    }
}

impl Chunked {
    /// Bytes of the current chunk's data that are still to come.
    pub(super) fn left(&self) -> u64 {
        match self.part {
            Part::Data(left) => left,
            Part::Size(_) | Part::Extension(_) | Part::DataEnd | Part::Trailer(_) => 0,
        }
    }

    /// Takes from the beginning of `bytes`. Each piece is shown.
    pub(super) fn take(&mut self, bytes: &[u8], mut show: impl FnMut(body::Part<'_>)) -> Taken {
        let (mut used, mut content, mut state) = (0, 0, State::More);
        while used < bytes.len() && state == State::More {
            let rest = &bytes[used..];
            let are_lines = matches!(self.part, Part::Extension(_) | Part::Trailer(_));
            let (n, is_content);
            (n, is_content, state) = self.step(rest);
            used += n;
            let piece = &rest[..n];
            if is_content {
                content += n as u64;
                show(body::Part::Content(piece));
            } else {
                show(if are_lines { body::Part::Lines(piece) } else { body::Part::Framing(piece) });
            }
        }
        self.read += used as u64;
        Taken { used: used as u64, content, state }
    }

    /// Bytes that nobody saw are the body's as far as the chunk's size says so. What lies beyond is not known.
    pub(super) fn pass(&mut self, n: u64) -> Taken {
        let Part::Data(left) = &mut self.part else {
            return Taken { used: 0, content: 0, state: State::More };
        };
        let used = n.min(*left);
        *left -= used;
        if *left == 0 {
            self.part = Part::DataEnd;
        }
        Taken { used, content: used, state: State::More }
    }

    /// Takes from the beginning of `bytes`, which are not empty: how many, whether they are content, how it stands.
    fn step(&mut self, bytes: &[u8]) -> (usize, bool, State) {
        let byte = bytes[0];
        let (part, used) = match (&mut self.part, byte) {
            (Part::Size(size), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                match size.unwrap_or(0).checked_mul(16) {
                    Some(sixteen) => (Part::Size(Some(sixteen + digit)), 1),
                    None => return (0, false, State::Malformed),
                }
            }
            (Part::Size(Some(size)), b'\r' | b'\n' | b';' | b' ' | b'\t') => (Part::Extension(*size), 0),
            (Part::Size(_), _) => return (0, false, State::Malformed),
            (Part::Extension(size), _) => match (bytes.iter().position(|b| *b == b'\n'), *size) {
                (None, size) => (Part::Extension(size), bytes.len()),
                // The empty line that ends the trailers may come at once.
                (Some(at), 0) => (Part::Trailer(BlankLine::AtStart), at + 1),
                (Some(at), size) => (Part::Data(size), at + 1),
            },
            (Part::Data(left), _) => {
                let used = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= used as u64;
                if *left == 0 {
                    self.part = Part::DataEnd;
                }
                return (used, true, State::More);
            }
            (Part::DataEnd, b'\r') => (Part::DataEnd, 1),
            (Part::DataEnd, b'\n') => (Part::Size(None), 1),
            (Part::DataEnd, _) => return (0, false, State::Malformed),
            (Part::Trailer(line), _) => {
                return match line.find(bytes) {
                    Some(end) => (end, false, State::Done),
                    None => (bytes.len(), false, State::More),
                };
            }
        };
        self.part = part;
        (used, false, State::More)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies() {
        for (bytes, used, content, state) in [
            ("0\r\n\r\nrest", 5, 0, State::Done),
            ("5\r\nhello\r\n0\r\n\r\nrest", 15, 5, State::Done),
            ("5\nhello\n0\n\nrest", 11, 5, State::Done),
            ("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", 35, 20, State::Done),
            ("5;a=b;c=\"d\"\r\nhello\r\n0;last\r\n\r\n", 30, 5, State::Done),
            ("5  \r\nhello\r\n0\r\n\r\n", 17, 5, State::Done),
            ("0005\r\nhello\r\n000\r\n\r\n", 20, 5, State::Done),
            ("0\r\nTrailer: a\r\nOther: b\r\n\r\nrest", 27, 0, State::Done),
            ("5\r\nhel", 6, 3, State::More),
            ("5\r\nhelloX", 8, 5, State::Malformed),
            ("x\r\n", 0, 0, State::Malformed),
            ("\r\n", 0, 0, State::Malformed),
            ("-5\r\n", 0, 0, State::Malformed),
            ("10000000000000000\r\n", 16, 0, State::Malformed),
        ] {
            let taken = Chunked::default().take(bytes.as_bytes(), |_| {});
            assert_eq!(taken, Taken { used, content, state }, "{bytes:?}");
            let mut chunked = Chunked::default();
            let mut sum = Taken { used: 0, content: 0, state: State::More };
            for piece in
                bytes.as_bytes().chunks(1).take_while(|_| sum.state == State::More).collect::<Vec<_>>()
            {
                let taken = chunked.take(piece, |_| {});
                sum = Taken {
                    used: sum.used + taken.used,
                    content: sum.content + taken.content,
                    state: taken.state,
                };
                if taken.state != State::More {
                    break;
                }
            }
            assert_eq!(sum, Taken { used, content, state }, "{bytes:?} bytewise");
        }
    }

    #[test]
    fn unseen_bytes_pass_inside_a_chunk_only() {
        let mut chunked = Chunked::default();
        assert_eq!(chunked.pass(1).used, 0);
        chunked.take(b"a\r\n01", |_| {});
        assert_eq!(chunked.pass(3), Taken { used: 3, content: 3, state: State::More });
        assert_eq!(chunked.pass(9).used, 5);
        assert_eq!(chunked.pass(1).used, 0);
        assert_eq!(chunked.take(b"\r\n0\r\n\r\n", |_| {}).state, State::Done);
    }
}
