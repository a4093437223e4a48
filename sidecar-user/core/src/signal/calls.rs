//! Series of what is asked besides HTTP, and of messages: keyed by words as numbers, as each family names them.

use std::net::IpAddr;
use std::sync::Arc;

use super::family::{self, Called, MAX_WORDS, Word};
use super::interned::Names;
use super::series::Series;
use super::snapshot::{Attributes, Moment, Point, PointValue, UnixNanos, Value};
use super::{ExemplarIds, Histogram, Layout, Options, catalogue, http, key};
use crate::model::{Connection, Exchange, Http, Ktime, Message, MessageKind, MetricDef, Role, Side};

/// Metrics that are measured, each with its series.
#[derive(Debug)]
pub(super) struct Calls {
    measured: Vec<Measured>,
    names: Names,
    messages: Vec<Messages>,
    size: Layout,
    cap: usize,
}

#[derive(Debug)]
struct Measured {
    def: &'static MetricDef,
    layout: Layout,
    series: Series<Key, Histogram>,
}

/// A word as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kept {
    Absent,
    Name(u32),
    Number(u16),
    Flag(bool),
    Ip(IpAddr),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    words: [Kept; MAX_WORDS],
    container: Option<Arc<str>>,
}

/// Messages of one protocol, direction and kind.
#[derive(Debug)]
struct Messages {
    protocol: &'static str,
    sent: bool,
    kind: MessageKind,
    /// When the first came.
    started: UnixNanos,
    size: Histogram,
}

impl Calls {
    pub(super) fn new(options: &Options) -> Self {
        Calls {
            measured: measured()
                .map(|def| Measured {
                    def,
                    layout: options.layout(def),
                    series: Series::new(options.series_cap),
                })
                .collect(),
            names: Names::default(),
            messages: Vec::new(),
            size: options.layout(&catalogue::MESSAGE_SIZE),
            cap: options.series_cap,
        }
    }

    pub(super) fn set_cap(&mut self, cap: usize) {
        self.cap = cap;
        self.measured.iter_mut().for_each(|measured| measured.series.set_cap(cap));
    }

    /// An exchange that is not HTTP's; what HTTP says of it where it is.
    pub(super) fn record<'a>(
        &mut self,
        connection: &'a Connection,
        exchange: &'a Exchange,
        at: Moment,
        span: Option<ExemplarIds>,
        container: Option<&Arc<str>>,
    ) -> Result<(), &'a Http> {
        let called = family::called(connection, exchange)?;
        let took = exchange.ended.since(exchange.started).as_secs_f64();
        for (def, value) in [(called.duration, took)].into_iter().chain(called.also) {
            let Some(measured) = self.measured.iter_mut().find(|one| std::ptr::eq(one.def, def)) else {
                continue;
            };
            let key = key(&mut self.names, &called, container, !measured.series.is_full());
            let make = || Histogram::new(&measured.layout);
            let histogram = match key {
                Some(key) => measured.series.entry(key, at, make),
                None => measured.series.overflow(at, make),
            };
            histogram.record(value, at.unix, span);
        }
        Ok(())
    }

    /// A message passed.
    pub(super) fn message(
        &mut self,
        connection: &Connection,
        protocol: &'static str,
        message: &Message,
        at: Moment,
    ) {
        let sent = (http::role(connection) == Role::Client) == (message.side == Side::Client);
        let is_it = |one: &Messages| (one.protocol, one.sent, one.kind) == (protocol, sent, message.kind);
        let place = self.messages.iter().position(is_it).unwrap_or_else(|| {
            let size = Histogram::new(&self.size);
            self.messages.push(Messages { protocol, sent, kind: message.kind, started: at.unix, size });
            self.messages.len() - 1
        });
        self.messages[place].size.record(message.bytes as f64, at.unix, None);
    }

    pub(super) fn expire(&mut self, since: Ktime) -> u64 {
        let before = self.n_series();
        let n: u64 = self.measured.iter_mut().map(|measured| measured.series.expire(since)).sum();
        if n > 0 {
            let keys = self.measured.iter().flat_map(|measured| measured.series.keys());
            let used = keys.flat_map(|key| key.words).filter_map(|word| match word {
                Kept::Name(id) => Some(id),
                _ => None,
            });
            self.names.retain(used.collect::<Vec<_>>().into_iter());
        }
        before - self.n_series()
    }

    /// The points of a metric that is fed from here; `None` for the others.
    pub(super) fn points(&self, def: &'static MetricDef) -> Option<Vec<Point>> {
        let of_messages = |value: fn(&Messages) -> PointValue| {
            let point = |one: &Messages| Point {
                attributes: one.attributes(),
                started: Some(one.started),
                value: value(one),
            };
            self.messages.iter().map(point).collect()
        };
        if std::ptr::eq(def, &catalogue::MESSAGES) {
            return Some(of_messages(|one| PointValue::U64(one.size.count)));
        }
        if std::ptr::eq(def, &catalogue::MESSAGE_SIZE) {
            return Some(of_messages(|one| PointValue::Histogram(one.size.clone())));
        }
        let measured = self.measured.iter().find(|one| std::ptr::eq(one.def, def))?;
        let value = |histogram: &Histogram| Some(PointValue::Histogram(histogram.clone()));
        Some(measured.series.points(|key| self.attributes(measured.def, key), value))
    }

    pub(super) fn n_series(&self) -> u64 {
        self.measured.iter().map(|measured| measured.series.len()).sum::<u64>()
            + 2 * self.messages.len() as u64
    }

    pub(super) fn overflowed(&self) -> u64 {
        self.measured.iter().map(|measured| measured.series.overflowed()).sum()
    }

    fn attributes(&self, def: &MetricDef, key: &Key) -> Attributes {
        let words = def.attributes.iter().zip(&key.words).filter_map(|(name, word)| {
            let value = match *word {
                Kept::Absent => return None,
                Kept::Name(id) => self.names.text(id).to_owned().into(),
                Kept::Number(number) => number.into(),
                Kept::Flag(flag) => Value::Bool(flag),
                Kept::Ip(ip) => ip.to_string().into(),
            };
            Some((*name, value))
        });
        let container = key.container.as_ref();
        words.chain(container.map(|name| (key::CONTAINER_NAME, name.to_string().into()))).collect()
    }
}

