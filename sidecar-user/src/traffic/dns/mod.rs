//! Questions of the DNS that the programs caught: names of services are answered here, all others by the resolver that was
//! asked. A thread of its own.

mod counts;
mod sockets;
mod tcp;
mod udp;

use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    thread,
    time::Duration,
};

use sidecar_core::traffic::names::{Asked, Judged, Transport, addresses, failed, judge};
use tokio::{
    runtime,
    sync::watch,
    task::{LocalSet, spawn_blocking},
    time::sleep,
};
use tracing::warn;

use sockets::Set;
pub(super) use sockets::open;

use super::{apply::Traffic, trouble::Trouble};
use crate::kernel::Resolvers;
pub(crate) use counts::Questions;
use counts::{Failed, Outcome};

/// Questions that may wait for their answers: each has a socket of its own.
const OUTSTANDING: usize = 512;
/// Connections of clients at a time.
const CONNECTIONS: usize = 64;
/// How long an answer may take. Clients have given up before.
const PATIENCE: Duration = Duration::from_secs(6);

/// How long endpoints of a service may take to be known that is asked for first. Clients ask again after 5 s as a rule.
const ENDPOINTS_KNOWN: Duration = Duration::from_secs(2);

/// Between two looks for addresses that hold no longer.
const FORGET: Duration = Duration::from_secs(30);

/// The thread that answers.
pub(crate) struct Answerer {
    counts: Arc<Questions>,
    stop: watch::Sender<bool>,
    thread: thread::JoinHandle<()>,
}

/// What it needs, before it runs. Questions that come meanwhile wait.
pub(crate) struct Unanswered {
    pub(super) sockets: Vec<Set>,
    pub(super) resolvers: Resolvers,
}

impl Unanswered {
    /// Starts the thread. It inherits this thread's capabilities, of which it needs none.
    ///
    /// # Errors
    /// If there is no thread, or no runtime, to be had.
    pub(crate) fn start(self, traffic: &Arc<Traffic>) -> io::Result<Answerer> {
        let Unanswered { sockets, resolvers } = self;
        let counts = Arc::new(Questions::default());
        let (stop, stopped) = watch::channel(false);
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (own, traffic) = (Arc::clone(&counts), Arc::clone(traffic));
        let thread = thread::Builder::new().name("dns".into()).spawn(move || {
            let pulse = traffic.pulses.begin();
            let (n_clients, unsent) = (Cell::new(0), Rc::default());
            let shared = Rc::new(Shared { traffic, resolvers, counts: own, n_clients, unsent });
            let local = LocalSet::new();
            let inside = runtime.enter();
            for (number, set) in sockets.into_iter().enumerate() {
                if let Err(error) = set.serve(number, &shared, &local) {
                    warn!(%error, "a resolver's questions are not answered");
                }
            }
            local.spawn_local(forget(Arc::clone(&shared.traffic)));
            drop(inside);
            let mut stopped = stopped;
            runtime.block_on(local.run_until(async {
                tokio::select! {
                    // It ends with the sender, too.
                    _ = stopped.wait_for(|stops| *stops) => {}
                    () = pulse.beat() => {}
                }
            }));
        })?;
        Ok(Answerer { counts, stop, thread })
    }
}

impl Answerer {
    /// What it counts.
    pub(crate) fn counts(&self) -> Arc<Questions> {
        Arc::clone(&self.counts)
    }

    /// Ends it, with all that it waits for.
    pub(crate) fn stop(self) {
        let _ = self.stop.send(true);
        if self.thread.join().is_err() {
            tracing::error!("the thread that answers questions of the DNS panicked");
        }
    }
}

/// Lets go of addresses that hold no longer, for ever.
async fn forget(traffic: Arc<Traffic>) {
    loop {
        sleep(FORGET).await;
        let traffic = Arc::clone(&traffic);
        // It may wait for the kernel.
        let _ = spawn_blocking(move || traffic.forget()).await;
    }
}

/// What all sockets have in common. One thread's.
struct Shared {
    traffic: Arc<Traffic>,
    resolvers: Resolvers,
    counts: Arc<Questions>,
    n_clients: Cell<usize>,
    /// Answers that could not be sent.
    unsent: Rc<RefCell<Trouble>>,
}

/// What is to be done about a message.
enum Step {
    Answer(Vec<u8>),
    Forward(Asked, SocketAddr),
    /// Until this service's endpoints are known.
    Wait(String),
    Nothing,
}

impl Shared {
    /// Has a service's endpoints be known, and looks at a message again; without them in time the answer is that there is none.
    async fn step_later(&self, number: usize, message: &[u8], transport: Transport, service: &str) -> Step {
        let _waits = self.counts.waits();
        if self.traffic.await_endpoints(service, ENDPOINTS_KNOWN).await {
            let step = self.step(number, message, transport);
            if !matches!(step, Step::Wait(_)) {
                return step;
            }
        }
        self.counts.failed(Failed::NoEndpoints);
        failed(message).map_or(Step::Nothing, Step::Answer)
    }

    /// Looks at a message that came to a resolver's socket, and counts what becomes of it.
    fn step(&self, number: usize, message: &[u8], transport: Transport) -> Step {
        let Some(resolver) = self.resolvers.get(number) else {
            // Whoever found the port.
            self.counts.failed(Failed::Stranger);
            return Step::Nothing;
        };
        let (outcome, answer) = match judge(&self.traffic.names(), message, transport) {
            Judged::Answered(answer) => (Outcome::Answered, answer),
            Judged::NoData(answer) => (Outcome::NoData, answer),
            Judged::Refused(answer) => (Outcome::Refused, answer),
            Judged::Forward(asked) => {
                self.counts.ended(Outcome::Forwarded);
                return Step::Forward(asked, resolver);
            }
            Judged::Wait(service) => return Step::Wait(service),
            Judged::Malformed => {
                self.counts.failed(Failed::Malformed);
                return Step::Nothing;
            }
        };
        self.counts.ended(outcome);
        Step::Answer(answer)
    }

    /// Takes in what an answer says of a service's name, before the application hears it. `false`: the application must not
    /// hear it, as its connections would go by the service.
    async fn learn(&self, answer: &[u8]) -> bool {
        let (name, found) = addresses(answer);
        if found.is_empty() {
            return true;
        }
        let names = self.traffic.names();
        let Some(service) = names.real(&name) else { return true };
        if names.waits(service) {
            // Without them in time connections go where they ask.
            let _ = self.traffic.await_endpoints(service, ENDPOINTS_KNOWN).await;
        }
        let traffic = Arc::clone(&self.traffic);
        // It may wait for the kernel.
        match spawn_blocking(move || traffic.learn(&name, &found)).await {
            Ok(Ok(shared)) => {
                if shared {
                    self.counts.failed(Failed::Shared);
                }
                true
            }
            Ok(Err(_)) => {
                self.counts.failed(Failed::NotSteered);
                false
            }
            Err(_) => false,
        }
    }
}
