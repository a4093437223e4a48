//! The last connections of each service, with what was decided of them: also of those that never came to be.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc};

use rustc_hash::FxHashMap;

use crate::{
    event::Decided,
    model::{
        Connection, Directory, Failure, Inbound, Ktime, Reason, Role, Steered, Verdict,
        policy::{self, Gear},
    },
};

/// Connections that are remembered of each service.
const LAST: usize = 32;
/// Services whose connections are remembered: as many as there may be, and the connections of none.
const SERVICES: usize = 257;

/// One of them.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it was established, or came to nothing.
    pub at: Ktime,
    /// It, and what was decided.
    pub connection: Connection,
    /// What came of it.
    pub came: Came,
}

/// What came of a `connect()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// It was established.
    Opened,
    /// It was not.
    Failed(Failure),
    /// It was refused at once.
    Denied,
}

/// All that are remembered, and what their numbers stand for.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    directory: Directory,
    last: FxHashMap<Option<Arc<str>>, VecDeque<Seen>>,
}

impl Verdicts {
    /// From now on numbers stand for these.
    pub(super) fn set(&mut self, directory: Directory) {
        self.directory = directory;
    }

    /// What was decided, in names and addresses. `remote` is where the socket leads to.
    pub(super) fn resolve(&self, decided: &Decided, remote: SocketAddr) -> Arc<Steered> {
        let Decided { verdict, reason, service, target, asked } = *decided;
        let service = service.and_then(|number| self.directory.services.get(&number).cloned());
        let endpoint = match verdict {
            Verdict::Direct => Some(remote),
            Verdict::Proxied => target.and_then(|number| self.directory.endpoints.get(&number).copied()),
            Verdict::Passed | Verdict::Denied => None,
        };
        let host = self.directory.hosts.get(&asked.ip().to_canonical()).cloned();
        Arc::new(Steered { verdict, reason, service, asked, host, endpoint })
    }

