//! A range of users.

use std::{fmt, str::FromStr};

/// Ids of users, `1000` or `1000-1999`, both ends among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Uids {
    first: u32,
    last: u32,
}

/// Why a text is no range of users.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a user id: write 1000, or 1000-1999. Names of users are those of one /etc/passwd, and containers have their own"
)]
pub struct MalformedUids(pub String);

/// No user has it: to chown(2) and setreuid(2) it says "as it is".
const NOBODY: u32 = u32::MAX;

impl Uids {
    /// Whether a user is among them.
    #[must_use]
    pub fn contains(&self, uid: u32) -> bool {
        (self.first..=self.last).contains(&uid)
    }

    /// The first and the last of them.
    #[must_use]
    pub fn ends(&self) -> (u32, u32) {
        (self.first, self.last)
    }

    /// Whether some user is among them and among others.
    #[must_use]
    pub fn meets(&self, other: &Uids) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The same, as the fewest prefixes: with each how many of its 32 bits count. At most 62 of them.
    pub fn prefixes(&self) -> impl Iterator<Item = (u32, u32)> + use<> {
        let (mut at, last) = (u64::from(self.first), u64::from(self.last));
        std::iter::from_fn(move || {
            let left = last.checked_sub(at)? + 1;
            let bits = at.trailing_zeros().min(left.ilog2());
            let first = u32::try_from(at).ok()?;
            at += 1 << bits;
            Some((first, 32 - bits))
        })
    }
}

impl FromStr for Uids {
    type Err = MalformedUids;

    fn from_str(text: &str) -> Result<Self, MalformedUids> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let uid = |text: &str| text.parse().ok().filter(|uid| is_number(text) && *uid != NOBODY);
        match (uid(first), uid(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Uids { first, last }),
            _ => Err(MalformedUids(text.to_owned())),
        }
    }
}

impl fmt::Display for Uids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => self.first.fmt(f),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_refused() {
        for text in ["0", "1000", "1000-1999", "0-4294967294", "7-7"] {
            let uids: Uids = text.parse().expect("a range");
            assert_eq!(uids.to_string(), if text == "7-7" { "7" } else { text });
        }
        for text in
            ["", "root", "-1", "1-", "+1", "2-1", "4294967295", "4294967296", "1000:1999", "1 - 2", "1.5"]
        {
            assert_eq!(text.parse::<Uids>(), Err(MalformedUids(text.to_owned())));
        }
    }

    #[test]
    fn prefixes_have_those_users_and_no_other() {
        for (text, n) in [
            ("0", 1),
            ("1000", 1),
            ("0-4294967294", 32),
            ("1-4294967294", 62),
            ("1000-1999", 7),
            ("65536-131071", 1),
            ("7-8", 2),
        ] {
            let uids: Uids = text.parse().expect("a range");
            let prefixes: Vec<_> = uids.prefixes().collect();
            assert_eq!(prefixes.len(), n, "{text}: {prefixes:?}");
            let has = |uid: u32| {
                let mask = |len: u32| u32::MAX.checked_shl(32 - len).unwrap_or(0);
                prefixes.iter().filter(|(first, len)| uid & mask(*len) == *first).count()
            };
            let Uids { first, last } = uids;
            for uid in [first, last, first.midpoint(last), first.wrapping_sub(1), last + 1, NOBODY] {
                assert_eq!(has(uid), usize::from(uids.contains(uid)), "{text}: {uid}");
            }
        }
    }
}
