//! How sources of endpoints stand, under its metric names.

use std::time::Duration;

use super::{
    Store, catalogue, key,
    reason::{EndpointLeftOut, SourceFails},
    snapshot::{Attributes, Point, PointValue},
};
use crate::model::policy::SourceFailed;

/// One source.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Which: `dns:NAME`, `srv:NAME` or `file:PATH`.
    pub name: String,
    /// Endpoints that it told of last.
    pub endpoints: u64,
    /// What it told last holds though it fails, or it has told nothing yet and what was there before holds.
    pub is_stale: bool,
    /// How long ago it told of endpoints; `None`: never.
    pub age: Option<Duration>,
    /// How often it failed, by [`SourceFailed`].
    pub failures: [u64; SourceFailed::ALL.len()],
    /// Endpoints that it told of and that are not used, by [`EndpointLeftOut`].
    pub left_out: [u64; EndpointLeftOut::WORDS.len()],
}

/// Why a source's word is not to be had, in the metrics' word.
#[must_use]
pub fn failed(why: SourceFailed) -> &'static str {
    SourceFails::WORDS[why as usize]
}

/// Puts them into the store, in the place of those before.
pub(super) fn record(store: &mut Store, sources: &[Source]) {
    let point = |attributes: Attributes, value: PointValue| Point { attributes, started: None, value };
    let name = |one: &Source| -> Attributes { vec![(key::ENDPOINT_SOURCE, one.name.clone().into())] };
    let with = |one: &Source, word: &'static str| {
        let mut attributes = name(one);
        attributes.push((key::REASON, word.into()));
        attributes
    };
    let endpoints = sources.iter().map(|one| point(name(one), PointValue::U64(one.endpoints)));
    store.replace(&catalogue::SOURCE_ENDPOINTS, endpoints.collect());
    let stale = sources.iter().map(|one| point(name(one), PointValue::U64(one.is_stale.into())));
    store.replace(&catalogue::SOURCE_STALE, stale.collect());
    let ages =
        sources.iter().filter_map(|one| Some(point(name(one), PointValue::F64(one.age?.as_secs_f64()))));
    store.replace(&catalogue::SOURCE_AGE, ages.collect());
    let failures = sources.iter().flat_map(|one| {
        let counts = SourceFails::WORDS.into_iter().zip(one.failures).filter(|(_, n)| *n > 0);
        counts.map(move |(word, n)| point(with(one, word), PointValue::U64(n)))
    });
    store.replace(&catalogue::SOURCE_FAILURES, failures.collect());
    let left_out = sources.iter().flat_map(|one| {
        let counts = EndpointLeftOut::WORDS.into_iter().zip(one.left_out).filter(|(_, n)| *n > 0);
        counts.map(move |(word, n)| point(with(one, word), PointValue::U64(n)))
    });
    store.replace(&catalogue::SOURCE_LEFT_OUT, left_out.collect());
}
