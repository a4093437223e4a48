//! Connections that come in, where a policy wants them: the relay's listener gets them instead of the application's, as they
//! are. No address is changed, so that the relay knows where to from its own socket; and who came in goes with the
//! relay's connection to the socket that the application accepts.

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_SOCK_OPS_STATE_CB_FLAG, bpf_sk_lookup, bpf_sock},
    helpers::generated::{bpf_sk_assign, bpf_sk_release},
    macros::sk_lookup,
    programs::{SkLookupContext, SockOpsContext},
};
use sidecar_ebpf::abi::steer::{
    Client, GEAR_DENY, GEAR_PROXY, GONE_CLOSED, REASON_DAEMON, REASON_GEAR, RULE_EXCEPTION, RULE_INBOUND,
    Steer, VERDICT_DENIED,
};

use super::{
    hand_over::pair,
    sock_ops::{ask, socket},
};
use crate::{
    emit, ends,
    maps::{self, ARRIVALS, ARRIVED, CLIENT, INBOUND, OWN, STEER},
    steer::{self, words},
};

const IPPROTO_TCP: u32 = 6;
const AF_INET: u32 = 2;
/// Of loopback's device, in every network namespace.
const LOOPBACK: u32 = 1;
/// `enum sk_action`.
const SK_DROP: u32 = 0;
const SK_PASS: u32 = 1;

/// On the daemon's network namespace: asked for each SYN that no socket of a connection takes.
#[sk_lookup]
pub(crate) fn come_in(ctx: SkLookupContext) -> u32 {
    if is_refused(&ctx).is_some() { SK_DROP } else { SK_PASS }
}

/// Decides; `None`: somebody is to have it. (Not a verdict in an `Option`, of which LLVM leaves one word unwritten.)
#[inline(always)]
fn is_refused(ctx: &SkLookupContext) -> Option<()> {
    let raw = ctx.lookup;
    // SAFETY: the context's fields may be read.
    let (family, protocol, device) = unsafe {
        (
            (&raw const (*raw).family).read_volatile(),
            (&raw const (*raw).protocol).read_volatile(),
            (&raw const (*raw).ingress_ifindex).read_volatile(),
        )
    };
    if protocol != IPPROTO_TCP || device == LOOPBACK {
        return None;
    }
    let (local, remote) = if family == AF_INET { ends4(raw) } else { ends6(raw) };
    // Whoever dials from an address of this host does not come in, though the device shown is then that which has the address
    // dialled. (What was asked for may be an address that only a route makes ours.)
    if local[0] == remote[0] && local[1] == remote[1] || is_own(&remote) {
        return None;
    }
    let steer: *mut Steer = maps::numbered(&STEER, 0)?;
    // SAFETY: the verifier proved it.
    let steer = unsafe { &*steer };
    if steer.is_on == 0 {
        return None;
    }
    // SAFETY: the context's fields may be read; this one is in host order.
    let port = unsafe { (&raw const (*raw).local_port).read_volatile() } as u16;
    let way = RULE_INBOUND | steer::family(family != AF_INET);
    let rule = steer::rule(way, steer.bank, remote, port)?;
    let id = rule.service;
    let service = steer::service(steer.bank, id)?;
    if rule.flags & RULE_EXCEPTION != 0 {
        return None;
    }
    let reason = if service.gear == GEAR_DENY {
        REASON_GEAR
    } else {
        let listener = u32::from(family != AF_INET);
        let is_let_in = service.gear != GEAR_PROXY
            || !steer.is_late(emit::now()) && assign(ctx, listener)
            || service.gone != GONE_CLOSED;
        if is_let_in {
            return None;
        }
        REASON_DAEMON
    };
    // Those that get in are counted where they are told of: a segment that is of no connection any more looks the same here.
    steer::tell_of(true, Some(id), VERDICT_DENIED, reason);
    Some(())
}

