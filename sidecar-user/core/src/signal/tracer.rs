//! What becomes of an exchange as a span, decided before anything is made of it.

use super::{IdSource, Sampler, SpanIds, catalogue, store::Store};
use crate::model::{Detail, Exchange};

/// Decides, and counts what it decided.
#[derive(Debug)]
pub struct Tracer {
    /// Spans have somewhere to go.
    is_on: bool,
    sampler: Sampler,
    ids: IdSource,
    counts: [u64; DECISIONS.len()],
}

/// Of one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It becomes a span with these ids.
    Sampled(SpanIds),
    /// The sampler left it out.
    NotSampled,
    /// Nobody wants spans, or the exchange is left out of all signals.
    Off,
}

/// `sidecar.decision`; the order is that of `Tracer::counts`.
const DECISIONS: [&str; 2] = ["sampled", "not_sampled"];

impl Decision {
    /// The span's ids, if it becomes one.
    #[must_use]
    pub fn ids(self) -> Option<SpanIds> {
        match self {
            Decision::Sampled(ids) => Some(ids),
            Decision::NotSampled | Decision::Off => None,
        }
    }

    fn index(self) -> Option<usize> {
        match self {
            Decision::Sampled(_) => Some(0),
            Decision::NotSampled => Some(1),
            Decision::Off => None,
        }
    }
}

impl Tracer {
    /// `is_on`: spans have somewhere to go.
    #[must_use]
    pub fn new(is_on: bool, sampler: Sampler, ids: IdSource) -> Self {
        Tracer { is_on, sampler, ids, counts: [0; DECISIONS.len()] }
    }

    /// What becomes of an exchange. The parent is the one that the request names, never a guess.
    pub fn decide(&mut self, exchange: &Exchange) -> Decision {
        let decision = self.decision(exchange);
        if let Some(index) = decision.index() {
            self.counts[index] += 1;
        }
        decision
    }

    fn decision(&mut self, exchange: &Exchange) -> Decision {
        if !self.is_on || exchange.is_excluded {
            return Decision::Off;
        }
        let Detail::Http(http) = &exchange.detail;
        let parent = http.parent.as_ref();
        let trace = parent.map_or_else(|| self.ids.trace(), |parent| parent.trace);
        if self.sampler.samples(trace, parent) {
            Decision::Sampled(SpanIds { trace, span: self.ids.span() })
        } else {
            Decision::NotSampled
        }
    }

    /// Brings what was counted into the store.
    pub fn record(&self, store: &mut Store) {
        if self.is_on {
            for (decision, n) in DECISIONS.iter().zip(self.counts) {
                store.set(&catalogue::SPANS, &[decision], n);
            }
        }
    }
}
