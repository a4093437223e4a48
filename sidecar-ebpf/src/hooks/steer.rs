//! `connect()`, where traffic is steered: decided here, once, and written into the address that the kernel goes on with.

use aya_ebpf::{
    EbpfContext,
    bindings::{bpf_sock, bpf_sock_addr},
    helpers::{
        bpf_get_current_uid_gid,
        generated::{
            bpf_get_current_cgroup_id, bpf_get_prandom_u32, bpf_set_retval, bpf_sk_lookup_tcp,
            bpf_sk_lookup_udp, bpf_sk_release,
        },
    },
    macros::{cgroup_sock, cgroup_sock_addr},
    programs::{SockAddrContext, SockContext},
};
use sidecar_ebpf::abi::{
    dns::DNS_PORT,
    record::ROLE_CLIENT,
    steer::{
        BALANCE_HASH, GEAR_DENY, GEAR_DIRECT, GONE_CLOSED, HOLDS_CALLBACK, HOLDS_CLAIM, HOLDS_PLACE,
        LISTENERS, NO_SERVICE, NO_TARGET, REASON_DAEMON, REASON_DEVICE, REASON_EXCEPTION, REASON_FIRST_USE,
        REASON_GEAR, REASON_MEMORY, REASON_NETNS, REASON_NO_ENDPOINT, REASON_NO_RULE, REASON_PROTOCOL,
        RULE_EXCEPTION, RULE_VIRTUAL, SERVICE_ENDPOINTS, SERVICE_WAITS, Service, Steer, Steered, Table,
        VERDICT_DENIED, VERDICT_DIRECT, VERDICT_PASSED, VERDICT_PROXIED,
    },
};

use super::{PASS, dns, inbound};
use crate::{
    denial, emit, ends,
    maps::{self, LISTENER, STEER, STEERED, WHO},
    steer, who,
};

/// The verdict of a program that refuses: `EPERM`, unless `bpf_set_retval` said otherwise.
pub(super) const REFUSE: i32 = 0;
const ECONNREFUSED: i32 = 111;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_MPTCP: u32 = 262;
const TCP_CLOSE: u32 = 7;
const LOCALHOST: u32 = 0x7f00_0001_u32.to_be();

#[cgroup_sock_addr(connect4)]
pub(crate) fn steer4(ctx: SockAddrContext) -> i32 {
    connect::<false, false, false>(&ctx)
}

#[cgroup_sock_addr(connect6)]
pub(crate) fn steer6(ctx: SockAddrContext) -> i32 {
    connect6::<false>(&ctx)
}

/// In the place of `steer4` where a service leaves executable files alone: for CAP_PERFMON.
#[cgroup_sock_addr(connect4)]
pub(crate) fn steer4_exe(ctx: SockAddrContext) -> i32 {
    connect::<false, false, true>(&ctx)
}

#[cgroup_sock_addr(connect6)]
pub(crate) fn steer6_exe(ctx: SockAddrContext) -> i32 {
    connect6::<true>(&ctx)
}

/// `getpeername()`, and what `accept()` tells: what the application asked for, who really came in.
#[cgroup_sock_addr(getpeername4)]
pub(crate) fn peer4(ctx: SockAddrContext) -> i32 {
    peer::<false>(&ctx);
    PASS
}

#[cgroup_sock_addr(getpeername6)]
pub(crate) fn peer6(ctx: SockAddrContext) -> i32 {
    peer::<true>(&ctx);
    PASS
}

/// The application lets go of a socket. One that is at work gives its place back at its end; this is for one whose
/// `connect()` came to nothing: no route, no port, refused by another's program, or a fast open that nothing was sent with.
#[cgroup_sock(sock_release)]
pub(crate) fn steer_end(ctx: SockContext) -> i32 {
    if let Some(steered) = steer::of(ctx.sock)
        // SAFETY: the state of a socket of any kind may be read.
        && let state = unsafe { (*ctx.sock).state }
        // SAFETY: the verifier proved `steered`.
        && (state == TCP_CLOSE || unsafe { (*steered).holds } & HOLDS_CALLBACK == 0)
    {
        steer::release(steered);
    }
    PASS
}

