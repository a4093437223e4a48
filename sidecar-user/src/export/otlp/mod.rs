//! OTLP, by gRPC or HTTP: pushes a snapshot at each interval and spans in batches, until told to stop; then the last of
//! both, within a deadline. The signals do not wait for each other: each has its own connection.
//! A push of metrics that fails costs nothing but freshness: what it would have said is in the next.

mod batch;
mod delivery;
mod metrics;
mod outage;
mod receivers;
mod retry;
mod spans;
mod wire;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_otlp::ExporterBuildError;
use prost::Message as _;
use sidecar_core::model::Ktime;
use sidecar_core::signal::{Snapshot, Span, UnixNanos};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};
use tracing::{info, warn};

use self::batch::Batcher;
use self::delivery::{AtShutdown, Delivery, End};
use self::metrics::Delivered;
use self::receivers::Plan;
use self::spans::SpanEncoder;
use super::{Dropped, ExportStats, Resource, Signal};

pub(crate) use self::batch::{SpanSender, queue};
pub(crate) use self::metrics::Form;
pub(crate) use self::receivers::{Receivers, Switch};

/// Instrumentation scope of all that is pushed.
const SCOPE: &str = "sidecar";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The semantic conventions that the attributes follow.
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// How often to push.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Between two pushes of metrics.
    pub interval: Duration,
    /// In which form metrics are pushed.
    pub form: Form,
    /// Spans in one request, at most.
    pub batch: usize,
    /// How long a span waits for its batch to fill, at most.
    pub batch_delay: Duration,
    /// How long pushing may go on after shutdown was asked for.
    pub drain: Duration,
}

impl Default for Options {
    /// The specification's.
    fn default() -> Self {
        Options {
            interval: Duration::from_secs(60),
            form: Form::default(),
            batch: 512,
            batch_delay: Duration::from_secs(5),
            drain: Duration::from_secs(5),
        }
    }
}

/// Whoever owns the store and the clock.
pub(crate) trait Source: Send + Sync {
    /// The series as they stand; `None` where nobody answers any more.
    fn snapshot(&self) -> impl Future<Output = Option<Arc<Snapshot>>> + Send;
    /// When `at` was, by the wall clock.
    fn unix(&self, at: Ktime) -> UnixNanos;
}

/// An exporter that is set up and does not run yet.
pub(crate) struct Exporter {
    options: Options,
    plans: [watch::Receiver<Plan>; 2],
    resource: Resource,
    encoder: SpanEncoder,
    stats: Arc<ExportStats>,
}

impl Exporter {
    /// Nothing of it runs yet. There may be nobody to push to: the switch names somebody later.
    pub(crate) fn new(
        receivers: Receivers,
        options: Options,
        resource: &Resource,
        stats: Arc<ExportStats>,
    ) -> Result<(Self, Switch), ExporterBuildError> {
        let encoder = SpanEncoder::new(resource)?;
        let switch = Switch::new(receivers, options.interval);
        let plans = [Signal::Metrics, Signal::Traces].map(|signal| switch.plan(signal));
        Ok((Exporter { options, plans, resource: resource.clone(), encoder, stats }, switch))
    }

    /// Pushes until `shutdown` turns true (or its sender is gone), then what is left, for `Options::drain` at most.
    /// What is left after that is counted as dropped.
    pub(crate) async fn run(
        self,
        source: &impl Source,
        spans: mpsc::Receiver<Span>,
        shutdown: watch::Receiver<bool>,
    ) {
        let Exporter { options, plans: [to_metrics, to_traces], resource, encoder, stats } = self;
        let delivery = |plan: &watch::Receiver<Plan>, signal, at_shutdown| {
            Delivery::new(plan.clone(), signal, Arc::clone(&stats), at_shutdown, shutdown.clone())
        };
        let metrics = async {
            let delivery = delivery(&to_metrics, Signal::Metrics, AtShutdown::GiveUp);
            push_metrics(delivery, &resource, options.form, source, shutdown.clone()).await;
        };
        let traces = async {
            let mut delivery = delivery(&to_traces, Signal::Traces, AtShutdown::TryOnce);
            let mut batcher = Batcher::new(spans, &options);
            batcher.run(&encoder, &mut delivery, source, shutdown.clone()).await;
        };
        let lost = || {
            let of = |signal| {
                let [_, failed, dropped] = stats.totals(signal);
                failed + dropped
            };
            of(Signal::Metrics) + of(Signal::Traces)
        };
        let mut asked = shutdown.clone();
        let mut pushing = pin!(async { tokio::join!(metrics, traces) });
        let before = tokio::select! {
            biased;
            () = stopped(&mut asked) => lost(),
            // Nobody is left who could offer anything.
            _ = &mut pushing => lost(),
        };
        if *shutdown.borrow() {
            let _ = timeout(options.drain, pushing).await;
        }
        for signal in [Signal::Metrics, Signal::Traces] {
            stats.dropped(signal, Dropped::Shutdown, stats.waiting(signal));
        }
        let is_on = |plan: &watch::Receiver<Plan>| plan.borrow().receiver.is_some();
        if is_on(&to_metrics) || is_on(&to_traces) || stats.is_used() {
            account(&stats, lost() > before);
        }
    }
}

