//! The flat list of keys, read off the schema of [`Config`]: nothing about a key is written twice.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::Config;

/// One key.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// Dotted path: `otlp.interval`.
    pub path: String,
    /// What may be said.
    pub kind: Kind,
    /// As it would be written; `None`: unset.
    pub default: Option<String>,
    /// The field's doc comment.
    pub description: String,
    /// Its values are shown as `***`.
    pub is_secret: bool,
}

impl Key {
    /// Its variable: `SIDECAR_OTLP_INTERVAL`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("SIDECAR_{}", self.path.replace('.', "_").to_ascii_uppercase())
    }
}

/// What may be said for a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Switch,
    /// A whole number, both bounds included.
    Number {
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
    /// A text that its type parses; the word says what it is: `duration`, `address`, `text`.
    Text(String),
    /// One of these words.
    Choice(Vec<String>),
    /// Any number of values, in their order; in one text with commas between them.
    List(Box<Kind>),
    /// Names and texts; names in lower case only.
    Map {
        /// Names are folded to lower case.
        folds_case: bool,
    },
    /// Any number of mappings, in their order, each with these keys; in one text as JSON.
    Records(Vec<Key>),
}

impl Kind {
    /// In words.
    #[must_use]
    pub fn told(&self) -> String {
        match self {
            Kind::Switch => "`true` or `false`".to_owned(),
            Kind::Number { min, max } => format!("a whole number from {min} to {max}"),
            Kind::Text(what) => what.clone(),
            Kind::Choice(words) => {
                words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
            }
            Kind::List(of) => format!("a list, or one text with commas, of: {}", of.told()),
            Kind::Map { .. } => "names and texts".to_owned(),
            Kind::Records(_) => "a list of mappings; in one text, as JSON".to_owned(),
        }
    }
}

/// All keys, in the order of their paths.
#[must_use]
pub fn keys() -> Keys {
    let schema = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true).into_generator();
    let schema = schema.into_root_schema_for::<Config>().to_value();
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    let mut keys = Keys { keys: Vec::new(), sections: Vec::new() };
    keys.collect(&schema, &defaults, "");
    keys.keys.sort_by(|a, b| a.path.cmp(&b.path));
    keys
}

/// The list, and what can be asked of it.
#[derive(Clone, Debug)]
pub struct Keys {
    keys: Vec<Key>,
    sections: Vec<(String, String)>,
}

/// What a dotted path leads to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Place<'a> {
    /// A folder of keys.
    Section,
    /// A key.
    Key(&'a Key),
    /// An entry of a map.
    Entry(&'a Key, &'a str),
    /// Nothing.
    Unknown,
}

impl Keys {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    /// Sections and what they are about, in the order of their paths.
    pub fn sections(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sections.iter().map(|(path, about)| (path.as_str(), about.as_str()))
    }

    /// Where a path leads.
    #[must_use]
    pub fn place<'a>(&'a self, path: &'a str) -> Place<'a> {
        let entry = |key: &'a Key| {
            let name = path.strip_prefix(&key.path)?.strip_prefix('.')?;
            (matches!(key.kind, Kind::Map { .. }) && !name.is_empty()).then_some(Place::Entry(key, name))
        };
        if let Some(key) = self.keys.iter().find(|key| key.path == path) {
            Place::Key(key)
        } else if self.sections.iter().any(|(section, _)| section == path) {
            Place::Section
        } else {
            self.keys.iter().find_map(entry).unwrap_or(Place::Unknown)
        }
    }

    /// The key or section that a misspelt path most likely means: first among its siblings, then anywhere.
    #[must_use]
    pub fn suggest(&self, path: &str) -> Option<&str> {
        let parent = |path: &str| path.rsplit_once('.').map(|(parent, _)| parent.to_owned());
        let last = |path: &str| path.rsplit('.').next().map(str::to_owned).unwrap_or_default();
        let all = || self.keys.iter().map(|key| &key.path).chain(self.sections.iter().map(|(path, _)| path));
        let siblings = all().filter(|known| parent(known) == parent(path));
        let score = |a: &str, b: &str| strsim::normalized_damerau_levenshtein(a, b);
        best(siblings.map(|known| (known.as_str(), score(&last(known), &last(path)))))
            .or_else(|| best(all().map(|known| (known.as_str(), score(known, path)))))
            .or_else(|| all().find(|known| last(known) == last(path)).map(String::as_str))
    }

    fn collect(&mut self, schema: &Value, default: &Value, prefix: &str) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            // What is in a list has none but what its type says.
            let default = if default[name].is_null() { &field["default"] } else { &default[name] };
            // Lines of one paragraph are joined: a doc comment is wrapped for the source, not for its readers.
            let description = field["description"].as_str().unwrap_or_default().replace('\n', " ");
            if field["properties"].is_object() {
                self.collect(field, default, &path);
                self.sections.push((path, description));
            } else {
                let default = written(default);
                let is_secret = field["writeOnly"] == true;
                self.keys.push(Key { path, kind: kind(field), default, description, is_secret });
            }
        }
    }
}

