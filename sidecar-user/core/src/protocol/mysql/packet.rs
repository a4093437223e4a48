//! One side's bytes as packets: three bytes of length, a sequence number, a payload. A payload of 2²⁴ - 1 bytes goes on
//! in the next packet; what is put together so is a message.

use crate::model::Ktime;

/// Bytes before each payload.
pub(super) const HEADER: usize = 4;
/// A payload's length that says that it goes on.
pub(super) const FULL: u32 = 0x00ff_ffff;

/// Where a side's bytes stand.
#[derive(Debug, Default)]
pub(super) struct Reader {
    header: [u8; HEADER],
    n_header: usize,
    /// Bytes of the packet's payload that are still to come.
    left: u32,
    /// A packet's header was read, and its payload is not over, or goes on in another.
    is_inside: bool,
    /// The message goes on after this packet.
    goes_on: bool,
    message: Message,
}

/// What is known of a message so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    /// When its first byte passed.
    pub(super) since: Ktime,
    /// The sequence numbers of its first and of its last packet.
    pub(super) first: u8,
    pub(super) last: u8,
    /// Bytes of payload that its headers tell of.
    pub(super) len: u64,
    /// Bytes that passed, headers included.
    pub(super) passed: u64,
}

/// What there was in some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Not yet a byte of a payload.
    Nothing,
    /// Some of a message's payload.
    Payload { bytes: &'a [u8], is_first: bool, is_last: bool },
    /// A packet that does not follow the one before it.
    Broken,
}

/// What some bytes that nobody saw were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passed {
    /// So many of them are of the payload that goes on.
    pub(super) used: u64,
    /// The message is over with them.
    pub(super) is_last: bool,
}

impl Reader {
    /// The message that is being read, or was read last.
    pub(super) fn message(&self) -> Message {
        self.message
    }

    /// It is between two messages.
    pub(super) fn is_idle(&self) -> bool {
        self.n_header == 0 && !self.is_inside
    }

    /// The last header, and whether it is whole.
    pub(super) fn header(&self) -> [u8; HEADER] {
        self.header
    }

    pub(super) fn has_header(&self) -> bool {
        self.n_header == 0
    }

    /// Bytes that are still to come of the packet that is being read.
    pub(super) fn left(&self) -> u32 {
        self.left
    }

