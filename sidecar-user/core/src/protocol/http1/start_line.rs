//! What a message may begin with. Used to detect the protocol and to find the place again after bytes were lost.

use crate::model::{Http, Method, Side};
use crate::protocol::Detect;

/// RFC 9110 names no bound; the longest registered method (`UPDATEREDIRECTREF`) has 17 bytes.
const METHOD_MAX: usize = 32;
/// RFC 9112 section 3 recommends that 8000 bytes of request line be supported.
const TARGET_MAX: usize = 8 * 1024;
const VERSION: &[u8] = b"HTTP/1.";

/// Whether a request's method is the end of a known one, whose beginning may have been lost, or ends in one, before
/// which a body's end may be.
pub(super) fn is_rest_of_method(http: &Http) -> bool {
    const KNOWN: [&str; 10] =
        ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"];
    let is_rest = |rest: &str| KNOWN.iter().any(|method| method.ends_with(rest) || rest.ends_with(method));
    http.method == Some(Method::Other) && http.method_original.as_deref().is_some_and(is_rest)
}

/// Does a message of `side` begin here?
pub(super) fn begins(side: Side, bytes: &[u8]) -> Detect {
    match side {
        Side::Client => request(bytes),
        Side::Server => response(bytes),
    }
}

/// Does a request begin here? `token SP target SP HTTP/1.` (RFC 9112 section 3), after empty lines (section 2.2), with
/// any number of spaces: nginx, HAProxy and Node take them.
///
/// Asked for the version because the words before it are anybody's: `SELECT 1` is plausible until the line ends, and
/// `PRI * HTTP/2.0` is HTTP/2.
pub(super) fn request(bytes: &[u8]) -> Detect {
    let bytes = after_empty_lines(bytes);
    let method = bytes.iter().take_while(|b| is_tchar(**b)).count();
    match bytes.get(method) {
        _ if method > METHOD_MAX => return Detect::No,
        None => return Detect::NeedMore,
        Some(b' ') if method > 0 => {}
        Some(_) => return Detect::No,
    }
    let bytes = after_spaces(&bytes[method..]);
    let target = bytes.iter().take_while(|b| **b > b' ' && **b != 0x7f).count();
    match bytes.get(target) {
        _ if target > TARGET_MAX => Detect::No,
        None => Detect::NeedMore,
        Some(b' ') if target > 0 => starts_with_version(after_spaces(&bytes[target..])),
        Some(_) => Detect::No,
    }
}

/// Does a response begin here?
pub(super) fn response(bytes: &[u8]) -> Detect {
    starts_with_version(after_empty_lines(bytes))
}

fn starts_with_version(bytes: &[u8]) -> Detect {
    let n = bytes.len().min(VERSION.len());
    match bytes[..n] == VERSION[..n] {
        true if n == VERSION.len() => Detect::Yes,
        true => Detect::NeedMore,
        false => Detect::No,
    }
}

fn after_spaces(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().take_while(|b| **b == b' ').count()..]
}

fn after_empty_lines(bytes: &[u8]) -> &[u8] {
    &bytes[n_line_ends(bytes)..]
}

/// How many carriage returns and line feeds `bytes` begin with.
pub(super) fn n_line_ends(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count()
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_tchar(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Detect::{NeedMore, No, Yes};

    #[test]
    fn requests() {
        for (bytes, answer) in [
            ("GET / HTTP/1.1\r\n", Yes),
            ("GET / HTTP/1.", Yes),
            ("\r\n\r\nGET / HTTP/1.0\r\n", Yes),
            ("M-SEARCH * HTTP/1.1\r\n", Yes),
            ("GET http://a/b?c HTTP/1.1", Yes),
            ("", NeedMore),
            ("\r\n", NeedMore),
            ("GE", NeedMore),
            ("GET ", NeedMore),
            ("GET /long", NeedMore),
            ("GET / HTTP", NeedMore),
            ("SELECT 1", NeedMore),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", No),
            ("GET /\r\n", No),
            ("GET  HTTP/1.1\r\n", No),
            ("GET  /  HTTP/1.1\r\n", Yes),
            ("GET  ", NeedMore),
            ("GET  /  ", NeedMore),
            ("GET  \t/ HTTP/1.1\r\n", No),
            (" GET / HTTP/1.1", No),
            ("HTTP/1.1 200 OK", No),
            ("PING\r\n", No),
            ("\u{16}\u{3}\u{1}", No),
            ("OPTIONS rtsp://a RTSP/1.0\r\n", No),
            ("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOP", No),
        ] {
            assert_eq!(request(bytes.as_bytes()), answer, "{bytes:?}");
        }
        let long = |n: usize| format!("GET /{}", "a".repeat(n));
        assert_eq!(request(long(8000).as_bytes()), NeedMore);
        assert_eq!(request(long(9000).as_bytes()), No);
    }

    #[test]
    fn responses() {
        for (bytes, answer) in [
            ("HTTP/1.1 200 OK", Yes),
            ("HTTP/1.", Yes),
            ("\r\nHTTP/1.0 ", Yes),
            ("", NeedMore),
            ("HTT", NeedMore),
            ("HTTP/2", No),
            ("220 smtp", No),
        ] {
            assert_eq!(response(bytes.as_bytes()), answer, "{bytes:?}");
        }
    }
}
