//! Section `traffic`: services, as a person writes them, and what the traffic plane makes of them.

mod endpoint;
mod except;
mod health;
mod inbound;
mod names;
mod pin;
mod sources;

use std::{collections::BTreeSet, ops::RangeInclusive, path::PathBuf, time};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use endpoint::EndpointSettings;
pub(super) use endpoint::HostPort;
use except::ExceptSettings;
use health::HealthSettings;
pub use inbound::InboundSettings;
pub(super) use names::HostSetting;
use names::ResolveSetting;
pub use sources::endpoints_of;
use sources::{ENDPOINTS, SOURCES, SourceSettings};

use super::value::{Duration, Peers};
use crate::model::policy::{Balance, Endpoint, Gear, HashBy, Limits, Policy, Rate, Service, WhenGone};

/// Section `traffic`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Traffic {
    /// What is done about connections that the application opens. Of the services that have a destination the first decides;
    /// a destination of none goes where it asks. A first service (without `pin`), a first `inbound` and first `except.executables`
    /// take a restart; then all that is said of traffic waits for it.
    pub services: Vec<ServiceSettings>,
    /// Folder on a bpffs (`/sys/fs/bpf/sidecar`), for one daemon and nobody else: what steers connections stays at work there
    /// when the daemon ends, however it ends, and the next daemon goes on with it. It is made with mode 0700. `sidecar unpin`
    /// ends it. Unset: nothing outlives the daemon.
    pub pin: Option<PathBuf>,
    /// What is done about connections that come in from other hosts, in the daemon's network namespace. Of these the first that
    /// has a port and whoever comes decides; what falls under none goes to the application.
    pub inbound: Vec<InboundSettings>,
    /// IPv4 addresses that virtual names are answered with. Nobody the application speaks with may have one of them.
    pub pool4: Peers,
    /// IPv6 addresses that virtual names are answered with.
    pub pool6: Peers,
    /// The zone that the application is in. Endpoints of this `zone` are preferred: they get all connections while at least
    /// 5 in 7 of them, by weight, are healthy, and with fewer the rest goes to the others. Unset: zones do not matter.
    pub zone: Option<String>,
    /// Resolvers that the names of `sources` are asked of, `IP:PORT`. None: those of /etc/resolv.conf, with its search domains,
    /// `timeout` and `attempts`; configured ones have 5 s for a question, twice.
    pub resolvers: Vec<HostPort>,
    /// The daemon gives a sign of life five times a second. Without one for so long it counts as hung, and `when_gone` says what
    /// becomes of connections that would go through it, until it goes on.
    pub heartbeat: Duration,
}

impl Traffic {
    /// Whether anything is steered.
    #[must_use]
    pub fn is_on(&self) -> bool {
        // What is pinned may have services that are not wanted any more.
        !self.services.is_empty() || !self.inbound.is_empty() || self.pin.is_some()
    }

    /// Whether datagrams are looked at, too: where something is denied or has a name, or may be what was pinned.
    #[must_use]
    pub fn wants_datagrams(&self) -> bool {
        self.pin.is_some()
            || self.has_names()
            // Later the capability is gone that their programs take.
            || self.tells_executables()
            || self.services.iter().any(|service| service.gear == GearSetting::Deny)
    }

    /// Whether programs must tell which file a process executes.
    #[must_use]
    pub fn tells_executables(&self) -> bool {
        self.services.iter().any(|service| !service.except.executables.is_empty())
    }

    /// As the traffic plane has it.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let service = |service: &ServiceSettings| service.service(self.zone.as_deref());
        Policy {
            services: self.services.iter().map(service).collect(),
            inbound: self.inbound.iter().map(InboundSettings::service).collect(),
            pools: self.pools(),
            zone: self.zone.clone(),
            resolvers: self.resolvers.iter().map(|resolver| resolver.0).collect(),
            heartbeat: self.heartbeat.get(),
        }
    }
}

