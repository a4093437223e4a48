//! Which cgroups belong to which observed container: kept by the watcher, looked up by the capture thread when it meets a
//! cgroup for the first time.

use std::{
    collections::HashMap,
    fs::File,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use sidecar_core::{
    event::{self, Ends},
    model::{ConnectionId, Ktime, Role},
    signal,
};
use tracing::debug;

use super::logging::chain;
use crate::discovery::{
    cgroup,
    pod::{self, Found},
    sockets::Sockets,
};

/// Ports whose listeners are remembered.
const PORTS: usize = 1024;
/// Between two looks for cgroups that no container is known to have, ns.
const PACE_NS: u64 = 100_000_000;

/// The containers that are observed at present.
#[derive(Default)]
pub(super) struct Containers {
    state: Mutex<State>,
    /// There were several at a time. From then on they are told apart, though some may end: a series does not lose its
    /// label because a neighbour starts again.
    is_told_apart: AtomicBool,
    /// Counts the changes.
    generation: AtomicU64,
}

#[derive(Default)]
struct State {
    all: Vec<Arc<Container>>,
    /// Folder of a pod that is observed as a whole, and the daemon's own cgroup in it.
    pod: Option<(Arc<File>, u64)>,
}

struct Container {
    id: u64,
    name: Arc<str>,
    folder: File,
}

impl Containers {
    /// Adds one. Before the programs are attached to it, so that none of its connections comes first.
    pub(super) fn open(&self, found: &Found) {
        let folder = match found.folder.try_clone() {
            Ok(folder) => folder,
            Err(error) => {
                debug!(error = chain(&error), "the container's cgroups cannot be looked up");
                return;
            }
        };
        let container = Container { id: found.id, name: found.name.as_str().into(), folder };
        let state = &mut *self.lock();
        state.all.push(Arc::new(container));
        self.is_told_apart.fetch_or(state.all.len() > 1, Ordering::Relaxed);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Adds the folder in which containers are to appear.
    pub(super) fn open_pod(&self, found: &Found, own_id: u64) {
        self.lock().pod = found.folder.try_clone().ok().map(|folder| (Arc::new(folder), own_id));
    }

    /// Takes one away that is gone.
    pub(super) fn close(&self, id: u64) {
        self.lock().all.retain(|one| one.id != id);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Their cgroups, and those below them, with their names. Not for often: a folder each is read.
    fn cgroups(&self) -> (bool, Vec<(u64, Arc<str>)>) {
        let (all, pod) = {
            let state = self.lock();
            (state.all.clone(), state.pod.clone())
        };
        let mut found = Vec::new();
        if !self.is_told_apart.load(Ordering::Relaxed) {
            return (false, found);
        }
        for one in &all {
            found
                .extend(cgroup::below(&one.folder, one.id).into_iter().map(|id| (id, Arc::clone(&one.name))));
        }
        if let Some((folder, own_id)) = pod {
            // One that came a moment ago.
            let is_new = |id: u64| id != own_id && all.iter().all(|one| one.id != id);
            for (name, ids) in pod::containers(&folder, is_new) {
                let name: Arc<str> = name.into();
                found.extend(ids.into_iter().map(|id| (id, Arc::clone(&name))));
            }
        }
        (true, found)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The capture thread's side.
pub(super) struct Lookup {
    containers: Arc<Containers>,
    /// The last change that was seen.
    seen: u64,
    looked: Ktime,
    /// For sockets that are older than the programs.
    sockets: Option<Sockets>,
    /// The application's network namespace is the daemon's own: a port is one and the same.
    is_pod: bool,
    /// The one cgroup of all that listen on a port, and the changes that were seen then.
    ports: HashMap<u16, Option<u64>>,
    ports_seen: u64,
}

impl Lookup {
    pub(super) fn new(containers: Arc<Containers>, is_pod: bool) -> Self {
        Lookup {
            containers,
            seen: 0,
            looked: Ktime::default(),
            sockets: Sockets::open().inspect_err(|error| debug!(%error, "no sock_diag")).ok(),
            is_pod,
            ports: HashMap::new(),
            ports_seen: 0,
        }
    }

    /// Finds the cgroup of a connection whose socket, or the listener that it is from, is older than the programs. An
    /// accepted socket is of its listener's cgroup; where several cgroups listen on one port, only the socket itself
    /// tells, while there is one.
    pub(super) fn find(&mut self, id: ConnectionId, role: Option<Role>, ends: &mut Ends) {
        // Outside a pod each connection costs a question, so it is asked only where it matters.
        let is_wanted =
            ends.cgroup == 0 && (self.is_pod || self.containers.is_told_apart.load(Ordering::Relaxed));
        let Some(sockets) = self.sockets.as_ref().filter(|_| is_wanted) else { return };
        let generation = self.containers.generation.load(Ordering::Acquire);
        if generation != self.ports_seen || self.ports.len() >= PORTS {
            self.ports_seen = generation;
            self.ports.clear();
        }
        let listener = || match *sockets.listening(ends.local.port()) {
            [one] => Some(one),
            _ => None,
        };
        let of_port = match role {
            Some(Role::Server) if self.is_pod => {
                *self.ports.entry(ends.local.port()).or_insert_with(listener)
            }
            _ => None,
        };
        let cgroup = of_port.or_else(|| sockets.cgroup_of(ends.local, ends.remote, event::cookie(id)));
        ends.cgroup = cgroup.unwrap_or(0);
    }

    /// Sees to it that `known` has what there is to say about a cgroup, as far as that can be found out.
    pub(super) fn meet(&mut self, cgroup: u64, known: &mut signal::Containers, now: impl FnOnce() -> Ktime) {
        let generation = self.containers.generation.load(Ordering::Acquire);
        if generation == self.seen && known.knows(cgroup) {
            return;
        }
        let now = now();
        if generation == self.seen && now.0.saturating_sub(self.looked.0) < PACE_NS {
            return;
        }
        (self.seen, self.looked) = (generation, now);
        let (is_told_apart, found) = self.containers.cgroups();
        known.set(is_told_apart, found);
        if !known.knows(cgroup) {
            known.miss(cgroup);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Any folder stands in for a cgroup's: it is only ever listed.
    fn found(path: &std::path::Path, id: u64, name: &str) -> Found {
        let folder = File::open(path).expect("a folder");
        Found { path: path.to_owned(), folder, id, name: name.to_owned() }
    }

    #[test]
    fn a_cgroup_below_is_the_containers_and_is_looked_for_when_it_is_met() {
        let dir = tempfile::tempdir().expect("a folder");
        let [one, two] = ["one", "two"].map(|name| {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).expect("a folder");
            path
        });
        let containers = Arc::new(Containers::default());
        let mut lookup = Lookup::new(Arc::clone(&containers), false);
        let mut known = signal::Containers::default();
        let mut name = |cgroup, at| {
            lookup.meet(cgroup, &mut known, || Ktime(at));
            known.of(cgroup).map(|name| name.to_string())
        };
        containers.open(&found(&one, 1001, "a"));
        assert_eq!(name(1001, 1), None, "there is only one");
        containers.open(&found(&two, 1002, "b"));
        assert_eq!((name(1001, 2).as_deref(), name(1002, 2).as_deref()), (Some("a"), Some("b")));

        let inner = two.join("x/y");
        std::fs::create_dir_all(&inner).expect("folders");
        let id = std::os::unix::fs::MetadataExt::ino(&inner.metadata().expect("a folder"));
        assert_eq!(name(id, PACE_NS), None, "not again so soon");
        assert_eq!(name(id, 2 * PACE_NS).as_deref(), Some("b"));
        assert_eq!(name(77, 4 * PACE_NS), None);

        containers.close(1001);
        assert_eq!(name(1002, 5 * PACE_NS).as_deref(), Some("b"), "what is told apart stays so");
        containers.open(&found(&one, 1003, "c"));
        assert_eq!(name(1003, 5 * PACE_NS).as_deref(), Some("c"), "a change is seen at once");
    }
}
