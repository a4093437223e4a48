//! TLS, seen from outside: recognised, never opened. What both sides say in the clear becomes an exchange, the handshake.
//!
//! Where the handshake is over: before TLS 1.3 with the second Finished, a handshake record after that side's
//! ChangeCipherSpec. In TLS 1.3 all that follows the ServerHello looks like application data; there it is over with the
//! client's first record after it, which begins the flight that ends in its Finished. One as long as an alert is none:
//! a client that refuses the server's certificate says so by one, and closes. Where the client may send data before it is
//! answered (0-RTT), only a record as long as a Finished counts.
//!
//! What that leaves unseen: a server that refuses a client's certificate in TLS 1.3, as its alert is like any data;
//! the name behind an encrypted ClientHello (ECH), of which the outer one is told; all of DTLS and QUIC.

mod handshake;
mod hello;
mod record;
mod shown;
#[cfg(test)]
mod tests;

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
