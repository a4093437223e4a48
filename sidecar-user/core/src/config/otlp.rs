//! Section `otlp`: where metrics and spans are pushed, and what each signal's own keys make of the common ones.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Duration, Endpoint, Headers, Histograms, Temporality};

/// Section `otlp`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Otlp {
    /// Collector for metrics and spans: `http://HOST:PORT` or `https://HOST:PORT`. By HTTP, `/v1/metrics` and
    /// `/v1/traces` are appended. By gRPC it may be `HOST:PORT`: then `otlp.insecure` decides.
    pub endpoint: Option<Endpoint>,
    /// Collector for metrics, in place of `otlp.endpoint`. By HTTP, the whole URL: nothing is appended.
    pub metrics_endpoint: Option<Endpoint>,
    /// Collector for spans, in place of `otlp.endpoint`. By HTTP, the whole URL: nothing is appended.
    pub traces_endpoint: Option<Endpoint>,
    /// Whether metrics are pushed where an endpoint is given.
    pub metrics: bool,
    /// Whether spans are pushed where an endpoint is given.
    pub traces: bool,
    /// How requests travel. A collector's port is 4317 for `grpc` and 4318 for `http/protobuf`, by custom.
    pub protocol: Protocol,
    /// In place of `otlp.protocol`, for metrics.
    pub metrics_protocol: Option<Protocol>,
    /// In place of `otlp.protocol`, for spans.
    pub traces_protocol: Option<Protocol>,
    /// Sent with each request, by name, such as `authorization`. Values are secret: shown as `***`. In a
    /// variable: `name=value,name=value` with `%XX` for what a value may not hold.
    pub headers: Headers,
    /// In place of `otlp.headers`, all of them, for metrics.
    pub metrics_headers: Headers,
    /// In place of `otlp.headers`, all of them, for spans.
    pub traces_headers: Headers,
    /// Time between two pushes of metrics.
    pub interval: Duration,
    /// Time that one try of one push may take, its answer included.
    pub timeout: Duration,
    /// In place of `otlp.timeout`, for metrics.
    pub metrics_timeout: Option<Duration>,
    /// In place of `otlp.timeout`, for spans.
    pub traces_timeout: Option<Duration>,
    /// Since when a pushed sum or histogram counts. `delta` says what came since the last push that was taken, so one
    /// that fails is contained in the next; one whose answer is lost may count twice. `lowmemory` is `delta` for
    /// histograms only. Smallest and largest values are not said with `delta`.
    pub temporality: Temporality,
    /// Which histograms are pushed.
    pub histograms: Histograms,
    /// Of what is sent.
    pub compression: Compression,
    /// In place of `otlp.compression`, for metrics.
    pub metrics_compression: Option<Compression>,
    /// In place of `otlp.compression`, for spans.
    pub traces_compression: Option<Compression>,
    /// File of the certificates (PEM) that a collector's certificate must lead to, in place of the system's.
    pub certificate: Option<PathBuf>,
    /// In place of `otlp.certificate`, for metrics.
    pub metrics_certificate: Option<PathBuf>,
    /// In place of `otlp.certificate`, for spans.
    pub traces_certificate: Option<PathBuf>,
    /// File of the certificate (PEM, with its chain) that is shown to a collector that asks for one.
    pub client_certificate: Option<PathBuf>,
    /// In place of `otlp.client_certificate`, for metrics.
    pub metrics_client_certificate: Option<PathBuf>,
    /// In place of `otlp.client_certificate`, for spans.
    pub traces_client_certificate: Option<PathBuf>,
    /// File of the private key (PEM) of `otlp.client_certificate`.
    pub client_key: Option<PathBuf>,
    /// In place of `otlp.client_key`, for metrics.
    pub metrics_client_key: Option<PathBuf>,
    /// In place of `otlp.client_key`, for spans.
    pub traces_client_key: Option<PathBuf>,
    /// Whether an endpoint without `http://` or `https://` is reached without TLS.
    pub insecure: bool,
    /// In place of `otlp.insecure`, for metrics.
    pub metrics_insecure: Option<bool>,
    /// In place of `otlp.insecure`, for spans.
    pub traces_insecure: Option<bool>,
}

