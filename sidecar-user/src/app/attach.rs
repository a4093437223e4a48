//! Which cgroup is observed, and the programs on it.

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::AsFd as _,
    path::Path,
    process,
    time::Duration,
};

use sidecar_core::config::{Config, Level};
use tracing::{debug, warn};

use super::{accounts::Accounts, logging::chain};
use crate::{
    cli::Target,
    discovery::{
        cgroup::{self, CgroupError, child},
        usage::Account,
    },
    kernel::{self, Attached, Counts, Kernel, Later, Ring, Verdicts},
};

/// How long the kernel may take to let go of the last process of a cgroup.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why observation cannot start.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// No cgroup to attach to.
    #[error("find the cgroup")]
    Find(#[source] CgroupError),
    /// None could be made for the command.
    #[error("make a cgroup for the command")]
    Make(#[source] CgroupError),
    /// It is every process of the machine.
    #[error(
        "{0} is the root of the hierarchy, which holds every process of the machine: give --whole-node if you mean that"
    )]
    WholeNode(String),
    /// It cannot be opened.
    #[error("open the cgroup")]
    Open(#[source] io::Error),
    /// The kernel's part.
    #[error("{}", missing_capabilities())]
    Kernel(#[source] kernel::Error),
}

/// The cgroup that is observed.
pub(super) enum Cgroup {
    /// Somebody else's.
    Found(cgroup::Cgroup),
    /// Made for a command.
    Made(child::Child),
}

impl Cgroup {
    /// The one that the target names, or one made for it.
    pub(super) fn of(target: &Target, whole_node: bool) -> Result<Cgroup, Error> {
        let found = match target {
            Target::Cgroup(path) => cgroup::Cgroup::open(path).map_err(Error::Find)?,
            Target::Pid(pid) => cgroup::Cgroup::of(*pid).map_err(Error::Find)?,
            Target::Command(_) => {
                let own = cgroup::Cgroup::own().map_err(Error::Make)?;
                for path in child::sweep(&own, child::exists) {
                    debug!(path = %path.display(), "removed the cgroup of a daemon that is gone");
                }
                return child::Child::create(&own, process::id()).map(Cgroup::Made).map_err(Error::Make);
            }
        };
        if found.is_real_root() && !whole_node {
            return Err(Error::WholeNode(found.path.display().to_string()));
        }
        Ok(Cgroup::Found(found))
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.cgroup().path
    }

    /// The kernel's number of it.
    pub(super) fn id(&self) -> u64 {
        self.cgroup().id
    }

    /// What it costs, to be asked for.
    pub(super) fn accounts(&self) -> Accounts {
        let accounts = Accounts::default();
        match File::open(self.path()) {
            Ok(folder) => accounts.open(String::new(), Account::of(folder)),
            Err(error) => debug!(%error, "the cgroup's figures cannot be read"),
        }
        accounts
    }

    /// For a process that is to be born in it.
    pub(super) fn procs(&self) -> io::Result<File> {
        OpenOptions::new().write(true).open(self.path().join("cgroup.procs"))
    }

    /// Capabilities that must outlive the drop, for what was made.
    pub(super) fn later(&self) -> &'static [Later] {
        match self {
            Cgroup::Found(_) => &[],
            Cgroup::Made(made) if made.is_removable() => &[Later::Signal],
            Cgroup::Made(_) => &[Later::Signal, Later::RemoveCgroup],
        }
    }

    /// Removes what was made.
    pub(super) fn remove(self) {
        if let Cgroup::Made(made) = self
            && let Err(error) = kernel::raised(Later::RemoveCgroup, || made.remove(PATIENCE))
        {
            warn!(error = chain(&error), "the command left something behind");
        }
    }

    fn cgroup(&self) -> &cgroup::Cgroup {
        match self {
            Cgroup::Found(found) => found,
            Cgroup::Made(made) => made.cgroup(),
        }
    }
}

/// Programs at work, and the ends of what they fill.
pub(super) struct Watch {
    pub(super) attached: Attached,
    pub(super) ring: Ring,
    pub(super) verdicts: Verdicts,
    pub(super) counts: Counts,
}

impl Watch {
    /// Loads and attaches.
    pub(super) fn begin(cgroup: &Cgroup, config: &Config) -> Result<Watch, Error> {
        let folder = File::open(cgroup.path()).map_err(Error::Open)?;
        let kernel = Kernel::load(options(config)).map_err(Error::Kernel)?;
        let (attached, ring, verdicts, counts) = kernel.attach(folder.as_fd()).map_err(Error::Kernel)?;
        Ok(Watch { attached, ring, verdicts, counts })
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
        log_level,
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
