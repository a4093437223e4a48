//! `cargo xtask dist`: the daemon for a container image, `target/dist/out/sidecar`. Nothing else need be in the image:
//! it is linked statically, and carries its capabilities with it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use rustix::fs::{XattrFlags, setxattr};

use crate::{
    bpf_object, build, no_arguments, privileges,
    process::{cargo, run},
    setup::{self, Compiler, Extent},
    workspace::Workspace,
};

pub(crate) fn command(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    no_arguments(arguments)?;
    let compiler = setup::run(workspace, Extent::Build)?;
    statically(workspace, &compiler)
}

/// What it makes.
pub(crate) fn program(workspace: &Workspace) -> PathBuf {
    workspace.path("target/dist/out/sidecar")
}

/// Builds it, and then the usual one, whose place in `target/release` the static one takes in between.
pub(crate) fn statically(workspace: &Workspace, compiler: &Compiler) -> Result<()> {
    bpf_object::build(workspace, compiler)?;
    let mut command = cargo(workspace);
    command.args(["rustc", "--release", "--package", "sidecar-user", "--bin", "sidecar"]);
    command.arg("--target-dir").arg(workspace.path("target"));
    // For the last crate only: build scripts and procedural macros cannot be linked so.
    run(command.args(["--", "-C", "target-feature=+crt-static"]))?;
    let out = program(workspace);
    fs::create_dir_all(out.parent().context("a file is in a folder")?)?;
    if out.exists() {
        fs::remove_file(&out)?;
    }
    fs::copy(workspace.daemon(), &out).context("copy the daemon")?;
    if privileges::is_root()? {
        set_capabilities(&out)?;
        println!("dist: {} may have CAP_BPF and CAP_NET_ADMIN whoever starts it", out.display());
    } else {
        println!("dist: only root can give {} its file capabilities: it will need uid 0", out.display());
    }
    build::release(workspace, compiler)
}

/// CAP_BPF and CAP_NET_ADMIN, permitted and not effective: with the effective bit execve fails wherever one of the two
/// is out of bounds (capabilities(7), "Safety checking for capability-dumb binaries"), and nobody would say why.
fn set_capabilities(file: &Path) -> Result<()> {
    const NET_ADMIN: u32 = 12;
    const BPF: u32 = 39;
    /// `struct vfs_cap_data` (linux/capability.h): revision 2, flags none.
    const REVISION_2: u32 = 0x0200_0000;
    let permitted: u64 = 1 << NET_ADMIN | 1 << BPF;
    let inheritable: u64 = 0;
    let halves = [permitted, inheritable, permitted >> 32, inheritable >> 32].map(|half| half as u32);
    let words = [&[REVISION_2], &halves[..]].concat();
    let data: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    setxattr(file, "security.capability", &data, XattrFlags::empty()).context("set its file capabilities")
}
