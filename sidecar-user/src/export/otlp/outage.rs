//! Says once that pushing fails, or is taken in part, and once that it works again; the counters say how much.

use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{debug, info, warn};

use crate::export::Signal;

/// Whether pushes of one signal fail at present.
pub(super) struct Outage {
    signal: Signal,
    is_on: AtomicBool,
    is_partial: AtomicBool,
}

impl Outage {
    pub(super) fn new(signal: Signal) -> Self {
        Outage { signal, is_on: AtomicBool::new(false), is_partial: AtomicBool::new(false) }
    }

    /// At shutdown, the one line at its end says what was lost.
    pub(super) fn failed(&self, error: &str, at_shutdown: bool) {
        let signal = self.signal;
        if self.is_on.swap(true, Ordering::Relaxed) || at_shutdown {
            debug!(?signal, error, "push failed");
        } else {
            warn!(?signal, error, "push failed");
        }
    }

    /// The receiver took a push, but for `rejected` items; `message` is what it says about them, or warns of.
    pub(super) fn taken(&self, rejected: u64, message: &str) {
        let signal = self.signal;
        if self.is_on.swap(false, Ordering::Relaxed) {
            info!(?signal, "push works again");
        }
        let is_partial = rejected > 0 || !message.is_empty();
        let was_partial = self.is_partial.swap(is_partial, Ordering::Relaxed);
        if is_partial && !was_partial {
            warn!(?signal, rejected, said = message, "the receiver took a push in part");
        } else if is_partial {
            debug!(?signal, rejected, said = message, "the receiver took a push in part");
        }
    }
}
