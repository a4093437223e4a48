//! The pod around the daemon: which containers there are, and by which route their cgroups can be opened.
//!
//! Two routes. A folder of the node's hierarchy that was mounted into our container, in which the pod is found by its
//! uid: it holds every container, also those to come. Else, in a PID namespace that the pod's containers share, each
//! container's own mount of its cgroup, through `/proc/PID/root`. Never by file handles: whoever may open those may
//! open any cgroup of the node.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File},
    io,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use super::cgroup::{self, Cgroup, CgroupError};

mod place;

pub(crate) use place::container_id;

/// Folders that are looked into for the pod's.
const FOLDERS: usize = 4096;
/// Levels below the mount that the pod's folder may lie: `kubelet/kubepods/burstable/pod…` is four.
const DEPTH: usize = 5;
/// Processes that are looked at in one go.
const PROCESSES: usize = 4096;
/// Every so many looks all processes are looked at, not only the new ones.
const AFRESH: u32 = 16;
/// `PROC_PID_INIT_INO` of include/linux/proc_ns.h: the initial PID namespace.
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// Opens a folder, with the capability that reaching into another process's mounts may need.
pub(crate) type Open<'a> = &'a dyn Fn(&Path) -> io::Result<File>;

/// A cgroup that is there and open.
#[derive(Debug)]
pub(crate) struct Found {
    /// Where it was found.
    pub(crate) path: PathBuf,
    /// It.
    pub(crate) folder: File,
    /// The kernel's number of it.
    pub(crate) id: u64,
    /// The container's id, else the folder's name.
    pub(crate) name: String,
}

/// What a look found.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Cgroups to attach to.
    pub(crate) found: Vec<Found>,
    /// `found` holds more than the application: what it costs is the sum of `containers`.
    pub(crate) by_container: bool,
    /// The containers, where those are others than `found`.
    pub(crate) containers: Vec<Found>,
    /// Containers that cannot be reached, and the condition that is missing.
    pub(crate) unreachable: BTreeMap<String, String>,
}

/// The way to the pod's cgroups.
#[derive(Debug)]
pub(crate) struct Pod {
    own: String,
    own_id: u64,
    route: Route,
    /// Processes that need no second look.
    known: HashSet<u32>,
    /// Containers that were reached, by their path, and the cgroup.
    reached: BTreeMap<String, u64>,
    n_looks: u32,
}

#[derive(Debug)]
enum Route {
    /// The pod's folder in the node's hierarchy.
    Node(PathBuf),
    /// The containers' own mounts.
    Processes,
}

/// No route holds.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PodError {
    /// This is no container.
    #[error("this is no container: nothing says which cgroup belongs to the application")]
    NotContained,
    /// It is one, and a condition of each route is missing.
    #[error("no way to the pod's cgroups: {}", missing.join("; "))]
    NoRoute {
        /// One for each route.
        missing: Vec<String>,
    },
    /// The daemon's own cgroup.
    #[error("find the daemon's own cgroup")]
    Own(#[source] CgroupError),
}

/// Whether the daemon's own cgroup is one of a pod, as far as its path is shown.
pub(crate) fn is_around() -> bool {
    cgroup::path_of(Path::new("/proc/self/cgroup")).is_ok_and(|own| place::is_in_pod(&own))
}

impl Pod {
    /// Finds a route. `uid` is the pod's, as the downward API gives it.
    ///
    /// # Errors
    /// [`PodError`]
    pub(crate) fn find(uid: Option<&str>) -> Result<Pod, PodError> {
        let own = cgroup::path_of(Path::new("/proc/self/cgroup")).map_err(PodError::Own)?;
        let mounts = cgroup::mount_points().map_err(PodError::Own)?;
        // Behind a private namespace the folder of the path `/` may be mounted nowhere; then nothing is ours.
        let own_id = Cgroup::own().map_or(0, |own| own.id);
        if !place::is_contained(&own, own_id == 1) {
            return Err(PodError::NotContained);
        }
        let mut missing = Vec::new();
        let pod = |route| Pod {
            own: own.clone(),
            own_id,
            route,
            known: HashSet::new(),
            reached: BTreeMap::new(),
            n_looks: 0,
        };
        match node(&mounts, uid) {
            Ok(folder) => return Ok(pod(Route::Node(folder))),
            Err(why) => missing.push(why),
        }
        match shared(&own) {
            Ok(()) => return Ok(pod(Route::Processes)),
            Err(why) => missing.push(why),
        }
        Err(PodError::NoRoute { missing })
    }

