//! Packets out of a capture, pcap or pcapng, as they come: nothing is kept but the block that is looked at. Where blocks
//! begin and end is told here, what is in them by `pcap_parser`.

use std::{
    io::{self, Read},
    ops::Range,
};

use pcap_parser::{
    Block, InterfaceDescriptionBlock, OptionCode, PcapHeader, parse_block_be, parse_block_le,
    parse_pcap_frame, parse_pcap_frame_be, parse_pcap_frame_modified, parse_pcap_header,
    traits::PcapNGPacketBlock as _,
};

use crate::model::Ktime;

/// The longest block that is read. libpcap's longest packet is 256 KiB (`MAXIMUM_SNAPLEN`).
const LONGEST: usize = 16 << 20;
/// Interfaces that a section may have.
const INTERFACES: usize = 4096;
const NS: u64 = 1_000_000_000;
/// Bytes of pcap's header of a file, and of what begins each packet, also where it has what an old patch of libpcap added.
const PCAP_HEADER: usize = 24;
const FRAME_HEADER: usize = 16;
const MODIFIED_FRAME_HEADER: usize = 24;
/// The bytes of a block of pcapng by which its length is known: type, length, and of a section its byte order.
const BLOCK_HEADER: usize = 12;
const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const BIG_ENDIAN: [u8; 4] = [0x1a, 0x2b, 0x3c, 0x4d];
const LITTLE_ENDIAN: [u8; 4] = [0x4d, 0x3c, 0x2b, 0x1a];
/// A packet as the drafts of pcapng had it until 2009.
const OBSOLETE_PACKET: u32 = 2;

