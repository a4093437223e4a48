//! Steering, from the settings to what is told of it: begun before the command, so that its first connection is steered.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use sidecar_core::{
    config::Config,
    model::{Directory, policy::Policy},
    signal::steering,
    traffic::crowded,
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};
use tracing::{error, info, warn};

use super::{logging::chain, pipeline::Handle, watching::Asks};
use crate::{
    config::load,
    discovery::executable::Root,
    kernel::{COME_IN, DATAGRAMS, Handover, PinError, Refusal, STEERING, Steering, TAKE_OVER},
    traffic::{
        Answerer, ApplyError, Questions, Relay, Relayed, Traffic, Usage, Waiting, Watched, relay_room,
    },
};

/// Between two looks whether the relay is empty.
const PACE: Duration = Duration::from_millis(50);

/// A policy in force.
pub(super) struct Steered {
    traffic: Arc<Traffic>,
    /// What the relay counts, once it runs.
    relayed: OnceLock<Arc<Relayed>>,
    /// Who reads the kernel's numbers, once it does.
    reader: Arc<OnceLock<Handle>>,
    /// Who answers questions of the DNS, where names are configured.
    answerer: Mutex<Option<Answerer>>,
    /// What that one counts, once it runs.
    questions: OnceLock<Arc<Questions>>,
    /// Who attaches programs, once that one runs.
    attacher: OnceLock<Asks>,
}

