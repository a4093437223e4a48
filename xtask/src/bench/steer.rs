//! `cargo xtask bench steer`: what steering adds to a connection, in rounds of runs without the sidecar, with one that only
//! observes, with the direct gear, and with the relay.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail, ensure};
use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port,
    process::{self, Process},
    sidecar::Sidecar,
};

use super::{
    beside,
    statistics::{Median, median},
    world::{OTHERS_CPU, SERVER_CPU},
};
use crate::{
    build, privileges,
    process::{cargo, run},
    setup::{self, Extent},
    workspace::Workspace,
};

/// Connections of one run.
const CONNECTIONS: usize = 4000;

/// What a connection goes by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Plain,
    Observed,
    Direct,
    Relayed,
}

const WAYS: [(Way, &str); 4] = [
    (Way::Plain, "no sidecar"),
    (Way::Observed, "observed only"),
    (Way::Direct, "direct gear"),
    (Way::Relayed, "relay"),
];

/// Microseconds: connect(), and a byte there and back.
type Figures = [f64; 2];

pub(super) fn command(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let n_rounds = match arguments {
        [] => 11,
        [flag, n] if flag == "--rounds" => n.parse().context("--rounds N")?,
        _ => bail!("bench steer takes --rounds N only"),
    };
    ensure!(n_rounds >= 6, "an interval of 95 % takes 6 rounds at least");
    privileges::check()?;
    let compiler = setup::run(workspace, Extent::BuildAndTest)?;
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
    let (cgroup, port) = (Cgroup::new(), free_port());
    let server = ["taskset", "-c", OTHERS_CPU, &program, "serve", &port.to_string()].map(str::to_owned);
    let _server = Process::start(Command::new(&server[0]).args(&server[1..]), &dir.path().join("server.out"));
    eventually("the server to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    let mut rounds: Vec<Vec<Figures>> = Vec::new();
    for round in 0..=n_rounds {
        let mut order: Vec<usize> = (0..WAYS.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        let mut figures = vec![[0.0; 2]; WAYS.len()];
        for at in order {
            figures[at] = one(dir.path(), &cgroup, WAYS[at].0, port, &program)?;
        }
        // The first pays for cold caches.
        if round > 0 {
            rounds.push(figures);
        }
    }
    report(&rounds);
    Ok(())
}

fn one(dir: &Path, cgroup: &Cgroup, way: Way, port: u16, program: &str) -> Result<Figures> {
    let mut args = vec!["--cgroup".to_owned(), cgroup.path().display().to_string()];
    if matches!(way, Way::Direct | Way::Relayed) {
        let gear = if way == Way::Direct { "direct" } else { "proxy" };
        let file = dir.join("settings.yaml");
        let service =
            format!("name: echo, addresses: [10.9.0.1], gear: {gear}, endpoints: ['127.0.0.1:{port}']");
        fs::write(&file, format!("traffic: {{services: [{{{service}}}]}}\n"))
            .context("write the settings")?;
        args.extend(["--config".to_owned(), file.display().to_string()]);
    }
    let wrapper = [vec!["taskset", "-c", OTHERS_CPU], beside::two_capabilities()].concat();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let _sidecar = (way != Way::Plain).then(|| {
        let mut sidecar = Sidecar::spawn(dir, &wrapper, &args, &[]);
        sidecar.await_attached();
        sidecar
    });
    let address = match way {
        Way::Plain | Way::Observed => format!("127.0.0.1:{port}"),
        Way::Direct | Way::Relayed => "10.9.0.1:80".to_owned(),
    };
    let client =
        ["taskset", "-c", SERVER_CPU, program, &address, &CONNECTIONS.to_string()].map(str::to_owned);
    let words = [cgroup.wrapper(), client.to_vec()].concat();
    let said = process::run(Command::new(&words[0]).args(&words[1..]));
    let mut numbers = said.split_whitespace().map(str::parse::<f64>);
    let mut next = || numbers.next().context("two numbers")?.map(|ns| ns / 1000.0).context("a number");
    Ok([next()?, next()?])
}

fn report(rounds: &[Vec<Figures>]) {
    println!(
        "\n{} rounds of {CONNECTIONS} connections each, medians of rounds' medians, µs [95 %]\n",
        rounds.len()
    );
    println!(
        "{:14} {:>24} {:>24} {:>24} {:>24}",
        "", "connect()", "over observed only", "a byte there and back", "over observed only"
    );
    let observed = 1;
    for (at, (_, name)) in WAYS.iter().enumerate() {
        let column = |figure: usize| median(rounds.iter().map(|round| round[at][figure]));
        let over =
            |figure: usize| median(rounds.iter().map(|round| round[at][figure] - round[observed][figure]));
        let told = |Median { value, low, high }: Median| format!("{value:.2} [{low:.2}, {high:.2}]");
        let cells = [told(column(0)), told(over(0)), told(column(1)), told(over(1))];
        println!("{name:14} {:>24} {:>24} {:>24} {:>24}", cells[0], cells[1], cells[2], cells[3]);
    }
}
