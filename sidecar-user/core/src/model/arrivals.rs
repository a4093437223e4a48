//! What was decided of connections that came in, counted where their records are read, and read by whoever tells of services.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Reason, Steered, Verdict};

/// The counts. They only grow, but for those of services that are gone.
#[derive(Debug, Default)]
pub struct Arrivals(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: BTreeMap<(Verdict, Reason), u64>,
    services: BTreeMap<Arc<str>, BTreeMap<Verdict, u64>>,
}

impl Arrivals {
    /// One came in.
    pub fn count(&self, steered: &Steered) {
        let Counts { all, services } = &mut *self.lock();
        *all.entry((steered.verdict, steered.reason)).or_default() += 1;
        if let Some(service) = &steered.service {
            let of_service = services.entry(Arc::clone(service)).or_default();
            *of_service.entry(steered.verdict).or_default() += 1;
        }
    }

    /// All, by verdict and reason.
    #[must_use]
    pub fn all(&self) -> Vec<(Verdict, Reason, u64)> {
        self.lock().all.iter().map(|((verdict, reason), n)| (*verdict, *reason, *n)).collect()
    }

    /// Those of a service with a verdict.
    #[must_use]
    pub fn of(&self, service: &str, verdict: Verdict) -> u64 {
        self.lock().services.get(service).and_then(|all| all.get(&verdict)).copied().unwrap_or_default()
    }

    /// Forgets those of services that are not these.
    pub fn keep(&self, is_there: impl Fn(&str) -> bool) {
        self.lock().services.retain(|name, _| is_there(name));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
