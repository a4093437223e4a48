//! Runs test programs, some of them beside each other, and tells of each in one piece when it has ended.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    sync::Mutex,
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

use super::{
    account::{Counts, Outcome},
    lanes::{self, LANES},
    programs::{Kind, Program},
};
use crate::workspace::Workspace;

/// A program, and which of its tests.
#[derive(Debug)]
pub(super) struct Job<'a> {
    pub(super) program: Program,
    pub(super) filters: Vec<&'a str>,
    /// Tests that this leaves.
    pub(super) n_tests: usize,
}

/// Words before a program that give it a network namespace of its own. As on any machine there is an address besides loopback's:
/// without one getaddrinfo(3) leaves out whole families (`AI_ADDRCONFIG`).
const OWN_NETWORK: [&str; 6] = [
    "unshare",
    "--net",
    "sh",
    "-ec",
    "ip link set lo up
     ip link add eth0 type veth peer name peer0
     ip address add 192.0.2.2/24 dev eth0
     ip address add 2001:db8::2/64 dev eth0 nodad
     ip link set eth0 up
     ip link set peer0 up
     ip route add default via 192.0.2.1
     ip route add default via 2001:db8::1
     exec \"$@\"",
    "sh",
];

pub(super) struct Runner<'a> {
    workspace: &'a Workspace,
    /// What each program said is in a file of its own here.
    folder: PathBuf,
    outcomes: Mutex<Vec<Outcome>>,
}

impl<'a> Runner<'a> {
    pub(super) fn new(workspace: &'a Workspace) -> Result<Self> {
        let folder = workspace.path("target/test");
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(Self { workspace, folder, outcomes: Mutex::default() })
    }

    /// Runs all of them, however they end; an error names those that failed.
    pub(super) fn run(self, jobs: Vec<Job<'_>>) -> Result<()> {
        let began = Instant::now();
        let expected: usize = jobs.iter().map(|job| job.n_tests).sum();
        let n_programs = jobs.len();
        let (unit, mut files): (Vec<_>, Vec<_>) =
            jobs.into_iter().partition(|job| job.program.kind == Kind::Unit);
        files.sort_by_key(|job| lanes::turn(&job.program.name));
        let (alone, beside): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|job| lanes::is_alone(&job.program.name));

        self.lanes(unit, 1, &[])?;
        self.lanes(beside, LANES, &OWN_NETWORK)?;
        self.lanes(alone, 1, &[])?;

        let outcomes = self.outcomes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let failed: Vec<&Outcome> = outcomes.iter().filter(|outcome| !outcome.is_good()).collect();
        let passed: usize = outcomes.iter().map(|outcome| outcome.counts.passed).sum();
        let took = began.elapsed().as_secs_f64();
        println!("\ntest: {passed} of {expected} tests passed, of {n_programs} programs, in {took:.0} s");
        for outcome in &failed {
            println!(
                "test: {}; what it said: {}",
                outcome.line(),
                self.folder.join(file(&outcome.name)).display()
            );
        }
        if !failed.is_empty() {
            let names: Vec<&str> = failed.iter().map(|outcome| outcome.name.as_str()).collect();
            bail!("failed: {}", names.join(", "));
        }
        Ok(())
    }

    /// So many at a time.
    fn lanes(&self, jobs: Vec<Job<'_>>, n: usize, before: &[&str]) -> Result<()> {
        let waiting = Mutex::new(VecDeque::from(jobs));
        let work = || -> Result<()> {
            loop {
                let next = waiting.lock().ok().and_then(|mut waiting| waiting.pop_front());
                let Some(job) = next else { return Ok(()) };
                self.one(&job, before)?;
            }
        };
        thread::scope(|scope| {
            let lanes: Vec<_> = (0..n).map(|_| scope.spawn(work)).collect();
            for lane in lanes {
                match lane.join() {
                    Ok(ended) => ended?,
                    Err(_) => bail!("a lane's thread panicked"),
                }
            }
            Ok(())
        })
    }

    fn one(&self, job: &Job<'_>, before: &[&str]) -> Result<()> {
        let Job { program, filters, n_tests } = job;
        let threads: &[&str] = if program.kind == Kind::File { &["--test-threads=1"] } else { &[] };
        let mut command = program.command(before, &[&["--include-ignored"], threads, filters].concat());
        command.env("TESTED_BINARY", self.workspace.daemon()).env("TESTED_PARTS", self.workspace.parts());
        let path = self.folder.join(file(&program.name));
        let output = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        let both = output.try_clone()?;
        let began = Instant::now();
        let status = command.stdout(output).stderr(both).status().ok();
        let took = began.elapsed();
        let said = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let said = String::from_utf8_lossy(&said);
        let outcome = Outcome {
            name: program.name.clone(),
            n_tests: *n_tests,
            counts: Counts::read(&said),
            status,
            took,
        };
        // In one piece, whoever else has something to say.
        let mut out = std::io::stdout().lock();
        write!(out, "\n== {}\n{}\n", outcome.line(), said.trim())?;
        out.flush()?;
        drop(out);
        self.outcomes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(outcome);
        Ok(())
    }
}

/// `sidecar-core (lib)` is `sidecar-core-lib.log`.
fn file(name: &str) -> String {
    let plain: String = name.chars().filter(|c| !matches!(c, '(' | ')')).collect();
    plain.replace(' ', "-") + ".log"
}
