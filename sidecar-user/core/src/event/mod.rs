//! Records of the `EVENTS` ring to events: the one place that knows how the kernel's bytes lie.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use sidecar_ebpf::abi::{
    record::{self, Head, Opened, Peers},
    steer,
    verdict::CLASS_OPEN,
};
use zerocopy::FromBytes;

use crate::model::{Account, ConnectionId, Dir, End, Failure, Ktime, Reason, Role, Verdict};

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
        /// It is a path of MPTCP.
        mptcp: bool,
        /// Both ends and where their bytes begin.
        ends: Ends,
        /// How long it took from the first SYN on, where `connect()` was seen.
        connect: Option<Duration>,
    },
    /// Bytes passed, or the news that some did which were not copied.
    Data {
        /// Socket.
        id: ConnectionId,
        /// What passed.
        segment: Segment<'a>,
    },
    /// Bytes passed before their connection was told of.
    Listen {
        /// Both ends; the sequence numbers say nothing.
        ends: Ends,
        /// What passed: ingress that reached a listening socket, egress that a SYN carried.
        segment: Segment<'a>,
    },
    /// Its socket reached `TCP_CLOSE`.
    Closed {
        /// Socket.
        id: ConnectionId,
        /// When.
        at: Ktime,
        /// How.
        end: End,
        /// What passed the socket in all.
        account: Account,
        /// The kernel counted them under `CLASS_OPEN`: no verdict had reached it.
        is_unjudged: bool,
        /// What the peer had acknowledged.
        drained: Drained,
    },
    /// What passed the socket so far, of a connection that goes on.
    Counted {
        /// Socket.
        id: ConnectionId,
        /// When.
        at: Ktime,
        /// What its socket counted.
        account: Account,
    },
    /// A datagram of the DNS passed.
    Datagram {
        /// Cookie of its socket.
        id: ConnectionId,
        /// Which way.
        dir: Dir,
        /// When.
        at: Ktime,
        /// Both ends; the other one as it was asked for, where the daemon answers.
        ends: Ends,
        /// How long it is.
        len: u32,
        /// What was copied of it, from its beginning.
        bytes: &'a [u8],
    },
    /// `connect()` failed. Counted in the kernel; the event names the peer.
    Failed {
        /// Socket.
        id: ConnectionId,
        /// When.
        at: Ktime,
        /// Both ends.
        ends: Ends,
        /// Why.
        why: Failure,
    },
    /// `connect()` was refused at once. Counted in the kernel; not of each there is an event.
    Denied {
        /// Socket.
        id: ConnectionId,
        /// When.
        at: Ktime,
        /// The other end as it was asked for; its own is not known.
        ends: Ends,
    },
}

/// Both ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    /// The application's address.
    pub local: SocketAddr,
    /// The other one: of what came in by way of the relay, its client's.
    pub remote: SocketAddr,
    /// The relay's, where it brings it.
    pub via: Option<SocketAddr>,
    /// Network namespace cookie.
    pub netns: u64,
    /// Thread group id in the initial PID namespace, 0 if not known.
    pub tgid: u32,
    /// cgroup v2 id, 0 if not known.
    pub cgroup: u64,
    /// The next sequence number each way ([`Dir::index`]) when the connection was met.
    pub next: [u32; 2],
    /// What was decided at `connect()`, or where it came in, where connections are steered.
    pub decided: Option<Decided>,
}

/// What was decided of a connection, in the kernel's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decided {
    /// What became of it.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// Of which service it is.
    pub service: Option<u32>,
    /// Which endpoint was chosen.
    pub target: Option<u32>,
    /// What `connect()` was given; of what came in, what was dialled.
    pub asked: SocketAddr,
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
    /// What the peer had acknowledged.
    pub drained: Drained,
    /// When the application first read from the socket after the last payload that had come in; `None`: it had not, or
    /// nobody looks for it.
    pub read: Option<Ktime>,
}

/// The last time at which the peer had acknowledged everything that the application had sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// The sequence number after it.
    pub seq: u32,
    /// When. Right to a microsecond, and only if it is less than [`Drained::HORIZON`] before the record.
    pub at: Ktime,
}

