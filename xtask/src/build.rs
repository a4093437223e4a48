//! `cargo xtask build`.

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

/// The BPF object, then the daemon with the object inside.
pub(crate) fn release(workspace: &Workspace, compiler: &setup::Compiler) -> Result<()> {
    bpf_object::build(workspace, compiler)?;
    let mut command = cargo(workspace);
    command.args(["build", "--release", "--package", "sidecar-user"]);
    run(command.arg("--target-dir").arg(workspace.path("target")))
}
