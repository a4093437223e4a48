//! Whether bytes are a chain of messages. One alone says little: it takes several whose every field agrees, or a statement.

use super::message::{self, HEADER};
use crate::model::Side;
use crate::protocol::Detect;
use crate::protocol::sql::{self, Dialect};

/// What it takes.
const ENOUGH: u32 = 3;

/// What bytes are, from their first on. Once it is said, more bytes do not change it.
pub(super) fn chain(side: Side, mut bytes: &[u8]) -> Detect {
    let mut weight = 0;
    while weight < ENOUGH {
        // Whoever sends 16 MiB at once has to be met elsewhere: text would look like it.
        if bytes.get(1).is_some_and(|byte| *byte != 0) {
            return Detect::No;
        }
        let Some(header) = bytes.first_chunk() else {
            let mut padded = [0; HEADER];
            padded[..bytes.len()].copy_from_slice(bytes);
            padded[HEADER - 1] = 4;
            let is_kind = bytes.is_empty() || message::body_len(side, padded).is_some() || bytes[0] == b'Z';
            return if is_kind { Detect::NeedMore } else { Detect::No };
        };
        let Some(len) = message::body_len(side, *header) else { return Detect::No };
        let rest = &bytes[HEADER..];
        if len > 0 && !may_begin(side, header[0], rest) {
            return Detect::No;
        }
        let Some(body) = rest.get(..len as usize) else { return Detect::NeedMore };
        weight += match (side, weigh(side, header[0], body)) {
            (_, None) => return Detect::No,
            (_, Some(weight)) => weight,
        };
        bytes = &rest[len as usize..];
    }
    Detect::Yes
}

/// Whether a body may begin so.
fn may_begin(side: Side, kind: u8, bytes: &[u8]) -> bool {
    match (side, kind, bytes.first()) {
        (_, _, None) => true,
        (Side::Client, b'Q', Some(first)) => !first.is_ascii_control() || first.is_ascii_whitespace(),
        (Side::Client, b'D' | b'C', Some(first)) => matches!(first, b'S' | b'P'),
        (Side::Server, b'E' | b'N', Some(first)) => *first == b'S',
        (Side::Server, b'C', Some(first)) => first.is_ascii_uppercase(),
        (Side::Server, b'T' | b'D' | b't', Some(first)) => *first < 0x10,
        (Side::Server, b'G' | b'H' | b'W', Some(first)) => *first <= 1,
        (Side::Server, b'R' | b'K', Some(first)) => kind == b'K' || *first == 0,
        _ => true,
    }
}

/// What a whole message is worth; `None` where it is none.
fn weigh(side: Side, kind: u8, body: &[u8]) -> Option<u32> {
    let when = |is: bool, weight: u32| is.then_some(weight);
    match (side, kind) {
        (Side::Client, b'Q') => query(body),
        (Side::Client, b'P') => parse(body),
        (Side::Client, b'B') => when(bind(body).is_some(), 2),
        (Side::Client, b'E') => when(matches!(message::text(body)?.1, [0..0x80, _, _, _]), 1),
        (Side::Client, b'D' | b'C') => {
            let (kind, name) = body.split_first()?;
            when(matches!(kind, b'S' | b'P') && message::text(name)?.1.is_empty(), 1)
        }
        (Side::Client, b'S' | b'H') => Some(1),
        (Side::Client, b'p') => when(body.last() == Some(&0), 0),
        (Side::Client, _) => Some(0),
        (Side::Server, b'Z') => when(matches!(body, [b'I' | b'T' | b'E']), 2),
        (Side::Server, b'C') => when(message::is_tag(body), 2),
        (Side::Server, b'1' | b'2' | b'3' | b'n' | b's' | b'I') => Some(1),
        (Side::Server, b'T') => when(described(body).is_some(), 2),
        (Side::Server, b'D') => when(row(body).is_some(), 2),
        (Side::Server, b'E' | b'N') => when(fields(body).is_some(), 2),
        (Side::Server, b'S') => when(message::text(message::text(body)?.1)?.1.is_empty(), 1),
        (Side::Server, b't') => {
            let n = usize::from(u16::from_be_bytes(*body.first_chunk()?));
            when(body.len() == 2 + 4 * n, 1)
        }
        (Side::Server, b'G' | b'H' | b'W') => {
            let n = usize::from(u16::from_be_bytes([*body.get(1)?, *body.get(2)?]));
            when(body[0] <= 1 && body.len() == 3 + 2 * n, 1)
        }
        (Side::Server, b'R') => when(u32::from_be_bytes(*body.first_chunk()?) <= 12, 1),
        (Side::Server, b'K') => when(body.len() >= 8, 1),
        (Side::Server, b'A') => when(body.len() >= 6 && body.last() == Some(&0), 1),
        (Side::Server, _) => Some(0),
    }
}

/// A query is enough, if it is understood.
fn query(body: &[u8]) -> Option<u32> {
    let (text, []) = message::text(body)? else { return None };
    let is_known = sql::summarize(text, Dialect::PostgreSql).summary.is_some();
    Some(if is_known { ENOUGH } else { 1 })
}

fn parse(body: &[u8]) -> Option<u32> {
    let (_, rest) = message::text(body)?;
    let (text, rest) = message::text(rest)?;
    let n = usize::from(u16::from_be_bytes(*rest.first_chunk()?));
    let is_known = sql::summarize(text, Dialect::PostgreSql).summary.is_some();
    (rest.len() == 2 + 4 * n).then_some(if is_known { ENOUGH } else { 1 })
}

/// Portal, statement, formats, parameters, formats.
fn bind(body: &[u8]) -> Option<()> {
    let (_, rest) = message::text(body)?;
    let (_, rest) = message::text(rest)?;
    let rest = formats(rest)?;
    let rest = values(rest)?;
    formats(rest)?.is_empty().then_some(())
}

fn row(body: &[u8]) -> Option<()> {
    values(body)?.is_empty().then_some(())
}

fn formats(bytes: &[u8]) -> Option<&[u8]> {
    let (n, rest) = bytes.split_first_chunk()?;
    let formats = rest.get(..2 * usize::from(u16::from_be_bytes(*n)))?;
    let is_format = |format: &[u8]| matches!(format, [0, 0 | 1]);
    formats.chunks(2).all(is_format).then_some(&rest[formats.len()..])
}

fn values(bytes: &[u8]) -> Option<&[u8]> {
    let (n, mut rest) = bytes.split_first_chunk()?;
    for _ in 0..u16::from_be_bytes(*n) {
        let (len, value) = rest.split_first_chunk()?;
        rest = match i32::from_be_bytes(*len) {
            -1 => value,
            len => value.get(usize::try_from(len).ok()?..)?,
        };
    }
    Some(rest)
}

fn described(body: &[u8]) -> Option<()> {
    /// Table, column, type, size, modifier, format.
    const FIELD: usize = 18;
    let (n, mut rest) = body.split_first_chunk()?;
    for _ in 0..u16::from_be_bytes(*n) {
        rest = message::text(rest)?.1.get(FIELD..)?;
    }
    rest.is_empty().then_some(())
}

fn fields(mut body: &[u8]) -> Option<()> {
    (body.first() == Some(&b'S')).then_some(())?;
    while let (field, rest) = message::text(body)?
        && !field.is_empty()
    {
        body = rest;
    }
    (body == [0]).then_some(())
}