impl Default for Otlp {
    fn default() -> Self {
        Self {
            endpoint: None,
            metrics_endpoint: None,
            traces_endpoint: None,
            metrics: true,
            traces: true,
            protocol: Protocol::default(),
            metrics_protocol: None,
            traces_protocol: None,
            headers: Headers::default(),
            metrics_headers: Headers::default(),
            traces_headers: Headers::default(),
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
            metrics_timeout: None,
            traces_timeout: None,
            temporality: Temporality::default(),
            histograms: Histograms::default(),
            compression: Compression::default(),
            metrics_compression: None,
            traces_compression: None,
            certificate: None,
            metrics_certificate: None,
            traces_certificate: None,
            client_certificate: None,
            metrics_client_certificate: None,
            traces_client_certificate: None,
            client_key: None,
            metrics_client_key: None,
            traces_client_key: None,
            insecure: false,
            metrics_insecure: None,
            traces_insecure: None,
        }
    }
}

/// How requests travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[schemars(inline)]
pub enum Protocol {
    /// gRPC over HTTP/2.
    #[default]
    #[serde(rename = "grpc")]
    Grpc,
    /// protobuf in bodies of HTTP/1.1.
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
}

/// What is done to the bytes of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Compression {
    /// Sent as they are.
    #[default]
    None,
    /// Compressed.
    Gzip,
}

/// Where one signal is pushed.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The key that says so.
    pub key: String,
    /// `http://…` or `https://…`: by HTTP the whole URL, by gRPC the collector's.
    pub url: String,
    /// How.
    pub protocol: Protocol,
    /// Sent with each request.
    pub headers: Headers,
    /// Of one try.
    pub timeout: Duration,
    /// Of requests.
    pub compression: Compression,
    /// Where the URL is `https`.
    pub tls: Option<Tls>,
}

/// Files of certificates and keys, all PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Of those that a collector's certificate must lead to; `None`: the system's.
    pub certificate: Option<File>,
    /// Of the own certificate and its chain.
    pub client_certificate: Option<File>,
    /// Of its private key.
    pub client_key: Option<File>,
}

/// A file that a key names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The key.
    pub key: String,
    /// As it was given.
    pub path: PathBuf,
}

/// The keys that belong to one signal.
pub(super) struct Own<'a> {
    /// `metrics_`, `traces_`.
    pub(super) prefix: &'static str,
    is_on: bool,
    path: &'static str,
    pub(super) endpoint: &'a Option<Endpoint>,
    protocol: Option<Protocol>,
    headers: &'a Headers,
    pub(super) timeout: Option<Duration>,
    compression: Option<Compression>,
    certificate: &'a Option<PathBuf>,
    client_certificate: &'a Option<PathBuf>,
    client_key: &'a Option<PathBuf>,
    insecure: Option<bool>,
}

impl Otlp {
    /// Where metrics are pushed; `None` is off.
    #[must_use]
    pub fn to_metrics(&self) -> Option<Target> {
        self.target(&self.signals()[0])
    }

    /// Where spans are pushed; `None` is off.
    #[must_use]
    pub fn to_traces(&self) -> Option<Target> {
        self.target(&self.signals()[1])
    }

    /// The files that are read for the push.
    pub fn files(&self) -> impl Iterator<Item = File> {
        let tls = [self.to_metrics(), self.to_traces()].into_iter().flatten().filter_map(|target| target.tls);
        tls.flat_map(|tls| [tls.certificate, tls.client_certificate, tls.client_key]).flatten()
    }

    /// The signals' own keys: metrics, traces.
    pub(super) fn signals(&self) -> [Own<'_>; 2] {
        [
            Own {
                prefix: "metrics_",
                is_on: self.metrics,
                path: "v1/metrics",
                endpoint: &self.metrics_endpoint,
                protocol: self.metrics_protocol,
                headers: &self.metrics_headers,
                timeout: self.metrics_timeout,
                compression: self.metrics_compression,
                certificate: &self.metrics_certificate,
                client_certificate: &self.metrics_client_certificate,
                client_key: &self.metrics_client_key,
                insecure: self.metrics_insecure,
            },
            Own {
                prefix: "traces_",
                is_on: self.traces,
                path: "v1/traces",
                endpoint: &self.traces_endpoint,
                protocol: self.traces_protocol,
                headers: &self.traces_headers,
                timeout: self.traces_timeout,
                compression: self.traces_compression,
                certificate: &self.traces_certificate,
                client_certificate: &self.traces_client_certificate,
                client_key: &self.traces_client_key,
                insecure: self.traces_insecure,
            },
        ]
    }

