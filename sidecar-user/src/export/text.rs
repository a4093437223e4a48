//! The two text formats: Prometheus' 0.0.4 and OpenMetrics 1.0. They differ in names of families, units, info metrics,
//! exemplars and the end. Ours because no library takes ready-made exemplars.
//! Sources: <https://github.com/prometheus/docs/blob/main/docs/instrumenting/exposition_formats.md>,
//! <https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>

use std::borrow::Cow;
use std::fmt::{self, Write};

use sidecar_core::model::Kind;
use sidecar_core::signal::{Exemplar, Family, Histogram, PointValue, Snapshot, names};

use super::{Resource, hex};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Text format 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0. Without `_created` samples: Prometheus would store each as one more series.
    OpenMetrics,
}

/// The whole exposition.
pub(super) fn encode(
    dialect: Dialect,
    snapshot: &Snapshot,
    resource: &Resource,
) -> Result<String, fmt::Error> {
    let mut out = Encoder { out: String::with_capacity(16 * 1024), dialect };
    out.target(resource)?;
    for family in &snapshot.families {
        out.family(family)?;
    }
    if dialect == Dialect::OpenMetrics {
        out.out.push_str("# EOF\n");
    }
    Ok(out.out)
}

type Labels = [(String, String)];

struct Encoder {
    out: String,
    dialect: Dialect,
}

impl Encoder {
    fn target(&mut self, resource: &Resource) -> fmt::Result {
        let labels: Vec<_> = resource.labels().into_iter().collect();
        if labels.is_empty() {
            return Ok(());
        }
        self.head("target", "target_info", Kind::Info, None, "Target metadata.")?;
        self.sample("target_info", "", &labels, None, "1", None)
    }

    fn family(&mut self, family: &Family) -> fmt::Result {
        let def = family.def;
        let name = names::metric(def);
        let sample = name.sample();
        self.head(&name.family(), &sample, def.kind, name.unit, def.help)?;
        for point in &family.points {
            let labels = labels(point);
            match &point.value {
                PointValue::U64(value) => {
                    self.sample(&sample, "", &labels, None, &value.to_string(), None)?
                }
                PointValue::F64(value) => self.sample(&sample, "", &labels, None, &float(*value), None)?,
                PointValue::Histogram(value) => self.histogram(&sample, &labels, value)?,
            }
        }
        Ok(())
    }

    /// The metadata lines: about the family in OpenMetrics, about the sample's name in the older format, which knows
    /// neither info metrics (a gauge that is always 1) nor units.
    fn head(
        &mut self,
        family: &str,
        sample: &str,
        kind: Kind,
        unit: Option<&str>,
        help: &str,
    ) -> fmt::Result {
        let is_open = self.dialect == Dialect::OpenMetrics;
        let name = if is_open { family } else { sample };
        let special = if is_open { &['\\', '\n', '"'][..] } else { &['\\', '\n'] };
        let word = match kind {
            Kind::Counter | Kind::CounterF64 => "counter",
            Kind::Info if is_open => "info",
            Kind::UpDown | Kind::Gauge | Kind::Info => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        writeln!(self.out, "# HELP {name} {}\n# TYPE {name} {word}", escaped(help, special))?;
        match unit {
            Some(unit) if is_open => writeln!(self.out, "# UNIT {name} {unit}"),
            _ => Ok(()),
        }
    }

    fn histogram(&mut self, name: &str, labels: &Labels, value: &Histogram) -> fmt::Result {
        let bounds = value.bounds.iter().copied().chain([f64::INFINITY]);
        let mut cumulative = 0;
        for (i, (bound, count)) in bounds.zip(&value.counts).enumerate() {
            cumulative += count;
            let exemplar = value.exemplar(i);
            self.sample(name, "_bucket", labels, Some(&float(bound)), &cumulative.to_string(), exemplar)?;
        }
        self.sample(name, "_sum", labels, None, &float(value.sum), None)?;
        self.sample(name, "_count", labels, None, &value.count.to_string(), None)
    }

    fn sample(
        &mut self,
        name: &str,
        suffix: &str,
        labels: &Labels,
        le: Option<&str>,
        value: &str,
        exemplar: Option<&Exemplar>,
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
        write!(out, "{end} {value}")?;
        if let Some(Exemplar { trace, span, value, at }) = exemplar
            && self.dialect == Dialect::OpenMetrics
        {
            let (trace, span) = (hex(trace), hex(span));
            let (seconds, nanos) = (at.0 / 1_000_000_000, at.0 % 1_000_000_000);
            let value = float(*value);
            write!(out, " # {{trace_id=\"{trace}\",span_id=\"{span}\"}} {value} {seconds}.{nanos:09}")?;
        }
        out.push('\n');
        Ok(())
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
