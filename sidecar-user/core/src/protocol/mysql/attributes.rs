//! What a query may have before its text (CLIENT_QUERY_ATTRIBUTES): passed over, as values are.

use super::field::Fields;

/// Most parameters that are passed over.
const MOST: u64 = 4096;

/// Where a query's text begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skip {
    Text(usize),
    NeedMore,
    Malformed,
}

/// Passes over attributes, if there are any: they begin with their number and a 1, and a text with neither.
pub(super) fn skip(bytes: &[u8]) -> Skip {
    match bytes.first() {
        None => return Skip::NeedMore,
        Some(b'\t' | b'\n' | b'\r' | b' '..=0xfb) => return Skip::Text(0),
        Some(_) => {}
    }
    let mut fields = Fields::of(bytes);
    match pass(&mut fields) {
        Some(true) => Skip::Text(bytes.len() - fields.rest.len()),
        Some(false) => Skip::Malformed,
        None => Skip::NeedMore,
    }
}

/// `None` where the bytes end before the attributes do.
fn pass(fields: &mut Fields<'_>) -> Option<bool> {
    let (count, sets) = (fields.int()?, fields.int()?);
    if sets != 1 || count > MOST {
        return Some(false);
    }
    if count == 0 {
        return Some(true);
    }
    let nulls = fields.take(count.div_ceil(8) as usize)?;
    if fields.byte()? != 1 {
        return Some(false);
    }
    let mut types = Vec::new();
    for _ in 0..count {
        types.push(fields.u16()?.to_le_bytes()[0]);
        fields.string()?;
    }
    for (index, kind) in types.into_iter().enumerate() {
        if nulls[index / 8] >> (index % 8) & 1 == 0 && !value(fields, kind)? {
            return Some(false);
        }
    }
    Some(true)
}

/// Passes over one value, by its type ("Binary Protocol Value").
fn value(fields: &mut Fields<'_>, kind: u8) -> Option<bool> {
    match kind {
        // TINY; SHORT, YEAR; LONG, FLOAT, INT24; DOUBLE, LONGLONG; NULL.
        0x01 => fields.take(1)?,
        0x02 | 0x0d => fields.take(2)?,
        0x03 | 0x04 | 0x09 => fields.take(4)?,
        0x05 | 0x08 => fields.take(8)?,
        0x06 => &[],
        // TIMESTAMP, DATE, TIME, DATETIME.
        0x07 | 0x0a..=0x0c => {
            let n = fields.byte()?;
            fields.take(usize::from(n))?
        }
        // DECIMAL, VARCHAR, BIT, JSON to GEOMETRY.
        0x00 | 0x0f | 0x10 | 0xf5..=0xff => fields.string()?,
        _ => return Some(false),
    };
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_passed_over() {
        let one = b"\x01\x01\x00\x01\xfd\x00\x05trace\x03abcselect 1";
        let null = b"\x01\x01\x01\x01\x06\x00\x01aselect 1";
        let two = b"\x02\x01\x00\x01\x08\x00\x01a\x0b\x00\x01b\x01\x02\x03\x04\x05\x06\x07\x08\x02xxselect 1";
        for (name, bytes, answer) in [
            ("none", &b"select 1"[..], Skip::Text(0)),
            ("no number of them", b"", Skip::NeedMore),
            ("no parameters", b"\x00\x01select 1", Skip::Text(2)),
            ("a text", one, Skip::Text(one.len() - 8)),
            ("a NULL", null, Skip::Text(null.len() - 8)),
            ("two", two, Skip::Text(two.len() - 8)),
            ("the value is not there", &one[..15], Skip::NeedMore),
            ("two sets", b"\x01\x02", Skip::Malformed),
            ("an unknown type", b"\x01\x01\x00\x01\x77\x00\x00", Skip::Malformed),
        ] {
            assert_eq!(skip(bytes), answer, "{name}");
        }
    }
}
