//! Adding to `COUNTS` and `TRAFFIC`.

use sidecar_ebpf::abi::count;

use crate::maps::{COUNTS, TRAFFIC};

/// Adds `n` to a slot. Atomic, because a softirq on the same CPU may interrupt between load and store.
#[inline(always)]
pub(crate) fn add(slot: u32, n: u64) {
    if let Some(counter) = COUNTS.get_ptr_mut(slot) {
        // SAFETY: the verifier proved the pointer to be a u64 of this map.
        unsafe { atomic_add(counter, n) }
    }
}

/// Adds to an entry of `TRAFFIC` outside of a connection's lock.
#[inline(always)]
pub(crate) fn traffic(slot: u32, bytes: [u64; 2]) {
    let Some(entry) = entry(slot) else { return };
    // SAFETY: the verifier proved the pointer to be an entry of this map.
    unsafe { atomic_add(&raw mut (*entry).bytes[0], bytes[0]) };
    // SAFETY: as above.
    unsafe { atomic_add(&raw mut (*entry).bytes[1], bytes[1]) };
}

/// Adds to a counter of a map, which must have been proved one.
#[inline(always)]
pub(crate) fn atomic(counter: *mut u64, n: u64) {
    // SAFETY: by the callers, the verifier proved it.
    unsafe { atomic_add(counter, n) }
}

/// This CPU's entry of `TRAFFIC`.
#[inline(always)]
pub(crate) fn entry(slot: u32) -> Option<*mut count::Traffic> {
    TRAFFIC.get_ptr_mut(slot)
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
