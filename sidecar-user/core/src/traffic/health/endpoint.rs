//! One endpoint of one service: what became of it lately, and what that makes of it.

use std::{net::SocketAddr, time::Duration};

use sidecar_ebpf::abi::steer::{RESULT_ENDED, RESULT_ESTABLISHED, RESULT_FAILED, RESULT_RESET, RESULTS};

use super::{Standing, sightings::Sighting};
use crate::model::{
    Ktime,
    health::{Cause, Condition, Health},
    policy,
};

/// Two of them are what shares of failures are taken of.
const WINDOW: Duration = Duration::from_secs(5);
/// A connection on trial that was made, and that nothing ended for so long, is a good one where resets are the question.
const LASTS: Duration = Duration::from_secs(1);
/// A trial that has told nothing for so long is none.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the kernel counted of an endpoint's connections, by `RESULT_…`.
pub type Results = [u64; RESULTS as usize];

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum State {
    Serving,
    Ejected {
        cause: Cause,
        until: Ktime,
    },
    /// The next connection is to try it.
    Asked {
        cause: Cause,
    },
    /// One tries it.
    Tried {
        cause: Cause,
        since: Ktime,
        is_open: bool,
    },
}

/// What was new at the last look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct News {
    ok: u64,
    failed: u64,
    established: u64,
    unmade: u64,
    reset: u64,
    ended: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// Exchanges, and those that failed.
    exchanges: [u64; 2],
    /// Attempts to connect, and those that failed.
    attempts: [u64; 2],
    /// Connections that ended, and those that were reset.
    ends: [u64; 2],
}

/// Answers to probes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Probing {
    /// When it is asked next.
    pub(super) next: Ktime,
    /// It has not answered yet.
    pub(super) is_asked: bool,
    /// Good answers in a row, and bad ones.
    good: u32,
    bad: u32,
}

/// One endpoint.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    pub(super) weight: u16,
    pub(super) is_near: bool,
    pub(super) state: State,
    /// Since when it serves; before the first look: always.
    since: Option<Ktime>,
    /// It would have been ejected, had another been healthy.
    pub(super) failing: Option<Cause>,
    /// Ejections in a row.
    n: u32,
    /// Since when it has been well, or since one of them was forgotten.
    calm: Ktime,
    sighting: Sighting,
    results: Results,
    /// There was a look before: what was counted till then is known.
    is_met: bool,
    /// Failures that had been seen when it came back: they are forgiven.
    forgiven: u64,
    unmade_run: u64,
    reset_run: u64,
    windows: [Window; 2],
    window_since: Ktime,
    pub(super) probing: Probing,
    pub(super) ejections: [u64; Cause::ALL.len()],
    pub(super) n_trials: u64,
    /// Good answers to probes, and bad ones.
    pub(super) probes: [u64; 2],
}

impl Endpoint {
    /// `since`: it came to a service that others serve already, so that it starts slowly.
    pub(super) fn new(endpoint: &policy::Endpoint, since: Option<Ktime>) -> Self {
        Endpoint {
            address: endpoint.address,
            weight: endpoint.weight,
            is_near: endpoint.is_near,
            state: State::Serving,
            since,
            failing: None,
            n: 0,
            calm: Ktime(0),
            sighting: Sighting::default(),
            results: Results::default(),
            is_met: false,
            forgiven: 0,
            unmade_run: 0,
            reset_run: 0,
            windows: [Window::default(); 2],
            window_since: Ktime(0),
            probing: Probing::default(),
            ejections: [0; Cause::ALL.len()],
            n_trials: 0,
            probes: [0; 2],
        }
    }

    /// It gets its share, and deserves it.
    pub(super) fn is_healthy(&self) -> bool {
        self.serves() && self.failing.is_none() && self.weight > 0
    }

    pub(super) fn serves(&self) -> bool {
        self.state == State::Serving
    }

    /// Requests to it were read.
    fn is_read(&self) -> bool {
        self.sighting.ok + self.sighting.failed > 0
    }

