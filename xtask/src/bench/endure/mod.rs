//! `cargo xtask bench endure [--rate N] [--reloads N]`: requests at a steady rate to a service by its name, half of them each on a
//! connection of its own, while everything about the service changes: its settings, its endpoints, its gear, and the daemon, which is
//! killed and started again. None may fail in the direct gear, and none without a sidecar, which is tried first.

mod judge;
mod world;

use std::{thread::sleep, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use sidecar_tests::{cgroup::Cgroup, netns::Netns};

use super::endpoints;
use crate::{
    build, privileges,
    setup::{self, Extent as Parts},
    workspace::Workspace,
};
use judge::{Account, Gear};
use world::World;

/// How long the load runs without a sidecar.
const ALONE: Duration = Duration::from_secs(20);
/// Between a change and the next.
const PACE: Duration = Duration::from_millis(500);
/// How long the daemon is gone.
const GONE: Duration = Duration::from_secs(1);
/// Reloads from one kill of the daemon to the next, and from one change of the gear to the next.
const KILL_EVERY: usize = 10;
const SHIFT_EVERY: usize = 5;

struct Extent {
    rate: u64,
    reloads: usize,
}

pub(super) fn command(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let mut extent = Extent { rate: 2000, reloads: 100 };
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
    let program = endpoints::build_client(workspace)?;
    let dir = tempfile::tempdir().context("make a folder")?;
    let (netns, cgroup) = (Netns::new(), Cgroup::new());
    netns.sysctl("net.ipv4.ip_local_port_range", "10000 65000");
    let account = netns.within(|| {
        let world = World::new(dir.path(), &cgroup, program)?;
        endure(world, &extent)
    })?;
    ensure!(account.n_faults() == 0, "requests failed");
    Ok(())
}

fn endure(mut world: World<'_>, extent: &Extent) -> Result<Account> {
    let load = world.load("alone", extent.rate);
    sleep(ALONE);
    let alone = world.finish(load)?;
    let account = Account::of(&alone, &[], &[], &[]);
    println!("\nwithout a sidecar:\n{account}");
    ensure!(account.n_faults() == 0, "requests fail without a sidecar, too");

    world.settle(Gear::Direct)?;
    world.begin()?;
    let load = world.load("steered", extent.rate);
    for number in 1..=extent.reloads {
        sleep(PACE);
        let gear = if number / SHIFT_EVERY % 4 == 3 { Gear::Proxy } else { Gear::Direct };
        world.reload(gear)?;
        world.drain()?;
        if number % KILL_EVERY == KILL_EVERY / 2 {
            sleep(PACE);
            world.kill();
            sleep(GONE);
            // Half of the times it finds other settings than those that are pinned.
            if number % (4 * KILL_EVERY) > 2 * KILL_EVERY {
                world.replace()?;
                world.settle(gear)?;
            }
            world.begin()?;
        }
    }
    sleep(PACE);
    let all = world.finish(load)?;
    let account = world.judge(&all)?;
    println!("\nwhile all of it changes:\n{account}");
    if account.n_faults() > 0 {
        println!("the daemon said:\n{}", world.log());
    }
    world.end()?;
    Ok(account)
}
