//! `sidecar doctor`: what this machine lets the sidecar do, tried out and not guessed.

use std::{fs::File, os::fd::AsFd as _, process};

use serde_json::{Value, json};
use sidecar_core::config::Config;

use super::{attach, logging::chain};
use crate::{
    cli::{EXIT_DEGRADED, EXIT_FAILURE, Output},
    discovery::{
        cgroup::{self, Cgroup, child::Child},
        host,
    },
    kernel::{self, Kernel, PROGRAMS, Refusal},
};

/// One line of the report.
struct Finding {
    name: String,
    state: State,
    detail: String,
    errno: i32,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Good,
    /// Something is lost, the rest works.
    Lossy,
    /// Observation cannot work.
    Bad,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Good => "ok",
            State::Lossy => "lost",
            State::Bad => "FAIL",
        }
    }
}

/// Prints it; the exit status tells: 0 all works, 3 something is lost, 1 observation cannot work.
pub(super) fn report(output: Output) -> u8 {
    let findings = examine();
    match output {
        Output::Text => {
            for Finding { name, state, detail, .. } in &findings {
                println!("{:4}  {name:32}  {detail}", state.word());
            }
        }
        Output::Json => println!("{:#}", Value::from_iter(findings.iter().map(value))),
    }
    match findings.iter().map(|finding| finding.state).max() {
        Some(State::Bad) => EXIT_FAILURE,
        Some(State::Lossy) => EXIT_DEGRADED,
        Some(State::Good) | None => 0,
    }
}

fn value(finding: &Finding) -> Value {
    json!({
        "name": finding.name,
        "state": finding.state.word().to_lowercase(),
        "detail": finding.detail,
        "errno": (finding.errno != 0).then_some(finding.errno),
    })
}

fn examine() -> Vec<Finding> {
    let mut findings = vec![
        good("kernel", host::kernel_release()),
        good("kernel BTF", if host::has_btf() { "present" } else { "absent (not needed)" }),
    ];
    findings.push(match cgroup::mount_points() {
        Ok(points) => {
            let points: Vec<_> = points.iter().map(|point| point.display().to_string()).collect();
            good("cgroup v2", points.join(", "))
        }
        Err(error) => bad("cgroup v2", chain(&error)),
    });
    findings.push(match kernel::missing() {
        Ok(missing) if missing.is_empty() => good("capabilities", "CAP_BPF and CAP_NET_ADMIN are in effect"),
        Ok(missing) => {
            let names: Vec<_> = missing.iter().map(|one| one.name()).collect();
            bad("capabilities", format!("missing {}", names.join(" and ")))
        }
        Err(error) => bad("capabilities", error),
    });
    match Cgroup::own() {
        Err(error) => findings.push(bad("own cgroup", chain(&error))),
        Ok(own) => {
            findings.push(good("own cgroup", format!("{}, id {}", own.path.display(), own.id)));
            // A cgroup with nobody in it, so that the trial touches nobody's traffic.
            match Child::create(&own, process::id()) {
                Ok(made) => {
                    findings.push(good("cgroup for commands", "can be made: `run -- COMMAND` works"));
                    findings.extend(programs(made.cgroup()));
                }
                Err(error) => {
                    let detail =
                        format!("{}: `run -- COMMAND` works only with --cgroup or --pid", chain(&error));
                    findings.push(lossy("cgroup for commands", detail));
                    findings.extend(programs(&own));
                }
            }
        }
    }
    findings
}

/// Loads and attaches every program, for as long as it takes to say so.
fn programs(cgroup: &Cgroup) -> Vec<Finding> {
    let tried = File::open(&cgroup.path).map_err(|error| error.to_string()).and_then(|folder| {
        let kernel = Kernel::load(attach::options(&Config::default())).map_err(|error| chain(&error))?;
        kernel.try_out(folder.as_fd()).map_err(|error| chain(&error))
    });
    let refused = match tried {
        Ok(refused) => refused,
        Err(error) => return vec![bad("programs", error)],
    };
    let row = |program: &kernel::Program| {
        let name = format!("{} on {}", program.name, program.hook);
        match refused.iter().find(|refusal| refusal.program == program.name) {
            None => good(name, "loads, attaches"),
            Some(refusal) => refusal_line(name, refusal),
        }
    };
    PROGRAMS.iter().map(row).collect()
}

fn refusal_line(name: String, refusal: &Refusal) -> Finding {
    let state = if refusal.needed { State::Bad } else { State::Lossy };
    let detail = format!("{} refused: {}; lost: {}", refusal.step, refusal.reason, refusal.loses);
    Finding { name, state, detail, errno: refusal.errno }
}

fn good(name: impl Into<String>, detail: impl ToString) -> Finding {
    Finding { name: name.into(), state: State::Good, detail: detail.to_string(), errno: 0 }
}

fn lossy(name: impl Into<String>, detail: impl ToString) -> Finding {
    Finding { state: State::Lossy, ..good(name, detail) }
}

fn bad(name: impl Into<String>, detail: impl ToString) -> Finding {
    Finding { state: State::Bad, ..good(name, detail) }
}
