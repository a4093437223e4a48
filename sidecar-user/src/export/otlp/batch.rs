//! The queue of spans, and batches out of it. Bounded: what comes while it is full is dropped and counted.

use std::sync::Arc;
use std::time::Duration;

use sidecar_core::signal::Span;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use super::delivery::{Delivery, End};
use super::spans::SpanEncoder;
use super::{Options, Source, stopped};
use crate::export::{Dropped, ExportStats, Failed, Signal};

/// The queue's entrance.
#[derive(Clone)]
pub(crate) struct SpanSender {
    queue: mpsc::Sender<Span>,
    stats: Arc<ExportStats>,
}

impl SpanSender {
    /// Never waits.
    pub(crate) fn send(&self, span: Span) {
        self.stats.offered(Signal::Traces, 1);
        let why = match self.queue.try_send(span) {
            Ok(()) => return,
            Err(mpsc::error::TrySendError::Full(_)) => Dropped::QueueFull,
            Err(mpsc::error::TrySendError::Closed(_)) => Dropped::Shutdown,
        };
        self.stats.dropped(Signal::Traces, why, 1);
    }
}

/// A queue for `capacity` spans (at least one); its exit is for `Exporter::run`.
pub(crate) fn queue(capacity: usize, stats: Arc<ExportStats>) -> (SpanSender, mpsc::Receiver<Span>) {
    let (queue, exit) = mpsc::channel(capacity.max(1));
    (SpanSender { queue, stats }, exit)
}

/// Takes spans out of the queue and pushes them in batches.
pub(super) struct Batcher {
    queue: mpsc::Receiver<Span>,
    batch: Vec<Span>,
    size: usize,
    delay: Duration,
}

enum Filled {
    /// Full, or its time is up.
    Ready,
    /// Shutdown was asked for, or nobody can send any more.
    Last,
}

impl Batcher {
    pub(super) fn new(queue: mpsc::Receiver<Span>, options: &Options) -> Self {
        Batcher { queue, batch: Vec::new(), size: options.batch.max(1), delay: options.batch_delay }
    }

    /// Until shutdown; then until the queue is empty, or the receiver does not answer.
    pub(super) async fn run(
        &mut self,
        encoder: &SpanEncoder,
        delivery: &mut Delivery,
        source: &impl Source,
        mut shutdown: watch::Receiver<bool>,
    ) {
        while let Filled::Ready = self.fill(&mut shutdown).await {
            let end = self.flush(encoder, delivery, source).await;
            if end == End::GaveUp && *shutdown.borrow() {
                self.queue.close();
                return;
            }
        }
        self.queue.close();
        while self.take_queued() && self.flush(encoder, delivery, source).await != End::GaveUp {}
    }

    async fn fill(&mut self, shutdown: &mut watch::Receiver<bool>) -> Filled {
        let mut until = None;
        while self.batch.len() < self.size {
            let next = async {
                match until {
                    Some(until) => timeout_at(until, self.queue.recv()).await,
                    None => Ok(self.queue.recv().await),
                }
            };
            let next = tokio::select! {
                biased;
                () = stopped(shutdown) => return Filled::Last,
                next = next => next,
            };
            match next {
                Ok(Some(span)) => self.batch.push(span),
                Ok(None) => return Filled::Last,
                Err(_elapsed) => break,
            }
            until.get_or_insert_with(|| Instant::now() + self.delay);
        }
        Filled::Ready
    }

    /// Fills the batch with what is there; whether it holds any.
    fn take_queued(&mut self) -> bool {
        while self.batch.len() < self.size {
            match self.queue.try_recv() {
                Ok(span) => self.batch.push(span),
                Err(_) => break,
            }
        }
        !self.batch.is_empty()
    }

    async fn flush(&mut self, encoder: &SpanEncoder, delivery: &mut Delivery, source: &impl Source) -> End {
        let batch = std::mem::take(&mut self.batch);
        let n = batch.len() as u64;
        match encoder.encode(batch, source).await {
            Some(request) => delivery.deliver(request, n).await,
            None => {
                delivery.stats.failed(Signal::Traces, Failed::Encoding, n);
                End::Refused
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::tests::span;

    fn batcher(capacity: usize, size: usize, delay: Duration) -> (SpanSender, Batcher, watch::Sender<bool>) {
        let mut options = Options::default();
        (options.batch, options.batch_delay) = (size, delay);
        let (sender, exit) = queue(capacity, Arc::default());
        (sender, Batcher::new(exit, &options), watch::Sender::new(false))
    }

    #[tokio::test]
    async fn full_batches_do_not_wait() {
        let (sender, mut batcher, stop) = batcher(8, 2, Duration::from_secs(3600));
        (0..3).for_each(|_| sender.send(span()));
        assert!(matches!(batcher.fill(&mut stop.subscribe()).await, Filled::Ready));
        assert_eq!((batcher.batch.len(), batcher.queue.len()), (2, 1));
    }

    #[tokio::test]
    async fn waits_no_longer_than_the_delay() {
        let (sender, mut batcher, stop) = batcher(8, 2, Duration::from_millis(1));
        sender.send(span());
        assert!(matches!(batcher.fill(&mut stop.subscribe()).await, Filled::Ready));
        assert_eq!(batcher.batch.len(), 1);
    }

    #[tokio::test]
    async fn shutdown_leaves_nothing_behind() {
        let (sender, mut batcher, stop) = batcher(8, 4, Duration::from_secs(3600));
        (0..6).for_each(|_| sender.send(span()));
        stop.send_replace(true);
        assert!(matches!(batcher.fill(&mut stop.subscribe()).await, Filled::Last));
        assert!(batcher.take_queued());
        assert_eq!((batcher.batch.len(), batcher.queue.len()), (4, 2));
    }

    #[tokio::test]
    async fn drops_and_counts_the_newest() {
        let (sender, batcher, _stop) = batcher(2, 4, Duration::from_secs(3600));
        (0..5).for_each(|_| sender.send(span()));
        assert_eq!(sender.stats.totals(Signal::Traces), [0, 0, 3]);
        assert_eq!((batcher.queue.len(), sender.stats.waiting(Signal::Traces)), (2, 2));
    }
}
