//! Sources of endpoints: services that are used for the first time begin here, resolvers are asked (`dns`) and files looked at
//! (`file`) when it is time, and what they tell is put in force.

mod dns;
mod file;

use std::{
    collections::BTreeSet,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use sidecar_core::{
    model::{
        Directory,
        policy::{Source, SourceFailed},
    },
    signal::{self, sources},
    traffic::sources::{Heard, Reply, Standing},
};
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::{MissedTickBehavior, interval, timeout},
};
use tracing::{debug, info, warn};

use super::{
    Traffic,
    apply::{ApplyError, State},
};
use crate::{chain::chain, kernel::clock};
use dns::Resolver;
use file::Files;

/// Between two looks whether a service is used for the first time, and whether somebody is to be asked.
const PACE: Duration = Duration::from_millis(100);
/// How long all questions of one source may take. For each of them resolvers have as long as their settings say.
const PATIENCE: Duration = Duration::from_secs(30);

/// After the kernel had no room for a service that begins.
const PAUSE: Duration = Duration::from_secs(1);

/// What there is to do.
#[derive(Default)]
struct Work {
    begun: BTreeSet<String>,
    heard: Vec<(Source, Heard)>,
}

impl Work {
    /// The same, each by itself.
    fn parts(self) -> impl Iterator<Item = Work> {
        let begun = self.begun.into_iter().map(|name| Work { begun: [name].into(), ..Work::default() });
        let heard = self.heard.into_iter().map(|one| Work { heard: vec![one], ..Work::default() });
        begun.chain(heard)
    }
}

impl Traffic {
    /// Begins services that are used, and asks their sources, for ever. `know` as in `apply`.
    pub(crate) async fn follow(self: &Arc<Self>, know: impl Fn(Directory) + Clone + Send + 'static) {
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut asked, mut files, mut resolver) = (JoinSet::new(), Files::default(), Resolver::default());
        let mut work = Work::default();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.wanted.notified() => {}
                Some(Ok(heard)) = asked.join_next() => work.heard.push(heard),
            }
            while let Some(Ok(heard)) = asked.try_join_next() {
                work.heard.push(heard);
            }
            work.begun = self.first_uses();
            if !work.begun.is_empty() || !work.heard.is_empty() {
                let (traffic, know, work) = (Arc::clone(self), know.clone(), std::mem::take(&mut work));
                // It may wait for the kernel.
                let _ = spawn_blocking(move || traffic.renew(work, know)).await;
            }
            let (due, resolvers) = self.due();
            for (source, is_new) in due {
                match &source {
                    Source::File(path) => {
                        let heard = files.look(path, is_new);
                        work.heard.push((source, heard));
                    }
                    Source::Dns(name) | Source::Srv(name) => {
                        let (resolver, name) = (resolver.of(&resolvers), name.clone());
                        let is_srv = matches!(source, Source::Srv(_));
                        asked.spawn(async move {
                            let reply = ask(resolver, &name, is_srv).await;
                            (source, Heard::Said(reply))
                        });
                    }
                }
            }
            if !work.heard.is_empty() {
                self.wanted.notify_one();
            }
        }
    }

    /// Somebody asks for a service's name: that is a use.
    pub(super) fn want(&self, service: &str) {
        let mut asked_for = self.asked_for.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if asked_for.insert(service.to_owned()) {
            self.wanted.notify_one();
        }
    }

    /// Waits until a service's endpoints are known, which it makes them be; `false`: they are not, after this time.
    pub(super) async fn await_endpoints(&self, service: &str, patience: Duration) -> bool {
        let mut renewed = self.renewed.subscribe();
        self.want(service);
        let known = async {
            while self.names().waits(service) {
                if renewed.changed().await.is_err() {
                    break;
                }
            }
        };
        timeout(patience, known).await.is_ok()
    }

    /// Services that are used and have not begun; not those that the kernel has just refused.
    fn first_uses(&self) -> BTreeSet<String> {
        let asked_for =
            std::mem::take(&mut *self.asked_for.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        let State { steering, planner, uses, sources, troubles, .. } = &mut *self.lock();
        let now = Instant::now();
        let is_used = |(name, before): &(&String, &u64)| {
            let now = planner.service(name).map_or(0, |number| steering.first_uses(number));
            now != **before || asked_for.contains(*name)
        };
        let waiting = uses.iter().filter(|(name, _)| !sources.has_begun(name));
        let used = waiting.filter(is_used).map(|(name, _)| name.clone());
        used.filter(|name| !troubles.service(name).failed_within(PAUSE, now)).collect()
    }

    fn due(&self) -> (Vec<(Source, bool)>, Vec<SocketAddr>) {
        let State { sources, policy, .. } = &mut *self.lock();
        (sources.due(policy, clock::now()), policy.resolvers.clone())
    }

    /// Puts in force what is new: all of it by one plan, or, where that cannot be, whatever can by itself.
    fn renew(&self, work: Work, know: impl Fn(Directory)) {
        let state = &mut *self.lock();
        let old = state.sources.clone();
        if state.take(&work, &know).is_err() {
            for part in work.parts() {
                if let Err(error) = state.take(&part, &know) {
                    state.refuse(&part, &error);
                }
            }
        }
        tell(&old.standings(&state.policy), &state.sources.standings(&state.policy));
        self.set_names(&state.merged());
        self.renewed.send_modify(|n| *n += 1);
    }

    /// How sources stand, as the metrics tell it.
    pub(crate) fn read_sources(&self) -> Vec<sources::Source> {
        let now = clock::now();
        let state = self.lock();
        let standings = state.sources.standings(&state.policy);
        let read = |one: Standing| sources::Source {
            name: one.source.to_string(),
            endpoints: one.n_endpoints as u64,
            is_stale: one.failure.is_some() || one.keeps,
            age: one.told.map(|told| Duration::from_nanos(now.0.saturating_sub(told.0))),
            failures: one.failures,
            left_out: [one.left_out.duplicates, one.left_out.unusable, one.left_out.too_many],
        };
        standings.into_iter().map(read).collect()
    }

    /// Sources whose last word holds though they fail, in words.
    pub(crate) fn stale(&self) -> Vec<String> {
        let state = self.lock();
        let standings = state.sources.standings(&state.policy);
        let failing = standings.iter().filter_map(|one| Some((one, one.failure?)));
        failing.map(|(one, why)| format!("{} ({})", one.source, signal::sources::failed(why))).collect()
    }
}

