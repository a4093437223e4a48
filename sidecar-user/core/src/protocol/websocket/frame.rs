//! Frames of one side (RFC 6455 section 5.2): where each begins and ends, and what it is.

use crate::model::{MessageKind, Side};
use crate::protocol::{TEXT, Transcript};

/// The longest header: two bytes, eight of length, four of mask.
const HEADER_MAX: usize = 14;
/// Longest payload of a control frame (section 5.5).
const CONTROL_MAX: u64 = 125;

/// Bits of a header's first byte and of its second.
const LAST: u8 = 0x80;
const COMPRESSED: u8 = 0x40;
const MASKED: u8 = 0x80;
/// A header that is none, whatever comes after it.
const NO_HEADER: [u8; 2] = [0x70, 0];
/// What stands for a close frame without a code (section 7.4.1).
const NO_CODE: u16 = 1005;

/// One side's frames.
#[derive(Debug)]
pub(super) struct Frames {
    side: Side,
    place: Place,
    /// The data message that is not over: its kind, and the bytes of its frames so far.
    message: Option<(MessageKind, u64)>,
}

#[derive(Debug)]
enum Place {
    /// In a header, of which so many bytes are held.
    Header([u8; HEADER_MAX], usize),
    /// In a payload.
    Payload(Frame),
}

/// A frame whose payload is passing.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: Opcode,
    is_last: bool,
    len: u64,
    left: u64,
    mask: [u8; 4],
    /// Of a close frame: the code that it begins with, and how many bytes of that were seen.
    code: [u8; 2],
    n_code: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opcode {
    Continuation,
    Data(MessageKind),
    Control(MessageKind),
}

/// What bytes came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// To nothing yet.
    Nothing,
    /// To a message's end, after so many bytes of content.
    Message(MessageKind, u64),
    /// To the end of a close frame, of so many bytes, that gives this code.
    Close(Option<u16>, u64),
    /// To what is no frame.
    Malformed,
}

/// What was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// How many bytes.
    pub(super) used: u64,
    /// How many more are known to lie inside frames.
    pub(super) explained: u64,
    pub(super) came: Came,
}

impl Frames {
    pub(super) fn new(side: Side) -> Self {
        Frames { side, place: Place::Header([0; HEADER_MAX], 0), message: None }
    }

    /// How many bytes of the current payload are still to come.
    pub(super) fn left(&self) -> u64 {
        match &self.place {
            Place::Header(..) => 0,
            Place::Payload(frame) => frame.left,
        }
    }

    /// Takes from the beginning of `bytes`, which are not empty, up to the end of a header or frame.
    pub(super) fn take(&mut self, bytes: &[u8], transcript: &mut Transcript) -> Taken {
        let side = self.side;
        match &mut self.place {
            Place::Payload(frame) => {
                let passed = frame.len - frame.left;
                let n = bytes.len().min(usize::try_from(frame.left).unwrap_or(usize::MAX));
                let mut n_code = 0;
                if frame.opcode == Opcode::Control(MessageKind::Close) && passed == u64::from(frame.n_code) {
                    for byte in bytes[..n].iter().take(2 - usize::from(frame.n_code)) {
                        let at = usize::from(frame.n_code);
                        frame.code[at] = byte ^ frame.mask[at];
                        frame.n_code += 1;
                        n_code += 1;
                    }
                }
                transcript.keep(side, &bytes[..n_code]);
                transcript.hide(side, (n - n_code) as u64, TEXT);
                self.pass(n as u64)
            }
            Place::Header(held, n) => {
                let before = *n;
                for byte in bytes {
                    held[*n] = *byte;
                    *n += 1;
                    if *n == header_len(held, *n) {
                        break;
                    }
                }
                let (used, len) = ((*n - before) as u64, *n as u64);
                if header_len(held, *n) != *n {
                    return Taken { used, explained: 0, came: Came::Nothing };
                }
                let held = *held;
                let begun = self.begin(&held);
                match begun {
                    Some(_) => transcript.keep(side, &held[..len as usize]),
                    None => {
                        transcript.write(side, 2, || NO_HEADER);
                        transcript.hide(side, len - 2, 0);
                    }
                }
                match begun {
                    Some(frame) => {
                        self.place = Place::Payload(frame);
                        let came = if frame.left == 0 { self.ended(&frame) } else { Came::Nothing };
                        Taken { used, explained: len, came }
                    }
                    None => Taken { used, explained: 0, came: Came::Malformed },
                }
            }
        }
    }

