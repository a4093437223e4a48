//! `docs/metrics.md`, from the catalogue.

use std::fmt::Write as _;

use super::{catalogue, names};
use crate::model::{Kind, MetricDef};

/// The page: every metric in both spellings.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Metrics\n\nMade from `sidecar-user/core/src/signal/catalogue.rs` by `cargo xtask docs`. HTTP follows \
         OpenTelemetry's semantic conventions\nv1.44.0. Resource attributes are the labels of `target_info`.\n",
    );
    for def in catalogue::ALL {
        // Writing to a String does not fail.
        let _ = write!(page, "\n## {}\n\n{}\n\n", def.name, def.help);
        let _ = writeln!(page, "- Prometheus: `{}`", names::metric(def).sample());
        let _ = writeln!(page, "- {}, unit `{}`", kind(def), def.unit);
        if !def.attributes.is_empty() {
            let attributes = def.attributes.iter().map(|key| format!("`{key}` (`{}`)", names::label(key)));
            let _ = writeln!(page, "- attributes: {}", attributes.collect::<Vec<_>>().join(", "));
        }
    }
    page
}

fn kind(def: &MetricDef) -> String {
    match def.kind {
        Kind::Counter | Kind::CounterF64 => "counter".to_owned(),
        Kind::Gauge => "gauge".to_owned(),
        Kind::UpDown => "up-down counter".to_owned(),
        Kind::Info => "info".to_owned(),
        Kind::Histogram(bounds) => {
            let bounds = bounds.iter().map(f64::to_string).collect::<Vec<_>>().join(", ");
            format!("histogram, bounds {bounds}")
        }
    }
}
