//! Which exchanges somebody wants to be told of.

use std::time::Duration;

use super::Told;
use crate::model::{Network, PathPattern, Role};

/// Conditions. Of one kind any may hold, all kinds must; and none of those that are asked not to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    wanted: Vec<Condition>,
    unwanted: Vec<Condition>,
}

/// Names of the kinds of conditions, as queries and command lines have them.
pub const CONDITIONS: [&str; 6] = ["protocol", "role", "status", "path", "peer", "min-duration"];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Protocol(String),
    Role(Role),
    /// `503`, or of numbers also `5xx`.
    Status(String),
    Path(PathPattern),
    Peer(Network),
    /// It took at least so long.
    Slow(Duration),
}

impl Filter {
    /// Asks for one more; `is_wanted` or not.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn add(&mut self, name: &str, value: &str, is_wanted: bool) -> Result<(), String> {
        let condition = Condition::parse(name, value)?;
        if is_wanted { &mut self.wanted } else { &mut self.unwanted }.push(condition);
        Ok(())
    }

    /// Whether it is asked for.
    #[must_use]
    pub fn takes(&self, told: &Told) -> bool {
        let holds = |condition: &Condition| condition.holds(told);
        let is_kind =
            |one: &Condition, other: &Condition| std::mem::discriminant(one) == std::mem::discriminant(other);
        let any_of_kind =
            |one: &Condition| self.wanted.iter().any(|other| is_kind(one, other) && holds(other));
        self.wanted.iter().all(any_of_kind) && !self.unwanted.iter().any(holds)
    }
}

impl Condition {
    fn parse(name: &str, value: &str) -> Result<Self, String> {
        match name {
            "protocol" if !value.is_empty() => Ok(Condition::Protocol(value.to_ascii_lowercase())),
            "status" if !value.is_empty() => Ok(Condition::Status(value.to_ascii_lowercase())),
            "protocol" | "status" => Err(format!("{name}: nothing is asked for")),
            "role" => match value {
                "client" => Ok(Condition::Role(Role::Client)),
                "server" => Ok(Condition::Role(Role::Server)),
                _ => Err(format!("role: `{value}` is neither client nor server")),
            },
            "path" => value.parse().map(Condition::Path).map_err(|error| format!("path: {error}")),
            "peer" => value.parse().map(Condition::Peer).map_err(|error| format!("peer: {error}")),
            "min-duration" => duration(value).map(Condition::Slow),
            _ => Err(format!("`{name}` is no condition: there are {}", CONDITIONS.join(", "))),
        }
    }

    fn holds(&self, told: &Told) -> bool {
        match self {
            Condition::Protocol(name) => *name == told.protocol,
            Condition::Role(role) => *role == told.role,
            Condition::Status(wanted) => {
                told.status.as_deref().is_some_and(|status| is_status(status, wanted))
            }
            Condition::Path(pattern) => told.path.as_deref().is_some_and(|path| pattern.matches(path)),
            Condition::Peer(network) => network.contains(told.peer),
            Condition::Slow(least) => told.took.is_some_and(|took| took >= *least),
        }
    }
}

fn is_status(status: &str, wanted: &str) -> bool {
    let is_class = wanted.strip_suffix("xx").is_some_and(|class| {
        status.len() == 3 && status.starts_with(class) && status.bytes().all(|byte| byte.is_ascii_digit())
    });
    is_class || status.eq_ignore_ascii_case(wanted)
}

/// A length of time with its unit: `250us`, `10ms`, `1.5s`, `2m`.
///
/// # Errors
/// What is wrong with it.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no length of time: write 10ms, 1.5s or 2m");
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
    let (number, unit) = text.split_at(at);
    let unit = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * unit).map_err(|_| wrong())
}