/// Services that a file may have.
const SERVICES: usize = 256;
/// Resolvers that sources may be asked of.
const RESOLVERS: usize = 8;
/// Some signs of life may be late: there are five a second.
const HEARTBEAT: RangeInclusive<time::Duration> =
    time::Duration::from_millis(500)..=time::Duration::from_secs(3600);

/// Adds what is wrong with services, each under its own key.
pub(super) fn check(traffic: &Traffic, refuse: &mut impl FnMut(&str, String)) {
    if let Some(message) = traffic.pin.as_deref().and_then(pin::fault) {
        refuse("traffic.pin", message.to_owned());
    }
    let Traffic { services, inbound, pin, .. } = traffic;
    let n = services.len() + inbound.len();
    if n > SERVICES {
        refuse("traffic.services", format!("{n}, with those that come in, are more than {SERVICES}"));
    }
    if !HEARTBEAT.contains(&traffic.heartbeat.get()) {
        refuse("traffic.heartbeat", "0.5 s to one hour are possible".to_owned());
    }
    names::check(traffic, refuse);
    let n_sources: usize = services.iter().map(|service| service.sources.len()).sum();
    if n_sources > SOURCES {
        refuse("traffic.services", format!("{n_sources} sources are more than {SOURCES}"));
    }
    if traffic.resolvers.len() > RESOLVERS {
        refuse("traffic.resolvers", format!("{} are more than {RESOLVERS}", traffic.resolvers.len()));
    }
    let outbound = services.iter().enumerate().map(|(i, service)| {
        let mut faults = service.faults();
        faults.extend(pin::faults(service, pin.is_some()).into_iter().map(str::to_owned));
        (format!("traffic.services.{i}"), &service.name, faults)
    });
    let inbound = inbound
        .iter()
        .enumerate()
        .map(|(i, service)| (format!("traffic.inbound.{i}"), &service.name, service.faults()));
    let mut names = BTreeSet::new();
    for (key, name, faults) in outbound.chain(inbound) {
        let mut refuse = |message: String| refuse(&key, message);
        let is_word = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if name.is_empty() || name.len() > 63 || !name.chars().all(is_word) {
            refuse(format!("the name `{name}` is not 1 to 63 letters, digits, `-`, `.` or `_`"));
        }
        if !names.insert(name) {
            refuse(format!("one before it is called `{name}` too"));
        }
        faults.into_iter().for_each(refuse);
    }
}

