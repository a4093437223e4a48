//! `CONN`: the state of one connection, and what one packet does to it.
//!
//! Ingress runs in softirq while egress runs in the application's context, so everything here happens under the
//! value's spin lock. Under it no helper may be called: callers bring pointers to what is read and written there, and
//! carry out afterwards what the packet's own words say ([`Packet`]). Nothing is kept on the stack that need not be:
//! without CAP_PERFMON each first write to a slot there costs a barrier, and kernels before 6.18 refuse a smaller write
//! into a slot that a larger one has filled.

use aya_ebpf::{
    bindings::{bpf_spin_lock, bpf_tcp_sock},
    helpers::generated,
};
use sidecar_ebpf::abi::{
    count::{self, Traffic},
    record::{EGRESS, INGRESS},
    verdict::{CLASS_OPEN, CLASS_PARSED, Verdict},
};

use crate::packet::{self, Packet};

/// User space was told of the connection.
pub(crate) const ANNOUNCED: u32 = 1;
/// It reached ESTABLISHED under our eyes, so `tcp_ops` will see its end.
pub(crate) const ESTABLISHED: u32 = 2;
/// It was met in the middle.
pub(crate) const JOINED: u32 = 4;
/// RST came in.
pub(crate) const RESET: u32 = 8;
/// The retransmission limit passed.
pub(crate) const EXPIRED: u32 = 16;
/// The application closed its descriptor.
pub(crate) const RELEASED: u32 = 32;
/// RST went out.
pub(crate) const RESET_SENT: u32 = 64;
/// An account of it is to be written.
pub(crate) const DUE: u32 = 128;

/// It is a path of MPTCP.
pub(crate) const MPTCP: u32 = 256;

const LANE_MET: u32 = 1;
const LANE_FIN: u32 = 2;
const LANE_SKIP: u32 = 4;
/// Its budget is another one: what is left of it counts from the next packet on.
const LANE_ANEW: u32 = 8;

/// Between two accounts of a connection that goes on, ns.
const PACE_NS: u64 = 10_000_000_000;

/// Uncopied bytes that are reported together.
const HOLD: u32 = 64 * 1024;

/// A place in a turn is told up to here: sequence numbers compare only within 2³¹.
const FARTHEST: u32 = 1 << 30;

/// A packet of so little is copied whatever is left of its turn's budget: below what a full one carries anywhere.
const SMALL: u32 = 1024;

/// Bytes of one turn on a connection that nobody has judged, after which the reader is woken.
const URGENT: u32 = 64 * 1024;

/// One connection. Made all zero: [`fill`](Conn::fill) makes it one.
#[repr(C)]
pub(crate) struct Conn {
    lock: bpf_spin_lock,
    pub(crate) flags: u32,
    /// 0: not filled yet.
    pub(crate) id: u64,
    pub(crate) role: u32,
    pub(crate) class: u32,
    /// Direction of the last payload, plus one; 0: none yet.
    turn: u32,
    /// `Control::generation` at the last look at `VERDICTS`.
    pub(crate) generation: u32,
    retransmits: u32,
    /// Segments sent again since the connection was met.
    pub(crate) resent: u32,
    /// As in a record's head.
    pub(crate) drained: u32,
    pub(crate) drained_at: u32,
    /// As in a record's head. Written by a reader without the lock.
    pub(crate) read_at: u64,
    /// When the SYN was sent; once established, when the last account was written.
    pub(crate) since_ns: u64,
    pub(crate) lanes: [Lane; 2],
}

/// One direction of it.
#[repr(C)]
pub(crate) struct Lane {
    /// Payload bytes, by the socket's own counter.
    pub(crate) seen: u64,
    /// How far `seen` counts: that counter (`rcv_nxt`, `snd_nxt`), or the end of what is about to be sent.
    pub(crate) edge: u32,
    /// The counter at the last look: as a record's head wants it.
    pub(crate) settled: u32,
    fin: u32,
    /// Bytes to copy of each turn, where this one began, and what is left of its bytes.
    budget: u32,
    began: u32,
    pub(crate) left: u32,
    skip_until: u32,
    /// A run of bytes that were not copied and not reported yet.
    held: u32,
    held_len: u32,
    flags: u32,
}

/// The socket's counters.
#[derive(Clone, Copy)]
pub(crate) struct Counters {
    pub(crate) rcv_nxt: u32,
    pub(crate) snd_nxt: u32,
    pub(crate) retransmits: u32,
    /// The socket's state: it tells whether `rcv_nxt` has passed the peer's FIN.
    pub(crate) state: u32,
}

const TCP_SYN_SENT: u32 = 2;
const TCP_CLOSE_WAIT: u32 = 8;
const TCP_LAST_ACK: u32 = 9;
const TCP_CLOSING: u32 = 11;

