//! `cargo xtask test`: every test there is. Nothing is skipped: what cannot run here is an error.

use anyhow::{Result, bail};

use crate::{
    build, dist, privileges,
    process::{cargo, run},
    setup::{self, Extent},
    workspace::Workspace,
};

/// The package whose tests share the kernel with each other, and so run one after the other.
const PRIVILEGED: &str = "sidecar-tests";

pub(crate) fn command(workspace: &Workspace, filter: &[String]) -> Result<()> {
    privileges::check()?;
    let compiler = setup::run(workspace, Extent::BuildAndTest)?;
    build::release(workspace, &compiler)?;
    // One test puts it into an image. It takes as long as the usual one, so a run of a few tests takes what there is.
    if filter.is_empty() || !dist::program(workspace).exists() {
        dist::statically(workspace, &compiler)?;
    }

    let runs: [(&str, &[&str], &[&str]); 2] = [
        ("unit tests", &["--workspace", "--exclude", PRIVILEGED], &[]),
        (PRIVILEGED, &["--package", PRIVILEGED], &["--test-threads=1"]),
    ];
    let mut failed = Vec::new();
    for (name, packages, threads) in runs {
        let mut command = cargo(workspace);
        command.arg("test").args(packages).args(["--no-fail-fast", "--", "--include-ignored"]);
        command.args(threads).args(filter);
        command.env("TESTED_BINARY", workspace.daemon()).env("TESTED_PARTS", workspace.parts());
        if let Err(error) = run(&mut command) {
            eprintln!("xtask test: {error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}
