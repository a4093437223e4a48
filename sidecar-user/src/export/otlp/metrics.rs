//! Snapshots as OTLP metrics. The SDK cannot take aggregates that are ready, so these are the protocol's messages.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
    HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exemplar,
    exponential_histogram_data_point::Buckets, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use sidecar_core::config::{Histograms, Temporality};
use sidecar_core::model::{Kind, MetricDef};
use sidecar_core::signal::{self, Attributes, Exponential, Family, Point, PointValue, Snapshot, Value};

use super::{SCHEMA_URL, SCOPE, VERSION};
use crate::export::Resource;

pub(super) fn resource(resource: &Resource) -> ProtoResource {
    let attributes = resource
        .attributes()
        .iter()
        .map(|(key, value)| key_value(key, any_value::Value::StringValue(value.clone())))
        .collect();
    ProtoResource { attributes, ..ProtoResource::default() }
}

/// In which form metrics are pushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form {
    /// Since when sums count.
    pub temporality: Temporality,
    /// Which histograms.
    pub histograms: Histograms,
}

impl Form {
    /// Whether a metric is pushed as differences. All sums here are read off somebody's counter, which is what the
    /// specification calls asynchronous: they stay cumulative where memory is to be low.
    fn is_delta(self, def: &MetricDef) -> bool {
        match (self.temporality, def.kind) {
            (Temporality::Cumulative, _) | (_, Kind::Gauge | Kind::UpDown | Kind::Info) => false,
            (Temporality::Delta, Kind::Counter | Kind::CounterF64 | Kind::Histogram(_)) => true,
            (Temporality::LowMemory, kind) => matches!(kind, Kind::Histogram(_)),
        }
    }

    fn temporality(self, def: &MetricDef) -> i32 {
        let is_delta = self.is_delta(def);
        let temporality =
            if is_delta { AggregationTemporality::Delta } else { AggregationTemporality::Cumulative };
        temporality.into()
    }
}

/// What one receiver has had: the owner of what differences are made from.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    form: Form,
    last: Option<Arc<Snapshot>>,
}

impl Delivered {
    pub(super) fn new(form: Form) -> Self {
        Delivered { form, last: None }
    }

    /// What is to be pushed of a snapshot: all that the receiver has not had.
    pub(super) fn rest(&self, snapshot: &Arc<Snapshot>) -> Arc<Snapshot> {
        match &self.last {
            Some(last) => Arc::new(snapshot.since(last, |def| self.form.is_delta(def))),
            None => Arc::clone(snapshot),
        }
    }

    /// The receiver took the rest of this snapshot. One that failed is not told of: its differences are part of the
    /// next.
    pub(super) fn took(&mut self, snapshot: Arc<Snapshot>) {
        if self.form.temporality != Temporality::Cumulative {
            self.last = Some(snapshot);
        }
    }
}

pub(super) fn encode(
    snapshot: &Snapshot,
    resource: &ProtoResource,
    form: Form,
) -> ExportMetricsServiceRequest {
    let scope = InstrumentationScope {
        name: SCOPE.to_owned(),
        version: VERSION.to_owned(),
        ..InstrumentationScope::default()
    };
    let metrics = snapshot.families.iter().map(|one| family(snapshot, one, form)).collect();
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, schema_url: SCHEMA_URL.to_owned() }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource.clone()),
            scope_metrics,
            schema_url: String::new(),
        }],
    }
}

fn family(snapshot: &Snapshot, family: &Family, form: Form) -> Metric {
    let aggregation_temporality = form.temporality(family.def);
    let points = || family.points.iter();
    let sum = |is_monotonic| {
        metric::Data::Sum(Sum {
            data_points: points().filter_map(|point| number(snapshot, point)).collect(),
            aggregation_temporality,
            is_monotonic,
        })
    };
    let data = match family.def.kind {
        Kind::Counter | Kind::CounterF64 => sum(true),
        Kind::UpDown => sum(false),
        Kind::Gauge | Kind::Info => metric::Data::Gauge(Gauge {
            data_points: points().filter_map(|point| number(snapshot, point)).collect(),
        }),
        Kind::Histogram(_) if form.histograms == Histograms::Exponential => {
            metric::Data::ExponentialHistogram(ExponentialHistogram {
                data_points: points().filter_map(|point| exponential(snapshot, point)).collect(),
                aggregation_temporality,
            })
        }
        Kind::Histogram(_) => metric::Data::Histogram(Histogram {
            data_points: points().filter_map(|point| histogram(snapshot, point)).collect(),
            aggregation_temporality,
        }),
    };
    Metric {
        name: family.def.name.to_owned(),
        description: family.def.help.to_owned(),
        unit: family.def.unit.to_owned(),
        metadata: Vec::new(),
        data: Some(data),
    }
}

