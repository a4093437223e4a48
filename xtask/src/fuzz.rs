//! `cargo xtask fuzz`: the checks of `tests/wire` with a fuzzer's bytes. libFuzzer, by coverage, on the
//! stable compiler; without address sanitizer, for the core has no unsafe code.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{
    process::{cargo, output, run},
    setup::fuzzing,
    workspace::Workspace,
};

/// Which checks there are, by the number that an input begins with.
const TARGETS: [&str; 4] = ["split", "whole", "lossy", "records"];
/// What LLVM puts into the code so that the fuzzer sees where it got.
const FLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
];

struct Options {
    target: Option<String>,
    seconds: u32,
}

pub(crate) fn command(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let options = Options::parse(arguments)?;
    fuzzing::install(workspace)?;
    let triple = host()?;
    let folder = workspace.path("target/fuzz");
    let mut build = cargo(workspace);
    build.current_dir(workspace.path("tests/fuzz"));
    // Named, so that build scripts are left as they are.
    build.args(["build", "--release", "--locked", "--target", &triple, "--target-dir"]).arg(&folder);
    run(build.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}")))?;

    let fuzzer = folder.join(&triple).join("release/fuzz");
    let (seeds, corpus, found) = (folder.join("seeds"), folder.join("corpus"), folder.join("found"));
    for folder in [&seeds, &corpus, &found] {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    run(Command::new(&fuzzer).env("FUZZ_SEEDS", &seeds))?;
    let mut fuzz = Command::new(&fuzzer);
    fuzz.arg(format!("-max_total_time={}", options.seconds));
    fuzz.args(["-max_len=4096", "-timeout=20", "-print_final_stats=1", "-verbosity=1"]);
    fuzz.arg(format!("-artifact_prefix={}/", found.display())).args([&corpus, &seeds]);
    if let Some(target) = &options.target {
        fuzz.env("FUZZ_TARGET", target);
    }
    run(&mut fuzz).with_context(|| format!("what it found is in {}", found.display()))
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Options> {
        let mut options = Options { target: None, seconds: 60 };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            if argument == "--seconds" {
                let seconds = arguments.next().context("--seconds of how many?")?;
                options.seconds = seconds.parse().with_context(|| format!("--seconds {seconds}"))?;
            } else if TARGETS.contains(&argument.as_str()) {
                options.target = Some(argument.clone());
            } else {
                bail!("no target `{argument}`: there are {}", TARGETS.join(", "));
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
