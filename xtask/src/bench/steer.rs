//! `cargo xtask bench steer`: what steering adds to a connection, in rounds of runs in turns: without the sidecar, with another's
//! redirect, with the policy alone, with a sidecar that only observes, with the direct gear, and with the relay. Then, what a redirect
//! alone adds, ours and another's to the same listener, and what is added to a byte.

mod per_byte;
mod redirect;
mod ways;

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, bail, ensure};
use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port,
    netns::Netns,
    process::{self, Process},
};

use super::{
    statistics::{Median, median},
    world::{OTHERS_CPU, SERVER_CPU},
};
use crate::{
    build, privileges,
    process::{cargo, run},
    setup::{self, Extent},
    workspace::Workspace,
};
use ways::{ASKED, Redirect, Way};

/// Connections of one run.
const CONNECTIONS: usize = 4000;

/// Microseconds: connect(), and a byte there and back; or connect() to two addresses.
type Figures = [f64; 2];

pub(super) fn command(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let n_rounds = match arguments {
        [] => 11,
        [flag, n] if flag == "--rounds" => n.parse().context("--rounds N")?,
        _ => bail!("bench steer takes --rounds N only"),
    };
    ensure!(n_rounds >= 6, "an interval of 95 % takes 6 rounds at least");
    privileges::check()?;
    let compiler = setup::run(workspace, Extent::BuildTestAndCompare)?;
    build::release(workspace, &compiler)?;
    run(cargo(workspace).args([
        "build",
        "--quiet",
        "--release",
        "--package",
        "sidecar-tests",
        "--bin",
        "connects",
    ]))?;
    let program = workspace.path("target/release/connects").display().to_string();
    let dir = tempfile::tempdir().context("make a folder")?;
    // Its own, so that nobody else's packets meet the other's redirect.
    let (netns, cgroup) = (Netns::new(), Cgroup::new());
    netns.within(|| {
        connections(dir.path(), &cgroup, n_rounds, &program)?;
        per_byte::measure(dir.path(), &cgroup, n_rounds)
    })
}

fn connections(dir: &Path, cgroup: &Cgroup, n_rounds: usize, program: &str) -> Result<()> {
    let port = free_port();
    let server = ["taskset", "-c", OTHERS_CPU, program, "serve", &port.to_string()].map(str::to_owned);
    let _server = Process::start(Command::new(&server[0]).args(&server[1..]), &dir.join("server.out"));
    eventually("the server to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    let mut all = Way::ALL.to_vec();
    if Redirect::new(dir, ASKED, port)?.is_none() {
        all.retain(|way| *way != Way::Nft);
    }
    let mut rounds: Vec<Vec<Figures>> = Vec::new();
    for round in 0..=n_rounds {
        let mut order: Vec<usize> = (0..all.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        let mut figures = vec![[0.0; 2]; all.len()];
        for at in order {
            let _there = all[at].begin(dir, cgroup, port)?;
            figures[at] = one(cgroup, all[at], port, program)?;
        }
        // The first pays for cold caches.
        if round > 0 {
            rounds.push(figures);
        }
    }
    report(&all, &rounds);
    redirect::measure(dir, cgroup, n_rounds, program, port)
}

fn one(cgroup: &Cgroup, way: Way, port: u16, program: &str) -> Result<Figures> {
    let address = if way.is_asked() { format!("{ASKED}:80") } else { format!("127.0.0.1:{port}") };
    let client =
        ["taskset", "-c", SERVER_CPU, program, &address, &CONNECTIONS.to_string()].map(str::to_owned);
    let words = [cgroup.wrapper(), client.to_vec()].concat();
    let said = process::run(Command::new(&words[0]).args(&words[1..]));
    numbers(&said)
}

/// Two numbers, ns, in µs.
fn numbers(said: &str) -> Result<Figures> {
    let mut numbers = said.split_whitespace().map(str::parse::<f64>);
    let mut next = || numbers.next().context("two numbers")?.map(|ns| ns / 1000.0).context("a number");
    Ok([next()?, next()?])
}

fn report(all: &[Way], rounds: &[Vec<Figures>]) {
    println!(
        "\n{} rounds of {CONNECTIONS} connections each, medians of rounds' medians, µs [95 %]\n",
        rounds.len()
    );
    let heads = ["connect()", "added", "a byte there and back", "added", "to"];
    println!("{:24} {:>22} {:>22} {:>22} {:>22}  {}", "", heads[0], heads[1], heads[2], heads[3], heads[4]);
    let told = |Median { value, low, high }: Median| format!("{value:.2} [{low:.2}, {high:.2}]");
    for (at, way) in all.iter().enumerate() {
        let base = all.iter().position(|each| *each == way.base()).unwrap_or_default();
        let column = |figure: usize| median(rounds.iter().map(|round| round[at][figure]));
        let over = |figure: usize| median(rounds.iter().map(|round| round[at][figure] - round[base][figure]));
        let cells = [told(column(0)), told(over(0)), told(column(1)), told(over(1))];
        let [a, b, c, d] = cells;
        println!("{:24} {a:>22} {b:>22} {c:>22} {d:>22}  {}", way.name(), way.base().name());
    }
    println!("\nadded to connect(), and to a byte there and back, of what has no sidecar\n");
    for (at, way) in all.iter().enumerate().filter(|(_, way)| **way != Way::Plain) {
        let plain = all.iter().position(|each| *each == Way::Plain).unwrap_or_default();
        let over =
            |figure: usize| told(median(rounds.iter().map(|round| round[at][figure] - round[plain][figure])));
        println!("{:24} {:>22} {:>22}", way.name(), over(0), over(1));
    }
}
