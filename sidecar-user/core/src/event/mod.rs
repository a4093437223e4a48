//! Records of the `EVENTS` ring to events: the one place that knows how the kernel's bytes lie.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use sidecar_ebpf::abi::{
    record::{self, Close, Head, Peers},
    verdict::CLASS_OPEN,
};
use zerocopy::FromBytes;

use crate::model::{ConnectionId, Dir, Ktime, Role};

/// What happened to a connection of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// It is established, or was met in the middle.
    Open {
        /// Socket.
        id: ConnectionId,
        /// When.
        at: Ktime,
        /// What its calls have shown.
        role: Option<Role>,
        /// Its beginning was not seen.
        joined: bool,
        /// Both ends and where their bytes begin.
        ends: Ends,
    },
    /// Bytes passed, or the news that some did which were not copied.
    Data {
        /// Socket.
        id: ConnectionId,
        /// What passed.
        segment: Segment<'a>,
    },
    /// Bytes came in for a connection that has no socket yet.
    Listen {
        /// Both ends; the sequence numbers say nothing.
        ends: Ends,
        /// What passed; always ingress.
        segment: Segment<'a>,
    },
    /// Its socket reached `TCP_CLOSE`.
    Closed {
        /// Socket.
        id: ConnectionId,
        /// When.
        at: Ktime,
        /// RST was seen or sent.
        reset: bool,
        /// Payload that passed the socket, ingress and egress.
        bytes: [u64; 2],
        /// The kernel counted them under `CLASS_OPEN`: no verdict had reached it.
        is_unjudged: bool,
        /// Smoothed round-trip time at the end, µs.
        srtt_us: u32,
    },
    /// `connect()` failed. Counted in the kernel; the event names the peer.
    Failed {
        /// When.
        at: Ktime,
        /// Both ends.
        ends: Ends,
        /// One of `record::FAILED_…`.
        reason: u32,
    },
}

/// Both ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    /// The application's address.
    pub local: SocketAddr,
    /// The other one.
    pub remote: SocketAddr,
    /// Network namespace cookie.
    pub netns: u64,
    /// Thread group id in the initial PID namespace, 0 if not known.
    pub tgid: u32,
    /// cgroup v2 id, 0 if not known.
    pub cgroup: u64,
    /// The next sequence number each way ([`Dir::index`]) when the connection was met.
    pub next: [u32; 2],
}

/// A stretch of one direction's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Which way.
    pub dir: Dir,
    /// When.
    pub at: Ktime,
    /// Sequence number of the first byte.
    pub seq: u32,
    /// How many bytes it stands for.
    pub len: u32,
    /// The first of them; the other `len - bytes.len()` were not copied.
    pub bytes: &'a [u8],
    /// What lies before this sequence number will not be seen again.
    pub edge: u32,
    /// Bytes just before `seq` that went by unreported because a verdict said so.
    pub skipped: u32,
    /// FIN: `seq + len` is the end.
    pub fin: bool,
    /// RST.
    pub rst: bool,
}

/// A record that is not what its head says. It cannot come from our own programs of the same build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Shorter than its kind's fixed part.
    #[error("record of {got} bytes, kind {kind}, is too short")]
    Short {
        /// `Head::kind`, 0 where there is not even a head.
        kind: u8,
        /// Bytes in the record.
        got: usize,
    },
    /// A kind of another version.
    #[error("record of unknown kind {0}")]
    Kind(u8),
}

/// Reads one record.
///
/// # Errors
/// [`Malformed`] if the record is not one of `abi::record`.
pub fn decode(record: &[u8]) -> Result<Event<'_>, Malformed> {
    let (head, rest) =
        Head::read_from_prefix(record).map_err(|_| Malformed::Short { kind: 0, got: record.len() })?;
    let short = || Malformed::Short { kind: head.kind, got: record.len() };
    let id = ConnectionId(head.cookie);
    let at = Ktime(head.at_ns);
    match head.kind {
        record::KIND_DATA => {
            let segment = segment(&head, rest).ok_or_else(short)?;
            Ok(Event::Data { id, segment })
        }
        record::KIND_LISTEN => {
            let (peers, rest) = Peers::read_from_prefix(rest).map_err(|_| short())?;
            let segment = segment(&head, rest).ok_or_else(short)?;
            Ok(Event::Listen { ends: ends(&peers), segment })
        }
        record::KIND_OPEN => {
            let (peers, _) = Peers::read_from_prefix(rest).map_err(|_| short())?;
            let joined = head.flags & record::FLAG_JOINED != 0;
            Ok(Event::Open { id, at, role: role(head.role), joined, ends: ends(&peers) })
        }
        record::KIND_CLOSE => {
            let (close, _) = Close::read_from_prefix(rest).map_err(|_| short())?;
            let reset = head.flags & record::FLAG_RST != 0;
            let bytes = [close.in_bytes, close.out_bytes];
            let is_unjudged = close.class == u32::from(CLASS_OPEN);
            Ok(Event::Closed { id, at, reset, bytes, is_unjudged, srtt_us: close.srtt_us })
        }
        record::KIND_FAILED => {
            let (peers, _) = Peers::read_from_prefix(rest).map_err(|_| short())?;
            Ok(Event::Failed { at, ends: ends(&peers), reason: head.len })
        }
        other => Err(Malformed::Kind(other)),
    }
}

fn segment<'a>(head: &Head, rest: &'a [u8]) -> Option<Segment<'a>> {
    let bytes = rest.get(..head.copied as usize)?;
    Some(Segment {
        dir: if head.dir == record::INGRESS { Dir::Ingress } else { Dir::Egress },
        at: Ktime(head.at_ns),
        seq: head.seq,
        len: head.len.max(head.copied),
        bytes,
        edge: head.edge,
        skipped: head.skipped,
        fin: head.flags & record::FLAG_FIN != 0,
        rst: head.flags & record::FLAG_RST != 0,
    })
}

fn ends(peers: &Peers) -> Ends {
    Ends {
        local: address(peers.local_addr, peers.local_port),
        remote: address(peers.remote_addr, peers.remote_port),
        netns: peers.netns,
        tgid: peers.tgid,
        cgroup: peers.cgroup,
        next: [peers.in_seq, peers.out_seq],
    }
}

/// IPv4-mapped addresses become IPv4: one peer has one spelling.
fn address(bytes: [u8; 16], port: u16) -> SocketAddr {
    let v6 = Ipv6Addr::from(bytes);
    SocketAddr::new(v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4), port)
}

fn role(role: u8) -> Option<Role> {
    match role {
        record::ROLE_CLIENT => Some(Role::Client),
        record::ROLE_SERVER => Some(Role::Server),
        _ => None,
    }
}
