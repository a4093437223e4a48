//! Series of connections, whatever they speak, by role and peer; and how long responses are on their way.
//!
//! They are made of records, of which some may be lost, so the peers' counters have names of their own: the totals by
//! role (`signal::kernel`) are the kernel's, and exact.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;

use super::kernel::{DIRECTIONS, FAILURES, RESETS};
use super::series::{Series, overflow};
use super::snapshot::{Attributes, Moment, Point, PointValue, Value};
use super::{Containers, Histogram, Layout, Options, catalogue, key};
use crate::model::{Account, Connection, ConnectionId, End, Ktime, MetricDef, Role, Tcp};

/// All of them.
#[derive(Debug)]
pub(super) struct Connections {
    peers: Series<Arc<Key>, Peer>,
    /// Peers are told apart at all.
    by_peer: bool,
    /// What connections that are open are counted under; none: under the overflow.
    open: FxHashMap<ConnectionId, Option<Arc<Key>>>,
    /// By container.
    delivery: Series<Option<Arc<str>>, Histogram>,
    layouts: Layouts,
}

/// What the histograms are like.
#[derive(Debug)]
struct Layouts {
    connect: Layout,
    rtt: Layout,
    delivery: Layout,
}

/// What tells peers apart: the port only where it is a server's, the container where several are observed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    role: Option<Role>,
    peer: Option<(IpAddr, Option<u16>)>,
    container: Option<Arc<str>>,
}

/// What was counted of one peer.
#[derive(Debug, Default)]
struct Peer {
    opened: u64,
    closed: u64,
    active: u64,
    failed: [u64; FAILURES.len()],
    resets: [u64; RESETS.len()],
    bytes: [u64; 2],
    retransmits: u64,
    connect: Option<Histogram>,
    rtt: Option<Histogram>,
}

impl Connections {
    /// `Options::peers` are told apart at most; with 0 only roles are.
    pub(super) fn new(options: &Options) -> Self {
        let peers = options.peers;
        Connections {
            // Without peers there is one for each role, or role and container.
            peers: Series::new(if peers > 0 { peers } else { options.series_cap }),
            by_peer: peers > 0,
            open: FxHashMap::default(),
            delivery: Series::new(options.series_cap),
            layouts: Layouts {
                connect: options.layout(&catalogue::TCP_CONNECT),
                rtt: options.layout(&catalogue::TCP_RTT),
                delivery: options.layout(&catalogue::HTTP_SERVER_DELIVERY),
            },
        }
    }

    /// As many series from now on of what `Options::peers` does not bound.
    pub(super) fn set_cap(&mut self, cap: usize) {
        self.delivery.set_cap(cap);
        if !self.by_peer {
            self.peers.set_cap(cap);
        }
    }

    /// Records a turn in a connection's life; `None`: of one that is not followed. `containers` name whose it is.
    pub(super) fn record(
        &mut self,
        at: Moment,
        connection: Option<&Connection>,
        what: Tcp,
        containers: &Containers,
    ) {
        let id = connection.filter(|one| !one.joined).map(|one| one.id);
        // It ends where it began, though room may have come up since.
        let key = match id.and_then(|id| self.open.get(&id)) {
            Some(place) => place.clone(),
            None => connection.map(|one| Arc::new(Key::of(one, self.by_peer, containers))),
        };
        let peer = match key.clone() {
            Some(key) => self.peers.entry(key, at, Peer::default),
            None => self.peers.overflow(at, Peer::default),
        };
        match what {
            Tcp::Opened(connect) => {
                peer.opened += 1;
                peer.active += 1;
                if let Some(took) = connect {
                    measure(&mut peer.connect, &self.layouts.connect, at, took);
                }
                if let Some(id) = id {
                    // The series' own: one for all its connections.
                    let place = key.and_then(|key| self.peers.key(&key).cloned());
                    self.open.insert(id, place);
                }
            }
            Tcp::Counted(account) => peer.count(&account, &self.layouts.rtt, at),
            Tcp::Closed(end) => {
                peer.closed += 1;
                peer.active = peer.active.saturating_sub(1);
                if let Some(reset) = end.and_then(reset) {
                    peer.resets[reset] += 1;
                }
                if let Some(id) = id {
                    self.open.remove(&id);
                }
            }
            Tcp::Failed(why) => peer.failed[why as usize] += 1,
        }
    }

