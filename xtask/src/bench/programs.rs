//! The programs' own run time, which the kernel counts while `kernel.bpf_stats_enabled` is 1. Counting costs time
//! itself, so it has a run of its own.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::process::output;

const SYSCTL: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Statistics on, and back to what they were when dropped.
pub(super) struct Counting(String);

impl Counting {
    pub(super) fn start() -> Result<Self> {
        let before = fs::read_to_string(SYSCTL).with_context(|| format!("read {SYSCTL}"))?;
        fs::write(SYSCTL, "1").with_context(|| format!("write {SYSCTL}"))?;
        Ok(Self(before))
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        if let Err(error) = fs::write(SYSCTL, self.0.trim()) {
            eprintln!("bench: {SYSCTL} stays at 1: {error}");
        }
    }
}

/// What one program did.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) name: String,
    pub(super) runs: u64,
    pub(super) ns: u64,
    pub(super) n_verified: u64,
}

/// The programs that a process holds, by their id.
pub(super) fn of_process(pid: i32) -> Result<BTreeMap<u32, Program>> {
    let mut programs = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).context("list the daemon's descriptors")? {
        // A descriptor may be gone again.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|value| value.trim().parse::<u64>().ok())
        };
        // A link has a `prog_id` too, and no run time.
        let (Some(id), Some(ns), Some(runs)) = (field("prog_id"), field("run_time_ns"), field("run_cnt"))
        else {
            continue;
        };
        let n_verified = field("verified_insns").unwrap_or(0);
        programs.insert(id as u32, Program { name: name(id)?, runs, ns, n_verified });
    }
    Ok(programs)
}

/// The programs that are attached to a cgroup, whoever holds them, by their id.
pub(super) fn of_cgroup(path: &Path) -> Result<BTreeMap<u32, Program>> {
    let rows = |text: String| -> Result<serde_json::Value> {
        // It prints nothing at all where there is nothing.
        if text.trim().is_empty() {
            return Ok(serde_json::Value::Null);
        }
        serde_json::from_str(&text).context("read what bpftool says")
    };
    let attached = rows(output(Command::new("bpftool").args(["-j", "cgroup", "show"]).arg(path))?)?;
    let mut programs = BTreeMap::new();
    for id in attached.as_array().into_iter().flatten().filter_map(|row| row["id"].as_u64()) {
        let shown =
            rows(output(Command::new("bpftool").args(["-j", "prog", "show", "id", &id.to_string()]))?)?;
        // Both are left out while they are 0.
        let [runs, ns] = ["run_cnt", "run_time_ns"].map(|key| shown[key].as_u64().unwrap_or_default());
        programs.insert(id as u32, Program { name: name(id)?, runs, ns, n_verified: 0 });
    }
    Ok(programs)
}

/// What each did between two looks, the longest first.
pub(super) fn between(before: &BTreeMap<u32, Program>, after: &BTreeMap<u32, Program>) -> Vec<Program> {
    let mut programs: Vec<Program> = after
        .iter()
        .map(|(id, after)| {
            let (runs, ns) = before.get(id).map_or((0, 0), |before| (before.runs, before.ns));
            Program { runs: after.runs - runs, ns: after.ns - ns, ..after.clone() }
        })
        .collect();
    programs.sort_by_key(|program| std::cmp::Reverse(program.ns));
    programs
}

/// Its function's name in BTF: aya gives programs no names of their own where CAP_BPF is all it has to try that with.
fn name(id: u64) -> Result<String> {
    let said = output(Command::new("bpftool").args(["prog", "dump", "xlated", "id", &id.to_string()]))?;
    let signature = said.lines().next().and_then(|line| line.split_once('('));
    let name = signature.and_then(|(before, _)| before.split_whitespace().last());
    Ok(name.with_context(|| format!("bpftool shows no function of program {id}"))?.to_owned())
}
