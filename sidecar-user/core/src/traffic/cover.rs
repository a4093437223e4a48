//! Whether some have all of another between them: networks, and ids of users. There is no other way to find out.

use std::net::IpAddr;

use crate::model::Network;

/// Which of these it takes to have all of a network, the earlier of two that do alike; `None`: they leave something of it.
pub(super) fn cover<T>(network: &Network, by: impl Iterator<Item = (Network, T)>) -> Option<Vec<T>> {
    let is_v4 = network.address().is_ipv4();
    let of_family = by.filter(|(other, _)| other.address().is_ipv4() == is_v4);
    cover_span(span(network), of_family.map(|(other, one)| (span(&other), one)))
}

/// The same of numbers, from the first to the last.
pub(super) fn cover_span<T>(
    (first, last): (u128, u128),
    by: impl Iterator<Item = ((u128, u128), T)>,
) -> Option<Vec<T>> {
    let inside = by.filter(|((begin, end), _)| *begin <= last && first <= *end);
    let mut by: Vec<_> = inside.map(|((begin, end), one)| (begin.max(first), end.min(last), one)).collect();
    by.sort_by_key(|(begin, ..)| *begin);
    let (mut by, mut next, mut needed) = (by.into_iter().peekable(), first, Vec::new());
    loop {
        let mut farthest: Option<(u128, T)> = None;
        while let Some((_, end, one)) = by.next_if(|(begin, ..)| *begin <= next) {
            if farthest.as_ref().is_none_or(|(other, _)| end > *other) {
                farthest = Some((end, one));
            }
        }
        let (end, one) = farthest.filter(|(end, _)| *end >= next)?;
        needed.push(one);
        if end == last {
            return Some(needed);
        }
        next = end + 1;
    }
}

/// The numbers of its first and its last address.
fn span(network: &Network) -> (u128, u128) {
    let (first, bits) = match network.address() {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32 - network.prefix()),
        IpAddr::V6(address) => (u128::from(address), 128 - network.prefix()),
    };
    let rest = 1_u128.checked_shl(bits.into()).map_or(u128::MAX, |size| size - 1);
    (first & !rest, first | rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_have_all_of_another_between_them() {
        for (network, by, expected) in [
            ("10.0.0.0/8", &["10.0.0.0/8"][..], Some(&[0][..])),
            ("10.1.0.0/16", &["10.0.0.0/8", "0.0.0.0/0"], Some(&[0])),
            ("10.0.0.0/8", &["10.0.0.0/9", "10.128.0.0/9"], Some(&[0, 1])),
            ("10.0.0.0/8", &["10.128.0.0/9", "10.1.0.0/16", "10.0.0.0/9"], Some(&[2, 0])),
            ("10.0.0.0/8", &["10.0.0.0/9", "10.129.0.0/16", "10.192.0.0/10"], None),
            ("10.0.0.0/8", &["10.0.0.1", "::/0"], None),
            ("10.0.0.0/8", &[], None),
            ("0.0.0.0/0", &["0.0.0.0/1", "128.0.0.0/1"], Some(&[0, 1])),
            ("::/0", &["::/1", "0.0.0.0/0", "8000::/1"], Some(&[0, 2])),
            ("::/0", &["::/1", "8000::/2"], None),
            ("::1", &["::/0"], Some(&[0])),
        ] {
            let parsed = |text: &str| text.parse::<Network>().expect("a network");
            let by = by.iter().enumerate().map(|(at, other)| (parsed(other), at));
            assert_eq!(cover(&parsed(network), by).as_deref(), expected, "{network}");
        }
    }
}
