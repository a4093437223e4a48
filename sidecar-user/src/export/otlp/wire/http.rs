//! OTLP by HTTP/1.1 with protobuf bodies. Source: OTLP specification 1.9, "OTLP/HTTP".

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;

use super::{ANSWER_MAX, Connector, Failure, broken, client};
use crate::export::Failed;
use crate::export::gzip::gzip;
use crate::export::otlp::retry::Again;

/// A receiver's URL and the connections to it.
#[derive(Clone)]
pub(super) struct Http {
    client: Client<Connector, Full<Bytes>>,
    uri: Uri,
    headers: HeaderMap,
    is_gzip: bool,
}

impl Http {
    pub(super) fn new(connector: Connector, uri: Uri, mut headers: HeaderMap, is_gzip: bool) -> Http {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        if is_gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Http { client: client(connector, false), uri, headers, is_gzip }
    }

    pub(super) fn packed(&self, request: &Bytes) -> Bytes {
        // Into memory: that does not fail.
        if self.is_gzip { gzip(request).unwrap_or_default() } else { request.clone() }
    }

    pub(super) async fn attempt(&self, packed: Bytes) -> Result<Bytes, Failure> {
        let mut request = Request::new(Full::new(packed));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        let answer = self.client.request(request).await.map_err(|error| broken(&error))?;
        if !answer.status().is_success() {
            return Err(refused(answer.status(), answer.headers(), SystemTime::now()));
        }
        match Limited::new(answer.into_body(), ANSWER_MAX).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                let message = format!("an answer of more than {ANSWER_MAX} bytes");
                Err(Failure { why: Failed::BadAnswer, again: Again::Never, message })
            }
            Err(error) => Err(broken(&*error)),
        }
    }
}

fn refused(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Failure {
    // The body may repeat what is secret: it is not told.
    let message = format!("the receiver answered {status}");
    match status.as_u16() {
        429 | 502 | 503 | 504 => {
            let asked = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let again = asked.and_then(|value| retry_after(value, now)).map_or(Again::Backoff, Again::After);
            Failure { why: Failed::Unavailable, again, message }
        }
        _ => Failure { why: Failed::Refused, again: Again::Never, message },
    }
}

/// RFC 9110 section 10.2.3: seconds, or a date.
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let seconds = value.parse().ok().map(Duration::from_secs);
    seconds.or_else(|| Some(httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let now = httpdate::parse_http_date("Thu, 26 Nov 2026 10:00:00 GMT").expect("a date");
        let seconds = |n| Again::After(Duration::from_secs(n));
        for (status, asked, why, again) in [
            (503, None, Failed::Unavailable, Again::Backoff),
            (503, Some("7"), Failed::Unavailable, seconds(7)),
            (429, Some(" 7 "), Failed::Unavailable, seconds(7)),
            (502, Some("Thu, 26 Nov 2026 10:00:05 GMT"), Failed::Unavailable, seconds(5)),
            (504, Some("Thu, 26 Nov 2026 09:00:00 GMT"), Failed::Unavailable, seconds(0)),
            (503, Some("soon"), Failed::Unavailable, Again::Backoff),
            (503, Some("-1"), Failed::Unavailable, Again::Backoff),
            (400, Some("7"), Failed::Refused, Again::Never),
            (401, None, Failed::Refused, Again::Never),
            (404, None, Failed::Refused, Again::Never),
            (500, None, Failed::Refused, Again::Never),
            (301, None, Failed::Refused, Again::Never),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(asked) = asked {
                headers.insert(RETRY_AFTER, HeaderValue::from_static(asked));
            }
            let failure = refused(StatusCode::from_u16(status).expect("a status"), &headers, now);
            assert_eq!((failure.why, failure.again), (why, again), "{status} {asked:?}");
        }
    }
}
