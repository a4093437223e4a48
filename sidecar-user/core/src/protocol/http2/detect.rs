//! Is it HTTP/2? By the client's preface; of a connection met in the middle by frames that follow one another.

use super::frame::{DEFAULT_MAX, Frame, HEADER, Kind, PREFACE};
use super::hpack::{Decoder, Field, Name};
use crate::model::Side;
use crate::protocol::Detect;

/// How many frames bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frames {
    None,
    /// Not enough bytes to say, and so far they fit.
    Unsaid,
    /// One, and nothing that does not fit after it.
    One,
    /// Two or more.
    Many,
}

/// Bytes of a header table that a look at a block takes.
const TABLE_ROOM: usize = 4096;

/// One frame has little to tell it from other binary protocols by: it takes two in a row, or one of each side. And most look
/// alike from both sides: it takes one that begins a request or a response, which is of one side only.
pub(super) fn detect(client: &[u8], server: &[u8]) -> Detect {
    let preface = client.len().min(PREFACE.len());
    if !client.is_empty() && client[..preface] == PREFACE[..preface] {
        return if preface == PREFACE.len() { Detect::Yes } else { Detect::NeedMore };
    }
    let shown = (shown(Side::Client, client), shown(Side::Server, server));
    let is_shown = match shown {
        (Some(Side::Server), _) | (_, Some(Side::Client)) => return Detect::No,
        shown => shown != (None, None),
    };
    match (frames(Side::Client, client), frames(Side::Server, server)) {
        (Frames::Many, _) | (_, Frames::Many) | (Frames::One, Frames::One) if is_shown => Detect::Yes,
        (Frames::Many, _) | (_, Frames::Many) => Detect::NeedMore,
        // The middle of a long frame is no objection to a whole one of the other side.
        (Frames::One, _) | (_, Frames::One) => Detect::NeedMore,
        (Frames::None, _) | (_, Frames::None) => Detect::No,
        (Frames::Unsaid, Frames::Unsaid) => Detect::NeedMore,
    }
}

/// Whether bytes of a side begin with a frame that is whole, and nothing that does not fit comes after it.
pub(super) fn begins_with_frames(side: Side, bytes: &[u8]) -> bool {
    matches!(frames(side, bytes), Frames::One | Frames::Many)
}

fn frames(side: Side, bytes: &[u8]) -> Frames {
    let mut rest = bytes;
    let mut found = Frames::Unsaid;
    while let Some(header) = rest.first_chunk() {
        if !Frame::looks_like(header, side, DEFAULT_MAX) {
            return Frames::None;
        }
        let Some(after) = rest.get(HEADER + Frame::read(header).len as usize..) else { return found };
        found = if found == Frames::Unsaid { Frames::One } else { return Frames::Many };
        rest = after;
    }
    if may_go_on(rest) { found } else { Frames::None }
}

/// Whose the frames are that bytes of `side` begin with, as the first of their field blocks that tells says.
fn shown(side: Side, bytes: &[u8]) -> Option<Side> {
    let mut rest = bytes;
    while let Some(header) = rest.first_chunk().filter(|header| Frame::looks_like(header, side, DEFAULT_MAX))
    {
        let frame = Frame::read(header);
        let (payload, after) = rest[HEADER..].split_at_checked(frame.len as usize)?;
        if frame.kind == Kind::Headers && !frame.is_padded() {
            let mut whose = None;
            let block = payload.get(frame.before_block()..).unwrap_or_default();
            // However it stops, what was read of it until then is there.
            let _ = Decoder::new(false).read(block, &[], TABLE_ROOM, |name, _| {
                whose = whose.or(match name {
                    Name::Field(Field::Status) => Some(Side::Server),
                    Name::Field(Field::Method | Field::Scheme | Field::Path | Field::Authority) => {
                        Some(Side::Client)
                    }
                    _ => None,
                });
            });
            if whose.is_some() {
                return whose;
            }
        }
        rest = after;
    }
    None
}

/// Whether less than a header may be the beginning of one.
pub(super) fn may_go_on(bytes: &[u8]) -> bool {
    let most = [0, DEFAULT_MAX.to_be_bytes()[2], 0xff, 9, 0x2d, 0x7f];
    bytes.iter().zip(most).all(|(byte, most)| *byte <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = b"\x00\x00\x03\x01\x05\x00\x00\x00\x09\x82\x86\x84";
    const ANSWER: &[u8] = b"\x00\x00\x01\x01\x05\x00\x00\x00\x09\x88";
    const WINDOW: &[u8] = b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x10\x00";

    #[test]
    fn connections() {
        let two = [REQUEST, WINDOW].concat();
        let long = b"\x00\x40\x00\x00\x00\x00\x00\x00\x09abcdefgh";
        for (name, client, server, answer) in [
            ("nothing", &b""[..], &b""[..], Detect::NeedMore),
            ("the preface", PREFACE, b"", Detect::Yes),
            ("a part of it", &PREFACE[..5], b"", Detect::NeedMore),
            ("a request of HTTP/1", b"GET / HTTP/1.1\r\n", b"", Detect::No),
            ("one that begins alike", b"PRIX / HTTP/1.1\r\n", b"", Detect::No),
            ("a handshake", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", b"", Detect::No),
            ("PostgreSQL", b"\x00\x00\x00\x08\x04\xd2\x16\x2f", b"", Detect::No),
            ("PostgreSQL's startup", b"\x00\x00\x00\x29\x00\x03\x00\x00user", b"", Detect::No),
            ("MySQL", b"", b"\x4a\x00\x00\x00\x0a8.0.36\x00", Detect::No),
            ("RESP", b"*1\r\n$4\r\nPING\r\n", b"", Detect::No),
            ("memcached", b"get a\r\n", b"", Detect::No),
            ("DNS", b"\x00\x1d\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00", b"", Detect::No),
            ("zeros", &[0; 64], &[0; 64], Detect::No),
            ("a request, met in the middle", REQUEST, b"", Detect::NeedMore),
            ("and its answer", REQUEST, ANSWER, Detect::Yes),
            ("two frames", &two, b"", Detect::Yes),
            ("two of the server", b"", &[ANSWER, WINDOW].concat(), Detect::Yes),
            ("the other way round", b"", &two, Detect::No),
            ("and the answer too", ANSWER, &two, Detect::No),
            ("what both sides say", &[WINDOW, WINDOW].concat(), b"", Detect::NeedMore),
            ("and a request", &[WINDOW, WINDOW, REQUEST].concat(), WINDOW, Detect::Yes),
            ("a part of one", &REQUEST[..5], b"", Detect::NeedMore),
            ("the middle of a body", REQUEST, b"abcdefghijkl", Detect::NeedMore),
            ("two frames beside it", &two, b"abcdefghijkl", Detect::Yes),
            ("a long frame", REQUEST, long, Detect::NeedMore),
            ("one that something else follows", b"", &[ANSWER, b"abc"].concat(), Detect::No),
        ] {
            assert_eq!(detect(client, server), answer, "{name}");
        }
    }
}
