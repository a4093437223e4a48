//! One exchange in words: what its span says, and whoever shows single exchanges.

use std::borrow::Cow;
use std::net::IpAddr;

use super::family::{self, Called, Spoken, Word};
use super::http::{self, ErrorType, Host};
use super::reason::Verdict;
use super::{Attributes, key};
use crate::model::{Connection, Exchange, Headers, Http, Method, Role};

/// An exchange, in the conventions' words.
#[derive(Clone, Debug, PartialEq)]
pub struct Worded {
    /// The observed end.
    pub role: Role,
    /// What its span is called.
    pub name: Cow<'static, str>,
    /// What was asked for: a method, a call's method, a statement's summary, a type of record.
    pub operation: Option<Cow<'static, str>>,
    /// What the server answered: a code or its name.
    pub status: Option<Cow<'static, str>>,
    /// `error.type`, and in a sentence why it is that.
    pub error: Option<(String, Cow<'static, str>)>,
    /// Bytes of the request and of the response, as the protocol counts them: of HTTP those of the bodies.
    pub bytes: [Option<u64>; 2],
    /// Attributes of its span, those of both ends too.
    pub attributes: Attributes,
    /// Headers that the configuration names: attribute and values.
    pub headers: Vec<(String, Vec<String>)>,
}

impl Worded {
    /// The words of an exchange.
    #[must_use]
    pub fn new(connection: &Connection, exchange: &Exchange) -> Worded {
        let role = http::role(connection);
        match (family::called(connection, exchange), family::spoken(connection, exchange)) {
            (Ok(called), Ok(spoken)) => of_family(role, connection, exchange, called, spoken),
            (Err(http), _) | (_, Err(http)) => of_http(role, connection, exchange, http),
        }
    }
}

fn of_http(role: Role, connection: &Connection, exchange: &Exchange, http: &Http) -> Worded {
    let error = ErrorType::of(role, exchange.outcome, http);
    let original = http.method_original.as_deref().map(|original| original.to_owned().into());
    Worded {
        role,
        name: name(http),
        operation: Some(original.unwrap_or(http::method(http::known(http)).into())),
        status: http.status.map(|status| status.to_string().into()),
        error: error.map(|error| (error.text().into_owned(), error.why(role))),
        bytes: [http.request_body, http.response_body],
        attributes: attributes(role, connection, http, error),
        headers: headers(http),
    }
}

fn of_family(
    role: Role,
    connection: &Connection,
    exchange: &Exchange,
    called: Called<'_>,
    spoken: Spoken<'_>,
) -> Worded {
    let Called { duration, words, error, .. } = called;
    let Spoken { name, operation, status, attributes: own, bytes } = spoken;
    let word = |(key, word): (&&'static str, &Option<Word<'_>>)| Some((*key, word.as_ref()?.value()));
    let mut attributes: Attributes = duration.attributes.iter().zip(&words).filter_map(word).collect();
    // Those of both ends are the same for all families.
    attributes.retain(|(key, _)| {
        ![key::SERVER_ADDRESS, key::SERVER_PORT, key::PEER_ADDRESS, key::PEER_PORT].contains(key)
    });
    // What metrics sum up has its own name here.
    attributes.retain(|(key, _)| own.iter().all(|(own, _)| own != key));
    attributes.extend(own);
    let named = exchange.http().map(|http| (http.host.as_deref(), http.port));
    let (host, port) = named.unwrap_or_default();
    let (host, port) = http::server_named(connection, host, port);
    if role == Role::Server {
        attributes.push((key::CLIENT_ADDRESS, peer(connection).into()));
    }
    ends(connection, text(host), port, &mut attributes);
    let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
    Worded {
        role,
        name: owned(name),
        operation: operation.map(owned),
        status: status.map(owned),
        error: error.map(|error| (error.text.into_owned(), error.why)),
        bytes,
        attributes,
        headers: exchange.http().map(headers).unwrap_or_default(),
    }
}

/// The server, the other end, and what was decided of the connection.
fn ends(connection: &Connection, address: String, port: u16, out: &mut Attributes) {
    out.push((key::SERVER_ADDRESS, address.into()));
    out.push((key::SERVER_PORT, port.into()));
    out.push((key::PEER_ADDRESS, peer(connection).into()));
    out.push((key::PEER_PORT, connection.peer().port().into()));
    if let Some(steered) = &connection.steered {
        out.push((key::VERDICT, Verdict::from(steered.verdict).word().into()));
        out.extend(steered.service.as_ref().map(|service| (key::SERVICE, service.to_string().into())));
    }
}

fn peer(connection: &Connection) -> String {
    connection.peer().ip().to_canonical().to_string()
}

fn text(host: Host<'_>) -> String {
    match host {
        Host::Name(name) => name.to_owned(),
        Host::Ip(ip) => ip.to_string(),
    }
}

fn name(http: &Http) -> Cow<'static, str> {
    let method = match http::known(http) {
        Method::Other => "HTTP",
        known => http::method(known),
    };
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
    let path = http.path.as_deref();

    let mut out: Attributes =
        vec![(key::METHOD, http::method(http::known(http)).into()), (key::URL_SCHEME, http::SCHEME.into())];
    let original = http.method_original.as_deref();
    out.extend(original.map(|original| (key::METHOD_ORIGINAL, original.to_owned().into())));
    match role {
        // Required of clients, who have no `url.path`; the query is never kept.
        Role::Client => {
            out.extend(path.map(|path| (key::URL_FULL, url(&host, port, path).into())));
        }
        Role::Server => {
            out.extend(path.map(|path| (key::URL_PATH, path.to_owned().into())));
            out.push((key::CLIENT_ADDRESS, peer(connection).into()));
        }
    }
    out.extend(http.route.as_ref().map(|route| (key::ROUTE, route.pattern.to_string().into())));
    out.extend(http.status.map(|status| (key::STATUS, status.into())));
    out.extend(error.map(|error| (key::ERROR_TYPE, error.text().into())));
    out.push((key::PROTOCOL_VERSION, http::version(http.version).into()));
    ends(connection, text(host), port, &mut out);
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
