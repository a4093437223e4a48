//! What of a policy does nothing, though nothing is wrong with it by itself. What an earlier service covers is told apart, by
//! [`shadowed`](super::shadowed).

use std::net::IpAddr;

use crate::model::{
    Network,
    policy::{Except, Gear, Policy, Resolve, Service},
};

/// In sentences: of services, and of what comes in.
#[must_use]
pub fn futile(policy: &Policy) -> [Vec<String>; 2] {
    let services = policy.services.iter();
    let services = services.flat_map(|service| {
        [of_family(service, true), of_family(service, false), nothing_left(service, false)]
    });
    let inbound = policy.inbound.iter();
    let inbound =
        inbound.flat_map(|service| exceptions(service).into_iter().chain(nothing_left(service, true)));
    [services.flatten().collect(), inbound.collect()]
}

/// Addresses of a family that no endpoint is of. What sources will tell nobody knows yet.
fn of_family(service: &Service, is_v4: bool) -> Option<String> {
    let Service { name, networks, endpoints, supplies, gear, .. } = service;
    let own = networks.iter().find(|network| network.address().is_ipv4() == is_v4)?;
    let has_none = !endpoints.is_empty() && endpoints.iter().all(|one| one.address.is_ipv4() != is_v4);
    let family = if is_v4 { 4 } else { 6 };
    (has_none && supplies.is_empty() && *gear != Gear::Deny).then(|| {
        format!("`{name}` has {own} and no endpoint of IPv{family}: connections there go where they ask")
    })
}

/// Exceptions by address, by port or by user that leave nothing of a service. Each holds whatever the others say.
fn nothing_left(service: &Service, comes_in: bool) -> Option<String> {
    let Service { name, hosts, resolve, networks, ports, except, gear, .. } = service;
    let has_virtual = !hosts.is_empty() && *resolve == Resolve::Virtual;
    let mut own = networks.clone();
    if !hosts.is_empty() && !has_virtual {
        // Which addresses its names have nobody knows yet.
        own.extend(Network::ALL);
    }
    if own.is_empty() {
        return None;
    }
    let users = except.uids.iter().map(|uids| uids.ends()).map(|(first, last)| (first.into(), last.into()));
    let is_excepted = |port: &u16| except.ports.contains(port);
    let what = if own.iter().all(|network| is_covered(span(network), of_same_family(except, network))) {
        if comes_in { "everybody whom it is for" } else { "all of its addresses" }
    } else if !ports.is_empty() && ports.iter().all(is_excepted) {
        "all of its ports"
    } else if is_covered((0, (u32::MAX - 1).into()), users) {
        "every user"
    } else {
        return None;
    };
    let then = match (comes_in, gear) {
        (_, Gear::Deny) => "nothing is denied",
        (true, _) => "the application gets what comes in",
        (false, _) => "connections go where they ask",
    };
    let but = if has_virtual { ", but for those to its names" } else { "" };
    Some(format!("`{name}` excepts {what}: {then}{but}"))
}

/// The numbers of its first and its last address.
fn span(network: &Network) -> (u128, u128) {
    let (first, bits) = match network.address() {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32 - network.prefix()),
        IpAddr::V6(address) => (u128::from(address), 128 - network.prefix()),
    };
    let rest = 1_u128.checked_shl(bits.into()).map_or(u128::MAX, |size| size - 1);
    (first & !rest, first | rest)
}

fn of_same_family(except: &Except, network: &Network) -> impl Iterator<Item = (u128, u128)> {
    let is_v4 = network.address().is_ipv4();
    except.networks.iter().filter(move |other| other.address().is_ipv4() == is_v4).map(span)
}

/// Whether these ranges have all of another, none of them alone perhaps.
fn is_covered((first, last): (u128, u128), by: impl Iterator<Item = (u128, u128)>) -> bool {
    let mut by: Vec<_> = by.collect();
    by.sort_unstable();
    let mut next = first;
    for (begin, end) in by {
        if begin > next {
            return false;
        }
        if end >= last {
            return true;
        }
        next = next.max(end + 1);
    }
    false
}

