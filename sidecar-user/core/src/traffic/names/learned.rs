//! Real addresses of names, as resolvers told them; and as the next daemon finds them, where the policy outlives this one.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
};

use sidecar_ebpf::abi::pins::{Answer, Held};

use super::Names;
use crate::{
    model::{
        Network,
        policy::{Policy, Service},
    },
    traffic::Change,
};

/// Answers that are held, each an address of a name: as many addresses at most. One that says nothing new of its address makes
/// room, else the one that was told longest ago.
pub const ADDRESSES: usize = 512;
/// An address is held at least so long after it was told, s: applications go on with one that they have. And so long after a
/// daemon before told it: whom that application asked meanwhile nobody saw.
const HOLD: u64 = 600;
/// And at most so long (RFC 8767, 4).
const MOST: u64 = 7 * 24 * 60 * 60;

/// Which service has which address, by which name. Times are seconds of the clock of [`Held`].
#[derive(Clone, Debug, Default)]
pub struct Learned {
    by_answer: BTreeMap<(IpAddr, String), Told>,
}

#[derive(Clone, Debug)]
struct Told {
    service: String,
    held: Held,
}

/// An address of a name that is another service's, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// The address.
    pub address: IpAddr,
    /// The other service: by a name of its own, by an address, or, where it stands first, by a network.
    pub with: String,
}

impl Learned {
    /// What a daemon before was told, of names that are still a service's; and what is to be written so that that is all
    /// that the next one finds.
    #[must_use]
    pub fn adopted(found: &[(Answer, Held)], names: &Names, now: u64) -> (Learned, Vec<Change>) {
        let (mut learned, mut changes) = (Learned::default(), Vec::new());
        for (answer, held) in found {
            let known = read(answer).and_then(|key| Some((names.real(&key.1)?.to_owned(), key)));
            let Some((service, key)) = known else {
                changes.push(Change::Forgotten(*answer));
                continue;
            };
            let until_s = held.until_s.clamp(now.saturating_add(HOLD), now.saturating_add(MOST));
            let held = Held { told_s: held.told_s.min(now), until_s };
            learned.by_answer.insert(key, Told { service, held });
            changes.push(Change::Learned(*answer, held));
        }
        (learned, changes)
    }

    /// Takes in what a resolver told of a service's name: addresses and for how many seconds they hold. Who else has
    /// one that is new, and a port in common: the first in the file gets its connections.
    pub fn learn(
        &mut self,
        policy: &Policy,
        [service, name]: [&str; 2],
        addresses: &[(IpAddr, u32)],
        now: u64,
    ) -> Option<Shared> {
        let name = fitting(name);
        let mut shared_with = None;
        for (address, ttl) in addresses {
            if !self.at(*address).any(|other| other == service) {
                let with = self.other(policy, service, *address).map(str::to_owned);
                shared_with = shared_with.or(with.map(|with| Shared { address: *address, with }));
            }
            let held = Held { told_s: now, until_s: now + u64::from(*ttl).clamp(HOLD, MOST) };
            self.by_answer.insert((*address, name.clone()), Told { service: service.to_owned(), held });
        }
        self.make_room();
        shared_with
    }

    fn make_room(&mut self) {
        let n_more = self.by_answer.len().saturating_sub(ADDRESSES);
        if n_more == 0 {
            return;
        }
        let mut latest: BTreeMap<(IpAddr, &str), (u64, &str)> = BTreeMap::new();
        for ((address, name), told) in &self.by_answer {
            let last = latest.entry((*address, &told.service)).or_default();
            *last = (*last).max((told.held.told_s, name));
        }
        let worth = |(key, told): (&(IpAddr, String), &Told)| {
            let is_latest = latest[&(key.0, told.service.as_str())].1 == key.1;
            (is_latest, told.held.told_s, key.clone())
        };
        let mut all: Vec<_> = self.by_answer.iter().map(worth).collect();
        all.sort();
        for (.., key) in all.into_iter().take(n_more) {
            self.by_answer.remove(&key);
        }
    }

    /// Forgets what holds no longer.
    pub fn forget(&mut self, now: u64) {
        self.by_answer.retain(|_, told| told.held.until_s > now);
    }

    /// With these names: an address is of whose name it is, and forgotten where it is nobody's.
    #[must_use]
    pub fn under(&self, names: &Names) -> Learned {
        let still = self.by_answer.iter().filter_map(|(key, told)| {
            let service = names.real(&key.1)?.to_owned();
            Some((key.clone(), Told { service, ..*told }))
        });
        Learned { by_answer: still.collect() }
    }

