//! Real addresses of names, as resolvers told them.

use std::{collections::BTreeMap, net::IpAddr};

use crate::model::{
    Network,
    policy::{Policy, Resolve, Service},
};

/// Addresses that are held, of all names. The one that was told of longest ago makes room.
pub const ADDRESSES: usize = 512;
/// An address is held at least so long after it was told, s: applications go on with one that they have.
const HOLD: u64 = 600;

/// Which service has which address. Times are seconds of a clock that only goes on.
#[derive(Clone, Debug, Default)]
pub struct Learned {
    by_address: BTreeMap<(IpAddr, String), Times>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    told: u64,
    until: u64,
}

/// What an answer was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Rules change.
    pub is_new: bool,
    /// Another service's name has one of the addresses, and a port in common: the first in the file gets its connections.
    pub shared_with: Option<String>,
}

impl Learned {
    /// Takes in what a resolver told of a name of a service: addresses and for how many seconds they hold.
    pub fn learn(&mut self, policy: &Policy, service: &str, addresses: &[(IpAddr, u32)], now: u64) -> News {
        let mut news = News::default();
        for (address, ttl) in addresses {
            let until = now + u64::from(*ttl).max(HOLD);
            let before = self.by_address.insert((*address, service.to_owned()), Times { told: now, until });
            if before.is_some() {
                continue;
            }
            news.is_new = true;
            let others = self.by_address.keys().filter(|(other, _)| other == address);
            let shares = |name: &&str| *name != service && share_a_port(policy, service, name);
            let shared = others.map(|(_, name)| name.as_str()).find(shares).map(str::to_owned);
            news.shared_with = news.shared_with.or(shared);
        }
        while self.by_address.len() > ADDRESSES {
            let oldest = self.by_address.iter().min_by_key(|(_, times)| times.told);
            let Some(key) = oldest.map(|(key, _)| key.clone()) else { break };
            self.by_address.remove(&key);
        }
        news
    }

    /// Forgets what holds no longer, and what is of services that have no real names any more; whether there was any.
    pub fn forget(&mut self, policy: &Policy, now: u64) -> bool {
        let n = self.by_address.len();
        let has_names = |name: &str| {
            let service = policy.services.iter().find(|service| service.name == name);
            service.is_some_and(|service| service.resolve == Resolve::Real && !service.hosts.is_empty())
        };
        self.by_address.retain(|(_, service), times| times.until > now && has_names(service));
        self.by_address.len() < n
    }

    /// What resolvers told of a service's names.
    pub fn of<'a>(&'a self, service: &'a str) -> impl Iterator<Item = IpAddr> + 'a {
        self.by_address.keys().filter(move |(_, name)| name == service).map(|(address, _)| *address)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_address.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }

    /// The policy with these addresses among its services' own.
    #[must_use]
    pub fn added_to(&self, policy: &Policy) -> Policy {
        let mut policy = policy.clone();
        for (address, name) in self.by_address.keys() {
            let service = policy.services.iter_mut().find(|service| service.name == *name);
            if let Some(service) = service {
                service.networks.push(Network::from(*address));
            }
        }
        policy
    }
}

fn share_a_port(policy: &Policy, one: &str, other: &str) -> bool {
    let find = |name: &str| policy.services.iter().find(|service| service.name == name);
    let (Some(one), Some(other)) = (find(one), find(other)) else { return false };
    let all = |service: &Service| service.ports.is_empty();
    all(one) || all(other) || one.ports.iter().any(|port| other.ports.contains(port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let service = |name: &str, ports: &[u16]| Service {
            hosts: vec![format!("{name}.example").parse().expect("a name")],
            resolve: Resolve::Real,
            ports: ports.to_vec(),
            ..Service::named(name)
        };
        Policy {
            services: vec![service("a", &[80]), service("b", &[80, 443]), service("c", &[22])],
            ..Policy::default()
        }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn addresses_hold_for_their_time_and_are_told_apart() {
        let (policy, mut learned) = (policy(), Learned::default());
        let mut learn = |service: &str, text: &str, ttl, now| {
            learned.learn(&policy, service, &[(address(text), ttl)], now)
        };
        assert_eq!(learn("a", "10.0.0.1", 5, 0), News { is_new: true, shared_with: None });
        assert_eq!(learn("a", "10.0.0.1", 5, 100), News::default());
        let shared = News { is_new: true, shared_with: Some("a".to_owned()) };
        assert_eq!(learn("b", "10.0.0.1", 3600, 100), shared);
        assert_eq!(learn("c", "10.0.0.1", 5, 100), News { is_new: true, shared_with: None });
        let added = learned.added_to(&policy);
        assert!(added.services.iter().all(|service| service.networks.len() == 1), "{added:?}");
        assert!(!learned.forget(&policy, 699));
        assert!(learned.forget(&policy, 700));
        assert_eq!(learned.len(), 1);
        assert!(learned.forget(&Policy::default(), 700) && learned.is_empty());
    }

    #[test]
    fn the_oldest_makes_room() {
        let (policy, mut learned) = (policy(), Learned::default());
        for n in 0..ADDRESSES as u32 + 3 {
            let address = std::net::Ipv4Addr::from(n);
            learned.learn(&policy, "a", &[(address.into(), 1)], n.into());
        }
        assert_eq!(learned.len(), ADDRESSES);
        let added = learned.added_to(&policy);
        let networks = &added.services[0].networks;
        assert!(!networks.iter().any(|network| network.contains(address("0.0.0.2"))));
        assert!(networks.iter().any(|network| network.contains(address("0.0.0.3"))));
    }
}
