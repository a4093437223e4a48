//! Endpoints that sources tell of while running: whom to ask when, what was told, and the policy with that in it. Pure: who asks
//! resolvers and reads files is `sidecar-user`'s `traffic::sources`.
//!
//! A service with sources, or one whose endpoints are found by hashing, begins at its first use; until then it waits, and
//! nobody is asked for it.

mod known;
mod records;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

use known::Known;
pub use known::{Heard, LeftOut, Reply};
pub use records::{Record, balanced};

use crate::model::{
    Ktime,
    policy::{Balance, Endpoint, Found, Gear, Policy, Service, Source, SourceFailed},
};

/// Sources that are asked at a time: in all, and of those that failed when they were last asked, which may be silent for long.
const ASKED: (usize, usize) = (16, 8);
/// Endpoints that one service may have. Further ones are left out.
const ENDPOINTS: usize = 512;

/// All sources of a policy, and which of its services have begun.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    known: BTreeMap<Source, Known>,
    begun: BTreeSet<String>,
    /// Endpoints that services had before their sources have said anything.
    kept: BTreeMap<String, Vec<Endpoint>>,
}

/// How a source stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Which.
    pub source: Source,
    /// Services that take from it.
    pub services: Vec<String>,
    /// Endpoints that it told of last.
    pub n_endpoints: usize,
    /// When it last told of any.
    pub told: Option<Ktime>,
    /// Why it could not when it was last asked, in all or in part: what it told before holds.
    pub failure: Option<SourceFailed>,
    /// The same in words.
    pub detail: String,
    /// Nobody of its services has begun.
    pub waits: bool,
    /// Its services have the endpoints that they had before it was there.
    pub keeps: bool,
    /// How often it failed, in the order of [`SourceFailed::ALL`].
    pub failures: [u64; SourceFailed::ALL.len()],
    /// What of its last word is not used.
    pub left_out: LeftOut,
}

impl Sources {
    /// Of services that a daemon before had begun with these endpoints.
    #[must_use]
    pub fn adopted(services: Vec<(String, Vec<Endpoint>)>) -> Self {
        let begun = services.iter().map(|(name, _)| name.clone()).collect();
        Sources { known: BTreeMap::new(), begun, kept: services.into_iter().collect() }
    }

    /// Under another policy: what was told holds, and who has begun goes on. A service that has begun and gets a source keeps the
    /// endpoints that it has, which `in_force` tells, until that has told of others.
    #[must_use]
    pub fn under(&self, policy: &Policy, in_force: impl Fn(&str) -> Vec<Endpoint>) -> Sources {
        let mut next = Sources::default();
        for service in &policy.services {
            if !begins_at_first_use(service) || self.begun.contains(&service.name) {
                next.begun.insert(service.name.clone());
            }
            for supply in &service.supplies {
                let known = self.known.get(&supply.source).cloned();
                next.known.entry(supply.source.clone()).or_insert_with(|| known.unwrap_or_default());
            }
        }
        for service in &policy.services {
            if next.begun.contains(&service.name) && next.is_untold(service) {
                let kept = self.kept.get(&service.name).cloned().unwrap_or_else(|| in_force(&service.name));
                next.kept.insert(service.name.clone(), kept);
            }
        }
        next
    }

    /// A service was used, or its name was asked for.
    pub fn begin(&mut self, service: &str) {
        self.begun.insert(service.to_owned());
    }

    /// Whether a service has begun.
    #[must_use]
    pub fn has_begun(&self, service: &str) -> bool {
        self.begun.contains(service)
    }

    /// Who is to be asked now, and whether nothing that it said is in use, so that the same again is news. Each is waited for
    /// before it is asked again.
    pub fn due(&mut self, policy: &Policy, now: Ktime) -> Vec<(Source, bool)> {
        let wanted: BTreeSet<_> = self.wanted(policy).cloned().collect();
        // Nobody waits for a file.
        let is_awaited = |source: &Source| !matches!(source, Source::File(_));
        let asked = self.known.iter().filter(|(source, known)| known.is_asked && is_awaited(source));
        let (mut n_asked, mut n_failed) = (0, 0);
        for (_, known) in asked {
            n_asked += 1;
            n_failed += usize::from(known.failure.is_some());
        }
        let mut due: Vec<_> = self
            .known
            .iter_mut()
            .filter(|(source, known)| wanted.contains(source) && known.is_due(now))
            .collect();
        // Who has waited longest comes first.
        due.sort_by_key(|(_, known)| known.next);
        due.retain(|(source, known)| {
            let has_failed = known.failure.is_some();
            if is_awaited(source) && (n_asked >= ASKED.0 || has_failed && n_failed >= ASKED.1) {
                return false;
            }
            n_asked += usize::from(is_awaited(source));
            n_failed += usize::from(is_awaited(source) && has_failed);
            true
        });
        let due = due.into_iter().map(|(source, known)| {
            known.is_asked = true;
            let was_refused = known.failure == Some(SourceFailed::NotSteered);
            (source.clone(), was_refused || known.told.is_none() && known.failure.is_none())
        });
        due.collect()
    }

