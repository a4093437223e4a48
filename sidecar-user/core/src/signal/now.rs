//! What is going on at present: requests that are not over, connections that are open. Each is counted in and out, so
//! a snapshot finds exact numbers. By cgroup, which a connection keeps: its container may become known in between.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::series::overflow;
use super::snapshot::{Attributes, Point, PointValue};
use super::{Containers, http, key};
use crate::model::{Activity, Connection, Method};

/// Cgroups whose requests are counted apart although none is going on.
const CGROUPS: usize = 256;

/// Server requests by method; `None` where there was never one.
type ByMethod = [Option<u64>; http::METHODS.len()];

/// Whom a client asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Server {
    Ip(IpAddr),
    Name(Arc<str>),
}

#[derive(Debug)]
pub(super) struct Now {
    /// By cgroup.
    requests: FxHashMap<u64, ByMethod>,
    /// Client connections by cgroup and server, and by [`Activity`]. No more than connections that are followed.
    connections: FxHashMap<(u64, Server, u16), [u64; 2]>,
    /// Servers that are shown by name.
    cap: usize,
}

impl Now {
    pub(super) fn new(cap: usize) -> Self {
        // Each has two series.
        Now { requests: FxHashMap::default(), connections: FxHashMap::default(), cap: cap / 2 }
    }

    pub(super) fn set_cap(&mut self, cap: usize) {
        self.cap = cap / 2;
    }

    pub(super) fn began(&mut self, cgroup: u64, method: Method) {
        if self.requests.len() >= CGROUPS && !self.requests.contains_key(&cgroup) {
            self.fold();
        }
        let by_method = self.requests.entry(cgroup).or_default();
        *by_method[method as usize].get_or_insert(0) += 1;
    }

    pub(super) fn ended(&mut self, cgroup: u64, method: Method) {
        let by_method = self.requests.get_mut(&cgroup);
        if let Some(n) = by_method.and_then(|by_method| by_method[method as usize].as_mut()) {
            *n = n.saturating_sub(1);
        }
    }

    pub(super) fn moved(&mut self, connection: &Connection, from: Option<Activity>, to: Option<Activity>) {
        let end = connection.server();
        let named = connection.server_name().map(|name| Server::Name(Arc::clone(name)));
        let server = named.unwrap_or_else(|| Server::Ip(end.ip().to_canonical()));
        let server = (connection.cgroup, server, end.port());
        let counts = self.connections.entry(server.clone()).or_default();
        if let Some(from) = from {
            counts[from as usize] = counts[from as usize].saturating_sub(1);
        }
        if let Some(to) = to {
            counts[to as usize] += 1;
        }
        if *counts == [0; 2] {
            self.connections.remove(&server);
        }
    }

    pub(super) fn requests(&self, containers: &Containers) -> Vec<Point> {
        let mut sums: BTreeMap<(Option<Arc<str>>, usize), u64> = BTreeMap::new();
        for (cgroup, by_method) in &self.requests {
            let container = containers.of(*cgroup);
            for (method, n) in by_method.iter().enumerate().filter_map(|(method, n)| Some((method, (*n)?))) {
                if n > 0 || !containers.is_gone(*cgroup) {
                    *sums.entry((container.clone(), method)).or_default() += n;
                }
            }
        }
        let point = |((container, method), n): ((Option<Arc<str>>, usize), u64)| {
            let method = http::method(http::METHODS[method]);
            let mut attributes: Attributes =
                vec![(key::METHOD, method.into()), (key::URL_SCHEME, http::SCHEME.into())];
            attributes.extend(container.map(|name| (key::CONTAINER_NAME, name.to_string().into())));
            Point { attributes, started: None, value: PointValue::U64(n) }
        };
        sums.into_iter().map(point).collect()
    }

    pub(super) fn connections(&self, containers: &Containers) -> Vec<Point> {
        let mut servers: BTreeMap<_, [u64; 2]> = BTreeMap::new();
        for ((cgroup, server, port), counts) in &self.connections {
            let sums = servers.entry((server, *port, containers.of(*cgroup))).or_default();
            sums.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
        }
        let mut points = Vec::new();
        let mut hidden = None;
        for (i, ((server, port, container), counts)) in servers.into_iter().enumerate() {
            if i >= self.cap {
                *hidden.get_or_insert(0) += counts[0] + counts[1];
                continue;
            }
            for (state, activity) in [(ACTIVE, Activity::Active), (IDLE, Activity::Idle)] {
                let address = match server {
                    Server::Ip(ip) => ip.to_string(),
                    Server::Name(name) => name.to_string(),
                };
                let mut attributes: Attributes = vec![
                    (key::CONNECTION_STATE, state.into()),
                    (key::SERVER_ADDRESS, address.into()),
                    (key::SERVER_PORT, port.into()),
                    (key::URL_SCHEME, http::SCHEME.into()),
                ];
                let container = container.as_ref();
                attributes.extend(container.map(|name| (key::CONTAINER_NAME, name.to_string().into())));
                let value = PointValue::U64(counts[activity as usize]);
                points.push(Point { attributes, started: None, value });
            }
        }
        let overflown =
            hidden.map(|n| Point { attributes: overflow(), started: None, value: PointValue::U64(n) });
        points.extend(overflown);
        points
    }

    /// Makes room: what nothing is going on in is no longer counted by its cgroup.
    fn fold(&mut self) {
        let mut seen = ByMethod::default();
        self.requests.retain(|_, by_method| {
            let is_busy = by_method.iter().flatten().any(|n| *n > 0);
            if !is_busy {
                seen.iter_mut().zip(by_method).for_each(|(seen, n)| *seen = seen.or(*n));
            }
            is_busy
        });
        let rest = self.requests.entry(0).or_default();
        rest.iter_mut().zip(seen).for_each(|(rest, seen)| *rest = rest.or(seen));
    }
}

const ACTIVE: &str = "active";
const IDLE: &str = "idle";
