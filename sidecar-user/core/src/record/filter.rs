//! Which connections somebody wants to be recorded.

use crate::model::{Connection, Network, Role};

/// Conditions. Of one kind any may hold, all kinds must; and none of those that are asked not to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    wanted: Vec<Condition>,
    unwanted: Vec<Condition>,
}

/// Names of the kinds of conditions, as queries and command lines have them.
pub const CONDITIONS: [&str; 4] = ["protocol", "role", "peer", "port"];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    /// What the connection began with, as far as it was seen.
    Protocol(String),
    Role(Role),
    Peer(Network),
    /// The server's.
    Port(u16),
}

impl Filter {
    /// Asks for one more; `is_wanted` or not.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn add(&mut self, name: &str, value: &str, is_wanted: bool) -> Result<(), String> {
        let condition = Condition::parse(name, value)?;
        if is_wanted { &mut self.wanted } else { &mut self.unwanted }.push(condition);
        Ok(())
    }

    /// Whether it is asked for.
    #[must_use]
    pub fn takes(&self, connection: &Connection, protocol: &str) -> bool {
        let holds = |condition: &Condition| condition.holds(connection, protocol);
        let is_kind =
            |one: &Condition, other: &Condition| std::mem::discriminant(one) == std::mem::discriminant(other);
        let any_of_kind =
            |one: &Condition| self.wanted.iter().any(|other| is_kind(one, other) && holds(other));
        self.wanted.iter().all(any_of_kind) && !self.unwanted.iter().any(holds)
    }
}

impl Condition {
    fn parse(name: &str, value: &str) -> Result<Self, String> {
        match name {
            "protocol" if !value.is_empty() => Ok(Condition::Protocol(value.to_ascii_lowercase())),
            "protocol" => Err("protocol: nothing is asked for".to_owned()),
            "role" => match value {
                "client" => Ok(Condition::Role(Role::Client)),
                "server" => Ok(Condition::Role(Role::Server)),
                _ => Err(format!("role: `{value}` is neither client nor server")),
            },
            "peer" => value.parse().map(Condition::Peer).map_err(|error| format!("peer: {error}")),
            "port" => match value.parse() {
                Ok(port @ 1..) => Ok(Condition::Port(port)),
                Ok(0) | Err(_) => Err(format!("port: `{value}` is no number from 1 to 65535")),
            },
            _ => Err(format!("`{name}` is no condition: there are {}", CONDITIONS.join(", "))),
        }
    }

    fn holds(&self, connection: &Connection, protocol: &str) -> bool {
        match self {
            Condition::Protocol(name) => name == protocol,
            Condition::Role(role) => connection.role == Some(*role),
            Condition::Peer(network) => network.contains(connection.peer().ip()),
            Condition::Port(port) => match connection.role {
                Some(Role::Server) => connection.local.port() == *port,
                Some(Role::Client) => {
                    connection.server().port() == *port || connection.remote.port() == *port
                }
                None => [connection.local, connection.remote].iter().any(|end| end.port() == *port),
            },
        }
    }
}
