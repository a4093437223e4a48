//! Servers, a resolver, the daemon and the load, and what is done to them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::{
    Extent,
    judge::{ASKED, Account, Gear, Kill, Policy, Removal},
};
use crate::{
    bpffs::Bpffs,
    cgroup::Cgroup,
    dnsmasq,
    endpoints::{self, Asked, Client, Endpoint, now},
    eventually,
    process::{self, Process},
    sidecar::{Sidecar, TWO_CAPABILITIES},
};

const NAME: &str = "web.internal";
/// What the resolver says that the name has: the service's own address, where a server is too, that nobody should reach while
/// somebody steers.
const ADDRESS: &str = "127.9.0.1";
const RESOLVER: &str = "127.53.0.1";
const N_ENDPOINTS: usize = 6;
const N_ACTIVE: usize = 4;
/// Requests on a connection that is kept.
const KEPT: &str = "20";
const DRAINED_WITHIN: Duration = Duration::from_secs(60);

#[derive(Clone, Copy)]
enum State {
    Down,
    Active,
    /// Taken out, by the policy that holds since then (µs since the epoch); and how often no connection was found.
    Draining {
        from: u64,
        n_idle: u32,
    },
}

pub(super) struct World<'a> {
    dir: &'a Path,
    cgroup: &'a Cgroup,
    program: String,
    endpoints: Vec<(Endpoint, State)>,
    /// Who is at the service's own address.
    asked: Endpoint,
    _resolver: Process,
    sidecar: Option<Sidecar>,
    /// Which daemon it is.
    number: usize,
    /// What is to be told of the policy that is written.
    written: Option<(Gear, u64)>,
    n_written: usize,
    policies: Vec<Policy>,
    kills: Vec<Kill>,
    removals: Vec<Removal>,
    /// Taken out by settings that do not hold yet.
    leaving: Vec<usize>,
    /// Goes last.
    bpffs: Bpffs,
}

/// Both halves of the load.
pub(super) struct Load([Client; 2]);

