//! Why a connection somewhere becomes what it becomes: the file as a person reads it, which is what the kernel's rules
//! come to. What is measured (connections, places) is put in by whoever can read the kernel's maps.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use super::{Caller, names};
use crate::model::{
    Host, Network,
    policy::{Endpoint, Gear, Policy, Service, WhenGone},
};

/// Why a destination is treated as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation<'a> {
    /// What decides; `None`: nothing has it, and it goes where it asks.
    pub rule: Option<Decides<'a>>,
    /// Later services that have the destination, too, and get no connection to it.
    pub shadows: Vec<&'a str>,
    /// It is of the pools of virtual addresses, which nobody has.
    pub is_virtual: bool,
}

/// The first service in the file that has a destination.
#[derive(Clone, Debug, PartialEq)]
pub struct Decides<'a> {
    /// The service.
    pub service: &'a Service,
    /// By which of its networks: the narrowest that has the address.
    pub network: Network,
    /// By which of its ports; `None`: it is for any.
    pub port: Option<u16>,
    /// What excepts the destination from it, or whoever asks.
    pub except: Option<Excepted<'a>>,
    /// Whose virtual address it is.
    pub host: Option<Host>,
}

/// What excepts a destination, or whoever asks, from a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excepted<'a> {
    /// Its address.
    Network(Network),
    /// Its port.
    Port(u16),
    /// The user who asks.
    User(u32),
    /// The file that is executed by who asks.
    Executable(&'a Path),
}

/// An endpoint that may get the next connection, or may not.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Where it is.
    pub address: SocketAddr,
    /// Its share, beside that of the others.
    pub weight: u16,
    /// Connections of the destination's family can go there.
    pub is_of_family: bool,
    /// What is measured of it; `None`: it is in no plan that holds.
    pub now: Option<Now>,
}

/// What is measured of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Now {
    /// Connections that hold a place there.
    pub connections: u64,
    /// What one more costs there, beside the others.
    pub cost: u32,
    /// What is held against it, in words; `None`: nothing, or nobody looks.
    pub state: Option<String>,
}

/// What the policy says of a destination, where this one asks for it.
#[must_use]
pub fn explain<'a>(policy: &'a Policy, destination: SocketAddr, caller: &Caller) -> Explanation<'a> {
    let (ip, port) = (destination.ip().to_canonical(), destination.port());
    if policy.pools.iter().any(|pool| pool.contains(ip)) {
        // Before everything else, with the rest of the pools right behind.
        let rule = names::assign(policy).into_iter().find_map(|name| {
            let service = policy.services.get(name.service)?;
            let is_its = name.addresses.contains(&Some(ip)) && service.is_for(port);
            is_its.then(|| Decides {
                service,
                network: Network::from(ip),
                port: (!service.ports.is_empty()).then_some(port),
                except: None,
                host: Some(name.host),
            })
        });
        return Explanation { rule, shadows: Vec::new(), is_virtual: true };
    }
    let mut all = policy.services.iter().filter(|service| service.has(ip, port));
    let rule = all.next().and_then(|service| decides(service, ip, port, caller));
    Explanation { rule, shadows: all.map(|service| service.name.as_str()).collect(), is_virtual: false }
}

/// By what a service decides that has the destination.
fn decides<'a>(service: &'a Service, ip: IpAddr, port: u16, caller: &Caller) -> Option<Decides<'a>> {
    let narrowest = |networks: &[Network]| {
        let has = networks.iter().filter(|network| network.contains(ip));
        has.max_by_key(|network| network.prefix()).copied()
    };
    let except = &service.except;
    let by_network = narrowest(&except.networks).map(Excepted::Network);
    let by_port = || except.ports.contains(&port).then_some(Excepted::Port(port));
    let by_user = || {
        let uid = caller.uid.filter(|uid| except.uids.iter().any(|uids| uids.contains(*uid)))?;
        Some(Excepted::User(uid))
    };
    let by_file = || {
        let file = caller.file?;
        let executable = except
            .executables
            .iter()
            .find(|executable| executable.files.iter().any(|other| other.is(&file)))?;
        Some(Excepted::Executable(&executable.path))
    };
    Some(Decides {
        service,
        network: narrowest(&service.networks)?,
        port: (!service.ports.is_empty()).then_some(port),
        except: by_network.or_else(by_port).or_else(by_user).or_else(by_file),
        host: None,
    })
}

