//! From segments to the events that the kernel would have told of at the server's socket. What comes in which order, twice
//! or not at all is the lanes' business: here are only beginnings, ends, and what was acknowledged.

use std::net::SocketAddr;

use rustc_hash::FxHashMap;

use super::layers::{Tcp, Udp};
use crate::{
    dns,
    event::{Drained, Ends, Event, Segment},
    flow::distance,
    model::{Account, ConnectionId, Dir, End, Ktime, Role},
    protocol,
};

/// The longest way that sequence numbers tell.
const FARTHEST: i32 = 1 << 30;
/// A reset whose number is farther away is another connection's.
const RESET_WINDOW: u32 = 1 << 24;
/// Where there is no room, one in so many gives up its place.
const MAKE_ROOM: usize = 8;

/// What is to be told.
#[expect(
    clippy::large_enum_variant,
    reason = "lent once and never kept: a box would be an allocation a packet"
)]
pub(super) enum Step<'a> {
    Event(Event<'a>),
    /// Nobody will tell more of it.
    Forget(ConnectionId, Ktime),
}

/// Both ends, in their order.
type Key = (SocketAddr, SocketAddr);

/// The connections of a capture.
pub(super) struct Conversations {
    known: FxHashMap<Key, Conversation>,
    room: usize,
    n_met: u64,
}

struct Conversation {
    id: ConnectionId,
    stage: Stage,
    /// By the order of the ends.
    ways: [Way; 2],
    mptcp: [bool; 2],
    last: Ktime,
    /// When everything that the server sent had been acknowledged.
    drained: Drained,
    retransmits: u32,
}

#[derive(Clone, Copy)]
enum Stage {
    /// By whose SYN.
    Opening {
        client: usize,
    },
    Open {
        server: usize,
        joined: bool,
    },
    /// What comes of it now is no news.
    Over,
}

/// What one side sent.
#[derive(Clone, Copy, Default)]
struct Way {
    /// Its SYN's sequence number.
    syn: Option<u32>,
    /// Sequence number of its first byte.
    begin: u32,
    /// The sequence number after the last byte that was seen.
    end: u32,
    /// The other side has all before it.
    acked: Option<u32>,
    fin: Option<u32>,
    /// Something before `end` was not seen, and the other side was not seen to have it.
    has_hole: bool,
    /// From `begin` to `end`.
    n_bytes: u64,
}

impl Conversations {
    pub(super) fn new(room: usize) -> Self {
        Conversations { known: FxHashMap::default(), room, n_met: 0 }
    }

    /// Takes a segment; gives `each` what it tells.
    pub(super) fn take(&mut self, at: Ktime, tcp: &Tcp<'_>, each: &mut dyn FnMut(Step<'_>)) {
        let sender = usize::from(tcp.from > tcp.to);
        let key = if sender == 0 { (tcp.from, tcp.to) } else { (tcp.to, tcp.from) };
        if tcp.syn && !tcp.rst {
            return self.syn(key, sender, at, tcp, each);
        }
        if !self.known.contains_key(&key) {
            // As of one that is older than the daemon: its first payload is what shows it.
            let Some(ack) = tcp.ack.filter(|_| tcp.len > 0 && !tcp.rst && tcp.from != tcp.to) else { return };
            let conversation = Conversation::joined(self.meet(at, each), key, sender, tcp.seq, ack);
            self.known.entry(key).or_insert(conversation).open(key, at, each);
        }
        let Some(conversation) = self.known.get_mut(&key) else { return };
        conversation.last = at;
        conversation.take(key, sender, at, tcp, each);
    }

    /// The capture is over: tells of those that were, though the last acknowledgement is missing.
    pub(super) fn finish(&mut self, each: &mut dyn FnMut(Step<'_>)) {
        let mut known: Vec<_> = self.known.drain().map(|(_, conversation)| conversation).collect();
        known.sort_unstable_by_key(|conversation| conversation.id);
        for mut conversation in known {
            if conversation.ways.iter().all(|way| way.fin.is_some()) {
                conversation.close(End::Orderly, conversation.last, each);
            }
        }
    }

    fn syn(&mut self, key: Key, sender: usize, at: Ktime, tcp: &Tcp<'_>, each: &mut dyn FnMut(Step<'_>)) {
        let other = 1 - sender;
        let is_answer = tcp.ack.is_some();
        if let Some(known) = self.known.get_mut(&key) {
            let way = &mut known.ways[sender];
            let is_next = matches!(known.stage, Stage::Opening { client } if client == other && is_answer);
            if way.syn == Some(tcp.seq) || way.syn.is_none() && is_next {
                *way = if is_next { Way::after(tcp.seq) } else { *way };
                known.mptcp[sender] = tcp.mptcp;
                known.last = at;
                return;
            }
            // The same ends, another connection.
            if matches!(known.stage, Stage::Open { .. }) {
                each(Step::Forget(known.id, at));
            }
            self.known.remove(&key);
        }
        if tcp.from == tcp.to {
            return;
        }
        let id = self.meet(at, each);
        let client = if is_answer { other } else { sender };
        let mut new = Conversation::new(id, Stage::Opening { client }, at);
        new.ways[sender] = Way::after(tcp.seq);
        new.mptcp[sender] = tcp.mptcp;
        if let Some(ack) = tcp.ack {
            new.ways[other] = Way::after(ack.wrapping_sub(1));
            new.mptcp[other] = tcp.mptcp;
        } else if tcp.len > 0 {
            // It waits for its connection, as at the listener (RFC 7413).
            let seq = tcp.seq.wrapping_add(1);
            let segment = Segment { len: tcp.len, bytes: tcp.bytes, ..new.nothing(Dir::Ingress, at, seq) };
            each(Step::Event(Event::Listen { ends: new.ends(key, other), segment }));
            new.ways[sender].pass(seq.wrapping_add(tcp.len));
        }
        self.known.insert(key, new);
    }

    /// Makes room for another.
    fn meet(&mut self, at: Ktime, each: &mut dyn FnMut(Step<'_>)) -> ConnectionId {
        if self.known.len() >= self.room {
            let mut by_age: Vec<_> =
                self.known.iter().map(|(key, known)| (known.last, known.id, *key)).collect();
            by_age.sort_unstable();
            by_age.truncate((self.room / MAKE_ROOM).max(1));
            for (_, id, key) in by_age {
                if let Some(Conversation { stage: Stage::Open { .. }, .. }) = self.known.remove(&key) {
                    each(Step::Forget(id, at));
                }
            }
        }
        self.n_met += 1;
        ConnectionId(self.n_met)
    }
}

