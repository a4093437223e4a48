//! `CONN`: the state of one connection, and what one packet does to it.
//!
//! Ingress runs in softirq while egress runs in the application's context, so everything here happens under the
//! value's spin lock. Under it no helper may be called: callers bring what they read before, and carry out the
//! [`Decision`] afterwards.

use aya_ebpf::{
    bindings::{bpf_spin_lock, bpf_tcp_sock},
    helpers::generated,
};
use sidecar_ebpf::abi::{
    record::{EGRESS, INGRESS},
    verdict::{CLASS_OPEN, CLASS_PARSED, Verdict},
};

use crate::{
    packet::{self, Segment},
    who,
};

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

const LANE_MET: u32 = 1;
const LANE_FIN: u32 = 2;
const LANE_SKIP: u32 = 4;

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

/// One connection.
#[repr(C)]
pub(crate) struct Conn {
    lock: bpf_spin_lock,
    pub(crate) flags: u32,
    pub(crate) cookie: u64,
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
    /// When the SYN was sent; once established, when the last account was written.
    pub(crate) since_ns: u64,
    pub(crate) lanes: [Lane; 2],
}

/// One direction of it.
#[repr(C)]
pub(crate) struct Lane {
    /// Payload bytes, by the socket's own counter.
    pub(crate) seen: u64,
    /// That counter (`rcv_nxt`, `snd_nxt`) at the last look.
    pub(crate) edge: u32,
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

/// What a look at the socket's counters showed.
pub(crate) struct Seen {
    pub(crate) role: u8,
    pub(crate) class: u8,
    pub(crate) fresh: [u32; 2],
    pub(crate) retransmits: u32,
    /// A verdict changed the role or class: `before` bytes move from the old slot.
    pub(crate) moved: bool,
    pub(crate) old_role: u8,
    pub(crate) old_class: u8,
    pub(crate) before: [u64; 2],
}

/// What to do about a segment once the lock is released.
pub(crate) struct Decision {
    pub(crate) seen: Seen,
    /// Tell user space of the connection first.
    pub(crate) announce: bool,
    /// Report these bytes (sequence number, length) of `held_dir` as not copied.
    pub(crate) held: (u32, u32),
    pub(crate) held_dir: u8,
    /// Report the segment from this offset on; `u32::MAX`: not at all.
    pub(crate) from: u32,
    /// Copy so many bytes of it.
    pub(crate) copy: u32,
    /// Bytes before `from` that a verdict let pass unreported.
    pub(crate) skipped: u32,
    /// Much comes that a verdict may spare: do not wait for the reader's pace.
    pub(crate) is_urgent: bool,
}

/// The socket's counters, read before the lock is taken.
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

/// A connection of which nothing was seen yet.
#[inline(always)]
pub(crate) fn new(cookie: u64, role: u8, flags: u32, start: &Verdict, now: u64) -> Conn {
    // No verdict of this connection's own can be older than it.
    let generation = who::control().map_or(0, |control| control.generation);
    let lane = |dir: u8| Lane {
        seen: 0,
        edge: 0,
        fin: 0,
        budget: start.budget[dir as usize],
        began: 0,
        left: start.budget[dir as usize],
        skip_until: 0,
        held: 0,
        held_len: 0,
        flags: 0,
    };
    Conn {
        lock: bpf_spin_lock { val: 0 },
        flags,
        cookie,
        role: u32::from(role),
        class: u32::from(start.class),
        turn: 0,
        generation,
        retransmits: 0,
        resent: 0,
        drained: 0,
        drained_at: 0,
        since_ns: now,
        lanes: [lane(INGRESS), lane(EGRESS)],
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

    /// The counters when the connection was established or met: what comes after them is counted.
    #[inline(always)]
    pub(crate) fn meet(&mut self, counters: Counters) {
        for (lane, edge) in self.lanes.iter_mut().zip([counters.rcv_nxt, counters.snd_nxt]) {
            if lane.flags & LANE_MET == 0 {
                lane.flags |= LANE_MET;
                lane.edge = edge;
            }
        }
    }

    /// What an older connection sent again before we met it is not counted. (Of a new one the handshake's is.)
    #[inline(always)]
    pub(crate) fn join(&mut self, counters: Counters) {
        self.meet(counters);
        self.retransmits = counters.retransmits;
    }

    /// Brings the account up to the socket's counters.
    #[inline(always)]
    pub(crate) fn look(&mut self, counters: Counters) -> Seen {
        let is_over = matches!(counters.state, TCP_CLOSE_WAIT | TCP_LAST_ACK | TCP_CLOSING);
        if is_over && self.lanes[0].flags & LANE_FIN == 0 {
            // The FIN came while the connection had no socket of its own: with deferred accept it may be what makes one.
            self.lanes[0].flags |= LANE_FIN;
            self.lanes[0].fin = counters.rcv_nxt.wrapping_sub(1);
        }
        // `rcv_nxt` means nothing before the SYN+ACK was taken, of which a second copy may come first.
        let rcv_nxt = if counters.state == TCP_SYN_SENT { self.lanes[0].edge } else { counters.rcv_nxt };
        let retransmits = counters.retransmits.wrapping_sub(self.retransmits);
        self.retransmits = counters.retransmits;
        self.resent = self.resent.wrapping_add(retransmits);
        Seen {
            role: self.role as u8,
            class: self.class as u8,
            fresh: [self.lanes[0].advance(rcv_nxt), self.lanes[1].advance(counters.snd_nxt)],
            retransmits,
            moved: false,
            old_role: 0,
            old_class: 0,
            before: [0, 0],
        }
    }

    /// Takes over what user space decided. `seen` is told if the bytes so far change their slot.
    #[inline(always)]
    pub(crate) fn judge(&mut self, verdict: &Verdict, seen: &mut Seen) {
        let role = if self.role == 0 { u32::from(verdict.role) } else { self.role };
        let class = u32::from(verdict.class);
        if role != self.role || class != self.class {
            // What a parser had explained before the connection changed its protocol stays where it is.
            seen.moved = self.class == u32::from(CLASS_OPEN) || role != self.role;
            seen.old_role = self.role as u8;
            seen.old_class = self.class as u8;
            seen.before = [
                self.lanes[0].seen - u64::from(seen.fresh[0]),
                self.lanes[1].seen - u64::from(seen.fresh[1]),
            ];
            self.role = role;
            self.class = class;
            seen.role = role as u8;
            seen.class = class as u8;
        }
        for dir in 0..2 {
            let lane = &mut self.lanes[dir];
            if lane.budget != verdict.budget[dir] {
                lane.budget = verdict.budget[dir];
                lane.began = lane.edge;
            }
            lane.skip_until = verdict.skip_until[dir];
            lane.flags &= !LANE_SKIP;
            if verdict.skips & (1 << dir) != 0 {
                lane.flags |= LANE_SKIP;
            }
        }
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
    pub(crate) fn began(&self, counters: Counters) -> [u32; 2] {
        let [ingress, egress] = &self.lanes;
        [ingress.began_at(counters.rcv_nxt), egress.began_at(counters.snd_nxt)]
    }

    /// Would payload in `DIR` begin a turn?
    #[inline(always)]
    pub(crate) fn is_turn<const DIR: usize>(&self) -> bool {
        self.turn != DIR as u32 + 1
    }

    /// Decides on one segment with payload, SYN, FIN or RST.
    #[inline(always)]
    pub(crate) fn decide<const DIR: usize>(
        &mut self,
        segment: &Segment,
        counters: Counters,
        verdict: Option<&Verdict>,
        now: u64,
    ) -> Decision {
        let mut seen = self.look(counters);
        if let Some(verdict) = verdict {
            self.judge(verdict, &mut seen);
        }
        let announce = self.flags & ANNOUNCED == 0 && (segment.len != 0 || self.flags & ESTABLISHED != 0);
        if announce {
            self.flags |= ANNOUNCED;
        }
        // No branches on the packet's flags: the verifier would walk all that follows for each of their values.
        let [fin, rst] = [packet::FIN, packet::RST].map(|flag| u32::from((segment.flags / flag) & 1));
        self.flags |= rst * if DIR == EGRESS as usize { RESET_SENT } else { RESET };
        // Of one met in the middle nobody reports the end.
        self.flags |= ((self.flags / JOINED) & (fin | rst)) * DUE;
        if now.wrapping_sub(self.since_ns) > PACE_NS {
            self.since_ns = now;
            self.flags |= DUE;
        }
        let untold = self.flags & ANNOUNCED == 0;
        let is_unjudged = self.class == u32::from(CLASS_OPEN);
        let opaque = self.class > u32::from(CLASS_PARSED);
        let lane = &mut self.lanes[DIR];
        // A copy of it may come late.
        if segment.flags & packet::SYN != 0 && lane.flags & LANE_MET == 0 {
            lane.flags |= LANE_MET;
            lane.edge = segment.seq;
        }
        let end = segment.seq.wrapping_add(segment.len);
        if segment.flags & packet::FIN != 0 {
            lane.flags |= LANE_FIN;
            lane.fin = end;
        }
        let mut decision = Decision {
            seen,
            announce,
            held: (0, 0),
            held_dir: DIR as u8,
            from: u32::MAX,
            copy: 0,
            skipped: 0,
            is_urgent: false,
        };
        // Egress below snd_nxt and ingress below rcv_nxt was here before. (FIN without payload passes.)
        let settled = if DIR == EGRESS as usize { counters.snd_nxt } else { counters.rcv_nxt };
        let old = after(settled, end) || (segment.len != 0 && settled == end);
        if old || untold || segment.flags & packet::SYN != 0 && segment.len == 0 {
            return decision;
        }
        if DIR == EGRESS as usize {
            // It is about to be sent: snd_nxt moves only after this program has returned.
            let fresh = lane.advance(end);
            decision.seen.fresh[DIR] = decision.seen.fresh[DIR].wrapping_add(fresh);
        }
        if opaque {
            return decision;
        }
        if segment.len != 0 && self.turn != DIR as u32 + 1 {
            // User space hears of the other side's last bytes before this side's first.
            self.turn = DIR as u32 + 1;
            decision.held = self.lanes[1 - DIR].take_held();
            decision.held_dir = 1 - DIR as u8;
            self.lanes[DIR].began = settled;
        }
        let lane = &mut self.lanes[DIR];
        decision.from = 0;
        if lane.flags & LANE_SKIP != 0 && segment.len != 0 {
            if !after(end, lane.skip_until) {
                decision.from = u32::MAX;
                if end != lane.skip_until && segment.flags & packet::FIN == 0 {
                    return decision;
                }
                // The mark is reached exactly (or the stream ends): say so with an empty record.
                decision.from = segment.len;
                decision.skipped = segment.len;
            } else if after(lane.skip_until, segment.seq) {
                decision.from = lane.skip_until.wrapping_sub(segment.seq);
                decision.skipped = decision.from;
            }
            lane.flags &= !LANE_SKIP;
            lane.began = segment.seq.wrapping_add(decision.from);
        }
        let rest = segment.len - min(decision.from, segment.len);
        // A message may begin without the other side having spoken: a request after one that was answered before its
        // body came, which no verdict can be quick enough for. A small packet may be one, and costs little.
        let floor = if rest <= SMALL { rest } else { 0 };
        let gone = lane.gone(segment.seq.wrapping_add(decision.from));
        let left = if lane.budget == u32::MAX { u32::MAX } else { lane.budget.saturating_sub(gone) };
        decision.copy = max(min(rest, left), floor);
        lane.left = left.saturating_sub(rest);
        decision.is_urgent = is_unjudged && gone < URGENT && gone.wrapping_add(rest) >= URGENT;
        if decision.copy == 0 && rest != 0 && segment.flags & (packet::FIN | packet::RST) == 0 {
            // Not copied: hold it back until there is a good deal of it, or the sender paused.
            decision.from = u32::MAX;
            let joins = lane.held_len != 0 && lane.held.wrapping_add(lane.held_len) == segment.seq;
            if !joins && lane.held_len != 0 {
                decision.held_dir = DIR as u8;
                decision.held = (lane.held, lane.held_len);
                lane.held_len = 0;
            }
            if lane.held_len == 0 {
                lane.held = segment.seq;
            }
            lane.held_len += rest;
            // A long body passes unread: the sooner its end is known, the sooner it need not be reported at all.
            decision.is_urgent |= lane.held_len >= HOLD;
            let due = lane.held_len >= HOLD || segment.flags & packet::PSH != 0;
            if due && decision.held.1 == 0 {
                decision.held_dir = DIR as u8;
                decision.held = lane.take_held();
            }
        } else if lane.held_len != 0 {
            decision.held_dir = DIR as u8;
            decision.held = lane.take_held();
        }
        decision
    }
}

impl Lane {
    /// Moves the account up to `to`; how far it moved. FIN takes a sequence number that is not payload.
    #[inline(always)]
    pub(crate) fn advance(&mut self, to: u32) -> u32 {
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
        fresh
    }

    /// Where it began; `now` where that is not known, or too far back to compare.
    #[inline(always)]
    fn began_at(&self, now: u32) -> u32 {
        let is_told = self.flags & LANE_MET != 0 && self.seen < FARTHEST as u64;
        if is_told { self.edge.wrapping_sub(self.seen as u32) } else { now }
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

/// The verdict that a connection begins with where nobody has judged its endpoint.
#[inline(always)]
pub(crate) fn unjudged(budget: u32) -> Verdict {
    Verdict { budget: [budget; 2], skip_until: [0; 2], skips: 0, class: CLASS_OPEN, role: 0, pad: 0 }
}

/// Is sequence number `a` after `b` (RFC 1982)?
#[inline(always)]
pub(crate) fn after(a: u32, b: u32) -> bool {
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
