//! One connection in a recording: what passed, in order, until it is told what may be shown of it; then packets.

use super::{
    Recorder,
    packet::{self, Flags},
};
use crate::{
    model::{Connection, Dir, Ktime, Role, Side},
    protocol::{Close, Piece, Reel},
};

/// Payload of a packet at most.
const PAYLOAD: usize = 32 << 10;
/// The longest stretch that one packet stands for: sequence numbers tell so much.
const FARTHEST: u64 = 1 << 29;
/// Bytes that may wait.
const WAITING: usize = 256 << 10;

/// A connection that is recorded.
#[derive(Debug)]
pub(crate) struct Track {
    /// When it was established, where that is to be seen.
    opened: Option<Ktime>,
    /// By [`side`], which knows no roles.
    reel: Reel<Passed>,
    /// The next sequence numbers, by [`Dir::index`].
    next: [u32; 2],
    fin: [bool; 2],
    /// Whose FIN came last.
    last_fin: Option<Dir>,
    /// Bytes that waited when it was last looked at.
    waiting: usize,
}

#[derive(Debug)]
struct Passed {
    at: Ktime,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// So many, of which something may be shown.
    Bytes(u64),
    /// So many, that nobody copied.
    Skipped(u64),
    /// So many, that were lost.
    Gap(u64),
    /// FIN.
    End,
}

impl Track {
    /// One whose beginning was seen, or is not told of.
    pub(crate) fn new(opened: Option<Ktime>) -> Self {
        Track { opened, reel: Reel::default(), next: [1; 2], fin: [false; 2], last_fin: None, waiting: 0 }
    }

    /// Something passed, and of it and of what passed before no more will be told than was, unless it is bytes.
    pub(crate) fn pass(&mut self, dir: Dir, at: Ktime, what: What) {
        let n = if let What::Bytes(n) = what { n } else { 0 };
        if matches!(what, What::Skipped(_) | What::Gap(_)) {
            self.reel.settle(side(dir));
        }
        self.reel.push(side(dir), n, Passed { at, what });
    }

    /// What may be shown of the next bytes, as seen from `role`.
    pub(crate) fn tell(&mut self, piece: &Piece<'_>, role: Role) {
        self.reel.tell(&Piece { side: side(role.dir(piece.side)), ..*piece });
    }

    /// Nobody will tell more of what passed so far.
    pub(crate) fn settle(&mut self) {
        [Dir::Ingress, Dir::Egress].into_iter().for_each(|dir| self.reel.settle(side(dir)));
    }

    /// Writes what is settled.
    pub(crate) fn write(&mut self, connection: &Connection, recorder: &mut Recorder) {
        let Track { opened, reel, next, fin, last_fin, waiting } = self;
        let mut wire = Wire { connection, recorder, opened, next, fin, last_fin };
        let mut given_up = 0;
        reel.ready(|passed, side, shown, hidden| wire.passed(&passed, dir(side), shown, hidden));
        let others = wire.recorder.waiting - *waiting;
        if reel.held() > WAITING || others + reel.held() > super::WAITING {
            reel.give_up();
            reel.ready(|passed, side, shown, hidden| {
                given_up += u64::from(hidden > 0);
                wire.passed(&passed, dir(side), shown, hidden);
            });
        }
        *waiting = reel.held();
        recorder.left_out.waiting += given_up;
        recorder.waiting = others + *waiting;
    }

    /// It is over, or is recorded no longer.
    pub(crate) fn close(mut self, at: Ktime, how: Close, connection: &Connection, recorder: &mut Recorder) {
        self.settle();
        self.write(connection, recorder);
        recorder.waiting -= self.waiting;
        let Track { opened, next, fin, last_fin, .. } = &mut self;
        Wire { connection, recorder, opened, next, fin, last_fin }.close(at, how);
    }
}

/// Where packets are made.
struct Wire<'a> {
    connection: &'a Connection,
    recorder: &'a mut Recorder,
    opened: &'a mut Option<Ktime>,
    next: &'a mut [u32; 2],
    fin: &'a mut [bool; 2],
    last_fin: &'a mut Option<Dir>,
}

