//! Services and what is done about connections to them, as the user says it.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use super::{Executable, Host, Network, Uids, health::Health};

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
    /// Where the daemon is, where anybody said: `None`: every endpoint is near.
    pub zone: Option<String>,
    /// Whom sources of the DNS ask; empty: those of the system.
    pub resolvers: Vec<SocketAddr>,
    /// Without a sign of life for so long the daemon counts as hung; zero: it never does.
    pub heartbeat: Duration,
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
            let callers = uids + except.executables.len() * Executable::FILES;
            networks * (2 * ports + except.ports.len()) + except.networks.len() * ports + virtuals + callers
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
    /// Who tells of more of them, while running.
    pub supplies: Vec<Supply>,
    /// It has not begun: its endpoints are not known yet, or nobody needs them.
    pub waits: bool,
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
            supplies: Vec::new(),
            waits: false,
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
    /// By the file that its process executes. Not to virtual addresses either.
    pub executables: Vec<Executable>,
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

/// Who tells of endpoints while running.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Resolvers of the DNS: addresses of a name (A, AAAA).
    Dns(String),
    /// Resolvers of the DNS: who serves a name (SRV, RFC 2782), and their addresses.
    Srv(String),
    /// A file with a list of them.
    File(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Dns(name) => write!(f, "dns:{name}"),
            Source::Srv(name) => write!(f, "srv:{name}"),
            Source::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

/// What a service takes from a source.
#[derive(Clone, Debug, PartialEq)]
pub struct Supply {
    /// Whose word it is.
    pub source: Source,
    /// Port of endpoints of which only the address is told.
    pub port: u16,
    /// Weight of those of which none is told.
    pub weight: u16,
    /// Zone of those of which none is told.
    pub zone: Option<String>,
}

/// An endpoint, as a source tells of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Where it is; port 0: the service says which.
    pub address: SocketAddr,
    /// Its share; `None`: the service says.
    pub weight: Option<u16>,
    /// Where that is; `None`: the service says.
    pub zone: Option<String>,
}

/// Why a source's word is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceFailed {
    /// No resolver answered in time.
    Timeout,
    /// No resolver could be asked.
    Unreachable,
    /// A resolver said that it cannot, or will not.
    Refused,
    /// What came was no answer.
    Malformed,
    /// The file cannot be read.
    Unreadable,
    /// The file is no list of endpoints.
    Invalid,
    /// The kernel did not take what was told.
    NotSteered,
}

impl SourceFailed {
    /// All, in their order.
    pub const ALL: [SourceFailed; 7] = [
        SourceFailed::Timeout,
        SourceFailed::Unreachable,
        SourceFailed::Refused,
        SourceFailed::Malformed,
        SourceFailed::Unreadable,
        SourceFailed::Invalid,
        SourceFailed::NotSteered,
    ];
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

/// The service that a destination falls under, or where connections come in, whoever comes: as a person reads the file.
#[must_use]
pub fn find(services: &[Service], address: IpAddr, port: u16) -> Option<(&Service, bool)> {
    let service = services.iter().find(|service| service.has(address, port))?;
    let except = &service.except;
    let is_exception = except.networks.iter().any(|network| network.contains(address));
    Some((service, is_exception || except.ports.contains(&port)))
}
