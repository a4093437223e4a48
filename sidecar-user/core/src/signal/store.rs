//! The one owner of all series. Cumulative: a series is forgotten only when nothing was measured for long, so each
//! metric has a cap.

use std::collections::BTreeMap;
use std::time::Duration;

use super::catalogue;
use super::derived::{Derive, Derived};
use super::requests::Requests;
use super::series::{Series, overflow};
use super::snapshot::{Attributes, Family, Moment, Point, PointValue, Snapshot};
use super::tcp::Connections;
use super::{Containers, ExemplarIds, Layout};
use crate::model::{Activity, Connection, Exchange, Kind, Ktime, Message, MetricDef, Start, Tcp};

/// What a store is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Series that a metric may have; one more takes what comes after.
    pub series_cap: usize,
    /// How long a series of the application's may go without a measurement before it vanishes; `None`: it never does.
    pub expiry: Option<Duration>,
    /// Upper bounds of histograms, by the metric's name, in place of the catalogue's.
    pub buckets: BTreeMap<String, Vec<f64>>,
    /// Whether histograms keep exponential buckets beside the explicit ones.
    pub exponential: bool,
    /// Now: since when its values count.
    pub started: Moment,
    /// Peers of TCP connections that are told apart; 0: none are.
    pub peers: usize,
    /// What is made of exchanges besides, as tracing backends do of spans.
    pub derive: Derive,
}

impl Default for Options {
    /// The metrics SDK specification's default cardinality limit, and no more than that.
    fn default() -> Self {
        Options {
            series_cap: 2000,
            peers: 64,
            derive: Derive::default(),
            expiry: None,
            buckets: BTreeMap::new(),
            exponential: false,
            started: Moment::default(),
        }
    }
}

impl Options {
    /// What the histograms of a metric are like.
    pub(super) fn layout(&self, def: &MetricDef) -> Layout {
        let own = match def.kind {
            Kind::Histogram(bounds) => bounds,
            _ => &[],
        };
        let bounds = self.buckets.get(def.name).map_or(own, Vec::as_slice);
        Layout { bounds: bounds.into(), exponential: self.exponential }
    }
}

/// A counter's or gauge's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A whole number.
    U64(u64),
    /// Any number.
    F64(f64),
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Number::U64(value)
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Number::F64(value)
    }
}

impl Number {
    fn as_f64(self) -> f64 {
        match self {
            Number::U64(value) => value as f64,
            Number::F64(value) => value,
        }
    }

    fn plus(self, other: Number) -> Number {
        match (self, other) {
            (Number::U64(a), Number::U64(b)) => Number::U64(a.wrapping_add(b)),
            (a, b) => Number::F64(a.as_f64() + b.as_f64()),
        }
    }

    fn max(self, other: Number) -> Number {
        if other.as_f64() > self.as_f64() { other } else { self }
    }
}

/// How often within the time that a series may live on without a measurement it is looked at.
const EXPIRY_CHECKS: u32 = 10;

