//! Small grammars of settings: lengths of time, URLs, headers, `name=value` lists.

use super::Refused;

/// Units of a length of time and their milliseconds, longest name first.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

/// `500ms`, `10s`, `1m30s`: whole numbers, each with its unit.
pub(super) fn duration(text: &str) -> Result<std::time::Duration, Refused> {
    let refused = || Refused(format!("`{text}` is not a length of time: write 500ms, 10s, 2m or 1h"));
    let mut rest = text;
    let mut total_ms = 0u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let (_, ms) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(refused)?;
        let part = number.parse::<u64>().ok().and_then(|n| n.checked_mul(*ms));
        total_ms = part.and_then(|part| total_ms.checked_add(part)).ok_or_else(refused)?;
        rest = after;
    }
    if text.is_empty() { Err(refused()) } else { Ok(std::time::Duration::from_millis(total_ms)) }
}

/// `http://HOST[:PORT][/PATH]`, the same with `https`, or `HOST:PORT`.
pub(super) fn endpoint(text: &str) -> Result<(), Refused> {
    if text.contains('@') {
        return Err(Refused("credentials do not belong in the URL: give them as otlp.headers".to_owned()));
    }
    let (scheme, rest) = text.split_once("://").map_or((None, text), |(scheme, rest)| (Some(scheme), rest));
    if let Some(scheme) = scheme.filter(|scheme| !["http", "https"].contains(&&*scheme.to_ascii_lowercase()))
    {
        return Err(Refused(format!("`{text}`: scheme `{scheme}` is neither http nor https")));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if scheme.is_none() && authority != text {
        return Err(Refused(format!("`{text}` is not a URL: write http://HOST:PORT")));
    }
    if rest.contains(['?', '#']) || rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(Refused(format!("`{text}`: a collector's URL has neither query nor spaces")));
    }
    let (host, port) = match authority.rfind(':') {
        Some(colon) if !authority.ends_with(']') => (&authority[..colon], Some(&authority[colon + 1..])),
        _ => (authority, None),
    };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match bracketed {
        Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.contains([':', '[', ']']),
    };
    // Without a scheme there is no port that goes without saying.
    let is_port = port.map_or(scheme.is_some(), |port| port.parse::<u16>().is_ok_and(|port| port > 0));
    if is_host && is_port {
        Ok(())
    } else {
        Err(Refused(format!("`{text}` has no valid HOST:PORT: an IPv6 address stands in brackets")))
    }
}

/// A name of RFC 9110 section 5.6.2.
pub(super) fn header_name(name: &str) -> Result<(), Refused> {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let is_name = !name.is_empty() && name.len() <= 64 && name.bytes().all(is_token);
    if is_name { Ok(()) } else { Err(Refused(format!("`{name}` is not a header name"))) }
}

/// One metadata entry: a name of RFC 9110 section 5.6.2, a value of visible ASCII. The value is not quoted.
pub(super) fn header(name: &str, value: &str) -> Result<(), Refused> {
    header_name(name)?;
    // gRPC over HTTP/2, "Requests": names with this ending carry base64, "grpc-" is the protocol's own.
    if name.ends_with("-bin") || name.starts_with("grpc-") {
        return Err(Refused(format!("header `{name}` is reserved by gRPC")));
    }
    if !value.bytes().all(|b| (0x20..=0x7e).contains(&b)) {
        return Err(Refused(format!("the value of header `{name}` has bytes that are not visible ASCII")));
    }
    Ok(())
}

/// `name=value,name=value`, values percent-encoded, as `OTEL_RESOURCE_ATTRIBUTES` has it (W3C Baggage). Errors name
/// the entry by number: values may be secret.
pub(super) fn pairs(text: &str) -> Result<Vec<(String, String)>, Refused> {
    let entries = text.split(',').map(str::trim).enumerate().filter(|(_, entry)| !entry.is_empty());
    entries
        .map(|(i, entry)| {
            let pair = entry.split_once('=').map(|(name, value)| (name.trim(), value.trim()));
            let (name, value) = pair
                .filter(|(name, _)| !name.is_empty())
                .ok_or_else(|| Refused(format!("entry {} is not `name=value`", i + 1)))?;
            let decoded = percent(name).zip(percent(value));
            decoded.ok_or_else(|| Refused(format!("entry {} has a `%` that no two hex digits follow", i + 1)))
        })
        .collect()
}

/// Percent-decoded; `None` for a broken escape or bytes that are no UTF-8.
fn percent(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
            let (high, low) = (digit()?, digit()?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let ms = |text| duration(text).ok().map(|d| d.as_millis());
        for (text, expected) in
            [("500ms", 500), ("10s", 10_000), ("1m30s", 90_000), ("2h", 7_200_000), ("0s", 0)]
        {
            assert_eq!(ms(text), Some(expected), "{text}");
        }
        for text in
            ["", "10", "s", "-1s", "1.5s", "10 s", "1d", "99999999999999999999s", "18446744073709551615h"]
        {
            assert_eq!(ms(text), None, "{text}");
        }
    }

    #[test]
    fn endpoints() {
        for text in [
            "http://collector:4317",
            "http://[::1]:4317",
            "http://10.0.0.1",
            "HTTP://h:1/path",
            "https://h",
            "HTTPS://h:1/path",
            "collector:4317",
            "[::1]:4317",
        ] {
            assert_eq!(endpoint(text), Ok(()), "{text}");
        }
        for (text, part) in [
            ("collector", "no valid HOST:PORT"),
            ("collector:4317/v1", "not a URL"),
            ("ftp://h", "scheme `ftp`"),
            ("http://", "no valid HOST:PORT"),
            ("http://h:0", "no valid HOST:PORT"),
            ("http://h:99999", "no valid HOST:PORT"),
            ("http://::1:4317", "in brackets"),
            ("http://h:1/?q=1", "neither query"),
            ("http://user:word@h:1", "otlp.headers"),
            ("user:word@h:1", "otlp.headers"),
        ] {
            let message = endpoint(text).map_or_else(|e| e.to_string(), |()| String::new());
            assert!(message.contains(part), "{text}: {message}");
            assert!(!message.contains("word"), "{message}");
        }
    }

    #[test]
    fn lists() {
        let list = pairs("a=1, b = x%2Cy%3D ,,c=").map(|list| list.into_iter().collect::<Vec<_>>());
        let expected = [("a", "1"), ("b", "x,y="), ("c", "")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(list, Ok(expected.to_vec()));
        for text in ["a", "=1", "a=%4", "a=%zz", "a=%ff"] {
            let message = pairs(text).map_or_else(|e| e.to_string(), |_| String::new());
            assert!(message.starts_with("entry 1"), "{text}: {message}");
        }
    }

    #[test]
    fn headers_are_checked_without_showing_the_value() {
        assert_eq!(header("authorization", "Bearer x"), Ok(()));
        for (name, value) in
            [("", "v"), ("a b", "v"), ("trace-bin", "v"), ("grpc-timeout", "v"), ("a", "se\ncret")]
        {
            let message = header(name, value).map_or_else(|e| e.to_string(), |()| String::new());
            assert!(!message.is_empty() && !message.contains("cret"), "{name}: {message}");
        }
    }
}
