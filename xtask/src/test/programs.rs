//! Test programs: what cargo compiles, and which tests they say they have.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{
    process::{cargo, cargos_path, forget_cargo, output},
    workspace::Workspace,
};

/// Whom a program's tests may meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Tests of nothing but their own process.
    Unit,
    /// A file of `tests/tests`: its tests need the kernel's leave, and run one after the other.
    File,
}

/// One program, or the tests in the documentation, which only rustdoc can run.
#[derive(Debug)]
pub(super) struct Program {
    /// A file's without `.rs`; of a package's own tests the package's, and of what kind they are.
    pub(super) name: String,
    pub(super) kind: Kind,
    /// What starts it, before options of libtest.
    words: Vec<OsString>,
    /// Where cargo would run it.
    folder: PathBuf,
}

impl Program {
    /// With these options of libtest.
    pub(super) fn command(&self, before: &[&str], options: &[&str]) -> Command {
        let mut words = before.iter().map(OsString::from).chain(self.words.iter().cloned());
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).args(options).current_dir(&self.folder).stdin(Stdio::null());
        forget_cargo(&mut command);
        command.env("CARGO_MANIFEST_DIR", &self.folder);
        command
    }

    /// Names of its tests that these filters leave.
    pub(super) fn list(&self, filters: &[&str]) -> Result<Vec<String>> {
        let options = [&["--list", "--format=terse", "--include-ignored"], filters].concat();
        let listed = output(&mut self.command(&[], &options))?;
        Ok(names(&listed))
    }
}

fn names(listed: &str) -> Vec<String> {
    listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

/// Compiles and gives the test programs of these files, or all of them where none is named.
pub(super) fn compile(workspace: &Workspace, files: &[&str]) -> Result<Vec<Program>> {
    let mut command = cargo(workspace);
    // Of the whole workspace also where it is one file: dependencies have the same features then, and are compiled once.
    command.args(["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]);
    command.args(files.iter().flat_map(|file| ["--test", *file]));
    // What compiling says is seen while it does.
    let messages = output(command.stderr(Stdio::inherit()))?;
    let mut programs = Vec::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).context("read what cargo compiled")?;
        programs.extend(program(workspace, &message));
    }
    // They come as they are done.
    programs.sort_by(|one, other| one.name.cmp(&other.name));
    if files.is_empty() {
        let options = ["test", "--workspace", "--doc", "--"];
        let words = [vec![cargos_path()], options.map(OsString::from).to_vec()].concat();
        let folder = workspace.root().to_owned();
        programs.push(Program { name: "documentation".to_owned(), kind: Kind::Unit, words, folder });
    }
    Ok(programs)
}

fn program(workspace: &Workspace, message: &Value) -> Option<Program> {
    if message["profile"]["test"] != true {
        return None;
    }
    let executable = message["executable"].as_str()?;
    let (target, source) = (message["target"]["name"].as_str()?, message["target"]["src_path"].as_str()?);
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
    let is_file = Path::new(source).parent() == Some(&workspace.path("tests/tests"));
    let (name, kind) = if is_file {
        (target.to_owned(), Kind::File)
    } else {
        let of = message["target"]["kind"][0].as_str()?;
        (format!("{target} ({of})"), Kind::Unit)
    };
    Some(Program { name, kind, words: vec![executable.into()], folder })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_tests() {
        let listed = "running: test is no name\nconfig::load::tests::a_file: test\nb: benchmark\n\n";
        assert_eq!(names(listed), ["config::load::tests::a_file"]);
    }

    #[test]
    fn a_file_of_tests_is_told_from_a_packages_own() {
        let workspace = Workspace::of_this_crate();
        let path = |relative: &str| workspace.path(relative).display().to_string();
        let message = |source: &str, of: &str, is_test: bool| {
            serde_json::json!({
                "reason": "compiler-artifact", "manifest_path": path("tests/Cargo.toml"),
                "target": {"name": "steering", "kind": [of], "src_path": path(source)},
                "profile": {"test": is_test}, "executable": "/x/steering-1",
            })
        };
        let told = |source: &str, of: &str, is_test| {
            program(&workspace, &message(source, of, is_test)).map(|one| (one.name, one.kind))
        };
        let expected = Some(("steering".to_owned(), Kind::File));
        assert_eq!(told("tests/tests/steering.rs", "test", true), expected);
        let expected = Some(("steering (bin)".to_owned(), Kind::Unit));
        assert_eq!(told("tests/src/bin/steering.rs", "bin", true), expected);
        assert_eq!(told("tests/src/bin/steering.rs", "bin", false), None);
    }
}
