//! A `__sk_buff` of a `cgroup_skb` program, and the TCP segment in it.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock, bpf_tcp_sock},
    helpers::generated::{bpf_skb_load_bytes, bpf_tcp_sock},
    programs::SkBuffContext,
};
use sidecar_ebpf::abi::{
    count as slot,
    record::{FLAG_FIN, FLAG_PSH, FLAG_RST, INGRESS, Peers},
};

use crate::count;

pub(crate) const FIN: u32 = 1;
pub(crate) const SYN: u32 = 2;
pub(crate) const RST: u32 = 4;
pub(crate) const PSH: u32 = 8;
const FLAGS: u32 = 0x1f;

/// The bits of [`Packet::bits`] that say what to do about the segment.
pub(crate) const HELD_IN: u32 = 1 << 16;
pub(crate) const HELD_OUT: u32 = 1 << 17;
/// Much comes that a verdict may spare: do not wait for the reader's pace.
pub(crate) const URGENT: u32 = 1 << 18;

const STATE_SHIFT: u32 = 24;

/// TCP's option of that kind.
pub(crate) const MPTCP: u8 = 30;

const TCP: u8 = 6;
const UDP: u8 = 17;
const IPV4_LEN: u32 = 20;
const IPV6_LEN: u32 = 40;

/// A packet with one TCP segment; a GSO or GRO packet counts as one.
///
/// What is known of the segment lies in the packet's own `cb`, which the kernel keeps for the run of one program
/// (`bpf_prog_run_save_cb` in include/linux/filter.h): nobody else sees it, and unlike the stack it takes no barrier
/// against speculation with each write (`nospec_result` in kernel/bpf/verifier.c).
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Packet(*mut __sk_buff);