/// A service.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct ServiceSettings {
    /// What it is called in metrics, and by `explain`. No two have the same.
    pub name: String,
    /// Destinations that it has: networks (`10.1.0.0/16`) or addresses.
    #[serde(default)]
    pub addresses: Vec<Peers>,
    /// Destinations that it has by name: `api.internal`, or `*.example.com` for all names below one. Of several that have a name,
    /// in whatever order, the longest decides.
    #[serde(default)]
    pub hosts: Vec<HostSetting>,
    /// How those names are answered: with an address of `traffic.pool4` or `pool6`, which nobody has, (`virtual`), or by the resolver that
    /// was asked, whose addresses are the service's then (`real`). Unset: `virtual` where the service has `endpoints` or denies,
    /// and no `addresses`; else `real`.
    #[serde(default)]
    pub resolve: Option<ResolveSetting>,
    /// Ports that it has. Without any: all.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// Of these connections, those that go where they ask.
    #[serde(default)]
    pub except: ExceptSettings,
    /// How connections are carried: by the kernel alone, through the relay, or not at all (nor are datagrams).
    #[serde(default)]
    pub gear: GearSetting,
    /// Where the service can be had: `IP:PORT`, or `address` with `weight` (100 unless told) and `zone`. Without any,
    /// connections go where they ask. Addresses of 169.254.0.0/16 may be among them, as metadata services of clouds have such ones; not
    /// those of fe80::/10, which say nothing without a device.
    #[serde(default)]
    pub endpoints: Vec<EndpointSettings>,
    /// Who tells of more endpoints while running. A source is asked from the first connection to the service on, or the first question
    /// for its name. One that fails keeps what it told last. Each is one of `dns`, `NAME:PORT`, whose endpoints have `weight` (100
    /// unless told) and `zone`; `srv`, whose records tell weights, with `zone`; and `file`, a regular one with a list that is
    /// written as `endpoints` is, which tells both.
    #[serde(default)]
    pub sources: Vec<SourceSettings>,
    /// Which endpoint a connection gets: of two that are drawn by weight the one with less to do (so the longer connections are
    /// held, the less weights count), one that is drawn by weight, or always the same one for the same process, user, cgroup or bound source address.
    #[serde(default)]
    pub balance: BalanceSetting,
    /// How many connections there may be. Those beyond are refused (`ECONNREFUSED`).
    #[serde(default)]
    pub limits: LimitSettings,
    /// What becomes of connections through the relay while the daemon hangs, or is gone and left its pins: they go where they
    /// ask (unless you say otherwise), or are refused.
    #[serde(default)]
    pub when_gone: Option<WhenGoneSetting>,
    /// Says that you know: without `traffic.pin`, what is denied or `closed`, and virtual names, hold while the daemon runs, and
    /// not after its end.
    #[serde(default)]
    pub while_running: bool,
    /// How the health of its endpoints is judged.
    #[serde(default)]
    pub health: HealthSettings,
}

/// How a connection is carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum GearSetting {
    /// By the kernel alone.
    #[default]
    Direct,
    /// Through the relay.
    Proxy,
    /// Not at all.
    Deny,
}

/// Which endpoint a connection gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum BalanceSetting {
    /// Of two, the one with less to do.
    #[default]
    Least,
    /// Any.
    Random,
    /// The process's.
    HashProcess,
    /// The user's.
    HashUser,
    /// The cgroup's.
    HashCgroup,
    /// The bound source address's.
    HashSource,
}

/// What holds while the daemon cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum WhenGoneSetting {
    /// Connections go where they ask.
    #[default]
    Open,
    /// Connections are refused.
    Closed,
}

/// How many connections there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct LimitSettings {
    /// At a time.
    #[schemars(range(min = 1))]
    pub connections: Option<u32>,
    /// New ones a second.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub rate: Option<u32>,
    /// Of these, how many may come at once. Unset: as many as `rate`.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub burst: Option<u32>,
}

/// New connections a second that can be told apart from any number of them.
const MOST_A_SECOND: u32 = 1_000_000;

