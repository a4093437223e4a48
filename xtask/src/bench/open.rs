//! `cargo xtask bench open [--connections N]`: very many connections through the relay, open at once, to two destinations, beside as
//! many without a sidecar: what both take of ports, and what the relay's take of memory. Then with few ports: where they end, and how
//! that is told.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Resource, getrlimit};
use sidecar_tests::{
    cgroup::Cgroup,
    eventually,
    netns::Netns,
    process::{self, Process},
    sidecar::{Sidecar, TWO_CAPABILITIES},
};

use super::memory::{self, Memory};
use crate::{
    build, privileges,
    process::{cargo, run},
    setup::{self, Extent},
    workspace::Workspace,
};

/// All that are asked for, each by one run only, so that none finds ports that wait for the end of another's connections.
const PLAIN: [u16; 2] = [81, 82];
const RELAYED: [u16; 2] = [83, 84];
const FEW_PLAIN: u16 = 85;
const FEW_RELAYED: u16 = 86;
/// When ports are to be used up.
const FEW: &str = "40000 40499";
const MORE_THAN_FEW: usize = 700;
/// Descriptors that the relay takes for each, and those that the daemon leaves to others.
const OF_EACH: usize = 2;
const RESERVED: usize = 1024;

pub(super) fn command(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let n = match arguments {
        [] => 40_000,
        [flag, n] if flag == "--connections" => n.parse().context("--connections N")?,
        _ => bail!("bench open takes --connections N only"),
    };
    privileges::check()?;
    let compiler = setup::run(workspace, Extent::BuildAndTest)?;
    build::release(workspace, &compiler)?;
    let build = ["build", "--quiet", "--release", "--package", "sidecar-tests", "--bin", "holds"];
    run(cargo(workspace).args(build))?;
    let program = workspace.path("target/release/holds").display().to_string();
    let dir = tempfile::tempdir().context("make a folder")?;
    let netns = Netns::new();
    let n_files = n_files(n)?;
    let bench = Bench { n, program, n_files, dir: dir.path(), netns: &netns };
    netns.within(|| bench.run())
}

/// Descriptors that a process may have: enough for all, where this machine gives that many.
fn n_files(n: usize) -> Result<usize> {
    let wanted = OF_EACH * n + 2 * RESERVED;
    let may = process::output(Command::new("prlimit").args([&files(wanted), "true"])).status.success();
    let usual = getrlimit(Resource::Nofile).maximum.map_or(wanted as u64, |most| most);
    let n_files = if may { wanted } else { wanted.min(usize::try_from(usual)?) };
    ensure!(n_files > 4 * RESERVED, "{n_files} file descriptors are too few to show anything");
    Ok(n_files)
}

struct Bench<'a> {
    n: usize,
    program: String,
    n_files: usize,
    dir: &'a Path,
    netns: &'a Netns,
}

