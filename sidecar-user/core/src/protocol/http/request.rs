//! What a request says of itself, whichever version of HTTP it is written in.

use super::authority::{Target, host_and_port};
use super::b3::B3;
use super::{otlp, traceparent, tracestate};
use crate::model::{Headers, Http, HttpVersion, Method, TraceContext};
use crate::protocol::Keep;

/// Bytes of a method that nobody knows; longer than any in IANA's registry.
pub(in crate::protocol) const METHOD_MAX: usize = 64;

/// A request's words, as they were sent.
#[derive(Debug, Default)]
pub(in crate::protocol) struct Words<'a> {
    pub(in crate::protocol) method: Option<&'a str>,
    pub(in crate::protocol) target: Option<&'a str>,
    /// `:authority`, which stands where a target of HTTP/1 may have one.
    pub(in crate::protocol) authority: Option<&'a [u8]>,
    pub(in crate::protocol) host: Option<&'a [u8]>,
    /// `traceparent`, if there is exactly one: two are none (W3C Trace Context section 3.2.2).
    pub(in crate::protocol) parent: Option<&'a [u8]>,
    /// All lines of `tracestate`.
    pub(in crate::protocol) states: &'a [&'a [u8]],
    pub(in crate::protocol) b3: B3<'a>,
    pub(in crate::protocol) content_type: Option<&'a [u8]>,
}

/// What an exchange has of them.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::protocol) struct Facts {
    pub(in crate::protocol) http: Http,
    pub(in crate::protocol) trace: Option<Box<TraceContext>>,
    /// Its path is to be left out.
    pub(in crate::protocol) is_excluded: bool,
}

impl Words<'_> {
    /// The facts; `captured` are the headers that are asked for by name.
    pub(in crate::protocol) fn facts(&self, version: HttpVersion, keep: &Keep, captured: Headers) -> Facts {
        let method = self.method.map(method);
        // Where the method is unknown, a target is taken for what all methods but CONNECT have.
        let target = self.target.map(|target| Target::new(method.unwrap_or(Method::Other), target));
        let Target { authority, path } = target.unwrap_or(Target { authority: None, path: None });
        let authority = self.authority.or(authority.map(str::as_bytes)).or(self.host).unwrap_or_default();
        let (host, port) = host_and_port(authority);
        let parent = self.parent.and_then(traceparent::parse);
        let trace = match parent {
            Some(parent) => Some(TraceContext { parent, state: tracestate::list(self.states) }),
            None if keep.b3 => self.b3.parent().map(|parent| TraceContext { parent, state: None }),
            None => None,
        };
        let http = Http {
            method,
            method_original: self.method.filter(|_| method == Some(Method::Other)).map(original),
            version,
            status: None,
            host,
            port,
            path: path.filter(|_| keep.paths).map(Box::from),
            route: None,
            request_headers: captured,
            response_headers: Headers::new(),
            exports: method.and_then(|method| otlp::exported(method, path, self.content_type)),
            request_body: None,
            response_body: None,
            is_doubtful: false,
        };
        let is_excluded = path.is_some_and(|path| keep.excluded.iter().any(|pattern| pattern.matches(path)));
        Facts { http, trace: trace.map(Box::new), is_excluded }
    }
}

fn original(method: &str) -> Box<str> {
    method[..method.floor_char_boundary(METHOD_MAX)].into()
}

/// Methods are case-sensitive (RFC 9110 section 9.1).
pub(in crate::protocol) fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "HEAD" => Method::Head,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "PATCH" => Method::Patch,
        "OPTIONS" => Method::Options,
        "CONNECT" => Method::Connect,
        "TRACE" => Method::Trace,
        "QUERY" => Method::Query,
        _ => Method::Other,
    }
}
