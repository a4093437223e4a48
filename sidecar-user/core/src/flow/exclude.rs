//! Connections that the configuration leaves out.

use crate::model::{Connection, Network, Role};

/// Why a connection is left out: its number in `Tally::excluded`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excluded {
    /// By its server's port.
    Port,
    /// By its other end.
    Peer,
}

/// Which connections are not read.
#[derive(Clone, Debug, Default)]
pub struct Exclude {
    /// Ports of servers, whichever end is observed.
    pub ports: Vec<u16>,
    /// Networks that the other end lies in.
    pub peers: Vec<Network>,
}

impl Exclude {
    /// Why a connection is left out, if it is.
    pub(super) fn of(&self, connection: &Connection) -> Option<Excluded> {
        let is_port = |port: u16| self.ports.contains(&port);
        let (local, remote) = (connection.local.port(), connection.peer().port());
        let by_port = match connection.role {
            Some(Role::Server) => is_port(local),
            Some(Role::Client) => is_port(remote),
            // Nobody has seen who connected: either may be the server.
            None => is_port(local) || is_port(remote),
        };
        let by_peer = || self.peers.iter().any(|peers| peers.contains(connection.peer().ip()));
        if by_port { Some(Excluded::Port) } else { by_peer().then_some(Excluded::Peer) }
    }

    /// The kernel leaves it out by itself, from its first byte: it looks its own port up among those that it was `told`.
    pub(super) fn is_known_to_kernel(connection: &Connection, told: &[u16]) -> bool {
        connection.role != Some(Role::Client) && told.contains(&connection.local.port())
    }
}
