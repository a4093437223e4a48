//! Tells the kernel what the user wants: a plan as a whole, or not at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use sidecar_core::{
    model::{
        Arrivals, Directory, Inbound,
        policy::{Policy, Service},
    },
    signal::{endpoints::Endpoints, kernel, steering},
    traffic::{
        Change, Full, Now, Planner,
        health::Judge,
        names::{self, Known, Learned, Names, Shared},
        sources::Sources,
    },
};
use tokio::{
    sync::{Notify, watch},
    time::{MissedTickBehavior, interval},
};
use tracing::warn;

use super::{
    ROOM, dns,
    dns::Unanswered,
    doors::Doors,
    executables::{self, Executables, Found},
    health::{self, Watched},
    listen,
    pulse::{BEAT, Pulses},
    relay::Waiting,
    sources,
    trouble::Troubles,
};
use crate::{
    chain::chain,
    discovery::executable::Root,
    kernel::{Handover, Pins, SteerError, Steering, clock, netns_cookie},
};

/// Why a policy is not in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// There is too much of it.
    #[error("make a plan")]
    Full(#[source] Full),
    /// The kernel was not told.
    #[error("tell the kernel")]
    Kernel(#[source] SteerError),
    /// The relay has no listeners.
    #[error("open the relay's listeners")]
    Listen(#[source] io::Error),
    /// Not all programs are at work that it takes.
    #[error("attach programs")]
    Programs(#[source] crate::kernel::Error),
    /// Executables cannot be looked for.
    #[error("open the root")]
    Root(#[source] io::Error),
    /// Nobody could answer for resolvers.
    #[error("open the sockets that stand for resolvers")]
    Answer(#[source] io::Error),
}

/// What goes on at a service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Usage {
    /// Connections that hold a place.
    pub(crate) active: u64,
    /// All, by verdict.
    pub(crate) verdicts: Vec<(&'static str, u64)>,
    /// What is measured of its endpoints.
    pub(crate) endpoints: BTreeMap<SocketAddr, Now>,
    /// What is known of its sources, a line each.
    pub(crate) sources: Vec<String>,
}

/// What is in force. One plan is applied at a time.
pub(crate) struct Traffic {
    state: Mutex<State>,
    /// Of the policy that holds.
    names: Mutex<Arc<Names>>,
    /// Services whose names were asked for, and that wait.
    pub(super) asked_for: Mutex<BTreeSet<String>>,
    /// Told where that gets more.
    pub(super) wanted: Notify,
    /// Moves with each word of a source that is in force.
    pub(super) renewed: watch::Sender<u64>,
    /// Of threads that the signs of life speak for.
    pub(super) pulses: Pulses,
}

pub(super) struct State {
    pub(super) steering: Steering,
    pub(super) planner: Planner,
    /// Whether endpoints are well.
    pub(super) judge: Judge,
    pub(super) watched: Watched,
    /// Services of the plan that holds, with their numbers.
    services: Vec<(String, u32)>,
    /// As the user said it.
    pub(super) policy: Policy,
    /// What resolvers told besides.
    learned: Learned,
    /// Services of which it was said that a name of the first has an address of the second's, under this policy.
    shared: BTreeSet<(String, String)>,
    /// What sources told besides, and who has begun.
    pub(super) sources: Sources,
    /// Uses of services that wait, at the time when they began to.
    pub(super) uses: BTreeMap<String, u64>,
    /// What paths of executables stand for.
    executables: Executables,
    /// For what comes in.
    doors: Doors,
    pub(super) troubles: Troubles,
    /// Signs of life that came too late.
    n_late: u64,
    /// Addresses of this network namespace.
    pub(super) own: Arc<BTreeSet<IpAddr>>,
    /// What came in.
    arrivals: Arc<Arrivals>,
}

impl Traffic {
    /// Puts the first policy in force: opens the relay's listeners, and lets the programs steer.
    ///
    /// # Errors
    /// [`ApplyError`]; then nothing is steered.
    pub(crate) fn begin(
        (mut steering, handover): (Steering, Handover),
        policy: &Policy,
    ) -> Result<(Self, Waiting), ApplyError> {
        let listeners = listen::open().map_err(ApplyError::Listen)?;
        let addresses =
            listeners.iter().map(std::net::TcpListener::local_addr).collect::<io::Result<Vec<_>>>();
        let addresses = addresses.map_err(ApplyError::Listen)?;
        let netns = netns_cookie(&listeners[0]).map_err(ApplyError::Listen)?;
        // Asked of the kernel only once the first policy holds.
        let inbound = if policy.inbound.is_empty() {
            Vec::new()
        } else {
            listen::inbound().map_err(ApplyError::Listen)?
        };
        let tell = |steering: &mut Steering| {
            for (listener, is_v6) in inbound.iter().zip([false, true]) {
                steering.take_in(listener, is_v6)?;
            }
            listeners.iter().try_for_each(|listener| steering.mark(listener))?;
            steering.listen(netns, &addresses)?;
            // Whom a daemon before let try an endpoint.
            (0..ROOM.services).try_for_each(|service| steering.try_none(service))?;
            steering.beat(policy.heartbeat)
        };
        tell(&mut steering).map_err(ApplyError::Kernel)?;
        let (planner, found) = match steering.found().map_err(ApplyError::Kernel)? {
            Some(found) => {
                (Planner::adopted(ROOM, &found, |target| steering.load(target) == 0), found.learned)
            }
            None => (Planner::new(ROOM), Vec::new()),
        };
        let (learned, kept) = Learned::adopted(&found, &Names::new(policy), now());
        let has_names = policy.services.iter().any(|service| !service.hosts.is_empty());
        let unanswered = if has_names { unanswered(&mut steering)? } else { None };
        let doors = Doors::new();
        // What was warm stays warm.
        let sources = Sources::adopted(planner.begun());
        let state = State {
            steering,
            planner,
            judge: Judge::default(),
            watched: Watched::default(),
            services: Vec::new(),
            policy: Policy::default(),
            learned,
            shared: BTreeSet::new(),
            sources,
            uses: BTreeMap::new(),
            executables: Executables::default(),
            doors: doors.clone(),
            troubles: Troubles::default(),
            n_late: 0,
            own: Arc::default(),
            arrivals: Arc::default(),
        };
        let traffic = Traffic {
            state: Mutex::new(state),
            names: Mutex::default(),
            asked_for: Mutex::default(),
            wanted: Notify::new(),
            renewed: watch::Sender::new(0),
            pulses: Pulses::default(),
        };
        traffic.look_at_own(|_| {});
        traffic.apply(policy, |_| {})?;
        traffic.lock().steering.write(&kept).map_err(ApplyError::Kernel)?;
        let (watched, pulses) = (traffic.watched(), traffic.pulses.clone());
        Ok((traffic, Waiting { listeners, inbound, handover, doors, unanswered, watched, pulses }))
    }

    /// Puts a policy in force. When it returns, no connection is decided by the one before. Blocks for some milliseconds: for
    /// as long as programs that run may take.
    ///
    /// `know` is told what the kernel's numbers stand for, before the first connection is decided by them.
    ///
    /// # Errors
    /// [`ApplyError`]; then the one before stays.
    pub(crate) fn apply(&self, policy: &Policy, know: impl Fn(Directory)) -> Result<(), ApplyError> {
        let state = &mut *self.lock();
        let mut learned = state.learned.under(&Names::new(policy));
        learned.forget(now());
        let before = state.merged();
        let in_force = |name: &str| {
            let service = before.services.iter().find(|service| service.name == name);
            service.map(|service| service.endpoints.clone()).unwrap_or_default()
        };
        let sources = state.sources.under(policy, in_force);
        let merged = learned.added_to(&sources.added_to(policy));
        let own = Root::own().map_err(ApplyError::Root)?;
        let known = state.executables.clone();
        state.executables.take(known.with(Found::look(executables::paths(policy), &[own])));
        let put = state.keep(&learned.changes(&state.learned)).and_then(|()| state.put(&merged, know));
        if let Err(error) = put {
            let _ = state.keep(&state.learned.changes(&learned));
            state.executables.go_back(known);
            return Err(error);
        }
        state.executables.tell(&known);
        (state.policy, state.learned, state.sources) = (policy.clone(), learned, sources);
        state.shared.clear();
        state.steering.catch(self.set_names(&merged)).map_err(ApplyError::Kernel)?;
        self.renewed.send_modify(|n| *n += 1);
        Ok(())
    }

    /// The names that are ours, from now on; whether there are any.
    pub(super) fn set_names(&self, merged: &Policy) -> bool {
        let names = Names::new(merged);
        let has_any = !names.is_empty();
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(names);
        has_any
    }

    /// What answers for resolvers, before it runs: for a policy that is the first with names.
    ///
    /// # Errors
    /// [`ApplyError`]; also where another was made before.
    pub(crate) fn answer(&self) -> Result<Unanswered, ApplyError> {
        let gone = || ApplyError::Answer(io::Error::other("whoever answered before is gone"));
        unanswered(&mut self.lock().steering)?.ok_or_else(gone)
    }

    /// The names that are ours.
    pub(super) fn names(&self) -> Arc<Names> {
        Arc::clone(&self.names.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes addresses those of a name's service that a resolver told of it, each for so many seconds. When it returns, connections
    /// to them are steered. Whether one of them is another service's, too. Blocks as `apply` does, where there is a new one.
    ///
    /// # Errors
    /// [`ApplyError`]; then they are not.
    pub(super) fn learn(&self, name: &str, addresses: &[(IpAddr, u32)]) -> Result<bool, ApplyError> {
        let state = &mut *self.lock();
        let names = self.names();
        // Other settings may have come meanwhile.
        let Some(service) = names.real(name) else { return Ok(false) };
        let mut learned = state.learned.clone();
        let shared_with = learned.learn(&state.policy, [service, name], addresses, now());
        if let Err(error) = state.go_by(learned) {
            if state.troubles.names.failed(Instant::now()) {
                warn!(error = chain(&error), "addresses of a name are not steered: they are not told");
            }
            return Err(error);
        }
        if let Some(Shared { address, with }) = &shared_with
            && state.shared.insert((service.to_owned(), with.clone()))
        {
            warn!(
                service,
                other = with,
                %address,
                "an address of a name is another service's, too: the first in the file gets its connections"
            );
        }
        Ok(shared_with.is_some())
    }

    /// Lets go of addresses of names that hold no longer. Blocks as `apply` does, where there are any.
    pub(super) fn forget(&self) {
        let state = &mut *self.lock();
        let mut learned = state.learned.clone();
        learned.forget(now());
        if let Err(error) = state.go_by(learned)
            && state.troubles.names.failed(Instant::now())
        {
            warn!(error = chain(&error), "addresses of names are steered longer than they hold");
        }
    }

    /// Looks what executables stand for that services except, in our root and in `others`. Blocks as `apply` does, where that
    /// is something else than before.
    pub(crate) fn look_at_roots(&self, others: impl FnOnce() -> Vec<Root>) {
        let paths = executables::paths(&self.lock().policy);
        if paths.is_empty() {
            return;
        }
        let roots: Vec<_> = Root::own().into_iter().chain(others()).collect();
        let found = Found::look(paths.clone(), &roots);
        let state = &mut *self.lock();
        if executables::paths(&state.policy) != paths {
            // Another policy came meanwhile.
            return;
        }
        let (known, differs) = (state.executables.clone(), state.executables.differs(&found));
        state.executables.take(found);
        if !differs {
            return;
        }
        match state.put(&state.merged(), |_| {}) {
            Ok(()) => state.executables.tell(&known),
            Err(error) => {
                if state.troubles.executables.failed(Instant::now()) {
                    warn!(error = chain(&error), "executable files are excepted as they were");
                }
                state.executables.go_back(known);
            }
        }
    }

    /// How many addresses of names are known.
    pub(crate) fn n_learned(&self) -> usize {
        self.lock().learned.addresses().len()
    }

    /// What the kernel's numbers stand for.
    pub(crate) fn directory(&self) -> Directory {
        let state = self.lock();
        state.directory(&state.policy)
    }

    /// Lets every connection go where it asks, but where the policy outlives us.
    pub(crate) fn end(&self) {
        let steering = &mut self.lock().steering;
        if let Err(error) = steering.catch(false).and_then(|()| steering.off()) {
            warn!(error = chain(&error), "connections may still be steered");
        }
    }

    /// Signs of life, for ever, as long as the threads run that connections and questions are sent to.
    pub(crate) async fn live(&self) {
        let mut ticks = interval(BEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let State { steering, policy, troubles, n_late, .. } = &mut *self.lock();
            if self.pulses.are_felt(clock::now()) {
                *n_late += u64::from(steering.is_late());
                if let Err(error) = steering.beat(policy.heartbeat)
                    && troubles.beats.failed(Instant::now())
                {
                    warn!(error = chain(&error), "no sign of life could be given");
                }
            }
            troubles.tell(Instant::now());
        }
    }

    /// Whether the policy outlives us, and whether it was there before.
    pub(crate) fn pins(&self) -> Option<Pins> {
        self.lock().steering.pins().cloned()
    }

    /// Whether the programs take us to hang.
    pub(crate) fn is_late(&self) -> bool {
        self.lock().steering.is_late()
    }

    /// Signs of life.
    pub(crate) fn heartbeat(&self) -> steering::Heartbeat {
        let state = self.lock();
        steering::Heartbeat { age: state.steering.beaten(), n_late: state.n_late }
    }

    /// What came in.
    pub(crate) fn arrivals(&self) -> Arc<Arrivals> {
        Arc::clone(&self.lock().arrivals)
    }

    /// What became of connections, in all and by service.
    pub(crate) fn read(&self) -> (Vec<steering::Decision>, Vec<steering::Service>, Endpoints) {
        let endpoints = health::read(self.standings());
        let state = self.lock();
        let service = |(name, number): &(String, u32)| {
            let (active, verdicts) = state.steering.usage(*number);
            // A name is that of one which goes out, or of one which comes in.
            let active = active + u64::from(state.doors.n_open(name));
            let told =
                state.policy.services.iter().chain(&state.policy.inbound).find(|told| told.name == *name);
            let limit = told.and_then(|told| told.limits.connections);
            let (verdicts, refused) = (kernel::verdicts(verdicts), state.doors.refused(name));
            steering::Service { name: name.clone(), active, limit, verdicts, refused }
        };
        let services = state.services.iter().map(service).collect();
        (kernel::decisions(&state.steering.decisions()), services, endpoints)
    }

    /// Whether an address is this network namespace's own.
    pub(crate) fn has_own(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.lock().own.contains(&address)
    }

    /// What holds, with what resolvers and sources told besides.
    pub(crate) fn policy(&self) -> Policy {
        self.lock().merged()
    }

    /// Where a name of a service leads, as far as anybody was told.
    ///
    /// # Errors
    /// In words, where it leads nowhere yet, or is no service's.
    pub(crate) fn locate(&self, name: &str) -> Result<IpAddr, String> {
        let state = self.lock();
        match Names::new(&state.merged()).find(name) {
            None => Err(format!("no service has the name `{name}`: give the address that it resolves to")),
            Some(Known::Virtual(_, both)) => both
                .iter()
                .flatten()
                .next()
                .copied()
                .ok_or_else(|| format!("`{name}` has no address: its service has no endpoint")),
            Some(Known::Real(_)) => state.learned.of(name).next().ok_or_else(|| {
                format!(
                    "no resolver told of an address of `{name}` yet: give the address that it resolves to"
                )
            }),
        }
    }

    /// What goes on at a service of the plan that holds.
    pub(crate) fn usage(&self, service: &str) -> Option<Usage> {
        let state = self.lock();
        let State { steering, planner, services, judge, sources: told, policy, doors, .. } = &*state;
        let (_, number) = services.iter().find(|(name, _)| name == service)?;
        let (active, verdicts) = steering.usage(*number);
        let active = active + u64::from(doors.n_open(service));
        let mut states = health::states(judge, service);
        let now = |(address, target, cost)| {
            let state = states.remove(&address);
            (address, Now { connections: steering.load(target), cost, state })
        };
        let endpoints = planner.endpoints(*number).map(now).collect();
        let sources = sources::lines(&told.standings(policy), service);
        let verdicts = state.arrivals.added_to(service, &kernel::verdicts(verdicts));
        Some(Usage { active, verdicts, endpoints, sources })
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What the kernel's numbers stand for, which names addresses have, and what becomes of what comes in by this policy.
    pub(super) fn directory(&self, policy: &Policy) -> Directory {
        let inbound = Inbound {
            services: policy.inbound.clone(),
            own: Arc::clone(&self.own),
            counts: Arc::clone(&self.arrivals),
        };
        Directory { hosts: names::hosts(policy), inbound: Some(inbound), ..self.planner.directory() }
    }

    /// The policy with all that was told besides.
    pub(super) fn merged(&self) -> Policy {
        self.executables.added_to(self.learned.added_to(&self.sources.added_to(&self.policy)))
    }

    /// Puts in force what resolvers told, where that is something else than before, and keeps it for the next daemon: first, so that
    /// an address that is steered is one that is known there.
    fn go_by(&mut self, learned: Learned) -> Result<(), ApplyError> {
        let mut put = self.keep(&learned.changes(&self.learned));
        if put.is_ok() && learned.addresses() != self.learned.addresses() {
            put = self.put(&learned.added_to(&self.sources.added_to(&self.policy)), |_| {});
        }
        match put {
            Ok(()) => self.learned = learned,
            Err(_) => {
                let _ = self.keep(&self.learned.changes(&learned));
            }
        }
        put
    }

    /// Keeps for the next daemon what resolvers told, where it will go on with the policy.
    fn keep(&mut self, told: &[Change]) -> Result<(), ApplyError> {
        if self.steering.pins().is_none() {
            return Ok(());
        }
        self.steering.write(told).map_err(ApplyError::Kernel)
    }

    /// Puts a policy in force that may have more addresses than the user's, with the executables that are known. `know` as in `apply`.
    pub(super) fn put(&mut self, policy: &Policy, know: impl Fn(Directory)) -> Result<(), ApplyError> {
        let policy = &self.executables.added_to(policy.clone());
        let State { steering, planner, judge, .. } = self;
        let next = judge.under(policy, clock::now());
        let is_idle = |target| steering.load(target) == 0;
        let plan = planner.plan(policy, &next, is_idle).map_err(ApplyError::Full)?;
        if let Err(error) = steering.write(&planner.changes(&plan)) {
            planner.failed(&plan);
            return Err(ApplyError::Kernel(error));
        }
        know(self.directory(policy));
        let State { steering, planner, judge, watched, services, doors, uses, arrivals, .. } = self;
        // Before the first of them can be counted.
        uses.retain(|name, _| policy.services.iter().any(|service| service.waits && service.name == *name));
        for service in policy.services.iter().filter(|service| service.waits) {
            let now = planner.service(&service.name).map_or(0, |number| steering.first_uses(number));
            uses.entry(service.name.clone()).or_insert(now);
        }
        // Nobody tries an endpoint of before from the turn on.
        let mut numbers = services.iter();
        let told = numbers.try_for_each(|(_, number)| steering.try_none(*number));
        if let Err(error) = told.and_then(|()| steering.turn(planner.next_bank())) {
            planner.failed(&plan);
            return Err(ApplyError::Kernel(error));
        }
        planner.turn(plan);
        *judge = next;
        health::begin(judge, watched);
        let number = |service: &Service| planner.service(&service.name).unwrap_or_default();
        arrivals.keep(|name| policy.inbound.iter().any(|service| service.name == name));
        doors.set(&policy.inbound, policy.inbound.iter().map(number).collect());
        let numbers = policy.services.iter().chain(&policy.inbound).map(|service| {
            let number = planner.service(&service.name).unwrap_or_default();
            (service.name.clone(), number)
        });
        *services = numbers.collect();
        Ok(())
    }
}

/// What times of addresses are in, s.
fn now() -> u64 {
    clock::now().0 / 1_000_000_000
}

/// Opens the sockets that stand for resolvers, and tells the programs of them.
fn unanswered(steering: &mut Steering) -> Result<Option<Unanswered>, ApplyError> {
    let sockets = dns::open().map_err(ApplyError::Answer)?;
    for (number, set) in sockets.iter().enumerate() {
        steering.answer(number, &set.udp, &set.tcp).map_err(ApplyError::Kernel)?;
    }
    let resolvers = steering.resolvers();
    Ok(resolvers.map(|resolvers| Unanswered { sockets, resolvers }))
}
