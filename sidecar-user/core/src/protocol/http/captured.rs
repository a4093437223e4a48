//! Headers that the configuration names, bounded in number and bytes. Credentials never leave: only that they were
//! sent. Of URLs no query leaves.

use std::sync::Arc;

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
/// Names whose values are URLs: no query, no fragment and no user of one is kept.
const URLS: [&str; 4] = ["content-location", "location", "origin", "referer"];

/// What a message has of these names, which are in lower case, of all its lines.
pub(in crate::protocol) fn of<'a>(
    names: &[Arc<str>],
    lines: impl Iterator<Item = (&'a str, &'a [u8])> + Clone,
) -> Headers {
    let mut room = TOTAL_MAX;
    let mut found = Headers::new();
    for name in names {
        let lines = lines.clone().filter(|(sent, _)| sent.eq_ignore_ascii_case(name));
        let values: Vec<Box<str>> =
            lines.take(VALUES_MAX).map_while(|(_, sent)| value(name, sent, &mut room)).collect();
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
    if URLS.contains(&name) {
        return kept(&without_secrets(bytes), room);
    }
    kept(bytes, room)
}

/// A URL, absolute or not, without query, fragment and user. Backslashes are what browsers take them for.
fn without_secrets(url: &[u8]) -> Vec<u8> {
    let is_slash = |b: &u8| matches!(b, b'/' | b'\\');
    let end = url.iter().position(|b| matches!(b, b'?' | b'#')).unwrap_or(url.len());
    let url = &url[..end];
    let is_of_scheme = |b: &u8| b.is_ascii_alphanumeric() || b"+-.".contains(b);
    let colon = url.iter().position(|b| !is_of_scheme(b)).filter(|at| *at > 0 && url[*at] == b':');
    let after_scheme = colon.map_or(0, |at| at + 1);
    let n_slashes = url[after_scheme..].iter().take_while(|b| is_slash(b)).count();
    // A path of its own has none.
    if colon.is_none() && n_slashes < 2 {
        return url.to_vec();
    }
    let (begin, rest) = url.split_at(after_scheme + n_slashes);
    let authority = rest.iter().position(is_slash).unwrap_or(rest.len());
    let user = rest[..authority].iter().rposition(|b| *b == b'@').map_or(0, |at| at + 1);
    [begin, &rest[user..]].concat()
}

/// As much of a value as there may be; `None` where there is no room for it.
fn kept(bytes: &[u8], room: &mut usize) -> Option<Box<str>> {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(VALUE_MAX)]);
    let text = &text[..text.floor_char_boundary(VALUE_MAX)];
    *room = room.checked_sub(text.len())?;
    Some(text.into())
}

/// Bytes that they hold.
pub(in crate::protocol) fn held(headers: &Headers) -> usize {
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
        let found = of(&names, headers.iter().map(|(name, value)| (*name, value.as_bytes())));
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
    fn urls_without_what_is_secret_in_them() {
        for (url, shown) in [
            ("https://a.test/b?token=secret", "https://a.test/b"),
            ("https://a.test/b#secret", "https://a.test/b"),
            ("https://a.test?secret", "https://a.test"),
            ("https://user:secret@a.test:8/b", "https://a.test:8/b"),
            ("https://user:se@cret@a.test", "https://a.test"),
            ("HTTPS:\\\\user:secret@a.test\\b", "HTTPS:\\\\a.test\\b"),
            ("https:user:secret@a.test/b", "https:a.test/b"),
            ("https:///user:secret@a.test/b", "https:///a.test/b"),
            ("//user:secret@a.test/b", "//a.test/b"),
            ("/b/@c?secret", "/b/@c"),
            ("b/c@d", "b/c@d"),
            ("?secret", ""),
            ("null", "null"),
            ("", ""),
        ] {
            for name in URLS {
                assert_eq!(told(&[name], &[(name, url)]), format!("{name}: {shown}"), "{url}");
            }
            assert_eq!(told(&["x-id"], &[("X-Id", url)]), format!("x-id: {url}"));
        }
        let long = format!("https://{}:secret@a.test/b", "u".repeat(VALUE_MAX));
        assert_eq!(told(&["referer"], &[("Referer", &long)]), "referer: https://a.test/b");
    }

    #[test]
    fn bounded() {
        let long = "\u{e9}".repeat(1000);
        let sent: Vec<(&str, &str)> = (0..100)
            .flat_map(|_| [("a", long.as_str()), ("b", long.as_str()), ("c", long.as_str())])
            .collect();
        let names: Vec<Arc<str>> = ["a", "b", "c"].map(Arc::from).into();
        let found = of(&names, sent.iter().map(|(name, value)| (*name, value.as_bytes())));
        let n_values: Vec<usize> = found.iter().map(|(_, values)| values.len()).collect();
        assert_eq!(n_values, [4, 4]);
        assert!(found.iter().flat_map(|(_, values)| values).all(|value| value.len() <= VALUE_MAX));
        assert!(held(&found) < 3 * TOTAL_MAX);
    }
}
