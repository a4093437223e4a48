//! What is known of endpoints, brought together: what the capture thread and the relay saw, what the kernel counted, and how
//! probes were answered, to the judge; and what it says, to the kernel.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sidecar_core::{
    model::health::Condition,
    signal::endpoints::{self, Endpoint, Endpoints},
    traffic::{
        Planner,
        health::{Judge, Look, Outside, Question, Results, ServiceStanding, Sightings, Standing, Turn},
    },
};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};
use tracing::{info, warn};

use super::{Traffic, apply::State, probe};
use crate::{
    chain::chain,
    kernel::{Steering, clock},
};

/// From one look to the next.
const PACE: Duration = Duration::from_millis(100);

/// Where whoever sees something of an endpoint says so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched(Arc<Mutex<Sightings>>);

impl Watched {
    /// Held for a moment only.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Sightings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The kernel's side, by names and addresses.
pub(super) struct Counted<'a> {
    pub(super) steering: &'a Steering,
    pub(super) planner: &'a Planner,
}

impl Outside for Counted<'_> {
    fn served(&self, service: &str) -> [u64; 2] {
        let of = |number| [self.steering.served(number), self.steering.active(number)];
        self.planner.service(service).map_or([0; 2], of)
    }

    fn results(&self, service: &str, endpoint: SocketAddr) -> Results {
        let number = self.planner.endpoint(service, endpoint);
        number.map_or(Results::default(), |number| self.steering.results(number))
    }

    fn is_tried(&self, service: &str, is_v6: bool) -> bool {
        self.planner.service(service).is_none_or(|number| self.steering.is_tried(number, is_v6))
    }
}

impl Traffic {
    /// Judges endpoints, for ever.
    pub(crate) async fn watch(&self) {
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked = JoinSet::new();
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    for question in self.look() {
                        asked.spawn(async move {
                            let is_good = probe::ask(&question).await;
                            (question, is_good)
                        });
                    }
                }
                Some(answer) = asked.join_next() => {
                    if let Ok((Question { service, endpoint, .. }, is_good)) = answer {
                        self.lock().judge.answered(&service, endpoint, is_good);
                    }
                }
            }
        }
    }

    /// One look, and what it comes to is told the kernel: whom to ask now.
    fn look(&self) -> Vec<Question> {
        let State { steering, planner, judge, watched, troubles, .. } = &mut *self.lock();
        let now = clock::now();
        let random = RandomState::new().build_hasher().finish();
        // Held no longer than it takes to copy.
        let seen = watched.lock().clone();
        let look = judge.look(now, &seen, &Counted { steering, planner }, random);
        let Look { weighed, trials, turns } = look;
        for (service, weighed) in weighed {
            let changes = planner.reweigh(&service, &weighed);
            match steering.write(&changes) {
                Ok(()) => planner.took(&changes),
                Err(error) if troubles.weights.failed(Instant::now()) => {
                    warn!(service, error = chain(&error), "what endpoints weigh was not told");
                }
                Err(_) => {}
            }
        }
        for (service, address) in trials {
            let number = planner.service(&service).zip(planner.endpoint(&service, address));
            if let Some((id, target)) = number
                && let Err(error) = steering.try_next(id, address.is_ipv6(), target)
                && troubles.weights.failed(Instant::now())
            {
                warn!(service, endpoint = %address, error = chain(&error), "nobody can try the endpoint");
            }
        }
        turns.iter().for_each(tell);
        judge.questions(now)
    }

    /// How endpoints stand.
    pub(crate) fn standings(&self) -> Vec<ServiceStanding> {
        self.lock().judge.standings(clock::now())
    }

    /// Where whoever sees something of an endpoint says so.
    pub(crate) fn watched(&self) -> Watched {
        self.lock().watched.clone()
    }
}

/// From now on what this judge wants to know is kept.
pub(super) fn begin(judge: &Judge, watched: &Watched) {
    watched.lock().watch(judge.watched());
}

/// What is held against endpoints of a service, in words.
pub(super) fn states(judge: &Judge, service: &str) -> BTreeMap<SocketAddr, String> {
    let now = clock::now();
    let standing = judge.standings(now).into_iter().find(|standing| standing.name == service);
    let state = |one: Standing| {
        let state = match one.condition {
            Condition::Ejected(cause) => {
                let left = one.until.map_or(0, |until| until.0.saturating_sub(now.0) / 1_000_000_000);
                format!("ejected ({}), {left} s left", endpoints::cause(cause))
            }
            Condition::LastOne(cause) => {
                format!("fails ({}), and no other is healthy", endpoints::cause(cause))
            }
            Condition::Returning => "returning".to_owned(),
            Condition::OnTrial(_) => "on trial".to_owned(),
            Condition::Healthy => return None,
        };
        Some((one.address, state))
    };
    standing.into_iter().flat_map(|standing| standing.endpoints).filter_map(state).collect()
}

/// An endpoint's turn, in the log.
fn tell(Turn { service, endpoint, condition }: &Turn) {
    let (service, endpoint) = (service.as_str(), tracing::field::display(endpoint));
    match condition {
        Condition::Ejected(cause) => {
            warn!(service, endpoint, cause = endpoints::cause(*cause), "endpoint ejected");
        }
        Condition::LastOne(cause) => warn!(
            service,
            endpoint,
            cause = endpoints::cause(*cause),
            "endpoint fails, and is not ejected: no other is healthy, all are tried"
        ),
        Condition::Returning => info!(service, endpoint, "endpoint returns"),
        Condition::OnTrial(_) => info!(service, endpoint, "the next connection tries the endpoint"),
        Condition::Healthy => info!(service, endpoint, "endpoint is healthy"),
    }
}

/// As the metrics tell it.
pub(super) fn read(standings: Vec<ServiceStanding>) -> Endpoints {
    let panics = standings.iter().map(|service| (service.name.clone(), service.n_panics)).collect();
    let endpoints = standings.into_iter().flat_map(|service| {
        let total = |is_v6: bool| -> u64 {
            let of_family = service.endpoints.iter().filter(|one| one.address.is_ipv6() == is_v6);
            of_family.map(|one| u64::from(one.weight)).sum()
        };
        let totals = [false, true].map(total);
        let name = service.name;
        service.endpoints.into_iter().map(move |one| Endpoint {
            service: name.clone(),
            address: one.address,
            share: f64::from(one.weight) / totals[usize::from(one.address.is_ipv6())].max(1) as f64,
            condition: one.condition,
            ejections: one.ejections,
            trials: one.n_trials,
            probes: one.probes,
        })
    });
    Endpoints { all: endpoints.collect(), panics }
}