/// What a connection becomes.
struct Decision {
    verdict: u8,
    reason: u8,
    /// A place of its service, and of this target.
    target: u32,
    /// Where it goes: IPv6, IPv4 mapped. As asked unless it is direct or proxied.
    to: [u64; 2],
    port: u16,
}

/// Written out for mapped addresses and for others: asked for again and again, it would double what a verifier looks at each time,
/// and 6.1's, without CAP_PERFMON, did not come to an end.
#[inline(always)]
fn connect6<const FILES: bool>(ctx: &SockAddrContext) -> i32 {
    let raw = ctx.sock_addr;
    // SAFETY: `sk` may be read in every program of this type.
    let sk = unsafe { (*raw).__bindgen_anon_1.sk };
    if sk.is_null() {
        return PASS;
    }
    let ([high, low], bound) = (address::<true>(raw), ends::bound6(sk));
    // Nobody's address is loopback of the family that the socket is bound to.
    let nobodys = ends::unless(high | low);
    if ends::is_mapped([high | bound[0] & nobodys, low | bound[1] & nobodys]) {
        connect::<true, false, FILES>(ctx)
    } else {
        connect::<true, true, FILES>(ctx)
    }
}

/// `V6`: the socket is one of IPv6. `SIX`: so is the destination, which is not mapped. `FILES`: what the process executes may be
/// asked for.
#[inline(always)]
fn connect<const V6: bool, const SIX: bool, const FILES: bool>(ctx: &SockAddrContext) -> i32 {
    let raw = ctx.sock_addr;
    // SAFETY: `sk` may be read in every program of this type.
    let sk = unsafe { (*raw).__bindgen_anon_1.sk };
    if sk.is_null() {
        return PASS;
    }
    who::note_stranger(ctx.as_ptr(), sk, u32::from(ROLE_CLIENT));
    let Some(steer) = maps::numbered::<Steer, _>(&STEER, 0) else { return PASS };
    // SAFETY: the verifier proved it.
    let steer = unsafe { &*steer };
    if steer.is_on == 0 || who::of(sk).1 {
        return PASS;
    }
    if let Some(before) = steer::of(sk) {
        // It tries again.
        steer::release(before);
    }
    let (addr, port) = (destination::<V6, SIX>(raw, sk), port(raw));
    let is_tcp = is_tcp(raw);
    // What is found for this is not kept: an entry that is known to be missing on some way is a number there, and kernels before
    // 6.17 refuse a program that would go on with it if it guessed a branch wrongly ("invalid mem access 'scalar'"). And nobody
    // goes on from here: 6.1 would look at all that follows once more for each way.
    if port == DNS_PORT
        && let Some(dns) = dns::config()
    {
        if let Some(id) = denied_by::<SIX, FILES>(steer, addr, port) {
            note(sk, addr, port, Some(id), [VERDICT_DENIED, REASON_GEAR]);
            denial::tell(ctx, sk);
            return REFUSE;
        }
        let caught = dns::catch::<SIX>(ctx, sk, steer, dns, addr, is_tcp);
        if caught.port != 0 {
            // Without memory it is caught too; only its peer is the daemon then.
            note(sk, addr, port, None, [VERDICT_PROXIED, caught.reason]);
            rewrite::<V6>(raw, loopback(SIX), caught.port);
        } else {
            note(sk, addr, port, None, [VERDICT_PASSED, caught.reason]);
        }
        return PASS;
    }
    let Some(rule) = steer::rule(steer::family(SIX), steer.bank, addr, port) else {
        note(sk, addr, port, None, [VERDICT_PASSED, REASON_NO_RULE]);
        return PASS;
    };
    let (id, is_virtual) = (rule.service, rule.flags & RULE_VIRTUAL != 0);
    let Some(service) = steer::service(steer.bank, id) else {
        if is_virtual {
            note(sk, addr, port, None, [VERDICT_DENIED, REASON_NO_ENDPOINT]);
            denial::tell(ctx, sk);
            return refuse();
        }
        return PASS;
    };
    // Nobody is at a virtual address.
    if rule.flags & RULE_EXCEPTION != 0
        || !is_virtual && steer::excepts_caller::<FILES>(steer.bank, id, service)
    {
        note(sk, addr, port, Some(id), [VERDICT_PASSED, REASON_EXCEPTION]);
        return PASS;
    }
    if service.gear == GEAR_DENY {
        note(sk, addr, port, Some(id), [VERDICT_DENIED, REASON_GEAR]);
        denial::tell(ctx, sk);
        return REFUSE;
    }
    if !is_tcp {
        if is_virtual {
            note(sk, addr, port, Some(id), [VERDICT_DENIED, REASON_PROTOCOL]);
            denial::tell(ctx, sk);
            return refuse();
        }
        note(sk, addr, port, Some(id), [VERDICT_PASSED, REASON_PROTOCOL]);
        return PASS;
    }
    let now = emit::now();
    let (place, trial) = steer::take_place(id, service, now, SIX);
    if place != REASON_GEAR {
        note(sk, addr, port, Some(id), [VERDICT_DENIED, place]);
        denial::tell(ctx, sk);
        return refuse();
    }
    let mut decision = decide::<SIX>(ctx, sk, steer, service, trial, now, (addr, port));
    if is_virtual && decision.verdict == VERDICT_PASSED {
        // There is nobody.
        decision.verdict = VERDICT_DENIED;
    }
    let Some(steered) = note(sk, addr, port, Some(id), [decision.verdict, decision.reason]) else {
        return PASS;
    };
    // SAFETY: the verifier proved `steered`.
    unsafe { ((*steered).target, (*steered).holds) = (decision.target, HOLDS_PLACE) };
    steer::load(decision.target, 1);
    if decision.verdict == VERDICT_DENIED {
        steer::release(steered);
        denial::tell(ctx, sk);
        return refuse();
    }
    if !who::is_made(sk) {
        // Nobody tells when it is let go of.
        steer::release(steered);
        // SAFETY: as above.
        unsafe { (*steered).holds = HOLDS_CLAIM };
    }
    if decision.verdict != VERDICT_PASSED {
        rewrite::<V6>(raw, decision.to, decision.port);
    }
    PASS
}

