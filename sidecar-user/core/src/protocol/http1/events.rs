//! Server-sent events (HTML standard, section 9.2.6), counted as they pass in a response's body. An event is what a browser
//! would dispatch: lines that end with an empty one, at least one of them `data`.

/// U+FEFF, with which a stream may begin.
const MARK: [u8; 3] = [0xef, 0xbb, 0xbf];
const DATA: &[u8] = b"data";
/// Their content type.
pub(super) const TYPE: &[u8] = b"text/event-stream";

/// A stream of events, as far as it was read.
#[derive(Debug)]
pub(super) struct Events {
    line: Line,
    /// The last line ended in CR: an LF after it is of the same end.
    is_after_cr: bool,
    /// Bytes of the current event's data so far, if it has any.
    data: Option<u64>,
    /// Something of the current event was not seen.
    is_torn: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// At the stream's beginning, after so many bytes of its mark.
    Begin(usize),
    /// After so many bytes that begin `data`: at 0 the line is empty so far.
    Name(usize),
    /// After `data:`, where one space is no content.
    Colon,
    /// In the content of a `data` line.
    Data,
    /// In any other.
    Other,
}

impl Events {
    pub(super) fn new() -> Self {
        Events { line: Line::Begin(0), is_after_cr: false, data: None, is_torn: false }
    }

    /// The next bytes. `event` is told the bytes of each event's data, `show` each piece, and whether it says where events are.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        mut show: impl FnMut(&[u8], bool),
        mut event: impl FnMut(u64),
    ) {
        let mut rest = bytes;
        while let Some(byte) = rest.first() {
            if matches!(self.line, Line::Data | Line::Other) {
                let n = rest.iter().position(|byte| is_end(*byte)).unwrap_or(rest.len());
                if self.line == Line::Data {
                    self.data = self.data.map(|data| data + n as u64);
                }
                show(&rest[..n], false);
                rest = &rest[n..];
                if let Some((end, after)) = rest.split_at_checked(1) {
                    show(end, true);
                    self.is_after_cr = end == b"\r";
                    self.line = Line::Name(0);
                    rest = after;
                }
                continue;
            }
            let is_rest_of_end = std::mem::take(&mut self.is_after_cr) && *byte == b'\n';
            if !is_rest_of_end && !self.step(*byte, &mut event) {
                continue;
            }
            show(&rest[..1], true);
            rest = &rest[1..];
        }
    }

    /// Bytes went by unseen: of the event that they were in or of those nothing is told.
    pub(super) fn miss(&mut self) {
        *self = Events { line: Line::Other, is_torn: true, ..Events::new() };
    }

    /// Takes a byte of a line's beginning; says whether it did, or only found what the line is.
    fn step(&mut self, byte: u8, event: &mut impl FnMut(u64)) -> bool {
        self.line = match self.line {
            Line::Begin(n) if byte == MARK[n] => {
                if n + 1 == MARK.len() {
                    Line::Name(0)
                } else {
                    Line::Begin(n + 1)
                }
            }
            Line::Begin(0) => {
                self.line = Line::Name(0);
                return false;
            }
            Line::Name(n) if is_end(byte) => {
                if n == 0 {
                    let is_torn = std::mem::take(&mut self.is_torn);
                    if let Some(data) = self.data.take().filter(|_| !is_torn) {
                        event(data);
                    }
                } else if n == DATA.len() {
                    self.begin_data();
                }
                self.is_after_cr = byte == b'\r';
                Line::Name(0)
            }
            Line::Name(n) if n == DATA.len() && byte == b':' => {
                self.begin_data();
                Line::Colon
            }
            Line::Name(n) if DATA.get(n) == Some(&byte) => Line::Name(n + 1),
            Line::Colon if byte == b' ' => Line::Data,
            Line::Colon => {
                self.line = Line::Data;
                return false;
            }
            Line::Begin(_) | Line::Name(_) | Line::Data | Line::Other => {
                self.line = Line::Other;
                return false;
            }
        };
        true
    }

    /// Lines of data are joined by line ends.
    fn begin_data(&mut self) {
        self.data = Some(self.data.map_or(0, |data| data + 1));
    }
}

fn is_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<u64> {
        let (mut events, mut told) = (Events::new(), Vec::new());
        for piece in pieces {
            events.push(piece, |_, _| {}, |bytes| told.push(bytes));
        }
        told
    }

    #[test]
    fn streams() {
        for (stream, told) in [
            ("data: a\n\n", &[1][..]),
            ("data:a\r\n\r\ndata: bc\r\rdata\n\n", &[1, 2, 0]),
            ("data: a\r\n\ndata: b\r\n\r\n", &[1, 1]),
            ("data:  a\n\n", &[2]),
            ("data: a\ndata: b\ndata\n\n", &[4]),
            (": comment\n\n\n\n:\n\n", &[]),
            ("event: x\nid: 1\ndata: {}\nretry: 5\n\n", &[2]),
            ("event: x\n\n", &[]),
            ("database: a\ndat: b\nDATA: c\n data: d\n\n", &[]),
            ("data: a\n", &[]),
            ("\u{feff}data: a\n\n", &[1]),
            ("\u{feff}\u{feff}data: a\n\ndata: bc\n\n", &[2]),
            ("\n\ndata:\n\n", &[0]),
            ("data: caf\u{e9}\n\n", &[5]),
            ("data:\u{feff}\n\n", &[3]),
        ] {
            let bytes = stream.as_bytes();
            assert_eq!(events(&[bytes]), told, "{stream:?}");
            for at in 0..bytes.len() {
                let (first, second) = bytes.split_at(at);
                assert_eq!(events(&[first, second]), told, "{stream:?} at {at}");
            }
            let each: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(events(&each), told, "{stream:?}, by bytes");
        }
    }

    #[test]
    fn a_torn_event_is_none() {
        for rest in ["ta: b\n\n", "\n\n", "b\ndata: c\n\n", "b\r\rdata: d\n\n"] {
            let (mut stream, mut told) = (Events::new(), Vec::new());
            stream.push(b"data: a\n\nda", |_, _| {}, |bytes| told.push(bytes));
            stream.miss();
            stream.push(rest.as_bytes(), |_, _| {}, |bytes| told.push(bytes));
            stream.push(b"data: abc\n\n", |_, _| {}, |bytes| told.push(bytes));
            let is_last_seen = rest.contains("\r\r");
            assert_eq!(told, if is_last_seen { vec![1, 1, 3] } else { vec![1, 3] }, "{rest:?}");
        }
    }
}
