//! `cargo xtask fuzz`: the checks of `tests/wire` with a fuzzer's bytes. libFuzzer, by coverage, on the
//! stable compiler; without address sanitizer, for the core has no unsafe code.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    sync::Mutex,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    bench::cpu,
    process::{cargo, output, run},
    setup::fuzzing,
    workspace::Workspace,
};

/// What LLVM puts into the code so that the fuzzer sees where it got.
const FLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
];
/// Longer inputs find little more, and take longer.
const LONGEST: usize = 16 * 1024;
/// What one input may take before it counts as a hang, and what all may hold.
const BOUNDS: [&str; 2] = ["-timeout=20", "-rss_limit_mb=1024"];
const LOOKED_AT: Duration = Duration::from_millis(200);
const LONG: u64 = 20 * 60;

struct Options {
    targets: Vec<String>,
    /// CPU time of each.
    seconds: u64,
    jobs: usize,
}

/// What one target's run came to.
struct Run {
    target: String,
    status: ExitStatus,
    seconds: f64,
    log: String,
}

pub(crate) fn command(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let options = Options::parse(arguments)?;
    let fuzzer = build(workspace)?;
    let known = output(Command::new(&fuzzer).env("FUZZ_NAMES", "1"))?;
    let known: Vec<(&str, &str)> = known.lines().filter_map(|line| line.split_once(' ')).collect();
    let means = |word: &str, (group, name): (&str, &str)| word == group || word == name;
    if let Some(other) = options.targets.iter().find(|word| !known.iter().any(|target| means(word, *target)))
    {
        let names: Vec<_> = known.iter().map(|(_, name)| *name).collect();
        bail!(
            "no target `{other}`: there are {}, and `parsers` and `core` for those of one kind",
            names.join(", ")
        );
    }
    let is_chosen = |target: &(&str, &str)| {
        options.targets.is_empty() || options.targets.iter().any(|word| means(word, *target))
    };
    let left = Mutex::new(known.iter().copied().filter(is_chosen).map(|(_, name)| name));
    let folder = workspace.path("target/fuzz");
    println!(
        "{:<14} {:>11} {:>8} {:>8} {:>8} {:>7}",
        "target", "executions", "a second", "covered", "inputs", "CPU, s"
    );
    let next = || left.lock().ok().and_then(|mut left| left.next());
    let work = || {
        let mut found = Vec::new();
        while let Some(target) = next() {
            let run = fuzz(&fuzzer, &folder, target, options.seconds)?;
            println!("{}", run.line());
            if !run.status.success() {
                found.push(format!("{target}: {}", run.told()));
            }
        }
        Ok(found)
    };
    let found = thread::scope(|scope| {
        let workers: Vec<_> = (0..options.jobs).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("a fuzzer's thread"))
            .collect::<Result<Vec<_>>>()
    })?;
    let found = found.concat();
    ensure!(
        found.is_empty(),
        "{}\n\nTo see it again: FUZZ_TARGET=TARGET {} FILE",
        found.join("\n\n"),
        fuzzer.display()
    );
    Ok(())
}

fn build(workspace: &Workspace) -> Result<PathBuf> {
    fuzzing::install(workspace)?;
    let triple = host()?;
    let folder = workspace.path("target/fuzz");
    let mut build = cargo(workspace);
    build.current_dir(workspace.path("tests/fuzz"));
    // Named, so that build scripts are left as they are.
    build.args(["build", "--release", "--target", &triple, "--target-dir"]).arg(&folder);
    run(build.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}")))?;
    Ok(folder.join(triple).join("release/fuzz"))
}

