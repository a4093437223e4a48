//! HTTP in the words of semantic conventions v1.44.0, for metrics and spans alike.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::model::{Connection, Http, HttpVersion, Method, Outcome, Role};

/// `url.scheme` of what could be read without keys.
pub(super) const SCHEME: &str = "http";
/// `network.protocol.name`.
pub(super) const PROTOCOL: &str = "http";

/// All methods, each at its own number.
pub(super) const METHODS: [Method; 11] = [
    Method::Connect,
    Method::Delete,
    Method::Get,
    Method::Head,
    Method::Options,
    Method::Patch,
    Method::Post,
    Method::Put,
    Method::Trace,
    Method::Query,
    Method::Other,
];
const _: () = assert!(Method::Other as usize == METHODS.len() - 1);

/// `http.request.method`.
pub(super) fn method(method: Method) -> &'static str {
    match method {
        Method::Connect => "CONNECT",
        Method::Delete => "DELETE",
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Options => "OPTIONS",
        Method::Patch => "PATCH",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Trace => "TRACE",
        Method::Query => "QUERY",
        Method::Other => "_OTHER",
    }
}

/// `network.protocol.version`.
pub(super) fn version(version: HttpVersion) -> &'static str {
    match version {
        HttpVersion::Http10 => "1.0",
        HttpVersion::Http11 => "1.1",
    }
}

/// `http.response.status_code`: only what RFC 9110 section 15 allows on the wire.
pub(super) fn status(http: &Http) -> Option<u16> {
    http.status.filter(|status| (100..=599).contains(status))
}

/// What the observed end was. A connection whose role nobody knew is taken as `Connection::server` takes it.
pub(super) fn role(connection: &Connection) -> Role {
    connection.role.unwrap_or(Role::Client)
}

/// `error.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ErrorType {
    Status(u16),
    InvalidStatus,
    ResponseTruncated,
    ConnectionClosed,
    ConnectionReset,
    ResponseNotObserved,
    RequestAborted,
}

impl ErrorType {
    /// Why the exchange is an error for `role`, if it is. A status that says so wins over how the bytes ended.
    pub(super) fn of(role: Role, outcome: Outcome, http: &Http) -> Option<ErrorType> {
        let lowest = match role {
            Role::Server => 500,
            Role::Client => 400,
        };
        match (http.status, outcome) {
            (Some(_), _) if status(http).is_none() => Some(ErrorType::InvalidStatus),
            (Some(status), _) if status >= lowest => Some(ErrorType::Status(status)),
            (_, Outcome::Complete) => None,
            (_, Outcome::Truncated) => Some(ErrorType::ResponseTruncated),
            (_, Outcome::Unanswered) => Some(ErrorType::ConnectionClosed),
            (_, Outcome::Reset) => Some(ErrorType::ConnectionReset),
            (_, Outcome::NotObserved) => Some(ErrorType::ResponseNotObserved),
            (_, Outcome::Aborted) => Some(ErrorType::RequestAborted),
        }
    }

    /// In a sentence, why it is that.
    pub(super) fn why(self, role: Role) -> &'static str {
        match (self, role) {
            (ErrorType::Status(_), Role::Server) => "a status of 500 or above is the server's error",
            (ErrorType::Status(_), Role::Client) => "a status of 400 or above is an error to the client",
            (ErrorType::InvalidStatus, _) => "the status is none that HTTP allows (100 to 599)",
            (ErrorType::ResponseTruncated, _) => {
                "the response began, and its connection ended before it was whole"
            }
            (ErrorType::ConnectionClosed, _) => "the connection was closed before a response",
            (ErrorType::ConnectionReset, _) => "the connection was reset before a response",
            (ErrorType::ResponseNotObserved, _) => "the response was not captured: nothing is known of it",
            (ErrorType::RequestAborted, _) => "the client ended the connection before its request was whole",
        }
    }

    /// The attribute's value.
    pub(super) fn text(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            ErrorType::Status(status) => return Cow::Owned(status.to_string()),
            ErrorType::InvalidStatus => "invalid_status",
            ErrorType::ResponseTruncated => "response_truncated",
            ErrorType::ConnectionClosed => "connection_closed",
            ErrorType::ConnectionReset => "connection_reset",
            ErrorType::ResponseNotObserved => "response_not_observed",
            ErrorType::RequestAborted => "request_aborted",
        })
    }
}

