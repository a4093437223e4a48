//! Exemplars: the sampled spans behind a histogram's counts.

use super::snapshot::UnixNanos;

/// The span that an exemplar points to: one that is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExemplarIds {
    /// Trace id.
    pub trace: [u8; 16],
    /// Span id.
    pub span: [u8; 8],
}

/// One measurement and where to read more about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exemplar {
    /// Trace id of the span.
    pub trace: [u8; 16],
    /// Id of the span.
    pub span: [u8; 8],
    /// What was measured, in the metric's unit.
    pub value: f64,
    /// When.
    pub at: UnixNanos,
}

/// The newest exemplar of each bucket, as the metrics SDK specification's "AlignedHistogramBucketExemplarReservoir"
/// keeps one. Empty, and then without memory of its own, until a sampled span comes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Exemplars(Vec<(u16, Exemplar)>);

impl Exemplars {
    /// Keeps `exemplar` as the one of `bucket`.
    pub(super) fn keep(&mut self, bucket: u16, exemplar: Exemplar) {
        match self.0.binary_search_by_key(&bucket, |(of, _)| *of) {
            Ok(at) => self.0[at].1 = exemplar,
            Err(at) => {
                self.0.reserve_exact(1);
                self.0.insert(at, (bucket, exemplar));
            }
        }
    }

    /// The one of `bucket`.
    pub(super) fn of(&self, bucket: usize) -> Option<&Exemplar> {
        let at = self.0.binary_search_by_key(&bucket, |(of, _)| usize::from(*of)).ok()?;
        Some(&self.0[at].1)
    }

    /// Forgets those of `until` and before.
    pub(super) fn forget(&mut self, until: UnixNanos) {
        self.0.retain(|(_, exemplar)| exemplar.at > until);
    }

    /// All, in the order of their buckets.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Exemplar> {
        self.0.iter().map(|(_, exemplar)| exemplar)
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.0.capacity() * size_of::<(u16, Exemplar)>()
    }
}
