//! Slots of `COUNTS`, the per-CPU array of counters that do not depend on any record's arrival.

use super::{record, verdict};

/// Payload bytes by role, class and direction, from the sockets' own `rcv_nxt` and `snd_nxt`: see [`bytes`].
/// Moved from one class to another when a verdict comes, so single slots may go down (by wrapping addition over
/// CPUs); their sum does not.
pub const BYTES: u32 = 0;
const BYTES_N: u32 = record::ROLES * verdict::CLASSES * 2;
/// Connections established, by role.
pub const OPENED: u32 = BYTES + BYTES_N;
/// Connections closed, by role.
pub const CLOSED: u32 = OPENED + record::ROLES;
/// Segments sent again, by role.
pub const RETRANSMITS: u32 = CLOSED + record::ROLES;
/// Connection attempts that failed, by reason (`record::FAILED_…`).
pub const FAILED: u32 = RETRANSMITS + record::ROLES;
/// Records submitted.
pub const RECORDS: u32 = FAILED + record::FAILURES;
/// Payload bytes copied into records.
pub const COPIED: u32 = RECORDS + 1;
/// Records not written because the ring was full.
pub const RING_FULL: u32 = COPIED + 1;
/// Payload could not be read from the packet (`bpf_skb_load_bytes` failed).
pub const UNREADABLE: u32 = RING_FULL + 1;
/// Packets whose IP or TCP header could not be followed: fragments, more than four IPv6 extension headers.
pub const HEADERS: u32 = UNREADABLE + 1;
/// Socket storage could not be had (out of memory).
pub const NO_STORAGE: u32 = HEADERS + 1;
/// Connections first met in the middle.
pub const JOINED: u32 = NO_STORAGE + 1;
/// How many slots there are.
pub const SLOTS: u32 = JOINED + 1;

/// The slot of `BYTES` for one role (`ROLE_…`), class (`CLASS_…`) and direction (`INGRESS`, `EGRESS`).
#[must_use]
#[inline(always)]
pub const fn bytes(role: u8, class: u8, dir: u8) -> u32 {
    BYTES
        + ((role as u32 % record::ROLES) * verdict::CLASSES + (class as u32 % verdict::CLASSES)) * 2
        + (dir as u32 & 1)
}
