//! Clients that come as packages of npm, into `target/parts/node`.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};

use crate::{process::run, workspace::Workspace};

const PACKAGES: &str = "tests/support/node";

/// Installs what `tests/support/node/package-lock.json` has, unless that same text was installed before.
pub(super) fn install(workspace: &Workspace) -> Result<()> {
    let (from, place) = (workspace.path(PACKAGES), workspace.parts().join("node"));
    let stamp = place.join("installed");
    let lock = from.join("package-lock.json");
    let wanted = fs::read_to_string(&lock).with_context(|| format!("read {}", lock.display()))?;
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    println!("setup: installing {PACKAGES} by npm: a client to observe, in another language");
    fs::create_dir_all(&place)?;
    for file in ["package.json", "package-lock.json"] {
        fs::copy(from.join(file), place.join(file)).with_context(|| format!("copy {file}"))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    run(npm.current_dir(&place))?;
    fs::write(&stamp, wanted).context("remember what was installed")
}
