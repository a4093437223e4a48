//! Records into the ring.

use core::{ffi::c_void, mem::offset_of, ptr};

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::{
        bpf_ktime_get_ns, bpf_ringbuf_discard, bpf_ringbuf_reserve, bpf_ringbuf_submit, bpf_skb_load_bytes,
    },
};
use sidecar_ebpf::abi::{
    count as slot,
    record::{Account, Head, Peers, ROOMS},
};

use crate::{
    count,
    maps::{EVENTS, WAKE},
    who,
};

const HEAD: usize = size_of::<Head>();
/// A larger packet goes up in several records.
const LARGEST: u32 = ROOMS[7] as u32;
/// What is still copied of a packet when the ring is crowded…
const SMALL: u32 = ROOMS[1] as u32;
/// … if it is larger than this: a packet of pipelined requests, or with a large head, goes up whole.
const MIDDLING: u32 = ROOMS[3] as u32;

/// A head with the time and the socket filled in.
#[inline(always)]
pub(crate) fn head(kind: u8, cookie: u64, role: u8, flags: u8) -> Head {
    head_at(now(), kind, cookie, role, flags)
}

/// The same for a time that was read before.
#[inline(always)]
pub(crate) fn head_at(at_ns: u64, kind: u8, cookie: u64, role: u8, flags: u8) -> Head {
    let (seq, len, edge, copied, dir, skipped) = (0, 0, 0, 0, 0, 0);
    Head { at_ns, cookie, seq, len, edge, copied, kind, dir, role, flags, skipped, drained: 0, drained_at: 0 }
}

/// `CLOCK_MONOTONIC`, ns.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: no preconditions.
    unsafe { bpf_ktime_get_ns() }
}

/// `KIND_OPEN` and `KIND_FAILED`. False if the ring was full.
#[inline(always)]
pub(crate) fn peers(head: &Head, peers: &Peers) -> bool {
    fixed(head, peers)
}

/// `KIND_CLOSE` and `KIND_ACCOUNT`.
#[inline(always)]
pub(crate) fn account(head: &Head, account: &Account) {
    fixed(head, account);
}

/// `KIND_DATA` without payload.
#[inline(always)]
pub(crate) fn bare(head: &Head) {
    let Some(record) = reserve::<HEAD>() else { return };
    // SAFETY: `record` has room for a head.
    unsafe { ptr::write(record.cast(), *head) };
    submit(record);
}

/// `KIND_DATA` with `copy` bytes from `offset` of the packet. `head.len` is the length of the whole.
#[inline(always)]
pub(crate) fn payload(skb: *mut c_void, head: &mut Head, offset: u32, copy: u32) {
    let (mut offset, mut copy) = (offset, copy);
    // Eight full ones at most: the largest packet of BIG TCP is half a megabyte. Loopback's default reaches 128 KiB, as
    // TCP puts at least two segments into a packet (`tcp_tso_autosize`) and they are up to 64 KiB there.
    //
    // No loop: without CAP_PERFMON the verifier follows mispredicted branches too (`sanitize_speculative_path` in
    // kernel/bpf/verifier.c), there leaves a loop's counted end behind, and walks on until 6.12 gives up (6.18 does not):
    // "the sequence of 8193 jumps is too complex".
    let mut one = || {
        let is_full = copy > LARGEST;
        if is_full {
            full(skb, head, offset);
            offset += LARGEST;
            copy -= LARGEST;
        }
        is_full
    };
    let _ = one() && one() && one() && one() && one() && one() && one() && one();
    head.copied = if copy > LARGEST { LARGEST } else { copy };
    rest(skb, head, offset);
}

/// A full record, with the head left for what follows it. Like the next two a function of its own: the callers have no
/// stack to spare, and the verifier adds theirs to its callees', each rounded up to 32 bytes.
#[inline(never)]
fn full(skb: *mut c_void, head: &mut Head, offset: u32) {
    let (flags, len) = (head.flags, head.len);
    (head.flags, head.len, head.copied) = (0, LARGEST, LARGEST);
    if is_crowded() {
        count::add(slot::SHED, u64::from(LARGEST - SMALL));
        head.copied = SMALL;
        piece::<{ ROOMS[1] }>(skb, head, None, offset);
    } else {
        piece::<{ ROOMS[7] }>(skb, head, None, offset);
    }
    (head.flags, head.len, head.skipped) = (flags, len.wrapping_sub(LARGEST), 0);
    head.seq = head.seq.wrapping_add(LARGEST);
}

/// The last record, or the only one.
#[inline(never)]
fn rest(skb: *mut c_void, head: &mut Head, offset: u32) {
    if head.copied > MIDDLING && is_crowded() {
        count::add(slot::SHED, u64::from(head.copied - SMALL));
        head.copied = SMALL;
    }
    by_room(skb, head, None, offset);
}

