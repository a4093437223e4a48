//! Records into the ring. Each is reserved first and filled in place: a copy on the stack would take barriers, and there
//! is little stack.

use core::{array, ffi::c_void, mem::offset_of, ptr};

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP, bpf_sock},
    helpers::generated::{
        bpf_get_socket_cookie, bpf_ktime_get_ns, bpf_ringbuf_discard, bpf_ringbuf_reserve,
        bpf_ringbuf_submit, bpf_skb_load_bytes,
    },
};
use sidecar_ebpf::abi::{
    count as slot,
    dns::DNS_PORT,
    record::{
        Account, FLAG_JOINED, FLAG_MPTCP, Head, INGRESS, KIND_ACCOUNT, KIND_CLOSE, KIND_DATA, KIND_DATAGRAM,
        KIND_LISTEN, Opened, Peers, ROLE_CLIENT, ROLE_SERVER, ROOMS,
    },
    steer::{Client, Steered},
    who::Who,
};

use crate::{
    conn::{ANNOUNCED, Conn, JOINED, MPTCP},
    count, ends,
    maps::{self, ARRIVED, EVENTS, RESOLVERS, STEERED, WAKE, WHO},
    packet::Packet,
    who,
};

const HEAD: usize = size_of::<Head>();
const PEERS: usize = size_of::<Peers>();
const ACCOUNT: usize = size_of::<Account>();
pub(crate) const OPENED: usize = HEAD + size_of::<Opened>();
/// A larger packet goes up in several records.
const LARGEST: u32 = ROOMS[7] as u32;
/// So much of a datagram goes up.
const DATAGRAM: u32 = ROOMS[3] as u32;
/// What is still copied of a packet when the ring is crowded…
const SMALL: u32 = ROOMS[1] as u32;
/// … if it is larger than this: a packet of pipelined requests, or with a large head, goes up whole.
const MIDDLING: u32 = ROOMS[3] as u32;

/// `CLOCK_MONOTONIC`, ns.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: no preconditions.
    unsafe { bpf_ktime_get_ns() }
}

/// `KIND_OPEN` and `KIND_FAILED`, with `len` in the head. If the ring was full the connection is not announced.
#[inline(never)]
pub(crate) fn peers(sk: *mut bpf_sock, conn: *mut Conn, now: u64, kind: u8, len: u32) {
    let who = WHO.get_raw(sk);
    // It may have been tried in vain before: what passed since is missing, and a hole shall show it.
    let began = Conn::locked(conn, |conn| conn.began());
    // SAFETY: the verifier proved `conn`; both marks are there before it is announced.
    let flags = unsafe { (*conn).flags };
    let flags = (flags / JOINED % 2 * u32::from(FLAG_JOINED)) | (flags / MPTCP % 2 * u32::from(FLAG_MPTCP));
    // Asked for in any case: what is null on one way only is a number there, and kernels before 6.17 refuse a program that would
    // go on with it if it guessed a branch wrongly.
    let steered = STEERED.get_raw(sk);
    let arrived = ARRIVED.get_raw(sk);
    let is_told = fixed::<Opened, OPENED>(conn, now, kind, flags as u8, |head, opened| {
        head.len = len;
        let peers = &mut opened.peers;
        set_ends(peers, sk);
        note(peers, who);
        [peers.in_seq, peers.out_seq] = began;
        decide(&mut opened.steered, steered);
        arrive(&mut opened.client, arrived);
    });
    if !is_told {
        Conn::locked(conn, |conn| conn.flags &= !ANNOUNCED);
    }
}

/// Both ends of a connection's own socket.
#[inline(always)]
fn set_ends(peers: &mut Peers, sk: *mut bpf_sock) {
    let (local, remote) = (ends::local(sk), ends::remote(sk));
    put(&mut peers.local_addr, local);
    put(&mut peers.remote_addr, remote);
    (peers.local_port, peers.remote_port) = (ends::local_port(sk), ends::remote_port(sk));
}

#[inline(always)]
pub(crate) fn put(to: &mut [u8; 16], words: [u64; 2]) {
    for (to, word) in to.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
}

/// What was decided of the socket; `from` may be null.
#[inline(always)]
pub(crate) fn decide(to: &mut Steered, from: *const Steered) {
    const { assert!(size_of::<Steered>() == 32) }
    // SAFETY: as long, and what follows a head and `Peers` is aligned to eight bytes.
    unsafe { ptr::from_mut(to).cast::<[u64; 4]>().write(words(from.cast())) };
}