impl<'a> World<'a> {
    pub(super) fn new(dir: &'a Path, cgroup: &'a Cgroup, program: String) -> Result<World<'a>> {
        let mut asked = Endpoint::new(dir, ASKED, ADDRESS, 80);
        asked.start();
        let endpoint = |number: usize| {
            let endpoint =
                Endpoint::new(dir, &format!("endpoint-{number}"), &format!("127.1.0.{}", number + 1), 8080);
            (endpoint, State::Down)
        };
        let mut endpoints: Vec<_> = (0..N_ENDPOINTS).map(endpoint).collect();
        for (endpoint, state) in endpoints.iter_mut().take(N_ACTIVE) {
            endpoint.start();
            *state = State::Active;
        }
        let resolver = resolver(dir);
        let options = format!("nameserver {RESOLVER}\noptions timeout:1 attempts:5\n");
        fs::write(dir.join("resolv.conf"), options).context("write resolv.conf")?;
        Ok(World {
            dir,
            cgroup,
            program,
            endpoints,
            asked,
            _resolver: resolver,
            sidecar: None,
            number: 0,
            written: None,
            n_written: 0,
            policies: Vec::new(),
            kills: Vec::new(),
            removals: Vec::new(),
            leaving: Vec::new(),
            bpffs: Bpffs::new(),
        })
    }

    /// So many requests a second, half of them each on a connection of its own.
    pub(super) fn load(&self, name: &str, extent: Extent) -> Load {
        let conf = self.dir.join("resolv.conf");
        let script = format!("mount --bind {} /etc/resolv.conf && exec \"$@\"", conf.display());
        let [half, workers] = [extent.rate / 2, extent.workers].map(|n| n.to_string());
        Load(["each", KEPT].map(|kept| {
            let client =
                [&self.program, &half, &workers, kept, NAME, "80", endpoints::PATH].map(str::to_owned);
            let inside = ["unshare", "-m", "sh", "-c", &script, "sh"].map(str::to_owned);
            let words = [self.cgroup.wrapper(), inside.to_vec(), client.to_vec()].concat();
            Client::start(&words, self.dir.join(format!("{name}-{kept}")))
        }))
    }

    pub(super) fn finish(&self, load: Load) -> Result<Vec<Asked>> {
        let halves = load.0.map(Client::finish);
        let mut all = Vec::new();
        for half in halves {
            all.extend(half?);
        }
        Ok(all)
    }

    /// Writes the next policy, with this gear.
    pub(super) fn settle(&mut self, gear: Gear) -> Result<()> {
        self.n_written += 1;
        let active = self.endpoints.iter().filter(|(_, state)| matches!(state, State::Active));
        let endpoints: Vec<_> = active.map(|(endpoint, _)| format!("'{}'", endpoint.address)).collect();
        let text = format!(
            "traffic:\n  heartbeat: 30s\n  pin: {}\n  services:\n    - {{name: web, hosts: [{NAME}], addresses: [{ADDRESS}], ports: [80], \
             resolve: virtual, gear: {}, endpoints: [{}]}}\n    - {{name: {}, addresses: [10.9.9.9], gear: proxy}}\n",
            self.bpffs.pins().display(),
            gear.word(),
            endpoints.join(", "),
            mark(self.n_written),
        );
        let new = self.dir.join("settings.new");
        fs::write(&new, text).context("write the settings")?;
        self.written = Some((gear, now()));
        fs::rename(new, self.settings()).context("write the settings")
    }

    /// Starts a daemon, which goes by what is written.
    pub(super) fn begin(&mut self) -> Result<()> {
        self.number += 1;
        let dir = self.dir.join(format!("daemon-{}", self.number));
        fs::create_dir(&dir).context("make a folder")?;
        let (cgroup, settings) =
            (self.cgroup.path().display().to_string(), self.settings().display().to_string());
        let args = ["--cgroup", &cgroup, "--config", &settings];
        let mut sidecar = Sidecar::spawn(&dir, &TWO_CAPABILITIES, &args, &[]);
        sidecar.await_attached();
        sidecar.await_ready();
        let adopted = sidecar.scrape().count("sidecar_traffic_pinned", &[("sidecar_state", "adopted")]) == 1;
        ensure!(adopted == (self.number > 1), "the policy before was not adopted:\n{}", sidecar.log());
        self.sidecar = Some(sidecar);
        self.held();
        Ok(())
    }

    /// The next policy, with another endpoint in the place of one.
    pub(super) fn reload(&mut self, gear: Gear) -> Result<()> {
        self.replace()?;
        self.settle(gear)?;
        self.sidecar.as_ref().context("no daemon")?.signal(Signal::HUP);
        self.held();
        Ok(())
    }

    /// Waits until what is written holds.
    fn held(&mut self) {
        let (Some(sidecar), Some((gear, begun))) = (&self.sidecar, self.written.take()) else { return };
        let (metric, mark) = ("sidecar_traffic_service_active", mark(self.n_written));
        eventually("the policy", || sidecar.scrape().sum(metric, &[("sidecar_service", &mark)]));
        let in_force = now();
        self.policies.push(Policy { gear, begun, in_force });
        for left in self.leaving.drain(..) {
            self.endpoints[left].1 = State::Draining { from: in_force, n_idle: 0 };
        }
    }

    /// One endpoint that is down takes the place of one that is active, in the settings that are written next.
    pub(super) fn replace(&mut self) -> Result<()> {
        let begun = Instant::now();
        let new = loop {
            self.drain()?;
            if let Some(new) = self.endpoints.iter().position(|(_, state)| matches!(state, State::Down)) {
                break new;
            }
            ensure!(
                begun.elapsed() < DRAINED_WITHIN,
                "no endpoint that was taken out got rid of its connections"
            );
            sleep(Duration::from_millis(50));
        };
        // In turns: the one after the new one that is active.
        let active =
            |at: &usize| matches!(self.endpoints[*at].1, State::Active) && !self.leaving.contains(at);
        let old =
            (1..N_ENDPOINTS).map(|step| (new + step) % N_ENDPOINTS).find(active).context("none is active")?;
        let (endpoint, state) = &mut self.endpoints[new];
        endpoint.start();
        *state = State::Active;
        self.endpoints[old].1 = State::Draining { from: u64::MAX, n_idle: 0 };
        self.leaving.push(old);
        Ok(())
    }

    /// Ends those that were taken out and have no connections any more.
    pub(super) fn drain(&mut self) -> Result<()> {
        for (endpoint, state) in &mut self.endpoints {
            let State::Draining { from, n_idle } = state else { continue };
            if *from == u64::MAX {
                continue;
            }
            *n_idle = if n_connections(&endpoint.address)? == 0 { *n_idle + 1 } else { 0 };
            // Twice: what was sent there before may be on its way through the relay.
            if *n_idle >= 2 {
                let until = now();
                endpoint.end(Signal::QUIT);
                self.removals.push(Removal { name: endpoint.name.clone(), from: *from, until });
                *state = State::Down;
            } else {
                sleep(Duration::from_millis(100));
            }
        }
        Ok(())
    }

    pub(super) fn kill(&mut self) {
        if let Some(mut sidecar) = self.sidecar.take() {
            let sent = now();
            sidecar.signal(Signal::KILL);
            sidecar.wait();
            self.kills.push(Kill { sent, done: now() });
        }
    }

    /// Of all requests since the first policy.
    pub(super) fn judge(&self, all: &[Asked]) -> Result<Account> {
        let mut account = Account::of(all, &self.policies, &self.kills, &self.removals);
        let since = self.policies.first().context("no policy")?.begun;
        let mut logged: BTreeMap<&str, usize> = BTreeMap::new();
        for endpoint in self.endpoints.iter().map(|(endpoint, _)| endpoint).chain([&self.asked]) {
            let log = endpoint.log()?;
            let n = log.iter().filter(|one| one.begun >= since && one.status == 200).count();
            logged.insert(&endpoint.name, n);
        }
        let n_well = all.iter().filter(|asked| asked.is_well()).count();
        let n_logged: usize = logged.values().sum();
        account.tell("by the servers' logs", format!("{n_logged}: {logged:?}"));
        account.expect((n_well..=all.len()).contains(&n_logged), || {
            format!("the servers answered {n_logged}, the client got {n_well}")
        });
        Ok(account)
    }

    pub(super) fn log(&self) -> String {
        let said = |number| process::read(&self.dir.join(format!("daemon-{number}/sidecar.log")));
        (1..=self.number).map(said).collect()
    }

    /// Stops the daemon, and what it pinned.
    pub(super) fn end(mut self) -> Result<()> {
        let mut sidecar = self.sidecar.take().context("no daemon")?;
        ensure!(sidecar.stop().success(), "the daemon did not end well:\n{}", sidecar.log());
        process::run(Command::new(crate::binary()).arg("unpin").arg(self.bpffs.pins()));
        Ok(())
    }

    fn settings(&self) -> PathBuf {
        self.dir.join("settings.yaml")
    }
}

/// A service by whose name a policy is known to hold.
fn mark(number: usize) -> String {
    format!("policy-{number}")
}

/// Connections at a server that are not over.
fn n_connections(address: &str) -> Result<usize> {
    let said = process::run(Command::new("ss").args(["-Htan", "src", address]));
    let over = ["LISTEN", "TIME-WAIT", "FIN-WAIT-2", "CLOSED"];
    Ok(said
        .lines()
        .filter(|line| line.split_whitespace().next().is_some_and(|state| !over.contains(&state)))
        .count())
}

/// Knows the name, and nothing else.
fn resolver(dir: &Path) -> Process {
    let more = ["--local=/internal/".to_owned(), format!("--host-record={NAME},{ADDRESS}")];
    dnsmasq::start(RESOLVER, &more, &dir.join("resolver"), [NAME, ADDRESS])
}
