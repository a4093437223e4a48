//! How the health of a service's endpoints is judged.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    config::value::Duration,
    model::health::{Ask, FailureShare, Health, Probe},
};

/// How the health of endpoints is judged.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct HealthSettings {
    /// Whether it is judged at all. What judges are answers (HTTP 5xx), connections that the server cuts off, and those that
    /// cannot be made. Of encrypted connections only the latter two are known.
    pub enabled: bool,
    /// Failures in a row that eject an endpoint: it gets no new connections. The last healthy one is never ejected.
    #[schemars(range(min = 1, max = 1000))]
    pub consecutive: u32,
    /// Percent of failures that eject it, within the last 5 to 10 seconds. 101: never.
    #[schemars(range(min = 1, max = 101))]
    pub failure_percent: u8,
    /// Of at least so many.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub failure_volume: u32,
    /// An answer that begins later than this is a failure. Unset: none is too late. Of an endpoint of two services the shorter
    /// one holds for both.
    pub slow: Option<Duration>,
    /// How long the first ejection lasts, the second twice as long, and so on. Then one connection, or the probe, shows
    /// whether the endpoint is well again.
    pub ejection: Duration,
    /// No ejection lasts longer.
    pub max_ejection: Duration,
    /// For so long after its return, or after it was added, an endpoint gets less than its share. `0s`: it gets all of it at once.
    pub slow_start: Duration,
    /// Below this percentage of healthy endpoints all are tried. They are in any case where none is healthy.
    #[schemars(range(max = 100))]
    pub panic_percent: u8,
    /// What endpoints are asked, from the first connection to the service on. An ejected one comes back by good answers then,
    /// and no connection has to try it.
    pub probe: ProbeSettings,
}

impl Default for HealthSettings {
    fn default() -> Self {
        HealthSettings {
            enabled: true,
            consecutive: 5,
            failure_percent: 50,
            failure_volume: 20,
            slow: None,
            ejection: Duration::from_secs(5),
            max_ejection: Duration::from_secs(60),
            slow_start: Duration::from_secs(10),
            panic_percent: 0,
            probe: ProbeSettings::default(),
        }
    }
}

/// What endpoints are asked.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct ProbeSettings {
    /// `GET` of this path, by HTTP/1.1. Good is 200 to 399.
    pub http: Option<String>,
    /// The health of this service by gRPC's health checking protocol (`""`: of the whole server), in clear text. Good is
    /// `SERVING`.
    pub grpc: Option<String>,
    /// At this port. Unset: at the endpoint's.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: Option<u16>,
    /// From one question to the next.
    pub interval: Duration,
    /// Without an answer for so long it is a bad one.
    pub timeout: Duration,
    /// Good answers in a row that bring an ejected endpoint back.
    #[schemars(range(min = 1, max = 100))]
    pub healthy: u32,
    /// Bad answers in a row that eject one.
    #[schemars(range(min = 1, max = 100))]
    pub unhealthy: u32,
}

impl Default for ProbeSettings {
    fn default() -> Self {
        ProbeSettings {
            http: None,
            grpc: None,
            port: None,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            healthy: 2,
            unhealthy: 3,
        }
    }
}

