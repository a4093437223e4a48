//! What connections came to as a whole, into the store: drops, oddities, gaps, routes.

use crate::{
    flow::{Excluded as Why, Flows},
    model::RouteSource,
    signal::{
        Routes, Store, catalogue,
        reason::{Drop, Excluded, Oddity},
    },
};

/// Brings the store up to date.
pub fn record(store: &mut Store, flows: &Flows, routes: &Routes) {
    let tally = flows.tally();
    let drops = [
        (Drop::UnknownConnection, tally.unknown),
        (Drop::TableFull, tally.table_full),
        (Drop::MemoryFull, tally.memory_full),
        (Drop::ReorderFull, tally.reorder_full),
        (Drop::ListenLost, tally.listen_lost),
        (Drop::IdledOut, tally.idled_out),
    ];
    for (reason, n) in drops {
        store.set(&catalogue::CAPTURE_DROPS, &[reason.word()], n);
    }
    for (reason, why) in [(Excluded::Port, Why::Port), (Excluded::Peer, Why::Peer)] {
        store.set(&catalogue::EXCLUDED_CONNECTIONS, &[reason.word()], tally.excluded[why as usize]);
    }
    for source in [RouteSource::Configured, RouteSource::Learned] {
        store.set(&catalogue::ROUTES, &[source.as_str()], routes.len(source) as u64);
    }
    store.set(&catalogue::ROUTES_OVERFLOWED, &[], routes.overflowed());
    let odd = tally.oddities;
    let oddities = [
        (Oddity::OrphanResponse, odd.orphan_responses),
        (Oddity::Malformed, odd.malformed),
        (Oddity::Oversized, odd.oversized),
        (Oddity::OutstandingFull, odd.overflow),
        (Oddity::Resync, odd.resyncs),
        (Oddity::Unresolved, odd.unresolved),
    ];
    for (reason, n) in oddities {
        store.set(&catalogue::PARSER_ODDITIES, &[reason.word()], u64::from(n));
    }
    store.set(&catalogue::CONNECTIONS_TRACKED, &[], flows.len() as u64);
    store.set(&catalogue::CONNECTIONS_GAPS, &[], tally.gaps);
}
