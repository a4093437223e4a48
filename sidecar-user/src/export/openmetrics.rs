//! OpenMetrics 1.0, by `prometheus_client`: a collector over a snapshot, in a registry that lives for one scrape.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use sidecar_core::model::Kind;
use sidecar_core::signal::{Family, Point, PointValue, Snapshot, names};

use super::Resource;

/// The whole exposition.
pub(super) fn encode(snapshot: &Arc<Snapshot>, resource: &Arc<Resource>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposition {
        snapshot: Arc::clone(snapshot),
        resource: Arc::clone(resource),
    }));
    let mut out = String::with_capacity(16 * 1024);
    text::encode(&mut out, &registry)?;
    Ok(out)
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
        Kind::Gauge | Kind::UpDown => MetricType::Gauge,
        Kind::Info => MetricType::Info,
        Kind::Histogram(_) => MetricType::Histogram,
    };
    let mut encoder = encoder.encode_descriptor(&name.base, def.help, unit.as_ref(), kind)?;
    family.points.iter().try_for_each(|one| point(&mut encoder, def.kind, one))
}

fn point(encoder: &mut MetricEncoder<'_>, kind: Kind, point: &Point) -> fmt::Result {
    let labels: Vec<(String, String)> =
        point.attributes.iter().map(|(key, value)| (names::label(key), value.to_string())).collect();
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
        (Kind::Gauge | Kind::UpDown, PointValue::U64(value)) => encoder.encode_gauge(value),
        (Kind::Gauge | Kind::UpDown, PointValue::F64(value)) => encoder.encode_gauge(value),
        (Kind::Histogram(_), PointValue::Histogram(value)) => {
            let bounds = value.bounds.iter().copied().chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(value.counts.iter().copied()).collect();
            encoder.encode_histogram::<NoLabelSet>(value.sum, value.count, &buckets, None)
        }
        // A value that its metric's kind does not have: nothing that a store makes.
        (Kind::Histogram(_) | Kind::Info, _) | (_, PointValue::Histogram(_)) => Ok(()),
    }
}
