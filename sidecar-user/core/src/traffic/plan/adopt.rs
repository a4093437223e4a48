//! From what a daemon before left in the kernel's maps to a planner that goes on where that one's ended: connections are open
//! that were counted by its numbers, and new ones are decided by its plan until the next is written.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv6Addr, SocketAddr},
};

use sidecar_ebpf::abi::{
    pins::{Answer, Held, Name},
    steer::{self, Rule, RuleKey, SERVICE_WAITS, ServiceKey, TARGET_NEAR, TARGET_WANTED, Target},
};

use super::{Plan, Planner, Room};
use crate::model::policy::Endpoint;

/// What the maps have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The bank that is read.
    pub bank: u32,
    /// What services are called, by their ids.
    pub names: Vec<(u32, Name)>,
    /// Rules of both banks, behind the length of their prefixes.
    pub rules: Vec<(u32, RuleKey, Rule)>,
    /// Services of both banks.
    pub services: Vec<(ServiceKey, steer::Service)>,
    /// All of `TARGETS`, those that never were anything too.
    pub targets: Vec<Target>,
    /// All of `TABLE`.
    pub table: Vec<u32>,
    /// What resolvers told of services' names.
    pub learned: Vec<(Answer, Held)>,
}

impl Planner {
    /// Of maps that another planner's plans were written to, half of the last one perhaps. `is_idle` tells of the number of
    /// an endpoint whether it has no connections.
    #[must_use]
    pub fn adopted(room: Room, found: &Found, is_idle: impl Fn(u32) -> bool) -> Self {
        let mut planner = Planner { bank: found.bank & 1, ..Planner::new(room) };
        for (len, key, rule) in &found.rules {
            let bank = &mut planner.banks[usize::from(key.bank & 1)];
            bank.rules.insert((*len, RuleKey { bank: 0, ..*key }), *rule);
        }
        for (key, service) in &found.services {
            planner.banks[(key.bank & 1) as usize].services.insert(key.service, *service);
        }
        for (id, name) in &found.names {
            if let Some(text) = text(name)
                && *id < room.services
            {
                planner.services.insert(text.clone(), *id);
                planner.named.insert(*id, text);
            }
        }
        let live = &mut planner.banks[planner.bank as usize];
        live.tables = tables(live, &found.table);
        let target = |number: &u32| found.targets.get(*number as usize).copied();
        let is_marked = |(_, target): &(u32, &Target)| target.flags & TARGET_WANTED != 0;
        let is_wanted =
            |one: &(u32, &Target)| is_marked(one) && live.services.contains_key(&one.1.service.into());
        let all = (0..room.targets).zip(&found.targets);
        // One that is ejected has no place in a table.
        let wanted = all.clone().filter(is_wanted).map(|(number, _)| number);
        let numbers: BTreeSet<u32> = live.tables.values().flatten().copied().chain(wanted).collect();
        // What has a place is an endpoint, also where the next plan was half written that is without it.
        let as_it_was = |target: Target| Target { flags: target.flags | TARGET_WANTED, ..target };
        let targets = numbers.iter().filter_map(|number| Some((*number, as_it_was(target(number)?))));
        live.targets = targets.collect();
        let written = numbers.iter().filter_map(|number| Some((*number, target(number)?)));
        let marked = all.filter(is_marked).map(|(number, target)| (number, *target));
        planner.wanted = written.chain(marked).collect();
        let is_busy = |(number, target): &(u32, &Target)| target.port != 0 && !is_idle(*number);
        let busy = (0..room.targets).zip(&found.targets).filter(is_busy);
        let live = live.targets.iter().map(|(number, target)| (*number, target));
        for (number, target) in live.chain(busy) {
            let address = Ipv6Addr::from(target.addr).to_canonical();
            let key = (u32::from(target.service), SocketAddr::new(address, target.port));
            planner.targets.entry(key).or_insert(number);
        }
        planner
    }
}

