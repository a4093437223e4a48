//! What travels through the `EVENTS` ring, kernel to user space: a [`Head`], then what its [`Kind`] says.
//!
//! | kind            | after the head                                         |
//! |-----------------|--------------------------------------------------------|
//! | `KIND_DATA`     | `copied` payload bytes                                 |
//! | `KIND_LISTEN`   | a [`Peers`], then `copied` payload bytes               |
//! | `KIND_OPEN`     | an [`Opened`]                                          |
//! | `KIND_CLOSE`    | an [`Account`]                                         |
//! | `KIND_FAILED`   | an [`Opened`]; the reason is in `Head::len`            |
//! | `KIND_ACCOUNT`  | an [`Account`]                                         |
//! | `KIND_DENIED`   | an [`Opened`] with the other side as it was asked for  |
//! | `KIND_DATAGRAM` | a [`Peers`], then `copied` payload bytes               |
//!
//! A ring record may be longer than its content: data records come with room for one of [`ROOMS`] bytes.

use super::steer::{Client, Steered};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// TCP payload of an established connection, or the news that some was not copied.
pub const KIND_DATA: u8 = 1;
/// TCP payload before its connection was told of: it reached the listening socket, or a SYN carried it (RFC 7413).
pub const KIND_LISTEN: u8 = 2;
/// A connection is established, or (with [`FLAG_JOINED`]) was first met in the middle. `Head::len` is how long
/// `connect()` took from the first SYN on, µs; 0 where that was not seen.
pub const KIND_OPEN: u8 = 3;
/// A connection's socket reached `TCP_CLOSE`.
pub const KIND_CLOSE: u8 = 4;
/// A `connect()` that never reached `ESTABLISHED`.
pub const KIND_FAILED: u8 = 5;
/// A connection that goes on: what its socket has counted so far.
pub const KIND_ACCOUNT: u8 = 6;
/// A `connect()` that was refused at once. Not of each: they must not crowd out what else there is to tell.
pub const KIND_DENIED: u8 = 7;
/// A datagram to or from port 53. `Head::len` is its payload's true length, `Head::id` its socket's cookie; what the head has of
/// connections only is 0. Where the daemon answers, the other side is who was asked.
pub const KIND_DATAGRAM: u8 = 8;
/// So many refused connections a second are told of, by each CPU.
pub const DENIALS_PER_SECOND: u64 = 100;

/// Direction of [`Head::dir`]: from the network to the application.
pub const INGRESS: u8 = 0;
/// Direction of [`Head::dir`]: from the application to the network.
pub const EGRESS: u8 = 1;

/// The segment carried FIN: `seq + len` ends its direction.
pub const FLAG_FIN: u8 = 1;
/// The segment carried RST, or (on `KIND_CLOSE`) one was seen or sent.
pub const FLAG_RST: u8 = 2;
/// The segment carried PSH.
pub const FLAG_PSH: u8 = 4;
/// The connection is older than the programs: its beginning was not seen.
pub const FLAG_JOINED: u8 = 8;

/// The connection is a path of MPTCP (RFC 8684): its bytes may stand in it twice, or in part in another.
pub const FLAG_MPTCP: u8 = 16;

/// Neither end of the connection is known to have called `connect()` or `listen()`.
pub const ROLE_UNKNOWN: u8 = 0;
/// The socket called `connect()`.
pub const ROLE_CLIENT: u8 = 1;
/// The socket came out of a listening one.
pub const ROLE_SERVER: u8 = 2;
/// How many roles there are.
pub const ROLES: u32 = 3;

/// `Head::len` of `KIND_FAILED`: the peer answered with RST (`ECONNREFUSED`).
pub const FAILED_REFUSED: u32 = 0;
/// `Head::len` of `KIND_FAILED`: the retransmission limit passed (`ETIMEDOUT`).
pub const FAILED_TIMEOUT: u32 = 1;
/// `Head::len` of `KIND_FAILED`: the application closed the socket first.
pub const FAILED_CANCELLED: u32 = 2;
/// `Head::len` of `KIND_FAILED`: an ICMP error ended it (`EHOSTUNREACH`, `ENETUNREACH`).
pub const FAILED_UNREACHABLE: u32 = 3;
/// How many reasons there are.
pub const FAILURES: u32 = 4;

