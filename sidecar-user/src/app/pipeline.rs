//! From the ring to the store, on a thread of its own: one owner for connections, series and verdicts.
//!
//! Everything else asks it by [`Command`] and gets an answer between two drains.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use sidecar_core::{
    config::{Config, HeaderName, Histograms},
    event::{self, Event},
    flow::{self, Flows, Line, Seen, Sink},
    model::{Activity, Connection, ConnectionId, Directory, Exchange, Ktime, Message, Start, Tcp},
    protocol::{Keep, Limits, Protocol},
    signal::{
        self, Derive, ExemplarIds, Questions, RouteOptions, Routes, Snapshot, Span, Store, Tracer,
        application::{self, Readings},
        explain::{Answer, BadSelector, Explain, Selector},
        top::{self, Top},
    },
};
use sidecar_ebpf::abi::verdict::{Endpoint, Verdict};
use tokio::sync::oneshot;
use tracing::{debug, warn};

use super::{
    containers::{Containers, Lookup},
    health::{self, Health},
    logging::chain,
    record::{self, Recording, Recordings},
    spans,
    tap::{Tap, Taps, Wish},
};
use crate::{
    export::{ExportStats, otlp::SpanSender},
    kernel::{Counts, Ring, Verdicts, Waker, clock, slice},
    traffic::Watched,
};

/// Records taken in one go before commands get their turn.
const BATCH: usize = 4096;
/// Without a round for so long the thread counts as stuck, ns. It sleeps for one second at most.
const ALIVE_NS: u64 = 5_000_000_000;
/// Between two tries to tell the thread what must not be lost.
const BUSY: Duration = Duration::from_millis(20);
/// Commands that wait.
const COMMANDS: usize = 64;

/// The thread's state.
struct Pipeline {
    ring: Ring,
    counts: Counts,
    flows: Flows,
    health: Health,
    out: Out,
    beat: Arc<AtomicU64>,
    /// Metrics are pushed to somebody.
    is_pushed: bool,
}

/// Where what was understood goes.
pub(super) struct Out {
    pub(super) verdicts: Verdicts,
    pub(super) store: Store,
    pub(super) routes: Routes,
    /// Names that metrics of lookups have.
    questions: Questions,
    pub(super) tracer: Tracer,
    lookup: Lookup,
    /// Whether anything behind routes and tracer may see a path.
    shows_path: bool,
    explain: Explain,
    /// Only while somebody looks.
    top: Option<Top>,
    /// Whoever wants to be told of exchanges as they end.
    pub(super) taps: Taps,
    /// Whoever records what passes.
    pub(super) recordings: Recordings,
    /// To whoever judges endpoints, where there are any.
    watched: Option<Watched>,
    /// To the exporter. It counts what finds its queue full.
    spans: SpanSender,
}

/// What the pipeline is made of.
pub(crate) struct Parts {
    pub(crate) ring: Ring,
    pub(crate) verdicts: Verdicts,
    pub(crate) counts: Counts,
    pub(crate) containers: Arc<Containers>,
    /// The application's network namespace is the daemon's own.
    pub(crate) is_pod: bool,
    pub(crate) spans: SpanSender,
    /// What the numbers in records of steered connections stand for.
    pub(crate) directory: Directory,
    /// Where connections are steered.
    pub(crate) watched: Option<Watched>,
    /// The application's `service.name`.
    pub(crate) service: Arc<str>,
}

