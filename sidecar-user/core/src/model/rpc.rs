//! Remote procedure calls.

use std::time::Duration;

use super::{Http, Side};

/// A call. Its method is the path of its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rpc {
    /// Which kind.
    pub system: RpcSystem,
    /// The request that carries it: method, path, authority, HTTP status, headers.
    pub http: Http,
    /// `grpc-status` as it was sent, in trailers or in a response of nothing else; `None` where none was seen.
    pub status: Option<u32>,
    /// Messages of each side ([`Side::index`]) that began; `None` where bytes of it went by unread.
    pub messages: [Option<u32>; 2],
    /// The time that the client gives the call (`grpc-timeout`).
    pub timeout: Option<Duration>,
    /// Who ended it by RST_STREAM before it was over, and with which error code (RFC 9113 section 7).
    pub reset: Option<(Side, u32)>,
}

/// What a call goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RpcSystem {
    /// gRPC over HTTP/2 (PROTOCOL-HTTP2).
    Grpc,
    /// gRPC-Web (PROTOCOL-WEB), over any HTTP.
    GrpcWeb,
}

impl Rpc {
    /// Service and method with a slash between, as far as the path is known: `grpc.health.v1.Health/Check`.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        let path = self.http.path.as_deref()?;
        Some(path.strip_prefix('/').unwrap_or(path))
    }

    /// The status that it came to says that the server failed, and not that it was asked for what it could not do: as gRPC's
    /// semantic conventions v1.44.0 tell a server's errors.
    #[must_use]
    pub fn is_server_error(&self) -> bool {
        // UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
        matches!(self.status, Some(2 | 4 | 12 | 13 | 14 | 15))
    }
}
