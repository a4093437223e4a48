//! From services to the kernel's rules: the first service in the order of the file that has a destination decides, though
//! the kernel's trie finds the longest prefix.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
};

use sidecar_ebpf::abi::steer::{
    NO_SERVICE, RULE_EXACT, RULE_EXCEPTION, RULE_INBOUND, RULE_VIRTUAL, Rule, RuleKey,
};

use super::{
    cover::cover,
    names::{self, Virtual},
};
use crate::model::{
    Network,
    policy::{Policy, Service},
};

/// Rules by prefix length and key, for bank 0.
pub(super) type Rules = BTreeMap<(u32, RuleKey), Rule>;

/// A part of a service that never decides anything, because earlier ones have all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shadowed {
    /// Which service.
    pub(super) service: String,
    /// Which of its networks.
    pub(super) network: Network,
    /// On this port; `None`: on those that it is for, all of them.
    pub(super) port: Option<u16>,
    /// By which, in their order.
    pub(super) by: Vec<String>,
    /// They have all but what it excepts itself.
    pub(super) is_partly_excepted: bool,
}

/// One rule before it is known to be of use.
struct Candidate {
    network: Network,
    /// 0: any.
    port: u16,
    flags: u16,
}

/// What the pools are called where they have something that a service would.
const POOLS: &str = "traffic.pool4 and pool6";

/// What of a policy never decides anything: of services, and of what comes in.
pub(super) fn shadowed(policy: &Policy) -> [Vec<Shadowed>; 2] {
    let ids: Vec<u32> = (0..).take(policy.services.len().max(policy.inbound.len())).collect();
    [compile(policy, &ids).1, compile_inbound(&policy.inbound, &ids).1]
}

/// The rules of all services, whose ids are given in their order, and what of them is of no use.
///
/// Of two rules for one port the trie finds the narrower. So one that earlier ones cover, a wider one or several, is left out: then
/// the narrower is the earlier. A rule for any port is in the same trie under port 0: which of both is the earlier the program asks.
///
/// Virtual addresses come before everything else, and the rest of their pools right behind them: whoever has all addresses has
/// not those that nobody has.
pub(super) fn compile(policy: &Policy, ids: &[u32]) -> (Rules, Vec<Shadowed>) {
    let services = &policy.services;
    let mut places: Vec<(Option<usize>, Vec<Candidate>)> = Vec::new();
    let virtuals = names::assign(policy);
    for (at, service) in services.iter().enumerate() {
        let own = virtuals.iter().filter(|one| one.service == at);
        places.push((Some(at), own.flat_map(|one| of_name(one, service)).collect()));
    }
    let pool = |network: &Network| Candidate { network: *network, port: 0, flags: RULE_VIRTUAL };
    places.push((None, policy.pools.iter().map(pool).collect()));
    for (at, service) in services.iter().enumerate() {
        places.push((Some(at), candidates(service).collect()));
    }
    sift(services, ids, 0, places)
}

/// The same for what comes in, by networks of whoever comes.
pub(super) fn compile_inbound(services: &[Service], ids: &[u32]) -> (Rules, Vec<Shadowed>) {
    let own = |(at, service)| (Some(at), candidates(service).collect());
    sift(services, ids, RULE_INBOUND, services.iter().enumerate().map(own).collect())
}

