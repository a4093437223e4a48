//! A base-2 exponential histogram: bucket `i` takes values in (base^i, base^(i+1)], base = 2^(2^-scale).
//! Source: OpenTelemetry metrics data model, "ExponentialHistogram", and SDK, "Base2 Exponential Bucket Histogram
//! Aggregation". Prometheus' native histograms are the same buckets under indices that are one higher.

/// Most buckets; beyond them the scale goes down, which halves their number.
pub const MAX_BUCKETS: usize = 160;
/// Where the scale begins. One lower is twice as wide.
pub const MAX_SCALE: i32 = 20;

/// Counts by bucket, for values of at least 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exponential {
    /// How fine the buckets are, -4 (all of f64 in [`MAX_BUCKETS`]) to [`MAX_SCALE`].
    pub scale: i32,
    /// Index of the first bucket.
    pub offset: i32,
    /// From `offset` on, without gaps; not cumulative.
    pub counts: Vec<u64>,
    /// Values that are 0.
    pub zeros: u64,
}

impl Default for Exponential {
    fn default() -> Self {
        Exponential { scale: MAX_SCALE, offset: 0, counts: Vec::new(), zeros: 0 }
    }
}

impl Exponential {
    /// Counts `value`, which is finite and not negative.
    pub fn record(&mut self, value: f64) {
        if value <= 0.0 {
            self.zeros += 1;
            return;
        }
        let index = index(value, self.scale);
        let place = usize::try_from(index - self.offset).ok();
        match place.and_then(|place| self.counts.get_mut(place)) {
            Some(count) => *count += 1,
            None => self.widen(index),
        }
    }

    /// Counts a value whose bucket, `index`, is not among those that are there.
    #[cold]
    fn widen(&mut self, mut index: i32) {
        if self.counts.is_empty() {
            self.offset = index;
        }
        let (mut low, mut high) = (index.min(self.offset), index.max(self.last()));
        let mut by = 0;
        while (high - low) as usize >= MAX_BUCKETS {
            (low, high, by) = (low >> 1, high >> 1, by + 1);
        }
        self.downscale(self.scale - by);
        index >>= by;
        let n_before = (self.offset - low) as usize;
        let n = (high - low) as usize + 1;
        if n > self.counts.len() {
            self.counts.reserve_exact(n - self.counts.len());
            self.counts.splice(0..0, std::iter::repeat_n(0, n_before));
            self.counts.resize(n, 0);
            self.offset = low;
        }
        self.counts[(index - self.offset) as usize] += 1;
    }

    /// The same counts with a scale of `to`; nothing where that would be finer.
    pub fn downscale(&mut self, to: i32) {
        let by = self.scale - to;
        if by <= 0 {
            return;
        }
        self.scale = to;
        let by = by as u32;
        let offset = self.offset.checked_shr(by).unwrap_or(self.offset >> 31);
        for i in 0..self.counts.len() {
            let index = self.offset + i as i32;
            let at = (index.checked_shr(by).unwrap_or(index >> 31) - offset) as usize;
            // Never behind `i`: buckets only move towards the front.
            let count = std::mem::take(&mut self.counts[i]);
            self.counts[at] += count;
        }
        if let Some(last) = self.counts.len().checked_sub(1) {
            let last = self.offset + last as i32;
            let n = (last.checked_shr(by).unwrap_or(last >> 31) - offset) as usize + 1;
            self.counts.truncate(n);
        }
        self.offset = offset;
    }

    /// What came since `earlier`, an earlier state of this histogram, at this one's scale and without empty buckets
    /// at the ends.
    #[must_use]
    pub fn since(&self, earlier: &Exponential) -> Exponential {
        let mut before = earlier.clone();
        before.downscale(self.scale);
        let mut new = self.clone();
        new.zeros = new.zeros.saturating_sub(before.zeros);
        for (i, count) in before.counts.iter().enumerate() {
            let at = before.offset + i as i32 - new.offset;
            if let Some(of) = usize::try_from(at).ok().and_then(|at| new.counts.get_mut(at)) {
                *of = of.saturating_sub(*count);
            }
        }
        new.trim();
        new
    }

    /// Counts all that another counted; both at the coarser scale, or one at which they fit together.
    pub fn add(&mut self, other: &Exponential) {
        self.zeros += other.zeros;
        if other.counts.is_empty() {
            return;
        }
        let mut other = other.clone();
        if self.counts.is_empty() {
            (self.scale, self.offset, self.counts) = (other.scale, other.offset, other.counts);
            return;
        }
        let mut scale = self.scale.min(other.scale);
        loop {
            self.downscale(scale);
            other.downscale(scale);
            let (low, high) = (self.offset.min(other.offset), self.last().max(other.last()));
            let n = (high - low) as usize + 1;
            if n <= MAX_BUCKETS {
                let n_before = (self.offset - low) as usize;
                self.counts.splice(0..0, std::iter::repeat_n(0, n_before));
                self.counts.resize(n, 0);
                self.offset = low;
                let from = (other.offset - low) as usize;
                self.counts[from..].iter_mut().zip(&other.counts).for_each(|(count, n)| *count += n);
                return;
            }
            scale -= 1;
        }
    }

    /// How many values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.zeros + self.counts.iter().sum::<u64>()
    }

    fn last(&self) -> i32 {
        self.offset + self.counts.len().saturating_sub(1) as i32
    }

    fn trim(&mut self) {
        let empty = self.counts.iter().take_while(|count| **count == 0).count();
        self.counts.drain(..empty);
        self.offset = if self.counts.is_empty() { 0 } else { self.offset + empty as i32 };
        while self.counts.last() == Some(&0) {
            self.counts.pop();
        }
    }
}

