//! Which rustc compiles for BPF. The target comes without a prebuilt `core`, so its source is needed too, and that is
//! where the two worlds differ: rustup's `rust-src`, or where rustup cannot fetch it the distribution's rustc with
//! the distribution's source.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{apt::Package, linker::LLVM};
use crate::{
    process::{find, output},
    workspace::Workspace,
};

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_SOURCES: &str = "/usr/lib/rustlib/src/rust";
const DEBIAN_PACKAGES: &[Package] = &[
    Package {
        name: "rustc-web",
        why: "a rustc whose own source the distribution has, to build BPF programs with",
    },
    Package { name: "rust-web-src", why: "the source of `core`, which is compiled anew for the BPF target" },
];

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Compiler {
    /// The toolchain that runs us.
    Rustup { sysroot: PathBuf },
    /// Debian's.
    Debian,
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rustup { .. } => f.write_str("the active toolchain and its rust-src"),
            Self::Debian => write!(f, "Debian's {DEBIAN_RUSTC} and rust-web-src"),
        }
    }
}

impl Compiler {
    pub(crate) fn rustc(&self) -> PathBuf {
        match self {
            Self::Rustup { sysroot } => sysroot.join("bin/rustc"),
            Self::Debian => PathBuf::from(DEBIAN_RUSTC),
        }
    }

    /// The folder that has `library/core`.
    pub(crate) fn sources(&self) -> PathBuf {
        match self {
            Self::Rustup { sysroot } => sysroot.join("lib/rustlib/src/rust"),
            Self::Debian => PathBuf::from(DEBIAN_SOURCES),
        }
    }

    /// What to install for it.
    pub(super) fn packages(&self) -> &'static [Package] {
        match self {
            Self::Rustup { .. } => &[],
            Self::Debian => DEBIAN_PACKAGES,
        }
    }

    /// That it is there, and understood by the linker.
    pub(super) fn check(&self) -> Result<()> {
        let lock = self.sources().join("library/Cargo.lock");
        if !lock.is_file() {
            bail!("{self}: no {}", lock.display());
        }
        let version = output(Command::new(self.rustc()).arg("-vV"))?;
        let (minor, llvm) = (minor(&version)?, llvm(&version)?);
        let minimum = env!("CARGO_PKG_RUST_VERSION");
        if minor < minimum.split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or(0) {
            bail!("{self}: this is rustc 1.{minor}, and {minimum} is needed");
        }
        if llvm > LLVM {
            bail!("{self}: it has LLVM {llvm}, and bpf-linker is built with LLVM {LLVM}");
        }
        Ok(())
    }
}

/// The compiler that was chosen before, or else the first world that this machine can have.
pub(super) fn choose(workspace: &Workspace) -> Result<Compiler> {
    let active = active()?;
    match fs::read_to_string(stamp(workspace)).as_deref().map(str::trim) {
        Ok("rustup") if active.check().is_ok() => return Ok(active),
        Ok("debian") if Compiler::Debian.check().is_ok() => return Ok(Compiler::Debian),
        _ => {}
    }
    if active.check().is_err() && find("rustup").is_some() {
        println!(
            "setup: rust-src is missing: the source of `core`, which is compiled anew for the BPF target"
        );
        let added = output(Command::new("timeout").args(["120", "rustup", "component", "add", "rust-src"]));
        if let Err(error) = added {
            println!("setup: rustup cannot bring it ({error:#})");
        }
    }
    match active.check() {
        Ok(()) => Ok(active),
        Err(error) => {
            println!("setup: {error:#}; so BPF programs will be compiled by {}", Compiler::Debian);
            Ok(Compiler::Debian)
        }
    }
}

pub(super) fn remember(workspace: &Workspace, compiler: &Compiler) -> Result<()> {
    let word = match compiler {
        Compiler::Rustup { .. } => "rustup",
        Compiler::Debian => "debian",
    };
    fs::create_dir_all(workspace.tools())?;
    fs::write(stamp(workspace), word).context("remember the BPF compiler")
}

fn stamp(workspace: &Workspace) -> PathBuf {
    workspace.tools().join("bpf-compiler")
}

fn active() -> Result<Compiler> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    Ok(Compiler::Rustup { sysroot: Path::new(sysroot.trim()).to_path_buf() })
}

fn minor(version: &str) -> Result<u32> {
    let release = version.lines().find_map(|line| line.strip_prefix("release: 1."));
    let digits = release.and_then(|release| release.split('.').next());
    digits.and_then(|digits| digits.parse().ok()).with_context(|| format!("no release in {version:?}"))
}

fn llvm(version: &str) -> Result<u32> {
    let llvm = version.lines().find_map(|line| line.strip_prefix("LLVM version: "));
    let digits = llvm.and_then(|llvm| llvm.split('.').next());
    digits.and_then(|digits| digits.parse().ok()).with_context(|| format!("no LLVM version in {version:?}"))
}

#[cfg(test)]
mod tests {
    use super::{llvm, minor};

    #[test]
    fn reads_what_rustc_says() {
        let version =
            "rustc 1.95.0 (59807616e 2026-04-14)\nbinary: rustc\nrelease: 1.95.0\nLLVM version: 22.1.2\n";
        assert_eq!(minor(version).ok(), Some(95));
        assert_eq!(llvm(version).ok(), Some(22));
        assert!(minor("rustc").is_err());
    }
}