    /// What was decided of a connection that came in, which is counted: in the kernel by way of the relay, else by the policy.
    pub(super) fn arrived(
        &self,
        decided: Option<Arc<Steered>>,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Option<Arc<Steered>> {
        let inbound = self.directory.inbound.as_ref()?;
        let steered = decided.or_else(|| inbound.let_pass(local, remote))?;
        inbound.counts.count(&steered);
        Some(steered)
    }

    /// Remembers one, if anything was decided of it. What came in by no service's rule nobody asks about.
    pub(super) fn note(&mut self, at: Ktime, connection: &Connection, came: Came) {
        let Some(steered) = &connection.steered else { return };
        if steered.service.is_none() && connection.role == Some(Role::Server) {
            return;
        }
        if self.last.len() >= SERVICES && !self.last.contains_key(&steered.service) {
            let at = |seen: &VecDeque<Seen>| seen.back().map_or(Ktime(0), |seen| seen.at);
            // Its services are gone, as a rule.
            let quietest =
                self.last.iter().min_by_key(|(_, seen)| at(seen)).map(|(service, _)| service.clone());
            quietest.and_then(|service| self.last.remove(&service));
        }
        let last = self.last.entry(steered.service.clone()).or_default();
        if last.len() >= LAST {
            last.pop_front();
        }
        last.push_back(Seen { at, connection: connection.clone(), came });
    }

    /// Those of a service, or of none, the newest first.
    pub(super) fn of(&self, service: Option<&str>) -> Vec<Seen> {
        let last = self.last.iter().find(|(name, _)| name.as_deref() == service);
        last.into_iter().flat_map(|(_, seen)| seen.iter().rev().cloned()).collect()
    }
}

impl Inbound {
    /// Of one that came in by itself: by the policy that holds now, as the kernel had no socket to leave it at. `None` where the
    /// policy must have been another.
    fn let_pass(&self, local: SocketAddr, remote: SocketAddr) -> Option<Arc<Steered>> {
        let is_local =
            remote.ip().is_loopback() || remote.ip() == local.ip() || self.own.contains(&remote.ip());
        let found = policy::find(&self.services, remote.ip(), local.port());
        let reason = match found {
            _ if is_local => Reason::Local,
            None => Reason::NoRule,
            Some((_, true)) => Reason::Exception,
            Some((service, false)) => match service.gear {
                Gear::Direct => Reason::Gear,
                // The relay did not bring it.
                Gear::Proxy => Reason::Daemon,
                Gear::Deny => return None,
            },
        };
        let service = found.filter(|_| !is_local).map(|(service, _)| service.name.as_str().into());
        Some(Arc::new(Steered {
            verdict: Verdict::Passed,
            reason,
            service,
            asked: local,
            host: None,
            endpoint: None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Arrivals, ConnectionId};

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn decided(verdict: Verdict, service: Option<u32>, target: Option<u32>) -> Decided {
        Decided { verdict, reason: Reason::Gear, service, target, asked: address("10.0.0.9:80") }
    }

    fn connection(steered: Option<Arc<Steered>>) -> Connection {
        Connection {
            id: ConnectionId(1),
            role: Some(Role::Client),
            local: address("10.0.0.1:5000"),
            remote: address("127.0.0.1:9000"),
            tgid: 1,
            cgroup: 1,
            joined: false,
            steered,
        }
    }

    fn verdicts() -> Verdicts {
        let mut verdicts = Verdicts::default();
        verdicts.set(Directory {
            services: [(3, "api".into())].into(),
            endpoints: [(5, address("10.0.1.1:8080"))].into(),
            hosts: [(address("240.240.0.1:0").ip(), "api.test".into())].into(),
            inbound: None,
        });
        verdicts
    }

    #[test]
    fn numbers_become_names_and_addresses_and_unknown_ones_nothing() {
        let verdicts = verdicts();
        // Verdict, service, target => service, endpoint, peer, server.
        let (remote, endpoint, asked) = ("127.0.0.1:9000", "10.0.1.1:8080", "10.0.0.9:80");
        let cases = [
            (Verdict::Direct, Some(3), Some(5), Some("api"), Some(remote), remote),
            (Verdict::Proxied, Some(3), Some(5), Some("api"), Some(endpoint), endpoint),
            (Verdict::Proxied, Some(3), None, Some("api"), None, asked),
            (Verdict::Proxied, Some(4), Some(6), None, None, asked),
            (Verdict::Passed, None, Some(5), None, None, remote),
            (Verdict::Denied, Some(3), Some(5), Some("api"), None, remote),
        ];
        for (verdict, service, target, name, to, peer) in cases {
            let steered = verdicts.resolve(&decided(verdict, service, target), address(remote));
            assert_eq!(steered.service.as_deref(), name, "{verdict:?} {service:?}");
            assert_eq!(steered.endpoint, to.map(address), "{verdict:?} {target:?}");
            let connection = connection(Some(steered));
            assert_eq!((connection.peer(), connection.server()), (address(peer), address(asked)));
        }
        // Who asks for what only a name has means that name.
        for (asked, name) in [
            ("240.240.0.1:80", Some("api.test")),
            ("[::ffff:240.240.0.1]:80", Some("api.test")),
            ("240.240.0.2:80", None),
        ] {
            let decided = Decided { asked: address(asked), ..decided(Verdict::Direct, Some(3), Some(5)) };
            let named = connection(Some(verdicts.resolve(&decided, address(remote))));
            assert_eq!(named.server_name().map(|name| &**name), name, "{asked}");
            let accepted = Connection { role: Some(Role::Server), ..named };
            assert_eq!(accepted.server_name(), None);
        }
        let plain = connection(None);
        assert_eq!((plain.peer(), plain.server()), (address(remote), address(remote)));
    }

    #[test]
    fn the_last_of_each_service_are_kept() {
        let mut verdicts = verdicts();
        let steered = |verdicts: &Verdicts, service| {
            verdicts.resolve(&decided(Verdict::Denied, service, None), address("10.0.0.9:80"))
        };
        let (of_service, of_none) = (steered(&verdicts, Some(3)), steered(&verdicts, None));
        for at in 0..100 {
            verdicts.note(Ktime(at), &connection(Some(of_service.clone())), Came::Denied);
        }
        verdicts.note(Ktime(7), &connection(Some(of_none)), Came::Opened);
        verdicts.note(Ktime(8), &connection(None), Came::Opened);
        let times = |service| verdicts.of(service).iter().map(|seen| seen.at.0).collect::<Vec<_>>();
        assert_eq!(times(Some("api")), (68..100).rev().collect::<Vec<_>>());
        assert_eq!((times(None), times(Some("other"))), (vec![7], vec![]));
        // Names come and go: as many are kept as there may be services at a time.
        for n in 0..1000 {
            let steered = Steered { service: Some(format!("{n}").into()), ..(*of_service).clone() };
            verdicts.note(Ktime(200 + n), &connection(Some(Arc::new(steered))), Came::Opened);
        }
        assert_eq!((verdicts.last.len(), verdicts.of(Some("api")).len()), (SERVICES, 0));
        assert_eq!(verdicts.of(Some("999")).len(), 1);
    }

    #[test]
    fn what_came_in_by_itself_was_let_pass() {
        let service = |name: &str, port, gear| policy::Service {
            networks: vec!["0.0.0.0/0".parse().expect("a network")],
            ports: vec![port],
            gear,
            ..policy::Service::named(name)
        };
        let mut web = service("web", 80, Gear::Proxy);
        web.except.networks.push("10.0.0.3".parse().expect("a network"));
        let services = vec![web, service("open", 81, Gear::Direct), service("shut", 82, Gear::Deny)];
        let own = Arc::new(["10.0.0.1", "10.0.0.9"].map(|own| own.parse().expect("an address")).into());
        let (mut verdicts, counts) = (Verdicts::default(), Arc::<Arrivals>::default());
        let told = |verdicts: &Verdicts, port: u16, from: &str| {
            let steered = verdicts.arrived(
                None,
                address(&format!("10.0.0.1:{port}")),
                address(&format!("{from}:5000")),
            )?;
            assert_eq!((steered.verdict, steered.endpoint), (Verdict::Passed, None));
            Some((steered.reason, steered.service.as_deref().unwrap_or_default().to_owned()))
        };
        assert_eq!(told(&verdicts, 80, "10.0.0.2"), None, "nothing is steered");
        verdicts.set(Directory {
            inbound: Some(Inbound { services, own, counts: Arc::clone(&counts) }),
            ..Directory::default()
        });
        for (port, from, expected) in [
            (80, "10.0.0.2", Some((Reason::Daemon, "web"))),
            (80, "10.0.0.3", Some((Reason::Exception, "web"))),
            (81, "10.0.0.2", Some((Reason::Gear, "open"))),
            (82, "10.0.0.2", None),
            (83, "10.0.0.2", Some((Reason::NoRule, ""))),
            (80, "10.0.0.9", Some((Reason::Local, ""))),
            (82, "10.0.0.1", Some((Reason::Local, ""))),
            (82, "127.0.0.1", Some((Reason::Local, ""))),
        ] {
            let expected = expected.map(|(reason, service)| (reason, service.to_owned()));
            assert_eq!(told(&verdicts, port, from), expected, "{from} to {port}");
        }
        let passed = |reason, n| (Verdict::Passed, reason, n);
        let all = [
            (Reason::Gear, 1),
            (Reason::NoRule, 1),
            (Reason::Exception, 1),
            (Reason::Daemon, 1),
            (Reason::Local, 3),
        ];
        assert_eq!(counts.all(), all.map(|(reason, n)| passed(reason, n)));
        assert_eq!(["web", "open", "shut"].map(|name| counts.of(name, Verdict::Passed)), [2, 1, 0]);
        counts.keep(|name| name == "open");
        assert_eq!(["web", "open"].map(|name| counts.of(name, Verdict::Passed)), [0, 1]);
    }
}
