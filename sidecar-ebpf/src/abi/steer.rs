//! What the programs at `connect()` are told, and what they leave at a socket.
//!
//! A *rule* says which service a destination is of, a *service* what is done about a connection, a *table* which *target*
//! gets it. Rules and services are there twice, in two banks: user space writes the one that nobody reads, then
//! [`Steer::bank`] moves, so that a connection is decided by the old plan or by the new one. Tables and targets are never
//! written while a bank that is read leads to them, but for one thing: a table's places may be dealt anew among the targets
//! that it has (weights, ejections).
//!
//! Addresses are IPv6, IPv4 ones mapped (RFC 4291, 2.5.5.2); ports are in host order.

pub use super::results::*;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Banks of `RULES` and `SERVICES`.
pub const BANKS: u32 = 2;
/// Listeners of each family: so many times the ephemeral ports reach one destination through the relay.
pub const LISTENERS: usize = 8;

/// The single entry of `STEER`. Only user space writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Steer {
    /// The bank that holds.
    pub bank: u32,
    /// 0: nothing is steered.
    pub is_on: u32,
    /// The daemon's last sign of life, `CLOCK_MONOTONIC`, ns.
    pub beat_ns: u64,
    /// Without one for so long it is taken to hang, ns, at most [`i64::MAX`]. 0: nobody looks.
    pub patience_ns: u64,
    /// Cookie of the network namespace that has the listeners.
    pub netns: u64,
    /// Ports of the relay's listeners on 127.0.0.1 and on ::1. One that is not there is 0, and then so are those of its
    /// family behind it.
    pub listeners: [[u16; 2]; LISTENERS],
}

impl Steer {
    /// Whether the daemon is taken to hang at `now`. The sign of life may be younger than that: user space gives one between
    /// a program's look at the clock and its look here.
    #[inline(always)]
    pub const fn is_late(&self, now: u64) -> bool {
        self.patience_ns != 0 && now.wrapping_sub(self.beat_ns).cast_signed() > self.patience_ns.cast_signed()
    }
}

/// Key of `RULES`, a trie: behind the length of the prefix in bits, which is [`RULE_EXACT`] and that of the network.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RuleKey {
    /// Which bank's.
    pub bank: u8,
    /// 4 or 6, so that no IPv6 network has IPv4 addresses in it; and [`RULE_INBOUND`] where connections come in. Or
    /// [`RULE_USER`] or [`RULE_FILE`].
    pub family: u8,
    /// Port of the destination; 0: any. Where it is no network's, id of a service.
    pub port: u16,
    /// The network's address: of destinations, of those who come in. Or a user's id, big-endian, and zeros; or a file's
    /// number in eight bytes, its file system's in four, and in the last four its generation, where that is known.
    pub addr: [u8; 16],
}

/// [`RuleKey::family`]: for connections that come in.
pub const RULE_INBOUND: u8 = 8;
/// [`RuleKey::family`]: users whom a service leaves alone.
pub const RULE_USER: u8 = 16;
/// [`RuleKey::family`]: executable files whose processes a service leaves alone.
pub const RULE_FILE: u8 = 32;
/// Bits of a [`RuleKey`] before the address: all of them count.
pub const RULE_EXACT: u32 = 32;

/// Value of `RULES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Rule {
    /// Id of a service.
    pub service: u32,
    /// Which of two rules holds, that for the port and that for any: the lower.
    pub place: u16,
    /// `RULE_…`, or-ed.
    pub flags: u16,
}

/// `Rule::flags`: the service's connections, but not these.
pub const RULE_EXCEPTION: u16 = 1;
/// `Rule::flags`: nobody has the address. Of the service [`NO_SERVICE`] it is where no name has it either.
pub const RULE_VIRTUAL: u16 = 2;

/// The endpoint is written at `connect()`.
pub const GEAR_DIRECT: u8 = 1;
/// The connection goes to the relay.
pub const GEAR_PROXY: u8 = 2;
/// There is no connection.
pub const GEAR_DENY: u8 = 3;

/// The better of two places of the table.
pub const BALANCE_LEAST: u8 = 0;
/// Any place of the table.
pub const BALANCE_RANDOM: u8 = 1;
/// The table's place by the client's process; this and 1 its user, and 2 its cgroup, and 3 the address that it bound.
pub const BALANCE_HASH: u8 = 2;

/// While the daemon is gone, connections go where they asked.
pub const GONE_OPEN: u8 = 0;
/// While the daemon is gone, connections that need it are refused.
pub const GONE_CLOSED: u8 = 1;

