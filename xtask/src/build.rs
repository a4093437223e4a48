//! `cargo xtask build`.

use std::path::PathBuf;

use anyhow::Result;

use crate::{
    bpf_object, no_arguments,
    process::{cargo, run},
    setup::{self, Extent},
    workspace::Workspace,
};

pub(crate) fn command(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    no_arguments(arguments)?;
    let compiler = setup::run(workspace, Extent::Build)?;
    release(workspace, &compiler)
}

/// What asks at a steady rate (`tests/src/bin/requests.rs`): where it is.
pub(crate) fn client(workspace: &Workspace) -> Result<PathBuf> {
    let build = ["build", "--quiet", "--release", "--package", "sidecar-tests", "--bin", "requests"];
    run(cargo(workspace).args(build).arg("--target-dir").arg(workspace.path("target")))?;
    Ok(workspace.path("target/release/requests"))
}

/// The BPF object, then the daemon with the object inside.
pub(crate) fn release(workspace: &Workspace, compiler: &setup::Compiler) -> Result<()> {
    bpf_object::build(workspace, compiler)?;
    let mut command = cargo(workspace);
    command.args(["build", "--release", "--package", "sidecar-user"]);
    run(command.arg("--target-dir").arg(workspace.path("target")))
}
