//! New settings while running: at SIGHUP, and when the content of the file changes. Valid as a whole, or not taken.

use std::{path::PathBuf, sync::Arc, time::Duration};

use sidecar_core::config::{Setting, reload};
use tokio::{
    sync::Notify,
    time::{MissedTickBehavior, interval},
};
use tracing::{error, info, warn};

use super::{facts::Facts, logging::chain, notify::Notifier};
use crate::{config::load, export::otlp::Receivers, kernel::clock};

/// Between two looks at the file.
const PACE: Duration = Duration::from_secs(2);

/// Reads settings again.
pub(super) struct Reloader {
    file: Option<PathBuf>,
    flags: Vec<Setting>,
    facts: Arc<Facts>,
    notifier: Arc<Notifier>,
    seen: Option<u64>,
}

impl Reloader {
    /// Of the settings that `facts` hold; `given` is the file of the command line.
    pub(super) fn new(
        given: Option<PathBuf>,
        flags: Vec<Setting>,
        facts: Arc<Facts>,
        notifier: Arc<Notifier>,
    ) -> Self {
        let file = load::file(given.as_deref());
        let seen = file.as_deref().and_then(load::fingerprint);
        Reloader { file, flags, facts, notifier, seen }
    }

    /// For ever: at each change of the file, and whenever `asked` is told.
    pub(super) async fn run(mut self, asked: &Notify) {
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = asked.notified() => self.reload().await,
                _ = ticks.tick() => {
                    let Some(file) = self.file.as_deref() else { continue };
                    // Not there between two versions: the next look sees it.
                    let content = load::fingerprint(file);
                    if content.is_some() && content != self.seen {
                        self.reload().await;
                    }
                }
            }
        }
    }

    async fn reload(&mut self) {
        self.notifier.reloading(clock::now());
        self.read().await;
        self.notifier.ready(&self.facts.summary());
    }

    async fn read(&mut self) {
        self.seen = self.file.as_deref().and_then(load::fingerprint);
        let read = load::load(self.file.as_deref(), self.flags.clone());
        let valid = read.map_err(|refused| chain(&refused)).and_then(|new| {
            // The files that it names, too.
            Receivers::open(&new.config.otlp).map(|_| new).map_err(|refused| chain(&refused))
        });
        match valid {
            Ok(new) => {
                for notice in &new.notices {
                    warn!("{notice}");
                }
                let change = reload(&self.facts.settings(), &new);
                let (applied, waiting) = (change.applied.join(", "), change.waiting.join(", "));
                if !change.waiting.is_empty() {
                    warn!(keys = waiting, "these settings need a restart: the old ones hold");
                }
                self.facts.apply(change).await;
                info!(applied, "settings read again");
            }
            Err(why) => {
                error!(error = why, "settings not taken: the old ones hold");
                self.facts.refuse(why);
            }
        }
    }
}
