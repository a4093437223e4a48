//! HTTP in the words of semantic conventions v1.44.0, for metrics and spans alike.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::model::{Connection, Cut, Http, HttpVersion, Method, Outcome, Role, Side};

/// `url.scheme` of what could be read without keys.
pub(super) const SCHEME: &str = "http";

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

/// The method as metrics have it: what was not seen is none that the conventions list, as is what they do not know.
pub(super) fn known(http: &Http) -> Method {
    http.method.unwrap_or(Method::Other)
}

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
        HttpVersion::Http2 => "2",
    }
}

/// What the observed end was. A connection whose role nobody knew is taken as `Connection::server` takes it.
pub(super) fn role(connection: &Connection) -> Role {
    connection.role.unwrap_or(Role::Client)
}

/// `error.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ErrorType {
    /// The status says it.
    Status(u16),
    /// How the exchange ended says it.
    Ended(Outcome),
}

impl ErrorType {
    /// Why the exchange is an error for `role`, if it is. A status that says so wins over how the bytes ended. One that no
    /// class has, from 600 on, is as good as 500 (RFC 9110 section 15).
    pub(super) fn of(role: Role, outcome: Outcome, http: &Http) -> Option<ErrorType> {
        match (http.status, outcome) {
            (Some(status), _) if status >= lowest(role) => Some(ErrorType::Status(status)),
            (_, Outcome::Complete) => None,
            (_, outcome) => Some(ErrorType::Ended(outcome)),
        }
    }

    /// All that are no status, by name and with what they mean.
    pub(super) fn without_status() -> Vec<(String, String)> {
        let sides = [Side::Client, Side::Server];
        let closed = sides.map(|side| Cut::Closed(Some(side)));
        let cuts = [
            &closed[..],
            &sides.map(Cut::Reset),
            &sides.map(Cut::Stream),
            &[Cut::Closed(None), Cut::Expired],
        ]
        .concat();
        let stages = [Outcome::Aborted, Outcome::Unanswered, Outcome::Truncated];
        let ended = stages.into_iter().flat_map(|stage| cuts.iter().map(move |cut| stage(*cut)));
        let all = ended.chain([Outcome::NotObserved]).map(ErrorType::Ended);
        all.map(|error| (error.text().into_owned(), error.why(Role::Server).into_owned())).collect()
    }

    /// In a sentence, why it is that.
    pub(super) fn why(self, role: Role) -> Cow<'static, str> {
        let (cut, when) = match self {
            ErrorType::Status(_) => {
                return Cow::Borrowed(match role {
                    Role::Server => "a status of 500 or above is the server's error",
                    Role::Client => "a status of 400 or above is an error to the client",
                });
            }
            ErrorType::Ended(Outcome::NotObserved | Outcome::Complete) => {
                return Cow::Borrowed("the response was not captured: nothing is known of it");
            }
            ErrorType::Ended(Outcome::Aborted(cut)) => (cut, "before the request was whole"),
            ErrorType::Ended(Outcome::Unanswered(cut)) => (cut, "before a response began"),
            ErrorType::Ended(Outcome::Truncated(cut)) => {
                (cut, "when the response had begun, before it was whole")
            }
        };
        let what = match cut {
            Cut::Closed(Some(Side::Client)) => "the client closed the connection (its FIN came first)",
            Cut::Closed(Some(Side::Server)) => "the server closed the connection (its FIN came first)",
            Cut::Closed(None) => "the connection was closed, by which side first was not seen,",
            Cut::Reset(Side::Client) => "the client reset the connection (RST)",
            Cut::Reset(Side::Server) => "the server reset the connection (RST)",
            Cut::Stream(Side::Client) => "the client ended the stream (RST_STREAM or GOAWAY)",
            Cut::Stream(Side::Server) => "the server ended the stream (RST_STREAM or GOAWAY)",
            Cut::Expired => "the connection was given up, as nothing was acknowledged any more,",
        };
        Cow::Owned(format!("{what} {when}"))
    }

    /// The attribute's value.
    pub(super) fn text(self) -> Cow<'static, str> {
        let (cut, stage) = match self {
            ErrorType::Status(status) => return Cow::Owned(status.to_string()),
            ErrorType::Ended(Outcome::NotObserved | Outcome::Complete) => {
                return Cow::Borrowed("response_not_observed");
            }
            ErrorType::Ended(Outcome::Aborted(cut)) => (cut, "_in_request"),
            ErrorType::Ended(Outcome::Unanswered(cut)) => (cut, ""),
            ErrorType::Ended(Outcome::Truncated(cut)) => (cut, "_in_response"),
        };
        let what = match cut {
            Cut::Closed(Some(Side::Client)) => "client_closed",
            Cut::Closed(Some(Side::Server)) => "server_closed",
            Cut::Closed(None) => "connection_closed",
            Cut::Reset(Side::Client) => "client_reset",
            Cut::Reset(Side::Server) => "server_reset",
            Cut::Stream(Side::Client) => "client_stream_reset",
            Cut::Stream(Side::Server) => "server_stream_reset",
            Cut::Expired => "connection_timeout",
        };
        if stage.is_empty() { Cow::Borrowed(what) } else { Cow::Owned(format!("{what}{stage}")) }
    }
}