    /// Records how long a response of a container was on its way.
    pub(super) fn delivered(&mut self, at: Moment, took: Duration, container: Option<Arc<str>>) {
        let histogram = self.delivery.entry(container, at, || Histogram::new(&self.layouts.delivery));
        histogram.record(took.as_secs_f64(), at.unix, None);
    }

    /// Forgets what was last measured before `since`, but for peers that connections are open to; how many that were.
    pub(super) fn expire(&mut self, since: Ktime) -> u64 {
        self.peers.expire_unless(since, |peer| peer.active > 0) + self.delivery.expire(since)
    }

    /// The points of a metric that is fed from here; `None` for the others.
    pub(super) fn points(&self, def: &'static MetricDef) -> Option<Vec<Point>> {
        let is = |other: &'static MetricDef| std::ptr::eq(def, other);
        if is(&catalogue::HTTP_SERVER_DELIVERY) {
            let value = |value: &Histogram| Some(PointValue::Histogram(value.clone()));
            return Some(self.delivery.points(|container| named(container).collect(), value));
        }
        let shows: Shows = match def {
            _ if is(&catalogue::TCP_CONNECT) => |peer, each| each(&[], histogram(&peer.connect)),
            _ if is(&catalogue::TCP_RTT) => |peer, each| each(&[], histogram(&peer.rtt)),
            _ if is(&catalogue::PEER_ACTIVE) => |peer, each| each(&[], Some(PointValue::U64(peer.active))),
            _ if is(&catalogue::PEER_OPENED) => |peer, each| each(&[], number(peer.opened)),
            _ if is(&catalogue::PEER_CLOSED) => |peer, each| each(&[], number(peer.closed)),
            _ if is(&catalogue::PEER_RETRANSMITS) => |peer, each| each(&[], number(peer.retransmits)),
            _ if is(&catalogue::PEER_FAILED) => {
                |peer, each| split(key::ERROR_TYPE, &FAILURES, &peer.failed, each)
            }
            _ if is(&catalogue::PEER_RESET) => |peer, each| split(key::REASON, &RESETS, &peer.resets, each),
            _ if is(&catalogue::PEER_IO) => {
                |peer, each| split(key::IO_DIRECTION, &DIRECTIONS, &peer.bytes, each)
            }
            _ => return None,
        };
        let is_shown = self.by_peer || is(&catalogue::TCP_CONNECT) || is(&catalogue::TCP_RTT);
        let mut points = Vec::new();
        for (key, started, peer) in self.peers.iter_started().filter(|_| is_shown) {
            shows(peer, &mut |more: &[(&'static str, &'static str)], value| {
                let Some(value) = value else { return };
                let mut attributes = key.map_or_else(overflow, |key| key.attributes(def));
                attributes.extend(more.iter().map(|(key, value)| (*key, (*value).into())));
                points.push(Point { attributes, started: Some(started), value });
            });
        }
        Some(points)
    }

    pub(super) fn n_series(&self) -> u64 {
        let fed = catalogue::ALL.iter().filter_map(|def| self.points(def));
        fed.map(|points| points.len() as u64).sum()
    }

    pub(super) fn overflowed(&self) -> u64 {
        self.peers.overflowed()
    }
}

/// Further attributes and a value, for each of a metric's points that a peer has.
type Each<'a> = &'a mut dyn FnMut(&[(&'static str, &'static str)], Option<PointValue>);
type Shows = fn(&Peer, Each<'_>);

fn number(value: u64) -> Option<PointValue> {
    (value > 0).then_some(PointValue::U64(value))
}

fn histogram(value: &Option<Histogram>) -> Option<PointValue> {
    value.clone().map(PointValue::Histogram)
}

fn split(key: &'static str, names: &[&'static str], values: &[u64], each: Each<'_>) {
    for (name, value) in names.iter().zip(values) {
        each(&[(key, name)], number(*value));
    }
}

fn reset(end: End) -> Option<usize> {
    match end {
        End::Orderly => None,
        End::Received => Some(0),
        End::Sent => Some(1),
        End::Expired => Some(2),
    }
}

fn measure(histogram: &mut Option<Histogram>, layout: &Layout, at: Moment, took: Duration) {
    histogram.get_or_insert_with(|| Histogram::new(layout)).record(took.as_secs_f64(), at.unix, None);
}

