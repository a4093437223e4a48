//! Snapshots as OTLP metrics. The SDK cannot take aggregates that are ready, so these are the protocol's messages.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use sidecar_core::model::Kind;
use sidecar_core::signal::{Attributes, Family, Point, PointValue, Snapshot, Value};

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

pub(super) fn encode(snapshot: &Snapshot, resource: &ProtoResource) -> ExportMetricsServiceRequest {
    let scope = InstrumentationScope {
        name: SCOPE.to_owned(),
        version: VERSION.to_owned(),
        ..InstrumentationScope::default()
    };
    let metrics = snapshot.families.iter().map(|one| family(snapshot, one)).collect();
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, schema_url: SCHEMA_URL.to_owned() }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource.clone()),
            scope_metrics,
            schema_url: String::new(),
        }],
    }
}

fn family(snapshot: &Snapshot, family: &Family) -> Metric {
    let cumulative = AggregationTemporality::Cumulative as i32;
    let numbers = || family.points.iter().filter_map(|point| number(snapshot, point)).collect();
    let data = match family.def.kind {
        Kind::Counter | Kind::CounterF64 => metric::Data::Sum(Sum {
            data_points: numbers(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        Kind::UpDown => metric::Data::Sum(Sum {
            data_points: numbers(),
            aggregation_temporality: cumulative,
            is_monotonic: false,
        }),
        Kind::Gauge | Kind::Info => metric::Data::Gauge(Gauge { data_points: numbers() }),
        Kind::Histogram(_) => metric::Data::Histogram(Histogram {
            data_points: family.points.iter().filter_map(|point| histogram(snapshot, point)).collect(),
            aggregation_temporality: cumulative,
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
        min: value.min.is_finite().then_some(value.min),
        max: value.max.is_finite().then_some(value.max),
        ..HistogramDataPoint::default()
    })
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
    use super::*;
    use crate::export::tests;

    #[test]
    fn every_point_is_encoded() {
        let snapshot = tests::snapshot();
        let request = encode(&snapshot, &resource(&tests::resource()));
        let [resource_metrics] = request.resource_metrics.as_slice() else { panic!("one resource") };
        let [scope_metrics] = resource_metrics.scope_metrics.as_slice() else { panic!("one scope") };
        let (mut n, mut requests) = (0, 0);
        for (metric, family) in scope_metrics.metrics.iter().zip(&snapshot.families) {
            assert_eq!((metric.name.as_str(), metric.unit.as_str()), (family.def.name, family.def.unit));
            match metric.data.as_ref() {
                Some(metric::Data::Sum(sum)) => {
                    let is_monotonic = family.def.kind != Kind::UpDown;
                    assert_eq!(
                        (sum.is_monotonic, sum.aggregation_temporality),
                        (is_monotonic, 2),
                        "{}",
                        metric.name
                    );
                    n += sum.data_points.len();
                }
                Some(metric::Data::Gauge(gauge)) => n += gauge.data_points.len(),
                Some(metric::Data::Histogram(histogram)) => {
                    n += histogram.data_points.len();
                    for point in &histogram.data_points {
                        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
                        assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
                        // Each began with its first request, the first of which took 30 ms.
                        let started = point.start_time_unix_nano;
                        assert!((1_030_000_000..2_000_000_000).contains(&started), "{started}");
                        assert_eq!(point.time_unix_nano, 2_000_000_000);
                        requests += point.count;
                    }
                }
                _ => panic!("{} has no data", metric.name),
            }
        }
        assert_eq!(n as u64, snapshot.n_points());
        // Each of the four has its duration, first byte, wait, and two sizes.
        assert_eq!(requests, 20);
    }
}
