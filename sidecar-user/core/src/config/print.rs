//! [`Resolved`] for people and machines: what holds, and who said so. Secrets are `***`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Origin, Resolved, keys};

impl Resolved {
    /// The settings as a file of settings, each line with its origin.
    #[must_use]
    pub fn print(&self) -> String {
        let mut out = String::new();
        let mut section = "";
        let values = serde_json::to_value(&self.config).unwrap_or_default();
        let keys = keys();
        // Keys without a section first: after one, they would be read as belonging to it.
        let (top, nested): (Vec<_>, Vec<_>) = keys.iter().partition(|key| !key.path.contains('.'));
        for key in top.into_iter().chain(nested) {
            let (parent, name) = key.path.rsplit_once('.').unwrap_or(("", &key.path));
            if parent != section {
                section = parent;
                let _ = writeln!(out, "{section}:");
            }
            let indent = if parent.is_empty() { "" } else { "  " };
            let value = key.path.split('.').fold(&values, |at, segment| &at[segment]);
            match value.as_object().filter(|map| !map.is_empty()) {
                None => {
                    let origin = self.origin(&key.path);
                    let _ = writeln!(out, "{indent}{name}: {value} # {origin}");
                }
                Some(map) => {
                    let _ = writeln!(out, "{indent}{name}:");
                    for (entry, value) in map {
                        let origin = self.origin(&format!("{}.{entry}", key.path));
                        let _ = writeln!(out, "{indent}  {}: {value} # {origin}", json!(entry));
                    }
                }
            }
        }
        out
    }

    /// `{"config": …, "origins": {"otlp.interval": "SIDECAR_OTLP_INTERVAL", …}}`; a key without an origin has its
    /// default.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let origins = self.origins.iter().map(|(key, origin)| (key.clone(), json!(origin.to_string())));
        json!({
            "config": serde_json::to_value(&self.config).unwrap_or_default(),
            "origins": Value::Object(origins.collect()),
        })
    }

    /// Who set a key, or an entry of a map.
    #[must_use]
    pub fn origin(&self, key: &str) -> &Origin {
        self.origins.get(key).unwrap_or(&Origin::Default)
    }
}