/// The service that denies what goes there.
#[inline(always)]
pub(super) fn denied_by<const SIX: bool, const FILES: bool>(
    steer: &Steer,
    addr: [u64; 2],
    port: u16,
) -> Option<u32> {
    let rule = steer::rule(steer::family(SIX), steer.bank, addr, port)?;
    if rule.flags & RULE_EXCEPTION != 0 {
        return None;
    }
    let (id, is_virtual) = (rule.service, rule.flags & RULE_VIRTUAL != 0);
    let service = steer::service(steer.bank, id)?;
    let denies =
        service.gear == GEAR_DENY && (is_virtual || !steer::excepts_caller::<FILES>(steer.bank, id, service));
    denies.then_some(id)
}

#[inline(always)]
fn is_tcp(raw: *mut bpf_sock_addr) -> bool {
    // SAFETY: the context's fields may be read.
    let protocol = unsafe { (&raw const (*raw).protocol).read_volatile() };
    protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP
}

/// Of a service that has a place for it.
#[inline(always)]
fn decide<const SIX: bool>(
    ctx: &SockAddrContext,
    sk: *mut bpf_sock,
    steer: &Steer,
    service: &Service,
    trial: u32,
    now: u64,
    (addr, port): ([u64; 2], u16),
) -> Decision {
    let table = table(service, SIX);
    let client = if service.balance >= BALANCE_HASH { client(sk, service.balance) } else { 0 };
    let target = if trial == 0 { steer::choose(service.balance, table, client) } else { trial - 1 };
    let mut decision = Decision { verdict: VERDICT_PASSED, reason: REASON_GEAR, target, to: addr, port };
    let without = |mut decision: Decision, reason, is_refused: bool| {
        decision.verdict = if is_refused { VERDICT_DENIED } else { VERDICT_PASSED };
        decision.reason = reason;
        decision
    };
    if service.flags & SERVICE_ENDPOINTS != 0 && target == NO_TARGET {
        let waits = service.flags & SERVICE_WAITS != 0;
        return without(decision, if waits { REASON_FIRST_USE } else { REASON_NO_ENDPOINT }, false);
    }
    if service.gear == GEAR_DIRECT {
        if let Some(target) = steer::target(target) {
            decision.verdict = VERDICT_DIRECT;
            (decision.to, decision.port) = (steer::words(&target.addr), target.port);
        }
        return decision;
    }
    let is_closed = service.gone == GONE_CLOSED;
    if let Some(reason) = hindrance(sk, steer, now) {
        return without(decision, reason, is_closed);
    }
    let listener = listener(steer, SIX);
    if !is_ours(ctx, SIX, listener, true) {
        return without(decision, nobody(sk, steer), is_closed);
    }
    decision.verdict = VERDICT_PROXIED;
    decision.to = loopback(SIX);
    decision.port = listener;
    decision
}

