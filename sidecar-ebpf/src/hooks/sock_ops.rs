//! A TCP socket's life: listening, connecting, established, closed.

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext,
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_RTO_CB,
        BPF_SOCK_OPS_RTO_CB_FLAG, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
        BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_SOCK_OPS_TCP_LISTEN_CB, bpf_sock,
    },
    helpers::generated::{bpf_get_socket_cookie, bpf_load_hdr_opt, bpf_sock_ops_cb_flags_set},
    macros::sock_ops,
    programs::SockOpsContext,
};
use aya_log_ebpf::debug;
use sidecar_ebpf::abi::{
    count as slot,
    record::{
        AGAIN, EGRESS, END_EXPIRED, END_ORDERLY, END_RECEIVED, END_SENT, FAILED_CANCELLED, FAILED_REFUSED,
        FAILED_TIMEOUT, FAILED_UNREACHABLE, FLAG_RST, INGRESS, KIND_FAILED, KIND_OPEN, ROLE_CLIENT,
        ROLE_SERVER,
    },
};

use crate::{
    conn::{ANNOUNCED, Conn, Counters, ESTABLISHED, EXPIRED, JOINED, MPTCP, RELEASED, RESET, RESET_SENT},
    count, emit,
    maps::{CONN, WHO},
    packet, verdict, who,
};

const TCP_ESTABLISHED: u32 = 1;
const TCP_FIN_WAIT1: u32 = 4;
const TCP_CLOSE: u32 = 7;
const TCP_CLOSE_WAIT: u32 = 8;
const ENOSPC: i64 = 28;

#[sock_ops]
pub(crate) fn tcp_ops(ctx: SockOpsContext) -> u32 {
    match ctx.op() {
        BPF_SOCK_OPS_TCP_LISTEN_CB => listens(&ctx),
        BPF_SOCK_OPS_TCP_CONNECT_CB => connects(&ctx),
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => established(&ctx, ROLE_CLIENT),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => established(&ctx, ROLE_SERVER),
        BPF_SOCK_OPS_STATE_CB => state(&ctx),
        BPF_SOCK_OPS_RTO_CB => expires(&ctx),
        _ => None,
    };
    0
}

/// Says what happens, where somebody asked for such lines. A program of its own: without CAP_PERFMON kernels before 6.18
/// do not take what `debug!` compiles to, and none should pay for it.
#[sock_ops]
pub(crate) fn tcp_log(ctx: SockOpsContext) -> u32 {
    let role = match ctx.op() {
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => ROLE_CLIENT,
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => ROLE_SERVER,
        _ => return 0,
    };
    debug!(&ctx, "established, role {}, local port {}", role, ctx.local_port());
    0
}

#[inline(always)]
pub(super) fn socket(ctx: &SockOpsContext) -> Option<*mut bpf_sock> {
    // SAFETY: `sk` may be read in every program of this type; it is null where there is no full socket.
    let sk = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    if sk.is_null() { None } else { Some(sk) }
}

/// Asks for callbacks, beside those that other programs, and other people's, have asked for.
#[inline(always)]
pub(super) fn ask(ctx: &SockOpsContext, callbacks: u32) {
    // SAFETY: the context's fields may be read.
    let others = unsafe { (&raw const (*ctx.ops).bpf_sock_ops_cb_flags).read_volatile() };
    // SAFETY: the context is this program's own.
    unsafe { bpf_sock_ops_cb_flags_set(ctx.ops, (others | callbacks) as i32) };
}

/// A listening socket: what it accepts will be a server's.
#[inline(always)]
fn listens(ctx: &SockOpsContext) -> Option<()> {
    let who = WHO.get_or_zero(socket(ctx)?)?;
    // SAFETY: the verifier proved the pointer.
    unsafe { (*who).role = u32::from(ROLE_SERVER) };
    Some(())
}

/// A SYN is about to be sent.
#[inline(always)]
fn connects(ctx: &SockOpsContext) -> Option<()> {
    let sk = socket(ctx)?;
    if who::of(sk).1 {
        return None;
    }
    // A socket may try again after an attempt that failed, and after `connect()` to no address: what it was before is over.
    let id = match CONN.get(sk) {
        // SAFETY: the verifier proved `conn`; its id never changes.
        Some(conn) => unsafe { (*conn).id }.wrapping_add(AGAIN),
        None => cookie(ctx),
    };
    CONN.remove(sk);
    begin(ctx, sk, ROLE_CLIENT, id)
}

#[inline(always)]
fn established(ctx: &SockOpsContext, role: u8) -> Option<()> {
    let sk = socket(ctx)?;
    if who::of(sk).1 {
        return None;
    }
    // Where a packet was quicker there is state already, but nobody has asked for the callbacks.
    if role == ROLE_SERVER || CONN.get(sk).is_none() {
        begin(ctx, sk, role, cookie(ctx));
    }
    let conn = CONN.get(sk)?;
    let now = emit::now();
    // SAFETY: the verifier proved `conn`; nobody else writes before it is established.
    let took_ns = now.wrapping_sub(unsafe { (*conn).since_ns });
    let mptcp = if is_mptcp(ctx) { MPTCP } else { 0 };
    let before = Conn::locked(conn, |conn| {
        conn.meet(counters(ctx));
        conn.since_ns = now;
        let before = conn.flags;
        conn.flags |= ESTABLISHED | ANNOUNCED | mptcp;
        before
    });
    count::add(slot::OPENED + u32::from(role), 1);
    let took_us = if role == ROLE_CLIENT { (took_ns / 1000) as u32 } else { 0 };
    if before & ANNOUNCED == 0 {
        emit::peers(sk, conn, now, KIND_OPEN, took_us);
    }
    Some(())
}

