//! What the listeners and the exporters are told.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use serde_json::{Value, json};
use sidecar_core::{
    config::{Level, Reload, Resolved},
    event,
    flow::Line,
    model::{Ktime, Role, policy::Policy},
    signal::{Snapshot, UnixNanos, reason},
    traffic,
};
use tokio::task::spawn_blocking;
use tracing::warn;

use super::{
    arrival::{self, Arrival},
    destination::{self, Known, Question},
    explain, logging,
    others::Told,
    pipeline::Handle,
    record,
    steering::Steered,
    tap::{self, Wish},
    top,
    watching::Observed,
};
use crate::{
    admin::{self, Answer, Check, Lines, NoTap, Verdict},
    discovery::host,
    export::{
        Format, Resource,
        otlp::{self, Receivers, Switch},
    },
    kernel::clock,
    traffic::{ApplyError, relay_room},
};

/// What became of new settings.
#[derive(Default)]
struct Reloads {
    n_applied: u64,
    n_refused: u64,
    /// What is not in force of the newest ones.
    detail: String,
}

/// Everything that can be asked.
pub(crate) struct Facts {
    handle: Handle,
    observed: Arc<Observed>,
    resource: Arc<Resource>,
    exporter: Switch,
    /// Where connections are steered, or why they are not though it was asked for.
    steered: Result<Option<Arc<Steered>>, String>,
    resolved: Mutex<Resolved>,
    reloads: Mutex<Reloads>,
    log: logging::Reload,
    level: Mutex<Level>,
    /// The state at the end, once there is no one left to ask.
    last: Mutex<Option<Arc<Snapshot>>>,
}

impl Facts {
    pub(super) fn new(
        handle: Handle,
        observed: Arc<Observed>,
        resource: Arc<Resource>,
        exporter: Switch,
        steered: Result<Option<Arc<Steered>>, String>,
        resolved: Resolved,
        log: logging::Reload,
    ) -> Self {
        let level = Mutex::new(resolved.config.log.level);
        let resolved = Mutex::new(resolved);
        let reloads = Mutex::default();
        Facts {
            handle,
            observed,
            resource,
            exporter,
            steered,
            resolved,
            reloads,
            log,
            level,
            last: Mutex::new(None),
        }
    }

    /// The settings that hold.
    pub(super) fn settings(&self) -> Resolved {
        lock(&self.resolved).clone()
    }

    /// Lets new settings take effect: the one place that tells each owner. They have, where it returns. Files of
    /// certificates that were renewed are told of as their keys are.
    ///
    /// # Errors
    /// If the kernel has no room for a new policy. Then nothing took effect.
    pub(super) async fn apply(&self, change: Reload, receivers: Receivers) -> Result<(), ApplyError> {
        if change.applied.iter().any(|key| key.starts_with("traffic."))
            && let Ok(Some(steered)) = self.steered.clone()
        {
            let config = change.now.config.clone();
            // It waits for the kernel.
            spawn_blocking(move || steered.apply(&config)).await.unwrap_or(Ok(()))?;
        }
        let level = change.now.config.log.level;
        if change.applied.iter().any(|key| key == "log.level")
            && let Err(error) = admin::Facts::set_log_level(self, level)
        {
            warn!(error, "the level of the log stays");
        }
        let interval = change.now.config.otlp.interval.get();
        self.exporter.open(&receivers, interval);
        if !change.applied.is_empty() && !self.handle.settings(change.now.config.clone()).await {
            warn!("the capture thread is gone: the settings stay");
            return Ok(());
        }
        self.exporter.close(receivers, interval);
        *lock(&self.resolved) = change.now;
        let reloads = &mut *lock(&self.reloads);
        reloads.n_applied += 1;
        reloads.detail = match change.waiting.as_slice() {
            [] => String::new(),
            keys => format!("a restart is needed for {}", keys.join(", ")),
        };
        Ok(())
    }

    /// Keys whose files, certificates or keys, have another content than what is used.
    pub(super) fn renewed(&self, receivers: &Receivers) -> Vec<String> {
        self.exporter.renewed(receivers)
    }

    /// In one line, what is observed.
    pub(super) fn summary(&self) -> String {
        self.observed.summary()
    }

    /// New settings were not valid.
    pub(super) fn refuse(&self, why: String) {
        let reloads = &mut *lock(&self.reloads);
        reloads.n_refused += 1;
        reloads.detail = format!("the old ones hold, new ones are not taken: {why}");
    }

