//! What a command is called, and what it does to those after it.

use super::table::{self, COMMANDS, Known};
use crate::protocol::line::number;

/// Which command it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// One that Redis knows, by its place in the table, and what it contains, by its place there.
    Known(u16, Option<u8>),
    /// One of a module, by the connection's own number.
    Module(u8),
    /// Nobody knows.
    Unknown,
}

/// What a command does to the commands and answers after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    /// `SELECT` of a database.
    Select(Option<u32>),
    Multi,
    Exec,
    Discard,
    Reset,
    Monitor,
    /// `SUBSCRIBE` and its like: so many answers.
    Subscribe(Verb, u32),
    /// `UNSUBSCRIBE` and its like, from everything: as many answers as there are subscriptions, one at least.
    UnsubscribeAll(Verb),
    /// `CLIENT REPLY`: no answer, nor to any after it.
    ReplyOff,
    /// No answer, nor to the next.
    ReplySkip,
    ReplyOn,
    /// What follows is a replica's: `PSYNC`, `SYNC`.
    Replicate,
    /// What only a replica sends: `REPLCONF ACK`.
    IsReplica,
}

/// What is subscribed to, or no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Subscribe,
    PSubscribe,
    SSubscribe,
    Unsubscribe,
    PUnsubscribe,
    SUnsubscribe,
}

impl Verb {
    /// By its name, in any case.
    pub(super) fn of(name: &[u8]) -> Option<Verb> {
        let is = |verb: &str| verb.as_bytes().eq_ignore_ascii_case(name);
        [
            ("subscribe", Verb::Subscribe),
            ("psubscribe", Verb::PSubscribe),
            ("ssubscribe", Verb::SSubscribe),
            ("unsubscribe", Verb::Unsubscribe),
            ("punsubscribe", Verb::PUnsubscribe),
            ("sunsubscribe", Verb::SUnsubscribe),
        ]
        .into_iter()
        .find_map(|(verb, found)| is(verb).then_some(found))
    }
}

/// Names of modules' commands that are kept of a connection.
const MODULES: usize = 64;
/// And bytes of each.
const MODULE_NAME: usize = 30;

/// Names that a connection has used and that are not in the table.
#[derive(Debug, Default)]
pub(super) struct Modules(Vec<Box<str>>);

impl Modules {
    /// The number of a name, if it is one of a module's: `FT.SEARCH`.
    fn number(&mut self, name: &str) -> Option<u8> {
        let (module, command) = name.split_once('.')?;
        let is_word = |word: &str| {
            word.len() >= 2
                && word.starts_with(|first: char| first.is_ascii_uppercase())
                && word.bytes().all(|byte| byte.is_ascii_uppercase() || b"_.".contains(&byte))
        };
        if name.len() > MODULE_NAME || !is_word(module) || !is_word(command) {
            return None;
        }
        let known = self.0.iter().position(|known| **known == *name);
        let at = known.or_else(|| (self.0.len() < MODULES).then_some(self.0.len()))?;
        if known.is_none() {
            self.0.push(name.into());
        }
        u8::try_from(at).ok()
    }

    /// Bytes that it holds.
    pub(super) fn held(&self) -> usize {
        self.0.capacity() * size_of::<Box<str>>() + self.0.len() * MODULE_NAME
    }
}

impl Name {
    /// By the first two words of a command, in any case.
    pub(super) fn of(words: [&[u8]; 2], modules: &mut Modules) -> Name {
        let upper = words[0].to_ascii_uppercase();
        if let Some(at) = table::find(&upper) {
            let contained = table::contained(COMMANDS[at].name, words[1]);
            return Name::Known(at as u16, contained.and_then(|at| u8::try_from(at).ok()));
        }
        let module = std::str::from_utf8(&upper).ok().and_then(|name| modules.number(name));
        module.map_or(Name::Unknown, Name::Module)
    }

    /// Its row of the table.
    pub(super) fn known(self) -> Option<&'static Known> {
        if let Name::Known(at, _) = self { COMMANDS.get(usize::from(at)) } else { None }
    }

    /// As `db.operation.name` has it: in upper case, with what a command contains after it.
    pub(super) fn operation(self, modules: &Modules) -> Option<Box<str>> {
        let (at, contained) = match self {
            Name::Known(at, contained) => (at, contained),
            Name::Module(at) => return modules.0.get(usize::from(at)).cloned(),
            Name::Unknown => return None,
        };
        let name = COMMANDS.get(usize::from(at))?.name;
        let contained = contained.and_then(|at| table::subcommands(name).get(usize::from(at)));
        Some(contained.map_or_else(|| name.into(), |contained| format!("{name} {contained}").into()))
    }
}

impl Effect {
    /// By a command's name, its words from the second on, and how many words it has.
    pub(super) fn of(name: Name, words: [&[u8]; 2], n_words: u64) -> Effect {
        let Some(known) = name.known() else { return Effect::None };
        let is = |at: usize, word: &str| words[at].eq_ignore_ascii_case(word.as_bytes());
        let n = u32::try_from(n_words.saturating_sub(1)).unwrap_or(u32::MAX);
        if let Some(verb) = Verb::of(known.name.as_bytes()) {
            return match verb {
                Verb::Unsubscribe | Verb::PUnsubscribe | Verb::SUnsubscribe if n == 0 => {
                    Effect::UnsubscribeAll(verb)
                }
                // Refused for its arity, or so many answers that it is not meant.
                _ if !(1..=SUBSCRIBED_AT_ONCE).contains(&n) => Effect::None,
                verb => Effect::Subscribe(verb, n),
            };
        }
        match known.name {
            "SELECT" if n == 1 => {
                Effect::Select(number(words[0]).and_then(|number| u32::try_from(number).ok()))
            }
            "MULTI" => Effect::Multi,
            "EXEC" => Effect::Exec,
            "DISCARD" => Effect::Discard,
            "RESET" => Effect::Reset,
            "MONITOR" => Effect::Monitor,
            "PSYNC" | "SYNC" => Effect::Replicate,
            "REPLCONF" if is(0, "ACK") => Effect::IsReplica,
            "CLIENT" if n == 2 && is(0, "REPLY") => match () {
                () if is(1, "OFF") => Effect::ReplyOff,
                () if is(1, "SKIP") => Effect::ReplySkip,
                () if is(1, "ON") => Effect::ReplyOn,
                () => Effect::None,
            },
            _ => Effect::None,
        }
    }
}

/// Channels that one command subscribes to, at most, to be followed.
const SUBSCRIBED_AT_ONCE: u32 = 1 << 20;
