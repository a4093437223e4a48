//! One end of a TCP connection, as the application's socket holds it.

use std::{net::SocketAddr, sync::Arc};

use super::Steered;

/// The kernel's number for a connection: its socket's cookie, and how many connections the socket was before. Unique until
/// reboot, but for a socket that is connected 65,536 times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What the observed end is to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It called `connect()`.
    Client,
    /// It was accepted.
    Server,
}

impl Role {
    /// Both roles.
    pub const ALL: [Role; 2] = [Role::Client, Role::Server];

    /// Which side's bytes travel in `dir`, seen from this role.
    #[must_use]
    pub fn side(self, dir: Dir) -> Side {
        match (self, dir) {
            (Role::Client, Dir::Egress) | (Role::Server, Dir::Ingress) => Side::Client,
            (Role::Client, Dir::Ingress) | (Role::Server, Dir::Egress) => Side::Server,
        }
    }

    /// The direction in which `side`'s bytes travel, seen from this role.
    #[must_use]
    pub fn dir(self, side: Side) -> Dir {
        if self.side(Dir::Ingress) == side { Dir::Ingress } else { Dir::Egress }
    }
}

/// What a connection whose requests are read is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activity {
    /// No request is outstanding.
    Idle,
    /// At least one is.
    Active,
}

/// Direction of bytes at the observed socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dir {
    /// To the application.
    Ingress,
    /// From the application.
    Egress,
}

impl Dir {
    /// 0 for ingress, 1 for egress: the index that the kernel's arrays use.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// Who sent bytes, whichever end is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The end that connected.
    Client,
    /// The end that accepted.
    Server,
}

impl Side {
    /// 0 for the client, 1 for the server.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// The other side.
    #[must_use]
    pub fn other(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }
}

/// What is known of a connection besides its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The socket.
    pub id: ConnectionId,
    /// `None` while neither its calls nor its bytes have shown it.
    pub role: Option<Role>,
    /// The application's address.
    pub local: SocketAddr,
    /// The other end's address.
    pub remote: SocketAddr,
    /// Thread group id in the initial PID namespace, 0 if not known.
    pub tgid: u32,
    /// cgroup v2 id, 0 if not known.
    pub cgroup: u64,
    /// The connection was met in the middle.
    pub joined: bool,
    /// What was decided of it at `connect()`, or where it came in; `None`: nobody steers, or not this one.
    pub steered: Option<Arc<Steered>>,
}

impl Connection {
    /// The server's end of it, as the client asked for it; the remote one while the role is not known.
    #[must_use]
    pub fn server(&self) -> SocketAddr {
        match self.role {
            Some(Role::Server) => self.local,
            Some(Role::Client) | None => self.steered.as_ref().map_or(self.remote, |steered| steered.asked),
        }
    }

    /// The name that stands for what the client asked for, where no other has that address.
    #[must_use]
    pub fn server_name(&self) -> Option<&Arc<str>> {
        self.steered.as_ref().filter(|_| self.role != Some(Role::Server))?.host.as_ref()
    }

    /// Whom the application talks to: the other end, and beyond the relay whom that talks to.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        // Of what comes in through the relay the other end is the true client already.
        let goes_out = self.steered.as_ref().filter(|_| self.role != Some(Role::Server));
        goes_out.and_then(|steered| steered.beyond_relay()).unwrap_or(self.remote)
    }
}
