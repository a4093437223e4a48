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

/// What was left out of a recording, in packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Those beyond [`Wish::max_bytes`].
    pub full: u64,
    /// What was in packets, since too much waited for what would be told of it: only how much it was is recorded.
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

/// Reasons why packets are left out: the recording is full, whoever reads it is slow, too much waited.
pub const REASONS: [&str; 3] = ["full", "slow", "waiting"];

/// What tells a reader how many packets are missing so far, by [`REASONS`]: a block of statistics, which a capture may have anywhere.
#[must_use]
pub fn note(left_out: [u64; 3]) -> Vec<u8> {
    let words: Vec<_> = REASONS.iter().zip(left_out).map(|(reason, n)| format!("{reason}={n}")).collect();
    pcapng::statistics(left_out.iter().sum(), &words.join(" "))
}

/// What a block says, if it is such a note.
#[must_use]
pub fn read_note(block: &[u8]) -> Option<[u64; 3]> {
    let mut words = pcapng::comment(block)?.split(' ');
    let mut left_out = [0; 3];
    for (n, reason) in left_out.iter_mut().zip(REASONS) {
        *n = words.next()?.strip_prefix(reason)?.strip_prefix('=')?.parse().ok()?;
    }
    Some(left_out)
}

/// How many bytes of a recording are whole blocks.
#[must_use]
pub fn whole_blocks(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(len) = pcapng::block_len(&bytes[at..]).filter(|len| at + len <= bytes.len()) {
        at += len;
    }
    at
}

/// The blocks in bytes that are whole blocks.
pub fn blocks(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (block, rest) = bytes.split_at_checked(pcapng::block_len(bytes)?)?;
        bytes = rest;
        Some(block)
    })
}

/// A block is a packet's.
#[must_use]
pub fn is_packet(block: &[u8]) -> bool {
    pcapng::is_packet(block)
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