impl Counters {
    #[inline(always)]
    pub(crate) fn of(tcp: *const bpf_tcp_sock, state: u32) -> Self {
        // SAFETY: the verifier proved `tcp` to be a bpf_tcp_sock.
        let tcp = unsafe { &*tcp };
        Self { rcv_nxt: tcp.rcv_nxt, snd_nxt: tcp.snd_nxt, retransmits: tcp.total_retrans, state }
    }
}

impl Conn {
    /// Runs `change` under the lock.
    #[inline(always)]
    pub(crate) fn locked<T>(conn: *mut Conn, change: impl FnOnce(&mut Conn) -> T) -> T {
        // SAFETY: the verifier proved `conn` a value of the map; the lock is its first field.
        unsafe { generated::bpf_spin_lock(&raw mut (*conn).lock) };
        // SAFETY: the lock excludes every other writer.
        let result = change(unsafe { &mut *conn });
        // SAFETY: taken above.
        unsafe { generated::bpf_spin_unlock(&raw mut (*conn).lock) };
        result
    }

    /// Makes a connection of what is all zero. No verdict of its own can be older than `generation`.
    #[inline(always)]
    pub(crate) fn fill(&mut self, id: u64, role: u32, flags: u32, generation: u32) {
        self.id = id;
        self.role = role;
        self.flags = flags;
        self.generation = generation;
    }

    /// Whether that is done: another CPU may have made it this very moment.
    #[inline(always)]
    pub(crate) fn is_filled(&self) -> bool {
        self.id != 0
    }

    /// Where one begins whose endpoint was judged.
    #[inline(always)]
    pub(crate) fn start(&mut self, verdict: &Verdict) {
        self.class = u32::from(verdict.class);
        self.start_with(verdict.budget);
    }

    /// Where one begins otherwise.
    #[inline(always)]
    pub(crate) fn start_with(&mut self, budget: [u32; 2]) {
        // Lane by lane: a pointer that one instruction moves to either is refused before 6.12.
        self.lanes[0].budget = budget[0];
        self.lanes[0].left = budget[0];
        self.lanes[1].budget = budget[1];
        self.lanes[1].left = budget[1];
    }

    /// Its entry of `TRAFFIC`.
    #[inline(always)]
    pub(crate) fn slot(&self) -> u32 {
        count::traffic(self.role as u8, self.class as u8)
    }

    /// The counters when the connection was established or met: what comes after them is counted.
    #[inline(always)]
    pub(crate) fn meet(&mut self, counters: Counters) {
        self.lanes[0].meet(counters.rcv_nxt);
        self.lanes[1].meet(counters.snd_nxt);
    }

    /// The same where a packet came before anybody told of the connection. What an older one sent again before we met it is
    /// not counted. (Of a new one the handshake's is.)
    #[inline(always)]
    pub(crate) fn join(&mut self, counters: Counters) {
        self.meet(counters);
        self.retransmits = (self.flags / JOINED % 2) * counters.retransmits;
    }

    /// Brings the account up to the socket's counters, here and in `traffic`, the entry `slot` of `TRAFFIC`. Not at all if
    /// a verdict has just made another one the connection's: the next look does it then.
    #[inline(always)]
    pub(crate) fn look(&mut self, counters: Counters, slot: u32, traffic: *mut Traffic) -> bool {
        if slot != self.slot() {
            return false;
        }
        // SAFETY: the verifier proved `traffic` an entry of this CPU's. Interrupts are off under the lock, and who else
        // writes it adds atomically.
        let traffic = unsafe { &mut *traffic };
        let is_over = matches!(counters.state, TCP_CLOSE_WAIT | TCP_LAST_ACK | TCP_CLOSING);
        if is_over && self.lanes[0].flags & LANE_FIN == 0 {
            // The FIN came while the connection had no socket of its own: with deferred accept it may be what makes one.
            self.lanes[0].flags |= LANE_FIN;
            self.lanes[0].fin = counters.rcv_nxt.wrapping_sub(1);
        }
        let retransmits = counters.retransmits.wrapping_sub(self.retransmits);
        self.retransmits = counters.retransmits;
        self.resent = self.resent.wrapping_add(retransmits);
        traffic.retransmits += u64::from(retransmits);
        // `rcv_nxt` means nothing before the SYN+ACK was taken, of which a second copy may come first.
        if counters.state != TCP_SYN_SENT {
            self.lanes[0].settled = counters.rcv_nxt;
            traffic.bytes[0] += self.lanes[0].advance(counters.rcv_nxt);
        }
        self.lanes[1].settled = counters.snd_nxt;
        traffic.bytes[1] += self.lanes[1].advance(counters.snd_nxt);
        true
    }

