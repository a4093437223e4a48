//! `cargo xtask bench outliers [--rate N] [--table FILE]`: four servers, a connection for each request; one becomes slow, one answers
//! with 503, one is killed, then all three at once; later they are well again. How long each goes on getting its share, what clients
//! notice, and how long it takes until it has its share again, beside Envoy before the same four.
//!
//! Who got what is told by the servers' logs; what reached a server that is down, by the client, whom nobody answered.

mod envoy;
mod report;
mod shares;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use sidecar_tests::{
    cgroup::Cgroup,
    endpoints::{self, Asked, Client, Endpoint, now},
    eventually,
    netns::Netns,
    process::Process,
    sidecar::{Sidecar, TWO_CAPABILITIES},
};

use crate::{
    build, privileges,
    setup::{self, Extent},
    workspace::Workspace,
};
use envoy::Envoy;
use shares::Shares;

/// The service's address.
const ADDRESS: &str = "10.9.0.1";
const WORKERS: &str = "256";
const WARM_UP: Duration = Duration::from_secs(5);
const FAULT: Duration = Duration::from_secs(20);
/// How long shares are waited for.
const PATIENCE_US: u64 = 90_000_000;
/// Of the slow one, in seconds.
const DELAY: &str = "0.2";
const UPSTREAM: u16 = 9000;

/// What becomes of an endpoint: the one with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Slow,
    Errors,
    Killed,
}

/// Names of the endpoints: three after their faults.
const NAMES: [&str; 4] = ["slow", "503", "killed", "well"];
const CASES: [&[Fault]; 4] =
    [&[Fault::Slow], &[Fault::Errors], &[Fault::Killed], &[Fault::Slow, Fault::Errors, Fault::Killed]];

/// Who chooses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chooser {
    Sidecar,
    Envoy,
    /// With what lets it eject one of few.
    EnvoyAlways,
}

impl Chooser {
    const ALL: [Chooser; 3] = [Chooser::Sidecar, Chooser::Envoy, Chooser::EnvoyAlways];

    fn name(self) -> &'static str {
        match self {
            Chooser::Sidecar => "sidecar, direct gear",
            Chooser::Envoy => "Envoy, outlier_detection: {}",
            Chooser::EnvoyAlways => "Envoy, always_eject_one_host",
        }
    }
}

/// What was measured of one case.
struct Measured {
    chooser: Chooser,
    faults: &'static [Fault],
    shares: Shares,
    begun: u64,
    /// When the faults came and went.
    fault: [u64; 2],
    ended: u64,
    n_requests: usize,
    /// By what the client was told.
    failed: BTreeMap<String, usize>,
    /// What the chooser tells of itself.
    told: Vec<String>,
}

pub(super) fn command(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let (mut rate, mut table) = (1000u64, None::<PathBuf>);
    for pair in arguments.chunks(2) {
        match pair {
            [flag, n] if flag == "--rate" => rate = n.parse().context("--rate N")?,
            [flag, path] if flag == "--table" => table = Some(path.into()),
            _ => bail!("bench outliers takes --rate N and --table FILE only"),
        }
    }
    privileges::check()?;
    let compiler = setup::run(workspace, Extent::BuildTestAndCompare)?;
    build::release(workspace, &compiler)?;
    let program = build::client(workspace)?.display().to_string();
    let dir = tempfile::tempdir().context("make a folder")?;
    let netns = Netns::new();
    // Neither the servers' ports, nor too few.
    netns.sysctl("net.ipv4.ip_local_port_range", "10000 65000");
    let all = netns.within(|| {
        let mut world = World::new(dir.path(), program, rate);
        let mut all = Vec::new();
        for faults in CASES {
            for chooser in Chooser::ALL {
                let measured = world.run(chooser, faults)?;
                report::print(&measured);
                all.push(measured);
            }
        }
        anyhow::Ok(all)
    })?;
    let page = report::table(&all, rate, &arguments.join(" "));
    println!("\n{page}");
    if let Some(path) = table {
        fs::write(&path, page).with_context(|| format!("write {}", path.display()))?;
        println!("written: {}", path.display());
    }
    Ok(())
}

