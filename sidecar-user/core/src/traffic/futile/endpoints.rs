//! Endpoints that nobody gets, and such as are missed. What sources will tell nobody knows yet.

use crate::model::policy::{Balance, Endpoint, Gear, HashBy, Resolve, Service};

/// What of the two families has addresses and nobody to go to, or the other way round.
pub(super) fn of_families(service: &Service) -> Vec<String> {
    let Service { endpoints, supplies, gear, .. } = service;
    if endpoints.is_empty() || !supplies.is_empty() || *gear == Gear::Deny {
        return Vec::new();
    }
    [true, false].into_iter().filter_map(|is_v4| of_family(service, is_v4)).collect()
}

fn of_family(
    Service { name, hosts, resolve, networks, endpoints, .. }: &Service,
    is_v4: bool,
) -> Option<String> {
    let family = if is_v4 { 4 } else { 6 };
    let own = networks.iter().find(|network| network.address().is_ipv4() == is_v4);
    let is_virtual = !hosts.is_empty() && *resolve == Resolve::Virtual;
    let of_family = endpoints.iter().filter(|one: &&Endpoint| one.address.is_ipv4() == is_v4);
    let (n, weight) = of_family.fold((0, 0), |(n, sum), one| (n + 1, sum + u32::from(one.weight)));
    if n == 0 {
        return own.map(|own| {
            format!("`{name}` has {own} and no endpoint of IPv{family}: connections there go where they ask")
        });
    }
    if own.is_none() && hosts.is_empty() {
        return Some(format!(
            "`{name}` has endpoints of IPv{family} and no address of that: no connection goes to them"
        ));
    }
    let asked = format!("connections to addresses of IPv{family} go where they ask");
    let untold = format!("its names have no address of IPv{family}");
    let then = match (own.is_some(), is_virtual) {
        (true, true) => format!("{asked}, and {untold}"),
        (false, true) => untold,
        (_, false) => asked,
    };
    (weight == 0).then(|| format!("`{name}` has endpoints of IPv{family} that all weigh 0: {then}"))
}

/// Balanced by what most sockets do not have.
pub(super) fn hashed_alike(service: &Service) -> Option<String> {
    let Service { name, endpoints, supplies, balance, .. } = service;
    let has_several = endpoints.len() > 1 || !supplies.is_empty();
    (has_several && *balance == Balance::Hash(HashBy::Source)).then(|| {
        format!(
            "`{name}` is balanced by the address that a socket is bound to: those that are bound to none, as usual, all get one endpoint"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{said, service},
        *,
    };

    #[test]
    fn a_family_without_endpoints_is_told() {
        let both = &["10.0.0.0/8", "fd00::/8"][..];
        let (four, six) = ("10.0.0.1:80", "[fd00::1]:80");
        let asks = "connections to addresses of IPv6 go where they ask";
        let untold = "its names have no address of IPv6";
        for (own, hosts, resolve, endpoints, expected) in [
            (both, &[][..], Resolve::Real, &[(four, 1), (six, 1)][..], String::new()),
            (both, &[], Resolve::Real, &[], String::new()),
            (
                both,
                &[],
                Resolve::Real,
                &[(four, 1)],
                "`a` has fd00::/8 and no endpoint of IPv6: connections there go where they ask".to_owned(),
            ),
            (both, &[], Resolve::Real, &[(four, 1), (six, 0), ("[fd00::2]:80", 1)], String::new()),
            (
                both,
                &[],
                Resolve::Real,
                &[(four, 1), (six, 0)],
                format!("`a` has endpoints of IPv6 that all weigh 0: {asks}"),
            ),
            (
                &both[..1],
                &["a.test"],
                Resolve::Real,
                &[(four, 1), (six, 0)],
                format!("`a` has endpoints of IPv6 that all weigh 0: {asks}"),
            ),
            (
                &[],
                &["a.test"],
                Resolve::Virtual,
                &[(four, 1), (six, 0)],
                format!("`a` has endpoints of IPv6 that all weigh 0: {untold}"),
            ),
            (
                both,
                &["a.test"],
                Resolve::Virtual,
                &[(four, 1), (six, 0)],
                format!("`a` has endpoints of IPv6 that all weigh 0: {asks}, and {untold}"),
            ),
            (&[], &["a.test"], Resolve::Virtual, &[(four, 1)], String::new()),
            (
                &both[..1],
                &[],
                Resolve::Real,
                &[(four, 1), (six, 1)],
                "`a` has endpoints of IPv6 and no address of that: no connection goes to them".to_owned(),
            ),
        ] {
            let endpoint = |(address, weight): &(&str, u16)| Endpoint {
                address: address.parse().expect("an address"),
                weight: *weight,
                is_near: true,
            };
            let service = Service {
                hosts: hosts.iter().map(|host| host.parse().expect("a host")).collect(),
                resolve,
                endpoints: endpoints.iter().map(endpoint).collect(),
                ..service("a", own, &[])
            };
            let expected: Vec<_> = Some(expected).into_iter().filter(|why| !why.is_empty()).collect();
            assert_eq!(said(&[service]), expected);
        }
    }

    #[test]
    fn a_hash_of_what_sockets_do_not_have_is_told() {
        let endpoint = |n: u8| Endpoint { address: ([10, 0, 0, n], 80).into(), weight: 1, is_near: true };
        for (by, n, is_told) in [
            (Balance::Hash(HashBy::Source), 2, true),
            (Balance::Hash(HashBy::Source), 1, false),
            (Balance::Hash(HashBy::Process), 2, false),
            (Balance::Least, 2, false),
        ] {
            let endpoints = (0..n).map(endpoint).collect();
            let service = Service { balance: by, endpoints, ..service("a", &["10.0.0.0/8"], &[]) };
            let said = said(&[service]);
            assert_eq!(said.iter().any(|why| why.contains("all get one endpoint")), is_told, "{said:?}");
        }
    }
}
