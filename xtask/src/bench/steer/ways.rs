//! What a connection goes by, and what has to be there for it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use sidecar_tests::{
    bpffs::Bpffs,
    cgroup::Cgroup,
    process,
    sidecar::{Sidecar, TWO_CAPABILITIES},
};

use super::super::world::OTHERS_CPU;

/// The service's address, port 80: of loopback, where the kernel gives out ports anew whose connections are just over
/// (`net.ipv4.tcp_tw_reuse`), so that no way runs out of them.
pub(super) const ASKED: &str = "127.9.0.1";
/// What no service has, port 80.
pub(super) const ELSEWHERE: &str = "127.9.0.2";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Plain,
    /// Redirected by the kernel's packet filter, with its connection tracking.
    Nft,
    /// The direct gear of a policy that is pinned, the daemon gone: steered, and not observed.
    Alone,
    Observed,
    Direct,
    Relayed,
}

/// What is there meanwhile.
pub(super) enum There {
    Nothing,
    Redirect(Redirect),
    Pinned(#[expect(dead_code, reason = "a guard")] Pinned),
    Sidecar(#[expect(dead_code, reason = "a guard")] Box<Sidecar>),
}

impl Way {
    pub(super) const ALL: [Way; 6] =
        [Way::Plain, Way::Nft, Way::Alone, Way::Observed, Way::Direct, Way::Relayed];

    pub(super) fn name(self) -> &'static str {
        match self {
            Way::Plain => "no sidecar",
            Way::Nft => "nft redirect",
            Way::Alone => "direct gear, unobserved",
            Way::Observed => "observed only",
            Way::Direct => "direct gear, observed",
            Way::Relayed => "relay, observed",
        }
    }

    /// What it is compared with.
    pub(super) fn base(self) -> Way {
        match self {
            Way::Direct | Way::Relayed => Way::Observed,
            Way::Plain | Way::Nft | Way::Alone | Way::Observed => Way::Plain,
        }
    }

    /// Whether clients ask for the service's address, or for the endpoint's.
    pub(super) fn is_asked(self) -> bool {
        !matches!(self, Way::Plain | Way::Observed)
    }

    /// Until it is dropped.
    pub(super) fn begin(self, dir: &Path, cgroup: &Cgroup, port: u16) -> Result<There> {
        Ok(match self {
            Way::Plain => There::Nothing,
            Way::Nft => {
                There::Redirect(Redirect::new(dir, ASKED, port)?.context("nft's redirect was there before")?)
            }
            Way::Alone => There::Pinned(Pinned::new(dir, cgroup, port)?),
            Way::Observed => There::Sidecar(Box::new(sidecar(dir, cgroup, None)?)),
            Way::Direct => There::Sidecar(Box::new(sidecar(dir, cgroup, Some(service("direct", port)))?)),
            Way::Relayed => There::Sidecar(Box::new(sidecar(dir, cgroup, Some(service("proxy", port)))?)),
        })
    }
}

/// Settings of the one service.
pub(super) fn service(gear: &str, port: u16) -> String {
    format!("services: [{{name: echo, addresses: [{ASKED}], gear: {gear}, endpoints: ['127.0.0.1:{port}']}}]")
}

pub(super) fn sidecar(dir: &Path, cgroup: &Cgroup, traffic: Option<String>) -> Result<Sidecar> {
    let mut args = vec!["--cgroup".to_owned(), cgroup.path().display().to_string()];
    if let Some(traffic) = traffic {
        let file = dir.join("settings.yaml");
        fs::write(&file, format!("traffic: {{{traffic}}}\n")).context("write the settings")?;
        args.extend(["--config".to_owned(), file.display().to_string()]);
    }
    let wrapper = [vec!["taskset", "-c", OTHERS_CPU], TWO_CAPABILITIES.to_vec()].concat();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut sidecar = Sidecar::spawn(dir, &wrapper, &args, &[]);
    sidecar.await_attached();
    Ok(sidecar)
}

/// The redirect of another.
pub(super) struct Redirect;

impl Redirect {
    /// Of an address's port 80. `None` where the kernel has none.
    pub(super) fn new(dir: &Path, address: &str, port: u16) -> Result<Option<Self>> {
        let file = dir.join("redirect.nft");
        let text = format!(
            "table ip other {{\n chain outgoing {{\n type nat hook output priority -100\n \
             ip daddr {address} tcp dport 80 redirect to :{port}\n }}\n}}\n"
        );
        fs::write(&file, text).context("write the redirect's rules")?;
        let output = process::output(Command::new("nft").arg("-f").arg(&file));
        let said = String::from_utf8_lossy(&output.stderr);
        match output.status.success() {
            true => Ok(Some(Redirect)),
            // What the kernel answered, not what nft makes of the rules.
            false if said.contains("Could not process rule") => {
                println!("no figures of nft's redirect, which this kernel does not have: {said}");
                Ok(None)
            }
            false => bail!("nft: {said}"),
        }
    }
}

impl Drop for Redirect {
    fn drop(&mut self) {
        let _ = process::output(Command::new("nft").args(["delete", "table", "ip", "other"]));
    }
}

/// A policy at work without a daemon.
pub(super) struct Pinned {
    pins: PathBuf,
    /// Goes last.
    _bpffs: Bpffs,
}

impl Pinned {
    pub(super) fn new(dir: &Path, cgroup: &Cgroup, port: u16) -> Result<Self> {
        let bpffs = Bpffs::new();
        let pins = bpffs.pins();
        let traffic = format!("pin: {}, {}", pins.display(), service("direct", port));
        let mut sidecar = sidecar(dir, cgroup, Some(traffic))?;
        ensure!(sidecar.stop().success(), "the daemon did not end well:\n{}", sidecar.log());
        Ok(Pinned { pins, _bpffs: bpffs })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = process::output(Command::new(sidecar_tests::binary()).arg("unpin").arg(&self.pins));
    }
}