/// What in its place, each of a service or of the pools, still decides something.
fn sift(
    services: &[Service],
    ids: &[u32],
    way: u8,
    places: Vec<(Option<usize>, Vec<Candidate>)>,
) -> (Rules, Vec<Shadowed>) {
    let mut rules = Rules::new();
    let mut taken: Vec<(Candidate, usize)> = Vec::new();
    let mut shadowed = Vec::new();
    let owners: Vec<_> = places.iter().map(|(owner, _)| *owner).collect();
    for (place, (owner, candidates)) in places.into_iter().enumerate() {
        for candidate in candidates {
            let is_plain = candidate.flags & RULE_EXCEPTION == 0;
            // What a service excepts itself is nothing that others take from it, but there it does not decide either.
            let comes_before = |(earlier, by): &&(Candidate, usize)| {
                (*by < place || is_plain && *by == place && earlier.flags & RULE_EXCEPTION != 0)
                    && (earlier.port == candidate.port || earlier.port == 0)
            };
            let before = taken.iter().filter(comes_before).map(|(earlier, by)| (earlier.network, *by));
            let mut cover = cover(&candidate.network, before).unwrap_or_default();
            cover.sort_unstable();
            cover.dedup();
            let is_partly_excepted = cover.last() == Some(&place);
            cover.retain(|by| *by < place);
            if let (Some(owner), true) = (owner, is_plain && !cover.is_empty()) {
                let name =
                    |by: &usize| owners[*by].map_or_else(|| POOLS.to_owned(), |by| services[by].name.clone());
                shadowed.push(Shadowed {
                    service: services[owner].name.clone(),
                    network: candidate.network,
                    port: (candidate.port != 0).then_some(candidate.port),
                    by: cover.iter().map(name).collect(),
                    is_partly_excepted,
                });
            }
            // What is covered on another trie than its own does no harm there, and does nothing.
            if cover.is_empty() || is_partly_excepted {
                let place_in_kernel = u16::try_from(place).unwrap_or(u16::MAX);
                let service = owner.map_or(NO_SERVICE, |owner| ids[owner]);
                let rule = Rule { service, place: place_in_kernel, flags: candidate.flags };
                rules.entry(key(&candidate, way)).or_insert(rule);
                taken.push((candidate, place));
            }
        }
    }
    (rules, shadowed)
}

/// Of a virtual address. Exceptions are of real ones: nobody is where it asks.
fn of_name(name: &Virtual, service: &Service) -> Vec<Candidate> {
    let ports = if service.ports.is_empty() { &[0][..] } else { &service.ports };
    let networks = name.addresses.iter().flatten().map(|address| Network::from(*address));
    let each = |network: Network| {
        ports.iter().map(move |port| Candidate { network, port: *port, flags: RULE_VIRTUAL })
    };
    networks.flat_map(each).collect()
}

/// Exceptions first: where they have the very network of the service, they hold.
fn candidates(service: &Service) -> impl Iterator<Item = Candidate> {
    let ports = if service.ports.is_empty() { vec![0] } else { service.ports.clone() };
    let except = &service.except;
    let inside = |network: &&Network| service.networks.iter().any(|all| all.covers(network));
    let outside = |network: &&Network| except.networks.iter().any(|some| some.covers(network));
    let by_network = except.networks.iter().filter(inside).chain(service.networks.iter().filter(outside));
    let mut all = Vec::new();
    for network in by_network {
        let exception = |port: &u16| Candidate { network: *network, port: *port, flags: RULE_EXCEPTION };
        all.extend(ports.iter().map(exception));
    }
    let by_port = except.ports.iter().filter(|port| service.is_for(**port));
    for port in by_port {
        let exception =
            |network: &Network| Candidate { network: *network, port: *port, flags: RULE_EXCEPTION };
        all.extend(service.networks.iter().map(exception));
    }
    for network in &service.networks {
        all.extend(ports.iter().map(|port| Candidate { network: *network, port: *port, flags: 0 }));
    }
    all.into_iter()
}

fn key(candidate: &Candidate, way: u8) -> (u32, RuleKey) {
    let (addr, prefix) = mapped(&candidate.network);
    let family = if candidate.network.address().is_ipv4() { 4 } else { 6 } | way;
    (RULE_EXACT + u32::from(prefix), RuleKey { bank: 0, family, port: candidate.port, addr: addr.octets() })
}

/// As IPv6, IPv4 mapped, and only what the prefix has.
fn mapped(network: &Network) -> (Ipv6Addr, u8) {
    let (addr, prefix) = match network.address() {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped(), network.prefix() + 96),
        IpAddr::V6(v6) => (v6, network.prefix()),
    };
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
    (Ipv6Addr::from(u128::from(addr) & mask), prefix)
}

