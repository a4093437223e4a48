//! From a packet's bytes to the TCP segment or the lookup's datagram in it.

use std::net::SocketAddr;

use etherparse::{EtherType, IpNumber, LaxNetSlice, LaxSlicedPacket, TcpSlice, UdpHeaderSlice, ip_number};

use super::file::{Link, Packet};
use crate::dns;

const NULL: Link = Link(0);
const ETHERNET: Link = Link(1);
const LOOP: Link = Link(108);
const LINUX_SLL: Link = Link(113);
const LINUX_SLL2: Link = Link(276);
/// RAW, and what systems write instead of it; IPV4 and IPV6.
const IP: [Link; 5] = [Link(12), Link(14), Link(101), Link(228), Link(229)];
/// `AF_INET` and `AF_INET6` wherever there is a loopback of this kind.
const FAMILIES: [u32; 5] = [2, 10, 24, 28, 30];
const SLL_HEADER: usize = 16;
const SLL2_HEADER: usize = 20;
/// TCP's option of MPTCP (RFC 8684 section 3).
const MPTCP: u8 = 30;

/// Why a packet says nothing to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOut {
    /// Its link type is none of those that are read.
    Link(Link),
    /// It is no IP.
    NotIp,
    /// It is neither TCP nor a datagram from or to a name server.
    NotRead,
    /// A fragment that is not a datagram's first: what it carries is missing.
    Fragment,
    /// So little of it was kept that its headers are not whole.
    Short,
    /// Its headers are not what they say.
    Malformed,
    /// See [`Packet::is_obsolete`].
    Obsolete,
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carried<'a> {
    Tcp(Tcp<'a>),
    Udp(Udp<'a>),
}

/// A datagram of UDP from or to a name server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Udp<'a> {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    /// Bytes of payload that were sent.
    pub(super) len: u32,
    /// As many of them as were kept.
    pub(super) bytes: &'a [u8],
}

/// A segment of TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tcp<'a> {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) seq: u32,
    pub(super) ack: Option<u32>,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
    /// It has an option of MPTCP.
    pub(super) mptcp: bool,
    /// Bytes of payload that were sent.
    pub(super) len: u32,
    /// As many of them as were kept.
    pub(super) bytes: &'a [u8],
}

/// What is in a packet.
pub(super) fn carried<'a>(packet: &Packet<'a>) -> Result<Carried<'a>, LeftOut> {
    let bytes = packet.bytes;
    let of_type = |at: usize, header: usize| {
        let (number, rest) = (bytes.get(at..at + 2), bytes.get(header..));
        let number = number.and_then(|number| number.try_into().ok()).map(u16::from_be_bytes);
        let (number, rest) = number.zip(rest).ok_or(LeftOut::Short)?;
        Ok(LaxSlicedPacket::from_ether_type(EtherType(number), rest))
    };
    let of_ip = |bytes: &'a [u8]| match bytes.first().map(|first| first >> 4) {
        None => Err(LeftOut::Short),
        Some(4) => Ok(LaxSlicedPacket::from_ether_type(EtherType::IPV4, bytes)),
        Some(6) => Ok(LaxSlicedPacket::from_ether_type(EtherType::IPV6, bytes)),
        Some(_) => Err(LeftOut::NotIp),
    };
    let sliced = match packet.link {
        ETHERNET => LaxSlicedPacket::from_ethernet(bytes).map_err(|_| LeftOut::Short)?,
        LINUX_SLL => of_type(SLL_HEADER - 2, SLL_HEADER)?,
        LINUX_SLL2 => of_type(0, SLL2_HEADER)?,
        NULL | LOOP => {
            let (family, rest) = bytes.split_first_chunk::<4>().ok_or(LeftOut::Short)?;
            // In the byte order of whoever captured.
            let family = u32::from_be_bytes(*family).min(u32::from_le_bytes(*family));
            if !FAMILIES.contains(&family) {
                return Err(LeftOut::NotIp);
            }
            of_ip(rest)?
        }
        link if IP.contains(&link) => of_ip(bytes)?,
        link => return Err(LeftOut::Link(link)),
    };
    transport(packet, &sliced)
}

