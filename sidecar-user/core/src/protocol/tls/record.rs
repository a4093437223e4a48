//! One side's records, and the handshake messages in them while they are in the clear.

use super::shown::Hello;
use super::{CHANGE_CIPHER_SPEC, HANDSHAKE, HEADER, Header, header};
use crate::model::Side;
use crate::protocol::Transcript;

pub(super) const ALERT: u8 = 0x15;
pub(super) const CLIENT_HELLO: u8 = 1;
pub(super) const SERVER_HELLO: u8 = 2;
/// Type and length (RFC 8446 section 4).
const MESSAGE_HEADER: usize = 4;

/// Where one side stands.
#[derive(Debug, Default)]
pub(super) struct Records {
    place: Place,
    message: Message,
    alert: [u8; 2],
    /// It has said that what follows is encrypted (before TLS 1.3).
    pub(super) is_sealed: bool,
    /// Bytes of records so far.
    pub(super) bytes: u64,
}

#[derive(Debug)]
enum Place {
    /// In a header, of which so many bytes are held.
    Header([u8; HEADER], usize),
    /// In a record of this type and length, of which so much is to come.
    Body { kind: u8, len: usize, left: usize },
}

impl Default for Place {
    fn default() -> Self {
        Place::Header([0; HEADER], 0)
    }
}

/// A handshake message as far as it came. It may begin and end anywhere in records.
#[derive(Debug, Default)]
struct Message {
    header: [u8; MESSAGE_HEADER],
    n: usize,
    /// Bytes of its body that are still to come.
    left: usize,
    /// Its body, where that is read.
    held: Vec<u8>,
    /// What may be shown of it.
    hello: Hello,
}

/// What bytes came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// To nothing yet.
    Nothing,
    /// To the type of a handshake message.
    Begins(u8),
    /// To the end of one; its body, where that is read.
    Message(u8, Vec<u8>),
    /// To the end of an alert: level and number.
    Alert([u8; 2]),
    /// To the end of a record of this type, which has so many bytes, and in which nothing can be read.
    Record(u8, usize),
    /// To what is no record.
    Malformed,
}

/// What was taken.
#[derive(Debug)]
pub(super) struct Taken {
    /// How many bytes.
    pub(super) used: usize,
    /// How many more are known to lie inside records.
    pub(super) explained: u64,
    pub(super) came: Came,
}

/// Who is told what of a side's bytes may be shown.
pub(super) struct Shown<'a> {
    pub(super) transcript: &'a mut Transcript,
    pub(super) side: Side,
}

impl Shown<'_> {
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        self.transcript.keep(self.side, bytes);
    }

    pub(super) fn hide(&mut self, n: usize) {
        self.transcript.hide(self.side, n as u64, 0);
    }
}

impl Records {
    /// Takes from the beginning of `bytes`, which are not empty, up to where something is to be told. At most so many bytes
    /// of a message are held.
    pub(super) fn take(&mut self, bytes: &[u8], hold: usize, shown: &mut Shown<'_>) -> Taken {
        let Place::Body { kind, len, left } = &mut self.place else { return self.take_header(bytes, shown) };
        let here = &bytes[..bytes.len().min(*left)];
        let (used, came) = match *kind {
            HANDSHAKE if !self.is_sealed => self.message.take(here, hold, shown),
            kind => {
                match kind {
                    CHANGE_CIPHER_SPEC if *len == 1 => shown.keep(here),
                    ALERT if !self.is_sealed && *len == 2 => shown.keep(here),
                    _ => shown.hide(here.len()),
                }
                if kind == ALERT {
                    for (place, byte) in self.alert.iter_mut().skip(*len - *left).zip(here) {
                        *place = *byte;
                    }
                }
                (here.len(), Came::Nothing)
            }
        };
        *left -= used;
        let (kind, len) = (*kind, *len);
        let came = match came {
            Came::Nothing if *left == 0 => self.ended(kind, len),
            came => came,
        };
        self.passed(used);
        Taken { used, explained: used as u64, came }
    }

    /// Takes `n` bytes that nobody saw, if they are surely of a record's body in which nothing is read.
    pub(super) fn pass(&mut self, n: u64) -> Option<Taken> {
        let Place::Body { kind, len, left } = &mut self.place else { return None };
        let used = usize::try_from(n).ok().filter(|n| n <= left)?;
        match *kind {
            HANDSHAKE if !self.is_sealed => self.message.pass(used)?,
            ALERT if !self.is_sealed => return None,
            _ => {}
        }
        *left -= used;
        let (kind, len) = (*kind, *len);
        let came = if *left == 0 { self.ended(kind, len) } else { Came::Nothing };
        self.passed(used);
        Some(Taken { used, explained: n, came })
    }

