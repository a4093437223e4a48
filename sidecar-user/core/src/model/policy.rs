//! Services and what is done about connections to them, as the user says it.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::{Host, Network, Uids, health::Health};

/// All services, in their order: of those that have a destination the first decides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// Each by a name of its own.
    pub services: Vec<Service>,
    /// The same for connections that come in, by names of their own too: `networks` are those of whoever comes, `ports` the
    /// application's. [`Gear::Direct`] leaves them alone.
    pub inbound: Vec<Service>,
    /// Where virtual addresses come from, where there are any: one of each family. Nobody has an address of them.
    pub pools: Vec<Network>,
}

impl Policy {
    /// How many rules it comes to at most.
    #[must_use]
    pub fn n_rules(&self) -> usize {
        let of = |service: &Service| {
            let (networks, ports) = (service.networks.len(), service.ports.len().max(1));
            let except = &service.except;
            let virtuals =
                if service.resolve == Resolve::Virtual { 2 * service.hosts.len() * ports } else { 0 };
            let uids: usize = except.uids.iter().map(|uids| uids.prefixes().count()).sum();
            networks * (2 * ports + except.ports.len()) + except.networks.len() * ports + virtuals + uids
        };
        self.services.iter().chain(&self.inbound).map(of).sum::<usize>() + self.pools.len()
    }
}

/// A set of destinations, and what becomes of connections to them.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// What it is called in metrics and by `explain`.
    pub name: String,
    /// Destinations by name.
    pub hosts: Vec<Host>,
    /// How those are answered.
    pub resolve: Resolve,
    /// Destinations by address.
    pub networks: Vec<Network>,
    /// Destinations by port; empty: any.
    pub ports: Vec<u16>,
    /// Of these, those that go where they ask.
    pub except: Except,
    /// How they are carried.
    pub gear: Gear,
    /// Where they go. Empty: where they ask.
    pub endpoints: Vec<Endpoint>,
    /// Who of the endpoints gets the next.
    pub balance: Balance,
    /// How many there may be.
    pub limits: Limits,
    /// What becomes of those that need the daemon, while it is gone.
    pub when_gone: WhenGone,
    /// How its endpoints' health is judged. `None`: it is not.
    pub health: Option<Health>,
}

impl Service {
    /// Whether it is for this port, of whichever address.
    #[must_use]
    pub fn is_for(&self, port: u16) -> bool {
        self.ports.is_empty() || self.ports.contains(&port)
    }

    /// Whether it has this destination, or where connections come in, whoever comes: exceptions are of it, too.
    #[must_use]
    pub fn has(&self, address: IpAddr, port: u16) -> bool {
        self.is_for(port) && self.networks.iter().any(|network| network.contains(address))
    }

    /// Without a destination, and with everything else as it is where nothing is said.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Service {
            name: name.to_owned(),
            hosts: Vec::new(),
            resolve: Resolve::Real,
            networks: Vec::new(),
            ports: Vec::new(),
            except: Except::default(),
            gear: Gear::Direct,
            endpoints: Vec::new(),
            balance: Balance::Least,
            limits: Limits::default(),
            when_gone: WhenGone::Open,
            health: None,
        }
    }
}

/// How a service's names are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolve {
    /// By addresses that nobody has.
    Virtual,
    /// By the resolver that was asked.
    Real,
}

/// Connections to a service that it leaves alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Except {
    /// By address.
    pub networks: Vec<Network>,
    /// By port.
    pub ports: Vec<u16>,
    /// By the user who connects: the real one (credentials(7)), as the initial user namespace counts. Not to virtual
    /// addresses, where nobody is.
    pub uids: Vec<Uids>,
}

/// How a connection is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gear {
    /// By the kernel alone: the endpoint is written at `connect()`.
    Direct,
    /// Through the daemon's relay.
    Proxy,
    /// Not at all.
    Deny,
}

/// Where a service can be had.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Endpoint {
    /// There.
    pub address: SocketAddr,
    /// Its share, beside that of the others; 0: none.
    pub weight: u16,
    /// It is in the daemon's zone, or nobody said which zone that is.
    pub is_near: bool,
}

/// Who gets the next connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Of two that are drawn by weight, the one with less to do (Mitzenmacher, "The power of two choices", 2001).
    Least,
    /// One that is drawn by weight.
    Random,
    /// Always the same for the same client, as long as it is there (Eisenbud et al., "Maglev", NSDI 2016, section 3.4).
    Hash(HashBy),
}

/// What makes a client the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashBy {
    /// Its process.
    Process,
    /// Its user.
    User,
    /// Its cgroup.
    Cgroup,
    /// The address that it bound.
    Source,
}

/// How many connections a service takes. Those beyond are refused (`ECONNREFUSED`).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// At a time.
    pub connections: Option<u32>,
    /// New ones.
    pub rate: Option<Rate>,
}

/// So many new connections a second, of which a burst may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// A second; at least 1.
    pub per_second: u32,
    /// At once; at least 1.
    pub burst: u32,
}

impl Rate {
    /// Between two connections.
    #[must_use]
    pub fn spacing(self) -> Duration {
        Duration::from_secs(1) / self.per_second.max(1)
    }
}

/// What holds while the daemon cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenGone {
    /// Connections go where they ask.
    Open,
    /// Connections are refused.
    Closed,
}
