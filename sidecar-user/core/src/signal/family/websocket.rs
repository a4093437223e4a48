//! Sessions of WebSocket. The conventions have nothing of them.

use super::{Called, End, Error, Spoken, Word};
use crate::model::{MetricDef, Role, WebSocket};
use crate::signal::{catalogue, key};

pub(super) const DURATION: [&MetricDef; 2] = {
    let mut defs = [&catalogue::WEBSOCKET_CLIENT_DURATION; 2];
    defs[Role::Server as usize] = &catalogue::WEBSOCKET_SERVER_DURATION;
    defs
};

const CLOSED: &str = "the close frame gave this code (RFC 6455 section 7.4)";
/// Closed because it was over, because one side goes away, and without a code.
const IN_ORDER: [u16; 3] = [1000, 1001, 1005];

pub(super) fn called<'a>(end: End<'a>, socket: &'a WebSocket) -> Called<'a> {
    let error = match socket.close {
        Some(code) if IN_ORDER.contains(&code) => None,
        Some(code) => Some(Error::new(code.to_string(), CLOSED)),
        None => Error::of(end.exchange.outcome, end.role),
    };
    let own = [error.as_ref().and_then(|error| Word::text(error.text.clone()))];
    Called {
        duration: DURATION[end.role as usize],
        also: None,
        words: end.words(own, end.server(socket.host.as_deref(), None)),
        error,
    }
}

pub(super) fn spoken(role: Role, socket: &WebSocket) -> Spoken<'_> {
    let [sent, received] = match role {
        Role::Client => [socket.messages[0], socket.messages[1]],
        Role::Server => [socket.messages[1], socket.messages[0]],
    };
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX).into();
    let mut attributes = vec![(key::MESSAGES_SENT, number(sent)), (key::MESSAGES_RECEIVED, number(received))];
    attributes.extend(socket.path.as_ref().map(|path| (key::URL_PATH, path.to_string().into())));
    Spoken {
        name: "WebSocket session".into(),
        operation: Some("session".into()),
        status: socket.close.map(|code| code.to_string().into()),
        attributes,
        bytes: socket.bytes.map(Some),
    }
}

pub(super) fn errors() -> Vec<(String, String)> {
    vec![("1002` to `4999".to_owned(), CLOSED.to_owned())]
}
