//! What became of pushed items. Shared between the exporter, which counts, and whoever fills the store.

use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use sidecar_core::signal::reason::{Dropped, Failed};
use sidecar_core::signal::{Store, UnixNanos, catalogue};

/// What is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Data points.
    Metrics,
    /// Spans.
    Traces,
}

const SIGNALS: [&str; 2] = ["metrics", "traces"];

/// Counts of items, by signal and reason. What was offered is sent, failed, dropped, or still waits.
#[derive(Debug, Default)]
pub(crate) struct ExportStats {
    /// When the last snapshot was taken that a receiver has, Unix ns.
    taken: AtomicU64,
    waiting: [AtomicU64; SIGNALS.len()],
    sent: [AtomicU64; SIGNALS.len()],
    failed: [[AtomicU64; Failed::WORDS.len()]; SIGNALS.len()],
    dropped: [[AtomicU64; Dropped::WORDS.len()]; SIGNALS.len()],
}

impl ExportStats {
    pub(super) fn offered(&self, signal: Signal, n: u64) {
        self.waiting[signal as usize].fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, signal: Signal, n: u64) {
        self.done(signal, &self.sent[signal as usize], n);
    }

    pub(super) fn failed(&self, signal: Signal, why: Failed, n: u64) {
        self.done(signal, &self.failed[signal as usize][why as usize], n);
    }

    pub(super) fn dropped(&self, signal: Signal, why: Dropped, n: u64) {
        self.done(signal, &self.dropped[signal as usize][why as usize], n);
    }

    /// A receiver has the metrics as they stood `at`.
    pub(super) fn metrics_taken(&self, at: UnixNanos) {
        self.taken.store(at.0, Ordering::Relaxed);
    }

    /// Which state of the metrics a receiver has; 0 for none.
    pub(crate) fn last_taken(&self) -> UnixNanos {
        UnixNanos(self.taken.load(Ordering::Relaxed))
    }

    fn done(&self, signal: Signal, as_what: &AtomicU64, n: u64) {
        as_what.fetch_add(n, Ordering::Relaxed);
        self.waiting[signal as usize].fetch_sub(n, Ordering::Relaxed);
    }

    /// Items offered whose end is open.
    pub(super) fn waiting(&self, signal: Signal) -> u64 {
        self.waiting[signal as usize].load(Ordering::Relaxed)
    }

    /// Items sent, failed and dropped so far.
    pub(super) fn totals(&self, signal: Signal) -> [u64; 3] {
        let sum = |all: &[AtomicU64]| all.iter().map(|n| n.load(Ordering::Relaxed)).sum();
        let i = signal as usize;
        [self.sent[i].load(Ordering::Relaxed), sum(&self.failed[i]), sum(&self.dropped[i])]
    }

    /// Whether anything that was ever offered has ended.
    pub(super) fn is_used(&self) -> bool {
        [Signal::Metrics, Signal::Traces].into_iter().any(|signal| self.totals(signal) != [0; 3])
    }

    /// Sets the store's series.
    pub(crate) fn record(&self, store: &mut Store) {
        for (i, signal) in SIGNALS.iter().enumerate() {
            store.set(&catalogue::EXPORT_QUEUE, &[signal], self.waiting[i].load(Ordering::Relaxed));
            store.set(&catalogue::EXPORT_SENT, &[signal], self.sent[i].load(Ordering::Relaxed));
            for (n, why) in self.failed[i].iter().zip(Failed::WORDS) {
                store.set(&catalogue::EXPORT_FAILED, &[signal, why], n.load(Ordering::Relaxed));
            }
            for (n, why) in self.dropped[i].iter().zip(Dropped::WORDS) {
                store.set(&catalogue::EXPORT_DROPPED, &[signal, why], n.load(Ordering::Relaxed));
            }
        }
    }
}