impl ServiceSettings {
    /// What is wrong with it by itself.
    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut refuse = |is_wrong: bool, message: &str| {
            if is_wrong {
                faults.push(message.to_owned());
            }
        };
        let denies = self.gear == GearSetting::Deny;
        let limits = self.limits;
        refuse(
            self.addresses.is_empty() && self.hosts.is_empty(),
            "neither `addresses` nor `hosts`: it has no destination",
        );
        refuse(self.addresses.len() > 256, "it has more than 256 `addresses`");
        refuse(self.ports.len() > 64, "it has more than 64 `ports`");
        refuse(self.endpoints.len() > ENDPOINTS, "it has more than 512 `endpoints`");
        refuse(self.ports.contains(&0), "0 is no port");
        refuse(
            denies && !self.endpoints.is_empty(),
            "what is denied goes to no endpoint: leave `endpoints` out",
        );
        refuse(
            denies && limits != LimitSettings::default(),
            "what is denied never reaches a limit: leave `limits` out",
        );
        refuse(
            self.balance != BalanceSetting::Least && !self.has_endpoints(),
            "`balance` chooses among `endpoints`, and there are none",
        );
        faults.extend(self.except.faults(self));
        faults.extend(self.health.faults(self.has_endpoints()));
        let is_twice = |(i, endpoint): (usize, &EndpointSettings)| {
            self.endpoints[..i].iter().any(|other| other.address == endpoint.address)
        };
        let twice = self.endpoints.iter().enumerate().find(|one| is_twice(*one));
        if let Some((_, endpoint)) = twice {
            faults.push(format!("endpoint {} is there twice: give it more weight", endpoint.address));
        }
        if !self.endpoints.is_empty() && self.endpoints.iter().all(|endpoint| endpoint.weight == 0) {
            faults.push("all endpoints weigh 0: none would get a connection".to_owned());
        }
        faults.extend(self.faults_of_sources());
        faults.extend(self.faults_of_names().into_iter().map(str::to_owned));
        faults.extend(limits.faults());
        faults
    }

    fn service(&self, zone: Option<&str>) -> Service {
        let networks = |peers: &[Peers]| peers.iter().map(|peers| peers.0).collect();
        let endpoint = |endpoint: &EndpointSettings| Endpoint {
            address: endpoint.address.0,
            weight: endpoint.weight,
            is_near: zone.is_none_or(|zone| endpoint.zone.as_deref() == Some(zone)),
        };
        Service {
            name: self.name.clone(),
            hosts: names::hosts(self),
            resolve: self.resolve(),
            networks: networks(&self.addresses),
            ports: self.ports.clone(),
            except: self.except.except(),
            gear: self.gear.into(),
            endpoints: self.endpoints.iter().map(endpoint).collect(),
            supplies: self.supplies(),
            waits: false,
            balance: match self.balance {
                BalanceSetting::Least => Balance::Least,
                BalanceSetting::Random => Balance::Random,
                BalanceSetting::HashProcess => Balance::Hash(HashBy::Process),
                BalanceSetting::HashUser => Balance::Hash(HashBy::User),
                BalanceSetting::HashCgroup => Balance::Hash(HashBy::Cgroup),
                BalanceSetting::HashSource => Balance::Hash(HashBy::Source),
            },
            limits: self.limits.into(),
            when_gone: self.when_gone.unwrap_or_default().into(),
            health: self.health.health(),
        }
    }
}

impl LimitSettings {
    /// What is wrong with them by themselves.
    fn faults(self) -> impl Iterator<Item = String> {
        let wrong = [
            (self.connections == Some(0), "`limits.connections: 0` would take none: that is `gear: deny`"),
            (self.rate == Some(0), "`limits.rate: 0` would take none: that is `gear: deny`"),
            (
                self.rate.is_none() && self.burst.is_some(),
                "`limits.burst` is for `limits.rate`, which is not set",
            ),
            (self.burst == Some(0), "`limits.burst: 0` would take none"),
            (
                self.rate > Some(MOST_A_SECOND) || self.burst > Some(MOST_A_SECOND),
                "`limits.rate` and `limits.burst` are 1 to 1000000",
            ),
        ];
        wrong.into_iter().filter(|(is_wrong, _)| *is_wrong).map(|(_, why)| why.to_owned())
    }
}

impl From<LimitSettings> for Limits {
    fn from(LimitSettings { connections, rate, burst }: LimitSettings) -> Self {
        let rate = rate.map(|per_second| Rate { per_second, burst: burst.unwrap_or(per_second) });
        Limits { connections, rate }
    }
}

impl From<GearSetting> for Gear {
    fn from(gear: GearSetting) -> Self {
        match gear {
            GearSetting::Direct => Gear::Direct,
            GearSetting::Proxy => Gear::Proxy,
            GearSetting::Deny => Gear::Deny,
        }
    }
}

impl From<WhenGoneSetting> for WhenGone {
    fn from(when: WhenGoneSetting) -> Self {
        match when {
            WhenGoneSetting::Open => WhenGone::Open,
            WhenGoneSetting::Closed => WhenGone::Closed,
        }
    }
}
