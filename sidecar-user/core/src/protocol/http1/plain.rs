//! Heads as nearly all are written, read in one pass: lines that end in CRLF and hold no control character, no line
//! continued. What else there is gets `None`, and is `httparse`'s to judge; of what is read here it says the same.

use super::head::{HEADERS_MAX, Lines, Name, StartLine, StatusLine};
use crate::model::Method;
use crate::protocol::http::{b3::Part, request::method};

const DELETE: u8 = 0x7f;
/// One in each byte of a word.
const EACH: u64 = u64::from_ne_bytes([1; 8]);

/// The request that `bytes` begin with, and how many of them it is.
pub(super) fn request(bytes: &[u8]) -> Option<(usize, StartLine<'_>, Lines<'_>)> {
    let (line, rest) = start_line(bytes)?;
    let (name, line) = split(line)?;
    let (target, version) = split(line)?;
    let name = str::from_utf8(name).ok().filter(|name| method(name) != Method::Other)?;
    let target = str::from_utf8(target).ok().filter(|target| !target.is_empty())?;
    let (len, lines) = lines(bytes, rest)?;
    Some((len, StartLine { method: name, target, version: minor(version)? }, lines))
}

/// The response that `bytes` begin with, and how many of them it is.
pub(super) fn response(bytes: &[u8]) -> Option<(usize, StatusLine, Lines<'_>)> {
    let (line, rest) = start_line(bytes)?;
    let (version, line) = split(line)?;
    let (code, _reason) = split(line)?;
    let [hundreds, tens, ones] = *code else { return None };
    let mut status = 0;
    for digit in [hundreds, tens, ones] {
        status = 10 * status + u16::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    let (len, lines) = lines(bytes, rest)?;
    Some((len, StatusLine { status, version: minor(version)? }, lines))
}

/// The header lines that matter of those in `rest`, the end of `bytes`; how many bytes there are up to the empty line's end.
fn lines<'a>(bytes: &[u8], mut rest: &'a [u8]) -> Option<(usize, Lines<'a>)> {
    let mut lines = Lines::default();
    for _ in 0..=HEADERS_MAX {
        let (line, after) = line(rest)?;
        rest = after;
        match line.first() {
            None => return Some((bytes.len() - rest.len(), lines)),
            // Continues the line before it.
            Some(b' ') => return None,
            Some(b'B' | b'b' | b'C' | b'c' | b'H' | b'h' | b'T' | b't' | b'X' | b'x') => {
                add(&mut lines, line)?
            }
            Some(_) => {}
        }
    }
    None
}

fn add<'a>(lines: &mut Lines<'a>, line: &'a [u8]) -> Option<()> {
    let Some((name, rest)) = named(line) else { return Some(()) };
    match rest {
        [b':', value @ ..] if !has_delete(value) => lines.add(name, value.trim_ascii()),
        // A space before the colon, or none of these names after all.
        [b':' | b' ', ..] => return None,
        _ => {}
    }
    Some(())
}

/// The name that `line` may begin with, and what comes after it. By the first letter: most lines are none of these.
fn named(line: &[u8]) -> Option<(Name, &[u8])> {
    let is = |name: Name, rest: Option<_>| rest.map(|rest| (name, rest));
    match line.first()? | 0x20 {
        b'b' => is(Name::B3(Part::Single), after(line, b"b3")),
        b'x' => is(Name::B3(Part::Trace), after(line, b"x-b3-traceid"))
            .or_else(|| is(Name::B3(Part::Span), after(line, b"x-b3-spanid")))
            .or_else(|| is(Name::B3(Part::Sampled), after(line, b"x-b3-sampled")))
            .or_else(|| is(Name::B3(Part::Flags), after(line, b"x-b3-flags"))),
        b'c' => is(Name::ContentLength, after(line, b"content-length"))
            .or_else(|| is(Name::ContentType, after(line, b"content-type"))),
        b'h' => is(Name::Host, after(line, b"host")),
        b't' => is(Name::TransferEncoding, after(line, b"transfer-encoding"))
            .or_else(|| is(Name::TraceParent, after(line, b"traceparent")))
            .or_else(|| is(Name::TraceState, after(line, b"tracestate"))),
        _ => None,
    }
}

/// What comes after `name`, in either case, where `line` begins with it. In a line without control characters the bit that
/// is set here tells nothing but a letter's case.
fn after<'a, const N: usize>(line: &'a [u8], name: &[u8; N]) -> Option<&'a [u8]> {
    let (begin, rest) = line.split_first_chunk::<N>()?;
    let is_word = |(a, b): (&[u8; 8], &[u8; 8])| {
        let [a, b] = [a, b].map(|bytes| u64::from_ne_bytes(*bytes) | (EACH * 0x20));
        a == b
    };
    let is_it = match begin.last_chunk().zip(name.last_chunk()) {
        // Word by word; the last one may overlap.
        Some(last) => begin.as_chunks().0.iter().zip(name.as_chunks().0).chain([last]).all(is_word),
        None => begin.eq_ignore_ascii_case(name),
    };
    is_it.then_some(rest)
}

fn start_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    line(bytes).filter(|(line, _)| !has_delete(line))
}

/// Without a way out, so that it takes many bytes at a time.
fn has_delete(text: &[u8]) -> bool {
    text.iter().fold(false, |has, b| has | (*b == DELETE))
}

/// The first line, without its end, and what comes after it.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (line, rest) = bytes.split_at_checked(first_below::<b' '>(bytes)?)?;
    Some((line, rest.strip_prefix(b"\r\n")?))
}