/// What others ask of it.
pub(crate) enum Command {
    /// All series, now, with what the application costs.
    Snapshot(Readings, oneshot::Sender<Snapshot>),
    /// The connections, at most so many.
    Connections(usize, oneshot::Sender<(Vec<Line>, usize)>),
    /// What numbers stand for from now on.
    Know(Directory, oneshot::Sender<()>),
    /// The last connections of a service, or of none, that anything was decided of.
    Verdicts(Option<String>, oneshot::Sender<Vec<Seen>>),
    /// New settings: those of them that take effect while running.
    Settings(Box<Config>, oneshot::Sender<()>),
    /// The last so many exchanges behind a series.
    Explain(Selector, usize, oneshot::Sender<Result<Answer, BadSelector>>),
    /// Requests by what they ask for, since somebody began to look.
    Top(oneshot::Sender<Vec<(top::Key, top::Row)>>),
    /// Another reader of exchanges as they end; `None`: there is no place.
    Tap(Wish, oneshot::Sender<Option<Tap>>),
    /// What passes, as a capture; `None`: somebody records already.
    Record(record::Wish, oneshot::Sender<Option<Recording>>),
    /// Take what is left, finish what is open, answer with the last state.
    Stop(Readings, oneshot::Sender<Snapshot>),
}

/// How others reach it.
#[derive(Clone)]
pub(crate) struct Handle {
    commands: SyncSender<Command>,
    waker: Waker,
    beat: Arc<AtomicU64>,
}

impl Handle {
    /// All series; `None` if the thread is gone or too busy to be asked.
    pub(crate) async fn snapshot(&self, readings: Readings) -> Option<Snapshot> {
        self.ask(|reply| Command::Snapshot(readings, reply)).await
    }

    /// The connections, at most `limit`, and how many there are.
    pub(crate) async fn connections(&self, limit: usize) -> Option<(Vec<Line>, usize)> {
        self.ask(|reply| Command::Connections(limit, reply)).await
    }

    /// The last `limit` exchanges behind a series.
    pub(crate) async fn explain(
        &self,
        selector: Selector,
        limit: usize,
    ) -> Option<Result<Answer, BadSelector>> {
        self.ask(|reply| Command::Explain(selector, limit, reply)).await
    }

    /// Requests by what they ask for, since somebody began to look.
    pub(crate) async fn top(&self) -> Option<Vec<(top::Key, top::Row)>> {
        self.ask(Command::Top).await
    }

    /// Exchanges as they end; `Some(None)`: there is no place for another reader.
    pub(super) async fn tap(&self, wish: Wish) -> Option<Option<Tap>> {
        self.ask(|reply| Command::Tap(wish, reply)).await
    }

    /// What passes, as a capture; `Some(None)`: somebody records already.
    pub(super) async fn record(&self, wish: record::Wish) -> Option<Option<Recording>> {
        self.ask(|reply| Command::Record(wish, reply)).await
    }

    /// The last connections of a service, or of none, that anything was decided of; the newest first.
    pub(crate) async fn verdicts(&self, service: Option<String>) -> Option<Vec<Seen>> {
        self.ask(|reply| Command::Verdicts(service, reply)).await
    }

    /// Tells what numbers stand for. Blocks until records are read by it, or the thread is gone.
    pub(crate) fn know(&self, directory: Directory) {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Know(directory, reply)).is_ok() {
            self.waker.wake();
            let _ = answer.blocking_recv();
        }
    }

    /// Lets new settings take effect; `false` if the thread is gone. Waits where it is too busy to be asked.
    pub(crate) async fn settings(&self, config: Config) -> bool {
        let (reply, answer) = oneshot::channel();
        let mut command = Command::Settings(Box::new(config), reply);
        loop {
            match self.commands.try_send(command) {
                Ok(()) => break,
                Err(TrySendError::Full(again)) => command = again,
                Err(TrySendError::Disconnected(_)) => return false,
            }
            tokio::time::sleep(BUSY).await;
        }
        self.waker.wake();
        answer.await.is_ok()
    }

    /// The thread went round within the last seconds.
    pub(crate) fn is_alive(&self) -> bool {
        clock::now().0.saturating_sub(self.beat.load(Ordering::Relaxed)) < ALIVE_NS
    }

    /// Ends the thread.
    pub(crate) async fn stop(&self, readings: Readings) -> Option<Snapshot> {
        self.ask(|reply| Command::Stop(readings, reply)).await
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.try_send(command(reply)).ok()?;
        self.waker.wake();
        answer.await.ok()
    }
}

