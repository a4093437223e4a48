//! Headers of packets that are made up: IPv4 or IPv6, then TCP or UDP. Their checksums are zero, as where a network card makes
//! them.

use std::net::{IpAddr, SocketAddr};

const TCP: u8 = 6;
const UDP: u8 = 17;
const TCP_HEADER: u16 = 20;
const UDP_HEADER: u16 = 8;
const IPV4_HEADER: u16 = 20;
const HOPS: u8 = 64;
/// Of a segment that is longer than IP can say.
const WINDOW: u16 = u16::MAX;

/// Bits of a TCP header (RFC 9293 section 3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(pub(super) u8);

impl Flags {
    pub(super) const FIN: Flags = Flags(0x01 | 0x10);
    pub(super) const SYN: Flags = Flags(0x02);
    pub(super) const SYN_ACK: Flags = Flags(0x02 | 0x10);
    pub(super) const RST: Flags = Flags(0x04 | 0x10);
    pub(super) const ACK: Flags = Flags(0x10);
    pub(super) const PUSH: Flags = Flags(0x08 | 0x10);
}

/// Headers of a segment with `len` bytes of payload.
pub(super) fn tcp(from: SocketAddr, to: SocketAddr, seq: u32, ack: u32, flags: Flags, len: u32) -> Vec<u8> {
    let mut headers = ip(from, to, TCP, u32::from(TCP_HEADER).saturating_add(len));
    headers.extend(from.port().to_be_bytes());
    headers.extend(to.port().to_be_bytes());
    headers.extend(seq.to_be_bytes());
    headers.extend(ack.to_be_bytes());
    headers.extend([(TCP_HEADER as u8 / 4) << 4, flags.0]);
    headers.extend(WINDOW.to_be_bytes());
    headers.extend([0; 4]);
    headers
}

/// Headers of a datagram with `len` bytes of payload.
pub(super) fn udp(from: SocketAddr, to: SocketAddr, len: u32) -> Vec<u8> {
    let len = u32::from(UDP_HEADER).saturating_add(len);
    let mut headers = ip(from, to, UDP, len);
    headers.extend(from.port().to_be_bytes());
    headers.extend(to.port().to_be_bytes());
    headers.extend(u16::try_from(len).unwrap_or(0).to_be_bytes());
    headers.extend([0; 2]);
    headers
}

/// An IP header; of what is longer than it can say it says 0, as where a network card cuts segments.
fn ip(from: SocketAddr, to: SocketAddr, protocol: u8, len: u32) -> Vec<u8> {
    match (from.ip().to_canonical(), to.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let len = u16::try_from(len.saturating_add(IPV4_HEADER.into())).unwrap_or(0);
            let mut header = vec![0x45, 0];
            header.extend(len.to_be_bytes());
            // Don't fragment.
            header.extend([0, 0, 0x40, 0, HOPS, protocol, 0, 0]);
            header.extend(from.octets());
            header.extend(to.octets());
            let sum = checksum(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            header
        }
        (from, to) => {
            let len = u16::try_from(len).unwrap_or(0);
            let octets = |address| match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            };
            let mut header = vec![0x60, 0, 0, 0];
            header.extend(len.to_be_bytes());
            header.extend([protocol, HOPS]);
            header.extend(octets(from));
            header.extend(octets(to));
            header
        }
    }
}

/// RFC 1071.
fn checksum(header: &[u8]) -> u16 {
    let words = header.as_chunks::<2>().0.iter().map(|word| u32::from(u16::from_be_bytes(*word)));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !(((sum & 0xffff) + (sum >> 16)) as u16)
}
