//! The layers to one [`Config`]: default, file, `OTEL_…`, `SIDECAR_…`, flags; the later wins, key by key.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    Config, Key, Keys, Kind, Layers, Notice, Origin, Place, Problem, Setting, check, environment, keys,
    keys::nearest, otel, text,
};

/// What the layers come to.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The settings.
    pub config: Config,
    /// What the operator should know.
    pub notices: Vec<Notice>,
    /// Who said what, by key or map entry; what is missing has its default.
    pub origins: BTreeMap<String, Origin>,
}

/// Merges the layers.
///
/// # Errors
/// All problems of all layers: unknown keys, values that do not parse, settings that contradict each other. Values
/// of OpenTelemetry's variables are no problem but a [`Notice`].
pub fn resolve(layers: &Layers) -> Result<Resolved, Vec<Problem>> {
    let keys = keys();
    let (mut problems, mut notices) = (Vec::new(), Vec::new());
    let (mut tree, mut origins) = (Value::Object(Map::new()), BTreeMap::new());
    let from_otel = otel::settings(&layers.environment, &mut notices);
    let from_variables = environment::settings(&layers.environment, &keys, &mut problems);
    for setting in [&layers.file, &from_otel, &from_variables, &layers.flags].into_iter().flatten() {
        match leaves(setting, &keys) {
            Ok(leaves) => {
                for (path, value) in leaves {
                    let path_text = path.join(".");
                    let items = setting.items.iter().enumerate();
                    origins.extend(items.map(|(i, at)| (format!("{path_text}.{i}"), at.clone())));
                    origins.insert(path_text, setting.origin.clone());
                    insert(&mut tree, &path, value);
                }
            }
            Err(Fault { item, message }) => match &setting.origin {
                Origin::Variable(name) if name.starts_with("OTEL_") => {
                    notices.push(Notice::Ignored { variable: name.to_string(), why: message });
                }
                origin => {
                    let origin = item.and_then(|item| setting.items.get(item)).unwrap_or(origin).clone();
                    problems.push(Problem { origin, message });
                }
            },
        }
    }
    match serde_json::from_value::<Config>(tree) {
        Ok(config) => {
            check::check(&config, &origins, &mut problems, &mut notices);
            if problems.is_empty() { Ok(Resolved { config, notices, origins }) } else { Err(problems) }
        }
        // Each leaf was accepted alone, so this would be a type that looks at two of its entries at once.
        Err(error) => {
            problems.push(Problem { origin: Origin::Default, message: error.to_string() });
            Err(problems)
        }
    }
}

type Leaf = (Vec<String>, Value);

/// What is wrong with a setting.
struct Fault {
    /// With which item of a list.
    item: Option<usize>,
    message: String,
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Self { item: None, message }
    }
}

/// The values that one setting makes, each already accepted by its key's type; none for an empty text.
fn leaves(setting: &Setting, keys: &Keys) -> Result<Vec<Leaf>, Fault> {
    let text = setting.value.trim();
    let (key, entries) = match keys.place(&setting.key) {
        Place::Key(_) if text.is_empty() => return Ok(Vec::new()),
        Place::Key(key) => match &key.kind {
            Kind::Map { .. } => {
                (key, text::pairs(text).map_err(|refused| format!("{}: {refused}", key.path))?)
            }
            Kind::List(of) => return list(key, of, text).map(|leaf| vec![leaf]),
            Kind::Records(_) => return records(key, text).map(|leaf| vec![leaf]),
            kind => {
                let leaf = (segments(key, None), value(&key.path, kind, text)?);
                accepted(&leaf)?;
                return Ok(vec![leaf]);
            }
        },
        Place::Entry(key, name) => (key, vec![(name.to_owned(), text.to_owned())]),
        Place::Section => return Err(format!("`{}` is a section, not a key", setting.key).into()),
        Place::Unknown => {
            let meant = keys.suggest(&setting.key);
            let hint = meant.map(|meant| format!(", did you mean `{meant}`?")).unwrap_or_default();
            return Err(format!("unknown key `{}`{hint}", setting.key).into());
        }
    };
    let entries = entries.into_iter().map(|(name, value)| {
        let leaf = (segments(key, Some(&name)), Value::String(value));
        accepted(&leaf).map(|()| leaf).map_err(Fault::from)
    });
    entries.collect()
}

/// The items between commas, each accepted alone, so that a wrong one is known.
fn list(key: &Key, of: &Kind, text: &str) -> Result<Leaf, Fault> {
    let items = text.split(',').map(str::trim).enumerate().filter(|(_, item)| !item.is_empty());
    let values = items.map(|(i, item)| {
        let value = value(&key.path, of, item).and_then(|value| {
            accepted(&(segments(key, None), Value::Array(vec![value.clone()]))).map(|()| value)
        });
        value.map_err(|message| Fault { item: Some(i), message })
    });
    Ok((segments(key, None), Value::Array(values.collect::<Result<_, _>>()?)))
}

/// The mappings of a JSON text, each accepted alone.
fn records(key: &Key, text: &str) -> Result<Leaf, Fault> {
    let values: Vec<Value> =
        serde_json::from_str(text).map_err(|error| format!("{}: not a list in JSON: {error}", key.path))?;
    for (i, value) in values.iter().enumerate() {
        let leaf = (segments(key, None), Value::Array(vec![value.clone()]));
        accepted(&leaf).map_err(|message| Fault { item: Some(i), message })?;
    }
    Ok((segments(key, None), Value::Array(values)))
}

fn segments(key: &Key, entry: Option<&str>) -> Vec<String> {
    let folds = key.kind == Kind::Map { folds_case: true };
    let entry = entry.map(|name| if folds { name.to_ascii_lowercase() } else { name.to_owned() });
    key.path.split('.').map(str::to_owned).chain(entry).collect()
}

/// A text by its key's kind.
fn value(path: &str, kind: &Kind, text: &str) -> Result<Value, String> {
    match kind {
        Kind::Switch => match text.to_ascii_lowercase().as_str() {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(format!("{path}: `{text}` is neither true nor false")),
        },
        Kind::Number { min, max } => {
            let number: u64 = text.parse().map_err(|_| format!("{path}: `{text}` is not a whole number"))?;
            if (min..=max).contains(&&number) {
                Ok(number.into())
            } else {
                Err(format!("{path}: {number} is not from {min} to {max}"))
            }
        }
        Kind::Choice(words) => {
            let word = text.to_ascii_lowercase();
            if words.contains(&word) {
                return Ok(Value::String(word));
            }
            let meant = nearest(&word, words.iter().map(String::as_str));
            let hint = meant.map(|meant| format!(", did you mean `{meant}`?")).unwrap_or_default();
            Err(format!("{path}: `{text}` is not one of {}{hint}", words.join(", ")))
        }
        Kind::Text(_) | Kind::List(_) | Kind::Map { .. } | Kind::Records(_) => {
            Ok(Value::String(text.to_owned()))
        }
    }
}

/// Whether the key's type takes the value, asked by settings that consist of nothing else.
fn accepted((path, value): &Leaf) -> Result<(), String> {
    let mut alone = Value::Object(Map::new());
    insert(&mut alone, path, value.clone());
    serde_json::from_value::<Config>(alone)
        .map(|_| ())
        .map_err(|error| format!("{}: {error}", path.join(".")))
}

fn insert(tree: &mut Value, path: &[String], value: Value) {
    let Some((last, parents)) = path.split_last() else { return };
    let mut at = tree;
    for parent in parents {
        at = &mut at[parent.as_str()];
    }
    at[last.as_str()] = value;
}