    /// Bytes of memory that it holds.
    pub(super) fn held(&self) -> usize {
        self.message.held.capacity() + self.message.hello.held()
    }

    fn take_header(&mut self, bytes: &[u8], shown: &mut Shown<'_>) -> Taken {
        let Place::Header(held, n) = &mut self.place else {
            return Taken { used: 0, explained: 0, came: Came::Nothing };
        };
        let used = bytes.len().min(HEADER - *n);
        held[*n..*n + used].copy_from_slice(&bytes[..used]);
        *n += used;
        let (explained, came) = match header(&held[..*n]) {
            Header::None => {
                self.message.hello.settle(self.message.held.len(), shown);
                shown.hide(*n);
                (0, Came::Malformed)
            }
            Header::Part => (0, Came::Nothing),
            Header::Whole(len) => {
                // What interrupts a hello says that it is none.
                if held[0] != HANDSHAKE && self.message.n > 0 {
                    self.message.hello.settle(self.message.held.len(), shown);
                }
                self.message.hello.header(self.message.held.len(), held, shown);
                self.place = Place::Body { kind: held[0], len, left: len };
                (HEADER as u64, Came::Nothing)
            }
        };
        self.passed(used);
        Taken { used, explained, came }
    }

    /// `n` bytes were taken. A record that passed to its end is followed by another.
    fn passed(&mut self, n: usize) {
        self.bytes += n as u64;
        if let Place::Body { left: 0, .. } = self.place {
            self.place = Place::default();
        }
    }

    fn ended(&self, kind: u8, len: usize) -> Came {
        match kind {
            HANDSHAKE if !self.is_sealed => Came::Nothing,
            ALERT if !self.is_sealed && len == 2 => Came::Alert(self.alert),
            CHANGE_CIPHER_SPEC if len != 1 => Came::Malformed,
            kind => Came::Record(kind, len),
        }
    }
}

impl Message {
    /// Takes from the beginning of `bytes`, up to the end of a header or message.
    fn take(&mut self, bytes: &[u8], hold: usize, shown: &mut Shown<'_>) -> (usize, Came) {
        if self.n < MESSAGE_HEADER {
            let used = bytes.len().min(MESSAGE_HEADER - self.n);
            let begins = self.n == 0;
            self.header[self.n..self.n + used].copy_from_slice(&bytes[..used]);
            shown.keep(&bytes[..used]);
            self.n += used;
            if self.n == MESSAGE_HEADER {
                let [_, len @ ..] = self.header;
                self.left = len.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
            }
            let kind = self.header[0];
            return match self.n {
                // An empty one (ServerHelloDone) says so at once, and its type is that of what ended.
                MESSAGE_HEADER if self.left == 0 => (used, self.end()),
                _ if begins => (used, Came::Begins(kind)),
                _ => (used, Came::Nothing),
            };
        }
        let used = bytes.len().min(self.left);
        self.left -= used;
        if self.is_read() {
            let room = hold.saturating_sub(self.held.len());
            let (read, beyond) = bytes[..used].split_at(used.min(room));
            self.held.extend_from_slice(read);
            if self.hello.is_told() {
                shown.hide(used);
            } else {
                if self.left == 0 || !beyond.is_empty() {
                    self.hello.tell(self.header[0], &self.held, shown);
                }
                shown.hide(beyond.len());
            }
        } else {
            shown.hide(used);
        }
        (used, if self.left == 0 { self.end() } else { Came::Nothing })
    }

    /// Takes `n` bytes that nobody saw; `None` if something in them would have been read.
    fn pass(&mut self, n: usize) -> Option<()> {
        if self.n < MESSAGE_HEADER || self.is_read() || n >= self.left {
            return None;
        }
        self.left -= n;
        Some(())
    }

    fn is_read(&self) -> bool {
        matches!(self.header[0], CLIENT_HELLO | SERVER_HELLO)
    }

    fn end(&mut self) -> Came {
        let Message { header, held, .. } = std::mem::take(self);
        Came::Message(header[0], held)
    }
}
