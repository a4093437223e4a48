//! What is asked besides HTTP: calls, databases, names, handshakes, and messages that have no answer.

use super::{DURATION_BUCKETS, SIZE_BUCKETS, def};
use crate::model::{Kind, MetricDef};
use crate::signal::key;

/// Buckets that the conventions advise for operations of databases, in seconds.
const DB_BUCKETS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
/// Buckets that the conventions advise for rows.
const ROW_BUCKETS: &[f64] =
    &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0];

const RPC_SERVER: &[&str] =
    &[key::RPC_SYSTEM, key::RPC_METHOD, key::RPC_STATUS, key::ERROR_TYPE, key::CONTAINER_NAME];
const RPC_CLIENT: &[&str] = &[
    key::RPC_SYSTEM,
    key::RPC_METHOD,
    key::RPC_STATUS,
    key::ERROR_TYPE,
    key::SERVER_ADDRESS,
    key::SERVER_PORT,
    key::PEER_ADDRESS,
    key::PEER_PORT,
    key::CONTAINER_NAME,
];
const DB_SERVER: &[&str] = &[
    key::DB_SYSTEM,
    key::DB_OPERATION,
    key::DB_COLLECTION,
    key::DB_SUMMARY,
    key::DB_NAMESPACE,
    key::DB_STATUS,
    key::ERROR_TYPE,
    key::CONTAINER_NAME,
];
const DB_CLIENT: &[&str] = &[
    key::DB_SYSTEM,
    key::DB_OPERATION,
    key::DB_COLLECTION,
    key::DB_SUMMARY,
    key::DB_NAMESPACE,
    key::DB_STATUS,
    key::ERROR_TYPE,
    key::SERVER_ADDRESS,
    key::SERVER_PORT,
    key::PEER_ADDRESS,
    key::PEER_PORT,
    key::CONTAINER_NAME,
];
const TLS_SERVER: &[&str] = &[
    key::TLS_VERSION,
    key::TLS_RESUMED,
    key::TLS_ALPN,
    key::TLS_SERVER_NAME,
    key::ERROR_TYPE,
    key::CONTAINER_NAME,
];
const TLS_CLIENT: &[&str] = &[
    key::TLS_VERSION,
    key::TLS_RESUMED,
    key::TLS_ALPN,
    key::TLS_SERVER_NAME,
    key::ERROR_TYPE,
    key::SERVER_ADDRESS,
    key::SERVER_PORT,
    key::PEER_ADDRESS,
    key::PEER_PORT,
    key::CONTAINER_NAME,
];
const SOCKET_SERVER: &[&str] = &[key::ERROR_TYPE, key::CONTAINER_NAME];
const SOCKET_CLIENT: &[&str] = &[
    key::ERROR_TYPE,
    key::SERVER_ADDRESS,
    key::SERVER_PORT,
    key::PEER_ADDRESS,
    key::PEER_PORT,
    key::CONTAINER_NAME,
];
const MESSAGE: &[&str] = &[key::PROTOCOL_NAME, key::IO_DIRECTION, key::MESSAGE_TYPE];

