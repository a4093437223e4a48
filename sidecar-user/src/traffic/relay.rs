//! The relay: takes connections that the kernel handed over, and carries each to where its client wanted.

use std::{
    io,
    net::{Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::net::sockopt::set_socket_linger;
use sidecar_core::signal::steering;
use sidecar_ebpf::abi::steer::Handed;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime,
    sync::watch,
    task::LocalSet,
    time::sleep,
};
use tracing::{debug, warn};

use super::{carry, dns::Unanswered};
use crate::kernel::Handover;

/// After accept() failed: as a rule there are no descriptors left, and somebody has to close one.
const PAUSE: Duration = Duration::from_millis(50);

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
            failures: [get(&self.strangers), get(&self.unreached), get(&self.broken), get(&self.refused)],
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
    pub(super) listeners: Vec<std::net::TcpListener>,
    pub(super) handover: Handover,
    /// Those of the DNS, where names are configured.
    pub(super) unanswered: Option<Unanswered>,
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
        let Waiting { listeners, handover, .. } = self;
        let counts = Arc::new(Relayed::default());
        let (stop, stopped) = watch::channel(false);
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let listeners = {
            let _inside = runtime.enter();
            listeners.into_iter().map(TcpListener::from_std).collect::<io::Result<Vec<_>>>()?
        };
        let (own, handover) = (Arc::clone(&counts), Arc::new(handover));
        let thread = thread::Builder::new().name("relay".into()).spawn(move || {
            let local = LocalSet::new();
            for listener in listeners {
                local.spawn_local(serve(listener, Arc::clone(&handover), Arc::clone(&own)));
            }
            let mut stopped = stopped;
            runtime.block_on(local.run_until(async {
                // It ends with the sender, too.
                let _ = stopped.wait_for(|stops| *stops).await;
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

async fn serve(listener: TcpListener, handover: Arc<Handover>, counts: Arc<Relayed>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                counts.refused.fetch_add(1, Ordering::Relaxed);
                warn!(%error, "the relay cannot accept");
                sleep(PAUSE).await;
                continue;
            }
        };
        let Some(handed) = handover.of(&stream) else {
            // Whoever found the port. Where it wanted to go nobody knows.
            counts.strangers.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        counts.accepted.fetch_add(1, Ordering::Relaxed);
        let counts = Arc::clone(&counts);
        tokio::task::spawn_local(async move {
            connection(stream, handed, &counts).await;
            counts.ended.fetch_add(1, Ordering::Relaxed);
        });
    }
}

async fn connection(mut client: TcpStream, handed: Handed, counts: &Relayed) {
    let address = SocketAddr::new(Ipv6Addr::from(handed.to).to_canonical(), handed.to_port);
    let mut server = match TcpStream::connect(address).await {
        Ok(server) => server,
        Err(error) => {
            counts.unreached.fetch_add(1, Ordering::Relaxed);
            debug!(%address, %error, "not reached");
            reset(&client);
            return;
        }
    };
    for stream in [&client, &server] {
        // Without it each small write would wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
    }
    match carry::both(&mut client, &mut server).await {
        Ok((sent, received)) => {
            counts.bytes[0].fetch_add(sent, Ordering::Relaxed);
            counts.bytes[1].fetch_add(received, Ordering::Relaxed);
        }
        Err(error) => {
            counts.broken.fetch_add(1, Ordering::Relaxed);
            debug!(%address, %error, "broken off");
            // Neither side may take what it has for all.
            reset(&client);
            reset(&server);
        }
    }
}

/// Closing it will be a reset.
fn reset(stream: &TcpStream) {
    let _ = set_socket_linger(stream, Some(Duration::ZERO));
}