impl Planner {
    /// Services that the plan that holds has begun, with their endpoints as they were told: whether one is ejected, or what else it
    /// weighed to whoever judged it, is not taken over.
    #[must_use]
    pub fn begun(&self) -> Vec<(String, Vec<Endpoint>)> {
        let live = &self.banks[self.bank as usize];
        let begun = self.services.iter().filter_map(|(name, id)| {
            live.services.get(id).filter(|service| service.flags & SERVICE_WAITS == 0)?;
            let endpoint = |(address, number, _)| {
                let target = live.targets.get(&number)?;
                Some(Endpoint { address, weight: target.weight, is_near: target.flags & TARGET_NEAR != 0 })
            };
            Some((name.clone(), self.endpoints(*id).filter_map(endpoint).collect()))
        });
        begun.collect()
    }
}

/// What the stretches hold that a bank's services lead to.
fn tables(bank: &Plan, table: &[u32]) -> BTreeMap<u32, Vec<u32>> {
    let stretches = bank.services.values().flat_map(|service| service.tables);
    let held = |stretch: steer::Table| {
        let first = stretch.first as usize;
        let places = table.get(first..first.checked_add(stretch.len as usize)?)?;
        (!places.is_empty()).then(|| (stretch.first, places.to_vec()))
    };
    stretches.filter_map(held).collect()
}

/// A name, as the maps have it.
pub(super) fn name(text: &str) -> Name {
    let mut name = Name { bytes: [0; 64] };
    for (to, byte) in name.bytes.iter_mut().zip(text.bytes()) {
        *to = byte;
    }
    name
}

