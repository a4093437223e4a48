//! TLS, seen from outside: recognised, never opened.

mod handshake;

use std::sync::Arc;

use super::{Birth, Detect, Limits, Protocol, Successor, Then};

/// The row of the table.
pub const PROTOCOL: Protocol =
    Protocol { name: "tls", detect, ports: &[443, 8443], then: Then::Handshake(handshake::open) };

/// Content type, version, length (RFC 8446 section 5.1).
const HEADER: usize = 5;
/// 2^14 of plaintext and 256 of expansion (RFC 8446 section 5.2).
const RECORD_MAX: usize = 16 * 1024 + 256;
const CHANGE_CIPHER_SPEC: u8 = 0x14;
const HANDSHAKE: u8 = 0x16;
const APPLICATION_DATA: u8 = 0x17;
const CLIENT_HELLO: u8 = 1;

/// Who reads a connection whose next byte is the first of TLS, as both sides agreed in another protocol.
pub fn successor(limits: &Arc<Limits>) -> Successor {
    let parser = handshake::open(Arc::clone(limits), Birth::Seen);
    Successor { protocol: &PROTOCOL, parser, signals: Vec::new() }
}

/// A ClientHello is enough. A connection met in the middle begins with any record, which has little to tell it from
/// other binary protocols by: that takes a record of each side, or two in a row.
fn detect(client: &[u8], server: &[u8]) -> Detect {
    match client_hello(client) {
        Detect::Yes => return Detect::Yes,
        Detect::NeedMore if server.is_empty() => return Detect::NeedMore,
        Detect::NeedMore | Detect::No => {}
    }
    if client_hello(server) == Detect::Yes {
        return Detect::No;
    }
    match (records(client), records(server)) {
        (Records::None, _) | (_, Records::None) => Detect::No,
        (Records::Two, _) | (_, Records::Two) | (Records::One, Records::One) => Detect::Yes,
        _ => Detect::NeedMore,
    }
}

fn client_hello(bytes: &[u8]) -> Detect {
    let begins = bytes.first().is_none_or(|kind| *kind == HANDSHAKE) && header(bytes) != Header::None;
    match bytes.get(HEADER) {
        _ if !begins => Detect::No,
        None => Detect::NeedMore,
        Some(&CLIENT_HELLO) => Detect::Yes,
        Some(_) => Detect::No,
    }
}

/// How many records in a row bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Records {
    None,
    /// Not enough bytes to say, and so far they fit.
    Unsaid,
    One,
    Two,
}

fn records(bytes: &[u8]) -> Records {
    let len = match header(bytes) {
        Header::None => return Records::None,
        Header::Part => return Records::Unsaid,
        Header::Whole(len) => len,
    };
    match header(bytes.get(HEADER + len..).unwrap_or_default()) {
        Header::None => Records::None,
        Header::Part => Records::One,
        Header::Whole(_) => Records::Two,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Header {
    None,
    Part,
    /// Of a record with this much after it.
    Whole(usize),
}

/// The record header that bytes begin with. All versions that were ever used are 03 00 to 03 04.
fn header(bytes: &[u8]) -> Header {
    let fits = |at: usize, fits: fn(u8) -> bool| bytes.get(at).is_none_or(|byte| fits(*byte));
    if !fits(0, |kind| (CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(&kind))
        || !fits(1, |major| major == 3)
        || !fits(2, |minor| minor <= 4)
    {
        return Header::None;
    }
    match bytes.get(3..HEADER) {
        None => Header::Part,
        Some(len) => match usize::from(u16::from_be_bytes([len[0], len[1]])) {
            0 => Header::None,
            len if len > RECORD_MAX => Header::None,
            len => Header::Whole(len),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Detect::{NeedMore, No, Yes};

    const HELLO: &[u8] = &[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3];
    const SERVER_HELLO: &[u8] = &[0x16, 3, 3, 0, 100, 2, 0, 0, 96, 3, 3];
    const DATA: &[u8] = &[0x17, 3, 3, 0, 2, 0xaa, 0xbb];
    const TWO: &[u8] = &[0x17, 3, 3, 0, 2, 0xaa, 0xbb, 0x15, 3, 3, 0, 2];

    #[test]
    fn cases() {
        for (name, client, server, answer) in [
            ("hello", HELLO, &b""[..], Yes),
            ("hello and its answer", HELLO, SERVER_HELLO, Yes),
            ("hello, type not there yet", &HELLO[..5], b"", NeedMore),
            ("one byte", &HELLO[..1], b"", NeedMore),
            ("nothing", b"", b"", NeedMore),
            ("not the version", &[0x16, 2], b"", No),
            ("too long", &[0x16, 3, 1, 0xff, 0xff, 1], b"", No),
            ("empty record", &[0x17, 3, 3, 0, 0], b"", No),
            ("text", b"GET / HTTP/1.1\r\n", b"", No),
            ("met in the middle, one side", DATA, b"", NeedMore),
            ("met in the middle, both sides", DATA, DATA, Yes),
            ("met in the middle, two records", TWO, b"", Yes),
            ("met in the middle, two records of the server", b"", TWO, Yes),
            ("a record, then something else", &[0x17, 3, 3, 0, 1, 0, 0x99], b"", No),
            ("a record answered by text", DATA, b"HTTP/1.1 400 Bad Request\r\n", No),
            ("the server says hello first", b"", HELLO, No),
        ] {
            assert_eq!(detect(client, server), answer, "{name}");
        }
    }
}