    /// The kernel's number of the daemon's own cgroup.
    pub(crate) fn own_id(&self) -> u64 {
        self.own_id
    }

    /// The route, in words.
    pub(crate) fn route(&self) -> String {
        match &self.route {
            Route::Node(folder) => format!("the pod's cgroup {}", folder.display()),
            Route::Processes => "each container's own cgroup, through /proc/PID/root".to_owned(),
        }
    }

    /// What there is at present. Of containers whose cgroup is among `known` nothing new is opened.
    pub(crate) fn survey(&mut self, known: &HashSet<u64>, open: Open<'_>) -> Survey {
        match &self.route {
            Route::Node(folder) => self.node_survey(folder, known),
            Route::Processes => self.processes(known, open),
        }
    }

    fn node_survey(&self, folder: &Path, known: &HashSet<u64>) -> Survey {
        let mut survey = Survey { by_container: true, ..Survey::default() };
        let mut take = |path: &Path, into: fn(&mut Survey) -> &mut Vec<Found>| {
            let Ok(cgroup) = Cgroup::open(path) else { return };
            if known.contains(&cgroup.id) || cgroup.id == self.own_id {
                return;
            }
            if let Ok(opened) = File::open(path) {
                into(&mut survey).push(found(path, opened, cgroup.id));
            }
        };
        take(folder, |survey| &mut survey.found);
        for below in folders(folder) {
            take(&below, |survey| &mut survey.containers);
        }
        survey
    }

    fn processes(&mut self, known: &HashSet<u64>, open: Open<'_>) -> Survey {
        if self.n_looks.is_multiple_of(AFRESH) {
            self.known.clear();
        }
        self.n_looks = self.n_looks.wrapping_add(1);
        let mut survey = Survey::default();
        let mut here = HashSet::new();
        self.reached.retain(|_, id| known.contains(id));
        for pid in processes() {
            here.insert(pid);
            if self.known.contains(&pid) {
                continue;
            }
            let file = PathBuf::from(format!("/proc/{pid}/cgroup"));
            let Ok(path) = cgroup::path_of(&file) else { continue };
            let Some(container) = place::sibling(&self.own, &path).map(str::to_owned) else {
                self.known.insert(pid);
                continue;
            };
            if self.reached.contains_key(&container) || is_pause(pid) {
                self.known.insert(pid);
                continue;
            }
            match reach(pid, &path, &container, open) {
                Ok(found) => {
                    self.known.insert(pid);
                    survey.unreachable.remove(&container);
                    self.reached.insert(container, found.id);
                    let is_new = !known.contains(&found.id) && found.id != self.own_id;
                    if is_new && !survey.found.iter().any(|other| other.id == found.id) {
                        survey.found.push(found);
                    }
                }
                // It ended meanwhile.
                Err(_) if !file.exists() => {}
                Err(error) => {
                    survey.unreachable.insert(container, obstacle(pid, &error));
                }
            }
        }
        self.known.retain(|pid| here.contains(pid));
        survey
    }
}

