//! Series of requests: the hot path, one lookup an exchange.

use std::net::IpAddr;

use rustc_hash::FxHashMap;

use super::http::{self, ErrorType, Host};
use super::now::Now;
use super::series::{Series, overflow};
use super::snapshot::{Attributes, Point, PointValue};
use super::{Histogram, catalogue, key};
use crate::model::{
    Activity, Connection, Detail, Exchange, Http, HttpVersion, Kind, Method, MetricDef, Outcome, Role, Route,
    Start,
};

/// What a histogram of requests measures, in the order of [`Measured`].
const MEASURES: usize = 5;
/// The metrics of each role.
const OF_SERVER: [&MetricDef; MEASURES] = [
    &catalogue::HTTP_SERVER_DURATION,
    &catalogue::HTTP_SERVER_FIRST_BYTE,
    &catalogue::HTTP_SERVER_WAIT,
    &catalogue::HTTP_SERVER_REQUEST_SIZE,
    &catalogue::HTTP_SERVER_RESPONSE_SIZE,
];
const OF_CLIENT: [&MetricDef; MEASURES] = [
    &catalogue::HTTP_CLIENT_DURATION,
    &catalogue::HTTP_CLIENT_FIRST_BYTE,
    &catalogue::HTTP_CLIENT_WAIT,
    &catalogue::HTTP_CLIENT_REQUEST_SIZE,
    &catalogue::HTTP_CLIENT_RESPONSE_SIZE,
];

/// The series that have the same attributes: one histogram a measure, all found by one lookup.
type Measured = [Histogram; MEASURES];

/// Histograms by role, what is going on now, and how the requests ended.
#[derive(Debug)]
pub(super) struct Requests {
    server: Series<HttpKey, Measured>,
    client: Series<HttpKey, Measured>,
    hosts: Hosts,
    now: Now,
    outcomes: [u64; OUTCOMES.len()],
    excluded: u64,
}

impl Requests {
    pub(super) fn new(cap: usize) -> Self {
        Requests {
            server: Series::new(cap),
            client: Series::new(cap),
            hosts: Hosts::default(),
            now: Now::new(cap),
            outcomes: [0; OUTCOMES.len()],
            excluded: 0,
        }
    }

    /// A request began.
    pub(super) fn started(&mut self, connection: &Connection, start: &Start) {
        if !start.is_excluded && http::role(connection) == Role::Server {
            self.now.began(start.method);
        }
    }

    /// A connection changed what it is at.
    pub(super) fn activity(&mut self, connection: &Connection, from: Option<Activity>, to: Option<Activity>) {
        if http::role(connection) == Role::Client {
            self.now.moved(connection.remote, from, to);
        }
    }

    /// Every outcome counts: the histogram's count is the number of requests.
    pub(super) fn record(&mut self, connection: &Connection, exchange: &Exchange) {
        if exchange.is_excluded {
            self.excluded += 1;
            return;
        }
        let Detail::Http(http) = &exchange.detail;
        self.outcomes[exchange.outcome as usize] += 1;
        let role = http::role(connection);
        let key = |server: Option<Server>| HttpKey {
            method: http.method,
            version: http.version,
            status: http::status(http),
            error: ErrorType::of(role, exchange.outcome, http),
            route: http.route.clone().filter(|_| role == Role::Server),
            server,
        };
        let (defs, measured) = match role {
            Role::Server => {
                self.now.ended(http.method);
                (OF_SERVER, self.server.entry(key(None), || empty(OF_SERVER)))
            }
            Role::Client => {
                let measured = match self.hosts.server(connection, http, !self.client.is_full()) {
                    Some(server) => self.client.entry(key(Some(server)), || empty(OF_CLIENT)),
                    None => self.client.overflow(|| empty(OF_CLIENT)),
                };
                (OF_CLIENT, measured)
            }
        };
        for ((def, histogram), value) in defs.iter().zip(measured).zip(measures(exchange, http)) {
            if let Some(value) = value {
                histogram.record(bounds(def), value);
            }
        }
    }