/// Calls that the application answered. Fed by `Store::exchange`, as those below.
pub static RPC_SERVER_DURATION: MetricDef = def(
    "rpc.server.call.duration",
    Kind::Histogram(DURATION_BUCKETS),
    "s",
    "Duration of remote procedure calls that were answered, from the request's first byte to the end of the response, \
     trailers included.",
    RPC_SERVER,
);
/// Calls that the application made.
pub static RPC_CLIENT_DURATION: MetricDef = def(
    "rpc.client.call.duration",
    Kind::Histogram(DURATION_BUCKETS),
    "s",
    "Duration of remote procedure calls that were made, from the request's first byte to the end of the response, \
     trailers included.",
    RPC_CLIENT,
);
/// Operations that the application, a database, was asked for. The conventions have none for servers.
pub static DB_SERVER_DURATION: MetricDef = def(
    "db.server.operation.duration",
    Kind::Histogram(DB_BUCKETS),
    "s",
    "Duration of database operations that were answered, from the request's first byte to the response's last.",
    DB_SERVER,
);
/// Operations that the application asked a database for.
pub static DB_CLIENT_DURATION: MetricDef = def(
    "db.client.operation.duration",
    Kind::Histogram(DB_BUCKETS),
    "s",
    "Duration of database operations that were asked for, from the request's first byte to the response's last.",
    DB_CLIENT,
);
/// Rows that came back. Absent where the server does not tell and not all were seen.
pub static DB_CLIENT_ROWS: MetricDef = def(
    "db.client.response.returned_rows",
    Kind::Histogram(ROW_BUCKETS),
    "{row}",
    "Rows that a database operation returned.",
    DB_CLIENT,
);
/// Questions that the application, a resolver, was asked.
pub static DNS_SERVER_DURATION: MetricDef = def(
    "sidecar.dns.server.lookup.duration",
    Kind::Histogram(DURATION_BUCKETS),
    "s",
    "Duration of DNS lookups that were answered.",
    &[key::DNS_QUESTION, key::DNS_TYPE, key::ERROR_TYPE, key::CONTAINER_NAME],
);
/// Questions that the application asked.
pub static DNS_CLIENT_DURATION: MetricDef = def(
    "dns.lookup.duration",
    Kind::Histogram(DURATION_BUCKETS),
    "s",
    "Duration of DNS lookups that were made, each question of its own; one without an answer for as long as was waited.",
    &[key::DNS_QUESTION, key::DNS_TYPE, key::ERROR_TYPE, key::CONTAINER_NAME],
);
/// Handshakes with the application.
pub static TLS_SERVER_DURATION: MetricDef = def(
    "sidecar.tls.server.handshake.duration",
    Kind::Histogram(DURATION_BUCKETS),
    "s",
    "Duration of TLS handshakes with clients, from the first byte of the ClientHello to the second Finished; in TLS 1.3 to \
     the first record of the client's flight that ends in it. Failed ones too.",
    TLS_SERVER,
);
/// Handshakes of the application with others.
pub static TLS_CLIENT_DURATION: MetricDef = def(
    "sidecar.tls.client.handshake.duration",
    Kind::Histogram(DURATION_BUCKETS),
    "s",
    "Duration of TLS handshakes with servers, from the first byte of the ClientHello to the second Finished; in TLS 1.3 to \
     the first record of the client's flight that ends in it. Failed ones too.",
    TLS_CLIENT,
);
/// Time that clients were connected.
pub static WEBSOCKET_SERVER_DURATION: MetricDef = def(
    "sidecar.websocket.server.session.duration",
    Kind::Histogram(SESSION_BUCKETS),
    "s",
    "Duration of WebSocket sessions with clients, from the upgrade to the connection's end.",
    SOCKET_SERVER,
);
/// Time that the application was connected.
pub static WEBSOCKET_CLIENT_DURATION: MetricDef = def(
    "sidecar.websocket.client.session.duration",
    Kind::Histogram(SESSION_BUCKETS),
    "s",
    "Duration of WebSocket sessions with servers, from the upgrade to the connection's end.",
    SOCKET_CLIENT,
);
/// Buckets of what lasts as long as a connection, in seconds: those of `http.client.connection.duration`.
const SESSION_BUCKETS: &[f64] =
    &[0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// Messages of streams as they pass. Fed by `Store::message`, as the next.
pub static MESSAGES: MetricDef = def(
    "sidecar.messages",
    Kind::Counter,
    "{message}",
    "Messages of streams that passed: of WebSocket, server-sent events, calls, and what databases push.",
    MESSAGE,
);
/// How large they were.
pub static MESSAGE_SIZE: MetricDef = def(
    "sidecar.message.size",
    Kind::Histogram(SIZE_BUCKETS),
    "By",
    "Size of the content of messages of streams.",
    MESSAGE,
);