impl Drained {
    /// Beyond it the kernel's short time stamp comes round.
    pub const HORIZON: Duration = Duration::from_nanos(1 << 42);

    fn of(head: &Head) -> Drained {
        let now = head.at_ns >> 10;
        let ago = (now as u32).wrapping_sub(head.drained_at);
        Drained { seq: head.drained, at: Ktime(now.saturating_sub(ago.into()) << 10) }
    }
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
    let id = ConnectionId(head.id);
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
            let (opened, _) = Opened::read_from_prefix(rest).map_err(|_| short())?;
            let [joined, mptcp] =
                [record::FLAG_JOINED, record::FLAG_MPTCP].map(|flag| head.flags & flag != 0);
            let connect = (head.len > 0).then(|| Duration::from_micros(head.len.into()));
            Ok(Event::Open {
                id,
                at,
                role: role(head.role),
                joined,
                mptcp,
                ends: opened_ends(&opened),
                connect,
            })
        }
        record::KIND_CLOSE => {
            let (close, _) = record::Account::read_from_prefix(rest).map_err(|_| short())?;
            let is_unjudged = close.class == u32::from(CLASS_OPEN);
            let (end, account) = (end(close.end), account(&close));
            Ok(Event::Closed { id, at, end, account, is_unjudged, drained: Drained::of(&head) })
        }
        record::KIND_ACCOUNT => {
            let (so_far, _) = record::Account::read_from_prefix(rest).map_err(|_| short())?;
            Ok(Event::Counted { id, at, account: account(&so_far) })
        }
        record::KIND_DATAGRAM => {
            let (peers, rest) = Peers::read_from_prefix(rest).map_err(|_| short())?;
            let bytes = rest.get(..head.copied as usize).ok_or_else(short)?;
            Ok(Event::Datagram { id, dir: dir(&head), at, ends: ends(&peers), len: head.len, bytes })
        }
        record::KIND_FAILED => {
            let (opened, _) = Opened::read_from_prefix(rest).map_err(|_| short())?;
            Ok(Event::Failed { id, at, ends: opened_ends(&opened), why: failure(head.len) })
        }
        record::KIND_DENIED => {
            let (opened, _) = Opened::read_from_prefix(rest).map_err(|_| short())?;
            Ok(Event::Denied { id, at, ends: opened_ends(&opened) })
        }
        other => Err(Malformed::Kind(other)),
    }
}

/// The cookie of a connection's socket, as `ss -e` shows it.
#[must_use]
pub fn cookie(id: ConnectionId) -> u64 {
    let spare = record::AGAIN.leading_zeros() + 1;
    // Those that are counted down begin with ones.
    ((id.0 << spare).cast_signed() >> spare).cast_unsigned()
}

fn segment<'a>(head: &Head, rest: &'a [u8]) -> Option<Segment<'a>> {
    let bytes = rest.get(..head.copied as usize)?;
    Some(Segment {
        dir: dir(head),
        at: Ktime(head.at_ns),
        seq: head.seq,
        len: head.len.max(head.copied),
        bytes,
        edge: head.edge,
        skipped: head.skipped,
        fin: head.flags & record::FLAG_FIN != 0,
        rst: head.flags & record::FLAG_RST != 0,
        drained: Drained::of(head),
        read: (head.read_at != 0).then_some(Ktime(head.read_at)),
    })
}

fn dir(head: &Head) -> Dir {
    if head.dir == record::INGRESS { Dir::Ingress } else { Dir::Egress }
}

fn ends(peers: &Peers) -> Ends {
    Ends {
        local: address(peers.local_addr, peers.local_port),
        remote: address(peers.remote_addr, peers.remote_port),
        via: None,
        netns: peers.netns,
        tgid: peers.tgid,
        cgroup: peers.cgroup,
        next: [peers.in_seq, peers.out_seq],
        decided: None,
    }
}

fn opened_ends(opened: &Opened) -> Ends {
    let own = ends(&opened.peers);
    let steer::Client { addr, port, service, .. } = opened.client;
    if addr == [0; 16] {
        return Ends { decided: decided(&opened.steered), ..own };
    }
    let decided = Decided {
        verdict: Verdict::Proxied,
        reason: Reason::Gear,
        service: (service != steer::NO_INBOUND).then_some(service.into()),
        target: None,
        asked: own.local,
    };
    Ends { remote: address(addr, port), via: Some(own.remote), decided: Some(decided), ..own }
}

