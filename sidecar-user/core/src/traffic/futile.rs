//! What of a policy does nothing, though nothing is wrong with it by itself. What an earlier service covers is told apart, by
//! [`shadowed`](super::shadowed).

use crate::model::{
    Network,
    policy::{Gear, Policy, Resolve, Service},
};

/// In sentences: of services, and of what comes in.
#[must_use]
pub fn futile(policy: &Policy) -> [Vec<String>; 2] {
    let of = |services: &[Service]| services.iter().flat_map(of_service).collect();
    [of(&policy.services), of(&policy.inbound)]
}

fn of_service(service: &Service) -> Vec<String> {
    let Service { name, networks, except, endpoints, gear, .. } = service;
    // Addresses that a resolver answers with are added to its own: nobody knows them yet.
    let learns = !service.hosts.is_empty() && service.resolve == Resolve::Real;
    let is_foreign =
        |network: &&Network| !networks.iter().any(|own| own.covers(network) || network.covers(own));
    let foreign = except.networks.iter().filter(|network| !learns && is_foreign(network));
    let foreign = foreign.map(|network| format!("`{name}` excepts {network}, of which it has nothing"));
    let ports = except.ports.iter().filter(|port| !service.is_for(**port));
    let ports = ports.map(|port| format!("`{name}` excepts port {port}, which it does not have"));
    let without = |is_v4: bool, family: u8| {
        let own = networks.iter().find(|network| network.address().is_ipv4() == is_v4)?;
        let is_there = endpoints.iter().any(|endpoint| endpoint.address.is_ipv4() == is_v4);
        (!endpoints.is_empty() && !is_there && *gear != Gear::Deny).then(|| {
            format!("`{name}` has {own} and no endpoint of IPv{family}: connections there go where they ask")
        })
    };
    foreign.chain(ports).chain(without(true, 4)).chain(without(false, 6)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy::{Endpoint, Except};

    fn networks(all: &[&str]) -> Vec<Network> {
        all.iter().map(|network| network.parse().expect("a network")).collect()
    }

    type Case = ([&'static [&'static str]; 3], [&'static [u16]; 2], &'static [&'static str]);

    #[test]
    fn what_does_nothing_is_said() {
        // Networks, excepted ones, endpoints; ports, excepted ones => what is said.
        const ALL: &[&str] = &["10.0.0.0/8", "fd00::/8"];
        let cases: &[Case] = &[
            ([&["10.0.0.0/8"], &["10.2.0.0/16"], &[]], [&[80], &[]], &[]),
            ([&["10.0.0.0/8"], &["0.0.0.0/0"], &[]], [&[80], &[80]], &[]),
            (
                [&["10.0.0.0/8"], &["11.0.0.0/16", "fd00::/8"], &[]],
                [&[80], &[]],
                &["excepts 11.0.0.0/16", "excepts fd00::/8"],
            ),
            ([&["10.0.0.0/8"], &[], &[]], [&[80], &[22]], &["excepts port 22"]),
            ([&["10.0.0.0/8"], &[], &[]], [&[], &[22]], &[]),
            ([ALL, &[], &["10.0.0.1:80", "[fd00::1]:80"]], [&[], &[]], &[]),
            ([ALL, &[], &["10.0.0.1:80"]], [&[], &[]], &["no endpoint of IPv6"]),
            ([&["0.0.0.0/0"], &[], &["[fd00::1]:80"]], [&[], &[]], &["no endpoint of IPv4"]),
        ];
        for ([own, except, endpoints], [ports, except_ports], expected) in cases {
            let endpoint = |address: &&str| Endpoint {
                address: address.parse().expect("an address"),
                weight: 1,
                is_near: true,
            };
            let service = Service {
                networks: networks(own),
                ports: ports.to_vec(),
                except: Except {
                    networks: networks(except),
                    ports: except_ports.to_vec(),
                    ..Except::default()
                },
                endpoints: endpoints.iter().map(endpoint).collect(),
                ..Service::named("a")
            };
            let said = of_service(&service);
            assert_eq!(said.len(), expected.len(), "{own:?}: {said:?}");
            for (said, part) in said.iter().zip(*expected) {
                assert!(said.contains(part), "{said}");
            }
        }
    }

    #[test]
    fn what_a_resolver_may_answer_with_is_not_futile() {
        let mut service = Service {
            hosts: vec!["api.internal".parse().expect("a name")],
            resolve: Resolve::Real,
            except: Except { networks: networks(&["10.1.0.0/16"]), ..Except::default() },
            ..Service::named("a")
        };
        assert_eq!(of_service(&service), Vec::<String>::new());
        service.resolve = Resolve::Virtual;
        assert_eq!(of_service(&service).len(), 1, "nobody has a virtual address for an exception");
    }
}
