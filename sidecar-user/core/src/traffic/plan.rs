//! From a policy to the entries of the kernel's maps, and from one plan to the next.
//!
//! A [`Planner`] remembers what both banks have and which numbers are in use: services and endpoints keep theirs through all
//! plans, so that connections that are open stay counted where they began.

mod adopt;
mod room;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

pub use adopt::Found;
pub use room::{Full, Room, n_places};
use room::{place, table_len};
use sidecar_ebpf::abi::{
    pins::{Answer, Held, Name},
    steer::{
        self, BALANCE_HASH, BALANCE_LEAST, BALANCE_RANDOM, GEAR_DENY, GEAR_DIRECT, GEAR_PROXY, GONE_CLOSED,
        GONE_OPEN, Rule, RuleKey, SERVICE_ENDPOINTS, SERVICE_FILES, SERVICE_USERS, SERVICE_WAITS, ServiceKey,
        TARGET_NEAR, TARGET_WANTED, Table, Target,
    },
};

use super::{
    callers, deal,
    health::{Judge, Weighed},
    rules::{self, Rules},
};
use crate::model::{
    Directory,
    policy::{Balance, Endpoint, Gear, HashBy, Policy, Service, WhenGone},
};

/// What a connection of middling cost costs ([`Target::cost`]).
pub(super) const COST: u32 = 1 << 10;

/// What the kernel is to be told. Bank-neutral: keys are those of bank 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    rules: Rules,
    services: BTreeMap<u32, steer::Service>,
    targets: BTreeMap<u32, Target>,
    /// What tables hold, by where they begin.
    tables: BTreeMap<u32, Vec<u32>>,
    /// What services are called.
    names: BTreeMap<u32, String>,
}

/// One entry that is to be written, in the order in which that is safe.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// What a service is called.
    Name(u32, Name),
    /// An endpoint.
    Target(u32, Target),
    /// A place of a table.
    Place(u32, u32),
    /// A service.
    Service(ServiceKey, steer::Service),
    /// A service that is gone.
    NoService(ServiceKey),
    /// A rule, behind the length of its prefix.
    Rule(u32, RuleKey, Rule),
    /// A rule that is gone.
    NoRule(u32, RuleKey),
    /// What a resolver told, which is no plan's: for the next daemon.
    Learned(Answer, Held),
    /// The same that is held no longer.
    Forgotten(Answer),
}

/// Makes plans, one after the other.
#[derive(Debug)]
pub struct Planner {
    room: Room,
    /// What the banks hold.
    banks: [Plan; 2],
    /// The bank that is read.
    bank: u32,
    services: BTreeMap<String, u32>,
    targets: BTreeMap<(u32, SocketAddr), u32>,
    /// What the maps have of endpoints that are wanted.
    wanted: BTreeMap<u32, Target>,
    /// What the maps call services: more than there are, where numbers were given to others.
    named: BTreeMap<u32, String>,
}

impl Planner {
    /// Of maps with nothing in them.
    #[must_use]
    pub fn new(room: Room) -> Self {
        Planner {
            room,
            banks: Default::default(),
            bank: 0,
            services: BTreeMap::new(),
            targets: BTreeMap::new(),
            wanted: BTreeMap::new(),
            named: BTreeMap::new(),
        }
    }

