//! Building answers, the same way on both listeners.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Response, StatusCode,
    header::{self, HeaderValue},
};
use serde_json::{Value, json};

/// An answer; its body is in memory.
pub(super) type Reply = Response<Full<Bytes>>;

/// Plain text.
pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    of(status, HeaderValue::from_static("text/plain; charset=utf-8"), body.into())
}

/// JSON.
pub(super) fn json(status: StatusCode, body: &Value) -> Reply {
    of(status, HeaderValue::from_static("application/json"), format!("{body}\n").into())
}

/// JSON that says what is wrong.
pub(super) fn refusal(status: StatusCode, error: &str) -> Reply {
    json(status, &json!({ "error": error }))
}

/// Any body. Answers are of this moment and are what they say they are.
pub(super) fn of(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

/// Which methods a resource has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Methods {
    /// GET, and HEAD with it (RFC 9110 section 9.1).
    Read,
    /// PUT too.
    ReadAndPut,
}

impl Methods {
    /// 405 with `Allow` for the others (RFC 9110 section 15.5.6).
    pub(super) fn refuse(self, method: &Method) -> Option<Reply> {
        let is_read = method == Method::GET || method == Method::HEAD;
        if is_read || (self == Self::ReadAndPut && method == Method::PUT) {
            return None;
        }
        let allow = if self == Self::Read { "GET, HEAD" } else { "GET, HEAD, PUT" };
        let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {allow}\n"));
        reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
        Some(reply)
    }
}
