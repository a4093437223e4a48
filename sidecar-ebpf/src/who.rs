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
    who::{OWN, Who},
};

use crate::maps::{CONTROL, WHO};

/// A socket of which nothing is known.
pub(crate) const NOBODY: Who = Who { cgroup: 0, netns: 0, tgid: 0, role: 0, flags: 0, pad: 0 };

/// Notes who the current process is, on a socket that has no `WHO` yet; raises the role if `role` is one.
#[inline(always)]
pub(crate) fn note(ctx: *mut c_void, sk: *mut bpf_sock, role: u8) {
    if let Some(who) = WHO.get(sk) {
        if role != record::ROLE_UNKNOWN {
            // SAFETY: the verifier proved the pointer; racing writers write the same value.
            unsafe { (*who).role = u32::from(role) };
        }
        return;
    }
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    let own = matches!(control(), Some(control) if control.own_tgid == tgid);
    // SAFETY: helpers without preconditions in these program types.
    let (cgroup, netns) = unsafe { (bpf_get_current_cgroup_id(), bpf_get_netns_cookie(ctx)) };
    let flags = if own { OWN } else { 0 };
    let mut who = Who { cgroup, netns, tgid, role: u32::from(role), flags, pad: 0 };
    let _ = WHO.get_or(sk, &mut who);
}

/// What is known of who made the socket.
#[inline(always)]
pub(crate) fn of(sk: *mut bpf_sock) -> Who {
    match WHO.get(sk) {
        // SAFETY: the verifier proved the pointer.
        Some(who) => unsafe { *who },
        None => NOBODY,
    }
}

/// Is the socket the daemon's own?
#[inline(always)]
pub(crate) fn is_own(sk: *mut bpf_sock) -> bool {
    // SAFETY: the verifier proved the pointer.
    matches!(WHO.get(sk), Some(who) if unsafe { (*who).flags } & OWN != 0)
}

/// User space's settings.
#[inline(always)]
pub(crate) fn control() -> Option<&'static Control> {
    CONTROL.get(0)
}