fn number(snapshot: &Snapshot, point: &Point) -> Option<NumberDataPoint> {
    let value = match point.value {
        // The protocol has no unsigned numbers.
        PointValue::U64(value) => number_data_point::Value::AsInt(i64::try_from(value).unwrap_or(i64::MAX)),
        PointValue::F64(value) => number_data_point::Value::AsDouble(value),
        PointValue::Histogram(_) => return None,
    };
    Some(NumberDataPoint {
        attributes: attributes(&point.attributes),
        start_time_unix_nano: point.started.unwrap_or(snapshot.started).0,
        time_unix_nano: snapshot.at.0,
        value: Some(value),
        ..NumberDataPoint::default()
    })
}

fn histogram(snapshot: &Snapshot, point: &Point) -> Option<HistogramDataPoint> {
    let PointValue::Histogram(value) = &point.value else { return None };
    Some(HistogramDataPoint {
        attributes: attributes(&point.attributes),
        start_time_unix_nano: point.started.unwrap_or(snapshot.started).0,
        time_unix_nano: snapshot.at.0,
        count: value.count,
        sum: Some(value.sum),
        bucket_counts: value.counts.to_vec(),
        explicit_bounds: value.bounds.to_vec(),
        exemplars: exemplars(value),
        min: value.min.is_finite().then_some(value.min),
        max: value.max.is_finite().then_some(value.max),
        ..HistogramDataPoint::default()
    })
}

fn exponential(snapshot: &Snapshot, point: &Point) -> Option<ExponentialHistogramDataPoint> {
    let PointValue::Histogram(value) = &point.value else { return None };
    let Exponential { scale, offset, counts, zeros } = value.exponential.as_ref()?;
    Some(ExponentialHistogramDataPoint {
        attributes: attributes(&point.attributes),
        start_time_unix_nano: point.started.unwrap_or(snapshot.started).0,
        time_unix_nano: snapshot.at.0,
        count: value.count,
        sum: Some(value.sum),
        scale: *scale,
        zero_count: *zeros,
        positive: Some(Buckets { offset: *offset, bucket_counts: counts.clone() }),
        exemplars: exemplars(value),
        min: value.min.is_finite().then_some(value.min),
        max: value.max.is_finite().then_some(value.max),
        ..ExponentialHistogramDataPoint::default()
    })
}

fn exemplars(value: &signal::Histogram) -> Vec<Exemplar> {
    let exemplar = |one: &signal::Exemplar| Exemplar {
        time_unix_nano: one.at.0,
        span_id: one.span.to_vec(),
        trace_id: one.trace.to_vec(),
        value: Some(exemplar::Value::AsDouble(one.value)),
        ..Exemplar::default()
    };
    value.exemplars().map(exemplar).collect()
}

fn attributes(attributes: &Attributes) -> Vec<KeyValue> {
    let pair = |(key, value): &(&'static str, Value)| {
        let value = match value {
            Value::Str(text) => any_value::Value::StringValue(text.clone().into_owned()),
            Value::Int(number) => any_value::Value::IntValue(*number),
            Value::Bool(flag) => any_value::Value::BoolValue(*flag),
        };
        key_value(key, value)
    };
    attributes.iter().map(pair).collect()
}

