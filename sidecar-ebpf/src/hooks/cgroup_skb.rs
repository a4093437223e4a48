//! Packets of the application's sockets, both ways.

use aya_ebpf::{
    bindings::bpf_tcp_sock, helpers::generated::bpf_get_socket_cookie, macros::cgroup_skb,
    programs::SkBuffContext,
};
use sidecar_ebpf::abi::{
    count as slot,
    record::{EGRESS, INGRESS, KIND_OPEN, ROLE_CLIENT, ROLE_SERVER},
    verdict::CLASS_PARSED,
};

use super::{PASS, datagram};
use crate::{
    conn::{ANNOUNCED, Conn, Counters, DUE, ESTABLISHED, JOINED, MPTCP},
    count, emit,
    maps::CONN,
    packet::{self, Packet},
    steer, verdict, who,
};

const TCP_SYN_SENT: u32 = 2;
const TCP_SYN_RECV: u32 = 3;
const TCP_CLOSE: u32 = 7;
const TCP_LISTEN: u32 = 10;

#[cgroup_skb(ingress)]
pub(crate) fn skb_in(ctx: SkBuffContext) -> i32 {
    observe::<{ INGRESS as usize }>(Packet::of(&ctx));
    PASS
}

#[cgroup_skb(egress)]
pub(crate) fn skb_out(ctx: SkBuffContext) -> i32 {
    observe::<{ EGRESS as usize }>(Packet::of(&ctx));
    PASS
}

/// `None` is an ordinary way out: the packet is none of ours.
#[inline(always)]
fn observe<const DIR: usize>(packet: Packet) -> Option<()> {
    let sk = packet.socket()?;
    let Some(tcp) = packet::tcp(sk) else {
        datagram::observe::<DIR>(packet);
        return None;
    };
    // SAFETY: the state of a socket of any kind may be read.
    let state = unsafe { (*sk).state };
    packet.read(state)?;
    let len = packet.len();
    if len == 0 && !packet.has(packet::SYN | packet::FIN | packet::RST) {
        return if DIR == EGRESS as usize { acknowledges(packet, tcp) } else { acknowledged(packet, tcp) };
    }
    if DIR == INGRESS as usize && packet.has(packet::RST) {
        steer::was_reset(tcp.cast());
    }
    if state == TCP_LISTEN {
        if DIR == INGRESS as usize && len != 0 {
            early::<DIR>(packet);
        }
        return None;
    }
    if DIR == EGRESS as usize && state == TCP_SYN_SENT && len != 0 {
        early::<DIR>(packet);
    }
    let conn = match CONN.get(tcp.cast()) {
        // SAFETY: the verifier proved `conn`.
        Some(conn) if unsafe { (*conn).is_filled() } => conn,
        _ if len == 0 || !join(packet) => return None,
        _ => CONN.get(tcp.cast())?,
    };
    if verdict::may_have_changed::<DIR>(conn, len) {
        verdict::renew(conn);
    }
    let now = emit::now();
    // SAFETY: the verifier proved `conn`.
    let flags = unsafe { (*conn).flags };
    if flags & ANNOUNCED == 0 && (len != 0 || flags & ESTABLISHED != 0) && state != TCP_SYN_SENT {
        announce(packet, conn, now);
    }
    // SAFETY: the verifier proved `conn`; whether it is still this slot is asked again under the lock.
    let slot = unsafe { (*conn).slot() };
    let traffic = count::entry(slot)?;
    Conn::locked(conn, |conn| {
        conn.decide::<DIR>(packet, Counters::of(tcp, packet.state()), slot, traffic, now);
    });
    if packet.has(packet::URGENT) {
        emit::hurry();
    }
    if packet.has(packet::HELD_IN) {
        emit::held::<{ INGRESS as usize }>(conn, now);
    }
    if packet.has(packet::HELD_OUT) {
        emit::held::<{ EGRESS as usize }>(conn, now);
    }
    if packet.from() != u32::MAX {
        emit::payload::<DIR>(packet, conn, now);
    }
    // SAFETY: the verifier proved `conn`; whoever sees the mark first writes the account.
    if unsafe { (*conn).flags } & DUE != 0 {
        account(packet, conn, now);
    }
    Some(())
}

