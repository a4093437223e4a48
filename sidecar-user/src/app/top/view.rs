//! What is shown of two answers: what happened between them, by what, in what order. No terminal here.

use std::{cmp::Ordering, collections::BTreeMap, time::Duration};

use sidecar_core::signal::{Exponential, top::Row};

use super::answer::Name;
use crate::{
    app::plain::plain,
    cli::{By, Sort},
};

/// All rows that one answer told.
pub(super) type Rows = BTreeMap<Name, Row>;

/// The name that a row has where rows are put together.
fn together(by: By, name: &Name) -> Name {
    let Name { protocol, role, what, peer } = name.clone();
    let none = String::new;
    match by {
        By::All => Name { protocol, role, what, peer },
        By::Protocol => Name { protocol, role, what: none(), peer: none() },
        By::Route => Name { protocol, role, what, peer: none() },
        By::Peer => Name { protocol, role, what: none(), peer },
    }
}

/// How rows are shown.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) by: By,
    pub(super) sort: Sort,
    /// Only rows with this in one of their names.
    pub(super) filter: String,
}

/// One row that is shown.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) name: Name,
    /// Exchanges that ended in the time between.
    pub(super) count: u64,
    pub(super) errors: u64,
    /// A second.
    pub(super) rate: f64,
    /// Seconds; `None` where nothing ended.
    pub(super) p50: Option<f64>,
    pub(super) p99: Option<f64>,
}

impl View {
    /// What happened between two answers, `took` apart.
    pub(super) fn lines(&self, before: &Rows, now: &Rows, took: Duration) -> Vec<Line> {
        let mut sums: BTreeMap<Name, Row> = BTreeMap::new();
        for (name, row) in now {
            let new = since(row, before.get(name));
            if new.count > 0 && self.takes(name) {
                add(sums.entry(together(self.by, name)).or_default(), &new);
            }
        }
        let seconds = took.as_secs_f64().max(0.001);
        let line = |(name, row): (Name, Row)| Line {
            name,
            count: row.count,
            errors: row.errors,
            rate: row.count as f64 / seconds,
            p50: quantile(&row.durations, 0.5),
            p99: quantile(&row.durations, 0.99),
        };
        let mut lines: Vec<Line> = sums.into_iter().map(line).collect();
        // A stable order: those that are alike stay in that of their names.
        lines.sort_by(|a, b| match self.sort {
            Sort::Rate => descending(a.rate, b.rate),
            Sort::Errors => descending(a.share(), b.share()),
            Sort::P50 => descending(a.p50.unwrap_or(0.0), b.p50.unwrap_or(0.0)),
            Sort::P99 => descending(a.p99.unwrap_or(0.0), b.p99.unwrap_or(0.0)),
            Sort::Name => Ordering::Equal,
        });
        lines
    }

    fn takes(&self, name: &Name) -> bool {
        let Name { protocol, role, what, peer } = name;
        self.filter.is_empty() || [protocol, role, what, peer].iter().any(|text| text.contains(&self.filter))
    }
}

impl Line {
    /// Of errors, 0 to 1.
    pub(super) fn share(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.errors as f64 / self.count as f64 }
    }

    /// Its cells as text, in the order of [`HEADERS`]; nothing of it does more than show.
    pub(super) fn cells(&self) -> [String; 8] {
        let Name { protocol, role, what, peer } = &self.name;
        let text = |text: &str| plain(if text.is_empty() { "*" } else { text }).into_owned();
        [
            text(protocol),
            text(role),
            text(what),
            text(peer),
            number(self.rate),
            format!("{:.1}", 100.0 * self.share()),
            time(self.p50),
            time(self.p99),
        ]
    }
}

/// Names of the columns.
pub(super) const HEADERS: [&str; 8] =
    ["PROTOCOL", "ROLE", "OPERATION", "PEER", "REQ/S", "ERR%", "P50", "P99"];

/// What came since `before`, an earlier state of a row; all of it where the daemon was not the same.
fn since(now: &Row, before: Option<&Row>) -> Row {
    let Some(before) = before.filter(|before| before.count <= now.count) else { return now.clone() };
    Row {
        count: now.count - before.count,
        errors: now.errors.saturating_sub(before.errors),
        sum: now.sum - before.sum,
        durations: now.durations.since(&before.durations),
    }
}

fn add(sum: &mut Row, row: &Row) {
    sum.count += row.count;
    sum.errors += row.errors;
    sum.sum += row.sum;
    sum.durations.add(&row.durations);
}

/// In the middle of its bucket, as its geometric mean.
fn quantile(of: &Exponential, q: f64) -> Option<f64> {
    let count = of.count();
    let rank = (q * count as f64).ceil() as u64;
    if count == 0 || rank <= of.zeros {
        return (count > 0).then_some(0.0);
    }
    let mut seen = of.zeros;
    for (index, n) in (of.offset..).zip(&of.counts) {
        seen += n;
        if seen >= rank {
            return Some(((f64::from(index) + 0.5) * (-f64::from(of.scale)).exp2()).exp2());
        }
    }
    None
}

fn descending(a: f64, b: f64) -> Ordering {
    b.total_cmp(&a)
}

fn number(n: f64) -> String {
    match n {
        n if n >= 99_999.5 => format!("{:.0}k", n / 1000.0),
        n if n >= 99.95 => format!("{n:.0}"),
        n => format!("{n:.1}"),
    }
}

/// Seconds in at most six characters.
fn time(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(s) if s >= 99.95 => format!("{s:.0}s"),
        Some(s) if s >= 0.9995 => format!("{s:.1}s"),
        Some(s) if s >= 0.099_95 => format!("{:.0}ms", s * 1e3),
        Some(s) if s >= 0.000_999_5 => format!("{:.1}ms", s * 1e3),
        Some(s) => format!("{:.0}us", s * 1e6),
    }
}