fn key_value(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use sidecar_core::signal::{catalogue, names};

    use super::*;
    use crate::export::tests;

    #[test]
    fn every_point_is_encoded() {
        let snapshot = tests::snapshot();
        for histograms in [Histograms::Explicit, Histograms::Exponential] {
            let form = Form { histograms, ..Form::default() };
            let request = encode(&snapshot, &resource(&tests::resource()), form);
            let [resource_metrics] = request.resource_metrics.as_slice() else { panic!("one resource") };
            let [scope_metrics] = resource_metrics.scope_metrics.as_slice() else { panic!("one scope") };
            for (metric, family) in scope_metrics.metrics.iter().zip(&snapshot.families) {
                assert_eq!((metric.name.as_str(), metric.unit.as_str()), (family.def.name, family.def.unit));
                let n = match metric.data.as_ref() {
                    Some(metric::Data::Sum(sum)) => {
                        let expected = (family.def.kind != Kind::UpDown, 2);
                        assert_eq!(
                            (sum.is_monotonic, sum.aggregation_temporality),
                            expected,
                            "{}",
                            metric.name
                        );
                        sum.data_points.len()
                    }
                    Some(metric::Data::Gauge(gauge)) => gauge.data_points.len(),
                    Some(metric::Data::Histogram(histogram)) => {
                        assert_eq!(
                            (histograms, histogram.aggregation_temporality),
                            (Histograms::Explicit, 2)
                        );
                        histogram.data_points.iter().for_each(is_whole);
                        histogram.data_points.len()
                    }
                    Some(metric::Data::ExponentialHistogram(histogram)) => {
                        assert_eq!(
                            (histograms, histogram.aggregation_temporality),
                            (Histograms::Exponential, 2)
                        );
                        let counts = |point: &ExponentialHistogramDataPoint| {
                            point.zero_count
                                + point.positive.iter().flat_map(|all| &all.bucket_counts).sum::<u64>()
                        };
                        assert!(histogram.data_points.iter().all(|point| counts(point) == point.count));
                        histogram.data_points.len()
                    }
                    _ => panic!("{} has no data", metric.name),
                };
                assert_eq!(n, family.points.len(), "{}", metric.name);
            }
        }
    }

    /// What is pushed is what is pulled.
    #[test]
    fn it_agrees_with_the_text_format() {
        let snapshot = tests::snapshot();
        let mut made = BTreeMap::new();
        for family in &snapshot.families {
            let name = names::metric(family.def).sample();
            for point in &family.points {
                let labels: Vec<_> = attributes(&point.attributes).into_iter().map(label).collect();
                let labels: Vec<_> =
                    labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                if let Some(value) = number(&snapshot, point).and_then(|point| point.value) {
                    let value = match value {
                        number_data_point::Value::AsInt(value) => value as f64,
                        number_data_point::Value::AsDouble(value) => value,
                    };
                    made.insert(tests::key(&name, labels.iter().copied()), value);
                }
                if let Some(of) = histogram(&snapshot, point) {
                    let bounds = of.explicit_bounds.iter().copied().chain([f64::INFINITY]);
                    let counts = of.bucket_counts.iter().scan(0, |sum, n| {
                        *sum += n;
                        Some(*sum)
                    });
                    let total = (of.sum.unwrap_or_default(), of.count);
                    tests::flattened(&mut made, &name, &labels, bounds.zip(counts), total);
                }
            }
        }
        let mut expected = tests::samples();
        expected.retain(|key, _| !key.starts_with("target_info"));
        assert_eq!(made, expected);
    }

    fn label(attribute: KeyValue) -> (String, String) {
        let value = match attribute.value.and_then(|value| value.value) {
            Some(any_value::Value::StringValue(text)) => text,
            Some(any_value::Value::IntValue(number)) => number.to_string(),
            Some(any_value::Value::BoolValue(flag)) => flag.to_string(),
            other => panic!("{other:?}"),
        };
        (names::label(&attribute.key), value)
    }

    fn is_whole(point: &HistogramDataPoint) {
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
        // Each began with its first request, the first of which took 30 ms.
        let started = point.start_time_unix_nano;
        assert!((1_030_000_000..2_000_000_000).contains(&started), "{started}");
        assert_eq!(point.time_unix_nano, 2_000_000_000);
        assert!(point.exemplars.iter().all(|one| one.trace_id.len() == 16 && one.span_id.len() == 8));
    }

    #[test]
    fn differences_by_preference() {
        let kinds = |temporality| {
            let form = Form { temporality, ..Form::default() };
            let delta = catalogue::ALL.iter().filter(|def| form.is_delta(def)).map(|def| def.kind);
            let kinds: BTreeSet<_> = delta.map(|kind| format!("{kind:?}")[..5].to_owned()).collect();
            kinds.into_iter().collect::<Vec<_>>()
        };
        assert!(kinds(Temporality::Cumulative).is_empty());
        assert_eq!(kinds(Temporality::Delta), ["Count", "Histo"]);
        assert_eq!(kinds(Temporality::LowMemory), ["Histo"]);
    }

    /// Requests that the receiver is told of, whatever of the pushes fails.
    #[test]
    fn a_failed_push_is_part_of_the_next() {
        let count = |snapshot: &Snapshot| -> u64 {
            let family = snapshot.family(&catalogue::HTTP_SERVER_DURATION);
            let of = |point: &Point| match &point.value {
                PointValue::Histogram(histogram) => histogram.count,
                _ => 0,
            };
            family.map_or(0, |family| family.points.iter().map(of).sum())
        };
        let form = |temporality| Form { temporality, ..Form::default() };
        // Requests so far, whether the push was taken, requests that are pushed with delta.
        let pushes = [(2, true, 2), (2, true, 0), (5, false, 3), (6, false, 4), (6, true, 4), (9, true, 3)];
        let mut delta = Delivered::new(form(Temporality::Delta));
        let mut cumulative = Delivered::new(form(Temporality::Cumulative));
        for (n, was_taken, expected) in pushes {
            let snapshot = Arc::new(tests::served(n));
            assert_eq!((count(&delta.rest(&snapshot)), count(&cumulative.rest(&snapshot))), (expected, n));
            if was_taken {
                delta.took(Arc::clone(&snapshot));
                cumulative.took(snapshot);
            }
        }
        assert!(cumulative.last.is_none(), "nothing is kept for nothing");
    }
}
