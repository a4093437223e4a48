//! How far records go.

use std::{hint::black_box, sync::Arc, time::Duration};

use sidecar_core::{
    event,
    flow::{self, Flows, Sink},
    model::{Activity, Connection, ConnectionId, Exchange, Ktime, Message, Start, Tcp},
    protocol::{Keep, Limits, Protocol},
    signal::{
        self, ExemplarIds, IdSource, IfInstrumented, Instrumented, RouteOptions, Routes, Sampler, Scope,
        Span, Store, Tracer, explain::Explain,
    },
};
use sidecar_ebpf::abi::verdict::{Endpoint, Verdict};

/// A stage, with all before it.
pub(super) struct Stage {
    pub(super) name: &'static str,
    has_flows: bool,
    has_routes: bool,
    has_metrics: bool,
    has_exponential: bool,
    has_explain: bool,
    has_spans: bool,
}

const DECODED: Stage = Stage {
    name: "decoded",
    has_flows: false,
    has_routes: false,
    has_metrics: false,
    has_exponential: false,
    has_explain: false,
    has_spans: false,
};
const PARSED: Stage = Stage { name: "ordered, parsed, paired", has_flows: true, ..DECODED };
const ROUTED: Stage = Stage { name: "with its path and route", has_routes: true, ..PARSED };
const MEASURED: Stage = Stage { name: "measured", has_metrics: true, ..ROUTED };
const NATIVE: Stage = Stage { name: "and in native histograms", has_exponential: true, ..MEASURED };
const EXPLAINED: Stage = Stage { name: "kept for explain (as configured)", has_explain: true, ..NATIVE };
const TRACED: Stage = Stage { name: "made a span and an exemplar", has_spans: true, ..EXPLAINED };

pub(super) const STAGES: &[Stage] = &[DECODED, PARSED, ROUTED, MEASURED, NATIVE, EXPLAINED, TRACED];

/// All that a stage has, and what came of it.
pub(super) struct World {
    flows: Option<Flows>,
    out: Out,
}

struct Out {
    store: Option<Store>,
    routes: Option<Routes>,
    tracer: Tracer,
    explain: Explain,
    has_spans: bool,
    n_finished: usize,
}

impl Stage {
    pub(super) fn build(&self) -> World {
        let keep = Arc::new(Keep { paths: self.has_routes, ..Keep::default() });
        let options = flow::Options {
            connections: 65_536,
            turn_bytes: 4096,
            head_bytes: 1024,
            held_bytes: 64 << 20,
            reads: false,
            wire: false,
            limits: Limits { keep, ..Limits::default() }.into(),
            exclude: flow::Exclude::default(),
        };
        let routes = RouteOptions { patterns: Vec::new(), learn: true, cap: 256 };
        let options_of_store =
            signal::Options { exponential: self.has_exponential, ..signal::Options::default() };
        let tracer = Tracer::new(
            self.has_spans,
            Sampler::default(),
            IdSource::new(1),
            Instrumented::new(Scope::Process),
            IfInstrumented::Skip,
        );
        World {
            flows: self.has_flows.then(|| Flows::new(options)),
            out: Out {
                store: self.has_metrics.then(|| Store::new(options_of_store)),
                routes: self.has_routes.then(|| Routes::new(routes)),
                tracer,
                explain: Explain::new(if self.has_explain { 1024 } else { 0 }, true),
                has_spans: self.has_spans,
                n_finished: 0,
            },
        }
    }
}

impl World {
    pub(super) fn take(&mut self, record: &[u8]) {
        let event = event::decode(record).expect("a record as the kernel writes it");
        match &mut self.flows {
            Some(flows) => flows.apply(&event, &mut self.out),
            None => {
                black_box(&event);
            }
        }
    }

    /// What is cheap because it was not done does not count.
    pub(super) fn check(&self, connections: usize, exchanges: usize) {
        if let Some(flows) = &self.flows {
            assert_eq!(self.out.n_finished, connections * exchanges);
            assert_eq!((flows.len(), flows.tally().lost), (connections, 0));
        }
    }
}

impl Sink for Out {
    fn started(&mut self, connection: &Connection, start: &Start) {
        if let Some(store) = &mut self.store {
            store.started(connection, start);
        }
    }

    fn activity(&mut self, connection: &Connection, from: Option<Activity>, to: Option<Activity>) {
        if let Some(store) = &mut self.store {
            store.activity(connection, from, to);
        }
    }

    fn finished(&mut self, connection: &Connection, protocol: &'static Protocol, mut exchange: Exchange) {
        self.n_finished += 1;
        if let Some(routes) = &mut self.routes {
            routes.label(connection, &mut exchange);
        }
        let decision = self.tracer.decide(connection, &exchange);
        if self.has_spans
            && let Some(ids) = decision.ids()
        {
            black_box(Span::new(connection, &exchange, ids, None));
        }
        if let Some(store) = &mut self.store {
            let exemplar = decision.ids().map(|ids| ExemplarIds { trace: ids.trace, span: ids.span });
            store.exchange(connection, protocol.name, &exchange, exemplar);
        }
        self.explain.keep(connection, protocol.name, exchange, decision, None);
    }

    fn message(&mut self, connection: &Connection, protocol: &'static Protocol, message: &Message) {
        if let Some(store) = &mut self.store {
            store.message(connection, protocol.name, message);
        }
    }

    fn delivered(
        &mut self,
        at: Ktime,
        connection: &Connection,
        _protocol: &'static Protocol,
        took: Duration,
    ) {
        if let Some(store) = &mut self.store {
            store.delivered(at, connection, took);
        }
    }

    fn tcp(&mut self, at: Ktime, connection: Option<&Connection>, what: Tcp) {
        if let Some(store) = &mut self.store {
            store.tcp(at, connection, what);
        }
    }

    fn judge(&mut self, _id: ConnectionId, _verdict: Verdict) {}

    fn judge_endpoint(&mut self, _endpoint: Endpoint, _verdict: Verdict) {}

    fn forget(&mut self, _id: ConnectionId) {}
}
