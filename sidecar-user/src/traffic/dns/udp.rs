//! Questions in datagrams. One that is passed on gets a socket of its own, at a port that the kernel draws, and an id that is
//! drawn here: whoever would answer in the resolver's place has to guess both (RFC 5452).

use std::{
    cell::RefCell,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
    time::{Duration, Instant},
};

use rustix::rand::{GetRandomFlags, getrandom};
use sidecar_core::traffic::names::{Asked, Transport, failed, matches, truncated};
use tokio::{
    io::Interest,
    net::UdpSocket,
    task::spawn_local,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

use super::{Failed, OUTSTANDING, PATIENCE, Shared, Step};
use crate::traffic::trouble::end_of;

/// After receiving failed.
const PAUSE: Duration = Duration::from_millis(10);

thread_local! {
    /// The most that a datagram has; what is kept of one is copied out.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 65_535]);
}

/// Answers what comes to a resolver's socket.
pub(super) async fn serve(socket: Rc<UdpSocket>, number: usize, shared: Rc<Shared>) {
    loop {
        let (message, client) = match receive(&socket).await {
            Ok(received) => received,
            Err(error) => {
                // Such as that a client is gone to whom something was sent.
                debug!(%error, "no question could be received");
                sleep(PAUSE).await;
                continue;
            }
        };
        match shared.step(number, &message, Transport::Udp) {
            Step::Answer(answer) => send(&socket, &answer, client, &shared).await,
            Step::Forward(asked, resolver) => {
                if shared.counts.n_outstanding() >= OUTSTANDING as u64 {
                    shared.counts.failed(Failed::Full);
                    continue;
                }
                let (socket, shared) = (Rc::clone(&socket), Rc::clone(&shared));
                spawn_local(async move { forward(&socket, client, message, asked, resolver, &shared).await });
            }
            Step::Wait(service) => {
                if shared.counts.n_outstanding() >= OUTSTANDING as u64 {
                    shared.counts.failed(Failed::Full);
                    continue;
                }
                let (socket, shared) = (Rc::clone(&socket), Rc::clone(&shared));
                spawn_local(async move {
                    if let Step::Answer(answer) =
                        shared.step_later(number, &message, Transport::Udp, &service).await
                    {
                        send(&socket, &answer, client, &shared).await;
                    }
                });
            }
            Step::Nothing => {}
        }
    }
}

/// Asks the resolver, and answers the client.
async fn forward(
    socket: &UdpSocket,
    client: SocketAddr,
    message: Vec<u8>,
    asked: Asked,
    resolver: SocketAddr,
    shared: &Shared,
) {
    let _waits = shared.counts.waits();
    let answer = match timeout(PATIENCE, ask(&message, &asked, resolver, shared)).await {
        Ok(Ok(answer)) => answer,
        // The client hears nothing, as it would from the resolver.
        Err(_) => return shared.counts.failed(Failed::Timeout),
        Ok(Err(error)) => {
            debug!(%resolver, %error, "not asked");
            shared.counts.failed(Failed::Unreachable);
            return refuse(socket, client, &message, shared).await;
        }
    };
    if asked.service.is_some() && !shared.learn(&answer).await {
        return refuse(socket, client, &message, shared).await;
    }
    let answer = if asked.takes(&answer) { answer } else { truncated(&asked, &answer) };
    send(socket, &answer, client, shared).await;
}

/// The resolver's answer, as it came but for the id.
async fn ask(message: &[u8], asked: &Asked, resolver: SocketAddr, shared: &Shared) -> io::Result<Vec<u8>> {
    let any = match resolver {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    // From now on the kernel takes datagrams of nobody else.
    socket.connect(resolver).await?;
    let mut id = [0; 2];
    getrandom(&mut id, GetRandomFlags::empty())?;
    let mut question = message.to_vec();
    question[..2].copy_from_slice(&id);
    socket.send(&question).await?;
    loop {
        let (mut answer, _) = tokio::select! {
            received = receive(&socket) => received?,
            // Nobody is there: that is told apart from something to read.
            _ = socket.ready(Interest::ERROR) => {
                return Err(socket.take_error()?.unwrap_or_else(|| io::ErrorKind::ConnectionRefused.into()));
            }
        };
        if matches(asked, u16::from_be_bytes(id), &answer) {
            answer[..2].copy_from_slice(&asked.id().to_be_bytes());
            return Ok(answer);
        }
        shared.counts.failed(Failed::Mismatched);
    }
}

async fn receive(socket: &UdpSocket) -> io::Result<(Vec<u8>, SocketAddr)> {
    let take = || -> io::Result<_> {
        BUFFER.with_borrow_mut(|buffer| {
            let (n, from) = socket.try_recv_from(buffer)?;
            Ok((buffer[..n].to_vec(), from))
        })
    };
    loop {
        socket.ready(Interest::READABLE).await?;
        match take() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            taken => return taken,
        }
    }
}

async fn refuse(socket: &UdpSocket, client: SocketAddr, message: &[u8], shared: &Shared) {
    if let Some(answer) = failed(message) {
        send(socket, &answer, client, shared).await;
    }
}

async fn send(socket: &UdpSocket, answer: &[u8], client: SocketAddr, shared: &Shared) {
    let Err(error) = socket.send_to(answer, client).await else { return };
    shared.counts.failed(Failed::Unsent);
    if shared.unsent.borrow_mut().failed(Instant::now()) {
        warn!(%client, %error, "an answer could not be sent");
        let unsent = Rc::clone(&shared.unsent);
        spawn_local(async move {
            let failures = end_of(unsent).await;
            info!(failures, "answers are sent again");
        });
    }
}