/// `None`: no name.
fn text(name: &Name) -> Option<String> {
    let len = name.bytes.iter().position(|byte| *byte == 0).unwrap_or(name.bytes.len());
    let text = String::from_utf8(name.bytes[..len].to_vec()).ok()?;
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Maps, ROOM as SMALL, policy, service};
    use super::*;
    use crate::{
        model::policy::Service,
        traffic::health::{Judge, Weighed},
    };

    const ROOM: Room = Room { targets: 8, ..SMALL };

    /// One whose daemon ended goes on in another, whatever of a next plan was written before that end.
    #[test]
    fn a_planner_goes_on_where_another_ended() {
        let sets: [&[&str]; 3] =
            [&["1.0.0.1:1", "[1::2]:1"], &["1.0.0.1:1", "1.0.0.3:1"], &["1.0.0.3:1", "[1::2]:1"]];
        for n_written in [0, 2, 5, 40, 400] {
            let (mut old, mut maps) = (Planner::new(ROOM), Maps::default());
            for set in &sets[..2] {
                let plan = old
                    .plan(&policy(&[service("a", set), service("b", &[])]), &Judge::default(), |_| false)
                    .expect("room");
                maps.write(&old.changes(&plan));
                old.turn(plan);
            }
            let half = old
                .plan(&policy(&[service("c", sets[2]), service("a", &[])]), &Judge::default(), |_| false)
                .expect("room");
            let changes = old.changes(&half);
            maps.write(&changes[..n_written.min(changes.len())]);

            // All numbers that ever were have connections.
            let found = maps.found(old.bank);
            let mut new = Planner::adopted(ROOM, &found, |_| false);
            for name in ["a", "b"] {
                assert_eq!(new.service(name), old.service(name), "{n_written}");
            }
            assert_eq!((new.bank, &new.banks[1].rules), (old.bank, &maps.rules_of(1)));
            let (live, of_old) = (&new.banks[new.bank as usize], &old.banks[old.bank as usize]);
            assert_eq!(
                (&live.rules, &live.services, &live.tables, &live.targets),
                (&of_old.rules, &of_old.services, &of_old.tables, &of_old.targets)
            );
            let before = maps.endpoints(new.bank);
            let (a, b): (SocketAddr, SocketAddr) =
                ("1.0.0.1:1".parse().expect("an address"), "[1::2]:1".parse().expect("an address"));
            let id = old.service("a").expect("an id");
            assert_eq!(new.targets[&(id, a)], old.targets[&(id, a)]);
            assert_eq!(new.targets[&(id, b)], old.targets[&(id, b)], "in no plan, and with connections");
            for set in sets.iter().cycle().take(6) {
                let read = new.bank;
                let plan =
                    new.plan(&policy(&[service("a", set)]), &Judge::default(), |_| true).expect("room");
                let was = maps.endpoints(read);
                maps.write(&new.changes(&plan));
                assert_eq!(maps.endpoints(read), was, "what is read is not touched");
                new.turn(plan);
                assert_eq!(maps.endpoints(new.bank).len(), 2);
                assert_eq!(maps.rules_of(new.bank as u8), new.banks[new.bank as usize].rules);
            }
            assert_eq!(before.len(), 2);
        }
    }

    /// What was told, whatever was made of it: who is ejected is an endpoint, and who has gone is none.
    #[test]
    fn endpoints_are_adopted_as_they_were_told() {
        let (mut old, mut maps) = (Planner::new(ROOM), Maps::default());
        let mut wanted = service("a", &["1.0.0.1:1", "1.0.0.2:1", "1.0.0.3:1", "[1::4]:1"]);
        wanted.endpoints[0].weight = 30;
        wanted.endpoints[1].is_near = false;
        let less = Service { endpoints: wanted.endpoints[..2].to_vec(), ..wanted.clone() };
        for service in [&wanted, &less] {
            let plan =
                old.plan(&policy(std::slice::from_ref(service)), &Judge::default(), |_| false).expect("room");
            maps.write(&old.changes(&plan));
            old.turn(plan);
        }
        let ejected: Vec<_> = less.endpoints.iter().map(|one| one.address).zip([0, 7]).collect();
        let weighed = ejected.into_iter().map(|(address, weight)| (address, Weighed { weight, cost: 9 }));
        let changes = old.reweigh("a", &weighed.collect::<Vec<_>>());
        maps.write(&changes);
        old.took(&changes);
        let mut new = Planner::adopted(ROOM, &maps.found(old.bank), |_| false);
        assert_eq!(new.begun(), [("a".to_owned(), less.endpoints.clone())]);
        // A plan that could not be written leaves nobody behind, nor takes anybody away.
        let plan = new.plan(&policy(&[wanted]), &Judge::default(), |_| false).expect("room");
        maps.write(&new.changes(&plan));
        new.failed(&plan);
        let plan =
            new.plan(&policy(std::slice::from_ref(&less)), &Judge::default(), |_| false).expect("room");
        maps.write(&new.changes(&plan));
        new.turn(plan);
        let next = Planner::adopted(ROOM, &maps.found(new.bank), |_| false);
        assert_eq!(next.begun(), [("a".to_owned(), less.endpoints)]);
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        let odd = Found {
            bank: 7,
            names: vec![(0, Name { bytes: [0xff; 64] }), (900, name("far")), (1, name("near"))],
            services: vec![(
                ServiceKey { bank: 9, service: 70 },
                steer::Service {
                    gear: 9,
                    balance: 9,
                    gone: 9,
                    flags: 9,
                    connections: 0,
                    tables: [
                        steer::Table { first: u32::MAX, len: u32::MAX },
                        steer::Table { first: 1, len: 2 },
                    ],
                    spacing_ns: 0,
                    burst_ns: 0,
                },
            )],
            targets: vec![Target { port: 1, service: 70, ..Target::default() }; 2],
            table: vec![900; 3],
            ..Found::default()
        };
        let mut planner = Planner::adopted(ROOM, &odd, |_| false);
        assert_eq!((planner.service("near"), planner.service("far")), (Some(1), None));
        assert!(planner.plan(&policy(&[service("a", &["1.0.0.1:1"])]), &Judge::default(), |_| true).is_ok());
        let longest = "n".repeat(63);
        assert_eq!(text(&name(&longest)), Some(longest));
    }
}
