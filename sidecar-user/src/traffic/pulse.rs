//! Whether the threads run that the programs send connections and questions to.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sidecar_core::model::Ktime;
use tokio::time::{MissedTickBehavior, interval};

use crate::kernel::clock;

/// Between two beats.
pub(super) const BEAT: Duration = Duration::from_millis(200);
/// A thread that beat no longer ago runs: a busy one may miss a beat.
const RECENT: Duration = BEAT.saturating_mul(2);

/// Those of all threads that have begun.
#[derive(Clone, Default)]
pub(super) struct Pulses(Arc<Mutex<Vec<Arc<AtomicU64>>>>);

/// One thread's.
pub(super) struct Pulse(Arc<AtomicU64>);

impl Pulses {
    /// The calling thread's, which is not to end before the policy does.
    pub(super) fn begin(&self) -> Pulse {
        let last = Arc::new(AtomicU64::new(clock::now().0));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&last));
        Pulse(last)
    }

    /// Whether all of them beat lately.
    pub(super) fn are_felt(&self, now: Ktime) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = |last: &Arc<AtomicU64>| now.since(Ktime(last.load(Ordering::Relaxed))) <= RECENT;
        all.iter().all(recent)
    }
}

impl Pulse {
    /// For ever. Not as one of many tasks of a `LocalSet`, behind all of which it would wait.
    pub(super) async fn beat(self) {
        let mut ticks = interval(BEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.0.store(clock::now().0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_silent_is_enough() {
        let pulses = Pulses::default();
        let after = |ms: u64| Ktime(clock::now().0 + ms * 1_000_000);
        assert!(pulses.are_felt(after(10_000)), "nobody has begun");
        let [first, _second] = [pulses.begin(), pulses.begin()];
        assert!(pulses.are_felt(after(0)) && !pulses.are_felt(after(1_000)));
        first.0.store(after(1_000).0, Ordering::Relaxed);
        assert!(!pulses.are_felt(after(1_000)));
    }
}
