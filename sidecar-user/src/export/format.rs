//! Which exposition a scraper gets.

use std::fmt;
use std::sync::Arc;

use sidecar_core::signal::Snapshot;

use super::{Resource, openmetrics, protobuf, text};

/// A format that can be pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' protobuf messages: native histograms beside the explicit buckets.
    Protobuf,
}

impl Format {
    /// The format that an `Accept` header ranks highest (RFC 9110 section 12.5.1), the one that carries more where two
    /// rank alike: protobuf and OpenMetrics where they are named in full, text for everybody else.
    pub(crate) fn negotiate(accept: Option<&str>) -> Format {
        let (mut protobuf, mut openmetrics, mut text) = (0, 0, None);
        for range in accept.unwrap_or_default().split(',').map(Range::parse) {
            match range.media {
                PROTOBUF if range.is_delimited_families() => protobuf = protobuf.max(range.quality),
                "application/openmetrics-text" if range.version == Some("1.0.0") => {
                    openmetrics = openmetrics.max(range.quality);
                }
                "text/plain" if matches!(range.version, None | Some("0.0.4")) => {
                    text = text.max(Some((2, range.quality)));
                }
                "text/*" => text = text.max(Some((1, range.quality))),
                "*/*" => text = text.max(Some((0, range.quality))),
                _ => {}
            }
        }
        // The most specific range that speaks of text is what it is worth.
        let text = text.map_or(0, |(_, quality)| quality);
        if protobuf > 0 && protobuf >= text.max(openmetrics) {
            Format::Protobuf
        } else if openmetrics > 0 && openmetrics >= text {
            Format::OpenMetrics
        } else {
            Format::Text
        }
    }

    /// For the `Content-Type` header.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// The exposition of a snapshot. Fails only where an encoder refuses, which none does for what a store makes.
    pub(crate) fn encode(
        self,
        snapshot: &Arc<Snapshot>,
        resource: &Arc<Resource>,
    ) -> Result<Vec<u8>, fmt::Error> {
        match self {
            Format::Text => text::encode(snapshot, resource).map(String::into_bytes),
            Format::OpenMetrics => openmetrics::encode(snapshot, resource).map(String::into_bytes),
            Format::Protobuf => protobuf::encode(snapshot, resource),
        }
    }
}

const PROTOBUF: &str = "application/vnd.google.protobuf";

/// One media range of `Accept`. What is malformed counts as not asked for.
struct Range<'a> {
    media: &'a str,
    version: Option<&'a str>,
    proto: Option<&'a str>,
    encoding: Option<&'a str>,
    /// In thousandths.
    quality: u32,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let mut range = Range { media, version: None, proto: None, encoding: None, quality: 1000 };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim() {
                "version" => range.version = Some(value),
                "proto" => range.proto = Some(value),
                "encoding" => range.encoding = Some(value),
                "q" | "Q" => {
                    let quality = value.parse::<f64>().unwrap_or(0.0);
                    range.quality = (quality.clamp(0.0, 1.0) * 1000.0) as u32;
                }
                _ => {}
            }
        }
        range
    }

    fn is_delimited_families(&self) -> bool {
        self.proto == Some("io.prometheus.client.MetricFamily") && self.encoding == Some("delimited")
    }
}

#[cfg(test)]
mod tests {
    use super::Format::{self, OpenMetrics, Protobuf, Text};

    #[test]
    fn negotiation() {
        let cases = [
            (None, Text),
            (Some(""), Text),
            (Some("*/*"), Text),
            (Some("application/openmetrics-text; version=1.0.0"), OpenMetrics),
            (Some("application/openmetrics-text;version=\"1.0.0\""), OpenMetrics),
            (Some("application/openmetrics-text;version=0.0.1"), Text),
            (Some("application/openmetrics-text"), Text),
            (Some("application/openmetrics-text;version=1.0.0;q=0"), Text),
            (Some("application/openmetrics-text;version=1.0.0;q=x"), Text),
            (Some("application/openmetrics-text;version=1.0.0;q=0.2,text/plain;q=0.3"), Text),
            (Some("application/openmetrics-text;version=1.0.0;q=0.5, text/plain;q=0.5"), OpenMetrics),
            (Some("text/*;q=0.1, */*;q=0.9, application/openmetrics-text;version=1.0.0;q=0.5"), OpenMetrics),
            // Prometheus 2 and 3, with and without protobuf.
            (
                Some(
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                     text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ),
                OpenMetrics,
            ),
            (
                Some(
                    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;\
                     q=0.7,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                     application/openmetrics-text;version=0.0.1;q=0.5,\
                     text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                ),
                Protobuf,
            ),
            (Some("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily"), Text),
            (
                Some(
                    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;\
                     q=0.5,application/openmetrics-text;version=1.0.0;q=0.6",
                ),
                OpenMetrics,
            ),
        ];
        for (accept, expected) in cases {
            assert_eq!(Format::negotiate(accept), expected, "{accept:?}");
        }
    }
}
