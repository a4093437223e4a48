//! Which cgroups are observed, and the programs on them.

use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    io,
    os::fd::AsFd as _,
    path::PathBuf,
    process,
    time::Duration,
};

use sidecar_core::config::{Config, Level};
use tracing::{debug, info, warn};

use super::{
    logging::chain,
    others::Others,
    watching::{Source, Watcher},
};
use crate::{
    cli::Target,
    discovery::{
        cgroup::{self, Cgroup, CgroupError, child},
        host,
        pod::{Pod, PodError},
    },
    kernel::{self, Kernel, Later, Maps, Own, PinError, Pins},
    traffic,
};

/// How long the kernel may take to let go of the last process of a cgroup.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why observation cannot start.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// No cgroup to attach to.
    #[error("find the cgroup")]
    Find(#[source] CgroupError),
    /// Its own network namespace.
    #[error("open the daemon's network namespace")]
    Netns(#[source] io::Error),
    /// None could be made for the command.
    #[error("make a cgroup for the command")]
    Make(#[source] CgroupError),
    /// It is every process of the machine.
    #[error(
        "{0} is the root of the hierarchy, which holds every process of the machine: give --whole-node if you mean that"
    )]
    WholeNode(String),
    /// Nothing was named, and there is no way to a pod.
    #[error("nothing to observe: give --cgroup PATH, --pid PID or -- COMMAND")]
    Pod(#[source] PodError),
    /// Before there is any cgroup to attach to.
    #[error("{}", missing_capabilities())]
    Capabilities,
    /// The kernel's part.
    #[error("{}", missing_capabilities())]
    Kernel(#[source] kernel::Error),
}

/// The place of what is observed.
pub(super) enum Place {
    /// Somebody else's cgroups.
    Found,
    /// The pod's containers.
    Pod,
    /// A cgroup made for a command.
    Made(child::Child),
}

impl Place {
    /// The one that the target names, or one made for it, and where its cgroups come from.
    pub(super) fn of(target: &Target, whole_node: bool, pod: Option<&str>) -> Result<(Place, Source), Error> {
        let found = match target {
            Target::Cgroups(paths) => {
                let open = |path: &PathBuf| cgroup::Cgroup::named(path).map_err(Error::Find);
                outermost(paths.iter().map(open).collect::<Result<_, _>>()?)
            }
            Target::Pid(pid) => vec![cgroup::Cgroup::of(*pid).map_err(Error::Find)?],
            Target::Pod => {
                let pod = Pod::find(pod).map_err(Error::Pod)?;
                info!(route = pod.route(), "observing the pod");
                return Ok((Place::Pod, Source::Pod(pod)));
            }
            Target::Command(_) => {
                let own = cgroup::Cgroup::own().map_err(Error::Make)?;
                for path in child::sweep(&own, child::exists) {
                    debug!(path = %path.display(), "removed the cgroup of a daemon that is gone");
                }
                let made = child::Child::create(&own, process::id()).map_err(Error::Make)?;
                let source = Source::Made(made.cgroup().clone());
                return Ok((Place::Made(made), source));
            }
        };
        if let Some(root) = found.iter().find(|found| found.is_real_root() && !whole_node) {
            return Err(Error::WholeNode(root.path.display().to_string()));
        }
        Ok((Place::Found, Source::Given(found.into_iter().map(|found| found.path).collect())))
    }

    /// For a process that is to be born in it.
    pub(super) fn procs(&self) -> io::Result<Option<File>> {
        let Place::Made(made) = self else { return Ok(None) };
        OpenOptions::new().write(true).open(made.cgroup().path.join("cgroup.procs")).map(Some)
    }

    /// Capabilities that must outlive the drop. `reaches`: the roots of processes are looked into.
    pub(super) fn later(&self, reaches: bool) -> Vec<Later> {
        let own: &[_] = match self {
            Place::Found => &[],
            Place::Pod => &[Later::Reach],
            Place::Made(made) if made.is_removable() => &[Later::Signal],
            Place::Made(_) => &[Later::Signal, Later::RemoveCgroup],
        };
        own.iter().copied().chain(reaches.then_some(Later::Reach)).collect()
    }

    /// Removes what was made.
    pub(super) fn remove(self) {
        if let Place::Made(made) = self
            && let Err(error) = kernel::raised(Later::RemoveCgroup, || made.remove(PATIENCE))
        {
            warn!(error = chain(&error), "the command left something behind");
        }
    }
}

/// Those that are not below another: a packet would be seen twice.
fn outermost(mut all: Vec<cgroup::Cgroup>) -> Vec<cgroup::Cgroup> {
    all.sort_by(|a, b| a.path.cmp(&b.path));
    let mut kept: Vec<cgroup::Cgroup> = Vec::new();
    for one in all {
        match kept.iter().find(|other| other.id == one.id || one.path.starts_with(&other.path)) {
            Some(other) => {
                let (cgroup, below) = (one.path.display(), other.path.display());
                warn!(%cgroup, %below, "given twice: observed with the one that it is below");
            }
            None => kept.push(one),
        }
    }
    kept
}

/// Programs at work, and the ends of what they fill.
pub(super) struct Watch {
    pub(super) watcher: Watcher,
    pub(super) maps: Maps,
    /// Why nothing steers, though it was asked for: what is pinned is not to be taken.
    pub(super) unpinned: Option<PinError>,
}

impl Watch {
    /// Loads, and attaches to what is there.
    pub(super) fn begin(mut source: Source, config: &Config) -> Result<Watch, Error> {
        let first = source.survey(&HashSet::new());
        if matches!(source, Source::Pod(_)) && !kernel::missing().is_ok_and(|missing| missing.is_empty()) {
            return Err(Error::Capabilities);
        }
        let cgroups: Vec<_> = first.found.iter().map(|found| (found.id, found.folder.as_fd())).collect();
        let mut options = options(config);
        let ids: Vec<_> = cgroups.iter().map(|(id, _)| *id).collect();
        // A killed daemon's command goes on, and the policy of this one is its own.
        let orphans = match (&source, Cgroup::own()) {
            (Source::Made(_), Ok(own)) => child::orphans(&own, child::exists),
            _ => Vec::new(),
        };
        let take = |dir| Pins::take(dir, [&ids, &orphans], traffic::ROOM);
        let taken = config.traffic.pin.as_ref().map(|dir| take(dir)).transpose();
        let (pins, unpinned) = match taken {
            Ok(pins) => (pins, None),
            Err(error) => {
                options.steering = None;
                (None, Some(error))
            }
        };
        let kernel = Kernel::load(options, pins).map_err(Error::Kernel)?;
        // The relay's listeners will be made in it.
        let own = match options.steering.is_some() {
            true => {
                let cgroup = Cgroup::own().and_then(|own| own.folder()).map_err(Error::Find)?;
                Some((cgroup, host::own_netns().map_err(Error::Netns)?))
            }
            false => None,
        };
        let own = own.as_ref().map(|(cgroup, netns)| Own { cgroup: cgroup.as_fd(), netns: netns.as_fd() });
        let (attached, maps) = kernel.attach(&cgroups, own).map_err(Error::Kernel)?;
        let others = Others::but_of(config.traffic.pin.clone().filter(|_| unpinned.is_some()));
        Ok(Watch { watcher: Watcher::new(source, attached, first, others), maps, unpinned })
    }
}

/// What the kernel's part takes from the settings.
pub(super) fn options(config: &Config) -> kernel::Options {
    let log_level = match config.kernel_log {
        Level::Off => 0,
        Level::Error => 1,
        Level::Warn => 2,
        Level::Info => 3,
        Level::Debug => 4,
        Level::Trace => 5,
    };
    kernel::Options {
        ring_bytes: config.capture.ring_bytes.get(),
        turn_bytes: config.capture.turn_bytes,
        connections: config.capture.connections,
        socket_wait: config.capture.socket_wait,
        log_level,
        steering: config.traffic.is_on().then_some(traffic::ROOM),
        datagrams: config.traffic.wants_datagrams(),
        inbound: !config.traffic.inbound.is_empty(),
        executables: config.traffic.tells_executables(),
    }
}

/// The usual reason, said first.
fn missing_capabilities() -> String {
    match kernel::missing() {
        Ok(missing) if !missing.is_empty() => {
            let names: Vec<_> = missing.iter().map(|one| one.name()).collect();
            format!("missing {}", names.join(" and "))
        }
        _ => "load and attach the programs".to_owned(),
    }
}