macro_rules! words {
    ($($(#[$doc:meta])* $get:ident, $set:ident = $at:literal;)*) => {
        $(
            $(#[$doc])*
            #[inline(always)]
            pub(crate) fn $get(self) -> u32 {
                // SAFETY: every program of this type may read `cb`.
                unsafe { (&raw const (*self.0).cb[$at]).read_volatile() }
            }

            #[inline(always)]
            pub(crate) fn $set(self, value: u32) {
                // SAFETY: every program of this type may write `cb`.
                unsafe { (&raw mut (*self.0).cb[$at]).write_volatile(value) }
            }
        )*
    };
}

/// The socket as TCP's, if it is one and a full one.
#[inline(always)]
pub(crate) fn tcp(sk: *mut bpf_sock) -> Option<*mut bpf_tcp_sock> {
    // SAFETY: the verifier proved `sk` a socket.
    let tcp = unsafe { bpf_tcp_sock(sk) };
    if tcp.is_null() { None } else { Some(tcp) }
}

impl Packet {
    words! {
        /// Sequence number of the first payload byte.
        seq, set_seq = 0;
        /// Where the payload begins in the packet.
        offset, set_offset = 1;
        /// Acknowledgement number: until the decision.
        ack, set_ack = 2;
        /// After the decision: report the segment from this payload byte on; `u32::MAX`: not at all. What lies before it
        /// was seen, and a verdict wants no record of it.
        from, set_from = 2;
        /// Copy so many bytes of it.
        copy, set_copy = 3;
        /// TCP flags, the socket's state, and what is to be done.
        bits, set_bits = 4;
    }

    #[inline(always)]
    pub(crate) fn of(ctx: &SkBuffContext) -> Self {
        Self(ctx.skb.skb)
    }

    /// The context as the helpers take it.
    #[inline(always)]
    pub(crate) fn raw(self) -> *mut c_void {
        self.0.cast()
    }

    /// Its socket, of any kind.
    #[inline(always)]
    pub(crate) fn socket(self) -> Option<*mut bpf_sock> {
        // SAFETY: `sk` may be read in every program of this type.
        let sk = unsafe { (*self.0).__bindgen_anon_2.sk };
        if sk.is_null() { None } else { Some(sk) }
    }

    /// Payload bytes from [`offset`](Self::offset) on.
    #[inline(always)]
    pub(crate) fn len(self) -> u32 {
        // SAFETY: `len` may be read in every program of this type. It is not the IP header's own length: that is zero in
        // packets past 64 KiB.
        unsafe { (&raw const (*self.0).len).read_volatile() }.wrapping_sub(self.offset())
    }

    #[inline(always)]
    pub(crate) fn has(self, bits: u32) -> bool {
        self.bits() & bits != 0
    }

    #[inline(always)]
    pub(crate) fn mark(self, bits: u32) {
        self.set_bits(self.bits() | bits);
    }

    /// The socket's state when the segment came.
    #[inline(always)]
    pub(crate) fn state(self) -> u32 {
        self.bits() >> STATE_SHIFT
    }

    /// As in a record's head. Without branches: the verifier would walk what follows for each.
    #[inline(always)]
    pub(crate) fn record_flags(self) -> u8 {
        const { assert!(FLAG_FIN as u32 == FIN && FLAG_RST as u32 * 2 == RST && FLAG_PSH as u32 * 2 == PSH) }
        let bits = self.bits();
        (bits & FIN | bits >> 1 & u32::from(FLAG_RST | FLAG_PSH)) as u8
    }

    /// Reads the headers; `None` (counted, unless it is not TCP) where they cannot be followed.
    ///
    /// By helper: 5.10 lets nobody without CAP_PERFMON compare a packet's pointers.
    #[inline(always)]
    pub(crate) fn read(self, state: u32) -> Option<()> {
        // An IPv4 and a TCP header without options, or an IPv6 header: 40 bytes are always there.
        let mut bytes = Bytes::<40>::UNSET;
        self.load(0, &mut bytes)?;
        // No options, no fragment: most packets by far.
        if bytes.at(0) == 0x45 && bytes.at(9) == TCP && (bytes.at(6) & 0x3f) | bytes.at(7) == 0 {
            return self.note(&bytes, IPV4_LEN as usize, IPV4_LEN, state);
        }
        if self.read_slowly(state) { Some(()) } else { None }
    }

    /// Takes over what the TCP header says that begins `at` in `bytes`, and `tcp` in the packet.
    #[inline(always)]
    fn note<const N: usize>(self, bytes: &Bytes<N>, at: usize, tcp: u32, state: u32) -> Option<()> {
        let offset = tcp + u32::from(bytes.at(at + 12) >> 4) * 4;
        // SAFETY: `len` may be read in every program of this type.
        if offset > unsafe { (&raw const (*self.0).len).read_volatile() } {
            count::add(slot::HEADERS, 1);
            return None;
        }
        let flags = u32::from(bytes.at(at + 13)) & FLAGS;
        // SYN takes a sequence number of its own (RFC 9293, 3.4).
        self.set_seq(bytes.word(at + 4).wrapping_add(flags >> 1 & 1));
        self.set_ack(bytes.word(at + 8));
        self.set_offset(offset);
        self.set_bits(flags | state << STATE_SHIFT);
        Some(())
    }

    /// The same for every packet there may be.
    #[inline(never)]
    fn read_slowly(self, state: u32) -> bool {
        self.follow()
            .and_then(|tcp| {
                let mut bytes = Bytes::<14>::UNSET;
                self.load(tcp, &mut bytes)?;
                self.note(&bytes, 0, tcp, state)
            })
            .is_some()
    }

    /// Where the TCP header begins.
    #[inline(always)]
    fn follow(self) -> Option<u32> {
        // An IPv4 header without options; an IPv6 one is longer.
        let mut ip = Bytes::<20>::UNSET;
        self.load(0, &mut ip)?;
        match ip.at(0) >> 4 {
            4 if ip.at(9) != TCP => None,
            4 if (ip.at(6) & 0x3f) | ip.at(7) == 0 => Some(u32::from(ip.at(0) & 0xf) * 4),
            6 => self.after_extensions(ip.at(6)),
            _ => {
                count::add(slot::HEADERS, 1);
                None
            }
        }
    }

    /// Where TCP begins after at most four IPv6 extension headers (RFC 8200, 4).
    #[inline(always)]
    fn after_extensions(self, first: u8) -> Option<u32> {
        let (mut next, mut at) = (first, IPV6_LEN);
        for _ in 0..4 {
            match next {
                TCP => return Some(at),
                // hop-by-hop, routing, destination options: next header, length in 8 bytes less one
                0 | 43 | 60 => {
                    let mut bytes = Bytes::<2>::UNSET;
                    self.load(at, &mut bytes)?;
                    next = bytes.at(0);
                    at += (u32::from(bytes.at(1)) + 1) * 8;
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

    /// Has it MPTCP's option where Linux puts it, first or after the time stamps (`tcp_options_write` in
    /// net/ipv4/tcp_output.c)?
    #[inline(always)]
    pub(crate) fn is_mptcp(self) -> bool {
        let has = |tcp: u32| {
            let mut options = Bytes::<14>::UNSET;
            self.load(tcp + 20, &mut options)?;
            let after = if options.at(0) == 1 && options.at(2) == 8 { 12 } else { 0 };
            let kind = if after == 0 { options.at(0) } else { options.at(12) };
            (tcp + 20 + after < self.offset()).then_some(kind == MPTCP)
        };
        self.follow().and_then(has).unwrap_or(false)
    }

    /// Reads the headers of a datagram, of its first fragment where it comes in several; `None` where it is none. Then
    /// [`seq`](Self::seq) is its ports, the source's first, and [`ack`](Self::ack) its payload's true length.
    #[inline(always)]
    pub(crate) fn read_datagram(self) -> Option<()> {
        let udp = self.follow_udp()?;
        let mut bytes = Bytes::<8>::UNSET;
        self.load(udp, &mut bytes)?;
        self.set_seq(bytes.word(0));
        self.set_ack((bytes.word(4) >> 16).wrapping_sub(8));
        self.set_offset(udp + 8);
        Some(())
    }

    /// Where the UDP header begins.
    #[inline(always)]
    fn follow_udp(self) -> Option<u32> {
        let mut ip = Bytes::<20>::UNSET;
        self.load(0, &mut ip)?;
        match ip.at(0) >> 4 {
            4 if ip.at(9) == UDP && (ip.at(6) & 0x1f) | ip.at(7) == 0 => Some(u32::from(ip.at(0) & 0xf) * 4),
            6 => self.udp_after_extensions(ip.at(6)),
            _ => None,
        }
    }

    /// Where UDP begins after at most four IPv6 extension headers, a first fragment's among them (RFC 8200, 4).
    #[inline(always)]
    fn udp_after_extensions(self, first: u8) -> Option<u32> {
        let (mut next, mut at) = (first, IPV6_LEN);
        for _ in 0..4 {
            if next == UDP {
                return Some(at);
            }
            if !matches!(next, 0 | 43 | 44 | 60) {
                return None;
            }
            let mut bytes = Bytes::<4>::UNSET;
            self.load(at, &mut bytes)?;
            if next == 44 && bytes.at(2) | (bytes.at(3) & 0xf8) != 0 {
                return None;
            }
            at += if next == 44 { 8 } else { (u32::from(bytes.at(1)) + 1) * 8 };
            next = bytes.at(0);
        }
        if next == UDP {
            return Some(at);
        }
        count::add(slot::HEADERS, 1);
        None
    }

    /// It is of IPv6; where the headers could be read.
    #[inline(always)]
    pub(crate) fn is_v6(self) -> bool {
        let mut version = Bytes::<1>::UNSET;
        self.load(0, &mut version).is_some() && version.at(0) >> 4 == 6
    }

    /// Both addresses of a packet in direction `DIR`. `ends` is all zero.
    #[inline(always)]
    pub(crate) fn addresses<const DIR: usize>(self, ends: &mut Peers) -> Option<()> {
        let (source, to) = if DIR == INGRESS as usize {
            (&mut ends.remote_addr, &mut ends.local_addr)
        } else {
            (&mut ends.local_addr, &mut ends.remote_addr)
        };
        let mut version = Bytes::<1>::UNSET;
        self.load(0, &mut version)?;
        if version.at(0) >> 4 == 4 {
            (source[10], source[11], to[10], to[11]) = (0xff, 0xff, 0xff, 0xff);
            self.load_to(12, source[12..].as_mut_ptr(), 4)?;
            self.load_to(16, to[12..].as_mut_ptr(), 4)
        } else {
            self.load_to(8, source.as_mut_ptr(), 16)?;
            self.load_to(24, to.as_mut_ptr(), 16)
        }
    }

    /// The other side's address is the loopback's, of a packet in direction `DIR`.
    #[inline(always)]
    pub(crate) fn is_from_loopback<const DIR: usize>(self, is_v6: bool) -> bool {
        let at = if DIR == INGRESS as usize { 0 } else { 1 };
        if is_v6 {
            let mut address = Bytes::<16>::UNSET;
            self.load(8 + at * 16, &mut address).is_some()
                && address.word(0) | address.word(4) | address.word(8) == 0
                && address.word(12) == 1
        } else {
            let mut address = Bytes::<4>::UNSET;
            self.load(12 + at * 4, &mut address).is_some() && address.word(0) == 0x7f00_0001
        }
    }

    /// Addresses and ports of an incoming segment. `ends` is all zero.
    #[inline(always)]
    pub(crate) fn ingress_ends(self, ends: *mut Peers) -> Option<()> {
        // SAFETY: the caller's pointer is to a record in the ring.
        let ends = unsafe { &mut *ends };
        let tcp = self.follow()?;
        self.addresses::<{ INGRESS as usize }>(ends)?;
        let mut ports = Bytes::<4>::UNSET;
        self.load(tcp, &mut ports)?;
        ends.remote_port = u16::from_be_bytes([ports.at(0), ports.at(1)]);
        ends.local_port = u16::from_be_bytes([ports.at(2), ports.at(3)]);
        Some(())
    }

    #[inline(always)]
    fn load<const N: usize>(self, offset: u32, into: &mut Bytes<N>) -> Option<()> {
        self.load_to(offset, into.0.as_mut_ptr().cast(), N as u32)
    }

    #[inline(always)]
    fn load_to(self, offset: u32, to: *mut u8, n: u32) -> Option<()> {
        // SAFETY: the callers' pointers have `n` bytes; the kernel checks the packet's bounds.
        let failed = unsafe { bpf_skb_load_bytes(self.raw(), offset, to.cast(), n) } != 0;
        if failed {
            count::add(slot::HEADERS, 1);
            return None;
        }
        Some(())
    }
}

/// Bytes that a helper fills: to set them before would take writes to the stack.
struct Bytes<const N: usize>(core::mem::MaybeUninit<[u8; N]>);

impl<const N: usize> Bytes<N> {
    const UNSET: Self = Self(core::mem::MaybeUninit::uninit());

    /// One of them, after a helper has filled them.
    #[inline(always)]
    fn at(&self, at: usize) -> u8 {
        // SAFETY: the verifier refuses to read what is not set; the callers' places are constants below N.
        unsafe { self.0.as_ptr().cast::<u8>().add(at).read_volatile() }
    }

    /// Four of them, in the network's order.
    #[inline(always)]
    fn word(&self, at: usize) -> u32 {
        u32::from_be_bytes([self.at(at), self.at(at + 1), self.at(at + 2), self.at(at + 3)])
    }
}
