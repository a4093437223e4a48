//! What becomes of a `connect()`: which rule it falls under, whether its service has a place for it, and where it goes.
//!
//! A program at `connect()` runs in the application's context, with nobody else at the socket. What is shared is a service's
//! entry of `USES`, under its lock, and `LOADS`, which is added to atomically.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{bpf_sock, bpf_spin_lock},
    helpers::generated::{self, bpf_get_prandom_u32},
};
use sidecar_ebpf::abi::steer::{
    BALANCE_HASH, BALANCE_RANDOM, HOLDS_PLACE, NO_TARGET, REASON_CONNECTIONS, REASON_GEAR, REASON_RATE,
    RULE_EXACT, Rule, Service, Steered, Table, Target, decision, served,
};

use crate::{
    count, ends,
    maps::{DECISIONS, LOADS, RULES, SERVED, STEERED, TABLE, TARGETS, USES},
};

/// `abi::steer::Use`, as the kernel wants the lock.
#[repr(C)]
pub(crate) struct Use {
    lock: bpf_spin_lock,
    active: u32,
    next_ns: u64,
}

const _: () = assert!(size_of::<Use>() == size_of::<sidecar_ebpf::abi::steer::Use>());

impl Use {
    /// Runs `change` under the lock.
    #[inline(always)]
    fn locked<T>(entry: *mut Use, change: impl FnOnce(&mut Use) -> T) -> T {
        // SAFETY: the verifier proved `entry` a value of the map; the lock is its first field.
        unsafe { generated::bpf_spin_lock(&raw mut (*entry).lock) };
        // SAFETY: the lock excludes every other writer.
        let result = change(unsafe { &mut *entry });
        // SAFETY: taken above.
        unsafe { generated::bpf_spin_unlock(&raw mut (*entry).lock) };
        result
    }
}

/// The rule that a destination falls under: of that for its port and that for any the one that comes first.
#[inline(always)]
pub(crate) fn rule(bank: u32, addr: [u64; 2], port: u16) -> Option<&'static Rule> {
    let exact = lookup(bank, addr, port);
    let any = lookup(bank, addr, 0);
    match (exact, any) {
        (Some(exact), Some(any)) => Some(if any.place < exact.place { any } else { exact }),
        (Some(rule), None) | (None, Some(rule)) => Some(rule),
        (None, None) => None,
    }
}

#[inline(always)]
fn lookup(bank: u32, addr: [u64; 2], port: u16) -> Option<&'static Rule> {
    // `lpm_trie::Key<RuleKey>` in words of eight bytes, each written whole: see `conn`.
    let mut key = MaybeUninit::<[u64; 3]>::uninit();
    let longest = u64::from(RULE_EXACT + 128);
    let family = if ends::is_mapped(addr) { 4 } else { 6 };
    let words =
        [longest | u64::from(bank & 1) << 32 | family << 40 | u64::from(port) << 48, addr[0], addr[1]];
    for (at, word) in words.into_iter().enumerate() {
        // SAFETY: within the array.
        unsafe { key.as_mut_ptr().cast::<u64>().add(at).write_volatile(word) };
    }
    // SAFETY: all of the key was written; it has the layout of the map's, which has no alignment.
    RULES.get(unsafe { &*key.as_ptr().cast() })
}

/// A place for one more connection, or the reason why there is none.
#[inline(always)]
pub(crate) fn take_place(id: u32, service: &Service, now: u64) -> u8 {
    let Some(entry) = USES.get_ptr_mut(id) else { return REASON_GEAR };
    let (limit, spacing, burst) = (service.connections, service.spacing_ns, service.burst_ns);
    Use::locked(entry, |entry| {
        if limit != 0 && entry.active >= limit {
            return REASON_CONNECTIONS;
        }
        if spacing != 0 {
            let next = if entry.next_ns > now { entry.next_ns } else { now };
            if next - now > burst {
                return REASON_RATE;
            }
            entry.next_ns = next + spacing;
        }
        entry.active += 1;
        REASON_GEAR
    })
}

/// Gives back what a socket holds of its service; whether it still held it.
#[inline(always)]
pub(crate) fn release(steered: *mut Steered) -> u32 {
    // SAFETY: the verifier proved `steered` a value of the map; these do not change while it holds something.
    let (id, target) = unsafe { ((*steered).service, (*steered).target) };
    let Some(entry) = USES.get_ptr_mut(id) else { return 0 };
    let held = Use::locked(entry, |entry| {
        // SAFETY: as above; `holds` is changed under this lock only.
        let holds = unsafe { &mut (*steered).holds };
        let held = *holds;
        *holds = 0;
        entry.active = entry.active.wrapping_sub(held & HOLDS_PLACE);
        held
    });
    if held & HOLDS_PLACE != 0 {
        load(target, u64::MAX);
    }
    held
}

/// Counts a decision, of a service where it is one's.
#[inline(always)]
pub(crate) fn tell(service: Option<u32>, verdict: u8, reason: u8) {
    if let Some(counter) = DECISIONS.get_ptr_mut(decision(verdict, reason)) {
        count::atomic(counter, 1);
    }
    // By number, not by moving a pointer: without CAP_PERFMON that must go equally far on each way to it.
    if let Some(counter) = service.and_then(|id| SERVED.get_ptr_mut(served(id, verdict))) {
        count::atomic(counter, 1);
    }
}

/// A target from a stretch of the table.
#[inline(always)]
pub(crate) fn choose(balance: u8, table: Table, client: u64) -> u32 {
    if table.len == 0 {
        return NO_TARGET;
    }
    // SAFETY: helper without preconditions.
    let random = || unsafe { bpf_get_prandom_u32() };
    if balance >= BALANCE_HASH {
        return place(table, mix(client));
    }
    let one = place(table, random());
    if balance == BALANCE_RANDOM {
        return one;
    }
    let other = place(table, random());
    if price(other) < price(one) { other } else { one }
}

#[inline(always)]
fn place(table: Table, number: u32) -> u32 {
    TABLE.get(table.first.wrapping_add(number % table.len)).map_or(NO_TARGET, |target| *target)
}

/// What one connection more costs at a target.
#[inline(always)]
fn price(target: u32) -> u64 {
    let (Some(load), Some(target)) = (LOADS.get(target), TARGETS.get(target)) else { return u64::MAX };
    (*load + 1).wrapping_mul(u64::from(target.cost))
}

/// Sebastiano Vigna's finalizer of SplitMix64.
#[inline(always)]
fn mix(number: u64) -> u32 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (number >> 32) as u32
}

#[inline(always)]
pub(crate) fn target(target: u32) -> Option<&'static Target> {
    TARGETS.get(target)
}

/// Adds to a target's connections.
#[inline(always)]
pub(crate) fn load(target: u32, n: u64) {
    if let Some(load) = LOADS.get_ptr_mut(target) {
        count::atomic(load, n);
    }
}

/// What was decided of a socket, if anything was.
#[inline(always)]
pub(crate) fn of(sk: *mut bpf_sock) -> Option<*mut Steered> {
    STEERED.get(sk)
}