/// Who really came in, by way of the relay; `from` may be null.
#[inline(always)]
fn arrive(to: &mut Client, from: *const Client) {
    const { assert!(size_of::<Client>() == 24) }
    // SAFETY: as above.
    unsafe { ptr::from_mut(to).cast::<[u64; 3]>().write(words(from.cast())) };
}

/// A storage's value, all zero where there is none: in words, as the way to each must be equally long on each path to it.
#[inline(always)]
fn words<const N: usize>(from: *const u64) -> [u64; N] {
    if from.is_null() {
        return [0; N];
    }
    // SAFETY: not null; the callers' values are aligned to eight bytes, and as long.
    array::from_fn(|at| unsafe { from.add(at).read_volatile() })
}

/// Who made the socket; `who` may be null.
#[inline(always)]
pub(crate) fn note(peers: &mut Peers, who: *const Who) {
    (peers.tgid, peers.cgroup, peers.netns) = if who.is_null() {
        (0, 0, 0)
    } else {
        // SAFETY: not null.
        unsafe { ((*who).tgid, (*who).cgroup, (*who).netns) }
    };
}

/// `KIND_ACCOUNT`, and with an end `KIND_CLOSE`.
#[inline(always)]
pub(crate) fn account(conn: *const Conn, now: u64, flags: u8, srtt_us: u32, end: Option<u32>) {
    let kind = if end.is_some() { KIND_CLOSE } else { KIND_ACCOUNT };
    fixed::<Account, { HEAD + ACCOUNT }>(conn, now, kind, flags, |_, account| {
        // SAFETY: the verifier proved `conn`. A racing packet at worst is counted in one of the two directions only.
        let conn = unsafe { &*conn };
        (account.in_bytes, account.out_bytes) = (conn.lanes[0].seen, conn.lanes[1].seen);
        (account.retransmits, account.srtt_us) = (conn.resent, srtt_us);
        (account.class, account.end) = (conn.class, end.unwrap_or(0));
    });
}

/// `KIND_DATA` without payload: what was held back of direction `DIR`, if there is any.
#[inline(never)]
pub(crate) fn held<const DIR: usize>(conn: *mut Conn, now: u64) {
    let (seq, len) = Conn::locked(conn, |conn| conn.lanes[DIR].take_held());
    if len == 0 {
        return;
    }
    fixed::<(), HEAD>(conn, now, KIND_DATA, 0, |head, ()| {
        (head.dir, head.seq, head.len) = (DIR as u8, seq, len);
        // SAFETY: the verifier proved `conn`.
        head.edge = unsafe { (*conn).lanes[DIR].settled };
    });
}

/// `KIND_DATA` with what was decided of a packet in direction `DIR`.
#[inline(never)]
pub(crate) fn payload<const DIR: usize>(packet: Packet, conn: *const Conn, now: u64) {
    // Eight full ones at most: the largest packet of BIG TCP is half a megabyte. Loopback's default reaches 128 KiB, as
    // TCP puts at least two segments into a packet (`tcp_tso_autosize`) and they are up to 64 KiB there.
    //
    // No loop: without CAP_PERFMON the verifier follows mispredicted branches too (`sanitize_speculative_path` in
    // kernel/bpf/verifier.c), there leaves a loop's counted end behind, and walks on until 6.12 gives up (6.18 does not):
    // "the sequence of 8193 jumps is too complex".
    let one = || {
        let is_full = packet.copy() > LARGEST;
        if is_full {
            full::<DIR>(packet, conn, now);
        }
        is_full
    };
    let _ = one() && one() && one() && one() && one() && one() && one() && one();
    if packet.copy() > LARGEST {
        packet.set_copy(LARGEST);
    }
    if packet.copy() > MIDDLING && is_crowded() {
        count::add(slot::SHED, u64::from(packet.copy() - SMALL));
        packet.set_copy(SMALL);
    }
    let len = packet.len().wrapping_sub(packet.from());
    by_room::<false>(packet, packet.from(), |record| {
        set_data::<DIR>(record, packet, conn, now, [len, packet.copy()])
    });
}