/// The closest of some words to another, if any is close; for variables and words of a choice.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    best(known.into_iter().map(|known| (known, strsim::normalized_damerau_levenshtein(known, word))))
}

fn best<'a>(scored: impl Iterator<Item = (&'a str, f64)>) -> Option<&'a str> {
    scored.filter(|(_, score)| *score >= 0.6).max_by(|a, b| a.1.total_cmp(&b.1)).map(|(known, _)| known)
}

/// A default as a person would write it.
fn written(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Object(_) => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(values) if values.is_empty() => None,
        Value::Array(values) => Some(values.iter().filter_map(written).collect::<Vec<_>>().join(",")),
        other => Some(other.to_string()),
    }
}

fn kind(field: &Value) -> Kind {
    // One of several words, or nothing.
    let field = field["anyOf"].get(0).unwrap_or(field);
    let is = |word: &str| {
        field["type"] == word || field["type"].as_array().is_some_and(|t| t.contains(&word.into()))
    };
    let words = |list: &Value, pick: fn(&Value) -> &Value| {
        list.as_array().map(|list| list.iter().filter_map(|v| pick(v).as_str().map(str::to_owned)).collect())
    };
    let choice = words(&field["enum"], |v| v).or_else(|| words(&field["oneOf"], |v| &v["const"]));
    if let Some(choice) = choice {
        Kind::Choice(choice)
    } else if is("boolean") {
        Kind::Switch
    } else if is("integer") {
        let bound = |name: &str, otherwise| field[name].as_u64().unwrap_or(otherwise);
        let largest = match field["format"].as_str() {
            Some("uint16") => u16::MAX.into(),
            Some("uint32") => u32::MAX.into(),
            _ => u64::MAX,
        };
        Kind::Number { min: bound("minimum", 0), max: bound("maximum", largest) }
    } else if is("array") && field["items"]["properties"].is_object() {
        let mut fields = Keys { keys: Vec::new(), sections: Vec::new() };
        fields.collect(&field["items"], &Value::Null, "");
        Kind::Records(fields.keys)
    } else if is("array") {
        Kind::List(Box::new(kind(&field["items"])))
    } else if is("object") {
        Kind::Map { folds_case: field["propertyNames"].is_object() }
    } else {
        Kind::Text(field["format"].as_str().unwrap_or("text").to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::Level;

    #[test]
    fn each_key_is_documented_and_its_variable_is_its_own() {
        let keys = keys();
        let variables: BTreeSet<_> = keys.iter().map(Key::variable).collect();
        assert_eq!(variables.len(), keys.iter().count());
        for key in keys.iter() {
            assert!(key.description.len() > 10 && key.description.ends_with('.'), "{key:?}");
            assert_eq!(keys.place(&key.path), Place::Key(key));
        }
    }

    #[test]
    fn kinds_and_defaults_come_from_the_types() {
        let keys = keys();
        for (path, kind, default) in [
            ("metrics.listen", Kind::Text("address".into()), Some("[::]:9464")),
            ("admin.listen", Kind::Text("address or unix:PATH".into()), Some("127.0.0.1:9465")),
            ("capture.ring_bytes", Kind::Number { min: 65536, max: 1 << 30 }, Some("4194304")),
            ("otlp.endpoint", Kind::Text("URL".into()), None),
            ("service.name", Kind::Text("text".into()), None),
            ("otlp.traces", Kind::Switch, Some("true")),
            ("otlp.headers", Kind::Map { folds_case: true }, None),
            ("resource", Kind::Map { folds_case: false }, None),
            ("log.format", Kind::Choice(vec!["text".into(), "json".into()]), Some("text")),
            ("kernel_log", Kind::Choice(Level::ALL.map(|(name, _)| name.into()).into()), Some("off")),
            ("log.level", Kind::Choice(Level::ALL.map(|(name, _)| name.into()).into()), Some("info")),
            ("http.routes", Kind::List(Box::new(Kind::Text("path pattern".into()))), None),
            ("exclude.ports", Kind::List(Box::new(Kind::Number { min: 0, max: 65_535 })), None),
            ("shutdown.deadline", Kind::Text("duration".into()), Some("5s")),
        ] {
            let Place::Key(key) = keys.place(path) else { panic!("{path}") };
            assert_eq!((&key.kind, key.default.as_deref()), (&kind, default), "{path}");
            assert_eq!(key.is_secret, path == "otlp.headers");
        }
        assert!(matches!(
            keys.place("resource.deployment.environment"),
            Place::Entry(_, "deployment.environment")
        ));
        assert_eq!((keys.place("otlp"), keys.place("otlp.no")), (Place::Section, Place::Unknown));
    }

    #[test]
    fn misspelt_paths_find_their_key() {
        let keys = keys();
        for (path, expected) in [
            ("otlp.intervall", Some("otlp.interval")),
            ("metric", Some("metrics")),
            ("oltp", Some("otlp")),
            ("shutdown.listen", Some("admin.listen")),
            ("log-level", Some("log.level")),
            ("zzz", None),
        ] {
            assert_eq!(keys.suggest(path), expected, "{path}");
        }
    }
}