/// Why connections are not steered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The kernel did not take a program.
    #[error("{0}")]
    Refused(String),
    /// What is pinned is not to be taken.
    #[error("take what is pinned")]
    Pins(#[source] PinError),
    /// The policy could not be put in force.
    #[error("put the policy in force")]
    Apply(#[source] ApplyError),
}

/// Puts the policy in force, where there is one. The relay's connections wait for it to be started.
pub(super) fn begin(
    maps: Option<(Steering, Handover)>,
    unpinned: Option<PinError>,
    refused: &[Refusal],
    config: &Config,
) -> Result<Option<(Arc<Steered>, Waiting)>, Error> {
    if let Some(error) = unpinned {
        return Err(Error::Pins(error));
    }
    let Some(maps) = maps else { return Ok(None) };
    let pins = maps.0.pins().cloned();
    let begun = begin_with(maps, refused, config);
    if let (Err(_), Some(pins)) = (&begun, pins) {
        pins.give_up();
    }
    begun.map(Some)
}

fn begin_with(
    maps: (Steering, Handover),
    refused: &[Refusal],
    config: &Config,
) -> Result<(Arc<Steered>, Waiting), Error> {
    let is_needed =
        |name| STEERING.iter().chain(DATAGRAMS).chain([&TAKE_OVER, &COME_IN]).any(|row| row.name == name);
    if let Some(refusal) = refused.iter().find(|refusal| is_needed(refusal.program)) {
        // Half of them would do harm.
        return Err(Error::Refused(refusal.to_string()));
    }
    let (traffic, waiting) = Traffic::begin(maps, &config.traffic.policy()).map_err(Error::Apply)?;
    let steered = Steered {
        traffic: Arc::new(traffic),
        relayed: OnceLock::new(),
        reader: Arc::default(),
        answerer: Mutex::default(),
        questions: OnceLock::new(),
        attacher: OnceLock::new(),
    };
    let (services, inbound) = (config.traffic.services.len(), config.traffic.inbound.len());
    info!(services, inbound, pins = steered.pins(), "connections are steered");
    Ok((Arc::new(steered), waiting))
}

impl Steered {
    /// What the kernel's numbers stand for.
    pub(super) fn directory(&self) -> Directory {
        self.traffic.directory()
    }

    /// From now on this one is told what they stand for.
    pub(super) fn tell(&self, reader: Handle) {
        let _ = self.reader.set(reader);
    }

    /// From now on this one is asked for programs that are not at work yet.
    pub(super) fn attach_by(&self, attacher: Asks) {
        let _ = self.attacher.set(attacher);
    }

    /// Starts the relay. It inherits this thread's (empty) capabilities.
    pub(super) fn start(&self, mut waiting: Waiting) -> Option<Relay> {
        if let Some(unanswered) = waiting.unanswered() {
            match unanswered.start(&self.traffic) {
                Ok(answerer) => {
                    let _ = self.questions.set(answerer.counts());
                    *self.answerer() = Some(answerer);
                }
                Err(error) => {
                    error!(error = chain(&error), "nobody answers for names: connections go where they ask");
                    self.traffic.end();
                    return None;
                }
            }
        }
        match waiting.start() {
            Ok(relay) => {
                let _ = self.relayed.set(relay.counts());
                tell_crowded(&self.policy());
                Some(relay)
            }
            Err(error) => {
                error!(error = chain(&error), "the relay cannot run: connections are not carried");
                self.traffic.end();
                None
            }
        }
    }

    /// Whether what it takes runs.
    pub(super) fn is_at_work(&self) -> bool {
        self.relayed.get().is_some()
    }

    /// Whether the programs take it to hang.
    pub(super) fn is_late(&self) -> bool {
        self.traffic.is_late()
    }

    /// Whether the policy outlives the daemon.
    pub(super) fn is_pinned(&self) -> bool {
        self.traffic.pins().is_some()
    }

    /// In words, whether the policy outlives the daemon, and who tells of endpoints no more.
    pub(super) fn summary(&self) -> String {
        let stale = self.traffic.stale();
        if stale.is_empty() {
            return self.pins();
        }
        format!("{}; what these told last holds: {}", self.pins(), stale.join(", "))
    }

    fn pins(&self) -> String {
        match self.traffic.pins() {
            None => "not pinned".to_owned(),
            Some(pins) if pins.is_adopted() => {
                format!("pinned at {}, adopted from a daemon before", pins.dir().display())
            }
            Some(pins) => format!("pinned at {}", pins.dir().display()),
        }
    }

    /// Puts another policy in force. Blocks for some milliseconds, and longer where it is the first that something is denied or has a
    /// name in.
    pub(super) fn apply(&self, config: &Config) -> Result<(), ApplyError> {
        if config.traffic.wants_datagrams() {
            self.look_at_datagrams()?;
        }
        if config.traffic.has_names() {
            self.answer()?;
        }
        let policy = config.traffic.policy();
        self.traffic.apply(&policy, self.know())?;
        tell_crowded(&policy);
        Ok(())
    }

    /// Whether the programs are at work when it returns, those that were already among them.
    fn look_at_datagrams(&self) -> Result<(), ApplyError> {
        let (reply, answer) = oneshot::channel();
        // Nobody attaches any more where the daemon stops.
        let asked = self.attacher.get().is_some_and(|attacher| attacher.blocking_send(reply).is_ok());
        let answer = asked.then(|| answer.blocking_recv().ok()).flatten();
        answer.unwrap_or(Ok(())).map_err(ApplyError::Programs)
    }

    /// Starts to answer for resolvers, if nobody does.
    fn answer(&self) -> Result<(), ApplyError> {
        let answerer = &mut *self.answerer();
        if answerer.is_none() {
            let started = self.traffic.answer()?.start(&self.traffic).map_err(ApplyError::Answer)?;
            let _ = self.questions.set(started.counts());
            *answerer = Some(started);
        }
        Ok(())
    }

    /// Where whoever sees something of an endpoint says so.
    pub(super) fn watched(&self) -> Watched {
        self.traffic.watched()
    }

    /// Signs of life for the programs, judgements of endpoints and questions for them, for ever.
    pub(super) async fn live(&self) {
        let Steered { traffic, .. } = self;
        tokio::join!(
            traffic.live(),
            traffic.watch(),
            traffic.follow(self.know()),
            traffic.keep_own(self.know())
        );
    }

    /// Tells whoever reads the kernel's numbers what they stand for.
    fn know(&self) -> impl Fn(Directory) + Clone + Send + 'static {
        let reader = Arc::clone(&self.reader);
        move |directory| {
            if let Some(reader) = reader.get() {
                reader.know(directory);
            }
        }
    }

    /// No new connections are steered. Those that the relay carries, and questions that wait for a resolver, may come
    /// to their end until the deadline.
    pub(super) async fn end(&self, relay: &Relay, deadline: Duration) {
        self.traffic.end();
        let until = Instant::now() + deadline;
        let n_asked = || self.questions.get().map_or(0, |questions| questions.n_outstanding());
        while relay.n_active() + n_asked() > 0 && Instant::now() < until {
            sleep(PACE).await;
        }
        if let Some(answerer) = self.answerer().take() {
            answerer.stop();
        }
        let cut = relay.n_active();
        if cut > 0 {
            info!(connections = cut, "the relay's connections are cut off");
        }
    }

    /// Looks what executables stand for that services except, in our root and in `others`.
    pub(super) fn look(&self, others: impl FnOnce() -> Vec<Root>) {
        self.traffic.look_at_roots(others);
    }

    /// What holds.
    pub(super) fn policy(&self) -> Policy {
        self.traffic.policy()
    }

    /// Where a name of a service leads.
    pub(super) fn locate(&self, name: &str) -> Result<IpAddr, String> {
        self.traffic.locate(name)
    }

    /// Whether an address is this network namespace's own.
    pub(super) fn has_own(&self, address: IpAddr) -> bool {
        self.traffic.has_own(address)
    }

    /// What goes on at a service.
    pub(super) fn usage(&self, service: &str) -> Option<Usage> {
        self.traffic.usage(service)
    }

    /// What the metrics tell.
    pub(super) fn read(&self) -> steering::Steering {
        let (decisions, services, endpoints) = self.traffic.read();
        let sources = self.traffic.read_sources();
        let relay = self.relayed.get().map(|relayed| relayed.read()).unwrap_or_default();
        let pinned = self.traffic.pins().map(|pins| pins.is_adopted());
        let heartbeat = self.traffic.heartbeat();
        let questions = self.questions.get();
        let names = questions.map(|questions| questions.read(self.traffic.n_learned())).unwrap_or_default();
        let arrivals = self.traffic.arrivals();
        steering::Steering {
            decisions,
            arrivals,
            services,
            endpoints,
            relay,
            pinned,
            heartbeat,
            names,
            sources,
        }
    }

    fn answerer(&self) -> MutexGuard<'_, Option<Answerer>> {
        self.answerer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says which limits are beyond what the relay can carry.
fn tell_crowded(policy: &Policy) {
    for one in crowded(policy, relay_room()) {
        warn!("{}", load::notice(one));
    }
}