/// As the kernel's program finds it: the longest prefix for the port and that for any, and of both the earlier.
#[cfg(test)]
pub(super) fn found(rules: &Rules, address: &str, port: u16) -> Option<(u32, bool)> {
    let address: IpAddr = address.parse().expect("an address");
    let (wanted, family) = match address {
        IpAddr::V4(v4) => (v4.to_ipv6_mapped(), 4),
        IpAddr::V6(v6) => (v6, 6),
    };
    let longest = |port: u16| {
        let has = |((len, key), _): &(&(u32, RuleKey), &Rule)| {
            let mask = u128::MAX.checked_shl(128 - (*len - RULE_EXACT)).unwrap_or(0);
            (key.port, key.family) == (port, family)
                && u128::from(wanted) & mask == u128::from_be_bytes(key.addr)
        };
        rules.iter().filter(has).max_by_key(|((len, _), _)| *len).map(|(_, rule)| *rule)
    };
    let rule = match (longest(port), longest(0)) {
        (Some(exact), Some(any)) if any.place < exact.place => Some(any),
        (exact, any) => exact.or(any),
    };
    rule.map(|rule| (rule.service, rule.flags & RULE_EXCEPTION != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy::{Endpoint, Resolve};

    fn service(name: &str, networks: &[&str], ports: &[u16]) -> Service {
        Service {
            networks: networks.iter().map(|network| network.parse().expect("a network")).collect(),
            ports: ports.to_vec(),
            ..Service::named(name)
        }
    }

    fn policy(services: &[Service]) -> Policy {
        Policy { services: services.to_vec(), ..Policy::default() }
    }

    /// As a person reads the file: the first that has it.
    fn read(services: &[Service], address: &str, port: u16) -> Option<(u32, bool)> {
        let (service, is_exception) =
            crate::model::policy::find(services, address.parse().expect("an address"), port)?;
        let at = services.iter().position(|other| other.name == service.name)?;
        Some((at as u32, is_exception))
    }

    #[test]
    fn the_first_service_decides_whatever_is_narrower() {
        let mut excepting = service("excepting", &["10.0.0.0/8", "fd00::/8"], &[]);
        excepting.except.networks = vec!["10.2.0.0/16".parse().expect("a network")];
        excepting.except.ports = vec![22];
        let narrow = service("narrow", &["10.1.2.3"], &[80]);
        let wide = service("wide", &["10.0.0.0/8"], &[80]);
        let any = service("any", &["10.1.0.0/16"], &[]);
        let all = service("all", &["0.0.0.0/0", "::/0"], &[]);
        let six = service("six", &["::/0"], &[]);
        let mut nothing = service("nothing", &["10.1.0.0/16"], &[80, 81]);
        nothing.except.networks = vec!["10.0.0.0/8".parse().expect("a network")];
        let all_four = service("all four", &["0.0.0.0/0"], &[80]);
        let orders = [
            vec![narrow.clone(), wide.clone(), any.clone(), all.clone()],
            vec![wide.clone(), narrow.clone(), any.clone()],
            vec![any.clone(), narrow.clone(), wide.clone(), excepting.clone()],
            vec![all.clone(), narrow.clone()],
            vec![excepting.clone(), all.clone(), wide.clone()],
            vec![wide.clone(), excepting.clone(), all.clone()],
            vec![nothing, wide, all],
            vec![excepting, narrow],
            vec![six, all_four],
        ];
        for services in orders {
            let ids: Vec<u32> = (0..services.len() as u32).collect();
            let (rules, _) = compile(&policy(&services), &ids);
            for address in ["10.1.2.3", "10.1.9.9", "10.2.0.1", "10.3.0.1", "11.0.0.1", "fd00::1", "fe80::1"]
            {
                for port in [22, 80, 81] {
                    let names: Vec<_> = services.iter().map(|service| service.name.as_str()).collect();
                    assert_eq!(
                        found(&rules, address, port),
                        read(&services, address, port),
                        "{address}:{port} of {names:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn nobody_else_has_virtual_addresses() {
        let mut named = service("named", &["10.9.0.1"], &[80]);
        named.hosts = vec!["api.internal".parse().expect("a name")];
        named.resolve = Resolve::Virtual;
        let endpoint =
            Endpoint { address: "10.0.0.1:80".parse().expect("an address"), weight: 1, is_near: true };
        named.endpoints = vec![endpoint];
        let all = service("all", &["0.0.0.0/0"], &[]);
        let web = service("web", &["0.0.0.0/0"], &[443]);
        let services = [all, web, named];
        let pool: Network = "240.240.0.0/16".parse().expect("a network");
        let policy = Policy { pools: vec![pool], ..policy(&services) };
        let (rules, shadowed) = compile(&policy, &[0, 1, 2]);
        let own = names::assign(&policy)[0].addresses[0].expect("an address").to_string();
        assert_eq!(found(&rules, &own, 80), Some((2, false)));
        for (address, port) in
            [(own.as_str(), 443), (&own, 22), ("240.240.255.255", 80), ("240.240.0.0", 443)]
        {
            assert_eq!(found(&rules, address, port), Some((NO_SERVICE, false)), "{address} {port}");
        }
        assert_eq!(found(&rules, "240.241.0.0", 443), Some((0, false)));
        assert_eq!(shadowed.len(), 2, "{shadowed:?}");
    }

    #[test]
    fn what_never_decides_is_told() {
        let wide = service("wide", &["10.0.0.0/8"], &[80]);
        let narrow = service("narrow", &["10.1.0.0/16", "11.0.0.0/8"], &[80, 81]);
        let (_, shadowed) = compile(&policy(&[wide.clone(), narrow.clone()]), &[0, 1]);
        let expected = Shadowed {
            service: "narrow".into(),
            network: "10.1.0.0/16".parse().expect("a network"),
            port: Some(80),
            by: vec!["wide".into()],
            is_partly_excepted: false,
        };
        assert_eq!(shadowed, [expected]);
        assert_eq!(compile(&policy(&[narrow, wide]), &[0, 1]).1, []);
    }

    #[test]
    fn what_several_have_between_them_is_told() {
        let halves = [service("low", &["10.0.0.0/9"], &[]), service("high", &["10.128.0.0/9"], &[80])];
        let excepting = |network: &str, ports: &[u16]| {
            let mut last = service("last", &["10.0.0.0/8"], &[80, 443]);
            last.except.networks = vec![network.parse().expect("a network")];
            last.except.ports = ports.to_vec();
            last
        };
        // What stands last => at which ports it never decides, because of whom, and whether it excepts the rest itself.
        for (last, expected) in [
            (service("last", &["10.0.0.0/8"], &[]), &[][..]),
            (service("last", &["10.0.0.0/8"], &[80]), &[(80, &["low", "high"][..], false)]),
            (service("last", &["10.0.0.0/8"], &[80, 443]), &[(80, &["low", "high"], false)]),
            (service("last", &["10.1.0.0/16"], &[443]), &[(443, &["low"], false)]),
            (service("last", &["10.0.0.0/7"], &[80]), &[]),
            (excepting("10.9.0.0/16", &[]), &[(80, &["low", "high"], false)]),
            (excepting("10.128.0.0/9", &[]), &[(80, &["low", "high"], false), (443, &["low"], true)]),
            (excepting("10.192.0.0/10", &[]), &[(80, &["low", "high"], false)]),
            // What it excepts itself nobody takes from it, but for what they have anyway.
            (excepting("10.0.0.0/8", &[80, 443]), &[(80, &["low", "high"], false)]),
        ] {
            let services = [&halves[..], std::slice::from_ref(&last)].concat();
            let (rules, shadowed) = compile(&policy(&services), &[0, 1, 2]);
            let told: Vec<_> = shadowed
                .iter()
                .map(|one| {
                    let by: Vec<_> = one.by.iter().map(String::as_str).collect();
                    (one.port.expect("a port"), by, one.is_partly_excepted)
                })
                .collect();
            let expected: Vec<_> =
                expected.iter().map(|(port, by, excepted)| (*port, by.to_vec(), *excepted)).collect();
            assert_eq!(told, expected, "{last:?}");
            for address in ["10.1.0.1", "10.129.0.1", "10.200.0.1", "11.0.0.1"] {
                for port in [80, 443, 22] {
                    assert_eq!(
                        found(&rules, address, port),
                        read(&services, address, port),
                        "{address}:{port}"
                    );
                }
            }
        }
    }
}
