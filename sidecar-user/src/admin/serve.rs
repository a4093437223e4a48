//! From a bound listener to answered requests, within bounds: so many connections, so long a header, so much time.

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    server::conn::http1,
    service::{HttpService, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::watch,
    task::JoinSet,
};
use tracing::{debug, warn};

use super::{
    Lines, SharedFacts,
    bind::{Bound, Listener},
    guard::{self, Via},
    operator,
    places::{Place, Places, Told},
    public, reply,
};

/// Connections served at once on one listener; a further one takes the place of whoever has waited longest.
const CONNECTIONS_MAX: usize = 64;
/// Time that a request's header may take, idle time before it included.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that an answer may take to be made, the request body (10 s) included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Time after which a connection is closed between two requests: no client holds a place for ever.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(300);
/// Time that requests under way have when the listener closes.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of a request's header, and of what is buffered for a connection.
const BUFFER_MAX: usize = 16 << 10;

/// Which of the two listeners.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Face {
    /// Scrapers and probes.
    Public,
    /// The operator.
    Admin,
}

/// Serves until `drain` turns true or its sender is gone, then lets what is under way end, for at most 2 s.
///
/// # Errors
/// The runtime cannot register the listener.
pub(crate) async fn serve(
    bound: Bound,
    face: Face,
    facts: SharedFacts,
    drain: watch::Receiver<bool>,
) -> std::io::Result<()> {
    serve_within(HEADER_TIMEOUT, bound, face, facts, drain).await
}

pub(super) async fn serve_within(
    header_timeout: Duration,
    bound: Bound,
    face: Face,
    facts: SharedFacts,
    mut drain: watch::Receiver<bool>,
) -> std::io::Result<()> {
    let (listener, _file) = match bound.listener {
        Listener::Tcp(listener) => (Acceptor::Tcp(TcpListener::from_std(listener)?), None),
        Listener::Unix(listener, file) => (Acceptor::Unix(UnixListener::from_std(listener)?), Some(file)),
    };
    let mut places = Places::default();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = drained(&mut drain) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let Some(stream) = accepted else { continue };
                let (facts, drain) = (Arc::clone(&facts), drain.clone());
                let place = Place::new();
                let told = place.clone();
                let connection = connections.spawn(async move {
                    let answer = async |via, request| {
                        told.set_asked(true);
                        let reply = answer(face, &facts, via, request).await;
                        let is_endless = reply.as_ref().is_ok_and(|reply| matches!(reply.body(), Either::Right(_)));
                        told.set_asked(is_endless);
                        reply
                    };
                    let place = told.clone();
                    match stream {
                        Stream::Tcp(stream, local) => {
                            let service = service_fn(|request| answer(Via::Tcp(local), request));
                            connection(stream, place, header_timeout, service, drain).await;
                        }
                        Stream::Unix(stream) => {
                            let service = service_fn(|request| answer(Via::File, request));
                            connection(stream, place, header_timeout, service, drain).await;
                        }
                    }
                });
                places.take(CONNECTIONS_MAX, place, connection);
                // Whoever was let in is read from before the next one may have it closed.
                tokio::task::yield_now().await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

enum Stream {
    Tcp(tokio::net::TcpStream, Option<IpAddr>),
    Unix(tokio::net::UnixStream),
}

impl Acceptor {
    /// The next connection; `None` when this one failed and the next may not.
    async fn accept(&self) -> Option<Stream> {
        let stream = match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                let local = stream.local_addr().map(|local| local.ip()).ok();
                Stream::Tcp(stream, local)
            }),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        };
        match stream {
            Ok(stream) => Some(stream),
            Err(error) => {
                // Out of descriptors, mostly (accept(2)): without a pause this would spin.
                warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                None
            }
        }
    }
}

async fn connection<S>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    place: Place,
    header_timeout: Duration,
    service: S,
    mut drain: watch::Receiver<bool>,
) where
    S: HttpService<Incoming, ResBody = Either<Full<Bytes>, Lines>, Error = Infallible>,
{
    let stream = Told { stream, place: place.clone() };
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(BUFFER_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => Some(ended),
        () = drained(&mut drain) => None,
        () = tokio::time::sleep(CONNECTION_LIFETIME) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            serving.as_mut().graceful_shutdown();
            // An answer that goes on is no wait between two requests.
            if place.is_asked() {
                tokio::select! {
                    ended = serving.as_mut() => return told_of(ended),
                    () = drained(&mut drain) => {}
                }
            }
            tokio::time::timeout(DRAIN_TIMEOUT, serving).await.unwrap_or(Ok(()))
        }
    };
    told_of(ended);
}

fn told_of(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        // What a client did to its own connection.
        debug!(%error, "connection ended");
    }
}

async fn answer(
    face: Face,
    facts: &SharedFacts,
    via: Via,
    request: Request<Incoming>,
) -> Result<Served, Infallible> {
    if face == Face::Admin
        && let Some((status, why)) = guard::refuse(request.headers(), request.uri(), via)
    {
        return Ok(reply::refusal(status, why).map(Either::Left));
    }
    let answer = async {
        match face {
            Face::Public => public::answer(facts.as_ref(), &request).await.map(Either::Left),
            Face::Admin if operator::GOES_ON.contains(&request.uri().path()) => {
                match operator::go_on(facts.as_ref(), &request).await {
                    Ok(lines) => lines.map(Either::Right),
                    Err(refusal) => refusal.map(Either::Left),
                }
            }
            Face::Admin => operator::answer(facts.as_ref(), request).await.map(Either::Left),
        }
    };
    Ok(match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(reply) => reply,
        Err(_) => reply::text(StatusCode::SERVICE_UNAVAILABLE, "no answer within 15 s\n").map(Either::Left),
    })
}

/// A whole answer, or one that goes on.
type Served = Response<Either<Full<Bytes>, Lines>>;

/// Waits for the order to stop; a sender that is gone gives it too.
async fn drained(drain: &mut watch::Receiver<bool>) {
    let _ = drain.wait_for(|is_draining| *is_draining).await;
}
