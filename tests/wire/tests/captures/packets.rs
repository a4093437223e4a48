//! Packets that a test may change, and what becomes of them.

use sidecar_core::{
    config::Config,
    model::Ktime,
    replay::{File, FileError, Link, Packet, Replay},
};

/// A packet of a capture.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Owned {
    pub(crate) link: Link,
    pub(crate) at: Option<Ktime>,
    pub(crate) len: u32,
    pub(crate) bytes: Vec<u8>,
}

/// Of Ethernet with IP: where the headers of IP and TCP begin, and TCP's payload.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) ip: usize,
    tcp: usize,
    payload: usize,
}

impl Owned {
    pub(crate) fn lend(&self) -> Packet<'_> {
        Packet { link: self.link, at: self.at, len: self.len, bytes: &self.bytes, is_obsolete: false }
    }

    /// Captures here come from loopback: Ethernet, IP without options, TCP (or UDP, over IPv4).
    pub(crate) fn layout(&self) -> Layout {
        let ip = 14;
        let tcp = ip + if self.bytes[12] == 0x08 { usize::from(self.bytes[ip] & 15) * 4 } else { 40 };
        Layout { ip, tcp, payload: tcp + usize::from(self.bytes[tcp + 12] >> 4) * 4 }
    }

    /// Bytes of TCP's payload, which may come in any pieces.
    pub(crate) fn payload(&self) -> usize {
        if self.is_datagram() { 0 } else { self.bytes.len() - self.layout().payload }
    }

    /// UDP: it comes whole.
    pub(crate) fn is_datagram(&self) -> bool {
        self.bytes[self.layout().ip + 9] == 17
    }

    /// Without what comes before `from` and from `to` on of its payload, as if it had been sent so.
    pub(crate) fn piece(&self, from: usize, to: usize) -> Owned {
        let Layout { ip, tcp, payload } = self.layout();
        let mut bytes = self.bytes[..payload].to_vec();
        bytes.extend(&self.bytes[payload + from..payload + to]);
        let seq = u32::from_be_bytes(bytes[tcp + 4..tcp + 8].try_into().expect("4 bytes"));
        bytes[tcp + 4..tcp + 8].copy_from_slice(&seq.wrapping_add(from as u32).to_be_bytes());
        let at = if bytes[12] == 0x08 { ip + 2 } else { ip + 4 };
        let len = bytes.len() - if bytes[12] == 0x08 { ip } else { ip + 40 };
        bytes[at..at + 2].copy_from_slice(&(len as u16).to_be_bytes());
        if to < self.payload() {
            // FIN comes with the last byte.
            bytes[tcp + 13] &= !1;
        }
        Owned { len: bytes.len() as u32, bytes, ..self.clone() }
    }

    /// With other bytes of payload.
    pub(crate) fn with(&self, other: impl Fn(u8) -> u8) -> Owned {
        let mut with = self.clone();
        let payload = if self.is_datagram() { self.bytes.len() } else { self.layout().payload };
        with.bytes[payload..].iter_mut().for_each(|byte| *byte = other(*byte));
        with
    }

    /// The sender's port.
    pub(crate) fn port(&self) -> u16 {
        let tcp = self.layout().tcp;
        u16::from_be_bytes([self.bytes[tcp], self.bytes[tcp + 1]])
    }
}

/// All packets of a capture, or why not.
pub(crate) fn read(bytes: &[u8]) -> Result<Vec<Owned>, FileError> {
    let mut packets = Vec::new();
    read_into(bytes, &mut packets).map(|()| packets)
}

/// Those before it breaks off, too.
pub(crate) fn read_into(bytes: &[u8], packets: &mut Vec<Owned>) -> Result<(), FileError> {
    let mut file = File::open(bytes)?;
    while let Some(Packet { link, at, len, bytes, .. }) = file.packet()? {
        packets.push(Owned { link, at, len, bytes: bytes.to_vec() });
    }
    Ok(())
}

/// What `replay` prints.
pub(crate) fn lines<'a>(packets: impl IntoIterator<Item = &'a Owned>) -> Vec<String> {
    let mut replay = Replay::new(&Config::default());
    for packet in packets {
        replay.packet(&packet.lend());
    }
    replay.finish();
    replay.take().iter().map(sidecar_core::told::Told::to_json).collect()
}
