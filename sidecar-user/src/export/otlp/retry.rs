//! The one retry rule: exponential back-off with full jitter, or what the receiver asked for, for a bounded time.
//! Sources: OTLP specification 1.9, "Failures" and "OTLP/HTTP Throttling"; full jitter: Brooker, "Exponential Backoff
//! And Jitter", 2015.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// How long one request is tried for, at most.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
const FIRST: Duration = Duration::from_secs(1);
const MAX: Duration = Duration::from_secs(30);
/// What a receiver may ask for, at most.
const MAX_ASKED: Duration = Duration::from_secs(30);

/// Whether a request that failed is worth another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// It would fail again.
    Never,
    /// After a while.
    Backoff,
    /// Not before what the receiver asked for.
    After(Duration),
}

/// How long to wait after the n-th failure (from 1); `random` is from 0 to 1. `None`: no other try.
pub(super) fn delay(again: Again, failures: u32, random: f64) -> Option<Duration> {
    match again {
        Again::Never => None,
        Again::Backoff => {
            let ceiling = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(MAX);
            Some(ceiling.mul_f64(random))
        }
        // Jitter here too: it asked all its clients at the same time.
        Again::After(asked) => Some(asked.min(MAX_ASKED) + FIRST.mul_f64(random)),
    }
}

/// A number from 0 to 1 that spreads clients.
pub(super) fn random() -> f64 {
    // Each RandomState has keys of its own: randomness enough for that, without a dependency.
    RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays() {
        let after = |seconds| Again::After(Duration::from_secs(seconds));
        for (again, failures, random, ms) in [
            (Again::Never, 1, 1.0, None),
            (Again::Backoff, 1, 1.0, Some(1_000)),
            (Again::Backoff, 1, 0.0, Some(0)),
            (Again::Backoff, 3, 0.5, Some(2_000)),
            (Again::Backoff, 6, 1.0, Some(30_000)),
            (Again::Backoff, u32::MAX, 1.0, Some(30_000)),
            (after(7), 1, 0.0, Some(7_000)),
            (after(7), 9, 0.5, Some(7_500)),
            (after(u64::MAX), 1, 0.0, Some(30_000)),
        ] {
            let expected = ms.map(Duration::from_millis);
            assert_eq!(delay(again, failures, random), expected, "{again:?} {failures} {random}");
        }
    }

    #[test]
    fn randomness_is_within_its_bounds() {
        let all: Vec<f64> = (0..100).map(|_| random()).collect();
        assert!(all.iter().all(|one| (0.0..=1.0).contains(one)) && all[0] != all[1]);
    }
}
