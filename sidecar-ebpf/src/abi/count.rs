//! `TRAFFIC` and `COUNTS`, per-CPU arrays: what does not depend on any record's arrival.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{record, verdict};

/// An entry of `TRAFFIC`: the payload of all connections of one role and class ([`traffic`]), from the sockets' own
/// `rcv_nxt`, `snd_nxt` and `total_retrans`. When a verdict changes a connection's class its bytes move to another
/// entry, so a single one may go down (by wrapping addition over the CPUs); their sum does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Traffic {
    /// Payload bytes by direction (`INGRESS`, `EGRESS`).
    pub bytes: [u64; 2],
    /// Segments sent again.
    pub retransmits: u64,
}

/// How many entries `TRAFFIC` has.
pub const TRAFFIC: u32 = record::ROLES * verdict::CLASSES;

/// Connections established, by role.
pub const OPENED: u32 = 0;
/// Connections closed, by role.
pub const CLOSED: u32 = OPENED + record::ROLES;
/// Connection attempts that failed, by reason (`record::FAILED_…`).
pub const FAILED: u32 = CLOSED + record::ROLES;
/// Connections that did not end by FIN both ways: [`reset`].
pub const RESET: u32 = FAILED + record::FAILURES;
/// Records not written because the ring was full.
pub const RING_FULL: u32 = RESET + record::ROLES * record::RESETS;
/// Payload bytes that were not copied because the ring was crowded.
pub const SHED: u32 = RING_FULL + 1;
/// Payload could not be read from the packet (`bpf_skb_load_bytes` failed).
pub const UNREADABLE: u32 = SHED + 1;
/// Packets whose IP or TCP header, or a datagram's, could not be followed: fragments, more than four IPv6 extension headers.
pub const HEADERS: u32 = UNREADABLE + 1;
/// Socket storage could not be had (out of memory).
pub const NO_STORAGE: u32 = HEADERS + 1;
/// Connections first met in the middle.
pub const JOINED: u32 = NO_STORAGE + 1;
/// Refused connections that no record tells of, as others were told of or the ring was crowded.
pub const UNTOLD: u32 = JOINED + 1;
/// How many slots `COUNTS` has.
pub const SLOTS: u32 = UNTOLD + 1;

/// The slot of `COUNTS` for a role (`ROLE_…`) and an end (`END_…`) that is not orderly.
#[must_use]
#[inline(always)]
pub const fn reset(role: u8, end: u32) -> u32 {
    RESET + (role as u32 % record::ROLES) * record::RESETS + (end - 1) % record::RESETS
}

/// The entry of `TRAFFIC` for a role (`ROLE_…`) and class (`CLASS_…`).
#[must_use]
#[inline(always)]
pub const fn traffic(role: u8, class: u8) -> u32 {
    (role as u32 % record::ROLES) * verdict::CLASSES + class as u32 % verdict::CLASSES
}

const _: () = assert!(size_of::<Traffic>() == 24);