impl Parts {
    /// Starts the thread. It inherits this thread's (empty) capabilities.
    ///
    /// # Errors
    /// If there are no more threads to be had.
    pub(crate) fn start(
        self,
        config: &Config,
        export: &Arc<ExportStats>,
    ) -> io::Result<(Handle, thread::JoinHandle<()>)> {
        let Parts { ring, verdicts, counts, containers, is_pod, spans: queue, directory, watched, service } =
            self;
        let derive =
            Derive { spans: config.metrics.span_metrics, graph: config.metrics.service_graph, service };
        let tracer = spans::tracer(config);
        let keep = Arc::new(keep(config));
        let limits = Arc::new(Limits { keep, ..Limits::default() });
        let mut flows = Flows::new(flow::Options {
            connections: config.capture.connections as usize,
            turn_bytes: config.capture.turn_bytes,
            head_bytes: config.capture.head_bytes,
            held_bytes: config.capture.held_bytes as usize,
            reads: config.capture.socket_wait,
            wire: false,
            limits,
            exclude: exclude(config),
        });
        let routes = Routes::new(routes(config));
        let questions = Questions::new(config.dns.question_names as usize, expiry(config));
        let buckets = &config.metrics.buckets;
        let buckets = buckets.iter().map(|(name, buckets)| (name.clone(), buckets.bounds().to_vec()));
        let pushes_exponential = config.otlp.histograms == Histograms::Exponential;
        let store = Store::new(signal::Options {
            series_cap: config.metrics.series as usize,
            peers: config.tcp.peers as usize,
            expiry: expiry(config),
            buckets: buckets.collect(),
            exponential: config.metrics.native_histograms || pushes_exponential,
            started: clock::moment(),
            derive,
        });
        let is_pushed = config.otlp.to_metrics().is_some();
        let health = Health { n_malformed: 0, export: Arc::clone(export) };
        let beat = Arc::new(AtomicU64::new(clock::now().0));
        let (commands, inbox) = sync_channel(COMMANDS);
        let handle = Handle { commands, waker: ring.waker(), beat: Arc::clone(&beat) };
        let shows_path = config.spans.url_path;
        let explain = Explain::new(config.explain.exchanges as usize, shows_path);
        let lookup = Lookup::new(containers, is_pod);
        let mut out = Out {
            verdicts,
            store,
            routes,
            questions,
            tracer,
            lookup,
            shows_path,
            explain,
            top: None,
            taps: Taps::default(),
            recordings: Recordings::default(),
            watched,
            spans: queue,
        };
        flows.begin(&mut out);
        flows.know(directory);
        let pipeline = Pipeline { ring, counts, flows, health, out, beat, is_pushed };
        let thread = thread::Builder::new().name("capture".into()).spawn(move || pipeline.run(&inbox))?;
        Ok((handle, thread))
    }
}