/// `Service::flags`: it has endpoints of its own; else a relay dials what was asked for.
pub const SERVICE_ENDPOINTS: u8 = 1;
/// `Service::flags`: it leaves users alone.
pub const SERVICE_USERS: u8 = 2;
/// `Service::flags`: its endpoints are not known yet, and its first connection is waited for.
pub const SERVICE_WAITS: u8 = 4;
/// `Service::flags`: it leaves processes of executable files alone.
pub const SERVICE_FILES: u8 = 8;

/// Key of `SERVICES`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ServiceKey {
    /// Which bank's.
    pub bank: u32,
    /// Id of the service.
    pub service: u32,
}

/// A stretch of `TABLE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Table {
    /// Where it begins.
    pub first: u32,
    /// How long it is; 0: no target.
    pub len: u32,
}

/// Value of `SERVICES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Service {
    /// One of `GEAR_…`.
    pub gear: u8,
    /// One of `BALANCE_…`.
    pub balance: u8,
    /// One of `GONE_…`.
    pub gone: u8,
    /// `SERVICE_…`, or-ed.
    pub flags: u8,
    /// Connections at a time; 0: any number.
    pub connections: u32,
    /// Targets of IPv4, and of IPv6.
    pub tables: [Table; 2],
    /// Between two connections at the rate that is allowed, ns; 0: any rate.
    pub spacing_ns: u64,
    /// How far a burst may run ahead of that, ns.
    pub burst_ns: u64,
}

/// No target, where one is told.
pub const NO_TARGET: u32 = u32::MAX;
/// No service, where one is told.
pub const NO_SERVICE: u32 = u32::MAX;

/// Entry of `TARGETS`: one endpoint of one service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Target {
    /// Where it is.
    pub addr: [u8; 16],
    /// Its port.
    pub port: u16,
    /// Id of the service that it is of.
    pub service: u16,
    /// What a connection more costs there: the better of two is the one with the lower product of this and its connections.
    pub cost: u32,
    /// What it was told to weigh, whatever the table makes of that. For the next daemon.
    pub weight: u16,
    /// `TARGET_…`. For the next daemon.
    pub flags: u16,
}

/// The endpoint is one of its service's, with places in the table or without.
pub const TARGET_WANTED: u16 = 1;
/// It is in the daemon's zone, or nobody said which zone that is.
pub const TARGET_NEAR: u16 = 1 << 1;

/// The endpoint was written.
pub const VERDICT_DIRECT: u8 = 1;
/// It went to the relay.
pub const VERDICT_PROXIED: u8 = 2;
/// It went where it asked.
pub const VERDICT_PASSED: u8 = 3;
/// It was refused.
pub const VERDICT_DENIED: u8 = 4;

/// By its service's gear.
pub const REASON_GEAR: u8 = 0;
/// No rule has its destination.
pub const REASON_NO_RULE: u8 = 1;
/// An exception of the service: what was asked for, or who asks.
pub const REASON_EXCEPTION: u8 = 2;
/// No listener of the daemon is in the socket's network namespace.
pub const REASON_NETNS: u8 = 3;
/// The socket is bound to a device.
pub const REASON_DEVICE: u8 = 4;
/// The service has no endpoint, or none of the socket's address family.
pub const REASON_NO_ENDPOINT: u8 = 5;
/// The daemon shows no sign of life.
pub const REASON_DAEMON: u8 = 6;
/// As many connections as are allowed are open.
pub const REASON_CONNECTIONS: u8 = 7;
/// Connections come faster than is allowed.
pub const REASON_RATE: u8 = 8;
/// Not TCP, and not denied.
pub const REASON_PROTOCOL: u8 = 9;
/// Socket storage could not be had (out of memory).
pub const REASON_MEMORY: u8 = 10;
/// A question of the DNS: the daemon answers.
pub const REASON_DNS: u8 = 11;
/// More resolvers are asked than are told apart.
pub const REASON_RESOLVERS: u8 = 12;
/// The service begins with its first use: its endpoints are not known yet.
pub const REASON_FIRST_USE: u8 = 13;
/// It came from an address of this network namespace itself. (Only user space says so.)
pub const REASON_LOCAL: u8 = 14;
/// How many reasons there are.
pub const REASONS: usize = 15;
/// How many verdicts there are, and one place before them.
pub const VERDICTS: usize = 5;

/// Where `DECISIONS`, a per-CPU array, counts a verdict and its reason, of what goes out or of what comes in.
#[must_use]
#[inline(always)]
pub const fn decision(is_inbound: bool, verdict: u8, reason: u8) -> u32 {
    let verdict = is_inbound as u32 * VERDICTS as u32 + verdict as u32 % VERDICTS as u32;
    verdict * REASONS as u32 + reason as u32 % REASONS as u32
}