    /// The points of a metric that is fed from here; `None` for the others.
    pub(super) fn points(&self, def: &'static MetricDef) -> Option<Vec<Point>> {
        let is = |other: &MetricDef| std::ptr::eq(def, other);
        if let Some(measure) = OF_SERVER.iter().position(|def| is(def)) {
            Some(self.histograms(&self.server, measure))
        } else if let Some(measure) = OF_CLIENT.iter().position(|def| is(def)) {
            Some(self.histograms(&self.client, measure))
        } else if is(&catalogue::HTTP_SERVER_ACTIVE) {
            Some(self.now.requests())
        } else if is(&catalogue::HTTP_CLIENT_OPEN) {
            Some(self.now.connections())
        } else if is(&catalogue::PARSER_OUTCOMES) {
            Some(self.outcomes())
        } else if is(&catalogue::EXCLUDED_EXCHANGES) {
            Some(vec![Point {
                attributes: vec![(key::REASON, "path".into())],
                value: PointValue::U64(self.excluded),
            }])
        } else {
            None
        }
    }

    pub(super) fn n_series(&self) -> u64 {
        let of = |series: &Series<HttpKey, Measured>| -> u64 {
            series
                .iter()
                .map(|(_, measured)| measured.iter().filter(|one| one.count > 0).count() as u64)
                .sum()
        };
        of(&self.server) + of(&self.client)
    }

    pub(super) fn overflowed(&self) -> u64 {
        self.server.overflowed() + self.client.overflowed()
    }

    fn histograms(&self, series: &Series<HttpKey, Measured>, measure: usize) -> Vec<Point> {
        let measured = series.iter().map(|(key, measured)| (key, &measured[measure]));
        let point = |(key, value): (Option<&HttpKey>, &Histogram)| Point {
            attributes: key.map_or_else(overflow, |key| key.attributes(&self.hosts)),
            value: PointValue::Histogram(value.clone()),
        };
        measured.filter(|(_, value)| value.count > 0).map(point).collect()
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

/// What an exchange measured, in the order of [`Measured`].
fn measures(exchange: &Exchange, http: &Http) -> [Option<f64>; MEASURES] {
    let Exchange { started, requested, answered, ended, .. } = *exchange;
    let wait = answered.zip(requested).filter(|(answered, requested)| answered >= requested);
    [
        Some(ended.since(started).as_secs_f64()),
        answered.map(|answered| answered.since(started).as_secs_f64()),
        wait.map(|(answered, requested)| answered.since(requested).as_secs_f64()),
        Some(http.request_body as f64),
        answered.map(|_| http.response_body as f64),
    ]
}

fn empty(defs: [&MetricDef; MEASURES]) -> Measured {
    defs.map(|def| Histogram::new(bounds(def).len()))
}

fn bounds(def: &MetricDef) -> &'static [f64] {
    match def.kind {
        Kind::Histogram(bounds) => bounds,
        Kind::Counter | Kind::CounterF64 | Kind::Gauge | Kind::UpDown | Kind::Info => &[],
    }
}

/// `sidecar.outcome`, indexed by [`Outcome`].
const OUTCOMES: [&str; 6] = ["complete", "truncated", "unanswered", "reset", "not_observed", "aborted"];
const _: () = assert!(Outcome::Aborted as usize == OUTCOMES.len() - 1);

/// What tells one HTTP series from another: the attributes before they are words.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct HttpKey {
    method: Method,
    version: HttpVersion,
    status: Option<u16>,
    error: Option<ErrorType>,
    route: Option<Route>,
    server: Option<Server>,
}

impl HttpKey {
    fn attributes(&self, hosts: &Hosts) -> Attributes {
        let mut out: Attributes =
            vec![(key::METHOD, http::method(self.method).into()), (key::URL_SCHEME, http::SCHEME.into())];
        out.extend(self.status.map(|status| (key::STATUS, status.into())));
        out.extend(self.error.map(|error| (key::ERROR_TYPE, error.text().into())));
        out.extend(self.route.as_ref().map(|route| (key::ROUTE, route.pattern.to_string().into())));
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
