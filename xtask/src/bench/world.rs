//! A server in a cgroup of its own, a client outside of it, and the daemon on that cgroup or not there at all.

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
    free_port,
    nginx::Nginx,
    process::{self, Process},
    sidecar::Sidecar,
};
use tempfile::TempDir;

use super::{
    cpu,
    programs::{self, Counting, Program},
    shape::Shape,
};

pub(super) const SERVER_CPU: &str = "0";
pub(super) const OTHERS_CPU: &str = "1";

/// CAP_BPF and CAP_NET_ADMIN, as the masks of `/proc/PID/status` have them.
const TWO: u64 = 1 << 39 | 1 << 12;
/// Requests before the measured ones, in each run.
const WARM_UP: u64 = 500;
/// After these the daemon has read what there is, and sleeps.
const SETTLE: Duration = Duration::from_millis(100);
const IDLE: Duration = Duration::from_secs(10);

/// The server, up for all runs.
pub(super) struct World {
    shape: &'static Shape,
    nginx: Nginx,
    // Dropped in this order: the process, its cgroup, its files.
    _server: Process,
    cgroup: Cgroup,
    dir: TempDir,
}

/// What one run cost, by request.
pub(super) struct Run {
    pub(super) server_us: f64,
    pub(super) client_us: f64,
    pub(super) per_second: f64,
    pub(super) daemon: Option<Daemon>,
}

/// The daemon's own part.
pub(super) struct Daemon {
    pub(super) us: f64,
    pub(super) rss_kb: u64,
    pub(super) pss_kb: u64,
}

impl World {
    pub(super) fn new(shape: &'static Shape) -> Result<Self> {
        let n_cpus = std::thread::available_parallelism().context("count the CPUs")?;
        ensure!(n_cpus.get() >= 2, "server and client need a CPU each, and there is one");
        let dir = tempfile::tempdir().context("make a folder")?;
        // nginx reads its files as another user.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).context("open the folder")?;
        let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
        silence(&dir.path().join("nginx.conf"))?;
        let cgroup = Cgroup::new();
        let mut words = cgroup.wrapper();
        words.extend(["taskset", "-c", SERVER_CPU].map(str::to_owned));
        words.extend(nginx.command());
        let server = Process::start(Command::new(&words[0]).args(&words[1..]), &dir.path().join("nginx.out"));
        nginx.await_listening();
        Ok(Self { shape, nginx, _server: server, cgroup, dir })
    }

    /// So many requests, measured.
    pub(super) fn run(&self, n: u64, is_observed: bool) -> Result<Run> {
        let mut daemon = is_observed.then(|| self.daemon()).transpose()?;
        let pid = daemon.as_mut().map(|daemon| daemon.process().pid().as_raw_nonzero().get());
        self.load(WARM_UP)?;
        sleep(SETTLE);
        let daemon_before = pid.map(cpu::of_process).transpose()?.unwrap_or(0);
        let server_before = self.server_ns()?;
        let client_before = cpu::of_ended_children()?;
        let start = Instant::now();
        self.load(n)?;
        let took = start.elapsed();
        let client_us = (cpu::of_ended_children()? - client_before) as f64 / n as f64;
        sleep(SETTLE);
        let by_request = |ns: u64| ns as f64 / 1000.0 / n as f64;
        let server_us = by_request(self.server_ns()? - server_before);
        let daemon = match (daemon, pid) {
            (Some(daemon), Some(pid)) => {
                let us = by_request(cpu::of_process(pid)? - daemon_before);
                let (rss_kb, pss_kb) = cpu::memory_kb(pid)?;
                saw_all(&daemon, WARM_UP + n)?;
                Some(Daemon { us, rss_kb, pss_kb })
            }
            _ => None,
        };
        Ok(Run { server_us, client_us, per_second: n as f64 / took.as_secs_f64(), daemon })
    }

    /// What the programs did in a run of so many requests.
    pub(super) fn programs(&self, n: u64) -> Result<Vec<Program>> {
        let mut daemon = self.daemon()?;
        let pid = daemon.process().pid().as_raw_nonzero().get();
        self.load(WARM_UP)?;
        let _counting = Counting::start()?;
        let before = programs::of_process(pid)?;
        self.load(n)?;
        Ok(programs::between(&before, &programs::of_process(pid)?))
    }

    /// The daemon's share of a CPU while nothing happens.
    pub(super) fn idle(&self) -> Result<f64> {
        let mut daemon = self.daemon()?;
        let pid = daemon.process().pid().as_raw_nonzero().get();
        self.load(WARM_UP)?;
        sleep(SETTLE * 10);
        let before = cpu::of_process(pid)?;
        sleep(IDLE);
        Ok((cpu::of_process(pid)? - before) as f64 / IDLE.as_nanos() as f64)
    }

    fn daemon(&self) -> Result<Sidecar> {
        let caps = "-all,+bpf,+net_admin";
        let wrapper = [
            ["taskset", "-c", OTHERS_CPU, "setpriv"].as_slice(),
            &["--ambient-caps", "-all", "--inh-caps", caps, "--bounding-set", caps],
        ]
        .concat();
        let cgroup = self.cgroup.path().display().to_string();
        let mut daemon = Sidecar::spawn(self.dir.path(), &wrapper, &["--cgroup", &cgroup], &[]);
        daemon.await_attached();
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.process().pid().as_raw_nonzero()))?;
        for name in ["CapPrm:", "CapBnd:"] {
            let mask = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
            ensure!(
                u64::from_str_radix(mask, 16) == Ok(TWO),
                "the daemon has other capabilities than CAP_BPF and CAP_NET_ADMIN: {name} {mask}"
            );
        }
        Ok(daemon)
    }

    fn load(&self, n: u64) -> Result<()> {
        let client = self.shape.client;
        let url = format!("http://127.0.0.1:{}/{}", self.nginx.port, self.shape.path);
        let words = client.words(&url, n);
        let said = process::run(Command::new("taskset").args(["-c", OTHERS_CPU]).args(&words));
        client.check(&said, n)
    }

    fn server_ns(&self) -> Result<u64> {
        self.cgroup.processes().iter().map(|pid| cpu::of_process(pid.as_raw_nonzero().get())).sum()
    }
}

/// A daemon that misses something is cheaper: such a figure would not count.
fn saw_all(daemon: &Sidecar, n: u64) -> Result<()> {
    let scrape = daemon.scrape_at_rest();
    let saw: u64 = scrape.requests("server").values().sum();
    ensure!(saw == n, "the daemon saw {saw} requests of {n}; dropped: {:?}", scrape.drops());
    let (explained, seen) = (scrape.bytes("explained"), scrape.bytes("seen"));
    ensure!(explained == seen, "the daemon explained {explained} bytes of {seen}");
    Ok(())
}

/// An access log costs more than what is to be measured, and is the same with and without.
fn silence(config: &Path) -> Result<()> {
    let text = fs::read_to_string(config).context("read the server's configuration")?;
    let is_log = |line: &&str| line.trim_start().starts_with("access_log ");
    let line = text.lines().find(is_log).context("the server's configuration has no access_log")?;
    // The rest of the line stays.
    let (log, rest) = line.split_once(';').context("access_log ends with a semicolon")?;
    fs::write(config, text.replace(&format!("{log};{rest}"), &format!("access_log off;{rest}")))
        .context("write the server's configuration")
}
