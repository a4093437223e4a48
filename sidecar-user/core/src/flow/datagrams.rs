//! Lookups in datagrams: each question is paired with its answer by both ends, id and question.
//!
//! A question that is sent again is another lookup, as in a resolver's own log; an answer is the oldest one's.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
};

use rustc_hash::FxHashMap;

use super::{Common, Sink};
use crate::{
    dns::{PORT, QUERY, Question, Reader},
    event::Ends,
    model::{Connection, ConnectionId, Cut, Dir, Exchange, Ktime, Outcome, Role, Start},
    protocol::dns::{self, Answer, Lookup, PROTOCOL},
};

/// Questions that are outstanding, of all sockets.
const OUTSTANDING: usize = 1024;
/// How long an answer is waited for, ns: the default of glibc's resolver and of dig.
const WAIT_NS: u64 = 5 * 1_000_000_000;

/// One that passed.
#[derive(Clone, Copy)]
pub(super) struct Datagram<'a> {
    /// Cookie of its socket.
    pub(super) id: ConnectionId,
    pub(super) dir: Dir,
    pub(super) at: Ktime,
    pub(super) ends: &'a Ends,
    pub(super) len: u32,
    pub(super) bytes: &'a [u8],
}

/// Questions without their answers.
#[derive(Default)]
pub(super) struct Datagrams {
    /// In the order in which they came.
    asked: BTreeMap<u64, Asked>,
    /// Numbers of those in `asked`.
    by: FxHashMap<Key, VecDeque<u64>>,
    next: u64,
}

struct Asked {
    key: Key,
    connection: Connection,
    lookup: Lookup,
}

/// Whose question it is, and what its client calls it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    local: SocketAddr,
    remote: SocketAddr,
    netns: u64,
    role: Role,
    id: u16,
}

impl Datagrams {
    /// Takes one.
    pub(super) fn take(&mut self, datagram: &Datagram<'_>, common: &mut Common, sink: &mut impl Sink) {
        let Datagram { id, dir, at, ends, len, bytes } = *datagram;
        let odd = &mut common.tally.oddities;
        let mut reader = Reader::default();
        let read = reader.push(bytes);
        let Some(header) = reader.header().filter(|_| read.is_ok()) else {
            odd.malformed += 1;
            return;
        };
        if header.op_code() != QUERY {
            return;
        }
        let role = match (dir, header.is_response()) {
            (Dir::Egress, false) | (Dir::Ingress, true) => Role::Client,
            (Dir::Ingress, false) | (Dir::Egress, true) => Role::Server,
        };
        let Ends { local, remote, tgid, cgroup, netns, .. } = *ends;
        let server = if role == Role::Client { remote } else { local };
        if server.port() != PORT {
            odd.malformed += 1;
            return;
        }
        let connection =
            Connection { id, role: Some(role), local, remote, tgid, cgroup, joined: false, steered: None };
        if common.options.exclude.of(&connection).is_some() {
            return;
        }
        if let Some(recorder) =
            common.recorder.as_mut().filter(|recorder| recorder.takes(&connection, PROTOCOL.name))
        {
            recorder.datagram(at, ends, dir, &dns::shown(bytes), len);
        }
        let key = Key { local, remote, netns, role, id: header.id() };
        if header.is_response() {
            match self.find(&key, reader.question()) {
                Some(asked) => {
                    let answer = Answer::of(&reader, at, Some(len.into()));
                    let exchange = asked.lookup.finish(Some(answer), at, Outcome::Complete);
                    sink.finished(&asked.connection, &PROTOCOL, exchange);
                }
                None => odd.orphan_responses += 1,
            }
            return;
        }
        let Some(question) = reader.question().filter(|_| header.n_questions() == 1) else {
            odd.malformed += 1;
            return;
        };
        if self.asked.len() >= OUTSTANDING {
            odd.overflow += 1;
            return;
        }
        sink.started(&connection, &Start { at, method: None, is_excluded: false });
        let lookup = Lookup {
            id: header.id(),
            question: question.clone(),
            started: at,
            requested: Some(at),
            bytes: Some(len.into()),
            lost: 0,
        };
        self.by.entry(key).or_default().push_back(self.next);
        self.asked.insert(self.next, Asked { key, connection, lookup });
        self.next += 1;
    }

    /// Those that were waited for too long are over.
    pub(super) fn sweep(&mut self, now: Ktime, sink: &mut impl Sink) {
        while let Some(first) = self.asked.first_entry() {
            let ended = Ktime(first.get().lookup.started.0.saturating_add(WAIT_NS));
            if ended > now {
                return;
            }
            let number = *first.key();
            self.give_up(number, ended, Outcome::Unanswered(Cut::Expired), sink);
        }
    }

    /// All are over, and nothing is known of their answers.
    pub(super) fn finish(&mut self, now: Ktime, sink: &mut impl Sink) {
        while let Some(first) = self.asked.first_entry() {
            let number = *first.key();
            self.give_up(number, now, Outcome::NotObserved, sink);
        }
    }

    fn give_up(&mut self, number: u64, ended: Ktime, outcome: Outcome, sink: &mut impl Sink) {
        let Some(Asked { key, connection, lookup }) = self.asked.remove(&number) else { return };
        self.forget(&key, number);
        let exchange: Exchange = lookup.finish(None, ended, outcome);
        sink.finished(&connection, &PROTOCOL, exchange);
    }

    /// Takes out the oldest that this answers.
    fn find(&mut self, key: &Key, question: Option<&Question>) -> Option<Asked> {
        let numbers = self.by.get(key)?;
        let is_it = |number: &&u64| {
            self.asked.get(number).is_some_and(|asked| asked.lookup.is_answered_by(key.id, question))
        };
        let number = *numbers.iter().find(is_it)?;
        self.forget(key, number);
        self.asked.remove(&number)
    }

    fn forget(&mut self, key: &Key, number: u64) {
        if let Some(numbers) = self.by.get_mut(key) {
            numbers.retain(|one| *one != number);
            if numbers.is_empty() {
                self.by.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests;
