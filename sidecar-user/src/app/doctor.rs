//! `sidecar doctor`: what this machine lets the sidecar do, tried out and not guessed.

use std::{collections::HashSet, fs::File, os::fd::AsFd as _, path::Path, process};

use serde_json::{Value, json};
use sidecar_core::config::{Config, Resolved};

use super::{attach, logging::chain, reload};
use crate::{
    cli::{EXIT_DEGRADED, EXIT_FAILURE, Output},
    config::{
        Downward,
        file::Reader,
        load::{self, LoadError},
    },
    discovery::{
        cgroup::{self, Cgroup, child::Child},
        host,
        pod::{self, Pod, PodError, Survey},
        resolvers,
    },
    export::otlp::Receivers,
    kernel::{self, Kernel, PROGRAMS, Refusal},
    traffic,
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
        good(
            "kernel BTF",
            if host::has_btf() { "present" } else { "absent (needed for capture.socket_wait only)" },
        ),
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
    findings.extend(pod());
    let settings = settings();
    findings.push(settings_line(&settings));
    let asks = settings.map_or_else(|_| Config::default(), |(resolved, _)| resolved.config);
    findings.extend(asks.traffic.pin.as_deref().map(pins));
    match Cgroup::own() {
        Err(error) => findings.push(bad("own cgroup", chain(&error))),
        Ok(own) => {
            findings.push(good("own cgroup", format!("{}, id {}", own.path.display(), own.id)));
            // Before anything of ours is there.
            findings.extend(others(&own, asks.traffic.pin.as_deref()));
            // A cgroup with nobody in it, so that the trial touches nobody's traffic.
            match Child::create(&own, process::id()) {
                Ok(made) => {
                    findings.push(good("cgroup for commands", "can be made: `run -- COMMAND` works"));
                    findings.extend(programs(made.cgroup(), &asks));
                }
                Err(error) => {
                    let detail =
                        format!("{}: `run -- COMMAND` works only with --cgroup or --pid", chain(&error));
                    findings.push(lossy("cgroup for commands", detail));
                    findings.extend(programs(&own, &asks));
                }
            }
        }
    }
    findings.push(names());
    findings.push(good(
        "applications that trace themselves",
        "recognised by plaintext OTLP/HTTP; not by gRPC or TLS: for those set spans.instrumented=assume",
    ));
    findings
}

/// Who else has programs on hooks that the sidecar uses, for whoever is in a cgroup. They run one after the other, and what
/// one refuses is refused. What is pinned where these settings say is no other's.
fn others(cgroup: &Cgroup, pin: Option<&Path>) -> Vec<Finding> {
    let name = "programs of others";
    let found = cgroup.folder().map_err(|error| chain(&error));
    let hooks = found.and_then(|folder| kernel::others(folder.as_fd()).map_err(|error| error.to_string()));
    let mut hooks = match hooks {
        Ok(hooks) => hooks,
        Err(error) => return vec![good(name, format!("not known: {error}"))],
    };
    let own = pin.map(|dir| kernel::pinned_programs(&[dir.to_owned()])).unwrap_or_default();
    for hook in &mut hooks {
        hook.effective.retain(|id| !own.contains_key(id));
    }
    hooks.retain(|hook| !hook.effective.is_empty());
    if hooks.is_empty() {
        return vec![good(name, "none on the hooks that the sidecar uses")];
    }
    let (names, pinned) = (kernel::program_names(), kernel::pinned_programs(&host::bpf_mounts()));
    let row = |hook: &kernel::Hook| {
        let program = |id: &u32| {
            let above = if hook.attached.contains(id) { "" } else { " above" };
            let name = names.get(id).map_or("name not known", String::as_str);
            let place =
                pinned.get(id).map(|dir| format!(", pinned at {}", dir.display())).unwrap_or_default();
            format!("{id} ({name}{place}){above}")
        };
        let programs: Vec<_> = hook.effective.iter().map(program).collect();
        good(format!("{name} on {}", hook.name), format!("in this order: {}", programs.join(", ")))
    };
    hooks.iter().map(row).collect()
}

/// Whether names are resolved past port 53, where nobody sees them.
fn names() -> Finding {
    let bypasses = resolvers::bypasses();
    let always = "DNS over TLS or HTTPS is not seen";
    let detail =
        if bypasses.is_empty() { always.to_owned() } else { format!("{}; {always}", bypasses.join("; ")) };
    good("resolvers that bypass port 53", detail)
}

