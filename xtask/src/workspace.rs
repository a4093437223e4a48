//! Where things are in the workspace. `target/` is always the workspace's own, whatever `CARGO_TARGET_DIR` says:
//! `sidecar-user/build.rs` and the README look there.

use std::path::{Path, PathBuf};

pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace that this program was compiled in.
    pub(crate) fn of_this_crate() -> Self {
        let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self { root: xtask.parent().unwrap_or(xtask).to_path_buf() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Programs that building needs.
    pub(crate) fn tools(&self) -> PathBuf {
        self.path("target/tools")
    }

    /// Programs that tests need.
    pub(crate) fn parts(&self) -> PathBuf {
        self.path("target/parts")
    }

    /// The BPF object and the hash of what it was made from.
    pub(crate) fn bpf(&self) -> PathBuf {
        self.path("target/bpf")
    }

    pub(crate) fn daemon(&self) -> PathBuf {
        self.path("target/release/sidecar")
    }
}
