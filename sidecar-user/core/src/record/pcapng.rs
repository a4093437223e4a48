//! Blocks of pcapng (draft-ietf-opsawg-pcapng): a section, one interface of raw IP with times in nanoseconds, packets.

/// LINKTYPE_RAW.
const RAW: u16 = 101;
const SECTION: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
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
