//! Spans, through `opentelemetry_otlp`'s exporter. It logs a partial success and does not hand it on, so spans that a
//! receiver rejects inside an accepted request count as sent.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use sidecar_core::model::Role;
use sidecar_core::signal::{Span, UnixNanos, Value};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;

use super::outage::Outage;
use super::retry::{self, TRIES};
use super::{Error, SCHEMA_URL, SCOPE, Source, VERSION};
use crate::export::{ExportStats, Failed, Resource, Signal};

/// Pushes batches of spans to one receiver.
pub(super) struct SpanPush {
    exporter: SpanExporter,
    scope: InstrumentationScope,
    stats: Arc<ExportStats>,
    outage: Outage,
}

impl SpanPush {
    /// `timeout` is of one try; the channel holds it, the exporter only sums up.
    pub(super) fn new(
        channel: Channel,
        metadata: MetadataMap,
        resource: &Resource,
        stats: Arc<ExportStats>,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let mut exporter = SpanExporter::builder()
            .with_tonic()
            .with_channel(channel)
            .with_metadata(metadata)
            .with_timeout(timeout.saturating_mul(TRIES))
            .with_retry_policy(retry::policy())
            .build()
            .map_err(|source| Error::Spans { source })?;
        let attributes =
            resource.attributes().iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
        // Empty: the default builder reads the environment, which is the configuration's to read.
        let resource = opentelemetry_sdk::Resource::builder_empty().with_attributes(attributes).build();
        exporter.set_resource(&resource);
        let scope =
            InstrumentationScope::builder(SCOPE).with_version(VERSION).with_schema_url(SCHEMA_URL).build();
        Ok(SpanPush { exporter, scope, stats, outage: Outage::new(Signal::Traces) })
    }

    /// Pushes a batch, with retries, and counts what became of it.
    pub(super) async fn push(&self, batch: Vec<Span>, source: &impl Source) {
        let n = batch.len() as u64;
        let batch = batch.into_iter().map(|span| {
            let (started, ended) = (source.unix(span.started), source.unix(span.ended));
            encode(span, started, ended, self.scope.clone())
        });
        match self.exporter.export(batch.collect()).await {
            Ok(()) => {
                self.outage.succeeded();
                self.stats.sent(Signal::Traces, n);
            }
            Err(error) => {
                self.outage.failed(&error);
                self.stats.failed(Signal::Traces, Failed::Request, n);
            }
        }
    }
}

fn encode(span: Span, started: UnixNanos, ended: UnixNanos, scope: InstrumentationScope) -> SpanData {
    let time = |at: UnixNanos| SystemTime::UNIX_EPOCH + Duration::from_nanos(at.0);
    let attribute = |(key, value)| match value {
        Value::Str(text) => KeyValue::new(key, text),
        Value::Int(number) => KeyValue::new(key, number),
        Value::Bool(flag) => KeyValue::new(key, flag),
    };
    let header = |(key, values): (String, Vec<String>)| {
        let values = values.into_iter().map(StringValue::from).collect();
        KeyValue::new(key, opentelemetry::Value::Array(Array::String(values)))
    };
    let context = SpanContext::new(
        TraceId::from_bytes(span.trace),
        SpanId::from_bytes(span.id),
        TraceFlags::new(span.flags),
        false,
        TraceState::NONE,
    );
    SpanData {
        span_context: context,
        parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
        parent_span_is_remote: span.parent.is_some(),
        span_kind: match span.role {
            Role::Client => SpanKind::Client,
            Role::Server => SpanKind::Server,
        },
        name: span.name,
        start_time: time(started),
        end_time: time(ended),
        attributes: span
            .attributes
            .into_iter()
            .map(attribute)
            .chain(span.headers.into_iter().map(header))
            .collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        // No description: `error.type` says it all (semantic conventions for HTTP spans, "Status").
        status: if span.error { Status::error("") } else { Status::Unset },
        instrumentation_scope: scope,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::tests;

    #[test]
    fn encoded() {
        let span = Span {
            role: Role::Client,
            parent: Some([3; 8]),
            attributes: vec![("server.port", 80u16.into()), ("url.path", "/".into())],
            error: true,
            ..tests::span()
        };
        let root = Span { parent: None, error: false, role: Role::Server, ..span.clone() };
        let scope = InstrumentationScope::builder(SCOPE).build();

        let made = encode(span, UnixNanos(5), UnixNanos(9), scope.clone());
        assert!(made.span_context.is_valid() && made.span_context.is_sampled());
        assert_eq!(made.parent_span_id, SpanId::from_bytes([3; 8]));
        assert!(made.parent_span_is_remote);
        assert_eq!((made.span_kind, made.status), (SpanKind::Client, Status::error("")));
        assert_eq!(made.end_time.duration_since(made.start_time).ok(), Some(Duration::from_nanos(4)));
        assert_eq!(made.attributes, [KeyValue::new("server.port", 80i64), KeyValue::new("url.path", "/")]);

        let made = encode(root, UnixNanos(5), UnixNanos(9), scope);
        assert_eq!((made.parent_span_id, made.parent_span_is_remote), (SpanId::INVALID, false));
        assert_eq!((made.span_kind, made.status), (SpanKind::Server, Status::Unset));
    }
}