/// A bare ACK goes out: the moment at which `rcv_nxt` shows that the last payload was accepted.
#[inline(always)]
fn acknowledges(packet: Packet, tcp: *mut bpf_tcp_sock) -> Option<()> {
    let conn = CONN.get(tcp.cast())?;
    // SAFETY: the verifier proved both; a stale answer is put right at the next look.
    if unsafe { (*conn).lanes[INGRESS as usize].edge == (*tcp).rcv_nxt } {
        return None;
    }
    // SAFETY: the verifier proved `conn`.
    let slot = unsafe { (*conn).slot() };
    let traffic = count::entry(slot)?;
    Conn::locked(conn, |conn| conn.look(Counters::of(tcp, packet.state()), slot, traffic));
    None
}

/// A bare ACK comes in: perhaps the one that acknowledges a response's last byte. Only where somebody asks for that.
#[inline(always)]
fn acknowledged(packet: Packet, tcp: *mut bpf_tcp_sock) -> Option<()> {
    let conn = CONN.get(tcp.cast())?;
    // SAFETY: the verifier proved `conn`; a stale answer costs one lock more, or one measurement.
    let (role, class, drained) = unsafe { ((*conn).role, (*conn).class, (*conn).drained) };
    if role == u32::from(ROLE_CLIENT) || class > u32::from(CLASS_PARSED) {
        return None;
    }
    // SAFETY: not null.
    let snd_nxt = unsafe { (*tcp).snd_nxt };
    if packet.ack() == snd_nxt && snd_nxt != drained {
        let now = emit::now();
        Conn::locked(conn, |conn| conn.drain(snd_nxt, now));
    }
    None
}

/// What the socket has counted so far, where that is due.
#[inline(never)]
fn account(packet: Packet, conn: *mut Conn, now: u64) {
    let flags = Conn::locked(conn, |conn| {
        let flags = conn.flags;
        conn.flags &= !DUE;
        flags
    });
    if flags & ANNOUNCED == 0 || flags & DUE == 0 {
        return;
    }
    let Some(tcp) = packet.socket().and_then(packet::tcp) else { return };
    // SAFETY: the verifier proved `tcp`.
    let srtt_us = unsafe { (*tcp).srtt_us } >> 3;
    emit::account(conn, now, 0, srtt_us, None);
}

/// Data before its connection. On a listening socket (deferred accept, fast open, or the handshake's last ACK carried it)
/// there is no socket yet to keep anything of it at, and with fast open's SYN nothing is known of the other direction. So
/// user space joins it to the connection by both ends' addresses.
#[inline(never)]
fn early<const DIR: usize>(packet: Packet) {
    let Some(sk) = packet.socket() else { return };
    if !who::of(sk).1 {
        emit::early::<DIR>(packet, sk, emit::now());
    }
}

/// State for a connection that has none: it is older than the programs, or just being accepted by another CPU (it is in
/// SYN_RECV until that has told `tcp_ops`, and takes what comes meanwhile). False if it has none.
#[inline(never)]
fn join(packet: Packet) -> bool {
    let Some(sk) = packet.socket() else { return false };
    let state = packet.state();
    let (role, is_own) = who::of(sk);
    let is_new = state == TCP_SYN_RECV;
    if matches!(state, TCP_SYN_SENT | TCP_CLOSE) || is_own || is_new && role != u32::from(ROLE_SERVER) {
        return false;
    }
    // SAFETY: helper without preconditions.
    let cookie = unsafe { bpf_get_socket_cookie(packet.raw()) };
    let mptcp = if packet.is_mptcp() { MPTCP } else { 0 };
    if verdict::begin::<true>(sk, cookie, role, if is_new { mptcp } else { JOINED | mptcp }) && !is_new {
        count::add(slot::JOINED, 1);
    }
    true
}

/// Tells user space of a connection that it does not know. If the ring has no room the next packet tries again.
#[inline(never)]
fn announce(packet: Packet, conn: *mut Conn, now: u64) {
    let Some(sk) = packet.socket() else { return };
    let Some(tcp) = packet::tcp(sk) else { return };
    // `tcp_ops` may have made the state this very moment, and not met the socket.
    let before = Conn::locked(conn, |conn| {
        conn.meet(Counters::of(tcp, packet.state()));
        let before = conn.flags;
        conn.flags |= ANNOUNCED;
        before
    });
    if before & ANNOUNCED == 0 {
        emit::peers(sk, conn, now, KIND_OPEN, 0);
    }
}
