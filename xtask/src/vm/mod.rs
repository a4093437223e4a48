//! `cargo xtask vm`: the guest's tests (`tests/tests/guest.rs`) on real kernels of distributions, under emulation. For
//! what a kernel does, not for how fast it does it.
//!
//! `cargo xtask vm [--kernel NAME]… [--swaps N] [--reloads N] [TEST]…`: all kernels and all tests without; how many policies and how
//! many changes the two long ones see, and what they counted is told then.

mod cpio;
mod image;
mod kernels;
mod machine;
mod report;

use std::{path::PathBuf, process::Command, sync::Mutex, thread};

use anyhow::{Context as _, Result, bail, ensure};

use self::kernels::{Kernel, Row};
use crate::{
    build,
    process::{cargo, output},
    setup::{self, Extent},
    workspace::Workspace,
};

/// Machines at a time.
const AT_A_TIME: usize = 2;

pub(crate) fn command(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let Wanted { mut rows, filters, sizes } = parse(arguments)?;
    let compiler = setup::run(workspace, Extent::BuildTestAndBoot)?;
    build::release(workspace, &compiler)?;
    let tests = tests(workspace)?;
    let listed = output(Command::new(&tests).args(["--list", "--format=terse", "--include-ignored"]))?;
    let all: Vec<&str> = listed.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    for name in &all {
        ensure!(
            kernels::ALL.iter().any(|row| row.tests.contains(name)),
            "no kernel's row names the test {name}"
        );
    }
    let wanted = |name: &&str| filters.is_empty() || filters.iter().any(|filter| name.contains(*filter));
    let names: Vec<&str> = all.into_iter().filter(wanted).collect();
    rows.retain(|row| row.tests.iter().any(|test| names.contains(test)));
    ensure!(!rows.is_empty(), "no test of these kernels is like {}", filters.join(" or "));

    // One after the other: they share the archive's patience.
    let mut kernels = Vec::new();
    for row in rows {
        kernels.push(kernels::get(workspace, row)?);
    }
    let common = image::common(&workspace.daemon(), &tests, &build::client(workspace)?)?;
    let runs = boot_all(workspace, &kernels, &common, &names, &sizes)?;
    report::show(&names, &runs, !sizes.is_empty())
}

/// Options that set a size, with the variable by which the guest's tests know it.
const SIZES: [(&str, &str); 2] = [("--swaps", "GUEST_SWAPS"), ("--reloads", "GUEST_RELOADS")];

/// What the command line asks for.
struct Wanted<'a> {
    /// Those by `--kernel`, all without.
    rows: Vec<&'static Row>,
    /// Parts of tests' names.
    filters: Vec<&'a str>,
    /// Variables for the tests.
    sizes: Vec<(&'static str, String)>,
}

fn parse(arguments: &[String]) -> Result<Wanted<'_>> {
    let (mut rows, mut filters, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if let Some((option, variable)) = SIZES.iter().find(|(option, _)| word == option) {
            let n: usize =
                words.next().and_then(|n| n.parse().ok()).with_context(|| format!("{option} N"))?;
            sizes.push((*variable, n.to_string()));
            continue;
        }
        if word != "--kernel" {
            ensure!(!word.starts_with('-'), "no option {word}");
            filters.push(word.as_str());
            continue;
        }
        let name = words.next().context("--kernel takes a name")?;
        let row = kernels::ALL.iter().find(|row| row.name == name);
        let known = || kernels::ALL.iter().map(|row| row.name).collect::<Vec<_>>().join(", ");
        rows.push(row.with_context(|| format!("no kernel {name}; there are {}", known()))?);
    }
    if rows.is_empty() {
        rows.extend(kernels::ALL);
    }
    Ok(Wanted { rows, filters, sizes })
}

/// The guest's tests, compiled.
fn tests(workspace: &Workspace) -> Result<PathBuf> {
    let mut command = cargo(workspace);
    command.args(["test", "--quiet", "--workspace", "--test", "guest", "--no-run"]);
    let messages = output(command.arg("--message-format=json"))?;
    let executable = messages.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == "guest").then(|| message["executable"].as_str().map(PathBuf::from))?
    });
    executable.context("cargo names no executable of the guest's tests")
}

/// How often a machine is booted that does not come to its tests.
const BOOTS: usize = 3;

/// A kernel, and what became of its machine.
type Run<'a> = (&'a Kernel, machine::Outcome);

fn boot_all<'a>(
    workspace: &Workspace,
    kernels: &'a [Kernel],
    common: &[u8],
    names: &[&str],
    sizes: &[(&str, String)],
) -> Result<Vec<Run<'a>>> {
    let waiting = Mutex::new(kernels.iter());
    let folder = workspace.path("target/vm/runs");
    let work = || -> Result<Vec<Run<'a>>> {
        let mut done = Vec::new();
        loop {
            let next = waiting.lock().ok().and_then(|mut waiting| waiting.next());
            let Some(kernel) = next else { return Ok(done) };
            let tests: Vec<&str> =
                kernel.row.tests.iter().copied().filter(|test| names.contains(test)).collect();
            let own = image::of_kernel(kernel, &tests, sizes)
                .with_context(|| format!("pack what kernel {} needs", kernel.row.name))?;
            let mut outcome = machine::run(&folder, kernel, [common, &own])?;
            for _ in 1..BOOTS {
                // None of ours had begun to run: that is the emulator's, or the kernel's own.
                let Some(fault) = outcome.fault.as_ref().filter(|_| !outcome.has_begun()) else { break };
                println!("{}: ended before its tests began, and is booted again: {fault}", kernel.row.name);
                outcome = machine::run(&folder, kernel, [common, &own])?;
            }
            done.push((kernel, outcome));
        }
    };
    let mut runs = thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(work)).collect();
        let mut runs = Vec::new();
        for worker in workers {
            match worker.join() {
                Ok(done) => runs.extend(done?),
                Err(_) => bail!("a machine's thread panicked"),
            }
        }
        Ok(runs)
    })?;
    runs.sort_by_key(|(kernel, _)| kernels.iter().position(|one| one.row.name == kernel.row.name));
    Ok(runs)
}
