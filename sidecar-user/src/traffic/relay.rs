//! The relay: takes connections that the kernel handed over, and carries each to where its client wanted.

use std::{
    cell::RefCell,
    io,
    net::{Ipv6Addr, SocketAddr},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    net::sockopt,
    process::{Resource, getrlimit},
};
use sidecar_core::signal::steering;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    runtime,
    sync::watch,
    task::LocalSet,
    time::sleep,
};
use tracing::{debug, info, warn};

use super::{
    carry,
    dns::Unanswered,
    doors::{Doors, Entered},
    health::Watched,
    pulse::Pulses,
    trouble::{Trouble, end_of},
};
use crate::kernel::{Handover, bind_no_port, clock};

/// After accept() failed: as a rule there are no descriptors left, and somebody has to close one.
const PAUSE: Duration = Duration::from_millis(50);

/// Descriptors of a connection: to the client, and to the server.
const OF_EACH: u64 = 2;
/// Descriptors at most that are left to others: maps, listeners, questions of the DNS, whoever asks for metrics.
const RESERVED: u64 = 1024;

/// After so long without a byte a peer is asked whether it is there, then each `ASKING`; `TIMES` in vain, and it is gone.
const IDLE: Duration = Duration::from_secs(60);
const ASKING: Duration = Duration::from_secs(15);
const TIMES: u32 = 4;

/// What the relay counts. Only grows.
#[derive(Debug, Default)]
pub(crate) struct Relayed {
    /// Connections taken over.
    accepted: AtomicU64,
    /// Of these, those that are over.
    ended: AtomicU64,
    /// Connections that nobody handed over: closed.
    strangers: AtomicU64,
    /// Connections whose destination could not be reached.
    unreached: AtomicU64,
    /// Connections that were cut short by either side, or by an error.
    broken: AtomicU64,
    /// Times that accept() failed.
    refused: AtomicU64,
    /// Connections for which the machine had no local port towards their destination.
    portless: AtomicU64,
    /// Connections for which there were no descriptors.
    crowded: AtomicU64,
    /// Connections that came in, of whose client the application was not told.
    unnamed: AtomicU64,
    /// Bytes to servers, and to clients.
    bytes: [AtomicU64; 2],
}

impl Relayed {
    fn n_active(&self) -> u64 {
        let [accepted, ended] = [&self.accepted, &self.ended].map(|n| n.load(Ordering::Relaxed));
        accepted.saturating_sub(ended)
    }

    /// As the metrics tell it.
    pub(crate) fn read(&self) -> steering::Relay {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        steering::Relay {
            accepted: get(&self.accepted),
            active: self.n_active(),
            bytes: [get(&self.bytes[0]), get(&self.bytes[1])],
            failures: [
                get(&self.strangers),
                get(&self.unreached),
                get(&self.broken),
                get(&self.refused),
                get(&self.portless),
                get(&self.crowded),
                get(&self.unnamed),
            ],
        }
    }
}

/// The thread that carries.
pub(crate) struct Relay {
    counts: Arc<Relayed>,
    stop: watch::Sender<bool>,
    thread: thread::JoinHandle<()>,
}

/// What the relay needs, before it runs. Connections that come meanwhile wait.
pub(crate) struct Waiting {
    /// To them goes what the application dials.
    pub(super) listeners: Vec<std::net::TcpListener>,
    /// To them goes what comes in.
    pub(super) inbound: Vec<std::net::TcpListener>,
    pub(super) handover: Handover,
    pub(super) doors: Doors,
    /// Those of the DNS, where names are configured.
    pub(super) unanswered: Option<Unanswered>,
    pub(super) watched: Watched,
    pub(super) pulses: Pulses,
}

impl Waiting {
    /// What answers questions of the DNS, before it runs.
    pub(crate) fn unanswered(&mut self) -> Option<Unanswered> {
        self.unanswered.take()
    }

