//! `/top`: requests by what they ask for, as the daemon tells them and as whoever asks reads them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sidecar_core::{
    model::Role,
    signal::{
        Exponential,
        top::{Key, Row},
    },
};

/// All rows since somebody began to look.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Answer {
    rows: Vec<Told>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Told {
    protocol: String,
    role: String,
    what: String,
    peer: String,
    count: u64,
    errors: u64,
    sum_s: f64,
    /// A base-2 exponential histogram of seconds.
    durations: Buckets,
}

#[derive(Debug, Deserialize, Serialize)]
struct Buckets {
    scale: i32,
    offset: i32,
    counts: Vec<u64>,
    zeros: u64,
}

/// Who asked whom for what, as it was told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) protocol: String,
    pub(super) role: String,
    pub(super) what: String,
    pub(super) peer: String,
}

/// The answer to `/top`.
pub(in crate::app) fn to_json(rows: Vec<(Key, Row)>) -> Value {
    let told = |(key, row): (Key, Row)| {
        let Exponential { scale, offset, counts, zeros } = row.durations;
        Told {
            protocol: key.protocol.to_owned(),
            role: match key.role {
                Role::Client => "client",
                Role::Server => "server",
            }
            .to_owned(),
            what: key.what.into(),
            peer: key.peer.into(),
            count: row.count,
            errors: row.errors,
            sum_s: row.sum,
            durations: Buckets { scale, offset, counts, zeros },
        }
    };
    let answer = Answer { rows: rows.into_iter().map(told).collect() };
    serde_json::to_value(answer).unwrap_or_default()
}

impl Answer {
    /// Reads one; `None` where it is none.
    pub(super) fn read(body: &str) -> Option<BTreeMap<Name, Row>> {
        let answer: Answer = serde_json::from_str(body).ok()?;
        let row = |told: Told| {
            let Told { protocol, role, what, peer, count, errors, sum_s: sum, durations } = told;
            let Buckets { scale, offset, counts, zeros } = durations;
            let durations = Exponential { scale, offset, counts, zeros };
            (Name { protocol, role, what, peer }, Row { count, errors, sum, durations })
        };
        Some(answer.rows.into_iter().map(row).collect())
    }
}