impl Wire<'_> {
    fn passed(&mut self, passed: &Passed, dir: Dir, shown: &[u8], hidden: u64) {
        self.open();
        let Passed { at, what } = *passed;
        for payload in shown.chunks(PAYLOAD) {
            self.send(dir, at, Flags::PUSH, payload, payload.len() as u64);
        }
        match what {
            What::Bytes(_) => self.not_shown(dir, at, hidden),
            What::Skipped(n) => self.not_shown(dir, at, n),
            What::Gap(n) => self.lost(dir, at, n),
            What::End => self.end(dir, at),
        }
    }

    /// The handshake, where it was seen, before the first packet.
    fn open(&mut self) {
        let Some((at, role)) = self.opened.take().zip(self.connection.role) else { return };
        let (client, server) = (role.dir(Side::Client), role.dir(Side::Server));
        for (dir, seq, ack, flags) in
            [(client, 0, 0, Flags::SYN), (server, 0, 1, Flags::SYN_ACK), (client, 1, 1, Flags::ACK)]
        {
            self.segment(dir, at, [seq, ack], flags, b"", 0);
        }
    }

    fn not_shown(&mut self, dir: Dir, at: Ktime, n: u64) {
        let mut left = n;
        while left > 0 {
            let now = left.min(FARTHEST);
            self.send(dir, at, Flags::PUSH, b"", now);
            left -= now;
        }
    }

    /// What was lost shows as acknowledged and never seen.
    fn lost(&mut self, dir: Dir, at: Ktime, n: u64) {
        let mut left = n;
        while left > 0 {
            let now = left.min(FARTHEST);
            self.advance(dir, now);
            self.send(other(dir), at, Flags::ACK, b"", 0);
            left -= now;
        }
    }

    fn end(&mut self, dir: Dir, at: Ktime) {
        if !std::mem::replace(&mut self.fin[dir.index()], true) {
            self.send(dir, at, Flags::FIN, b"", 0);
            self.advance(dir, 1);
            *self.last_fin = Some(dir);
        }
    }

    fn close(&mut self, at: Ktime, how: Close) {
        self.open();
        match how {
            Close::Closed => {
                [Dir::Egress, Dir::Ingress].into_iter().for_each(|dir| self.end(dir, at));
                let last = *self.last_fin;
                last.into_iter().for_each(|last| self.send(other(last), at, Flags::ACK, b"", 0));
            }
            Close::Reset(side) => {
                let dir = self.connection.role.unwrap_or(Role::Client).dir(side);
                self.send(dir, at, Flags::RST, b"", 0);
            }
            // Nothing that passed says so.
            Close::Expired | Close::Forgotten => {}
        }
    }

    fn send(&mut self, dir: Dir, at: Ktime, flags: Flags, shown: &[u8], len: u64) {
        let numbers = [self.next[dir.index()], self.next[other(dir).index()]];
        self.segment(dir, at, numbers, flags, shown, len);
        self.advance(dir, len);
    }

    fn segment(&mut self, dir: Dir, at: Ktime, numbers: [u32; 2], flags: Flags, shown: &[u8], len: u64) {
        let Connection { local, remote, .. } = *self.connection;
        let (from, to) = if dir == Dir::Egress { (local, remote) } else { (remote, local) };
        let [seq, ack] = numbers;
        let headers = packet::tcp(from, to, seq, ack, flags, u32::try_from(len).unwrap_or(u32::MAX));
        self.recorder.packet(at, &headers, shown, len);
    }

    fn advance(&mut self, dir: Dir, n: u64) {
        let next = &mut self.next[dir.index()];
        *next = next.wrapping_add(n as u32);
    }
}

/// Which of two it is: here sides only tell directions apart.
fn side(dir: Dir) -> Side {
    match dir {
        Dir::Ingress => Side::Client,
        Dir::Egress => Side::Server,
    }
}

fn dir(side: Side) -> Dir {
    match side {
        Side::Client => Dir::Ingress,
        Side::Server => Dir::Egress,
    }
}

fn other(dir: Dir) -> Dir {
    match dir {
        Dir::Ingress => Dir::Egress,
        Dir::Egress => Dir::Ingress,
    }
}
