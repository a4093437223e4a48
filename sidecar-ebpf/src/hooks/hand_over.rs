//! A steered connection's life: the relay is told what its client asked for, inside the handshake, and a place is given back
//! at its end, where it is counted what became of it.

use core::mem::MaybeUninit;

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
use sidecar_ebpf::abi::steer::{
    HOLDS_ENTRY, HOLDS_PLACE, Handed, NO_TARGET, RESULT_ENDED, RESULT_ESTABLISHED, RESULT_FAILED,
    RESULT_RESET, Steered, VERDICT_DIRECT, VERDICT_PROXIED,
};

use super::{
    inbound,
    sock_ops::{ask, socket},
};
use crate::{
    ends,
    maps::{self, HANDED, HANDOVER},
    steer::{self, words},
};

const TCP_ESTABLISHED: u32 = 1;
const TCP_SYN_SENT: u32 = 2;
const TCP_CLOSE: u32 = 7;

/// On the application's cgroups.
#[sock_ops]
pub(crate) fn hand_over(ctx: SockOpsContext) -> u32 {
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => begins(&ctx),
        BPF_SOCK_OPS_STATE_CB => changes(&ctx),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => inbound::arrives(&ctx),
        _ => None,
    };
    0
}

/// On the cgroup that the relay's listeners were made in.
#[sock_ops]
pub(crate) fn take_over(ctx: SockOpsContext) -> u32 {
    match ctx.op() {
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => takes(&ctx),
        BPF_SOCK_OPS_TCP_CONNECT_CB => inbound::brings(&ctx),
        BPF_SOCK_OPS_STATE_CB if ctx.arg(1) == TCP_CLOSE => inbound::forgets(&ctx),
        _ => None,
    };
    0
}

/// A SYN is about to be sent. With fast open the listener's side is established by it, so that later is too late.
#[inline(always)]
fn begins(ctx: &SockOpsContext) -> Option<()> {
    let sk = socket(ctx)?;
    let steered = steer::of(sk)?;
    if !steer::claim(steered) {
        return None;
    }
    // SAFETY: the verifier proved `steered`; the socket is in nobody else's hands yet.
    let steered = unsafe { &mut *steered };
    ask(ctx, BPF_SOCK_OPS_STATE_CB_FLAG);
    if steered.verdict != VERDICT_PROXIED {
        return None;
    }
    // SAFETY: helper without preconditions.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    let asked = words(&steered.asked);
    let (to, to_port) = match steer::target(steered.target) {
        Some(target) => (words(&target.addr), target.port),
        None => (asked, steered.port),
    };
    // A `Handed`.
    let ports = u64::from(steered.port) << 32 | u64::from(to_port) << 48;
    let last = u64::from(steered.service) | ports;
    let handed = maps::words([cookie, asked[0], asked[1], to[0], to[1], last]);
    if maps::insert(&HANDOVER, &pair::<true>(ctx, sk), &handed) {
        steered.holds |= HOLDS_ENTRY;
    }
    Some(())
}

/// The relay's side is established: its socket gets what the client's left.
#[inline(always)]
fn takes(ctx: &SockOpsContext) -> Option<()> {
    let sk = socket(ctx)?;
    let pair = pair::<false>(ctx, sk);
    let left: *mut Handed = maps::entry(&HANDOVER, &pair)?;
    let handed = HANDED.get_or_zero(sk)?;
    // SAFETY: the verifier proved both.
    unsafe { *handed = *left };
    maps::remove(&HANDOVER, &pair);
    Some(())
}

/// The client's socket goes from one state to another.
#[inline(always)]
fn changes(ctx: &SockOpsContext) -> Option<()> {
    match (ctx.arg(0), ctx.arg(1)) {
        (old, TCP_CLOSE) => ends(ctx, old),
        (TCP_SYN_SENT, TCP_ESTABLISHED) => {
            let target = written(steer::of(socket(ctx)?)?);
            steer::became(target, RESULT_ESTABLISHED);
            Some(())
        }
        _ => None,
    }
}

/// The target whose address was written, or none.
#[inline(always)]
fn written(steered: *mut Steered) -> u32 {
    // SAFETY: the verifier proved `steered`; these do not change while it holds a place.
    let (target, verdict) = unsafe { ((*steered).target, (*steered).verdict) };
    if verdict == VERDICT_DIRECT { target } else { NO_TARGET }
}

/// Whether a connection's abrupt end is known not to be the application's doing: the peer's RST was seen, or the kernel has given
/// up what was not acknowledged before it told of the end (`tcp_reset`, `tcp_write_err`, `tcp_done_with_error`). At `close()`,
/// `shutdown()` and `connect()` to nowhere it does so afterwards (`tcp_disconnect`, `__tcp_close`).
#[inline(always)]
fn is_broken(ctx: &SockOpsContext, steered: *mut Steered) -> bool {
    // SAFETY: the context's fields may be read.
    let (sent, acknowledged, kept) = unsafe {
        (
            (&raw const (*ctx.ops).snd_nxt).read_volatile(),
            (&raw const (*ctx.ops).snd_una).read_volatile(),
            (&raw const (*ctx.ops).packets_out).read_volatile(),
        )
    };
    // SAFETY: the verifier proved `steered`.
    let is_reset = unsafe { (*steered).is_reset };
    is_reset != 0 || sent != acknowledged && kept == 0
}

/// The client's socket is closed, or could not be opened.
#[inline(always)]
fn ends(ctx: &SockOpsContext, old: u32) -> Option<()> {
    let sk = socket(ctx)?;
    let steered = steer::of(sk)?;
    let target = written(steered);
    let is_broken = is_broken(ctx, steered);
    let held = steer::release(steered);
    if held & HOLDS_PLACE != 0 {
        // SAFETY: the context's fields may be read.
        let n_again = unsafe { (&raw const (*ctx.ops).total_retrans).read_volatile() };
        match old {
            // One that the application gives up has told nothing of the server, unless a SYN had to be sent again.
            TCP_SYN_SENT if !is_broken && n_again == 0 => {}
            TCP_SYN_SENT => steer::became(target, RESULT_FAILED),
            // Nobody's FIN came before: the peer's RST, or its silence.
            TCP_ESTABLISHED if is_broken => steer::became(target, RESULT_RESET),
            _ => steer::became(target, RESULT_ENDED),
        }
    }
    if held & HOLDS_ENTRY != 0 {
        // As a rule it was taken.
        maps::remove(&HANDOVER, &pair::<true>(ctx, sk));
    }
    Some(())
}

/// A `Pair`.
#[inline(always)]
pub(super) fn pair<const IS_CLIENT: bool>(ctx: &SockOpsContext, sk: *mut bpf_sock) -> MaybeUninit<[u64; 4]> {
    let (local, remote) = (ends::local_port(sk), ends::remote_port(sk));
    let (client, client_port, listener_port) =
        if IS_CLIENT { (ends::local(sk), local, remote) } else { (ends::remote(sk), remote, local) };
    // SAFETY: helper without preconditions in this program type.
    let netns = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    maps::words([netns, client[0], client[1], u64::from(client_port) | u64::from(listener_port) << 16])
}