struct World<'a> {
    dir: &'a Path,
    program: String,
    rate: u64,
    endpoints: Vec<Endpoint>,
    _upstream: Process,
    n_runs: usize,
}

impl<'a> World<'a> {
    fn new(dir: &'a Path, program: String, rate: u64) -> World<'a> {
        let mut upstream = Command::new("python3");
        upstream.args(["-c", include_str!("delayed.py"), &UPSTREAM.to_string(), DELAY]);
        let upstream = Process::start(&mut upstream, &dir.join("upstream"));
        eventually("the upstream", || std::net::TcpStream::connect(("127.0.0.1", UPSTREAM)).ok());
        let endpoint = |(number, name): (usize, &&str)| {
            let mut endpoint = Endpoint::new(dir, name, &format!("127.1.0.{}", number + 1), 8080);
            if number == Fault::Killed as usize {
                // What is killed is gone.
                endpoint.amend("worker_processes 1;", "master_process off;");
            }
            endpoint.start();
            endpoint
        };
        let endpoints = NAMES.iter().enumerate().map(endpoint).collect();
        World { dir, program, rate, endpoints, _upstream: upstream, n_runs: 0 }
    }

    fn run(&mut self, chooser: Chooser, faults: &'static [Fault]) -> Result<Measured> {
        self.n_runs += 1;
        let dir = self.dir.join(format!("run-{}", self.n_runs));
        fs::create_dir(&dir).context("make a folder")?;
        let cgroup = Cgroup::new();
        let beside = self.beside(chooser, &dir, &cgroup)?;
        let mut told = Vec::new();
        if let Beside::Envoy(envoy) = &beside {
            told.push(envoy.told()?);
        }
        let (host, port) = beside.address();
        let rate = self.rate.to_string();
        let client = [&self.program, &rate, WORKERS, "each", host, &port.to_string(), endpoints::PATH]
            .map(str::to_owned);
        let begun = now();
        let client = Client::start(&[cgroup.wrapper(), client.to_vec()].concat(), dir.join("client"));
        sleep(WARM_UP);
        let came = now();
        faults.iter().for_each(|fault| self.begin(*fault));
        sleep(FAULT);
        let went = now();
        faults.iter().for_each(|fault| self.end(*fault));
        loop {
            sleep(Duration::from_secs(1));
            // The last two seconds are not written down yet, of the client.
            let ended = now() - 2_000_000;
            let shares = self.shares(begun, faults, &[])?;
            let mut left = faults
                .iter()
                .map(|fault| *fault as usize)
                .filter(|endpoint| shares.until_back(*endpoint, went, ended).is_none());
            if left.next().is_none() || ended > went + PATIENCE_US {
                break;
            }
        }
        let ended = now();
        let all = client.finish()?;
        told.push(beside.counted()?);
        let shares = self.shares(begun, faults, &all)?;
        let mut failed = BTreeMap::new();
        for asked in all.iter().filter(|asked| !asked.is_well()) {
            let who = asked.endpoint.as_ref().map_or(String::new(), |endpoint| format!(" of {endpoint}"));
            *failed.entry(format!("{}{who}", asked.outcome)).or_default() += 1;
        }
        Ok(Measured {
            chooser,
            faults,
            shares,
            begun,
            fault: [came, went],
            ended,
            n_requests: all.len(),
            failed,
            told,
        })
    }

    /// By the servers' logs since then. What nobody answered the client was sent to the one that is killed, if one is.
    fn shares(&self, since: u64, faults: &[Fault], client: &[Asked]) -> Result<Shares> {
        let log = |endpoint: &Endpoint| -> Result<Vec<u64>> {
            Ok(endpoint.log()?.iter().map(|logged| logged.begun).filter(|begun| *begun >= since).collect())
        };
        let mut begun = self.endpoints.iter().map(log).collect::<Result<Vec<_>>>()?;
        if faults.contains(&Fault::Killed) {
            let unanswered = client.iter().filter(|asked| !asked.is_well() && asked.endpoint.is_none());
            begun[Fault::Killed as usize].extend(unanswered.map(|asked| asked.begun));
        }
        Ok(Shares::new(begun))
    }

    fn begin(&mut self, fault: Fault) {
        let endpoint = &mut self.endpoints[fault as usize];
        match fault {
            Fault::Killed => endpoint.end(Signal::KILL),
            Fault::Slow | Fault::Errors => {
                endpoint.amend(WELL, &broken(fault));
                endpoint.reload();
            }
        }
    }

    fn end(&mut self, fault: Fault) {
        let endpoint = &mut self.endpoints[fault as usize];
        match fault {
            Fault::Killed => endpoint.start(),
            Fault::Slow | Fault::Errors => {
                endpoint.amend(&broken(fault), WELL);
                endpoint.reload();
            }
        }
    }

    fn beside(&self, chooser: Chooser, dir: &Path, cgroup: &Cgroup) -> Result<Beside> {
        Ok(match chooser {
            Chooser::Sidecar => Beside::Sidecar(Box::new(self.sidecar(dir, cgroup)?)),
            Chooser::Envoy => Beside::Envoy(Envoy::start(dir, &self.endpoints, "{}")?),
            Chooser::EnvoyAlways => {
                Beside::Envoy(Envoy::start(dir, &self.endpoints, "{always_eject_one_host: true}")?)
            }
        })
    }

    fn sidecar(&self, dir: &Path, cgroup: &Cgroup) -> Result<Sidecar> {
        let endpoints: Vec<_> = self.endpoints.iter().map(|one| format!("'{}'", one.address)).collect();
        let settings = dir.join("settings.yaml");
        let service = format!("{{name: web, addresses: [{ADDRESS}], endpoints: [{}]}}", endpoints.join(", "));
        fs::write(&settings, format!("traffic: {{services: [{service}]}}\n"))
            .context("write the settings")?;
        let (cgroup, settings) = (cgroup.path().display().to_string(), settings.display().to_string());
        let args = ["--cgroup", &cgroup, "--config", &settings];
        let mut sidecar = Sidecar::spawn(dir, &TWO_CAPABILITIES, &args, &[]);
        sidecar.await_attached();
        sidecar.await_ready();
        Ok(sidecar)
    }
}

/// Of a server's configuration.
const WELL: &str = "location = /made { return";

fn broken(fault: Fault) -> String {
    let does = match fault {
        Fault::Slow => format!("proxy_pass http://127.0.0.1:{UPSTREAM};"),
        Fault::Errors | Fault::Killed => "return 503;".to_owned(),
    };
    format!("location = {} {{ {does} }} {WELL}", endpoints::PATH)
}

enum Beside {
    Sidecar(Box<Sidecar>),
    Envoy(Envoy),
}

impl Beside {
    fn address(&self) -> (&'static str, u16) {
        match self {
            Beside::Sidecar(_) => (ADDRESS, 80),
            Beside::Envoy(_) => ("127.0.0.1", envoy::PORT),
        }
    }

    fn counted(&self) -> Result<String> {
        match self {
            Beside::Envoy(envoy) => envoy.counted(),
            Beside::Sidecar(sidecar) => {
                let scrape = sidecar.scrape();
                let count = |name: &str| scrape.count(name, &[]);
                Ok(format!(
                    "ejections {}, trials {}, panics {}",
                    count("sidecar_traffic_endpoint_ejections_total"),
                    count("sidecar_traffic_endpoint_trials_total"),
                    count("sidecar_traffic_service_panics_total"),
                ))
            }
        }
    }
}