    /// Takes from the beginning of `bytes` what belongs together; says how many those are.
    pub(super) fn take<'a>(&mut self, at: Ktime, bytes: &'a [u8]) -> (usize, Piece<'a>) {
        let mut used = 0;
        let mut is_first = false;
        // The payload of the packet before was full.
        while self.left == 0 {
            if self.n_header == 0 && !self.is_inside {
                self.message = Message { since: at, ..Message::default() };
            }
            let n = (HEADER - self.n_header).min(bytes.len() - used);
            self.header[self.n_header..self.n_header + n].copy_from_slice(&bytes[used..used + n]);
            (self.n_header, used) = (self.n_header + n, used + n);
            self.message.passed += n as u64;
            if self.n_header < HEADER {
                return (used, Piece::Nothing);
            }
            self.n_header = 0;
            let [a, b, c, sequence] = self.header;
            if self.is_inside && sequence != self.message.last.wrapping_add(1) {
                return (used, Piece::Broken);
            }
            if !self.is_inside {
                self.message.first = sequence;
                is_first = true;
            }
            self.message.last = sequence;
            self.left = u32::from_le_bytes([a, b, c, 0]);
            self.goes_on = self.left == FULL;
            self.is_inside = true;
            self.message.len += u64::from(self.left);
            if self.left == 0 {
                self.is_inside = false;
                return (used, Piece::Payload { bytes: &[], is_first, is_last: true });
            }
            if used == bytes.len() {
                // Told as first with the payload's first byte.
                return (used, Piece::Nothing);
            }
        }
        is_first |= self.message.passed == HEADER as u64;
        let n = bytes[used..].len().min(self.left as usize);
        let payload = &bytes[used..used + n];
        self.left -= n as u32;
        self.message.passed += n as u64;
        let is_last = self.is_over();
        (used + n, Piece::Payload { bytes: payload, is_first, is_last })
    }

    /// `n` bytes passed that nobody saw.
    pub(super) fn pass(&mut self, n: u64) -> Passed {
        let used = n.min(u64::from(self.left));
        if used == 0 {
            return Passed { used: 0, is_last: false };
        }
        self.left -= used as u32;
        self.message.passed += used;
        Passed { used, is_last: self.is_over() }
    }

    fn is_over(&mut self) -> bool {
        let is_last = self.left == 0 && !self.goes_on;
        self.is_inside &= !is_last;
        is_last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(reader: &mut Reader, mut bytes: &[u8]) -> Vec<(Vec<u8>, bool, bool)> {
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let (used, piece) = reader.take(Ktime(1), bytes);
            bytes = &bytes[used..];
            match piece {
                Piece::Payload { bytes, is_first, is_last } => {
                    pieces.push((bytes.to_vec(), is_first, is_last))
                }
                Piece::Nothing => {}
                Piece::Broken => panic!("broken"),
            }
        }
        pieces
    }

    #[test]
    fn a_message_is_told_from_its_first_byte_to_its_last() {
        let bytes = b"\x02\x00\x00\x00ab\x00\x00\x00\x01\x01\x00\x00\x02c";
        let mut whole = Reader::default();
        let told = [(b"ab".to_vec(), true, true), (vec![], true, true), (b"c".to_vec(), true, true)];
        assert_eq!(read(&mut whole, bytes), told);
        let mut reader = Reader::default();
        let pieces: Vec<_> = bytes.iter().flat_map(|byte| read(&mut reader, &[*byte])).collect();
        let told = [
            (b"a".to_vec(), true, false),
            (b"b".to_vec(), false, true),
            (vec![], true, true),
            (b"c".to_vec(), true, true),
        ];
        assert_eq!(pieces, told);
        assert_eq!(reader.message(), Message { since: Ktime(1), first: 2, last: 2, len: 1, passed: 5 });
    }

    #[test]
    fn a_full_packet_goes_on() {
        for tail in [0usize, 3] {
            let mut bytes = b"\xff\xff\xff\x00".to_vec();
            bytes.resize(HEADER + FULL as usize, b'x');
            bytes.extend([tail as u8, 0, 0, 1]);
            bytes.resize(bytes.len() + tail, b'y');
            let mut reader = Reader::default();
            let pieces = read(&mut reader, &bytes);
            assert_eq!(pieces.iter().filter(|(_, is_first, _)| *is_first).count(), 1);
            assert!(pieces.last().expect("some").2 && reader.is_idle());
            let message = reader.message();
            assert_eq!((message.first, message.last), (0, 1));
            assert_eq!(message.len, u64::from(FULL) + tail as u64);
            assert_eq!(message.passed, bytes.len() as u64);
        }
    }

    #[test]
    fn what_nobody_saw_is_passed_over_inside_a_payload_only() {
        let mut reader = Reader::default();
        read(&mut reader, b"\x08\x00\x00\x00ab");
        assert_eq!(reader.pass(4), Passed { used: 4, is_last: false });
        assert_eq!(reader.pass(4), Passed { used: 2, is_last: true });
        assert_eq!(reader.pass(2), Passed { used: 0, is_last: false });
        let mut reader = Reader::default();
        read(&mut reader, b"\xff\xff\xff\x00a");
        assert_eq!(reader.pass(u64::from(FULL)), Passed { used: u64::from(FULL) - 1, is_last: false });
        assert!(!reader.is_idle());
        assert_eq!(reader.take(Ktime(1), b"\x00\x00\x00\x02"), (4, Piece::Broken));
    }
}
