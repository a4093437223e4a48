//! A TCP socket's life: listening, connecting, established, closed.

use aya_ebpf::{
    EbpfContext,
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_RTO_CB,
        BPF_SOCK_OPS_RTO_CB_FLAG, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
        BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_SOCK_OPS_TCP_LISTEN_CB, bpf_sock,
    },
    helpers::generated::{bpf_get_socket_cookie, bpf_sock_ops_cb_flags_set},
    macros::sock_ops,
    programs::SockOpsContext,
};
use aya_log_ebpf::debug;
use sidecar_ebpf::abi::{
    count as slot,
    record::{
        Account, EGRESS, END_EXPIRED, END_ORDERLY, END_RECEIVED, END_SENT, FAILED_CANCELLED, FAILED_REFUSED,
        FAILED_TIMEOUT, FAILED_UNREACHABLE, FLAG_RST, INGRESS, KIND_CLOSE, KIND_DATA, KIND_FAILED, KIND_OPEN,
        ROLE_CLIENT, ROLE_SERVER,
    },
    who::{OWN, Who},
};

use super::peers;
use crate::{
    conn::{self, ANNOUNCED, Conn, Counters, ESTABLISHED, EXPIRED, JOINED, RELEASED, RESET, RESET_SENT},
    count, emit,
    maps::{CONN, WHO},
    verdict, who,
};

const TCP_ESTABLISHED: u32 = 1;
const TCP_FIN_WAIT1: u32 = 4;
const TCP_CLOSE: u32 = 7;
const TCP_CLOSE_WAIT: u32 = 8;

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

#[inline(always)]
fn socket(ctx: &SockOpsContext) -> Option<*mut bpf_sock> {
    // SAFETY: `sk` may be read in every program of this type; it is null where there is no full socket.
    let sk = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    if sk.is_null() { None } else { Some(sk) }
}

/// A listening socket: what it accepts will be a server's.
#[inline(always)]
fn listens(ctx: &SockOpsContext) -> Option<()> {
    let sk = socket(ctx)?;
    let mut fresh = who::NOBODY;
    let who = WHO.get_or(sk, &mut fresh)?;
    // SAFETY: the verifier proved the pointer.
    unsafe { (*who).role = u32::from(ROLE_SERVER) };
    Some(())
}

/// A SYN is about to be sent.
#[inline(always)]
fn connects(ctx: &SockOpsContext) -> Option<()> {
    let sk = socket(ctx)?;
    let who = who::of(sk);
    if who.flags & OWN != 0 {
        return None;
    }
    begin(ctx, sk, &who, ROLE_CLIENT)?;
    Some(())
}

#[inline(always)]
fn established(ctx: &SockOpsContext, role: u8) -> Option<()> {
    let sk = socket(ctx)?;
    let who = who::of(sk);
    if who.flags & OWN != 0 {
        return None;
    }
    let conn = match CONN.get(sk) {
        Some(conn) => conn,
        None => begin(ctx, sk, &who, role)?,
    };
    let counters = counters(ctx);
    let now = emit::now();
    // SAFETY: the verifier proved `conn`; nobody else writes before it is established.
    let took_ns = now.wrapping_sub(unsafe { (*conn).since_ns });
    let announce = Conn::locked(conn, |conn| {
        conn.meet(counters);
        conn.since_ns = now;
        let announce = conn.flags & ANNOUNCED == 0;
        conn.flags |= ESTABLISHED | ANNOUNCED;
        announce
    });
    count::add(slot::OPENED + u32::from(role), 1);
    // SAFETY: the context's fields may be read.
    let port = unsafe { (*ctx.ops).local_port };
    debug!(ctx, "established, role {}, local port {}", role, port);
    if announce {
        let mut peers = peers(sk, &who);
        (peers.in_seq, peers.out_seq) = (counters.rcv_nxt, counters.snd_nxt);
        // SAFETY: the verifier proved `conn`; cookie never changes.
        let mut head = emit::head_at(now, KIND_OPEN, unsafe { (*conn).cookie }, role, 0);
        if role == ROLE_CLIENT {
            head.len = (took_ns / 1000) as u32;
        }
        if !emit::peers(&head, &peers) {
            Conn::locked(conn, |conn| conn.flags &= !ANNOUNCED);
        }
    }
    Some(())
}

