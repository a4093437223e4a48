//! One exchange in one line, as JSON or as text: what `replay` prints and `tap` shows. Not for what an exchange is called
//! (that is [`Worded`]'s), and not for series.
//!
//! Keys that both forms have, in this order; what is not known is not there: `protocol`, `client.address`, `client.port`,
//! `server.address`, `server.port`, `operation`, `status`, `error.type`, `start_unix_nano`, `duration_ns`,
//! `request.bytes`, `response.bytes`, `attributes`.

mod filter;
mod text;

pub use filter::{CONDITIONS, Filter, duration};
pub use text::{escape, is_hostile, quoted};

use std::{borrow::Cow, fmt::Write as _, net::IpAddr, time::Duration};

use crate::{
    model::{Connection, Detail, Exchange, Role},
    signal::{UnixNanos, Value, Worded, key},
};

/// An exchange, in the words of its line.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The observed end. It has no key: who wants to know looks at whose address is the application's.
    pub role: Role,
    /// A row of the protocols' table; of remote procedure calls their system.
    pub protocol: Cow<'static, str>,
    /// What was asked for.
    pub operation: Option<Cow<'static, str>>,
    /// What the server answered.
    pub status: Option<Cow<'static, str>>,
    /// `error.type`.
    pub error: Option<String>,
    /// Path of an HTTP request.
    pub path: Option<Box<str>>,
    /// When its first byte passed; `None`: nobody noted times.
    pub started: Option<UnixNanos>,
    /// From there to its end.
    pub took: Option<Duration>,
    /// Whom the application talks to.
    pub peer: IpAddr,
    client: (String, u16),
    server: (String, u16),
    bytes: [Option<u64>; 2],
    /// Sorted by key.
    attributes: Vec<(Cow<'static, str>, Attribute)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Attribute {
    One(Value),
    /// A header's values.
    All(Vec<String>),
}

/// Attributes that are keys of their own.
const OWN: [&str; 5] =
    [key::CLIENT_ADDRESS, CLIENT_PORT, key::SERVER_ADDRESS, key::SERVER_PORT, key::ERROR_TYPE];
const CLIENT_PORT: &str = "client.port";
/// Attributes that text leaves out: `operation` and `status` say the same.
const SAID: [&str; 9] = [
    key::METHOD,
    key::METHOD_ORIGINAL,
    key::STATUS,
    key::RPC_METHOD,
    key::RPC_STATUS,
    key::DB_SUMMARY,
    key::DB_OPERATION,
    key::DB_STATUS,
    key::DNS_TYPE,
];
/// The same of the two ends' addresses.
const ENDS: [&str; 4] = [key::PEER_ADDRESS, key::PEER_PORT, LOCAL_ADDRESS, LOCAL_PORT];
/// Address and port of the application's end, where `server.address` may be a name.
const LOCAL_ADDRESS: &str = "network.local.address";
const LOCAL_PORT: &str = "network.local.port";

impl Told {
    /// An exchange of a connection that speaks `protocol`. `offset` is what makes Unix time of the kernel's; `None`: its
    /// times say nothing.
    #[must_use]
    pub fn new(
        connection: &Connection,
        protocol: &'static str,
        exchange: &Exchange,
        offset: Option<u64>,
    ) -> Told {
        let Worded { role, operation, status, error, bytes, attributes, headers, .. } =
            Worded::new(connection, exchange);
        let server = connection.server();
        let find = |wanted: &str| attributes.iter().find(|(key, _)| *key == wanted).map(|(_, value)| value);
        let host = find(key::SERVER_ADDRESS)
            .map_or_else(|| server.ip().to_canonical().to_string(), Value::to_string);
        let port = match find(key::SERVER_PORT) {
            Some(Value::Int(port)) => u16::try_from(*port).unwrap_or(server.port()),
            _ => server.port(),
        };
        let client = if role == Role::Server { connection.peer() } else { connection.local };
        let protocol = match (&exchange.detail, find(key::RPC_SYSTEM)) {
            (Detail::Rpc(_), Some(system)) => system.to_string().into(),
            _ => protocol.into(),
        };
        let mut attributes: Vec<(Cow<'static, str>, Attribute)> = attributes
            .into_iter()
            .filter(|(key, _)| !OWN.contains(key))
            .map(|(key, value)| (key.into(), Attribute::One(value)))
            .collect();
        if role == Role::Server {
            let local = connection.local.ip().to_canonical().to_string();
            attributes.push((LOCAL_ADDRESS.into(), Attribute::One(local.into())));
            attributes.push((LOCAL_PORT.into(), Attribute::One(connection.local.port().into())));
        }
        attributes.extend(headers.into_iter().map(|(name, values)| (name.into(), Attribute::All(values))));
        attributes.sort_by(|(a, _), (b, _)| a.cmp(b));
        Told {
            role,
            protocol,
            operation,
            status,
            error: error.map(|(error, _)| error),
            path: exchange.http().and_then(|http| http.path.clone()),
            started: offset.map(|offset| UnixNanos(exchange.started.0.saturating_add(offset))),
            took: offset.map(|_| exchange.ended.since(exchange.started)),
            peer: connection.peer().ip(),
            client: (client.ip().to_canonical().to_string(), client.port()),
            server: (host, port),
            bytes,
            attributes,
        }
    }

    /// One JSON object in one line, without its end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = String::from("{");
        for (key, field) in self.fields() {
            text::member(&mut out, key, &field.json());
        }
        let mut inner = String::from("{");
        for (key, attribute) in &self.attributes {
            text::member(&mut inner, key, &attribute.json());
        }
        inner.push('}');
        text::member(&mut out, "attributes", &inner);
        out.push('}');
        out
    }