/// All of both are read, and one taken: see `port_at`.
#[inline(always)]
fn table(service: &Service, is_v6: bool) -> Table {
    // SAFETY: fields of the entry may be read.
    let word = |at: *const u32| unsafe { at.read_volatile() };
    let four = [word(&raw const service.tables[0].first), word(&raw const service.tables[0].len)];
    let six = [word(&raw const service.tables[1].first), word(&raw const service.tables[1].len)];
    let [first, len] = if is_v6 { six } else { four };
    Table { first, len }
}

/// What `hash` balances by.
#[inline(always)]
fn client(sk: *mut bpf_sock, balance: u8) -> u64 {
    match balance - BALANCE_HASH {
        0 => {
            // SAFETY: the verifier proved `who`.
            WHO.get(sk).map_or(0, |who| u64::from(unsafe { (*who).tgid }))
        }
        1 => bpf_get_current_uid_gid() & 0xffff_ffff,
        // SAFETY: helper without preconditions.
        2 => unsafe { bpf_get_current_cgroup_id() },
        _ => {
            let [high, low] = ends::local(sk);
            high ^ low
        }
    }
}

/// Why a socket is not sent to the daemon, whoever listens there.
#[inline(always)]
pub(super) fn hindrance(sk: *mut bpf_sock, steer: &Steer, now: u64) -> Option<u8> {
    // SAFETY: the device may be read.
    if unsafe { (*sk).bound_dev_if } != 0 {
        return Some(REASON_DEVICE);
    }
    if steer.is_late(now) { Some(REASON_DAEMON) } else { None }
}

/// Why none of our sockets was found where a socket is.
#[inline(always)]
pub(super) fn nobody(sk: *mut bpf_sock, steer: &Steer) -> u8 {
    let is_ours = WHO.get(sk).is_some_and(|who| {
        // SAFETY: the verifier proved `who`.
        unsafe { (*who).netns == steer.netns }
    });
    if is_ours { REASON_DAEMON } else { REASON_NETNS }
}

/// One of the relay's listeners; 0: there is none of this family.
#[inline(always)]
fn listener(steer: &Steer, is_v6: bool) -> u16 {
    // SAFETY: helper without preconditions.
    let any = port_at(steer, unsafe { bpf_get_prandom_u32() } as usize, is_v6);
    if any != 0 { any } else { port_at(steer, 0, is_v6) }
}

