//! One file a hook. `cgroup/…` programs return 1, which lets the traffic pass; `sock_ops` programs' result is ignored.

mod cgroup_skb;
mod sock;
mod sock_addr;
mod sock_ops;

use aya_ebpf::bindings::bpf_sock;
use sidecar_ebpf::abi::{record::Peers, who::Who};

/// The verdict of every `cgroup/…` program here.
const PASS: i32 = 1;

const AF_INET: u32 = 2;
/// Third word of an IPv4-mapped address.
const MAPPED: u32 = 0xffff_u32.to_be();

/// Reads a field of a socket. Volatile: else LLVM computes the address of one field or another and reads once, and
/// the verifier says "pointer arithmetic on sock prohibited".
macro_rules! read {
    ($sk:expr, $($field:tt)+) => {
        // SAFETY: the verifier proved `$sk` a full socket, whose fields may be read.
        unsafe { (&raw const (*$sk).$($field)+).read_volatile() }
    };
}

/// Both ends of a full socket. IPv4 addresses come mapped.
#[inline(always)]
fn peers(sk: *mut bpf_sock, who: &Who) -> Peers {
    let mut peers = Peers {
        local_addr: [0; 16],
        remote_addr: [0; 16],
        local_port: read!(sk, src_port) as u16,
        remote_port: u16::from_be(read!(sk, dst_port)),
        tgid: who.tgid,
        cgroup: who.cgroup,
        netns: who.netns,
        in_seq: 0,
        out_seq: 0,
    };
    let (src_ip4, dst_ip4) = (read!(sk, src_ip4), read!(sk, dst_ip4));
    let src_ip6 =
        [read!(sk, src_ip6[0]), read!(sk, src_ip6[1]), read!(sk, src_ip6[2]), read!(sk, src_ip6[3])];
    let dst_ip6 =
        [read!(sk, dst_ip6[0]), read!(sk, dst_ip6[1]), read!(sk, dst_ip6[2]), read!(sk, dst_ip6[3])];
    let is_v4 = read!(sk, family) == AF_INET;
    put(&mut peers.local_addr, if is_v4 { [0, 0, MAPPED, src_ip4] } else { src_ip6 });
    put(&mut peers.remote_addr, if is_v4 { [0, 0, MAPPED, dst_ip4] } else { dst_ip6 });
    peers
}

#[inline(always)]
fn put(to: &mut [u8; 16], words: [u32; 4]) {
    for (to, word) in to.chunks_exact_mut(4).zip(words) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
}
