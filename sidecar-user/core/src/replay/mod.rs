//! A capture instead of a kernel: its packets become the events that records become, and go the same way from there on, to
//! exchanges and series. Each connection is seen as by the server's end.
//!
//! Nothing here opens a file or reads a clock: packets and times come from the capture.

mod conversations;
mod file;
mod layers;

pub use file::{File, FileError, Link, Packet};
pub use layers::LeftOut;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sidecar_ebpf::abi::verdict::{Endpoint, Verdict};

use self::{
    conversations::{Conversations, Step},
    layers::Carried,
};
use crate::{
    accounts,
    config::Config,
    flow::{self, Flows, Sink, Tally},
    model::{Activity, Connection, ConnectionId, Exchange, Ktime, Message, Role, Start, Tcp},
    protocol::{Limits, Protocol},
    record::{Recorder, Wish},
    signal::{self, Moment, RouteOptions, Routes, Snapshot, Store, UnixNanos},
    told::Told,
};

/// What becomes of a capture's packets.
pub struct Replay {
    conversations: Conversations,
    flows: Flows,
    out: Out,
    /// The time of the packet that is looked at.
    now: Ktime,
    n_packets: u64,
    left_out: BTreeMap<LeftOut, u64>,
}

struct Out {
    store: Store,
    routes: Routes,
    /// Those that are over and were not asked for yet.
    told: Vec<Told>,
    /// All packets so far came with their times.
    is_timed: bool,
}

impl Replay {
    /// With the bounds of these settings.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let capture = &config.capture;
        let flows = Flows::new(flow::Options {
            connections: capture.connections as usize,
            turn_bytes: capture.turn_bytes,
            head_bytes: capture.head_bytes,
            held_bytes: capture.held_bytes as usize,
            reads: false,
            wire: true,
            limits: Arc::new(Limits::default()),
            exclude: flow::Exclude::default(),
        });
        let store = Store::new(signal::Options {
            series_cap: config.metrics.series as usize,
            peers: config.tcp.peers as usize,
            ..signal::Options::default()
        });
        let (learn, cap) = (config.http.learn_routes, config.http.route_cap as usize);
        let routes = Routes::new(RouteOptions { patterns: Vec::new(), learn, cap });
        Replay {
            conversations: Conversations::new(capture.connections as usize),
            flows,
            out: Out { store, routes, told: Vec::new(), is_timed: true },
            now: Ktime::default(),
            n_packets: 0,
            left_out: BTreeMap::new(),
        }
    }

    /// Takes the next packet.
    pub fn packet(&mut self, packet: &Packet<'_>) {
        self.n_packets += 1;
        if packet.is_obsolete {
            *self.left_out.entry(LeftOut::Obsolete).or_default() += 1;
            return;
        }
        // Whose time nobody noted came with the one before.
        self.now = packet.at.unwrap_or(self.now);
        self.out.is_timed &= packet.at.is_some();
        match layers::carried(packet) {
            Ok(carried) => {
                let Replay { conversations, flows, out, now, .. } = self;
                let mut each = |step: Step<'_>| apply(&step, flows, out);
                match carried {
                    Carried::Tcp(tcp) => conversations.take(*now, &tcp, &mut each),
                    Carried::Udp(udp) => conversations::datagram(*now, &udp, &mut each),
                }
                // Ends that no segment shows are nobody's.
                flows.sweep(*now, || 0, out);
            }
            Err(why) => *self.left_out.entry(why).or_default() += 1,
        }
    }

    /// From the next packet on what passes is recorded.
    pub fn record(&mut self, wish: Wish) {
        // The clock of a capture is the wall's.
        self.flows.record(Recorder::new(wish, 0));
    }

    /// The recording that goes on.
    pub fn recorder(&mut self) -> Option<&mut Recorder> {
        self.flows.recorder()
    }

    /// The capture is over, and with it what goes on in it.
    pub fn finish(&mut self) {
        let Replay { conversations, flows, out, now, .. } = self;
        conversations.finish(&mut |step| apply(&step, flows, out));
        flows.finish(*now, out);
    }

    /// The exchanges that ended since the last time, in the order in which their ends showed.
    pub fn take(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.out.told)
    }

    /// All series, as of the last packet.
    pub fn snapshot(&mut self) -> Snapshot {
        let Replay { flows, out: Out { store, routes, .. }, .. } = self;
        accounts::record(store, flows, routes);
        // The clock of a capture is the wall's.
        store.snapshot(Moment { ktime: self.now, unix: UnixNanos(self.now.0) })
    }

    /// What connections came to.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.flows.tally()
    }

    /// Packets that were taken.
    #[must_use]
    pub fn n_packets(&self) -> u64 {
        self.n_packets
    }

    /// How many of them said nothing to us, and why.
    #[must_use]
    pub fn left_out(&self) -> &BTreeMap<LeftOut, u64> {
        &self.left_out
    }
}

fn apply(step: &Step<'_>, flows: &mut Flows, out: &mut Out) {
    match step {
        Step::Event(event) => flows.apply(event, out),
        Step::Forget(id, at) => flows.forget(*id, *at, out),
    }
}

/// The connection as the server sees it, where its bytes showed that the guess was wrong.
fn of_server(connection: &Connection) -> Connection {
    let Connection { local, remote, .. } = *connection;
    match connection.role {
        Some(Role::Client) => {
            Connection { role: Some(Role::Server), local: remote, remote: local, ..connection.clone() }
        }
        Some(Role::Server) | None => connection.clone(),
    }
}

impl Sink for Out {
    fn started(&mut self, connection: &Connection, start: &Start) {
        self.store.started(&of_server(connection), start);
    }

    fn activity(&mut self, connection: &Connection, from: Option<Activity>, to: Option<Activity>) {
        self.store.activity(&of_server(connection), from, to);
    }

    fn finished(&mut self, connection: &Connection, protocol: &'static Protocol, mut exchange: Exchange) {
        let connection = of_server(connection);
        self.routes.label(&connection, &mut exchange);
        self.store.exchange(&connection, protocol.name, &exchange, None);
        self.told.push(Told::new(&connection, protocol.name, &exchange, self.is_timed.then_some(0)));
    }

    fn message(&mut self, connection: &Connection, protocol: &'static Protocol, message: &Message) {
        self.store.message(&of_server(connection), protocol.name, message);
    }

    fn delivered(&mut self, at: Ktime, connection: &Connection, _: &'static Protocol, took: Duration) {
        self.store.delivered(at, connection, took);
    }

    fn tcp(&mut self, at: Ktime, connection: Option<&Connection>, what: Tcp) {
        self.store.tcp(at, connection, what);
    }

    fn judge(&mut self, _: ConnectionId, _: Verdict) {}

    fn judge_endpoint(&mut self, _: Endpoint, _: Verdict) {}

    fn forget(&mut self, _: ConnectionId) {}
}
