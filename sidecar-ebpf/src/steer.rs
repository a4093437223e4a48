//! What becomes of a `connect()`: which rule it falls under, whether its service has a place for it, and where it goes.
//!
//! A program at `connect()` runs in the application's context, with nobody else at the socket. What is shared is a service's
//! entry of `USES`, under its lock, and `LOADS`, which is added to atomically.

use aya_ebpf::{
    bindings::{bpf_sock, bpf_spin_lock},
    helpers::{
        bpf_get_current_uid_gid,
        generated::{self, bpf_get_prandom_u32},
    },
};
use sidecar_ebpf::abi::steer::{
    BALANCE_HASH, BALANCE_RANDOM, HOLDS_CALLBACK, HOLDS_CLAIM, HOLDS_PLACE, NO_TARGET, REASON_CONNECTIONS,
    REASON_FIRST_USE, REASON_GEAR, REASON_RATE, RULE_EXACT, RULE_FILE, RULE_USER, Rule, SERVICE_FILES,
    SERVICE_USERS, Service, Steered, Table, Target, decision, first_uses, result, served, trial,
};

use crate::{
    count, executable,
    maps::{self, DECISIONS, LOADS, RESULTS, RULES, SERVED, SERVICES, STEERED, TABLE, TARGETS, TRIALS, USES},
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

/// That of rules: no network of IPv6 has IPv4 addresses in it.
#[inline(always)]
pub(crate) const fn family(is_v6: bool) -> u8 {
    if is_v6 { 6 } else { 4 }
}

/// The rule that a destination falls under: of that for its port and that for any the one that comes first. `family` is 4 or 6, or
/// with [`RULE_INBOUND`](sidecar_ebpf::abi::steer::RULE_INBOUND): then `addr` is that of whoever comes in.
#[inline(always)]
pub(crate) fn rule(family: u8, bank: u32, addr: [u64; 2], port: u16) -> Option<&'static Rule> {
    let exact = entry(family, bank, addr, port);
    let any = entry(family, bank, addr, 0);
    match (exact, any) {
        (Some(exact), Some(any)) => Some(if any.place < exact.place { any } else { exact }),
        (Some(rule), None) | (None, Some(rule)) => Some(rule),
        (None, None) => None,
    }
}

#[inline(always)]
fn entry(family: u8, bank: u32, addr: [u64; 2], port: u16) -> Option<&'static Rule> {
    let (longest, family) = (u64::from(RULE_EXACT + 128), u64::from(family));
    // `lpm_trie::Key<RuleKey>`.
    let first = longest | u64::from(bank & 1) << 32 | family << 40 | u64::from(port) << 48;
    let rule: *mut Rule = maps::entry(&RULES, &maps::words([first, addr[0], addr[1]]))?;
    // SAFETY: the verifier proved it; user space writes no rule of a bank that is read.
    Some(unsafe { &*rule })
}

/// What is done about a service's connections.
#[inline(always)]
pub(crate) fn service(bank: u32, id: u32) -> Option<&'static Service> {
    // A `ServiceKey`.
    let service: *mut Service =
        maps::entry(&SERVICES, &maps::words([u64::from(bank) | u64::from(id) << 32]))?;
    // SAFETY: as with rules.
    Some(unsafe { &*service })
}

/// Whether a service leaves alone whoever connects, or sends: the process that the program runs in. `FILES`: what it executes
/// may be asked for.
#[inline(always)]
pub(crate) fn excepts_caller<const FILES: bool>(bank: u32, id: u32, service: &Service) -> bool {
    let flags = service.flags;
    if flags & SERVICE_USERS != 0 {
        let uid = bpf_get_current_uid_gid() as u32;
        if entry(RULE_USER, bank, [uid.to_be().into(), 0], id as u16).is_some() {
            return true;
        }
    }
    if FILES
        && flags & SERVICE_FILES != 0
        && let Some(file) = executable::own()
    {
        return entry(RULE_FILE, bank, file, id as u16).is_some();
    }
    false
}

/// A place for one more connection, or the reason why there is none; and the number, plus 1, of the target that it is to try.
#[inline(always)]
pub(crate) fn take_place(id: u32, service: &Service, now: u64, is_v6: bool) -> (u8, u32) {
    let Some(entry) = maps::numbered(&USES, id) else { return (REASON_GEAR, 0) };
    let Some(trial) = maps::numbered::<u32, _>(&TRIALS, trial(id, is_v6)) else { return (REASON_GEAR, 0) };
    let (limit, spacing, burst) = (service.connections, service.spacing_ns, service.burst_ns);
    Use::locked(entry, |entry| {
        if limit != 0 && entry.active >= limit {
            return (REASON_CONNECTIONS, 0);
        }
        if spacing != 0 {
            let next = if entry.next_ns > now { entry.next_ns } else { now };
            if next - now > burst {
                return (REASON_RATE, 0);
            }
            entry.next_ns = next + spacing;
        }
        entry.active += 1;
        // SAFETY: the verifier proved it; of all programs the lock lets one take what user space left.
        let target = unsafe { trial.read_volatile() };
        if target != 0 {
            // SAFETY: as above.
            unsafe { trial.write_volatile(0) };
        }
        (REASON_GEAR, target)
    })
}

