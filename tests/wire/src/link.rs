//! Records as the kernel writes them, of connections whose packets come in any order, twice, and in any pieces.

use sidecar_ebpf::abi::{
    record::{
        Account, EGRESS, FLAG_FIN, Head, INGRESS, KIND_CLOSE, KIND_DATA, KIND_OPEN, Opened, Peers,
        ROLE_CLIENT, ROLE_SERVER,
    },
    steer::{Client, Steered},
};
use zerocopy::IntoBytes;

use crate::{
    choices::Choices,
    seen::Core,
    talk::{Side, Talk},
};

/// The longest piece of a stream in one packet.
const PIECE: usize = 1500;
/// Pieces that are on their way at once.
const FLIGHT: usize = 6;

/// The observed end of one connection.
pub(crate) struct Link {
    id: u64,
    /// Sequence numbers of the first byte, by direction.
    begin: [u32; 2],
    clock: u64,
    /// Whose records are lost, once in so many; 0: none are.
    loss: usize,
}

impl Link {
    /// Begins anywhere in the space of sequence numbers, also just before its end.
    pub(crate) fn new(choices: &mut Choices<'_>, loss: usize) -> Link {
        let begin = [choices.of(&[1000, u32::MAX - 100, 0x7fff_ff00]), choices.of(&[5000, u32::MAX - 300])];
        Link { id: 7, begin, clock: 0, loss }
    }

    /// Carries a conversation, as far as the choices go at first and then to its end.
    pub(crate) fn carry(&mut self, talk: &Talk, observed: Side, choices: &mut Choices<'_>, core: &mut Core) {
        self.open(if observed == Side::Server { ROLE_SERVER } else { ROLE_CLIENT }, core);
        let other = if observed == Side::Server { Side::Client } else { Side::Server };
        let (out, mut inn) = (talk.stream(observed), Incoming::new(talk.stream(other)));
        let mut n_out = 0;
        loop {
            let arrived = inn.next;
            let room_out = talk.may_send(observed, arrived).min(out.len()) - n_out;
            let room_in = talk.may_send(other, n_out) - inn.sent;
            let kinds = [room_out > 0, room_in > 0 && inn.flight.len() < FLIGHT, !inn.flight.is_empty()];
            let chosen = choices.below(3);
            let Some(kind) = (chosen..3).chain(0..chosen).find(|kind| kinds[*kind]) else { break };
            match kind {
                0 => {
                    let n = choices.up_to(PIECE.min(room_out));
                    self.data(EGRESS, n_out, &out[n_out..n_out + n], n_out, false, choices, core);
                    n_out += n;
                }
                1 => inn.send(choices.up_to(PIECE.min(room_in)), choices),
                _ => {
                    let (from, to) = inn.flight.remove(choices.below(inn.flight.len()));
                    let edge = inn.next;
                    // The kernel keeps what is wholly known to itself.
                    if to > edge {
                        self.data(INGRESS, from, &inn.bytes[from..to], edge, false, choices, core);
                    }
                    inn.arrive(from, to);
                }
            }
        }
        assert_eq!((n_out, inn.next), (out.len(), inn.bytes.len()), "all of it passed");
        let mut fins = [(EGRESS, out.len()), (INGRESS, inn.bytes.len())];
        if (observed == Side::Client) == talk.ends_by_close {
            fins.reverse();
        }
        for (dir, len) in fins {
            self.data(dir, len, b"", len, true, choices, core);
        }
        self.close([inn.bytes.len() as u64, out.len() as u64], core);
    }

