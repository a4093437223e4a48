//! OTLP by gRPC. Source: OTLP specification 1.9, "OTLP/gRPC".

use std::error::Error as _;

use bytes::{Buf as _, BufMut as _, Bytes};
use hyper::Uri;
use hyper::header::HeaderMap;
use hyper::http::uri::PathAndQuery;
use hyper_util::client::legacy::Client;
use tonic::body::Body;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use super::{ANSWER_MAX, Connector, Failure, broken, client};
use crate::export::otlp::retry::Again;
use crate::export::{Failed, Signal};

/// Characters of a receiver's message that are logged.
const MESSAGE_MAX: usize = 200;

/// A receiver and the connection to it.
#[derive(Clone)]
pub(super) struct Grpc {
    connector: Connector,
    client: Client<Connector, Body>,
    origin: Uri,
    path: PathAndQuery,
    metadata: MetadataMap,
    is_gzip: bool,
}

impl Grpc {
    pub(super) fn new(
        connector: Connector,
        origin: Uri,
        headers: HeaderMap,
        is_gzip: bool,
        signal: Signal,
    ) -> Grpc {
        let path = match signal {
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        };
        Grpc {
            client: client(connector.clone(), true),
            connector,
            origin,
            path: PathAndQuery::from_static(path),
            metadata: MetadataMap::from_headers(headers),
            is_gzip,
        }
    }

    /// The next request gets a new connection.
    pub(super) fn reconnect(&mut self) {
        self.client = client(self.connector.clone(), true);
    }

    pub(super) async fn attempt(&self, message: Bytes) -> Result<Bytes, Failure> {
        let mut grpc = tonic::client::Grpc::with_origin(self.client.clone(), self.origin.clone())
            .max_decoding_message_size(ANSWER_MAX)
            .accept_compressed(CompressionEncoding::Gzip);
        if self.is_gzip {
            grpc = grpc.send_compressed(CompressionEncoding::Gzip);
        }
        grpc.ready().await.map_err(|error| broken(&error))?;
        let mut request = Request::new(message);
        *request.metadata_mut() = self.metadata.clone();
        let answer = grpc.unary(request, self.path.clone(), Ready).await;
        answer.map(tonic::Response::into_inner).map_err(|status| failure(&status))
    }
}

fn failure(status: &Status) -> Failure {
    if let Some(source) = status.source() {
        return broken(source);
    }
    let asked = status.get_details_retry_info().and_then(|info| info.retry_delay);
    let again = match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => asked.map_or(Again::Backoff, Again::After),
        // Only where the receiver says that it will recover.
        Code::ResourceExhausted => asked.map_or(Again::Never, Again::After),
        _ => Again::Never,
    };
    let why = if again == Again::Never { Failed::Refused } else { Failed::Unavailable };
    let said: String = status.message().chars().take(MESSAGE_MAX).collect();
    Failure { why, again, message: format!("the receiver answered {:?}: {said}", status.code()) }
}

/// Messages that are encoded already, and are not decoded here.
struct Ready;

impl Codec for Ready {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Ready;
    type Decoder = Ready;

    fn encoder(&mut self) -> Ready {
        Ready
    }

    fn decoder(&mut self) -> Ready {
        Ready
    }
}

impl Encoder for Ready {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for Ready {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let whole = from.remaining();
        Ok(Some(from.copy_to_bytes(whole)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn answers() {
        let plain = |code| Status::new(code, "");
        let throttled = |code| {
            let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(3)));
            Status::with_error_details(code, "", details)
        };
        let after = Again::After(Duration::from_secs(3));
        for (status, again) in [
            (plain(Code::Unavailable), Again::Backoff),
            (plain(Code::DeadlineExceeded), Again::Backoff),
            (plain(Code::Cancelled), Again::Backoff),
            (plain(Code::DataLoss), Again::Backoff),
            (throttled(Code::Unavailable), after),
            (throttled(Code::ResourceExhausted), after),
            (plain(Code::ResourceExhausted), Again::Never),
            (plain(Code::InvalidArgument), Again::Never),
            (throttled(Code::InvalidArgument), Again::Never),
            (plain(Code::Unauthenticated), Again::Never),
            (plain(Code::Unimplemented), Again::Never),
            (plain(Code::Internal), Again::Never),
            (plain(Code::Unknown), Again::Never),
        ] {
            let failure = failure(&status);
            assert_eq!(failure.again, again, "{status:?}");
            assert_eq!(failure.why == Failed::Refused, again == Again::Never, "{status:?}");
        }
    }
}
