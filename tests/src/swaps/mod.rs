//! Connections of parallel clients to changing destinations, while the policy is swapped again and again between disjoint sets of
//! endpoints: where each of them went is what the endpoints wrote down, and where it was to go what held when `connect()` was
//! called.
//!
//! All of it is in a network namespace, where data travels in SYNs in both directions of the relay, and a packet filter loses what
//! some clients need to open a connection, so that they end in the middle of it.

mod base;
mod truth;

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::{
    process::Signal,
    time::{ClockId, clock_gettime},
};

pub use truth::Account;
use truth::{Accept, Attempt, Policy, SETS, SWAPPED};

use crate::{
    cgroup::Cgroup,
    eventually,
    netns::Netns,
    process::{self, Process},
    sidecar::Sidecar,
};

/// TFO_CLIENT_ENABLE, TFO_SERVER_ENABLE, TFO_CLIENT_NO_COOKIE, TFO_SERVER_COOKIE_NOT_REQD, TFO_SERVER_WO_SOCKOPT1
/// (Documentation/networking/ip-sysctl.rst): data in the SYN, whoever listens.
const FAST_OPEN: &str = "1543";
/// Loses the SYN of one address, and what answers that of another.
const LOSING: &str = "table ip lost {
    chain incoming {
        type filter hook input priority 0;
        ip saddr 127.0.0.77 tcp flags & (syn | ack) == syn drop
        ip daddr 127.0.0.78 tcp flags & (syn | ack) == (syn | ack) drop
    }
}
";
const CLIENTS: usize = 4;
/// Ports of those that are asked for by their own address.
const ASKED: [u16; 4] = [201, 202, 203, 204];

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Policies after the first.
    pub swaps: usize,
    /// Connections that are made in all while no policy is being swapped, at least.
    pub connections: usize,
}

/// Runs it.
#[must_use]
pub fn run(extent: Extent) -> Account {
    let dir = tempfile::tempdir().expect("a folder");
    let (netns, cgroup) = (Netns::new(), Cgroup::new());
    netns.sysctl("net.ipv4.tcp_fastopen", FAST_OPEN);
    // What is established on one side only is not waited for long.
    netns.sysctl("net.ipv4.tcp_synack_retries", "2");
    let mut account = netns.within(|| World::new(dir.path(), &cgroup).run(extent));
    let n_early = netns.snmp("TcpExt", "TCPFastOpenPassive");
    account.expect(n_early > 0, || "no data came in a SYN".to_owned());
    account.tell("connections accepted with data in the SYN", n_early);
    account
}

/// Inside of the namespace.
struct World<'a> {
    dir: &'a Path,
    cgroup: &'a Cgroup,
    sidecar: Sidecar,
    endpoints: Process,
    policies: Vec<Policy>,
}

