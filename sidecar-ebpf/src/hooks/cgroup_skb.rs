//! Packets of the application's sockets, both ways.

use aya_ebpf::{
    bindings::bpf_sock,
    helpers::generated::{bpf_get_socket_cookie, bpf_sk_fullsock, bpf_tcp_sock},
    macros::cgroup_skb,
    programs::SkBuffContext,
};
use aya_log_ebpf::debug;
use sidecar_ebpf::abi::{
    count as slot,
    record::{
        Account, EGRESS, FLAG_FIN, FLAG_JOINED, FLAG_PSH, FLAG_RST, Head, INGRESS, KIND_ACCOUNT, KIND_DATA,
        KIND_LISTEN, KIND_OPEN, Peers, ROLE_CLIENT, ROLE_SERVER,
    },
    verdict::CLASS_PARSED,
};

use super::{PASS, peers};
use crate::{
    conn::{self, ANNOUNCED, Conn, Counters, DUE, Decision, JOINED},
    count, emit,
    maps::CONN,
    packet::{self, Segment},
    verdict, who,
};

const IPPROTO_TCP: u32 = 6;
const TCP_SYN_SENT: u32 = 2;
const TCP_SYN_RECV: u32 = 3;
const TCP_CLOSE: u32 = 7;
const TCP_LISTEN: u32 = 10;

#[cgroup_skb(ingress)]
pub(crate) fn skb_in(ctx: SkBuffContext) -> i32 {
    observe::<{ INGRESS as usize }>(&ctx);
    PASS
}

#[cgroup_skb(egress)]
pub(crate) fn skb_out(ctx: SkBuffContext) -> i32 {
    observe::<{ EGRESS as usize }>(&ctx);
    PASS
}

/// `None` is an ordinary way out: the packet is none of ours.
#[inline(always)]
fn observe<const DIR: usize>(ctx: &SkBuffContext) -> Option<()> {
    let sk = socket(ctx)?;
    let segment = packet::segment(ctx)?;
    let control_bits = segment.flags & (packet::SYN | packet::FIN | packet::RST) != 0;
    if segment.len == 0 && !control_bits {
        return if DIR == EGRESS as usize { acknowledges(sk) } else { acknowledged(sk, &segment) };
    }
    // SAFETY: the verifier proved `sk` a full socket.
    let state = unsafe { (*sk).state };
    if state == TCP_LISTEN {
        if DIR == INGRESS as usize && segment.len != 0 && !who::is_own(sk) {
            listening(ctx, sk, &segment);
        }
        return None;
    }
    let now = emit::now();
    let conn = match CONN.get(sk) {
        Some(conn) => conn,
        None if segment.len == 0 => return None,
        None => join(ctx, sk, state, now)?,
    };
    // SAFETY: `sk` is a full TCP socket.
    let tcp = unsafe { bpf_tcp_sock(sk) };
    if tcp.is_null() {
        return None;
    }
    let counters = Counters::of(tcp, state);
    if DIR == INGRESS as usize && segment.ack == counters.snd_nxt {
        drain(conn, segment.ack, now);
    }
    let verdict = verdict::changed::<DIR>(conn, segment.len);
    let decision = Conn::locked(conn, |conn| conn.decide::<DIR>(&segment, counters, verdict.as_ref(), now));
    count::seen(&decision.seen);
    report::<DIR>(ctx, sk, conn, &segment, counters, &decision, now);
    account(sk, conn, now)
}

#[inline(always)]
fn socket(ctx: &SkBuffContext) -> Option<*mut bpf_sock> {
    // SAFETY: `sk` may be read in every program of this type.
    let sk = unsafe { (*ctx.skb.skb).__bindgen_anon_2.sk };
    if sk.is_null() {
        return None;
    }
    // SAFETY: not null.
    let sk = unsafe { bpf_sk_fullsock(sk) };
    if sk.is_null() {
        return None;
    }
    // SAFETY: a full socket.
    if unsafe { (*sk).protocol } != IPPROTO_TCP {
        return None;
    }
    Some(sk)
}

