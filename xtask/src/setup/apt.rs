//! Debian packages that are installed on the machine.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    privileges,
    process::{find, run},
    workspace::Workspace,
};

/// A package, and why it is needed.
#[derive(Clone, Copy)]
pub(super) struct Package {
    pub(super) name: &'static str,
    pub(super) why: &'static str,
}

/// Installs those that are not installed.
pub(super) fn install(workspace: &Workspace, wanted: &[&Package]) -> Result<()> {
    let missing = missing(wanted);
    if missing.is_empty() {
        return Ok(());
    }
    println!("setup: these packages are missing:");
    for package in &missing {
        println!("  {:<18} {}", package.name, package.why);
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    if find("apt-get").is_none() || !privileges::is_root()? {
        bail!("installing them takes root and apt-get; without, bring them another way: {}", names.join(" "));
    }
    println!("setup: installing them by apt-get");
    // An old list would offer an old version, and here that matters: rustc-web moves with security updates.
    run(apt_get().args(["-qq", "update"]))?;
    let _guard = NoDaemons::new()?;
    let archives = workspace.path("target/tools/apt");
    fs::create_dir_all(archives.join("partial"))?;
    let mut command = apt_get();
    // A folder of our own: another apt on this machine may empty the shared one while this one installs.
    command.arg("-o").arg(format!("Dir::Cache::archives={}", archives.display()));
    run(command.args(["-qq", "install", "--yes", "--no-install-recommends"]).args(names))?;
    fs::remove_dir_all(archives).context("remove the downloaded packages")
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command.args(["-o", "DPkg::Lock::Timeout=300", "-o", "APT::Sandbox::User=root", "-o", "Dpkg::Use-Pty=0"]);
    command
}

fn missing<'a>(wanted: &[&'a Package]) -> Vec<&'a Package> {
    if wanted.is_empty() {
        return Vec::new();
    }
    let mut query = Command::new("dpkg-query");
    query
        .args(["-W", "-f", "${Package} ${db:Status-Status}\n"])
        .args(wanted.iter().map(|package| package.name));
    // It ends with 1 where it does not know one of the names, and still tells of the others.
    let told = query.output().map(|output| output.stdout).unwrap_or_default();
    let told = String::from_utf8_lossy(&told);
    let is_installed = |name: &str| told.lines().any(|line| line == format!("{name} installed"));
    wanted.iter().copied().filter(|package| !is_installed(package.name)).collect()
}

/// While it lives, packages do not start their daemons when they are installed.
struct NoDaemons {
    made: Option<PathBuf>,
}

impl NoDaemons {
    fn new() -> Result<Self> {
        let policy = Path::new("/usr/sbin/policy-rc.d");
        if policy.exists() {
            return Ok(Self { made: None });
        }
        fs::write(policy, "#!/bin/sh\nexit 101\n").context("write policy-rc.d")?;
        let guard = Self { made: Some(policy.to_path_buf()) };
        fs::set_permissions(policy, fs::Permissions::from_mode(0o755))
            .context("make policy-rc.d executable")?;
        Ok(guard)
    }
}

impl Drop for NoDaemons {
    fn drop(&mut self) {
        if let Some(policy) = &self.made
            && let Err(error) = fs::remove_file(policy)
        {
            eprintln!("setup: {} stays behind: {error}", policy.display());
        }
    }
}
