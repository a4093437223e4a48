//! How many connections come in through the relay: the kernel's own limits are for those that go out.

use std::{collections::BTreeMap, time::Duration};

use crate::model::policy::Limits;

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// As many as are allowed are open.
    Connections,
    /// They come faster than is allowed.
    Rate,
}

/// Connections that are open, and when the next may come, by service.
#[derive(Debug, Default)]
pub struct Places(BTreeMap<String, Place>);

#[derive(Debug, Default)]
struct Place {
    open: u32,
    /// The theoretical arrival time of ITU-T I.371's GCRA.
    next: Duration,
}

impl Places {
    /// Takes one, at a time since any fixed moment.
    ///
    /// # Errors
    /// [`Over`]; then nothing was taken.
    pub fn take(&mut self, service: &str, limits: &Limits, now: Duration) -> Result<(), Over> {
        let place = self.0.entry(service.to_owned()).or_default();
        if limits.connections.is_some_and(|most| place.open >= most) {
            return Err(Over::Connections);
        }
        if let Some(rate) = limits.rate {
            let next = place.next.max(now);
            if next.saturating_sub(now) > rate.spacing() * rate.burst.saturating_sub(1) {
                return Err(Over::Rate);
            }
            place.next = next.saturating_add(rate.spacing());
        }
        place.open += 1;
        Ok(())
    }

    /// Gives one back.
    pub fn give_back(&mut self, service: &str) {
        if let Some(place) = self.0.get_mut(service) {
            place.open = place.open.saturating_sub(1);
        }
    }

    /// Forgets services that are gone, once none of their connections is open.
    pub fn keep<'a>(&mut self, services: impl Iterator<Item = &'a str> + Clone) {
        self.0.retain(|name, place| place.open > 0 || services.clone().any(|service| service == name));
    }

    /// How many are open.
    #[must_use]
    pub fn n_open(&self, service: &str) -> u32 {
        self.0.get(service).map_or(0, |place| place.open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy::Rate;

    #[test]
    fn places_are_taken_and_given_back() {
        let mut places = Places::default();
        let limits = Limits { connections: Some(2), rate: None };
        let take = |places: &mut Places| places.take("a", &limits, Duration::ZERO);
        assert_eq!([take(&mut places), take(&mut places)], [Ok(()), Ok(())]);
        assert_eq!(take(&mut places), Err(Over::Connections));
        places.keep(std::iter::empty());
        places.give_back("a");
        assert_eq!((take(&mut places), places.n_open("a")), (Ok(()), 2));
        for _ in 0..3 {
            places.give_back("a");
        }
        places.keep(["b"].into_iter());
        assert_eq!(places.n_open("a"), 0);
    }

    #[test]
    fn a_burst_may_come_at_once_and_the_rest_at_the_rate() {
        let mut places = Places::default();
        let limits = Limits { connections: None, rate: Some(Rate { per_second: 10, burst: 3 }) };
        let mut taken = |ms: u64| places.take("a", &limits, Duration::from_millis(ms)).is_ok();
        let first: Vec<_> = [0, 0, 0, 0, 99, 100, 100, 200].into_iter().map(&mut taken).collect();
        assert_eq!(first, [true, true, true, false, false, true, false, true]);
        // After a pause a burst again, and no more.
        let late: Vec<_> = (0..4).map(|_| taken(10_000)).collect();
        assert_eq!(late, [true, true, true, false]);
    }
}
