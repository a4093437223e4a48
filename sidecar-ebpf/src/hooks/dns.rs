//! Datagrams, where names are configured or something is denied: questions of the DNS go to the daemon, what is denied goes
//! nowhere, everything else where it asks. Questions over connections are caught where those are made (`steer`).

use aya_ebpf::{
    bindings::{bpf_sock, bpf_sock_addr, bpf_spin_lock},
    helpers::generated::{bpf_spin_lock, bpf_spin_unlock},
    macros::cgroup_sock_addr,
    programs::SockAddrContext,
};
use sidecar_ebpf::abi::{
    dns::{DNS_PORT, Dns, Ports, RESOLVERS as N_RESOLVERS, answerer},
    steer::{
        GEAR_DENY, REASON_DNS, REASON_EXCEPTION, REASON_GEAR, REASON_NO_ENDPOINT, REASON_PROTOCOL,
        REASON_RESOLVERS, RULE_EXCEPTION, RULE_VIRTUAL, Steer, VERDICT_DENIED, VERDICT_PASSED,
        VERDICT_PROXIED,
    },
};

use super::{
    PASS,
    steer::{REFUSE, address, denied_by, destination, hindrance, is_ours, loopback, nobody, port, rewrite},
};
use crate::{
    emit, ends,
    maps::{self, ANSWERERS, DNS, NUMBERING, RESOLVER, RESOLVERS, STEER},
    steer, who,
};

/// `abi::dns::Numbering`, as the kernel wants the lock.
#[repr(C)]
pub(crate) struct Numbering {
    lock: bpf_spin_lock,
    next: u32,
}

const _: () = assert!(size_of::<Numbering>() == size_of::<sidecar_ebpf::abi::dns::Numbering>());

/// `sendmsg()` and the like to an address that the call gives.
#[cgroup_sock_addr(sendmsg4)]
pub(crate) fn say4(ctx: SockAddrContext) -> i32 {
    say::<false, false>(&ctx)
}

#[cgroup_sock_addr(sendmsg6)]
pub(crate) fn say6(ctx: SockAddrContext) -> i32 {
    say::<true, false>(&ctx)
}

/// In the place of `say4` where a service leaves executable files alone: for CAP_PERFMON.
#[cgroup_sock_addr(sendmsg4)]
pub(crate) fn say4_exe(ctx: SockAddrContext) -> i32 {
    say::<false, true>(&ctx)
}

#[cgroup_sock_addr(sendmsg6)]
pub(crate) fn say6_exe(ctx: SockAddrContext) -> i32 {
    say::<true, true>(&ctx)
}

/// `recvmsg()` and the like that ask who sent it. What a socket of IPv6 sent to a mapped address went through `say4`, and its
/// answer comes here.
#[cgroup_sock_addr(recvmsg4)]
pub(crate) fn hear4(ctx: SockAddrContext) -> i32 {
    hear::<false>(ctx.sock_addr);
    PASS
}

#[cgroup_sock_addr(recvmsg6)]
pub(crate) fn hear6(ctx: SockAddrContext) -> i32 {
    hear::<true>(ctx.sock_addr);
    PASS
}

/// The settings, where questions are caught.
#[inline(always)]
pub(super) fn config() -> Option<&'static Dns> {
    let dns = maps::numbered::<Dns, _>(&DNS, 0)?;
    // SAFETY: the verifier proved it.
    let dns = unsafe { &*dns };
    if dns.is_on == 0 { None } else { Some(dns) }
}

/// What becomes of a question.
pub(super) struct Caught {
    /// Of the daemon's socket; 0: it goes where it asks.
    pub(super) port: u16,
    pub(super) reason: u8,
}

/// Finds out which of the daemon's sockets a question goes to.
#[inline(always)]
pub(super) fn catch<const SIX: bool>(
    ctx: &SockAddrContext,
    sk: *mut bpf_sock,
    steer: &Steer,
    dns: &Dns,
    addr: [u64; 2],
    is_tcp: bool,
) -> Caught {
    let passed = |reason| Caught { port: 0, reason };
    if let Some(reason) = hindrance(sk, steer, emit::now()) {
        return passed(reason);
    }
    let Some(number) = number(addr) else { return passed(REASON_RESOLVERS) };
    let port = port_of(dns, number, SIX, is_tcp);
    if !is_ours(ctx, SIX, port, is_tcp) {
        return passed(nobody(sk, steer));
    }
    Caught { port, reason: REASON_DNS }
}

