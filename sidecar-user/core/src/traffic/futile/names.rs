//! Names whose connections others get, as they have the addresses. Which addresses a name has that resolvers answer nobody knows
//! before it is asked for.

use super::{super::cover::cover, listed};
use crate::model::{
    Network,
    policy::{Except, Gear, Resolve, Service},
};

/// Where resolvers are asked.
const DNS: u16 = 53;

/// A denial that goes by the name.
pub(super) fn denied_by_name_only(service: &Service) -> Option<String> {
    let Service { name, hosts, resolve, networks, gear, .. } = service;
    let others = match resolve {
        Resolve::Virtual => "",
        Resolve::Real => ", and other names on the same address are denied with it",
    };
    (*gear == Gear::Deny && !hosts.is_empty() && networks.is_empty()).then(|| {
        format!(
            "`{name}` is denied by its name only: whoever has its address from elsewhere reaches it{others}"
        )
    })
}

/// Names that nobody is asked for, as all resolvers are denied.
pub(super) fn unanswered(service: &Service, all: &[Service]) -> Option<String> {
    if service.hosts.is_empty() || service.gear == Gear::Deny {
        return None;
    }
    let of_dns = || all.iter().filter(|other| other.is_for(DNS) && !other.networks.is_empty());
    // Else some are let through, perhaps.
    if of_dns().any(|other| other.gear != Gear::Deny || other.except != Except::default()) {
        return None;
    }
    let networks =
        || of_dns().flat_map(|other| other.networks.iter().map(move |network| (*network, &other.name)));
    let [Some(four), Some(six)] = Network::ALL.map(|all| cover(&all, networks())) else { return None };
    let mut by = [four, six].concat();
    by.dedup();
    let deny = if by.len() == 1 { "denies" } else { "deny" };
    let by = listed(by.into_iter().map(|by| format!("`{by}`")));
    let name = &service.name;
    Some(format!("`{name}` has names that are not answered: {by} {deny} every resolver; except theirs"))
}

/// Real names behind networks of `earlier` services.
pub(super) fn had_by_others(service: &Service, earlier: &[Service]) -> Option<String> {
    let Service { name, hosts, resolve, ports, gear, .. } = service;
    if hosts.is_empty() || *resolve == Resolve::Virtual {
        return None;
    }
    let denies = *gear == Gear::Deny;
    let [never, not] =
        if denies { ["never denies", "does not deny"] } else { ["never gets", "does not get"] };
    // What another denies is denied.
    let earlier = earlier
        .iter()
        .filter(|other| !(denies && other.gear == Gear::Deny && other.except == Except::default()));
    let had: Vec<(&Service, Vec<u16>, &Network)> = earlier
        .filter_map(|other| Some((other, in_common(ports, &other.ports)?)))
        .flat_map(|(other, ports)| other.networks.iter().map(move |network| (other, ports.clone(), network)))
        .collect();
    let at_all_ports = || had.iter().filter(|(_, ports, _)| ports.is_empty());
    let of_all =
        |all: &Network| cover(all, at_all_ports().map(|(other, _, network)| (**network, &other.name)));
    if let [Some(four), Some(six)] = Network::ALL.map(|all| of_all(&all)) {
        let mut by = [four, six].concat();
        by.dedup();
        let (stands, has) = if by.len() == 1 { ("stands", "has") } else { ("stand", "have") };
        let by = listed(by.into_iter().map(|by| format!("`{by}`")));
        return Some(format!(
            "`{name}` {never} connections by its names: {by}, which {stands} before it, {has} every address"
        ));
    }
    let had = had.into_iter().map(|(other, ports, network)| {
        let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
        let at = if ports.is_empty() { String::new() } else { format!(" at port {}", ports.join(", ")) };
        format!("{network}{at} (`{}`)", other.name)
    });
    let had: Vec<_> = had.collect();
    (!had.is_empty()).then(|| {
        let had = listed(had.into_iter());
        format!("`{name}` {not} connections by its names where their addresses are in {had}: what stands before it has them")
    })
}