/// How many entries `DECISIONS` has.
pub const DECISIONS: u32 = 2 * (VERDICTS * REASONS) as u32;
/// How many addresses of its own a network namespace may have for `OWN` to have them all.
pub const OWN_ADDRESSES: u32 = 4096;

/// Entry of `USES`, by the service's id: what goes on at a service, through all plans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Use {
    /// The kernel's spin lock.
    pub lock: u32,
    /// Connections that hold a place.
    pub active: u32,
    /// When the rate allows the next connection (the theoretical arrival time of ITU-T I.371's GCRA), ns.
    pub next_ns: u64,
}

/// Where `SERVED`, a per-CPU array, counts a verdict on a service's connection.
#[must_use]
#[inline(always)]
pub const fn served(service: u32, verdict: u8) -> u32 {
    service.wrapping_mul(VERDICTS as u32).wrapping_add(verdict as u32 % VERDICTS as u32)
}

/// Where `SERVED` counts connections of [`REASON_FIRST_USE`]: in the place before all verdicts.
#[must_use]
#[inline(always)]
pub const fn first_uses(service: u32) -> u32 {
    served(service, 0)
}

/// `Steered::holds`: a place among the service's connections, and its target's.
pub const HOLDS_PLACE: u16 = 1;
/// `Steered::holds`: an entry of `HANDOVER`.
pub const HOLDS_ENTRY: u16 = 2;
/// `Steered::holds`: a place that it takes when its SYN is sent.
pub const HOLDS_CLAIM: u16 = 4;
/// `Steered::holds`: its SYN is sent, so that its end will be told.
pub const HOLDS_CALLBACK: u16 = 8;

/// What was decided of a socket: its storage `STEERED`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Steered {
    /// What `connect()` was given.
    pub asked: [u8; 16],
    /// Id of the service, or `NO_SERVICE`.
    pub service: u32,
    /// Which of `TARGETS`, or `NO_TARGET`.
    pub target: u32,
    /// What `connect()` was given.
    pub port: u16,
    /// One of `VERDICT_…`; 0: nothing was decided yet.
    pub verdict: u8,
    /// One of `REASON_…`.
    pub reason: u8,
    /// `HOLDS_…`, or-ed. Changed under the service's lock.
    pub holds: u16,
    /// 1: the peer's RST came in.
    pub is_reset: u16,
}

/// Key of `HANDOVER`: a connection to the relay, as its client's socket has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Pair {
    /// Network namespace cookie.
    pub netns: u64,
    /// The client's address.
    pub client: [u8; 16],
    /// The client's port.
    pub client_port: u16,
    /// The listener's port. (Its address is loopback's, of the client's family.)
    pub listener_port: u16,
    /// Explicit padding.
    pub pad: u32,
}

/// Who really comes in, at the relay's socket to the application (`CLIENT`), on the way there (`ARRIVALS`), and at the socket
/// that the application accepts (`ARRIVED`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Client {
    /// Its address.
    pub addr: [u8; 16],
    /// Its port.
    pub port: u16,
    /// Id of the service that let it in, or [`NO_INBOUND`].
    pub service: u16,
    /// Explicit padding.
    pub pad: u32,
}

/// No service, at a [`Client`].
pub const NO_INBOUND: u16 = u16::MAX;

/// What the relay is told of an accepted socket: value of `HANDOVER`, then the socket's storage `HANDED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Handed {
    /// Cookie of the client's socket.
    pub cookie: u64,
    /// What the client asked for.
    pub asked: [u8; 16],
    /// Where it is to go: an endpoint, else what was asked for.
    pub to: [u8; 16],
    /// Id of the service.
    pub service: u32,
    /// What the client asked for.
    pub asked_port: u16,
    /// Where it is to go.
    pub to_port: u16,
}

const _: () = assert!(size_of::<Steer>() == 64);
const _: () = assert!(size_of::<RuleKey>() == 20);
const _: () = assert!(size_of::<Rule>() == 8);
const _: () = assert!(size_of::<ServiceKey>() == 8);
const _: () = assert!(size_of::<Service>() == 40);
const _: () = assert!(size_of::<Target>() == 28);
const _: () = assert!(size_of::<Use>() == 16);
const _: () = assert!(size_of::<Steered>() == 32);
const _: () = assert!(size_of::<Pair>() == 32);
const _: () = assert!(size_of::<Client>() == 24);
const _: () = assert!(size_of::<Handed>() == 48);
