//! Steering, from the settings to what is told of it: begun before the command, so that its first connection is steered.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use sidecar_core::{config::Config, signal::steering};
use tokio::time::{Instant, sleep};
use tracing::{error, info};

use super::logging::chain;
use crate::{
    kernel::{DATAGRAMS, Handover, Refusal, STEERING, Steering, TAKE_OVER},
    traffic::{ApplyError, Relay, Relayed, Traffic, Waiting},
};

/// Between two looks whether the relay is empty.
const PACE: Duration = Duration::from_millis(50);

/// A policy in force.
pub(super) struct Steered {
    traffic: Traffic,
    /// What the relay counts, once it runs.
    relayed: OnceLock<Arc<Relayed>>,
}

/// Why connections are not steered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The kernel did not take a program.
    #[error("{0}")]
    Refused(String),
    /// The policy could not be put in force.
    #[error("put the policy in force")]
    Apply(#[source] ApplyError),
}

/// Puts the policy in force, where there is one. The relay's connections wait for it to be started.
pub(super) fn begin(
    maps: Option<(Steering, Handover)>,
    refused: &[Refusal],
    config: &Config,
) -> Result<Option<(Arc<Steered>, Waiting)>, Error> {
    let Some(maps) = maps else { return Ok(None) };
    let is_needed = |name| STEERING.iter().chain(DATAGRAMS).chain([&TAKE_OVER]).any(|row| row.name == name);
    if let Some(refusal) = refused.iter().find(|refusal| is_needed(refusal.program)) {
        // Half of them would do harm.
        return Err(Error::Refused(refusal.to_string()));
    }
    let (traffic, waiting) = Traffic::begin(maps, &config.traffic.policy()).map_err(Error::Apply)?;
    info!(services = config.traffic.services.len(), "connections are steered");
    Ok(Some((Arc::new(Steered { traffic, relayed: OnceLock::new() }), waiting)))
}

impl Steered {
    /// Starts the relay. It inherits this thread's (empty) capabilities.
    pub(super) fn start(&self, waiting: Waiting) -> Option<Relay> {
        match waiting.start() {
            Ok(relay) => {
                let _ = self.relayed.set(relay.counts());
                Some(relay)
            }
            Err(error) => {
                error!(error = chain(&error), "the relay cannot run: connections go where they ask");
                self.traffic.end();
                None
            }
        }
    }

    /// Puts another policy in force. Blocks for some milliseconds.
    pub(super) fn apply(&self, config: &Config) -> Result<(), ApplyError> {
        self.traffic.apply(&config.traffic.policy())
    }

    /// Signs of life for the programs, for ever.
    pub(super) async fn live(&self) {
        self.traffic.live().await;
    }

    /// No new connections are steered. Those that the relay carries may come to their end until the deadline.
    pub(super) async fn end(&self, relay: &Relay, deadline: Duration) {
        self.traffic.end();
        let until = Instant::now() + deadline;
        while relay.n_active() > 0 && Instant::now() < until {
            sleep(PACE).await;
        }
        let cut = relay.n_active();
        if cut > 0 {
            info!(connections = cut, "the relay's connections are cut off");
        }
    }

    /// What the metrics tell.
    pub(super) fn read(&self) -> steering::Steering {
        let (decisions, services) = self.traffic.read();
        let relay = self.relayed.get().map(|relayed| relayed.read()).unwrap_or_default();
        steering::Steering { decisions, services, relay }
    }
}