    /// Takes over what user space decided; whether the bytes so far change their slot.
    #[inline(always)]
    pub(crate) fn judge(&mut self, verdict: &Verdict) -> bool {
        let role = if self.role == 0 { u32::from(verdict.role) } else { self.role };
        let class = u32::from(verdict.class);
        // What a parser had explained before the connection changed its protocol stays where it is.
        let moves = role != self.role || class != self.class && self.class == u32::from(CLASS_OPEN);
        self.role = role;
        self.class = class;
        self.lanes[0].judge(verdict.budget[0], verdict.skip_until[0], u32::from(verdict.skips) & 1);
        self.lanes[1].judge(verdict.budget[1], verdict.skip_until[1], u32::from(verdict.skips) >> 1 & 1);
        moves
    }

    /// Notes when the peer had acknowledged everything that was sent. Nothing is sent in between: an acknowledgement that
    /// comes again does not count.
    #[inline(always)]
    pub(crate) fn drain(&mut self, ack: u32, now: u64) {
        let lane = &self.lanes[EGRESS as usize];
        let is_fin = lane.flags & LANE_FIN != 0 && ack == lane.fin.wrapping_add(1);
        let to = if is_fin { lane.fin } else { ack };
        if to != self.drained {
            self.drained_at = (now >> 10) as u32;
            self.drained = to;
        }
    }

    /// Where each direction's bytes began when the connection was met.
    #[inline(always)]
    pub(crate) fn began(&self) -> [u32; 2] {
        [self.lanes[0].began_at(), self.lanes[1].began_at()]
    }

    /// Would payload in `DIR` begin a turn?
    #[inline(always)]
    pub(crate) fn is_turn<const DIR: usize>(&self) -> bool {
        self.turn != DIR as u32 + 1
    }

    /// Decides on one segment with payload, SYN, FIN or RST: `from`, `copy` and marks of the packet.
    #[inline(always)]
    pub(crate) fn decide<const DIR: usize>(
        &mut self,
        packet: Packet,
        counters: Counters,
        slot: u32,
        traffic: *mut Traffic,
        now: u64,
    ) {
        if DIR == INGRESS as usize && packet.ack() == counters.snd_nxt {
            self.drain(counters.snd_nxt, now);
        }
        packet.set_from(u32::MAX);
        // What was just judged anew is counted at the next look.
        let is_counted = self.look(counters, slot, traffic);
        // No branches on the packet's flags: the verifier would walk all that follows for each of their values.
        let [fin, rst] = [packet::FIN, packet::RST].map(|flag| (packet.bits() / flag) & 1);
        self.flags |= rst * if DIR == EGRESS as usize { RESET_SENT } else { RESET };
        // Of one met in the middle nobody reports the end.
        self.flags |= ((self.flags / JOINED) & (fin | rst)) * DUE;
        if now.wrapping_sub(self.since_ns) > PACE_NS {
            self.since_ns = now;
            self.flags |= DUE;
        }
        let (seq, len) = (packet.seq(), packet.len());
        let end = seq.wrapping_add(len);
        let lane = &mut self.lanes[DIR];
        // A copy of it may come late.
        if packet.has(packet::SYN) && lane.flags & LANE_MET == 0 {
            lane.flags |= LANE_MET;
            lane.edge = seq;
        }
        if fin != 0 {
            lane.flags |= LANE_FIN;
            lane.fin = end;
        }
        // Egress below snd_nxt and ingress below rcv_nxt was here before. (FIN without payload passes.)
        let settled = if DIR == EGRESS as usize { counters.snd_nxt } else { counters.rcv_nxt };
        let is_old = after(settled, end) || (len != 0 && settled == end);
        if is_old || self.flags & ANNOUNCED == 0 || packet.has(packet::SYN) && len == 0 {
            return;
        }
        if DIR == EGRESS as usize && is_counted {
            // It is about to be sent: snd_nxt moves only after this program has returned.
            let fresh = lane.advance(end);
            // SAFETY: as in `look`.
            unsafe { (*traffic).bytes[DIR] += fresh };
        }
        if self.class > u32::from(CLASS_PARSED) {
            return;
        }
        if DIR == INGRESS as usize && len != 0 {
            self.read_at = 0;
        }
        if len != 0 && self.is_turn::<DIR>() {
            // User space hears of the other side's last bytes before this side's first.
            self.turn = DIR as u32 + 1;
            if self.lanes[1 - DIR].held_len != 0 {
                packet.mark(held_mark(1 - DIR));
            }
            self.lanes[DIR].began = settled;
        }
        if len != 0 && self.lanes[DIR].flags & LANE_ANEW != 0 {
            self.lanes[DIR].flags &= !LANE_ANEW;
            self.lanes[DIR].began = settled;
        }
        let is_unjudged = self.class == u32::from(CLASS_OPEN);
        self.lanes[DIR].decide::<DIR>(packet, seq, len, is_unjudged);
    }
}

