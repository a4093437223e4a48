//! Frames (RFC 9113 section 4.1): the header that each begins with, and what may be in one.

use crate::model::Side;

/// Bytes of a frame's header.
pub(super) const HEADER: usize = 9;
/// The longest payload that a receiver takes who says nothing else (section 4.2).
pub(super) const DEFAULT_MAX: u32 = 1 << 14;
/// The longest that any may take.
pub(super) const LARGEST_MAX: u32 = (1 << 24) - 1;
/// What a client says first (section 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    flags: u8,
    /// Of the payload.
    pub(super) len: u32,
    pub(super) stream: u32,
}

/// A frame's type (section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    RstStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// An extension's, which is passed over (section 5.5).
    Other,
}

impl Kind {
    pub(super) const HEADERS: u8 = 1;
    pub(super) const CONTINUATION: u8 = 9;
}

impl Frame {
    pub(super) const END_HEADERS: u8 = END_HEADERS;

    /// A frame's header.
    pub(super) fn header(kind: u8, flags: u8, stream: u32, len: u32) -> [u8; HEADER] {
        let [_, a, b, c] = len.to_be_bytes();
        let [d, e, f, g] = stream.to_be_bytes();
        [a, b, c, kind, flags, d, e, f, g]
    }

    pub(super) fn read(bytes: &[u8; HEADER]) -> Frame {
        let [a, b, c, kind, flags, stream @ ..] = *bytes;
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::Headers,
            2 => Kind::Priority,
            3 => Kind::RstStream,
            4 => Kind::Settings,
            5 => Kind::PushPromise,
            6 => Kind::Ping,
            7 => Kind::GoAway,
            8 => Kind::WindowUpdate,
            9 => Kind::Continuation,
            _ => Kind::Other,
        };
        // The first bit of the stream is reserved, and nothing to a receiver.
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        Frame { kind, flags, len: u32::from_be_bytes([0, a, b, c]), stream }
    }

    pub(super) fn ends_stream(&self) -> bool {
        matches!(self.kind, Kind::Data | Kind::Headers) && self.flags & END_STREAM != 0
    }

    pub(super) fn ends_headers(&self) -> bool {
        self.flags & END_HEADERS != 0
    }

    pub(super) fn is_padded(&self) -> bool {
        matches!(self.kind, Kind::Data | Kind::Headers | Kind::PushPromise) && self.flags & PADDED != 0
    }

    pub(super) fn is_ack(&self) -> bool {
        self.flags & ACK != 0
    }

    /// Bytes between the pad's length and the field block.
    pub(super) fn before_block(&self) -> usize {
        match self.kind {
            Kind::Headers if self.flags & PRIORITY != 0 => 5,
            Kind::PushPromise => 4,
            _ => 0,
        }
    }

    /// Whether a frame of `side` can be so at all: its length, and whether it is of a stream.
    pub(super) fn is_sound(&self, side: Side) -> bool {
        let least = usize::from(self.is_padded()) + self.before_block();
        let fits = match self.kind {
            Kind::Priority => self.len == 5,
            Kind::RstStream | Kind::WindowUpdate => self.len == 4,
            Kind::Settings if self.is_ack() => self.len == 0,
            Kind::Settings => self.len.is_multiple_of(6),
            Kind::Ping => self.len == 8,
            Kind::GoAway => self.len >= 8,
            Kind::Data | Kind::Headers | Kind::PushPromise => self.len as usize >= least,
            Kind::Continuation | Kind::Other => true,
        };
        let is_placed = match self.kind {
            Kind::Data | Kind::Priority | Kind::RstStream | Kind::Continuation => self.stream != 0,
            // A client opens odd streams; a server's begin with a promise, and are even (section 5.1.1).
            Kind::Headers => self.stream != 0 && (side == Side::Server || self.stream % 2 == 1),
            Kind::PushPromise => side == Side::Server && self.stream % 2 == 1,
            Kind::Settings | Kind::Ping | Kind::GoAway => self.stream == 0,
            Kind::WindowUpdate | Kind::Other => true,
        };
        fits && is_placed
    }

    /// Whether `bytes` look like the header of a frame of `side` where that is anything but certain: nothing that is
    /// optional, reserved or an extension's.
    pub(super) fn looks_like(bytes: &[u8; HEADER], side: Side, max: u32) -> bool {
        let frame = Frame::read(bytes);
        let flags = match frame.kind {
            Kind::Data => END_STREAM | PADDED,
            Kind::Headers => END_STREAM | END_HEADERS | PADDED | PRIORITY,
            Kind::PushPromise => END_HEADERS | PADDED,
            Kind::Settings | Kind::Ping => ACK,
            Kind::Continuation => END_HEADERS,
            Kind::Priority | Kind::RstStream | Kind::GoAway | Kind::WindowUpdate => 0,
            Kind::Other => return false,
        };
        let is_reserved = bytes[5] & 0x80 != 0;
        let is_pushed = frame.stream != 0 && frame.stream.is_multiple_of(2);
        let is_clients = matches!(frame.kind, Kind::WindowUpdate | Kind::RstStream | Kind::Priority);
        let is_short = frame.len <= if frame.kind == Kind::Settings { 16 * 6 } else { max };
        is_short
            && frame.flags & !flags == 0
            && !is_reserved
            && (!is_pushed || is_clients && side == Side::Client)
            && frame.is_sound(side)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be() {
        let (client, server) = (Side::Client, Side::Server);
        for (name, bytes, side, is_sound, looks_like) in [
            ("settings", [0, 0, 12, 4, 0, 0, 0, 0, 0], client, true, true),
            ("settings of a stream", [0, 0, 12, 4, 0, 0, 0, 0, 1], client, false, false),
            ("settings of 7 bytes", [0, 0, 7, 4, 0, 0, 0, 0, 0], client, false, false),
            ("an acknowledgement", [0, 0, 0, 4, 1, 0, 0, 0, 0], server, true, true),
            ("one that says something", [0, 0, 6, 4, 1, 0, 0, 0, 0], server, false, false),
            ("a request", [0, 0, 9, 1, 5, 0, 0, 0, 1], client, true, true),
            ("of an even stream", [0, 0, 9, 1, 5, 0, 0, 0, 2], client, false, false),
            ("a pushed response", [0, 0, 9, 1, 5, 0, 0, 0, 2], server, true, false),
            ("with a flag of no meaning", [0, 0, 9, 1, 0x45, 0, 0, 0, 1], client, true, false),
            ("with the reserved bit", [0, 0, 9, 1, 5, 0x80, 0, 0, 1], client, true, false),
            ("padded, with a priority", [0, 0, 6, 1, 0x28, 0, 0, 0, 1], client, true, true),
            ("without room for them", [0, 0, 5, 1, 0x28, 0, 0, 0, 1], client, false, false),
            ("a promise", [0, 0, 9, 5, 4, 0, 0, 0, 1], server, true, true),
            ("a client's promise", [0, 0, 9, 5, 4, 0, 0, 0, 1], client, false, false),
            ("data of no stream", [0, 0, 0, 0, 0, 0, 0, 0, 0], client, false, false),
            ("data", [0, 0x40, 0, 0, 0, 0, 0, 0, 1], client, true, true),
            ("more data than may be", [0, 0x40, 1, 0, 0, 0, 0, 0, 1], client, true, false),
            ("a window", [0, 0, 4, 8, 0, 0, 0, 0, 0], client, true, true),
            ("a window of 5 bytes", [0, 0, 5, 8, 0, 0, 0, 0, 0], client, false, false),
            ("a ping", [0, 0, 8, 6, 0, 0, 0, 0, 0], client, true, true),
            ("a farewell", [0, 0, 8, 7, 0, 0, 0, 0, 0], client, true, true),
            ("a reset", [0, 0, 4, 3, 0, 0, 0, 0, 9], client, true, true),
            ("a priority", [0, 0, 5, 2, 0, 0, 0, 0, 9], client, true, true),
            ("an extension", [0, 0, 5, 16, 0, 0, 0, 0, 0], client, true, false),
        ] {
            assert_eq!(Frame::read(&bytes).is_sound(side), is_sound, "{name}");
            assert_eq!(Frame::looks_like(&bytes, side, DEFAULT_MAX), looks_like, "{name}");
        }
    }
}
