//! What became of pushed items. Shared between the exporter, which counts, and whoever fills the store.

use std::sync::atomic::{AtomicU64, Ordering};

use sidecar_core::signal::{Store, catalogue};

/// What is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Data points.
    Metrics,
    /// Spans.
    Traces,
}

/// Why pushed items were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The request failed, and its retries too.
    Request,
    /// The receiver said so in a partial success.
    Rejected,
}

/// Why items were never pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// The queue was full.
    QueueFull,
    /// The deadline at shutdown passed.
    Shutdown,
}

const SIGNALS: [&str; 2] = ["metrics", "traces"];
const FAILED: [&str; 2] = ["request_failed", "rejected"];
const DROPPED: [&str; 2] = ["queue_full", "shutdown"];

/// Counts of items, by signal and reason.
#[derive(Debug, Default)]
pub(crate) struct ExportStats {
    sent: [AtomicU64; SIGNALS.len()],
    failed: [[AtomicU64; FAILED.len()]; SIGNALS.len()],
    dropped: [[AtomicU64; DROPPED.len()]; SIGNALS.len()],
}

impl ExportStats {
    pub(super) fn sent(&self, signal: Signal, n: u64) {
        self.sent[signal as usize].fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, signal: Signal, why: Failed, n: u64) {
        self.failed[signal as usize][why as usize].fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self, signal: Signal, why: Dropped, n: u64) {
        self.dropped[signal as usize][why as usize].fetch_add(n, Ordering::Relaxed);
    }

    /// Sets the store's counters. Metrics are never dropped: what is not pushed now is in the next push.
    pub(crate) fn record(&self, store: &mut Store) {
        for (i, signal) in SIGNALS.iter().enumerate() {
            store.set(&catalogue::EXPORT_SENT, &[signal], self.sent[i].load(Ordering::Relaxed));
            for (n, why) in self.failed[i].iter().zip(FAILED) {
                store.set(&catalogue::EXPORT_FAILED, &[signal, why], n.load(Ordering::Relaxed));
            }
        }
        for (n, why) in self.dropped[Signal::Traces as usize].iter().zip(DROPPED) {
            store.set(&catalogue::EXPORT_DROPPED, &["traces", why], n.load(Ordering::Relaxed));
        }
    }
}
