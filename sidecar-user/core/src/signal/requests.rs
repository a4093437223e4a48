//! Series of requests: the hot path, one lookup an exchange.

use std::net::IpAddr;

use rustc_hash::FxHashMap;

use super::http::{self, ErrorType, Host};
use super::series::{Series, overflow};
use super::snapshot::{Attributes, Point, PointValue};
use super::{Histogram, catalogue, key};
use crate::model::{Connection, Detail, Exchange, Http, HttpVersion, Method, MetricDef, Outcome, Role};

/// Durations by role, and how the requests ended.
#[derive(Debug)]
pub(super) struct Requests {
    server: Series<HttpKey, Histogram>,
    client: Series<HttpKey, Histogram>,
    hosts: Hosts,
    outcomes: [u64; OUTCOMES.len()],
}

impl Requests {
    pub(super) fn new(cap: usize) -> Self {
        Requests {
            server: Series::new(cap),
            client: Series::new(cap),
            hosts: Hosts::default(),
            outcomes: [0; OUTCOMES.len()],
        }
    }

    /// Every outcome counts: the histogram's count is the number of requests.
    pub(super) fn record(&mut self, connection: &Connection, exchange: &Exchange) {
        let Detail::Http(http) = &exchange.detail;
        self.outcomes[exchange.outcome as usize] += 1;
        let seconds = exchange.ended.since(exchange.started).as_secs_f64();
        let role = http::role(connection);
        let key = |server: Option<Server>| HttpKey {
            method: http.method,
            version: http.version,
            status: http::status(http),
            error: ErrorType::of(role, exchange.outcome, http),
            server,
        };
        let make = || Histogram::new(catalogue::DURATION_BUCKETS.len());
        let series = match role {
            Role::Server => self.server.entry(key(None), make),
            Role::Client => match self.hosts.server(connection, http, !self.client.is_full()) {
                Some(server) => self.client.entry(key(Some(server)), make),
                None => self.client.overflow(make),
            },
        };
        series.record(catalogue::DURATION_BUCKETS, seconds);
    }

    /// The points of a metric that is fed from here; `None` for the others.
    pub(super) fn points(&self, def: &'static MetricDef) -> Option<Vec<Point>> {
        if std::ptr::eq(def, &catalogue::HTTP_SERVER_DURATION) {
            Some(self.durations(&self.server))
        } else if std::ptr::eq(def, &catalogue::HTTP_CLIENT_DURATION) {
            Some(self.durations(&self.client))
        } else if std::ptr::eq(def, &catalogue::PARSER_OUTCOMES) {
            Some(self.outcomes())
        } else {
            None
        }
    }

    pub(super) fn n_series(&self) -> u64 {
        self.server.len() + self.client.len()
    }

    pub(super) fn overflowed(&self) -> u64 {
        self.server.overflowed() + self.client.overflowed()
    }

    fn durations(&self, series: &Series<HttpKey, Histogram>) -> Vec<Point> {
        let point = |(key, value): (Option<&HttpKey>, &Histogram)| Point {
            attributes: key.map_or_else(overflow, |key| key.attributes(&self.hosts)),
            value: PointValue::Histogram(value.clone()),
        };
        series.iter().map(point).collect()
    }

    fn outcomes(&self) -> Vec<Point> {
        let counted = OUTCOMES.iter().zip(self.outcomes).filter(|(_, n)| *n > 0);
        let point = |(outcome, n): (&&'static str, u64)| Point {
            attributes: vec![(key::OUTCOME, (*outcome).into()), (key::PROTOCOL_NAME, http::PROTOCOL.into())],
            value: PointValue::U64(n),
        };
        counted.map(point).collect()
    }
}

/// `sidecar.outcome`, indexed by [`Outcome`].
const OUTCOMES: [&str; 6] = ["complete", "truncated", "unanswered", "reset", "not_observed", "aborted"];
const _: () = assert!(Outcome::Aborted as usize == OUTCOMES.len() - 1);

/// What tells one HTTP series from another: the attributes before they are words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct HttpKey {
    method: Method,
    version: HttpVersion,
    status: Option<u16>,
    error: Option<ErrorType>,
    server: Option<Server>,
}

impl HttpKey {
    fn attributes(&self, hosts: &Hosts) -> Attributes {
        let mut out: Attributes =
            vec![(key::METHOD, http::method(self.method).into()), (key::URL_SCHEME, http::SCHEME.into())];
        out.extend(self.status.map(|status| (key::STATUS, status.into())));
        out.extend(self.error.map(|error| (key::ERROR_TYPE, error.text().into())));
        out.push((key::PROTOCOL_VERSION, http::version(self.version).into()));
        if let Some((host, port)) = self.server {
            out.push((key::SERVER_ADDRESS, hosts.text(host).into()));
            out.push((key::SERVER_PORT, port.into()));
        }
        out
    }
}

/// A server as the client names it, and its port.
type Server = (HostId, u16);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum HostId {
    Name(u32),
    Ip(IpAddr),
}

/// Names that requests were sent to; as many as there are client series at most.
#[derive(Debug, Default)]
struct Hosts {
    ids: FxHashMap<Box<str>, u32>,
    names: Vec<Box<str>>,
}

impl Hosts {
    /// The server of a request; `None` where its name is new and `learn` forbids it.
    fn server(&mut self, connection: &Connection, http: &Http, learn: bool) -> Option<Server> {
        let (host, port) = http::server(connection, http);
        let id = match host {
            Host::Ip(ip) => HostId::Ip(ip),
            Host::Name(name) => match self.ids.get(name) {
                Some(id) => HostId::Name(*id),
                None if learn => {
                    let id = self.names.len() as u32;
                    self.names.push(name.into());
                    self.ids.insert(name.into(), id);
                    HostId::Name(id)
                }
                None => return None,
            },
        };
        Some((id, port))
    }

    fn text(&self, id: HostId) -> String {
        match id {
            HostId::Ip(ip) => ip.to_string(),
            HostId::Name(id) => self.names.get(id as usize).map(|name| name.to_string()).unwrap_or_default(),
        }
    }
}
