//! Headers that the configuration names, bounded in number and bytes. Credentials never leave: only that they were
//! sent.

use std::sync::Arc;

use httparse::Header;

use crate::model::Headers;

/// Values of one name that are kept; more are left out.
const VALUES_MAX: usize = 4;
/// Bytes of a value; the rest is cut off.
const VALUE_MAX: usize = 256;
/// Bytes of all values of a message; what comes after is left out.
const TOTAL_MAX: usize = 2048;
/// Names whose values are secret whatever they are.
const SECRET: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "set-cookie"];
const REDACTED: &str = "REDACTED";

/// What a message has of these names, which are in lower case.
pub(super) fn of(names: &[Arc<str>], headers: &[Header<'_>]) -> Headers {
    let mut room = TOTAL_MAX;
    let mut found = Headers::new();
    for name in names {
        let lines = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        let values: Vec<Box<str>> =
            lines.take(VALUES_MAX).map_while(|header| value(name, header.value, &mut room)).collect();
        if !values.is_empty() {
            found.push((Arc::clone(name), values));
        }
    }
    found
}

/// `None` where there is no room for it.
fn value(name: &str, bytes: &[u8], room: &mut usize) -> Option<Box<str>> {
    if SECRET.contains(&name) {
        return Some(REDACTED.into());
    }
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(VALUE_MAX)]);
    let text = &text[..text.floor_char_boundary(VALUE_MAX)];
    *room = room.checked_sub(text.len())?;
    Some(text.into())
}

/// Bytes that they hold.
pub(super) fn held(headers: &Headers) -> usize {
    let values = |values: &Vec<Box<str>>| {
        values.iter().map(|value| value.len() + size_of::<Box<str>>()).sum::<usize>()
    };
    headers.iter().map(|(_, found)| values(found) + size_of::<(Arc<str>, Vec<Box<str>>)>()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(names: &[&str], headers: &[(&str, &str)]) -> String {
        let names: Vec<Arc<str>> = names.iter().map(|name| Arc::from(*name)).collect();
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| Header { name, value: value.as_bytes() }).collect();
        let found = of(&names, &headers);
        let line = |(name, values): &(Arc<str>, Vec<Box<str>>)| format!("{name}: {}", values.join(" | "));
        found.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn only_what_is_named_and_was_sent() {
        let sent = [("X-Id", "7"), ("Accept", "a"), ("accept", "b"), ("Cookie", "secret"), ("X-Other", "no")];
        assert_eq!(told(&[], &sent), "");
        assert_eq!(told(&["accept", "x-id", "x-none"], &sent), "accept: a | b\nx-id: 7");
        assert_eq!(told(&["cookie"], &sent), "cookie: REDACTED");
    }

    #[test]
    fn bounded() {
        let long = "\u{e9}".repeat(1000);
        let sent: Vec<(&str, &str)> = (0..100)
            .flat_map(|_| [("a", long.as_str()), ("b", long.as_str()), ("c", long.as_str())])
            .collect();
        let names: Vec<Arc<str>> = ["a", "b", "c"].map(Arc::from).into();
        let headers: Vec<_> =
            sent.iter().map(|(name, value)| Header { name, value: value.as_bytes() }).collect();
        let found = of(&names, &headers);
        let n_values: Vec<usize> = found.iter().map(|(_, values)| values.len()).collect();
        assert_eq!(n_values, [4, 4]);
        assert!(found.iter().flat_map(|(_, values)| values).all(|value| value.len() <= VALUE_MAX));
        assert!(held(&found) < 3 * TOTAL_MAX);
    }
}
