//! The static table (RFC 7541 appendix A).

use super::name::{Field, Name};

/// Its size.
pub(super) const LEN: usize = 61;

/// The entry at an index, which counts from 1: name and value.
pub(super) fn entry(index: usize) -> Option<(Name, &'static [u8])> {
    let (name, value) = ENTRIES.get(index.checked_sub(1)?)?;
    let field = match index {
        1 => Field::Authority,
        2 | 3 => Field::Method,
        4 | 5 => Field::Path,
        6 | 7 => Field::Scheme,
        8..=14 => Field::Status,
        31 => Field::ContentType,
        38 => Field::Host,
        _ => return Some((Name::Plain(name), value.as_bytes())),
    };
    Some((Name::Field(field), value.as_bytes()))
}

const ENTRIES: [(&str, &str); LEN] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_the_names_of_their_entries() {
        for (index, (text, _)) in (1..).zip(ENTRIES) {
            let (name, _) = entry(index).expect("an entry");
            assert_eq!(name.text(), Some(text), "{index}");
            assert_eq!(
                Field::named(text.as_bytes()).map(Name::Field).is_some(),
                matches!(name, Name::Field(_))
            );
        }
        assert!(entry(0).is_none() && entry(LEN + 1).is_none());
    }
}
