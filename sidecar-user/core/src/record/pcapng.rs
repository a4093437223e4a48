//! Blocks of pcapng (draft-ietf-opsawg-pcapng): a section, one interface of raw IP with times in nanoseconds, packets.

/// LINKTYPE_RAW.
const RAW: u16 = 101;
const SECTION: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const STATISTICS: u32 = 5;
const COMMENT: u16 = 1;
/// Option `isb_ifdrop`.
const DROPPED: u16 = 5;
/// Option `if_tsresol`: times in 10^-9 s.
const RESOLUTION: [u8; 8] = [9, 0, 1, 0, 9, 0, 0, 0];
const END_OF_OPTIONS: [u8; 4] = [0; 4];
/// Bytes of a packet's block besides the packet.
const PACKET: usize = 32;

/// Blocks that nobody took yet.
#[derive(Debug)]
pub(super) struct Blocks {
    bytes: Vec<u8>,
    n_packets: u64,
}

/// How long the block of a packet is of which so many bytes are kept.
pub(super) fn packet_len(kept: usize) -> usize {
    PACKET + kept.next_multiple_of(4)
}

/// A block that says how many packets the interface lost so far, with a comment.
pub(super) fn statistics(n_dropped: u64, comment: &str) -> Vec<u8> {
    let mut blocks = Blocks { bytes: Vec::new(), n_packets: 0 };
    let dropped = [DROPPED, 8].map(u16::to_le_bytes).concat();
    let len = u16::try_from(comment.len()).unwrap_or(0);
    let padding = [0; 4];
    let padding = &padding[..comment.len().next_multiple_of(4) - comment.len()];
    let comment_header = [COMMENT, len].map(u16::to_le_bytes).concat();
    // Of the first interface, and of no time.
    let (interface, time) = ([0; 4], [0; 8]);
    let options: [&[u8]; 6] =
        [&dropped, &n_dropped.to_le_bytes(), &comment_header, comment.as_bytes(), padding, &END_OF_OPTIONS];
    blocks.block(STATISTICS, &[&[&interface[..], &time], &options[..]].concat());
    blocks.bytes
}

/// The comment of such a block.
pub(super) fn comment(block: &[u8]) -> Option<&str> {
    let rest = block.strip_prefix(&STATISTICS.to_le_bytes())?;
    let rest = rest.get(4 + 4 + 8 + 4 + 8..)?.strip_prefix(&COMMENT.to_le_bytes())?;
    let (len, rest) = rest.split_first_chunk()?;
    str::from_utf8(rest.get(..usize::from(u16::from_le_bytes(*len)))?).ok()
}

/// How long the block is that bytes begin with.
pub(super) fn block_len(bytes: &[u8]) -> Option<usize> {
    let len = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?);
    // None is shorter.
    usize::try_from(len).ok().filter(|len| *len >= 12)
}

pub(super) fn is_packet(block: &[u8]) -> bool {
    block.starts_with(&ENHANCED_PACKET.to_le_bytes())
}

impl Blocks {
    /// With what a file begins with.
    pub(super) fn begin() -> Self {
        let mut blocks = Blocks { bytes: Vec::new(), n_packets: 0 };
        let version = [1u16, 0].map(u16::to_le_bytes).concat();
        // How long the section is nobody knows yet.
        blocks.block(SECTION, &[&BYTE_ORDER.to_le_bytes(), &version, &u64::MAX.to_le_bytes()]);
        let link = [RAW.to_le_bytes(), [0; 2]].concat();
        let no_limit = [0; 4];
        blocks.block(INTERFACE, &[&link, &no_limit, &RESOLUTION, &END_OF_OPTIONS]);
        blocks
    }

    /// A packet that had `len` bytes, at a Unix time in ns.
    pub(super) fn packet(&mut self, at: u64, headers: &[u8], shown: &[u8], len: u32) {
        let kept = u32::try_from(headers.len() + shown.len()).unwrap_or(u32::MAX);
        let numbers = [0, (at >> 32) as u32, at as u32, kept, len].map(u32::to_le_bytes).concat();
        self.block(ENHANCED_PACKET, &[&numbers, headers, shown]);
        self.n_packets += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn take(&mut self) -> (Vec<u8>, u64) {
        (std::mem::take(&mut self.bytes), std::mem::take(&mut self.n_packets))
    }

    fn block(&mut self, kind: u32, parts: &[&[u8]]) {
        let content = parts.iter().map(|part| part.len()).sum::<usize>().next_multiple_of(4);
        let len = u32::try_from(12 + content).unwrap_or(u32::MAX).to_le_bytes();
        let end = self.bytes.len() + 8 + content;
        self.bytes.extend_from_slice(&kind.to_le_bytes());
        self.bytes.extend_from_slice(&len);
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.bytes.resize(end, 0);
        self.bytes.extend_from_slice(&len);
    }
}
