//! Messages that go one way, and what carries them.

use super::{Ktime, Side};

/// A message of a stream: it has no answer of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// When its last byte passed.
    pub at: Ktime,
    /// Who sent it.
    pub side: Side,
    /// What it is.
    pub kind: MessageKind,
    /// Bytes of its content.
    pub bytes: u64,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// WebSocket: text (RFC 6455 section 5.6).
    Text,
    /// WebSocket: binary.
    Binary,
    /// WebSocket: a ping (section 5.5.2).
    Ping,
    /// WebSocket: a pong.
    Pong,
    /// WebSocket: the end (section 5.5.1).
    Close,
    /// A server-sent event.
    Event,
    /// A message of a remote procedure call.
    Call,
    /// What a database sends unasked: a published message, a notification.
    Push,
}

/// A connection's time as WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSocket {
    /// The path of the request that was upgraded, as [`super::Http::path`].
    pub path: Option<Box<str>>,
    /// `Host` of that request.
    pub host: Option<Box<str>>,
    /// Text and binary messages of each side ([`Side::index`]).
    pub messages: [u64; 2],
    /// Bytes of their content.
    pub bytes: [u64; 2],
    /// The code that the first close frame gives (RFC 6455 section 7.4).
    pub close: Option<u16>,
}
