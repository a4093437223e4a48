//! The two HTTP listeners: a public one for scrapers and probes, an admin one for the operator.
//!
//! Order of calls: [`bind::public`] and [`bind::admin`] while the process still may, then [`serve::serve`] inside
//! the runtime, one task each. What the answers say comes from [`Facts`]; nothing here knows where it is kept.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use serde_json::Value;
use sidecar_core::config::Level;

pub(crate) mod bind;
pub(crate) mod client;
mod encoding;
mod guard;
mod lines;
mod operator;
mod places;
mod public;
mod reply;
pub(crate) mod serve;
#[cfg(test)]
mod tests;

pub(crate) use lines::Lines;

/// What the listeners tell. Implementations answer from memory: no handler does I/O of its own.
pub(crate) trait Facts: Send + Sync + 'static {
    /// The exposition that an `Accept` header asks for (empty: none was sent): content type and body.
    fn metrics<'a>(&'a self, accept: &'a str) -> Answer<'a, (String, Bytes)>;
    /// The connections that are followed, at most `limit`, and how many there are with those that are left out.
    fn connections(&self, limit: usize) -> Answer<'_, (Vec<Value>, usize)>;
    /// The exchanges behind a series, by a query (without `?`) and an `Accept` header: content type and body, or what is
    /// wrong with the query.
    fn explain<'a>(
        &'a self,
        query: &'a str,
        accept: &'a str,
    ) -> Answer<'a, Result<(&'static str, Bytes), String>>;
    /// Requests by what they ask for, since somebody began to look.
    fn top(&self) -> Answer<'_, Value>;
    /// Exchanges as they end, by a query (without `?`) and an `Accept` header: content type and lines.
    fn tap<'a>(&'a self, query: &'a str, accept: &'a str)
    -> Answer<'a, Result<(&'static str, Lines), NoTap>>;
    /// What passes, by a query (without `?`): content type and a capture without an end.
    fn record<'a>(&'a self, query: &'a str) -> Answer<'a, Result<(&'static str, Lines), NoTap>>;
    /// The settings and their origins, secrets hidden: `Resolved::to_json`.
    fn config(&self) -> Value;
    /// Whether what comes after it may start: settings hold, programs are loaded. It does not wait for an application,
    /// which in a pod is started only then.
    fn started(&self) -> Vec<Check>;
    /// Whether the process works at all: a failed check gets it restarted.
    fn live(&self) -> Vec<Check>;
    /// Whether it does what it was asked for.
    fn ready(&self) -> Vec<Check>;
    /// Level of the daemon's log.
    fn log_level(&self) -> Level;
    /// Changes it, or says why not.
    fn set_log_level(&self, level: Level) -> Result<(), String>;
}

/// Why nobody is told of exchanges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoTap {
    /// What is wrong with the query.
    Query(String),
    /// As many are told as may be, or there is nobody to tell.
    Busy(String),
}

/// Facts as the listeners share them.
pub(crate) type SharedFacts = Arc<dyn Facts>;

/// What an implementation works out, perhaps by asking the task that owns it.
pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What is said of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It holds.
    Ok,
    /// It does not, and nobody is to be taken for unready by it.
    Degraded,
    /// It does not.
    Failed,
}

impl Verdict {
    /// Whether something without which nothing else holds does.
    pub(crate) fn of(holds: bool) -> Verdict {
        if holds { Verdict::Ok } else { Verdict::Failed }
    }
}

/// One line of `/readyz`, and of `/startupz?verbose` and `/livez?verbose`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Check {
    /// One word.
    pub(crate) name: &'static str,
    /// Whether it holds.
    pub(crate) verdict: Verdict,
    /// What is missing, or what to know; may be empty.
    pub(crate) detail: String,
}
