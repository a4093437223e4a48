//! Keeps the programs where the application is: at the start, and when a container or a unit comes back as a new
//! cgroup.

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use sidecar_core::signal::application::{Cgroups, Readings};
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval},
};
use tracing::{info, warn};

use super::{
    accounts::Accounts,
    containers::Containers,
    identity::Subject,
    logging::chain,
    others::{Others, Told},
    steering::Steered,
};
use crate::{
    discovery::{
        cgroup::Cgroup,
        executable::Root,
        pod::{self, Found, Pod, Survey},
    },
    kernel::{self, Attached, Later},
};

/// Between two looks.
const PACE: Duration = Duration::from_secs(1);
/// Cgroups observed at once.
const CGROUPS: usize = 64;

/// Where cgroups come from.
pub(super) enum Source {
    /// Made for a command: it is there as long as we are.
    Made(Cgroup),
    /// Given by their paths, which may be made anew.
    Given(Vec<PathBuf>),
    /// Those of the pod's containers.
    Pod(Pod),
}

impl Source {
    /// What there is to attach to now, without those of `known`.
    pub(super) fn survey(&mut self, known: &HashSet<u64>) -> Survey {
        match self {
            Source::Made(made) => given(std::slice::from_ref(&made.path), known),
            Source::Given(paths) => given(paths, known),
            Source::Pod(pod) => {
                pod.survey(known, &|path: &Path| kernel::raised(Later::Reach, || File::open(path)))
            }
        }
    }
}

fn given(paths: &[PathBuf], known: &HashSet<u64>) -> Survey {
    let mut survey = Survey::default();
    for path in paths {
        match Cgroup::open(path).and_then(|cgroup| Ok((cgroup.folder()?, cgroup))) {
            Ok((_, cgroup)) if known.contains(&cgroup.id) => {}
            Ok((folder, cgroup)) => {
                let name =
                    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                survey.found.push(Found { path: cgroup.path, folder, id: cgroup.id, name });
            }
            Err(error) => drop(survey.unreachable.insert(path.display().to_string(), chain(&error))),
        }
    }
    survey
}

/// What is observed, for whoever asks.
#[derive(Default)]
pub(super) struct Observed {
    accounts: Accounts,
    containers: Arc<Containers>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What the programs say of themselves: `Err` where something is lost.
    programs: Option<Result<String, String>>,
    attached: BTreeMap<u64, String>,
    unreachable: BTreeMap<String, String>,
    counts: Cgroups,
    others: Option<Told>,
}

impl Observed {
    /// Everything about the application that is read when somebody asks. Blocks for as long as some files take.
    pub(super) fn read(&self) -> Readings {
        let cgroups = self.lock().counts;
        Readings { all: self.accounts.read(), cgroups, ..Readings::default() }
    }

    /// The containers that connections may be of.
    pub(super) fn containers(&self) -> Arc<Containers> {
        Arc::clone(&self.containers)
    }

    fn open(&self, found: &Found) {
        self.containers.open(found);
        self.accounts.open(found);
    }

    fn close(&self, id: u64) {
        self.containers.close(id);
        self.accounts.close(id);
    }

    /// Cgroups that are observed, by their ids, each by its name.
    pub(super) fn cgroups(&self) -> BTreeMap<u64, String> {
        self.lock().attached.clone()
    }

    /// Who else steers it.
    pub(super) fn others(&self) -> Option<Told> {
        self.lock().others.clone()
    }

