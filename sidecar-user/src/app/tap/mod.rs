//! `sidecar tap`: exchanges as they end, a line each, asked of a daemon that runs. Nothing is made of an exchange for it while
//! nobody reads.
//!
//! The answer of `/tap` is lines without an end: of exchanges, and, where some were left out, notes that say how many so far.

mod hub;
mod print;
mod stream;
#[cfg(test)]
mod tests;

pub(super) use self::{
    hub::{READERS, Tap, Taps},
    print::{print, stopped},
};

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use sidecar_core::told::{Filter, Told, duration};
use tokio::sync::mpsc::channel;

use super::explain::decoded;
use crate::admin::Lines;

/// Lines that a reader has not taken yet, besides its queue.
const UNDER_WAY: usize = 16;
/// Lines a second, unless more or less are asked for.
const RATE: u64 = 100;
const RATE_MAX: u64 = 100_000;
const LASTS_MAX: Duration = Duration::from_secs(24 * 3600);
/// What begins a note in text.
const NOTE: &str = "# left out: ";

/// What a reader asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wish {
    filter: Filter,
    /// Lines a second.
    rate: u64,
    count: Option<u64>,
    lasts: Option<Duration>,
    form: Form,
}

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Ndjson,
}

impl Wish {
    /// By a query (without `?`) and an `Accept` header: `rate`, `count`, `for`, and conditions by their names, unwanted
    /// ones with `not.` before them.
    pub(super) fn parse(query: &str, accept: &str) -> Result<Wish, String> {
        let form = if accept.contains("text/plain") { Form::Text } else { Form::Ndjson };
        let mut wish = Wish { filter: Filter::default(), rate: RATE, count: None, lasts: None, form };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name), decoded(value));
            match (name.as_str(), name.strip_prefix("not.")) {
                ("rate", _) => {
                    let rate = value.parse().ok().filter(|rate| (1..=RATE_MAX).contains(rate));
                    wish.rate = rate.ok_or_else(|| format!("rate: a number from 1 to {RATE_MAX}"))?;
                }
                ("count", _) => {
                    let count = value.parse().ok().filter(|count| *count > 0);
                    wish.count = Some(count.ok_or("count: a number from 1 on")?);
                }
                ("for", _) => {
                    let lasts = duration(&value)?;
                    wish.lasts = Some(lasts).filter(|lasts| *lasts <= LASTS_MAX);
                    wish.lasts.ok_or("for: a day at most")?;
                }
                (_, Some(name)) => wish.filter.add(name, &value, false)?,
                (name, None) => wish.filter.add(name, &value, true)?,
            }
        }
        Ok(wish)
    }

    /// The answer: what it is, and its lines.
    pub(super) fn answer(self, tap: Tap) -> (&'static str, Lines) {
        let content_type = match self.form {
            Form::Text => "text/plain; charset=utf-8",
            Form::Ndjson => "application/x-ndjson",
        };
        let (lines, under_way) = channel(UNDER_WAY);
        tokio::spawn(stream::carry(tap, self, lines));
        (content_type, Lines::new(under_way))
    }
}

impl Form {
    fn line(self, told: &Told) -> Bytes {
        match self {
            Form::Text => format!("{}\n", told.to_text()),
            Form::Ndjson => format!("{}\n", told.to_json()),
        }
        .into()
    }

    /// What was left out so far, by reason.
    fn note(self, [rate, slow]: [u64; 2]) -> Bytes {
        match self {
            Form::Text => format!("{NOTE}rate={rate} slow={slow}\n"),
            Form::Ndjson => format!("{}\n", json!({ "left_out": { "rate": rate, "slow": slow } })),
        }
        .into()
    }

    /// Whether a line is a note, and what it says.
    fn read_note(self, line: &str) -> Option<[u64; 2]> {
        match self {
            Form::Text => {
                let (rate, slow) = line.strip_prefix(NOTE)?.strip_prefix("rate=")?.split_once(" slow=")?;
                Some([rate.parse().ok()?, slow.parse().ok()?])
            }
            Form::Ndjson => {
                let line = line.strip_prefix("{\"left_out\":")?.strip_suffix('}')?;
                let told: serde_json::Value = serde_json::from_str(line).ok()?;
                Some([told["rate"].as_u64()?, told["slow"].as_u64()?])
            }
        }
    }
}
