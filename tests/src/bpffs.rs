//! A bpffs of the test's own.

use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

/// A mount that goes when dropped, with all that is pinned on it.
#[derive(Debug)]
pub struct Bpffs(TempDir);

impl Bpffs {
    /// A new one, on a folder of its own.
    #[must_use]
    pub fn new() -> Bpffs {
        let dir = tempfile::tempdir().expect("a folder");
        mount("bpf", dir.path(), "bpf", MountFlags::empty(), None).expect("mount a bpffs");
        Bpffs(dir)
    }

    /// Where a daemon may pin: not made yet.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        self.0.path().join("sidecar")
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Default for Bpffs {
    fn default() -> Self {
        Bpffs::new()
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        // While panicking there is nobody left to tell.
        let _ = unmount(self.0.path(), UnmountFlags::DETACH);
    }
}
