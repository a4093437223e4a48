//! What user space tells the kernel of a connection: how much of it to copy, and which class its bytes are.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Not judged yet.
pub const CLASS_OPEN: u8 = 0;
/// A parser reads it.
pub const CLASS_PARSED: u8 = 1;
/// TLS.
pub const CLASS_ENCRYPTED: u8 = 2;
/// No protocol in the table knows it.
pub const CLASS_UNCLASSIFIED: u8 = 3;
/// The configuration leaves it out.
pub const CLASS_EXCLUDED: u8 = 4;
/// A path of MPTCP.
pub const CLASS_MPTCP: u8 = 5;
/// How many classes there are.
pub const CLASSES: u32 = 6;

/// `budget` of a direction that is copied whole.
pub const BUDGET_ALL: u32 = u32::MAX;

/// `skips` bit: `skip_until[INGRESS]` holds.
pub const SKIP_INGRESS: u8 = 1;
/// `skips` bit: `skip_until[EGRESS]` holds.
pub const SKIP_EGRESS: u8 = 2;

/// Key of `VERDICTS` is `Head::id`; key of `ENDPOINTS` an [`Endpoint`], whose verdict is where new
/// connections start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Verdict {
    /// Bytes to copy of each turn, by direction (`INGRESS`, `EGRESS`). A turn begins when data changes direction.
    pub budget: [u32; 2],
    /// Sequence number by direction: payload before it needs no record. Compared as RFC 1982 serial numbers, so it
    /// is at most 2³¹ − 1 ahead.
    pub skip_until: [u32; 2],
    /// Which `skip_until` hold: `SKIP_…`, or-ed.
    pub skips: u8,
    /// One of `CLASS_…`.
    pub class: u8,
    /// Role for a connection that was met in the middle, else `ROLE_UNKNOWN`.
    pub role: u8,
    /// Explicit padding.
    pub pad: u8,
}

/// A server as its peers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Endpoint {
    /// The server's address (IPv4 mapped), or zero: any address of ours.
    pub addr: [u8; 16],
    /// The server's port, host order.
    pub port: u16,
    /// Role of the observed side: `ROLE_CLIENT` or `ROLE_SERVER`.
    pub role: u8,
    /// Explicit padding.
    pub pad: u8,
}

const _: () = assert!(size_of::<Verdict>() == 20);
const _: () = assert!(size_of::<Endpoint>() == 20);
