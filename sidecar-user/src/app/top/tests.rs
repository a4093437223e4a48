use std::{collections::BTreeMap, time::Duration};

use sidecar_core::signal::top::Row;

use super::{answer::Name, table, view::*};
use crate::cli::{By, Sort};

fn name(protocol: &str, what: &str, peer: &str) -> Name {
    let own = |text: &str| text.to_owned();
    Name { protocol: own(protocol), role: own("server"), what: own(what), peer: own(peer) }
}

fn row(durations: &[f64], errors: u64) -> Row {
    let mut row = Row { count: durations.len() as u64, errors, ..Row::default() };
    for took in durations {
        row.sum += took;
        row.durations.record(*took);
    }
    row
}

/// Rows before, and five seconds later.
fn answers() -> (Rows, Rows) {
    let before = BTreeMap::from([(name("http", "GET /a", "10.0.0.1"), row(&[9.0], 1))]);
    let now = BTreeMap::from([
        (name("http", "GET /a", "10.0.0.1"), row(&[9.0, 0.001, 0.001, 0.1], 2)),
        (name("http", "GET /b\u{1b}[2J", "10.0.0.2"), row(&[0.25; 50], 0)),
        (name("redis", "GET", "10.0.0.1"), row(&[0.000_02; 5], 0)),
    ]);
    (before, now)
}

fn shown(by: By, sort: Sort, filter: &str) -> String {
    let (before, now) = answers();
    let view = View { by, sort, filter: filter.to_owned() };
    table(&view.lines(&before, &now, Duration::from_secs(5)))
}

#[test]
fn what_happened_between_two_looks() {
    assert_eq!(
        shown(By::All, Sort::Rate, ""),
        "PROTOCOL  ROLE    OPERATION        PEER      REQ/S  ERR%    P50    P99\n\
         http      server  GET /b\\u{1b}[2J  10.0.0.2   10.0   0.0  250ms  250ms\n\
         redis     server  GET              10.0.0.1    1.0   0.0   20us   20us\n\
         http      server  GET /a           10.0.0.1    0.6  33.3  1.0ms  101ms\n"
    );
    let first = |by, sort, filter| -> Vec<String> {
        let text = shown(by, sort, filter);
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        text.lines().skip(1).map(words).collect()
    };
    assert_eq!(
        first(By::Protocol, Sort::Errors, ""),
        ["http server * * 10.6 1.9 239ms 239ms", "redis server * * 1.0 0.0 20us 20us"]
    );
    assert_eq!(first(By::Peer, Sort::Name, "redis"), ["redis server * 10.0.0.1 1.0 0.0 20us 20us"]);
    assert_eq!(first(By::Route, Sort::P50, "GET /a"), ["http server GET /a * 0.6 33.3 1.0ms 101ms"]);
    assert!(first(By::All, Sort::Rate, "none").is_empty());
}

#[test]
fn a_daemon_that_was_started_anew_begins_anew() {
    let (before, now) = answers();
    let view = View::default();
    let lines = view.lines(&now, &before, Duration::from_secs(1));
    assert_eq!(lines.len(), 1);
    assert_eq!((lines[0].count, lines[0].errors), (1, 1));
}
