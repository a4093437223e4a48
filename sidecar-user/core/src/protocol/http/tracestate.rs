//! `tracestate` (W3C Trace Context, level 1, section 3.3): handed on as it is, whole or not at all.

/// Bytes of a list that is kept: as many as everybody should hand on (section 3.3.1.5).
const LEN_MAX: usize = 512;
/// Members that a list may have.
const MEMBERS_MAX: usize = 32;

/// The list that these header lines make together, without empty members. `None` where there is none, it is too long, or
/// it is not one.
pub(in crate::protocol) fn list(lines: &[&[u8]]) -> Option<Box<str>> {
    if lines.is_empty() || lines.iter().map(|line| line.len()).sum::<usize>() > LEN_MAX {
        return None;
    }
    let mut list = String::new();
    let mut n_members = 0;
    for member in lines.iter().flat_map(|line| line.split(|b| *b == b',')) {
        let member = str::from_utf8(member.trim_ascii()).ok()?;
        if member.is_empty() {
            continue;
        }
        let (key, value) = member.split_once('=')?;
        let is_plain = |text: &str| text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'=');
        if key.is_empty() || value.is_empty() || !is_plain(key) || !is_plain(value) {
            return None;
        }
        n_members += 1;
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(member);
    }
    let is_kept = (1..=MEMBERS_MAX).contains(&n_members) && list.len() <= LEN_MAX;
    is_kept.then(|| list.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let (long, longer) = (format!("a={}", "x".repeat(510)), format!("a={}", "x".repeat(511)));
        let many = |n: usize| (0..n).map(|i| format!("k{i}=v")).collect::<Vec<_>>().join(",");
        let (most, too_many) = (many(32), many(33));
        let half = "x".repeat(254);
        let (first, second) = (format!("a={half}"), format!("b={half}"));
        let cases: [(&[&str], Option<&str>); 15] = [
            (&[], None),
            (&[""], None),
            (&[" , "], None),
            (&["rojo=00f067aa0ba902b7"], Some("rojo=00f067aa0ba902b7")),
            (&["rojo=1,congo=t61rcWkgMzE"], Some("rojo=1,congo=t61rcWkgMzE")),
            (&["rojo=1 ,\tcongo=2", "", "t@v=3,"], Some("rojo=1,congo=2,t@v=3")),
            (&["a"], None),
            (&["a=1,b"], None),
            (&["a=1=2"], None),
            (&["=1"], None),
            (&["a=\u{e9}"], None),
            (&[&long], Some(&long)),
            (&[&longer], None),
            (&[&first, &second], None),
            (&[&most], Some(&most)),
        ];
        for (lines, expected) in cases {
            let bytes: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
            assert_eq!(list(&bytes).as_deref(), expected, "{lines:?}");
        }
        assert_eq!(list(&[too_many.as_bytes()]), None);
    }
}
