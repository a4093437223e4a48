//! `/connections`, `/explain`, `/top`, `/tap`, `/record`, `/config`, `/log`: what the operator asks and changes. Changes are PUT with JSON, which
//! no web form can send; `guard` has looked at the request before.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes},
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde::Deserialize;
use serde_json::json;
use sidecar_core::config::Level;

use super::{
    Facts, Lines, NoTap,
    reply::{self, Methods, Reply},
};

/// Where answers go on: exchanges as they end, what passes as it passes.
pub(super) const GOES_ON: [&str; 2] = [TAP, "/record"];
const TAP: &str = "/tap";
/// Connections that are listed unless the query says how many.
const LINES: usize = 1000;
/// Most that a query may ask for.
const LINES_MAX: usize = 10_000;

/// Bytes that a request's body may have.
const BODY_MAX: usize = 64 << 10;

/// Time that a request's body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Body of `PUT /log`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Log {
    level: Level,
}

/// Answers one request.
pub(super) async fn answer<B>(facts: &dyn Facts, request: Request<B>) -> Reply
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let methods = match request.uri().path() {
        "/connections" | "/config" | "/explain" | "/top" => Methods::Read,
        "/log" => Methods::ReadAndPut,
        _ => {
            return reply::refusal(
                StatusCode::NOT_FOUND,
                "here are /connections, /explain, /top, /tap, /record, /config and /log",
            );
        }
    };
    if let Some(refusal) = methods.refuse(request.method()) {
        return refusal;
    }
    match request.uri().path() {
        "/connections" => connections(facts, request.uri().query().unwrap_or_default()).await,
        "/explain" => explain(facts, &request).await,
        "/top" => reply::json(StatusCode::OK, &facts.top().await),
        "/config" => reply::json(StatusCode::OK, &facts.config()),
        _ if request.method() == Method::PUT => set_log(facts, request).await,
        _ => log(facts),
    }
}

async fn connections(facts: &dyn Facts, query: &str) -> Reply {
    let limit = match limit(query) {
        Ok(limit) => limit,
        Err(why) => return reply::refusal(StatusCode::BAD_REQUEST, &why),
    };
    let (listed, total) = facts.connections(limit).await;
    let is_cut = HeaderValue::from_static(if listed.len() < total { "true" } else { "false" });
    let mut reply = reply::json(StatusCode::OK, &listed.into());
    reply.headers_mut().insert("sidecar-connections-total", total.into());
    reply.headers_mut().insert("sidecar-connections-cut", is_cut);
    reply
}

/// How many connections a query asks for; it may ask for nothing else.
fn limit(query: &str) -> Result<usize, String> {
    let mut limit = LINES;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let n = pair.strip_prefix("limit=").ok_or_else(|| format!("`{pair}`: there is only limit=N"))?;
        let n = n.parse().ok().filter(|n| (1..=LINES_MAX).contains(n));
        limit = n.ok_or_else(|| format!("limit: a number from 1 to {LINES_MAX}"))?;
    }
    Ok(limit)
}

async fn explain<B>(facts: &dyn Facts, request: &Request<B>) -> Reply {
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match facts.explain(request.uri().query().unwrap_or_default(), accept).await {
        Ok((content_type, body)) => {
            reply::of(StatusCode::OK, HeaderValue::from_static(content_type), Full::new(body))
        }
        Err(why) => reply::refusal(StatusCode::BAD_REQUEST, &why),
    }
}

/// `/tap` and `/record`: an answer without an end, or why there is none.
pub(super) async fn go_on<B>(facts: &dyn Facts, request: &Request<B>) -> Result<Response<Lines>, Reply> {
    if let Some(refusal) = Methods::Get.refuse(request.method()) {
        return Err(refusal);
    }
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let query = request.uri().query().unwrap_or_default();
    let answer = match request.uri().path() {
        TAP => facts.tap(query, accept).await,
        _ => facts.record(query).await,
    };
    match answer {
        Ok((content_type, lines)) => {
            Ok(reply::of(StatusCode::OK, HeaderValue::from_static(content_type), lines))
        }
        Err(NoTap::Query(why)) => Err(reply::refusal(StatusCode::BAD_REQUEST, &why)),
        Err(NoTap::Busy(why)) => Err(reply::refusal(StatusCode::SERVICE_UNAVAILABLE, &why)),
    }
}

fn log(facts: &dyn Facts) -> Reply {
    reply::json(StatusCode::OK, &json!({ "level": facts.log_level().as_str() }))
}

async fn set_log<B>(facts: &dyn Facts, request: Request<B>) -> Reply
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let body = match json_body(request).await {
        Ok(body) => body,
        Err((status, error)) => return reply::refusal(status, error),
    };
    let wanted: Log = match serde_json::from_slice(&body) {
        Ok(wanted) => wanted,
        Err(error) => return reply::refusal(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match facts.set_log_level(wanted.level) {
        Ok(()) => log(facts),
        Err(why) => reply::refusal(StatusCode::CONFLICT, &why),
    }
}

/// The body of a change: JSON by its own word, bounded in bytes and time.
async fn json_body<B>(request: Request<B>) -> Result<Bytes, (StatusCode, &'static str)>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if !is_json(request.headers()) {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "the content type must be application/json"));
    }
    if request.body().size_hint().lower() > BODY_MAX as u64 {
        return Err((StatusCode::PAYLOAD_TOO_LARGE, "the body has more than 64 KiB"));
    }
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(request.into_body(), BODY_MAX).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err((StatusCode::PAYLOAD_TOO_LARGE, "the body has more than 64 KiB"))
        }
        Ok(Err(_)) => Err((StatusCode::BAD_REQUEST, "the body ended early")),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the body took longer than 10 s")),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    given.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
}
