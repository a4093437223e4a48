//! Is this a message after its length?

use crate::dns::{HEADER, Reader};
use crate::model::Side;
use crate::protocol::Detect;

/// Octets of the length before a message.
pub(super) const LENGTH: usize = 2;
/// A question for the root: name, type, class.
const SHORTEST: usize = HEADER + 5;
/// A question has no more (padding goes to 468, RFC 8467), so that nearly every other protocol is told apart by its first byte.
const LONGEST_QUESTION: usize = 4096;
/// So much of an answer, all of it in order, is as good as all of it.
const ENOUGH: usize = 512;
/// The shortest record: name, type, class, time to live, length.
const RECORD: usize = 11;
/// IN, CH, HS, NONE, ANY.
const CLASSES: [u16; 5] = [1, 3, 4, 254, 255];

/// Does `bytes` begin with a message of `side`?
pub(super) fn of(side: Side, bytes: &[u8]) -> Detect {
    match side {
        Side::Client => question(bytes),
        Side::Server => answer(bytes),
    }
}

/// A question has flags that hardly any other eight bytes have, and its length is that of what it counts.
pub(super) fn question(bytes: &[u8]) -> Detect {
    let fits = |at: usize, fits: fn(u8) -> bool| bytes.get(at).is_none_or(|octet| fits(*octet));
    // The length; QUERY, with recursion desired or not; one question, no answer; for IXFR a record; EDNS, a signature.
    let is_possible = fits(0, |high| usize::from(high) <= LONGEST_QUESTION >> 8)
        && fits(4, |flags| flags & !0x01 == 0)
        && fits(5, |flags| flags & !0x30 == 0)
        && has_one_question(bytes)
        && fits(8, |high| high == 0)
        && fits(9, |low| low == 0)
        && fits(10, |high| high == 0)
        && fits(11, |low| low <= 1)
        && fits(12, |high| high == 0)
        && fits(13, |low| low <= 3);
    if is_possible { message(bytes, usize::MAX) } else { Detect::No }
}

/// An answer may be of 64 KiB: as much of it as is there has to be in order.
pub(super) fn answer(bytes: &[u8]) -> Detect {
    let fits = |at: usize, fits: fn(u8) -> bool| bytes.get(at).is_none_or(|octet| fits(*octet));
    let is_possible = fits(4, |flags| flags & 0xf8 == 0x80)
        && fits(5, |flags| flags & 0x40 == 0)
        && has_one_question(bytes);
    if is_possible { message(bytes, ENOUGH) } else { Detect::No }
}

fn has_one_question(bytes: &[u8]) -> bool {
    bytes.get(6).is_none_or(|high| *high == 0) && bytes.get(7).is_none_or(|low| *low == 1)
}

fn message(bytes: &[u8], enough: usize) -> Detect {
    let Some((length, rest)) = bytes.split_first_chunk() else { return Detect::NeedMore };
    let len = usize::from(u16::from_be_bytes(*length));
    if len < SHORTEST {
        return Detect::No;
    }
    let message = &rest[..len.min(rest.len())];
    let Some((last, before)) = message.split_last() else { return Detect::NeedMore };
    let mut reader = Reader::default();
    // What it counts ends with it, and no earlier.
    if reader.push(before).is_err() || reader.is_whole() || reader.push(&[*last]).is_err() {
        return Detect::No;
    }
    let too_many = |n: u32| SHORTEST + n as usize * RECORD > len;
    if reader.header().is_some_and(|header| too_many(header.n_records())) {
        return Detect::No;
    }
    let is_odd =
        |question: &crate::dns::Question| question.record_type == 0 || !CLASSES.contains(&question.class);
    match reader.question() {
        Some(question) if is_odd(question) => Detect::No,
        Some(_) if message.len() == len && reader.is_whole() => Detect::Yes,
        Some(_) if message.len() < len && message.len() >= enough => Detect::Yes,
        _ if message.len() < len && !reader.is_whole() => Detect::NeedMore,
        _ => Detect::No,
    }
}
