//! `cargo xtask test`: every test there is. Nothing is skipped: what cannot run here is an error.

use std::process::Stdio;

use anyhow::{Result, bail, ensure};

use crate::{
    build, dist, privileges,
    process::{cargo, output, run},
    setup::{self, Extent},
    workspace::Workspace,
};

/// The package whose tests share the kernel with each other, and so run one after the other.
const PRIVILEGED: &str = "sidecar-tests";

/// `--test NAME` for each file that was named, and parts of tests' names.
type Selection<'a> = (Vec<&'a str>, Vec<&'a str>);

/// Its name, and arguments of cargo: packages, threads, filters.
type Run<'a> = (&'a str, &'a [&'a str], &'a [&'a str], &'a [&'a str]);

pub(crate) fn command(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let (files, filters) = parse(workspace, arguments)?;
    privileges::check()?;
    let compiler = setup::run(workspace, Extent::BuildAndTest)?;
    build::release(workspace, &compiler)?;

    let of_files = [&["--package", PRIVILEGED], files.as_slice()].concat();
    let mut runs: Vec<Run<'_>> = Vec::new();
    if !files.is_empty() {
        runs.push(("files of tests", &of_files, &["--test-threads=1"], &[]));
    }
    if files.is_empty() || !filters.is_empty() {
        runs.push(("unit tests", &["--workspace", "--exclude", PRIVILEGED], &[], &filters));
        runs.push((PRIVILEGED, &["--package", PRIVILEGED], &["--test-threads=1"], &filters));
    }
    if !filters.is_empty() {
        // The same packages together, so that nothing is compiled twice.
        let mut listed = String::new();
        for (_, packages, _, _) in &runs {
            listed.push_str(&list(workspace, packages)?);
        }
        if let Some(filter) = unmatched(&listed, &filters) {
            bail!("no test's name contains `{filter}`, and no file in tests/tests has that name");
        }
    }
    // One test puts it into an image. It takes as long as the usual one, so a run of a few tests takes what there is.
    if arguments.is_empty() || !dist::program(workspace).exists() {
        dist::statically(workspace, &compiler)?;
    }
    let mut failed = Vec::new();
    for (name, packages, threads, filters) in runs {
        let mut command = cargo(workspace);
        command.arg("test").args(packages).args(["--no-fail-fast", "--", "--include-ignored"]);
        command.args(threads).args(filters);
        command.env("TESTED_BINARY", workspace.daemon()).env("TESTED_PARTS", workspace.parts());
        if let Err(error) = run(&mut command) {
            eprintln!("xtask test: {error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn parse<'a>(workspace: &Workspace, arguments: &'a [String]) -> Result<Selection<'a>> {
    let (mut files, mut filters) = (Vec::new(), Vec::new());
    for word in arguments {
        ensure!(word != "guest", "the tests of tests/tests/guest.rs are run by `cargo xtask vm`");
        if workspace.path(&format!("tests/tests/{word}.rs")).is_file() {
            files.extend(["--test", word]);
        } else {
            filters.push(word.as_str());
        }
    }
    Ok((files, filters))
}

/// The tests' names, as the test programs say them.
fn list(workspace: &Workspace, packages: &[&str]) -> Result<String> {
    let mut command = cargo(workspace);
    command.arg("test").args(packages).args(["--", "--list", "--format=terse", "--include-ignored"]);
    // What compiling says is seen while it does.
    output(command.stderr(Stdio::inherit()))
}

/// The first filter that no test of the list has in its name: a run of nothing would pass. Options are the test programs' to judge.
fn unmatched<'a>(listed: &str, filters: &[&'a str]) -> Option<&'a str> {
    let names: Vec<_> = listed.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    let is_unmatched =
        |filter: &&str| !filter.starts_with('-') && !names.iter().any(|name| name.contains(filter));
    filters.iter().copied().find(is_unmatched)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_part_of_a_name_or_a_file() {
        let listed = "running: test is no name\nconfig::load::tests::a_file: test\nb: benchmark\n";
        for (filters, expected) in [
            (["load::tests", "a_file"], None),
            (["a_file", "b_file"], Some("b_file")),
            (["benchmark", "a_file"], Some("benchmark")),
            (["--exact", "config::load::tests::a_file"], None),
        ] {
            assert_eq!(unmatched(listed, &filters), expected);
        }
        let arguments = ["reload", "no_such_file", "tcp"].map(str::to_owned);
        let (files, filters) = parse(&Workspace::of_this_crate(), &arguments).expect("a selection");
        assert_eq!(files, ["--test", "reload", "--test", "tcp"]);
        assert_eq!(filters, ["no_such_file"]);
        assert!(parse(&Workspace::of_this_crate(), &["guest".to_owned()]).is_err());
    }
}