impl Peer {
    fn count(&mut self, account: &Account, layout: &Layout, at: Moment) {
        for (sum, fresh) in self.bytes.iter_mut().zip(account.bytes) {
            *sum = sum.saturating_add(fresh);
        }
        self.retransmits = self.retransmits.saturating_add(account.retransmits.into());
        if let Some(rtt) = account.rtt {
            measure(&mut self.rtt, layout, at, rtt);
        }
    }
}

impl Key {
    fn of(connection: &Connection, by_peer: bool, containers: &Containers) -> Key {
        let port = (connection.role == Some(Role::Client)).then_some(connection.peer().port());
        let peer = by_peer.then_some((connection.peer().ip(), port));
        Key { role: connection.role, peer, container: containers.of(connection.cgroup) }
    }

    /// In the order of the metrics' definitions.
    fn attributes(&self, def: &MetricDef) -> Attributes {
        let mut out = Attributes::new();
        if def.attributes.contains(&key::TCP_ROLE) {
            out.push((key::TCP_ROLE, role(self.role).into()));
        }
        if let Some((address, port)) = self.peer {
            out.push((key::PEER_ADDRESS, address.to_string().into()));
            out.extend(port.map(|port| (key::PEER_PORT, port.into())));
        }
        out.extend(named(&self.container));
        out
    }
}

/// `container.name`, where there is one.
fn named(container: &Option<Arc<str>>) -> impl Iterator<Item = (&'static str, Value)> {
    container.iter().map(|name| (key::CONTAINER_NAME, name.to_string().into()))
}