    /// A plan for the bank that is not read. `is_idle` tells of the number of an endpoint that is in no plan any more
    /// whether it has no connections either. What endpoints weigh is the judge's word, where it judges them.
    ///
    /// # Errors
    /// [`Full`]; then nothing is changed.
    pub fn plan(
        &mut self,
        policy: &Policy,
        judge: &Judge,
        is_idle: impl Fn(u32) -> bool,
    ) -> Result<Plan, Full> {
        let all = || policy.services.iter().chain(&policy.inbound);
        let wanted: BTreeSet<&str> = all().map(|service| service.name.as_str()).collect();
        // A service's number is its name's for good, as long as there is room: its counters go on.
        let mut services = self.services.clone();
        let live = &self.banks[self.bank as usize];
        let mut ids = Vec::new();
        for service in all() {
            let known = services.get(&service.name).copied();
            let id = match known.or_else(|| self.unused(&services)) {
                Some(id) => id,
                None => {
                    let is_dead = |name: &str, id| {
                        !wanted.contains(name)
                            && !live.services.contains_key(&id)
                            && self.is_idle(id, &is_idle)
                    };
                    let dead = services.iter().find(|(name, id)| is_dead(name, **id));
                    let (name, id) = dead
                        .map(|(name, id)| (name.clone(), *id))
                        .ok_or(Full { what: "services", room: self.room.services })?;
                    services.remove(&name);
                    id
                }
            };
            services.insert(service.name.clone(), id);
            ids.push(id);
        }
        let mut targets = self.targets.clone();
        targets.retain(|_, number| live.targets.contains_key(number) || !is_idle(*number));
        let (outbound, inbound) = ids.split_at(policy.services.len());
        let (mut rules, _) = rules::compile(policy, outbound);
        rules.extend(rules::compile_inbound(&policy.inbound, inbound).0);
        rules.extend(callers::compile(&policy.services, outbound));
        if rules.len() > self.room.rules as usize {
            return Err(Full { what: "rules", room: self.room.rules });
        }
        let mut plan = Plan { rules, ..Plan::default() };
        let mut taken: BTreeSet<u32> = targets.values().copied().collect();
        let mut used: Vec<_> =
            live.tables.iter().map(|(first, places)| (*first, places.len() as u32)).collect();
        for (service, id) in all().zip(&ids) {
            let mut tables = [Table::default(); 2];
            let judged = judge.weights(&service.name);
            let weigh = |endpoint: &Endpoint| {
                let judged = judged.as_ref().and_then(|judged| judged.get(&endpoint.address).copied());
                judged.unwrap_or(Weighed { weight: endpoint.weight.into(), cost: COST })
            };
            for (family, table) in tables.iter_mut().enumerate() {
                let of_family = |address: &SocketAddr| usize::from(address.is_ipv6()) == family;
                let endpoints: Vec<_> =
                    service.endpoints.iter().filter(|endpoint| of_family(&endpoint.address)).collect();
                let mut numbers = Vec::new();
                for endpoint in &endpoints {
                    let key = (*id, endpoint.address);
                    let free = || (0..self.room.targets).find(|number| !taken.contains(number));
                    let number = targets.get(&key).copied().or_else(free);
                    let number = number.ok_or(Full { what: "endpoints", room: self.room.targets })?;
                    targets.insert(key, number);
                    taken.insert(number);
                    plan.targets.insert(number, target(*id, endpoint, weigh(endpoint).cost));
                    numbers.push(number);
                }
                if endpoints.iter().all(|endpoint| endpoint.weight == 0) {
                    continue;
                }
                let weights: Vec<u32> = endpoints.iter().map(|endpoint| weigh(endpoint).weight).collect();
                let addresses: Vec<_> = endpoints.iter().map(|endpoint| endpoint.address).collect();
                let is_hashed = matches!(service.balance, Balance::Hash(_));
                let dealt = dealt(is_hashed, &addresses, &weights);
                let len = dealt.len() as u32;
                let first = place(&used, len, self.room.places)
                    .ok_or(Full { what: "places", room: self.room.places })?;
                used.push((first, len));
                plan.tables.insert(first, dealt.into_iter().map(|at| numbers[at]).collect());
                *table = Table { first, len };
            }
            plan.services.insert(*id, entry(service, tables));
            plan.names.insert(*id, service.name.clone());
        }
        (self.services, self.targets) = (services, targets);
        Ok(plan)
    }

