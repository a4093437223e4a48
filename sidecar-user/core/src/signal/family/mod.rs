//! Families of the semantic conventions besides HTTP: what an exchange of each is called in metrics and spans. One file a
//! family; what is common to all is in [`Called`].

mod db;
mod dns;
mod rpc;
mod tls;
mod websocket;

use std::borrow::Cow;
use std::net::IpAddr;

use super::Value;
use super::http::{self, ErrorType, Host};
use crate::model::{Connection, Detail, Exchange, Http, MetricDef, Outcome, Role};

/// Metrics of durations, by [`Role`]; one pair a family.
pub(super) const DURATIONS: [&[&MetricDef; 2]; 5] =
    [&rpc::DURATION, &db::DURATION, &dns::DURATION, &tls::DURATION, &websocket::DURATION];

/// Errors that only a family has: value and meaning.
pub(super) fn errors(def: &'static MetricDef) -> Option<(&'static str, Vec<(String, String)>)> {
    let is_of = |defs: &[&'static MetricDef; 2]| defs.iter().any(|one| std::ptr::eq(*one, def));
    let role =
        if std::ptr::eq(def, rpc::DURATION[Role::Server as usize]) { Role::Server } else { Role::Client };
    match () {
        () if is_of(&rpc::DURATION) && role == Role::Server => Some(("servers of calls", rpc::errors(role))),
        () if is_of(&rpc::DURATION) => Some(("clients of calls", rpc::errors(role))),
        () if is_of(&db::DURATION) => Some(("operations of databases", db::errors())),
        () if is_of(&dns::DURATION) => Some(("lookups", dns::errors())),
        () if is_of(&tls::DURATION) => Some(("handshakes", tls::errors())),
        () if is_of(&websocket::DURATION) => Some(("WebSocket sessions", websocket::errors())),
        () => None,
    }
}

/// What a metric's attribute is, before it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word<'a> {
    /// Text.
    Text(Cow<'a, str>),
    /// A number.
    Number(u16),
    /// A flag.
    Flag(bool),
    /// An address.
    Ip(IpAddr),
}

impl<'a> Word<'a> {
    fn text(text: impl Into<Cow<'a, str>>) -> Option<Self> {
        Some(Word::Text(text.into()))
    }

    pub(super) fn value(&self) -> Value {
        match self {
            Word::Text(text) => text.clone().into_owned().into(),
            Word::Number(number) => (*number).into(),
            Word::Flag(flag) => Value::Bool(*flag),
            Word::Ip(ip) => ip.to_string().into(),
        }
    }
}

/// Most attributes that a family's metrics have, besides whose they are.
pub(super) const MAX_WORDS: usize = 11;
/// Values in the order of a metric's attributes.
pub(super) type Words<'a> = [Option<Word<'a>>; MAX_WORDS];

/// What an exchange of a family is called.
#[derive(Debug)]
pub(super) struct Called<'a> {
    /// The metric of its duration.
    pub(super) duration: &'static MetricDef,
    /// Another metric with the same attributes, and what it measures.
    pub(super) also: Option<(&'static MetricDef, f64)>,
    /// Values of `duration`'s attributes, but for whose they are.
    pub(super) words: Words<'a>,
    /// `error.type`, and why it is that.
    pub(super) error: Option<Error<'a>>,
}

/// Why an exchange is an error.
#[derive(Clone, Debug)]
pub(super) struct Error<'a> {
    /// `error.type`.
    pub(super) text: Cow<'a, str>,
    /// In a sentence.
    pub(super) why: Cow<'static, str>,
}

impl<'a> Error<'a> {
    fn new(text: impl Into<Cow<'a, str>>, why: &'static str) -> Self {
        Error { text: text.into(), why: Cow::Borrowed(why) }
    }

    /// By how it ended; `None` where that was in order.
    fn of(outcome: Outcome, role: Role) -> Option<Self> {
        let error = (outcome != Outcome::Complete).then_some(ErrorType::Ended(outcome))?;
        Some(Error { text: error.text(), why: error.why(role) })
    }
}

/// What only its span, and whoever reads of single exchanges, is told.
#[derive(Debug)]
pub(super) struct Spoken<'a> {
    /// The span's name.
    pub(super) name: Cow<'a, str>,
    /// What was asked for.
    pub(super) operation: Option<Cow<'a, str>>,
    /// What the server answered, by code or name.
    pub(super) status: Option<Cow<'a, str>>,
    /// Attributes besides those of the metric.
    pub(super) attributes: Vec<(&'static str, Value)>,
    /// Bytes of the request and of the response, as the family counts them.
    pub(super) bytes: [Option<u64>; 2],
}

/// The observed end of an exchange.
#[derive(Clone, Copy)]
struct End<'a> {
    role: Role,
    connection: &'a Connection,
    exchange: &'a Exchange,
}

impl<'a> End<'a> {
    /// Address and port of the server, and of the endpoint where one was chosen: what a client's metrics have of it. Nothing of
    /// a server.
    fn server(self, host: Option<&'a str>, port: Option<u16>) -> [Option<Word<'a>>; 4] {
        if self.role == Role::Server {
            return [const { None }; 4];
        }
        let (host, port) = http::server_named(self.connection, host, port);
        let address = match host {
            Host::Name(name) => Word::text(name),
            Host::Ip(ip) => Some(Word::Ip(ip)),
        };
        let endpoint = self.connection.steered.as_ref().and_then(|steered| steered.endpoint);
        [
            address,
            Some(Word::Number(port)),
            endpoint.map(|endpoint| Word::Ip(endpoint.ip().to_canonical())),
            endpoint.map(|endpoint| Word::Number(endpoint.port())),
        ]
    }

    /// The words of a metric: `own`, then those of the server.
    fn words<const N: usize>(self, own: [Option<Word<'a>>; N], server: [Option<Word<'a>>; 4]) -> Words<'a> {
        let mut words = own.into_iter().chain(server);
        std::array::from_fn(|_| words.next().flatten())
    }
}

/// What is said of a single exchange; what HTTP says of it where it is that.
pub(super) fn spoken<'a>(connection: &'a Connection, exchange: &'a Exchange) -> Result<Spoken<'a>, &'a Http> {
    let role = http::role(connection);
    Ok(match &exchange.detail {
        Detail::Http(http) => return Err(http),
        Detail::Rpc(rpc) => rpc::spoken(role, rpc),
        Detail::Db(db) => db::spoken(db),
        Detail::Dns(dns) => dns::spoken(dns),
        Detail::Tls(tls) => tls::spoken(tls),
        Detail::WebSocket(socket) => websocket::spoken(role, socket),
    })
}

/// What an exchange is called; what HTTP says of it where it is that.
pub(super) fn called<'a>(connection: &'a Connection, exchange: &'a Exchange) -> Result<Called<'a>, &'a Http> {
    let end = End { role: http::role(connection), connection, exchange };
    Ok(match &exchange.detail {
        Detail::Http(http) => return Err(http),
        Detail::Rpc(rpc) => rpc::called(end, rpc),
        Detail::Db(db) => db::called(end, db),
        Detail::Dns(dns) => dns::called(end, dns),
        Detail::Tls(tls) => tls::called(end, tls),
        Detail::WebSocket(socket) => websocket::called(end, socket),
    })
}