/// A full record; the packet then begins after it.
#[inline(never)]
fn full<const DIR: usize>(packet: Packet, conn: *const Conn, now: u64) {
    let fill = |copied: u32| {
        move |record| {
            set_data::<DIR>(record, packet, conn, now, [LARGEST, copied]);
            // SAFETY: a head was just written.
            unsafe { (*record.cast::<Head>()).flags = 0 };
            true
        }
    };
    if is_crowded() {
        count::add(slot::SHED, u64::from(LARGEST - SMALL));
        piece::<HEAD, { HEAD + ROOMS[1] }>(packet, packet.from(), fill(SMALL));
    } else {
        piece::<HEAD, { HEAD + ROOMS[7] }>(packet, packet.from(), fill(LARGEST));
    }
    let gone = packet.from().wrapping_add(LARGEST);
    packet.set_seq(packet.seq().wrapping_add(gone));
    packet.set_offset(packet.offset().wrapping_add(gone));
    packet.set_copy(packet.copy().wrapping_sub(LARGEST));
    packet.set_from(0);
}

#[inline(always)]
fn set_data<const DIR: usize>(
    record: *mut c_void,
    packet: Packet,
    conn: *const Conn,
    now: u64,
    [len, copied]: [u32; 2],
) -> bool {
    // SAFETY: `record` has room for a head, which has no invalid values.
    let head = unsafe { &mut *record.cast::<Head>() };
    set_head(head, conn, now, KIND_DATA, packet.record_flags());
    head.dir = DIR as u8;
    head.seq = packet.seq().wrapping_add(packet.from());
    (head.len, head.copied, head.skipped) = (len, copied, packet.from());
    // SAFETY: the verifier proved `conn`. That the counter moved was settled by programs that have run.
    head.edge = unsafe { (*conn).lanes[DIR].settled };
    true
}

/// `KIND_LISTEN` with a packet in direction `DIR`: at most the largest room of it.
#[inline(never)]
pub(crate) fn early<const DIR: usize>(packet: Packet, sk: *mut bpf_sock, now: u64) {
    let copied = if packet.len() > LARGEST { LARGEST } else { packet.len() };
    packet.set_copy(copied);
    let who = WHO.get_raw(sk);
    let fill = |record: *mut c_void| {
        // SAFETY: `record` has room for a head and both ends, which have no invalid values.
        let (head, peers) = unsafe { (&mut *record.cast::<Head>(), record.byte_add(HEAD).cast::<Peers>()) };
        (head.at_ns, head.id) = (now, 0);
        (head.kind, head.dir, head.flags) = (KIND_LISTEN, DIR as u8, packet.record_flags());
        head.role = if DIR == INGRESS as usize { ROLE_SERVER } else { ROLE_CLIENT };
        (head.seq, head.len, head.edge, head.skipped) = (packet.seq(), packet.len(), packet.seq(), 0);
        (head.copied, head.drained, head.drained_at, head.read_at) = (packet.copy(), 0, 0, 0);
        // SAFETY: as above.
        unsafe { peers.write_bytes(0, 1) };
        // The connection's socket will have this same `WHO`, or none. (6.12 has no helper for a packet's netns.)
        // SAFETY: as above.
        let peers = unsafe { &mut *peers };
        note(peers, who);
        if DIR == INGRESS as usize {
            peers.in_seq = packet.seq();
            packet.ingress_ends(peers).is_some()
        } else {
            peers.out_seq = packet.seq();
            set_ends(peers, sk);
            true
        }
    };
    by_room::<true>(packet, 0, fill);
}

