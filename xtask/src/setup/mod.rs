//! `cargo xtask setup`: what building and testing need and this machine lacks. Says what is missing and why before
//! it installs; where nothing is missing it looks and does nothing.

mod apt;
mod compiler;
mod emulation;
pub(crate) mod fuzzing;
pub(crate) mod linker;
pub(crate) mod mirror;
mod node;
mod peers;
mod python;
mod testing;

use anyhow::Result;

pub(crate) use compiler::Compiler;

use crate::{only_flag, workspace::Workspace};

/// How much to set up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    Build,
    BuildAndTest,
    /// And what measurements compare with.
    BuildTestAndCompare,
    /// And other kernels to boot.
    BuildTestAndBoot,
}

pub(crate) fn command(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let is_build_only = only_flag(arguments, "--build-only")?;
    let extent = if is_build_only { Extent::Build } else { Extent::BuildAndTest };
    let compiler = run(workspace, extent)?;
    println!("setup: nothing is missing; BPF programs are compiled by {compiler}");
    Ok(())
}

/// Installs what is missing; gives the compiler for BPF programs.
pub(crate) fn run(workspace: &Workspace, extent: Extent) -> Result<Compiler> {
    let compiler = compiler::choose(workspace)?;
    let has_linker = linker::is_built(workspace);

    let mut packages = Vec::new();
    packages.extend(compiler.packages());
    if !has_linker {
        packages.extend(linker::PACKAGES);
    }
    if extent != Extent::Build {
        packages.extend(testing::packages());
    }
    if extent == Extent::BuildTestAndCompare {
        packages.extend(peers::PACKAGES);
    }
    if extent == Extent::BuildTestAndBoot {
        packages.extend(emulation::PACKAGES);
    }
    apt::install(workspace, &packages)?;

    compiler.check()?;
    compiler::remember(workspace, &compiler)?;
    if !has_linker {
        linker::build(workspace)?;
    }
    if extent != Extent::Build {
        testing::install(workspace)?;
    }
    if extent == Extent::BuildTestAndCompare {
        peers::install(workspace)?;
    }
    Ok(compiler)
}
