//! B3 (github.com/openzipkin/b3-propagation), in one header or in several.

use super::traceparent::hex;
use crate::model::TraceParent;

/// A header of B3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol) enum Part {
    /// All in one.
    Single,
    Trace,
    Span,
    Sampled,
    Flags,
}

impl Part {
    pub(in crate::protocol) const ALL: [Part; 5] =
        [Part::Single, Part::Trace, Part::Span, Part::Sampled, Part::Flags];

    /// Whether a header of this name says something of a parent by this value.
    pub(in crate::protocol) fn is_told(self, value: &[u8]) -> bool {
        match self {
            Part::Single => {
                let mut b3 = B3::default();
                b3.add(self, value);
                b3.parent().is_some()
            }
            Part::Trace => hex::<8>(value).is_some() || hex::<16>(value).is_some(),
            Part::Span => hex::<8>(value).is_some(),
            Part::Sampled | Part::Flags => matches!(value, b"0" | b"1" | b"true" | b"false"),
        }
    }

    /// The header's name, in lower case.
    pub(in crate::protocol) const fn name(self) -> &'static str {
        match self {
            Part::Single => "b3",
            Part::Trace => "x-b3-traceid",
            Part::Span => "x-b3-spanid",
            Part::Sampled => "x-b3-sampled",
            Part::Flags => "x-b3-flags",
        }
    }
}

/// What a request has of them.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::protocol) struct B3<'a> {
    values: [Option<&'a [u8]>; Part::ALL.len()],
    /// One of them came twice: none is meant.
    is_doubled: bool,
}

impl<'a> B3<'a> {
    pub(in crate::protocol) fn add(&mut self, part: Part, value: &'a [u8]) {
        self.is_doubled |= self.values[part as usize].replace(value).is_some();
    }

    /// The parent, where they name one. The single header goes before the others. Who leaves the decision open has not sampled, as
    /// OpenTelemetry's propagators take it.
    pub(in crate::protocol) fn parent(&self) -> Option<TraceParent> {
        let of = |part: Part| self.values[part as usize];
        if self.is_doubled {
            return None;
        }
        if let Some(single) = of(Part::Single) {
            let mut parts = single.split(|b| *b == b'-');
            let (trace, span, sampled) = (parts.next()?, parts.next()?, parts.next());
            // The parent's own parent, and nothing more.
            let rest = parts.next().is_none_or(|parent| hex::<8>(parent).is_some());
            let is_sampled = match sampled {
                Some(b"1" | b"d") => true,
                Some(b"0") | None => false,
                Some(_) => return None,
            };
            return named(trace, span, is_sampled).filter(|_| rest && parts.next().is_none());
        }
        let is_sampled = matches!(of(Part::Sampled), Some(b"1" | b"true")) || of(Part::Flags) == Some(b"1");
        named(of(Part::Trace)?, of(Part::Span)?, is_sampled)
    }
}

/// Trace ids have 64 or 128 bits.
fn named(trace: &[u8], span: &[u8], is_sampled: bool) -> Option<TraceParent> {
    let trace = match trace.len() {
        16 => u128::from(u64::from_be_bytes(hex(trace)?)).to_be_bytes(),
        _ => hex(trace)?,
    };
    let span = hex(span)?;
    (trace != [0; 16] && span != [0; 8]).then_some(TraceParent { trace, span, flags: u8::from(is_sampled) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "80f198ee56343ba864fe8b2a57d3eff7";
    const SPAN: &str = "e457b5a2e4d86bd1";

    fn parent(headers: &[(Part, &str)]) -> Option<(u128, u8)> {
        let mut b3 = B3::default();
        headers.iter().for_each(|(part, value)| b3.add(*part, value.as_bytes()));
        b3.parent().map(|parent| (u128::from_be_bytes(parent.trace), parent.flags))
    }

    #[test]
    fn one_header() {
        let (long, short) = (u128::from_str_radix(TRACE, 16).ok(), u128::from_str_radix(SPAN, 16).ok());
        let zeros = "0".repeat(32);
        for (value, expected) in [
            (format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90"), long.map(|trace| (trace, 1))),
            (format!("{TRACE}-{SPAN}-1"), long.map(|trace| (trace, 1))),
            (format!("{TRACE}-{SPAN}-d"), long.map(|trace| (trace, 1))),
            (format!("{TRACE}-{SPAN}-0"), long.map(|trace| (trace, 0))),
            (format!("{TRACE}-{SPAN}"), long.map(|trace| (trace, 0))),
            (format!("{SPAN}-{SPAN}-1"), short.map(|trace| (trace, 1))),
            ("0".to_owned(), None),
            (format!("{TRACE}-{SPAN}-2"), None),
            (format!("{TRACE}-{SPAN}-1-x"), None),
            (format!("{TRACE}-{SPAN}-1-{SPAN}-1"), None),
            (format!("{}-{SPAN}-1", TRACE.to_uppercase()), None),
            (format!("{zeros}-{SPAN}-1"), None),
            (format!("{TRACE}-{}-1", &zeros[..16]), None),
            (format!("{TRACE}-{TRACE}-1"), None),
            (String::new(), None),
        ] {
            assert_eq!(parent(&[(Part::Single, &value)]), expected, "{value}");
        }
    }

    #[test]
    fn several_headers() {
        let trace = u128::from_str_radix(TRACE, 16).expect("a number");
        let ids = [(Part::Trace, TRACE), (Part::Span, SPAN)];
        for (more, expected) in [
            (&[][..], Some((trace, 0))),
            (&[(Part::Sampled, "1")], Some((trace, 1))),
            (&[(Part::Sampled, "true")], Some((trace, 1))),
            (&[(Part::Sampled, "0")], Some((trace, 0))),
            (&[(Part::Flags, "1")], Some((trace, 1))),
            (&[(Part::Single, "0")], None),
            (&[(Part::Trace, TRACE)], None),
        ] {
            assert_eq!(parent(&[&ids[..], more].concat()), expected, "{more:?}");
        }
        assert_eq!(parent(&ids[..1]), None);
        assert_eq!(parent(&ids[1..]), None);
    }
}