fn transport<'a>(packet: &Packet<'a>, sliced: &LaxSlicedPacket<'a>) -> Result<Carried<'a>, LeftOut> {
    // How long it says that it is, from the IP header on; `None`: it leaves that to the frame.
    let (from, to, header, fragment, payload, told) = match &sliced.net {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            let told = Some(usize::from(header.total_len())).filter(|told| *told > 0);
            let fragment = (header.fragments_offset().value() > 0, header.more_fragments());
            let ends = (header.source_addr().into(), header.destination_addr().into());
            (ends.0, ends.1, header.slice().as_ptr(), fragment, ip.payload(), told)
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            let told = Some(usize::from(header.payload_length())).filter(|told| *told > 0);
            let extensions = ip.extensions();
            let fragment = fragment(extensions.first_header(), extensions.slice());
            let ends = (header.source_addr().into(), header.destination_addr().into());
            let told = told.map(|told| told + header.slice().len());
            (ends.0, ends.1, header.slice().as_ptr(), fragment.unwrap_or_default(), ip.payload(), told)
        }
        Some(LaxNetSlice::Arp(_)) => return Err(LeftOut::NotIp),
        None if sliced.stop_err.is_some() => return Err(broken(packet)),
        None => return Err(LeftOut::NotIp),
    };
    let (is_later, is_cut) = fragment;
    if is_later {
        return Err(LeftOut::Fragment);
    }
    // Where segments are cut by the network card (TSO), what was captured is longer than IP can say.
    let before = (header as usize).wrapping_sub(packet.bytes.as_ptr() as usize);
    let told = told.unwrap_or_else(|| (packet.len as usize).saturating_sub(before));
    let sent = |bytes: &[u8]| {
        let headers = (bytes.as_ptr() as usize).wrapping_sub(header as usize);
        u32::try_from(told.saturating_sub(headers).max(bytes.len())).unwrap_or(u32::MAX)
    };
    match payload.ip_number {
        ip_number::TCP => {
            let tcp = TcpSlice::from_slice(payload.payload).map_err(|_| broken(packet))?;
            let bytes = tcp.payload();
            Ok(Carried::Tcp(Tcp {
                from: SocketAddr::new(from, tcp.source_port()),
                to: SocketAddr::new(to, tcp.destination_port()),
                seq: tcp.sequence_number(),
                ack: tcp.ack().then(|| tcp.acknowledgment_number()),
                syn: tcp.syn(),
                // It comes after what the other fragments carry.
                fin: tcp.fin() && !is_cut,
                rst: tcp.rst(),
                mptcp: has_option(tcp.options(), MPTCP),
                len: sent(bytes),
                bytes,
            }))
        }
        ip_number::UDP => {
            let udp = UdpHeaderSlice::from_slice(payload.payload).map_err(|_| broken(packet))?;
            let ports = (udp.source_port(), udp.destination_port());
            if ![ports.0, ports.1].contains(&dns::PORT) {
                return Err(LeftOut::NotRead);
            }
            let bytes = &payload.payload[udp.slice().len()..];
            // By its own word, which the first of its fragments has of all; a frame may be padded behind it.
            let len = usize::from(udp.length()).checked_sub(udp.slice().len());
            let len = len.ok_or(LeftOut::Malformed)?;
            let bytes = &bytes[..bytes.len().min(len)];
            let (from, to) = (SocketAddr::new(from, ports.0), SocketAddr::new(to, ports.1));
            Ok(Carried::Udp(Udp { from, to, len: u32::try_from(len).unwrap_or(u32::MAX), bytes }))
        }
        _ => Err(LeftOut::NotRead),
    }
}

/// Of IPv6's headers between, that of a fragment: whether others come before it, and after it. Not by `etherparse`'s
/// iterator, which reads past the end where the last of them was cut off (0.21).
fn fragment(first: Option<IpNumber>, mut bytes: &[u8]) -> Option<(bool, bool)> {
    let mut number = first?;
    loop {
        let &[next, length, high, low, ..] = bytes else { return None };
        let length = usize::from(length);
        let header = match number {
            ip_number::IPV6_FRAG => return Some((high > 0 || low >= 8, low & 1 == 1)),
            ip_number::IPV6_HOP_BY_HOP | ip_number::IPV6_ROUTE | ip_number::IPV6_DEST_OPTIONS => {
                8 * (length + 1)
            }
            ip_number::AUTH => 4 * (length + 2),
            _ => return None,
        };
        (number, bytes) = (IpNumber(next), bytes.get(header..)?);
    }
}

/// Headers that are not whole: there is more of them that was not kept, or there is not.
fn broken(packet: &Packet<'_>) -> LeftOut {
    if packet.bytes.len() < packet.len as usize { LeftOut::Short } else { LeftOut::Malformed }
}

/// Whether an option is among those of a TCP header (RFC 9293 section 3.1).
fn has_option(mut options: &[u8], wanted: u8) -> bool {
    loop {
        match options {
            [0, ..] | [] => return false,
            [1, rest @ ..] => options = rest,
            [kind, ..] if *kind == wanted => return true,
            [_, len, ..] => match options.get(usize::from(*len).max(2)..) {
                Some(rest) => options = rest,
                None => return false,
            },
            [_] => return false,
        }
    }
}