    /// Writing the changes failed, and nobody knows how many were written: the next plan's are all that it has.
    pub fn failed(&mut self, plan: &Plan) {
        let old = &mut self.banks[(1 - self.bank) as usize];
        let unknown = Rule { service: u32::MAX, place: u16::MAX, flags: u16::MAX };
        let keys: Vec<_> = old.rules.keys().chain(plan.rules.keys()).copied().collect();
        old.rules = keys.into_iter().map(|key| (key, unknown)).collect();
        let services: Vec<_> = old.services.iter().chain(&plan.services).collect();
        let unknown = |service: &steer::Service| steer::Service { gear: u8::MAX, ..*service };
        old.services = services.into_iter().map(|(id, service)| (*id, unknown(service))).collect();
        let unknown = |target: &Target| Target { flags: u16::MAX, ..*target };
        let targets: Vec<_> = self.wanted.iter().chain(&plan.targets).collect();
        self.wanted = targets.into_iter().map(|(number, target)| (*number, unknown(target))).collect();
    }

    /// A number that no service ever had.
    fn unused(&self, services: &BTreeMap<String, u32>) -> Option<u32> {
        (0..self.room.services).find(|id| !services.values().any(|used| used == id))
    }

    /// Whether none of a service's endpoints has connections.
    fn is_idle(&self, service: u32, is_idle: impl Fn(u32) -> bool) -> bool {
        self.targets.iter().all(|((of, _), target)| *of != service || is_idle(*target))
    }

    /// What has to be written so that the bank that is not read holds the plan. Then that bank is to be read, which is said
    /// with [`turn`](Self::turn).
    #[must_use]
    pub fn changes(&self, plan: &Plan) -> Vec<Change> {
        let bank = self.next_bank();
        let old = &self.banks[bank as usize];
        let mut changes = Vec::new();
        let unnamed = plan.names.iter().filter(|(id, name)| self.named.get(id) != Some(*name));
        changes.extend(unnamed.map(|(id, name)| Change::Name(*id, adopt::name(name))));
        let gone = self.wanted.iter().filter(|(number, _)| !plan.targets.contains_key(number));
        let unwanted = |was: &Target| Target { flags: was.flags & TARGET_NEAR, ..*was };
        changes.extend(gone.map(|(number, was)| Change::Target(*number, unwanted(was))));
        let is_there = |number: &u32, target: &Target| self.wanted.get(number) == Some(target);
        let targets = plan.targets.iter().filter(|(number, target)| !is_there(number, target));
        changes.extend(targets.map(|(number, target)| Change::Target(*number, *target)));
        for (first, places) in &plan.tables {
            let places = places.iter().zip(*first..);
            changes.extend(places.map(|(target, place)| Change::Place(place, *target)));
        }
        let key = |id: &u32| ServiceKey { bank, service: *id };
        let rule_key = |key: &RuleKey| RuleKey { bank: bank as u8, ..*key };
        let gone = old.rules.keys().filter(|at| !plan.rules.contains_key(at));
        changes.extend(gone.map(|(len, at)| Change::NoRule(*len, rule_key(at))));
        let gone = old.services.keys().filter(|id| !plan.services.contains_key(id));
        changes.extend(gone.map(|id| Change::NoService(key(id))));
        let new = plan.services.iter().filter(|(id, service)| old.services.get(id) != Some(*service));
        changes.extend(new.map(|(id, service)| Change::Service(key(id), *service)));
        let new = plan.rules.iter().filter(|(at, rule)| old.rules.get(at) != Some(*rule));
        changes.extend(new.map(|((len, at), rule)| Change::Rule(*len, rule_key(at), *rule)));
        changes
    }

    /// The bank that [`changes`](Self::changes) are for.
    #[must_use]
    pub fn next_bank(&self) -> u32 {
        1 - self.bank
    }

    /// The changes were written, and the programs go by that bank: from now on it is the one that is read.
    pub fn turn(&mut self, plan: Plan) {
        self.bank = self.next_bank();
        self.named.extend(plan.names.clone());
        self.wanted = plan.targets.clone();
        self.banks[self.bank as usize] = plan;
    }

