//! What became of the application's connections where they are steered, under its metric names.

use std::{sync::Arc, time::Duration};

use super::{
    Store, catalogue,
    endpoints::{self, Endpoints},
    key,
    reason::{Direction, DnsFailed, DnsOutcome, RelayFailed, RelayRefused, Steered, Verdict},
    snapshot::{Attributes, Point, PointValue},
    sources,
};
use crate::model::{self, Arrivals};

/// Everything about steering that is read when somebody asks.
#[derive(Clone, Debug, Default)]
pub struct Steering {
    /// Connections by verdict and reason, as the kernel counts.
    pub decisions: Vec<Decision>,
    /// Those that came in: read with the records.
    pub arrivals: Arc<Arrivals>,
    /// By service.
    pub services: Vec<Service>,
    /// How their endpoints stand.
    pub endpoints: Endpoints,
    /// What the relay carried.
    pub relay: Relay,
    /// Whether the policy outlives the daemon, and then whether a daemon before had left it.
    pub pinned: Option<bool>,
    /// The daemon's signs of life.
    pub heartbeat: Heartbeat,
    /// Questions of the DNS.
    pub names: Names,
    /// Who tells of endpoints.
    pub sources: Vec<sources::Source>,
}

/// The account of questions of the DNS. The first two only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// What became of them, by [`DnsOutcome`].
    pub queries: [u64; DnsOutcome::WORDS.len()],
    /// What went wrong, by [`DnsFailed`].
    pub failures: [u64; DnsFailed::WORDS.len()],
    /// Those that wait for an answer.
    pub outstanding: u64,
    /// Addresses that are known of real names.
    pub addresses: u64,
}

/// Connections of one direction that got one verdict for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// `outbound` or `inbound`.
    pub direction: &'static str,
    /// `direct`, `proxied`, `passed` or `denied`.
    pub verdict: &'static str,
    /// Why.
    pub reason: &'static str,
    /// How many.
    pub n: u64,
}

/// Connections of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Those that are open.
    pub active: u64,
    /// How many there may be.
    pub limit: Option<u32>,
    /// All, by verdict, as the kernel counts.
    pub verdicts: Vec<(&'static str, u64)>,
    /// Of those that came in, what the relay refused, by [`RelayRefused`]. It only grows.
    pub refused: [u64; RelayRefused::WORDS.len()],
}

/// Signs of life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// Since the last one.
    pub age: Duration,
    /// Those that came later than `traffic.heartbeat`. It only grows.
    pub n_late: u64,
}

/// The relay's account. All but `active` only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relay {
    /// Connections that it took over.
    pub accepted: u64,
    /// Those that it carries now.
    pub active: u64,
    /// Bytes to servers, and to clients.
    pub bytes: [u64; 2],
    /// What went wrong, by [`RelayFailed`].
    pub failures: [u64; RelayFailed::WORDS.len()],
}

impl Arrivals {
    /// A service's connections by verdict, and those that came in besides.
    #[must_use]
    pub fn added_to(&self, service: &str, verdicts: &[(&'static str, u64)]) -> Vec<(&'static str, u64)> {
        let all =
            model::Verdict::ALL.map(|verdict| (Verdict::from(verdict).word(), self.of(service, verdict)));
        let of = |word| all.iter().find(|(other, _)| *other == word).map_or(0, |(_, n)| *n);
        verdicts.iter().map(|(word, n)| (*word, n + of(*word))).collect()
    }
}

/// Connections that came in.
fn arrived(arrivals: &Arrivals) -> Vec<Decision> {
    let decision = |(verdict, reason, n)| Decision {
        direction: Direction::Inbound.word(),
        verdict: Verdict::from(verdict).word(),
        reason: Steered::from(reason).word(),
        n,
    };
    arrivals.all().into_iter().map(decision).collect()
}

/// Puts the readings into the store, in the place of those before. `None`: nothing is steered.
pub(super) fn record(store: &mut Store, steering: Option<&Steering>) {
    let Some(Steering {
        decisions,
        arrivals,
        services,
        endpoints,
        relay,
        pinned,
        heartbeat,
        names,
        sources: told,
    }) = steering
    else {
        return;
    };
    for Decision { direction, verdict, reason, n } in decisions.iter().copied().chain(arrived(arrivals)) {
        store.set(&catalogue::TRAFFIC_CONNECTIONS, &[direction, verdict, reason], n);
    }
    let point =
        |attributes: Attributes, n: u64| Point { attributes, started: None, value: PointValue::U64(n) };
    let name = |service: &Service| (key::SERVICE, service.name.clone().into());
    let by_verdict = services.iter().flat_map(|service| {
        let verdicts = arrivals.added_to(&service.name, &service.verdicts).into_iter();
        verdicts.map(move |(verdict, n)| point(vec![name(service), (key::VERDICT, verdict.into())], n))
    });
    store.replace(&catalogue::TRAFFIC_SERVICE_CONNECTIONS, by_verdict.collect());
    let active = services.iter().map(|service| point(vec![name(service)], service.active));
    store.replace(&catalogue::TRAFFIC_SERVICE_ACTIVE, active.collect());
    let refused = services.iter().flat_map(|service| {
        let by_reason = RelayRefused::WORDS.into_iter().zip(service.refused).filter(|(_, n)| *n > 0);
        by_reason.map(move |(reason, n)| point(vec![name(service), (key::REASON, reason.into())], n))
    });
    store.replace(&catalogue::RELAY_REFUSED, refused.collect());
    let limit = |service: &Service| Some(point(vec![name(service)], u64::from(service.limit?)));
    store.replace(&catalogue::TRAFFIC_SERVICE_LIMIT, services.iter().filter_map(limit).collect());
    store.set(&catalogue::HEARTBEAT_AGE, &[], heartbeat.age.as_secs_f64());
    store.set(&catalogue::HEARTBEAT_LATE, &[], heartbeat.n_late);
    let state = match pinned {
        None => "unpinned",
        Some(false) => "new",
        Some(true) => "adopted",
    };
    store.set(&catalogue::TRAFFIC_PINNED, &[state], 1u64);
    endpoints::record(store, endpoints);
    sources::record(store, told);
    for (outcome, n) in DnsOutcome::WORDS.into_iter().zip(names.queries) {
        store.set(&catalogue::DNS_QUERIES, &[outcome], n);
    }
    for (reason, n) in DnsFailed::WORDS.into_iter().zip(names.failures) {
        store.set(&catalogue::DNS_FAILURES, &[reason], n);
    }
    store.set(&catalogue::DNS_OUTSTANDING, &[], names.outstanding);
    store.set(&catalogue::DNS_ADDRESSES, &[], names.addresses);
    store.set(&catalogue::RELAY_ACCEPTED, &[], relay.accepted);
    store.set(&catalogue::RELAY_ACTIVE, &[], relay.active);
    for (direction, n) in ["transmit", "receive"].into_iter().zip(relay.bytes) {
        store.set(&catalogue::RELAY_IO, &[direction], n);
    }
    for (reason, n) in RelayFailed::WORDS.into_iter().zip(relay.failures) {
        store.set(&catalogue::RELAY_FAILURES, &[reason], n);
    }
}
