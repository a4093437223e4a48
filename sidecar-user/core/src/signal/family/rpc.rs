//! Remote procedure calls, by "Semantic Conventions for gRPC" v1.44.0.

use super::{Called, End, Error, Spoken, Word};
use crate::model::{MetricDef, Role, Rpc, RpcSystem};
use crate::signal::{catalogue, key};

pub(super) const DURATION: [&MetricDef; 2] = {
    let mut defs = [&catalogue::RPC_CLIENT_DURATION; 2];
    defs[Role::Server as usize] = &catalogue::RPC_SERVER_DURATION;
    defs
};

/// gRPC's status codes, each at its number.
const STATUS: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
/// A status that gRPC does not know: whoever receives it takes it for UNKNOWN.
const NO_STATUS: &str = "UNKNOWN";

const AT_SERVER: &str = "a status that says that the server failed";
const AT_CLIENT: &str = "any status but OK is an error to the client";

pub(super) fn called<'a>(end: End<'a>, rpc: &'a Rpc) -> Called<'a> {
    let status = status(rpc);
    let error = match (rpc.status, end.role) {
        (Some(_), Role::Server) if rpc.is_server_error() => {
            status.map(|status| Error::new(status, AT_SERVER))
        }
        (Some(1..), Role::Client) => status.map(|status| Error::new(status, AT_CLIENT)),
        (Some(_), _) => None,
        (None, _) => Error::of(end.exchange.outcome, end.role),
    };
    let system = match rpc.system {
        RpcSystem::Grpc => "grpc",
        RpcSystem::GrpcWeb => "grpc_web",
    };
    let own = [
        Word::text(system),
        rpc.method().and_then(Word::text),
        status.and_then(Word::text),
        error.as_ref().and_then(|error| Word::text(error.text.clone())),
    ];
    let http = &rpc.http;
    Called {
        duration: DURATION[end.role as usize],
        also: None,
        words: end.words(own, end.server(http.host.as_deref(), http.port)),
        error,
    }
}

pub(super) fn spoken(role: Role, rpc: &Rpc) -> Spoken<'_> {
    let [sent, received] = match role {
        Role::Client => [rpc.messages[0], rpc.messages[1]],
        Role::Server => [rpc.messages[1], rpc.messages[0]],
    };
    Spoken {
        name: rpc.method().unwrap_or("grpc").into(),
        operation: rpc.method().map(Into::into),
        status: status(rpc).map(Into::into),
        attributes: [(key::MESSAGES_SENT, sent), (key::MESSAGES_RECEIVED, received)]
            .into_iter()
            .filter_map(|(key, n)| Some((key, i64::from(n?).into())))
            .collect(),
        bytes: [rpc.http.request_body, rpc.http.response_body],
    }
}

fn status(rpc: &Rpc) -> Option<&'static str> {
    rpc.status.map(|code| STATUS.get(code as usize).copied().unwrap_or(NO_STATUS))
}

pub(super) fn errors(role: Role) -> Vec<(String, String)> {
    let is_error = |code: &usize| match role {
        Role::Client => *code > 0,
        Role::Server => matches!(code, 2 | 4 | 12 | 13 | 14 | 15),
    };
    let why = if role == Role::Client { AT_CLIENT } else { AT_SERVER };
    (0..STATUS.len()).filter(is_error).map(|code| (STATUS[code].to_owned(), why.to_owned())).collect()
}