    /// `key=value`, in one line, without its end. Attributes that repeat what stands before them are left out.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        let mut add = |key: &str, value: &str| {
            let space = if out.is_empty() { "" } else { " " };
            // A `String` takes whatever is written.
            let _ = write!(out, "{space}{}={}", escape(key), quoted(value));
        };
        for (key, field) in self.fields() {
            add(key, &field.text());
        }
        for (key, attribute) in
            self.attributes.iter().filter(|(key, attribute)| !self.is_said(key, attribute))
        {
            add(key, &attribute.text());
        }
        out
    }

    fn fields(&self) -> impl Iterator<Item = (&'static str, Field<'_>)> {
        let number = |name: &'static str, n: Option<u64>| n.map(|n| (name, Field::Number(n)));
        let took = self.took.map(|took| u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        [
            Some(("protocol", Field::Text(&self.protocol))),
            Some((key::CLIENT_ADDRESS, Field::Text(&self.client.0))),
            number(CLIENT_PORT, Some(self.client.1.into())),
            Some((key::SERVER_ADDRESS, Field::Text(&self.server.0))),
            number(key::SERVER_PORT, Some(self.server.1.into())),
            self.operation.as_deref().map(|value| ("operation", Field::Text(value))),
            self.status.as_deref().map(|value| ("status", Field::Text(value))),
            self.error.as_deref().map(|value| (key::ERROR_TYPE, Field::Text(value))),
            number("start_unix_nano", self.started.map(|started| started.0)),
            number("duration_ns", took),
            number("request.bytes", self.bytes[0]),
            number("response.bytes", self.bytes[1]),
        ]
        .into_iter()
        .flatten()
    }

    fn is_said(&self, key: &str, attribute: &Attribute) -> bool {
        let said = [self.operation.as_deref(), self.status.as_deref()];
        let text = attribute.text();
        SAID.contains(&key) && said.contains(&Some(&*text))
            || ENDS.contains(&key)
                && [&self.client, &self.server].iter().any(|(address, port)| {
                    if key.ends_with("port") { *text == port.to_string() } else { *text == *address }
                })
    }
}

enum Field<'a> {
    Text(&'a str),
    Number(u64),
}

impl Field<'_> {
    fn json(&self) -> String {
        match self {
            Field::Text(value) => text::json(value),
            Field::Number(n) => n.to_string(),
        }
    }

    fn text(&self) -> Cow<'_, str> {
        match self {
            Field::Text(text) => Cow::Borrowed(text),
            Field::Number(n) => n.to_string().into(),
        }
    }
}

impl Attribute {
    fn json(&self) -> String {
        match self {
            Attribute::One(Value::Str(value)) => text::json(value),
            Attribute::One(value) => value.to_string(),
            Attribute::All(values) => {
                let values: Vec<_> = values.iter().map(|value| text::json(value)).collect();
                format!("[{}]", values.join(","))
            }
        }
    }

    fn text(&self) -> Cow<'_, str> {
        match self {
            Attribute::One(Value::Str(value)) => Cow::Borrowed(value),
            Attribute::One(value) => value.to_string().into(),
            Attribute::All(values) => values.join(", ").into(),
        }
    }
}

#[cfg(test)]
mod tests;