/// State for a connection whose beginning we see; asks for the callbacks that it needs.
#[inline(always)]
fn begin(ctx: &SockOpsContext, sk: *mut bpf_sock, who: &Who, role: u8) -> Option<*mut Conn> {
    let callbacks = BPF_SOCK_OPS_STATE_CB_FLAG | BPF_SOCK_OPS_RTO_CB_FLAG;
    // SAFETY: the context is this program's own.
    unsafe { bpf_sock_ops_cb_flags_set(ctx.ops, callbacks as i32) };
    let start = verdict::start(&peers(sk, who), role);
    // SAFETY: helper without preconditions.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    let now = emit::now();
    let mut fresh = conn::new(cookie, role, 0, &start, now);
    let Some(conn) = CONN.get_or(sk, &mut fresh) else {
        count::add(slot::NO_STORAGE, 1);
        return None;
    };
    // A socket may try again after an attempt that failed.
    Conn::locked(conn, |conn| {
        conn.since_ns = now;
        conn.flags &= !(RESET | RESET_SENT | EXPIRED);
    });
    Some(conn)
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
    let counters = counters(ctx);
    // SAFETY: the verifier proved `conn`; these no longer change.
    let (flags, cookie, role) = unsafe { ((*conn).flags, (*conn).cookie, (*conn).role as u8) };
    if flags & ESTABLISHED == 0 {
        // Of one met in the middle another daemon, which is gone, asked for this callback.
        return if flags & JOINED != 0 { None } else { failed(sk, flags, cookie) };
    }
    let (seen, held, totals, drained, drained_at) = Conn::locked(conn, |conn| {
        let seen = conn.look(counters);
        let held = [conn.lanes[0].take_held(), conn.lanes[1].take_held()];
        (seen, held, [conn.lanes[0].seen, conn.lanes[1].seen], conn.drained, conn.drained_at)
    });
    count::seen(&seen);
    count::add(slot::CLOSED + u32::from(role), 1);
    for dir in [INGRESS, EGRESS] {
        let (seq, len) = held[dir as usize];
        if len != 0 {
            let mut head = emit::head(KIND_DATA, cookie, role, 0);
            (head.dir, head.seq, head.len) = (dir, seq, len);
            head.edge = if dir == INGRESS { counters.rcv_nxt } else { counters.snd_nxt };
            emit::bare(&head);
        }
    }
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
    let mut head = emit::head(KIND_CLOSE, cookie, role, if end == END_ORDERLY { 0 } else { FLAG_RST });
    (head.drained, head.drained_at) = (drained, drained_at);
    // SAFETY: the context's fields may be read.
    let srtt_us = unsafe { (*ctx.ops).srtt_us } >> 3;
    let [in_bytes, out_bytes] = totals;
    let (retransmits, class) = (counters.retransmits, u32::from(seen.class));
    emit::account(&head, &Account { in_bytes, out_bytes, retransmits, srtt_us, class, end });
    Some(())
}

/// A connect() that never came through.
#[inline(always)]
fn failed(sk: *mut bpf_sock, flags: u32, cookie: u64) -> Option<()> {
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
    let mut head = emit::head(KIND_FAILED, cookie, ROLE_CLIENT, 0);
    head.len = reason;
    emit::peers(&head, &peers(sk, &who::of(sk)));
    Some(())
}

#[inline(always)]
fn counters(ctx: &SockOpsContext) -> Counters {
    // SAFETY: the context's fields may be read.
    let ops = unsafe { &*ctx.ops };
    Counters { rcv_nxt: ops.rcv_nxt, snd_nxt: ops.snd_nxt, retransmits: ops.total_retrans, state: ops.state }
}
