//! Virtual addresses: which name has which.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use crate::model::{
    Host, Network,
    policy::{Gear, Policy, Resolve, Service},
};

/// A name that is answered by us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Virtual {
    /// The name.
    pub host: Host,
    /// Which of the policy's services it is of.
    pub service: usize,
    /// Its addresses, IPv4's and IPv6's, as far as the service can be had by that.
    pub addresses: [Option<IpAddr>; 2],
}

/// The same for the same names and pools, whatever else the policy has: what an application remembers stays true through a
/// restart. Only where two names fall on one address does a name's depend on another's.
#[must_use]
pub fn assign(policy: &Policy) -> Vec<Virtual> {
    let mut names: Vec<_> = policy
        .services
        .iter()
        .enumerate()
        .filter(|(_, service)| service.resolve == Resolve::Virtual)
        .flat_map(|(at, service)| service.hosts.iter().map(move |host| (host, at, families(service))))
        .collect();
    names.sort();
    names.dedup_by(|later, earlier| later.0 == earlier.0);
    let mut taken = BTreeSet::new();
    let virtuals = names.into_iter().map(|(host, service, families)| {
        // Both are taken, whichever is told: a service that gets an endpoint of the other family moves nobody.
        let both = [false, true].map(|is_v6| {
            let pool = policy.pools.iter().find(|pool| pool.address().is_ipv6() == is_v6);
            pool.and_then(|pool| free(pool, host, &mut taken))
        });
        let addresses = [0, 1].map(|family| both[family].filter(|_| families[family]));
        Virtual { host: host.clone(), service, addresses }
    });
    virtuals.collect()
}

/// Which name an address stands for: not for all below one.
#[must_use]
pub fn hosts(policy: &Policy) -> BTreeMap<IpAddr, Arc<str>> {
    let exact = assign(policy).into_iter().filter(|one| !one.host.is_wild());
    let named = |one: Virtual| {
        let name: Arc<str> = one.host.name().into();
        one.addresses.into_iter().flatten().map(move |address| (address, Arc::clone(&name)))
    };
    exact.flat_map(named).collect()
}

/// What a service can be had by, or might be. What is denied has addresses, so that it is refused at `connect()`.
fn families(service: &Service) -> [bool; 2] {
    if service.gear == Gear::Deny || service.waits || !service.supplies.is_empty() {
        return [true; 2];
    }
    [false, true].map(|is_v6| service.endpoints.iter().any(|endpoint| endpoint.address.is_ipv6() == is_v6))
}

/// How many names a pool has room for: its first and its last address are nobody's.
#[must_use]
pub fn room(pool: &Network) -> u64 {
    let bits = if pool.address().is_ipv4() { 32 } else { 128 };
    let host_bits = (bits - pool.prefix()).min(63);
    (1_u64 << host_bits).saturating_sub(2)
}

/// The first free address from where the name falls.
fn free(pool: &Network, host: &Host, taken: &mut BTreeSet<IpAddr>) -> Option<IpAddr> {
    let room = room(pool);
    if room == 0 {
        return None;
    }
    let start = hash(&host.to_string()) % room;
    let tries = (0..room).take(taken.len() + 1);
    let mut addresses = tries.map(|step| nth(pool, 1 + (start + step) % room));
    addresses.find(|address| taken.insert(*address))
}

fn nth(pool: &Network, n: u64) -> IpAddr {
    match pool.address() {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(pool.prefix())).unwrap_or(0);
            Ipv4Addr::from((u32::from(v4) & mask) | n as u32).into()
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(pool.prefix())).unwrap_or(0);
            Ipv6Addr::from((u128::from(v6) & mask) | u128::from(n)).into()
        }
    }
}

/// FNV-1a, of 64 bits, and its halves mixed: short texts differ in its low bits first.
fn hash(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy::Endpoint;

    fn service(name: &str, hosts: &[&str], endpoints: &[&str]) -> Service {
        let endpoint =
            |text: &&str| Endpoint { weight: 1, is_near: true, address: text.parse().expect("an address") };
        Service {
            hosts: hosts.iter().map(|host| host.parse().expect("a name")).collect(),
            resolve: Resolve::Virtual,
            endpoints: endpoints.iter().map(endpoint).collect(),
            ..Service::named(name)
        }
    }

    fn policy(services: Vec<Service>, pools: &[&str]) -> Policy {
        let pools = pools.iter().map(|pool| pool.parse().expect("a network")).collect();
        Policy { services, pools, ..Policy::default() }
    }

    #[test]
    fn addresses_depend_on_the_name_alone() {
        let pools = ["240.240.0.0/16", "fd2b:53::/64"];
        let a = service("a", &["api.internal", "*.internal"], &["10.0.0.1:80", "[fd00::1]:80"]);
        let b = service("b", &["db"], &["10.0.0.2:80"]);
        let both = assign(&policy(vec![a.clone(), b.clone()], &pools));
        let turned = assign(&policy(vec![b, a.clone()], &pools));
        let alone = assign(&policy(vec![a.clone()], &pools));
        let addresses = |virtuals: &[Virtual], host: &str| {
            let found = virtuals.iter().find(|name| name.host.to_string() == host);
            found.expect("the name").addresses
        };
        for host in ["api.internal", "*.internal"] {
            let own = addresses(&both, host);
            assert!(own.iter().all(Option::is_some), "{own:?}");
            assert_eq!([own, own], [addresses(&turned, host), addresses(&alone, host)]);
        }
        assert_ne!(addresses(&both, "api.internal"), addresses(&both, "*.internal"));
        // What stands for many names stands for none.
        let named = hosts(&policy(vec![a], &pools));
        assert_eq!(named.values().map(|name| &**name).collect::<Vec<_>>(), ["api.internal"; 2]);
        let own = addresses(&both, "api.internal").map(|address| address.expect("an address"));
        assert_eq!(named.into_keys().collect::<Vec<_>>(), own);
        let [four, six] = addresses(&both, "db");
        assert!(policy(vec![], &pools).pools[0].contains(four.expect("an address")));
        assert_eq!(six, None, "its only endpoint is of IPv4");
    }

    #[test]
    fn a_small_pool_gives_each_its_own_until_it_is_empty() {
        let hosts: Vec<String> = (0..8).map(|n| format!("h{n}")).collect();
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let of = service("a", &hosts, &["10.0.0.1:80"]);
        let virtuals = assign(&policy(vec![of], &["10.9.0.0/29"]));
        let addresses: BTreeSet<_> = virtuals.iter().filter_map(|one| one.addresses[0]).collect();
        let expected: BTreeSet<IpAddr> =
            (1..7).map(|n| format!("10.9.0.{n}").parse().expect("an address")).collect();
        assert_eq!(addresses, expected);
        assert_eq!(virtuals.iter().filter(|one| one.addresses[0].is_none()).count(), 2);
    }
}