impl Bench<'_> {
    fn run(&self) -> Result<()> {
        // One, if this machine gives a process enough descriptors. All are in one network namespace, and so share its ports.
        let n_groups = self.n.div_ceil((self.n_files - RESERVED) / OF_EACH);
        let each = self.n / n_groups;
        let half = each / 2;
        let n = 2 * half * n_groups;
        let cgroups: Vec<_> = (0..n_groups).map(|_| Cgroup::new()).collect();
        let _servers: Vec<_> = (0..=n_groups).map(|number| self.server(number)).collect();
        let hold = |ports: [u16; 2]| -> Result<Vec<Held>> {
            let held = cgroups.iter().map(|cgroup| self.hold(cgroup, &ports.map(|port| (port, half))));
            let held = held.collect::<Result<Vec<_>>>()?;
            let n_open = held.iter().map(Held::n_open).sum::<usize>();
            ensure!(n_open == n, "{:?}", held.iter().map(|held| &held.opened).collect::<Vec<_>>());
            Ok(held)
        };
        let finish = |held: Vec<Held>| held.into_iter().try_for_each(|held| held.finish(2 * half));
        let plain = hold(PLAIN).context("without a sidecar")?;
        let direct = ports(&PLAIN)?;
        finish(plain)?;

        let sidecars = cgroups.iter().enumerate().map(|(number, cgroup)| self.sidecar(number, cgroup));
        let mut sidecars = sidecars.collect::<Result<Vec<_>>>()?;
        let mut listening = Vec::new();
        for sidecar in &mut sidecars {
            listening.extend(listeners(sidecar)?);
        }
        let pid = sidecars[0].process().pid().as_raw_nonzero().get();
        let before = memory::of_process(pid)?;
        let begun = Instant::now();
        let held = hold(RELAYED).context("through the relay")?;
        let took = begun.elapsed();
        let open = memory::of_process(pid)?;
        let active = |sidecars: &[Sidecar]| -> u64 {
            sidecars.iter().map(|sidecar| sidecar.scrape().count("sidecar_relay_active", &[])).sum()
        };
        ensure!(active(&sidecars) == n as u64, "the relays carry {} connections", active(&sidecars));
        let [first, second] = [ports(&listening)?, ports(&RELAYED)?];
        finish(held)?;
        eventually("the relay to be idle", || (active(&sidecars) == 0).then_some(()));
        let after = memory::of_process(pid)?;
        println!("\n{n} connections to two destinations, open at once, each answered before and after:");
        let daemons = format!("{n_groups} daemons ({} descriptors for each process)", self.n_files);
        println!("opened through the relays of {daemons} in {:.1} s", took.as_secs_f64());
        tell_ports("without a sidecar, local ports by destination", &direct);
        tell_ports("through the relay, to its listeners", &first);
        tell_ports("through the relay, from it", &second);
        let most = |ports: &BTreeMap<u16, usize>| ports.values().copied().max().unwrap_or_default();
        ensure!(most(&second) <= most(&direct), "the relay takes more ports than a direct connection");
        ensure!(most(&first) <= most(&direct), "the way to the relay takes more ports than a direct one");
        tell_memory(&[before, open, after], each);
        sidecars.iter().try_for_each(none_failed)?;
        self.few(&sidecars[0], &cgroups[0])
    }

    /// What happens at the end of ports, without and with the relay.
    fn few(&self, sidecar: &Sidecar, cgroup: &Cgroup) -> Result<()> {
        self.netns.sysctl("net.ipv4.ip_local_port_range", FEW);
        println!("\n{MORE_THAN_FEW} to one destination, with 500 local ports ({FEW}):");
        let mut lacking = Vec::new();
        for (name, port) in [("not steered", FEW_PLAIN), ("through the relay", FEW_RELAYED)] {
            let held = self.hold(cgroup, &[(port, MORE_THAN_FEW)])?;
            println!("{name}: {}", held.opened.join(", "));
            let n = held.n_open();
            lacking.push(MORE_THAN_FEW - n);
            held.finish(n)?;
        }
        let counted =
            sidecar.scrape().count("sidecar_relay_failures_total", &[("sidecar_reason", "no_port")]);
        println!("counted by the daemon as `no_port`: {counted}");
        ensure!(lacking[0] == lacking[1], "with the relay other ports are lacking than without: {lacking:?}");
        ensure!(lacking[1] as u64 == counted, "not all that were reset are counted");
        Ok(())
    }

    /// One of those that share all ports.
    fn server(&self, number: usize) -> Process {
        let output = self.dir.join(format!("server-{number}"));
        let mut command = Command::new("prlimit");
        command.arg(files(self.n_files)).args([&self.program, "serve"]);
        let all = [&PLAIN[..], &RELAYED[..], &[FEW_PLAIN, FEW_RELAYED]].concat();
        let server =
            Process::start(command.args(all.iter().map(|port| format!("127.0.0.1:{port}"))), &output);
        eventually("the server to listen", || process::read(&output).contains("listening").then_some(()));
        server
    }

    fn sidecar(&self, number: usize, cgroup: &Cgroup) -> Result<Sidecar> {
        let dir = self.dir.join(format!("daemon-{number}"));
        fs::create_dir(&dir).context("make a folder")?;
        let settings = dir.join("settings.yaml");
        let ports: Vec<_> = RELAYED.iter().chain([&FEW_RELAYED]).map(u16::to_string).collect();
        let service =
            format!("{{name: far, addresses: [127.0.0.1], ports: [{}], gear: proxy}}", ports.join(", "));
        fs::write(&settings, format!("traffic: {{services: [{service}]}}\n"))
            .context("write the settings")?;
        let (cgroup, settings) = (cgroup.path().display().to_string(), settings.display().to_string());
        // A soft limit as is usual: the rest is the daemon's to take.
        let files = format!("--nofile=1024:{}", self.n_files);
        let wrapper = [vec!["prlimit", &files], TWO_CAPABILITIES.to_vec()].concat();
        let args = ["--cgroup", &cgroup, "--config", &settings];
        let mut sidecar = Sidecar::spawn(&dir, &wrapper, &args, &[]);
        sidecar.await_attached();
        sidecar.await_ready();
        Ok(sidecar)
    }

    /// Opens so many to each port of 127.0.0.1, from the application's cgroup.
    fn hold(&self, cgroup: &Cgroup, to: &[(u16, usize)]) -> Result<Held> {
        let mut words = cgroup.wrapper();
        words.extend(["prlimit".to_owned(), files(self.n_files), self.program.clone()]);
        words.extend(to.iter().map(|(port, n)| format!("127.0.0.1:{port}/{n}")));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("start the client")?;
        let mut said = BufReader::new(child.stdout.take().context("the client's output")?).lines();
        let mut opened = Vec::new();
        loop {
            let line = said.next().context("the client ended early")??;
            if line == "all" {
                return Ok(Held { child, said, opened });
            }
            opened.push(line);
        }
    }
}

