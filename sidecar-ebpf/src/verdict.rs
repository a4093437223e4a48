//! Looking up what user space decided.

use core::mem::MaybeUninit;

use aya_ebpf::bindings::bpf_sock;
use sidecar_ebpf::abi::{
    count as slot,
    record::{ROLE_CLIENT, ROLE_SERVER},
    verdict::Endpoint,
};

use crate::{
    conn::{Conn, Counters},
    count, ends,
    maps::{CONN, ENDPOINTS, VERDICTS},
    packet, who,
};

/// Bytes of one packet from which on it is worth a look whether a verdict changed in the middle of a turn.
const LARGE: u32 = 4096;

/// May the connection's verdict have changed since the last look, and is now a time to look: at a turn, when the budget
/// ends, and at large packets? Read without the lock: a stale answer costs one packet more.
#[inline(always)]
pub(crate) fn may_have_changed<const DIR: usize>(conn: *mut Conn, len: u32) -> bool {
    // SAFETY: the verifier proved `conn` a value of the map.
    let conn = unsafe { &*conn };
    let Some(control) = who::control() else { return false };
    conn.generation != control.generation
        && (conn.is_turn::<DIR>() || conn.lanes[DIR].left == 0 || len >= LARGE)
}

/// Takes the connection's verdict over, if there is one.
#[inline(never)]
pub(crate) fn renew(conn: *mut Conn) {
    let Some(control) = who::control() else { return };
    // SAFETY: the verifier proved `conn` a value of the map; its id never changes.
    let id = unsafe {
        (*conn).generation = control.generation;
        &(*conn).id
    };
    let Some(verdict) = VERDICTS.get_ptr(id) else { return };
    // SAFETY: not null. A racing update at worst gives this packet some of the old one, and a later one the new.
    let verdict = unsafe { &*verdict };
    let (old, new, bytes) = Conn::locked(conn, |conn| {
        let (old, bytes) = (conn.slot(), [conn.lanes[0].seen, conn.lanes[1].seen]);
        let moves = conn.judge(verdict);
        (old, if moves { conn.slot() } else { old }, bytes)
    });
    if old != new {
        count::traffic(old, bytes.map(u64::wrapping_neg));
        count::traffic(new, bytes);
    }
}

/// Makes state for a connection that has none yet; it starts as its endpoint was judged, and where it `MEETS` the socket
/// now, with its counters. Whether it was made here: another CPU may do so this very moment. There is none afterwards
/// only where memory ran out. (It is not returned: who asks a second time whether a pointer is null sends the verifier
/// down the mispredicted branch, where it is no pointer.)
#[inline(never)]
pub(crate) fn begin<const MEETS: bool>(sk: *mut bpf_sock, id: u64, role: u32, flags: u32) -> bool {
    let Some(tcp) = packet::tcp(sk) else { return false };
    // SAFETY: the state of a socket of any kind may be read.
    let state = unsafe { (*sk).state };
    let Some(conn) = CONN.get_or_zero(sk) else {
        count::add(slot::NO_STORAGE, 1);
        return false;
    };
    let Some(control) = who::control() else { return false };
    let key = key(sk, role);
    // SAFETY: all that an `Endpoint` has is set, in its layout (little endian).
    let endpoint = unsafe { &*key.as_ptr().cast::<Endpoint>() };
    let verdict = ENDPOINTS.get_ptr(endpoint);
    Conn::locked(conn, |conn| {
        if conn.is_filled() {
            return false;
        }
        conn.fill(id, role, flags, control.generation);
        match verdict {
            // SAFETY: not null; a racing update at worst gives the connection some of the old one.
            Some(verdict) => conn.start(unsafe { &*verdict }),
            None => conn.start_with([control.budget; 2]),
        }
        if MEETS {
            conn.join(Counters::of(tcp, state));
        }
        true
    })
}

/// An [`Endpoint`] in words of eight bytes, each written whole: see `conn`.
type Key = MaybeUninit<[u64; 3]>;

#[inline(always)]
fn key(sk: *mut bpf_sock, role: u32) -> Key {
    let mut key = Key::uninit();
    let mut put = |at: usize, word: u64| {
        // SAFETY: the callers' places are below 3.
        unsafe { key.as_mut_ptr().cast::<u64>().add(at).write_volatile(word) }
    };
    let (addr, port, role) = if role == u32::from(ROLE_CLIENT) {
        (ends::remote(sk), ends::remote_port(sk), ROLE_CLIENT)
    } else {
        ([0; 2], ends::local_port(sk), ROLE_SERVER)
    };
    put(0, addr[0]);
    put(1, addr[1]);
    put(2, u64::from(port) | u64::from(role) << 16);
    key
}
