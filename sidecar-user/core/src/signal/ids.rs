//! Trace and span ids out of a seed: pure, so that tests can tell them beforehand.

/// A SplitMix64 sequence (Steele, Lea, Flood 2014). Its seed wants 64 random bits where ids leave the process.
#[derive(Clone, Debug)]
pub struct IdSource(u64);

impl IdSource {
    /// The sequence that `seed` begins.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        IdSource(seed)
    }

    /// A trace id, not all zero.
    pub fn trace(&mut self) -> [u8; 16] {
        (u128::from(self.next()) << 64 | u128::from(self.next())).to_be_bytes()
    }

    /// A span id, not all zero.
    pub fn span(&mut self) -> [u8; 8] {
        self.next().to_be_bytes()
    }

    fn next(&mut self) -> u64 {
        loop {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            // One state in 2^64 gives zero, which the W3C forbids as an id.
            if z != 0 {
                return z;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_ids() {
        let (mut a, mut b, mut c) = (IdSource::new(7), IdSource::new(7), IdSource::new(8));
        let first = (a.trace(), a.span());
        assert_eq!(first, (b.trace(), b.span()));
        assert_ne!(first, (c.trace(), c.span()));
        assert_ne!(first.1, a.span());
    }
}