    /// Sends turns, each cut after so many bytes as `piece` says; all pieces of one have one time.
    pub(crate) fn turns(
        &mut self,
        turns: &[(Side, &[u8])],
        core: &mut Core,
        mut piece: impl FnMut(usize) -> usize,
    ) {
        self.open(ROLE_SERVER, core);
        let mut passed = [0; 2];
        let none = &mut Choices::new(b"");
        for (side, bytes) in turns {
            self.clock += 1;
            let dir = if *side == Side::Client { INGRESS } else { EGRESS };
            let mut rest = *bytes;
            while !rest.is_empty() {
                let (now, later) = rest.split_at(piece(rest.len()).clamp(1, rest.len()));
                self.clock -= 1;
                self.data(dir, passed[usize::from(dir)], now, passed[usize::from(dir)], false, none, core);
                passed[usize::from(dir)] += now.len();
                rest = later;
            }
        }
        self.clock += 1;
        self.close(passed.map(|n| n as u64), core);
    }

    fn open(&mut self, role: u8, core: &mut Core) {
        let head = Head { kind: KIND_OPEN, role, ..self.head() };
        let mut local_addr = [0; 16];
        local_addr[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
        let [in_seq, out_seq] = self.begin;
        let (remote_addr, local_port, remote_port) = (local_addr, 80, 40_000);
        let peers = Peers {
            local_addr,
            remote_addr,
            local_port,
            remote_port,
            tgid: 1,
            cgroup: 1,
            netns: 1,
            in_seq,
            out_seq,
        };
        let opened = Opened { peers, steered: Steered::default(), client: Client::default() };
        core.record(&[head.as_bytes(), opened.as_bytes()].concat());
    }

    #[expect(clippy::too_many_arguments, reason = "a record has many fields")]
    fn data(
        &mut self,
        dir: u8,
        at: usize,
        bytes: &[u8],
        edge: usize,
        fin: bool,
        choices: &mut Choices<'_>,
        core: &mut Core,
    ) {
        self.clock += 1;
        let seq = |at: usize| self.begin[usize::from(dir)].wrapping_add(at as u32);
        let len = bytes.len() as u32;
        let flags = if fin { FLAG_FIN } else { 0 };
        let (seq, edge) = (seq(at), seq(edge));
        let head = Head { kind: KIND_DATA, dir, seq, len, copied: len, edge, flags, ..self.head() };
        if self.loss > 0 && choices.once_in(self.loss) {
            return;
        }
        core.record(&[head.as_bytes(), bytes].concat());
    }

    fn close(&mut self, bytes: [u64; 2], core: &mut Core) {
        let head = Head { kind: KIND_CLOSE, ..self.head() };
        let [in_bytes, out_bytes] = bytes;
        let account = Account { in_bytes, out_bytes, retransmits: 0, srtt_us: 0, class: 0, end: 0 };
        core.record(&[head.as_bytes(), account.as_bytes()].concat());
    }

    fn head(&self) -> Head {
        Head {
            at_ns: self.clock,
            id: self.id,
            seq: 0,
            len: 0,
            edge: 0,
            copied: 0,
            kind: 0,
            dir: 0,
            role: 0,
            flags: 0,
            skipped: 0,
            drained: 0,
            drained_at: 0,
            read_at: 0,
        }
    }
}

/// A stream that comes in over a network.
struct Incoming {
    bytes: Vec<u8>,
    /// What arrived.
    has: Vec<bool>,
    /// All before it arrived.
    next: usize,
    sent: usize,
    /// Pieces on their way.
    flight: Vec<(usize, usize)>,
}

impl Incoming {
    fn new(bytes: Vec<u8>) -> Incoming {
        Incoming { has: vec![false; bytes.len()], next: 0, bytes, sent: 0, flight: Vec::new() }
    }

    fn arrive(&mut self, from: usize, to: usize) {
        self.has[from..to].fill(true);
        self.next += self.has[self.next..].iter().take_while(|has| **has).count();
    }

    /// Sends the next so many bytes, perhaps with some of those before them, perhaps twice.
    fn send(&mut self, n: usize, choices: &mut Choices<'_>) {
        let again = if choices.once_in(3) { choices.below(1 + self.sent.min(PIECE)) } else { 0 };
        let piece = (self.sent - again, self.sent + n);
        self.flight.push(piece);
        if choices.once_in(5) {
            self.flight.push(piece);
        }
        self.sent += n;
    }
}
