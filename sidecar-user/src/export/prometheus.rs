//! Prometheus text format 0.0.4. `prometheus_client` has OpenMetrics only, and some scrapers ask for nothing else.
//! Source: <https://github.com/prometheus/docs/blob/main/docs/instrumenting/exposition_formats.md>

use std::borrow::Cow;
use std::fmt::{self, Write};

use sidecar_core::model::Kind;
use sidecar_core::signal::{Family, Histogram, PointValue, Snapshot, names};

use super::Resource;

/// The whole exposition.
pub(super) fn encode(snapshot: &Snapshot, resource: &Resource) -> Result<String, fmt::Error> {
    let mut out = String::with_capacity(16 * 1024);
    target(&mut out, resource)?;
    for family in &snapshot.families {
        self::family(&mut out, family)?;
    }
    Ok(out)
}

/// This format knows no info type: a gauge that is always 1.
fn target(out: &mut String, resource: &Resource) -> fmt::Result {
    let labels: Vec<_> = resource.labels().into_iter().collect();
    if labels.is_empty() {
        return Ok(());
    }
    writeln!(out, "# HELP target_info Target metadata.\n# TYPE target_info gauge")?;
    sample(out, "target_info", "", &labels, None, "1")
}

fn family(out: &mut String, family: &Family) -> fmt::Result {
    let def = family.def;
    let name = names::metric(def).sample();
    let kind = match def.kind {
        Kind::Counter | Kind::CounterF64 => "counter",
        Kind::Gauge | Kind::UpDown | Kind::Info => "gauge",
        Kind::Histogram(_) => "histogram",
    };
    writeln!(out, "# HELP {name} {}\n# TYPE {name} {kind}", escaped(def.help, &['\\', '\n']))?;
    for point in &family.points {
        let labels: Vec<(String, String)> =
            point.attributes.iter().map(|(key, value)| (names::label(key), value.to_string())).collect();
        match &point.value {
            PointValue::U64(value) => sample(out, &name, "", &labels, None, &value.to_string())?,
            PointValue::F64(value) => sample(out, &name, "", &labels, None, &float(*value))?,
            PointValue::Histogram(value) => histogram(out, &name, &labels, value)?,
        }
    }
    Ok(())
}

fn histogram(out: &mut String, name: &str, labels: &[(String, String)], value: &Histogram) -> fmt::Result {
    let bounds = value.bounds.iter().copied().chain([f64::INFINITY]);
    let mut cumulative = 0;
    for (bound, count) in bounds.zip(&value.counts) {
        cumulative += count;
        sample(out, name, "_bucket", labels, Some(&float(bound)), &cumulative.to_string())?;
    }
    sample(out, name, "_sum", labels, None, &float(value.sum))?;
    sample(out, name, "_count", labels, None, &value.count.to_string())
}

fn sample(
    out: &mut String,
    name: &str,
    suffix: &str,
    labels: &[(String, String)],
    le: Option<&str>,
    value: &str,
) -> fmt::Result {
    write!(out, "{name}{suffix}")?;
    let pairs = labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let mut separator = '{';
    for (key, value) in pairs.chain(le.map(|le| ("le", le))) {
        write!(out, "{separator}{key}=\"{}\"", escaped(value, &['\\', '\n', '"']))?;
        separator = ',';
    }
    let end = if separator == ',' { "}" } else { "" };
    writeln!(out, "{end} {value}")
}

/// As OpenMetrics writes floats (`1.0`, `0.005`), so that `le` is the same label whichever format is scraped.
fn float(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value == f64::NEG_INFINITY {
        "-Inf".to_owned()
    } else {
        format!("{value:?}")
    }
}

fn escaped<'a>(text: &'a str, special: &[char]) -> Cow<'a, str> {
    if !text.contains(special) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' if special.contains(&c) => out.push_str("\\n"),
            c if special.contains(&c) => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}
