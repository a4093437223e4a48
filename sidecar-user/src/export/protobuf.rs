//! Prometheus' protobuf format: `io.prometheus.client.MetricFamily` messages, each behind its length. The only format
//! that carries native histograms; the explicit buckets are beside them, for a scraper that wants either.
//! Source of names and numbers: <https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto>

use std::fmt;

use prost::Message as _;
use sidecar_core::model::Kind;
use sidecar_core::signal::{self, Exponential, Family, Point, PointValue, Snapshot, UnixNanos, names};

use self::message::{
    Bucket, BucketSpan, Counter, Exemplar, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
    Timestamp,
};
use super::{Resource, hex, text};

/// The finest schema that Prometheus knows; ours may be finer.
const MAX_SCHEMA: i32 = 8;
/// What OpenTelemetry's compatibility specification takes where nothing is said; below it lies the bucket of 0. Above 0,
/// so that a histogram without a value is still known for a native one.
const ZERO_THRESHOLD: f64 = 1e-128;

/// The whole exposition.
pub(super) fn encode(snapshot: &Snapshot, resource: &Resource) -> Result<Vec<u8>, fmt::Error> {
    let mut out = Vec::with_capacity(16 * 1024);
    for family in
        target(resource).into_iter().chain(snapshot.families.iter().map(|one| family(snapshot, one)))
    {
        family.encode_length_delimited(&mut out).map_err(|_| fmt::Error)?;
    }
    Ok(out)
}

fn target(resource: &Resource) -> Option<MetricFamily> {
    let labels: Vec<_> = resource.labels().into_iter().collect();
    let metric = Metric { gauge: Some(Gauge { value: 1.0 }), ..Metric::of(labels) };
    (!metric.label.is_empty()).then(|| MetricFamily {
        name: "target_info".to_owned(),
        help: "Target metadata.".to_owned(),
        kind: MetricType::Gauge.into(),
        metric: vec![metric],
        unit: String::new(),
    })
}

fn family(snapshot: &Snapshot, family: &Family) -> MetricFamily {
    let def = family.def;
    let name = names::metric(def);
    let kind = match def.kind {
        Kind::Counter | Kind::CounterF64 => MetricType::Counter,
        // There is no type for info.
        Kind::UpDown | Kind::Gauge | Kind::Info => MetricType::Gauge,
        Kind::Histogram(_) => MetricType::Histogram,
    };
    MetricFamily {
        name: name.sample(),
        help: def.help.to_owned(),
        kind: kind.into(),
        metric: family.points.iter().map(|point| metric(snapshot, kind, point)).collect(),
        unit: name.unit.unwrap_or_default().to_owned(),
    }
}

fn metric(snapshot: &Snapshot, kind: MetricType, point: &Point) -> Metric {
    let metric = Metric::of(text::labels(point));
    let started = timestamp(point.started.unwrap_or(snapshot.started));
    let value = match &point.value {
        PointValue::U64(value) => *value as f64,
        PointValue::F64(value) => *value,
        PointValue::Histogram(value) => {
            return Metric { histogram: Some(histogram(value, started)), ..metric };
        }
    };
    match kind {
        MetricType::Counter => Metric {
            counter: Some(Counter { value, exemplar: None, start_timestamp: Some(started) }),
            ..metric
        },
        _ => Metric { gauge: Some(Gauge { value }), ..metric },
    }
}

fn histogram(value: &signal::Histogram, started: Timestamp) -> Histogram {
    let bounds = value.bounds.iter().copied().chain([f64::INFINITY]);
    let mut cumulative_count = 0;
    let bucket = bounds.zip(&value.counts).enumerate().map(|(i, (upper_bound, count))| {
        cumulative_count += count;
        Bucket { cumulative_count, upper_bound, exemplar: value.exemplar(i).map(exemplar) }
    });
    let classic = Histogram {
        sample_count: value.count,
        sample_sum: value.sum,
        bucket: bucket.collect(),
        start_timestamp: Some(started),
        ..Histogram::default()
    };
    match &value.exponential {
        Some(exponential) => native(classic, exponential, value),
        None => classic,
    }
}

fn native(classic: Histogram, exponential: &Exponential, value: &signal::Histogram) -> Histogram {
    let mut exponential = exponential.clone();
    exponential.downscale(MAX_SCHEMA);
    let (mut spans, mut deltas) = (Vec::<BucketSpan>::new(), Vec::new());
    let (mut before, mut next) = (0, 0);
    // Prometheus' bucket i ends where ours ends that is one lower.
    let indices = (exponential.offset + 1)..;
    for (index, count) in indices.zip(&exponential.counts).filter(|(_, count)| **count > 0) {
        match spans.last_mut().filter(|_| index == next) {
            Some(span) => span.length += 1,
            None => spans.push(BucketSpan { offset: index - next, length: 1 }),
        }
        let count = i64::try_from(*count).unwrap_or(i64::MAX);
        deltas.push(count - before);
        (before, next) = (count, index + 1);
    }
    let mut exemplars: Vec<_> = value.exemplars().copied().collect();
    // Prometheus takes them in the order of their times.
    exemplars.sort_by_key(|one| one.at);
    Histogram {
        schema: exponential.scale,
        zero_threshold: ZERO_THRESHOLD,
        zero_count: exponential.zeros,
        positive_span: spans,
        positive_delta: deltas,
        exemplars: exemplars.iter().map(exemplar).collect(),
        ..classic
    }
}

