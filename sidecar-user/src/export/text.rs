//! Prometheus' text format 0.0.4. Ours because `prometheus_client` has none. It knows neither info metrics (a gauge that is
//! always 1) nor units nor exemplars.
//! Source: <https://github.com/prometheus/docs/blob/main/docs/instrumenting/exposition_formats.md>

use std::borrow::Cow;
use std::fmt::{self, Write};

use sidecar_core::model::Kind;
use sidecar_core::signal::{Family, Histogram, PointValue, Snapshot, names};

use super::Resource;

/// The whole exposition.
pub(super) fn encode(snapshot: &Snapshot, resource: &Resource) -> Result<String, fmt::Error> {
    let mut out = Encoder { out: String::with_capacity(16 * 1024) };
    out.target(resource)?;
    for family in &snapshot.families {
        out.family(family)?;
    }
    Ok(out.out)
}

type Labels = [(String, String)];

struct Encoder {
    out: String,
}

impl Encoder {
    fn target(&mut self, resource: &Resource) -> fmt::Result {
        let labels: Vec<_> = resource.labels().into_iter().collect();
        if labels.is_empty() {
            return Ok(());
        }
        self.head("target_info", Kind::Info, "Target metadata.")?;
        self.sample("target_info", "", &labels, None, "1")
    }

    fn family(&mut self, family: &Family) -> fmt::Result {
        let def = family.def;
        let sample = names::metric(def).sample();
        self.head(&sample, def.kind, def.help)?;
        for point in &family.points {
            let labels = labels(point);
            match &point.value {
                PointValue::U64(value) => self.sample(&sample, "", &labels, None, &value.to_string())?,
                PointValue::F64(value) => self.sample(&sample, "", &labels, None, &float(*value))?,
                PointValue::Histogram(value) => self.histogram(&sample, &labels, value)?,
            }
        }
        Ok(())
    }

    /// The metadata lines, which here are about the sample's name.
    fn head(&mut self, name: &str, kind: Kind, help: &str) -> fmt::Result {
        let word = match kind {
            Kind::Counter | Kind::CounterF64 => "counter",
            Kind::UpDown | Kind::Gauge | Kind::Info => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        writeln!(self.out, "# HELP {name} {}\n# TYPE {name} {word}", escaped(help, &['\\', '\n']))
    }

    fn histogram(&mut self, name: &str, labels: &Labels, value: &Histogram) -> fmt::Result {
        let bounds = value.bounds.iter().copied().chain([f64::INFINITY]);
        let mut cumulative = 0;
        for (bound, count) in bounds.zip(&value.counts) {
            cumulative += count;
            self.sample(name, "_bucket", labels, Some(&float(bound)), &cumulative.to_string())?;
        }
        self.sample(name, "_sum", labels, None, &float(value.sum))?;
        self.sample(name, "_count", labels, None, &value.count.to_string())
    }

    fn sample(
        &mut self,
        name: &str,
        suffix: &str,
        labels: &Labels,
        le: Option<&str>,
        value: &str,
    ) -> fmt::Result {
        let out = &mut self.out;
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
}

/// A point's attributes under Prometheus' names.
pub(super) fn labels(point: &sidecar_core::signal::Point) -> Vec<(String, String)> {
    point.attributes.iter().map(|(key, value)| (names::label(key), value.to_string())).collect()
}

/// With a fraction always (`1.0`, `0.005`), as OpenMetrics wants `le`, so that it is the same label in each format.
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
