//! Places of a table, dealt among targets by their weights.

use std::hash::Hasher as _;

use rustc_hash::FxHasher;

/// How many places a table for `n` targets has, of which any may be drawn: a multiple, so that equal weights get equal
/// shares.
pub(super) fn drawn_len(n: usize) -> usize {
    n * if n <= 32 { 32 } else { 8 }
}

/// Places in proportion to the weights, to all alike where no weight is above 0. Which place is whose does not matter: any
/// may be drawn.
pub(super) fn drawn(weights: &[u32], len: usize) -> Vec<usize> {
    let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    let alike = vec![1; weights.len()];
    let shares = match total {
        0 => shares(&alike, weights.len().max(1) as u64, len),
        _ => shares(weights, total, len),
    };
    let places = shares.into_iter().enumerate().flat_map(|(at, share)| std::iter::repeat_n(at, share));
    places.collect()
}

/// How many of `len` places each gets: its share, rounded down, at least one; what is left by the largest remainders.
fn shares(weights: &[u32], total: u64, len: usize) -> Vec<usize> {
    let len = len as u64;
    let whole = |weight: &u32| (u64::from(*weight) * len / total).max(u64::from(*weight > 0));
    let mut shares: Vec<u64> = weights.iter().map(whole).collect();
    let remainder = |at: usize| u64::from(weights[at]) * len % total;
    let mut order: Vec<usize> = (0..weights.len()).filter(|at| weights[*at] > 0).collect();
    order.sort_by_key(|at| std::cmp::Reverse(remainder(*at)));
    let sum: u64 = shares.iter().sum();
    for at in order.iter().cycle().take(usize::try_from(len.saturating_sub(sum)).unwrap_or(0)) {
        shares[*at] += 1;
    }
    // Those that were given a place above their share take it from whoever has most.
    for _ in len..sum {
        if let Some(most) = (0..shares.len()).max_by_key(|at| shares[*at]) {
            shares[most] -= 1;
        }
    }
    shares.into_iter().map(|share| share as usize).collect()
}

/// Lengths of tables for hashing: primes, of which the paper wants a hundred times as many places as there are targets. The
/// longest fits four times into what the kernel has for all tables: a change needs the old one and the new one.
const PRIMES: [usize; 5] = [251, 1021, 4093, 8191, 16_381];

/// How many places a table for `n` targets has that is found by a hash.
pub(super) fn hashed_len(n: usize) -> usize {
    PRIMES.into_iter().find(|prime| *prime >= n * 100).unwrap_or(PRIMES[PRIMES.len() - 1])
}

/// Places by each target's own preferences, so that few move when one comes or goes (Maglev, section 3.4). `names` tell
/// targets apart, through restarts too. A weight is how many turns of the highest one's a target gets.
pub(super) fn hashed(names: &[impl std::hash::Hash], weights: &[u32], len: usize) -> Vec<usize> {
    let most = weights.iter().copied().max().unwrap_or(0);
    if names.is_empty() || len < 2 {
        return vec![0; if names.is_empty() { 0 } else { len }];
    }
    let len = len as u64;
    let mut places: Vec<(u64, u64)> = names
        .iter()
        .map(|name| {
            let hash = |salt| {
                let mut hasher = FxHasher::default();
                hasher.write_u64(salt);
                name.hash(&mut hasher);
                hasher.finish()
            };
            (hash(0x6f66_6673) % len, hash(0x736b_6970) % (len - 1) + 1)
        })
        .collect();
    let mut table = vec![usize::MAX; len as usize];
    let mut left = len;
    let mut owed = vec![0_u64; names.len()];
    while left > 0 {
        for (at, (next, step)) in places.iter_mut().enumerate() {
            owed[at] += if most == 0 { 1 } else { u64::from(weights[at]) };
            if owed[at] < u64::from(most.max(1)) || left == 0 {
                continue;
            }
            owed[at] -= u64::from(most.max(1));
            while table[*next as usize] != usize::MAX {
                *next = (*next + *step) % len;
            }
            table[*next as usize] = at;
            left -= 1;
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(table: &[usize], n: usize) -> Vec<usize> {
        (0..n).map(|at| table.iter().filter(|place| **place == at).count()).collect()
    }

    #[test]
    fn places_are_in_proportion() {
        for (weights, expected) in [
            (vec![1, 1, 1], vec![32, 32, 32]),
            (vec![100, 100], vec![32, 32]),
            (vec![3, 1], vec![48, 16]),
            (vec![1, 0, 1], vec![48, 0, 48]),
            (vec![1000, 1], vec![63, 1]),
            (vec![0, 0], vec![32, 32]),
            (vec![5], vec![32]),
            (vec![], vec![]),
            (vec![65_535, 1, 1, 1], vec![125, 1, 1, 1]),
        ] {
            let table = drawn(&weights, drawn_len(weights.len()));
            assert_eq!(counts(&table, weights.len()), expected, "{weights:?}");
        }
    }

    #[test]
    fn few_places_move_when_a_target_goes() {
        let names: Vec<String> = (0..10).map(|n| format!("10.0.0.{n}:80")).collect();
        let weights = vec![1; 10];
        let len = hashed_len(10);
        let before = hashed(&names, &weights, len);
        let shares = counts(&before, 10);
        assert!(shares.iter().all(|n| n.abs_diff(len / 10) <= len / 50), "{shares:?}");
        assert_eq!(before, hashed(&names, &weights, len));
        let after = hashed(&names[1..], &weights[1..], len);
        let moved = before.iter().zip(&after).filter(|(a, b)| **a != 0 && **a - 1 != **b).count();
        assert!(moved < len / 10, "{moved} of {len} moved without need");
        let heavy = counts(&hashed(&names, &[4, 1, 1, 1, 1, 1, 1, 1, 1, 0], len), 10);
        assert_eq!(heavy[9], 0);
        assert!(heavy[0].abs_diff(heavy[1] * 4) <= len / 50, "{heavy:?}");
    }
}