impl Pipeline {
    fn run(mut self, inbox: &Receiver<Command>) {
        if let Err(error) = slice::shorten() {
            debug!(%error, "the scheduler keeps its usual turns");
        }
        loop {
            let n = self.drain();
            let now = clock::now();
            self.beat.store(now.0, Ordering::Relaxed);
            match inbox.try_recv() {
                Ok(Command::Snapshot(readings, reply)) => {
                    // Whoever asked may have gone.
                    let _ = reply.send(self.snapshot(&readings));
                    continue;
                }
                Ok(Command::Connections(limit, reply)) => {
                    let _ = reply.send(self.flows.lines(limit));
                    continue;
                }
                Ok(Command::Know(directory, reply)) => {
                    self.flows.know(directory);
                    let _ = reply.send(());
                    continue;
                }
                Ok(Command::Verdicts(service, reply)) => {
                    self.drain_all();
                    let _ = reply.send(self.flows.last_verdicts(service.as_deref()));
                    continue;
                }
                Ok(Command::Settings(config, reply)) => {
                    self.set(&config);
                    let _ = reply.send(());
                    continue;
                }
                Ok(Command::Explain(selector, limit, reply)) => {
                    self.drain_all();
                    let _ = reply.send(self.out.explain.find(&selector, limit));
                    continue;
                }
                Ok(Command::Top(reply)) => {
                    self.drain_all();
                    let rows = self.out.top.get_or_insert_with(|| Top::new(now)).ask(now);
                    let _ = reply.send(rows.map(|(key, row)| (key.clone(), row.clone())).collect());
                    continue;
                }
                Ok(Command::Tap(wish, reply)) => {
                    let _ = reply.send(self.out.taps.open(wish));
                    continue;
                }
                Ok(Command::Record(wish, reply)) => {
                    let _ = reply.send(self.out.recordings.open(wish, &mut self.flows));
                    continue;
                }
                Ok(Command::Stop(readings, reply)) => {
                    self.drain_all();
                    self.flows.finish(clock::now(), &mut self.out);
                    self.out.recordings.pass_on(&mut self.flows);
                    let _ = reply.send(self.snapshot(&readings));
                    return;
                }
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {}
            }
            let n_closed = || self.counts.n_closed();
            self.flows.sweep(now, n_closed, &mut self.out);
            self.out.store.expire(now, self.delivered(now));
            self.out.top.take_if(|top| top.is_idle(now));
            if n < BATCH
                && let Err(error) = self.ring.wait()
            {
                warn!(error = chain(&error), "waiting for records failed");
                thread::sleep(std::time::Duration::from_millis(100));
            }
        }
    }

    /// What has passed already is understood as it was until now.
    fn set(&mut self, config: &Config) {
        self.drain_all();
        let Pipeline { flows, out, is_pushed, .. } = self;
        *is_pushed = config.otlp.to_metrics().is_some();
        flows.set(keep(config), exclude(config), out);
        out.routes.set(routes(config));
        out.questions.set(config.dns.question_names as usize, expiry(config));
        out.tracer.set(
            spans::are_wanted(config),
            spans::sampler(&config.spans),
            spans::if_instrumented(&config.spans),
        );
        out.shows_path = config.spans.url_path;
        out.explain.set(config.explain.exchanges as usize, out.shows_path);
        out.store.set_bounds(config.metrics.series as usize, expiry(config));
        out.verdicts.publish();
    }

    /// A bound, in case records come as fast as they are read.
    fn drain_all(&mut self) {
        for _ in 0..256 {
            if self.drain() == 0 {
                return;
            }
        }
    }

    fn drain(&mut self) -> usize {
        let Pipeline { ring, flows, health, out, .. } = self;
        let n = ring.drain(BATCH, |record| match event::decode(record) {
            Ok(mut event) => {
                if let Event::Open { id, role, ends, .. } = &mut event {
                    out.lookup.find(*id, *role, ends);
                }
                flows.apply(&event, out);
                out.recordings.relieve(flows);
            }
            Err(error) => {
                health.n_malformed += 1;
                debug!(error = chain(&error), "record not understood");
            }
        });
        out.recordings.pass_on(flows);
        out.verdicts.publish();
        n
    }

    /// Up to when everybody who is pushed to has had what was measured.
    fn delivered(&self, now: Ktime) -> Ktime {
        match self.is_pushed {
            true => Ktime(self.health.export.last_taken().0.saturating_sub(clock::unix_offset())),
            false => now,
        }
    }

    fn snapshot(&mut self, readings: &Readings) -> Snapshot {
        let n_opened = self.counts.n_opened();
        // What passed before the question was asked is in the answer.
        self.drain_all();
        let counted = self.counts.read();
        health::record(&mut self.out, &self.health, &self.flows, &counted, n_opened);
        application::record(&mut self.out.store, readings);
        self.out.store.snapshot(clock::moment())
    }
}

fn exclude(config: &Config) -> flow::Exclude {
    flow::Exclude {
        ports: config.exclude.ports.clone(),
        peers: config.exclude.peers.iter().map(|peers| peers.0).collect(),
    }
}

fn routes(config: &Config) -> RouteOptions {
    RouteOptions {
        patterns: config.http.routes.iter().map(|pattern| pattern.0.clone()).collect(),
        learn: config.http.learn_routes,
        cap: config.http.route_cap as usize,
    }
}