/// The lowest status that is an error to `role`.
pub(super) fn lowest(role: Role) -> u16 {
    match role {
        Role::Server => 500,
        Role::Client => 400,
    }
}

/// `server.address`, in one spelling for each address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Host<'a> {
    Name(&'a str),
    Ip(IpAddr),
}

/// The server that the request names, or where it names none that which the connection was made to, by its name if that alone has
/// the address. No reverse DNS.
pub(super) fn server<'a>(connection: &'a Connection, http: &'a Http) -> (Host<'a>, u16) {
    server_named(connection, http.host.as_deref(), http.port)
}

/// The same, where the request names `host` and `port`, or not.
pub(super) fn server_named<'a>(
    connection: &'a Connection,
    host: Option<&'a str>,
    port: Option<u16>,
) -> (Host<'a>, u16) {
    let end = connection.server();
    let port = port.unwrap_or(end.port());
    let named =
        host.map(|host| host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host));
    let host = match named {
        None | Some("") => match connection.server_name() {
            Some(name) => Host::Name(name),
            None => Host::Ip(end.ip().to_canonical()),
        },
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
            method: Some(Method::Get),
            method_original: None,
            version: HttpVersion::Http11,
            status,
            host: host.map(Into::into),
            port,
            path: None,
            route: None,
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            exports: None,
            request_body: Some(0),
            response_body: Some(0),
            is_doubtful: false,
        }
    }

    #[test]
    fn error_types() {
        let (by_client, by_server) = (Cut::Closed(Some(Side::Client)), Cut::Reset(Side::Server));
        // status, outcome => server's, client's
        let cases = [
            (Some(200), Complete, None, None),
            (Some(404), Complete, None, Some("404")),
            (Some(500), Complete, Some("500"), Some("500")),
            (Some(503), Truncated(by_client), Some("503"), Some("503")),
            (
                Some(200),
                Truncated(by_client),
                Some("client_closed_in_response"),
                Some("client_closed_in_response"),
            ),
            (Some(600), Complete, Some("600"), Some("600")),
            (Some(999), Truncated(by_client), Some("999"), Some("999")),
            (None, Unanswered(by_client), Some("client_closed"), Some("client_closed")),
            (None, Unanswered(Cut::Expired), Some("connection_timeout"), Some("connection_timeout")),
            (None, NotObserved, Some("response_not_observed"), Some("response_not_observed")),
            (None, Aborted(by_server), Some("server_reset_in_request"), Some("server_reset_in_request")),
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
    fn errors_without_a_status_have_names_of_their_own() {
        let all = ErrorType::without_status();
        let names: std::collections::BTreeSet<_> = all.iter().map(|(name, _)| name).collect();
        let meanings: std::collections::BTreeSet<_> = all.iter().map(|(_, meaning)| meaning).collect();
        assert_eq!((names.len(), meanings.len()), (3 * 8 + 1, 3 * 8 + 1));
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
            steered: None,
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
