//! What of a policy does nothing, though nothing is wrong with it by itself. What an earlier service covers is told apart, by
//! [`shadowed`](super::shadowed).

use crate::model::policy::{Gear, Policy, Service};

/// In sentences: of services, and of what comes in.
#[must_use]
pub fn futile(policy: &Policy) -> [Vec<String>; 2] {
    let services = policy.services.iter();
    let services = services.flat_map(|service| [of_family(service, true), of_family(service, false)]);
    [services.flatten().collect(), policy.inbound.iter().flat_map(exceptions).collect()]
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
    use crate::model::{
        Network,
        policy::{Endpoint, Except},
    };

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
}
