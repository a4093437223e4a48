//! What was decided of a connection at `connect()`, or where it came in, where traffic is steered. Names of attributes' values are in `signal`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{Arrivals, policy::Service};

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// One of the service's endpoints was written into the address.
    Direct,
    /// It went to the relay.
    Proxied,
    /// It went where it asked.
    Passed,
    /// It was refused.
    Denied,
}

impl Verdict {
    /// In the kernel's order.
    pub const ALL: [Verdict; 4] = [Verdict::Direct, Verdict::Proxied, Verdict::Passed, Verdict::Denied];
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The service's gear says so.
    Gear,
    /// No service has this destination.
    NoRule,
    /// The service excepts this destination, or whoever asks.
    Exception,
    /// No listener of the daemon is in the socket's network namespace.
    Netns,
    /// The socket is bound to a device.
    Device,
    /// The service has no endpoint of the socket's address family.
    NoEndpoint,
    /// The daemon showed no sign of life.
    Daemon,
    /// As many connections as are allowed were open.
    ConnectionLimit,
    /// Connections came faster than is allowed.
    RateLimit,
    /// It is not TCP, and the service does not deny.
    Protocol,
    /// The kernel had no memory for the socket's state.
    NoMemory,
    /// It is a question of the DNS.
    Dns,
    /// More resolvers are asked than are told apart.
    Resolvers,
    /// Its service begins with its first use.
    FirstUse,
    /// It came from an address of the host itself.
    Local,
}

/// What was decided of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steered {
    /// What became of it.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// The service that its destination is of; `None`: none, or one that is not known any more.
    pub service: Option<Arc<str>>,
    /// What `connect()` was given; of what came in, what was dialled.
    pub asked: SocketAddr,
    /// The name that has this address, where that is a name's alone.
    pub host: Option<Arc<str>>,
    /// The service's endpoint that it got.
    pub endpoint: Option<SocketAddr>,
}

impl Steered {
    /// Where it ends, if that is not where its socket leads to.
    #[must_use]
    pub fn beyond_relay(&self) -> Option<SocketAddr> {
        (self.verdict == Verdict::Proxied).then(|| self.endpoint.unwrap_or(self.asked))
    }
}

/// What the kernel's numbers stand for.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// Names of services.
    pub services: BTreeMap<u32, Arc<str>>,
    /// Endpoints of services.
    pub endpoints: BTreeMap<u32, SocketAddr>,
    /// Names that have an address for themselves: virtual ones.
    pub hosts: BTreeMap<IpAddr, Arc<str>>,
    /// What is done about connections that come in; `None` where nothing is steered.
    pub inbound: Option<Inbound>,
}

/// By what it is told what was decided of connections that came in, where no socket was there yet to leave it at.
#[derive(Clone, Debug, Default)]
pub struct Inbound {
    /// The services of `traffic.inbound`.
    pub services: Vec<Service>,
    /// Addresses of the network namespace itself.
    pub own: Arc<BTreeSet<IpAddr>>,
    /// Where they are counted.
    pub counts: Arc<Arrivals>,
}
