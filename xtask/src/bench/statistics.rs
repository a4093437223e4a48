//! Medians, and what can be said of them without knowing the distribution.

/// A median with its interval of at least 95 %, by binomial order statistics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Median {
    pub(super) value: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Median {
    /// Of nothing.
    pub(super) const NONE: Median = Median { value: f64::NAN, low: f64::NAN, high: f64::NAN };

    /// Of one value.
    pub(super) fn exact(value: f64) -> Median {
        Median { value, low: value, high: value }
    }
}

/// At least six values.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> Median {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let n = values.len();
    let rank = rank(n);
    let value = (values[(n - 1) / 2] + values[n / 2]) / 2.0;
    Median { value, low: values[rank], high: values[n - 1 - rank] }
}

/// How many values can be left out at each end, so that the median of the whole population is between the rest with
/// 95 %: each value is below it or above it with one half.
fn rank(n: usize) -> usize {
    let mut tail = 0.0;
    let mut term = 0.5f64.powi(n as i32);
    for k in 0..n / 2 {
        tail += term;
        if tail > 0.025 {
            return k.saturating_sub(1);
        }
        term *= (n - k) as f64 / (k + 1) as f64;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::{Median, median, rank};

    /// Ranks (from 1) in the tables of order-statistic intervals: n = 6: 1; 15: 4; 21: 6; 25: 8.
    #[test]
    fn ranks_are_those_of_the_tables() {
        assert_eq!([6, 15, 21, 25].map(rank), [0, 3, 5, 7]);
    }

    #[test]
    fn medians() {
        let values = [6.0, 1.0, 2.0, 5.0, 3.0, 4.0];
        assert_eq!(median(values), Median { value: 3.5, low: 1.0, high: 6.0 });
    }
}
