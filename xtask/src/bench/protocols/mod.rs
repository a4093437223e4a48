//! `cargo xtask bench protocols`: what an exchange of each protocol costs, in the kernel and in the daemon, and what a connection
//! holds.
//!
//! The kernel's part is the programs' own run time (`kernel.bpf_stats_enabled`), beside that of an empty program on the same
//! hooks; the daemon's is the scheduler's account of all of its threads. Both are divided by the exchanges that the daemon counted,
//! so that one that misses some is not cheaper.

mod rows;
mod servers;

use std::{fmt::Write as _, fs, path::PathBuf, process::Command, thread::sleep, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use sidecar_tests::{
    cgroup::Cgroup,
    free_port,
    process::{self, Process},
    sidecar::Sidecar,
};
use tempfile::TempDir;

use self::rows::{ROWS, Row};
use super::{
    beside::{Beside, Kind},
    cpu, memory,
    programs::{self, Counting},
    report::interval,
    shape::Unit,
    statistics::{Median, median},
    world::OTHERS_CPU,
};
use crate::{
    build, privileges,
    setup::{self, Extent},
    workspace::Workspace,
};

/// µs in all for an HTTP/2 request at 100 streams.
const GOAL: (&str, f64) = ("http2-100", 2.0);
/// Where the figures are in the page.
const MARKS: [&str; 2] = ["<!-- protocols -->", "<!-- end of protocols -->"];
/// After these the daemon has read what there is.
const SETTLE: Duration = Duration::from_millis(200);

struct Options {
    n_rounds: usize,
    rows: Vec<&'static Row>,
    table: Option<PathBuf>,
    words: String,
}

/// What one row came to. Times in µs by exchange.
struct Measured {
    row: &'static Row,
    daemon: Median,
    programs: f64,
    /// Those of an empty program.
    floor: f64,
    /// Exchanges a second, with the daemon and without.
    rates: [f64; 2],
    /// Bytes of RSS by connection.
    held: Option<f64>,
    /// Of all that was sent, what the daemon could tell; `None` where all is encrypted, or is datagrams.
    coverage: Option<f64>,
}

struct World {
    row: &'static Row,
    port: u16,
    _server: Process,
    cgroup: Cgroup,
    dir: TempDir,
}

pub(super) fn command(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let options = Options::parse(arguments)?;
    privileges::check()?;
    let compiler = setup::run(workspace, Extent::BuildTestAndCompare)?;
    build::release(workspace, &compiler)?;
    println!(
        "{:<20}{:>18}{:>8}{:>8}{:>8}{:>10}{:>8}{:>8}{:>9}",
        "", "daemon, µs", "BPF", "floor", "sum", "a second", "ratio", "covered", "B a conn"
    );
    let (mut measured, mut failed) = (Vec::new(), Vec::new());
    for row in &options.rows {
        match World::new(row).and_then(|world| world.measure(options.n_rounds)) {
            Ok(one) => {
                println!("{}", one.line());
                measured.push(one);
            }
            Err(error) => {
                println!("{:<20}{error:#}", row.name);
                failed.push(row.name);
            }
        }
    }
    if let Some(path) = &options.table {
        let page = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let page = placed(&page, &section(&measured, &options));
        fs::write(path, page).with_context(|| format!("write {}", path.display()))?;
        println!("written: {}", path.display());
    }
    ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}

impl World {
    fn new(row: &'static Row) -> Result<World> {
        let (dir, cgroup, port) = (tempfile::tempdir().context("make a folder")?, Cgroup::new(), free_port());
        let server = row.server.start(dir.path(), &cgroup, port)?;
        Ok(World { row, port, _server: server, cgroup, dir })
    }

    fn measure(&self, n_rounds: usize) -> Result<Measured> {
        let (row, n) = (self.row, self.row.n);
        self.load(n / 4, row.connections)?;
        let rate = |took: f64| n as f64 / took;
        let without = (0..n_rounds).map(|_| self.load(n, row.connections)).collect::<Result<Vec<_>>>()?;
        let floor = self.floor(n)?;

        let mut beside = self.beside(Kind::Sidecar)?;
        let pid = beside.pid().context("the daemon is a process")?;
        let Beside::Sidecar(daemon) = &beside else { bail!("the daemon is none") };
        self.load(n / 4, row.connections)?;
        let (mut taken, mut with) = (Vec::new(), Vec::new());
        let mut counted = self.counted(daemon);
        for _ in 0..n_rounds {
            let before = cpu::of_process(pid)?;
            with.push(self.load(n, row.connections)?);
            sleep(SETTLE);
            let used = cpu::of_process(pid)? - before;
            let now = self.counted(daemon);
            ensure!(
                now - counted >= n * 99 / 100,
                "the daemon saw {} exchanges of {n}: {:?}",
                now - counted,
                daemon.scrape().drops()
            );
            taken.push(micros(used, now - counted));
            counted = now;
        }
        let programs = {
            let _counting = Counting::start()?;
            let before = programs::of_process(pid)?;
            self.load(n, row.connections)?;
            let told = programs::between(&before, &programs::of_process(pid)?);
            let now = self.counted(daemon);
            micros(told.iter().map(|program| program.ns).sum(), now - counted)
        };
        let scrape = daemon.scrape_at_rest();
        let (explained, seen) = (scrape.bytes("explained"), scrape.bytes("seen"));
        let coverage = (explained > 0).then(|| explained as f64 / seen as f64);
        let held = (row.many > 0).then(|| self.held(pid)).transpose()?;
        let middle = |times: Vec<f64>| median(times.into_iter().map(rate)).value;
        let rates = [middle(with), middle(without)];
        Ok(Measured { row, daemon: median(taken), programs, floor, rates, held, coverage })
    }

    /// By how much the largest resident set grows, by connection.
    fn held(&self, pid: i32) -> Result<f64> {
        let before = memory::of_process(pid)?.peak_rss;
        let many = self.row.many;
        self.load(u64::from(many) * 4, many)?;
        let grown = memory::of_process(pid)?.peak_rss - before;
        Ok(grown as f64 / f64::from(many))
    }

    /// Run time of the empty programs, µs an exchange.
    fn floor(&self, n: u64) -> Result<f64> {
        let _floor = self.beside(Kind::Floor)?;
        let _counting = Counting::start()?;
        let before = programs::of_cgroup(self.cgroup.path())?;
        self.load(n, self.row.connections)?;
        let told = programs::between(&before, &programs::of_cgroup(self.cgroup.path())?);
        Ok(micros(told.iter().map(|program| program.ns).sum(), n))
    }

    fn beside(&self, kind: Kind) -> Result<Beside> {
        Beside::start(kind, self.dir.path(), &self.cgroup, self.port, Unit::Request)
    }

    /// Lets the client do its work; how many seconds that took.
    fn load(&self, n: u64, connections: u32) -> Result<f64> {
        let words = self.row.command(self.dir.path(), self.port, n, connections)?;
        let files = u64::from(connections) + 1024;
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={files}:{files}")).args(["taskset", "-c", OTHERS_CPU]).args(&words);
        let start = std::time::Instant::now();
        process::run(&mut command);
        Ok(start.elapsed().as_secs_f64())
    }

    fn counted(&self, daemon: &Sidecar) -> u64 {
        daemon.scrape_at_rest().count(self.row.counted, &[])
    }
}

fn micros(ns: u64, n: u64) -> f64 {
    ns as f64 / 1000.0 / n.max(1) as f64
}

impl Measured {
    fn sum(&self) -> f64 {
        self.daemon.value + self.programs
    }

    fn coverage(&self) -> String {
        self.coverage.map_or("-".to_owned(), |coverage| format!("{coverage:.3}"))
    }

    fn held(&self) -> String {
        self.held.map_or("-".to_owned(), |held| format!("{held:.0}"))
    }

    fn line(&self) -> String {
        let [with, without] = self.rates;
        let daemon = format!("{:.2} {}", self.daemon.value, interval(&self.daemon));
        format!(
            "{:<20}{daemon:>18}{:>8.2}{:>8.2}{:>8.2}{with:>10.0}{:>8.2}{:>8}{:>9}",
            self.row.name,
            self.programs,
            self.floor,
            self.sum(),
            with / without,
            self.coverage(),
            self.held()
        )
    }
}

/// The page of another bench, with the section that was in the one before.
pub(super) fn kept(before: &str, page: &str) -> String {
    let [begin, end] = MARKS;
    let section = before.split_once(begin).and_then(|(_, rest)| rest.split_once(end));
    section.map_or_else(|| page.to_owned(), |(section, _)| placed(page, section.trim_start_matches('\n')))
}

/// The page with this section in the place of the one before, or at its end.
fn placed(page: &str, section: &str) -> String {
    let [begin, end] = MARKS;
    let (before, after) = match (page.split_once(begin), page.split_once(end)) {
        (Some((before, _)), Some((_, after))) => (before, after),
        _ => (page, ""),
    };
    format!("{}\n\n{begin}\n{section}{end}\n{}", before.trim_end(), after.trim_start_matches('\n'))
}

fn section(measured: &[Measured], options: &Options) -> String {
    let mut text = format!(
        "## By protocol\n\n\
         Made by `cargo xtask bench protocols {}`. The daemon's CPU, µs an exchange, is the median of {} runs; BPF is the programs' own \
         run\ntime in one run with statistics on, *floor* that of an empty program on the same two hooks. The sum is what observing takes in \
         all.\n*Ratio* is exchanges a second with the daemon to those without, on two processors that all share. *Bytes a connection* is \
         by how\nmuch the daemon's largest resident set grew with many connections at once. Of WebSocket a message counts as an \
         exchange.\n\n\
         | | | daemon, µs | BPF, µs | floor, µs | sum, µs | exchanges/s | ratio | covered | bytes a connection |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
        options.words, options.n_rounds
    );
    for one in measured {
        let [with, without] = one.rates;
        let _ = writeln!(
            text,
            "| {} | {} | {:.2} {} | {:.2} | {:.2} | {:.2} | {with:.0} | {:.2} | {} | {} |",
            one.row.name,
            one.row.about,
            one.daemon.value,
            interval(&one.daemon),
            one.programs,
            one.floor,
            one.sum(),
            with / without,
            one.coverage(),
            one.held()
        );
    }
    let (name, goal) = GOAL;
    if let Some(one) = measured.iter().find(|one| one.row.name == name) {
        let is = if one.sum() <= goal { "reached" } else { "NOT reached" };
        let _ = writeln!(text, "\nGoal for {name}: {goal} µs in all: {:.2}, {is}.", one.sum());
    }
    text
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Options> {
        let words = arguments.join(" ");
        let mut options = Options { n_rounds: 7, rows: Vec::new(), table: None, words };
        let mut arguments = arguments.iter();
        while let Some(flag) = arguments.next() {
            let value = arguments.next().with_context(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--rounds" => {
                    options.n_rounds = value.parse().with_context(|| format!("--rounds {value}"))?
                }
                "--table" => options.table = Some(value.into()),
                "--protocol" => {
                    options.rows = value.split(',').map(Row::named).collect::<Result<_>>()?;
                }
                _ => bail!("no option `{flag}`: there are --rounds, --protocol and --table"),
            }
        }
        if options.rows.is_empty() {
            options.rows = ROWS.iter().collect();
        }
        ensure!(options.n_rounds >= 6, "an interval takes six rounds at least");
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::{kept, placed};

    #[test]
    fn each_bench_writes_its_part_of_the_page() {
        let page = placed("# Costs\n\n| a |\n", "## By protocol\n");
        assert_eq!(placed(&page, "## By protocol\n"), page);
        let other = placed(&page, "## Other\n");
        assert_eq!(other, page.replace("By protocol", "Other"));
        assert_eq!(kept(&page, "# Costs\n\n| b |\n"), page.replace("| a |", "| b |"));
        assert_eq!(kept("", "# Costs\n"), "# Costs\n");
    }
}
