//! What the programs that catch questions of the DNS are told, and what they leave for whoever answers.
//!
//! Each *resolver* that an application asks has a number, and of the daemon's sockets that one which has it is sent the
//! question: so the daemon knows whom was asked, and the answer's source says it to the programs. Nothing is kept per socket.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The port of the DNS.
pub const DNS_PORT: u16 = 53;
/// Resolvers that are told apart.
pub const RESOLVERS: usize = 16;

/// The single entry of `DNS`. Only user space writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Dns {
    /// 0: nothing is caught.
    pub is_on: u32,
    /// Explicit padding.
    pub pad: u32,
    /// By the resolver's number.
    pub ports: [Ports; RESOLVERS],
}

/// The daemon's sockets for one resolver, on 127.0.0.1 and on ::1. One that is not there is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ports {
    /// UDP.
    pub udp: [u16; 2],
    /// TCP.
    pub tcp: [u16; 2],
}

/// The single entry of `NUMBERING`: how many resolvers have a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Numbering {
    /// The kernel's spin lock.
    pub lock: u32,
    /// The next number.
    pub next: u32,
}

/// Key of `ANSWERERS`, whose values are numbers of resolvers: one of our ports.
#[must_use]
#[inline(always)]
pub const fn answerer(is_v6: bool, port: u16) -> u64 {
    (is_v6 as u64) << 16 | port as u64
}

const _: () = assert!(size_of::<Dns>() == 136);
const _: () = assert!(size_of::<Numbering>() == 8);
