//! A histogram: explicit buckets always, exponential ones beside them where somebody asks for them.

use std::sync::Arc;

use super::exemplar::{Exemplar, ExemplarIds, Exemplars};
use super::exponential::Exponential;
use super::snapshot::UnixNanos;

/// What the histograms of one metric are like.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// Upper bounds, inclusive, ascending.
    pub bounds: Arc<[f64]>,
    /// Whether exponential buckets are kept too.
    pub exponential: bool,
}

/// Counts by bucket, and what they sum to.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Upper bounds of the buckets, inclusive, ascending.
    pub bounds: Arc<[f64]>,
    /// One count a bound, not cumulative: values at most the bound and above the one before; then one count above
    /// all of them.
    pub counts: Box<[u64]>,
    /// Sum of the values, in the metric's unit.
    pub sum: f64,
    /// How many values.
    pub count: u64,
    /// Smallest value; infinite while there is none.
    pub min: f64,
    /// Largest value; negative infinity while there is none.
    pub max: f64,
    /// The same values in exponential buckets, where they are kept.
    pub exponential: Option<Exponential>,
    exemplars: Exemplars,
}

impl Histogram {
    /// An empty one.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        Histogram {
            bounds: Arc::clone(&layout.bounds),
            counts: vec![0; layout.bounds.len() + 1].into_boxed_slice(),
            sum: 0.0,
            count: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            exponential: layout.exponential.then(Exponential::default),
            exemplars: Exemplars::default(),
        }
    }

    /// Counts `value`, which is finite and not negative, measured at `at`; `span` is the sampled span behind it.
    pub fn record(&mut self, value: f64, at: UnixNanos, span: Option<ExemplarIds>) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum += value;
        self.count += 1;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        if let Some(exponential) = &mut self.exponential {
            exponential.record(value);
        }
        if let Some(ExemplarIds { trace, span }) = span {
            self.exemplars.keep(bucket as u16, Exemplar { trace, span, value, at });
        }
    }

    /// The newest exemplar of an explicit bucket.
    #[must_use]
    pub fn exemplar(&self, bucket: usize) -> Option<&Exemplar> {
        self.exemplars.of(bucket)
    }

    /// All exemplars, at most one an explicit bucket, in the order of their buckets.
    pub fn exemplars(&self) -> impl Iterator<Item = &Exemplar> {
        self.exemplars.iter()
    }

    /// Forgets the exemplars of `until` and before.
    pub(super) fn forget_exemplars(&mut self, until: UnixNanos) {
        self.exemplars.forget(until);
    }

    /// Bytes that it has on the heap for itself; the bounds are its metric's.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let exponential = self.exponential.as_ref().map_or(0, |one| one.counts.capacity());
        (self.counts.len() + exponential) * size_of::<u64>() + self.exemplars.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(bounds: &[f64]) -> Layout {
        Layout { bounds: bounds.into(), exponential: false }
    }

    #[test]
    fn upper_bounds_are_inclusive() {
        let layout = layout(&[1.0, 2.0, 5.0]);
        let cases = [(0.0, 0), (1.0, 0), (1.5, 1), (2.0, 1), (5.0, 2), (5.1, 3), (1e9, 3)];
        for (value, bucket) in cases {
            let mut histogram = Histogram::new(&layout);
            histogram.record(value, UnixNanos(1), None);
            let expected: Vec<u64> = (0..4).map(|i| u64::from(i == bucket)).collect();
            assert_eq!(*histogram.counts, *expected, "{value}");
            assert_eq!((histogram.sum, histogram.count), (value, 1));
            assert_eq!((histogram.min, histogram.max), (value, value));
        }
    }

    #[test]
    fn the_newest_exemplar_of_each_bucket_is_kept() {
        let mut histogram = Histogram::new(&layout(&[1.0, 2.0]));
        let none = histogram.heap_bytes();
        for (i, value) in [3.0, 0.5, 0.75, 9.0, 0.1].into_iter().enumerate() {
            let ids = ExemplarIds { trace: [i as u8; 16], span: [1; 8] };
            histogram.record(value, UnixNanos(i as u64), Some(ids).filter(|_| i < 4));
        }
        let kept: Vec<_> = histogram.exemplars().map(|one| (one.value, one.at.0, one.trace[0])).collect();
        assert_eq!(kept, [(0.75, 2, 2), (9.0, 3, 3)]);
        assert_eq!((0..3).map(|i| histogram.exemplar(i).is_some()).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(none, 3 * size_of::<u64>(), "no memory before the first");
    }

    /// What one takes, as `docs/operations.md` says it: run with `--nocapture` to see.
    #[test]
    fn bytes_of_one() {
        let bytes = |exponential, n: u32, is_sampled: bool| {
            let bounds = crate::signal::catalogue::DURATION_BUCKETS.into();
            let mut histogram = Histogram::new(&Layout { bounds, exponential });
            for i in 0..n {
                // From 1 ms to 8 s.
                let value = 0.001 * 1.08f64.powi((i % 117) as i32);
                let ids = ExemplarIds { trace: [1; 16], span: [1; 8] };
                histogram.record(value, UnixNanos(1), Some(ids).filter(|_| is_sampled));
            }
            size_of::<Histogram>() + histogram.heap_bytes()
        };
        let cases = [
            ("explicit", bytes(false, 1000, false), 300),
            ("exponential, one value", bytes(true, 1, false), 320),
            ("exponential, values from 1 ms to 8 s", bytes(true, 1000, false), 1600),
            ("explicit, an exemplar in each bucket", bytes(false, 1000, true), 1100),
        ];
        for (what, bytes, most) in cases {
            println!("{what}: {bytes} bytes");
            assert!(bytes <= most, "{what}: {bytes} is more than {most}");
        }
    }
}
