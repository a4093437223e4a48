//! The last connections of a service, as `explain` shows them.

use std::fmt::Write as _;

use serde_json::{Value, json};
use sidecar_core::{
    flow::{Came, Seen},
    model::Role,
    signal::{UnixNanos, reason},
};

use super::explain::rfc3339;

/// As JSON. `offset` is what makes Unix time of the kernel's.
pub(super) fn to_json(last: &[Seen], offset: u64) -> Value {
    last.iter().map(|seen| one(seen, offset)).collect()
}

fn one(seen: &Seen, offset: u64) -> Value {
    let connection = &seen.connection;
    let steered = connection.steered.as_deref();
    let came_in = connection.role == Some(Role::Server);
    json!({
        "time": time(seen, offset),
        "pid": (connection.tgid != 0).then_some(connection.tgid),
        "verdict": steered.map(|steered| reason::Verdict::from(steered.verdict).word()),
        "reason": steered.map(|steered| reason::Steered::from(steered.reason).word()),
        "asked": steered.map(|steered| steered.asked.to_string()),
        "from": came_in.then(|| connection.remote.to_string()),
        "endpoint": steered.and_then(|steered| steered.endpoint).map(|endpoint| endpoint.to_string()),
        "came": came(seen.came),
    })
}

/// As text, a line each.
pub(super) fn write(out: &mut String, last: &[Seen], offset: u64) -> std::fmt::Result {
    for (at, seen) in last.iter().enumerate() {
        let head = if at == 0 { "last" } else { "" };
        let connection = &seen.connection;
        let Some(steered) = connection.steered.as_deref() else { continue };
        let verdict = reason::Verdict::from(steered.verdict).word();
        let why = reason::Steered::from(steered.reason).word();
        let to = steered.endpoint.map(|endpoint| format!(" to {endpoint}")).unwrap_or_default();
        let (asked, came, time) = (steered.asked, came(seen.came), time(seen, offset));
        let who = match connection.role {
            Some(Role::Server) => connection.remote.to_string(),
            _ => format!("pid {}", connection.tgid),
        };
        writeln!(out, "  {head:9}  {time}  {who} asked {asked}: {verdict} ({why}){to}, {came}")?;
    }
    Ok(())
}

fn time(seen: &Seen, offset: u64) -> String {
    rfc3339(UnixNanos(seen.at.0.saturating_add(offset)))
}

fn came(came: Came) -> &'static str {
    match came {
        Came::Opened => "established",
        Came::Failed(why) => reason::ConnectFailed::WORDS[why as usize],
        Came::Denied => "refused",
    }
}
