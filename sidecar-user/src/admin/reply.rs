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
    of(status, HeaderValue::from_static("text/plain; charset=utf-8"), Full::new(body.into()))
}

/// JSON.
pub(super) fn json(status: StatusCode, body: &Value) -> Reply {
    of(status, HeaderValue::from_static("application/json"), Full::new(format!("{body}\n").into()))
}

/// JSON that says what is wrong.
pub(super) fn refusal(status: StatusCode, error: &str) -> Reply {
    json(status, &json!({ "error": error }))
}

/// Any body. Answers are of this moment and are what they say they are.
pub(super) fn of<B>(status: StatusCode, content_type: HeaderValue, body: B) -> Response<B> {
    let mut reply = Response::new(body);
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
    /// GET only: what has no end has no head alone.
    Get,
    /// GET, and HEAD with it (RFC 9110 section 9.1).
    Read,
    /// PUT too.
    ReadAndPut,
}

impl Methods {
    /// 405 with `Allow` for the others (RFC 9110 section 15.5.6).
    pub(super) fn refuse(self, method: &Method) -> Option<Reply> {
        let (allow, is_allowed) = match self {
            Self::Get => ("GET", method == Method::GET),
            Self::Read => ("GET, HEAD", method == Method::GET || method == Method::HEAD),
            Self::ReadAndPut => ("GET, HEAD, PUT", [Method::GET, Method::HEAD, Method::PUT].contains(method)),
        };
        if is_allowed {
            return None;
        }
        let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {allow}\n"));
        reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
        Some(reply)
    }
}