/// `KIND_LISTEN`: at most the largest room of it.
#[inline(never)]
pub(crate) fn listen(skb: *mut c_void, head: &mut Head, peers: &Peers, offset: u32) {
    head.copied = if head.len > LARGEST { LARGEST } else { head.len };
    by_room(skb, head, Some(peers), offset);
}

#[inline(always)]
fn by_room(skb: *mut c_void, head: &Head, peers: Option<&Peers>, offset: u32) {
    match head.copied as usize {
        0 => bare(head),
        n if n <= ROOMS[0] => piece::<{ ROOMS[0] }>(skb, head, peers, offset),
        n if n <= ROOMS[1] => piece::<{ ROOMS[1] }>(skb, head, peers, offset),
        n if n <= ROOMS[2] => piece::<{ ROOMS[2] }>(skb, head, peers, offset),
        n if n <= ROOMS[3] => piece::<{ ROOMS[3] }>(skb, head, peers, offset),
        n if n <= ROOMS[4] => piece::<{ ROOMS[4] }>(skb, head, peers, offset),
        n if n <= ROOMS[5] => piece::<{ ROOMS[5] }>(skb, head, peers, offset),
        n if n <= ROOMS[6] => piece::<{ ROOMS[6] }>(skb, head, peers, offset),
        _ => piece::<{ ROOMS[7] }>(skb, head, peers, offset),
    }
}

/// One record with room for `ROOM` bytes (a power of two) of payload.
#[inline(always)]
fn piece<const ROOM: usize>(skb: *mut c_void, head: &Head, peers: Option<&Peers>, offset: u32) {
    let fixed = HEAD + if peers.is_some() { size_of::<Peers>() } else { 0 };
    let record = if peers.is_some() {
        reserve_bytes(HEAD + size_of::<Peers>() + ROOM)
    } else {
        reserve_bytes(HEAD + ROOM)
    };
    let Some(record) = record else { return };
    // SAFETY: `record` has room for head and peers.
    unsafe { ptr::write(record.cast(), *head) };
    if let Some(peers) = peers {
        let to = record.wrapping_byte_add(HEAD).cast::<Peers>();
        // SAFETY: as above.
        unsafe { ptr::write(to, *peers) };
    }
    // The verifier wants to see that the length is 1..=ROOM, in arithmetic that LLVM cannot prove away. And it must
    // not trace the length back to how it was decided, or it walks each path to here by itself: so the number is
    // read back from the record, of which the verifier knows nothing.
    let copied = record.wrapping_byte_add(offset_of!(Head, copied)).cast::<u32>();
    // SAFETY: written above.
    let len = (unsafe { copied.read_volatile() }.wrapping_sub(1) & (ROOM as u32 - 1)) + 1;
    let to = record.wrapping_byte_add(fixed);
    // SAFETY: `to` has ROOM bytes, `len` is at most that; the kernel checks the packet's bounds.
    if unsafe { bpf_skb_load_bytes(skb, offset, to, len) } != 0 {
        // SAFETY: reserved above, not used afterwards.
        unsafe { bpf_ringbuf_discard(record, u64::from(BPF_RB_NO_WAKEUP)) };
        count::add(slot::UNREADABLE, 1);
        return;
    }
    submit(record);
}

#[inline(always)]
fn fixed<T: Copy>(head: &Head, body: &T) -> bool {
    let Some(record) = reserve_bytes(HEAD + size_of::<T>()) else { return false };
    // SAFETY: `record` has room for both.
    unsafe { ptr::write(record.cast(), *head) };
    let to = record.wrapping_byte_add(HEAD).cast::<T>();
    // SAFETY: as above.
    unsafe { ptr::write(to, *body) };
    submit(record);
    true
}

/// The ring is so full that what is left of it is for heads: better to miss the middle of a body than a request.
#[inline(always)]
fn is_crowded() -> bool {
    let Some(control) = who::control() else { return false };
    EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) > u64::from(control.shed_above)
}

#[inline(always)]
fn reserve<const N: usize>() -> Option<*mut c_void> {
    reserve_bytes(N)
}

/// `size` must be a constant where this is inlined.
#[inline(always)]
fn reserve_bytes(size: usize) -> Option<*mut c_void> {
    let ring = ptr::from_ref(&EVENTS).cast_mut().cast::<c_void>();
    // SAFETY: `ring` is the map; the verifier tracks the reservation.
    let record = unsafe { bpf_ringbuf_reserve(ring, size as u64, 0) };
    if record.is_null() {
        count::add(slot::RING_FULL, 1);
        return None;
    }
    Some(record)
}

#[inline(always)]
fn submit(record: *mut c_void) {
    // SAFETY: reserved by the caller and given up here.
    unsafe { bpf_ringbuf_submit(record, wake()) }
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
