//! What is counted of questions.

use std::sync::atomic::{AtomicU64, Ordering};

use sidecar_core::signal::{
    reason::{DnsFailed, DnsOutcome},
    steering,
};

pub(super) use sidecar_core::signal::reason::{DnsFailed as Failed, DnsOutcome as Outcome};

/// Only grows, but for `outstanding`.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    outcomes: [AtomicU64; DnsOutcome::WORDS.len()],
    failures: [AtomicU64; DnsFailed::WORDS.len()],
    outstanding: AtomicU64,
}

impl Questions {
    pub(super) fn ended(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, why: Failed) {
        self.failures[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Questions that wait for their answers.
    pub(crate) fn n_outstanding(&self) -> u64 {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// One more waits, while the result lives.
    pub(super) fn waits(&self) -> Waiting<'_> {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        Waiting(self)
    }

    /// As the metrics tell it.
    pub(crate) fn read(&self, addresses: usize) -> steering::Names {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        steering::Names {
            queries: self.outcomes.each_ref().map(get),
            failures: self.failures.each_ref().map(get),
            outstanding: self.n_outstanding(),
            addresses: addresses as u64,
        }
    }
}

/// A question that waits.
pub(super) struct Waiting<'a>(&'a Questions);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}