/// `KIND_DATAGRAM`: at most [`DATAGRAM`] bytes of it. `asked` is the number, counted from 1, of whom was asked where the daemon
/// answers; else 0.
#[inline(never)]
pub(crate) fn datagram<const DIR: usize>(packet: Packet, asked: u32, now: u64) {
    let Some(sk) = packet.socket() else { return };
    let copied = if packet.len() > DATAGRAM { DATAGRAM } else { packet.len() };
    packet.set_copy(copied);
    let who = WHO.get_raw(sk);
    // SAFETY: helper without preconditions.
    let cookie = unsafe { bpf_get_socket_cookie(packet.raw()) };
    let fill = |record: *mut c_void| {
        // SAFETY: `record` has room for a head and both ends, which have no invalid values.
        let (head, peers) = unsafe { (&mut *record.cast::<Head>(), record.byte_add(HEAD).cast::<Peers>()) };
        (head.at_ns, head.id) = (now, cookie);
        (head.kind, head.dir, head.role, head.flags) = (KIND_DATAGRAM, DIR as u8, 0, 0);
        (head.seq, head.len, head.edge, head.skipped) = (0, packet.ack(), 0, 0);
        (head.copied, head.drained, head.drained_at, head.read_at) = (packet.copy(), 0, 0, 0);
        // SAFETY: as above.
        unsafe { peers.write_bytes(0, 1) };
        // SAFETY: as above.
        let peers = unsafe { &mut *peers };
        note(peers, who);
        let (source, to) = ((packet.seq() >> 16) as u16, packet.seq() as u16);
        (peers.local_port, peers.remote_port) =
            if DIR == INGRESS as usize { (to, source) } else { (source, to) };
        if packet.addresses::<DIR>(peers).is_none() {
            return false;
        }
        if asked != 0
            && let Some(resolver) = maps::numbered::<[u64; 2], _>(&RESOLVERS, asked - 1)
        {
            // SAFETY: the verifier proved it.
            put(&mut peers.remote_addr, unsafe { *resolver });
            peers.remote_port = DNS_PORT;
        }
        true
    };
    const FIXED: usize = HEAD + PEERS;
    match packet.copy() as usize {
        0 => {}
        n if n <= ROOMS[0] => piece::<FIXED, { FIXED + ROOMS[0] }>(packet, 0, &fill),
        n if n <= ROOMS[1] => piece::<FIXED, { FIXED + ROOMS[1] }>(packet, 0, &fill),
        _ => piece::<FIXED, { FIXED + DATAGRAM as usize }>(packet, 0, &fill),
    }
}

/// One record with what [`Packet::copy`] says, from payload byte `from` on. `fill` writes what comes before it.
#[inline(always)]
fn by_room<const LISTEN: bool>(packet: Packet, from: u32, fill: impl Fn(*mut c_void) -> bool) {
    macro_rules! piece {
        ($room:expr) => {
            if LISTEN {
                piece::<{ HEAD + PEERS }, { HEAD + PEERS + $room }>(packet, from, &fill)
            } else {
                piece::<HEAD, { HEAD + $room }>(packet, from, &fill)
            }
        };
    }
    match packet.copy() as usize {
        0 => {
            if !LISTEN && let Some(record) = reserve::<HEAD>() {
                fill(record);
                submit(record);
            }
        }
        n if n <= ROOMS[0] => piece!(ROOMS[0]),
        n if n <= ROOMS[1] => piece!(ROOMS[1]),
        n if n <= ROOMS[2] => piece!(ROOMS[2]),
        n if n <= ROOMS[3] => piece!(ROOMS[3]),
        n if n <= ROOMS[4] => piece!(ROOMS[4]),
        n if n <= ROOMS[5] => piece!(ROOMS[5]),
        n if n <= ROOMS[6] => piece!(ROOMS[6]),
        _ => piece!(ROOMS[7]),
    }
}

/// One record of `SIZE` bytes, of which payload takes those behind the `FIXED` first: a power of two.
#[inline(always)]
fn piece<const FIXED: usize, const SIZE: usize>(
    packet: Packet,
    from: u32,
    fill: impl Fn(*mut c_void) -> bool,
) {
    let Some(record) = reserve::<SIZE>() else { return };
    let is_told = fill(record);
    // The verifier wants to see that the length is 1..=room, in arithmetic that LLVM cannot prove away. And it must
    // not trace the length back to how it was decided, or it walks each path to here by itself: so the number is
    // read back from the record, of which the verifier knows nothing.
    let copied = record.wrapping_byte_add(offset_of!(Head, copied)).cast::<u32>();
    // SAFETY: `fill` has written a head.
    let len = (unsafe { copied.read_volatile() }.wrapping_sub(1) & ((SIZE - FIXED) as u32 - 1)) + 1;
    let to = record.wrapping_byte_add(FIXED);
    let offset = packet.offset().wrapping_add(from);
    // SAFETY: `to` has room for `len`; the kernel checks the packet's bounds.
    if !is_told || unsafe { bpf_skb_load_bytes(packet.raw(), offset, to, len) } != 0 {
        // SAFETY: reserved above, not used afterwards.
        unsafe { bpf_ringbuf_discard(record, u64::from(BPF_RB_NO_WAKEUP)) };
        count::add(slot::UNREADABLE, 1);
        return;
    }
    submit(record);
}