impl HealthSettings {
    /// What is wrong with it, of a service that has endpoints, or none.
    pub(super) fn faults(&self, has_endpoints: bool) -> Vec<String> {
        let mut faults = Vec::new();
        let mut refuse = |is_wrong: bool, message: &str| {
            if is_wrong {
                faults.push(message.to_owned());
            }
        };
        let probe = &self.probe;
        let asks = probe.http.is_some() || probe.grpc.is_some();
        let is_set = *self != Self::default();
        refuse(is_set && !has_endpoints, "`health` judges `endpoints`, and there are none");
        refuse(!self.enabled && asks, "`health.enabled: false` asks nobody: leave `health.probe` out");
        refuse(!(1..=1000).contains(&self.consecutive), "`health.consecutive` is not 1 to 1000");
        refuse(!(1..=101).contains(&self.failure_percent), "`health.failure_percent` is not 1 to 101");
        refuse(
            !(1..=1_000_000).contains(&self.failure_volume),
            "`health.failure_volume` is not 1 to 1000000",
        );
        refuse(self.panic_percent > 100, "`health.panic_percent` is more than 100");
        refuse(
            self.ejection.get().is_zero(),
            "`health.ejection: 0s` would eject nobody: that is `enabled: false`",
        );
        refuse(
            self.max_ejection < self.ejection,
            "`health.max_ejection` is shorter than `health.ejection`, which it bounds",
        );
        refuse(
            self.slow.is_some_and(|slow| slow.get().is_zero()),
            "`health.slow: 0s` would find every answer late",
        );
        refuse(
            probe.http.is_some() && probe.grpc.is_some(),
            "`health.probe` asks by `http` or by `grpc`, not both",
        );
        refuse(
            !asks && *probe != ProbeSettings::default(),
            "`health.probe` says neither `http` nor `grpc`: nothing would be asked",
        );
        let is_path = |path: &String| {
            path.starts_with('/') && path.len() <= 1024 && path.bytes().all(|byte| byte.is_ascii_graphic())
        };
        refuse(
            probe.http.as_ref().is_some_and(|path| !is_path(path)),
            "`health.probe.http` is not a path: it begins with `/`, and has no spaces",
        );
        refuse(
            probe.grpc.as_ref().is_some_and(|name| name.len() > 255),
            "`health.probe.grpc` is longer than 255 bytes",
        );
        refuse(probe.port == Some(0), "`health.probe.port: 0` is no port");
        refuse(probe.interval.get().as_millis() < 100, "`health.probe.interval` is shorter than 100ms");
        refuse(probe.timeout.get().is_zero(), "`health.probe.timeout: 0s` would wait for no answer");
        refuse(
            !(1..=100).contains(&probe.healthy) || !(1..=100).contains(&probe.unhealthy),
            "`health.probe.healthy` and `unhealthy` are 1 to 100",
        );
        faults
    }

    /// As the traffic plane has it.
    pub(super) fn health(&self) -> Option<Health> {
        let probe = &self.probe;
        let ask = match (&probe.http, &probe.grpc) {
            (Some(path), _) => Some(Ask::Http(path.clone())),
            (None, Some(service)) => Some(Ask::Grpc(service.clone())),
            (None, None) => None,
        };
        self.enabled.then(|| Health {
            consecutive: self.consecutive,
            share: FailureShare { percent: self.failure_percent, volume: self.failure_volume },
            slow: self.slow.map(Duration::get),
            base: self.ejection.get(),
            max: self.max_ejection.get(),
            slow_start: self.slow_start.get(),
            panic_percent: self.panic_percent,
            probe: ask.map(|ask| Probe {
                ask,
                port: probe.port,
                interval: probe.interval.get(),
                timeout: probe.timeout.get(),
                healthy: probe.healthy,
                unhealthy: probe.unhealthy,
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_bind_is_found() {
        let probe = |probe: ProbeSettings| HealthSettings { probe, ..HealthSettings::default() };
        let http = |path: &str| ProbeSettings { http: Some(path.to_owned()), ..ProbeSettings::default() };
        let health = HealthSettings::default;
        let seconds = Duration::from_secs;
        for (settings, has_endpoints, part) in [
            (HealthSettings { panic_percent: 1, ..health() }, false, "judges `endpoints`"),
            (HealthSettings { max_ejection: seconds(1), ..health() }, true, "shorter than `health.ejection`"),
            (HealthSettings { ejection: seconds(0), ..health() }, true, "would eject nobody"),
            (HealthSettings { panic_percent: 101, ..health() }, true, "more than 100"),
            (HealthSettings { consecutive: 0, ..health() }, true, "consecutive"),
            (HealthSettings { enabled: false, ..probe(http("/")) }, true, "leave `health.probe` out"),
            (
                probe(ProbeSettings { port: Some(8080), ..ProbeSettings::default() }),
                true,
                "neither `http` nor `grpc`",
            ),
            (probe(ProbeSettings { grpc: Some(String::new()), ..http("/") }), true, "not both"),
            (probe(http("health")), true, "not a path"),
            (probe(http("/a b")), true, "not a path"),
            (probe(ProbeSettings { timeout: seconds(0), ..http("/") }), true, "wait for no answer"),
        ] {
            let faults = settings.faults(has_endpoints);
            assert!(faults.len() == 1 && faults[0].contains(part), "{part}: {faults:?}");
        }
        for settings in
            [health(), probe(http("/healthz?full=1")), HealthSettings { failure_percent: 101, ..health() }]
        {
            assert_eq!(settings.faults(true), Vec::<String>::new());
        }
    }
}
