//! The clock that the kernel's records carry, read from user space.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use sidecar_core::{
    model::Ktime,
    signal::{Moment, UnixNanos},
};

/// `CLOCK_MONOTONIC` now.
pub(crate) fn now() -> Ktime {
    let now = clock_gettime(ClockId::Monotonic);
    Ktime((now.tv_sec as u64) * 1_000_000_000 + now.tv_nsec as u64)
}

/// Unix time in ns.
pub(crate) fn unix_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// Now, by both clocks.
pub(crate) fn moment() -> Moment {
    Moment { ktime: now(), unix: UnixNanos(unix_now()) }
}

/// What to add to a [`Ktime`] to get Unix time, ns, as the wall clock stands now.
pub(crate) fn unix_offset() -> u64 {
    unix_now().saturating_sub(now().0)
}

/// Something that differs from one start to the next, for ids that need not be secret.
pub(crate) fn seed() -> u64 {
    let own = u64::from(rustix::process::getpid().as_raw_nonzero().get().cast_unsigned());
    unix_now() ^ now().0.rotate_left(32) ^ own.rotate_left(48)
}
