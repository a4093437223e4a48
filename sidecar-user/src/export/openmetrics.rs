//! OpenMetrics 1.0, by `prometheus_client`: a collector over a snapshot, in a registry that lives for one scrape. Without
//! `_created` samples: Prometheus would store each as one more series.
//!
//! The library takes no exemplars that were not made by its own types, so [`WithExemplars`] adds them to its lines.
//! Source: <https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>

use std::fmt::{self, Write};
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use sidecar_core::model::Kind;
use sidecar_core::signal::{Exemplar, Family, Point, PointValue, Snapshot, names};

use super::text::labels;
use super::{Resource, hex};

/// The whole exposition.
pub(super) fn encode(snapshot: &Arc<Snapshot>, resource: &Arc<Resource>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposition {
        snapshot: Arc::clone(snapshot),
        resource: Arc::clone(resource),
    }));
    let exemplars = snapshot.families.iter().flat_map(|family| &family.points).flat_map(exemplars);
    let mut out = WithExemplars { out: String::with_capacity(16 * 1024), line: 0, exemplars };
    text::encode(&mut out, &registry)?;
    Ok(out.out)
}

/// What each `_bucket` sample of the point has, in their order.
fn exemplars(point: &Point) -> impl Iterator<Item = Option<&Exemplar>> {
    let histogram = match &point.value {
        PointValue::Histogram(histogram) => Some(histogram),
        PointValue::U64(_) | PointValue::F64(_) => None,
    };
    histogram.into_iter().flat_map(|value| (0..value.counts.len()).map(|i| value.exemplar(i)))
}

/// Ends each `_bucket` sample with the next exemplar.
struct WithExemplars<I> {
    out: String,
    /// Where the present line begins.
    line: usize,
    exemplars: I,
}

impl<'a, I: Iterator<Item = Option<&'a Exemplar>>> WithExemplars<I> {
    fn end_line(&mut self) -> fmt::Result {
        let line = self.out.get(self.line..).unwrap_or_default();
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        if name.ends_with("_bucket")
            && let Some(Some(Exemplar { trace, span, value, at })) = self.exemplars.next()
        {
            let (trace, span) = (hex(trace), hex(span));
            let (seconds, nanos) = (at.0 / 1_000_000_000, at.0 % 1_000_000_000);
            let labels = format_args!("trace_id=\"{trace}\",span_id=\"{span}\"");
            write!(self.out, " # {{{labels}}} {value:?} {seconds}.{nanos:09}")?;
        }
        self.out.push('\n');
        self.line = self.out.len();
        Ok(())
    }
}

impl<'a, I: Iterator<Item = Option<&'a Exemplar>>> Write for WithExemplars<I> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut pieces = text.split('\n');
        self.out.push_str(pieces.next().unwrap_or_default());
        for piece in pieces {
            self.end_line()?;
            self.out.push_str(piece);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Exposition {
    snapshot: Arc<Snapshot>,
    resource: Arc<Resource>,
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let labels: Vec<(String, String)> = self.resource.labels().into_iter().collect();
        if !labels.is_empty() {
            encoder
                .encode_descriptor("target", "Target metadata.", None, MetricType::Info)?
                .encode_info(&labels)?;
        }
        self.snapshot.families.iter().try_for_each(|one| family(&mut encoder, one))
    }
}

/// The library appends unit and suffix to the name that it is given.
fn family(encoder: &mut DescriptorEncoder<'_>, family: &Family) -> fmt::Result {
    let def = family.def;
    let name = names::metric(def);
    let unit = name.unit.map(|unit| Unit::Other(unit.to_owned()));
    let kind = match def.kind {
        Kind::Counter | Kind::CounterF64 => MetricType::Counter,
        Kind::UpDown | Kind::Gauge => MetricType::Gauge,
        Kind::Info => MetricType::Info,
        Kind::Histogram(_) => MetricType::Histogram,
    };
    let mut encoder = encoder.encode_descriptor(&name.base, def.help, unit.as_ref(), kind)?;
    family.points.iter().try_for_each(|one| point(&mut encoder, def.kind, one))
}

fn point(encoder: &mut MetricEncoder<'_>, kind: Kind, point: &Point) -> fmt::Result {
    let labels = labels(point);
    if kind == Kind::Info {
        return encoder.encode_info(&labels);
    }
    if labels.is_empty() {
        return value(encoder, kind, &point.value);
    }
    value(&mut encoder.encode_family(&labels)?, kind, &point.value)
}

fn value(encoder: &mut MetricEncoder<'_>, kind: Kind, value: &PointValue) -> fmt::Result {
    match (kind, value) {
        (Kind::Counter | Kind::CounterF64, PointValue::U64(value)) => {
            encoder.encode_counter::<NoLabelSet, _, u64>(value, None)
        }
        (Kind::Counter | Kind::CounterF64, PointValue::F64(value)) => {
            encoder.encode_counter::<NoLabelSet, _, f64>(value, None)
        }
        (Kind::UpDown | Kind::Gauge, PointValue::U64(value)) => encoder.encode_gauge(value),
        (Kind::UpDown | Kind::Gauge, PointValue::F64(value)) => encoder.encode_gauge(value),
        (Kind::Histogram(_), PointValue::Histogram(value)) => {
            let bounds = value.bounds.iter().copied().chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(value.counts.iter().copied()).collect();
            encoder.encode_histogram::<NoLabelSet>(value.sum, value.count, &buckets, None)
        }
        // A value that its metric's kind does not have: nothing that a store makes.
        (Kind::Histogram(_) | Kind::Info, _) | (_, PointValue::Histogram(_)) => Ok(()),
    }
}