    /// What all numbers stand for that are in use, in any bank.
    #[must_use]
    pub fn directory(&self) -> Directory {
        let services = self.services.iter().map(|(name, number)| (*number, name.as_str().into()));
        let endpoints = self.targets.iter().map(|((_, address), number)| (*number, *address));
        Directory { services: services.collect(), endpoints: endpoints.collect(), ..Directory::default() }
    }

    /// A service's endpoints in the plan that holds: addresses, numbers, and what a connection more costs there.
    pub fn endpoints(&self, service: u32) -> impl Iterator<Item = (SocketAddr, u32, u32)> {
        let live = &self.banks[self.bank as usize];
        self.targets.iter().filter(move |((of, _), _)| *of == service).filter_map(|((_, address), number)| {
            let target = live.targets.get(number)?;
            Some((*address, *number, target.cost))
        })
    }

    /// What has to be written so that the plan that holds is dealt by these weights, of all of a service's endpoints. It is
    /// written in place; then say so with [`took`](Self::took).
    #[must_use]
    pub fn reweigh(&self, service: &str, weighed: &[(SocketAddr, Weighed)]) -> Vec<Change> {
        let live = &self.banks[self.bank as usize];
        let known = self.service(service).and_then(|id| Some((id, live.services.get(&id)?)));
        let Some((id, entry)) = known else { return Vec::new() };
        let mut changes = Vec::new();
        for (family, table) in entry.tables.iter().enumerate() {
            let mine = weighed.iter().filter(|(address, _)| usize::from(address.is_ipv6()) == family);
            let numbered = mine.filter_map(|(address, weighed)| {
                let number = *self.targets.get(&(id, *address))?;
                let target = Target { cost: weighed.cost, ..*live.targets.get(&number)? };
                Some((number, target, *address, weighed.weight))
            });
            let numbered: Vec<_> = numbered.collect();
            for (number, target, ..) in &numbered {
                if live.targets.get(number) != Some(target) {
                    changes.push(Change::Target(*number, *target));
                }
            }
            let addresses: Vec<_> = numbered.iter().map(|(_, _, address, _)| *address).collect();
            let weights: Vec<_> = numbered.iter().map(|(.., weight)| *weight).collect();
            let dealt = dealt(entry.balance >= BALANCE_HASH, &addresses, &weights);
            // Without a table there are places of others where it would begin.
            let own = live.tables.get(&table.first).filter(|_| table.len > 0);
            let Some(places) = own.filter(|places| places.len() == dealt.len()) else { continue };
            for ((at, old), place) in dealt.into_iter().zip(places).zip(table.first..) {
                if numbered[at].0 != *old {
                    changes.push(Change::Place(place, numbered[at].0));
                }
            }
        }
        changes
    }

    /// These were written into the plan that holds.
    pub fn took(&mut self, changes: &[Change]) {
        let live = &mut self.banks[self.bank as usize];
        for change in changes {
            match *change {
                Change::Target(number, target) => {
                    live.targets.insert(number, target);
                    self.wanted.insert(number, target);
                }
                Change::Place(at, number) => {
                    let table = live.tables.range_mut(..=at).next_back();
                    let place = table.and_then(|(first, places)| places.get_mut((at - first) as usize));
                    if let Some(place) = place {
                        *place = number;
                    }
                }
                _ => {}
            }
        }
    }

    /// The number of an endpoint of a service.
    #[must_use]
    pub fn endpoint(&self, service: &str, address: SocketAddr) -> Option<u32> {
        self.targets.get(&(self.service(service)?, address)).copied()
    }

    /// The number of a service.
    #[must_use]
    pub fn service(&self, name: &str) -> Option<u32> {
        self.services.get(name).copied()
    }

    /// Where an endpoint is, by its number.
    #[must_use]
    pub fn target(&self, number: u32) -> Option<SocketAddr> {
        self.targets.iter().find(|(_, other)| **other == number).map(|((_, address), _)| *address)
    }
}

