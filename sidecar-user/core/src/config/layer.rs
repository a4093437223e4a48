//! Where settings come from, and what is said about those that cannot be taken.

use std::{borrow::Cow, fmt};

/// Everything that was given, lowest layer first; [`super::resolve()`] makes one [`super::Config`] of it.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// Of the file, in its order.
    pub file: Vec<Setting>,
    /// All variables of the environment that may concern us: `SIDECAR_…` and `OTEL_…`, names and values.
    pub environment: Vec<(String, String)>,
    /// Of the command line, in its order: the last of two wins.
    pub flags: Vec<Setting>,
}

/// One value for one key, not yet judged.
#[derive(Clone, PartialEq, Eq)]
pub struct Setting {
    /// Dotted path of the key; for an entry of a map, the map's path, a dot and the entry's name.
    pub key: String,
    /// As it was written. Empty is unset.
    pub value: String,
    /// Who said so.
    pub origin: Origin,
    /// Where each item of a list stands, as the commas part them; empty where all are in one text.
    pub items: Vec<Origin>,
}

impl Setting {
    /// One text for one key.
    #[must_use]
    pub fn new(key: impl Into<String>, value: impl Into<String>, origin: Origin) -> Self {
        Self { key: key.into(), value: value.into(), origin, items: Vec::new() }
    }
}

/// The value may be secret, and is not shown.
impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting")
            .field("key", &self.key)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// Which layer a value is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The file, at this line and column, both from 1; 0 where unknown.
    File {
        /// Line.
        line: u64,
        /// Column, in characters.
        column: u64,
    },
    /// A variable, by name.
    Variable(Cow<'static, str>),
    /// A flag, as it was written: `--listen`, `--set`.
    Flag(Cow<'static, str>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { line, .. } => write!(f, "file, line {line}"),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// Something that was asked for and cannot be done: the daemon does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Who asked for it.
    pub origin: Origin,
    /// What is wrong with it, and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}

/// Something the operator should know; the daemon starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A variable of OpenTelemetry with a value that is not valid: ignored, as its specification wants it.
    Ignored {
        /// Its name.
        variable: String,
        /// What is wrong.
        why: String,
    },
    /// A variable of OpenTelemetry that this version knows and does not act on.
    NotHonoured {
        /// Its name.
        variable: String,
        /// What happens instead.
        instead: &'static str,
    },
    /// Nothing is in the file.
    Empty,
    /// A setting that is valid and dangerous.
    Risky {
        /// The key.
        key: &'static str,
        /// What it opens.
        why: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ignored { variable, why } => write!(f, "{variable} is ignored: {why}"),
            Self::NotHonoured { variable, instead } => write!(f, "{variable} is not yet honoured: {instead}"),
            Self::Empty => f.write_str(
                "nothing is in the file: in the place of settings that are at work it is not taken",
            ),
            Self::Risky { key, why } => write!(f, "{key}: {why}"),
        }
    }
}