#[inline(always)]
fn is_own(address: &[u64; 2]) -> bool {
    // All of 127.0.0.0/8 is, whatever of it a device has.
    if ends::is_mapped(*address) && (address[1] >> 32) & 0xff == 127 {
        return true;
    }
    let own: Option<*mut u32> = maps::entry(&OWN, &maps::words(*address));
    own.is_some()
}

/// Gives the connection to one of our listeners; whether it is there.
#[inline(always)]
fn assign(ctx: &SkLookupContext, listener: u32) -> bool {
    let Some(sk) = maps::numbered::<bpf_sock, _>(&INBOUND, listener) else { return false };
    // SAFETY: the verifier proved `sk`, to which the lookup took a reference.
    let assigned = unsafe { bpf_sk_assign(ctx.as_ptr(), sk.cast(), 0) };
    // SAFETY: that reference.
    unsafe { bpf_sk_release(sk.cast()) };
    assigned == 0
}

/// The relay dials the application for somebody: told before the SYN, so that it is there when the other side is established.
#[inline(always)]
pub(super) fn brings(ctx: &SockOpsContext) -> Option<()> {
    let sk = socket(ctx)?;
    let client = CLIENT.get(sk)?;
    // SAFETY: the verifier proved `client`, which is as long, and aligned to eight bytes.
    let client = unsafe { *client.cast::<[u64; 3]>() };
    ask(ctx, BPF_SOCK_OPS_STATE_CB_FLAG);
    let value = maps::words(client);
    maps::insert(&ARRIVALS, &pair::<true>(ctx, sk), &value);
    Some(())
}

/// The relay's connection is over: as a rule the application has long got what it brought.
#[inline(always)]
pub(super) fn forgets(ctx: &SockOpsContext) -> Option<()> {
    let sk = socket(ctx)?;
    CLIENT.get(sk)?;
    maps::remove(&ARRIVALS, &pair::<true>(ctx, sk));
    Some(())
}

/// The application's side is established.
#[inline(always)]
pub(super) fn arrives(ctx: &SockOpsContext) -> Option<()> {
    let sk = socket(ctx)?;
    let pair = pair::<false>(ctx, sk);
    let brought: *mut Client = maps::entry(&ARRIVALS, &pair)?;
    let arrived = ARRIVED.get_or_zero(sk)?;
    // SAFETY: the verifier proved both.
    unsafe { *arrived = *brought };
    maps::remove(&ARRIVALS, &pair);
    Some(())
}

/// Who came in by way of the relay.
#[inline(always)]
pub(super) fn client(sk: *mut bpf_sock) -> Option<([u64; 2], u16)> {
    let arrived = ARRIVED.get(sk)?;
    // SAFETY: the verifier proved `arrived`.
    let arrived = unsafe { &*arrived };
    Some((words(&arrived.addr), arrived.port))
}

/// Both ends, IPv4 mapped: ours and the other.
#[inline(always)]
fn ends4(raw: *mut bpf_sk_lookup) -> ([u64; 2], [u64; 2]) {
    // SAFETY: the context's fields may be read.
    let (local, remote) = unsafe {
        ((&raw const (*raw).local_ip4).read_volatile(), (&raw const (*raw).remote_ip4).read_volatile())
    };
    ([0, ends::mapped(local)], [0, ends::mapped(remote)])
}

#[inline(always)]
fn ends6(raw: *mut bpf_sk_lookup) -> ([u64; 2], [u64; 2]) {
    // SAFETY: the context's fields may be read, in words of four bytes.
    let local = |at: usize| u64::from(unsafe { (&raw const (*raw).local_ip6[at]).read_volatile() });
    // SAFETY: as above.
    let remote = |at: usize| u64::from(unsafe { (&raw const (*raw).remote_ip6[at]).read_volatile() });
    (
        [local(0) | local(1) << 32, local(2) | local(3) << 32],
        [remote(0) | remote(1) << 32, remote(2) | remote(3) << 32],
    )
}
