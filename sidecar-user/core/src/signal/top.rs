//! Requests by protocol, what they ask for and whom, for `sidecar top`: counted only while somebody looks.

use rustc_hash::FxHashMap;

use super::worded::Worded;
use super::{Exponential, key};
use crate::model::{Connection, Detail, Exchange, Ktime, Role};

/// Rows that are told apart; what comes beyond is counted in one row a protocol and role.
const ROWS: usize = 1000;
/// What stands for all that has no row of its own.
const OTHERS: &str = "(others)";
/// Nobody has looked for so long: nobody looks, ns.
const IDLE_NS: u64 = 10_000_000_000;

/// All rows since somebody began to look.
#[derive(Clone, Debug)]
pub struct Top {
    rows: FxHashMap<Key, Row>,
    asked: Ktime,
}

/// What tells one row from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Name of the protocol.
    pub protocol: &'static str,
    /// The observed end.
    pub role: Role,
    /// What is asked for: method and route, a call's method, a statement's summary. No literal is in it.
    pub what: Box<str>,
    /// The other end: whom a client asks, by name and port, or who asks a server, by address.
    pub peer: Box<str>,
}

/// What was measured since somebody began to look.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Exchanges that ended.
    pub count: u64,
    /// Those of them that were errors.
    pub errors: u64,
    /// Sum of their durations, seconds.
    pub sum: f64,
    /// Their durations, seconds.
    pub durations: Exponential,
}

impl Top {
    /// An empty table, for somebody who begins to look at `now`.
    #[must_use]
    pub fn new(now: Ktime) -> Self {
        Top { rows: FxHashMap::default(), asked: now }
    }

    /// Somebody looks.
    pub fn ask(&mut self, now: Ktime) -> impl Iterator<Item = (&Key, &Row)> {
        self.asked = now;
        self.rows.iter()
    }

    /// Nobody has looked for long.
    #[must_use]
    pub fn is_idle(&self, now: Ktime) -> bool {
        now.0.saturating_sub(self.asked.0) > IDLE_NS
    }

    /// Counts an exchange.
    pub fn record(&mut self, connection: &Connection, protocol: &'static str, exchange: &Exchange) {
        let worded = Worded::new(connection, exchange);
        let mut key = Key {
            protocol,
            role: worded.role,
            what: what(exchange, &worded).into(),
            peer: peer(connection, &worded).into(),
        };
        if self.rows.len() >= ROWS && !self.rows.contains_key(&key) {
            (key.what, key.peer) = (OTHERS.into(), OTHERS.into());
        }
        let row = self.rows.entry(key).or_default();
        let took = exchange.ended.since(exchange.started).as_secs_f64();
        row.count += 1;
        row.errors += u64::from(worded.error.is_some());
        row.sum += took;
        row.durations.record(took);
    }
}

fn what(exchange: &Exchange, worded: &Worded) -> String {
    let operation = worded.operation.as_deref().unwrap_or("-");
    match &exchange.detail {
        Detail::Http(http) => {
            let route = http.route.as_ref().map_or("-", |route| &*route.pattern);
            format!("{operation} {route}")
        }
        Detail::Dns(dns) => format!("{operation} {}", dns.name),
        Detail::Tls(tls) => format!("{operation} {}", tls.server_name.as_deref().unwrap_or("-")),
        Detail::Rpc(_) | Detail::Db(_) | Detail::WebSocket(_) => operation.to_owned(),
    }
}

fn peer(connection: &Connection, worded: &Worded) -> String {
    let of = |key: &str| worded.attributes.iter().find(|(known, _)| *known == key).map(|(_, value)| value);
    match (worded.role, of(key::SERVER_ADDRESS), of(key::SERVER_PORT)) {
        (Role::Client, Some(address), Some(port)) => format!("{address}:{port}"),
        _ => connection.peer().ip().to_canonical().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Method, Outcome};
    use crate::signal::tests::{connection, exchange};

    #[test]
    fn rows_are_told_apart_up_to_a_bound() {
        let mut top = Top::new(Ktime(1));
        for port in 0..2 * ROWS {
            let mut made = exchange(Method::Get, Some(if port < 3 { 500 } else { 200 }), Outcome::Complete);
            let Detail::Http(http) = &mut made.detail else { panic!("HTTP") };
            http.port = Some(port as u16);
            top.record(&connection(Some(Role::Client)), "http", &made);
            top.record(&connection(Some(Role::Server)), "http", &made);
        }
        let rows: Vec<_> = top.ask(Ktime(5)).collect();
        let sum = |role: Role, of: fn(&Row) -> u64| -> u64 {
            rows.iter().filter(|(key, _)| key.role == role).map(|(_, row)| of(row)).sum()
        };
        assert!(rows.len() <= ROWS + 2);
        for role in Role::ALL {
            assert_eq!(sum(role, |row| row.count), 2 * ROWS as u64);
            assert_eq!(sum(role, |row| row.errors), 3);
            assert_eq!(sum(role, |row| row.durations.count()), 2 * ROWS as u64);
        }
        let lone = rows.iter().find(|(key, _)| &*key.peer == "api.test:7").expect("a row of its own");
        assert_eq!((&*lone.0.what, lone.1.count), ("GET -", 1));
        assert_eq!((top.is_idle(Ktime(5)), top.is_idle(Ktime(6 + IDLE_NS))), (false, true));
    }
}
