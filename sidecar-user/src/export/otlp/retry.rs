//! The one retry rule. Metrics go through it here, spans through the same numbers inside `opentelemetry_otlp`.
//! Source: OTLP specification 1.9, "Failures" (OTLP/gRPC).

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use opentelemetry_otlp::RetryPolicy;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Tries of one request.
pub(super) const TRIES: u32 = 3;
const FIRST_DELAY: Duration = Duration::from_secs(1);
const MAX_DELAY: Duration = Duration::from_secs(5);
const MAX_JITTER: Duration = Duration::from_millis(500);
/// What a receiver may ask for, at most.
const MAX_THROTTLE: Duration = Duration::from_secs(30);

/// The rule, as the span exporter takes it.
pub(super) fn policy() -> RetryPolicy {
    RetryPolicy::recommended()
        .with_max_retries(TRIES as usize - 1)
        .with_initial_delay(FIRST_DELAY)
        .with_max_delay(MAX_DELAY)
        .with_max_jitter(MAX_JITTER)
}

/// Does `request` until it is taken, is refused for good, or was tried [`TRIES`] times.
pub(super) async fn retried<T, F>(mut request: impl FnMut() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    let mut failures = 0;
    loop {
        let status = match request().await {
            Ok(answer) => return Ok(answer),
            Err(status) => status,
        };
        failures += 1;
        match delay(&status, failures) {
            Some(delay) if failures < TRIES => tokio::time::sleep(delay + jitter()).await,
            _ => return Err(status),
        }
    }
}

/// How long to wait after the n-th failure (from 1), before jitter; `None` where trying again is pointless.
fn delay(status: &Status, failures: u32) -> Option<Duration> {
    let asked = status.get_details_retry_info().and_then(|info| info.retry_delay);
    let again = match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        // Only where the receiver says that it will recover.
        Code::ResourceExhausted => asked.is_some(),
        _ => false,
    };
    let backoff = FIRST_DELAY.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(MAX_DELAY);
    again.then(|| asked.map_or(backoff, |asked| asked.min(MAX_THROTTLE).max(backoff)))
}

fn jitter() -> Duration {
    // Each RandomState has keys of its own: randomness enough to spread clients, without a dependency.
    let random = RandomState::new().build_hasher().finish();
    Duration::from_millis(random % (MAX_JITTER.as_millis() as u64 + 1))
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn delays() {
        let plain = |code| Status::new(code, "");
        let throttled = |code, seconds| {
            let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(seconds)));
            Status::with_error_details(code, "", details)
        };
        let cases = [
            (plain(Code::Unavailable), 1, Some(1)),
            (plain(Code::Unavailable), 2, Some(2)),
            (plain(Code::DeadlineExceeded), 9, Some(5)),
            (plain(Code::Cancelled), 1, Some(1)),
            (plain(Code::ResourceExhausted), 1, None),
            (throttled(Code::ResourceExhausted, 3), 1, Some(3)),
            (throttled(Code::Unavailable, 600), 1, Some(30)),
            (throttled(Code::Unavailable, 0), 2, Some(2)),
            (plain(Code::InvalidArgument), 1, None),
            (plain(Code::Unauthenticated), 1, None),
            (plain(Code::Unimplemented), 1, None),
            (plain(Code::Internal), 1, None),
        ];
        for (status, failures, expected) in cases {
            assert_eq!(delay(&status, failures), expected.map(Duration::from_secs), "{status:?} {failures}");
        }
    }

    #[tokio::test]
    async fn gives_up_at_once_on_what_will_not_pass() {
        let mut tries = 0;
        let result: Result<(), _> = retried(|| {
            tries += 1;
            async { Err(Status::invalid_argument("no")) }
        })
        .await;
        assert_eq!(result.map_err(|status| status.code()), Err(Code::InvalidArgument));
        assert_eq!(tries, 1);
    }

    #[test]
    fn jitter_is_bounded() {
        assert!((0..100).all(|_| jitter() <= MAX_JITTER));
    }
}
