//! What of a policy does nothing, or less than it seems to, though nothing is wrong with it by itself. Only what is certain
//! whatever happens: what nobody knows before names are asked for is said as that.

mod endpoints;
mod exceptions;
mod limits;
mod names;

pub use limits::crowded;

use super::rules::{self, Shadowed};
use crate::model::policy::{Policy, Service};

/// Something that does less than it seems to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Futile {
    /// Of which service.
    pub service: String,
    /// That is for what comes in.
    pub comes_in: bool,
    /// In a sentence, with the service.
    pub why: String,
}

/// All that is known without asking anybody.
#[must_use]
pub fn futile(policy: &Policy) -> Vec<Futile> {
    let [outbound, inbound] = rules::shadowed(policy);
    let shadowed = [(outbound, false), (inbound, true)].into_iter().flat_map(|(all, comes_in)| {
        all.into_iter().map(move |one| Futile { why: has_it(&one), service: one.service, comes_in })
    });
    let of = |service: &Service, comes_in: bool, why: Vec<String>| {
        let name = service.name.clone();
        why.into_iter().map(move |why| Futile { service: name.clone(), comes_in, why })
    };
    let services = policy.services.iter().enumerate().flat_map(|(at, service)| {
        let earlier = &policy.services[..at];
        let all = [
            names::denied_by_name_only(service).into_iter().collect(),
            names::had_by_others(service, earlier).into_iter().collect(),
            names::unanswered(service, &policy.services).into_iter().collect(),
            endpoints::of_families(service),
            endpoints::hashed_alike(service).into_iter().collect(),
            exceptions::futile(service),
            limits::never_reached(service, false).into_iter().collect(),
        ];
        of(service, false, all.concat())
    });
    let inbound = policy.inbound.iter().flat_map(|service| {
        let limits = limits::never_reached(service, true);
        of(service, true, exceptions::futile_inbound(service).into_iter().chain(limits).collect())
    });
    shadowed.chain(services).chain(inbound).collect()
}

/// Who decides instead.
fn has_it(Shadowed { service, network, port, by, is_partly_excepted }: &Shadowed) -> String {
    let port = port.map(|port| format!(" at port {port}")).unwrap_or_default();
    let what = if *is_partly_excepted { "what it does not except itself" } else { "it" };
    let (stands, has) = if by.len() == 1 { ("stands", "has") } else { ("stand", "have") };
    let by = listed(by.iter().map(|by| format!("`{by}`")));
    format!("`{service}` never gets {network}{port}: {by}, which {stands} before it, {has} {what}")
}

/// The first of them by name, the others by their number.
fn listed(all: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 3;
    let mut all: Vec<_> = all.collect();
    let last = match all.len() {
        n if n > SHOWN + 1 => {
            all.truncate(SHOWN);
            format!("{} others", n - SHOWN)
        }
        _ => all.pop().unwrap_or_default(),
    };
    if all.is_empty() { last } else { format!("{} and {last}", all.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy::{Except, Gear};

    /// A service with these networks.
    pub(super) fn service(name: &str, own: &[&str], ports: &[u16]) -> Service {
        Service { networks: networks(own), ports: ports.to_vec(), ..Service::named(name) }
    }

    pub(super) fn networks(all: &[&str]) -> Vec<crate::model::Network> {
        all.iter().map(|network| network.parse().expect("a network")).collect()
    }

    /// What is said of services.
    pub(super) fn said(services: &[Service]) -> Vec<String> {
        let policy = Policy { services: services.to_vec(), ..Policy::default() };
        futile(&policy).into_iter().map(|one| one.why).collect()
    }

    /// What is said of a service for what comes in.
    pub(super) fn said_inbound(inbound: &Service) -> Vec<String> {
        let policy = Policy { inbound: vec![inbound.clone()], ..Policy::default() };
        let all = futile(&policy).into_iter();
        all.inspect(|one| assert!(one.comes_in)).map(|one| one.why).collect()
    }

    #[test]
    fn who_decides_instead_is_named() {
        let halves = ["a", "b", "c", "d", "e"].into_iter().zip([
            &["10.0.0.0/9", "11.0.0.0/9"][..],
            &["10.128.0.0/9", "11.128.0.0/10"],
            &["11.192.0.0/11"],
            &["11.224.0.0/12"],
            &["11.240.0.0/12"],
        ]);
        let earlier: Vec<_> = halves.map(|(name, own)| service(name, own, &[])).collect();
        for (own, ports, expected) in [
            (&["10.1.0.0/16"][..], &[][..], "10.1.0.0/16: `a`, which stands before it, has it"),
            (&["10.1.0.0/16"], &[80], "10.1.0.0/16 at port 80: `a`, which stands before it, has it"),
            (&["10.0.0.0/8"], &[], "10.0.0.0/8: `a` and `b`, which stand before it, have it"),
            (&["11.0.0.0/8"], &[], "11.0.0.0/8: `a`, `b`, `c` and 2 others, which stand before it, have it"),
        ] {
            let services = [&earlier[..], &[service("last", own, ports)]].concat();
            assert_eq!(said(&services), [format!("`last` never gets {expected}")]);
        }
        let except = Except { networks: networks(&["10.128.0.0/9"]), ..Except::default() };
        let last = Service { except, gear: Gear::Deny, ..service("last", &["10.0.0.0/8"], &[]) };
        assert_eq!(
            said(&[earlier[0].clone(), last]),
            ["`last` never gets 10.0.0.0/8: `a`, which stands before it, has what it does not except itself"]
        );
        let mut policy = Policy { inbound: vec![service("a", &["0.0.0.0/1"], &[80])], ..Policy::default() };
        policy.inbound.push(service("b", &["128.0.0.0/1"], &[80]));
        policy.inbound.push(service("c", &["0.0.0.0/0"], &[80]));
        let expected = "`c` never gets 0.0.0.0/0 at port 80: `a` and `b`, which stand before it, have it";
        let expected = Futile { service: "c".into(), comes_in: true, why: expected.into() };
        assert_eq!(futile(&policy), [expected]);
    }
}
