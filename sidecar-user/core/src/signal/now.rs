//! What is going on at present: requests that are not over, connections that are open. Each is counted in and out, so
//! a snapshot finds exact numbers.

use std::net::{IpAddr, SocketAddr};

use rustc_hash::FxHashMap;

use super::series::overflow;
use super::snapshot::{Point, PointValue};
use super::{http, key};
use crate::model::{Activity, Method};

#[derive(Debug)]
pub(super) struct Now {
    /// Server requests by method; `None` where there was never one.
    requests: [Option<u64>; http::METHODS.len()],
    /// Client connections by server, and by [`Activity`]. No more servers than connections that are followed.
    connections: FxHashMap<(IpAddr, u16), [u64; 2]>,
    /// Servers that are shown by name.
    cap: usize,
}

impl Now {
    pub(super) fn new(cap: usize) -> Self {
        // Each has two series.
        Now { requests: [None; http::METHODS.len()], connections: FxHashMap::default(), cap: cap / 2 }
    }

    pub(super) fn began(&mut self, method: Method) {
        *self.requests[method as usize].get_or_insert(0) += 1;
    }

    pub(super) fn ended(&mut self, method: Method) {
        if let Some(n) = &mut self.requests[method as usize] {
            *n = n.saturating_sub(1);
        }
    }

    pub(super) fn moved(&mut self, server: SocketAddr, from: Option<Activity>, to: Option<Activity>) {
        let server = (server.ip().to_canonical(), server.port());
        let counts = self.connections.entry(server).or_default();
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

    pub(super) fn requests(&self) -> Vec<Point> {
        let counted = http::METHODS.iter().zip(self.requests).filter_map(|(method, n)| Some((*method, n?)));
        let point = |(method, n): (Method, u64)| Point {
            attributes: vec![
                (key::METHOD, http::method(method).into()),
                (key::URL_SCHEME, http::SCHEME.into()),
            ],
            started: None,
            value: PointValue::U64(n),
        };
        counted.map(point).collect()
    }

    pub(super) fn connections(&self) -> Vec<Point> {
        let mut servers: Vec<_> = self.connections.iter().collect();
        servers.sort_unstable();
        let (shown, hidden) = servers.split_at(self.cap.min(servers.len()));
        let point = |((address, port), counts): &(&(IpAddr, u16), &[u64; 2])| {
            [(ACTIVE, Activity::Active), (IDLE, Activity::Idle)].map(|(state, activity)| Point {
                attributes: vec![
                    (key::CONNECTION_STATE, state.into()),
                    (key::SERVER_ADDRESS, address.to_string().into()),
                    (key::SERVER_PORT, (*port).into()),
                    (key::URL_SCHEME, http::SCHEME.into()),
                ],
                started: None,
                value: PointValue::U64(counts[activity as usize]),
            })
        };
        let mut points: Vec<Point> = shown.iter().flat_map(point).collect();
        if !hidden.is_empty() {
            let n = hidden.iter().map(|(_, counts)| counts[0] + counts[1]).sum();
            points.push(Point { attributes: overflow(), started: None, value: PointValue::U64(n) });
        }
        points
    }
}

const ACTIVE: &str = "active";
const IDLE: &str = "idle";