/// A bare ACK goes out: the moment at which `rcv_nxt` shows that the last payload was accepted.
#[inline(always)]
fn acknowledges(sk: *mut bpf_sock) -> Option<()> {
    let conn = CONN.get(sk)?;
    // SAFETY: `sk` is a full TCP socket.
    let tcp = unsafe { bpf_tcp_sock(sk) };
    if tcp.is_null() {
        return None;
    }
    // SAFETY: the verifier proved `sk` a full socket.
    let counters = Counters::of(tcp, unsafe { (*sk).state });
    // SAFETY: the verifier proved `conn`; a stale answer is put right at the next look.
    if unsafe { (*conn).lanes[INGRESS as usize].edge } == counters.rcv_nxt {
        return None;
    }
    let seen = Conn::locked(conn, |conn| conn.look(counters));
    count::seen(&seen);
    None
}

/// A bare ACK comes in: perhaps the one that acknowledges a response's last byte. Only where somebody asks for that.
#[inline(always)]
fn acknowledged(sk: *mut bpf_sock, segment: &Segment) -> Option<()> {
    let conn = CONN.get(sk)?;
    // SAFETY: the verifier proved `conn`; a stale answer costs one lookup more, or one measurement.
    let (role, class) = unsafe { ((*conn).role as u8, (*conn).class as u8) };
    if role == ROLE_CLIENT || class > CLASS_PARSED {
        return None;
    }
    // SAFETY: `sk` is a full TCP socket.
    let tcp = unsafe { bpf_tcp_sock(sk) };
    if tcp.is_null() {
        return None;
    }
    // SAFETY: not null.
    let snd_nxt = unsafe { (*tcp).snd_nxt };
    if segment.ack == snd_nxt {
        drain(conn, snd_nxt, emit::now());
    }
    None
}

/// All that was sent is acknowledged. A function of its own: the verifier shall not walk all that follows for each of its
/// ways.
#[inline(never)]
fn drain(conn: *mut Conn, ack: u32, now: u64) {
    // SAFETY: the verifier proved `conn`; most say what is known.
    if unsafe { (*conn).drained } != ack {
        Conn::locked(conn, |conn| conn.drain(ack, now));
    }
}

/// What the socket has counted so far, where that is due. The mark is read back from the map, and last: the verifier must
/// not carry along how it came about, nor walk anything else for both its values.
#[inline(always)]
fn account(sk: *mut bpf_sock, conn: *mut Conn, now: u64) -> Option<()> {
    // SAFETY: the verifier proved `conn`; whoever sees the mark first writes the account.
    let (flags, cookie) = unsafe { ((*conn).flags, (*conn).cookie) };
    if flags & DUE == 0 {
        return None;
    }
    // SAFETY: `sk` is a full TCP socket.
    let tcp = unsafe { bpf_tcp_sock(sk) };
    if tcp.is_null() {
        return None;
    }
    // SAFETY: not null.
    let srtt_us = unsafe { (*tcp).srtt_us } >> 3;
    let (role, account) = Conn::locked(conn, |conn| {
        conn.flags &= !DUE;
        let [in_bytes, out_bytes] = [conn.lanes[0].seen, conn.lanes[1].seen];
        let (retransmits, class) = (conn.resent, conn.class);
        (conn.role as u8, Account { in_bytes, out_bytes, retransmits, srtt_us, class, end: 0 })
    });
    if flags & ANNOUNCED != 0 {
        emit::account(&emit::head_at(now, KIND_ACCOUNT, cookie, role, 0), &account);
    }
    None
}

/// Data on a listening socket: deferred accept, fast open, or the handshake's last ACK carried it. The connection has
/// no socket yet, so nothing is kept of it here: user space joins it by both ends' addresses.
#[inline(always)]
fn listening(ctx: &SkBuffContext, sk: *mut bpf_sock, segment: &Segment) -> Option<()> {
    let who = who::of(sk);
    // 6.12 has no helper for a packet's netns. The connection's socket will have this same `WHO`, or none.
    let (tgid, cgroup, netns) = (who.tgid, who.cgroup, who.netns);
    let mut peers = Peers {
        local_addr: [0; 16],
        remote_addr: [0; 16],
        local_port: 0,
        remote_port: 0,
        tgid,
        cgroup,
        netns,
        in_seq: segment.seq,
        out_seq: 0,
    };
    packet::ingress_ends(ctx, segment, &mut peers)?;
    let local_port = peers.local_port;
    let mut head = emit::head(KIND_LISTEN, 0, ROLE_SERVER, flags(segment));
    head.dir = INGRESS;
    head.seq = segment.seq;
    head.len = segment.len;
    head.edge = segment.seq;
    emit::listen(packet::raw(ctx), &mut head, &peers, segment.offset);
    debug!(ctx, "{} bytes on a listening socket, port {}", segment.len, local_port);
    Some(())
}