/// By the kernel's `VERDICT_…` and `REASON_…`.
const VERDICTS: [Option<Verdict>; steer::VERDICTS] =
    [None, Some(Verdict::Direct), Some(Verdict::Proxied), Some(Verdict::Passed), Some(Verdict::Denied)];
const REASONS: [Reason; steer::REASONS] = [
    Reason::Gear,
    Reason::NoRule,
    Reason::Exception,
    Reason::Netns,
    Reason::Device,
    Reason::NoEndpoint,
    Reason::Daemon,
    Reason::ConnectionLimit,
    Reason::RateLimit,
    Reason::Protocol,
    Reason::NoMemory,
    Reason::Dns,
    Reason::Resolvers,
    Reason::FirstUse,
    Reason::Local,
];

/// `None`: nothing was decided.
fn decided(steered: &steer::Steered) -> Option<Decided> {
    let verdict = VERDICTS.get(usize::from(steered.verdict)).copied().flatten()?;
    let reason = REASONS.get(usize::from(steered.reason)).copied()?;
    let asked = address(steered.asked, steered.port);
    let service = (steered.service != steer::NO_SERVICE).then_some(steered.service);
    let target = (steered.target != steer::NO_TARGET).then_some(steered.target);
    Some(Decided { verdict, reason, service, target, asked })
}

/// IPv4-mapped addresses become IPv4: one peer has one spelling.
fn address(bytes: [u8; 16], port: u16) -> SocketAddr {
    let v6 = Ipv6Addr::from(bytes);
    SocketAddr::new(v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4), port)
}

fn account(account: &record::Account) -> Account {
    let bytes = [account.in_bytes, account.out_bytes];
    let rtt = (account.srtt_us > 0).then(|| Duration::from_micros(account.srtt_us.into()));
    Account { bytes, retransmits: account.retransmits, rtt }
}

fn end(end: u32) -> End {
    match end {
        record::END_RECEIVED => End::Received,
        record::END_SENT => End::Sent,
        record::END_EXPIRED => End::Expired,
        _ => End::Orderly,
    }
}

fn failure(reason: u32) -> Failure {
    match reason {
        record::FAILED_REFUSED => Failure::Refused,
        record::FAILED_TIMEOUT => Failure::Timeout,
        record::FAILED_CANCELLED => Failure::Cancelled,
        _ => Failure::Unreachable,
    }
}

