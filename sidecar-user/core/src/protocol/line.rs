//! A line of text as it comes: its first bytes are held, and where it ends is found, however long it is.

/// Bytes of a line that are held.
const HELD: usize = 64;

/// A line, so far.
#[derive(Debug)]
pub(super) struct Line {
    held: [u8; HELD],
    /// Bytes so far, its end included.
    len: u64,
    /// The last of them is a carriage return.
    is_returned: bool,
    /// A carriage return is somewhere in it.
    has_return: bool,
    is_whole: bool,
}

/// What bytes are to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// Bytes that belong to it.
    pub(super) used: usize,
    /// Its end is among them.
    pub(super) is_whole: bool,
}

impl Default for Line {
    fn default() -> Self {
        Line { held: [0; HELD], len: 0, is_returned: false, has_return: false, is_whole: false }
    }
}

impl Line {
    /// Takes from the beginning of `bytes` what belongs to it.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Taken {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(bytes.len(), |end| end + 1);
        let text = &bytes[..end.unwrap_or(used)];
        if let (Some(last), Ok(at)) = (text.last(), usize::try_from(self.len)) {
            let room = HELD.saturating_sub(at).min(text.len());
            self.held[HELD.min(at)..][..room].copy_from_slice(&text[..room]);
            let before = self.is_returned || text[..text.len() - 1].contains(&b'\r');
            self.has_return |= before;
            self.is_returned = *last == b'\r';
        }
        self.len += used as u64;
        self.is_whole = end.is_some();
        Taken { used, is_whole: end.is_some() }
    }

    /// Its first bytes, without its end.
    pub(super) fn text(&self) -> &[u8] {
        let len = usize::try_from(self.content()).unwrap_or(HELD).min(HELD);
        &self.held[..len]
    }

    /// Its first bytes as they came, its end included.
    pub(super) fn held(&self) -> ([u8; HELD + 1], usize) {
        let mut held = [b'\n'; HELD + 1];
        held[..HELD].copy_from_slice(&self.held);
        let len = usize::try_from(self.len).unwrap_or(usize::MAX).min(HELD + 1);
        if let Some(after) = held.get_mut(len.saturating_sub(1)).filter(|_| self.is_whole && len <= HELD) {
            *after = b'\n';
        }
        (held, len)
    }

    /// All of it so far is held.
    pub(super) fn is_held(&self) -> bool {
        self.len <= HELD as u64 + u64::from(self.is_whole)
    }

    /// It begins with one of these bytes.
    pub(super) fn begins_with(&self, any: &[u8]) -> bool {
        self.len > 0 && any.contains(&self.held[0])
    }

    /// Bytes of a whole line, without its end.
    pub(super) fn content(&self) -> u64 {
        self.len.saturating_sub(1 + u64::from(self.is_returned))
    }

    /// A whole line ends with a carriage return before the line feed, and has none elsewhere.
    pub(super) fn is_proper(&self) -> bool {
        self.is_returned && !self.has_return
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> u64 {
        self.len
    }
}

/// The number that decimal digits are.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |so_far, digit| so_far * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_the_same_however_it_comes() {
        for (text, held, is_proper) in [
            (&b"\r\n"[..], &b""[..], true),
            (b"\n", b"", false),
            (b"abc\r\n", b"abc", true),
            (b"abc\n", b"abc", false),
            (b"a\rc\r\n", b"a\rc", false),
            (b"a\r\r\n", b"a\r", false),
            (&[&[b'x'; 100][..], b"\r\n"].concat(), &[b'x'; 64], true),
        ] {
            for size in 1..=text.len() {
                let mut line = Line::default();
                let whole: Vec<_> = text.chunks(size).map(|piece| line.take(piece).is_whole).collect();
                assert_eq!(whole.iter().filter(|whole| **whole).count(), 1);
                assert_eq!((line.text(), line.is_proper()), (held, is_proper), "{text:?} by {size}");
                assert_eq!(line.len(), text.len() as u64);
            }
        }
        let taken = Line::default().take(b"ab\r\ncd\r\n");
        assert_eq!(taken, Taken { used: 4, is_whole: true });
    }

    #[test]
    fn numbers() {
        for (digits, value) in [
            (&b"0"[..], Some(0)),
            (b"123", Some(123)),
            (b"", None),
            (b"-1", None),
            (b"1x", None),
            (b"1000000000000000000", None),
        ] {
            assert_eq!(number(digits), value, "{digits:?}");
        }
    }
}
