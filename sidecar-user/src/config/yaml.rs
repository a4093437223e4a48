//! YAML to settings with their places. Scalars are kept as they were written (`1.10` stays `1.10`): the key's type
//! judges them later, by the rule that it has for variables and flags too.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_saphyr::{Error as YamlError, Location, MessageFormatter as _, Spanned, UserMessageFormatter};
use sidecar_core::config::{
    InboundSettings, Key, Keys, Kind, Origin, Place, Problem, ServiceSettings, Setting, keys,
};

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// In the order of the file; keys that do not exist are among them, for `resolve` to refuse.
    pub(super) settings: Vec<Setting>,
    /// Lines that hold a secret.
    pub(super) secret_lines: Vec<u64>,
    /// Keys that are not where they belong, and what ended the reading: there are no settings then.
    pub(super) problems: Vec<Problem>,
    /// There is nothing in it, not even `{}`.
    pub(super) is_empty: bool,
    reading: Option<Reading>,
}

/// The value that is being read.
#[derive(Debug)]
struct Reading {
    key: String,
    expected: String,
    at: Origin,
    is_secret: bool,
}

/// Reads one document. What is not YAML, or a value of the wrong shape, ends the reading.
pub(super) fn parse(text: &str) -> Document {
    let keys = keys();
    let mut document = Document::default();
    let options = serde_saphyr::options! { with_snippet: false };
    let section = Section { path: "", at: origin(&Location::UNKNOWN), keys: &keys, document: &mut document };
    let read = serde_saphyr::with_deserializer_from_str_with_options(text, options, |yaml| {
        section.deserialize(yaml)
    });
    if let Err(error) = read {
        document.settings.clear();
        let at = error.location().unwrap_or(Location::UNKNOWN);
        let reading = document.reading.take();
        if reading.as_ref().is_some_and(|reading| reading.is_secret) {
            document.secret_lines.push(at.line());
        }
        document.problems.push(problem(&error, text, &at, reading));
    }
    document
}

/// Numbers by the names that the reader has for them, and the largest of each.
const WHOLE: [(&str, u64); 3] = [("u16", u16::MAX as u64), ("u32", u32::MAX as u64), ("u64", u64::MAX)];

/// What is wrong, with the key whose value it is.
fn problem(error: &YamlError, text: &str, at: &Location, reading: Option<Reading>) -> Problem {
    let found = match error {
        YamlError::Unexpected { .. } => Some(found(text, at)),
        YamlError::SerdeInvalidType { unexpected, .. } => Some(match unexpected.as_str() {
            "sequence" => "a list",
            "map" => "a mapping",
            // What it is may be secret.
            _ => "a single value",
        }),
        _ => None,
    };
    let said = || {
        let said = UserMessageFormatter.format_message(error).into_owned();
        match WHOLE.iter().find(|(name, _)| said == format!("invalid {name}")) {
            Some((_, most)) => format!("not a whole number from 0 to {most}"),
            None => said,
        }
    };
    match (found, reading) {
        (Some(found), Some(Reading { key, expected, at: of_key, .. })) => {
            let is_at_value = matches!(error, YamlError::Unexpected { .. });
            let origin = if is_at_value { origin(at) } else { of_key };
            Problem { origin, message: format!("{key}: found {found}, expected {expected}") }
        }
        (Some(found), None) => {
            let message = format!("found {found}, expected a mapping with a section's name for each");
            Problem { origin: origin(at), message }
        }
        (None, Some(Reading { key, .. })) => {
            Problem { origin: origin(at), message: format!("{key}: {}", said()) }
        }
        (None, None) => Problem { origin: origin(at), message: said() },
    }
}

/// What stands there, where it is no text.
fn found(text: &str, at: &Location) -> &'static str {
    let index = |n: u64| usize::try_from(n.saturating_sub(1)).unwrap_or(usize::MAX);
    let line = text.lines().nth(index(at.line())).unwrap_or_default();
    match line.chars().nth(index(at.column())) {
        Some('[' | '-') => "a list",
        Some(_) => "a mapping",
        None => "nothing",
    }
}

/// What has no place of its own is the document: its beginning.
fn origin(at: &Location) -> Origin {
    Origin::File { line: at.line().max(1), column: at.column().max(1) }
}

/// A list, as the one text that it would be in a variable, and where its items stand; that text may also stand here.
struct Items(String, Vec<Origin>);

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(yaml: D) -> Result<Self, D::Error> {
        yaml.deserialize_any(ItemsVisitor)
    }
}

struct ItemsVisitor;

