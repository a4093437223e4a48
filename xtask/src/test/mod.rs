//! `cargo xtask test`: every test there is. Nothing is skipped: what cannot run here is an error.

mod account;
mod lanes;
mod programs;
mod runner;

use anyhow::{Result, bail, ensure};

use self::runner::{Job, Runner};
use crate::{
    build, dist, privileges,
    setup::{self, Extent},
    workspace::Workspace,
};

/// Names of files of tests, and parts of tests' names.
type Selection<'a> = (Vec<&'a str>, Vec<&'a str>);

pub(crate) fn command(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    let (files, filters) = parse(workspace, arguments)?;
    privileges::check()?;
    let compiler = setup::run(workspace, Extent::BuildAndTest)?;
    build::release(workspace, &compiler)?;
    let jobs = select(workspace, &files, &filters)?;
    // One test puts it into an image. It takes as long as the usual one, so a run of a few tests takes what there is.
    if arguments.is_empty() || !dist::program(workspace).exists() {
        dist::statically(workspace, &compiler)?;
    }
    Runner::new(workspace)?.run(jobs)
}

fn parse<'a>(workspace: &Workspace, arguments: &'a [String]) -> Result<Selection<'a>> {
    let (mut files, mut filters) = (Vec::new(), Vec::new());
    for word in arguments {
        ensure!(word != "guest", "the tests of tests/tests/guest.rs are run by `cargo xtask vm`");
        if workspace.path(&format!("tests/tests/{word}.rs")).is_file() {
            files.push(word.as_str());
        } else {
            filters.push(word.as_str());
        }
    }
    Ok((files, filters))
}

/// Compiles, and gives the programs with the tests that were asked for: a file that was named whole, of others those
/// that the filters leave.
fn select<'a>(workspace: &Workspace, files: &[&str], filters: &[&'a str]) -> Result<Vec<Job<'a>>> {
    let is_of_files = !files.is_empty() && filters.is_empty();
    let programs = programs::compile(workspace, if is_of_files { files } else { &[] })?;
    let (mut jobs, mut filtered) = (Vec::new(), Vec::new());
    for program in programs {
        let is_named = files.contains(&program.name.as_str());
        let filters = if is_named { Vec::new() } else { filters.to_vec() };
        let names = program.list(&filters)?;
        if !is_named {
            filtered.extend(program.list(&[])?);
        }
        if !names.is_empty() {
            jobs.push(Job { program, filters, n_tests: names.len() });
        }
    }
    if let Some(filter) = unmatched(&filtered, filters) {
        bail!("no test's name contains `{filter}`, and no file in tests/tests has that name");
    }
    Ok(jobs)
}

/// The first filter that no test has in its name: a run of nothing would pass. Options are the test programs' to judge.
fn unmatched<'a>(names: &[String], filters: &[&'a str]) -> Option<&'a str> {
    let is_unmatched =
        |filter: &&str| !filter.starts_with('-') && !names.iter().any(|name| name.contains(filter));
    filters.iter().copied().find(is_unmatched)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_part_of_a_name_or_a_file() {
        let names = ["config::load::tests::a_file", "b"].map(str::to_owned);
        for (filters, expected) in [
            (["load::tests", "a_file"], None),
            (["a_file", "b_file"], Some("b_file")),
            (["--exact", "config::load::tests::a_file"], None),
        ] {
            assert_eq!(unmatched(&names, &filters), expected);
        }
        let arguments = ["reload", "no_such_file", "tcp"].map(str::to_owned);
        let (files, filters) = parse(&Workspace::of_this_crate(), &arguments).expect("a selection");
        assert_eq!(files, ["reload", "tcp"]);
        assert_eq!(filters, ["no_such_file"]);
        assert!(parse(&Workspace::of_this_crate(), &["guest".to_owned()]).is_err());
    }
}