/// Where the first byte below `LIMIT` is. Those below a space are control characters; [`DELETE`] is one too, and matters
/// only in what is looked at.
fn first_below<const LIMIT: u8>(bytes: &[u8]) -> Option<usize> {
    const HIGHEST: u64 = EACH << 7;
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // The highest bit of each byte that is below. Only in bytes after the first of them may it be wrong.
        let found = word.wrapping_sub(EACH * u64::from(LIMIT)) & !word & HIGHEST;
        if found != 0 {
            return Some(8 * at + found.trailing_zeros() as usize / 8);
        }
    }
    rest.iter().position(|b| *b < LIMIT).map(|at| 8 * words.len() + at)
}

/// What comes before and after the first space of a line, which has nothing below it.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = first_below::<{ b' ' + 1 }>(line)?;
    Some((&line[..space], &line[space + 1..]))
}

/// The minor version of `HTTP/1.x`.
fn minor(version: &[u8]) -> Option<u8> {
    match version {
        b"HTTP/1.1" => Some(1),
        b"HTTP/1.0" => Some(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::{
        Keep,
        http1::head::{Heads, Parsed},
    };

    const REQUEST_LINES: [&str; 8] = [
        "GET /a?b HTTP/1.1",
        "POST http://h:1/a HTTP/1.0",
        "CONNECT h:1 HTTP/1.1",
        "PURGE /a HTTP/1.1",
        "GET  /a HTTP/1.1",
        "GET /a HTTP/2.0",
        "GET /caf\u{e9} HTTP/1.1",
        "OPTIONS * HTTP/1.1",
    ];
    const STATUS_LINES: [&str; 8] = [
        "HTTP/1.1 200 OK",
        "HTTP/1.0 404 Not Found",
        "HTTP/1.1 204",
        "HTTP/1.1 204 ",
        "HTTP/1.1  200 OK",
        "HTTP/1.1 099 Low",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 500 caf\u{e9}",
    ];
    const LINES: [&str; 27] = [
        "b3: 80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1",
        "X-B3-TraceId: 80f198ee56343ba864fe8b2a57d3eff7",
        "x-b3-spanid: e457b5a2e4d86bd1",
        "tracestate: a=1, b=2",
        "TraceState: c=3",
        "Host: a.test:80",
        "host:b",
        "Host : c",
        "Content-Length: 5",
        "content-length :6",
        "Content-Length                 : 7",
        "Content-Length:",
        "Transfer-Encoding: gzip, chunked",
        "TE: trailers",
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "Content-Type: application/json",
        " continued: 1",
        "\tcontinued",
        "Cookie",
        "Connection: keep-alive\tx",
        "X-Any: \u{e9}",
        "Host\u{7f}: d",
        "Host: d\u{7f}",
        "X: \u{7f}",
        ": none",
        "X:",
        "Ho\"st: e",
    ];

    #[test]
    fn controls_are_found() {
        for control in [0u8, 1, 9, 10, 13, 31] {
            for at in 0..24 {
                let mut bytes = [b'a', 0x80, 0xff, b' ', b'~', 0xa0].repeat(4);
                bytes[at] = control;
                assert_eq!(first_below::<b' '>(&bytes), Some(at), "{control} at {at}");
                bytes[at..].fill(control);
                assert_eq!(first_below::<b' '>(&bytes), Some(at), "{control} from {at}");
            }
        }
        let others: Vec<u8> = (32..=255).collect();
        assert_eq!(first_below::<b' '>(&others), None);
    }

    #[test]
    fn every_byte_of_a_name_counts() {
        for (_, name) in Name::ALL {
            assert!(named(name.to_uppercase().as_bytes()).is_some(), "{name}");
            for at in 0..name.len() {
                let mut other = name.as_bytes().to_vec();
                other[at] = b'_';
                assert!(named(&other).is_none(), "{name}, {at}");
            }
        }
    }

    #[test]
    fn usual_heads_are_read_here() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\nrest";
        assert_eq!(request(head).map(|(len, ..)| len), Some(head.len() - 4));
        let head = b"HTTP/1.1 200 OK\r\nServer: a\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(response(head).map(|(len, ..)| len), Some(head.len() - 2));
    }

    #[test]
    fn as_many_lines_as_httparse_takes() {
        let head = |n: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(n));
        assert!(request(head(HEADERS_MAX).as_bytes()).is_some());
        assert!(request(head(HEADERS_MAX + 1).as_bytes()).is_none());
    }

    fn pick(from: &'static [&'static str]) -> impl Strategy<Value = String> {
        proptest::sample::select(from).prop_map(str::to_owned)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 4096, ..ProptestConfig::default() })]

        /// Whatever is read here, httparse reads the same of it.
        #[test]
        fn agrees_with_httparse(
            request_line in pick(&REQUEST_LINES),
            status_line in pick(&STATUS_LINES),
            lines in proptest::collection::vec(pick(&LINES), 0..6),
            end in pick(&["\r\n", "\r\n", "\r\n", "\n", "\r"]),
            changed in proptest::option::of((any::<proptest::sample::Index>(), any::<u8>())),
        ) {
            for start in [request_line, status_line] {
                let mut head = Vec::new();
                for line in std::iter::once(&start).chain(&lines) {
                    head.extend_from_slice(line.as_bytes());
                    head.extend_from_slice(end.as_bytes());
                }
                head.extend_from_slice(b"\r\nrest");
                if let Some((at, byte)) = &changed {
                    let at = at.index(head.len());
                    head[at] = *byte;
                }
                let keep = Keep { b3: true, ..Keep::default() };
        let heads = Heads::new(&keep);
                if let found @ Parsed::Whole(..) = heads.plain_request(&head) {
                    prop_assert_eq!(found, heads.any_request(&head));
                }
                if let found @ Parsed::Whole(..) = heads.plain_response(&head) {
                    prop_assert_eq!(found, heads.any_response(&head));
                }
            }
        }
    }
}
