//! Which endpoints are well, and what they weigh: from what was seen of them to what the kernel's tables are dealt by.
//!
//! Who looks tells the time, what was counted, and whether a trial was taken; it is told what is new. Endpoints of one
//! service and one address family are judged together, as a socket of one cannot go to the other.
//!
//! An endpoint *serves* until it fails in a row or too often; then it is *ejected* for a while, and *tried* by one
//! connection (or asked by a probe) before it serves again, slowly at first. The last healthy one is not ejected: where
//! none is left, all are tried.

mod endpoint;
mod sightings;
#[cfg(test)]
mod tests;
mod weigh;

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use endpoint::{Endpoint, State};
use weigh::Candidate;

pub use endpoint::Results;
pub use sightings::{Ewma, Sighting, Sightings};
pub use weigh::Weighed;

use super::plan::COST;
use crate::model::{
    Ktime,
    health::{Ask, Cause, Condition, Health},
    policy::{Balance, Policy, Service},
};

/// How often latencies are looked at anew.
const LATENCIES: Duration = Duration::from_secs(1);

/// After so many looks without a connection a service is looked at no further, until it has one.
const QUIET: u32 = 10;

/// All services whose endpoints' health is judged.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    services: BTreeMap<String, Judged>,
}

#[derive(Clone, Debug)]
struct Judged {
    health: Health,
    /// Slowness costs part of a share: not where a client is always to get the same endpoint.
    by_latency: bool,
    groups: [Group; 2],
    /// Connections that it had had when it was last looked at.
    n_served: Option<u64>,
    is_used: bool,
    /// How many looks ago it last had a connection.
    n_quiet: u32,
}

/// Endpoints of one family.
#[derive(Clone, Debug, Default)]
struct Group {
    endpoints: Vec<Endpoint>,
    weighed: Vec<Weighed>,
    slowness: Vec<u32>,
    slowness_at: Ktime,
    is_panic: bool,
    n_panics: u64,
}

/// What the outside knows: asked by name and address, not by the kernel's numbers.
pub trait Outside {
    /// How many connections of a service have been decided, and how many are open.
    fn served(&self, service: &str) -> [u64; 2];
    /// What became of those to an endpoint.
    fn results(&self, service: &str, endpoint: SocketAddr) -> Results;
    /// Nobody is to try an endpoint of this family, or somebody has.
    fn is_tried(&self, service: &str, is_v6: bool) -> bool;
}

/// What is new.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// Services whose endpoints weigh something else than before: all of them.
    pub weighed: Vec<(String, Vec<(SocketAddr, Weighed)>)>,
    /// Endpoints that the next connection of their service and family is to try.
    pub trials: Vec<(String, SocketAddr)>,
    /// Endpoints that are something else than before.
    pub turns: Vec<Turn>,
}

/// An endpoint's turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// Of this service.
    pub service: String,
    /// This one.
    pub endpoint: SocketAddr,
    /// Is this now.
    pub condition: Condition,
}

/// A question to ask.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Whose.
    pub service: String,
    /// Of whom: the answer goes to this one.
    pub endpoint: SocketAddr,
    /// At this address.
    pub at: SocketAddr,
    /// What.
    pub ask: Ask,
    /// For how long.
    pub timeout: Duration,
}

/// How an endpoint stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Which.
    pub address: SocketAddr,
    /// Beside the others of its family. 0: it gets no connections.
    pub weight: u32,
    /// What it is at.
    pub condition: Condition,
    /// When its ejection is over.
    pub until: Option<Ktime>,
    /// Requests to it were read: where they were not, only its connections can be judged.
    pub is_read: bool,
    /// How long answers take, or connections where answers are not seen.
    pub latency: Option<Duration>,
    /// How often it was ejected, by [`Cause`].
    pub ejections: [u64; Cause::ALL.len()],
    /// How often one connection tried it.
    pub n_trials: u64,
    /// Good answers to probes, and bad ones.
    pub probes: [u64; 2],
}