/// The mark that says: report what is held back of this direction.
const fn held_mark(dir: usize) -> u32 {
    if dir == INGRESS as usize { packet::HELD_IN } else { packet::HELD_OUT }
}

impl Lane {
    #[inline(always)]
    fn meet(&mut self, counter: u32) {
        if self.flags & LANE_MET == 0 {
            self.flags |= LANE_MET;
            self.edge = counter;
        }
        self.settled = counter;
    }

    #[inline(always)]
    fn judge(&mut self, budget: u32, skip_until: u32, skips: u32) {
        if self.budget != budget {
            self.budget = budget;
            self.flags |= LANE_ANEW;
        }
        self.skip_until = skip_until;
        self.flags = (self.flags & !LANE_SKIP) | (skips * LANE_SKIP);
    }

    /// What is reported of a segment, and copied.
    #[inline(always)]
    fn decide<const DIR: usize>(&mut self, packet: Packet, seq: u32, len: u32, is_unjudged: bool) {
        let mut from = 0;
        if self.flags & LANE_SKIP != 0 && len != 0 {
            let ahead = self.skip_until.wrapping_sub(seq);
            if ahead as i32 > 0 {
                // The mark is reached exactly, or the stream ends before it: said with an empty record.
                from = min(ahead, len);
                if ahead > len && !packet.has(packet::FIN) {
                    return;
                }
            }
            self.flags &= !LANE_SKIP;
            self.began = seq.wrapping_add(from);
        }
        let rest = len - from;
        // A message may begin without the other side having spoken: a request after one that was answered before its
        // body came, which no verdict can be quick enough for. A small packet may be one, and costs little.
        let floor = if rest <= SMALL { rest } else { 0 };
        let gone = self.gone(seq.wrapping_add(from));
        let left = if self.budget == u32::MAX { u32::MAX } else { self.budget.saturating_sub(gone) };
        let copy = max(min(rest, left), floor);
        self.left = left.saturating_sub(rest);
        if is_unjudged && gone < URGENT && gone.wrapping_add(rest) >= URGENT {
            packet.mark(packet::URGENT);
        }
        if copy == 0 && rest != 0 && !packet.has(packet::FIN | packet::RST) {
            let joins = self.held.wrapping_add(self.held_len) == seq;
            if self.held_len == 0 || joins {
                // Not copied: held back until there is a good deal of it, or the sender paused.
                if self.held_len == 0 {
                    self.held = seq;
                }
                self.held_len += rest;
                if self.held_len >= HOLD {
                    // A long body passes unread: the sooner its end is known, the sooner it need not be reported at all.
                    packet.mark(held_mark(DIR) | packet::URGENT);
                } else if packet.has(packet::PSH) {
                    packet.mark(held_mark(DIR));
                }
                return;
            }
        }
        if self.held_len != 0 {
            packet.mark(held_mark(DIR));
        }
        packet.set_copy(copy);
        packet.set_from(from);
    }

    /// Moves the account up to `to`; how far it moved. FIN takes a sequence number that is not payload.
    #[inline(always)]
    pub(crate) fn advance(&mut self, to: u32) -> u64 {
        if self.flags & LANE_MET == 0 {
            return 0;
        }
        let to = if self.flags & LANE_FIN != 0 && to == self.fin.wrapping_add(1) { self.fin } else { to };
        let fresh = to.wrapping_sub(self.edge);
        if fresh as i32 <= 0 {
            return 0;
        }
        self.edge = to;
        self.seen += u64::from(fresh);
        u64::from(fresh)
    }

    /// Where it began; where that is not known, or too far back to compare, where it is.
    #[inline(always)]
    fn began_at(&self) -> u32 {
        let is_told = self.flags & LANE_MET != 0 && self.seen < FARTHEST as u64;
        if is_told { self.edge.wrapping_sub(self.seen as u32) } else { self.settled }
    }

    /// How far into the turn `seq` is. By its place, not by what passed: packets may overtake the one with the head.
    #[inline(always)]
    fn gone(&mut self, seq: u32) -> u32 {
        let gone = seq.wrapping_sub(self.began);
        if gone as i32 <= 0 {
            return 0;
        }
        if gone > FARTHEST {
            // So that an endless turn does not come round.
            self.began = self.began.wrapping_add(FARTHEST / 2);
        }
        gone
    }

    /// The run that is held back, taken out.
    #[inline(always)]
    pub(crate) fn take_held(&mut self) -> (u32, u32) {
        let held = (self.held, self.held_len);
        self.held_len = 0;
        held
    }
}

/// Is sequence number `a` after `b` (RFC 1982)?
#[inline(always)]
fn after(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}

#[inline(always)]
fn min(a: u32, b: u32) -> u32 {
    if a < b { a } else { b }
}

#[inline(always)]
fn max(a: u32, b: u32) -> u32 {
    if a > b { a } else { b }
}