    /// What has to be written where the other is kept for the next daemon. There is room for it in this order.
    #[must_use]
    pub fn changes(&self, before: &Learned) -> Vec<Change> {
        let gone = before.by_answer.keys().filter(|key| !self.by_answer.contains_key(key));
        let gone = gone.map(|key| Change::Forgotten(written(key)));
        let is_there = |key: &(IpAddr, String), told: &Told| {
            before.by_answer.get(key).is_some_and(|other| other.held == told.held)
        };
        let new = self.by_answer.iter().filter(|(key, told)| !is_there(key, told));
        gone.chain(new.map(|(key, told)| Change::Learned(written(key), told.held))).collect()
    }

    /// What resolvers told of a name.
    pub fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = IpAddr> + 'a {
        self.by_answer.keys().filter(move |(_, other)| other == name).map(|(address, _)| *address)
    }

    /// Which service has which address.
    #[must_use]
    pub fn addresses(&self) -> BTreeSet<(IpAddr, &str)> {
        self.by_answer.iter().map(|((address, _), told)| (*address, told.service.as_str())).collect()
    }

    /// The policy with these addresses among its services' own.
    #[must_use]
    pub fn added_to(&self, policy: &Policy) -> Policy {
        let mut policy = policy.clone();
        for (address, name) in self.addresses() {
            let service = policy.services.iter_mut().find(|service| service.name == name);
            if let Some(service) = service {
                service.networks.push(Network::from(address));
            }
        }
        policy
    }

    /// Who else has an address of a service's name, and a port in common with that service. One that stands behind it and has it by a
    /// network of many is no surprise.
    fn other<'a>(&self, policy: &'a Policy, service: &str, address: IpAddr) -> Option<&'a str> {
        let place = policy.services.iter().position(|own| own.name == service)?;
        let is_other = |(at, other): &(usize, &Service)| {
            let by_address = |network: &Network| {
                network.contains(address) && (*at < place || *network == Network::from(address))
            };
            let has =
                self.at(address).any(|name| name == other.name) || other.networks.iter().any(by_address);
            has && *at != place && share_a_port(&policy.services[place], other)
        };
        policy.services.iter().enumerate().find(is_other).map(|(_, other)| other.name.as_str())
    }

    /// Services that have an address.
    fn at(&self, address: IpAddr) -> impl Iterator<Item = &str> {
        let from = self.by_answer.range((address, String::new())..);
        from.take_while(move |((other, _), _)| *other == address).map(|(_, told)| told.service.as_str())
    }
}

/// A name that there is room for: of one that is longer, as escapes make them, any below as much of its end as fits. Such a
/// one is a service's by a `*.` only, which says the same of both.
fn fitting(name: &str) -> String {
    let mut end = name;
    while end.len() > NAME - "*.".len() {
        let Some((_, rest)) = end.split_once('.') else { break };
        end = rest;
    }
    if name.len() <= NAME { name.to_owned() } else { format!("*.{end}") }
}

/// Bytes of a name.
const NAME: usize = 256;

fn written((address, name): &(IpAddr, String)) -> Answer {
    let addr = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => *v6,
    };
    let mut answer = Answer { addr: addr.octets(), name: [0; NAME] };
    for (to, byte) in answer.name.iter_mut().zip(name.bytes()) {
        *to = byte;
    }
    answer
}

/// `None`: it has no name.
fn read(answer: &Answer) -> Option<(IpAddr, String)> {
    let len = answer.name.iter().position(|byte| *byte == 0).unwrap_or(NAME);
    let name = std::str::from_utf8(&answer.name[..len]).ok().filter(|name| !name.is_empty())?;
    Some((Ipv6Addr::from(answer.addr).to_canonical(), name.to_owned()))
}