/// `sidecar.tcp.role`.
fn role(role: Option<Role>) -> &'static str {
    match role {
        Some(Role::Client) => "client",
        Some(Role::Server) => "server",
        None => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Failure;
    use crate::signal::UnixNanos;

    const AT: Moment = Moment { ktime: Ktime(7), unix: UnixNanos(8) };

    fn connections(peers: usize) -> Connections {
        Connections::new(&Options { peers, ..Options::default() })
    }

    fn connection(id: u64, role: Role, last: u8) -> Connection {
        Connection {
            id: ConnectionId(id),
            role: Some(role),
            local: ([10, 0, 0, 1], 80).into(),
            remote: ([10, 0, 0, last], 5000 + id as u16).into(),
            tgid: 0,
            cgroup: 0,
            joined: false,
            steered: None,
        }
    }

    fn told(connections: &Connections, def: &'static MetricDef) -> Vec<String> {
        let points = connections.points(def).expect("fed from here");
        let line = |point: &Point| {
            let value = match &point.value {
                PointValue::U64(value) => value.to_string(),
                PointValue::F64(value) => value.to_string(),
                PointValue::Histogram(value) => format!("{} of {}", value.sum, value.count),
            };
            let values: Vec<_> = point.attributes.iter().map(|(_, value)| value.to_string()).collect();
            format!("{}: {value}", values.join(" "))
        };
        let mut lines: Vec<_> = points.iter().map(line).collect();
        lines.sort();
        lines
    }

    fn account(n: u64) -> Tcp {
        let rtt = Some(Duration::from_millis(n));
        Tcp::Counted(Account { bytes: [n, 10 * n], retransmits: 1, rtt })
    }

    #[test]
    fn peers_are_told_apart_by_role_and_by_a_servers_port() {
        let mut all = connections(64);
        let client = connection(1, Role::Client, 9);
        let servers = [connection(2, Role::Server, 9), connection(3, Role::Server, 9)];
        all.record(AT, Some(&client), Tcp::Opened(Some(Duration::from_millis(2))), &Containers::default());
        for server in &servers {
            all.record(AT, Some(server), Tcp::Opened(None), &Containers::default());
            all.record(AT, Some(server), account(4), &Containers::default());
        }
        all.record(AT, Some(&client), account(1), &Containers::default());
        all.record(AT, Some(&client), Tcp::Closed(Some(End::Received)), &Containers::default());
        all.record(AT, Some(&servers[0]), Tcp::Closed(Some(End::Orderly)), &Containers::default());
        all.record(
            AT,
            Some(&connection(4, Role::Client, 9)),
            Tcp::Failed(Failure::Timeout),
            &Containers::default(),
        );
        let cases: [(_, &[&str]); 9] = [
            (&catalogue::PEER_OPENED, &["client 10.0.0.9 5001: 1", "server 10.0.0.9: 2"]),
            (&catalogue::PEER_CLOSED, &["client 10.0.0.9 5001: 1", "server 10.0.0.9: 1"]),
            (
                &catalogue::PEER_ACTIVE,
                &["client 10.0.0.9 5001: 0", "client 10.0.0.9 5004: 0", "server 10.0.0.9: 1"],
            ),
            (&catalogue::PEER_RESET, &["client 10.0.0.9 5001 received: 1"]),
            (&catalogue::PEER_FAILED, &["10.0.0.9 5004 timeout: 1"]),
            (
                &catalogue::PEER_IO,
                &[
                    "client 10.0.0.9 5001 receive: 1",
                    "client 10.0.0.9 5001 transmit: 10",
                    "server 10.0.0.9 receive: 8",
                    "server 10.0.0.9 transmit: 80",
                ],
            ),
            (&catalogue::PEER_RETRANSMITS, &["client 10.0.0.9 5001: 1", "server 10.0.0.9: 2"]),
            (&catalogue::TCP_CONNECT, &["10.0.0.9 5001: 0.002 of 1"]),
            (&catalogue::TCP_RTT, &["client 10.0.0.9 5001: 0.001 of 1", "server 10.0.0.9: 0.008 of 2"]),
        ];
        for (def, expected) in cases {
            assert_eq!(told(&all, def), expected, "{}", def.name);
        }
    }

    #[test]
    fn peers_beyond_the_bound_overflow_and_a_connection_ends_where_it_began() {
        let mut all = connections(1);
        let many: Vec<_> = (0..4).map(|i| connection(i.into(), Role::Server, i)).collect();
        for one in &many {
            all.record(AT, Some(one), Tcp::Opened(None), &Containers::default());
        }
        all.record(AT, Some(&many[3]), account(5), &Containers::default());
        all.record(AT, Some(&many[3]), Tcp::Closed(Some(End::Sent)), &Containers::default());
        all.record(AT, None, account(7), &Containers::default());
        assert_eq!(told(&all, &catalogue::PEER_ACTIVE), ["server 10.0.0.0: 1", "true: 2"]);
        assert_eq!(told(&all, &catalogue::PEER_IO), ["true receive: 12", "true transmit: 120"]);
        assert_eq!(told(&all, &catalogue::PEER_RESET), ["true sent: 1"]);
        assert_eq!(all.open.len(), 3);
    }

    #[test]
    fn without_peers_there_are_roles_only() {
        let mut all = connections(0);
        for id in 0..3 {
            let one = connection(id, Role::Client, id as u8);
            all.record(AT, Some(&one), Tcp::Opened(Some(Duration::from_millis(1))), &Containers::default());
            all.record(AT, Some(&one), account(2), &Containers::default());
        }
        assert_eq!(told(&all, &catalogue::TCP_RTT), ["client: 0.006 of 3"]);
        assert_eq!(told(&all, &catalogue::TCP_CONNECT), [": 0.003 of 3"]);
        assert!(told(&all, &catalogue::PEER_IO).is_empty());
        assert_eq!(all.overflowed(), 0);
    }

    #[test]
    fn one_met_in_the_middle_counts_what_passes_and_not_as_open() {
        let mut all = connections(4);
        let joined = Connection { joined: true, ..connection(1, Role::Server, 9) };
        all.record(AT, Some(&joined), account(3), &Containers::default());
        assert_eq!(told(&all, &catalogue::PEER_ACTIVE), ["server 10.0.0.9: 0"]);
        assert_eq!(
            told(&all, &catalogue::PEER_IO),
            ["server 10.0.0.9 receive: 3", "server 10.0.0.9 transmit: 30"]
        );
    }

    #[test]
    fn a_peer_that_is_gone_gives_its_place_back() {
        let mut all = connections(1);
        let one = connection(1, Role::Server, 1);
        all.record(AT, Some(&one), Tcp::Opened(None), &Containers::default());
        assert_eq!(all.expire(Ktime(100)), 0, "it is connected");
        all.record(AT, Some(&one), Tcp::Closed(Some(End::Orderly)), &Containers::default());
        assert_eq!(all.expire(Ktime(100)), 1);
        all.record(AT, Some(&connection(2, Role::Server, 2)), Tcp::Opened(None), &Containers::default());
        assert_eq!(told(&all, &catalogue::PEER_OPENED), ["server 10.0.0.2: 1"]);
    }
}