/// What is told of sources of one service, a line each.
pub(super) fn lines(standings: &[Standing], service: &str) -> Vec<String> {
    let now = clock::now();
    let is_its = |one: &&Standing| one.services.iter().any(|name| name == service);
    let line = |one: &Standing| {
        let mut line = format!("{}: ", one.source);
        match (one.told, one.waits) {
            (_, true) => line.push_str("not asked yet, the service begins at first use"),
            (Some(told), _) => {
                let age = now.0.saturating_sub(told.0) / 1_000_000_000;
                line.push_str(&format!("{} endpoints, told {age} s ago", one.n_endpoints));
            }
            (None, _) if one.keeps => line.push_str("nothing told yet: endpoints of before hold"),
            (None, _) => line.push_str("nothing told yet"),
        }
        if let Some(why) = one.failure {
            line.push_str(&format!(", stale ({})", signal::sources::failed(why)));
            if !one.detail.is_empty() {
                line.push_str(&format!(": {}", one.detail));
            }
        }
        let left_out = one.left_out;
        for (n, what) in [
            (left_out.duplicates, "told twice"),
            (left_out.unusable, "no address of a host"),
            (left_out.too_many, "more than a service may have"),
        ] {
            if n > 0 {
                line.push_str(&format!(", {n} left out ({what})"));
            }
        }
        line
    };
    standings.iter().filter(is_its).map(line).collect()
}

/// What turned, in the log.
fn tell(before: &[Standing], now: &[Standing]) {
    for (was, is) in before.iter().zip(now) {
        let (source, detail) = (is.source.to_string(), is.detail.as_str());
        match (was.failure, is.failure) {
            (_, Some(why)) if was.failure != Some(why) || was.detail != is.detail => {
                let why = signal::sources::failed(why);
                warn!(source, why, detail, "a source of endpoints fails: the old ones hold");
            }
            (Some(_), None) => {
                info!(source, endpoints = is.n_endpoints, "a source of endpoints is well again")
            }
            _ if was.n_endpoints != is.n_endpoints => {
                info!(source, endpoints = is.n_endpoints, "a source of endpoints tells of others");
            }
            _ => debug!(source, detail, "a source of endpoints was asked"),
        }
    }
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

async fn ask(resolver: Result<dns::Asker, String>, name: &str, is_srv: bool) -> Reply {
    let failed = |why, detail| Reply { failed: [Some(why); 2], detail, ..Reply::default() };
    match resolver {
        Err(detail) => failed(SourceFailed::Unreachable, detail),
        Ok(resolver) => {
            let asked = async {
                if is_srv {
                    dns::services(&resolver, name).await
                } else {
                    dns::addresses(&resolver, name).await
                }
            };
            let late = || failed(SourceFailed::Timeout, format!("no answer within {PATIENCE:?}"));
            timeout(PATIENCE, asked).await.unwrap_or_else(|_| late())
        }
    }
}

impl State {
    /// Puts in force what is new, or leaves all as it was.
    fn take(&mut self, work: &Work, know: impl Fn(Directory)) -> Result<(), ApplyError> {
        let (old, before, now) = (self.sources.clone(), self.merged(), clock::now());
        work.begun.iter().for_each(|name| self.sources.begin(name));
        for (source, heard) in &work.heard {
            self.sources.heard(source, heard.clone(), now, random());
        }
        let merged = self.merged();
        if merged != before
            && let Err(error) = self.put(&merged, know)
        {
            self.sources = old;
            return Err(error);
        }
        for service in &work.begun {
            info!(service, "a service begins: it is used for the first time");
        }
        Ok(())
    }

    fn refuse(&mut self, work: &Work, error: &ApplyError) {
        let (now, error) = (Instant::now(), chain(error));
        for (source, _) in &work.heard {
            if self.troubles.sources.failed(now) {
                warn!(
                    source = source.to_string(),
                    error, "endpoints that a source tells of are not steered: the old ones hold"
                );
            }
            self.sources.refused(source, clock::now(), random());
        }
        for service in &work.begun {
            if self.troubles.service(service).failed(now) {
                warn!(service, error, "a service is used for the first time, and cannot begin");
            }
            // Whoever uses it next has it begin.
            self.is_used_since(service);
        }
    }

    /// A use before now is none.
    fn is_used_since(&mut self, service: &str) {
        let now = self.planner.service(service).map_or(0, |number| self.steering.first_uses(number));
        self.uses.insert(service.to_owned(), now);
    }
}
