//! Asks an endpoint whether it is well, on a connection of its own. The daemon's connections are never steered.

use std::net::SocketAddr;

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::{
    Request,
    client::conn::{http1, http2},
    header,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sidecar_core::{model::health::Ask, traffic::health::Question};
use tokio::{net::TcpStream, time::timeout};
use tracing::debug;

/// Bytes of an answer that are read.
const ANSWER_MAX: usize = 64 * 1024;
/// `grpc.health.v1.HealthCheckResponse`: field 1, `status`, is 1, `SERVING`.
const SERVING: [u8; 2] = [0x08, 1];

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Whether it is well. Not answering in time is a bad answer.
pub(super) async fn ask(question: &Question) -> bool {
    let asked = async {
        match &question.ask {
            Ask::Http(path) => http(question.at, path).await,
            Ask::Grpc(service) => grpc(question.at, service).await,
        }
    };
    match timeout(question.timeout, asked).await {
        Ok(Ok(is_good)) => is_good,
        Ok(Err(error)) => {
            debug!(endpoint = %question.at, error, "the probe failed");
            false
        }
        Err(_) => false,
    }
}

async fn http(at: SocketAddr, path: &str) -> Result<bool, Error> {
    let stream = TcpStream::connect(at).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header(header::HOST, at.to_string())
        .header(header::USER_AGENT, concat!("sidecar/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        Ok(matches!(answer.status().as_u16(), 200..400))
    };
    // The head is enough: the connection goes with whatever else comes.
    driven(connection, answer).await
}

async fn grpc(at: SocketAddr, service: &str) -> Result<bool, Error> {
    let stream = TcpStream::connect(at).await?;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let request = Request::post(format!("http://{at}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, concat!("sidecar/", env!("CARGO_PKG_VERSION")))
        .body(Full::new(check(service)))?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await?;
        let is_ok = body.trailers().is_some_and(|trailers| {
            trailers.get("grpc-status").is_some_and(|status| status.as_bytes() == b"0")
        });
        let message = body.to_bytes();
        Ok(is_ok && is_serving(&message))
    };
    driven(connection, answer).await
}

/// The answer, as long as the connection lasts.
async fn driven<E: Into<Error>>(
    connection: impl Future<Output = Result<(), E>>,
    answer: impl Future<Output = Result<bool, Error>>,
) -> Result<bool, Error> {
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => return answer,
        ended = connection => ended.map_err(Into::into)?,
    }
    answer.await
}

/// `grpc.health.v1.HealthCheckRequest`, behind the five bytes that gRPC puts before a message: field 1 is the service.
fn check(service: &str) -> Bytes {
    let service = &service.as_bytes()[..service.len().min(255)];
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        // A varint of 7 bits a byte.
        if service.len() > 127 {
            message.put_u8((service.len() & 127) as u8 | 128);
        }
        message.put_u8(if service.len() > 127 { (service.len() >> 7) as u8 } else { service.len() as u8 });
        message.put_slice(service);
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(&message);
    framed.freeze()
}

/// One message that is not compressed, and says so.
fn is_serving(answer: &[u8]) -> bool {
    answer.len() > 5 && answer[0] == 0 && answer[5..].windows(2).any(|field| field == SERVING)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_what_the_protocol_says() {
        assert_eq!(&check("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&check("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = check(&"x".repeat(200));
        assert_eq!((&long[..8], long.len()), (&[0, 0, 0, 0, 203, 0x0a, 0xc8, 1][..], 208));
        for (answer, expected) in [
            (&[0, 0, 0, 0, 2, 8, 1][..], true),
            (&[0, 0, 0, 0, 2, 8, 2], false),
            (&[0, 0, 0, 0, 0], false),
            (&[1, 0, 0, 0, 2, 8, 1], false),
            (&[], false),
        ] {
            assert_eq!(is_serving(answer), expected, "{answer:?}");
        }
    }
}