/// Does the handshake's last segment to come in carry MPTCP's option? Then both sides speak it, or one has joined a path to
/// another (RFC 8684, 3.1 and 3.2).
#[inline(never)]
fn is_mptcp(ctx: &SockOpsContext) -> bool {
    // Which option, and no more of it: in one word of eight bytes, see `conn`.
    let mut option = MaybeUninit::<u64>::uninit();
    // SAFETY: plain memory.
    unsafe { option.as_mut_ptr().write_volatile(packet::MPTCP.into()) };
    // SAFETY: the buffer is as long as told. An option that is longer is cut short (`ENOSPC`).
    let found = unsafe { bpf_load_hdr_opt(ctx.ops, option.as_mut_ptr().cast(), 8, 0) };
    found >= 0 || found == -ENOSPC
}

/// State for a connection whose beginning we see; asks for the callbacks that it needs.
#[inline(always)]
fn begin(ctx: &SockOpsContext, sk: *mut bpf_sock, role: u8, id: u64) -> Option<()> {
    ask(ctx, BPF_SOCK_OPS_STATE_CB_FLAG | BPF_SOCK_OPS_RTO_CB_FLAG);
    let now = emit::now();
    verdict::begin::<false>(sk, id, u32::from(role), 0);
    let conn = CONN.get(sk)?;
    Conn::locked(conn, |conn| conn.since_ns = now);
    Some(())
}

#[inline(always)]
fn cookie(ctx: &SockOpsContext) -> u64 {
    // SAFETY: helper without preconditions.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) }
}

#[inline(always)]
fn expires(ctx: &SockOpsContext) -> Option<()> {
    if ctx.arg(2) == 0 {
        return None;
    }
    let conn = CONN.get(socket(ctx)?)?;
    Conn::locked(conn, |conn| conn.flags |= EXPIRED);
    Some(())
}

/// Only the way into CLOSE matters.
#[inline(always)]
fn state(ctx: &SockOpsContext) -> Option<()> {
    let (old, new) = (ctx.arg(0), ctx.arg(1));
    if new != TCP_CLOSE {
        return None;
    }
    let sk = socket(ctx)?;
    let conn = CONN.get(sk)?;
    // SAFETY: the verifier proved `conn`; these no longer change.
    let (flags, role) = unsafe { ((*conn).flags, (*conn).role as u8) };
    let now = emit::now();
    if flags & ESTABLISHED == 0 {
        // Of one met in the middle another daemon, which is gone, asked for this callback.
        return if flags & JOINED != 0 || role != ROLE_CLIENT { None } else { failed(sk, conn, flags, now) };
    }
    // Once more if a verdict came in between.
    let _ = look(ctx, conn) || look(ctx, conn);
    count::add(slot::CLOSED + u32::from(role), 1);
    emit::held::<{ INGRESS as usize }>(conn, now);
    emit::held::<{ EGRESS as usize }>(conn, now);
    let abrupt = matches!(old, TCP_ESTABLISHED | TCP_CLOSE_WAIT | TCP_FIN_WAIT1);
    let end = if flags & EXPIRED != 0 {
        END_EXPIRED
    } else if flags & RESET != 0 {
        END_RECEIVED
    } else if flags & RESET_SENT != 0 || abrupt {
        // Where it is the socket's own doing, RST goes out after this (`tcp_disconnect`, `__tcp_close`).
        END_SENT
    } else {
        END_ORDERLY
    };
    if end != END_ORDERLY {
        count::add(slot::reset(role, end), 1);
    }
    // SAFETY: the context's fields may be read.
    let srtt_us = unsafe { (*ctx.ops).srtt_us } >> 3;
    emit::account(conn, now, if end == END_ORDERLY { 0 } else { FLAG_RST }, srtt_us, Some(end));
    Some(())
}

/// Brings the account up to the socket's counters.
#[inline(always)]
fn look(ctx: &SockOpsContext, conn: *mut Conn) -> bool {
    // SAFETY: the verifier proved `conn`; whether it is still this slot is asked again under the lock.
    let slot = unsafe { (*conn).slot() };
    let Some(traffic) = count::entry(slot) else { return false };
    Conn::locked(conn, |conn| conn.look(counters(ctx), slot, traffic))
}

/// A connect() that never came through.
#[inline(always)]
fn failed(sk: *mut bpf_sock, conn: *mut Conn, flags: u32, now: u64) -> Option<()> {
    let reason = if flags & RESET != 0 {
        FAILED_REFUSED
    } else if flags & EXPIRED != 0 {
        FAILED_TIMEOUT
    } else if flags & RELEASED != 0 {
        FAILED_CANCELLED
    } else {
        FAILED_UNREACHABLE
    };
    count::add(slot::FAILED + reason, 1);
    emit::peers(sk, conn, now, KIND_FAILED, reason);
    Some(())
}

#[inline(always)]
fn counters(ctx: &SockOpsContext) -> Counters {
    // SAFETY: the context's fields may be read.
    let ops = unsafe { &*ctx.ops };
    Counters { rcv_nxt: ops.rcv_nxt, snd_nxt: ops.snd_nxt, retransmits: ops.total_retrans, state: ops.state }
}
