//! Requests by their servers' own accounts: who came, which address was reached, and what was asked for.

use std::path::Path;

use crate::process;

/// A request that was answered with 200.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival {
    /// Whom the server took for its client.
    pub client: String,
    /// Its own address that was reached.
    pub server: String,
    /// What stands behind the `?`.
    pub query: String,
}

/// A log's lines of `METHOD STATUS CLIENT BYTES SERVER QUERY`.
#[must_use]
pub fn logged(log: &Path) -> Vec<Arrival> {
    let text = process::read(log);
    let line = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        let [_, "200", client, _, server, query] = words[..] else { return None };
        let [client, server, query] = [client, server, query.trim_start_matches('?')].map(str::to_owned);
        Some(Arrival { client, server, query })
    };
    text.lines().filter_map(line).collect()
}