    /// Starts the thread. It inherits this thread's capabilities, of which it needs none.
    ///
    /// # Errors
    /// If there is no thread, or no runtime, to be had.
    pub(crate) fn start(self) -> io::Result<Relay> {
        let Waiting { listeners, inbound, handover, doors, watched, pulses, .. } = self;
        let counts = Arc::new(Relayed::default());
        let room = room();
        let (stop, stopped) = watch::channel(false);
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let serving: Vec<_> = {
            let _inside = runtime.enter();
            let out = listeners.into_iter().map(|listener| (listener, None));
            let all = out.chain(inbound.into_iter().map(|listener| (listener, Some(doors.clone()))));
            all.map(|(listener, doors)| Ok((TcpListener::from_std(listener)?, doors)))
                .collect::<io::Result<_>>()?
        };
        let (own, handover) = (Arc::clone(&counts), Arc::new(handover));
        let thread = thread::Builder::new().name("relay".into()).spawn(move || {
            let (local, trouble, pulse) = (LocalSet::new(), Rc::default(), pulses.begin());
            for (listener, doors) in serving {
                let (handover, counts) = (Arc::clone(&handover), Arc::clone(&own));
                let (watched, trouble) = (watched.clone(), Rc::clone(&trouble));
                local
                    .spawn_local(serve(listener, Server { handover, counts, doors, watched, room, trouble }));
            }
            let mut stopped = stopped;
            runtime.block_on(local.run_until(async {
                tokio::select! {
                    // It ends with the sender, too.
                    _ = stopped.wait_for(|stops| *stops) => {}
                    () = pulse.beat() => {}
                }
            }));
        })?;
        Ok(Relay { counts, stop, thread })
    }
}

impl Relay {
    /// What it counts.
    pub(crate) fn counts(&self) -> Arc<Relayed> {
        Arc::clone(&self.counts)
    }

    /// Connections that it carries now.
    pub(crate) fn n_active(&self) -> u64 {
        self.counts.n_active()
    }

    /// Ends it, with all that it carries.
    pub(crate) fn stop(self) {
        let _ = self.stop.send(true);
        if self.thread.join().is_err() {
            tracing::error!("the relay panicked");
        }
    }
}

/// What a listener goes by.
struct Server {
    handover: Arc<Handover>,
    counts: Arc<Relayed>,
    /// Where connections come in; else the application dials.
    doors: Option<Doors>,
    watched: Watched,
    /// Connections of all listeners together.
    room: u64,
    /// Of all listeners together, too.
    trouble: Rc<RefCell<Trouble>>,
}

/// A connection that was steered here.
struct Steered {
    /// Where it goes.
    to: SocketAddr,
    /// Whom the application is to see; `None`: the connection goes out.
    client: Option<SocketAddr>,
    /// Its place, while it lasts.
    entered: Option<Entered>,
}

async fn serve(listener: TcpListener, server: Server) {
    let counts = &server.counts;
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                counts.refused.fetch_add(1, Ordering::Relaxed);
                if server.trouble.borrow_mut().failed(Instant::now()) {
                    warn!(%error, "the relay cannot accept");
                    tokio::task::spawn_local(tell_the_end(Rc::clone(&server.trouble)));
                }
                sleep(PAUSE).await;
                continue;
            }
        };
        if counts.n_active() >= server.room {
            counts.crowded.fetch_add(1, Ordering::Relaxed);
            reset(&stream);
            continue;
        }
        let Some(steered) = server.steered(&listener, &stream, peer) else { continue };
        counts.accepted.fetch_add(1, Ordering::Relaxed);
        let (counts, handover) = (Arc::clone(counts), Arc::clone(&server.handover));
        let watched = server.watched.clone();
        tokio::task::spawn_local(async move {
            connection(stream, steered, &handover, &counts, &watched).await;
            counts.ended.fetch_add(1, Ordering::Relaxed);
        });
    }
}

/// Says that accepting works again, once it does.
async fn tell_the_end(trouble: Rc<RefCell<Trouble>>) {
    let failures = end_of(trouble).await;
    info!(failures, "the relay accepts again");
}

impl Server {
    /// Where a connection wanted to go; `None`: it is to be closed.
    fn steered(&self, listener: &TcpListener, stream: &TcpStream, peer: SocketAddr) -> Option<Steered> {
        let stranger = || {
            // Whoever found the port. Where it wanted to go nobody knows.
            self.counts.strangers.fetch_add(1, Ordering::Relaxed);
            None
        };
        let Some(doors) = &self.doors else {
            let Some(handed) = self.handover.of(stream) else { return stranger() };
            let to = SocketAddr::new(Ipv6Addr::from(handed.to).to_canonical(), handed.to_port);
            return Some(Steered { to, client: None, entered: None });
        };
        // What the kernel gave us still has the address that was dialled.
        let (Ok(to), Ok(own)) = (stream.local_addr(), listener.local_addr()) else { return stranger() };
        if to == own {
            return stranger();
        }
        match doors.enter(peer, to.port()) {
            Ok(entered) => Some(Steered { to, client: Some(peer), entered }),
            Err(_) => {
                reset(stream);
                None
            }
        }
    }
}