fn share_a_port(one: &Service, other: &Service) -> bool {
    let all = |service: &Service| service.ports.is_empty();
    all(one) || all(other) || one.ports.iter().any(|port| other.ports.contains(port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy::Resolve;

    fn named(name: &str, hosts: &[&str], ports: &[u16]) -> Service {
        Service {
            hosts: hosts.iter().map(|host| host.parse().expect("a name")).collect(),
            resolve: Resolve::Real,
            ports: ports.to_vec(),
            ..Service::named(name)
        }
    }

    fn policy() -> Policy {
        let service = |name: &str, ports: &[u16]| named(name, &[&format!("{name}.example")], ports);
        Policy {
            services: vec![service("a", &[80]), service("b", &[80, 443]), service("c", &[22])],
            ..Policy::default()
        }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// Who has which address, in words.
    fn told(learned: &Learned) -> Vec<String> {
        learned.addresses().iter().map(|(address, service)| format!("{service} {address}")).collect()
    }

    /// What the next daemon finds.
    fn kept(learned: &Learned) -> Vec<(Answer, Held)> {
        let changes = learned.changes(&Learned::default());
        let new = changes.into_iter().map(|change| match change {
            Change::Learned(answer, held) => (answer, held),
            other => panic!("{other:?}"),
        });
        new.collect()
    }

    #[test]
    fn addresses_hold_for_their_time_and_are_told_apart() {
        let (policy, mut learned) = (policy(), Learned::default());
        let mut learn = |service: &str, text: &str, ttl, now| {
            let name = format!("{service}.example");
            learned.learn(&policy, [service, &name], &[(address(text), ttl)], now)
        };
        assert_eq!(learn("a", "10.0.0.1", 5, 0), None);
        assert_eq!(learn("a", "10.0.0.1", 5, 100), None);
        let shared = Shared { address: address("10.0.0.1"), with: "a".to_owned() };
        assert_eq!(learn("b", "10.0.0.1", 3600, 100), Some(shared));
        assert_eq!(learn("b", "10.0.0.1", 3600, 100), None, "it is told once");
        assert_eq!(learn("c", "10.0.0.1", 5, 100), None);
        assert_eq!(learn("c", "10.0.0.2", u32::MAX, 100), None);
        let added = learned.added_to(&policy);
        let n_networks: Vec<_> = added.services.iter().map(|service| service.networks.len()).collect();
        assert_eq!(n_networks, [1, 1, 2]);
        for (now, expected) in [
            (699, &["a 10.0.0.1", "b 10.0.0.1", "c 10.0.0.1", "c 10.0.0.2"][..]),
            (700, &["b 10.0.0.1", "c 10.0.0.2"]),
            (3700, &["c 10.0.0.2"]),
            (100 + MOST, &[]),
        ] {
            learned.forget(now);
            assert_eq!(told(&learned), expected, "{now}");
        }
    }

    #[test]
    fn an_address_is_of_whose_name_it_is() {
        let mut learned = Learned::default();
        let before = Policy { services: vec![named("a", &["x.example", "y.example"], &[])], ..policy() };
        for (name, text) in [("x.example", "10.0.0.1"), ("y.example", "10.0.0.1"), ("y.example", "::2")] {
            learned.learn(&before, ["a", name], &[(address(text), 5)], 0);
        }
        assert_eq!(learned.of("y.example").collect::<Vec<_>>(), [address("10.0.0.1"), address("::2")]);
        let mut denied = named("b", &["*.example"], &[]);
        let virtual_names = Service { resolve: Resolve::Virtual, ..named("a", &["y.example"], &[]) };
        denied.gear = crate::model::policy::Gear::Deny;
        for (services, expected) in [
            (before.services.clone(), &["a 10.0.0.1", "a ::2"][..]),
            (vec![named("a", &["x.example"], &[])], &["a 10.0.0.1"]),
            (vec![named("b", &["y.example"], &[])], &["b 10.0.0.1", "b ::2"]),
            (vec![denied, named("a", &["y.example"], &[])], &["a 10.0.0.1", "b 10.0.0.1", "a ::2"]),
            (vec![virtual_names], &[]),
            (vec![named("a", &["z.example"], &[])], &[]),
            (vec![], &[]),
        ] {
            let policy = Policy { services, ..Policy::default() };
            let names = Names::new(&policy);
            assert_eq!(told(&learned.under(&names)), expected);
            // The next daemon sees to it in the same way.
            let (adopted, _) = Learned::adopted(&kept(&learned), &names, 0);
            assert_eq!(told(&adopted), expected);
            assert_eq!(kept(&adopted), kept(&learned.under(&names)));
        }
    }

    /// What may have been asked for while nobody was there is held as if it had been; whatever else is there is removed.
    #[test]
    fn the_next_daemon_goes_on() {
        let (policy, mut learned) = (policy(), Learned::default());
        learned.learn(&policy, ["a", "a.example"], &[(address("10.0.0.1"), 5)], 0);
        learned.learn(&policy, ["b", "b.example"], &[(address("fd00::1"), 7200)], 10);
        let mut found = kept(&learned);
        let far = Held { told_s: u64::MAX, until_s: u64::MAX };
        let mut odd = vec![
            Answer { addr: [0; 16], name: [0; NAME] },
            Answer { addr: [0; 16], name: [0xff; NAME] },
            written(&(address("10.0.0.1"), "gone.example".to_owned())),
        ];
        found.extend(odd.iter().map(|answer| (*answer, far)));
        found.push((written(&(address("10.0.0.3"), "c.example".to_owned())), far));
        let (mut adopted, changes) = Learned::adopted(&found, &Names::new(&policy), 5000);
        for change in changes {
            if let Change::Forgotten(answer) = change {
                assert_eq!(answer, odd.remove(0));
            }
        }
        assert!(odd.is_empty());
        for (now, expected) in [
            (5599, &["a 10.0.0.1", "c 10.0.0.3", "b fd00::1"][..]),
            (5600, &["c 10.0.0.3", "b fd00::1"]),
            (7210, &["c 10.0.0.3"]),
            (5000 + MOST, &[]),
        ] {
            adopted.forget(now);
            assert_eq!(told(&adopted), expected, "{now}");
        }
    }

    /// Told of whoever has it first, and of whoever has that very address.
    #[test]
    fn an_address_that_is_another_services_is_told() {
        let with = |own: &[&str], ports: &[u16]| Service {
            networks: own.iter().map(|network| network.parse().expect("a network")).collect(),
            ports: ports.to_vec(),
            ..Service::named("other")
        };
        for (other, is_first, expected) in [
            (with(&["10.0.0.0/8"], &[]), true, true),
            (with(&["10.0.0.0/8"], &[80]), true, true),
            (with(&["10.0.0.0/8"], &[443]), true, false),
            (with(&["11.0.0.0/8"], &[]), true, false),
            (with(&["10.0.0.0/8"], &[]), false, false),
            (with(&["11.0.0.1", "10.0.0.1"], &[]), false, true),
            (with(&["10.0.0.1"], &[443]), false, false),
        ] {
            let mut policy = policy();
            policy.services.insert(if is_first { 0 } else { 3 }, other.clone());
            let mut learned = Learned::default();
            let told = learned.learn(&policy, ["a", "a.example"], &[(address("10.0.0.1"), 5)], 0);
            let shared = Shared { address: address("10.0.0.1"), with: "other".to_owned() };
            assert_eq!(told, expected.then_some(shared), "{other:?}");
        }
    }

    #[test]
    fn the_oldest_makes_room() {
        let (policy, mut learned) = (policy(), Learned::default());
        for n in 0..ADDRESSES as u32 + 3 {
            let address = std::net::Ipv4Addr::from(n);
            learned.learn(&policy, ["a", "a.example"], &[(address.into(), 1)], n.into());
        }
        let has = |learned: &Learned, text: &str| learned.addresses().contains(&(address(text), "a"));
        assert_eq!(learned.addresses().len(), ADDRESSES);
        assert!(!has(&learned, "0.0.0.2") && has(&learned, "0.0.0.3"));
        // Another name on one that is known takes no other's place, however many there are.
        for n in 0..ADDRESSES {
            let name = format!("{n}.a.example");
            learned.learn(&policy, ["a", &name], &[(address("0.0.2.0"), 1)], 1000);
        }
        assert_eq!(learned.addresses().len(), ADDRESSES);
        assert!(has(&learned, "0.0.0.3") && has(&learned, "0.0.2.0"));
        assert_eq!(learned.by_answer.len(), ADDRESSES);
    }

    /// As an answer may have them, escaped.
    #[test]
    fn a_name_that_is_too_long_is_still_the_services() {
        let label = "\\001".repeat(60);
        let end = ["a".repeat(60).as_str(); 3].join(".");
        let policy = Policy { services: vec![named("a", &[&format!("*.{end}")], &[])], ..policy() };
        let names = Names::new(&policy);
        let mut learned = Learned::default();
        for name in [format!("{label}.{end}"), format!("{label}.x.{end}"), format!("x.{end}")] {
            assert_eq!(names.real(&name), Some("a"));
            learned.learn(&policy, ["a", &name], &[(address("10.0.0.1"), 1)], 0);
        }
        assert_eq!(kept(&learned).len(), 3);
        let (adopted, _) = Learned::adopted(&kept(&learned), &names, 0);
        assert_eq!(kept(&adopted), kept(&learned));
    }
}
