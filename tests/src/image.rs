//! A container image with the daemon that `cargo xtask dist` built, made by buildah in a storage of the test's own.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{process, root};

/// The image's files, in a folder; unmounted and removed when dropped.
#[derive(Debug)]
pub struct Image {
    storage: PathBuf,
    /// Where its root is.
    pub mount: PathBuf,
}

/// A tag that no registry has.
const NAME: &str = "localhost/sidecar:test";

impl Image {
    /// Builds `deploy/Containerfile`, its first stage replaced by what `cargo xtask dist` left.
    #[must_use]
    pub fn build(dir: &Path) -> Image {
        let mut image = Image { storage: dir.join("storage"), mount: PathBuf::new() };
        let dist = format!("build={}", root().join("target/dist").display());
        let file = root().join("deploy/Containerfile").display().to_string();
        let context = root().display().to_string();
        // Nothing is run in it, so nothing need be isolated.
        let words =
            ["build", "--isolation", "chroot", "--pull-never", "--build-context", &dist, "--file", &file];
        image.buildah(&words, &["--tag", NAME, &context]);
        let container = image.buildah(&["from", "--pull-never", NAME], &[]);
        image.mount = image.buildah(&["mount", container.trim()], &[]).trim().into();
        image
    }

    /// What the image says of itself: the value at a Go template's place in `buildah inspect`.
    #[must_use]
    pub fn says(&self, template: &str) -> String {
        self.buildah(&["inspect", "--type", "image", "--format", template, NAME], &[]).trim().to_owned()
    }

    fn buildah(&self, words: &[&str], more: &[&str]) -> String {
        let mut command = Command::new("buildah");
        command.args(["--storage-driver", "vfs", "--root"]).arg(self.storage.join("root"));
        command.arg("--runroot").arg(self.storage.join("run"));
        process::run(command.args(words).args(more))
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let mut command = Command::new("buildah");
        command.args(["--storage-driver", "vfs", "--root"]).arg(self.storage.join("root"));
        command.arg("--runroot").arg(self.storage.join("run"));
        // The files go with the test's folder.
        let _ = process::output(command.args(["umount", "--all"]));
    }
}
