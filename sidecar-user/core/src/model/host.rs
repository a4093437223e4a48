//! Names of hosts.

use std::{fmt, str::FromStr};

/// A host's name, or with `*.` before it all names below it. Lower case, without the dot of the root.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host {
    name: String,
    is_wild: bool,
}

/// A text is not a host's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a host's name, such as `api.internal` or `*.example.com`: letters, digits, `-` and `_`")]
pub struct MalformedHost;

impl Host {
    /// The name, or that of which all below are meant.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether all names below it are meant, and not itself.
    #[must_use]
    pub fn is_wild(&self) -> bool {
        self.is_wild
    }
}

/// RFC 1035, 2.3.4: labels of at most 63 octets, names of at most 255, which is 253 characters.
impl FromStr for Host {
    type Err = MalformedHost;

    fn from_str(text: &str) -> Result<Self, MalformedHost> {
        let (name, is_wild) = match text.strip_prefix("*.") {
            Some(below) => (below, true),
            None => (text, false),
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let is_inner = |c: u8| c.is_ascii_alphanumeric() || b"-_".contains(&c);
        let is_label = |label: &str| {
            let ends = [label.bytes().next(), label.bytes().last()];
            matches!(label.len(), 1..=63)
                && label.bytes().all(is_inner)
                && ends.iter().all(|end| *end != Some(b'-'))
        };
        // What is all digits and dots is an address, however it is written.
        let is_address = name.bytes().all(|c| c.is_ascii_digit() || c == b'.');
        let is_name = !is_address && name.split('.').all(is_label);
        // `*.` takes a label more.
        let longest = if is_wild { 251 } else { 253 };
        if is_name && name.len() <= longest { Ok(Host { name, is_wild }) } else { Err(MalformedHost) }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.is_wild { "*." } else { "" }, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::Host;

    #[test]
    fn names_are_read_as_people_write_them() {
        let label = "a".repeat(63);
        for (text, expected) in [
            ("api.internal", Some("api.internal")),
            ("API.Internal.", Some("api.internal")),
            ("*.example.com", Some("*.example.com")),
            ("db", Some("db")),
            ("_sip._tcp.example.com", Some("_sip._tcp.example.com")),
            ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            (&format!("{label}.b"), Some(format!("{label}.b").as_str())),
            (&format!("{label}a.b"), None),
            ("", None),
            (".", None),
            ("*", None),
            ("*.", None),
            ("a.*.b", None),
            ("a..b", None),
            ("-a.b", None),
            ("a-.b", None),
            ("bücher.example", None),
            ("10.0.0.1", None),
            ("a b", None),
            ("http://a", None),
            (&[label.as_str(); 4].join("."), None),
        ] {
            let host = text.parse::<Host>().ok().map(|host| host.to_string());
            assert_eq!(host.as_deref(), expected, "{text}");
        }
    }
}
