//! `cargo xtask bench observe`: what observing costs, by interleaved pairs of runs with and without it.
//!
//! CPU time is the scheduler's own account in nanoseconds, softirqs included (they run in the time of whoever they
//! interrupt, which on loopback is the sender), so server and client are both measured and the goal is for their sum.

mod cpu;
mod programs;
mod report;
mod shape;
mod statistics;
mod world;

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    build, privileges,
    setup::{self, Extent},
    workspace::Workspace,
};
use shape::Shape;
use world::{Run, World};

/// What was asked for.
struct Options {
    n_pairs: usize,
    n_requests: u64,
    shapes: Vec<&'static Shape>,
}

/// One run without and one with observation, next to each other in time.
struct Pair {
    without: Run,
    with: Run,
}

pub(crate) fn command(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let Some((name, rest)) = arguments.split_first() else { bail!("bench what? `observe`") };
    ensure!(name == "observe", "no bench `{name}`: there is `observe`");
    let options = options(rest)?;
    privileges::check()?;
    let compiler = setup::run(workspace, Extent::BuildAndTest)?;
    build::release(workspace, &compiler)?;
    for (index, shape) in options.shapes.iter().enumerate() {
        if index > 0 {
            println!();
        }
        observe(shape, &options)?;
    }
    Ok(())
}

fn observe(shape: &'static Shape, options: &Options) -> Result<()> {
    let world = World::new(shape)?;
    let n = options.n_requests;
    report::opening(shape, options.n_pairs, n);
    // The first run of all pays for cold caches, and is thrown away.
    world.run(n / 4, false)?;
    let mut pairs = Vec::with_capacity(options.n_pairs);
    for index in 0..options.n_pairs {
        // A B, B A, A B: what drifts slowly hits both alike.
        let pair = if index % 2 == 0 {
            let without = world.run(n, false)?;
            Pair { without, with: world.run(n, true)? }
        } else {
            let with = world.run(n, true)?;
            Pair { without: world.run(n, false)?, with }
        };
        pairs.push(pair);
    }
    report::pairs(&pairs);
    report::programs(&world.programs(n)?, n);
    report::idle(world.idle()?);
    Ok(())
}

fn options(arguments: &[String]) -> Result<Options> {
    let mut options = Options { n_pairs: 21, n_requests: 20_000, shapes: vec![&shape::SHAPES[0]] };
    let mut words = arguments.iter();
    while let Some(flag) = words.next() {
        let value = words.next().with_context(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--pairs" => options.n_pairs = value.parse().context("--pairs N")?,
            "--requests" => options.n_requests = value.parse().context("--requests N")?,
            "--shape" if value == "all" => options.shapes = shape::SHAPES.iter().collect(),
            "--shape" => options.shapes = vec![Shape::named(value)?],
            _ => bail!("no flag {flag}: there are --pairs N, --requests N, --shape {}|all", shape::names()),
        }
    }
    ensure!(options.n_pairs >= 6, "an interval of 95 % takes 6 pairs at least");
    ensure!(options.n_requests >= 1000, "fewer than 1000 requests are over before anything can be measured");
    Ok(options)
}
