//! Prometheus spellings of OpenTelemetry names, by the rules of OpenTelemetry's "Prometheus and OpenMetrics
//! Compatibility" specification. Nobody types such a name by hand.

use crate::model::{Kind, MetricDef};

/// The parts of a metric's Prometheus name. OpenMetrics' family is base and unit; a sample adds the suffix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricName {
    /// Without unit and suffix.
    pub base: String,
    /// The unit's word, if it has one.
    pub unit: Option<&'static str>,
    /// `total`, `info` or nothing.
    pub suffix: Option<&'static str>,
}

impl MetricName {
    /// Name of the family: OpenMetrics' metadata lines.
    #[must_use]
    pub fn family(&self) -> String {
        joined(&self.base, self.unit)
    }

    /// Name of a counter's, gauge's or info's sample, and stem of a histogram's: the text format's metadata lines.
    #[must_use]
    pub fn sample(&self) -> String {
        joined(&self.family(), self.suffix)
    }
}

/// The Prometheus name of a metric.
#[must_use]
pub fn metric(def: &MetricDef) -> MetricName {
    let suffix = match def.kind {
        Kind::Counter | Kind::CounterF64 => Some("total"),
        Kind::Info => Some("info"),
        Kind::Gauge | Kind::UpDown | Kind::Histogram(_) => None,
    };
    let unit = unit(def);
    let mut base = sanitized(def.name, true);
    for word in [suffix, unit].into_iter().flatten() {
        if let Some(shorter) = base.strip_suffix(word).and_then(|rest| rest.strip_suffix('_')) {
            base.truncate(shorter.len());
        }
    }
    MetricName { base, unit, suffix }
}

/// The Prometheus name of an attribute key.
#[must_use]
pub fn label(key: &str) -> String {
    let name = sanitized(key, false);
    // The specification's prefix for keys that begin with a digit.
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("key_{name}") } else { name }
}

fn unit(def: &MetricDef) -> Option<&'static str> {
    match (def.unit, def.kind) {
        (_, Kind::Info) => None,
        ("s", _) => Some("seconds"),
        ("ms", _) => Some("milliseconds"),
        ("By", _) => Some("bytes"),
        ("1", Kind::Gauge) => Some("ratio"),
        // Annotations in braces and dimensionless counts have no word.
        _ => None,
    }
}

fn joined(stem: &str, word: Option<&str>) -> String {
    match word {
        Some(word) => format!("{stem}_{word}"),
        None => stem.to_owned(),
    }
}

/// Runs of characters that Prometheus does not allow become one underscore.
fn sanitized(name: &str, colons: bool) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii_alphanumeric() || (colons && c == ':') {
            out.push(c);
        } else if !out.ends_with('_') {
            out.push('_');
        }
    }
    if colons && out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const H: Kind = Kind::Histogram(&[1.0]);

    #[test]
    fn metrics() {
        // name, kind, unit => OpenMetrics family, sample
        let cases = [
            ("http.server.request.duration", H, "s", "http_server_request_duration_seconds", ""),
            ("sidecar.tcp.io", Kind::Counter, "By", "sidecar_tcp_io_bytes", "_total"),
            ("sidecar.tcp.retransmits", Kind::Counter, "{segment}", "sidecar_tcp_retransmits", "_total"),
            ("sidecar.capture.coverage", Kind::Gauge, "1", "sidecar_capture_coverage_ratio", ""),
            ("sidecar.cpu.time", Kind::CounterF64, "s", "sidecar_cpu_time_seconds", "_total"),
            ("sidecar.build", Kind::Info, "1", "sidecar_build", "_info"),
            ("a.bytes", Kind::Gauge, "By", "a_bytes", ""),
            ("a.bytes.total", Kind::Counter, "By", "a_bytes", "_total"),
            ("a.total", Kind::Counter, "1", "a", "_total"),
            ("a.megabytes", Kind::Gauge, "By", "a_megabytes_bytes", ""),
            ("1a..b-c", Kind::Gauge, "", "_1a_b_c", ""),
        ];
        for (name, kind, unit, family, suffix) in cases {
            let def = MetricDef { name, kind, unit, help: "", attributes: &[] };
            let made = metric(&def);
            assert_eq!(made.family(), family, "{name}");
            assert_eq!(made.sample(), format!("{family}{suffix}"), "{name}");
        }
    }

    #[test]
    fn labels() {
        let cases = [
            ("http.request.method", "http_request_method"),
            ("k8s.pod.name", "k8s_pod_name"),
            ("a__b", "a_b"),
            ("7zip", "key_7zip"),
            ("é", "_"),
        ];
        for (key, expected) in cases {
            assert_eq!(label(key), expected);
        }
    }
}