    /// Takes in what was counted since the last time.
    pub(super) fn see(&mut self, now: Ktime, sighting: Sighting, results: Results) -> News {
        let (old, before) = (self.sighting, self.results);
        (self.sighting, self.results) = (sighting, results);
        if !std::mem::replace(&mut self.is_met, true) {
            self.forgiven = sighting.failed;
            return News::default();
        }
        let of = |what: u32| results[what as usize].saturating_sub(before[what as usize]);
        let news = News {
            ok: sighting.ok.saturating_sub(old.ok),
            failed: sighting.failed.saturating_sub(old.failed),
            established: of(RESULT_ESTABLISHED) + sighting.reached.saturating_sub(old.reached),
            unmade: of(RESULT_FAILED) + sighting.unreached.saturating_sub(old.unreached),
            reset: of(RESULT_RESET),
            ended: of(RESULT_ENDED),
        };
        // Which came first is not known where both came at once; the share tells then.
        self.unmade_run = if news.established > 0 { 0 } else { self.unmade_run + news.unmade };
        self.reset_run = if news.ended > 0 { 0 } else { self.reset_run + news.reset };
        if now.since(self.window_since) >= WINDOW {
            self.windows = [Window::default(), self.windows[0]];
            self.window_since = now;
        }
        let window = &mut self.windows[0];
        let add = |pair: &mut [u64; 2], good: u64, bad: u64| {
            pair[0] += good + bad;
            pair[1] += bad;
        };
        add(&mut window.exchanges, news.ok, news.failed);
        add(&mut window.attempts, news.established, news.unmade);
        add(&mut window.ends, news.ended, news.reset);
        news
    }

    /// Why it ought to be ejected, if it ought to be.
    pub(super) fn fault(&self, health: &Health) -> Option<Cause> {
        let most = u64::from(health.consecutive);
        // A sighting's run goes on through ejections; what failed before its return does not count again.
        let run = self.sighting.run.min(self.sighting.failed.saturating_sub(self.forgiven));
        let share = |of: fn(&Window) -> [u64; 2]| {
            let [n, bad] = self.windows.iter().map(of).fold([0; 2], |a, b| [a[0] + b[0], a[1] + b[1]]);
            let percent = u64::from(health.share.percent);
            n >= u64::from(health.share.volume).max(1) && bad * 100 >= percent * n
        };
        // First what the relay could not reach: to its client that is an answer that was cut off.
        if self.unmade_run >= most || share(|window| window.attempts) {
            return Some(Cause::Connect);
        }
        if run >= most {
            return self.sighting.cause;
        }
        if share(|window| window.exchanges) {
            return Some(Cause::Share);
        }
        // Where requests are read, they tell better: idle connections may be reset by whoever is tired of them.
        if !self.is_read() && (self.reset_run >= most || share(|window| window.ends)) {
            return Some(Cause::Reset);
        }
        let probe = health.probe.as_ref()?;
        (self.probing.bad >= probe.unhealthy).then_some(Cause::Probe)
    }

    /// Whether what is new refutes this cause.
    pub(super) fn is_refuted(&self, cause: Cause, news: News, health: &Health) -> bool {
        let good = || health.probe.as_ref().is_none_or(|probe| self.probing.good >= probe.healthy);
        match cause {
            // No connection that was made clears what answers have shown.
            Cause::Errors | Cause::CutOff | Cause::Slow | Cause::Share => news.ok > 0,
            Cause::Connect => news.established > 0,
            Cause::Reset => news.ended > 0 || news.ok > 0,
            Cause::Probe => good(),
        }
    }

    /// It gets nothing from now on, for longer each time.
    pub(super) fn eject(&mut self, now: Ktime, cause: Cause, health: &Health, random: u64) {
        self.n = self.n.saturating_add(1);
        self.ejections[cause as usize] += 1;
        self.failing = None;
        self.probing.good = 0;
        self.rest(now, cause, health, random);
    }

    /// For how long it stays away this time: up to a tenth more, so that not all come back at once.
    fn rest(&mut self, now: Ktime, cause: Cause, health: &Health, random: u64) {
        let base = health.base.saturating_mul(self.n.max(1)).min(health.max);
        let jitter = base / 1000 * (random % 100) as u32;
        let ns = u64::try_from((base + jitter).as_nanos()).unwrap_or(u64::MAX);
        self.state = State::Ejected { cause, until: Ktime(now.0.saturating_add(ns)) };
    }

    /// It gets connections again.
    pub(super) fn come_back(&mut self, now: Ktime) {
        self.state = State::Serving;
        self.since = Some(now);
        self.calm = now;
        self.forgiven = self.sighting.failed;
        (self.unmade_run, self.reset_run) = (0, 0);
        self.probing.bad = 0;
        self.windows = [Window::default(); 2];
    }

