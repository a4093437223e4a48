//! `cargo xtask bench swaps`: connections while the policy is swapped, each against what the endpoints wrote down.

use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use sidecar_tests::swaps::{self, Extent};

use crate::{
    build, privileges,
    setup::{self, Extent as Parts},
    workspace::Workspace,
};

pub(super) fn command(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let mut extent = Extent { swaps: 1000, connections: 100_000 };
    for pair in arguments.chunks(2) {
        match pair {
            [flag, n] if flag == "--swaps" => extent.swaps = n.parse().context("--swaps N")?,
            [flag, n] if flag == "--connections" => {
                extent.connections = n.parse().context("--connections N")?;
            }
            _ => bail!("bench swaps takes --swaps N and --connections N only"),
        }
    }
    ensure!(extent.swaps > 0, "at least one swap");
    privileges::check()?;
    let compiler = setup::run(workspace, Parts::BuildAndTest)?;
    build::release(workspace, &compiler)?;
    let begun = Instant::now();
    let account = swaps::run(extent);
    println!("{account}{:>8} s", begun.elapsed().as_secs());
    ensure!(account.n_faults() == 0, "not every connection went where it was to go");
    Ok(())
}