/// The metrics that are measured here.
pub(super) fn measured() -> impl Iterator<Item = &'static MetricDef> {
    family::DURATIONS.into_iter().flatten().copied().chain([&catalogue::DB_CLIENT_ROWS])
}

/// How an exchange that is not HTTP's was measured by `def`, or by its duration.
pub(super) fn measurement(
    def: Option<&'static MetricDef>,
    called: &Called<'_>,
    exchange: &Exchange,
    container: Option<&Arc<str>>,
) -> Option<(&'static MetricDef, Attributes, f64)> {
    let def = def.unwrap_or(called.duration);
    let took = exchange.ended.since(exchange.started).as_secs_f64();
    let values = [(called.duration, took)].into_iter().chain(called.also);
    let (def, value) = values.into_iter().find(|(one, _)| std::ptr::eq(*one, def))?;
    let words = def.attributes.iter().zip(&called.words);
    let words = words.filter_map(|(name, word)| Some((*name, word.as_ref()?.value())));
    let container = container.map(|name| (key::CONTAINER_NAME, name.to_string().into()));
    Some((def, words.chain(container).collect(), value))
}

/// `None` where a name is new and `learn` forbids it.
fn key(names: &mut Names, called: &Called<'_>, container: Option<&Arc<str>>, learn: bool) -> Option<Key> {
    let mut words = [Kept::Absent; MAX_WORDS];
    for (kept, word) in words.iter_mut().zip(&called.words) {
        *kept = match word {
            None => Kept::Absent,
            Some(Word::Text(text)) => Kept::Name(names.id(text, learn)?),
            Some(Word::Number(number)) => Kept::Number(*number),
            Some(Word::Flag(flag)) => Kept::Flag(*flag),
            Some(Word::Ip(ip)) => Kept::Ip(*ip),
        };
    }
    Some(Key { words, container: container.cloned() })
}

impl Messages {
    fn attributes(&self) -> Attributes {
        let direction = if self.sent { "transmit" } else { "receive" };
        vec![
            (key::PROTOCOL_NAME, self.protocol.into()),
            (key::IO_DIRECTION, direction.into()),
            (key::MESSAGE_TYPE, kind(self.kind).into()),
        ]
    }
}

fn kind(kind: MessageKind) -> &'static str {
    match kind {
        MessageKind::Text => "text",
        MessageKind::Binary => "binary",
        MessageKind::Ping => "ping",
        MessageKind::Pong => "pong",
        MessageKind::Close => "close",
        MessageKind::Event => "event",
        MessageKind::Call => "call",
        MessageKind::Push => "push",
    }
}