/// Whether a socket of ours is at this port of loopback, in the network namespace of whoever asks.
#[inline(always)]
pub(super) fn is_ours(ctx: &SockAddrContext, is_v6: bool, port: u16, is_tcp: bool) -> bool {
    if port == 0 {
        return false;
    }
    // A `bpf_sock_tuple`: addresses, then ports, of whom the listener would hear, which is anybody, and its own.
    let ports = u64::from(port.to_be()) << 16;
    let (tuple, len) = if is_v6 {
        (maps::words([0, 0, 0, u64::from(1_u32.to_be()) << 32, ports]), 36)
    } else {
        (maps::words([u64::from(LOCALHOST) << 32, ports, 0, 0, 0]), 12)
    };
    let (ctx, at) = (ctx.as_ptr(), tuple.as_ptr().cast_mut().cast());
    let found = if is_tcp {
        // SAFETY: `len` bytes of the tuple were written.
        unsafe { bpf_sk_lookup_tcp(ctx, at, len, u64::MAX, 0) }
    } else {
        // SAFETY: as above.
        unsafe { bpf_sk_lookup_udp(ctx, at, len, u64::MAX, 0) }
    };
    if found.is_null() {
        return false;
    }
    let is_ours = LISTENER.get(found).is_some();
    // SAFETY: the reference that the lookup took.
    unsafe { bpf_sk_release(found.cast()) };
    is_ours
}

/// Both families' are read, and one taken: without CAP_PERFMON the way to a word of an entry must be equally long on each
/// path to it.
#[inline(always)]
fn port_at(steer: &Steer, at: usize, is_v6: bool) -> u16 {
    let first = (&raw const steer.listeners).cast::<u32>();
    // SAFETY: within the array; its entries are aligned, as it lies behind words of eight bytes.
    let both = unsafe { first.add(at % LISTENERS).read_volatile() };
    (if is_v6 { both >> 16 } else { both & 0xffff }) as u16
}

/// Counts a decision, and leaves it at the socket. `None` only where memory ran out: then nothing is steered.
#[inline(always)]
fn note(
    sk: *mut bpf_sock,
    addr: [u64; 2],
    port: u16,
    service: Option<u32>,
    [verdict, reason]: [u8; 2],
) -> Option<*mut Steered> {
    let Some(steered) = STEERED.get_or_zero(sk) else {
        steer::tell(service, VERDICT_PASSED, REASON_MEMORY);
        return None;
    };
    steer::tell(service, verdict, reason);
    // SAFETY: the verifier proved `steered`; nobody else is at the socket.
    let steered = unsafe { &mut *steered };
    for (to, word) in steered.asked.chunks_exact_mut(8).zip(addr) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
    (steered.port, steered.verdict, steered.reason) = (port, verdict, reason);
    (steered.service, steered.target) = (service.unwrap_or(NO_SERVICE), NO_TARGET);
    (steered.holds, steered.is_reset) = (0, 0);
    Some(steered)
}

/// Not as one who may not, but as one whom nobody answers.
#[inline(always)]
fn refuse() -> i32 {
    // SAFETY: helper without preconditions in this program type.
    unsafe { bpf_set_retval(-ECONNREFUSED) };
    REFUSE
}

#[inline(always)]
fn peer<const V6: bool>(ctx: &SockAddrContext) {
    let raw = ctx.sock_addr;
    // SAFETY: `sk` may be read in every program of this type.
    let sk = unsafe { (*raw).__bindgen_anon_1.sk };
    if sk.is_null() {
        return;
    }
    if let Some((addr, port)) = inbound::client(sk) {
        // It came in.
        rewrite::<V6>(raw, addr, port);
    } else if let Some(steered) = steer::of(sk) {
        if let Some((addr, port)) = asked(steered) {
            rewrite::<V6>(raw, addr, port);
        }
    } else if let Some((addr, port)) = asked_of_path(ctx, sk) {
        rewrite::<V6>(raw, addr, port);
    }
}

/// What was asked for, where that is not where it went.
#[inline(always)]
fn asked(steered: *mut Steered) -> Option<([u64; 2], u16)> {
    // SAFETY: the verifier proved `steered`.
    let steered = unsafe { &*steered };
    let is_elsewhere = matches!(steered.verdict, VERDICT_DIRECT | VERDICT_PROXIED);
    is_elsewhere.then(|| (steer::words(&steered.asked), steered.port))
}

