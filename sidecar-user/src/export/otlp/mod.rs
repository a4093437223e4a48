//! OTLP over gRPC: pushes a snapshot at each interval and spans in batches, until told to stop; then the last of
//! both, within a deadline. Metrics are cumulative, so a push that fails costs nothing but freshness.

mod batch;
mod channel;
mod metrics;
mod outage;
mod retry;
mod spans;

use std::sync::Arc;
use std::time::Duration;

use sidecar_core::model::Ktime;
use sidecar_core::signal::{Snapshot, Span, UnixNanos};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tracing::warn;

use self::batch::Batcher;
use self::metrics::MetricsPush;
use self::spans::SpanPush;
use super::{Dropped, ExportStats, Resource, Signal};

pub(crate) use self::batch::{SpanSender, queue};
pub(crate) use self::channel::Error;

/// Instrumentation scope of all that is pushed.
const SCOPE: &str = "sidecar";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The semantic conventions that the attributes follow.
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// Where to push, and how often.
#[derive(Clone)]
pub(crate) struct Options {
    /// `http://host:port`.
    pub endpoint: String,
    /// Sent with each request as gRPC metadata. Values may be secrets: there is no `Debug`.
    pub headers: Vec<(String, String)>,
    /// Between two pushes of metrics.
    pub interval: Duration,
    /// Of one try of one request.
    pub timeout: Duration,
    /// Spans in one request, at most.
    pub batch: usize,
    /// How long a span waits for its batch to fill, at most.
    pub batch_delay: Duration,
    /// How long pushing may go on after shutdown was asked for.
    pub drain: Duration,
}

impl Options {
    /// The specification's defaults for this endpoint.
    pub(crate) fn new(endpoint: impl Into<String>) -> Self {
        Options {
            endpoint: endpoint.into(),
            headers: Vec::new(),
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
            batch: 512,
            batch_delay: Duration::from_secs(5),
            drain: Duration::from_secs(5),
        }
    }
}

/// Whoever owns the store and the clock.
pub(crate) trait Source: Send + Sync {
    /// The series as they stand; `None` where metrics are not to be pushed, or nobody answers any more.
    fn snapshot(&self) -> impl Future<Output = Option<Arc<Snapshot>>> + Send;
    /// When `at` was, by the wall clock.
    fn unix(&self, at: Ktime) -> UnixNanos;
}

/// An exporter that is set up and does not run yet.
pub(crate) struct Exporter {
    options: Options,
    metrics: MetricsPush,
    spans: SpanPush,
    stats: Arc<ExportStats>,
}

impl Exporter {
    /// Checks the options. Connects at the first push, not here, but wants to be called inside a tokio runtime.
    pub(crate) fn new(options: Options, resource: &Resource, stats: Arc<ExportStats>) -> Result<Self, Error> {
        let channel = channel::connect(&options)?;
        let metadata = channel::metadata(&options.headers)?;
        let metrics = MetricsPush::new(channel.clone(), metadata.clone(), resource, Arc::clone(&stats));
        let spans = SpanPush::new(channel, metadata, resource, Arc::clone(&stats), options.timeout)?;
        Ok(Exporter { options, metrics, spans, stats })
    }

    /// Pushes until `shutdown` turns true (or its sender is gone), then what is left, for `Options::drain` at most.
    /// What is left after that is counted as dropped.
    pub(crate) async fn run(
        mut self,
        source: &impl Source,
        spans: mpsc::Receiver<Span>,
        shutdown: watch::Receiver<bool>,
    ) {
        let mut batcher = Batcher::new(spans, &self.options);
        {
            let metrics = push_metrics(&mut self.metrics, self.options.interval, source, shutdown.clone());
            let traces = batcher.run(&self.spans, source, shutdown.clone());
            let deadline = async {
                stopped(&mut shutdown.clone()).await;
                sleep(self.options.drain).await;
            };
            tokio::select! {
                _ = async { tokio::join!(metrics, traces) } => {}
                () = deadline => warn!(drain = ?self.options.drain, "telemetry was still being pushed at the deadline"),
            }
        }
        self.stats.dropped(Signal::Traces, Dropped::Shutdown, batcher.left());
    }
}

async fn push_metrics(
    push: &mut MetricsPush,
    interval: Duration,
    source: &impl Source,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut ticks = interval_at(Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let turn = async {
            ticks.tick().await;
            if let Some(snapshot) = source.snapshot().await {
                push.push(&snapshot).await;
            }
        };
        tokio::select! {
            biased;
            // A push that is cut off here is repeated, with newer values, below.
            () = stopped(&mut shutdown) => break,
            () = turn => {}
        }
    }
    if let Some(snapshot) = source.snapshot().await {
        push.push(&snapshot).await;
    }
}

/// Returns when shutdown was asked for.
async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // An error says that the sender is gone: nobody could ask any more, so it counts as asked.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

#[cfg(test)]
mod tests {
    use sidecar_core::signal::{Moment, Options as StoreOptions, Store};

    use super::*;
    use crate::export::tests;

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
        let counted =
            exposition.lines().filter(|line| line.starts_with("sidecar_export") && !line.ends_with(" 0"));
        counted.map(str::to_owned).collect()
    }

    /// Nobody listens at port 1: what is queued is tried, the deadline ends it, and the counters say so.
    #[tokio::test]
    async fn deadline_ends_it_and_counts_what_is_left() {
        let mut options = Options::new("http://127.0.0.1:1");
        (options.batch, options.drain) = (2, Duration::from_millis(50));
        let stats = Arc::new(ExportStats::default());
        let exporter = Exporter::new(options, &tests::resource(), Arc::clone(&stats)).expect("an exporter");
        let (sender, exit) = queue(8, Arc::clone(&stats));
        for _ in 0..3 {
            sender.send(tests::span());
        }
        let stop = watch::Sender::new(true);
        exporter.run(&Fixed, exit, stop.subscribe()).await;
        sender.send(tests::span());
        let expected =
            [r#"sidecar_export_dropped_total{sidecar_signal="traces",sidecar_reason="shutdown"} 4"#];
        assert_eq!(told(&stats), expected);
    }
}