/// How a service stands.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceStanding {
    /// Which.
    pub name: String,
    /// Its endpoints, IPv4 first.
    pub endpoints: Vec<Standing>,
    /// All of them are tried, of either family.
    pub is_panic: bool,
    /// How often that began.
    pub n_panics: u64,
}

impl Judge {
    /// The same endpoints go on as they are under another policy; new ones of a service that is in use start slowly.
    #[must_use]
    pub fn under(&self, policy: &Policy, now: Ktime) -> Judge {
        let services = policy.services.iter().filter_map(|service| {
            let health = service.health.as_ref()?;
            let old = self.services.get(&service.name);
            Some((service.name.clone(), Judged::new(service, health, old, now)))
        });
        Judge { services: services.collect() }
    }

    /// What is to be watched, each with what is too slow of it.
    pub fn watched(&self) -> impl Iterator<Item = (SocketAddr, Option<Duration>)> {
        self.services
            .values()
            .flat_map(|service| service.all().map(|endpoint| (endpoint.address, service.health.slow)))
    }

    /// What the endpoints of a service weigh at present; `None`: nobody judges.
    #[must_use]
    pub fn weights(&self, service: &str) -> Option<BTreeMap<SocketAddr, Weighed>> {
        let service = self.services.get(service)?;
        Some(service.weighed().collect())
    }

    /// Looks at what was seen since the last time.
    pub fn look(&mut self, now: Ktime, sightings: &Sightings, outside: &impl Outside, random: u64) -> Look {
        let mut look = Look::default();
        for (name, service) in &mut self.services {
            let [n_served, n_open] = outside.served(name);
            let before = service.n_served.replace(n_served);
            service.is_used |= n_served > before.unwrap_or(0);
            let is_quiet = before == Some(n_served) && n_open == 0 && service.rests(now);
            service.n_quiet = if is_quiet { service.n_quiet.saturating_add(1) } else { 0 };
            // Nothing is read of what nobody uses.
            if before.is_some() && (!service.is_used || service.n_quiet > QUIET) {
                continue;
            }
            service.look(name, now, sightings, outside, random, &mut look);
        }
        look
    }

    /// Which endpoints are to be asked now. Each waits for its answer before it is asked again.
    pub fn questions(&mut self, now: Ktime) -> Vec<Question> {
        let mut questions = Vec::new();
        for (name, service) in self.services.iter_mut().filter(|(_, service)| service.is_used) {
            let Some(probe) = service.health.probe.clone() else { continue };
            for endpoint in service.groups.iter_mut().flat_map(|group| &mut group.endpoints) {
                if endpoint.probing.is_asked || now < endpoint.probing.next {
                    continue;
                }
                let interval = u64::try_from(probe.interval.as_nanos()).unwrap_or(u64::MAX);
                endpoint.probing.is_asked = true;
                endpoint.probing.next = Ktime(now.0.saturating_add(interval));
                let mut at = endpoint.address;
                at.set_port(probe.port.unwrap_or(at.port()));
                questions.push(Question {
                    service: name.clone(),
                    endpoint: endpoint.address,
                    at,
                    ask: probe.ask.clone(),
                    timeout: probe.timeout,
                });
            }
        }
        questions
    }

    /// A question was answered, by an endpoint that may be gone.
    pub fn answered(&mut self, service: &str, endpoint: SocketAddr, is_good: bool) {
        let endpoints = self.services.get_mut(service).into_iter().flat_map(|service| &mut service.groups);
        let mut endpoints = endpoints.flat_map(|group| &mut group.endpoints);
        if let Some(endpoint) = endpoints.find(|one| one.address == endpoint) {
            endpoint.answer(is_good);
        }
    }

    /// How all stand.
    #[must_use]
    pub fn standings(&self, now: Ktime) -> Vec<ServiceStanding> {
        let standing = |(name, service): (&String, &Judged)| {
            let weighed = service.weighed().map(|(_, weighed)| weighed.weight);
            let endpoints = service.all().zip(weighed);
            let endpoints = endpoints.map(|(one, weight)| one.standing(now, &service.health, weight));
            ServiceStanding {
                name: name.clone(),
                endpoints: endpoints.collect(),
                is_panic: service.groups.iter().any(|group| group.is_panic),
                n_panics: service.groups.iter().map(|group| group.n_panics).sum(),
            }
        };
        self.services.iter().map(standing).collect()
    }
}

