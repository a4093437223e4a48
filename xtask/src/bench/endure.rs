//! `cargo xtask bench endure [--rate N] [--reloads N]`: that no request fails while everything about its service changes.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use sidecar_tests::endure::{self, Extent};

use crate::{
    build, privileges,
    setup::{self, Extent as Parts},
    workspace::Workspace,
};

pub(super) fn command(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let mut extent = Extent { rate: 2000, workers: 64, alone: Duration::from_secs(20), reloads: 100 };
    for pair in arguments.chunks(2) {
        match pair {
            [flag, n] if flag == "--rate" => extent.rate = n.parse().context("--rate N")?,
            [flag, n] if flag == "--reloads" => extent.reloads = n.parse().context("--reloads N")?,
            _ => bail!("bench endure takes --rate N and --reloads N only"),
        }
    }
    privileges::check()?;
    let compiler = setup::run(workspace, Parts::BuildAndTest)?;
    build::release(workspace, &compiler)?;
    let report = endure::run(extent, &build::client(workspace)?)?;
    println!("\n{report}");
    ensure!(report.n_faults() == 0, "requests failed");
    Ok(())
}