/// Most attributes that a counter or gauge may have.
pub(super) const MAX_ATTRIBUTES: usize = 3;
/// Attribute values in the order of the definition; the rest empty.
type Labels = [&'static str; MAX_ATTRIBUTES];

/// All series.
#[derive(Debug)]
pub struct Store {
    options: Options,
    /// The last moment that was told by both clocks.
    now: Moment,
    /// Until then nothing can have become too old.
    expires: Ktime,
    expired: u64,
    requests: Requests,
    derived: Derived,
    connections: Connections,
    containers: Containers,
    numbers: Vec<(&'static MetricDef, Series<Labels, Number>)>,
    /// Metrics whose series are read as a whole.
    replaced: Vec<(&'static MetricDef, Vec<Point>)>,
}

impl Store {
    /// An empty store.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Store {
            now: options.started,
            expires: options.started.ktime,
            expired: 0,
            requests: Requests::new(&options),
            derived: Derived::new(&options),
            connections: Connections::new(&options),
            containers: Containers::default(),
            numbers: Vec::new(),
            replaced: Vec::new(),
            options,
        }
    }

    /// Bounds series so from now on: a lower cap lets those live that there are, another expiry counts from their last
    /// measurement.
    pub fn set_bounds(&mut self, series_cap: usize, expiry: Option<Duration>) {
        (self.options.series_cap, self.options.expiry) = (series_cap, expiry);
        self.expires = Ktime(0);
        self.requests.set_cap(series_cap);
        self.derived.set_cap(series_cap);
        self.connections.set_cap(series_cap);
        self.numbers.iter_mut().for_each(|(_, series)| series.set_cap(series_cap));
    }

    /// The containers that connections are of.
    #[must_use]
    pub fn containers(&self) -> &Containers {
        &self.containers
    }

    /// To be told of containers.
    pub fn containers_mut(&mut self) -> &mut Containers {
        &mut self.containers
    }

    /// A request began. Its exchange is to follow.
    pub fn started(&mut self, connection: &Connection, start: &Start) {
        self.requests.started(connection, start);
    }

    /// A connection that carries requests changed what it is at.
    pub fn activity(&mut self, connection: &Connection, from: Option<Activity>, to: Option<Activity>) {
        self.requests.activity(connection, from, to);
    }

    /// Records a finished exchange under the role of the end that was observed. `span` names the span that it is
    /// exported as, where it is. Allocates only for a new series or a new exemplar.
    pub fn exchange(
        &mut self,
        connection: &Connection,
        protocol: &'static str,
        exchange: &Exchange,
        span: Option<ExemplarIds>,
    ) {
        let container = self.containers.of(connection.cgroup);
        let at = self.now.of(exchange.ended);
        self.derived.record(connection, exchange, at, span);
        self.requests.record(connection, protocol, exchange, at, span, container);
    }

    /// Records a message of a stream, of a connection that speaks `protocol`.
    pub fn message(&mut self, connection: &Connection, protocol: &'static str, message: &Message) {
        self.requests.message(connection, protocol, message, self.now.of(message.at));
    }

    /// Forgets the application's series that nothing was added to for `Options::expiry`, but only what was last
    /// measured before `delivered`: a receiver that is pushed to shall have had the last value of each. Cheap enough
    /// to be called all the time.
    pub fn expire(&mut self, now: Ktime, delivered: Ktime) {
        let Some(expiry) = self.options.expiry.filter(|_| now >= self.expires) else { return };
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.expires = Ktime(now.0.saturating_add(nanos(expiry / EXPIRY_CHECKS)));
        let since = Ktime(now.0.saturating_sub(nanos(expiry))).min(delivered);
        self.expired +=
            self.requests.expire(since) + self.derived.expire(since) + self.connections.expire(since);
    }

    /// Records a turn in a connection's life; `None`: of one that is not followed.
    pub fn tcp(&mut self, at: Ktime, connection: Option<&Connection>, what: Tcp) {
        self.connections.record(self.now.of(at), connection, what, &self.containers);
    }

    /// Records how long an HTTP response was on its way, from its first byte to its last acknowledgement.
    pub fn delivered(&mut self, at: Ktime, connection: &Connection, took: Duration) {
        self.connections.delivered(self.now.of(at), took, self.containers.of(connection.cgroup));
    }

    /// Sets a counter, gauge or info to what its owner says. `attributes` are values in the order of the definition.
    /// A counter never goes down: a reading below the last is kept out.
    pub fn set(&mut self, def: &'static MetricDef, attributes: &[&'static str], value: impl Into<Number>) {
        let value = value.into();
        let slot = self.number(def, attributes, value);
        *slot = match def.kind {
            Kind::Counter | Kind::CounterF64 => slot.max(value),
            Kind::Gauge | Kind::UpDown | Kind::Info | Kind::Histogram(_) => value,
        };
    }

    /// Adds to a counter. `attributes` are values in the order of the definition.
    pub fn add(&mut self, def: &'static MetricDef, attributes: &[&'static str], n: impl Into<Number>) {
        let n = n.into();
        let zero = match n {
            Number::U64(_) => Number::U64(0),
            Number::F64(_) => Number::F64(0.0),
        };
        let slot = self.number(def, attributes, zero);
        *slot = slot.plus(n);
    }

    /// Takes a gauge's series away: there is nothing to say at present.
    pub fn clear(&mut self, def: &'static MetricDef) {
        self.numbers_of(def).clear();
    }

    /// Sets all series of a metric at once: those that are not among `points` are gone. The owner of such a metric
    /// bounds their number.
    pub fn replace(&mut self, def: &'static MetricDef, points: Vec<Point>) {
        match self.replaced.iter_mut().find(|(known, _)| std::ptr::eq(*known, def)) {
            Some((_, old)) => *old = points,
            None => self.replaced.push((def, points)),
        }
    }

    /// All series as they stand. Series that begin from here on tell the time by the clocks as they stand now.
    #[must_use]
    pub fn snapshot(&mut self, now: Moment) -> Snapshot {
        self.now = now;
        let mut families: Vec<Family> = catalogue::ALL
            .iter()
            .map(|def| Family { def, points: self.points(def) })
            .filter(|family| !family.points.is_empty())
            .collect();
        for family in &mut families {
            family.points.sort_by(|a, b| a.attributes.cmp(&b.attributes));
        }
        Snapshot { at: now.unix, started: self.options.started.unix, families }
    }

    fn number(&mut self, def: &'static MetricDef, attributes: &[&'static str], new: Number) -> &mut Number {
        debug_assert_eq!(attributes.len(), def.attributes.len(), "attributes of {}", def.name);
        let mut labels = Labels::default();
        for (label, value) in labels.iter_mut().zip(attributes) {
            *label = value;
        }
        let at = self.options.started;
        self.numbers_of(def).entry(labels, at, || new)
    }

    fn numbers_of(&mut self, def: &'static MetricDef) -> &mut Series<Labels, Number> {
        let found = self.numbers.iter().position(|(known, _)| std::ptr::eq(*known, def));
        let index = found.unwrap_or_else(|| {
            self.numbers.push((def, Series::new(self.options.series_cap)));
            self.numbers.len() - 1
        });
        &mut self.numbers[index].1
    }

    fn points(&self, def: &'static MetricDef) -> Vec<Point> {
        let own = self.requests.points(def, &self.containers).or_else(|| self.connections.points(def));
        let own = own.or_else(|| self.derived.points(def));
        if let Some(points) = own {
            points
        } else if std::ptr::eq(def, &catalogue::SERIES) {
            let numbers: u64 = self.numbers.iter().map(|(_, series)| series.len()).sum();
            let replaced: usize = self.replaced.iter().map(|(_, points)| points.len()).sum();
            let exchanges = self.requests.n_series() + self.derived.n_series();
            vec![lone(exchanges + self.connections.n_series() + numbers + replaced as u64)]
        } else if std::ptr::eq(def, &catalogue::SERIES_OVERFLOWED) {
            let numbers: u64 = self.numbers.iter().map(|(_, series)| series.overflowed()).sum();
            let exchanges = self.requests.overflowed() + self.derived.overflowed();
            vec![lone(exchanges + self.connections.overflowed() + numbers)]
        } else if std::ptr::eq(def, &catalogue::SERIES_EXPIRED) {
            vec![lone(self.expired)]
        } else if let Some((_, points)) = self.replaced.iter().find(|(known, _)| std::ptr::eq(*known, def)) {
            points.clone()
        } else {
            let series = self.numbers.iter().find(|(known, _)| std::ptr::eq(*known, def));
            series.map(|(_, series)| number_points(def, series)).unwrap_or_default()
        }
    }
}

fn number_points(def: &'static MetricDef, series: &Series<Labels, Number>) -> Vec<Point> {
    let attributes = |labels: &Labels| -> Attributes {
        def.attributes.iter().zip(labels).map(|(key, value)| (*key, (*value).into())).collect()
    };
    let point = |(labels, value): (Option<&Labels>, &Number)| Point {
        attributes: labels.map_or_else(overflow, attributes),
        started: None,
        value: match *value {
            Number::U64(value) => PointValue::U64(value),
            Number::F64(value) => PointValue::F64(value),
        },
    };
    series.iter().map(point).collect()
}

fn lone(value: u64) -> Point {
    Point { attributes: Vec::new(), started: None, value: PointValue::U64(value) }
}
