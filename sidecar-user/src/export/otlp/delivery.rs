//! What becomes of a request, for both signals and protocols: tries, waits in between, and the account of its items.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::{DecodeError, Message};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::outage::Outage;
use super::receivers::{Plan, Receiver};
use super::retry::{self, Again};
use super::stopped;
use super::wire::Failure;
use crate::export::{Dropped, ExportStats, Failed, Signal};

/// How a delivery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum End {
    /// The receiver took it, all of it or in part.
    Taken,
    /// The receiver will never take it, as it stands.
    Refused,
    /// The receiver did not answer, or said that it cannot now. What is sent next will not fare better.
    GaveUp,
}

/// What to do about a request that waits for another try when shutdown is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtShutdown {
    /// Try it at once, for the last time.
    TryOnce,
    /// Give up: something newer follows.
    GiveUp,
}

/// Delivers requests of one signal, one after the other, to the receiver that there is at the time.
pub(super) struct Delivery {
    plan: watch::Receiver<Plan>,
    receiver: Option<Receiver>,
    signal: Signal,
    pub(super) stats: Arc<ExportStats>,
    outage: Outage,
    at_shutdown: AtShutdown,
    shutdown: watch::Receiver<bool>,
}

impl Delivery {
    pub(super) fn new(
        plan: watch::Receiver<Plan>,
        signal: Signal,
        stats: Arc<ExportStats>,
        at_shutdown: AtShutdown,
        shutdown: watch::Receiver<bool>,
    ) -> Self {
        let receiver = plan.borrow().receiver.clone();
        Delivery { plan, receiver, signal, stats, outage: Outage::new(signal), at_shutdown, shutdown }
    }

    /// Between two pushes.
    pub(super) fn interval(&self) -> Duration {
        self.plan.borrow().interval
    }

    /// Whether there is somebody to push to.
    pub(super) fn is_on(&self) -> bool {
        self.plan.borrow().receiver.is_some()
    }

    /// Returns when something else is planned.
    pub(super) async fn changed(&mut self) {
        if self.plan.changed().await.is_err() {
            // Nobody is left who could plan.
            std::future::pending().await
        }
    }

    /// Pushes an encoded request of `n` items, with retries, and counts what became of them. Whoever calls has counted
    /// them as offered. A request that waits for another try when the receiver changes is tried there as if it were new.
    pub(super) async fn deliver(&mut self, request: Vec<u8>, n: u64) -> End {
        let request = Bytes::from(request);
        let mut packed = None;
        let (mut until, mut failures) = (Instant::now() + self.window(), 0);
        loop {
            if self.renew() {
                (packed, until, failures) = (None, Instant::now() + self.window(), 0);
            }
            let Some(receiver) = &mut self.receiver else {
                self.stats.dropped(self.signal, Dropped::SwitchedOff, n);
                return End::Refused;
            };
            let packed = packed.get_or_insert_with(|| receiver.wire.packed(&request)).clone();
            let is_last = *self.shutdown.borrow();
            let failure = match attempt(receiver, self.signal, packed).await {
                Ok(answer) => {
                    self.taken(&answer, n);
                    return End::Taken;
                }
                Err(failure) => failure,
            };
            failures += 1;
            let delay = retry::delay(failure.again, failures, retry::random());
            let delay = delay.filter(|delay| !is_last && Instant::now() + *delay < until);
            let Some(delay) = delay else { return self.failed(&failure, n) };
            debug!(signal = ?self.signal, error = failure.message, ?delay, "push failed, and is tried again");
            self.outage.failed(&failure.message, is_last);
            let used = self.receiver.as_ref().map(|receiver| &receiver.basis);
            let other = async { self.plan.wait_for(|plan| plan.basis() != used).await.map(|_| ()) };
            let is_stopped = tokio::select! {
                biased;
                () = stopped(&mut self.shutdown) => true,
                Ok(()) = other => false,
                () = sleep(delay) => false,
            };
            if is_stopped && self.at_shutdown == AtShutdown::GiveUp {
                return self.failed(&failure, n);
            }
        }
    }

    /// How long one request is tried for.
    fn window(&self) -> Duration {
        match self.signal {
            // Beyond the interval the next push is worth more than this one.
            Signal::Metrics => retry::WINDOW.min(self.interval()),
            Signal::Traces => retry::WINDOW,
        }
    }

    /// Goes by what is planned now; whether that is another receiver. The same one keeps its connection.
    fn renew(&mut self) -> bool {
        let plan = self.plan.borrow();
        let is_new = plan.basis() != self.receiver.as_ref().map(|receiver| &receiver.basis);
        if is_new {
            self.receiver.clone_from(&plan.receiver);
        }
        is_new
    }

    fn taken(&self, answer: &Partial, n: u64) {
        let rejected = answer.rejected.min(n);
        self.outage.taken(rejected, &answer.message);
        self.stats.sent(self.signal, n - rejected);
        self.stats.failed(self.signal, Failed::Rejected, rejected);
    }

    fn failed(&self, failure: &Failure, n: u64) -> End {
        self.outage.failed(&failure.message, *self.shutdown.borrow());
        self.stats.failed(self.signal, failure.why, n);
        if failure.again == Again::Never { End::Refused } else { End::GaveUp }
    }
}

async fn attempt(receiver: &mut Receiver, signal: Signal, packed: Bytes) -> Result<Partial, Failure> {
    let answer = receiver.wire.attempt(packed).await?;
    Partial::decode(signal, answer).map_err(|error| {
        let message = format!("read the receiver's answer: {error}");
        Failure { why: Failed::BadAnswer, again: Again::Never, message }
    })
}

/// What the receiver says about a request that it took.
#[derive(Debug, PartialEq, Eq)]
struct Partial {
    rejected: u64,
    message: String,
}

impl Partial {
    fn decode(signal: Signal, answer: Bytes) -> Result<Partial, DecodeError> {
        let (rejected, mut message) = match signal {
            Signal::Metrics => {
                let said = ExportMetricsServiceResponse::decode(answer)?.partial_success.unwrap_or_default();
                (said.rejected_data_points, said.error_message)
            }
            Signal::Traces => {
                let said = ExportTraceServiceResponse::decode(answer)?.partial_success.unwrap_or_default();
                (said.rejected_spans, said.error_message)
            }
        };
        message.truncate(message.floor_char_boundary(1000));
        Ok(Partial { rejected: u64::try_from(rejected).unwrap_or(0), message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let told = |rejected, message: &str| Ok(Partial { rejected, message: message.to_owned() });
        // Field 1, a message: its field 1 is a number, its field 2 a text.
        for (answer, expected) in [
            (&b""[..], told(0, "")),
            (&[0x0a, 0x02, 0x08, 0x05], told(5, "")),
            (&[0x0a, 0x05, 0x08, 0x01, 0x12, 0x01, b'x'], told(1, "x")),
            (&[0x0a, 0x03, 0x12, 0x01, b'x'], told(0, "x")),
            // Negative.
            (&[0x0a, 0x0b, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], told(0, "")),
            (b"<html>no</html>", Err(())),
            (b"{}", Err(())),
        ] {
            for signal in [Signal::Metrics, Signal::Traces] {
                let decoded = Partial::decode(signal, Bytes::copy_from_slice(answer)).map_err(|_| ());
                assert_eq!(decoded, expected, "{answer:?}");
            }
        }
    }
}