    /// From now on this is the answer.
    pub(super) fn set_last(&self, last: Snapshot) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(last));
    }

    /// What becomes of connections somewhere, as far as is known here: a destination, by now.
    async fn explain_destination(&self, question: &Question, accept: &str) -> (&'static str, Bytes) {
        let steered = self.steered.as_ref().ok().and_then(Option::as_ref);
        let policy =
            steered.map_or_else(|| self.settings().config.traffic.policy(), |steered| steered.policy());
        if let Some(from) = question.from {
            return self.explain_arrival(question.destination.port(), from, steered, &policy, accept).await;
        }
        let service = traffic::explain(&policy, question.destination, &traffic::Caller::default())
            .rule
            .map(|rule| rule.service.name.clone());
        let known = Known {
            is_on: steered.is_some(),
            is_pinned: steered.is_some_and(|steered| steered.is_pinned()),
            usage: steered.zip(service.as_deref()).and_then(|(steered, service)| steered.usage(service)),
            last: self.handle.verdicts(service.clone()).await.unwrap_or_default(),
            cgroups: self.observed.cgroups(),
            netns: host::netns(None).ok(),
            offset: clock::unix_offset(),
            futile: service.as_deref().map(|service| self.futile(service)).unwrap_or_default(),
        };
        let told = destination::tell(question, &policy, &known);
        if accept.contains("text/plain") {
            ("text/plain; charset=utf-8", told.to_text().into())
        } else {
            ("application/json", format!("{}\n", told.to_json()).into())
        }
    }

    /// What of a service does less than it seems to.
    fn futile(&self, service: &str) -> Vec<String> {
        let policy = self.settings().config.traffic.policy();
        let all = traffic::futile(&policy).into_iter().chain(traffic::crowded(&policy, relay_room()));
        all.filter(|one| one.service == service).map(|one| one.why).collect()
    }

    /// What becomes of connections that come in.
    async fn explain_arrival(
        &self,
        port: u16,
        from: IpAddr,
        steered: Option<&Arc<Steered>>,
        policy: &Policy,
        accept: &str,
    ) -> (&'static str, Bytes) {
        let is_own = steered.is_some_and(|steered| steered.has_own(from));
        let told = Arrival::new(policy, from, port, steered.is_some(), is_own);
        let known = match told.service() {
            None => arrival::Known::default(),
            Some(service) => arrival::Known {
                usage: steered.and_then(|steered| steered.usage(service)),
                last: self.handle.verdicts(Some(service.to_owned())).await.unwrap_or_default(),
                offset: clock::unix_offset(),
                futile: self.futile(service),
            },
        };
        let told = told.with(known);
        if accept.contains("text/plain") {
            ("text/plain; charset=utf-8", told.to_text().into())
        } else {
            ("application/json", format!("{}\n", told.to_json()).into())
        }
    }

    async fn snapshot(&self) -> Option<Arc<Snapshot>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match last {
            Some(last) => Some(last),
            None => {
                // Files are read beside the runtime and the capture thread: neither waits for them.
                let observed = Arc::clone(&self.observed);
                let mut readings = spawn_blocking(move || observed.read()).await.unwrap_or_default();
                let reloads = {
                    let reloads = lock(&self.reloads);
                    (reloads.n_applied, reloads.n_refused)
                };
                readings.reloads = reloads;
                readings.steering =
                    self.steered.as_ref().ok().and_then(|steered| Some(steered.as_ref()?.read()));
                self.handle.snapshot(readings).await.map(Arc::new)
            }
        }
    }
}

impl admin::Facts for Facts {
    fn metrics<'a>(&'a self, accept: &'a str) -> Answer<'a, (String, Bytes)> {
        Box::pin(async move {
            let format = Format::negotiate(Some(accept));
            let body = match self.snapshot().await {
                Some(snapshot) => format.encode(&snapshot, &self.resource).unwrap_or_default(),
                None => Vec::new(),
            };
            (format.content_type().to_owned(), Bytes::from(body))
        })
    }

