//! Where a header section ends: at the first empty line. Works on bytes in any pieces, and stores none.

/// What of the empty line has been seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum BlankLine {
    /// The last byte was inside a line.
    #[default]
    InLine,
    /// The last byte ended a line.
    AtStart,
    /// A line has a carriage return so far.
    AfterReturn,
}

impl BlankLine {
    /// How many of `bytes` belong to the section, if it ends in them.
    pub(super) fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, byte) in bytes.iter().enumerate() {
            *self = match (*self, byte) {
                (BlankLine::InLine, b'\n') => BlankLine::AtStart,
                (BlankLine::AtStart, b'\r') => BlankLine::AfterReturn,
                (BlankLine::AtStart | BlankLine::AfterReturn, b'\n') => {
                    *self = BlankLine::InLine;
                    return Some(at + 1);
                }
                _ => BlankLine::InLine,
            };
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_in_any_pieces() {
        for (section, end) in [
            ("a\r\nb\r\n\r\nrest", Some(8)),
            ("a\nb\n\nrest", Some(5)),
            ("a\r\n\nrest", Some(4)),
            ("a\n\r\nrest", Some(4)),
            ("a\r\n\rb\r\n\r\nrest", Some(9)),
            ("a\r\nb\r\n", None),
        ] {
            assert_eq!(BlankLine::default().find(section.as_bytes()), end, "{section:?}");
            let mut line = BlankLine::default();
            let bytewise = section.as_bytes().chunks(1).position(|piece| line.find(piece).is_some());
            assert_eq!(bytewise.map(|at| at + 1), end, "{section:?}");
        }
    }
}
