//! Says once that pushing fails, and once that it works again; the counters say how much.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{debug, info, warn};

use crate::export::Signal;

/// Whether pushes of one signal fail at present.
pub(super) struct Outage {
    signal: Signal,
    is_on: AtomicBool,
}

impl Outage {
    pub(super) fn new(signal: Signal) -> Self {
        Outage { signal, is_on: AtomicBool::new(false) }
    }

    pub(super) fn failed(&self, error: &dyn Display) {
        let signal = self.signal;
        if self.is_on.swap(true, Ordering::Relaxed) {
            debug!(?signal, %error, "push failed again");
        } else {
            warn!(?signal, %error, "push failed");
        }
    }

    pub(super) fn succeeded(&self) {
        if self.is_on.swap(false, Ordering::Relaxed) {
            info!(signal = ?self.signal, "push works again");
        }
    }
}
