//! The daemon.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    cgroup::Cgroup,
    eventually, eventually_within, free_port,
    netns::Netns,
    process::{self, Process},
    scrape::{self, Scrape},
};

/// Words that leave what follows them, run by root, no capability but CAP_BPF and CAP_NET_ADMIN.
pub const TWO_CAPABILITIES: [&str; 4] =
    ["setpriv", "--bounding-set=-all,+bpf,+net_admin", "--inh-caps=-all", "--"];
/// The same with CAP_PERFMON.
pub const THREE_CAPABILITIES: [&str; 4] =
    ["setpriv", "--bounding-set=-all,+bpf,+net_admin,+perfmon", "--inh-caps=-all", "--"];

/// A running daemon. Dropped, it is told to stop, and its command with it. A test that kills it sees to the command.
#[derive(Debug)]
pub struct Sidecar {
    process: Process,
    log: PathBuf,
    /// Port of `/metrics`.
    pub port: u16,
    /// Port of the admin listener.
    pub admin_port: u16,
}

/// The verifier of an old kernel, under emulation, takes its time.
const ATTACHING: Duration = Duration::from_secs(180);

impl Sidecar {
    /// `sidecar run ARGS… [-- COMMAND…]`, on ports of its own, logging JSON to `DIR/sidecar.log`. Returns once it has
    /// attached.
    #[must_use]
    pub fn run(dir: &Path, args: &[&str], command: &[&str]) -> Sidecar {
        let mut sidecar = Sidecar::spawn(dir, &[], args, command);
        sidecar.await_attached();
        sidecar
    }

    /// With these settings in the network namespace of an application, of which it observes the cgroup. Returns once it is ready.
    #[must_use]
    pub fn beside(pod: &Netns, cgroup: &Cgroup, dir: &Path, settings: &Path) -> Sidecar {
        let (cgroup, settings) = (cgroup.path().display().to_string(), settings.display().to_string());
        let wrapper = pod.network();
        let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
        let mut sidecar = Sidecar::spawn(dir, &wrapper, &["--cgroup", &cgroup, "--config", &settings], &[]);
        sidecar.await_attached();
        pod.within(|| sidecar.await_ready());
        sidecar
    }

    /// Behind a wrapper (`setpriv …`, `sh -c …`), without waiting for anything.
    #[must_use]
    pub fn spawn(dir: &Path, wrapper: &[&str], args: &[&str], command: &[&str]) -> Sidecar {
        let (port, admin_port) = (free_port(), free_port());
        let binary = crate::binary();
        let mut words: Vec<String> = wrapper.iter().map(|word| (*word).to_owned()).collect();
        words.extend([binary.display().to_string(), "run".into()]);
        words.extend(["--listen".into(), format!("127.0.0.1:{port}")]);
        words.extend(["--admin".into(), format!("127.0.0.1:{admin_port}")]);
        words.extend(["--set".into(), "log.format=json".into()]);
        words.extend(args.iter().map(|arg| (*arg).to_owned()));
        if !command.is_empty() {
            words.push("--".into());
            words.extend(command.iter().map(|word| (*word).to_owned()));
        }
        let log = dir.join("sidecar.log");
        let process = Process::start(Command::new(&words[0]).args(&words[1..]), &log);
        Sidecar { process, log, port, admin_port }
    }

    /// Waits for the line that says so.
    pub fn await_attached(&mut self) {
        let log = self.log.clone();
        let says = || process::read(&log);
        let is_attached = || says().contains("\"message\":\"attached\"");
        eventually_within(
            ATTACHING,
            || format!("the daemon to attach:\n{}", says()),
            || {
                assert!(self.process.is_running() || is_attached(), "the daemon ended:\n{}", says());
                is_attached().then_some(())
            },
        );
    }

    /// Waits until `/readyz` answers with 200; when that was.
    pub fn await_ready(&self) -> Instant {
        eventually("the daemon to be ready", || scrape::try_get(self.port, "/readyz").map(|_| Instant::now()))
    }

    /// Scrapes it.
    #[must_use]
    pub fn scrape(&self) -> Scrape {
        Scrape::of(self.port)
    }

    /// Scrapes until nothing moves between two looks, and gives the last.
    #[must_use]
    pub fn scrape_at_rest(&self) -> Scrape {
        let state = |scrape: &Scrape| {
            (
                scrape.requests("server"),
                scrape.requests("client"),
                scrape.bytes("seen"),
                scrape.bytes("explained"),
            )
        };
        let mut last = self.scrape();
        eventually("the counts to rest", || {
            std::thread::sleep(std::time::Duration::from_millis(100));
            let now = self.scrape();
            let rests = state(&now) == state(&last);
            last = now;
            rests.then(|| last.clone())
        })
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait()
    }

    /// Tells it to stop, and waits.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The most memory that it has taken so far (`VmHWM`), kB.
    #[must_use]
    pub fn peak_kb(&self) -> u64 {
        let status = process::read(Path::new(&format!("/proc/{}/status", self.process.pid())));
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
        most.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// It lives, did not panic, and never took more than `most_kb` of memory. Prints how much it took.
    pub fn assert_sound(&mut self, after: &str, most_kb: u64) {
        assert!(self.process.is_running(), "{after}: {}", self.log());
        assert!(!self.log().contains("panicked"), "{after}: {}", self.log());
        let peak = self.peak_kb();
        println!("{after}: {peak} kB at most");
        assert!(peak < most_kb, "{after}: {peak} kB");
    }

    /// What it logged so far, and what a command of its own wrote.
    #[must_use]
    pub fn log(&self) -> String {
        process::read(&self.log)
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        for _ in 0..500 {
            if !self.process.is_running() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        // The process's own guard kills it.
    }
}
