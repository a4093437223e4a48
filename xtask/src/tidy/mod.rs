//! `cargo xtask tidy`: the rules of this house that neither the compiler nor clippy knows. Paths are read from the
//! syntax tree, wherever they stand: in `use`, in code, in attributes, in the arguments of macros.

mod facts;
mod fences;
mod names;
mod paths;
mod source;
mod text;
mod tokens;

use std::{fmt, fs, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{no_arguments, process::output, workspace::Workspace};
use source::Source;

/// One place where a rule does not hold.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    file: String,
    line: usize,
    rule: String,
    why: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file, self.line, self.rule, self.why)
    }
}

pub(crate) fn command(workspace: &Workspace, arguments: &[String]) -> Result<()> {
    no_arguments(arguments)?;
    let mut violations = Vec::new();
    for file in files(workspace)? {
        let Ok(text) = fs::read_to_string(workspace.path(&file)) else { continue };
        check(&file, &text, &mut violations)?;
    }
    violations.sort();
    violations.dedup();
    for violation in &violations {
        println!("{violation}");
    }
    if !violations.is_empty() {
        bail!("{} places to put right", violations.len());
    }
    Ok(())
}

/// All rules on one file.
fn check(file: &str, text: &str, violations: &mut Vec<Violation>) -> Result<()> {
    text::check(file, text, violations);
    if file.ends_with(".rs") {
        let source = Source::parse(file, text).with_context(|| format!("parse {file}"))?;
        fences::check(&source, violations);
        names::check(&source, violations);
    }
    Ok(())
}

/// What git tracks or would track.
fn files(workspace: &Workspace) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(workspace.root()).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    Ok(output(&mut git)?.lines().map(str::to_string).collect())
}