/// What a connection to a server could not be made for, although the server may be well.
enum Lack {
    /// All local ports are taken by connections to the same address and port.
    Port,
    Descriptor,
}

impl Lack {
    fn of(error: &io::Error) -> Option<Lack> {
        match Errno::from_io_error(error)? {
            Errno::ADDRNOTAVAIL => Some(Lack::Port),
            Errno::MFILE | Errno::NFILE => Some(Lack::Descriptor),
            _ => None,
        }
    }
}

/// How many connections there may be with the descriptors that the process may have.
pub(crate) fn room() -> u64 {
    let descriptors = getrlimit(Resource::Nofile).current;
    descriptors.map_or(u64::MAX, |all| (all - RESERVED.min(all / 4)) / OF_EACH)
}

/// One of a connection's two streams. Where it does not come to its end, also because the daemon ends, closing it is a reset:
/// neither side may take what it has for all.
struct Leg {
    stream: TcpStream,
    is_over: bool,
}

impl Leg {
    fn new(stream: TcpStream) -> Leg {
        Leg { stream, is_over: false }
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        if !self.is_over {
            reset(&self.stream);
        }
    }
}

async fn connection(
    client: TcpStream,
    steered: Steered,
    handover: &Handover,
    counts: &Relayed,
    watched: &Watched,
) {
    let address = steered.to;
    let mut client = Leg::new(client);
    let begun = Instant::now();
    let server = dial(&steered, handover, counts).await;
    let lack = server.as_ref().err().and_then(Lack::of);
    if steered.client.is_none() && lack.is_none() {
        let reached = server.is_ok().then(|| begun.elapsed());
        watched.lock().relayed(clock::now(), address, reached);
    }
    let mut server = match server {
        Ok(server) => Leg::new(server),
        Err(error) => {
            let count = match lack {
                Some(Lack::Port) => &counts.portless,
                Some(Lack::Descriptor) => &counts.crowded,
                None => &counts.unreached,
            };
            count.fetch_add(1, Ordering::Relaxed);
            debug!(%address, %error, "not reached");
            return;
        }
    };
    for Leg { stream, .. } in [&client, &server] {
        // Without it each small write would wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        // Else reading would leave out what was sent as urgent (MSG_OOB).
        let _ = sockopt::set_socket_oobinline(stream, true);
        keep_alive(stream);
    }
    match carry::both(&mut client.stream, &mut server.stream, &counts.bytes).await {
        Ok(()) => [client.is_over, server.is_over] = [true, true],
        Err(error) => {
            counts.broken.fetch_add(1, Ordering::Relaxed);
            debug!(%address, %error, "broken off");
        }
    }
}

async fn dial(steered: &Steered, handover: &Handover, counts: &Relayed) -> io::Result<TcpStream> {
    let Some(client) = steered.client else { return TcpStream::connect(steered.to).await };
    let socket = if steered.to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // By itself Linux dials a secondary address from the primary one: that would come in here again.
    let mut own = steered.to;
    own.set_port(0);
    bind_no_port(&socket)?;
    // An address that is gone is no lack of ports.
    socket.bind(own).map_err(io::Error::other)?;
    let service = steered.entered.as_ref().map(Entered::service);
    if let Err(error) = handover.bring(&socket, client, service) {
        counts.unnamed.fetch_add(1, Ordering::Relaxed);
        debug!(%client, error = %error, "the application will not see who came in");
    }
    socket.connect(steered.to).await
}

/// Who vanished without a word is asked after a while, so that neither its place nor its other leg is kept for ever.
fn keep_alive(stream: &TcpStream) {
    let _ = sockopt::set_socket_keepalive(stream, true)
        .and_then(|()| sockopt::set_tcp_keepidle(stream, IDLE))
        .and_then(|()| sockopt::set_tcp_keepintvl(stream, ASKING))
        .and_then(|()| sockopt::set_tcp_keepcnt(stream, TIMES));
}

/// Closing it will be a reset.
fn reset(stream: &TcpStream) {
    let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}
