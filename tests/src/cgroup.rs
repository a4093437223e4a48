//! cgroups of the test's own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{eventually, process};

/// A cgroup that is removed, with what is in it and below it killed, when dropped.
#[derive(Debug)]
pub struct Cgroup(PathBuf);

static SERIAL: AtomicU32 = AtomicU32::new(0);

impl Cgroup {
    /// A new one below the root of the hierarchy.
    #[must_use]
    pub fn new() -> Cgroup {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let path = mount().join(format!("test-{}-{serial}", std::process::id()));
        fs::create_dir(&path).unwrap_or_else(|error| panic!("create {}: {error}", path.display()));
        Cgroup(path)
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Moves a process in.
    pub fn enter(&self, pid: Pid) {
        let procs = self.0.join("cgroup.procs");
        fs::write(&procs, pid.as_raw_nonzero().to_string()).expect("enter the cgroup");
    }

    /// Shell words that run what follows them inside: `sh -c 'echo 0 >…/cgroup.procs; exec "$@"' sh`.
    #[must_use]
    pub fn wrapper(&self) -> Vec<String> {
        let script = format!("echo 0 >{}/cgroup.procs && exec \"$@\"", self.0.display());
        ["sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
    }

    /// A program that runs inside.
    #[must_use]
    pub fn within(&self, words: &[&str]) -> Command {
        let wrapper = self.wrapper();
        let mut within = Command::new(&wrapper[0]);
        within.args(&wrapper[1..]).args(words);
        within
    }

    /// The processes in it, and in those below.
    #[must_use]
    pub fn processes(&self) -> Vec<Pid> {
        processes(&self.0)
    }

    /// Those below it.
    #[must_use]
    pub fn children(&self) -> Vec<PathBuf> {
        children(&self.0)
    }
}

impl Default for Cgroup {
    fn default() -> Self {
        Cgroup::new()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let gone = || {
            for pid in self.processes() {
                let _ = kill_process(pid, Signal::KILL);
            }
            remove(&self.0).ok()
        };
        if std::thread::panicking() {
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                eventually("the cgroup to empty", gone)
            }));
        } else {
            eventually("the cgroup to empty", gone);
        }
    }
}

fn children(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// The processes in this folder's cgroup, and in those below.
#[must_use]
pub fn processes(path: &Path) -> Vec<Pid> {
    let procs = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    let here = procs.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?));
    here.chain(children(path).iter().flat_map(|below| processes(below))).collect()
}

fn remove(path: &Path) -> std::io::Result<()> {
    children(path).iter().try_for_each(|below| remove(below))?;
    fs::remove_dir(path)
}

/// Names of the programs attached to a cgroup, as `bpftool` sees them.
#[must_use]
pub fn attached(path: &Path) -> Vec<String> {
    let listed = process::run(Command::new("bpftool").args(["-j", "cgroup", "show"]).arg(path));
    // It prints nothing at all where there is nothing.
    let rows: Vec<serde_json::Value> = match listed.trim() {
        "" => Vec::new(),
        listed => serde_json::from_str(listed).expect("JSON"),
    };
    rows.iter().map(|row| row["name"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Where cgroup2 is mounted, found by its type.
#[must_use]
pub fn mount() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("the mounts");
    let mount = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (_, point, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(point))
    });
    mount.expect("cgroup2 is mounted")
}
