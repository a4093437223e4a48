//! What passed, as a capture that others may see: of each byte only what its parser says may be shown
//! ([`protocol::Transcript`](crate::protocol::Transcript)). Packets are made up: what is in them, in which order and when is not.
//!
//! Nothing here writes a file or reads a clock: blocks of pcapng are taken out by whoever has them, and times come with events.

mod filter;
mod packet;
mod pcapng;
#[cfg(test)]
mod tests;
mod track;

pub use filter::{CONDITIONS, Filter};

pub(crate) use track::{Track, What};

use self::pcapng::Blocks;
use crate::{
    event::Ends,
    model::{Connection, Dir, Ktime},
};

/// Bytes that may wait, of all connections, for what will be told of bytes before them.
const WAITING: usize = 16 << 20;

/// What is recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Which connections.
    pub filter: Filter,
    /// Bytes of the recording, at most.
    pub max_bytes: Option<u64>,
}

/// What was left out of a recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Packets beyond [`Wish::max_bytes`].
    pub full: u64,
    /// Bytes shown only as many, since too much waited for what would be told of them.
    pub waiting: u64,
}

/// A recording that goes on.
#[derive(Debug)]
pub struct Recorder {
    wish: Wish,
    /// What makes Unix time of the kernel's.
    offset: u64,
    blocks: Blocks,
    /// Bytes that were taken out.
    n_taken: u64,
    n_packets: u64,
    left_out: LeftOut,
    /// Bytes that wait in all tracks.
    waiting: usize,
}

impl Recorder {
    /// Begins one.
    #[must_use]
    pub fn new(wish: Wish, offset: u64) -> Self {
        Recorder {
            wish,
            offset,
            blocks: Blocks::begin(),
            n_taken: 0,
            n_packets: 0,
            left_out: LeftOut::default(),
            waiting: 0,
        }
    }

    /// Bytes that can be taken out.
    #[must_use]
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// There is nothing to be taken out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The recording's next bytes: whole blocks, and how many packets are in them.
    pub fn take(&mut self) -> (Vec<u8>, u64) {
        let (bytes, n_packets) = self.blocks.take();
        self.n_taken += bytes.len() as u64;
        (bytes, n_packets)
    }

    /// Packets so far.
    #[must_use]
    pub fn n_packets(&self) -> u64 {
        self.n_packets
    }

    /// It has as many bytes as it may.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.left_out.full > 0
    }

    /// What was left out so far.
    #[must_use]
    pub fn left_out(&self) -> LeftOut {
        self.left_out
    }

    /// Whether a connection is recorded that speaks `protocol`, as far as is known.
    pub(crate) fn takes(&self, connection: &Connection, protocol: &str) -> bool {
        self.wish.filter.takes(connection, protocol)
    }

    /// A datagram of the DNS passed, of which this may be shown.
    pub(crate) fn datagram(&mut self, at: Ktime, ends: &Ends, dir: Dir, shown: &[u8], len: u32) {
        let is_out = dir == Dir::Egress;
        let (from, to) = if is_out { (ends.local, ends.remote) } else { (ends.remote, ends.local) };
        let headers = packet::udp(from, to, len);
        self.packet(at, &headers, shown, u64::from(len));
    }

    /// `len` bytes of payload passed after `headers`, of which `shown` is shown.
    fn packet(&mut self, at: Ktime, headers: &[u8], shown: &[u8], len: u64) {
        let room =
            self.wish.max_bytes.map(|most| most.saturating_sub(self.n_taken + self.blocks.len() as u64));
        let size = pcapng::packet_len(headers.len() + shown.len()) as u64;
        // What comes after what was left out would not be understood.
        if self.is_full() || room.is_some_and(|room| room < size) {
            self.left_out.full += 1;
            return;
        }
        self.n_packets += 1;
        let len = u32::try_from(headers.len() as u64 + len).unwrap_or(u32::MAX);
        self.blocks.packet(at.0.saturating_add(self.offset), headers, shown, len);
    }
}