/// `prlimit`'s word for both limits.
fn files(n: usize) -> String {
    format!("--nofile={n}:{n}")
}

/// Connections that are open. The cgroup's guard ends the client, if nothing else does.
struct Held {
    child: Child,
    said: std::io::Lines<BufReader<ChildStdout>>,
    /// `opened ADDRESS N ERROR=N…`
    opened: Vec<String>,
}

impl Held {
    fn n_open(&self) -> usize {
        self.opened.iter().filter_map(|line| line.split(' ').nth(2)?.parse::<usize>().ok()).sum()
    }

    /// All are asked once more, and closed.
    fn finish(mut self, n: usize) -> Result<()> {
        drop(self.child.stdin.take());
        let line = self.said.next().context("the client ended early")??;
        ensure!(line == format!("alive {n}"), "of {n} connections: {line}");
        ensure!(self.child.wait().context("wait for the client")?.success(), "the client failed");
        Ok(())
    }
}

/// Established connections to each of these ports, each with a local port of its own.
fn ports(to: &[u16]) -> Result<BTreeMap<u16, usize>> {
    let said = process::run(Command::new("ss").args(["-Htn", "state", "established"]));
    let mut ports: BTreeMap<u16, usize> = to.iter().map(|port| (*port, 0)).collect();
    for line in said.lines() {
        // Without a column of states: queues, local, peer.
        let peer =
            line.split_whitespace().nth(3).and_then(|peer| peer.rsplit_once(':')).context("ss's line")?;
        if let Some(n) = peer.1.parse().ok().and_then(|port: u16| ports.get_mut(&port)) {
            *n += 1;
        }
    }
    Ok(ports)
}

/// Ports of the relay's listeners for IPv4.
pub(super) fn listeners(sidecar: &mut Sidecar) -> Result<Vec<u16>> {
    let pid = format!("pid={},", sidecar.process().pid());
    let said = process::run(Command::new("ss").args(["-H4tlnp"]));
    let of_daemon = said.lines().filter(|line| line.contains(&pid));
    let port = |line: &str| line.split_whitespace().nth(3)?.rsplit_once(':')?.1.parse().ok();
    let mut ports: Vec<u16> = of_daemon.filter_map(port).collect();
    ports.retain(|port| *port != sidecar.port && *port != sidecar.admin_port);
    ensure!(!ports.is_empty(), "the relay does not listen:\n{said}");
    Ok(ports)
}

fn none_failed(sidecar: &Sidecar) -> Result<()> {
    let scrape = sidecar.scrape();
    let failures: Vec<_> = scrape.all("sidecar_relay_failures_total").filter(|(_, n)| *n > 0.0).collect();
    ensure!(failures.is_empty(), "the relay counts failures: {failures:?}");
    Ok(())
}

fn tell_ports(what: &str, ports: &BTreeMap<u16, usize>) {
    let each: Vec<_> = ports.values().map(usize::to_string).collect();
    println!("{what}: {}", each.join(" "));
}

fn tell_memory([before, open, after]: &[Memory; 3], n: usize) {
    let mib = |bytes: u64| bytes as f64 / 1024.0 / 1024.0;
    println!(
        "the daemon's RSS: {:.1} MiB before, {:.1} MiB with them, {:.1} MiB after: {:.0} bytes a connection",
        mib(before.rss),
        mib(open.rss),
        mib(after.rss),
        open.rss.saturating_sub(before.rss) as f64 / n as f64
    );
    println!(
        "its maps: {:.1} MiB, and by connection {} bytes for each socket that is seen",
        mib(open.maps),
        open.by_connection
    );
}