    /// Takes what is surely the current payload's of `n` bytes that nobody saw.
    pub(super) fn pass(&mut self, n: u64) -> Taken {
        let Place::Payload(frame) = &mut self.place else {
            return Taken { used: 0, explained: 0, came: Came::Nothing };
        };
        let used = n.min(frame.left);
        frame.left -= used;
        let frame = *frame;
        let came = if frame.left == 0 { self.ended(&frame) } else { Came::Nothing };
        Taken { used, explained: used, came }
    }

    /// What the whole header `held` says, if it may be one.
    fn begin(&self, held: &[u8; HEADER_MAX]) -> Option<Frame> {
        let [first, second, ..] = *held;
        let is_masked = second & MASKED != 0;
        // The first bit of three is what a compression takes (RFC 7692 section 6); nobody takes the others.
        if first & 0x30 != 0 || is_masked != (self.side == Side::Client) {
            return None;
        }
        let is_last = first & LAST != 0;
        let opcode = match first & 0x0f {
            0 => Opcode::Continuation,
            1 => Opcode::Data(MessageKind::Text),
            2 => Opcode::Data(MessageKind::Binary),
            8 => Opcode::Control(MessageKind::Close),
            9 => Opcode::Control(MessageKind::Ping),
            10 => Opcode::Control(MessageKind::Pong),
            _ => return None,
        };
        let (len, mask) = match second & !MASKED {
            126 => (u64::from(u16::from_be_bytes([held[2], held[3]])), 4),
            127 => (u64::from_be_bytes(held[2..10].try_into().ok()?), 10),
            len => (u64::from(len), 2),
        };
        let fits = match opcode {
            Opcode::Continuation => self.message.is_some(),
            Opcode::Data(_) => self.message.is_none(),
            Opcode::Control(_) => is_last && len <= CONTROL_MAX && first & COMPRESSED == 0,
        };
        let mask = if is_masked { held[mask..mask + 4].try_into().ok()? } else { [0; 4] };
        let fits = fits && len <= i64::MAX as u64;
        fits.then_some(Frame { opcode, is_last, len, left: len, mask, code: [0; 2], n_code: 0 })
    }

    /// `frame` passed to its end.
    fn ended(&mut self, frame: &Frame) -> Came {
        self.place = Place::Header([0; HEADER_MAX], 0);
        let (kind, before) = match (frame.opcode, self.message) {
            (Opcode::Control(MessageKind::Close), _) => {
                let code = match (frame.len, frame.n_code) {
                    (0, _) => Some(NO_CODE),
                    (_, 2) => Some(u16::from_be_bytes(frame.code)),
                    _ => None,
                };
                return Came::Close(code, frame.len);
            }
            (Opcode::Control(kind), _) => return Came::Message(kind, frame.len),
            (Opcode::Continuation, Some(message)) => message,
            (Opcode::Data(kind), _) => (kind, 0),
            (Opcode::Continuation, None) => return Came::Malformed,
        };
        let bytes = before.saturating_add(frame.len);
        self.message = (!frame.is_last).then_some((kind, bytes));
        if frame.is_last { Came::Message(kind, bytes) } else { Came::Nothing }
    }
}

/// How long the header is that these `n` bytes begin: at least one more, as long as that is not known.
fn header_len(held: &[u8; HEADER_MAX], n: usize) -> usize {
    if n < 2 {
        return 2;
    }
    let mask = if held[1] & MASKED != 0 { 4 } else { 0 };
    mask + match held[1] & !MASKED {
        126 => 4,
        127 => 10,
        _ => 2,
    }
}
