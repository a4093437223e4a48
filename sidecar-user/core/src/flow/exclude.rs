//! Connections that the configuration leaves out.

use crate::model::{Connection, Network, Role};

/// `sidecar.reason` of a connection that is left out, in the order of `Tally::excluded`.
pub const EXCLUDED: [&str; 2] = ["port", "peer"];

/// Which connections are not read.
#[derive(Clone, Debug, Default)]
pub struct Exclude {
    /// Ports of servers, whichever end is observed.
    pub ports: Vec<u16>,
    /// Networks that the other end lies in.
    pub peers: Vec<Network>,
}

impl Exclude {
    /// Why a connection is left out, as an index of [`EXCLUDED`].
    pub(super) fn of(&self, connection: &Connection) -> Option<usize> {
        let is_port = |port: u16| self.ports.contains(&port);
        let (local, remote) = (connection.local.port(), connection.remote.port());
        let by_port = match connection.role {
            Some(Role::Server) => is_port(local),
            Some(Role::Client) => is_port(remote),
            // Nobody has seen who connected: either may be the server.
            None => is_port(local) || is_port(remote),
        };
        let by_peer = || self.peers.iter().any(|peers| peers.contains(connection.remote.ip()));
        if by_port { Some(0) } else { by_peer().then_some(1) }
    }

    /// The kernel leaves it out by itself, from its first byte: it looks its own port up among those that it was `told`.
    pub(super) fn is_known_to_kernel(connection: &Connection, told: &[u16]) -> bool {
        connection.role != Some(Role::Client) && told.contains(&connection.local.port())
    }
}
