//! `traceparent` (W3C Trace Context, level 1, section 3.2).

use crate::model::TraceParent;

/// `version "-" trace-id "-" parent-id "-" trace-flags`
const LEN: usize = 55;

/// The parent, where the value is valid. Versions after 00 may be longer: what follows the flags is left unread, as
/// section 3.2.4 wants it.
pub(in crate::protocol) fn parse(value: &[u8]) -> Option<TraceParent> {
    let (known, rest) = value.split_at_checked(LEN)?;
    let [version] = hex(&known[..2])?;
    let follows = match version {
        0 => rest.is_empty(),
        0xff => false,
        _ => rest.is_empty() || rest[0] == b'-',
    };
    let dashes = [2, 35, 52].iter().all(|at| known[*at] == b'-');
    if !follows || !dashes {
        return None;
    }
    let (trace, span, [flags]) = (hex(&known[3..35])?, hex(&known[36..52])?, hex(&known[53..55])?);
    (trace != [0; 16] && span != [0; 8]).then_some(TraceParent { trace, span, flags })
}

/// Lower-case hexadecimal, exactly `N` bytes of it.
pub(super) fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn values() {
        let zeros = "0".repeat(32);
        for (value, flags) in [
            (format!("00-{TRACE}-{SPAN}-01"), Some(1)),
            (format!("00-{TRACE}-{SPAN}-00"), Some(0)),
            (format!("00-{TRACE}-{SPAN}-ff"), Some(0xff)),
            (format!("cc-{TRACE}-{SPAN}-01"), Some(1)),
            (format!("cc-{TRACE}-{SPAN}-01-what-the-future"), Some(1)),
            (format!("cc-{TRACE}-{SPAN}-01.what-the-future"), None),
            (format!("00-{TRACE}-{SPAN}-01-"), None),
            (format!("ff-{TRACE}-{SPAN}-01"), None),
            (format!("00-{zeros}-{SPAN}-01"), None),
            (format!("00-{TRACE}-{}-01", &zeros[..16]), None),
            (format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None),
            (format!("00-{TRACE}-{SPAN}-0X"), None),
            (format!("00-{TRACE}-{SPAN}-0"), None),
            (format!("00_{TRACE}-{SPAN}-01"), None),
            (format!("00-{TRACE}+{SPAN}-01"), None),
            (String::new(), None),
        ] {
            assert_eq!(parse(value.as_bytes()).map(|parent| parent.flags), flags, "{value}");
        }
        let parent = parse(format!("00-{TRACE}-{SPAN}-01").as_bytes());
        assert_eq!(parent.map(|parent| (parent.trace[0], parent.span[7])), Some((0x4b, 0xb7)));
    }
}
