//! Asking a daemon's admin listener, as `sidecar explain` does.

use std::{fmt, io, net::Ipv4Addr, net::Ipv6Addr, net::SocketAddr, ops::ControlFlow, time::Duration};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{ACCEPT, HOST},
};
use hyper_util::rt::TokioIo;
use sidecar_core::config::AdminListen;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes that it may have.
const LONGEST: usize = 4 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// Nobody listens there, or not for us.
    #[error("connect to the daemon's admin listener, {address}")]
    Connect {
        /// Where it was looked for.
        address: String,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// It does not answer as a daemon would.
    #[error("ask {address}: {why}")]
    Answer {
        /// Whom.
        address: String,
        /// What is wrong.
        why: String,
    },
}

impl AskError {
    /// Whoever answered is no daemon, or another one.
    pub(crate) fn odd(address: &AdminListen, why: &str) -> Self {
        answer(address, why)
    }
}

/// What is at `path`, in the form that `accept` names: the status and the body.
///
/// # Errors
/// [`AskError`]
pub(crate) async fn get(
    to: &AdminListen,
    path: &str,
    accept: &str,
) -> Result<(StatusCode, String), AskError> {
    let refused = |source| AskError::Connect { address: to.to_string(), source };
    let slow = |_| answer(to, "no answer in time");
    match to {
        AdminListen::Tcp(address) => {
            let stream = timeout(PATIENCE, TcpStream::connect(reachable(*address))).await.map_err(slow)?;
            timeout(PATIENCE, ask(to, stream.map_err(refused)?, path, accept)).await.map_err(slow)?
        }
        AdminListen::Unix(file) => {
            let stream = UnixStream::connect(file).await.map_err(refused)?;
            timeout(PATIENCE, ask(to, stream, path, accept)).await.map_err(slow)?
        }
    }
}

/// The same of an answer without an end: `each` takes its bytes as they come, while the status is 200. Of any other the
/// body is returned.
///
/// # Errors
/// [`AskError`]
pub(crate) async fn follow(
    to: &AdminListen,
    path: &str,
    accept: &str,
    each: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(StatusCode, String), AskError> {
    let refused = |source| AskError::Connect { address: to.to_string(), source };
    match to {
        AdminListen::Tcp(address) => {
            let stream = timeout(PATIENCE, TcpStream::connect(reachable(*address))).await;
            let stream = stream.map_err(|_| answer(to, "no answer in time"))?.map_err(refused)?;
            read(to, stream, path, accept, each).await
        }
        AdminListen::Unix(file) => {
            read(to, UnixStream::connect(file).await.map_err(refused)?, path, accept, each).await
        }
    }
}

async fn read<S>(
    to: &AdminListen,
    stream: S,
    path: &str,
    accept: &str,
    mut each: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(StatusCode, String), AskError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let reply = timeout(PATIENCE, send(to, stream, path, accept)).await;
    let mut reply = reply.map_err(|_| answer(to, "no answer in time"))??;
    let status = reply.status();
    if status != StatusCode::OK {
        let body =
            Limited::new(reply.into_body(), LONGEST).collect().await.map_err(|error| answer(to, error))?;
        return Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()));
    }
    while let Some(frame) = reply.body_mut().frame().await {
        let frame = frame.map_err(|error| answer(to, error))?;
        if frame.data_ref().is_some_and(|bytes| each(bytes).is_break()) {
            break;
        }
    }
    Ok((status, String::new()))
}

/// Whoever listens on all addresses is asked on loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        SocketAddr::V4(_) | SocketAddr::V6(_) => {}
    }
    address
}

fn answer(to: &AdminListen, why: impl fmt::Display) -> AskError {
    AskError::Answer { address: to.to_string(), why: why.to_string() }
}

async fn ask<S>(
    to: &AdminListen,
    stream: S,
    path: &str,
    accept: &str,
) -> Result<(StatusCode, String), AskError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let reply = send(to, stream, path, accept).await?;
    let status = reply.status();
    let body = Limited::new(reply.into_body(), LONGEST).collect().await.map_err(|error| answer(to, error))?;
    Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
}

/// Asks. The connection is driven for as long as the answer is read.
async fn send<S>(
    to: &AdminListen,
    stream: S,
    path: &str,
    accept: &str,
) -> Result<Response<Incoming>, AskError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let wrong = |error: hyper::Error| answer(to, error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(wrong)?;
    tokio::spawn(connection);
    let request = Request::get(path).header(HOST, "localhost").header(ACCEPT, accept);
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| answer(to, error))?;
    sender.send_request(request).await.map_err(wrong)
}