fn expiry(config: &Config) -> Option<Duration> {
    Some(config.metrics.expiry.get()).filter(|expiry| !expiry.is_zero())
}

/// What leaves the parsers: paths and headers only where something is made of them.
fn keep(config: &Config) -> Keep {
    let has_spans = spans::are_wanted(config);
    let has_routes = config.http.learn_routes || !config.http.routes.is_empty();
    let names = |names: &[HeaderName]| names.iter().map(|name| Arc::from(name.as_str())).collect();
    let mut keep = Keep {
        shown_paths: config.spans.url_path,
        paths: has_spans || has_routes || config.explain.exchanges > 0,
        b3: config.spans.b3,
        excluded: config.exclude.paths.iter().map(|pattern| pattern.0.clone()).collect(),
        ..Keep::default()
    };
    if has_spans {
        keep.request_headers = names(&config.http.request_headers);
        keep.response_headers = names(&config.http.response_headers);
    }
    keep
}

impl Out {
    /// Learns whose this connection is, where that is news.
    fn meet(&mut self, connection: &Connection) {
        self.lookup.meet(connection.cgroup, self.store.containers_mut(), clock::now);
    }
}

impl Sink for Out {
    fn started(&mut self, connection: &Connection, start: &Start) {
        self.store.started(connection, start);
    }

    fn activity(&mut self, connection: &Connection, from: Option<Activity>, to: Option<Activity>) {
        self.store.activity(connection, from, to);
    }

    fn finished(&mut self, connection: &Connection, protocol: &'static Protocol, mut exchange: Exchange) {
        if let Some(watched) = &self.watched {
            watched.lock().exchange(connection, &exchange);
        }
        if exchange.is_excluded {
            self.store.exchange(connection, protocol.name, &exchange, None);
            return;
        }
        self.meet(connection);
        let container = self.store.containers().of(connection.cgroup);
        self.routes.label(connection, &mut exchange);
        self.questions.label(connection, &mut exchange);
        let decision = self.tracer.decide(connection, &exchange);
        if let Some(app) = self.tracer.take_news() {
            spans::tell(app, &mut self.tracer);
        }
        if let Some(top) = &mut self.top {
            top.record(connection, protocol.name, &exchange);
        }
        if !self.shows_path {
            exchange.hide_path();
        }
        if !self.taps.is_empty() {
            self.taps.tell(connection, protocol.name, &exchange);
        }
        let exemplar = decision.ids().map(|ids| ExemplarIds { trace: ids.trace, span: ids.span });
        if let Some(ids) = decision.ids() {
            self.spans.send(Span::new(connection, &exchange, ids, container.as_deref()));
        }
        self.store.exchange(connection, protocol.name, &exchange, exemplar);
        self.explain.keep(connection, protocol.name, exchange, decision, container);
    }

    fn message(&mut self, connection: &Connection, protocol: &'static Protocol, message: &Message) {
        self.store.message(connection, protocol.name, message);
    }

    fn delivered(
        &mut self,
        at: Ktime,
        connection: &Connection,
        _protocol: &'static Protocol,
        took: Duration,
    ) {
        self.meet(connection);
        self.store.delivered(at, connection, took);
    }

    fn tcp(&mut self, at: Ktime, connection: Option<&Connection>, what: Tcp) {
        if let Some(connection) = connection {
            self.meet(connection);
            if let (Some(watched), Tcp::Opened(Some(took))) = (&self.watched, what) {
                watched.lock().opened(at, connection, took);
            }
        }
        self.store.tcp(at, connection, what);
    }

    fn judge(&mut self, id: ConnectionId, verdict: Verdict) {
        self.verdicts.set(id, verdict);
    }

    fn judge_endpoint(&mut self, endpoint: Endpoint, verdict: Verdict) {
        self.verdicts.set_endpoint(endpoint, verdict);
    }

    fn forget(&mut self, id: ConnectionId) {
        self.verdicts.remove(id);
    }
}