impl Decides<'_> {
    /// The service's endpoints, with what is `measured` of each.
    pub fn candidates(
        &self,
        destination: SocketAddr,
        measured: impl Fn(SocketAddr) -> Option<Now>,
    ) -> Vec<Candidate> {
        let is_ipv4 = destination.ip().to_canonical().is_ipv4();
        let candidate = |endpoint: &Endpoint| Candidate {
            address: endpoint.address,
            weight: endpoint.weight,
            is_of_family: endpoint.address.is_ipv4() == is_ipv4,
            now: measured(endpoint.address),
        };
        self.service.endpoints.iter().map(candidate).collect()
    }

    /// What is done, in a sentence.
    #[must_use]
    pub fn what(&self) -> &'static str {
        let is_had_elsewhere = !self.service.supplies.is_empty();
        match (self.except, self.service.gear, self.service.endpoints.is_empty()) {
            (Some(_), ..) => "it goes where it asks",
            _ if self.service.waits && self.host.is_some() => {
                "connect() fails with ECONNREFUSED: the service begins at first use, which is the question for its name"
            }
            _ if self.service.waits => {
                "it goes where it asks (first_use): the service begins at first use, and later ones are balanced"
            }
            (None, Gear::Direct | Gear::Proxy, true) if is_had_elsewhere && self.host.is_some() => {
                "connect() fails with ECONNREFUSED: its sources tell of no endpoint"
            }
            (None, Gear::Direct | Gear::Proxy, true) if is_had_elsewhere => {
                "it goes where it asks: its sources tell of no endpoint"
            }
            (None, Gear::Direct, true) => "it goes where it asks: there is no endpoint",
            (None, Gear::Direct, false) => "connect() is given one of the endpoints",
            (None, Gear::Proxy, true) => "it goes to the relay, which goes where it asks",
            (None, Gear::Proxy, false) => "it goes to the relay, which goes to one of the endpoints",
            (None, Gear::Deny, _) => "connect() fails with EPERM",
        }
    }

    /// What becomes of connections while the daemon cannot be asked; `is_pinned`: the policy outlives it.
    #[must_use]
    pub fn when_gone(&self, is_pinned: bool) -> Vec<&'static str> {
        let needs_it = self.except.is_none() && self.service.gear == Gear::Proxy;
        let mut all = vec![match (is_pinned, needs_it) {
            (false, _) => {
                "nothing is pinned: when the daemon ends nothing is steered, and connections go where they ask"
            }
            (true, false) => "the policy is pinned: it holds when the daemon ends",
            (true, true) => {
                "the policy is pinned: what holds while the daemon hangs holds when it has ended, too"
            }
        }];
        if needs_it {
            all.push(match self.service.when_gone {
                WhenGone::Open => "while it hangs (no sign of life within traffic.heartbeat) connections go where they ask",
                WhenGone::Closed => {
                    "while it hangs (no sign of life within traffic.heartbeat) connections are refused (ECONNREFUSED)"
                }
            });
        }
        all
    }

    /// What may turn out otherwise than it is said here, and what nobody knows.
    #[must_use]
    pub fn caveats(&self, destination: SocketAddr) -> Vec<&'static str> {
        let Decides { service, except: None, .. } = self else { return Vec::new() };
        let mut all = Vec::new();
        if service.gear == Gear::Deny {
            all.push("deny is no sandbox: raw sockets are not asked, nor connected ones of UDP-Lite");
            return all;
        }
        all.push("what is not TCP goes where it asks");
        let candidates = self.candidates(destination, |_| None);
        if !candidates.is_empty() && !candidates.iter().any(|one| one.is_of_family && one.weight > 0) {
            all.push(
                "no endpoint of the destination's address family has a weight: connections go where they ask",
            );
        }
        if service.gear == Gear::Proxy {
            all.push("sockets bound to a device, or in another network namespace than the daemon's, are not sent to the relay");
        }
        if !service.endpoints.is_empty() {
            all.push("of encrypted connections nobody knows what was answered: only whether they were made, were reset, and the round trip");
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        model::policy::Resolve,
        traffic::rules::{self, found},
    };

    fn service(name: &str, networks: &[&str], ports: &[u16]) -> Service {
        Service {
            networks: networks.iter().map(|network| network.parse().expect("a network")).collect(),
            ports: ports.to_vec(),
            ..Service::named(name)
        }
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_first_that_has_it_is_named_with_what_it_is_by() {
        let mut first = service("first", &["10.0.0.0/8", "10.1.0.0/16"], &[80, 81]);
        first.except.networks = vec!["10.1.2.0/24".parse().expect("a network")];
        first.except.ports = vec![81];
        let second = service("second", &["10.1.0.0/16", "fd00::/8"], &[]);
        let all = service("all", &["0.0.0.0/0"], &[]);
        let policy = Policy { services: vec![first, second, all], ..Policy::default() };
        let network = |text: &str| text.parse::<Network>().expect("a network");
        let by = |text: &str| Some(Excepted::Network(network(text)));
        // Destination => service, network, port, exception, shadows.
        let cases = [
            ("10.1.9.9:80", Some(("first", "10.1.0.0/16", Some(80), None)), &["second", "all"][..]),
            ("10.2.0.1:80", Some(("first", "10.0.0.0/8", Some(80), None)), &["all"]),
            ("10.1.2.3:80", Some(("first", "10.1.0.0/16", Some(80), by("10.1.2.0/24"))), &["second", "all"]),
            ("10.2.0.1:81", Some(("first", "10.0.0.0/8", Some(81), Some(Excepted::Port(81)))), &["all"]),
            ("10.1.0.1:443", Some(("second", "10.1.0.0/16", None, None)), &["all"]),
            ("[::ffff:10.1.0.1]:443", Some(("second", "10.1.0.0/16", None, None)), &["all"]),
            ("[fd00::1]:443", Some(("second", "fd00::/8", None, None)), &[]),
            ("[fe80::1]:443", None, &[]),
        ];
        for (to, expected, shadows) in cases {
            let explained = explain(&policy, address(to), &Caller::default());
            let rule =
                explained.rule.map(|rule| (rule.service.name.as_str(), rule.network, rule.port, rule.except));
            let expected = expected.map(|(name, by, port, except)| (name, network(by), port, except));
            assert_eq!((rule, explained.shadows.as_slice()), (expected, shadows), "{to}");
        }
    }

    #[test]
    fn a_virtual_address_is_its_names() {
        let mut named = service("named", &[], &[80]);
        named.hosts = vec!["api.internal".parse().expect("a name")];
        named.resolve = Resolve::Virtual;
        named.endpoints = vec![Endpoint { address: address("1.0.0.1:1"), weight: 1, is_near: true }];
        let services = vec![service("all", &["0.0.0.0/0"], &[]), named];
        let pools = vec!["240.240.0.0/16".parse().expect("a network")];
        let policy = Policy { services, pools, ..Policy::default() };
        let own = names::assign(&policy)[0].addresses[0].expect("an address");
        let rule =
            |port| explain(&policy, SocketAddr::new(own, port), &Caller { uid: Some(7), file: None }).rule;
        let told = rule(80).map(|rule| (rule.service.name.as_str(), rule.host.map(|host| host.to_string())));
        assert_eq!(told, Some(("named", Some("api.internal".to_owned()))));
        // Nobody else has it, nor the rest of the pool.
        let other = explain(&policy, address("240.240.255.255:80"), &Caller::default());
        assert_eq!((rule(443), other.rule, other.is_virtual), (None, None, true));
        assert!(!explain(&policy, address("1.2.3.4:80"), &Caller::default()).is_virtual);
    }

    #[test]
    fn candidates_are_those_of_the_family_and_caveats_say_what_is_not_known() {
        let mut web = service("web", &["10.0.0.0/8", "fd00::/8"], &[]);
        let endpoint = |text: &str, weight| Endpoint { address: address(text), weight, is_near: true };
        web.endpoints = vec![endpoint("1.0.0.1:1", 100), endpoint("1.0.0.2:1", 0)];
        let policy = Policy { services: vec![web.clone()], ..Policy::default() };
        let (four, six) = (address("10.0.0.1:80"), address("[fd00::1]:80"));
        let now = Now { connections: 3, cost: 1024, state: Some("ejected".into()) };
        let measured = |at: SocketAddr| (at == address("1.0.0.1:1")).then(|| now.clone());
        let rule = explain(&policy, four, &Caller::default()).rule.expect("a rule");
        let candidates = rule.candidates(four, measured);
        let told: Vec<_> =
            candidates.iter().map(|one| (one.weight, one.is_of_family, one.now.as_ref())).collect();
        assert_eq!(told, [(100, true, Some(&now)), (0, true, None)]);
        assert!(rule.candidates(six, measured).iter().all(|one| !one.is_of_family));
        let has = |of: SocketAddr, word: &str| rule.caveats(of).iter().any(|caveat| caveat.contains(word));
        assert!(!has(four, "family") && has(six, "family") && has(four, "encrypted"));
        for (gear, when_gone, gone, what) in [
            (Gear::Direct, WhenGone::Open, "pinned", "given one of"),
            (
                Gear::Proxy,
                WhenGone::Open,
                "hangs (no sign of life within traffic.heartbeat) connections go",
                "relay",
            ),
            (Gear::Proxy, WhenGone::Closed, "refused", "relay"),
            (Gear::Deny, WhenGone::Open, "pinned", "EPERM"),
        ] {
            let policy =
                Policy { services: vec![Service { gear, when_gone, ..web.clone() }], ..Policy::default() };
            let rule = explain(&policy, four, &Caller::default()).rule.expect("a rule");
            assert!(rule.when_gone(false).iter().any(|line| line.contains(gone)), "{gear:?} {when_gone:?}");
            assert!(rule.when_gone(true).iter().all(|line| !line.contains("nothing is pinned")), "{gear:?}");
            assert!(rule.what().contains(what), "{gear:?}");
        }
    }

    /// Few networks and ports, so that they cover each other.
    fn services() -> impl Strategy<Value = Vec<Service>> {
        const NETWORKS: [&str; 11] = [
            "0.0.0.0/0",
            "10.0.0.0/8",
            "10.1.0.0/16",
            "10.1.2.0/24",
            "10.1.2.0/25",
            "10.1.2.128/25",
            "10.1.2.3",
            "10.1.2.128/26",
            "::/0",
            "fd00::/8",
            "fd00::1",
        ];
        let network = || prop::sample::select(&NETWORKS[..]);
        let networks = move |range: std::ops::Range<usize>| prop::collection::vec(network(), range);
        let ports = || prop::collection::vec(80_u16..83, 0..3);
        let one = (networks(1..4), ports(), networks(0..3), ports());
        let make = |(n, (networks, ports, except, except_ports)): (usize, (Vec<&str>, _, Vec<&str>, _))| {
            let parsed = |all: Vec<&str>| all.iter().map(|one| one.parse().expect("a network")).collect();
            let mut made = Service::named(&n.to_string());
            (made.networks, made.ports) = (parsed(networks), ports);
            (made.except.networks, made.except.ports) = (parsed(except), except_ports);
            made
        };
        let all = prop::collection::vec(one, 1..6);
        all.prop_map(move |all| all.into_iter().enumerate().map(make).collect())
    }

    proptest! {
        /// As the kernel's program finds it among the rules that it is given.
        #[test]
        fn it_is_what_the_kernel_does(services in services()) {
            let ids: Vec<u32> = (0..services.len() as u32).collect();
            let policy = Policy { services, ..Policy::default() };
            let (rules, _) = rules::compile(&policy, &ids);
            for ip in ["10.1.2.3", "10.1.2.4", "10.1.9.9", "10.9.9.9", "11.0.0.1", "fd00::1", "fd00::2", "fe80::1"] {
                for port in 79..84 {
                    let destination = SocketAddr::new(ip.parse().expect("an address"), port);
                    let rule = explain(&policy, destination, &Caller::default()).rule;
                    let told = rule.map(|rule| (rule.service.name.clone(), rule.except.is_some()));
                    let seen = found(&rules, ip, port).map(|(id, is_exception)| (id.to_string(), is_exception));
                    prop_assert_eq!(told, seen, "{}:{}", ip, port);
                }
            }
        }
    }
}
