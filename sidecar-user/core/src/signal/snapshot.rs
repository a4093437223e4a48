//! All series at one time. Immutable; every exposition encodes one of these, so that they cannot disagree.

use std::borrow::Cow;
use std::fmt;

use super::Histogram;
use crate::model::{Ktime, MetricDef};

/// Nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNanos(pub u64);

/// One moment by both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// By the kernel's.
    pub ktime: Ktime,
    /// By the wall's.
    pub unix: UnixNanos,
}

impl Moment {
    /// The moment that was `ktime`, if the two clocks went alike between it and this one.
    #[must_use]
    pub fn of(self, ktime: Ktime) -> Moment {
        let (earlier, later) = (self.ktime.since(ktime), ktime.since(self.ktime));
        let nanos = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let unix = self.unix.0.saturating_sub(nanos(earlier)).saturating_add(nanos(later));
        Moment { ktime, unix: UnixNanos(unix) }
    }
}

/// An attribute's value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// Text.
    Str(Cow<'static, str>),
    /// A number: a status code, a port.
    Int(i64),
    /// A flag.
    Bool(bool),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Str(text) => f.write_str(text),
            Value::Int(number) => number.fmt(f),
            Value::Bool(flag) => flag.fmt(f),
        }
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Value::Str(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Str(Cow::Owned(text))
    }
}

impl From<Cow<'static, str>> for Value {
    fn from(text: Cow<'static, str>) -> Self {
        Value::Str(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Value::Int(number.into())
    }
}

/// Attributes of a point or span, in the order of the metric's definition.
pub type Attributes = Vec<(&'static str, Value)>;

/// What a series stood at.
#[derive(Clone, Debug, PartialEq)]
pub enum PointValue {
    /// A whole number.
    U64(u64),
    /// Any number.
    F64(f64),
    /// A distribution.
    Histogram(Histogram),
}

/// One series.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// What tells it from the others of its metric.
    pub attributes: Attributes,
    /// Since when it counts, where it began later than the others: such a one may vanish and begin again.
    pub started: Option<UnixNanos>,
    /// Where it stood.
    pub value: PointValue,
}

/// A metric's series, at least one, ordered by their attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The metric.
    pub def: &'static MetricDef,
    /// Its series.
    pub points: Vec<Point>,
}

/// All series at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// When it was taken.
    pub at: UnixNanos,
    /// Since when its cumulative values count, but for points that say otherwise.
    pub started: UnixNanos,
    /// Metrics that have series, in the catalogue's order.
    pub families: Vec<Family>,
}

impl Snapshot {
    /// The metric's family, if it has series.
    #[must_use]
    pub fn family(&self, def: &MetricDef) -> Option<&Family> {
        self.families.iter().find(|family| family.def.name == def.name)
    }

    /// How many series.
    #[must_use]
    pub fn n_points(&self) -> u64 {
        self.families.iter().map(|family| family.points.len() as u64).sum()
    }
}
