//! YAML to settings with their places. Scalars are kept as they were written (`1.10` stays `1.10`): the key's type
//! judges them later, by the rule that it has for variables and flags too.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, MessageFormatter as _, Spanned, UserMessageFormatter};
use sidecar_core::config::{Keys, Kind, Origin, Place, Problem, Setting, keys};

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// In the order of the file; keys that do not exist are among them, for `resolve` to refuse.
    pub(super) settings: Vec<Setting>,
    /// Lines that hold a secret.
    pub(super) secret_lines: Vec<u64>,
}

/// Reads one document. A problem is one of YAML, or a value of the wrong shape; it ends the reading.
pub(super) fn parse(text: &str) -> Result<Document, Problem> {
    let keys = keys();
    let mut document = Document::default();
    let options = serde_saphyr::options! { with_snippet: false };
    let section = Section { path: "", at: origin(&Location::UNKNOWN), keys: &keys, document: &mut document };
    let read = serde_saphyr::with_deserializer_from_str_with_options(text, options, |yaml| {
        section.deserialize(yaml)
    });
    match read {
        Ok(()) => Ok(document),
        Err(error) => {
            let at = error.location().unwrap_or(Location::UNKNOWN);
            Err(Problem {
                origin: origin(&at),
                message: UserMessageFormatter.format_message(&error).into_owned(),
            })
        }
    }
}

/// What has no place of its own is the document: its beginning.
fn origin(at: &Location) -> Origin {
    Origin::File { line: at.line().max(1), column: at.column().max(1) }
}

/// A list, as the one text that it would be in a variable; that text may also stand here.
struct Items(String);

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(yaml: D) -> Result<Self, D::Error> {
        yaml.deserialize_any(ItemsVisitor).map(Items)
    }
}

struct ItemsVisitor;

impl<'de> Visitor<'de> for ItemsVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E: Error>(self) -> Result<String, E> {
        Ok(String::new())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<String, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element::<String>()? {
            if item.contains(',') {
                return Err(A::Error::custom(format!("`{item}` has a comma")));
            }
            items.push(item);
        }
        Ok(items.join(","))
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
        Ok(())
    }

    /// A map may be written as one text, as it is in a variable.
    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        if !matches!(self.keys.place(self.path), Place::Key(_)) {
            return Err(E::invalid_type(serde::de::Unexpected::Str(text), &self));
        }
        self.document.settings.push(Setting {
            key: self.path.to_owned(),
            value: text.to_owned(),
            origin: self.at,
        });
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<Spanned<String>>()? {
            let path = match self.path {
                "" => name.value.clone(),
                parent => format!("{parent}.{}", name.value),
            };
            let (key, value, at) = match self.keys.place(&path) {
                Place::Section => (None, None, name.referenced),
                Place::Key(key) if matches!(key.kind, Kind::Map { .. }) => (Some(key), None, name.referenced),
                Place::Key(key) if matches!(key.kind, Kind::List(_)) => {
                    let value = map.next_value::<Spanned<Items>>()?;
                    (Some(key), Some(value.value.0), value.referenced)
                }
                Place::Key(key) | Place::Entry(key, _) => {
                    let value = map.next_value::<Spanned<Option<String>>>()?;
                    (Some(key), Some(value.value.unwrap_or_default()), value.referenced)
                }
                Place::Unknown => {
                    map.next_value::<IgnoredAny>()?;
                    (None, Some(String::new()), name.referenced)
                }
            };
            if key.is_some_and(|key| key.is_secret) {
                self.document.secret_lines.push(at.line());
            }
            match value {
                Some(value) => self.document.settings.push(Setting { key: path, value, origin: origin(&at) }),
                None => {
                    let (keys, document) = (self.keys, &mut *self.document);
                    map.next_value_seed(Section { path: &path, at: origin(&at), keys, document })?;
                }
            }
        }
        Ok(())
    }
}
