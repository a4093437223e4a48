//! Which container a connection is of, by the cgroup of the process that made its socket. Not for finding that out:
//! whoever may read the machine's cgroups tells it here.

use std::sync::Arc;

use rustc_hash::FxHashMap;

/// Cgroups that are remembered.
const CGROUPS: usize = 1024;

/// Names of containers by their cgroups, those below them among these. While no more than one container has been
/// observed, nothing is told apart and nothing has a name.
#[derive(Debug, Default)]
pub struct Containers {
    is_told_apart: bool,
    places: FxHashMap<u64, Place>,
}

#[derive(Debug)]
struct Place {
    /// `None`: the cgroup is no container's, or nobody knows whose.
    name: Option<Arc<str>>,
    is_there: bool,
}

impl Containers {
    /// `container.name` of what has to do with this cgroup.
    #[must_use]
    pub fn of(&self, cgroup: u64) -> Option<Arc<str>> {
        if !self.is_told_apart {
            return None;
        }
        self.places.get(&cgroup)?.name.clone()
    }

    /// Whether there is nothing to look up about it.
    #[must_use]
    pub fn knows(&self, cgroup: u64) -> bool {
        !self.is_told_apart || cgroup == 0 || self.places.contains_key(&cgroup)
    }

    /// What there is at present. Cgroups that are gone keep their names for what is still heard of them, as long as there
    /// is room; what was not found before is looked for again.
    pub fn set(&mut self, is_told_apart: bool, found: impl IntoIterator<Item = (u64, Arc<str>)>) {
        self.is_told_apart = is_told_apart;
        self.places.retain(|_, place| place.name.is_some());
        self.places.values_mut().for_each(|place| place.is_there = false);
        for (cgroup, name) in found {
            if self.places.len() >= CGROUPS && !self.places.contains_key(&cgroup) {
                self.places.retain(|_, place| place.is_there);
                if self.places.len() >= CGROUPS {
                    return;
                }
            }
            self.places.insert(cgroup, Place { name: Some(name), is_there: true });
        }
    }

    /// This cgroup was looked for in vain. It has no name until [`Containers::set`] gives it one.
    pub fn miss(&mut self, cgroup: u64) {
        if self.places.len() >= CGROUPS {
            self.places.retain(|_, place| place.is_there);
        }
        if self.places.len() < CGROUPS {
            self.places.entry(cgroup).or_insert(Place { name: None, is_there: false });
        }
    }

    /// It was a container's that is gone.
    pub(super) fn is_gone(&self, cgroup: u64) -> bool {
        self.places.get(&cgroup).is_some_and(|place| place.name.is_some() && !place.is_there)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(cgroups: &[(u64, &str)]) -> Vec<(u64, Arc<str>)> {
        cgroups.iter().map(|(cgroup, name)| (*cgroup, Arc::from(*name))).collect()
    }

    #[test]
    fn names_are_told_once_there_are_several_and_outlive_their_cgroup() {
        let mut containers = Containers::default();
        containers.set(false, named(&[(5, "a")]));
        assert_eq!((containers.of(5), containers.knows(7)), (None, true), "only one");
        containers.set(true, named(&[(5, "a"), (6, "a"), (7, "b")]));
        let of = |containers: &Containers, cgroup| containers.of(cgroup).map(|name| name.to_string());
        assert_eq!(of(&containers, 6).as_deref(), Some("a"), "below a container");
        assert_eq!((of(&containers, 8), containers.knows(8), containers.knows(0)), (None, false, true));
        containers.miss(8);
        assert_eq!((of(&containers, 8), containers.knows(8)), (None, true));
        containers.set(true, named(&[(7, "b")]));
        assert_eq!(of(&containers, 5).as_deref(), Some("a"), "what comes late of it still is its own");
        assert_eq!(
            (containers.is_gone(5), containers.is_gone(7), containers.is_gone(8)),
            (true, false, false)
        );
        assert!(!containers.knows(8), "it may have come since");
    }

    #[test]
    fn memory_is_bounded() {
        let mut containers = Containers::default();
        for round in 0..100u64 {
            containers.set(true, (0..100).map(|i| (1 + round * 100 + i, "a".into())));
            for cgroup in 0..100_000 {
                containers.miss(1_000_000 + cgroup);
            }
            assert!(containers.places.len() <= CGROUPS);
            assert!(containers.of(1 + round * 100).is_some(), "what is there has its name");
        }
        containers.set(true, (1..100_000).map(|cgroup| (cgroup, "a".into())));
        assert!(containers.places.len() <= CGROUPS);
    }
}