/// Ports that another has, too: none told is all of its own; `None`: it has none of them.
fn in_common(own: &[u16], other: &[u16]) -> Option<Vec<u16>> {
    if other.is_empty() {
        return Some(Vec::new());
    }
    if own.is_empty() {
        return Some(other.to_vec());
    }
    let both: Vec<_> = own.iter().copied().filter(|port| other.contains(port)).collect();
    match both.len() {
        0 => None,
        n if n == own.len() => Some(Vec::new()),
        _ => Some(both),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{networks, said, service},
        *,
    };

    fn named(gear: Gear, resolve: Resolve, ports: &[u16]) -> Service {
        let hosts = vec!["a.test".parse().expect("a host")];
        Service { hosts, resolve, gear, ..service("last", &[], ports) }
    }

    #[test]
    fn a_denial_that_goes_by_the_name_is_told() {
        let only = "`last` is denied by its name only: whoever has its address from elsewhere reaches it";
        let besides = Service { networks: networks(&["10.0.0.1"]), ..named(Gear::Deny, Resolve::Real, &[]) };
        let others = format!("{only}, and other names on the same address are denied with it");
        for (service, expected) in [
            (named(Gear::Deny, Resolve::Virtual, &[]), &[only.to_owned()][..]),
            (named(Gear::Deny, Resolve::Real, &[]), &[others]),
            (besides, &[]),
            (named(Gear::Proxy, Resolve::Real, &[]), &[]),
        ] {
            assert_eq!(said(&[service]), expected);
        }
    }

    #[test]
    fn names_behind_what_others_have_are_told() {
        let never = "`last` never gets connections by its names: ";
        let partly = "`last` does not get connections by its names where their addresses are in ";
        let all = ["0.0.0.0/0", "::/0"];
        let (web, any) = (service("a", &all, &[80]), service("a", &all, &[]));
        let four = service("a", &all[..1], &[]);
        let ten = service("ten", &["10.0.0.0/8"], &[]);
        let halves = service("halves", &["::/1", "8000::/1"], &[80, 443]);
        for (earlier, ports, expected) in [
            (vec![any.clone()], &[][..], format!("{never}`a`, which stands before it, has every address")),
            (vec![web.clone()], &[80], format!("{never}`a`, which stands before it, has every address")),
            (
                vec![four.clone(), halves.clone()],
                &[443],
                format!("{never}`a` and `halves`, which stand before it, have every address"),
            ),
            (vec![web.clone()], &[443], String::new()),
            (
                vec![web.clone()],
                &[80, 443],
                format!(
                    "{partly}0.0.0.0/0 at port 80 (`a`) and ::/0 at port 80 (`a`): what stands before it has them"
                ),
            ),
            (
                vec![web.clone()],
                &[],
                format!(
                    "{partly}0.0.0.0/0 at port 80 (`a`) and ::/0 at port 80 (`a`): what stands before it has them"
                ),
            ),
            (vec![ten.clone()], &[80], format!("{partly}10.0.0.0/8 (`ten`): what stands before it has them")),
            (vec![four.clone()], &[80], format!("{partly}0.0.0.0/0 (`a`): what stands before it has them")),
            (vec![], &[80], String::new()),
        ] {
            let services = [&earlier[..], &[named(Gear::Direct, Resolve::Real, ports)]].concat();
            let expected: Vec<_> = Some(expected).into_iter().filter(|why| !why.is_empty()).collect();
            assert_eq!(said(&services), expected, "{services:?}");
            // What stands behind takes nothing, nor is anybody at an address of ours.
            let behind = [&[named(Gear::Direct, Resolve::Real, ports)], &earlier[..]].concat();
            assert_eq!(said(&behind), Vec::<String>::new());
            let fake = [&earlier[..], &[named(Gear::Direct, Resolve::Virtual, ports)]].concat();
            assert_eq!(said(&fake), Vec::<String>::new());
        }
    }

    #[test]
    fn names_are_answered_where_a_resolver_may_be_asked() {
        let denies = |name: &str, own: &[&str], ports: &[u16]| Service {
            gear: Gear::Deny,
            ..service(name, own, ports)
        };
        let all = denies("all", &["0.0.0.0/0", "::/0"], &[]);
        let excepted = Service {
            except: Except { networks: networks(&["10.0.0.53"]), ..Except::default() },
            ..all.clone()
        };
        for (others, by) in [
            (vec![all.clone()], Some("`all` denies")),
            (vec![denies("dns", &["0.0.0.0/0", "::/0"], &[80, 53])], Some("`dns` denies")),
            (
                vec![denies("four", &["0.0.0.0/0"], &[]), denies("six", &["::/0"], &[53])],
                Some("`four` and `six` deny"),
            ),
            (vec![denies("four", &["0.0.0.0/0"], &[])], None),
            (vec![denies("web", &["0.0.0.0/0", "::/0"], &[80])], None),
            (vec![excepted], None),
            (vec![service("resolver", &["10.0.0.53"], &[53]), all], None),
        ] {
            let services = [&[named(Gear::Direct, Resolve::Virtual, &[80])], &others[..]].concat();
            let said = said(&services);
            let said: Vec<_> = said.iter().filter(|why| why.contains("not answered")).collect();
            let expected = by.map(|by| {
                format!("`last` has names that are not answered: {by} every resolver; except theirs")
            });
            assert_eq!(said, expected.iter().collect::<Vec<_>>(), "{others:?}");
        }
    }

    #[test]
    fn a_denial_behind_what_others_have_does_not_hold() {
        let denied = named(Gear::Deny, Resolve::Real, &[80]);
        let ten = service("ten", &["10.0.0.0/8"], &[]);
        let denies = Service { gear: Gear::Deny, ..service("no", &["0.0.0.0/0", "::/0"], &[]) };
        let except = Except { ports: vec![80], ..Except::default() };
        for (earlier, expected) in [
            (
                vec![ten.clone()],
                "`last` does not deny connections by its names where their addresses are in 10.0.0.0/8 (`ten`): what stands before it has them",
            ),
            (vec![denies.clone()], ""),
            (
                vec![Service { except, ..denies }],
                "`last` never denies connections by its names: `no`, which stands before it, has every address",
            ),
        ] {
            let services = [&earlier[..], std::slice::from_ref(&denied)].concat();
            let said = said(&services);
            let said: Vec<_> = said.iter().filter(|why| why.contains("by its names")).collect();
            assert_eq!(said.into_iter().cloned().collect::<String>(), expected);
        }
    }
}
