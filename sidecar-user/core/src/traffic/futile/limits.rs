//! Limits that are never reached.

use super::Futile;
use crate::model::policy::{Gear, Limits, Policy, Service};

/// Ports that there may be between two addresses at one port of the other side's.
const PORTS: u64 = 65_535;
/// Descriptors that a process may have, whatever `fs.nr_open` is set to (`sysctl_nr_open_max` of fs/file.c); two of each connection.
const CARRIED: u64 = 2_147_483_584 / 2;

/// More connections at a time than there can be.
pub(super) fn never_reached(service: &Service, comes_in: bool) -> Option<String> {
    let Service { name, gear, limits, .. } = service;
    let most = u64::from(limits.connections?);
    let all = format!("`{name}` may have {most} connections at a time");
    if *gear == Gear::Proxy && most > CARRIED {
        return Some(format!("{all}: no process has descriptors for more than {CARRIED} through the relay"));
    }
    if most == u64::from(u32::MAX) {
        return Some(format!("{all}: no more than that are counted, and none is refused"));
    }
    let ports = n_destinations(service).filter(|_| !comes_in)?.saturating_mul(PORTS);
    (most > ports).then(|| {
        format!("{all}: each local address has ports for {ports} to where they go, so that one alone never reaches that")
    })
}

/// Addresses with their ports that its connections go to, where that is known.
fn n_destinations(service: &Service) -> Option<u64> {
    let Service { hosts, networks, ports, endpoints, supplies, .. } = service;
    if !supplies.is_empty() {
        return None;
    }
    if !endpoints.is_empty() {
        return Some(endpoints.iter().filter(|one| one.weight > 0).count() as u64);
    }
    let size = |network: &crate::model::Network| {
        let bits = if network.address().is_ipv4() { 32 } else { 128 } - u32::from(network.prefix());
        1_u64.checked_shl(bits).unwrap_or(u64::MAX)
    };
    let n_addresses = networks.iter().map(size).fold(0, u64::saturating_add);
    let n_ports = if ports.is_empty() { PORTS } else { ports.len() as u64 };
    hosts.is_empty().then(|| n_addresses.saturating_mul(n_ports))
}

/// Services that may have more connections through the relay than it has `room` for.
#[must_use]
pub fn crowded(policy: &Policy, room: u64) -> Vec<Futile> {
    let all = policy.services.iter().map(|service| (service, false));
    let all = all.chain(policy.inbound.iter().map(|service| (service, true)));
    let said = |(service, comes_in): (&Service, bool)| {
        let Service { name, gear: Gear::Proxy, limits: Limits { connections: Some(most), .. }, .. } = service
        else {
            return None;
        };
        (u64::from(*most) > room).then(|| {
            let why = format!(
                "`{name}` may have {most} connections at a time, and the relay has descriptors for {room}"
            );
            Futile { service: name.clone(), comes_in, why }
        })
    };
    all.filter_map(said).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{said, said_inbound, service},
        *,
    };
    use crate::model::policy::Endpoint;

    fn limited(service: Service, most: u32) -> Service {
        Service { limits: Limits { connections: Some(most), rate: None }, ..service }
    }

    #[test]
    fn a_limit_that_is_never_reached_is_told() {
        let one = |ports: &[u16]| service("a", &["10.0.0.1"], ports);
        let endpoint =
            |(n, weight): (u8, u16)| Endpoint { address: ([10, 0, 0, n], 80).into(), weight, is_near: true };
        let endpoints = [(1, 1), (2, 1), (3, 0)].map(endpoint).to_vec();
        let at_two = Service { endpoints, ..service("a", &["10.0.0.0/8"], &[]) };
        let named = Service { hosts: vec!["a.test".parse().expect("a host")], ..one(&[80]) };
        let ports = |n: u64| {
            format!(
                "each local address has ports for {n} to where they go, so that one alone never reaches that"
            )
        };
        for (service, most, expected) in [
            (one(&[80]), 65_535, String::new()),
            (one(&[80]), 65_536, ports(65_535)),
            (one(&[80, 443]), 131_071, ports(131_070)),
            (one(&[]), 4_294_836_225, String::new()),
            (one(&[]), 4_294_836_226, ports(4_294_836_225)),
            (at_two.clone(), 131_070, String::new()),
            (at_two.clone(), 131_071, ports(131_070)),
            (named.clone(), 131_071, String::new()),
            (named, u32::MAX, "no more than that are counted, and none is refused".to_owned()),
            (service("a", &["::/0"], &[]), 4_294_967_294, String::new()),
            (
                Service { gear: Gear::Proxy, ..service("a", &["::/0"], &[]) },
                1_073_741_793,
                "no process has descriptors for more than 1073741792 through the relay".to_owned(),
            ),
        ] {
            let expected = match expected.as_str() {
                "" => String::new(),
                then => format!("`a` may have {most} connections at a time: {then}"),
            };
            let said = said(&[limited(service, most)]);
            assert_eq!(said.concat(), expected);
        }
        let inbound = Service { gear: Gear::Proxy, ..one(&[80]) };
        assert_eq!(said_inbound(&limited(inbound.clone(), 1_073_741_792)), Vec::<String>::new());
        assert_eq!(said_inbound(&limited(inbound, 1_073_741_793)).len(), 1);
    }

    #[test]
    fn limits_beyond_the_relays_are_told() {
        let proxied =
            |name: &str, most| limited(Service { gear: Gear::Proxy, ..service(name, &["::/0"], &[]) }, most);
        let services = vec![proxied("a", 101), proxied("b", 100), limited(service("c", &["::/0"], &[]), 101)];
        let policy = Policy { services, inbound: vec![proxied("d", 102)], ..Policy::default() };
        let told = crowded(&policy, 100).into_iter().map(|one| (one.comes_in, one.why));
        let why = |name: &str, most: u32| {
            format!("`{name}` may have {most} connections at a time, and the relay has descriptors for 100")
        };
        assert_eq!(told.collect::<Vec<_>>(), [(false, why("a", 101)), (true, why("d", 102))]);
    }
}