/// The pod around us: whether `run` finds its containers by itself. Nothing to say outside of one.
fn pod() -> Option<Finding> {
    let told = Downward::read(pod::is_around());
    match Pod::find(told.uid.as_deref()) {
        Ok(mut pod) => {
            let Survey { found, containers, unreachable, .. } =
                pod.survey(&HashSet::new(), &|path: &Path| File::open(path));
            let n = found.len().max(containers.len());
            let detail = format!("`run` alone observes {}: {n} reached", pod.route());
            if unreachable.is_empty() {
                return Some(good("pod", detail));
            }
            let not: Vec<_> = unreachable.iter().map(|(name, why)| format!("{name} not, {why}")).collect();
            Some(lossy("pod", format!("{detail}; {}", not.join("; "))))
        }
        Err(error @ PodError::NoRoute { .. }) if told.is_kubernetes || told.uid.is_some() => {
            Some(lossy("pod", chain(&error)))
        }
        Err(_) => None,
    }
}

/// What the environment sets, the file and the certificates and keys for the push that it names among it.
fn settings() -> Result<(Resolved, Receivers), LoadError> {
    let mut reader = Reader::at_start();
    let loaded = load::load(load::file(None).as_deref(), Vec::new(), &mut reader)?;
    reload::open(loaded, &mut reader)
}

fn settings_line(settings: &Result<(Resolved, Receivers), LoadError>) -> Finding {
    let name = "settings";
    match settings {
        Err(error) => bad(name, chain(error)),
        Ok((_, receivers)) if receivers.is_empty() => good(name, "valid; nothing is pushed"),
        Ok(_) => good(name, "valid, and so are the certificates and keys for the push"),
    }
}

/// Loads and attaches every program, for as long as it takes to say so.
fn programs(cgroup: &Cgroup, asks: &Config) -> Vec<Finding> {
    let tried = File::open(&cgroup.path).map_err(|error| error.to_string()).and_then(|folder| {
        let all = kernel::Options {
            socket_wait: true,
            steering: Some(traffic::ROOM),
            datagrams: true,
            inbound: true,
            ..attach::options(asks)
        };
        let kernel = Kernel::load(all, None).map_err(|error| chain(&error))?;
        kernel.try_out(folder.as_fd()).map_err(|error| chain(&error))
    });
    let refused = match tried {
        Ok(refused) => refused,
        Err(error) => {
            let row = |program: &kernel::Program| {
                let finding = lossy(label(program), format!("not tried; lost: {}", program.loses));
                Finding { state: if program.needed { State::Bad } else { State::Lossy }, ..finding }
            };
            return [bad("programs", error)].into_iter().chain(PROGRAMS.iter().map(row)).collect();
        }
    };
    let row = |program: &kernel::Program| {
        let name = label(program);
        match refused.iter().find(|refusal| refusal.program == program.name) {
            None => good(name, "loads, attaches"),
            Some(refusal) => refusal_line(name, refusal),
        }
    };
    let reads = refused.iter().find(|refusal| refusal.program == kernel::READS.name);
    let is_of_steering = |name| {
        let own = [&kernel::TAKE_OVER, &kernel::COME_IN];
        kernel::STEERING.iter().chain(kernel::DATAGRAMS).chain(own).any(|row| row.name == name)
    };
    let steering = refused.iter().find(|refusal| is_of_steering(refusal.program));
    let optional = [node(reads, asks.capture.socket_wait), steer(steering, asks.traffic.is_on())];
    PROGRAMS.iter().map(row).chain(optional).collect()
}

/// Where what steers is to outlive the daemon. Nothing is adopted for it.
fn pins(dir: &Path) -> Finding {
    let name = "pins";
    match kernel::pinned(dir) {
        Ok(told) => good(name, format!("{}: {told}", dir.display())),
        Err(error) => lossy(name, format!("{}; lost: steering", chain(&error))),
    }
}

/// All of them or none: where one is missing, nothing is steered.
fn steer(refused: Option<&Refusal>, is_asked: bool) -> Finding {
    let name = "steering";
    match refused {
        None => good(name, "loads, attaches: traffic.services may be set"),
        Some(refusal) if is_asked => refusal_line(name.to_owned(), refusal),
        Some(Refusal { step, program, reason, errno, .. }) => {
            let detail = format!(
                "not asked for; traffic.services would not work: {step} of {program} refused: {reason}"
            );
            Finding { errno: *errno, ..good(name, detail) }
        }
    }
}

/// What runs for the whole node, and only if `capture.socket_wait` asks for it: where nobody does nothing is lost.
fn node(refused: Option<&Refusal>, is_asked: bool) -> Finding {
    let name = label(&kernel::READS);
    match refused {
        None => good(name, "loads, attaches: capture.socket_wait may be set; it runs for the whole node"),
        Some(refusal) if is_asked => refusal_line(name, refusal),
        Some(Refusal { step, reason, errno, .. }) => {
            let detail =
                format!("not asked for; capture.socket_wait would not work: {step} refused: {reason}");
            Finding { errno: *errno, ..good(name, detail) }
        }
    }
}

fn label(program: &kernel::Program) -> String {
    format!("{} on {}", program.name, program.hook)
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
