//! From what a parser wants to what the kernel is told.

use std::net::SocketAddr;

use rustc_hash::{FxHashMap, FxHashSet};
use sidecar_ebpf::abi::{
    record::{ROLE_CLIENT, ROLE_SERVER, ROLE_UNKNOWN},
    verdict::{
        BUDGET_ALL, CLASS_ENCRYPTED, CLASS_EXCLUDED, CLASS_MPTCP, CLASS_OPEN, CLASS_PARSED,
        CLASS_UNCLASSIFIED, Endpoint, SKIP_EGRESS, SKIP_INGRESS, Verdict,
    },
};

use crate::{
    model::{Connection, Db, DbSystem, Dir, Role, Side},
    protocol::Want,
};

/// Endpoints that something was learned of.
const ENDPOINTS: usize = 1024;
/// A body of which less than this is still to come is not worth a verdict: its packets leave a record each 64 KiB.
const WORTH: u64 = 256 * 1024;
/// The farthest that a skip reaches: sequence numbers compare only within 2³¹.
const FARTHEST: u64 = 1 << 30;

/// Why a connection is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opaque {
    /// TLS.
    Encrypted,
    /// Nobody knows it, or it left its protocol.
    Unclassified,
    /// The configuration leaves it out.
    Excluded,
    /// A path of MPTCP: its bytes may stand in it twice, or in part in another.
    Mptcp,
}

impl Opaque {
    /// As connections are listed.
    pub(super) fn name(self) -> &'static str {
        match self {
            Opaque::Encrypted => "encrypted",
            Opaque::Unclassified => "unclassified",
            Opaque::Excluded => "excluded",
            Opaque::Mptcp => "mptcp",
        }
    }
}

/// What was learned of servers. Those whose connections were seen to pipeline are copied whole for good, from their first byte.
///
/// That messages alternate is never learned of a server, only of a connection, once it has done so: a client that
/// pipelines from its first packet is answered before anybody could tell the kernel to copy more than heads.
#[derive(Debug)]
pub(super) struct Endpoints {
    pipelined: FxHashSet<Endpoint>,
    /// Ports that connections came in at, and what was dialled.
    listens: FxHashSet<u16>,
    dialled: FxHashSet<SocketAddr>,
    /// Which database is there, of those that speak as others do; nothing where it was several.
    systems: FxHashMap<SocketAddr, Option<DbSystem>>,
    head_bytes: u32,
}

/// What a connection needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Messages alternate.
    Heads,
    /// They do not.
    Stream,
}

impl Endpoints {
    pub(super) fn new(head_bytes: u32) -> Self {
        Endpoints {
            pipelined: FxHashSet::default(),
            listens: FxHashSet::default(),
            dialled: FxHashSet::default(),
            systems: FxHashMap::default(),
            head_bytes,
        }
    }

    /// A connection whose role is known.
    pub(super) fn opened(&mut self, connection: &Connection) {
        match connection.role {
            Some(Role::Server) if self.listens.len() < ENDPOINTS => {
                self.listens.insert(connection.local.port());
            }
            Some(Role::Client) if self.dialled.len() < ENDPOINTS => {
                self.dialled.insert(connection.remote);
            }
            _ => {}
        }
    }

    /// The role of one that does not show it, by others.
    pub(super) fn role(&self, connection: &Connection) -> Option<Role> {
        let is_server = self.listens.contains(&connection.local.port());
        let is_client = self.dialled.contains(&connection.remote);
        match (is_client, is_server) {
            (true, false) => Some(Role::Client),
            (false, true) => Some(Role::Server),
            _ => None,
        }
    }

    /// An operation of the database at `server`. Which one that is, where it shows, holds for those where it does not. Not of
    /// loopback: each network namespace has its own, and which one a connection is in is not known where it was met in the middle.
    pub(super) fn name(&mut self, server: SocketAddr, db: &mut Db) {
        if server.ip().to_canonical().is_loopback() {
            return;
        }
        let known = self.systems.get(&server).copied();
        match (db.system, known) {
            (DbSystem::OtherSql, Some(Some(system))) => db.system = system,
            (DbSystem::MySql | DbSystem::MariaDb, None) if self.systems.len() < ENDPOINTS => {
                self.systems.insert(server, Some(db.system));
            }
            (DbSystem::MySql | DbSystem::MariaDb, Some(Some(system))) if system != db.system => {
                self.systems.insert(server, None);
            }
            _ => {}
        }
    }

    /// Connections to this server start copied whole.
    pub(super) fn is_pipelined(&self, connection: &Connection) -> bool {
        !self.pipelined.is_empty() && endpoint(connection).is_some_and(|key| self.pipelined.contains(&key))
    }

    /// Where connections to a port of ours begin that are read again.
    pub(super) fn included(&self, port: u16, turn_bytes: u32) -> (Endpoint, Verdict) {
        let (key, _) = excluded(port);
        let is_pipelined = self.pipelined.contains(&key);
        let open = Verdict { class: CLASS_OPEN, ..parsed(None, [turn_bytes; 2]) };
        (key, if is_pipelined { parsed(None, [BUDGET_ALL; 2]) } else { open })
    }

    /// Learns that they pipeline; says what is to be published, if it is news.
    pub(super) fn learn(&mut self, connection: &Connection) -> Option<(Endpoint, Verdict)> {
        let key = endpoint(connection)?;
        if self.pipelined.len() >= ENDPOINTS || !self.pipelined.insert(key) {
            return None;
        }
        Some((key, parsed(None, [BUDGET_ALL; 2])))
    }

