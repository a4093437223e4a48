//! `cargo xtask bench observe`: what observing costs, by interleaved rounds of runs with nothing, with an empty program
//! (the floor), with the sidecar and with Envoy in the path.
//!
//! CPU time is the scheduler's own account in nanoseconds, softirqs included (they run in the time of whoever they
//! interrupt, which on loopback is the sender), so server and client are both measured and the goal is for their sum.
//!
//! `cargo xtask bench protocols [--rounds N] [--protocol NAME,…] [--table FILE]`: what an exchange of each protocol costs.
//!
//! `cargo xtask bench steer [--rounds N]`: what steering adds to a connection, and to a byte.
//!
//! `cargo xtask bench swaps [--swaps N] [--connections N]`: that each connection goes by the policy that held, in numbers.
//!
//! `cargo xtask bench open [--connections N]`: what very many connections take that are open at once through the relay.
//!
//! `cargo xtask bench endure [--rate N] [--reloads N]`: that no request fails while everything about its service changes.
//!
//! `cargo xtask bench outliers [--rate N] [--table FILE]`: who still gets connections when endpoints fail, beside Envoy.
//!
//! `cargo xtask bench pipeline [CONNECTIONS]… [STAGE]…`: what the daemon spends on an exchange, by stage, out of any kernel:
//! `sidecar-core`'s bench.

mod beside;
pub(crate) mod cpu;
mod endure;
mod memory;
mod open;
mod options;
mod outliers;
mod programs;
mod protocols;
mod report;
mod shape;
mod statistics;
mod steer;
mod swaps;
mod table;
mod world;

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::{
    build, privileges,
    process::{cargo, run},
    setup::{self, Extent},
    workspace::Workspace,
};
use beside::Kind;
use options::Options;
use shape::{Shape, Unit};
use table::Table;
use world::{Run, World};

/// One run with each, next to each other in time: in the order of [`Measured::kinds`].
type Round = Vec<Run>;

/// All that was measured of one shape with so many connections.
struct Measured {
    shape: &'static Shape,
    connections: u32,
    n: u64,
    kinds: Vec<Kind>,
    rounds: Vec<Round>,
    programs: Vec<programs::Program>,
    idle: f64,
    /// Runs that were made again, as Envoy had not answered all.
    repeated: usize,
}

/// How often a run with Envoy in the path is tried.
const ATTEMPTS: usize = 5;

pub(crate) fn command(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    match arguments.split_first() {
        Some((name, rest)) if name == "observe" => command_observe(workspace, rest),
        Some((name, rest)) if name == "protocols" => protocols::command(workspace, rest),
        Some((name, rest)) if name == "pipeline" => pipeline(workspace, rest),
        Some((name, rest)) if name == "steer" => steer::command(workspace, rest),
        Some((name, rest)) if name == "swaps" => swaps::command(workspace, rest),
        Some((name, rest)) if name == "open" => open::command(workspace, rest),
        Some((name, rest)) if name == "endure" => endure::command(workspace, rest),
        Some((name, rest)) if name == "outliers" => outliers::command(workspace, rest),
        _ => bail!(
            "bench what? `observe`, `protocols`, `steer`, `swaps`, `endure`, `outliers`, `open` or `pipeline`"
        ),
    }
}

/// As it is released, so that what is measured is what runs.
fn pipeline(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let mut command = cargo(workspace);
    command.args(["bench", "--profile", "release", "--package", "sidecar-core", "--bench", "pipeline", "--"]);
    run(command.args(arguments))
}

fn command_observe(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let options = Options::parse(arguments)?;
    privileges::check()?;
    let compiler = setup::run(workspace, Extent::BuildTestAndCompare)?;
    build::release(workspace, &compiler)?;
    let mut table = Table::default();
    for shape in &options.shapes {
        for connections in options.connections_of(shape) {
            let measured = observe(shape, connections, &options)?;
            report::print(&measured);
            table.add(&measured);
        }
    }
    if let Some(path) = &options.table {
        let before = fs::read_to_string(path).unwrap_or_default();
        let page = protocols::kept(&before, &table.page(&options));
        fs::write(path, page).with_context(|| format!("write {}", path.display()))?;
        println!("written: {}", path.display());
    }
    Ok(())
}

fn observe(shape: &'static Shape, connections: u32, options: &Options) -> Result<Measured> {
    let world = World::new(shape, connections)?;
    let n = options.work(shape, connections);
    let kinds = options.kinds.clone();
    report::opening(shape, connections, options.n_rounds, n);
    // The first run of all pays for cold caches, and is thrown away.
    world.run((n / 4).max(u64::from(connections)), Kind::Nothing)?;
    let (mut rounds, mut repeated) = (Vec::with_capacity(options.n_rounds), 0);
    for index in 0..options.n_rounds {
        // A B C, C B A, A B C: what drifts slowly hits all alike.
        let mut order: Vec<usize> = (0..kinds.len()).collect();
        if index % 2 == 1 {
            order.reverse();
        }
        let mut round: Vec<(usize, Run)> = Vec::with_capacity(order.len());
        for place in order {
            round.push((place, run_again(&world, n, kinds[place], &mut repeated)?));
        }
        round.sort_by_key(|(place, _)| *place);
        rounds.push(round.into_iter().map(|(_, run)| run).collect());
    }
    let programs = world.programs(n)?;
    let idle = world.idle()?;
    Ok(Measured { shape, connections, n, kinds, rounds, programs, idle, repeated })
}

/// One run. Envoy at times refuses some of very many connections: then it is made again, and counted. That anything else
/// does not answer all is an error.
fn run_again(world: &World, n: u64, kind: Kind, repeated: &mut usize) -> Result<Run> {
    for _ in 1..ATTEMPTS {
        match world.run(n, kind) {
            Err(error) if kind == Kind::Envoy => {
                println!("again: {error:#}");
                *repeated += 1;
            }
            done => return done,
        }
    }
    world.run(n, kind)
}

impl Measured {
    /// Where a kind is in each round.
    fn place(&self, kind: Kind) -> Option<usize> {
        self.kinds.iter().position(|each| *each == kind)
    }

    fn unit(&self) -> Unit {
        self.shape.unit()
    }
}