    fn connections(&self, limit: usize) -> Answer<'_, (Vec<Value>, usize)> {
        Box::pin(async move {
            let (lines, total) = self.handle.connections(limit).await.unwrap_or_default();
            (lines.iter().map(connection).collect(), total)
        })
    }

    fn explain<'a>(
        &'a self,
        query: &'a str,
        accept: &'a str,
    ) -> Answer<'a, Result<(&'static str, Bytes), String>> {
        Box::pin(async move {
            let steered = self.steered.as_ref().ok().and_then(Option::as_ref);
            let locate = |name: &str| match steered {
                Some(steered) => steered.locate(name),
                None => Err(format!("nothing is steered: nobody knows where `{name}` leads")),
            };
            if let Some(question) = destination::parse(query, locate)? {
                return Ok(self.explain_destination(&question, accept).await);
            }
            let (selector, limit) = explain::parse(query).map_err(|error| error.to_string())?;
            let Some(answer) = self.handle.explain(selector, limit).await else {
                return Err("nobody is left to ask: the daemon is stopping".to_owned());
            };
            let answer = answer.map_err(|error| error.to_string())?;
            let offset = clock::unix_offset();
            Ok(if accept.contains("text/plain") {
                ("text/plain; charset=utf-8", explain::to_text(&answer, offset).into())
            } else {
                ("application/json", format!("{}\n", explain::to_json(&answer, offset)).into())
            })
        })
    }

    fn top(&self) -> Answer<'_, Value> {
        Box::pin(async move { top::to_json(self.handle.top().await.unwrap_or_default()) })
    }

    fn tap<'a>(
        &'a self,
        query: &'a str,
        accept: &'a str,
    ) -> Answer<'a, Result<(&'static str, Lines), NoTap>> {
        Box::pin(async move {
            let wish = Wish::parse(query, accept).map_err(NoTap::Query)?;
            let full = || NoTap::Busy(format!("{} read already, and no more may at once", tap::READERS));
            let gone = || NoTap::Busy("nobody is left to ask: the daemon is stopping".to_owned());
            let tap = self.handle.tap(wish.clone()).await.ok_or_else(gone)?.ok_or_else(full)?;
            Ok(wish.answer(tap))
        })
    }

    fn record<'a>(&'a self, query: &'a str) -> Answer<'a, Result<(&'static str, Lines), NoTap>> {
        Box::pin(async move {
            let asked = record::Asked::parse(query).map_err(NoTap::Query)?;
            let full = || NoTap::Busy("somebody records already".to_owned());
            let gone = || NoTap::Busy("nobody is left to ask: the daemon is stopping".to_owned());
            let wish = asked.wish.clone();
            let recording = self.handle.record(wish).await.ok_or_else(gone)?.ok_or_else(full)?;
            Ok(asked.answer(recording))
        })
    }

    fn config(&self) -> Value {
        self.settings().to_json()
    }

    fn started(&self) -> Vec<Check> {
        self.live()
    }

    fn live(&self) -> Vec<Check> {
        vec![Check { name: "capture", verdict: Verdict::of(self.handle.is_alive()), detail: String::new() }]
    }

    fn ready(&self) -> Vec<Check> {
        // What is lost or not reached is said; what there is works.
        let detail = self.observed.summary();
        let capture =
            Check { name: "capture", verdict: Verdict::of(self.handle.is_alive()), detail: String::new() };
        let detail_of_settings = lock(&self.reloads).detail.clone();
        let settings = Check { name: "settings", verdict: Verdict::Ok, detail: detail_of_settings };
        // The application goes on, and is observed: it stays ready.
        let steered = match &self.steered {
            Ok(steered) => steered.as_ref().map(|steered| match steered.is_at_work() {
                true if steered.is_late() => {
                    (Verdict::Degraded, "no sign of life: `when_gone` holds".to_owned())
                }
                true => (Verdict::Ok, steered.summary()),
                false => (Verdict::Degraded, "connections are not steered: the log says why".to_owned()),
            }),
            Err(why) => Some((Verdict::Degraded, why.clone())),
        };
        let steered = match (steered, self.observed.others()) {
            (steered, None) => steered,
            (steered, Some(Told { text, is_left })) => {
                let (verdict, detail) = steered.unwrap_or((Verdict::Ok, "nothing by this daemon".to_owned()));
                let verdict = if is_left { Verdict::Degraded } else { verdict };
                Some((verdict, format!("{detail}; steered by others, too: {text}")))
            }
        };
        let steering = steered.map(|(verdict, detail)| Check { name: "steering", verdict, detail });
        [Check { name: "attached", verdict: Verdict::Ok, detail }, capture, settings]
            .into_iter()
            .chain(steering)
            .collect()
    }

    fn log_level(&self) -> Level {
        *self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_log_level(&self, level: Level) -> Result<(), String> {
        self.log.reload(logging::filter(level)).map_err(|error| error.to_string())?;
        *self.level.lock().unwrap_or_else(PoisonError::into_inner) = level;
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn connection(line: &Line) -> Value {
    let connection = &line.connection;
    let steered = connection.steered.as_deref();
    json!({
        "cookie": event::cookie(connection.id),
        "role": connection.role.map(|role| match role { Role::Client => "client", Role::Server => "server" }),
        "local": connection.local.to_string(),
        "remote": connection.remote.to_string(),
        "pid": (connection.tgid != 0).then_some(connection.tgid),
        "cgroup_id": (connection.cgroup != 0).then_some(connection.cgroup),
        "joined": connection.joined,
        "verdict": steered.map(|steered| reason::Verdict::from(steered.verdict).word()),
        "reason": steered.map(|steered| reason::Steered::from(steered.reason).word()),
        "service": steered.and_then(|steered| steered.service.as_deref()),
        "asked": steered.map(|steered| steered.asked.to_string()),
        "endpoint": steered.and_then(|steered| steered.endpoint).map(|endpoint| endpoint.to_string()),
        "protocol": line.protocol,
        "bytes_received": line.bytes[0],
        "bytes_transmitted": line.bytes[1],
        "bytes_lost": line.lost,
        "exchanges": line.n_exchanges,
        "closed": line.is_over,
    })
}

/// What an exporter pushes.
pub(super) struct Source {
    pub(super) facts: Arc<Facts>,
}

impl otlp::Source for Source {
    async fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.facts.snapshot().await
    }

    fn unix(&self, at: Ktime) -> UnixNanos {
        UnixNanos(at.0.saturating_add(clock::unix_offset()))
    }
}