impl<'a> World<'a> {
    fn new(dir: &'a Path, cgroup: &'a Cgroup) -> World<'a> {
        let rules = dir.join("losing.nft");
        fs::write(&rules, LOSING).expect("the packet filter's rules");
        process::run(Command::new("nft").arg("-f").arg(&rules));
        let accepts = dir.join("accepts");
        let mut command = Command::new("python3");
        command.args(["-c", include_str!("endpoints.py")]);
        for (service, name) in SWAPPED.iter().enumerate() {
            for set in 0..SETS {
                for (host, port) in endpoints(service, set) {
                    command.arg(format!("{name}-{set}-{port}/{host}/{port}"));
                }
            }
        }
        command.args(ASKED.map(|port| format!("asked/0.0.0.0/{port}")));
        let endpoints = Process::start(&mut command, &accepts);
        eventually("the endpoints to listen", || process::read(&accepts).contains("listening").then_some(()));
        let settings = write_settings(dir, 0).display().to_string();
        let path = cgroup.path().display().to_string();
        let sidecar = Sidecar::run(dir, &["--cgroup", &path, "--config", &settings], &[]);
        sidecar.await_ready();
        let policies = vec![Policy { begun: 0, in_force: now() }];
        World { dir, cgroup, sidecar, endpoints, policies }
    }

    fn run(mut self, extent: Extent) -> Account {
        let mut clients: Vec<Client> = (0..CLIENTS).map(|number| self.client(number)).collect();
        let mut n_told = || clients.iter_mut().map(Client::n_told).sum::<usize>();
        for number in 1..=extent.swaps {
            self.swap(number);
            let enough = n_told() + extent.connections.div_ceil(extent.swaps);
            eventually("connections under one policy", || (n_told() >= enough).then_some(()));
        }
        let mut attempts = String::new();
        for client in &mut clients {
            client.process.signal(Signal::TERM);
            assert!(client.process.wait().success(), "{}", process::read(&client.output));
            attempts.push_str(&process::read(&client.output));
        }
        // What waits for answers that were lost finds nobody.
        process::run(Command::new("nft").args(["delete", "table", "ip", "lost"]));
        base::await_rest(&self.sidecar);
        assert!(self.endpoints.is_running(), "{}", process::read(&self.dir.join("accepts")));
        let accepts = process::read(&self.dir.join("accepts"));
        let attempts: Vec<_> = attempts.lines().map(Attempt::read).collect();
        // Of a client that was killed may be told just now.
        let whole = accepts.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let accepts: Vec<_> = whole.lines().filter(|line| *line != "listening").map(Accept::read).collect();
        let mut account = Account::of(&self.policies, &attempts, &accepts);
        base::judge(&mut self.sidecar, &attempts, &mut account);
        account
    }

    fn client(&self, number: usize) -> Client {
        let output = self.dir.join(format!("client-{number}"));
        let words = [
            self.cgroup.wrapper(),
            ["python3", "-c", include_str!("clients.py")].map(str::to_owned).to_vec(),
            [number, 1 + number].map(|n| n.to_string()).to_vec(),
        ]
        .concat();
        let process = Process::start(Command::new(&words[0]).args(&words[1..]), &output);
        let file = File::open(&output).expect("what it tells");
        Client { process, output, file, n_told: 0 }
    }

    /// Returns when the daemon tells of the policy with this number.
    fn swap(&mut self, number: usize) {
        let begun = now();
        write_settings(self.dir, number);
        self.sidecar.signal(Signal::HUP);
        let (metric, name) = ("sidecar_traffic_service_active", format!("swap-{number}"));
        eventually("the swap", || self.sidecar.scrape().sum(metric, &[("sidecar_service", &name)]));
        self.policies.push(Policy { begun, in_force: now() });
    }
}

/// One client's process.
struct Client {
    process: Process,
    output: PathBuf,
    file: File,
    n_told: usize,
}

impl Client {
    /// Connections that it has told of.
    fn n_told(&mut self) -> usize {
        let mut new = Vec::new();
        self.file.read_to_end(&mut new).expect("what it tells");
        self.n_told += new.iter().filter(|byte| **byte == b'\n').count();
        self.n_told
    }
}

/// Where a set of a service's is: other ports than those of any other.
fn endpoints(service: usize, set: usize) -> [(&'static str, usize); 3] {
    let first = 100 + 20 * service + 10 * set;
    [("127.0.0.1", first), ("127.0.0.2", first + 1), ("::1", first + 2)]
}

/// The policy with this number. A service that has its name tells when it holds.
fn write_settings(dir: &Path, number: usize) -> PathBuf {
    // A machine that is slow enough for the daemon to seem hung is not what is looked at.
    let mut text = "traffic:\n  heartbeat: 30s\n  services:\n".to_owned();
    let mut add = |name: &str, addresses: &str, gear: &str, rest: &str| {
        text.push_str(&format!("    - {{name: {name}, addresses: [{addresses}], gear: {gear}{rest}}}\n"));
    };
    for (service, name) in SWAPPED.iter().enumerate() {
        let gear = match *name {
            "switching" => ["direct", "proxy"][number / 2 % 2],
            "proxied" => "proxy",
            _ => "direct",
        };
        let endpoints = endpoints(service, number % SETS).map(|(host, port)| format!("'[{host}]:{port}'"));
        // Brackets are IPv6's.
        let endpoints =
            endpoints.map(|one| if one.contains('.') { one.replace(['[', ']'], "") } else { one });
        let addresses = format!("10.9.{n}.0/24, 'fd99:{n}::/64'", n = service + 1);
        add(name, &addresses, gear, &format!(", endpoints: [{}]", endpoints.join(", ")));
    }
    add("asked", "127.9.0.0/16", "proxy", "");
    add("refused", "10.9.4.0/24", "direct", ", endpoints: ['127.0.0.1:9']");
    add("unreachable", "10.9.5.0/24", "proxy", ", endpoints: ['127.0.0.1:9']");
    add(&format!("swap-{number}"), "10.9.9.9", "proxy", "");
    let (path, new) = (dir.join("settings.yaml"), dir.join("settings.new"));
    fs::write(&new, text).expect("settings");
    fs::rename(new, &path).expect("settings");
    path
}

/// `CLOCK_MONOTONIC`, ns.
fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
