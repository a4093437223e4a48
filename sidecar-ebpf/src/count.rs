//! Adding to `COUNTS` and `TRAFFIC`.

use sidecar_ebpf::abi::count;

use crate::{
    conn::Seen,
    maps::{COUNTS, TRAFFIC},
};

/// Adds `n` to a slot. Atomic, because a softirq on the same CPU may interrupt between load and store.
#[inline(always)]
pub(crate) fn add(slot: u32, n: u64) {
    if let Some(counter) = COUNTS.get_ptr_mut(slot) {
        // SAFETY: the verifier proved the pointer to be a u64 of this map.
        unsafe { atomic_add(counter, n) }
    }
}

/// Adds what a look at a socket's own counters showed. No branches on what it showed: each would double the paths that
/// the verifier walks.
#[inline(always)]
pub(crate) fn seen(seen: &Seen) {
    if seen.moved {
        let before = seen.before.map(u64::wrapping_neg);
        traffic(seen.old_role, seen.old_class, before, 0);
        traffic(seen.role, seen.class, seen.before, 0);
    }
    traffic(seen.role, seen.class, seen.fresh.map(u64::from), seen.retransmits);
}

#[inline(always)]
fn traffic(role: u8, class: u8, bytes: [u64; 2], retransmits: u32) {
    let Some(entry) = TRAFFIC.get_ptr_mut(count::traffic(role, class)) else { return };
    // SAFETY: the verifier proved the pointer to be an entry of this map.
    unsafe { atomic_add(&raw mut (*entry).bytes[0], bytes[0]) };
    // SAFETY: as above.
    unsafe { atomic_add(&raw mut (*entry).bytes[1], bytes[1]) };
    // SAFETY: as above.
    unsafe { atomic_add(&raw mut (*entry).retransmits, u64::from(retransmits)) };
}

#[cfg(target_arch = "bpf")]
#[inline(always)]
unsafe fn atomic_add(counter: *mut u64, n: u64) {
    // `core`'s fetch_add does not exist for a bpf target without compare-and-swap.
    // SAFETY: the caller's pointer is valid; the instruction touches eight bytes.
    unsafe { core::arch::asm!("lock *(u64 *)({p} + 0) += {n}", p = in(reg) counter, n = in(reg) n) }
}

#[cfg(not(target_arch = "bpf"))]
unsafe fn atomic_add(counter: *mut u64, n: u64) {
    // SAFETY: only for type-checking on the host; never linked.
    let counter = unsafe { core::sync::atomic::AtomicU64::from_ptr(counter) };
    counter.fetch_add(n, core::sync::atomic::Ordering::Relaxed);
}