/// The bucket of a positive value. Exact for powers of two; else as exact as the logarithm, as the data model allows.
fn index(value: f64, scale: i32) -> i32 {
    const SIGNIFICAND: u64 = (1 << 52) - 1;
    const EXPONENT_OF_1: u64 = 1023 << 52;
    // Subnormal numbers have the bucket of the smallest normal one.
    let bits = value.max(f64::MIN_POSITIVE).to_bits();
    let exponent = (bits >> 52) as i32 - 1023;
    let significand = bits & SIGNIFICAND;
    if significand == 0 {
        // Upper bounds are inclusive.
        return if scale > 0 { (exponent << scale) - 1 } else { (exponent - 1) >> -scale };
    }
    if scale <= 0 {
        return exponent >> -scale;
    }
    let fraction = f64::from_bits(significand | EXPONENT_OF_1).log2();
    let place = fraction * f64::from(1u32 << scale);
    // One below the next whole number up. `ceil` is a call where the processor is not known to round by itself.
    let whole = place as i32;
    let within = if f64::from(whole) < place { whole } else { whole - 1 };
    (exponent << scale) + within.clamp(0, (1 << scale) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Exponential {
        let mut histogram = Exponential::default();
        values.iter().for_each(|value| histogram.record(*value));
        histogram
    }

    #[test]
    fn indices() {
        // value, scale => index
        let cases = [
            (1.0, 0, -1),
            (1.5, 0, 0),
            (2.0, 0, 0),
            (2.1, 0, 1),
            (0.5, 0, -2),
            (4.0, -1, 0),
            (4.1, -1, 1),
            (1.0, -1, -1),
            (16.0, -2, 0),
            (1.0, 3, -1),
            (2.0, 3, 7),
            (1.4, 1, 0),
            (1.5, 1, 1),
            (1.0, 20, -1),
            (2.0, 20, (1 << 20) - 1),
            (f64::MAX, 0, 1023),
            (f64::MIN_POSITIVE, 0, -1023),
            (5e-324, 0, -1023),
            (5e-324, 20, (-1022 << 20) - 1),
            (f64::MAX, -4, 63),
            (f64::MIN_POSITIVE, -4, -64),
        ];
        for (value, scale, expected) in cases {
            assert_eq!(index(value, scale), expected, "{value:e} at {scale}");
        }
    }

    /// Both bounds of the bucket, computed the other way round.
    #[test]
    fn values_lie_in_their_buckets() {
        let mut value = 1e-6;
        while value < 1e6 {
            for scale in -4..=8 {
                let base = 2f64.powf(2f64.powi(-scale));
                let i = index(value, scale);
                let (low, high) = (base.powi(i), base.powi(i + 1));
                assert!(low * (1.0 - 1e-12) < value && value <= high * (1.0 + 1e-12), "{value} at {scale}");
            }
            value *= 1.37;
        }
    }

    /// Two histograms put together are as one that had counted all, at a scale that holds both.
    #[test]
    fn sums_are_as_if_counted_together() {
        let sets: [&[f64]; 6] =
            [&[], &[0.0], &[1.0, 1.5], &[1e-9, 3.0], &[1e6], &[f64::MAX, f64::MIN_POSITIVE]];
        for a in sets {
            for b in sets {
                let mut sum = of(a);
                sum.add(&of(b));
                let mut together = of(&[a, b].concat());
                assert_eq!(sum.count(), together.count());
                assert!(sum.counts.len() <= MAX_BUCKETS);
                let scale = sum.scale.min(together.scale);
                sum.downscale(scale);
                together.downscale(scale);
                sum.trim();
                together.trim();
                assert_eq!(sum, together, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn scale_goes_down_as_far_as_it_must() {
        let narrow = of(&[1.0, 1.0]);
        assert_eq!((narrow.scale, narrow.counts.as_slice(), narrow.offset), (20, &[2][..], -1));
        let wide = of(&[1.0, 1e-3, 1e3, 0.0]);
        // 2^-9.97 to 2^9.97: twenty powers of two in 160 buckets, eight for each.
        assert_eq!((wide.scale, wide.zeros, wide.count()), (3, 1, 4));
        assert!(wide.counts.len() > MAX_BUCKETS / 2 && wide.counts.len() <= MAX_BUCKETS);
        let all = of(&[f64::MAX, 5e-324, 1.0]);
        assert_eq!((all.scale, all.count()), (-4, 3));
        assert_eq!((all.offset, all.counts.len()), (-64, 128));
    }

    #[test]
    fn order_and_time_do_not_matter() {
        let values: Vec<f64> = (0..400u32).map(|i| f64::from(i * 7919 % 400 + 1) * 1e-3).collect();
        let mut reversed = values.clone();
        reversed.reverse();
        assert_eq!(of(&values), of(&reversed));
        for cut in [0, 1, 7, 200, 399, 400] {
            let (all, mut late) = (of(&values), of(&values[cut..]));
            late.downscale(all.scale);
            assert_eq!(all.since(&of(&values[..cut])), late, "{cut}");
        }
    }

    #[test]
    fn downscaling_keeps_every_count() {
        let histogram = of(&[0.001, 0.002, 0.03, 0.5, 7.0, 100.0]);
        for to in -10..=histogram.scale {
            let mut coarse = histogram.clone();
            coarse.downscale(to);
            assert_eq!((coarse.scale, coarse.count()), (to, 6));
            assert!(coarse.counts.first() != Some(&0) && coarse.counts.last() != Some(&0));
        }
    }
}
