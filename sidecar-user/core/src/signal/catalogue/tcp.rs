//! Metrics of connections, whatever they speak.

use super::{LATENCY_BUCKETS, def, key};
use crate::model::{Kind, MetricDef};

/// Connections that reached `ESTABLISHED`.
pub static TCP_OPENED: MetricDef = def(
    "sidecar.tcp.connection.opened",
    Kind::Counter,
    "{connection}",
    "TCP connections of the application that were established.",
    &[key::TCP_ROLE],
);
/// Connections that ended.
pub static TCP_CLOSED: MetricDef = def(
    "sidecar.tcp.connection.closed",
    Kind::Counter,
    "{connection}",
    "TCP connections of the application that were closed, whichever way; those that were joined are not among them.",
    &[key::TCP_ROLE],
);
/// Attempts that never reached `ESTABLISHED`.
pub static TCP_FAILED: MetricDef = def(
    "sidecar.tcp.connection.failed",
    Kind::Counter,
    "{attempt}",
    "Attempts of the application to connect that failed.",
    &[key::ERROR_TYPE],
);
/// Connections older than the programs.
pub static TCP_JOINED: MetricDef = def(
    "sidecar.tcp.connection.joined",
    Kind::Counter,
    "{connection}",
    "TCP connections that were older than the observation and were met in the middle.",
    &[],
);
/// Payload, by direction as the application sees it.
pub static TCP_IO: MetricDef = def(
    "sidecar.tcp.io",
    Kind::Counter,
    "By",
    "TCP payload that the application received and transmitted, retransmissions not counted.",
    &[key::TCP_ROLE, key::IO_DIRECTION],
);
/// Segments sent again.
pub static TCP_RETRANSMITS: MetricDef = def(
    "sidecar.tcp.retransmits",
    Kind::Counter,
    "{segment}",
    "TCP segments that were sent again.",
    &[key::TCP_ROLE],
);
/// Connections that are open, by what the kernel counted.
pub static TCP_ACTIVE: MetricDef = def(
    "sidecar.tcp.connection.active",
    Kind::UpDown,
    "{connection}",
    "TCP connections of the application that are established and not yet closed; those that were joined are not among \
     them.",
    &[key::TCP_ROLE],
);
/// Connections that did not end by FIN both ways.
pub static TCP_RESET: MetricDef = def(
    "sidecar.tcp.connection.reset",
    Kind::Counter,
    "{connection}",
    "TCP connections that were cut off: by an RST that was received or sent, or because the peer acknowledged nothing \
     until the timeout; those that were joined are not among them.",
    &[key::TCP_ROLE, key::REASON],
);
/// Time to connect. Fed by `Store::tcp`.
pub static TCP_CONNECT: MetricDef = def(
    "sidecar.tcp.connect.duration",
    Kind::Histogram(LATENCY_BUCKETS),
    "s",
    "Time from the first SYN of the application to the peer to the established connection, of attempts that came through.",
    &[key::PEER_ADDRESS, key::PEER_PORT, key::CONTAINER_NAME],
);
/// Round-trip times. Fed by `Store::tcp`.
pub static TCP_RTT: MetricDef = def(
    "sidecar.tcp.rtt",
    Kind::Histogram(LATENCY_BUCKETS),
    "s",
    "Smoothed round-trip time of TCP connections: one value at the end of each, and one of each on which a packet passes \
     10 seconds after the last.",
    &[key::TCP_ROLE, key::PEER_ADDRESS, key::PEER_PORT, key::CONTAINER_NAME],
);
/// As `sidecar.tcp.connection.active`. Fed by `Store::tcp`, as all of `sidecar.tcp.peer.*`.
pub static PEER_ACTIVE: MetricDef = def(
    "sidecar.tcp.peer.connection.active",
    Kind::UpDown,
    "{connection}",
    "TCP connections of the application that are established and not yet closed, by peer, as far as records arrived.",
    &[key::TCP_ROLE, key::PEER_ADDRESS, key::PEER_PORT, key::CONTAINER_NAME],
);
/// As `sidecar.tcp.connection.opened`.
pub static PEER_OPENED: MetricDef = def(
    "sidecar.tcp.peer.connection.opened",
    Kind::Counter,
    "{connection}",
    "TCP connections of the application that were established, by peer, as far as records arrived.",
    &[key::TCP_ROLE, key::PEER_ADDRESS, key::PEER_PORT, key::CONTAINER_NAME],
);
/// As `sidecar.tcp.connection.closed`.
pub static PEER_CLOSED: MetricDef = def(
    "sidecar.tcp.peer.connection.closed",
    Kind::Counter,
    "{connection}",
    "TCP connections of the application that were closed, by peer, as far as records arrived.",
    &[key::TCP_ROLE, key::PEER_ADDRESS, key::PEER_PORT, key::CONTAINER_NAME],
);
/// As `sidecar.tcp.connection.failed`.
pub static PEER_FAILED: MetricDef = def(
    "sidecar.tcp.peer.connection.failed",
    Kind::Counter,
    "{attempt}",
    "Attempts of the application to connect that failed, by peer, as far as records arrived.",
    &[key::PEER_ADDRESS, key::PEER_PORT, key::ERROR_TYPE, key::CONTAINER_NAME],
);
/// As `sidecar.tcp.connection.reset`.
pub static PEER_RESET: MetricDef = def(
    "sidecar.tcp.peer.connection.reset",
    Kind::Counter,
    "{connection}",
    "TCP connections that were cut off, by peer, as far as records arrived.",
    &[key::TCP_ROLE, key::PEER_ADDRESS, key::PEER_PORT, key::REASON, key::CONTAINER_NAME],
);
/// As `sidecar.tcp.io`.
pub static PEER_IO: MetricDef = def(
    "sidecar.tcp.peer.io",
    Kind::Counter,
    "By",
    "TCP payload that the application received and transmitted, by peer: told at the end of each connection, and every 10 \
     seconds of one on which packets pass.",
    &[key::TCP_ROLE, key::PEER_ADDRESS, key::PEER_PORT, key::IO_DIRECTION, key::CONTAINER_NAME],
);
/// As `sidecar.tcp.retransmits`.
pub static PEER_RETRANSMITS: MetricDef = def(
    "sidecar.tcp.peer.retransmits",
    Kind::Counter,
    "{segment}",
    "TCP segments that were sent again, by peer, told as sidecar.tcp.peer.io is.",
    &[key::TCP_ROLE, key::PEER_ADDRESS, key::PEER_PORT, key::CONTAINER_NAME],
);
