//! What the core makes of records: exchanges in words, and what must hold of any.

use std::time::Duration;

use sidecar_core::{
    event,
    flow::{Exclude, Flows, Options, Sink, Tally},
    model::{Activity, Connection, ConnectionId, Detail, Exchange, Ktime, Message, Start, Tcp},
    protocol::{Limits, Protocol},
    signal::{self, Moment, PointValue, RouteOptions, Routes, Store, catalogue},
};
use sidecar_ebpf::abi::verdict::{Endpoint, Verdict};

/// Connections that are followed, bytes that they hold, series: small, so that bounds are reached.
const CONNECTIONS: usize = 8;
const HELD: usize = 64 * 1024;
const SERIES: usize = 16;

/// The core, from records to series.
pub(crate) struct Core {
    flows: Flows,
    out: Out,
}

struct Out {
    routes: Routes,
    store: Store,
    exchanges: Vec<Exchange>,
    n_started: u64,
    n_finished: u64,
    activity: [i64; 2],
}

impl Core {
    pub(crate) fn new() -> Core {
        let (connections, held_bytes) = (CONNECTIONS, HELD);
        let (limits, exclude) = (Limits::default().into(), Exclude::default());
        let options = Options {
            connections,
            turn_bytes: 1 << 20,
            head_bytes: 16_384,
            held_bytes,
            reads: true,
            wire: false,
            limits,
            exclude,
        };
        let out = Out {
            routes: Routes::new(RouteOptions { patterns: Vec::new(), learn: true, cap: 8 }),
            store: Store::new(signal::Options { series_cap: SERIES, peers: 4, ..signal::Options::default() }),
            exchanges: Vec::new(),
            n_started: 0,
            n_finished: 0,
            activity: [0; 2],
        };
        Core { flows: Flows::new(options), out }
    }

    /// Takes a record as the ring has it.
    pub(crate) fn record(&mut self, record: &[u8]) {
        if let Ok(event) = event::decode(record) {
            self.flows.apply(&event, &mut self.out);
        }
        assert!(
            self.flows.held() <= HELD && self.flows.len() <= CONNECTIONS,
            "holds too much: {} bytes, {} connections",
            self.flows.held(),
            self.flows.len()
        );
    }

    /// Looks for what idles.
    pub(crate) fn sweep(&mut self, at: u64) {
        self.flows.sweep(Ktime(at), || 1, &mut self.out);
    }

    /// What was counted so far.
    pub(crate) fn tally(&self) -> Tally {
        self.flows.tally()
    }

    /// Ends all connections, checks what must hold of any run, and gives the exchanges.
    pub(crate) fn finish(mut self) -> Vec<Exchange> {
        self.flows.finish(Ktime(u64::MAX), &mut self.out);
        let out = &mut self.out;
        assert_eq!(out.n_started, out.n_finished, "each start is finished");
        assert_eq!(out.activity, [0; 2], "nothing goes on where no connection is");
        assert_eq!((self.flows.held(), self.flows.len()), (0, 0), "nothing is held for nobody");
        let snapshot = out.store.snapshot(Moment::default());
        let (mut n_measured, mut n_active) = (0, 0);
        for family in &snapshot.families {
            assert!(family.points.len() <= SERIES + 1, "{}: {} series", family.def.name, family.points.len());
            for point in &family.points {
                match &point.value {
                    PointValue::Histogram(histogram) if is_duration(family.def.name) => {
                        n_measured += histogram.count;
                    }
                    PointValue::U64(n) if std::ptr::eq(family.def, &catalogue::HTTP_SERVER_ACTIVE) => {
                        n_active += n;
                    }
                    _ => {}
                }
            }
        }
        assert_eq!((n_measured, n_active), (out.n_finished, 0), "each exchange is measured once");
        self.out.exchanges
    }
}

/// Each exchange is measured by one of these.
fn is_duration(name: &str) -> bool {
    const MEASURED: [&str; 6] = [
        "request.duration",
        "call.duration",
        "operation.duration",
        "lookup.duration",
        "handshake.duration",
        "session.duration",
    ];
    MEASURED.iter().any(|end| name.ends_with(end))
}

/// An exchange without its times.
pub(crate) fn written(exchange: &Exchange) -> String {
    let Detail::Http(http) = &exchange.detail else { panic!("only HTTP is talked here: {exchange:?}") };
    let known = http.method.map_or("-".to_owned(), |method| format!("{method:?}").to_uppercase());
    let method = http.method_original.as_deref().unwrap_or(&known);
    let path = http.path.as_deref().unwrap_or("-");
    let status = http.status.map_or("-".to_owned(), |status| status.to_string());
    let size = |bytes: Option<u64>| bytes.map_or("-".to_owned(), |bytes| bytes.to_string());
    let (sent, got) = (size(http.request_body), size(http.response_body));
    format!("{method} {path} {status} {:?} {sent}/{got}", exchange.outcome)
}

impl Sink for Out {
    fn started(&mut self, connection: &Connection, start: &Start) {
        self.n_started += 1;
        self.store.started(connection, start);
    }

    fn activity(&mut self, connection: &Connection, from: Option<Activity>, to: Option<Activity>) {
        for (activity, n) in [(from, -1), (to, 1)] {
            if let Some(activity) = activity {
                self.activity[activity as usize] += n;
            }
        }
        self.store.activity(connection, from, to);
    }

    fn finished(&mut self, connection: &Connection, protocol: &'static Protocol, mut exchange: Exchange) {
        self.n_finished += 1;
        self.routes.label(connection, &mut exchange);
        self.store.exchange(connection, protocol.name, &exchange, None);
        self.exchanges.push(exchange);
    }

    fn message(&mut self, connection: &Connection, protocol: &'static Protocol, message: &Message) {
        self.store.message(connection, protocol.name, message);
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
