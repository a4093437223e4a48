//! Connections: from the kernel's events to a parser's bytes, and from a parser's wishes to the kernel's verdicts.
//!
//! Nothing here reads a clock or writes a map: time comes with the events, and what is to be done goes to a [`Sink`].

mod connection;
mod datagrams;
mod exclude;
mod held;
mod judge;
mod lane;
mod listening;
mod reading;
#[cfg(test)]
mod tests;
mod verdicts;

pub use exclude::{Exclude, Excluded};
pub use verdicts::{Came, Seen};

pub(crate) use lane::distance;

use std::{
    collections::{VecDeque, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use rustc_hash::FxHashMap;
use sidecar_ebpf::abi::verdict::{Endpoint, Verdict};

use self::{
    connection::{Flow, Last},
    datagrams::{Datagram, Datagrams},
    judge::Endpoints,
    listening::Listening,
    verdicts::Verdicts,
};
use crate::{
    event::{Ends, Event},
    model::{Activity, Connection, ConnectionId, Directory, Exchange, Ktime, Message, Role, Start, Tcp},
    protocol::{self, Close, Keep, Limits, Oddities, Protocol, Signal, Want},
    record::Recorder,
};

/// What comes of events.
pub trait Sink {
    /// A request began.
    fn started(&mut self, connection: &Connection, start: &Start);
    /// A connection whose requests are read changed what it is at: `from` nothing when reading begins, `to` nothing when it
    /// ends. Each `from` is the `to` before.
    fn activity(&mut self, connection: &Connection, from: Option<Activity>, to: Option<Activity>);
    /// A request is over.
    fn finished(&mut self, connection: &Connection, protocol: &'static Protocol, exchange: Exchange);
    /// A message of a stream passed.
    fn message(&mut self, connection: &Connection, protocol: &'static Protocol, message: &Message);
    /// The peer had acknowledged a response's last byte so long after its first byte passed. Of a server's connection, and
    /// only where one request was answered at a time.
    fn delivered(&mut self, at: Ktime, connection: &Connection, protocol: &'static Protocol, took: Duration);
    /// Something happened to a connection, whatever it speaks; `None`: one that is not followed.
    fn tcp(&mut self, at: Ktime, connection: Option<&Connection>, what: Tcp);
    /// The kernel should treat a connection so.
    fn judge(&mut self, id: ConnectionId, verdict: Verdict);
    /// New connections of a server should start so.
    fn judge_endpoint(&mut self, endpoint: Endpoint, verdict: Verdict);
    /// The connection's verdict is no longer needed.
    fn forget(&mut self, id: ConnectionId);
}

/// Bounds and settings.
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections that are followed at once; more are counted, and not followed.
    pub connections: usize,
    /// Bytes the kernel copies of a turn before anybody judged: what it was told in `Control::budget`.
    pub turn_bytes: u32,
    /// Bytes the kernel copies of a turn where only the message's head is wanted.
    pub head_bytes: u32,
    /// Bytes of memory that all connections together may hold of what passed: beginnings of messages, requests that are
    /// not over, segments that wait for others. At the bound, those that hold most are given up.
    pub held_bytes: usize,
    /// Records tell when the application read.
    pub reads: bool,
    /// Segments are as a wire carries them, not as a socket sends them: of what goes out, too, some may be missing or late.
    pub wire: bool,
    /// For parsers.
    pub limits: Arc<Limits>,
    /// What is not read.
    pub exclude: Exclude,
}

/// What was counted. Only grows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Bytes that parsers explained.
    pub explained: u64,
    /// Bytes whose records were lost, as the holes they left show.
    pub lost: u64,
    /// Connections of whose bytes some were lost, or whose end was.
    pub gaps: u64,
    /// Connections that were told of from their beginning: established, and not joined.
    pub opened: u64,
    /// Bytes that by design were not copied.
    pub skipped: u64,
    /// Bytes copied into records, as they arrived.
    pub copied: u64,
    /// Records that arrived.
    pub records: u64,
    /// Data of connections that are not followed (the table was full, or their beginning was lost).
    pub unknown: u64,
    /// Connections that found the table full.
    pub table_full: u64,
    /// Connections given up because all together held too much.
    pub memory_full: u64,
    /// Holes given up because too much waited behind them.
    pub reorder_full: u64,
    /// Data on listening sockets that found no room to wait for its connection, or waited in vain.
    pub listen_lost: u64,
    /// Reports of a connection's end that arrived.
    pub closes: u64,
    /// Bytes of connections that were over before the kernel could be told their class: encrypted, unclassified,
    /// excluded, MPTCP.
    pub late: [u64; 4],
    /// Bytes that came to sockets whose application had closed them, which took them no more.
    pub refused: u64,
    /// Connections forgotten without having seen their end.
    pub idled_out: u64,
    /// Connections by what they turned out to speak: parsed, encrypted, unclassified, excluded, MPTCP.
    pub classified: [u64; 5],
    /// Connections that were left out, by [`Excluded`].
    pub excluded: [u64; 2],
    /// Sum of what parsers found odd.
    pub oddities: Oddities,
}

/// All connections that are followed.
pub struct Flows {
    common: Common,
    /// Boxed, so that the table's free places take no more than a pointer.
    flows: FxHashMap<ConnectionId, Box<Flow>>,
    listening: Listening,
    datagrams: Datagrams,
    table: &'static [&'static Protocol],
    swept: Ktime,
    /// Bytes that the connections hold.
    held: usize,
    /// Connections that are over and had a gap, the newest last.
    gapped: VecDeque<Line>,
    /// Connections that were taken to be over because the report of some end was lost.
    n_written_off: u64,
    /// Ports that the kernel leaves out, as it was told before the first connection.
    told: Vec<u16>,
    verdicts: Verdicts,
}

/// What all connections share.
struct Common {
    options: Options,
    endpoints: Endpoints,
    tally: Tally,
    /// What a parser just said; empty between two calls.
    signals: Vec<Signal>,
    recorder: Option<Recorder>,
}

/// A line of `/connections`.
#[derive(Clone, Debug)]
pub struct Line {
    /// Who.
    pub connection: Connection,
    /// `detecting`, a protocol's name, `encrypted`, `unclassified`, `excluded` or `mptcp`.
    pub protocol: &'static str,
    /// Bytes that passed, ingress and egress, as records show.
    pub bytes: [u64; 2],
    /// How many of them are in no record, as records were lost.
    pub lost: u64,
    /// Requests that are over.
    pub n_exchanges: u64,
    /// The connection is over: it is listed for its gap.
    pub is_over: bool,
}

/// Connections that are over and listed for their gaps.
const GAPPED: usize = 256;
/// Without any packet for so long a connection whose end nobody would report is forgotten, ns.
const IDLE_NS: u64 = 15 * 60 * 1_000_000_000;
/// Without any packet for so long a connection may be one of those whose end was reported in vain, ns.
const QUIET_NS: u64 = 60 * 1_000_000_000;
/// Between two looks for idle connections, ns.
const SWEEP_NS: u64 = 5 * 1_000_000_000;

impl Flows {
    /// An empty table.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let common = Common {
            endpoints: Endpoints::new(options.head_bytes),
            options,
            tally: Tally::default(),
            signals: Vec::new(),
            recorder: None,
        };
        Flows {
            common,
            flows: FxHashMap::default(),
            listening: Listening::default(),
            datagrams: Datagrams::default(),
            table: protocol::ALL,
            swept: Ktime::default(),
            held: 0,
            gapped: VecDeque::new(),
            n_written_off: 0,
            told: Vec::new(),
            verdicts: Verdicts::default(),
        }
    }

    /// Tells the kernel what it can leave out by itself. Once, before the first event.
    pub fn begin(&mut self, sink: &mut impl Sink) {
        for port in &self.common.options.exclude.ports {
            let (endpoint, verdict) = judge::excluded(*port);
            sink.judge_endpoint(endpoint, verdict);
        }
        self.told.clone_from(&self.common.options.exclude.ports);
    }

    /// From now on this leaves the parsers, and this is left out: exchanges that begin, and connections that are opened.
    pub fn set(&mut self, keep: Keep, exclude: Exclude, sink: &mut impl Sink) {
        let limits = &mut self.common.options.limits;
        *limits = Arc::new(Limits { keep: Arc::new(keep), ..**limits });
        self.flows.values_mut().for_each(|flow| flow.limit(limits));
        let before = std::mem::replace(&mut self.common.options.exclude, exclude);
        let after = &self.common.options.exclude;
        for port in before.ports.iter().filter(|port| !after.ports.contains(port)) {
            let (endpoint, verdict) = self.common.endpoints.included(*port, self.common.options.turn_bytes);
            sink.judge_endpoint(endpoint, verdict);
        }
        for port in after.ports.iter().filter(|port| !before.ports.contains(port)) {
            let (endpoint, verdict) = judge::excluded(*port);
            sink.judge_endpoint(endpoint, verdict);
        }
        // Of a connection to one of the new ports nobody knows whether it began before the kernel was told.
        self.told.retain(|port| after.ports.contains(port));
    }

    /// From now on what passes is recorded; what was until now is not any more.
    pub fn record(&mut self, recorder: Recorder) {
        self.end_record();
        self.flows.values_mut().for_each(|flow| flow.record(&recorder));
        self.common.recorder = Some(recorder);
    }

    /// The recording that goes on.
    pub fn recorder(&mut self) -> Option<&mut Recorder> {
        self.common.recorder.as_mut()
    }

    /// Ends it.
    pub fn end_record(&mut self) -> Option<Recorder> {
        let mut recorder = self.common.recorder.take()?;
        self.flows.values_mut().for_each(|flow| flow.end_record(&mut recorder));
        Some(recorder)
    }

    /// From now on the kernel's numbers stand for these.
    pub fn know(&mut self, directory: Directory) {
        self.verdicts.set(directory);
    }

    /// The last connections of a service, or of none, that anything was decided of: the newest first.
    #[must_use]
    pub fn last_verdicts(&self, service: Option<&str>) -> Vec<Seen> {
        self.verdicts.of(service)
    }

    /// Takes one event.
    pub fn apply(&mut self, event: &Event<'_>, sink: &mut impl Sink) {
        self.common.tally.records += 1;
        match event {
            Event::Open { id, at, role, joined, mptcp, ends, connect } => {
                self.common.tally.opened += u64::from(!joined);
                let connection = self.connection(*id, *role, ends, *joined);
                self.common.endpoints.opened(&connection);
                self.verdicts.note(*at, &connection, Came::Opened);
                if self.flows.len() >= self.common.options.connections {
                    self.common.tally.table_full += 1;
                    if !joined {
                        sink.tcp(*at, None, Tcp::Opened(*connect));
                    }
                    return;
                }
                if !joined {
                    sink.tcp(*at, Some(&connection), Tcp::Opened(*connect));
                }
                let (flow, is_new) = match self.flows.entry(*id) {
                    // Twice: what was judged stays judged.
                    Entry::Occupied(known) => (known.into_mut(), false),
                    Entry::Vacant(place) => {
                        let options = &self.common.options;
                        let flow = Flow::new(connection.clone(), ends.next, *at, self.table, options);
                        (place.insert(Box::new(flow)), true)
                    }
                };
                let exclude = &self.common.options.exclude;
                let is_told = Exclude::is_known_to_kernel(&connection, &self.told);
                let excluded = exclude.of(&connection);
                let mut context = self.common.context(sink);
                if let Some(reason) = excluded.filter(|_| is_new) {
                    context.tally.excluded[reason as usize] += 1;
                    flow.exclude(is_told, &mut context);
                } else if *mptcp && is_new {
                    flow.leave_mptcp(&mut context);
                }
                if let Some(recorder) = context.recorder.as_ref().filter(|_| is_new) {
                    flow.record(recorder);
                }
                for segment in self.listening.take(ends) {
                    flow.segment(&segment.as_segment(ends), &mut context);
                }
                self.held = self.held.saturating_add_signed(flow.weigh());
                self.relieve(sink);
            }
            Event::Data { id, segment } => {
                self.common.tally.copied += segment.bytes.len() as u64;
                let Some(flow) = self.flows.get_mut(id) else {
                    // A bare RST is what closing with SO_LINGER 0 sends, when the socket's end has been told already.
                    self.common.tally.unknown += u64::from(segment.len != 0);
                    return;
                };
                let mut context = self.common.context(sink);
                flow.segment(segment, &mut context);
                // Of a connection met in the middle nobody reports the end.
                if let Some(how) = flow.is_over() {
                    self.remove(*id, segment.at, how, None, sink);
                } else {
                    self.held = self.held.saturating_add_signed(flow.weigh());
                    self.relieve(sink);
                }
            }
            Event::Listen { ends, segment } => {
                self.common.tally.copied += segment.bytes.len() as u64;
                self.listening.keep(ends, segment, &mut self.common.tally);
            }
            Event::Datagram { id, dir, at, ends, len, bytes } => {
                let datagram = Datagram { id: *id, dir: *dir, at: *at, ends, len: *len, bytes };
                self.datagrams.take(&datagram, &mut self.common, sink);
            }
            Event::Counted { id, at, account } => {
                // One that is not followed is counted at its end.
                if let Some(flow) = self.flows.get_mut(id) {
                    flow.count(*at, *account, sink);
                }
            }
            Event::Closed { id, at, end, account, is_unjudged, drained } => {
                self.common.tally.closes += 1;
                if *is_unjudged && let Some(why) = self.flows.get(id).and_then(|flow| flow.opaque()) {
                    self.common.tally.late[why as usize] += account.bytes[0] + account.bytes[1];
                }
                let how = self.flows.get(id).map_or(Close::Closed, |flow| flow.how(*end));
                let last = Last { account: *account, end: *end, drained: *drained };
                self.remove(*id, *at, how, Some(last), sink);
            }
            Event::Failed { id, at, ends, why } => {
                let connection = self.connection(*id, Some(Role::Client), ends, false);
                self.verdicts.note(*at, &connection, Came::Failed(*why));
                sink.tcp(*at, Some(&connection), Tcp::Failed(*why));
            }
            Event::Denied { id, at, ends } => {
                let connection = self.connection(*id, Some(Role::Client), ends, false);
                self.verdicts.note(*at, &connection, Came::Denied);
            }
        }
    }

    /// Housekeeping, now and then: forgets what waited or idled too long.
    ///
    /// `n_closed` is how many ends the kernel has counted. If fewer were reported here, some reports were lost, and as many
    /// of the connections that have idled longest are taken to be over.
    pub fn sweep(&mut self, now: Ktime, n_closed: impl FnOnce() -> u64, sink: &mut impl Sink) {
        self.datagrams.sweep(now, sink);
        if now.0.saturating_sub(self.swept.0) < SWEEP_NS {
            return;
        }
        self.swept = now;
        self.listening.sweep(now, &mut self.common.tally);
        let idle = |flow: &Flow| now.0.saturating_sub(flow.last().0);
        let is_idle = |flow: &&Flow| flow.is_unreported() && idle(flow) > IDLE_NS;
        let mut forgotten: Vec<_> =
            self.flows.values().map(Box::as_ref).filter(is_idle).map(Flow::id).collect();
        let n_lost = n_closed().saturating_sub(self.common.tally.closes + self.n_written_off);
        if n_lost > 0 {
            let is_quiet = |flow: &&Flow| !flow.is_unreported() && idle(flow) > QUIET_NS;
            let mut quiet: Vec<_> = self.flows.values().map(Box::as_ref).filter(is_quiet).collect();
            quiet.sort_by_key(|flow| flow.last());
            quiet.truncate(usize::try_from(n_lost).unwrap_or(usize::MAX));
            self.n_written_off += quiet.len() as u64;
            forgotten.extend(quiet.into_iter().map(Flow::id));
        }
        for id in forgotten {
            self.common.tally.idled_out += 1;
            if let Some(flow) = self.flows.get_mut(&id).filter(|flow| !flow.is_unreported()) {
                sink.tcp(now, Some(flow.connection()), Tcp::Closed(None));
                flow.lose_end(&mut self.common.tally);
            }
            self.remove(id, now, Close::Forgotten, None, sink);
        }
    }

    /// Ends every connection, as at the end of the daemon: what is open is finished as far as it is known.
    pub fn finish(&mut self, now: Ktime, sink: &mut impl Sink) {
        self.datagrams.finish(now, sink);
        let mut ids: Vec<_> = self.flows.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.forget(id, now, sink);
        }
    }

    /// Ends one connection: nobody will tell more of it.
    pub fn forget(&mut self, id: ConnectionId, now: Ktime, sink: &mut impl Sink) {
        self.remove(id, now, Close::Forgotten, None, sink);
    }

    /// What was counted so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.common.tally
    }

    /// How many connections are followed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Bytes of memory that they hold besides their fixed part; the bound is [`Options::held_bytes`].
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// None is followed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// The connections, at most `limit`, and how many there are: first those with a gap, also the last ones that are
    /// over.
    #[must_use]
    pub fn lines(&self, limit: usize) -> (Vec<Line>, usize) {
        let over = self.gapped.iter().rev().cloned();
        let gapped = self.flows.values().filter(|flow| flow.has_gap()).map(|flow| flow.line());
        let whole = self.flows.values().filter(|flow| !flow.has_gap()).map(|flow| flow.line());
        let lines = over.chain(gapped).chain(whole).take(limit).collect();
        (lines, self.gapped.len() + self.flows.len())
    }

    fn note_gap(&mut self, flow: &Flow) {
        if !flow.has_gap() {
            return;
        }
        if self.gapped.len() >= GAPPED {
            self.gapped.pop_front();
        }
        self.gapped.push_back(Line { is_over: true, ..flow.line() });
    }

    /// Where the connections hold too much, gives up those that hold most until it is half of that: so few are looked
    /// for, and those that hold little are let be.
    fn relieve(&mut self, sink: &mut impl Sink) {
        if self.held <= self.common.options.held_bytes {
            return;
        }
        let mut heaviest: Vec<_> = self.flows.values().map(|flow| (flow.weight(), flow.id())).collect();
        heaviest.sort_unstable_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        for (_, id) in heaviest {
            let Some(flow) =
                self.flows.get_mut(&id).filter(|_| self.held > self.common.options.held_bytes / 2)
            else {
                return;
            };
            let mut context = self.common.context(sink);
            context.tally.memory_full += 1;
            flow.give_up(&mut context);
            self.held = self.held.saturating_add_signed(flow.weigh());
        }
    }

    fn remove(&mut self, id: ConnectionId, at: Ktime, how: Close, last: Option<Last>, sink: &mut impl Sink) {
        let Some(mut flow) = self.flows.remove(&id) else {
            if let Some(last) = last {
                sink.tcp(at, None, Tcp::Counted(last.account));
                sink.tcp(at, None, Tcp::Closed(Some(last.end)));
            }
            return;
        };
        self.held -= flow.weight();
        let mut context = self.common.context(sink);
        flow.close(at, how, last, &mut context);
        self.note_gap(&flow);
    }

    fn connection(&self, id: ConnectionId, role: Option<Role>, ends: &Ends, joined: bool) -> Connection {
        let Ends { local, remote, tgid, cgroup, .. } = *ends;
        let decided = ends.decided.as_ref().map(|decided| self.verdicts.resolve(decided, remote));
        let steered = match role {
            Some(Role::Server) if !joined => self.verdicts.arrived(decided, local, remote),
            _ => decided,
        };
        Connection { id, role, local, remote, tgid, cgroup, joined, steered }
    }
}

impl Common {
    fn context<'a, S>(&'a mut self, sink: &'a mut S) -> Context<'a, S> {
        let Common { options, endpoints, tally, signals, recorder } = self;
        Context { options, endpoints, tally, signals, recorder: recorder.as_mut(), wanted: None, sink }
    }
}

/// What a connection needs from around it.
struct Context<'a, S> {
    options: &'a Options,
    endpoints: &'a mut Endpoints,
    tally: &'a mut Tally,
    signals: &'a mut Vec<Signal>,
    recorder: Option<&'a mut Recorder>,
    /// What the connection's parser last asked for, until it is looked at.
    wanted: Option<[Want; 2]>,
    sink: &'a mut S,
}
