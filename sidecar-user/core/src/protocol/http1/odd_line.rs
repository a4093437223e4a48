//! Request lines that `httparse` refuses and servers answer all the same: bytes in the target that are no UTF-8, a minor
//! version beyond 1 (RFC 9110 section 2.5), spaces at the end (RFC 9112 section 3).

use super::blank_line::BlankLine;
use super::start_line::n_line_ends;

/// The head that `bytes` begin with, its request line written as usual, and by how many bytes it is longer than it came.
/// `None` where the line has no end yet, is usual already, or is none.
pub(super) fn mended(bytes: &[u8]) -> Option<(Vec<u8>, isize)> {
    let bytes = &bytes[..BlankLine::default().find(bytes).unwrap_or(bytes.len())];
    let (empty, rest) = bytes.split_at(n_line_ends(bytes));
    let end = rest.iter().position(|b| *b == b'\n')?;
    let (line, rest) = rest.split_at(end - usize::from(rest[..end].ends_with(b"\r")));
    let mut words = line.split(|b| *b == b' ').filter(|word| !word.is_empty());
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    if line.starts_with(b" ") || words.next().is_some() || target.iter().any(u8::is_ascii_control) {
        return None;
    }
    let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ b'0'..=b'9'] = *version else { return None };
    let mut head = [empty, method, b" "].concat();
    match str::from_utf8(target) {
        Ok(_) => head.extend_from_slice(target),
        Err(_) => target.iter().for_each(|b| put(&mut head, *b)),
    }
    head.extend_from_slice(if minor == b'0' { b" HTTP/1.0" } else { b" HTTP/1.1" });
    head.extend_from_slice(rest);
    let more = head.len() as isize - bytes.len() as isize;
    (head != bytes).then_some((head, more))
}

/// As a URL has such a byte (RFC 3986 section 2.1).
fn put(head: &mut Vec<u8>, b: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if b.is_ascii() {
        head.push(b);
    } else {
        head.extend([b'%', DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]);
    }
}

#[cfg(test)]
mod tests {
    use crate::protocol::{
        Keep,
        http1::head::{Heads, Parsed},
    };

    #[test]
    fn odd_request_lines_are_read() {
        let keep = Keep { paths: true, ..Keep::default() };
        for (line, path) in [
            (&b"GET /a?name=Ren\xe9 HTTP/1.1"[..], Some("/a")),
            (b"GET /Ren\xe9\xff HTTP/1.1", Some("/Ren%E9%FF")),
            (b"GET /caf\xc3\xa9 HTTP/1.1 ", Some("/caf\u{e9}")),
            (b"GET /a HTTP/1.2", Some("/a")),
            (b"GET  /a  HTTP/1.9  ", Some("/a")),
            (b"\r\nGET /a HTTP/1.1 ", Some("/a")),
            (b"GET /a HTTP/2.0", None),
            (b"GET /a HTTP/1.10", None),
            (b"GET /a b HTTP/1.1", None),
            (b"GET /a\x01\xff HTTP/1.1", None),
            (b"GET /a http/1.1", None),
            (b"GET", None),
            (b" GET /a HTTP/1.1 ", None),
        ] {
            for ends in ["\r\n", "\n"] {
                let head = [line, ends.as_bytes(), b"Host: a", ends.as_bytes(), ends.as_bytes()].concat();
                let all = [&head[..], b"GET / HTTP/1.1 \r\n"].concat();
                let said = line.escape_ascii().to_string();
                match Heads::new(&keep).request(&all) {
                    Parsed::Whole(len, request) => {
                        assert_eq!((len, request.http.path.as_deref()), (head.len(), path), "{said}");
                        assert_eq!(request.http.host.as_deref(), Some("a"), "{said}");
                    }
                    other => assert!(path.is_none() && other == Parsed::Malformed, "{said}: {other:?}"),
                }
                let begun = &all[..head.len() - 1];
                let is_begun = Heads::new(&keep).request(begun) == Parsed::Partial;
                assert_eq!(is_begun, path.is_some(), "{said}");
            }
        }
    }
}
