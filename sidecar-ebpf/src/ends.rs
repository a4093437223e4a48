//! Both ends of a socket's connection. IPv4 addresses come mapped (RFC 4291, 2.5.5.2), in two words of eight bytes.

use core::hint::black_box;

use aya_ebpf::bindings::bpf_sock;

const AF_INET: u32 = 2;
/// Third word of an IPv4-mapped address.
const MAPPED: u32 = 0xffff_u32.to_be();

/// Reads a field of a socket. Volatile, and all of both families: else LLVM computes the address of one field or another
/// and reads once, and the verifier says "pointer arithmetic on sock prohibited".
macro_rules! read {
    ($sk:expr, $($field:tt)+) => {
        // SAFETY: the verifier proved `$sk` a socket whose ends may be read.
        unsafe { (&raw const (*$sk).$($field)+).read_volatile() }
    };
}

/// The application's address.
#[inline(always)]
pub(crate) fn local(sk: *mut bpf_sock) -> [u64; 2] {
    let v4 = words([0, 0, MAPPED, read!(sk, src_ip4)]);
    let v6 = [read!(sk, src_ip6[0]), read!(sk, src_ip6[1]), read!(sk, src_ip6[2]), read!(sk, src_ip6[3])];
    if read!(sk, family) == AF_INET { v4 } else { words(v6) }
}

/// What a socket of IPv6 is bound to.
#[inline(always)]
pub(crate) fn bound6(sk: *mut bpf_sock) -> [u64; 2] {
    words([read!(sk, src_ip6[0]), read!(sk, src_ip6[1]), read!(sk, src_ip6[2]), read!(sk, src_ip6[3])])
}

/// The IPv4 address that a socket of IPv4, or of IPv6, is bound to; 0: none.
#[inline(always)]
pub(crate) fn bound4<const V6: bool>(sk: *mut bpf_sock) -> u64 {
    if V6 { bound6(sk)[1] >> 32 } else { u64::from(read!(sk, src_ip4)) }
}

/// All bits where `word` is 0, else none. Without a branch, which would double what a verifier looks at from there on.
#[inline(always)]
pub(crate) fn unless(word: u64) -> u64 {
    (black_box(word | word.wrapping_neg()) >> 63).wrapping_sub(1)
}

/// The other side's address.
#[inline(always)]
pub(crate) fn remote(sk: *mut bpf_sock) -> [u64; 2] {
    let v4 = words([0, 0, MAPPED, read!(sk, dst_ip4)]);
    let v6 = [read!(sk, dst_ip6[0]), read!(sk, dst_ip6[1]), read!(sk, dst_ip6[2]), read!(sk, dst_ip6[3])];
    if read!(sk, family) == AF_INET { v4 } else { words(v6) }
}

#[inline(always)]
pub(crate) fn local_port(sk: *mut bpf_sock) -> u16 {
    read!(sk, src_port) as u16
}

#[inline(always)]
pub(crate) fn remote_port(sk: *mut bpf_sock) -> u16 {
    u16::from_be(read!(sk, dst_port))
}

/// The second word of an IPv4 address.
#[inline(always)]
pub(crate) fn mapped(v4: u32) -> u64 {
    u64::from(MAPPED) | u64::from(v4) << 32
}

/// Is it an IPv4 address?
#[inline(always)]
pub(crate) fn is_mapped(addr: [u64; 2]) -> bool {
    addr[0] == 0 && addr[1] as u32 == MAPPED
}

#[inline(always)]
fn words(quarters: [u32; 4]) -> [u64; 2] {
    let word = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    [word(quarters[0], quarters[1]), word(quarters[2], quarters[3])]
}
