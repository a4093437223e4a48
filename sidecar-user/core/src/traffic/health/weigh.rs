//! What endpoints of one service and family weigh, once it is known which of them are healthy.

use std::time::Duration;

use super::COST;

/// How much more than its share of healthy endpoints the daemon's zone is trusted with (Envoy's overprovisioning factor).
const OVERPROVISIONING: f64 = 1.4;
/// Latencies below it do not tell endpoints apart: so much a scheduler's turn may take.
const FLOOR: Duration = Duration::from_millis(1);
/// An endpoint is at most so many times as expensive as the fastest.
const DEAREST: u32 = 16;
/// What weights of one table add up to, about.
const TOTAL: f64 = (1 << 20) as f64;

/// One endpoint, before it is weighed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// As it is configured.
    pub(super) weight: u16,
    /// It is in the daemon's zone.
    pub(super) is_near: bool,
    /// It gets connections.
    pub(super) is_healthy: bool,
    /// How much of its share it gets, in eighths: slow start.
    pub(super) eighths: u32,
    /// How many times as long as the fastest it takes.
    pub(super) slowness: u32,
}

/// What an endpoint weighs, beside the others of its table; and what a connection more costs there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weighed {
    /// 0: it gets none.
    pub weight: u32,
    /// See `Target::cost`.
    pub cost: u32,
}

/// `by_latency`: whether slowness costs an endpoint part of its share, as well as being dear.
pub(super) fn weigh(candidates: &[Candidate], is_panic: bool, by_latency: bool) -> Vec<Weighed> {
    let counts = |one: &Candidate| is_panic || one.is_healthy;
    // Where all are tried, zones do not matter either.
    let is_near = |one: &Candidate| is_panic || one.is_near;
    let sum = |near: bool, counts: &dyn Fn(&Candidate) -> bool| -> f64 {
        let those = candidates.iter().filter(|one| is_near(one) == near && counts(one));
        those.map(|one| f64::from(one.weight)).sum()
    };
    // The near ones' share: all of it until so many of them are lost that the rest would have too much to do.
    let (near, far) = (sum(true, &counts), sum(false, &counts));
    let near_share = match (near > 0.0, far > 0.0) {
        (true, true) => (OVERPROVISIONING * near / sum(true, &|_| true)).min(1.0),
        (true, false) => 1.0,
        (false, _) => 0.0,
    };
    let share = |one: &Candidate| -> f64 {
        if !counts(one) {
            return 0.0;
        }
        let whole = f64::from(one.weight) * f64::from(one.eighths) / 8.0;
        if by_latency { whole / f64::from(one.slowness) } else { whole }
    };
    let shares =
        |near: bool| -> f64 { candidates.iter().filter(|one| is_near(one) == near).map(share).sum() };
    let totals = [shares(false), shares(true)];
    let weighed = |one: &Candidate| {
        let (total, part) =
            if is_near(one) { (totals[1], near_share) } else { (totals[0], 1.0 - near_share) };
        let weight = if total > 0.0 { TOTAL * part * share(one) / total } else { 0.0 };
        // Whoever has a share at all keeps a place.
        let weight = if weight > 0.0 { (weight as u32).max(1) } else { 0 };
        Weighed { weight, cost: COST * one.slowness }
    };
    candidates.iter().map(weighed).collect()
}

/// How many times as long as the fastest each takes, as a power of two: what lies closer together is noise. `now` and
/// `last`: what is left of an endpoint's latency, and what it was when it was last seen.
pub(super) fn slowness(latencies: &[Option<(Duration, Duration)>]) -> Vec<u32> {
    let fastest = latencies.iter().flatten().map(|(_, last)| *last).min().unwrap_or(FLOOR).max(FLOOR);
    let of = |latency: &Option<(Duration, Duration)>| {
        let ratio = latency.map_or(1, |(now, _)| now.as_nanos() / fastest.as_nanos());
        let ratio = u32::try_from(ratio).unwrap_or(DEAREST).clamp(1, DEAREST);
        1 << ratio.ilog2()
    };
    latencies.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percents(candidates: &[Candidate], is_panic: bool) -> Vec<u32> {
        let weighed = weigh(candidates, is_panic, true);
        let total: u32 = weighed.iter().map(|one| one.weight).sum();
        let percent =
            |one: &Weighed| (f64::from(one.weight) * 100.0 / f64::from(total.max(1))).round() as u32;
        weighed.iter().map(percent).collect()
    }

    #[test]
    fn shares_are_what_is_said() {
        let one = Candidate { weight: 100, is_near: true, is_healthy: true, eighths: 8, slowness: 1 };
        let (sick, far) = (Candidate { is_healthy: false, ..one }, Candidate { is_near: false, ..one });
        let far_sick = Candidate { is_near: false, ..sick };
        for (candidates, expected) in [
            (vec![one, one, one, one], vec![25, 25, 25, 25]),
            (vec![one, sick, one, one], vec![33, 0, 33, 33]),
            (vec![Candidate { weight: 300, ..one }, one], vec![75, 25]),
            (vec![Candidate { weight: 0, ..one }, one], vec![0, 100]),
            // Slow start, and slowness.
            (vec![Candidate { eighths: 1, ..one }, Candidate { weight: 87, ..one }], vec![13, 87]),
            (vec![Candidate { slowness: 4, ..one }, Candidate { weight: 75, ..one }], vec![25, 75]),
            // All near ones are well, most, half, none of them.
            (vec![one, one, far, far], vec![50, 50, 0, 0]),
            (vec![one, one, one, sick, far], vec![33, 33, 33, 0, 0]),
            (vec![one, sick, far, far], vec![70, 0, 15, 15]),
            (vec![sick, sick, far, far], vec![0, 0, 50, 50]),
            (vec![one, sick, far_sick], vec![100, 0, 0]),
            (vec![far, far], vec![50, 50]),
            (vec![], vec![]),
        ] {
            assert_eq!(percents(&candidates, false), expected, "{candidates:?}");
        }
        assert_eq!(percents(&[sick, one, sick], true), [33, 33, 33]);
        assert_eq!(percents(&[sick, sick, far, far_sick], true), [25, 25, 25, 25]);
    }

    #[test]
    fn only_what_matters_is_slow() {
        let ms = |ms: u64| Some((Duration::from_millis(ms), Duration::from_millis(ms)));
        let us = |us: u64| Some((Duration::from_micros(us), Duration::from_micros(us)));
        for (latencies, expected) in [
            (vec![us(50), us(900)], vec![1, 1]),
            (vec![ms(10), ms(19), ms(20), ms(79)], vec![1, 1, 2, 4]),
            (vec![us(100), ms(5), None], vec![1, 4, 1]),
            (vec![ms(1), ms(60_000)], vec![1, 16]),
            // One that has faded is tried again, and makes nobody else look slow.
            (vec![Some((Duration::ZERO, Duration::from_millis(80))), ms(10)], vec![1, 1]),
            (vec![None, None], vec![1, 1]),
            (vec![], vec![]),
        ] {
            assert_eq!(slowness(&latencies), expected, "{latencies:?}");
        }
    }
}