fn exemplar(one: &signal::Exemplar) -> Exemplar {
    let label = |name: &str, value| LabelPair { name: name.to_owned(), value };
    Exemplar {
        label: vec![label("trace_id", hex(&one.trace)), label("span_id", hex(&one.span))],
        value: one.value,
        timestamp: Some(timestamp(one.at)),
    }
}

fn timestamp(at: UnixNanos) -> Timestamp {
    Timestamp { seconds: (at.0 / 1_000_000_000) as i64, nanos: (at.0 % 1_000_000_000) as i32 }
}

impl Metric {
    fn of(labels: Vec<(String, String)>) -> Metric {
        let label = labels.into_iter().map(|(name, value)| LabelPair { name, value }).collect();
        Metric { label, ..Metric::default() }
    }
}

/// The messages, without what is not made here: summaries, floating-point counts, negative buckets.
pub(super) mod message {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(in crate::export) struct MetricFamily {
        #[prost(string, tag = "1")]
        pub(in crate::export) name: String,
        #[prost(string, tag = "2")]
        pub(in crate::export) help: String,
        #[prost(enumeration = "MetricType", tag = "3")]
        pub(in crate::export) kind: i32,
        #[prost(message, repeated, tag = "4")]
        pub(in crate::export) metric: Vec<Metric>,
        #[prost(string, tag = "5")]
        pub(in crate::export) unit: String,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
    #[repr(i32)]
    pub(in crate::export) enum MetricType {
        Counter = 0,
        Gauge = 1,
        Histogram = 4,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in crate::export) struct Metric {
        #[prost(message, repeated, tag = "1")]
        pub(in crate::export) label: Vec<LabelPair>,
        #[prost(message, optional, tag = "2")]
        pub(in crate::export) gauge: Option<Gauge>,
        #[prost(message, optional, tag = "3")]
        pub(in crate::export) counter: Option<Counter>,
        #[prost(message, optional, tag = "7")]
        pub(in crate::export) histogram: Option<Histogram>,
    }

    #[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
    pub(in crate::export) struct LabelPair {
        #[prost(string, tag = "1")]
        pub(in crate::export) name: String,
        #[prost(string, tag = "2")]
        pub(in crate::export) value: String,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(in crate::export) struct Gauge {
        #[prost(double, tag = "1")]
        pub(in crate::export) value: f64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in crate::export) struct Counter {
        #[prost(double, tag = "1")]
        pub(in crate::export) value: f64,
        #[prost(message, optional, tag = "2")]
        pub(in crate::export) exemplar: Option<Exemplar>,
        #[prost(message, optional, tag = "3")]
        pub(in crate::export) start_timestamp: Option<Timestamp>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in crate::export) struct Histogram {
        #[prost(uint64, tag = "1")]
        pub(in crate::export) sample_count: u64,
        #[prost(double, tag = "2")]
        pub(in crate::export) sample_sum: f64,
        #[prost(message, repeated, tag = "3")]
        pub(in crate::export) bucket: Vec<Bucket>,
        #[prost(sint32, tag = "5")]
        pub(in crate::export) schema: i32,
        #[prost(double, tag = "6")]
        pub(in crate::export) zero_threshold: f64,
        #[prost(uint64, tag = "7")]
        pub(in crate::export) zero_count: u64,
        #[prost(message, repeated, tag = "12")]
        pub(in crate::export) positive_span: Vec<BucketSpan>,
        #[prost(sint64, repeated, tag = "13")]
        pub(in crate::export) positive_delta: Vec<i64>,
        #[prost(message, optional, tag = "15")]
        pub(in crate::export) start_timestamp: Option<Timestamp>,
        #[prost(message, repeated, tag = "16")]
        pub(in crate::export) exemplars: Vec<Exemplar>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in crate::export) struct Bucket {
        #[prost(uint64, tag = "1")]
        pub(in crate::export) cumulative_count: u64,
        #[prost(double, tag = "2")]
        pub(in crate::export) upper_bound: f64,
        #[prost(message, optional, tag = "3")]
        pub(in crate::export) exemplar: Option<Exemplar>,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
    pub(in crate::export) struct BucketSpan {
        #[prost(sint32, tag = "1")]
        pub(in crate::export) offset: i32,
        #[prost(uint32, tag = "2")]
        pub(in crate::export) length: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in crate::export) struct Exemplar {
        #[prost(message, repeated, tag = "1")]
        pub(in crate::export) label: Vec<LabelPair>,
        #[prost(double, tag = "2")]
        pub(in crate::export) value: f64,
        #[prost(message, optional, tag = "3")]
        pub(in crate::export) timestamp: Option<Timestamp>,
    }

    /// `google.protobuf.Timestamp`.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
    pub(in crate::export) struct Timestamp {
        #[prost(int64, tag = "1")]
        pub(in crate::export) seconds: i64,
        #[prost(int32, tag = "2")]
        pub(in crate::export) nanos: i32,
    }
}