/// `Account::end` of `KIND_CLOSE`: FIN both ways.
pub const END_ORDERLY: u32 = 0;
/// `Account::end` of `KIND_CLOSE`: the peer sent RST.
pub const END_RECEIVED: u32 = 1;
/// `Account::end` of `KIND_CLOSE`: the socket sent RST (unread data, `SO_LINGER`, keep-alive).
pub const END_SENT: u32 = 2;
/// `Account::end` of `KIND_CLOSE`: the peer acknowledged nothing until the retransmission limit passed.
pub const END_EXPIRED: u32 = 3;
/// How many ends that are not orderly there are.
pub const RESETS: u32 = 3;

/// Stands in [`Head::id`] above every cookie: those are counted up from 1, and down from 2⁶⁴ − 1.
pub const AGAIN: u64 = 1 << 48;

/// Room for payload, in bytes, that a data record is reserved with: `bpf_ringbuf_reserve` wants a constant.
pub const ROOMS: [usize; 8] = [256, 1024, 2048, 4096, 8192, 16384, 32768, 65536];

/// The beginning of every record.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Head {
    /// `CLOCK_MONOTONIC`, ns: when the program ran.
    pub at_ns: u64,
    /// The connection: its socket's cookie, plus [`AGAIN`] for each one that the socket was before; 0 on `KIND_LISTEN`.
    pub id: u64,
    /// TCP sequence number of the first byte that the record stands for.
    pub seq: u32,
    /// How many payload bytes the record stands for, copied or not.
    pub len: u32,
    /// Everything before this sequence number is settled and will not be seen again: `rcv_nxt` (ingress) or
    /// `snd_nxt` (egress) when the program ran.
    pub edge: u32,
    /// How many of the `len` bytes, counted from the first, follow in the record.
    pub copied: u32,
    /// One of `KIND_…`.
    pub kind: u8,
    /// `INGRESS` or `EGRESS`.
    pub dir: u8,
    /// One of `ROLE_…`.
    pub role: u8,
    /// `FLAG_…`, or-ed.
    pub flags: u8,
    /// Bytes of this direction that lie before `seq`, were seen, and were by a verdict's `skip_until` not reported.
    pub skipped: u32,
    /// Egress sequence number up to which the peer has acknowledged when it last had acknowledged everything that was
    /// sent; FIN's own number not counted.
    pub drained: u32,
    /// When it did, in units of 1024 ns: the low 32 bits.
    pub drained_at: u32,
    /// When the application first read from the socket after the last payload that came in (`CLOCK_MONOTONIC`, ns). 0: it
    /// has not, or nobody looks for it.
    pub read_at: u64,
}

/// Who talks to whom. Addresses are IPv6, IPv4 ones mapped (RFC 4291, 2.5.5.2); ports are in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Peers {
    /// The application's side.
    pub local_addr: [u8; 16],
    /// The other side.
    pub remote_addr: [u8; 16],
    /// The application's side.
    pub local_port: u16,
    /// The other side.
    pub remote_port: u16,
    /// Thread group id in the initial PID namespace, 0 if not known.
    pub tgid: u32,
    /// cgroup v2 id of the process that made the socket, 0 if not known.
    pub cgroup: u64,
    /// Network namespace cookie, 0 if not known.
    pub netns: u64,
    /// Sequence number of the next byte to come in when the connection was met.
    pub in_seq: u32,
    /// Sequence number of the next byte to go out when the connection was met.
    pub out_seq: u32,
}

/// A connection, or a client's attempt at one.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Opened {
    /// Who talks to whom.
    pub peers: Peers,
    /// What was decided at `connect()`; all zero where nothing was.
    pub steered: Steered,
    /// Whoever came in by way of the relay, which is the other side then; all zero where nobody did.
    pub client: Client,
}

/// The socket's own account.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Account {
    /// Payload bytes received and acknowledged since the connection was met.
    pub in_bytes: u64,
    /// Payload bytes sent since the connection was met.
    pub out_bytes: u64,
    /// Segments sent again since then (`tcp_sock::total_retrans`).
    pub retransmits: u32,
    /// Smoothed round-trip time, µs; 0 where there was nothing to measure it by.
    pub srtt_us: u32,
    /// The class (`CLASS_…` of `abi::verdict`) under which `TRAFFIC` has its bytes: a verdict may have come too late.
    pub class: u32,
    /// On `KIND_CLOSE` one of `END_…`, else 0.
    pub end: u32,
}

const _: () = assert!(size_of::<Head>() == 56);
const _: () = assert!(size_of::<Peers>() == 64);
const _: () = assert!(size_of::<Opened>() == 120);
const _: () = assert!(size_of::<Account>() == 32);