impl Conversation {
    fn new(id: ConnectionId, stage: Stage, last: Ktime) -> Self {
        let ways = [Way::default(); 2];
        Conversation { id, stage, ways, mptcp: [false; 2], last, drained: Drained::default(), retransmits: 0 }
    }

    /// One that was met by this segment. Who is the server is a guess, by the ports; its bytes may show better.
    fn joined(id: ConnectionId, key: Key, sender: usize, seq: u32, ack: u32) -> Self {
        let ports = [key.0.port(), key.1.port()];
        let is_known = |port| protocol::ALL.iter().any(|protocol| protocol.ports.contains(&port));
        let server = match ports.map(is_known) {
            [true, false] => 0,
            [false, true] => 1,
            _ if ports[0] == ports[1] => 1 - sender,
            _ => usize::from(ports[1] < ports[0]),
        };
        let mut new = Conversation::new(id, Stage::Open { server, joined: true }, Ktime::default());
        new.ways[sender] = Way { begin: seq, end: seq, ..Way::default() };
        new.ways[1 - sender] = Way { begin: ack, end: ack, ..Way::default() };
        new
    }

    fn take(&mut self, key: Key, sender: usize, at: Ktime, tcp: &Tcp<'_>, each: &mut dyn FnMut(Step<'_>)) {
        let other = 1 - sender;
        match self.stage {
            Stage::Over => return,
            // Refused, or given up.
            Stage::Opening { .. } if tcp.rst => return self.stage = Stage::Over,
            Stage::Opening { client } => {
                let Some(ack) = tcp.ack else { return };
                let server = 1 - client;
                let first = if sender == client { ack } else { tcp.seq };
                if self.ways[server].syn.is_none() {
                    self.ways[server] = Way::after(first.wrapping_sub(1));
                }
                self.stage = Stage::Open { server, joined: false };
                self.open(key, at, each);
            }
            Stage::Open { .. } => {}
        }
        let Stage::Open { server, .. } = self.stage else { return };
        if tcp.rst && !self.ways[sender].is_near(tcp.seq) {
            return;
        }
        if let Some(ack) = tcp.ack {
            self.acknowledge(other, server, ack, at, each);
        }
        if tcp.len > 0 || tcp.fin || tcp.rst {
            self.segment(sender, server, at, tcp, each);
        }
        if tcp.rst {
            self.close(if sender == server { End::Sent } else { End::Received }, at, each);
        } else if self.ways.iter().all(Way::is_over) {
            self.close(End::Orderly, at, each);
        }
    }

    /// One side's segments arrived, up to here.
    fn acknowledge(&mut self, of: usize, server: usize, ack: u32, at: Ktime, each: &mut dyn FnMut(Step<'_>)) {
        let way = &mut self.ways[of];
        if distance(way.acked.unwrap_or(way.begin), ack) <= 0 || distance(way.end, ack) > FARTHEST {
            return;
        }
        way.acked = Some(ack);
        let is_all = ack == way.end || Some(ack) == way.fin.map(|fin| fin.wrapping_add(1));
        let edge = way.edge();
        if is_all && of == server {
            self.drained = Drained { seq: way.end, at };
        }
        // What waits behind the hole need not wait for another segment.
        if way.has_hole {
            way.has_hole = distance(edge, way.end) > 0;
            let segment = self.nothing(dir(of, server), at, edge);
            each(Step::Event(Event::Data { id: self.id, segment }));
        }
    }

    fn segment(
        &mut self,
        sender: usize,
        server: usize,
        at: Ktime,
        tcp: &Tcp<'_>,
        each: &mut dyn FnMut(Step<'_>),
    ) {
        let way = &mut self.ways[sender];
        let (ahead, end) = (distance(way.end, tcp.seq), tcp.seq.wrapping_add(tcp.len));
        // Another connection's; or a byte again, to see whether somebody is there (RFC 9293, 3.8.4).
        let is_probe = tcp.len == 1 && end == way.end && way.n_bytes > 0 && !tcp.fin && !tcp.rst;
        if !(-FARTHEST..=FARTHEST).contains(&ahead) || is_probe {
            return;
        }
        let edge = way.edge();
        let is_again = tcp.len > 0 && distance(way.end, end) <= 0 && !way.has_hole;
        way.has_hole |= ahead > 0;
        way.pass(end);
        way.fin = way.fin.or(tcp.fin.then_some(end));
        self.retransmits += u32::from(is_again && sender == server);
        let Tcp { seq, len, bytes, fin, rst, .. } = *tcp;
        let nothing = self.nothing(dir(sender, server), at, edge);
        let segment = Segment { seq, len, bytes, fin, rst, ..nothing };
        each(Step::Event(Event::Data { id: self.id, segment }));
    }

    /// That everything before `edge` is settled.
    fn nothing(&self, dir: Dir, at: Ktime, edge: u32) -> Segment<'static> {
        let (seq, drained) = (edge, self.drained);
        Segment {
            dir,
            at,
            seq,
            len: 0,
            bytes: b"",
            edge,
            skipped: 0,
            fin: false,
            rst: false,
            drained,
            read: None,
        }
    }

    fn open(&self, key: Key, at: Ktime, each: &mut dyn FnMut(Step<'_>)) {
        let Stage::Open { server, joined } = self.stage else { return };
        let role = (!joined).then_some(Role::Server);
        let mptcp = self.mptcp == [true; 2];
        let (id, ends) = (self.id, self.ends(key, server));
        each(Step::Event(Event::Open { id, at, role, joined, mptcp, ends, connect: None }));
    }

    fn ends(&self, key: Key, server: usize) -> Ends {
        let (local, remote) = if server == 0 { key } else { (key.1, key.0) };
        let next = [self.ways[1 - server].begin, self.ways[server].begin];
        Ends { local, remote, via: None, netns: 0, tgid: 0, cgroup: 0, next, decided: None }
    }

    /// Of one that was joined nobody reports the end: it shows in its segments.
    fn close(&mut self, end: End, at: Ktime, each: &mut dyn FnMut(Step<'_>)) {
        let Stage::Open { server, joined } = self.stage else { return };
        self.stage = Stage::Over;
        if !joined {
            let bytes = [self.ways[1 - server].total(), self.ways[server].total()];
            let account = Account { bytes, retransmits: self.retransmits, rtt: None };
            let (id, drained) = (self.id, self.drained);
            each(Step::Event(Event::Closed { id, at, end, account, is_unjudged: false, drained }));
        }
    }
}

impl Way {
    fn after(syn: u32) -> Self {
        let begin = syn.wrapping_add(1);
        Way { syn: Some(syn), begin, end: begin, ..Way::default() }
    }

    fn pass(&mut self, end: u32) {
        let n = distance(self.end, end);
        if n > 0 {
            self.n_bytes += u64::from(n.unsigned_abs());
            self.end = end;
        }
    }

    /// What lies before it will not be seen again. Acknowledgements of what was not seen yet may have overtaken it.
    fn edge(&self) -> u32 {
        match self.acked {
            Some(acked) if distance(acked, self.end) >= 0 => acked,
            Some(_) => self.end,
            None => self.begin,
        }
    }

    /// A reset with this number is of this connection.
    fn is_near(&self, seq: u32) -> bool {
        distance(self.end, seq).unsigned_abs() < RESET_WINDOW
    }

    /// FIN was sent, and arrived.
    fn is_over(&self) -> bool {
        self.fin.zip(self.acked).is_some_and(|(fin, acked)| distance(fin, acked) > 0)
    }

    /// Bytes that it sent, also where only the other side saw them.
    fn total(&self) -> u64 {
        let beyond = distance(self.end, self.acked.unwrap_or(self.end));
        // One may be a FIN's number.
        self.n_bytes
            + if beyond > 1 { u64::from(beyond.unsigned_abs()) - u64::from(self.fin.is_none()) } else { 0 }
    }
}

/// Takes a datagram, as the name server's end sees it; gives `each` what it tells.
pub(super) fn datagram(at: Ktime, udp: &Udp<'_>, each: &mut dyn FnMut(Step<'_>)) {
    let Udp { from, to, len, bytes } = *udp;
    let (dir, local, remote) =
        if to.port() == dns::PORT { (Dir::Ingress, to, from) } else { (Dir::Egress, from, to) };
    let ends = Ends { local, remote, via: None, netns: 0, tgid: 0, cgroup: 0, next: [0; 2], decided: None };
    each(Step::Event(Event::Datagram { id: ConnectionId(0), dir, at, ends, len, bytes }));
}

fn dir(of: usize, server: usize) -> Dir {
    if of == server { Dir::Egress } else { Dir::Ingress }
}
