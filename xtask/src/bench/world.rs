//! A server in a cgroup of its own, a client outside of it, and something beside it or nothing.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port,
    nginx::Nginx,
    process::{self, Process},
    sidecar::Sidecar,
};
use tempfile::TempDir;

use super::{
    beside::{Beside, Kind},
    cpu,
    memory::{self, Memory},
    programs::{self, Counting, Program},
    shape::{Shape, Unit},
};

pub(super) const SERVER_CPU: &str = "0";
pub(super) const OTHERS_CPU: &str = "1";

/// Requests (or MiB) before the measured ones, in each run; one a connection at least.
const WARM_UP: u64 = 500;
/// After these the daemon has read what there is, and sleeps.
const SETTLE: Duration = Duration::from_millis(100);
const IDLE: Duration = Duration::from_secs(10);

/// The server, up for all runs.
pub(super) struct World {
    shape: &'static Shape,
    connections: u32,
    port: u16,
    // Dropped in this order: the process, its cgroup, its files.
    _server: Process,
    cgroup: Cgroup,
    dir: TempDir,
}

/// What one run cost, by unit of work.
pub(super) struct Run {
    pub(super) server_us: f64,
    pub(super) client_us: f64,
    /// CPU of what stood beside it.
    pub(super) beside_us: f64,
    pub(super) per_second: f64,
    /// Of what stood beside it, if that is a process.
    pub(super) memory: Option<Memory>,
}

impl World {
    pub(super) fn new(shape: &'static Shape, connections: u32) -> Result<Self> {
        let n_cpus = std::thread::available_parallelism().context("count the CPUs")?;
        ensure!(n_cpus.get() >= 2, "server and client need a CPU each, and there is one");
        let dir = tempfile::tempdir().context("make a folder")?;
        // nginx reads its files as another user.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).context("open the folder")?;
        let (port, cgroup) = (free_port(), Cgroup::new());
        let command = match shape.unit() {
            Unit::Request => nginx(dir.path(), port)?,
            Unit::Mebibyte => {
                format!("iperf3 -s -B 127.0.0.1 -p {port}").split(' ').map(str::to_owned).collect()
            }
        };
        let mut words = cgroup.wrapper();
        words.extend(["taskset", "-c", SERVER_CPU].map(str::to_owned));
        words.extend(command);
        let server =
            Process::start(Command::new(&words[0]).args(&words[1..]), &dir.path().join("server.out"));
        eventually("the server to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Ok(Self { shape, connections, port, _server: server, cgroup, dir })
    }

    /// So much work, measured.
    pub(super) fn run(&self, n: u64, kind: Kind) -> Result<Run> {
        let mut beside = self.beside(kind)?;
        let port = beside.port(self.port);
        let pid = beside.pid();
        self.load(port, self.warm_up())?;
        sleep(SETTLE);
        let beside_before = pid.map(cpu::of_process).transpose()?.unwrap_or(0);
        let server_before = self.server_ns()?;
        let client_before = cpu::of_ended_children()?;
        let start = Instant::now();
        self.load(port, n)?;
        let took = start.elapsed();
        let client_us = (cpu::of_ended_children()? - client_before) as f64 / n as f64;
        sleep(SETTLE);
        let by_unit = |ns: u64| ns as f64 / 1000.0 / n as f64;
        let server_us = by_unit(self.server_ns()? - server_before);
        let beside_us =
            pid.map(cpu::of_process).transpose()?.map_or(0.0, |after| by_unit(after - beside_before));
        let memory = pid.map(memory::of_process).transpose()?;
        if let Beside::Sidecar(daemon) = &beside {
            self.saw_all(daemon, self.warm_up() + n)?;
        }
        Ok(Run { server_us, client_us, beside_us, per_second: n as f64 / took.as_secs_f64(), memory })
    }

    /// What the programs did in a run of so much work.
    pub(super) fn programs(&self, n: u64) -> Result<Vec<Program>> {
        let mut daemon = self.beside(Kind::Sidecar)?;
        let pid = daemon.pid().context("the daemon is a process")?;
        self.load(self.port, self.warm_up())?;
        let _counting = Counting::start()?;
        let before = programs::of_process(pid)?;
        self.load(self.port, n)?;
        Ok(programs::between(&before, &programs::of_process(pid)?))
    }

    /// The daemon's share of a CPU while nothing happens.
    pub(super) fn idle(&self) -> Result<f64> {
        let mut daemon = self.beside(Kind::Sidecar)?;
        let pid = daemon.pid().context("the daemon is a process")?;
        self.load(self.port, self.warm_up())?;
        sleep(SETTLE * 10);
        let before = cpu::of_process(pid)?;
        sleep(IDLE);
        Ok((cpu::of_process(pid)? - before) as f64 / IDLE.as_nanos() as f64)
    }

    fn beside(&self, kind: Kind) -> Result<Beside> {
        Beside::start(kind, self.dir.path(), &self.cgroup, self.port, self.shape.unit())
    }

    fn warm_up(&self) -> u64 {
        WARM_UP.max(u64::from(self.connections))
    }

    fn load(&self, port: u16, n: u64) -> Result<()> {
        let words = self.shape.words(port, n, self.connections);
        let files = u64::from(self.connections) + 1024;
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={files}:{files}")).args(["taskset", "-c", OTHERS_CPU]);
        let said = process::run(command.args(&words));
        self.shape.client.check(&said, n)
    }

    fn server_ns(&self) -> Result<u64> {
        self.cgroup.processes().iter().map(|pid| cpu::of_process(pid.as_raw_nonzero().get())).sum()
    }

    /// A daemon that misses something is cheaper: such a figure would not count.
    fn saw_all(&self, daemon: &Sidecar, n: u64) -> Result<()> {
        let scrape = daemon.scrape_at_rest();
        let (explained, seen) = (scrape.bytes("explained"), scrape.bytes("seen"));
        match self.shape.unit() {
            Unit::Request => {
                let saw: u64 = scrape.requests("server").values().sum();
                ensure!(saw == n, "the daemon saw {saw} requests of {n}; dropped: {:?}", scrape.drops());
                ensure!(explained == seen, "the daemon explained {explained} bytes of {seen}");
            }
            Unit::Mebibyte => {
                // iperf3's server closes before it has taken the last of what was sent.
                ensure!(seen >= n * 1024 * 1024 * 9 / 10, "the daemon saw {seen} bytes of {n} MiB");
            }
        }
        Ok(())
    }
}

/// nginx without an access log (it costs more than what is to be measured, and is the same with and without) and with
/// room for many connections.
fn nginx(dir: &Path, port: u16) -> Result<Vec<String>> {
    let nginx = Nginx::prepare(dir, "127.0.0.1", port, "");
    let file = dir.join("nginx.conf");
    let text = fs::read_to_string(&file).context("read the server's configuration")?;
    let is_log = |line: &&str| line.trim_start().starts_with("access_log ");
    let line = text.lines().find(is_log).context("the server's configuration has no access_log")?;
    // The rest of the line stays.
    let (log, rest) = line.split_once(';').context("access_log ends with a semicolon")?;
    let text = text.replace(&format!("{log};{rest}"), &format!("access_log off;{rest}"));
    let few = "worker_connections 1024;";
    ensure!(text.contains(few), "the server's configuration has no {few}");
    let text = text.replace(few, "worker_connections 30000;");
    fs::write(&file, format!("worker_rlimit_nofile 65536;\n{text}")).context("write the configuration")?;
    Ok(nginx.command())
}
