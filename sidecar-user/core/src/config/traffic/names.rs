//! Services by name: how names are answered, and what a person gets wrong about that.

use std::{collections::BTreeMap, fmt, net::IpAddr, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{GearSetting, ServiceSettings, Traffic};
use crate::{
    config::value::{Duration, Peers, Refused},
    model::{Host, policy::Resolve},
};

/// A host's name, or `*.` and what all of its names end with.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostSetting(pub Host);

impl FromStr for HostSetting {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        text.parse()
            .map(Self)
            .map_err(|error: crate::model::MalformedHost| Refused(format!("`{text}`: {error}")))
    }
}

impl fmt::Display for HostSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a service's names are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ResolveSetting {
    /// By addresses that nobody has.
    Virtual,
    /// By the resolver that was asked.
    Real,
}

/// Names that a file may have: the smallest pool has room for them.
const HOSTS: usize = 2048;

impl Default for Traffic {
    /// 240.0.0.0/4 is nobody's (RFC 1112, 4); the other is of a random prefix for networks of one's own (RFC 4193).
    fn default() -> Self {
        let pool = |text: &str| Peers(text.parse().unwrap_or_else(|_| IpAddr::from([0; 4]).into()));
        Traffic {
            zone: None,
            resolvers: Vec::new(),
            heartbeat: Duration::from_secs(1),
            services: Vec::new(),
            inbound: Vec::new(),
            pin: None,
            pool4: pool("240.240.0.0/16"),
            pool6: pool("fd97:1c6e:53b0:53::/64"),
        }
    }
}

impl ServiceSettings {
    /// How its names are answered where nothing is said: by addresses of ours where those lead to endpoints, or to nothing.
    pub(super) fn resolve(&self) -> Resolve {
        let has_own = self.has_endpoints() || self.gear == GearSetting::Deny;
        match self.resolve {
            Some(ResolveSetting::Virtual) => Resolve::Virtual,
            Some(ResolveSetting::Real) => Resolve::Real,
            None if self.addresses.is_empty() && has_own => Resolve::Virtual,
            None => Resolve::Real,
        }
    }

    /// What is wrong with its names by themselves.
    pub(super) fn faults_of_names(&self) -> Vec<&'static str> {
        let is_virtual = self.resolve() == Resolve::Virtual && !self.hosts.is_empty();
        let denies = self.gear == GearSetting::Deny;
        [
            (self.hosts.len() > 64, "it has more than 64 `hosts`"),
            (self.resolve.is_some() && self.hosts.is_empty(), "`resolve` is for `hosts`, and there are none"),
            (
                is_virtual && !self.has_endpoints() && !denies,
                "nobody has a virtual address: `resolve: virtual` needs `endpoints` or `sources`",
            ),
        ]
        .into_iter()
        .filter_map(|(is_wrong, message)| is_wrong.then_some(message))
        .collect()
    }
}

/// Adds what is wrong with names and pools beside each other.
pub(super) fn check(traffic: &Traffic, refuse: &mut impl FnMut(&str, String)) {
    let pools =
        [("traffic.pool4", &traffic.pool4, true, 8..=20), ("traffic.pool6", &traffic.pool6, false, 32..=112)];
    for (key, pool, is_v4, prefixes) in &pools {
        let network = pool.0;
        if network.address().is_ipv4() != *is_v4 || !prefixes.contains(&network.prefix()) {
            let (family, first, last) = (if *is_v4 { 4 } else { 6 }, prefixes.start(), prefixes.end());
            refuse(
                key,
                format!("`{network}` is not a network of IPv{family} with a prefix from /{first} to /{last}"),
            );
        }
    }
    let n_hosts: usize = traffic.services.iter().map(|service| service.hosts.len()).sum();
    if n_hosts > HOSTS {
        refuse("traffic.services", format!("{n_hosts} hosts are more than {HOSTS}"));
    }
    let mut known: BTreeMap<String, &str> = BTreeMap::new();
    for (i, service) in traffic.services.iter().enumerate() {
        let key = format!("traffic.services.{i}");
        for host in &service.hosts {
            if let Some(by) = known.insert(host.to_string(), &service.name) {
                refuse(&key, format!("service `{by}` has the host `{host}` already"));
            }
        }
        if !traffic.has_virtual() {
            continue;
        }
        // All of IPv4 may be somebody's service; a part of the pool is a mistake.
        let own = service.addresses.iter().map(|peers| peers.0);
        let endpoints = service.endpoints.iter().map(|endpoint| endpoint.address.0.ip().into());
        for (key_of_pool, pool, ..) in &pools {
            if let Some(inside) = own.clone().chain(endpoints.clone()).find(|network| pool.0.covers(network))
            {
                refuse(&key, format!("{inside} lies in `{key_of_pool}`, which is for names only"));
            }
        }
    }
}

impl ServiceSettings {
    /// Whether it has names that lead somewhere because we say so.
    pub(super) fn has_virtual_names(&self) -> bool {
        !self.hosts.is_empty() && self.resolve() == Resolve::Virtual && self.gear != GearSetting::Deny
    }
}

impl Traffic {
    /// Whether any service has a name.
    #[must_use]
    pub fn has_names(&self) -> bool {
        self.services.iter().any(|service| !service.hosts.is_empty())
    }

    fn has_virtual(&self) -> bool {
        let is_virtual = |service: &ServiceSettings| service.resolve() == Resolve::Virtual;
        self.services.iter().any(|service| !service.hosts.is_empty() && is_virtual(service))
    }

    /// The pools, where they are used.
    pub(super) fn pools(&self) -> Vec<crate::model::Network> {
        if self.has_virtual() { vec![self.pool4.0, self.pool6.0] } else { Vec::new() }
    }
}

/// Hosts and how they are resolved, into the policy.
pub(super) fn hosts(settings: &ServiceSettings) -> Vec<Host> {
    settings.hosts.iter().map(|host| host.0.clone()).collect()
}
