//! Data that came before its connection: with deferred accept, fast open or a lost handshake ACK the first request
//! reaches the listening socket, and with fast open its client sends it in the SYN. It waits here, by both ends'
//! addresses, for the connection to be announced.

use std::net::SocketAddr;

use rustc_hash::FxHashMap;

use super::{Tally, lane::distance};
use crate::{
    event::{Drained, Ends, Segment},
    model::{Dir, Ktime},
};

/// Pairs of ends that have data waiting.
const ENDS: usize = 1024;
/// Segments that wait for one connection.
const SEGMENTS: usize = 8;
/// Bytes that wait for all connections together.
const BYTES: usize = 4 << 20;
/// How long they wait, ns. The connection is announced in the same softirq; the rest is for a ring that was full.
const WAIT_NS: u64 = 10 * 1_000_000_000;

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Listening {
    waiting: FxHashMap<Key, Vec<Kept>>,
    n_bytes: usize,
}

/// Both ends of its own socket: nobody but the relay knows yet who comes by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    local: SocketAddr,
    remote: SocketAddr,
    netns: u64,
}

/// A segment with bytes of its own.
#[derive(Debug)]
pub(super) struct Kept {
    dir: Dir,
    at: Ktime,
    seq: u32,
    len: u32,
    bytes: Box<[u8]>,
    fin: bool,
}

impl Kept {
    /// As it came. Nothing from the connection's first byte on is settled: TCP may have refused it, and then it comes
    /// again; or it overtook what lies before it.
    pub(super) fn as_segment(&self, ends: &Ends) -> Segment<'_> {
        Segment {
            dir: self.dir,
            at: self.at,
            seq: self.seq,
            len: self.len,
            bytes: &self.bytes,
            edge: ends.next[self.dir.index()],
            skipped: 0,
            fin: self.fin,
            rst: false,
            drained: Drained::default(),
            read: None,
        }
    }
}

impl Listening {
    /// Keeps a segment, if there is room.
    pub(super) fn keep(&mut self, ends: &Ends, segment: &Segment<'_>, tally: &mut Tally) {
        let key = key(ends);
        let is_crowded = self.waiting.len() >= ENDS && !self.waiting.contains_key(&key);
        if is_crowded || self.n_bytes + segment.bytes.len() > BYTES {
            tally.listen_lost += 1;
            return;
        }
        let kept = self.waiting.entry(key).or_default();
        if kept.len() >= SEGMENTS {
            tally.listen_lost += 1;
            return;
        }
        self.n_bytes += segment.bytes.len();
        let bytes = segment.bytes.into();
        let Segment { dir, at, seq, len, fin, .. } = *segment;
        kept.push(Kept { dir, at, seq, len, bytes, fin });
    }

    /// What came for a connection before it was.
    pub(super) fn take(&mut self, ends: &Ends) -> Vec<Kept> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let mut kept = self.waiting.remove(&key(ends)).unwrap_or_default();
        self.n_bytes -= n_bytes(&kept);
        // An earlier connection between the same ends may have left something.
        let is_after =
            |kept: &Kept| distance(ends.next[kept.dir.index()], kept.seq.wrapping_add(kept.len)) > 0;
        kept.retain(is_after);
        kept
    }

    /// Forgets what waited in vain.
    pub(super) fn sweep(&mut self, now: Ktime, tally: &mut Tally) {
        self.waiting.retain(|_, kept| {
            let waits = kept.last().is_some_and(|last| now.0.saturating_sub(last.at.0) < WAIT_NS);
            if !waits {
                tally.listen_lost += kept.len() as u64;
                self.n_bytes -= n_bytes(kept);
            }
            waits
        });
    }
}

fn n_bytes(kept: &[Kept]) -> usize {
    kept.iter().map(|kept| kept.bytes.len()).sum()
}

fn key(ends: &Ends) -> Key {
    Key { local: ends.local, remote: ends.via.unwrap_or(ends.remote), netns: ends.netns }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::lane::{Lane, Run};

    /// Both ends of a connection from `port`.
    fn ends(port: u16) -> Ends {
        Ends {
            local: ([10, 0, 0, 1], 80).into(),
            remote: ([10, 0, 0, 2], port).into(),
            via: None,
            tgid: 1,
            cgroup: 1,
            netns: 1,
            next: [10, 0],
            decided: None,
        }
    }

    fn kept(seq: u32, len: u32, bytes: &[u8]) -> Kept {
        Kept { dir: Dir::Ingress, at: Ktime(1), seq, len, bytes: bytes.into(), fin: false }
    }

    #[test]
    fn bounded_in_bytes() {
        let (mut listening, mut tally) = (Listening::default(), Tally::default());
        let large = kept(10, 1, &[b'x'; 16 * 1024]);
        for n in 0..1000 {
            let ends = ends(n % 500);
            listening.keep(&ends, &large.as_segment(&ends), &mut tally);
        }
        assert_eq!((listening.n_bytes, tally.listen_lost), (BYTES, 1000 - 256));
        assert_eq!(listening.take(&ends(0)).len(), 1);
        assert_eq!(listening.n_bytes, BYTES - 16 * 1024);
        listening.sweep(Ktime(2 * WAIT_NS), &mut tally);
        assert_eq!((listening.n_bytes, tally.listen_lost), (0, 1000 - 1));
    }

    #[test]
    fn what_came_by_way_of_the_relay_is_found() {
        let (own, mut tally) = (ends(40_000), Tally::default());
        let brought = Ends { remote: ([10, 0, 0, 9], 50_000).into(), via: Some(own.remote), ..own };
        let mut listening = Listening::default();
        listening.keep(&own, &kept(10, 1, b"x").as_segment(&own), &mut tally);
        assert_eq!(listening.take(&Ends { via: None, ..brought }).len(), 0);
        assert_eq!(listening.take(&brought).len(), 1);
    }

    #[test]
    fn what_overtook_waits_for_what_it_overtook() {
        let ends = ends(40_000);
        let (mut listening, mut tally) = (Listening::default(), Tally::default());
        for (seq, bytes) in [(12, b"cd"), (10, b"ab")] {
            listening.keep(&ends, &kept(seq, 2, bytes).as_segment(&ends), &mut tally);
        }
        let mut lane = Lane::new(Dir::Ingress);
        lane.begin(10);
        let mut got = Vec::new();
        for kept in listening.take(&ends) {
            lane.accept(&kept.as_segment(&ends), &mut |_, run| match run {
                Run::Bytes(bytes) => got.extend_from_slice(bytes),
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(got, b"abcd");
    }
}