/// Gives back what a socket holds of its service; whether it still held it.
#[inline(always)]
pub(crate) fn release(steered: *mut Steered) -> u16 {
    // SAFETY: the verifier proved `steered` a value of the map; these do not change while it holds something.
    let (id, target) = unsafe { ((*steered).service, (*steered).target) };
    let Some(entry) = maps::numbered(&USES, id) else { return 0 };
    let held = Use::locked(entry, |entry| {
        // SAFETY: as above; `holds` is changed under this lock only.
        let holds = unsafe { &mut (*steered).holds };
        let held = *holds;
        *holds = 0;
        entry.active = entry.active.wrapping_sub(u32::from(held & HOLDS_PLACE));
        held
    });
    if held & HOLDS_PLACE != 0 {
        load(target, u64::MAX);
    }
    held
}

/// Has the place ready that the socket's connection was promised; false: it holds none.
#[inline(always)]
pub(crate) fn claim(steered: *mut Steered) -> bool {
    // SAFETY: as with `release`.
    let (id, target) = unsafe { ((*steered).service, (*steered).target) };
    let Some(entry) = maps::numbered(&USES, id) else { return false };
    let held = Use::locked(entry, |entry| {
        // SAFETY: as with `release`.
        let holds = unsafe { &mut (*steered).holds };
        let held = *holds;
        if held & (HOLDS_PLACE | HOLDS_CLAIM) != 0 {
            *holds = HOLDS_PLACE | HOLDS_CALLBACK;
        }
        entry.active = entry.active.wrapping_add(u32::from(held & HOLDS_CLAIM) / u32::from(HOLDS_CLAIM));
        held
    });
    if held & HOLDS_CLAIM != 0 {
        load(target, 1);
    }
    held & (HOLDS_PLACE | HOLDS_CLAIM) != 0
}

/// Counts a decision on what goes out, of a service where it is one's.
#[inline(always)]
pub(crate) fn tell(service: Option<u32>, verdict: u8, reason: u8) {
    tell_of(false, service, verdict, reason);
}

/// The same of what goes out, or comes in.
#[inline(always)]
pub(crate) fn tell_of(is_inbound: bool, service: Option<u32>, verdict: u8, reason: u8) {
    if let Some(counter) = maps::numbered(&DECISIONS, decision(is_inbound, verdict, reason)) {
        count::atomic(counter, 1);
    }
    if reason == REASON_FIRST_USE
        && let Some(counter) = service.and_then(|id| maps::numbered(&SERVED, first_uses(id)))
    {
        count::atomic(counter, 1);
    }
    // By number, not by moving a pointer: without CAP_PERFMON that must go equally far on each way to it.
    if let Some(counter) = service.and_then(|id| maps::numbered(&SERVED, served(id, verdict))) {
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
    let place = maps::numbered::<u32, _>(&TABLE, table.first.wrapping_add(number % table.len));
    // SAFETY: the verifier proved it.
    place.map_or(NO_TARGET, |target| unsafe { target.read_volatile() })
}

/// What one connection more costs at a target.
#[inline(always)]
fn price(target: u32) -> u64 {
    let Some(load) = maps::numbered::<u64, _>(&LOADS, target) else { return u64::MAX };
    // SAFETY: the verifier proved it.
    let load = unsafe { load.read_volatile() };
    self::target(target).map_or(u64::MAX, |target| (load + 1).wrapping_mul(u64::from(target.cost)))
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
    let target: *mut Target = maps::numbered(&TARGETS, target)?;
    // SAFETY: the verifier proved it.
    Some(unsafe { &*target })
}

/// Adds to a target's connections.
#[inline(always)]
pub(crate) fn load(target: u32, n: u64) {
    if let Some(load) = maps::numbered(&LOADS, target) {
        count::atomic(load, n);
    }
}

/// Counts what became of a connection to a target.
#[inline(always)]
pub(crate) fn became(target: u32, what: u32) {
    if let Some(counter) = maps::numbered(&RESULTS, result(target, what)) {
        count::atomic(counter, 1);
    }
}

/// The peer's RST comes in.
#[inline(always)]
pub(crate) fn was_reset(sk: *mut bpf_sock) {
    if let Some(steered) = of(sk) {
        // SAFETY: the verifier proved `steered`; nobody else writes this while the socket is at work.
        unsafe { (*steered).is_reset = 1 };
    }
}

/// What was decided of a socket, if anything was.
#[inline(always)]
pub(crate) fn of(sk: *mut bpf_sock) -> Option<*mut Steered> {
    STEERED.get(sk)
}

/// An address of an entry, in words of eight bytes.
#[inline(always)]
pub(crate) fn words(addr: &[u8; 16]) -> [u64; 2] {
    // SAFETY: sixteen bytes; entries of maps are aligned to eight.
    unsafe { addr.as_ptr().cast::<[u64; 2]>().read() }
}
