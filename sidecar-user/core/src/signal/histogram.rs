//! An explicit-bucket histogram.

/// Counts by bucket, and what they sum to. The bounds are the metric's (`Kind::Histogram`).
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
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
}

impl Histogram {
    /// An empty one with `bounds` upper bounds.
    #[must_use]
    pub fn new(bounds: usize) -> Self {
        Histogram {
            counts: vec![0; bounds + 1].into_boxed_slice(),
            sum: 0.0,
            count: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }

    /// Counts `value`, which is finite. `bounds` ascend and are those that [`Histogram::new`] was told of.
    pub fn record(&mut self, bounds: &[f64], value: f64) {
        let bucket = bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.sum += value;
        self.count += 1;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upper_bounds_are_inclusive() {
        let bounds = [1.0, 2.0, 5.0];
        let cases = [(0.0, 0), (1.0, 0), (1.5, 1), (2.0, 1), (5.0, 2), (5.1, 3), (1e9, 3)];
        for (value, bucket) in cases {
            let mut histogram = Histogram::new(bounds.len());
            histogram.record(&bounds, value);
            let expected: Vec<u64> = (0..4).map(|i| u64::from(i == bucket)).collect();
            assert_eq!(*histogram.counts, *expected, "{value}");
            assert_eq!((histogram.sum, histogram.count), (value, 1));
            assert_eq!((histogram.min, histogram.max), (value, value));
        }
    }
}
