//! Looking up what user space decided.

use sidecar_ebpf::abi::{
    record::{self, Peers},
    verdict::{Endpoint, Verdict},
};

use crate::{
    conn::{self, Conn},
    maps::{ENDPOINTS, VERDICTS},
    who,
};

/// Bytes of one packet from which on it is worth a look whether a verdict changed in the middle of a turn.
const LARGE: u32 = 4096;

/// The connection's verdict, if it may have changed since the last look and now is a time to look: at a turn, when
/// the budget ends, and at large packets. Read without the lock: a stale answer costs one packet more.
#[inline(always)]
pub(crate) fn changed<const DIR: usize>(conn: *mut Conn, len: u32) -> Option<Verdict> {
    // SAFETY: the verifier proved `conn` a value of the map.
    let conn = unsafe { &mut *conn };
    let generation = who::control()?.generation;
    if conn.generation == generation {
        return None;
    }
    let lane = &conn.lanes[DIR];
    if !conn.is_turn::<DIR>() && lane.left != 0 && len < LARGE {
        return None;
    }
    conn.generation = generation;
    // SAFETY: the value is copied at once; a racing update at worst gives this packet the old one.
    unsafe { VERDICTS.get(conn.cookie) }.copied()
}

/// Where a new connection starts.
#[inline(always)]
pub(crate) fn start(peers: &Peers, role: u8) -> Verdict {
    let endpoint = if role == record::ROLE_CLIENT {
        Endpoint { addr: peers.remote_addr, port: peers.remote_port, role, pad: 0 }
    } else {
        Endpoint { addr: [0; 16], port: peers.local_port, role: record::ROLE_SERVER, pad: 0 }
    };
    // SAFETY: copied at once.
    if let Some(verdict) = unsafe { ENDPOINTS.get(endpoint) } {
        return *verdict;
    }
    let budget = who::control().map_or(0, |control| control.budget);
    conn::unjudged(budget)
}
