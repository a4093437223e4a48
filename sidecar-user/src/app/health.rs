//! The daemon's account of itself, into the store: what the kernel counted, what was dropped and why, what it costs.

use std::sync::Arc;

use sidecar_core::{
    accounts,
    flow::Flows,
    signal::{
        catalogue,
        kernel::{self, Counted, Understood},
        reason::Drop,
    },
};

use super::pipeline::Out;
use crate::{discovery::usage, export::ExportStats};

/// What the pipeline counts besides its flows.
pub(crate) struct Health {
    /// Records that could not be read.
    pub(crate) n_malformed: u64,
    /// The exporters' counters.
    pub(crate) export: Arc<ExportStats>,
}

/// Brings the store up to date. `n_opened` is what the kernel had counted before the last records were taken.
pub(super) fn record(out: &mut Out, health: &Health, flows: &Flows, counted: &Counted, n_opened: u64) {
    let tally = flows.tally();
    let understood = Understood {
        explained: tally.explained,
        before_join: tally.oddities.before_join,
        lost: tally.lost,
        late: tally.late,
        refused: tally.refused,
        records: tally.records,
        copied: tally.copied,
    };
    let store = &mut out.store;
    kernel::record(store, counted, understood);
    accounts::record(store, flows, &out.routes);
    let drops = [(Drop::MalformedRecord, health.n_malformed), (Drop::VerdictFull, out.verdicts.n_refused())];
    for (reason, n) in drops {
        store.set(&catalogue::CAPTURE_DROPS, &[reason.word()], n);
    }
    store.set(&catalogue::CONNECTIONS_UNREPORTED, &[], n_opened.saturating_sub(tally.opened));
    let usage = usage::own();
    store.set(&catalogue::CPU_TIME, &["user"], usage.user_s);
    store.set(&catalogue::CPU_TIME, &["system"], usage.system_s);
    store.set(&catalogue::MEMORY_USAGE, &[], usage.rss_bytes);
    store.set(&catalogue::BUILD, &[env!("CARGO_PKG_VERSION")], 1u64);
    out.tracer.record(store);
    out.taps.record(store);
    out.recordings.record(store);
    health.export.record(store);
}
