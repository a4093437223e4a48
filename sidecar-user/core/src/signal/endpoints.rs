//! How the endpoints of services stand, under its metric names.

use std::net::SocketAddr;

use super::{
    Store, catalogue, key,
    reason::{Answered, Ejected},
    snapshot::{Attributes, Point, PointValue},
};
use crate::model::health::{Cause, Condition};

/// One endpoint of one service.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// The service's name.
    pub service: String,
    /// Where it is.
    pub address: SocketAddr,
    /// Its share of the service's new connections of its address family, 0 to 1.
    pub share: f64,
    /// What it is at.
    pub condition: Condition,
    /// How often it was ejected, by [`Cause`].
    pub ejections: [u64; Cause::ALL.len()],
    /// How often one connection tried it.
    pub trials: u64,
    /// Good answers to probes, and bad ones.
    pub probes: [u64; 2],
}

/// All endpoints whose health is judged, and how often all of a service's were tried as none was healthy enough.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Endpoints {
    /// The endpoints.
    pub all: Vec<Endpoint>,
    /// By service.
    pub panics: Vec<(String, u64)>,
}

/// Why an endpoint was ejected, in the metrics' word.
#[must_use]
pub fn cause(cause: Cause) -> &'static str {
    Ejected::WORDS[cause as usize]
}

/// Puts them into the store, in the place of those before.
pub(super) fn record(store: &mut Store, endpoints: &Endpoints) {
    let point = |attributes: Attributes, value: PointValue| Point { attributes, started: None, value };
    let name = |one: &Endpoint| -> Attributes {
        vec![(key::SERVICE, one.service.clone().into()), (key::ENDPOINT, one.address.to_string().into())]
    };
    let with = |one: &Endpoint, key: &'static str, word: &'static str| {
        let mut attributes = name(one);
        attributes.push((key, word.into()));
        attributes
    };
    let all = &endpoints.all;
    let shares = all.iter().map(|one| point(name(one), PointValue::F64(one.share)));
    store.replace(&catalogue::ENDPOINT_WEIGHT, shares.collect());
    let is_out = |one: &Endpoint| matches!(one.condition, Condition::Ejected(_) | Condition::OnTrial(_));
    let ejected = all.iter().map(|one| point(name(one), PointValue::U64(is_out(one).into())));
    store.replace(&catalogue::ENDPOINT_EJECTED, ejected.collect());
    let ejections = all.iter().flat_map(|one| {
        let counts = Ejected::WORDS.into_iter().zip(one.ejections).filter(|(_, n)| *n > 0);
        counts.map(move |(word, n)| point(with(one, key::REASON, word), PointValue::U64(n)))
    });
    store.replace(&catalogue::ENDPOINT_EJECTIONS, ejections.collect());
    let trials = all.iter().map(|one| point(name(one), PointValue::U64(one.trials)));
    store.replace(&catalogue::ENDPOINT_TRIALS, trials.collect());
    let probes = all.iter().flat_map(|one| {
        let counts = Answered::WORDS.into_iter().zip(one.probes).filter(|_| one.probes != [0; 2]);
        counts.map(move |(word, n)| point(with(one, key::STATE, word), PointValue::U64(n)))
    });
    store.replace(&catalogue::ENDPOINT_PROBES, probes.collect());
    let panics = endpoints
        .panics
        .iter()
        .map(|(service, n)| point(vec![(key::SERVICE, service.clone().into())], PointValue::U64(*n)));
    store.replace(&catalogue::TRAFFIC_SERVICE_PANICS, panics.collect());
}
