//! Names of services: which are ours to answer (`Names`), with what (`pool`), and what resolvers told of the others
//! (`learned`). Messages of the DNS are read and made in `message`. Pure: who listens and asks is `sidecar-user`'s `traffic::dns`.

mod learned;
mod message;
mod pool;

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

pub use learned::{ADDRESSES, Learned, Shared};
pub use message::{Asked, Judged, Transport, addresses, failed, judge, matches, truncated};
pub use pool::{Virtual, assign, hosts, room};

use crate::model::{
    Host,
    policy::{Gear, Policy, Resolve},
};

/// All names that services have.
#[derive(Clone, Debug, Default)]
pub struct Names {
    exact: HashMap<String, Known>,
    /// By what is behind `*.`.
    wild: HashMap<String, Known>,
    /// Services that wait for their endpoints.
    waiting: HashSet<String>,
}

/// What is known of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Its addresses are ours, and this service's: of IPv4 and of IPv6.
    Virtual(String, [Option<IpAddr>; 2]),
    /// Its addresses are the resolver's to tell, and this service's.
    Real(String),
}

impl Names {
    /// Of a policy with what is known in it. Where two services have one name, the first in the file has it.
    #[must_use]
    pub fn new(policy: &Policy) -> Self {
        let mut names = Names::default();
        let (exact, wild) = (&mut names.exact, &mut names.wild);
        let mut add = |host: &Host, known: Known| {
            let map = if host.is_wild() { &mut *wild } else { &mut *exact };
            map.entry(host.name().to_owned()).or_insert(known);
        };
        let virtuals = assign(policy);
        let waiting = policy.services.iter().filter(|service| service.waits);
        names.waiting = waiting.map(|service| service.name.clone()).collect();
        for (at, service) in policy.services.iter().enumerate() {
            match service.resolve {
                Resolve::Real => {
                    service.hosts.iter().for_each(|host| add(host, Known::Real(service.name.clone())));
                }
                Resolve::Virtual => {
                    let own = virtuals.iter().filter(|one| one.service == at);
                    // Of a family in which there is nobody, none is told, though it is the name's.
                    let is_had = |address: &IpAddr| {
                        let is_v6 = address.is_ipv6();
                        let mut endpoints = service.endpoints.iter();
                        service.gear == Gear::Deny
                            || service.waits
                            || endpoints.any(|one| one.weight > 0 && one.address.is_ipv6() == is_v6)
                    };
                    own.for_each(|one| {
                        let addresses = one.addresses.map(|address| address.filter(is_had));
                        add(&one.host, Known::Virtual(service.name.clone(), addresses));
                    });
                }
            }
        }
        names
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wild.is_empty()
    }

    /// Whether a service's endpoints are not known yet.
    #[must_use]
    pub fn waits(&self, service: &str) -> bool {
        self.waiting.contains(service)
    }

    /// What is known of a name, in lower case and without the root's dot: the name itself, else the longest `*.` above it
    /// (RFC 4592, 3.3.1).
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Known> {
        let above = name.match_indices('.').map(|(at, _)| &name[at + 1..]);
        self.exact.get(name).or_else(|| above.filter_map(|above| self.wild.get(above)).next())
    }

    /// The service that has the real addresses of a name.
    #[must_use]
    pub fn real(&self, name: &str) -> Option<&str> {
        match self.find(name)? {
            Known::Real(service) => Some(service),
            Known::Virtual(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy::{Endpoint, Service};

    #[test]
    fn the_name_itself_comes_before_what_is_above_it() {
        let service = |name: &str, hosts: &[&str]| Service {
            hosts: hosts.iter().map(|host| host.parse().expect("a name")).collect(),
            resolve: Resolve::Real,
            ..Service::named(name)
        };
        let services = vec![
            service("wide", &["*.example.com"]),
            service("one", &["api.example.com", "db"]),
            service("below", &["*.b.example.com", "db"]),
        ];
        let names = Names::new(&Policy { services, ..Policy::default() });
        for (name, expected) in [
            ("api.example.com", Some("one")),
            ("x.example.com", Some("wide")),
            ("y.x.example.com", Some("wide")),
            ("x.b.example.com", Some("below")),
            ("b.example.com", Some("wide")),
            ("example.com", None),
            ("notexample.com", None),
            ("db", Some("one")),
            ("db.svc", None),
            ("", None),
        ] {
            let expected = expected.map(|service| Known::Real(service.to_owned()));
            assert_eq!(names.find(name), expected.as_ref(), "{name}");
        }
    }

    #[test]
    fn no_address_is_told_of_a_family_in_which_nobody_is() {
        let endpoint = |address: &str, weight| Endpoint {
            address: address.parse().expect("an address"),
            weight,
            is_near: true,
        };
        for (six, is_told) in [(endpoint("[fd00::1]:80", 1), true), (endpoint("[fd00::1]:80", 0), false)] {
            let service = Service {
                hosts: vec!["db".parse().expect("a name")],
                resolve: Resolve::Virtual,
                endpoints: vec![endpoint("10.0.0.1:80", 1), six],
                ..Service::named("a")
            };
            let pools = ["240.240.0.0/16", "fd97::/64"].map(|pool| pool.parse().expect("a network"));
            let policy = Policy { services: vec![service], pools: pools.to_vec(), ..Policy::default() };
            let names = Names::new(&policy);
            let Some(Known::Virtual(_, [four, six])) = names.find("db") else { panic!("{names:?}") };
            assert_eq!((four.is_some(), six.is_some()), (true, is_told));
        }
    }
}
