//! The cgroup that is made for a command, below the daemon's own: `sidecar-` and the daemon's process number.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{Cgroup, CgroupError};

/// Pause between two attempts to remove a cgroup whose last process is just going.
const RETRY: Duration = Duration::from_millis(10);

/// A cgroup that belongs to this process. Dropped, it is removed if it is empty.
#[derive(Debug)]
pub(crate) struct Child {
    cgroup: Cgroup,
}

impl Child {
    /// Makes the cgroup of the daemon with this number below `parent`. An empty one of the same name is what a dead
    /// daemon with the same number left (1 in every container), and is replaced.
    ///
    /// # Errors
    /// `Io` where `parent` cannot be written; `Occupied` where processes are in a cgroup of that name.
    pub(crate) fn create(parent: &Cgroup, daemon: u32) -> Result<Self, CgroupError> {
        let path = parent.path.join(format!("sidecar-{daemon}"));
        let mut made = fs::create_dir(&path);
        if made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
            remove(&path, Duration::ZERO)?;
            made = fs::create_dir(&path);
        }
        made.map_err(CgroupError::io("create", &path))?;
        Cgroup::open(&path).map(|cgroup| Self { cgroup })
    }

    /// The cgroup.
    pub(crate) fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// It can be removed by its owner alone, without a capability: the parent's mode says so.
    pub(crate) fn is_removable(&self) -> bool {
        let parent = self.cgroup.path.parent().and_then(|parent| fs::metadata(parent).ok());
        let user = rustix::process::geteuid().as_raw();
        parent.is_some_and(|parent| parent.uid() == user && parent.mode() & 0o200 != 0)
    }

    /// Removes it and the empty ones below it. Blocks, at most for `patience`, while the kernel lets go of the last
    /// process.
    ///
    /// # Errors
    /// `Occupied`, with the processes that are still there.
    pub(crate) fn remove(self, patience: Duration) -> Result<(), CgroupError> {
        remove(&self.cgroup.path, patience)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // What is left is swept by the next start.
        let _ = rmdir(&self.cgroup.path);
    }
}

/// The number of the daemon that made a cgroup of this name for its command.
pub(crate) fn daemon_of(name: &str) -> Option<u32> {
    name.strip_prefix("sidecar-")?.parse().ok()
}

/// Removes the empty cgroups below `parent` whose daemon is no more; gives those that are gone. `is_alive` tells whether
/// a process has this number ([`exists`]). A daemon of another PID namespace looks dead from here: its cgroup is safe
/// while its command runs.
pub(crate) fn sweep(parent: &Cgroup, is_alive: impl Fn(u32) -> bool) -> Vec<PathBuf> {
    stale(parent, is_alive).into_iter().filter(|path| rmdir(path).is_ok()).collect()
}

/// Ids of the cgroups below `parent` whose daemon is no more, and that a sweep leaves: their commands run on.
pub(crate) fn orphans(parent: &Cgroup, is_alive: impl Fn(u32) -> bool) -> Vec<u64> {
    let paths = stale(parent, is_alive).into_iter();
    paths.filter_map(|path| Cgroup::open(&path).ok()).map(|cgroup| cgroup.id).collect()
}

fn stale(parent: &Cgroup, is_alive: impl Fn(u32) -> bool) -> Vec<PathBuf> {
    let Ok(folders) = fs::read_dir(&parent.path) else { return Vec::new() };
    let stale = folders.filter_map(Result::ok).filter(|folder| {
        let name = folder.file_name();
        let pid = name.to_str().and_then(daemon_of);
        pid.is_some_and(|pid| !is_alive(pid))
    });
    stale.map(|folder| folder.path()).collect()
}

/// Whether a process of this number runs in the daemon's PID namespace. One that only waits for its parent to notice its end
/// does not (state `Z` of proc_pid_stat(5), behind the name, which may have anything in it).
pub(crate) fn exists(pid: u32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')))
}

/// What an error says about the processes that are left.
pub(super) fn left(processes: &[u32]) -> String {
    match processes {
        [] => "the cgroup is in use, no process is seen in it".to_owned(),
        some => format!("processes {some:?} are in it"),
    }
}

fn remove(path: &Path, patience: Duration) -> Result<(), CgroupError> {
    let started = Instant::now();
    loop {
        match rmdir(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // A wait, not a test of a race: a cgroup stays busy until its last process is reaped.
            Err(_) if started.elapsed() < patience => thread::sleep(RETRY),
            Err(source) => {
                let processes = processes(path);
                return Err(CgroupError::Occupied { path: path.to_owned(), processes, source });
            }
        }
    }
}

/// Removes a cgroup and, before it, those that the command made below it. Their files go with the folders.
fn rmdir(path: &Path) -> io::Result<()> {
    for below in folders(path) {
        rmdir(&below)?;
    }
    fs::remove_dir(path)
}

fn processes(path: &Path) -> Vec<u32> {
    let text = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    let here = text.lines().filter_map(|line| line.parse().ok());
    here.chain(folders(path).iter().flat_map(|below| processes(below))).collect()
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn only_stale_and_empty_ones_of_our_name_are_swept() {
        let folder = tempfile::tempdir().expect("a folder");
        let parent = Cgroup { path: folder.path().to_owned(), id: 0 };
        for name in ["sidecar-1", "sidecar-2", "sidecar-2x", "sidecar-", "other-2"] {
            fs::create_dir(folder.path().join(name)).expect("made");
        }
        fs::create_dir_all(folder.path().join("sidecar-3/below")).expect("made");
        fs::create_dir(folder.path().join("sidecar-4")).expect("made");
        fs::write(folder.path().join("sidecar-4/full"), "").expect("made");
        let mut swept = sweep(&parent, |pid| pid == 1);
        swept.sort();
        assert_eq!(swept, ["sidecar-2", "sidecar-3"].map(|name| folder.path().join(name)));
        assert!(exists(std::process::id()) && !exists(u32::MAX));
        let mut ended = Command::new("true").spawn().expect("started");
        while exists(ended.id()) {
            thread::sleep(RETRY);
        }
        assert!(Path::new("/proc").join(ended.id().to_string()).exists(), "nobody has waited for it");
        ended.wait().expect("reaped");
    }

    #[test]
    #[ignore = "privileged: makes a cgroup"]
    fn a_cgroup_is_made_entered_and_removed_once_it_is_empty() {
        let own = Cgroup::own().expect("a cgroup");
        let daemon = std::process::id();
        let child = Child::create(&own, daemon).expect("made");
        let path = child.cgroup().path.clone();
        assert!(!child.cgroup().is_real_root() && child.cgroup().id > 1);
        let mut sleeper = Command::new("sleep").arg("60").spawn().expect("started");
        let pid = sleeper.id();
        fs::write(child.cgroup().path.join("cgroup.procs"), pid.to_string()).expect("entered");
        assert_eq!(Cgroup::of(pid).expect("there"), *child.cgroup());
        let error = Child::create(&own, daemon).expect_err("occupied");
        assert!(error.to_string().contains(&format!("processes [{pid}] are in it")), "{error}");
        sleeper.kill().expect("killed");
        sleeper.wait().expect("reaped");
        fs::create_dir(path.join("below")).expect("made");
        child.remove(Duration::from_secs(2)).expect("removed");
        assert!(!path.exists());
    }
}