    /// One that does not serve: whether it comes back.
    pub(super) fn wait(&mut self, now: Ktime, news: News, health: &Health, random: u64) {
        match self.state {
            State::Serving | State::Asked { .. } => {}
            State::Ejected { cause, until } => {
                let probe = health.probe.as_ref();
                let is_over = now >= until || cause == Cause::Probe;
                if is_over && probe.is_some_and(|probe| self.probing.good >= probe.healthy) {
                    self.come_back(now);
                }
            }
            State::Tried { cause, since, is_open } => {
                let is_open = is_open || news.established > 0;
                self.state = State::Tried { cause, since, is_open };
                let waited = now.since(since);
                let has_lasted = cause == Cause::Reset && is_open && waited >= LASTS;
                // Of one that is read, an idle connection may have been reset.
                let n_reset = if self.is_read() { 0 } else { news.reset };
                if news.failed + news.unmade + n_reset > 0 {
                    self.eject(now, cause, health, random);
                } else if self.is_refuted(cause, news, health) || has_lasted {
                    self.come_back(now);
                } else if waited >= PATIENCE {
                    self.rest(now, cause, health, random);
                }
            }
        }
    }

    /// Whether a connection is to try it.
    pub(super) fn wants_trial(&self, now: Ktime, health: &Health) -> Option<Cause> {
        match self.state {
            State::Ejected { cause, until } => {
                Some(cause).filter(|_| now >= until && health.probe.is_none() && self.weight > 0)
            }
            _ => None,
        }
    }

    /// An ejection less for each time that it stayed well as long as the first one lasts.
    pub(super) fn recover(&mut self, now: Ktime, health: &Health) {
        if self.n > 0 && self.is_healthy() && now.since(self.calm) >= health.base {
            self.n -= 1;
            self.calm = now;
        }
    }

    /// How much of its share it gets, in eighths.
    pub(super) fn eighths(&self, now: Ktime, health: &Health) -> u32 {
        let Some(since) = self.since else { return 8 };
        let whole = health.slow_start.as_nanos();
        if whole == 0 {
            return 8;
        }
        u32::try_from(now.since(since).as_nanos() * 8 / whole).unwrap_or(8).clamp(1, 8)
    }

    /// What is left of its latency, and what it was when it was last seen: of answers, or of connecting.
    pub(super) fn latency(&self, now: Ktime, of_answers: bool) -> Option<(Duration, Duration)> {
        let ewma = if of_answers { self.sighting.latency } else { self.sighting.connect };
        ewma.at(now).zip(ewma.last())
    }

    /// A probe was answered.
    pub(super) fn answer(&mut self, is_good: bool) {
        let probing = &mut self.probing;
        probing.is_asked = false;
        self.probes[usize::from(!is_good)] += 1;
        (probing.good, probing.bad) =
            if is_good { (probing.good.saturating_add(1), 0) } else { (0, probing.bad.saturating_add(1)) };
    }

    /// Nothing about it will change by time alone.
    pub(super) fn rests(&self, now: Ktime, health: &Health) -> bool {
        self.n == 0 && self.condition(now, health) == Condition::Healthy
    }

    pub(super) fn condition(&self, now: Ktime, health: &Health) -> Condition {
        match (self.state, self.failing) {
            (State::Serving, Some(cause)) => Condition::LastOne(cause),
            (State::Serving, None) if self.eighths(now, health) < 8 => Condition::Returning,
            (State::Serving, None) => Condition::Healthy,
            (State::Ejected { cause, .. }, _) => Condition::Ejected(cause),
            (State::Asked { cause } | State::Tried { cause, .. }, _) => Condition::OnTrial(cause),
        }
    }

    pub(super) fn standing(&self, now: Ktime, health: &Health, weight: u32) -> Standing {
        let condition = self.condition(now, health);
        let until = match self.state {
            State::Ejected { until, .. } => Some(until),
            _ => None,
        };
        let is_read = self.is_read();
        Standing {
            address: self.address,
            weight,
            condition,
            until,
            is_read,
            latency: self.latency(now, is_read).map(|(now, _)| now),
            ejections: self.ejections,
            n_trials: self.n_trials,
            probes: self.probes,
        }
    }
}
