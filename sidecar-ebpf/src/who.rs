//! `WHO`: learned in the context of the process that makes, binds or connects a socket.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::bpf_sock,
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{bpf_get_current_cgroup_id, bpf_get_netns_cookie},
    },
};
use sidecar_ebpf::abi::{
    control::Control,
    record,
    who::{MADE, OWN},
};

use crate::maps::{CONTROL, WHO};

/// Notes who the current process is, on a socket that has no `WHO` yet; raises the role if `role` is one.
#[inline(always)]
pub(crate) fn note(ctx: *mut c_void, sk: *mut bpf_sock, role: u32) {
    note_as(ctx, sk, role, is_daemon);
}

/// The same for programs that outlive the daemon, where they are pinned. For them nobody is the daemon: its number may be
/// another's by then, and while it lives `sk_create` has noted its sockets before.
#[inline(always)]
pub(crate) fn note_stranger(ctx: *mut c_void, sk: *mut bpf_sock, role: u32) {
    note_as(ctx, sk, role, |_| false);
}

#[inline(always)]
fn is_daemon(tgid: u32) -> bool {
    matches!(control(), Some(control) if control.own_tgid == tgid)
}

#[inline(always)]
fn note_as(ctx: *mut c_void, sk: *mut bpf_sock, role: u32, is_own: impl FnOnce(u32) -> bool) {
    let who = match WHO.get(sk) {
        Some(who) => who,
        None => {
            // Made all zero and filled in place: a copy on the stack would take barriers. Nobody else has the socket yet,
            // or it is older than the programs and whoever reads it in between finds that nothing is known.
            let Some(who) = WHO.get_or_zero(sk) else { return };
            let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
            let own = is_own(tgid);
            // SAFETY: helpers without preconditions in these program types.
            let (cgroup, netns) = unsafe { (bpf_get_current_cgroup_id(), bpf_get_netns_cookie(ctx)) };
            // SAFETY: the verifier proved the pointer.
            let who = unsafe { &mut *who };
            (who.cgroup, who.netns, who.tgid) = (cgroup, netns, tgid);
            who.flags = if own { OWN } else { 0 };
            who
        }
    };
    if role != u32::from(record::ROLE_UNKNOWN) {
        // SAFETY: the verifier proved the pointer; racing writers write the same value.
        unsafe { (*who).role = role };
    }
}

/// The role that the socket's calls have shown, and whether it is the daemon's own.
#[inline(always)]
pub(crate) fn of(sk: *mut bpf_sock) -> (u32, bool) {
    match WHO.get(sk) {
        // SAFETY: the verifier proved the pointer.
        Some(who) => unsafe { ((*who).role, (*who).flags & OWN != 0) },
        None => (0, false),
    }
}

/// A process makes the socket.
#[inline(always)]
pub(crate) fn made(sk: *mut bpf_sock) {
    if let Some(who) = WHO.get(sk) {
        // SAFETY: the verifier proved the pointer; nobody else has the socket yet.
        unsafe { (*who).flags |= MADE };
    }
}

/// Whether a process is known to have made the socket.
#[inline(always)]
pub(crate) fn is_made(sk: *mut bpf_sock) -> bool {
    // SAFETY: the verifier proved the pointer.
    WHO.get(sk).is_some_and(|who| unsafe { (*who).flags & MADE != 0 })
}

/// User space's settings.
#[inline(always)]
pub(crate) fn control() -> Option<&'static Control> {
    CONTROL.get(0)
}