/// To a mapped address a socket of IPv6 sends by way of `say4` (`udpv6_sendmsg` of net/ipv6/udp.c).
#[inline(always)]
fn say<const V6: bool, const FILES: bool>(ctx: &SockAddrContext) -> i32 {
    let raw = ctx.sock_addr;
    // SAFETY: `sk` may be read in every program of this type.
    let sk = unsafe { (*raw).__bindgen_anon_1.sk };
    if sk.is_null() {
        return PASS;
    }
    let Some(steer) = maps::numbered::<Steer, _>(&STEER, 0) else { return PASS };
    // SAFETY: the verifier proved it.
    let steer = unsafe { &*steer };
    if steer.is_on == 0 {
        return PASS;
    }
    let (addr, port) = (destination::<V6, V6>(raw, sk), port(raw));
    // Its own look at the rules, as in `steer::connect`.
    if port == DNS_PORT
        && denied_by::<V6, FILES>(steer, addr, port).is_none()
        && !who::of(sk).1
        && let Some(dns) = config()
    {
        let caught = catch::<V6>(ctx, sk, steer, dns, addr, false);
        let verdict = if caught.port == 0 { VERDICT_PASSED } else { VERDICT_PROXIED };
        steer::tell(None, verdict, caught.reason);
        if caught.port != 0 {
            rewrite::<V6>(raw, loopback(V6), caught.port);
        }
        return PASS;
    }
    let Some(rule) = steer::rule(steer::family(V6), steer.bank, addr, port) else { return PASS };
    if who::of(sk).1 {
        return PASS;
    }
    let (id, is_virtual) = (rule.service, rule.flags & RULE_VIRTUAL != 0);
    let is_exception = rule.flags & RULE_EXCEPTION != 0;
    let Some(service) = steer::service(steer.bank, id) else {
        if is_virtual {
            steer::tell(None, VERDICT_DENIED, REASON_NO_ENDPOINT);
            return REFUSE;
        }
        return PASS;
    };
    let is_exception = is_exception || !is_virtual && steer::excepts_caller::<FILES>(steer.bank, id, service);
    let (verdict, reason) = if service.gear == GEAR_DENY && !is_exception {
        (VERDICT_DENIED, REASON_GEAR)
    } else if is_virtual {
        (VERDICT_DENIED, REASON_PROTOCOL)
    } else if is_exception {
        (VERDICT_PASSED, REASON_EXCEPTION)
    } else {
        (VERDICT_PASSED, REASON_PROTOCOL)
    };
    steer::tell(Some(id), verdict, reason);
    if verdict == VERDICT_DENIED { REFUSE } else { PASS }
}

/// An answer's source becomes whom was asked.
#[inline(always)]
fn hear<const V6: bool>(raw: *mut bpf_sock_addr) {
    let (addr, port) = (address::<V6>(raw), port(raw));
    let is_v6 = V6 && !ends::is_mapped(addr);
    if addr != loopback(is_v6) {
        return;
    }
    let Some(number) = maps::entry::<u64, _, _>(&ANSWERERS, &maps::words([answerer(is_v6, port)])) else {
        return;
    };
    // SAFETY: the verifier proved it.
    let number = unsafe { number.read_volatile() };
    let Some(asked) = maps::numbered::<[u64; 2], _>(&RESOLVERS, number as u32) else { return };
    // SAFETY: as above.
    let asked = unsafe { *asked };
    // One of ours that nobody was sent to answers nobody.
    if asked != [0, 0] {
        rewrite::<V6>(raw, asked, DNS_PORT);
    }
}

/// The number of a resolver, which gets one when it is asked for the first time. `None`: there are no more.
#[inline(always)]
fn number(addr: [u64; 2]) -> Option<u32> {
    let key = maps::words(addr);
    if let Some(number) = known(&key) {
        return Some(number);
    }
    let numbering: *mut Numbering = maps::numbered(&NUMBERING, 0)?;
    let own = Numbering::locked(numbering, |numbering| {
        let own = numbering.next;
        if own < N_RESOLVERS as u32 {
            numbering.next = own + 1;
        }
        own
    });
    if own >= N_RESOLVERS as u32 {
        // Somebody may have been quicker with the last one.
        return known(&key);
    }
    // Whoever finds the number finds the address: it is written first.
    let numbered = maps::words([u64::from(own)]);
    if maps::insert(&RESOLVERS, &numbered, &key) && maps::insert_new(&RESOLVER, &key, &numbered) {
        return Some(own);
    }
    // Somebody was quicker: the number goes back, unless the next was given already.
    Numbering::locked(numbering, |numbering| {
        if numbering.next == own + 1 {
            numbering.next = own;
        }
    });
    known(&key)
}

#[inline(always)]
fn known(key: &core::mem::MaybeUninit<[u64; 2]>) -> Option<u32> {
    let number: *mut u64 = maps::entry(&RESOLVER, key)?;
    // SAFETY: the verifier proved it.
    Some(unsafe { number.read_volatile() } as u32)
}

impl Numbering {
    /// Runs `change` under the lock.
    #[inline(always)]
    fn locked<T>(entry: *mut Numbering, change: impl FnOnce(&mut Numbering) -> T) -> T {
        // SAFETY: the verifier proved `entry` a value of the map; the lock is its first field.
        unsafe { bpf_spin_lock(&raw mut (*entry).lock) };
        // SAFETY: the lock excludes every other writer.
        let result = change(unsafe { &mut *entry });
        // SAFETY: taken above.
        unsafe { bpf_spin_unlock(&raw mut (*entry).lock) };
        result
    }
}

/// All four ports are read, and one taken: see `steer::port_at`.
#[inline(always)]
fn port_of(dns: &Dns, number: u32, is_v6: bool, is_tcp: bool) -> u16 {
    const { assert!(size_of::<Ports>() == size_of::<u64>()) };
    let first = (&raw const dns.ports).cast::<u64>();
    // SAFETY: within the array, which lies behind a word of eight bytes.
    let all = unsafe { first.add(number as usize % N_RESOLVERS).read_volatile() };
    (all >> (u64::from(is_tcp) * 32 + u64::from(is_v6) * 16)) as u16
}
