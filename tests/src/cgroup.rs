//! cgroups of the test's own.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::eventually;

/// A cgroup that is removed, with what is in it killed, when dropped.
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

    /// The processes in it.
    #[must_use]
    pub fn processes(&self) -> Vec<Pid> {
        let procs = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        procs.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
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
            fs::remove_dir(&self.0).ok()
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
