//! From a `__sk_buff` of a `cgroup_skb` program to the TCP segment in it.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext, bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes, programs::SkBuffContext,
};
use sidecar_ebpf::abi::{count as slot, record::Peers};

use crate::count;

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const PSH: u8 = 8;

const TCP: u8 = 6;
const IPV4_LEN: u32 = 20;
const IPV6_LEN: u32 = 40;

/// One TCP segment; a GSO or GRO packet counts as one.
pub(crate) struct Segment {
    /// Sequence number of the first payload byte.
    pub(crate) seq: u32,
    /// Acknowledgement number.
    pub(crate) ack: u32,
    /// Payload bytes.
    pub(crate) len: u32,
    /// Where the payload begins in the packet.
    pub(crate) offset: u32,
    /// Where the TCP header begins.
    pub(crate) tcp: u32,
    /// Which IP version: 4 or 6.
    pub(crate) version: u8,
    /// TCP flags.
    pub(crate) flags: u8,
}

/// Reads the headers; `None` (counted, unless it is not TCP) where they cannot be followed.
#[inline(always)]
pub(crate) fn segment(ctx: &SkBuffContext) -> Option<Segment> {
    // An IPv4 and a TCP header without options, or an IPv6 header: 40 bytes are always there.
    let mut head = [0u8; 40];
    let skb = ctx.skb.skb;
    load(skb, 0, &mut head)?;
    let version = head[0] >> 4;
    let (tcp, bytes) = if version == 4 {
        if head[9] != TCP {
            return None;
        }
        if (head[6] & 0x3f) | head[7] != 0 {
            count::add(slot::HEADERS, 1);
            return None;
        }
        let len = u32::from(head[0] & 0xf) * 4;
        if len == IPV4_LEN {
            let mut bytes = [0u8; 14];
            bytes.copy_from_slice(&head[20..34]);
            (len, bytes)
        } else {
            let mut bytes = [0u8; 14];
            load(skb, len, &mut bytes)?;
            (len, bytes)
        }
    } else if version == 6 {
        let tcp = after_extensions(skb, head[6])?;
        let mut bytes = [0u8; 14];
        load(skb, tcp, &mut bytes)?;
        (tcp, bytes)
    } else {
        count::add(slot::HEADERS, 1);
        return None;
    };
    let seq = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    let ack = u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
    let flags = bytes[13];
    let offset = tcp + u32::from(bytes[12] >> 4) * 4;
    // Not the IP header's own length: it is zero in packets past 64 KiB.
    // SAFETY: the verifier allows reads of `len` in every program of this type.
    let total = unsafe { (*skb).len };
    if offset > total {
        count::add(slot::HEADERS, 1);
        return None;
    }
    // SYN takes a sequence number of its own (RFC 9293, 3.4).
    let seq = if flags & SYN != 0 { seq.wrapping_add(1) } else { seq };
    Some(Segment { seq, ack, len: total - offset, offset, tcp, version, flags })
}

/// Addresses and ports of an incoming segment, into `ends` that are all zero: there is little room on the stack.
#[inline(always)]
pub(crate) fn ingress_ends(ctx: &SkBuffContext, segment: &Segment, ends: &mut Peers) -> Option<()> {
    let skb = ctx.skb.skb;
    let (local, remote) = (&mut ends.local_addr, &mut ends.remote_addr);
    if segment.version == 4 {
        (remote[10], remote[11], local[10], local[11]) = (0xff, 0xff, 0xff, 0xff);
        load::<4>(skb, 12, remote.last_chunk_mut()?)?;
        load::<4>(skb, 16, local.last_chunk_mut()?)?;
    } else {
        load(skb, 8, remote)?;
        load(skb, 24, local)?;
    }
    let mut ports = [0u8; 4];
    load(skb, segment.tcp, &mut ports)?;
    ends.remote_port = u16::from_be_bytes([ports[0], ports[1]]);
    ends.local_port = u16::from_be_bytes([ports[2], ports[3]]);
    Some(())
}

/// Where TCP begins after at most four IPv6 extension headers (RFC 8200, 4).
#[inline(always)]
fn after_extensions(skb: *mut __sk_buff, first: u8) -> Option<u32> {
    let (mut next, mut at) = (first, IPV6_LEN);
    for _ in 0..4 {
        match next {
            TCP => return Some(at),
            // hop-by-hop, routing, destination options: next header, length in 8 bytes less one
            0 | 43 | 60 => {
                let mut bytes = [0u8; 2];
                load(skb, at, &mut bytes)?;
                next = bytes[0];
                at += (u32::from(bytes[1]) + 1) * 8;
            }
            17 | 58 => return None,
            _ => break,
        }
    }
    if next == TCP {
        return Some(at);
    }
    count::add(slot::HEADERS, 1);
    None
}

#[inline(always)]
fn load<const N: usize>(skb: *mut __sk_buff, offset: u32, into: &mut [u8; N]) -> Option<()> {
    let to = into.as_mut_ptr().cast::<c_void>();
    // SAFETY: `into` has N bytes; the kernel checks the packet's bounds.
    let failed = unsafe { bpf_skb_load_bytes(skb.cast(), offset, to, N as u32) } != 0;
    if failed {
        count::add(slot::HEADERS, 1);
        return None;
    }
    Some(())
}

/// The context as the helpers take it.
#[inline(always)]
pub(crate) fn raw(ctx: &SkBuffContext) -> *mut c_void {
    ctx.as_ptr()
}