/// Lets the fuzzer run until it has used its time, or found something.
fn fuzz(fuzzer: &Path, folder: &Path, target: &str, seconds: u64) -> Result<Run> {
    let folder = folder.join("targets").join(target);
    let (corpus, found) = (folder.join("corpus"), folder.join("found"));
    for folder in [&corpus, &found] {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    output(Command::new(fuzzer).env("FUZZ_TARGET", target).env("FUZZ_SEEDS", &folder))?;
    let path = folder.join("log");
    let log = File::create(&path).with_context(|| format!("make {}", path.display()))?;
    let mut fuzz = Command::new(fuzzer);
    fuzz.env("FUZZ_TARGET", target).args(BOUNDS).args(["-print_final_stats=1", "-verbosity=1"]);
    fuzz.arg(format!("-max_len={LONGEST}")).arg(format!("-dict={}/words", folder.display()));
    fuzz.arg(format!("-artifact_prefix={}/", found.display())).args([corpus, folder.join("seeds")]);
    fuzz.stdout(log.try_clone().context("the log")?).stderr(log);
    let mut child = fuzz.spawn().with_context(|| format!("start {}", fuzzer.display()))?;
    let (status, seconds) = wait(&mut child, seconds)?;
    let log = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let log = String::from_utf8_lossy(&log).into_owned();
    Ok(Run { target: target.to_owned(), status, seconds, log })
}

/// How it ended, and the CPU time that it took.
fn wait(child: &mut Child, seconds: u64) -> Result<(ExitStatus, f64)> {
    let (pid, mut used, mut is_told) = (child.id() as i32, 0, false);
    loop {
        if let Some(status) = child.try_wait().context("wait for a fuzzer")? {
            return Ok((status, used as f64 / 1e9));
        }
        // One that has just ended has none.
        used = cpu::of_process(pid).unwrap_or(used).max(used);
        if used >= seconds * 1_000_000_000 && !is_told {
            // It ends after the input at hand, and says what it did.
            kill_process(Pid::from_child(child), Signal::USR1).context("end a fuzzer")?;
            is_told = true;
        }
        thread::sleep(LOOKED_AT);
    }
}

impl Run {
    fn line(&self) -> String {
        let executed = self.statistic("number_of_executed_units");
        let rate = executed.map(|n| (n as f64 / self.seconds.max(0.001)) as u64);
        let text = |n: Option<u64>| n.map_or("-".to_owned(), |n| n.to_string());
        format!(
            "{:<14} {:>11} {:>8} {:>8} {:>8} {:>7.1}",
            self.target,
            text(executed),
            text(rate),
            text(self.last("cov: ")),
            text(self.last("corp: ")),
            self.seconds
        )
    }

    /// From the end of its log, what it found and where that is.
    fn told(&self) -> String {
        let find = |mark: &str| self.log.lines().position(|line| line.contains(mark));
        let begin = find("panicked at").or_else(|| find("ERROR: libFuzzer")).unwrap_or(0);
        let cause = self.log.lines().skip(begin).take(3).collect::<Vec<_>>().join("\n");
        let cause: String = cause.chars().take(2000).collect();
        let file =
            self.log.lines().find_map(|line| line.split_once("Test unit written to ").map(|(_, file)| file));
        format!("{}\n{cause}\n{}", self.status, file.unwrap_or("no file was written"))
    }

    fn statistic(&self, name: &str) -> Option<u64> {
        let line = self.log.lines().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name));
        line?.trim_start_matches(':').trim().parse().ok()
    }

    /// The number behind the last such mark.
    fn last(&self, mark: &str) -> Option<u64> {
        let (_, after) = self.log.rsplit_once(mark)?;
        after.split(|character: char| !character.is_ascii_digit()).next()?.parse().ok()
    }
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Options> {
        let jobs = thread::available_parallelism().map_or(1, usize::from);
        let mut options = Options { targets: Vec::new(), seconds: 20, jobs };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut number = || -> Result<u64> {
                let number = arguments.next().with_context(|| format!("{argument} of how many?"))?;
                let number = number.parse().with_context(|| format!("{argument} {number}"))?;
                ensure!(number > 0, "{argument} 0");
                Ok(number)
            };
            match argument.as_str() {
                "--seconds" => options.seconds = number()?,
                "--jobs" => options.jobs = number()? as usize,
                "--long" => options.seconds = LONG,
                other if other.starts_with('-') => bail!("no option `{other}`"),
                target => options.targets.push(target.to_owned()),
            }
        }
        Ok(options)
    }
}

/// The machine's own target, as rustc names it.
fn host() -> Result<String> {
    let said = output(Command::new("rustc").arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not name its host")?.to_owned())
}
