//! What the policy says of connections that come in, as the relay asks it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use sidecar_core::{
    model::policy::{self, Gear, Service},
    signal::reason::RelayRefused,
    traffic::{Over, Places},
};

/// Shared by the relay and by whoever puts another policy in force.
#[derive(Clone)]
pub(crate) struct Doors(Arc<Mutex<State>>);

struct State {
    since: Instant,
    services: Vec<Service>,
    /// Their numbers in the kernel.
    numbers: Vec<u32>,
    places: Places,
    /// What was one too many, of each service, by [`RelayRefused`].
    over: BTreeMap<String, [u64; RelayRefused::WORDS.len()]>,
}

/// A place among a service's connections, given back when it is dropped.
pub(super) struct Entered {
    doors: Doors,
    service: String,
    number: u32,
}

impl Doors {
    pub(super) fn new() -> Self {
        let state = State {
            since: Instant::now(),
            services: Vec::new(),
            numbers: Vec::new(),
            places: Places::default(),
            over: BTreeMap::new(),
        };
        Doors(Arc::new(Mutex::new(state)))
    }

    /// Goes by other services from now on, by their numbers in the kernel. Connections that are open keep their places.
    pub(super) fn set(&self, services: &[Service], numbers: Vec<u32>) {
        let state = &mut *self.lock();
        services.clone_into(&mut state.services);
        state.numbers = numbers;
        state.over.retain(|name, _| services.iter().any(|service| service.name == *name));
        state.places.keep(state.services.iter().map(|service| service.name.as_str()));
    }

    /// A place for whoever comes in to this port; `None` where the policy, which may have changed since the kernel went by it,
    /// has none to give.
    ///
    /// # Errors
    /// Why it is one too many.
    pub(super) fn enter(&self, client: SocketAddr, port: u16) -> Result<Option<Entered>, Over> {
        let State { since, services, numbers, places, over } = &mut *self.lock();
        let found = policy::find(services, client.ip(), port);
        let Some((service, false)) = found.filter(|(service, _)| service.gear == Gear::Proxy) else {
            return Ok(None);
        };
        if let Err(why) = places.take(&service.name, &service.limits, since.elapsed()) {
            over.entry(service.name.clone()).or_default()[usize::from(why == Over::Rate)] += 1;
            return Err(why);
        }
        let at = services.iter().position(|other| other.name == service.name);
        let number = at.and_then(|at| numbers.get(at).copied()).unwrap_or(u32::MAX);
        Ok(Some(Entered { doors: self.clone(), service: service.name.clone(), number }))
    }

    /// Connections of a service that are open.
    pub(super) fn n_open(&self, service: &str) -> u32 {
        self.lock().places.n_open(service)
    }

    /// What of a service's connections was one too many.
    pub(super) fn refused(&self, service: &str) -> [u64; RelayRefused::WORDS.len()] {
        self.lock().over.get(service).copied().unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entered {
    /// The service's number in the kernel.
    pub(super) fn service(&self) -> u32 {
        self.number
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.doors.lock().places.give_back(&self.service);
    }
}