/// The ring is so full that what is left of it is for heads: better to miss the middle of a body than a request.
#[inline(always)]
pub(crate) fn is_crowded() -> bool {
    let Some(control) = who::control() else { return false };
    EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) > u64::from(control.shed_above)
}

/// A record of `N` bytes.
#[inline(always)]
pub(crate) fn reserve<const N: usize>() -> Option<*mut c_void> {
    let ring = ptr::from_ref(&EVENTS).cast_mut().cast::<c_void>();
    // SAFETY: `ring` is the map; the verifier tracks the reservation.
    let record = unsafe { bpf_ringbuf_reserve(ring, N as u64, 0) };
    if record.is_null() {
        count::add(slot::RING_FULL, 1);
        return None;
    }
    Some(record)
}

/// A record of `SIZE` bytes of a connection: a head, and a `T` that `fill` writes.
#[inline(always)]
fn fixed<T, const SIZE: usize>(
    conn: *const Conn,
    now: u64,
    kind: u8,
    flags: u8,
    fill: impl FnOnce(&mut Head, &mut T),
) -> bool {
    const { assert!(SIZE == HEAD + size_of::<T>()) }
    let Some(record) = reserve::<SIZE>() else { return false };
    // SAFETY: `record` has room for a head and a body, which have no invalid values.
    let (head, body) = unsafe { (&mut *record.cast::<Head>(), &mut *record.byte_add(HEAD).cast::<T>()) };
    set_head(head, conn, now, kind, flags);
    fill(head, body);
    submit(record);
    true
}

/// All but what the record stands for.
#[inline(always)]
fn set_head(head: &mut Head, conn: *const Conn, now: u64, kind: u8, flags: u8) {
    // SAFETY: the verifier proved `conn`; its id never changes, and whoever moves `drained` moved it before.
    let conn = unsafe { &*conn };
    head.at_ns = now;
    head.id = conn.id;
    (head.kind, head.dir, head.role, head.flags) = (kind, 0, conn.role as u8, flags);
    (head.seq, head.len, head.edge, head.copied, head.skipped) = (0, 0, 0, 0, 0);
    (head.drained, head.drained_at, head.read_at) = (conn.drained, conn.drained_at, conn.read_at);
}

#[inline(always)]
fn submit(record: *mut c_void) {
    // SAFETY: reserved by the caller and given up here.
    unsafe { bpf_ringbuf_submit(record, wake()) }
}

/// The same, of what can wait until the reader comes by itself.
#[inline(always)]
pub(crate) fn submit_quietly(record: *mut c_void) {
    // SAFETY: as above.
    unsafe { bpf_ringbuf_submit(record, u64::from(BPF_RB_NO_WAKEUP)) }
}

/// The word in `WAKE`: the reader comes by itself.
const RUNNING: u32 = 0;
/// The reader sleeps: the next record wakes it.
const ARMED: u32 = 1;
/// It was woken because the ring filled up, and has not come yet.
const WOKEN: u32 = 2;

/// The next record wakes the reader, as if it slept.
#[inline(always)]
pub(crate) fn hurry() {
    if let Some(word) = WAKE.get_ptr_mut(0) {
        // SAFETY: the verifier proved the pointer.
        unsafe { word.write_volatile(ARMED) };
    }
}

/// A wake-up costs more than all the rest of a record, so there is one only for a sleeping reader and for a ring that
/// fills faster than the reader's pace.
#[inline(always)]
fn wake() -> u64 {
    let Some(word) = WAKE.get_ptr_mut(0) else { return 0 };
    // SAFETY: the verifier proved the pointer. A race costs one wake-up more.
    let state = unsafe { word.read_volatile() };
    let next = match state {
        ARMED => RUNNING,
        WOKEN => return u64::from(BPF_RB_NO_WAKEUP),
        _ => {
            let mark = who::control().map_or(u64::MAX, |control| u64::from(control.wake_above));
            if EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) <= mark {
                return u64::from(BPF_RB_NO_WAKEUP);
            }
            WOKEN
        }
    };
    // SAFETY: as above.
    unsafe { word.write_volatile(next) };
    u64::from(BPF_RB_FORCE_WAKEUP)
}