/// State for a connection that is older than the programs.
#[inline(always)]
fn join(ctx: &SkBuffContext, sk: *mut bpf_sock, state: u32, now: u64) -> Option<*mut Conn> {
    if matches!(state, TCP_SYN_SENT | TCP_SYN_RECV | TCP_CLOSE) || who::is_own(sk) {
        return None;
    }
    let who = who::of(sk);
    let role = who.role as u8;
    let start = verdict::start(&peers(sk, &who), role);
    // SAFETY: helper without preconditions.
    let cookie = unsafe { bpf_get_socket_cookie(packet::raw(ctx)) };
    let mut fresh = conn::new(cookie, role, JOINED, &start, now);
    // SAFETY: `sk` is a full TCP socket.
    let tcp = unsafe { bpf_tcp_sock(sk) };
    if tcp.is_null() {
        return None;
    }
    fresh.join(Counters::of(tcp, state));
    let Some(conn) = CONN.get_or(sk, &mut fresh) else {
        count::add(slot::NO_STORAGE, 1);
        return None;
    };
    count::add(slot::JOINED, 1);
    debug!(ctx, "joined connection {}", cookie);
    Some(conn)
}

/// Carries the decision out.
#[inline(always)]
fn report<const DIR: usize>(
    ctx: &SkBuffContext,
    sk: *mut bpf_sock,
    conn: *mut Conn,
    segment: &Segment,
    counters: Counters,
    decision: &Decision,
    now: u64,
) {
    // SAFETY: the verifier proved `conn`; cookie never changes, and whoever moves `drained` moved it before.
    let (cookie, drained, drained_at) = unsafe { ((*conn).cookie, (*conn).drained, (*conn).drained_at) };
    let role = decision.seen.role;
    let mut head = emit::head_at(now, KIND_DATA, cookie, role, 0);
    (head.drained, head.drained_at) = (drained, drained_at);
    let edge = |dir: u8| if dir == EGRESS { counters.snd_nxt } else { counters.rcv_nxt };
    (head.dir, head.edge) = (DIR as u8, edge(DIR as u8));
    if decision.announce && !announce(sk, conn, &mut head, counters) {
        return;
    }
    if decision.is_urgent {
        emit::hurry();
    }
    if decision.held.1 != 0 {
        // One head for all, and no copies of it: there is little stack.
        (head.dir, head.edge) = (decision.held_dir, edge(decision.held_dir));
        (head.seq, head.len) = decision.held;
        emit::bare(&head);
        (head.dir, head.edge) = (DIR as u8, edge(DIR as u8));
    }
    if decision.from == u32::MAX {
        return;
    }
    head.flags = flags(segment);
    head.seq = segment.seq.wrapping_add(decision.from);
    head.len = segment.len.wrapping_sub(decision.from);
    head.skipped = decision.skipped;
    emit::payload(packet::raw(ctx), &mut head, segment.offset + decision.from, decision.copy);
}

/// Tells user space of a connection that it does not know. False if the ring had no room: the next packet tries again.
#[inline(always)]
fn announce(sk: *mut bpf_sock, conn: *mut Conn, head: &mut Head, counters: Counters) -> bool {
    let mut peers = peers(sk, &who::of(sk));
    // It may have been tried in vain before: what passed since is missing, and a hole shall show it.
    [peers.in_seq, peers.out_seq] = Conn::locked(conn, |conn| conn.began(counters));
    head.kind = KIND_OPEN;
    // SAFETY: the verifier proved `conn`; JOINED never changes.
    head.flags = if unsafe { (*conn).flags } & JOINED != 0 { FLAG_JOINED } else { 0 };
    let told = emit::peers(head, &peers);
    (head.kind, head.len, head.flags) = (KIND_DATA, 0, 0);
    if !told {
        Conn::locked(conn, |conn| conn.flags &= !ANNOUNCED);
    }
    told
}

#[inline(always)]
fn flags(segment: &Segment) -> u8 {
    let mut flags = 0;
    if segment.flags & packet::FIN != 0 {
        flags |= FLAG_FIN;
    }
    if segment.flags & packet::RST != 0 {
        flags |= FLAG_RST;
    }
    if segment.flags & packet::PSH != 0 {
        flags |= FLAG_PSH;
    }
    flags
}
