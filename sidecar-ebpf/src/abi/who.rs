//! The value of the `WHO` socket storage: who made a socket. It is cloned to accepted sockets.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Made by the daemon itself: never observed.
pub const OWN: u32 = 1;
/// A process made it, and lets go of it: the kernel's own sockets, an MPTCP connection's paths among them, know neither.
pub const MADE: u32 = 2;

/// Who made a socket. All zero where it is older than the programs.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Who {
    /// cgroup v2 id of the process.
    pub cgroup: u64,
    /// Network namespace cookie.
    pub netns: u64,
    /// Thread group id in the initial PID namespace.
    pub tgid: u32,
    /// `ROLE_…` of `abi::record`, as far as the socket's calls have shown it.
    pub role: u32,
    /// `OWN`, `MADE`, or-ed.
    pub flags: u32,
    /// Explicit padding.
    pub pad: u32,
}

const _: () = assert!(size_of::<Who>() == 32);
