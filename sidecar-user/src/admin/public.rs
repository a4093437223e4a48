//! `/metrics`, `/startupz`, `/livez`, `/readyz`: what a scraper and a kubelet ask, under any Host.

use std::fmt::Write as _;

use http_body_util::Full;
use hyper::{
    HeaderMap, Request, StatusCode,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, HeaderName, HeaderValue, VARY},
};

use super::{
    Check, Facts, Verdict, encoding,
    reply::{self, Methods, Reply},
};
use crate::export::gzip::gzip;

/// Answers one request; its body is not looked at.
pub(super) async fn answer<B>(facts: &dyn Facts, request: &Request<B>) -> Reply {
    let path = request.uri().path();
    if !["/metrics", "/startupz", "/livez", "/readyz"].contains(&path) {
        return reply::text(StatusCode::NOT_FOUND, "here are /metrics, /startupz, /livez and /readyz\n");
    }
    if let Some(refusal) = Methods::Read.refuse(request.method()) {
        return refusal;
    }
    match path {
        "/metrics" => metrics(facts, request.headers()).await,
        "/startupz" => brief(request.uri().query(), &facts.started()),
        "/livez" => brief(request.uri().query(), &facts.live()),
        _ => report(&facts.ready()),
    }
}

/// `ok`, unless more is asked for or there is more to say.
fn brief(query: Option<&str>, checks: &[Check]) -> Reply {
    let is_verbose = query.is_some_and(|query| query.split('&').any(is_verbose));
    let all_hold = checks.iter().all(|check| check.verdict != Verdict::Failed);
    if all_hold && !is_verbose { reply::text(StatusCode::OK, "ok\n") } else { report(checks) }
}

fn is_verbose(parameter: &str) -> bool {
    parameter.split('=').next() == Some("verbose")
}

/// One line a check, then the verdict.
fn report(checks: &[Check]) -> Reply {
    let mut body = String::new();
    for Check { name, verdict, detail } in checks {
        let verdict = match verdict {
            Verdict::Ok => "ok",
            Verdict::Degraded => "degraded",
            Verdict::Failed => "failed",
        };
        let separator = if detail.is_empty() { "" } else { ": " };
        let _ = writeln!(body, "{name} {verdict}{separator}{detail}");
    }
    let all_hold = checks.iter().all(|check| check.verdict != Verdict::Failed);
    body.push_str(if all_hold { "ok\n" } else { "failed\n" });
    reply::text(if all_hold { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, body)
}

async fn metrics(facts: &dyn Facts, headers: &HeaderMap) -> Reply {
    let (content_type, body) = facts.metrics(&all(headers, ACCEPT)).await;
    let Ok(content_type) = HeaderValue::try_from(content_type) else {
        return reply::text(StatusCode::INTERNAL_SERVER_ERROR, "the exposition has no content type\n");
    };
    let gzip = encoding::takes_gzip(&all(headers, ACCEPT_ENCODING)).then(|| gzip(&body));
    let mut reply = match gzip {
        Some(Ok(compressed)) => {
            let mut reply = reply::of(StatusCode::OK, content_type, Full::new(compressed));
            reply.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            reply
        }
        Some(Err(_)) | None => reply::of(StatusCode::OK, content_type, Full::new(body)),
    };
    reply.headers_mut().insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
    reply
}

/// A list header as one text (RFC 9110 section 5.3); what is not ASCII asks for nothing.
fn all(headers: &HeaderMap, name: HeaderName) -> String {
    let values: Vec<_> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    values.join(", ")
}
