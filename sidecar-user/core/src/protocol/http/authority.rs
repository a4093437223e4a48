//! Host, port and path, out of a request's target and its `Host`.

use crate::model::Method;

/// The longest host name that DNS allows has 253 bytes.
const HOST_MAX: usize = 255;
/// Bytes of a path that are kept.
pub(in crate::protocol) const PATH_MAX: usize = 1024;

/// A request's target, by its form (RFC 9112 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol) struct Target<'a> {
    /// The authority, where the target has one. It outranks `Host` (RFC 9112 section 3.2.2).
    pub(in crate::protocol) authority: Option<&'a str>,
    /// The path, without query and fragment. The asterisk and authority forms have none.
    pub(in crate::protocol) path: Option<&'a str>,
}

impl<'a> Target<'a> {
    pub(in crate::protocol) fn new(method: Method, target: &'a str) -> Self {
        if method == Method::Connect {
            return Target { authority: Some(target), path: None };
        }
        if target.starts_with('/') {
            return Target { authority: None, path: Some(path(target)) };
        }
        let Some((_, rest)) = target.split_once("://") else {
            return Target { authority: None, path: None };
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let path = if rest.starts_with('/') { path(rest) } else { "/" };
        Target { authority: Some(authority), path: Some(path) }
    }
}

/// Up to the query, and not longer than what a span takes.
fn path(target: &str) -> &str {
    let end = target.bytes().position(|b| matches!(b, b'?' | b'#')).unwrap_or(target.len());
    &target[..target.floor_char_boundary(end.min(PATH_MAX))]
}

/// Host in lower case and port of `[userinfo@]host[:port]`. A name that is too long or that no host can have is
/// none: a piece of a name would be another host's. An IPv6 address loses its brackets, as `server.address` has it.
pub(in crate::protocol) fn host_and_port(authority: &[u8]) -> (Option<Box<str>>, Option<u16>) {
    let start = authority.iter().rposition(|b| *b == b'@').map_or(0, |at| at + 1);
    let authority = &authority[start..];
    let (host, port) = match authority.iter().rposition(|b| *b == b':') {
        Some(colon) if authority[colon..].iter().all(|b| *b != b']') => {
            (&authority[..colon], &authority[colon + 1..])
        }
        _ => (authority, &b""[..]),
    };
    let host = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).unwrap_or(host);
    if host.is_empty() || host.len() > HOST_MAX || !host.iter().copied().all(is_of_host) {
        return (None, None);
    }
    let Ok(host) = str::from_utf8(host) else { return (None, None) };
    let mut host: Box<str> = host.into();
    host.make_ascii_lowercase();
    (Some(host), decimal(port).and_then(|port| u16::try_from(port).ok()))
}

/// May it be in a host's name or address (RFC 3986 section 3.2.2)? No path, query or user begins in one.
fn is_of_host(b: u8) -> bool {
    const IS: [bool; 256] = {
        let mut is = [false; 256];
        let mut b = 0u8;
        while b < 128 {
            is[b as usize] = b.is_ascii_alphanumeric();
            b += 1;
        }
        let others = b"-._~%!$&'()*+,;=:";
        let mut i = 0;
        while i < others.len() {
            is[others[i] as usize] = true;
            i += 1;
        }
        is
    };
    IS[usize::from(b)]
}

/// A number in decimal digits and nothing else; `None` where it does not fit.
pub(in crate::protocol) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for (authority, host, port) in [
            ("example.com", Some("example.com"), None),
            ("Example.COM:8080", Some("example.com"), Some(8080)),
            ("example.com:", Some("example.com"), None),
            ("example.com:99999", Some("example.com"), None),
            ("user:secret@example.com:1", Some("example.com"), Some(1)),
            ("[::1]:80", Some("::1"), Some(80)),
            ("[2001:DB8::1]", Some("2001:db8::1"), None),
            ("10.0.0.1:443", Some("10.0.0.1"), Some(443)),
            ("", None, None),
            (":80", None, None),
            ("caf\u{e9}", None, None),
            ("a b", None, None),
            ("h/p?token=secret", None, None),
            ("h?token=secret", None, None),
            ("h#a", None, None),
            ("h\\a", None, None),
            ("a%20b_c~", Some("a%20b_c~"), None),
            ("[fe80::1%eth0]:1", Some("fe80::1%eth0"), Some(1)),
        ] {
            let (found, found_port) = host_and_port(authority.as_bytes());
            assert_eq!((found.as_deref(), found_port), (host, port), "{authority}");
        }
        assert_eq!(host_and_port("a".repeat(256).as_bytes()), (None, None));
    }

    #[test]
    fn targets() {
        for (method, target, authority, path) in [
            (Method::Get, "/a/b?c=d", None, Some("/a/b")),
            (Method::Get, "/?", None, Some("/")),
            (Method::Get, "/a#b", None, Some("/a")),
            (Method::Get, "http://h:1/a?b", Some("h:1"), Some("/a")),
            (Method::Get, "http://h", Some("h"), Some("/")),
            (Method::Get, "http://h?x", Some("h"), Some("/")),
            (Method::Get, "/redirect?to=http://h/", None, Some("/redirect")),
            (Method::Options, "*", None, None),
            (Method::Connect, "h:443", Some("h:443"), None),
        ] {
            assert_eq!(Target::new(method, target), Target { authority, path }, "{target}");
        }
        let long = format!("/{}", "\u{e9}".repeat(1000));
        assert_eq!(Target::new(Method::Get, &long).path.map(str::len), Some(1023));
    }
}