/// The endpoints' places, by their order.
fn dealt(is_hashed: bool, addresses: &[SocketAddr], weights: &[u32]) -> Vec<usize> {
    match (table_len(is_hashed, addresses.len()), is_hashed) {
        (0, _) => Vec::new(),
        (len, false) => deal::drawn(weights, len),
        (len, true) => deal::hashed(addresses, weights, len),
    }
}

fn target(service: u32, endpoint: &Endpoint, cost: u32) -> Target {
    let Endpoint { address, weight, is_near } = *endpoint;
    let flags = if is_near { TARGET_WANTED | TARGET_NEAR } else { TARGET_WANTED };
    let addr = match address.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    Target { addr: addr.octets(), port: address.port(), service: service as u16, cost, weight, flags }
}

fn entry(service: &Service, tables: [Table; 2]) -> steer::Service {
    let gear = match service.gear {
        Gear::Direct => GEAR_DIRECT,
        Gear::Proxy => GEAR_PROXY,
        Gear::Deny => GEAR_DENY,
    };
    let balance = match service.balance {
        Balance::Least => BALANCE_LEAST,
        Balance::Random => BALANCE_RANDOM,
        Balance::Hash(HashBy::Process) => BALANCE_HASH,
        Balance::Hash(HashBy::User) => BALANCE_HASH + 1,
        Balance::Hash(HashBy::Cgroup) => BALANCE_HASH + 2,
        Balance::Hash(HashBy::Source) => BALANCE_HASH + 3,
    };
    let gone = match service.when_gone {
        WhenGone::Open => GONE_OPEN,
        WhenGone::Closed => GONE_CLOSED,
    };
    let ns = |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let spacing_ns = service.limits.rate.map_or(0, |rate| ns(rate.spacing()));
    let burst = service.limits.rate.map_or(0, |rate| rate.burst.saturating_sub(1));
    let has_own = !service.endpoints.is_empty() || !service.supplies.is_empty() || service.waits;
    let flags = [
        (has_own, SERVICE_ENDPOINTS),
        (!service.except.uids.is_empty(), SERVICE_USERS),
        (service.waits, SERVICE_WAITS),
        (!service.except.executables.is_empty(), SERVICE_FILES),
    ];
    steer::Service {
        gear,
        balance,
        gone,
        flags: flags.into_iter().filter(|(is_set, _)| *is_set).fold(0, |all, (_, flag)| all | flag),
        connections: service.limits.connections.unwrap_or(0),
        tables,
        spacing_ns,
        burst_ns: spacing_ns.saturating_mul(burst.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy::{Limits, Rate};

    pub(super) const ROOM: Room = Room { rules: 16, services: 3, targets: 4, places: 256 };

    pub(super) fn service(name: &str, endpoints: &[&str]) -> Service {
        let endpoint =
            |text: &&str| Endpoint { address: text.parse().expect("an address"), weight: 1, is_near: true };
        Service {
            networks: vec!["10.0.0.1".parse().expect("a network")],
            ports: vec![80],
            endpoints: endpoints.iter().map(endpoint).collect(),
            ..Service::named(name)
        }
    }

    pub(super) fn policy(services: &[Service]) -> Policy {
        Policy { services: services.to_vec(), ..Policy::default() }
    }

    /// What the kernel has, written as it is told.
    #[derive(Default)]
    pub(super) struct Maps {
        names: BTreeMap<u32, Name>,
        targets: BTreeMap<u32, Target>,
        places: BTreeMap<u32, u32>,
        services: BTreeMap<(u32, u32), steer::Service>,
        rules: BTreeMap<(u8, u32, u8, u16, [u8; 16]), Rule>,
    }

    impl Maps {
        pub(super) fn write(&mut self, changes: &[Change]) {
            for change in changes {
                match *change {
                    Change::Name(at, name) => {
                        self.names.insert(at, name);
                    }
                    Change::Target(at, target) => {
                        self.targets.insert(at, target);
                    }
                    Change::Place(at, target) => {
                        self.places.insert(at, target);
                    }
                    Change::Service(key, service) => {
                        self.services.insert((key.bank, key.service), service);
                    }
                    Change::NoService(key) => {
                        self.services.remove(&(key.bank, key.service));
                    }
                    Change::Rule(len, key, rule) => {
                        self.rules.insert((key.bank, len, key.family, key.port, key.addr), rule);
                    }
                    Change::NoRule(len, key) => {
                        self.rules.remove(&(key.bank, len, key.family, key.port, key.addr));
                    }
                    Change::Learned(..) | Change::Forgotten(_) => panic!("no plan's: {change:?}"),
                }
            }
        }

        /// As another daemon would find it.
        pub(super) fn found(&self, bank: u32) -> Found {
            let last = |number: Option<&u32>| number.map_or(0, |last| *last + 1);
            let target = |number| self.targets.get(&number).copied().unwrap_or_default();
            let place = |place| self.places.get(&place).copied().unwrap_or_default();
            Found {
                bank,
                names: self.names.iter().map(|(id, name)| (*id, *name)).collect(),
                rules: self
                    .rules
                    .iter()
                    .map(|((bank, len, family, port, addr), rule)| {
                        (*len, RuleKey { bank: *bank, family: *family, port: *port, addr: *addr }, *rule)
                    })
                    .collect(),
                services: self
                    .services
                    .iter()
                    .map(|((bank, service), entry)| (ServiceKey { bank: *bank, service: *service }, *entry))
                    .collect(),
                targets: (0..last(self.targets.keys().last())).map(target).collect(),
                table: (0..last(self.places.keys().last())).map(place).collect(),
                learned: Vec::new(),
            }
        }

        pub(super) fn rules_of(&self, bank: u8) -> Rules {
            let of_bank = self.found(0).rules.into_iter().filter(|(_, key, _)| key.bank == bank);
            of_bank.map(|(len, key, rule)| ((len, RuleKey { bank: 0, ..key }), rule)).collect()
        }

        /// Where the first rule of a bank leads to: addresses of the endpoints.
        pub(super) fn endpoints(&self, bank: u32) -> BTreeSet<[u8; 16]> {
            let Some((_, rule)) = self.rules.iter().find(|((of, ..), _)| u32::from(*of) == bank) else {
                return BTreeSet::new();
            };
            let service = self.services[&(bank, rule.service)];
            let places = service.tables.iter().flat_map(|table| table.first..table.first + table.len);
            places.map(|place| self.targets[&self.places[&place]].addr).collect()
        }
    }

    #[test]
    fn the_bank_that_is_read_stays_what_it_is_while_the_other_is_written() {
        let (mut planner, mut maps) = (Planner::new(ROOM), Maps::default());
        let octets = |text: &str| {
            let address: std::net::Ipv4Addr = text.parse().expect("an address");
            address.to_ipv6_mapped().octets()
        };
        let sets = [["1.0.0.1:1", "1.0.0.2:1"], ["2.0.0.1:1", "2.0.0.2:1"], ["1.0.0.1:1", "2.0.0.2:1"]];
        let mut before = BTreeSet::new();
        let mut bank = 0;
        for set in sets.iter().cycle().take(12) {
            let plan =
                planner.plan(&policy(&[service("a", set)]), &Judge::default(), |_| true).expect("room");
            maps.write(&planner.changes(&plan));
            assert_eq!(maps.endpoints(bank), before, "the old plan is whole until the turn");
            bank = planner.next_bank();
            planner.turn(plan);
            before = set.iter().map(|text| octets(text.split(':').next().unwrap_or_default())).collect();
            assert_eq!(maps.endpoints(bank), before);
        }
        // Nobody knows how far writing came: the next plan is whole all the same.
        for n in [0, 3, 40] {
            let plan = planner
                .plan(&policy(&[service("a", &["3.0.0.1:1"])]), &Judge::default(), |_| true)
                .expect("room");
            let changes = planner.changes(&plan);
            maps.write(&changes[..n.min(changes.len())]);
            planner.failed(&plan);
            assert_eq!(maps.endpoints(bank), before);
        }
        // What is the same twice is not written twice.
        let plan =
            planner.plan(&policy(&[service("a", &sets[0])]), &Judge::default(), |_| true).expect("room");
        maps.write(&planner.changes(&plan));
        planner.turn(plan.clone());
        let again =
            planner.plan(&policy(&[service("a", &sets[0])]), &Judge::default(), |_| true).expect("room");
        let is_place = |change: &Change| matches!(change, Change::Place(..) | Change::Service(..));
        assert!(planner.changes(&again).iter().all(is_place));
    }

    /// Weights are written into the plan that holds, and the next plan has them too.
    #[test]
    fn places_are_dealt_anew_where_they_are() {
        let (mut planner, mut maps) = (Planner::new(Room { places: 2048, ..ROOM }), Maps::default());
        let addresses: [SocketAddr; 3] =
            ["1.0.0.1:1", "1.0.0.2:1", "[1::3]:1"].map(|text| text.parse().expect("an address"));
        for balance in [Balance::Least, Balance::Hash(HashBy::User)] {
            let mut wanted = service("a", &["1.0.0.1:1", "1.0.0.2:1", "[1::3]:1"]);
            wanted.balance = balance;
            let plan = planner.plan(&policy(&[wanted]), &Judge::default(), |_| true).expect("room");
            maps.write(&planner.changes(&plan));
            planner.turn(plan);
            let shares = |maps: &Maps, planner: &Planner| {
                let live = &planner.banks[planner.bank as usize];
                assert!(live.tables.iter().all(|(first, places)| {
                    places.iter().zip(*first..).all(|(number, place)| maps.places[&place] == *number)
                }));
                assert!(live.targets.iter().all(|(number, target)| maps.targets[number] == *target));
                addresses.map(|address| {
                    let number = planner.endpoint("a", address).expect("a number");
                    live.tables.values().flatten().filter(|place| **place == number).count()
                })
            };
            let before = shares(&maps, &planner);
            assert!(before[0].abs_diff(before[1]) < 4 && before[2] > 0, "{before:?}");
            for weights in [[0, 5, 1], [3, 1, 1], [1, 1, 1]] {
                let weighed = addresses.into_iter().zip(weights);
                let weighed =
                    weighed.map(|(address, weight)| (address, Weighed { weight, cost: 7 + weight }));
                let weighed: Vec<_> = weighed.collect();
                let changes = planner.reweigh("a", &weighed);
                assert!(
                    changes.iter().all(|change| matches!(change, Change::Place(..) | Change::Target(..)))
                );
                maps.write(&changes);
                planner.took(&changes);
                assert_eq!(planner.reweigh("a", &weighed), [], "once is enough");
                let [a, b, six] = shares(&maps, &planner);
                assert_eq!((a + b, six), (before[0] + before[1], before[2]));
                assert_eq!(a == 0, weights[0] == 0);
                assert!(weights[0] != 3 || a.abs_diff(b * 3) < 8, "{a} {b}");
            }
            assert_eq!(planner.reweigh("b", &[]), []);
        }
    }

    #[test]
    fn a_family_that_weighs_nothing_gets_nothing() {
        let mut planner = Planner::new(ROOM);
        let mut wanted = service("a", &["1.0.0.1:1", "[1::3]:1"]);
        wanted.endpoints[1].weight = 0;
        let [four, six] = [0, 1].map(|at| wanted.endpoints[at].address);
        let plan = planner.plan(&policy(&[wanted]), &Judge::default(), |_| true).expect("room");
        planner.turn(plan);
        let own = planner.endpoint("a", four).expect("a number");
        let live = &planner.banks[planner.bank as usize];
        assert!(live.tables.values().flatten().all(|place| *place == own), "{:?}", live.tables);
        assert_eq!(live.services.values().map(|entry| entry.tables[1].len).collect::<Vec<_>>(), [0]);
        // Nor where it would have as many places as another has.
        let changes = planner.reweigh("a", &[(six, Weighed { weight: 0, cost: COST })]);
        assert_eq!(changes, []);
    }

    #[test]
    fn numbers_are_kept_and_given_back() {
        let mut planner = Planner::new(ROOM);
        let turn = |planner: &mut Planner, services: &[Service], busy: &[u32]| {
            let plan =
                planner.plan(&policy(services), &Judge::default(), |number| !busy.contains(&number))?;
            let _ = planner.changes(&plan);
            planner.turn(plan);
            Ok::<_, Full>(())
        };
        turn(&mut planner, &[service("a", &["1.0.0.1:1", "1.0.0.2:1"]), service("b", &["1.0.0.1:1"])], &[])
            .expect("room");
        let (a, b) = (planner.service("a"), planner.service("b"));
        assert_ne!(a, b);
        let address: SocketAddr = "1.0.0.2:1".parse().expect("an address");
        let kept = planner.targets[&(a.expect("an id"), address)];
        // Another order, another set: the same numbers.
        turn(&mut planner, &[service("b", &["1.0.0.3:1"]), service("a", &["1.0.0.2:1"])], &[]).expect("room");
        assert_eq!((planner.service("a"), planner.service("b")), (a, b));
        assert_eq!(planner.target(kept), Some(address));
        // One with connections keeps its number, so that a fifth has none.
        turn(&mut planner, &[service("a", &["1.0.0.4:1", "1.0.0.5:1"])], &[kept]).expect("room");
        let full = turn(&mut planner, &[service("a", &["1.0.0.6:1", "1.0.0.7:1"])], &[kept]);
        assert_eq!(full, Err(Full { what: "endpoints", room: 4 }));
        assert_eq!(planner.target(kept), Some(address));
        turn(&mut planner, &[service("a", &["1.0.0.6:1", "1.0.0.7:1"])], &[]).expect("room");
        assert_eq!(planner.target(kept).filter(|other| *other == address), None);
        // Names come and go.
        for name in ["c", "d", "e", "f"] {
            turn(&mut planner, &[service("a", &[]), service(name, &[])], &[]).expect("room");
        }
        let many: Vec<_> = ["a", "b", "c", "d"].map(|name| service(name, &[])).into();
        assert_eq!(turn(&mut planner, &many, &[]), Err(Full { what: "services", room: 3 }));
        let many: Vec<_> = (0..9).map(|n| format!("1.0.{n}.1:1")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert!(turn(&mut planner, &[service("a", &many)], &[]).is_err());
    }

    #[test]
    fn what_was_asked_for_is_in_the_entry() {
        let mut wanted = service("a", &["1.0.0.1:1", "[::2]:1"]);
        wanted.limits = Limits { connections: Some(7), rate: Some(Rate { per_second: 50, burst: 3 }) };
        wanted.gear = Gear::Proxy;
        wanted.balance = Balance::Hash(HashBy::User);
        wanted.when_gone = WhenGone::Closed;
        let mut planner = Planner::new(Room { places: 1024, ..ROOM });
        let plan = planner.plan(&policy(&[wanted]), &Judge::default(), |_| true).expect("room");
        let entry = plan.services[&0];
        assert_eq!((entry.gear, entry.balance, entry.gone), (GEAR_PROXY, BALANCE_HASH + 1, GONE_CLOSED));
        assert_eq!((entry.connections, entry.spacing_ns, entry.burst_ns), (7, 20_000_000, 40_000_000));
        assert_eq!(entry.tables.map(|table| table.len), [251, 251]);
        assert_ne!(entry.tables[0].first, entry.tables[1].first);
        let none = planner.plan(&policy(&[service("a", &[])]), &Judge::default(), |_| true).expect("room");
        assert_eq!((none.services[&0].flags, none.services[&0].tables), (0, [Table::default(); 2]));
    }
}