/// The last word, since nobody can scrape it any more.
fn account(stats: &ExportStats, is_incomplete: bool) {
    let [points_sent, points_failed, points_dropped] = stats.totals(Signal::Metrics);
    let [spans_sent, spans_failed, spans_dropped] = stats.totals(Signal::Traces);
    macro_rules! tell {
        ($level:ident, $message:literal) => {
            $level!(
                points_sent,
                points_failed,
                points_dropped,
                spans_sent,
                spans_failed,
                spans_dropped,
                $message
            )
        };
    }
    if is_incomplete {
        tell!(warn, "the last telemetry could not all be pushed");
    } else {
        tell!(info, "pushing has ended");
    }
}

async fn push_metrics(
    mut delivery: Delivery,
    resource: &Resource,
    form: Form,
    source: &impl Source,
    mut shutdown: watch::Receiver<bool>,
) {
    let resource = metrics::resource(resource);
    let mut delivered = Delivered::new(form);
    let mut pace = delivery.interval();
    let mut ticks = every(pace);
    let mut is_last = false;
    while !is_last {
        if pace != delivery.interval() {
            pace = delivery.interval();
            ticks = every(pace);
        }
        tokio::select! {
            biased;
            () = stopped(&mut shutdown) => is_last = true,
            () = delivery.changed() => continue,
            _ = ticks.tick() => {}
        }
        if !delivery.is_on() {
            continue;
        }
        let Some(snapshot) = source.snapshot().await else { continue };
        let rest = delivered.rest(&snapshot);
        let n = rest.n_points();
        if n == 0 {
            continue;
        }
        delivery.stats.offered(Signal::Metrics, n);
        let request = metrics::encode(&rest, &resource, form).encode_to_vec();
        // What is not taken is in the next push.
        if delivery.deliver(request, n).await == End::Taken {
            delivery.stats.metrics_taken(snapshot.at);
            delivered.took(snapshot);
        }
    }
}

