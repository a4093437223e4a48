//! Commands that are not answered yet, in the order in which they will be.

use std::collections::VecDeque;

use super::name::{Effect, Name, Verb};
use super::table::{MANY, TEXT};
use super::value::{Value, What};
use crate::model::Ktime;
use crate::protocol::trial::Asks;

/// A command that was sent whole. Little is held of it: there may be thousands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) started: Ktime,
    pub(super) requested: Ktime,
    pub(super) bytes: u64,
    pub(super) name: Name,
    pub(super) effect: Effect,
    /// Bytes of its connection that were lost since.
    pub(super) lost: u32,
}

/// They, and how far the answer of the first has come.
#[derive(Debug, Default)]
pub(super) struct Queue {
    commands: VecDeque<Pending>,
    /// The first one's answer, where it has several parts.
    pub(super) parts: Parts,
    /// Answers to come after those, to commands that there was no room for.
    pub(super) beyond: u64,
}

/// Parts of an answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Parts {
    pub(super) began: Option<Ktime>,
    pub(super) last: Ktime,
    pub(super) bytes: u64,
    pub(super) n: u64,
    /// So many there are, where that is known.
    pub(super) of: Option<u64>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }

    pub(super) fn front(&self) -> Option<&Pending> {
        self.commands.front()
    }

    pub(super) fn push(&mut self, pending: Pending) {
        // As a rule it stays the only one.
        if self.commands.capacity() == 0 {
            self.commands.reserve_exact(1);
        }
        self.commands.push_back(pending);
    }

    /// The first is over.
    pub(super) fn pop(&mut self) -> Option<(Pending, Parts)> {
        let pending = self.commands.pop_front()?;
        if self.commands.is_empty() {
            // A connection that idles holds nothing.
            self.commands = VecDeque::new();
        }
        Some((pending, std::mem::take(&mut self.parts)))
    }

    /// So many bytes of the connection were lost.
    pub(super) fn lose(&mut self, n: u64) {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        self.commands.iter_mut().for_each(|pending| pending.lost = pending.lost.saturating_add(n));
    }

    pub(super) fn held(&self) -> usize {
        self.commands.capacity() * size_of::<Pending>()
    }
}

impl Pending {
    fn is(&self, name: &str) -> bool {
        self.name.known().is_some_and(|known| known.name == name)
    }

    /// Which confirmations answer it.
    pub(super) fn verb(&self) -> Option<Verb> {
        match self.effect {
            Effect::Subscribe(verb, _) | Effect::UnsubscribeAll(verb) => Some(verb),
            _ => None,
        }
    }
}

impl Asks<Value> for Pending {
    fn answers(&self) -> u32 {
        if let Effect::Subscribe(_, n) = self.effect { n } else { 1 }
    }

    fn fits(&self, answer: &Value) -> bool {
        match answer.what {
            What::Error | What::UnknownCommand => return true,
            What::Queued => return !matches!(self.effect, Effect::Multi | Effect::Exec | Effect::Discard),
            What::Confirmed(verb) if self.verb().is_some() => return self.verb() == Some(verb),
            _ if self.verb().is_some() => return false,
            _ => {}
        }
        let Some(known) = self.name.known() else { return true };
        match answer.what {
            What::Pong => self.is("PING") || known.answer & super::table::SIMPLE != 0 && self.is_made_up(),
            _ if self.is("PING") => answer.kind & (TEXT | MANY) != 0,
            _ => answer.kind & known.answer != 0,
        }
    }

    fn is_blocking(&self) -> bool {
        self.name.known().is_some_and(|known| known.is_blocking)
    }
}

impl Pending {
    /// What it answers is made up by a script.
    fn is_made_up(&self) -> bool {
        ["EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO", "FCALL", "FCALL_RO"].iter().any(|name| self.is(name))
    }
}
