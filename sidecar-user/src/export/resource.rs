//! Who the telemetry is about.

use std::collections::BTreeMap;

use sidecar_core::signal::names;

/// Resource attributes (`service.name` and the like): OTLP's resource, Prometheus' `target_info`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resource(Vec<(String, String)>);

impl Resource {
    /// A resource of these attributes; of a key that comes twice, the last one counts.
    pub(crate) fn new(attributes: impl IntoIterator<Item = (String, String)>) -> Self {
        let unique: BTreeMap<String, String> = attributes.into_iter().collect();
        Resource(unique.into_iter().collect())
    }

    /// Ordered by key.
    pub(crate) fn attributes(&self) -> &[(String, String)] {
        &self.0
    }

    /// `service.name`.
    pub(crate) fn service_name(&self) -> &str {
        self.0.iter().find(|(key, _)| key == "service.name").map_or("unknown_service", |(_, name)| name)
    }

    /// The labels of `target_info`. Keys that are the same to Prometheus share a label, values joined by `;` in the
    /// order of the keys (OpenTelemetry's Prometheus compatibility specification, "Metric Attributes").
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::<String, String>::new();
        for (key, value) in &self.0 {
            labels
                .entry(names::label(key))
                .and_modify(|joined| {
                    joined.push(';');
                    joined.push_str(value);
                })
                .or_insert_with(|| value.clone());
        }
        labels
    }
}