/// The same of an MPTCP connection: at `connect()` its path's socket is seen, here the application's, which has the first path's
/// ends (`mptcp_copy_inaddrs` of net/mptcp/subflow.c).
#[inline(always)]
fn asked_of_path(ctx: &SockAddrContext, sk: *mut bpf_sock) -> Option<([u64; 2], u16)> {
    // SAFETY: the protocol may be read.
    if unsafe { (&raw const (*sk).protocol).read_volatile() } != IPPROTO_MPTCP {
        return None;
    }
    let (local, remote) = (ends::local(sk), ends::remote(sk));
    // A `bpf_sock_tuple`, as a segment from the other side has it.
    let ports = u64::from(ends::remote_port(sk).to_be()) | u64::from(ends::local_port(sk).to_be()) << 16;
    let (tuple, len) = if ends::is_mapped(remote) {
        (maps::words([remote[1] >> 32 | (local[1] >> 32) << 32, ports, 0, 0, 0]), 12)
    } else {
        (maps::words([remote[0], remote[1], local[0], local[1], ports]), 36)
    };
    // SAFETY: `len` bytes of the tuple were written.
    let found =
        unsafe { bpf_sk_lookup_tcp(ctx.as_ptr(), tuple.as_ptr().cast_mut().cast(), len, u64::MAX, 0) };
    if found.is_null() {
        return None;
    }
    let asked = steer::of(found).and_then(asked);
    // SAFETY: the reference that the lookup took.
    unsafe { bpf_sk_release(found.cast()) };
    asked
}

/// `::ffff:127.0.0.1` or `::1`.
#[inline(always)]
pub(super) fn loopback(is_v6: bool) -> [u64; 2] {
    if is_v6 { [0, 1_u64.to_be()] } else { [0, ends::mapped(LOCALHOST)] }
}

/// The address that the application gave.
#[inline(always)]
pub(super) fn address<const V6: bool>(raw: *mut bpf_sock_addr) -> [u64; 2] {
    if V6 {
        // SAFETY: the context's fields may be read, in words of four bytes.
        let word = |at: usize| u64::from(unsafe { (&raw const (*raw).user_ip6[at]).read_volatile() });
        [word(0) | word(1) << 32, word(2) | word(3) << 32]
    } else {
        // SAFETY: as above.
        [0, ends::mapped(unsafe { (&raw const (*raw).user_ip4).read_volatile() })]
    }
}

/// The same, and for nobody's address what the kernel takes for it later: loopback, or with IPv4 the address that the socket is bound to
/// (`tcp_v6_connect`, `udpv6_sendmsg`, `ip_route_output_key_hash_rcu`).
#[inline(always)]
pub(super) fn destination<const V6: bool, const SIX: bool>(
    raw: *mut bpf_sock_addr,
    sk: *mut bpf_sock,
) -> [u64; 2] {
    let [high, low] = address::<V6>(raw);
    if SIX {
        return [high, low | loopback(true)[1] & ends::unless(high | low)];
    }
    // `::` is loopback whatever the socket is bound to.
    let bound = ends::bound4::<V6>(sk) & !ends::unless(low & u64::from(u32::MAX));
    let own = bound | u64::from(LOCALHOST) & ends::unless(bound);
    [high, low | ends::mapped(0) | own << 32 & ends::unless(low >> 32)]
}

#[inline(always)]
pub(super) fn port(raw: *mut bpf_sock_addr) -> u16 {
    // SAFETY: the context's fields may be read.
    u16::from_be(unsafe { (&raw const (*raw).user_port).read_volatile() } as u16)
}

/// Writes another address.
#[inline(always)]
pub(super) fn rewrite<const V6: bool>(raw: *mut bpf_sock_addr, addr: [u64; 2], port: u16) {
    if V6 {
        let quarters = [addr[0] as u32, (addr[0] >> 32) as u32, addr[1] as u32, (addr[1] >> 32) as u32];
        for (at, quarter) in quarters.into_iter().enumerate() {
            // SAFETY: the context's fields may be written, in words of four bytes.
            unsafe { (&raw mut (*raw).user_ip6[at]).write_volatile(quarter) };
        }
    } else {
        // SAFETY: as above.
        unsafe { (&raw mut (*raw).user_ip4).write_volatile((addr[1] >> 32) as u32) };
    }
    // SAFETY: as above.
    unsafe { (&raw mut (*raw).user_port).write_volatile(port.to_be().into()) };
}