impl Judged {
    fn new(service: &Service, health: &Health, old: Option<&Judged>, now: Ktime) -> Self {
        let since = old.filter(|old| old.is_used).map(|_| now);
        let group = |is_v6: bool| {
            let old = old.map(|old| &old.groups[usize::from(is_v6)]);
            let of_family = service.endpoints.iter().filter(|one| one.address.is_ipv6() == is_v6);
            let endpoints = of_family.map(|one| {
                let known = old.and_then(|old| old.endpoints.iter().find(|old| old.address == one.address));
                let mut known = known.cloned().unwrap_or_else(|| Endpoint::new(one, since));
                (known.weight, known.is_near) = (one.weight, one.is_near);
                // The kernel's slot for it is cleared.
                if let State::Asked { cause } = known.state {
                    known.state = State::Ejected { cause, until: now };
                }
                known
            });
            let endpoints: Vec<_> = endpoints.collect();
            let mut group = Group {
                slowness: vec![1; endpoints.len()],
                endpoints,
                is_panic: old.is_some_and(|old| old.is_panic),
                n_panics: old.map_or(0, |old| old.n_panics),
                ..Group::default()
            };
            group.reckon(health);
            group.weighed = group.weigh(now, health, !matches!(service.balance, Balance::Hash(_)));
            group
        };
        Judged {
            health: health.clone(),
            by_latency: !matches!(service.balance, Balance::Hash(_)),
            groups: [false, true].map(group),
            n_served: old.and_then(|old| old.n_served),
            is_used: old.is_some_and(|old| old.is_used),
            n_quiet: 0,
        }
    }

    /// Only connections can change anything.
    fn rests(&self, now: Ktime) -> bool {
        self.health.probe.is_none() && self.all().all(|one| one.rests(now, &self.health))
    }

    fn all(&self) -> impl Iterator<Item = &Endpoint> {
        self.groups.iter().flat_map(|group| &group.endpoints)
    }

    fn weighed(&self) -> impl Iterator<Item = (SocketAddr, Weighed)> {
        self.groups.iter().flat_map(|group| {
            group.endpoints.iter().map(|one| one.address).zip(group.weighed.iter().copied())
        })
    }

    fn look(
        &mut self,
        name: &str,
        now: Ktime,
        sightings: &Sightings,
        outside: &impl Outside,
        random: u64,
        look: &mut Look,
    ) {
        let Judged { health, by_latency, groups, .. } = self;
        let mut is_other = false;
        for (is_v6, group) in [false, true].into_iter().zip(groups.iter_mut()) {
            if group.endpoints.is_empty() {
                continue;
            }
            let before: Vec<_> = group.endpoints.iter().map(|one| one.condition(now, health)).collect();
            group.judge(
                now,
                health,
                random,
                |one| (sightings.of(one), outside.results(name, one)),
                || outside.is_tried(name, is_v6),
            );
            if let Some(trial) = group.next_trial(now, health, || outside.is_tried(name, is_v6)) {
                look.trials.push((name.to_owned(), trial));
            }
            for (one, before) in group.endpoints.iter().zip(before) {
                let condition = one.condition(now, health);
                if condition != before {
                    look.turns.push(Turn { service: name.to_owned(), endpoint: one.address, condition });
                }
            }
            if now.since(group.slowness_at) >= LATENCIES {
                group.slowness_at = now;
                group.slowness = group.slowness(now);
            }
            let weighed = group.weigh(now, health, *by_latency);
            is_other |= weighed != group.weighed;
            group.weighed = weighed;
        }
        if is_other {
            look.weighed.push((name.to_owned(), self.weighed().collect()));
        }
    }
}

