//! What the kernel's maps have room for, and how much of it a policy takes.

use crate::{
    model::policy::{Balance, Service},
    traffic::deal,
};

/// How many entries the kernel's maps have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Rules of one bank.
    pub rules: u32,
    /// Services.
    pub services: u32,
    /// Endpoints, with those that are no longer wanted and still have connections.
    pub targets: u32,
    /// Places of tables, of both banks.
    pub places: u32,
}

impl Room {
    /// Places that one plan may have, so that there is as much room for the next one.
    #[must_use]
    pub fn places_of_one(&self) -> u32 {
        self.places / 2
    }
}

/// Places of a service's tables, once it has begun; not those that sources will tell of.
#[must_use]
pub fn n_places(service: &Service) -> usize {
    let is_hashed = matches!(service.balance, Balance::Hash(_));
    let len = |is_v4| {
        let n = service.endpoints.iter().filter(|endpoint| endpoint.address.is_ipv4() == is_v4).count();
        table_len(is_hashed, n)
    };
    len(true) + len(false)
}

/// A plan needs more than the maps have, beside what holds until then and what connections still have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {room} {what}, with those that are still in use")]
pub struct Full {
    /// What there is too much of.
    pub what: &'static str,
    /// How much there is room for.
    pub room: u32,
}

/// Places of the table of so many endpoints.
pub(super) fn table_len(is_hashed: bool, n: usize) -> usize {
    match (n, is_hashed) {
        (0, _) => 0,
        (n, false) => deal::drawn_len(n),
        (n, true) => deal::hashed_len(n),
    }
}

/// The first gap of `len` between what is used.
pub(super) fn place(used: &[(u32, u32)], len: u32, room: u32) -> Option<u32> {
    let mut used = used.to_vec();
    used.sort_unstable();
    let mut first = 0;
    for (begin, taken) in used {
        if begin - first >= len {
            return Some(first);
        }
        first = begin + taken;
    }
    (room - first >= len).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::policy::HashBy,
        traffic::{
            health::Judge,
            plan::{
                Planner,
                tests::{policy, service},
            },
        },
    };

    #[test]
    fn as_many_places_are_foretold_as_are_dealt() {
        let room = Room { rules: 16, services: 8, targets: 256, places: 65_536 };
        let many: Vec<_> = (0..40).map(|n| format!("1.0.0.{n}:1")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).chain(["[1::1]:1"]).collect();
        for balance in [Balance::Least, Balance::Random, Balance::Hash(HashBy::Source)] {
            for endpoints in [&[][..], &["1.0.0.1:1"], &["1.0.0.1:1", "[1::1]:1"], &many] {
                let wanted = Service { balance, ..service("a", endpoints) };
                let mut planner = Planner::new(room);
                let foretold = n_places(&wanted);
                let plan = planner.plan(&policy(&[wanted]), &Judge::default(), |_| true).expect("room");
                assert_eq!(plan.tables.values().map(Vec::len).sum::<usize>(), foretold, "{balance:?}");
            }
        }
    }

    #[test]
    fn gaps_are_found() {
        assert_eq!(place(&[], 10, 10), Some(0));
        assert_eq!(place(&[], 11, 10), None);
        assert_eq!(place(&[(0, 4), (8, 4)], 4, 12), Some(4));
        assert_eq!(place(&[(8, 4), (0, 4)], 5, 17), Some(12));
        assert_eq!(place(&[(0, 4), (4, 4)], 5, 12), None);
    }
}