    /// In one line: programs, cgroups, and what is not reached.
    pub(super) fn summary(&self) -> String {
        let state = self.lock();
        let programs = match &state.programs {
            Some(Ok(text) | Err(text)) => text.as_str(),
            None => "nothing",
        };
        let mut line = match state.attached.len() {
            0 => format!("{programs}; no cgroup of the application is there yet"),
            1 => programs.to_owned(),
            n => format!("{programs}, on {n} cgroups"),
        };
        for (name, why) in &state.unreachable {
            line.push_str(&format!("; {name} is not observed: {why}"));
        }
        line
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks for programs that look at datagrams: answered once they are at work.
pub(super) type Asks = mpsc::Sender<oneshot::Sender<Result<(), kernel::Error>>>;

/// The one that attaches and detaches.
pub(super) struct Watcher {
    source: Source,
    attached: Attached,
    /// Observed, or only accounted for.
    open: Vec<Found>,
    /// Cgroups that the kernel did not take: not tried again.
    refused: HashSet<u64>,
    observed: Arc<Observed>,
    /// Who else steers.
    others: Others,
    /// Who asks for the files of processes' roots.
    steered: Option<Arc<Steered>>,
    /// Processes that do not show theirs, by the last look.
    n_hidden: usize,
    asks: (Asks, mpsc::Receiver<oneshot::Sender<Result<(), kernel::Error>>>),
}

impl Watcher {
    /// Of what was found and attached to at the start, and of all others but some who steer that.
    pub(super) fn new(source: Source, attached: Attached, first: Survey, others: Others) -> Self {
        let observed = Arc::new(Observed::default());
        observed.lock().programs = Some(attached.summary());
        let mut watcher = Watcher {
            source,
            attached,
            open: Vec::new(),
            refused: HashSet::new(),
            observed,
            others,
            steered: None,
            n_hidden: 0,
            asks: mpsc::channel(1),
        };
        watcher.note(first, true);
        watcher.look_at_others();
        watcher
    }

    /// Where programs may be asked for, while it runs.
    pub(super) fn asks(&self) -> Asks {
        self.asks.0.clone()
    }

    /// What others see of it.
    pub(super) fn observed(&self) -> Arc<Observed> {
        Arc::clone(&self.observed)
    }

    /// The first cgroup that is observed.
    pub(super) fn first(&self) -> Option<Subject<'_>> {
        self.open.first().map(|found| Subject { path: &found.path, id: found.id })
    }

    /// The programs.
    pub(super) fn attached(&mut self) -> &mut Attached {
        &mut self.attached
    }

    /// Looks once a second, for ever, and finds what this one excepts. Capabilities belong to threads: on the one that was started with them.
    pub(super) async fn run(mut self, steered: Option<Arc<Steered>>) {
        self.steered = steered;
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Some(asks) = self.asks.1.recv() => {
                    // Whoever asked may have been told to stop.
                    let _ = asks.send(self.look_at_datagrams());
                    continue;
                }
            }
            // One that was made stays as long as we do.
            if !matches!(self.source, Source::Made(_)) {
                self.look();
            }
            self.look_at_roots();
            if self.others.is_any() {
                self.look_at_others();
            }
        }
    }

    fn look_at_others(&mut self) {
        let programs = self.attached.strangers(self.open.iter().map(|found| found.folder.as_fd()));
        let told = self.others.look(&programs, Instant::now());
        self.observed.lock().others = told;
    }

    fn look(&mut self) {
        let is_removed = |found: &Found| pod::is_removed(&found.folder);
        for gone in self.open.extract_if(.., |found| is_removed(found)) {
            self.observed.close(gone.id);
            let state = &mut *self.observed.lock();
            if state.attached.remove(&gone.id).is_some() {
                self.attached.detach(gone.id);
                state.counts.n_gone += 1;
                info!(cgroup = %gone.path.display(), cgroup_id = gone.id, "an observed cgroup was removed");
            }
            // There may be room now.
            self.refused.clear();
        }
        let known: HashSet<u64> =
            self.open.iter().map(|found| found.id).chain(self.refused.iter().copied()).collect();
        let survey = self.source.survey(&known);
        self.note(survey, false);
    }

    fn look_at_datagrams(&mut self) -> Result<(), kernel::Error> {
        let cgroups = self.open.iter().map(|found| (found.id, found.folder.as_fd()));
        if !self.attached.look_at_datagrams(cgroups)? {
            return Ok(());
        }
        let summary = self.attached.summary();
        info!(programs = summary.as_deref().unwrap_or_default(), "programs look at datagrams from now on");
        self.observed.lock().programs = Some(summary);
        Ok(())
    }

    fn look_at_roots(&mut self) {
        let Some(steered) = self.steered.clone() else { return };
        let folders: Vec<_> = self.open.iter().map(|found| found.path.as_path()).collect();
        let n_hidden = &mut self.n_hidden;
        kernel::raised(Later::Reach, || {
            steered.look(|| {
                let (roots, now_hidden) = Root::of_cgroups(folders.into_iter());
                if now_hidden > *n_hidden {
                    warn!(
                        processes = now_hidden,
                        "the roots of these are not shown (CAP_SYS_PTRACE): executables there are not excepted"
                    );
                }
                *n_hidden = now_hidden;
                roots
            });
        });
    }

    /// Takes what a look found. `is_first`: the programs are on it already.
    fn note(&mut self, survey: Survey, is_first: bool) {
        for (name, why) in &survey.unreachable {
            if self.observed.lock().unreachable.get(name) != Some(why) {
                warn!(cgroup = name, why, "not observed");
            }
        }
        for found in survey.found {
            let has_room = self.open.len() < CGROUPS;
            // What is accounted for container by container is not accounted for as a whole.
            match &self.source {
                _ if !has_room => {}
                Source::Pod(pod) if survey.by_container => {
                    self.observed.containers.open_pod(&found, pod.own_id());
                }
                _ => self.observed.open(&found),
            }
            if !has_room || !(is_first || self.attach(&found)) {
                self.observed.close(found.id);
                self.refused.insert(found.id);
                self.observed.lock().counts.n_refused += 1;
                continue;
            }
            let state = &mut *self.observed.lock();
            state.attached.insert(found.id, found.name.clone());
            state.counts.n_attached += 1;
            self.open.push(found);
        }
        for found in survey.containers {
            if self.open.len() < CGROUPS {
                self.observed.open(&found);
                self.open.push(found);
            }
        }
        let state = &mut *self.observed.lock();
        state.unreachable = survey.unreachable;
        state.counts.attached = state.attached.len() as u64;
        state.counts.unreachable = state.unreachable.len() as u64;
    }

    fn attach(&mut self, found: &Found) -> bool {
        let (path, cgroup_id) = (found.path.display(), found.id);
        match self.attached.attach(found.id, found.folder.as_fd()) {
            Ok(()) => {
                info!(cgroup = %path, cgroup_id, name = found.name, "attached");
                true
            }
            Err(error) => {
                warn!(cgroup = %path, cgroup_id, error = chain(&error), "not attached");
                false
            }
        }
    }
}