    /// The verdict on a connection whose parser wants this. `next` is each direction's next sequence number, `now` the
    /// budgets that hold.
    pub(super) fn want(
        &self,
        connection: &Connection,
        role: Role,
        wants: [Want; 2],
        next: [Option<u32>; 2],
        now: [u32; 2],
    ) -> Verdict {
        let heads = if self.is_pipelined(connection) { BUDGET_ALL } else { self.head_bytes };
        let mut verdict = parsed(Some(role), [0; 2]);
        for side in [Side::Client, Side::Server] {
            let dir = role.dir(side);
            verdict.budget[dir.index()] = match wants[side.index()] {
                Want::Undecided => now[dir.index()],
                Want::Stream => BUDGET_ALL,
                // Inside a body nothing shows how the next message comes.
                Want::Skip(_) if wants.contains(&Want::Stream) => BUDGET_ALL,
                Want::Skip(_) => now[dir.index()],
                Want::Heads => heads,
            };
            if let (Want::Skip(n @ WORTH..), Some(next)) = (wants[side.index()], next[dir.index()]) {
                verdict.skip_until[dir.index()] = next.wrapping_add(n.min(FARTHEST) as u32);
                verdict.skips |= match dir {
                    Dir::Ingress => SKIP_INGRESS,
                    Dir::Egress => SKIP_EGRESS,
                };
            }
        }
        verdict
    }
}

/// The verdict on a connection that is not read.
pub(super) fn opaque(role: Option<Role>, why: Opaque) -> Verdict {
    let class = match why {
        Opaque::Encrypted => CLASS_ENCRYPTED,
        Opaque::Unclassified => CLASS_UNCLASSIFIED,
        Opaque::Excluded => CLASS_EXCLUDED,
        Opaque::Mptcp => CLASS_MPTCP,
    };
    Verdict { class, ..parsed(role, [0; 2]) }
}

/// What the parser asks of both sides; `None` while it cannot tell.
pub(super) fn need(wants: [Want; 2]) -> Option<Need> {
    if wants.contains(&Want::Stream) {
        Some(Need::Stream)
    } else if wants.contains(&Want::Undecided) {
        None
    } else {
        Some(Need::Heads)
    }
}

fn parsed(role: Option<Role>, budget: [u32; 2]) -> Verdict {
    let role = match role {
        Some(Role::Client) => ROLE_CLIENT,
        Some(Role::Server) => ROLE_SERVER,
        None => ROLE_UNKNOWN,
    };
    Verdict { budget, skip_until: [0; 2], skips: 0, class: CLASS_PARSED, role, pad: 0 }
}

/// The verdict on all connections to a port of ours that are not read.
pub(super) fn excluded(port: u16) -> (Endpoint, Verdict) {
    (Endpoint { addr: [0; 16], port, role: ROLE_SERVER, pad: 0 }, opaque(None, Opaque::Excluded))
}

/// The kernel looks up the same key in `verdict::start`.
fn endpoint(connection: &Connection) -> Option<Endpoint> {
    let (role, server) = match connection.role? {
        Role::Client => (ROLE_CLIENT, connection.remote),
        Role::Server => (ROLE_SERVER, connection.local),
    };
    let addr = match (role, server.ip()) {
        (ROLE_SERVER, _) => [0; 16],
        (_, std::net::IpAddr::V4(v4)) => v4.to_ipv6_mapped().octets(),
        (_, std::net::IpAddr::V6(v6)) => v6.octets(),
    };
    Some(Endpoint { addr, port: server.port(), role, pad: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ConnectionId;

    #[test]
    fn a_database_is_named_by_what_others_told_of_its_server() {
        let mut endpoints = Endpoints::new(4096);
        let mut name = |server: &str, system: DbSystem| {
            let mut db = Db::new(system);
            endpoints.name(server.parse().expect("an address"), &mut db);
            db.system
        };
        let [server, other] = ["192.0.2.1:3306", "192.0.2.2:3306"];
        assert_eq!(name(server, DbSystem::OtherSql), DbSystem::OtherSql);
        assert_eq!(name(server, DbSystem::MariaDb), DbSystem::MariaDb);
        assert_eq!(name(server, DbSystem::OtherSql), DbSystem::MariaDb);
        assert_eq!(name(other, DbSystem::OtherSql), DbSystem::OtherSql);
        assert_eq!(name(server, DbSystem::MySql), DbSystem::MySql);
        assert_eq!(name(server, DbSystem::OtherSql), DbSystem::OtherSql, "it has been both");
        for local in ["127.0.0.1:3306", "[::1]:3306", "[::ffff:127.0.0.1]:3306"] {
            assert_eq!(name(local, DbSystem::MariaDb), DbSystem::MariaDb);
            assert_eq!(name(local, DbSystem::OtherSql), DbSystem::OtherSql);
        }
    }

    #[test]
    fn only_pipelining_is_learned_of_a_server() {
        let connection = Connection {
            id: ConnectionId(1),
            role: Some(Role::Server),
            local: ([127, 0, 0, 1], 80).into(),
            remote: ([127, 0, 0, 1], 40_000).into(),
            tgid: 1,
            cgroup: 1,
            joined: false,
            steered: None,
        };
        let mut endpoints = Endpoints::new(4096);
        let heads = |endpoints: &Endpoints| {
            endpoints.want(&connection, Role::Server, [Want::Heads; 2], [None; 2], [7; 2]).budget
        };
        assert_eq!(heads(&endpoints), [4096; 2]);
        assert!(!endpoints.is_pipelined(&connection), "an alternating connection says nothing of the next");
        let (key, verdict) = endpoints.learn(&connection).expect("news");
        assert_eq!((key.port, verdict.budget), (80, [BUDGET_ALL; 2]));
        assert_eq!(endpoints.learn(&connection), None);
        assert_eq!(heads(&endpoints), [BUDGET_ALL; 2]);
    }
}
