//! Programs of `tests/support` that are compiled where a test needs them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{parts, process, root};

/// Whose library a program in C goes by.
#[derive(Clone, Copy, Debug)]
pub enum Library {
    /// The system's, and with `-l` this one.
    System(Option<&'static str>),
    /// musl as Debian installs it, whose resolver does without TCP.
    Musl,
    /// musl since 1.2.4, whose resolver asks over TCP for what was truncated.
    NewerMusl,
}

/// Compiles a source in C into a program in `dir`.
#[must_use]
pub fn c(source: &str, library: Library, dir: &Path) -> String {
    let (source, program) = (support(source), named(dir));
    let mut command = Command::new(if matches!(library, Library::Musl) { "musl-gcc" } else { "gcc" });
    command.args(["-Wall", "-Werror", "-o"]).arg(&program);
    match library {
        Library::System(more) => {
            command.arg(&source).args(more.map(|name| format!("-l{name}")));
        }
        Library::Musl => {
            command.arg("-static").arg(&source);
        }
        Library::NewerMusl => {
            let root = parts().join("forky/usr");
            let file = |name: &str| root.join("lib/x86_64-linux-musl").join(name);
            command.args(["-static", "-no-pie", "-nostdinc", "-nostdlib", "-isystem"]);
            command.arg(root.join("include/x86_64-linux-musl"));
            command.args(["crt1.o", "crti.o"].map(file)).arg(&source).arg(file("libc.a"));
            command.arg("-lgcc").arg(file("crtn.o"));
        }
    }
    process::run(&mut command);
    program.display().to_string()
}

/// Compiles a source in Go, without C, into a program in `dir`.
#[must_use]
pub fn go(source: &str, dir: &Path) -> String {
    let program = named(dir);
    let mut command = Command::new("go");
    command.env("CGO_ENABLED", "0").env("GOCACHE", dir.join("go-cache")).env("GOPROXY", "off");
    process::run(command.args(["build", "-o"]).arg(&program).arg(support(source)));
    program.display().to_string()
}

fn support(source: &str) -> PathBuf {
    root().join("tests/support").join(source)
}

/// A name in this folder that nobody has.
fn named(dir: &Path) -> PathBuf {
    let n = std::fs::read_dir(dir).expect("a folder").count();
    dir.join(format!("program-{n}"))
}
