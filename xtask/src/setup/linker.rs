//! bpf-linker, built once into `target/tools`.

use std::{path::PathBuf, process::Command};

use anyhow::{Result, bail};

use super::apt::Package;
use crate::{
    process::{cargo, output, run},
    workspace::Workspace,
};

const VERSION: &str = "0.13.0";
/// The LLVM that reads what rustc writes: bpf-linker is linked against it, so no rustc with a newer one will do.
pub(crate) const LLVM: u32 = 22;

pub(super) const PACKAGES: &[Package] = &[
    Package { name: "llvm-22-dev", why: "bpf-linker is linked against the LLVM that rustc uses" },
    Package { name: "libpolly-22-dev", why: "a part of LLVM that `llvm-config` names" },
    Package { name: "zlib1g-dev", why: "LLVM is linked against it" },
    Package { name: "libzstd-dev", why: "LLVM is linked against it" },
];

pub(crate) fn path(workspace: &Workspace) -> PathBuf {
    workspace.tools().join("bin/bpf-linker")
}

/// Whether one of the right version is there and starts (it does not without LLVM's library).
pub(super) fn is_built(workspace: &Workspace) -> bool {
    let version = output(Command::new(path(workspace)).arg("--version"));
    version.is_ok_and(|version| version.trim().ends_with(VERSION))
}

pub(super) fn build(workspace: &Workspace) -> Result<()> {
    println!(
        "setup: building bpf-linker {VERSION}: it makes one BPF object of what rustc writes for the BPF target"
    );
    let prefix = format!("/usr/lib/llvm-{LLVM}");
    let mut command = cargo(workspace);
    command.args(["install", "bpf-linker", "--version", VERSION, "--locked", "--quiet", "--force"]);
    command.args(["--no-default-features", "--features", &format!("llvm-{LLVM}")]);
    command.arg("--root").arg(workspace.tools());
    command.env("LLVM_PREFIX", &prefix).env(format!("LLVM_SYS_{LLVM}1_PREFIX"), &prefix);
    command.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
    run(&mut command)?;
    if !is_built(workspace) {
        bail!("{} was built and does not say that it is version {VERSION}", path(workspace).display());
    }
    Ok(())
}