/// Why there are no more packets. It names the packet that would have been next, from 1, and where it should have been.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It begins as no capture does.
    #[error("it is no capture: neither pcap nor pcapng begins so")]
    Unknown,
    /// The file ends in the middle of something.
    #[error("packet {packet}, at byte {offset}: the file ends in the middle of it")]
    Cut {
        /// The packet.
        packet: u64,
        /// Where its block begins.
        offset: u64,
    },
    /// A block is not what it says.
    #[error("packet {packet}, at byte {offset}: {why}")]
    Malformed {
        /// The packet.
        packet: u64,
        /// Where its block begins.
        offset: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// Reading failed.
    #[error("packet {packet}, at byte {offset}: the file cannot be read")]
    Read {
        /// The packet.
        packet: u64,
        /// Where its block begins.
        offset: u64,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

/// One packet, as it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What its bytes begin with.
    pub link: Link,
    /// When, since the Unix epoch; `None`: nobody noted it.
    pub at: Option<Ktime>,
    /// How long it was.
    pub len: u32,
    /// As much of it as was kept.
    pub bytes: &'a [u8],
    /// It is in a block as the drafts of pcapng had it until 2009, which is read no more.
    pub is_obsolete: bool,
}

/// A number of the list of link types (<https://www.tcpdump.org/linktypes.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link(pub u16);

/// A capture that is read from its beginning.
#[derive(Debug)]
pub struct File<R> {
    input: R,
    format: Format,
    /// The block that is looked at, as far as it was read.
    block: Vec<u8>,
    /// It was: the next one comes.
    is_done: bool,
    /// Where it begins.
    offset: u64,
    n_packets: u64,
}

#[derive(Debug)]
enum Format {
    Pcap(PcapHeader),
    Pcapng { is_big_endian: bool, interfaces: Vec<Interface> },
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: Link,
    /// Bytes of a packet that are kept; 0: all.
    snap: u32,
    /// Units of its times in a second.
    resolution: u64,
    /// Seconds to be added to its times.
    offset: i64,
}

/// A packet, and where in the block its bytes are.
struct Found {
    link: Link,
    at: Option<Ktime>,
    len: u32,
    bytes: Range<usize>,
    is_obsolete: bool,
}

impl<R: Read> File<R> {
    /// Reads what a capture begins with.
    ///
    /// # Errors
    /// [`FileError`]
    pub fn open(input: R) -> Result<Self, FileError> {
        let (block, is_done) = (Vec::new(), false);
        let format = Format::Pcapng { is_big_endian: false, interfaces: Vec::new() };
        let mut file = File { input, format, block, is_done, offset: 0, n_packets: 0 };
        if !file.fill(BLOCK_HEADER)? {
            return Err(FileError::Unknown);
        }
        if !file.block.starts_with(&SECTION) {
            file.fill(PCAP_HEADER)?;
            let (_, header) = parse_pcap_header(&file.block).map_err(|_| FileError::Unknown)?;
            file.format = Format::Pcap(header);
            file.is_done = true;
        }
        Ok(file)
    }

    /// The next packet; `None` at the end.
    ///
    /// # Errors
    /// [`FileError`]: there will be no more.
    pub fn packet(&mut self) -> Result<Option<Packet<'_>>, FileError> {
        loop {
            if self.is_done {
                self.offset += self.block.len() as u64;
                self.block.clear();
            }
            self.is_done = false;
            let found = match &self.format {
                Format::Pcap(header) => {
                    let header = header.clone();
                    self.frame(&header)?
                }
                Format::Pcapng { .. } => self.block()?,
            };
            if self.block.is_empty() {
                return Ok(None);
            }
            self.is_done = true;
            if let Some(Found { link, at, len, bytes, is_obsolete }) = found {
                self.n_packets += 1;
                let bytes = self.block.get(bytes).unwrap_or_default();
                return Ok(Some(Packet { link, at, len: len.max(bytes.len() as u32), bytes, is_obsolete }));
            }
        }
    }

    /// Packets so far.
    #[must_use]
    pub fn n_packets(&self) -> u64 {
        self.n_packets
    }

    /// The next packet of pcap; nothing is read at the end.
    fn frame(&mut self, header: &PcapHeader) -> Result<Option<Found>, FileError> {
        let before = if header.is_modified_format() { MODIFIED_FRAME_HEADER } else { FRAME_HEADER };
        if !self.fill(before)? {
            return Ok(None);
        }
        let is_big_endian = header.is_bigendian();
        let kept = self.word(8, is_big_endian) as usize;
        self.bound(kept)?;
        self.fill_all(before + kept)?;
        let parse = match (header.is_modified_format(), is_big_endian) {
            (true, _) => parse_pcap_frame_modified,
            (false, true) => parse_pcap_frame_be,
            (false, false) => parse_pcap_frame,
        };
        let (_, frame) = parse(&self.block).map_err(|_| self.malformed("it is no packet of pcap"))?;
        let unit = if header.is_nanosecond_precision() { 1 } else { 1000 };
        let at = u64::from(frame.ts_sec) * NS + u64::from(frame.ts_usec) * unit;
        // Above the type's 16 bits is how long a frame's check sequence is.
        let link = Link((header.network.0 & 0xffff) as u16);
        let (at, len, bytes) = (Some(Ktime(at)), frame.origlen, before..before + kept);
        Ok(Some(Found { link, at, len, bytes, is_obsolete: false }))
    }

    /// The next block of pcapng, and the packet in it; nothing is read at the end.
    fn block(&mut self) -> Result<Option<Found>, FileError> {
        if !self.fill(BLOCK_HEADER)? {
            return Ok(None);
        }
        if self.block.starts_with(&SECTION) {
            let is_big_endian = match self.block.get(8..12) {
                Some(order) if order == BIG_ENDIAN => true,
                Some(order) if order == LITTLE_ENDIAN => false,
                _ => return Err(self.malformed("a section whose byte order nobody knows")),
            };
            self.format = Format::Pcapng { is_big_endian, interfaces: Vec::new() };
        }
        let Format::Pcapng { is_big_endian, .. } = self.format else { return Ok(None) };
        let len = self.word(4, is_big_endian) as usize;
        self.bound(len)?;
        if len < BLOCK_HEADER || !len.is_multiple_of(4) {
            return Err(self.malformed("a block of a length that none has"));
        }
        self.fill_all(len)?;
        let parse = if is_big_endian { parse_block_be } else { parse_block_le };
        let malformed = self.malformed("a block that is not as pcapng has it");
        let Format::Pcapng { interfaces, .. } = &mut self.format else { return Ok(None) };
        let Ok((_, block)) = parse(&self.block) else { return Err(malformed) };
        let (interface, at, len, from, kept) = match &block {
            Block::InterfaceDescription(_) if interfaces.len() >= INTERFACES => {
                return Err(self.malformed("a section of more than 4096 interfaces"));
            }
            Block::InterfaceDescription(described) => {
                let interface = interface(described, is_big_endian);
                let interface =
                    interface.ok_or_else(|| self.malformed("an interface of an unknown resolution"))?;
                let Format::Pcapng { interfaces, .. } = &mut self.format else { return Ok(None) };
                interfaces.push(interface);
                return Ok(None);
            }
            Block::EnhancedPacket(packet) => {
                let at = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                (packet.if_id as usize, Some(at), packet.origlen, 28, packet.packet_data().len())
            }
            Block::SimplePacket(packet) => (0, None, packet.origlen, 12, packet.packet_data().len()),
            Block::Unknown(unknown) if unknown.block_type == OBSOLETE_PACKET => {
                let (link, at, len, bytes) = (Link(0), None, 0, 0..0);
                return Ok(Some(Found { link, at, len, bytes, is_obsolete: true }));
            }
            _ => return Ok(None),
        };
        let Some(&interface) = interfaces.get(interface) else {
            return Err(self.malformed("a packet of an interface that is not described"));
        };
        // Of a simple packet only the interface tells how much of it was kept.
        let kept = match interface.snap {
            snap @ 1.. if at.is_none() => kept.min(snap as usize),
            _ => kept,
        };
        Ok(Some(Found {
            link: interface.link,
            at: at.map(|at| interface.time(at)),
            len,
            bytes: from..from + kept,
            is_obsolete: false,
        }))
    }

    /// A number of the block, which has it.
    fn word(&self, at: usize, is_big_endian: bool) -> u32 {
        let bytes = self.block.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        if is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    fn bound(&self, len: usize) -> Result<(), FileError> {
        if len > LONGEST { Err(self.malformed("it says that it has more than 16 MiB")) } else { Ok(()) }
    }

    fn malformed(&self, why: &'static str) -> FileError {
        FileError::Malformed { packet: self.n_packets + 1, offset: self.offset, why }
    }

    /// Reads until the block has so many bytes; it does not where the file ends before it.
    fn fill_all(&mut self, n: usize) -> Result<(), FileError> {
        let is_there = self.fill(n)?;
        let cut = FileError::Cut { packet: self.n_packets + 1, offset: self.offset };
        if is_there { Ok(()) } else { Err(cut) }
    }

    /// The same; where there is nothing at all, that is the end.
    fn fill(&mut self, n: usize) -> Result<bool, FileError> {
        let missing = n.saturating_sub(self.block.len());
        let read = Read::take(&mut self.input, missing as u64).read_to_end(&mut self.block);
        let (packet, offset) = (self.n_packets + 1, self.offset);
        read.map_err(|source| FileError::Read { packet, offset, source })?;
        match self.block.len() {
            0 => Ok(false),
            len if len < n && self.n_packets + self.offset > 0 => Err(FileError::Cut { packet, offset }),
            len => Ok(len >= n),
        }
    }
}

impl Interface {
    /// Saturates at the ends of time.
    fn time(&self, at: u64) -> Ktime {
        let (seconds, rest) = (at / self.resolution, at % self.resolution);
        let ns = u128::from(rest) * u128::from(NS) / u128::from(self.resolution);
        let seconds = i128::from(seconds) + i128::from(self.offset);
        let ns = seconds * i128::from(NS) + ns as i128;
        Ktime(u64::try_from(ns.max(0)).unwrap_or(u64::MAX))
    }
}

/// `None`: its times are of no resolution that a number can say.
fn interface(described: &InterfaceDescriptionBlock<'_>, is_big_endian: bool) -> Option<Interface> {
    let option = |code: OptionCode| described.options.iter().find(|option| option.code == code);
    let resolution = match option(OptionCode::IfTsresol).and_then(|option| option.value.first()) {
        None => 1_000_000,
        Some(power @ 0..=19) => 10u64.pow(u32::from(*power)),
        Some(power @ 0x80..=0xbf) => 1 << (power & 0x3f),
        Some(_) => return None,
    };
    let offset = option(OptionCode::IfTsoffset).and_then(|option| option.value.first_chunk::<8>());
    let read = if is_big_endian { i64::from_be_bytes } else { i64::from_le_bytes };
    Some(Interface {
        link: Link((described.linktype.0 & 0xffff) as u16),
        snap: described.snaplen,
        resolution,
        offset: offset.map_or(0, |offset| read(*offset)),
    })
}