    /// The signal's target, its own keys before the common ones.
    pub(super) fn target(&self, own: &Own<'_>) -> Option<Target> {
        let endpoint = own.endpoint.as_ref().or(self.endpoint.as_ref()).filter(|_| own.is_on)?;
        let protocol = own.protocol.unwrap_or(self.protocol);
        let mut url = endpoint.url(own.insecure.unwrap_or(self.insecure));
        // Exporter specification, "Endpoint URLs for OTLP/HTTP": only the common one is a base.
        if protocol == Protocol::HttpProtobuf && own.endpoint.is_none() {
            url = format!("{}/{}", url.trim_end_matches('/'), own.path);
        }
        let key = |is_own, name| format!("otlp.{}{name}", if is_own { own.prefix } else { "" });
        let file = |name, of_signal: &Option<PathBuf>, common: &Option<PathBuf>| {
            let path = of_signal.as_ref().or(common.as_ref())?.clone();
            Some(File { key: key(of_signal.is_some(), name), path })
        };
        let tls = url.starts_with("https://").then(|| Tls {
            certificate: file("certificate", own.certificate, &self.certificate),
            client_certificate: file("client_certificate", own.client_certificate, &self.client_certificate),
            client_key: file("client_key", own.client_key, &self.client_key),
        });
        let headers = if own.headers.iter().next().is_some() { own.headers } else { &self.headers };
        Some(Target {
            key: key(own.endpoint.is_some(), "endpoint"),
            url,
            protocol,
            headers: headers.clone(),
            timeout: own.timeout.unwrap_or(self.timeout),
            compression: own.compression.unwrap_or(self.compression),
            tls,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Option<Endpoint> {
        Some(text.parse().expect("an endpoint"))
    }

    #[test]
    fn urls() {
        use Protocol::{Grpc, HttpProtobuf};

        for (common, own, protocol, insecure, metrics, traces) in [
            ("http://c:4317", None, Grpc, false, "http://c:4317", "http://c:4317"),
            ("HTTPS://c/", None, Grpc, false, "https://c/", "https://c/"),
            ("c:4317", None, Grpc, false, "https://c:4317", "https://c:4317"),
            ("[::1]:4317", None, Grpc, true, "http://[::1]:4317", "http://[::1]:4317"),
            (
                "http://c:4318",
                None,
                HttpProtobuf,
                false,
                "http://c:4318/v1/metrics",
                "http://c:4318/v1/traces",
            ),
            ("https://c/a/", None, HttpProtobuf, false, "https://c/a/v1/metrics", "https://c/a/v1/traces"),
            ("http://c", Some("http://t/x"), HttpProtobuf, false, "http://c/v1/metrics", "http://t/x"),
            ("http://c", Some("http://t"), HttpProtobuf, false, "http://c/v1/metrics", "http://t"),
        ] {
            let otlp = Otlp {
                endpoint: endpoint(common),
                traces_endpoint: own.and_then(endpoint),
                protocol,
                insecure,
                ..Otlp::default()
            };
            let url = |target: Option<Target>| target.map(|target| target.url).unwrap_or_default();
            assert_eq!((url(otlp.to_metrics()), url(otlp.to_traces())), (metrics.into(), traces.into()));
        }
    }

    #[test]
    fn a_signals_own_keys_come_first() {
        let otlp = Otlp {
            endpoint: endpoint("https://c"),
            metrics_protocol: Some(Protocol::HttpProtobuf),
            metrics_timeout: Some(Duration::from_secs(3)),
            metrics_compression: Some(Compression::Gzip),
            certificate: Some("ca.pem".into()),
            metrics_certificate: Some("own.pem".into()),
            client_key: Some("key.pem".into()),
            traces_insecure: Some(true),
            ..Otlp::default()
        };
        let (metrics, traces) = (otlp.to_metrics().expect("on"), otlp.to_traces().expect("on"));
        assert_eq!((metrics.protocol, traces.protocol), (Protocol::HttpProtobuf, Protocol::Grpc));
        assert_eq!((metrics.timeout, traces.timeout), (Duration::from_secs(3), Duration::from_secs(10)));
        assert_eq!((metrics.compression, traces.compression), (Compression::Gzip, Compression::None));
        let file = |key: &str, path: &str| Some(File { key: key.to_owned(), path: path.into() });
        let files = |target: Target| target.tls.map(|tls| (tls.certificate, tls.client_key));
        let key = file("otlp.client_key", "key.pem");
        assert_eq!(files(metrics), Some((file("otlp.metrics_certificate", "own.pem"), key.clone())));
        assert_eq!(files(traces), Some((file("otlp.certificate", "ca.pem"), key)), "https was written");
        assert_eq!(otlp.files().count(), 4);
        let off = Otlp { traces: false, ..otlp };
        assert!(off.to_metrics().is_some() && off.to_traces().is_none());
    }
}