    /// What a source said, which may be nobody's by now. `random` spreads when it is asked again.
    pub fn heard(&mut self, source: &Source, heard: Heard, now: Ktime, random: u64) {
        let Some(known) = self.known.get_mut(source) else { return };
        known.hear(heard, now, random);
    }

    /// What a source told could not be put in force.
    pub fn refused(&mut self, source: &Source, now: Ktime, random: u64) {
        let failed = Reply { failed: [Some(SourceFailed::NotSteered); 2], ..Reply::default() };
        self.heard(source, Heard::Said(failed), now, random);
    }

    /// The policy with what is known in it.
    #[must_use]
    pub fn added_to(&self, policy: &Policy) -> Policy {
        let mut policy = policy.clone();
        for service in &mut policy.services {
            if !begins_at_first_use(service) {
                continue;
            }
            if !self.begun.contains(&service.name) {
                service.waits = true;
                service.endpoints.clear();
                continue;
            }
            let is_untold = self.is_untold(service);
            let kept = self.kept.get(&service.name).filter(|_| is_untold).into_iter().flatten().copied();
            let told = service.supplies.iter().flat_map(|supply| {
                let found = self.known.get(&supply.source).and_then(|known| known.told.as_ref());
                let zone = policy.zone.as_deref();
                let endpoint = move |found: &Found| {
                    let mut address = found.address;
                    if address.port() == 0 {
                        address.set_port(supply.port);
                    }
                    let its_zone = found.zone.as_ref().or(supply.zone.as_ref());
                    let is_near = zone.is_none_or(|zone| its_zone.is_some_and(|its| its == zone));
                    Endpoint { address, weight: found.weight.unwrap_or(supply.weight), is_near }
                };
                found.into_iter().flatten().map(endpoint)
            });
            let mut seen: HashSet<_> = service.endpoints.iter().map(|endpoint| endpoint.address).collect();
            let is_own = |address| !policy.pools.iter().any(|pool| pool.contains(address));
            let more = told.chain(kept).filter(|one| is_own(one.address.ip()) && seen.insert(one.address));
            let more: Vec<_> = more.take(ENDPOINTS.saturating_sub(service.endpoints.len())).collect();
            service.endpoints.extend(more);
            service.waits = service.endpoints.is_empty() && is_untold;
        }
        policy
    }

    /// How all stand.
    #[must_use]
    pub fn standings(&self, policy: &Policy) -> Vec<Standing> {
        let standing = |(source, known): (&Source, &Known)| {
            let takes = |service: &&Service| service.supplies.iter().any(|supply| supply.source == *source);
            let services: Vec<_> =
                policy.services.iter().filter(takes).map(|service| service.name.clone()).collect();
            Standing {
                source: source.clone(),
                n_endpoints: known.told.as_ref().map_or(0, Vec::len),
                told: known.told_at,
                failure: known.failure,
                detail: known.detail.clone(),
                waits: !services.iter().any(|name| self.begun.contains(name)),
                keeps: known.told.is_none()
                    && services.iter().any(|name| self.kept.get(name).is_some_and(|kept| !kept.is_empty())),
                failures: known.failures,
                left_out: known.left_out,
                services,
            }
        };
        self.known.iter().map(standing).collect()
    }

    /// When the next is to be asked; `None`: all that there are, are.
    #[must_use]
    pub fn next(&self, policy: &Policy) -> Option<Ktime> {
        let known = self.wanted(policy).filter_map(|source| self.known.get(source));
        known.filter(|known| !known.is_asked).map(|known| known.next).min()
    }

    fn wanted<'a>(&'a self, policy: &'a Policy) -> impl Iterator<Item = &'a Source> {
        let begun = policy.services.iter().filter(|service| self.begun.contains(&service.name));
        begun.flat_map(|service| service.supplies.iter().map(|supply| &supply.source))
    }

    /// Whether one of its sources has not told of any endpoints yet.
    fn is_untold(&self, service: &Service) -> bool {
        let is_untold = |source: &Source| self.known.get(source).is_none_or(|known| known.told.is_none());
        service.supplies.iter().any(|supply| is_untold(&supply.source))
    }
}

/// Whether a service has something that is not worth having before somebody needs it.
fn begins_at_first_use(service: &Service) -> bool {
    let is_hashed = matches!(service.balance, Balance::Hash(_)) && !service.endpoints.is_empty();
    service.gear != Gear::Deny && (is_hashed || !service.supplies.is_empty())
}

/// A time from now.
fn after(now: Ktime, time: Duration) -> Ktime {
    Ktime(now.0.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
}
