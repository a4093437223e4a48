//! Who got how much of the connections, and when.

/// What is wanted: a failing endpoint has less than this share of the connections in a second, and all but a fifth of its own again
/// when it is well.
pub(super) const FEW: f64 = 0.05;
pub(super) const BACK: f64 = 0.8;
/// Shares are of so many µs, which begin at each step.
const WINDOW: u64 = 1_000_000;
const STEP: u64 = 50_000;

/// When connections were asked for, by endpoint, µs since the epoch, in order.
pub(super) struct Shares(Vec<Vec<u64>>);

impl Shares {
    pub(super) fn new(mut begun: Vec<Vec<u64>>) -> Shares {
        begun.iter_mut().for_each(|of| of.sort_unstable());
        Shares(begun)
    }

    /// Of one endpoint, from then on for so long. `None`: nobody asked for anything.
    pub(super) fn share(&self, endpoint: usize, from: u64, us: u64) -> Option<f64> {
        let count =
            |of: &[u64]| of.partition_point(|at| *at < from + us) - of.partition_point(|at| *at < from);
        let all: usize = self.0.iter().map(|of| count(of)).sum();
        (all > 0).then(|| count(&self.0[endpoint]) as f64 / all as f64)
    }

    /// How long after `from` the first second begins in which it has few; `None`: none that ends before `until`.
    pub(super) fn until_few(&self, endpoint: usize, from: u64, until: u64) -> Option<u64> {
        self.first(endpoint, (from, until), |share| share < FEW)
    }

    /// How long after `from` the first second begins in which it has its own share again.
    pub(super) fn until_back(&self, endpoint: usize, from: u64, until: u64) -> Option<u64> {
        let wanted = BACK / self.0.len() as f64;
        self.first(endpoint, (from, until), |share| share >= wanted)
    }

    fn first(&self, endpoint: usize, (from, until): (u64, u64), is: impl Fn(f64) -> bool) -> Option<u64> {
        let mut starts = (from..).step_by(STEP as usize).take_while(|start| start + WINDOW <= until);
        let found = starts.find(|start| self.share(endpoint, *start, WINDOW).is_some_and(&is));
        found.map(|start| start - from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_goes_and_comes_back() {
        let ms = |from: u64, to: u64| (from..to).step_by(4).map(|ms| ms * 1000).collect::<Vec<_>>();
        // The first is left out from 300 ms after its fault at 2 s, until 1 s after its end at 6 s.
        let failing = [ms(0, 2300), ms(7000, 10_000)].concat();
        let shares = Shares::new(vec![failing, ms(0, 10_000), ms(0, 10_000), ms(0, 10_000)]);
        let second = |at: f64| (at * 1e6) as u64;
        assert_eq!(shares.share(0, 0, second(1.0)), Some(0.25));
        assert_eq!(shares.share(0, second(20.0), second(1.0)), None);
        // Of the second from 2.15 s on it has 37 of 787.
        assert_eq!(shares.until_few(0, second(2.0), second(6.0)), Some(150_000));
        assert_eq!(shares.until_few(1, second(2.0), second(6.0)), None);
        // 188 of 938 in the second from 6.75 s on.
        assert_eq!(shares.until_back(0, second(6.0), second(10.0)), Some(750_000));
        assert_eq!(shares.until_back(0, second(6.0), second(7.0)), None);
    }
}
