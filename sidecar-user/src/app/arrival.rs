//! `sidecar explain DESTINATION --from CLIENT`: what becomes of connections that come in (`/explain?destination=&from=`).

use std::{collections::BTreeMap, fmt::Write as _, net::IpAddr};

use serde_json::{Value, json};
use sidecar_core::{
    flow::Seen,
    model::policy::{self, Gear, Policy, Service, WhenGone},
};

use super::{destination, last};
use crate::traffic::Usage;

/// An answer, in parts that are shown in one of two forms.
pub(super) struct Arrival<'a> {
    port: u16,
    from: IpAddr,
    /// Connections are steered at all.
    is_on: bool,
    /// The client is this host itself.
    is_own: bool,
    /// What decides, and whether it leaves this client alone.
    rule: Option<(&'a Service, bool)>,
    known: Known,
}

/// What goes on at a service that comes in.
#[derive(Default)]
pub(super) struct Known {
    pub(super) usage: Option<Usage>,
    /// Its last connections, the newest first.
    pub(super) last: Vec<Seen>,
    /// What makes Unix time of the kernel's.
    pub(super) offset: u64,
    /// What of it does less than it seems to, as `sidecar check` says it.
    pub(super) futile: Vec<String>,
}

impl<'a> Arrival<'a> {
    /// What decides; [`with`](Self::with) adds what goes on there.
    pub(super) fn new(policy: &'a Policy, from: IpAddr, port: u16, is_on: bool, is_own: bool) -> Self {
        let rule = policy::find(&policy.inbound, from, port).filter(|_| !is_own);
        Arrival { port, from, is_on, is_own, rule, known: Known::default() }
    }

    /// The service of the rule.
    pub(super) fn service(&self) -> Option<&'a str> {
        self.rule.map(|(service, _)| service.name.as_str())
    }

    /// The same, and what is known of that service.
    pub(super) fn with(self, known: Known) -> Self {
        Arrival { known, ..self }
    }

    /// What is done about a connection, in a sentence.
    fn what(&self) -> &'static str {
        match self.rule {
            _ if !self.is_on => "the application gets it: nothing is steered",
            _ if self.is_own => {
                "the application gets it: the client is this host itself, which is left alone"
            }
            None => "the application gets it: nothing is said of this port and client",
            Some((_, true)) => "the application gets it: the client is excepted",
            Some((service, false)) => match service.gear {
                Gear::Direct => "the application gets it as it is",
                Gear::Proxy => "the relay takes it, and the application sees this client",
                Gear::Deny => "it is refused: its SYN is answered by a reset",
            },
        }
    }

    /// What holds when the daemon cannot be asked, and what is not meant.
    fn notes(&self) -> Vec<&'static str> {
        let Some((service, false)) = self.rule else { return Vec::new() };
        let mut all = Vec::new();
        if service.gear == Gear::Proxy {
            all.push(match service.when_gone {
                WhenGone::Open => "while the daemon hangs (no sign of life within traffic.heartbeat) the application gets it",
                WhenGone::Closed => "while the daemon hangs (no sign of life within traffic.heartbeat) it is refused",
            });
        }
        if service.gear != Gear::Direct {
            all.push("when the daemon ends the application gets it");
        }
        all.push(
            "what this host dials of its own addresses is left alone, and so are connections that are open",
        );
        all
    }

    /// As JSON.
    pub(super) fn to_json(&self) -> Value {
        let limits = self.rule.map(|(service, _)| service.limits);
        let rate = limits.and_then(|limits| limits.rate);
        json!({
            "port": self.port,
            "from": self.from.to_string(),
            "what": self.what(),
            "steers": self.is_on,
            "rule": self.rule.map(|(service, is_excepted)| json!({
                "service": service.name,
                "excepted": is_excepted,
            })),
            "gear": self.rule.map(|(service, _)| destination::gear(service.gear)),
            "limits": limits.map(|limits| json!({
                "connections": limits.connections,
                "active": self.known.usage.as_ref().map(|usage| usage.active),
                "rate": rate.map(|rate| rate.per_second),
                "burst": rate.map(|rate| rate.burst),
            })),
            "verdicts":
                self.known.usage.as_ref().map(|usage| usage.verdicts.iter().copied().collect::<BTreeMap<_, _>>()),
            "last": last::to_json(&self.known.last, self.known.offset),
            "notes": self.notes(),
            "futile": self.known.futile,
        })
    }

    /// As text.
    pub(super) fn to_text(&self) -> String {
        let mut out = String::new();
        // A `String` takes whatever is written.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "port {} from {}: {}", self.port, self.from, self.what())?;
        let Some((service, _)) = self.rule else { return writeln!(out, "  rule       none") };
        writeln!(out, "  rule       inbound {}", service.name)?;
        writeln!(out, "  gear       {}", destination::gear(service.gear))?;
        if service.gear == Gear::Proxy {
            writeln!(out, "  limits     {}", destination::limits(service, self.known.usage.as_ref()))?;
        }
        self.notes().iter().try_for_each(|line| writeln!(out, "  note       {line}"))?;
        self.known.futile.iter().try_for_each(|line| writeln!(out, "  check      {line}"))?;
        last::write(out, &self.known.last, self.known.offset)
    }
}
