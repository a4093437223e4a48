//! New settings while running: at SIGHUP, and when the content of the file changes. Valid as a whole, or not taken.

use std::{path::PathBuf, sync::Arc, time::Duration};

use sidecar_core::config::{Config, Look, Resolved, Setting, Watch, reload};
use tokio::{
    sync::Notify,
    time::{MissedTickBehavior, interval},
};
use tracing::{error, info, warn};

use super::{facts::Facts, logging::chain, notify::Notifier};
use crate::{
    config::{
        file::{Reader, is_lasting},
        load::{self, LoadError, Loaded},
    },
    export::otlp::Receivers,
    kernel::clock,
};

/// Between two looks at the files.
const PACE: Duration = Duration::from_secs(1);

/// Opens what the settings name: they are not valid without.
pub(super) fn open(loaded: Loaded, reader: &mut Reader) -> Result<(Resolved, Receivers), LoadError> {
    match Receivers::open(&loaded.resolved.config.otlp, reader) {
        Ok(receivers) => Ok((loaded.resolved, receivers)),
        Err(error) => Err(loaded.refuse(error.key(), &chain(&error))),
    }
}

/// Where settings are read from: the file, the command line, and the files that the newest settings name.
pub(super) struct Files {
    settings: Option<PathBuf>,
    flags: Vec<Setting>,
    named: Vec<PathBuf>,
    watch: Watch,
}

impl Files {
    /// As `reader` found them at the start. What can be read only once is not looked at again.
    pub(super) fn new(
        settings: Option<PathBuf>,
        flags: Vec<Setting>,
        resolved: &Resolved,
        reader: &mut Reader,
    ) -> Self {
        let watch = Watch::new(Look::default());
        let mut files = Files { settings, flags, named: Vec::new(), watch };
        files.take(Some(resolved), reader);
        files
    }

    fn is_due(&mut self) -> bool {
        let now = self.look(&mut Reader::again());
        self.watch.is_due(now)
    }

    /// Reads them all, to take the place of those that are at work. What was found is not due again until it differs, valid or not.
    fn read(&mut self, running: &Resolved) -> Result<(Resolved, Receivers), LoadError> {
        let mut reader = Reader::again();
        let loaded = load::load(self.settings.as_deref(), self.flags.clone(), &mut reader);
        let loaded = loaded.and_then(|loaded| loaded.instead_of(running));
        let newest = loaded.as_ref().ok().map(|loaded| loaded.resolved.clone());
        let opened = loaded.and_then(|loaded| open(loaded, &mut reader));
        self.take(newest.as_ref(), &mut reader);
        opened
    }

    fn take(&mut self, newest: Option<&Resolved>, reader: &mut Reader) {
        if let Some(newest) = newest {
            self.named = newest.config.otlp.files().map(|file| file.path).collect();
        }
        let now = self.look(reader);
        self.watch.took(now);
    }

    fn look(&self, reader: &mut Reader) -> Look {
        reader.look(self.settings.iter().chain(&self.named).filter(|path| is_lasting(path)))
    }
}

/// Reads settings again.
pub(super) struct Reloader {
    files: Files,
    facts: Arc<Facts>,
    notifier: Arc<Notifier>,
    /// What the daemon began with.
    start: Config,
}

impl Reloader {
    /// Of the settings that `facts` hold.
    pub(super) fn new(files: Files, facts: Arc<Facts>, notifier: Arc<Notifier>) -> Self {
        let start = facts.settings().config.clone();
        Reloader { files, facts, notifier, start }
    }

    /// For ever: at each change of a file, and whenever `asked` is told.
    pub(super) async fn run(mut self, asked: &Notify) {
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = asked.notified() => self.reload().await,
                _ = ticks.tick() => if self.files.is_due() {
                    self.reload().await;
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
        match self.files.read(&self.facts.settings()) {
            Ok((new, receivers)) => {
                for notice in &new.notices {
                    warn!("{notice}");
                }
                let mut change = reload(&self.start, &self.facts.settings(), &new);
                for key in self.facts.renewed(&receivers) {
                    if !change.applied.contains(&key) {
                        change.applied.push(key);
                    }
                }
                let (applied, waiting) = (change.applied.join(", "), change.waiting.join(", "));
                if !change.waiting.is_empty() {
                    warn!(keys = waiting, "these settings need a restart: the old ones hold");
                }
                if let Err(refused) = self.facts.apply(change, receivers).await {
                    return self.refuse(&refused);
                }
                match (applied.is_empty(), waiting.is_empty()) {
                    (true, true) => info!("settings read again: nothing changed"),
                    (true, false) => {}
                    (false, _) => info!(applied, "settings read again"),
                }
            }
            Err(refused) => self.refuse(&refused),
        }
    }

    fn refuse(&self, refused: &dyn std::error::Error) {
        let why = chain(refused);
        error!(error = why, "settings not taken: the old ones hold");
        self.facts.refuse(why);
    }
}
