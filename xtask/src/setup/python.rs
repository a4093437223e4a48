//! Receivers that come as Python packages, in a virtual environment of their own.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use super::testing::{answers, link_as};
use crate::{
    process::{output, run},
    workspace::Workspace,
};

const REQUIREMENTS: &str = "tests/requirements.txt";
/// A server and a client of gRPC-Web. It asks for parts that it needs for other things, and for older ones than the others.
const ALONE: &str = "sonora==0.2.3";

/// Debian's python3 comes without the part that makes one.
pub(super) fn can_make_venv() -> bool {
    output(Command::new("python3").args(["-c", "import ensurepip, venv"])).is_ok()
}

/// Installs `tests/requirements.txt`, exact versions, unless that same text was installed before.
pub(super) fn install(workspace: &Workspace, bin: &Path) -> Result<()> {
    let venv = workspace.parts().join("venv");
    let stamp = venv.join("requirements.txt");
    let wanted =
        fs::read_to_string(workspace.path(REQUIREMENTS)).with_context(|| format!("read {REQUIREMENTS}"))?;
    let wanted = format!("{wanted}{ALONE}\n");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) && answers(bin, "rotel") {
        return Ok(());
    }
    println!(
        "setup: installing {REQUIREMENTS} by pip: real receivers of what is exported, checkers of deploy/"
    );
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
    let python = venv.join("bin/python");
    let pip = || {
        let mut pip = Command::new(&python);
        let quiet = ["--quiet", "--disable-pip-version-check", "--only-binary", ":all:"];
        pip.args(["-m", "pip", "install"]).args(quiet);
        pip
    };
    run(pip().arg("--requirement").arg(workspace.path(REQUIREMENTS)))?;
    run(pip().args(["--no-deps", ALONE]))?;
    let packages =
        output(Command::new(&python).args(["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]))?;
    link_as(&Path::new(packages.trim()).join("rotel/rotel-agent"), bin, "rotel".as_ref())?;
    fs::write(&stamp, wanted).context("remember what was installed")
}
