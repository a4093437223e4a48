//! Requests at a steady rate to a service by its name, half of them each on a connection of its own, while everything about the
//! service changes: its settings, its endpoints, its gear, and the daemon, which is killed and started again. None may fail in the
//! direct gear, and none without a sidecar, which is tried first.

mod judge;
mod world;

use std::{fmt, path::Path, thread::sleep, time::Duration};

use anyhow::{Context as _, Result};

use judge::{Account, Gear};
use world::World;

use crate::{cgroup::Cgroup, netns::Netns};

/// Between a change and the next.
const PACE: Duration = Duration::from_millis(500);
/// How long the daemon is gone.
const GONE: Duration = Duration::from_secs(1);
/// Reloads from one kill of the daemon to the next, and from one change of the gear to the next.
const KILL_EVERY: usize = 10;
const SHIFT_EVERY: usize = 5;

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Requests a second.
    pub rate: u64,
    /// Requests at a time, of each half.
    pub workers: u64,
    /// How long the load runs without a sidecar.
    pub alone: Duration,
    /// Policies after the first.
    pub reloads: usize,
}

/// What came out.
pub struct Report {
    alone: Account,
    /// Not tried where requests fail without a sidecar.
    steered: Option<Account>,
}

impl Report {
    /// How many things were wrong.
    #[must_use]
    pub fn n_faults(&self) -> usize {
        self.alone.n_faults() + self.steered.as_ref().map_or(1, Account::n_faults)
    }

    /// Requests that were answered with 200 while everything changed.
    #[must_use]
    pub fn n_answered(&self) -> usize {
        self.steered.as_ref().map_or(0, |account| account.n_answered)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "without a sidecar:\n{}", self.alone)?;
        match &self.steered {
            Some(steered) => write!(f, "while all of it changes:\n{steered}"),
            None => writeln!(f, "requests fail without a sidecar, too"),
        }
    }
}

/// Runs it with this client (`src/bin/requests.rs`).
///
/// # Errors
/// If a part of it cannot be set up or read.
pub fn run(extent: Extent, client: &Path) -> Result<Report> {
    let dir = tempfile::tempdir().context("make a folder")?;
    let (netns, cgroup) = (Netns::new(), Cgroup::new());
    netns.sysctl("net.ipv4.ip_local_port_range", "10000 65000");
    netns.within(|| endure(World::new(dir.path(), &cgroup, client.display().to_string())?, extent))
}

fn endure(mut world: World<'_>, extent: Extent) -> Result<Report> {
    let load = world.load("alone", extent);
    sleep(extent.alone);
    let alone = Account::of(&world.finish(load)?, &[], &[], &[]);
    if alone.n_faults() > 0 {
        return Ok(Report { alone, steered: None });
    }

    world.settle(Gear::Direct)?;
    world.begin()?;
    let load = world.load("steered", extent);
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
    let mut steered = world.judge(&all)?;
    if steered.n_faults() > 0 {
        steered.tell("the daemons said", format!("\n{}", world.log()));
    }
    world.end()?;
    Ok(Report { alone, steered: Some(steered) })
}
