//! Time as the kernel gives it.

use std::time::Duration;

/// `CLOCK_MONOTONIC` in nanoseconds, taken in the kernel when a packet passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ktime(pub u64);

impl Ktime {
    /// The time from `earlier` to `self`; zero where the two came out of order (two CPUs).
    #[must_use]
    pub fn since(self, earlier: Ktime) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}