impl Group {
    fn judge(
        &mut self,
        now: Ktime,
        health: &Health,
        random: u64,
        seen: impl Fn(SocketAddr) -> (Sighting, Results),
        is_tried: impl Fn() -> bool,
    ) {
        let mut all_news = Vec::new();
        for (one, turn) in self.endpoints.iter_mut().zip(0..) {
            let (sighting, results) = seen(one.address);
            let news = one.see(now, sighting, results);
            if let State::Asked { cause } = one.state
                && is_tried()
            {
                one.n_trials += 1;
                one.state = State::Tried { cause, since: now, is_open: false };
            }
            if self.is_panic {
                // It gets connections all the while: what comes of them is as good as a trial.
                let cause = match one.state {
                    State::Ejected { cause, .. } | State::Tried { cause, .. } => Some(cause),
                    State::Serving | State::Asked { .. } => None,
                };
                if cause.is_some_and(|cause| cause != Cause::Probe && one.is_refuted(cause, news, health)) {
                    one.come_back(now);
                }
            }
            one.wait(now, news, health, spread(random, turn));
            if one.failing.is_some_and(|cause| one.is_refuted(cause, news, health)) {
                one.failing = None;
            }
            one.recover(now, health);
            all_news.push(news);
        }
        for at in 0..self.endpoints.len() {
            let one = &self.endpoints[at];
            let Some(cause) = one.fault(health).or(one.failing).filter(|_| one.serves()) else { continue };
            let others =
                self.endpoints.iter().enumerate().any(|(other, one)| other != at && one.is_healthy());
            let one = &mut self.endpoints[at];
            if others {
                one.eject(now, cause, health, spread(random, at as u64));
            } else {
                one.failing = Some(cause);
            }
        }
        self.reckon(health);
    }

    /// Whether all are to be tried.
    fn reckon(&mut self, health: &Health) {
        let counts = |one: &&Endpoint| one.weight > 0;
        let n = self.endpoints.iter().filter(counts).count();
        let healthy = self.endpoints.iter().filter(|one| one.is_healthy()).count();
        let is_panic = n > 0 && (healthy == 0 || healthy * 100 < usize::from(health.panic_percent) * n);
        self.n_panics += u64::from(is_panic && !self.is_panic);
        self.is_panic = is_panic;
    }

    /// One at a time, and none where all are tried.
    fn next_trial(&mut self, now: Ktime, health: &Health, is_tried: impl Fn() -> bool) -> Option<SocketAddr> {
        let is_asked = |one: &Endpoint| matches!(one.state, State::Asked { .. });
        if self.is_panic || self.endpoints.iter().any(is_asked) || !is_tried() {
            return None;
        }
        let (one, cause) = self
            .endpoints
            .iter_mut()
            .find_map(|one| one.wants_trial(now, health).map(|cause| (one, cause)))?;
        one.state = State::Asked { cause };
        Some(one.address)
    }

    fn slowness(&self, now: Ktime) -> Vec<u32> {
        let of = |of_answers: bool| -> Vec<_> {
            self.endpoints.iter().map(|one| one.latency(now, of_answers)).collect()
        };
        let answers = of(true);
        let latencies = if answers.iter().any(Option::is_some) { answers } else { of(false) };
        weigh::slowness(&latencies)
    }

    fn weigh(&self, now: Ktime, health: &Health, by_latency: bool) -> Vec<Weighed> {
        let candidates: Vec<_> = self
            .endpoints
            .iter()
            .zip(&self.slowness)
            .map(|(one, slowness)| Candidate {
                weight: one.weight,
                is_near: one.is_near,
                is_healthy: one.serves(),
                eighths: if self.is_panic { 8 } else { one.eighths(now, health) },
                slowness: *slowness,
            })
            .collect();
        weigh::weigh(&candidates, self.is_panic, by_latency)
    }
}

/// Another number for each of a group's endpoints (the first step of SplitMix64).
fn spread(random: u64, at: u64) -> u64 {
    let number = random.wrapping_add(at.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 8
}
