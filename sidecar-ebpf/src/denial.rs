//! Connections that are refused never open: their records are of a kind of their own, and fewer than they may be.

use aya_ebpf::{
    EbpfContext, bindings::bpf_sock, helpers::generated::bpf_get_socket_cookie, programs::SockAddrContext,
};
use sidecar_ebpf::abi::{
    count as slot,
    record::{DENIALS_PER_SECOND, Head, KIND_DENIED, Opened, ROLE_CLIENT},
};

use crate::{
    count, emit,
    maps::{DENIALS, WHO},
    steer::{self, words},
};

const SECOND: u64 = 1_000_000_000;

/// What one CPU has told of within a second.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Denials {
    since_ns: u64,
    n: u64,
}

/// `KIND_DENIED`, as what was decided of the socket says. Nobody is woken for it: an application that tries again and again
/// must not make the daemon work.
#[inline(never)]
pub(crate) fn tell(ctx: &SockAddrContext, sk: *mut bpf_sock) {
    let now = emit::now();
    if emit::is_crowded() || !is_due(now) {
        count::add(slot::UNTOLD, 1);
        return;
    }
    let (who, Some(steered)) = (WHO.get_raw(sk), steer::of(sk)) else { return };
    // SAFETY: helper without preconditions.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    let Some(record) = emit::reserve::<{ emit::OPENED }>() else { return };
    // SAFETY: `record` has room for a head and a body, which have no invalid values.
    unsafe { record.cast::<[u64; emit::OPENED / 8]>().write_bytes(0, 1) };
    // SAFETY: as above.
    let (head, opened) =
        unsafe { (&mut *record.cast::<Head>(), &mut *record.byte_add(size_of::<Head>()).cast::<Opened>()) };
    (head.at_ns, head.id) = (now, cookie);
    (head.kind, head.role) = (KIND_DENIED, ROLE_CLIENT);
    emit::decide(&mut opened.steered, steered);
    emit::note(&mut opened.peers, who);
    // SAFETY: the verifier proved `steered`.
    let (asked, port) = unsafe { (words(&(*steered).asked), (*steered).port) };
    emit::put(&mut opened.peers.remote_addr, asked);
    opened.peers.remote_port = port;
    emit::submit_quietly(record);
}

/// Whether this CPU may tell of one more. Whoever interrupts it may make that one more or less.
#[inline(always)]
fn is_due(now: u64) -> bool {
    let Some(told) = DENIALS.get_ptr_mut(0) else { return false };
    // SAFETY: the verifier proved it.
    let told = unsafe { &mut *told };
    if now.wrapping_sub(told.since_ns) > SECOND {
        (told.since_ns, told.n) = (now, 0);
    }
    told.n += 1;
    told.n <= DENIALS_PER_SECOND
}
