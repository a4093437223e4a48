//! Questions over connections (RFC 7766): what is passed on goes over a connection to the resolver that is the client's alone,
//! message by message, as it came.

use std::{cell::Cell, io, net::SocketAddr, rc::Rc, time::Duration};

use sidecar_core::traffic::names::{Transport, failed};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
    task::spawn_local,
    time::{sleep, timeout},
};
use tracing::debug;

use super::{CONNECTIONS, Failed, PATIENCE, Shared, Step};

/// Without a message for so long a connection is closed.
const IDLE: Duration = Duration::from_secs(30);
/// After accept() failed: as a rule there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(50);
/// Answers that wait until the client takes them.
const WAITING: usize = 8;

/// Answers clients of a resolver.
pub(super) async fn serve(listener: TcpListener, number: usize, shared: Rc<Shared>) {
    loop {
        let client = match listener.accept().await {
            Ok((client, _)) => client,
            Err(error) => {
                shared.counts.failed(Failed::Full);
                debug!(%error, "no client of a resolver can be accepted");
                sleep(PAUSE).await;
                continue;
            }
        };
        if shared.n_clients.get() >= CONNECTIONS {
            shared.counts.failed(Failed::Full);
            continue;
        }
        shared.n_clients.set(shared.n_clients.get() + 1);
        let shared = Rc::clone(&shared);
        spawn_local(async move {
            if let Err(error) = connection(client, number, &shared).await {
                debug!(%error, "a client's connection to its resolver broke off");
            }
            shared.n_clients.set(shared.n_clients.get() - 1);
        });
    }
}

async fn connection(client: TcpStream, number: usize, shared: &Rc<Shared>) -> io::Result<()> {
    let _ = client.set_nodelay(true);
    let (from_client, mut to_client) = client.into_split();
    let (answers, mut ready) = mpsc::channel::<Vec<u8>>(WAITING);
    let answering = async move {
        while let Some(answer) = ready.recv().await {
            timeout(IDLE, write(&mut to_client, &answer)).await??;
        }
        to_client.shutdown().await
    };
    // It ends when the client has no more questions, and the resolver no more answers.
    tokio::try_join!(answering, questions(from_client, number, answers, shared)).map(|_| ())
}

async fn questions(
    mut client: OwnedReadHalf,
    number: usize,
    answers: mpsc::Sender<Vec<u8>>,
    shared: &Rc<Shared>,
) -> io::Result<()> {
    let mut resolver: Option<Upstream> = None;
    while let Some(message) = timeout(IDLE, read(&mut client)).await?? {
        let step = match shared.step(number, &message, Transport::Tcp) {
            Step::Wait(service) => shared.step_later(number, &message, Transport::Tcp, &service).await,
            step => step,
        };
        let answer = match step {
            Step::Nothing | Step::Wait(_) => return Ok(()),
            Step::Answer(answer) => answer,
            Step::Forward(_, address) => {
                let there = resolver.take().filter(|resolver| resolver.is_open.get());
                let upstream = match there {
                    Some(upstream) => Ok(upstream),
                    None => Upstream::connect(address, &answers, shared).await,
                };
                match upstream {
                    Ok(mut upstream) => {
                        write(&mut upstream.to, &message).await?;
                        resolver = Some(upstream);
                        continue;
                    }
                    Err(error) => {
                        debug!(resolver = %address, %error, "not asked");
                        shared.counts.failed(Failed::Unreachable);
                        let Some(answer) = failed(&message) else { return Ok(()) };
                        answer
                    }
                }
            }
        };
        if answers.send(answer).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// The connection to a resolver.
struct Upstream {
    to: OwnedWriteHalf,
    /// Until it has said that there are no more answers.
    is_open: Rc<Cell<bool>>,
}

impl Upstream {
    async fn connect(
        address: SocketAddr,
        answers: &mpsc::Sender<Vec<u8>>,
        shared: &Rc<Shared>,
    ) -> io::Result<Self> {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await??;
        let _ = stream.set_nodelay(true);
        let (from, to) = stream.into_split();
        let is_open = Rc::new(Cell::new(true));
        let (own, answers, shared) = (Rc::clone(&is_open), answers.clone(), Rc::clone(shared));
        spawn_local(async move {
            if let Err(error) = pass_on(from, &answers, &shared).await {
                debug!(resolver = %address, %error, "broke off");
            }
            own.set(false);
        });
        Ok(Upstream { to, is_open })
    }
}

/// The resolver's answers, in their order.
async fn pass_on(
    mut resolver: OwnedReadHalf,
    answers: &mpsc::Sender<Vec<u8>>,
    shared: &Shared,
) -> io::Result<()> {
    while let Some(answer) = timeout(IDLE, read(&mut resolver)).await?? {
        let answer = if shared.learn(&answer).await { Some(answer) } else { failed(&answer) };
        let Some(answer) = answer else { break };
        if answers.send(answer).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// A message behind its length (RFC 1035, 4.2.2); `None`: there are no more.
async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut len = [0; 2];
    match from.read_exact(&mut len).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let mut message = vec![0; u16::from_be_bytes(len).into()];
    from.read_exact(&mut message).await?;
    Ok(Some(message))
}

async fn write(to: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    let len = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    // In one segment: some clients take the length alone for the message.
    to.write_all(&[&len.to_be_bytes(), message].concat()).await
}
