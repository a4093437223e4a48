//! Series of requests: the hot path, one lookup an exchange.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::calls::{self, Calls};
use super::family;
use super::http::{self, ErrorType, Host};
use super::interned::Names;
use super::now::Now;
use super::reason::{Ended, Excluded};
use super::series::Series;
use super::snapshot::{Attributes, Moment, Point, PointValue};
use super::{Containers, ExemplarIds, Histogram, Layout, Options, catalogue, key};
use crate::model::{
    Activity, Connection, Exchange, Http, HttpVersion, Ktime, Message, Method, MetricDef, Outcome, Role,
    Route, Start,
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

/// What is measured of a server's request whose read was seen: how long it was waited for, and what came after.
const OF_READS: [&MetricDef; 2] = [&catalogue::HTTP_SERVER_SOCKET_WAIT, &catalogue::HTTP_SERVER_WORK];

/// The series that have the same attributes: one histogram a measure, all found by one lookup.
type Measured<const N: usize = MEASURES> = [Histogram; N];

/// Histograms by role, what is going on now, and how the requests ended.
#[derive(Debug)]
pub(super) struct Requests {
    server: Series<HttpKey, Measured>,
    client: Series<HttpKey, Measured>,
    /// Of servers; apart, as nobody has them who did not ask.
    reads: Series<HttpKey, Measured<2>>,
    layouts: Layouts,
    hosts: Names,
    now: Now,
    calls: Calls,
    /// By protocol.
    outcomes: Vec<(&'static str, [u64; Ended::WORDS.len()])>,
    excluded: u64,
}

/// What the histograms are like.
#[derive(Debug)]
struct Layouts {
    server: [Layout; MEASURES],
    client: [Layout; MEASURES],
    reads: [Layout; 2],
}

impl Requests {
    pub(super) fn new(options: &Options) -> Self {
        Requests {
            server: Series::new(options.series_cap),
            client: Series::new(options.series_cap),
            reads: Series::new(options.series_cap),
            layouts: Layouts {
                server: OF_SERVER.map(|def| options.layout(def)),
                client: OF_CLIENT.map(|def| options.layout(def)),
                reads: OF_READS.map(|def| options.layout(def)),
            },
            hosts: Names::default(),
            now: Now::new(options.series_cap),
            calls: Calls::new(options),
            outcomes: Vec::new(),
            excluded: 0,
        }
    }

    /// As many series from now on.
    pub(super) fn set_cap(&mut self, cap: usize) {
        self.server.set_cap(cap);
        self.client.set_cap(cap);
        self.now.set_cap(cap);
        self.calls.set_cap(cap);
    }

    /// A request began.
    pub(super) fn started(&mut self, connection: &Connection, start: &Start) {
        if let Some(method) = start.method.filter(|_| !start.is_excluded)
            && http::role(connection) == Role::Server
        {
            self.now.began(connection.cgroup, method);
        }
    }

    /// A connection changed what it is at.
    pub(super) fn activity(&mut self, connection: &Connection, from: Option<Activity>, to: Option<Activity>) {
        if http::role(connection) == Role::Client {
            self.now.moved(connection, from, to);
        }
    }

    /// Every outcome counts: the histogram's count is the number of requests. `at` is when it ended, `span` what it is
    /// exported as, `container` whose it is where that is told.
    pub(super) fn record(
        &mut self,
        connection: &Connection,
        protocol: &'static str,
        exchange: &Exchange,
        at: Moment,
        span: Option<ExemplarIds>,
        container: Option<Arc<str>>,
    ) {
        if exchange.is_excluded {
            self.excluded += 1;
            return;
        }
        self.count(protocol, exchange.outcome);
        let Err(http) = self.calls.record(connection, exchange, at, span, container.as_ref()) else { return };
        let role = http::role(connection);
        let key = |server| HttpKey::new(role, exchange.outcome, http, server, container);
        let measured = match role {
            Role::Server => {
                if let Some(method) = http.method.filter(|_| !http.is_doubtful) {
                    self.now.ended(connection.cgroup, method);
                }
                let key = key(None);
                if let Some(values) = of_read(exchange) {
                    let histograms = self.reads.entry(key.clone(), at, || empty(&self.layouts.reads));
                    for (histogram, value) in histograms.iter_mut().zip(values) {
                        histogram.record(value, at.unix, span);
                    }
                }
                self.server.entry(key, at, || empty(&self.layouts.server))
            }
            Role::Client => {
                let make = || empty(&self.layouts.client);
                match server(&mut self.hosts, connection, http, !self.client.is_full()) {
                    Some(server) => self.client.entry(key(Some(server)), at, make),
                    None => self.client.overflow(at, make),
                }
            }
        };
        for (histogram, value) in measured.iter_mut().zip(measures(exchange, http)) {
            if let Some(value) = value {
                histogram.record(value, at.unix, span);
            }
        }
    }

    /// A message passed at `at`.
    pub(super) fn message(
        &mut self,
        connection: &Connection,
        protocol: &'static str,
        message: &Message,
        at: Moment,
    ) {
        self.calls.message(connection, protocol, message, at);
    }

    fn count(&mut self, protocol: &'static str, outcome: Outcome) {
        let place = self.outcomes.iter().position(|(known, _)| *known == protocol).unwrap_or_else(|| {
            self.outcomes.push((protocol, [0; Ended::WORDS.len()]));
            self.outcomes.len() - 1
        });
        self.outcomes[place].1[Ended::from(outcome) as usize] += 1;
    }

    /// Forgets what was last measured before `since`; how many series that were.
    pub(super) fn expire(&mut self, since: Ktime) -> u64 {
        let before = self.n_series();
        self.calls.expire(since);
        self.server.expire(since);
        self.reads.expire(since);
        if self.client.expire(since) > 0 {
            let used = self.client.keys().filter_map(|key| match key.server {
                Some((HostId::Name(id), ..)) => Some(id),
                _ => None,
            });
            self.hosts.retain(used);
        }
        before - self.n_series()
    }

    /// The points of a metric that is fed from here; `None` for the others.
    pub(super) fn points(&self, def: &'static MetricDef, containers: &Containers) -> Option<Vec<Point>> {
        let is = |other: &MetricDef| std::ptr::eq(def, other);
        if let Some(measure) = OF_SERVER.iter().position(|def| is(def)) {
            Some(self.histograms(&self.server, measure))
        } else if let Some(measure) = OF_READS.iter().position(|def| is(def)) {
            Some(self.histograms(&self.reads, measure))
        } else if let Some(measure) = OF_CLIENT.iter().position(|def| is(def)) {
            Some(self.histograms(&self.client, measure))
        } else if is(&catalogue::HTTP_SERVER_ACTIVE) {
            Some(self.now.requests(containers))
        } else if is(&catalogue::HTTP_CLIENT_OPEN) {
            Some(self.now.connections(containers))
        } else if is(&catalogue::PARSER_OUTCOMES) {
            Some(self.outcomes())
        } else if is(&catalogue::EXCLUDED_EXCHANGES) {
            Some(vec![Point {
                attributes: vec![(key::REASON, Excluded::Path.word().into())],
                started: None,
                value: PointValue::U64(self.excluded),
            }])
        } else {
            self.calls.points(def)
        }
    }

    pub(super) fn n_series(&self) -> u64 {
        fn of<const N: usize>(series: &Series<HttpKey, Measured<N>>) -> u64 {
            let n = |measured: &Measured<N>| measured.iter().filter(|one| one.count > 0).count() as u64;
            series.iter().map(|(_, measured)| n(measured)).sum()
        }
        of(&self.server) + of(&self.client) + of(&self.reads) + self.calls.n_series()
    }

    pub(super) fn overflowed(&self) -> u64 {
        self.server.overflowed()
            + self.client.overflowed()
            + self.reads.overflowed()
            + self.calls.overflowed()
    }

    fn histograms<const N: usize>(
        &self,
        series: &Series<HttpKey, Measured<N>>,
        measure: usize,
    ) -> Vec<Point> {
        let value = |measured: &Measured<N>| {
            let histogram = &measured[measure];
            (histogram.count > 0).then(|| PointValue::Histogram(histogram.clone()))
        };
        series.points(|key| key.attributes(&self.hosts), value)
    }

    fn outcomes(&self) -> Vec<Point> {
        let mut points = Vec::new();
        for (protocol, outcomes) in &self.outcomes {
            for (outcome, n) in Ended::WORDS.iter().zip(outcomes).filter(|(_, n)| **n > 0) {
                let attributes =
                    vec![(key::OUTCOME, (*outcome).into()), (key::PROTOCOL_NAME, (*protocol).into())];
                points.push(Point { attributes, started: None, value: PointValue::U64(*n) });
            }
        }
        points
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
        http.request_body.map(|n| n as f64),
        http.response_body.map(|n| n as f64),
    ]
}

/// How long the request lay in its socket, and what the application did then, in the order of [`OF_READS`].
fn of_read(exchange: &Exchange) -> Option<[f64; 2]> {
    let Exchange { requested, read, answered, .. } = *exchange;
    let (requested, read, answered) = (requested?, read?, answered?);
    Some([read.since(requested).as_secs_f64(), answered.since(read).as_secs_f64()])
}

/// The metrics that exchanges are measured by.
pub(super) fn measured() -> Vec<&'static MetricDef> {
    [&OF_SERVER[..], &OF_READS, &OF_CLIENT].concat().into_iter().chain(calls::measured()).collect()
}

/// How an exchange was measured by `def`, or by its duration: the metric, the series and the value. `None` where the
/// metric is the other role's, or the exchange has not what it measures.
pub(super) fn measurement(
    def: Option<&'static MetricDef>,
    connection: &Connection,
    exchange: &Exchange,
    container: Option<Arc<str>>,
) -> Option<(&'static MetricDef, Attributes, f64)> {
    let http = match family::called(connection, exchange) {
        Ok(called) => return calls::measurement(def, &called, exchange, container.as_ref()),
        Err(http) => http,
    };
    let role = http::role(connection);
    let defs = match role {
        Role::Server => OF_SERVER,
        Role::Client => OF_CLIENT,
    };
    let def = def.unwrap_or(defs[0]);
    let at = |defs: &[&'static MetricDef]| defs.iter().position(|one| std::ptr::eq(*one, def));
    let value = match at(&defs) {
        Some(measure) => measures(exchange, http)[measure]?,
        None => of_read(exchange)?[at(&OF_READS)?],
    };
    let mut hosts = Names::default();
    let server = match role {
        Role::Server => None,
        Role::Client => Some(server(&mut hosts, connection, http, true)?),
    };
    let series = HttpKey::new(role, exchange.outcome, http, server, container).attributes(&hosts);
    Some((def, series, value))
}

/// Whether it counts as an error.
pub(super) fn is_error(connection: &Connection, exchange: &Exchange) -> bool {
    match family::called(connection, exchange) {
        Ok(called) => called.error.is_some(),
        Err(http) => ErrorType::of(http::role(connection), exchange.outcome, http).is_some(),
    }
}

fn empty<const N: usize>(layouts: &[Layout; N]) -> Measured<N> {
    layouts.each_ref().map(Histogram::new)
}

/// What tells one HTTP series from another: the attributes before they are words.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct HttpKey {
    method: Method,
    version: HttpVersion,
    status: Option<u16>,
    error: Option<ErrorType>,
    route: Option<Route>,
    server: Option<Server>,
    container: Option<Arc<str>>,
}

impl HttpKey {
    fn new(
        role: Role,
        outcome: Outcome,
        http: &Http,
        server: Option<Server>,
        container: Option<Arc<str>>,
    ) -> HttpKey {
        HttpKey {
            method: http::known(http),
            version: http.version,
            status: http.status,
            error: ErrorType::of(role, outcome, http),
            route: http.route.clone().filter(|_| role == Role::Server),
            server,
            container,
        }
    }

    fn attributes(&self, hosts: &Names) -> Attributes {
        let mut out: Attributes =
            vec![(key::METHOD, http::method(self.method).into()), (key::URL_SCHEME, http::SCHEME.into())];
        out.extend(self.status.map(|status| (key::STATUS, status.into())));
        out.extend(self.error.map(|error| (key::ERROR_TYPE, error.text().into())));
        out.extend(self.route.as_ref().map(|route| (key::ROUTE, route.pattern.to_string().into())));
        out.push((key::PROTOCOL_VERSION, http::version(self.version).into()));
        if let Some((host, port, endpoint)) = self.server {
            out.push((key::SERVER_ADDRESS, host.text(hosts).into()));
            out.push((key::SERVER_PORT, port.into()));
            if let Some(endpoint) = endpoint {
                out.push((key::PEER_ADDRESS, endpoint.ip().to_canonical().to_string().into()));
                out.push((key::PEER_PORT, endpoint.port().into()));
            }
        }
        out.extend(self.container.as_ref().map(|name| (key::CONTAINER_NAME, name.to_string().into())));
        out
    }
}

/// A server as the client names it, and its port; the endpoint that it is, where one was chosen.
type Server = (HostId, u16, Option<SocketAddr>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum HostId {
    Name(u32),
    Ip(IpAddr),
}

impl HostId {
    fn text(self, hosts: &Names) -> String {
        match self {
            HostId::Ip(ip) => ip.to_string(),
            HostId::Name(id) => hosts.text(id).to_owned(),
        }
    }
}

/// The server of a request; `None` where its name is new and `learn` forbids it.
fn server(hosts: &mut Names, connection: &Connection, http: &Http, learn: bool) -> Option<Server> {
    let (host, port) = http::server(connection, http);
    let id = match host {
        Host::Ip(ip) => HostId::Ip(ip),
        Host::Name(name) => HostId::Name(hosts.id(name, learn)?),
    };
    let endpoint = connection.steered.as_ref().and_then(|steered| steered.endpoint);
    Some((id, port, endpoint))
}