impl<'de> Visitor<'de> for ItemsVisitor {
    type Value = Items;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E: Error>(self) -> Result<Items, E> {
        self.visit_str("")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Items, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Items, E> {
        Ok(Items(text.to_owned(), Vec::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Items, A::Error> {
        let (mut items, mut places) = (Vec::new(), Vec::new());
        while let Some(item) = list.next_element::<Spanned<String>>()? {
            if item.value.contains(',') {
                return Err(A::Error::custom(format!("`{}` has a comma", item.value)));
            }
            items.push(item.value);
            places.push(origin(&item.referenced));
        }
        Ok(Items(items.join(","), places))
    }
}

/// The mapping under `path`: a section, or a key that is a map.
struct Section<'a> {
    path: &'a str,
    at: Origin,
    keys: &'a Keys,
    document: &'a mut Document,
}

impl<'de> DeserializeSeed<'de> for Section<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, yaml: D) -> Result<(), D::Error> {
        yaml.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Section<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    /// Nothing under a name, or nothing in the file.
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.document.is_empty |= self.path.is_empty();
        Ok(())
    }

    /// A map may be written as one text, as it is in a variable.
    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if !matches!(self.keys.place(self.path), Place::Key(_)) {
            return Err(E::invalid_type(serde::de::Unexpected::Str(text), &self));
        }
        self.document.settings.push(Setting::new(self.path, text, self.at));
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let is_map = matches!(self.keys.place(self.path), Place::Key(_));
        while let Some(name) = map.next_key::<Spanned<String>>()? {
            let path = match self.path {
                "" => name.value.clone(),
                parent => format!("{parent}.{}", name.value),
            };
            let place = self.keys.place(&path);
            if !is_map && name.value.contains('.') && place != Place::Unknown {
                let message =
                    format!("`{}` is not read with its dots: write `{}`", name.value, nested(place));
                self.document.problems.push(Problem { origin: origin(&name.referenced), message });
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let (key, expected) = match place {
                Place::Section => (None, "the section's keys below it".to_owned()),
                Place::Key(key) => (Some(key), key.kind.told()),
                Place::Entry(key, _) => (Some(key), "a text".to_owned()),
                Place::Unknown => (None, String::new()),
            };
            self.document.reading = (place != Place::Unknown).then(|| Reading {
                key: path.clone(),
                expected,
                at: origin(&name.referenced),
                is_secret: key.is_some_and(|key| key.is_secret),
            });
            let (value, items, at) = match place {
                Place::Section => (None, Vec::new(), name.referenced),
                Place::Key(Key { kind: Kind::Map { .. }, .. }) => (None, Vec::new(), name.referenced),
                Place::Key(Key { kind: Kind::List(_), .. }) => {
                    let Spanned { value: Items(value, items), referenced, .. } = map.next_value()?;
                    (Some(value), items, referenced)
                }
                // Read as what they are, so that what is wrong in one is told with its place.
                Place::Key(Key { kind: Kind::Records(_), .. }) => {
                    let (text, items, at) = match path.as_str() {
                        "traffic.inbound" => records::<InboundSettings, A>(&mut map)?,
                        _ => records::<ServiceSettings, A>(&mut map)?,
                    };
                    (Some(text), items, at)
                }
                Place::Key(_) | Place::Entry(..) => {
                    let value = map.next_value::<Spanned<Option<String>>>()?;
                    (Some(value.value.unwrap_or_default()), Vec::new(), value.referenced)
                }
                Place::Unknown => {
                    map.next_value::<IgnoredAny>()?;
                    (Some(String::new()), Vec::new(), name.referenced)
                }
            };
            if key.is_some_and(|key| key.is_secret) {
                self.document.secret_lines.push(at.line());
            }
            let at = origin(&at);
            match value {
                Some(value) => {
                    self.document.settings.push(Setting { key: path, value, origin: at, items });
                }
                None => {
                    let (keys, document) = (self.keys, &mut *self.document);
                    map.next_value_seed(Section { path: &path, at, keys, document })?;
                }
            }
            self.document.reading = None;
        }
        Ok(())
    }
}

/// A list of mappings: as JSON, where each of them begins, and where the list does.
fn records<'de, T, A>(map: &mut A) -> Result<(String, Vec<Origin>, Location), A::Error>
where
    T: Deserialize<'de> + Serialize,
    A: MapAccess<'de>,
{
    let list = map.next_value::<Spanned<Option<Vec<Spanned<T>>>>>()?;
    let items = list.value.into_iter().flatten();
    let placed = |item: Spanned<T>| (origin(&item.referenced), item.value);
    let (items, values): (Vec<_>, Vec<_>) = items.map(placed).unzip();
    let text = serde_json::to_string(&values).map_err(A::Error::custom)?;
    Ok((text, items, list.referenced))
}

/// How a path is written: `http: {route_cap: …}`.
fn nested(place: Place<'_>) -> String {
    let (path, entry) = match place {
        Place::Key(key) => (key.path.as_str(), None),
        Place::Entry(key, name) => (key.path.as_str(), Some(name)),
        Place::Section | Place::Unknown => return String::new(),
    };
    let names: Vec<&str> = path.split('.').chain(entry).collect();
    let last = names.last().map(|name| format!("{name}: …")).unwrap_or_default();
    names.iter().rev().skip(1).fold(last, |inner, name| format!("{name}: {{{inner}}}"))
}
