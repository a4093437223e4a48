//! A steered connection's life: the relay is told what its client asked for, inside the handshake, and a place is given back
//! at its end.

use aya_ebpf::{
    EbpfContext,
    bindings::{
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
        BPF_SOCK_OPS_TCP_CONNECT_CB, bpf_sock,
    },
    helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie},
    macros::sock_ops,
    programs::SockOpsContext,
};
use sidecar_ebpf::abi::steer::{HOLDS_ENTRY, HOLDS_PLACE, Handed, Pair, VERDICT_PROXIED};

use super::sock_ops::{ask, socket};
use crate::{
    ends,
    maps::{HANDED, HANDOVER},
    steer,
};

const TCP_CLOSE: u32 = 7;

/// On the application's cgroups.
#[sock_ops]
pub(crate) fn hand_over(ctx: SockOpsContext) -> u32 {
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => begins(&ctx),
        BPF_SOCK_OPS_STATE_CB if ctx.arg(1) == TCP_CLOSE => ends(&ctx),
        _ => None,
    };
    0
}

/// On the cgroup that the relay's listeners were made in.
#[sock_ops]
pub(crate) fn take_over(ctx: SockOpsContext) -> u32 {
    if ctx.op() == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB {
        takes(&ctx);
    }
    0
}

/// A SYN is about to be sent. With fast open the listener's side is established by it, so that later is too late.
#[inline(always)]
fn begins(ctx: &SockOpsContext) -> Option<()> {
    let sk = socket(ctx)?;
    let steered = steer::of(sk)?;
    // SAFETY: the verifier proved `steered`; the socket is in nobody else's hands yet.
    let steered = unsafe { &mut *steered };
    if steered.holds & HOLDS_PLACE == 0 {
        return None;
    }
    ask(ctx, BPF_SOCK_OPS_STATE_CB_FLAG);
    if steered.verdict != VERDICT_PROXIED {
        return None;
    }
    // SAFETY: helper without preconditions.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    let (to, to_port) = match steer::target(steered.target) {
        Some(target) => (target.addr, target.port),
        None => (steered.asked, steered.port),
    };
    let handed = Handed {
        cookie,
        asked: steered.asked,
        to,
        service: steered.service,
        asked_port: steered.port,
        to_port,
    };
    if HANDOVER.insert(pair::<true>(ctx, sk), handed, 0).is_ok() {
        steered.holds |= HOLDS_ENTRY;
    }
    Some(())
}

/// The relay's side is established: its socket gets what the client's left.
#[inline(always)]
fn takes(ctx: &SockOpsContext) -> Option<()> {
    let sk = socket(ctx)?;
    let pair = pair::<false>(ctx, sk);
    let left = HANDOVER.get_ptr(pair)?;
    let handed = HANDED.get_or_zero(sk)?;
    // SAFETY: the verifier proved both.
    unsafe { *handed = *left };
    let _ = HANDOVER.remove(pair);
    Some(())
}

/// The client's socket is closed, or could not be opened.
#[inline(always)]
fn ends(ctx: &SockOpsContext) -> Option<()> {
    let sk = socket(ctx)?;
    let held = steer::release(steer::of(sk)?);
    if held & HOLDS_ENTRY != 0 {
        // As a rule it was taken.
        let _ = HANDOVER.remove(pair::<true>(ctx, sk));
    }
    Some(())
}

#[inline(always)]
fn pair<const IS_CLIENT: bool>(ctx: &SockOpsContext, sk: *mut bpf_sock) -> Pair {
    let (local, remote) = (ends::local_port(sk), ends::remote_port(sk));
    let (client, client_port, listener_port) =
        if IS_CLIENT { (ends::local(sk), local, remote) } else { (ends::remote(sk), remote, local) };
    // SAFETY: helper without preconditions in this program type.
    let netns = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    let mut address = [0; 16];
    for (to, word) in address.chunks_exact_mut(8).zip(client) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
    Pair { netns, client: address, client_port, listener_port, pad: 0 }
}
