//! Spans, as `opentelemetry_otlp` encodes the SDK's. It would only log a partial success, and has a retry rule of its
//! own, so it is given an HTTP client that keeps the request's body: `Delivery` does the rest, as for metrics.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::{Request, Response};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use sidecar_core::model::Role;
use sidecar_core::signal::{Span, UnixNanos, Value};

use super::{SCHEMA_URL, SCOPE, Source, VERSION};
use crate::export::Resource;

/// Makes requests of spans.
pub(super) struct SpanEncoder {
    exporter: SpanExporter,
    seam: Seam,
    scope: InstrumentationScope,
}

impl SpanEncoder {
    pub(super) fn new(resource: &Resource) -> Result<Self, ExporterBuildError> {
        let seam = Seam::default();
        // Whatever is not said here would be read from the environment, which is the configuration's to read. What it
        // still reads (headers, compression) goes into a request whose body alone is kept.
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(seam.clone())
            .with_endpoint("http://localhost/")
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(Duration::from_secs(60))
            .with_retry_policy(RetryPolicy::disabled())
            .build()?;
        let attributes =
            resource.attributes().iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
        // Empty: the default builder reads the environment, too.
        let resource = opentelemetry_sdk::Resource::builder_empty().with_attributes(attributes).build();
        exporter.set_resource(&resource);
        let scope =
            InstrumentationScope::builder(SCOPE).with_version(VERSION).with_schema_url(SCHEMA_URL).build();
        Ok(SpanEncoder { exporter, seam, scope })
    }

    /// A request with these spans; `None` where the exporter will not make one.
    pub(super) async fn encode(&self, batch: Vec<Span>, source: &impl Source) -> Option<Vec<u8>> {
        let batch = batch.into_iter().map(|span| {
            let (started, ended) = (source.unix(span.started), source.unix(span.ended));
            encode(span, started, ended, self.scope.clone())
        });
        let made = self.exporter.export(batch.collect()).await;
        made.ok().and_then(|()| self.seam.take())
    }
}

/// Keeps the body of the last request, and answers that all is well.
#[derive(Clone, Debug, Default)]
struct Seam(Arc<Mutex<Option<Bytes>>>);

impl Seam {
    fn take(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().map(Vec::from)
    }
}

impl HttpClient for Seam {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(request.into_body());
        Box::pin(async { Ok(Response::new(Bytes::new())) })
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
        // What is none by the specification is handed on to nobody.
        span.trace_state.parse().unwrap_or(TraceState::NONE),
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
    use std::sync::Arc;

    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use prost::Message as _;
    use sidecar_core::model::Ktime;
    use sidecar_core::signal::Snapshot;

    use super::*;
    use crate::export::tests;

    struct Same;

    impl Source for Same {
        async fn snapshot(&self) -> Option<Arc<Snapshot>> {
            None
        }

        fn unix(&self, at: Ktime) -> UnixNanos {
            UnixNanos(at.0)
        }
    }

    #[tokio::test]
    async fn requests() {
        let encoder = SpanEncoder::new(&tests::resource()).expect("an encoder");
        for n in [1, 3] {
            let batch = (0..n).map(|_| tests::span()).collect();
            let request = encoder.encode(batch, &Same).await.expect("a request");
            let request = ExportTraceServiceRequest::decode(&*request).expect("a request");
            let [one] = request.resource_spans.as_slice() else { panic!("one resource") };
            assert_eq!(one.resource.as_ref().map(|resource| resource.attributes.len()), Some(2));
            assert_eq!(one.scope_spans.iter().map(|scope| scope.spans.len()).sum::<usize>(), n);
            assert!(encoder.seam.take().is_none());
        }
    }

    #[test]
    fn encoded() {
        let span = Span {
            role: Role::Client,
            parent: Some([3; 8]),
            trace_state: "rojo=1,t@v=2".into(),
            attributes: vec![("server.port", 80u16.into()), ("url.path", "/".into())],
            error: true,
            ..tests::span()
        };
        let root = Span {
            parent: None,
            trace_state: Box::default(),
            error: false,
            role: Role::Server,
            ..span.clone()
        };
        let scope = InstrumentationScope::builder(SCOPE).build();

        let made = encode(span, UnixNanos(5), UnixNanos(9), scope.clone());
        assert!(made.span_context.is_valid() && made.span_context.is_sampled());
        assert_eq!(made.parent_span_id, SpanId::from_bytes([3; 8]));
        assert!(made.parent_span_is_remote);
        assert_eq!(made.span_context.trace_state().header(), "rojo=1,t@v=2");
        assert_eq!((made.span_kind, made.status), (SpanKind::Client, Status::error("")));
        assert_eq!(made.end_time.duration_since(made.start_time).ok(), Some(Duration::from_nanos(4)));
        assert_eq!(made.attributes, [KeyValue::new("server.port", 80i64), KeyValue::new("url.path", "/")]);

        let made = encode(root, UnixNanos(5), UnixNanos(9), scope);
        assert_eq!((made.parent_span_id, made.parent_span_is_remote), (SpanId::INVALID, false));
        assert_eq!(made.span_context.trace_state().header(), "");
        assert_eq!((made.span_kind, made.status), (SpanKind::Server, Status::Unset));
    }
}