fn every(pace: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + pace, pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Returns when shutdown was asked for.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // An error says that the sender is gone: nobody could ask any more, so it counts as asked.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests {
    use sidecar_core::config;
    use sidecar_core::signal::{Moment, Options as StoreOptions, Store};

    use super::*;
    use crate::config::file::Reader;
    use crate::export::tests;

    /// A certificate that signs itself.
    const AUTHORITY: &str = "\
-----BEGIN CERTIFICATE-----
MIIBhTCCASugAwIBAgIUUAeGDJhVMP9qPo8AeeGb4yMqyb4wCgYIKoZIzj0EAwIw
FzEVMBMGA1UEAwwMYW4gYXV0aG9yaXR5MCAXDTI2MTEyNzEzNDMzMVoYDzIxMjYx
MTAzMTM0MzMxWjAXMRUwEwYDVQQDDAxhbiBhdXRob3JpdHkwWTATBgcqhkjOPQIB
BggqhkjOPQMBBwNCAAQVCbZt/MFr4AxDwl5MaDPuoKjNWFvegMMl/eetSe6LVZfv
1ami/XizQ0twMzdnzhPz7hlhywvb43D4wteWdgMBo1MwUTAdBgNVHQ4EFgQUBKGR
V1dlG8fEQNlOH2UvZ/J7zMcwHwYDVR0jBBgwFoAUBKGRV1dlG8fEQNlOH2UvZ/J7
zMcwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiB4YN5yE8XxNdO5
IV/1SmIXC8Jvu7Auo+vNVlt3wL3etAIhAL2kcI7Ulm0jyJYSi4J6V96cHMQ3P/sU
9QD3bIrK5dWQ
-----END CERTIFICATE-----
";

    struct Fixed;

    impl Source for Fixed {
        async fn snapshot(&self) -> Option<Arc<Snapshot>> {
            Some(Arc::new(tests::snapshot()))
        }

        fn unix(&self, at: Ktime) -> UnixNanos {
            UnixNanos(at.0)
        }
    }

    fn told(stats: &ExportStats) -> Vec<String> {
        let mut store = Store::new(StoreOptions::default());
        stats.record(&mut store);
        let exposition = crate::export::Format::Text
            .encode(&Arc::new(store.snapshot(Moment::default())), &Arc::default())
            .expect("an exposition");
        let exposition = String::from_utf8(exposition).expect("text");
        let counted =
            exposition.lines().filter(|line| line.starts_with("sidecar_export") && !line.ends_with(" 0"));
        counted.map(str::to_owned).collect()
    }

    fn receivers(endpoint: &str) -> Receivers {
        let endpoint = Some(endpoint.parse().expect("an endpoint"));
        let settings = config::Otlp { endpoint, ..config::Otlp::default() };
        Receivers::open(&settings, &mut Reader::at_start()).expect("receivers")
    }

    fn exporter(endpoint: &str, options: Options, stats: &Arc<ExportStats>) -> (Exporter, Switch) {
        let receivers = receivers(endpoint);
        Exporter::new(receivers, options, &tests::resource(), Arc::clone(stats)).expect("an exporter")
    }

    /// Nobody listens at port 1: at the end the first batch and the metrics are tried once, the rest not at all.
    #[tokio::test]
    async fn a_dead_receiver_does_not_delay_the_end() {
        let options = Options { batch: 2, drain: Duration::from_secs(3600), ..Options::default() };
        let stats = Arc::new(ExportStats::default());
        let (exporter, _switch) = exporter("http://127.0.0.1:1", options, &stats);
        let (sender, exit) = queue(8, Arc::clone(&stats));
        for _ in 0..3 {
            sender.send(tests::span());
        }
        let stop = watch::Sender::new(true);
        exporter.run(&Fixed, exit, stop.subscribe()).await;
        sender.send(tests::span());
        let points = tests::snapshot().n_points();
        let expected = [
            format!(
                r#"sidecar_export_failed_total{{sidecar_signal="metrics",sidecar_reason="connection"}} {points}"#
            ),
            r#"sidecar_export_failed_total{sidecar_signal="traces",sidecar_reason="connection"} 2"#
                .to_owned(),
            r#"sidecar_export_dropped_total{sidecar_signal="traces",sidecar_reason="shutdown"} 2"#.to_owned(),
        ];
        assert_eq!(told(&stats), expected);
    }

    /// A listener that accepts and says nothing: the deadline ends it, and the counters say so.
    #[tokio::test]
    async fn the_deadline_ends_it_and_counts_what_is_left() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let endpoint = format!("http://{}", silent.local_addr().expect("its address"));
        let options = Options { batch: 2, drain: Duration::from_millis(50), ..Options::default() };
        let stats = Arc::new(ExportStats::default());
        let (exporter, _switch) = exporter(&endpoint, options, &stats);
        let (sender, exit) = queue(8, Arc::clone(&stats));
        for _ in 0..3 {
            sender.send(tests::span());
        }
        let stop = watch::Sender::new(true);
        exporter.run(&Fixed, exit, stop.subscribe()).await;
        let points = tests::snapshot().n_points();
        let expected = [
            format!(
                r#"sidecar_export_dropped_total{{sidecar_signal="metrics",sidecar_reason="shutdown"}} {points}"#
            ),
            r#"sidecar_export_dropped_total{sidecar_signal="traces",sidecar_reason="shutdown"} 3"#.to_owned(),
        ];
        assert_eq!(told(&stats), expected);
    }

    /// Nobody to push to any more: what waits for another try, what lies in the queue, and nothing else.
    #[tokio::test]
    async fn what_waits_is_dropped_when_it_is_switched_off() {
        let options = Options { batch: 2, ..Options::default() };
        let stats = Arc::new(ExportStats::default());
        let (exporter, switch) = exporter("http://127.0.0.1:1", options, &stats);
        let (sender, exit) = queue(8, Arc::clone(&stats));
        for _ in 0..3 {
            sender.send(tests::span());
        }
        let stop = watch::Sender::new(false);
        let switched = async {
            switch.open(&Receivers::default(), Duration::from_secs(1));
            assert_eq!(stats.waiting(Signal::Traces), 3, "only what has a receiver is opened");
            switch.close(Receivers::default(), Duration::from_secs(1));
            while stats.waiting(Signal::Traces) > 1 {
                tokio::task::yield_now().await;
            }
            stop.send_replace(true);
        };
        tokio::join!(exporter.run(&Fixed, exit, stop.subscribe()), switched);
        let expected =
            [r#"sidecar_export_dropped_total{sidecar_signal="traces",sidecar_reason="switched_off"} 3"#];
        assert_eq!(told(&stats), expected);
    }

    #[test]
    fn a_file_of_the_same_name_and_another_content_is_renewed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ca.pem");
        let open = |text: &str| {
            std::fs::write(&path, text).expect("written");
            let settings = config::Otlp {
                endpoint: Some("https://127.0.0.1:1".parse().expect("an endpoint")),
                certificate: Some(path.clone()),
                ..config::Otlp::default()
            };
            Receivers::open(&settings, &mut Reader::again()).expect("receivers")
        };
        let (one, other) = (AUTHORITY.to_owned(), format!("{AUTHORITY}# renewed\n"));
        let stats = Arc::default();
        let (_, switch) =
            Exporter::new(open(&one), Options::default(), &tests::resource(), stats).expect("one");
        assert_eq!(switch.renewed(&open(&one)), Vec::<String>::new());
        assert_eq!(switch.renewed(&open(&other)), ["otlp.certificate"]);
    }
}
