//! Exceptions that leave nothing of a service, and such as are of nothing that it has.

use std::iter;

use super::{
    super::cover::{cover, cover_span},
    listed,
};
use crate::model::{
    Network,
    policy::{Gear, Resolve, Service},
};

/// Of a service that connections go out to.
pub(super) fn futile(service: &Service) -> Vec<String> {
    foreign(service).into_iter().chain(nothing_left(service, false)).collect()
}

/// The same where connections come in.
pub(super) fn futile_inbound(service: &Service) -> Vec<String> {
    let Service { name, .. } = service;
    let foreign = foreign_networks(service)
        .map(|network| format!("`{name}` excepts {network}, and is not for who comes from there"));
    foreign.chain(nothing_left(service, true)).collect()
}

/// What is excepted, though the service does not have it. Which addresses its real names have nobody knows yet.
fn foreign(service: &Service) -> Vec<String> {
    let Service { name, hosts, resolve, networks, except, .. } = service;
    if networks.is_empty() && *resolve == Resolve::Virtual {
        let networks = except.networks.iter().map(ToString::to_string);
        let all: Vec<_> = networks.chain(except.ports.iter().map(|port| format!("port {port}"))).collect();
        let why = "all of its names have virtual addresses, of which nothing is excepted";
        return match all.is_empty() {
            true => Vec::new(),
            false => vec![format!("`{name}` excepts {}: {why}", listed(all.into_iter()))],
        };
    }
    let networks = foreign_networks(service).filter(|_| hosts.is_empty() || *resolve == Resolve::Virtual);
    let networks = networks.map(ToString::to_string);
    let ports = except.ports.iter().filter(|port| !service.is_for(**port));
    let all = networks.chain(ports.map(|port| format!("port {port}")));
    all.map(|what| format!("`{name}` excepts {what}, which it does not have")).collect()
}

fn foreign_networks(Service { networks, except, .. }: &Service) -> impl Iterator<Item = &Network> {
    let is_of = |network: &Network| networks.iter().any(|own| own.covers(network) || network.covers(own));
    except.networks.iter().filter(move |network| !is_of(network))
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
    let is_excepted_address =
        |network: &Network| cover(network, except.networks.iter().map(|other| (*other, ()))).is_some();
    let users = except.uids.iter().map(|uids| uids.ends()).map(|(first, last)| (first.into(), last.into()));
    let is_excepted = |port: &u16| except.ports.contains(port);
    let what = if own.iter().all(is_excepted_address) {
        if comes_in { "everybody whom it is for" } else { "all of its addresses" }
    } else if !ports.is_empty() && ports.iter().all(is_excepted) {
        "all of its ports"
    } else if cover_span((0, (u32::MAX - 1).into()), users.zip(iter::repeat(()))).is_some() {
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

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{networks, said, said_inbound, service},
        *,
    };
    use crate::model::{Host, policy::Except};

    #[test]
    fn an_exception_of_what_it_does_not_have_is_told() {
        let except = |all: &[&str], ports: &[u16]| Except {
            networks: networks(all),
            ports: ports.to_vec(),
            ..Except::default()
        };
        let inbound = Service {
            except: except(&["10.1.0.0/16", "11.0.0.1"], &[]),
            ..service("web", &["10.0.0.0/8"], &[])
        };
        assert_eq!(
            said_inbound(&inbound),
            ["`web` excepts 11.0.0.1/32, and is not for who comes from there"]
        );
        let ten = &["10.0.0.0/8"][..];
        for (own, ports, except, expected) in [
            (ten, &[80][..], except(&["10.1.0.0/16", "0.0.0.0/4"], &[80]), &[][..]),
            (ten, &[80], except(&["11.0.0.1"], &[22]), &["11.0.0.1/32", "port 22"]),
            (ten, &[], except(&["fd00::/8"], &[22]), &["fd00::/8"]),
        ] {
            let service = Service { except, ..service("a", own, ports) };
            let expected: Vec<_> =
                expected.iter().map(|what| format!("`a` excepts {what}, which it does not have")).collect();
            let said = said(&[service]);
            assert_eq!(
                said.iter().filter(|why| why.contains("not have")).collect::<Vec<_>>(),
                expected.iter().collect::<Vec<_>>()
            );
        }
        let hosts: Vec<Host> = vec!["a.test".parse().expect("a host")];
        let named = Service { hosts, except: except(ten, &[22]), ..service("a", &[], &[80]) };
        let besides = Service { networks: networks(&["11.0.0.0/8"]), ..named.clone() };
        let fake = |service: &Service| Service { resolve: Resolve::Virtual, ..service.clone() };
        let port = "`a` excepts port 22, which it does not have";
        for (service, expected) in [
            // Its addresses are not known yet.
            (&named, &[port][..]),
            (&besides, &[port]),
            (&fake(&besides), &["`a` excepts 10.0.0.0/8, which it does not have", port]),
            (
                &fake(&named),
                &[
                    "`a` excepts 10.0.0.0/8 and port 22: all of its names have virtual addresses, of which nothing is excepted",
                ],
            ),
        ] {
            assert_eq!(said(std::slice::from_ref(service)), expected);
        }
    }

    #[test]
    fn exceptions_that_leave_nothing_are_told() {
        let service = |own: &[&str], ports: &[u16]| Service { gear: Gear::Deny, ..service("a", own, ports) };
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
            let said =
                said(std::slice::from_ref(&service)).into_iter().filter(|why| !why.contains("not have"));
            assert_eq!(said.collect::<Vec<_>>(), expected, "{service:?}");
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
            let said = said(&[service]).into_iter().find(|why| why.contains("excepts all"));
            assert_eq!(said.as_deref(), expected);
        }
        for (gear, then) in
            [(Gear::Deny, "nothing is denied"), (Gear::Proxy, "the application gets what comes in")]
        {
            let inbound = Service { gear, except: by_address(&["10.0.0.0/7"]), ..service(ten, &[80]) };
            assert_eq!(said_inbound(&inbound), [format!("`a` excepts everybody whom it is for: {then}")]);
        }
    }
}