/// Clients that are excepted, though it is not for them.
fn exceptions(Service { name, networks, except, .. }: &Service) -> Vec<String> {
    let is_of = |network| networks.iter().any(|own| own.covers(network) || network.covers(own));
    let foreign = except.networks.iter().filter(|network| !is_of(network));
    foreign
        .map(|network| format!("`{name}` excepts {network}, and is not for who comes from there"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Host, policy::Endpoint};

    fn networks(all: &[&str]) -> Vec<Network> {
        all.iter().map(|network| network.parse().expect("a network")).collect()
    }

    #[test]
    fn a_family_without_endpoints_is_told() {
        let both = ["10.0.0.0/8", "fd00::/8"];
        for (own, endpoints, expected) in [
            (&both[..], &["10.0.0.1:80", "[fd00::1]:80"][..], &[][..]),
            (&both, &["10.0.0.1:80"], &["fd00::/8 and no endpoint of IPv6"]),
            (&["0.0.0.0/0"], &["[fd00::1]:80"], &["0.0.0.0/0 and no endpoint of IPv4"]),
            (&both, &[], &[]),
        ] {
            let endpoint = |address: &&str| Endpoint {
                address: address.parse().expect("an address"),
                weight: 1,
                is_near: true,
            };
            let endpoints = endpoints.iter().map(endpoint).collect();
            let service = Service { networks: networks(own), endpoints, ..Service::named("a") };
            let [said, _] = futile(&Policy { services: vec![service], ..Policy::default() });
            assert!(
                said.len() == expected.len() && said.iter().zip(expected).all(|(a, b)| a.contains(b)),
                "{said:?}"
            );
        }
    }

    #[test]
    fn an_exception_of_nobody_who_comes_is_told() {
        let except = Except { networks: networks(&["10.1.0.0/16", "11.0.0.1"]), ..Except::default() };
        let inbound = Service { networks: networks(&["10.0.0.0/8"]), except, ..Service::named("web") };
        let [_, said] = futile(&Policy { inbound: vec![inbound], ..Policy::default() });
        assert_eq!(said, ["`web` excepts 11.0.0.1/32, and is not for who comes from there"]);
    }

    #[test]
    fn exceptions_that_leave_nothing_are_told() {
        let service = |own: &[&str], ports: &[u16]| Service {
            networks: networks(own),
            ports: ports.to_vec(),
            gear: Gear::Deny,
            ..Service::named("a")
        };
        let by_address = |all: &[&str]| Except { networks: networks(all), ..Except::default() };
        let by_port = |all: &[u16]| Except { ports: all.to_vec(), ..Except::default() };
        let by_user = |all: &[&str]| Except {
            uids: all.iter().map(|uids| uids.parse().expect("users")).collect(),
            ..Except::default()
        };
        let (ten, both) = (&["10.0.0.0/8"][..], &["10.0.0.0/8", "fd00::/8"][..]);
        for (own, ports, except, expected) in [
            (ten, &[][..], by_address(&["10.0.0.0/8"]), "all of its addresses"),
            (ten, &[80], by_address(&["10.128.0.0/9", "10.0.0.0/9"]), "all of its addresses"),
            (ten, &[], by_address(&["10.64.0.0/9", "10.129.0.0/9"]), "all of its addresses"),
            (ten, &[], by_address(&["10.0.0.0/9", "10.128.0.0/10"]), ""),
            (ten, &[], by_address(&["10.0.0.0/9", "10.129.0.0/16", "10.192.0.0/10"]), ""),
            (ten, &[], by_address(&["::/0"]), ""),
            (both, &[], by_address(&["0.0.0.0/0"]), ""),
            (both, &[], by_address(&["0.0.0.0/0", "::/1", "8000::/1"]), "all of its addresses"),
            (both, &[80, 443], by_port(&[443, 1, 80]), "all of its ports"),
            (both, &[80, 443], by_port(&[80]), ""),
            (both, &[], by_port(&[80]), ""),
            (ten, &[], by_user(&["0-4294967294"]), "every user"),
            (ten, &[], by_user(&["1000-4294967294", "0-999"]), "every user"),
            (ten, &[], by_user(&["1000-4294967294", "0-998"]), ""),
            (ten, &[], by_user(&["1-4294967294"]), ""),
            (ten, &[], Except::default(), ""),
        ] {
            let service = Service { except, ..service(own, ports) };
            let expected: &[String] = match expected {
                "" => &[],
                what => &[format!("`a` excepts {what}: nothing is denied")],
            };
            let [said, _] = futile(&Policy { services: vec![service.clone()], ..Policy::default() });
            assert_eq!(said, expected, "{service:?}");
        }
        // Names that are real have addresses that nobody knows yet, virtual ones are not excepted.
        let hosts: Vec<Host> = vec!["a.test".parse().expect("a host")];
        let except = by_address(&["0.0.0.0/0", "::/0"]);
        let real = Service { hosts: hosts.clone(), except: except.clone(), ..service(&[], &[]) };
        let partly = Service { except: by_address(&["0.0.0.0/0"]), ..real.clone() };
        let fake = Service { resolve: Resolve::Virtual, ..real.clone() };
        let besides = Service { hosts, resolve: Resolve::Virtual, except, ..service(ten, &[]) };
        for (service, expected) in [
            (real, Some("`a` excepts all of its addresses: nothing is denied")),
            (partly, None),
            (fake, None),
            (
                besides,
                Some("`a` excepts all of its addresses: nothing is denied, but for those to its names"),
            ),
        ] {
            let [said, _] = futile(&Policy { services: vec![service], ..Policy::default() });
            assert_eq!(said.first().map(String::as_str), expected);
        }
        for (gear, then) in
            [(Gear::Deny, "nothing is denied"), (Gear::Proxy, "the application gets what comes in")]
        {
            let inbound = Service { gear, except: by_address(&["10.0.0.0/7"]), ..service(ten, &[80]) };
            let [_, said] = futile(&Policy { inbound: vec![inbound], ..Policy::default() });
            assert_eq!(said, [format!("`a` excepts everybody whom it is for: {then}")]);
        }
    }
}