/// `server.address`, in one spelling for each address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Host<'a> {
    Name(&'a str),
    Ip(IpAddr),
}

/// The server that the request names, or the one it went to where it names none. No reverse DNS.
pub(super) fn server<'a>(connection: &Connection, http: &'a Http) -> (Host<'a>, u16) {
    let end = connection.server();
    let port = http.port.unwrap_or(end.port());
    let named = http
        .host
        .as_deref()
        .map(|host| host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host));
    let host = match named {
        None | Some("") => Host::Ip(end.ip().to_canonical()),
        Some(name) if looks_like_ip(name) => match name.parse::<IpAddr>() {
            Ok(ip) => Host::Ip(ip.to_canonical()),
            Err(_) => Host::Name(name),
        },
        Some(name) => Host::Name(name),
    };
    (host, port)
}

/// Spares most names the attempt to parse them.
fn looks_like_ip(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_digit()) || name.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ConnectionId, Outcome::*};

    fn http(status: Option<u16>, host: Option<&str>, port: Option<u16>) -> Http {
        Http {
            method: Method::Get,
            method_original: None,
            version: HttpVersion::Http11,
            status,
            host: host.map(Into::into),
            port,
            path: None,
            route: None,
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            parent: None,
            exports: None,
            request_body: Some(0),
            response_body: Some(0),
        }
    }

    #[test]
    fn error_types() {
        // status, outcome => server's, client's
        let cases = [
            (Some(200), Complete, None, None),
            (Some(404), Complete, None, Some("404")),
            (Some(500), Complete, Some("500"), Some("500")),
            (Some(503), Truncated, Some("503"), Some("503")),
            (Some(200), Truncated, Some("response_truncated"), Some("response_truncated")),
            (Some(999), Complete, Some("invalid_status"), Some("invalid_status")),
            (None, Unanswered, Some("connection_closed"), Some("connection_closed")),
            (None, Reset, Some("connection_reset"), Some("connection_reset")),
            (None, NotObserved, Some("response_not_observed"), Some("response_not_observed")),
            (None, Aborted, Some("request_aborted"), Some("request_aborted")),
        ];
        for (status, outcome, server, client) in cases {
            let http = http(status, None, None);
            for (role, expected) in [(Role::Server, server), (Role::Client, client)] {
                let made = ErrorType::of(role, outcome, &http).map(ErrorType::text);
                assert_eq!(made.as_deref(), expected, "{status:?} {outcome:?} {role:?}");
            }
        }
    }

    #[test]
    fn servers() {
        let connection = Connection {
            id: ConnectionId(1),
            role: Some(Role::Client),
            local: ([10, 0, 0, 1], 5000).into(),
            remote: "[::ffff:10.0.0.2]:8080".parse().expect("an address"),
            tgid: 0,
            cgroup: 0,
            joined: false,
        };
        let ip = |text: &str| Host::Ip(text.parse().expect("an address"));
        let cases = [
            (None, None, ip("10.0.0.2"), 8080),
            (Some(""), None, ip("10.0.0.2"), 8080),
            (Some("api.test"), None, Host::Name("api.test"), 8080),
            (Some("api.test"), Some(80), Host::Name("api.test"), 80),
            (Some("10.0.0.9"), Some(80), ip("10.0.0.9"), 80),
            (Some("[::1]"), Some(80), ip("::1"), 80),
            (Some("3com.test"), None, Host::Name("3com.test"), 8080),
        ];
        for (host, port, expected, expected_port) in cases {
            let http = http(None, host, port);
            assert_eq!(server(&connection, &http), (expected, expected_port), "{host:?}");
        }
    }
}
