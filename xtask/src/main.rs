//! The project's own commands, `cargo xtask NAME`. Not for anything that the daemon does by itself.

mod bench;
mod bpf_hash;
mod bpf_object;
mod build;
mod demo;
mod dist;
mod docs;
mod fuzz;
mod privileges;
mod process;
mod setup;
mod test;
mod tidy;
mod vm;
mod workspace;

use std::process::ExitCode;

use workspace::Workspace;

struct Command {
    name: &'static str,
    arguments: &'static str,
    help: &'static str,
    run: fn(&Workspace, &[String]) -> anyhow::Result<()>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "demo",
        arguments: "[--once]",
        help: "set up, build, and show what is seen of a real server",
        run: demo::command,
    },
    Command {
        name: "setup",
        arguments: "[--build-only]",
        help: "install what building and testing need and this machine lacks",
        run: setup::command,
    },
    Command {
        name: "build",
        arguments: "",
        help: "build target/release/sidecar, with the BPF object inside",
        run: build::command,
    },
    Command {
        name: "dist",
        arguments: "",
        help: "build target/dist/out/sidecar, linked statically, for a container image",
        run: dist::command,
    },
    Command {
        name: "test",
        arguments: "[FILTER]…",
        help: "set up, build, and run every test, privileged ones included",
        run: test::command,
    },
    Command {
        name: "vm",
        arguments: "[--kernel NAME]… [FILTER]",
        help: "set up, build, and run the guest's tests on real kernels, old and new, under emulation",
        run: vm::command,
    },
    Command {
        name: "bench",
        arguments: "observe|protocols|pipeline|steer|swaps|endure|outliers|open …",
        help: "measure what observing and steering cost, by pairs of runs; prove where connections go while policies change",
        run: bench::command,
    },
    Command {
        name: "fuzz",
        arguments: "[TARGET]… [--seconds N] [--long] [--jobs N]",
        help: "try parsers, captures and the whole core with a fuzzer's bytes",
        run: fuzz::command,
    },
    Command {
        name: "tidy",
        arguments: "",
        help: "check the rules that the compiler does not know",
        run: tidy::command,
    },
    Command {
        name: "docs",
        arguments: "[--check]",
        help: "write the generated pages of docs/, or fail where one is out of date",
        run: docs::command,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        eprint!("{}", usage());
        return ExitCode::from(2);
    };
    if matches!(name.as_str(), "help" | "-h" | "--help") {
        print!("{}", usage());
        return ExitCode::SUCCESS;
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        eprint!("xtask: no command `{name}`\n{}", usage());
        return ExitCode::from(2);
    };
    match (command.run)(&Workspace::of_this_crate(), rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> String {
    let mut text = String::from("usage: cargo xtask COMMAND\n\n");
    for command in COMMANDS {
        let call = format!("{} {}", command.name, command.arguments);
        text.push_str(&format!("  {call:<22} {}\n", command.help));
    }
    text
}

fn no_arguments(arguments: &[String]) -> anyhow::Result<()> {
    anyhow::ensure!(arguments.is_empty(), "expected no arguments, got {arguments:?}");
    Ok(())
}

/// For commands that know one flag and nothing else: whether it was given.
fn only_flag(arguments: &[String], flag: &str) -> anyhow::Result<bool> {
    match arguments {
        [] => Ok(false),
        [one] if one == flag => Ok(true),
        _ => anyhow::bail!("expected nothing or {flag}, got {arguments:?}"),
    }
}
