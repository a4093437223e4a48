//! Spans of HTTP exchanges, by semantic conventions v1.44.0 ("Semantic Conventions for HTTP Spans").

use std::borrow::Cow;
use std::net::IpAddr;

use super::http::{self, ErrorType, Host};
use super::reason::Verdict;
use super::sampling::SAMPLED;
use super::{Attributes, key};
use crate::model::{Connection, Detail, Exchange, Headers, Http, Ktime, Method, Outcome, Role};

/// Ids of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanIds {
    /// The parent's trace, where there is one.
    pub trace: [u8; 16],
    /// Its own id.
    pub span: [u8; 8],
}

/// One exchange as one of its ends saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The method, and the route where it is known. `HTTP` for methods that the conventions do not list.
    pub name: Cow<'static, str>,
    /// The observed end: the span's kind.
    pub role: Role,
    /// Trace id: the parent's, where there is one.
    pub trace: [u8; 16],
    /// Its own id.
    pub id: [u8; 8],
    /// The span that sent the request, across the network.
    pub parent: Option<[u8; 8]>,
    /// `tracestate` that came with the parent; empty for none.
    pub trace_state: Box<str>,
    /// W3C trace flags: the parent's, and `sampled`.
    pub flags: u8,
    /// The request's first byte.
    pub started: Ktime,
    /// The response's last byte, or what ended the exchange instead.
    pub ended: Ktime,
    /// In the conventions' words.
    pub attributes: Attributes,
    /// Headers that the configuration names: attribute and values.
    pub headers: Vec<(String, Vec<String>)>,
    /// Status `Error`, else unset.
    pub error: bool,
}

impl Span {
    /// The span of an exchange that is sampled. `container` is whose it is, where that is told.
    #[must_use]
    pub fn new(connection: &Connection, exchange: &Exchange, ids: SpanIds, container: Option<&str>) -> Span {
        let Detail::Http(http) = &exchange.detail;
        let role = http::role(connection);
        let error = ErrorType::of(role, exchange.outcome, http);
        let mut attributes = attributes(role, connection, http, error);
        attributes.extend(container.map(|name| (key::CONTAINER_NAME, name.to_owned().into())));
        Span {
            name: name(http),
            role,
            trace: ids.trace,
            id: ids.span,
            parent: http.parent.map(|parent| parent.span),
            trace_state: http.trace_state.clone().unwrap_or_default(),
            flags: http.parent.map_or(0, |parent| parent.flags) | SAMPLED,
            started: exchange.started,
            ended: exchange.ended,
            attributes,
            headers: headers(http),
            // That a response was not captured says nothing of the application.
            error: error.is_some() && exchange.outcome != Outcome::NotObserved,
        }
    }
}

fn name(http: &Http) -> Cow<'static, str> {
    let method = if http.method == Method::Other { "HTTP" } else { http::method(http.method) };
    match &http.route {
        Some(route) => format!("{method} {}", route.pattern).into(),
        None => method.into(),
    }
}

const USER_AGENT: &str = "user-agent";

fn headers(http: &Http) -> Vec<(String, Vec<String>)> {
    let of = |message: &'static str, headers: &Headers| -> Vec<(String, Vec<String>)> {
        let named = headers.iter().filter(|(name, _)| **name != *USER_AGENT);
        let values = |values: &[Box<str>]| values.iter().map(|value| value.to_string()).collect();
        named.map(|(name, found)| (format!("http.{message}.header.{name}"), values(found))).collect()
    };
    [of("request", &http.request_headers), of("response", &http.response_headers)].concat()
}

fn attributes(role: Role, connection: &Connection, http: &Http, error: Option<ErrorType>) -> Attributes {
    let (host, port) = http::server(connection, http);
    let address = match host {
        Host::Name(name) => name.to_owned(),
        Host::Ip(ip) => ip.to_string(),
    };
    let peer = connection.peer().ip().to_canonical().to_string();
    let path = http.path.as_deref();

    let mut out: Attributes =
        vec![(key::METHOD, http::method(http.method).into()), (key::URL_SCHEME, http::SCHEME.into())];
    let original = http.method_original.as_deref();
    out.extend(original.map(|original| (key::METHOD_ORIGINAL, original.to_owned().into())));
    match role {
        // Required of clients, who have no `url.path`; the query is never kept.
        Role::Client => {
            out.extend(path.map(|path| (key::URL_FULL, url(&host, port, path).into())));
        }
        Role::Server => {
            out.extend(path.map(|path| (key::URL_PATH, path.to_owned().into())));
            out.push((key::CLIENT_ADDRESS, peer.clone().into()));
        }
    }
    out.extend(http.route.as_ref().map(|route| (key::ROUTE, route.pattern.to_string().into())));
    out.extend(http.status.map(|status| (key::STATUS, status.into())));
    out.extend(error.map(|error| (key::ERROR_TYPE, error.text().into())));
    out.push((key::PROTOCOL_VERSION, http::version(http.version).into()));
    out.push((key::SERVER_ADDRESS, address.into()));
    out.push((key::SERVER_PORT, port.into()));
    out.push((key::PEER_ADDRESS, peer.into()));
    out.push((key::PEER_PORT, connection.peer().port().into()));
    if let Some(steered) = &connection.steered {
        out.push((key::VERDICT, Verdict::from(steered.verdict).word().into()));
        out.extend(steered.service.as_ref().map(|service| (key::SERVICE, service.to_string().into())));
    }
    let agent = http.request_headers.iter().find(|(name, _)| **name == *USER_AGENT);
    out.extend(agent.and_then(|(_, values)| Some((key::USER_AGENT, values.first()?.to_string().into()))));
    out
}

fn url(host: &Host<'_>, port: u16, path: &str) -> String {
    let authority = match host {
        Host::Ip(IpAddr::V6(ip)) => format!("[{ip}]"),
        Host::Ip(ip) => ip.to_string(),
        Host::Name(name) => (*name).to_owned(),
    };
    // A path that is none (`*` of OPTIONS) still wants its slash in a URL.
    let slash = if path.starts_with('/') { "" } else { "/" };
    let scheme = http::SCHEME;
    match port {
        80 => format!("{scheme}://{authority}{slash}{path}"),
        port => format!("{scheme}://{authority}:{port}{slash}{path}"),
    }
}
