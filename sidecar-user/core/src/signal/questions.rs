//! Names that are asked for, as far as metrics tell them apart: whoever asks decides how many there are.

use std::time::Duration;

use rustc_hash::FxHashMap;

use super::http;
use crate::model::{Connection, Detail, Exchange, Ktime};

/// Between two looks for names that nobody asks for any more.
const PAUSE: Duration = Duration::from_secs(1);

/// Names that metrics have, of each role.
#[derive(Debug)]
pub struct Questions {
    cap: usize,
    /// After so long without a question a name gives its room back; `None`: never.
    expiry: Option<Duration>,
    known: [Known; 2],
}

#[derive(Debug, Default)]
struct Known {
    /// When each was asked for last.
    names: FxHashMap<Box<str>, Ktime>,
    looked: Ktime,
}

impl Questions {
    /// None is known yet.
    #[must_use]
    pub fn new(cap: usize, expiry: Option<Duration>) -> Self {
        Questions { cap, expiry, known: Default::default() }
    }

    /// From now on so many are told apart. Those that are already stay.
    pub fn set(&mut self, cap: usize, expiry: Option<Duration>) {
        (self.cap, self.expiry) = (cap, expiry);
    }

    /// Marks a lookup whose name metrics do not have.
    pub fn label(&mut self, connection: &Connection, exchange: &mut Exchange) {
        let at = exchange.ended;
        let Detail::Dns(dns) = &mut exchange.detail else { return };
        let known = &mut self.known[http::role(connection) as usize];
        if let Some(last) = known.names.get_mut(&dns.name) {
            *last = at;
            return;
        }
        if let Some(expiry) = self.expiry
            && known.names.len() >= self.cap
            && at.since(known.looked) >= PAUSE
        {
            known.looked = at;
            known.names.retain(|_, last| at.since(*last) < expiry);
        }
        dns.is_other = known.names.len() >= self.cap;
        if !dns.is_other {
            known.names.insert(dns.name.clone(), at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ConnectionId, Dns, Outcome, Role};

    fn is_other(questions: &mut Questions, role: Role, name: &str, s: u64) -> bool {
        let address = ([127, 0, 0, 1], 53).into();
        let connection = Connection {
            id: ConnectionId(1),
            role: Some(role),
            local: address,
            remote: address,
            tgid: 1,
            cgroup: 1,
            joined: false,
            steered: None,
        };
        let dns = Dns {
            name: name.into(),
            is_other: false,
            record_type: 1,
            code: Some(0),
            answers: 0,
            is_truncated: false,
            bytes: [None; 2],
        };
        let mut exchange = Exchange {
            started: Ktime(0),
            requested: None,
            read: None,
            answered: None,
            ended: Ktime(s * 1_000_000_000),
            outcome: Outcome::Complete,
            is_excluded: false,
            lost: 0,
            trace: None,
            detail: Detail::Dns(Box::new(dns)),
        };
        questions.label(&connection, &mut exchange);
        let Detail::Dns(dns) = exchange.detail else { unreachable!() };
        dns.is_other
    }

    #[test]
    fn so_many_names_of_each_role() {
        let mut questions = Questions::new(2, Some(Duration::from_secs(60)));
        for (role, name, s, expected) in [
            (Role::Client, "a", 0, false),
            (Role::Client, "b", 1, false),
            (Role::Client, "c", 2, true),
            (Role::Client, "a", 50, false),
            (Role::Server, "c", 50, false),
            // b is forgotten.
            (Role::Client, "c", 62, false),
            (Role::Client, "b", 63, true),
            (Role::Client, "a", 64, false),
        ] {
            assert_eq!(is_other(&mut questions, role, name, s), expected, "{name} at {s}");
        }
        questions.set(3, None);
        assert!(!is_other(&mut questions, Role::Client, "b", 65));
        assert!(is_other(&mut questions, Role::Client, "d", 1000));
    }
}