/// Whether an open cgroup was removed.
pub(crate) fn is_removed(folder: &File) -> bool {
    // Files of a removed folder are not found any more.
    let procs = format!("/proc/self/fd/{}/cgroup.procs", folder.as_raw_fd());
    fs::metadata(procs).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// What the containers in a pod's folder are called, and the numbers of their cgroups; only of those that `wants` takes.
pub(crate) fn containers(pod: &File, wants: impl Fn(u64) -> bool) -> Vec<(String, Vec<u64>)> {
    let pod = PathBuf::from(format!("/proc/self/fd/{}", pod.as_raw_fd()));
    let container = |path: PathBuf| {
        let folder = File::open(&path).ok()?;
        let id = folder.metadata().ok()?.ino();
        let name = path.file_name()?.to_string_lossy().into_owned();
        wants(id).then(|| (named(&name), cgroup::below(&folder, id)))
    };
    folders(&pod).into_iter().filter_map(container).collect()
}

/// The pod's folder in a mount of the node's hierarchy.
fn node(mounts: &[PathBuf], uid: Option<&str>) -> Result<PathBuf, String> {
    let Some(uid) = uid else {
        return Err("the pod's uid is not given (variable POD_UID by the downward API), \
                    to find it in a mount of the node's cgroups"
            .to_owned());
    };
    let found = mounts.iter().find_map(|mount| search(mount, uid));
    found.ok_or_else(|| {
        let mounts: Vec<_> = mounts.iter().map(|mount| mount.display().to_string()).collect();
        format!("no folder of pod {uid} in {}: the node's /sys/fs/cgroup is not mounted", mounts.join(", "))
    })
}

fn search(mount: &Path, uid: &str) -> Option<PathBuf> {
    let mut level = vec![mount.to_owned()];
    let mut n_folders = 0;
    for _ in 0..DEPTH {
        let below: Vec<PathBuf> = level.iter().flat_map(|folder| folders(folder)).take(FOLDERS).collect();
        let is_it = |path: &&PathBuf| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| place::is_pod(name, uid))
        };
        if let Some(pod) = below.iter().find(is_it) {
            return Some(pod.clone());
        }
        n_folders += below.len();
        if n_folders >= FOLDERS {
            return None;
        }
        level = below;
    }
    None
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).take(FOLDERS).collect()
}

/// Whether other containers' processes can be seen.
fn shared(own: &str) -> Result<(), String> {
    let initial = fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino());
    if initial == INITIAL_PID_NAMESPACE {
        return Err("the PID namespace is the node's (hostPID): whose processes are the application's \
                    cannot be told"
            .to_owned());
    }
    // Of a shared namespace the first process is the pause container's, or the application's.
    let first = cgroup::path_of(Path::new("/proc/1/cgroup")).unwrap_or_default();
    if place::sibling(own, &first).is_some() {
        return Ok(());
    }
    Err("no process of another container is in sight: the pod's shareProcessNamespace is not true".to_owned())
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).take(PROCESSES)
}

/// The process that only holds the pod's namespaces.
fn is_pause(pid: u32) -> bool {
    pid == 1 && fs::read_to_string("/proc/1/comm").is_ok_and(|name| name.trim_end() == "pause")
}

/// Opens the cgroup of a process's container by the mounts that the process has.
fn reach(pid: u32, path: &str, container: &str, open: Open<'_>) -> io::Result<Found> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let mounts = fs::read_to_string(process.join("mountinfo"))?;
    let mut last = io::Error::other("the container has no mount of its cgroup");
    // The container's cgroup; where only one below it is shown, that one.
    for wanted in [container, path] {
        for folder in cgroup::folders_of(&mounts, wanted) {
            let inside = folder.strip_prefix("/").unwrap_or(&folder);
            let outside = process.join("root").join(inside);
            match open(&outside).and_then(|folder| Ok((cgroup::id_of(&folder)?, folder))) {
                Ok((id, folder)) => {
                    let name = container.rsplit('/').next().unwrap_or(container);
                    return Ok(Found { path: outside, folder, id, name: named(name) });
                }
                Err(error) => last = error,
            }
        }
    }
    Err(last)
}

fn found(path: &Path, folder: File, id: u64) -> Found {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Found { path: path.to_owned(), folder, id, name: named(&name) }
}

/// What a container is called: its id, else its cgroup.
fn named(folder: &str) -> String {
    place::container_id(folder).unwrap_or(folder).to_owned()
}

/// Why a process's mounts cannot be walked (ptrace(2), "Ptrace access mode checking"): which condition is missing.
fn obstacle(pid: u32, error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error.to_string();
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let value = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default().trim();
    let user = value("Uid:").split_ascii_whitespace().next().unwrap_or_default();
    let own = rustix::process::geteuid().as_raw().to_string();
    let has_capabilities = value("CapPrm:").bytes().any(|digit| digit != b'0');
    let mut missing = Vec::new();
    if user != own {
        missing.push(format!("run as the same user (it is {user}, the daemon {own})"));
    }
    if has_capabilities {
        missing.push("have no capabilities (`drop: [ALL]`)".to_owned());
    }
    if missing.is_empty() {
        return "not permitted: SYS_PTRACE is missing, and the process does not let itself be looked into"
            .to_owned();
    }
    format!("not permitted: SYS_PTRACE is missing; without it the container must {}", missing.join(" and "))
}