fn role(role: u8) -> Option<Role> {
    match role {
        record::ROLE_CLIENT => Some(Role::Client),
        record::ROLE_SERVER => Some(Role::Server),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::{FromZeros, IntoBytes};

    use super::*;

    #[test]
    fn connections_of_one_socket_have_its_cookie() {
        // Counted up from 1, and in an interrupt of that down from the top (`gen_cookie_next`, include/linux/cookie.h).
        for of_socket in [1, 4097, record::AGAIN / 2 - 1, u64::MAX, u64::MAX - 4096] {
            for n in [0, 1, 2, 65_535] {
                let id = ConnectionId(of_socket.wrapping_add(record::AGAIN.wrapping_mul(n)));
                assert_eq!(cookie(id), of_socket, "{n}");
            }
        }
    }

    #[test]
    fn who_came_by_way_of_the_relay_is_the_other_end() {
        let mapped = |v4: [u8; 4]| std::net::Ipv4Addr::from(v4).to_ipv6_mapped().octets();
        let (own, client) = ([10, 0, 0, 1], [10, 0, 0, 2]);
        for (service, expected) in [(3, Some(3)), (steer::NO_INBOUND, None)] {
            let mut head = Head::new_zeroed();
            head.kind = record::KIND_OPEN;
            let mut opened = Opened::new_zeroed();
            (opened.peers.local_addr, opened.peers.local_port) = (mapped(own), 80);
            (opened.peers.remote_addr, opened.peers.remote_port) = (mapped(own), 40000);
            opened.client = steer::Client { addr: mapped(client), port: 50000, service, pad: 0 };
            let bytes = [head.as_bytes(), opened.as_bytes()].concat();
            let Ok(Event::Open { ends, .. }) = decode(&bytes) else { panic!("no opening") };
            assert_eq!((ends.local, ends.remote), ((own, 80).into(), (client, 50000).into()));
            assert_eq!(ends.via, Some((own, 40000).into()));
            let decided = Decided {
                verdict: Verdict::Proxied,
                reason: Reason::Gear,
                service: expected,
                target: None,
                asked: (own, 80).into(),
            };
            assert_eq!(ends.decided, Some(decided));
        }
    }

    #[test]
    fn a_datagram_is_as_long_as_it_was() {
        for (dir, expected) in [(record::INGRESS, Dir::Ingress), (record::EGRESS, Dir::Egress)] {
            let mut head = Head::new_zeroed();
            (head.kind, head.dir, head.id) = (record::KIND_DATAGRAM, dir, 9);
            (head.len, head.copied) = (3000, 4);
            let mut peers = Peers::new_zeroed();
            (peers.local_port, peers.remote_port) = (40_000, 53);
            let bytes = [head.as_bytes(), peers.as_bytes(), b"abcd", &[0; 252]].concat();
            let Ok(Event::Datagram { id, dir, ends, len, bytes: copied, .. }) = decode(&bytes) else {
                panic!("no datagram")
            };
            assert_eq!((id, dir, len, copied), (ConnectionId(9), expected, 3000, &b"abcd"[..]));
            assert_eq!((ends.local.port(), ends.remote.port()), (40_000, 53));
            let got = size_of::<Head>() + size_of::<Peers>() + 3;
            let short = Malformed::Short { kind: record::KIND_DATAGRAM, got };
            assert_eq!(decode(&bytes[..got]), Err(short));
        }
    }

    #[test]
    fn what_was_decided_is_read_where_it_was() {
        let asked: Ipv6Addr = "::ffff:10.0.0.9".parse().expect("an address");
        let steered = steer::Steered { asked: asked.octets(), port: 80, ..Default::default() };
        // Verdict, reason, target => what is read.
        let decided = |verdict, reason, service, target| {
            Some(Decided { verdict, reason, service, target, asked: ([10, 0, 0, 9], 80).into() })
        };
        let none = steer::NO_TARGET;
        let cases = [
            (0, 0, 5, None),
            (
                steer::VERDICT_DIRECT,
                steer::REASON_GEAR,
                5,
                decided(Verdict::Direct, Reason::Gear, Some(3), Some(5)),
            ),
            (
                steer::VERDICT_PASSED,
                steer::REASON_NO_RULE,
                none,
                decided(Verdict::Passed, Reason::NoRule, None, None),
            ),
            (
                steer::VERDICT_DENIED,
                steer::REASON_RATE,
                none,
                decided(Verdict::Denied, Reason::RateLimit, Some(3), None),
            ),
            (
                steer::VERDICT_PROXIED,
                steer::REASON_GEAR,
                none,
                decided(Verdict::Proxied, Reason::Gear, Some(3), None),
            ),
            (steer::VERDICT_PASSED, steer::REASONS as u8, none, None),
            (steer::VERDICTS as u8, steer::REASON_GEAR, none, None),
        ];
        for (verdict, reason, target, expected) in cases {
            for kind in [record::KIND_OPEN, record::KIND_FAILED, record::KIND_DENIED] {
                let mut head = Head::new_zeroed();
                head.kind = kind;
                let mut opened = Opened::new_zeroed();
                let service = if reason == steer::REASON_NO_RULE { steer::NO_SERVICE } else { 3 };
                opened.steered = steer::Steered { verdict, reason, service, target, ..steered };
                let bytes = [head.as_bytes(), opened.as_bytes()].concat();
                let ends = match decode(&bytes) {
                    Ok(
                        Event::Open { ends, .. } | Event::Failed { ends, .. } | Event::Denied { ends, .. },
                    ) => ends,
                    other => panic!("{other:?}"),
                };
                assert_eq!(ends.decided, expected, "{verdict} {reason}");
                let got = bytes.len() - 1;
                assert_eq!(decode(&bytes[..got]), Err(Malformed::Short { kind, got }));
            }
        }
    }
}
