//! Reads of TCP sockets, of all that the node has.

use aya_ebpf::{bindings::bpf_sock, macros::btf_tracepoint, programs::BtfTracePointContext};
use sidecar_ebpf::abi::record::ROLE_CLIENT;

use crate::{emit, maps::CONN};

/// Runs whenever data was taken out of a socket's queue, whoever did it and by whichever call: each comes by
/// `tcp_rcv_space_adjust` (net/ipv4/tcp.c). A socket that is not observed has no state, and costs the look for it.
///
/// The lock is not taken: it would not help against a packet that was let in and is not in the queue yet.
#[btf_tracepoint(function = "tcp_rcv_space_adjust")]
pub(crate) fn tcp_read(ctx: BtfTracePointContext) -> i32 {
    if let Some(conn) = CONN.get(ctx.arg::<*mut bpf_sock>(0)) {
        // SAFETY: the verifier proved `conn` a value of the map.
        let (role, read_at) = unsafe { ((*conn).role, (*conn).read_at) };
        if role != u32::from(ROLE_CLIENT) && read_at == 0 {
            // SAFETY: as above.
            unsafe { (*conn).read_at = emit::now() };
        }
    }
    0
}
