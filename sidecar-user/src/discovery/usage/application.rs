//! What the observed application costs: from the files of its cgroup, and from its processes where it has none.
//! Read when somebody asks. Sources: cgroup-v2.rst, cgroup-v1/{memory,pids}.rst, proc_pid_stat(5).

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _},
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use sidecar_core::signal::application::{Application, Cpu, Program, Source};

use super::{
    field,
    ledger::{Ledger, Look, Ticks},
};
use crate::discovery::cgroup;

/// Processes that are read at once: about 30 us each.
const PROCESSES: usize = 1024;
/// Cgroups below the observed one that are looked into.
const FOLDERS: usize = 256;
/// Bytes of a file of /proc or of a cgroup.
const FILE_MAX: u64 = 256 << 10;

/// One cgroup's account. Its folder stays open, so that it can be read also where its path cannot be walked any more.
#[derive(Debug)]
pub(crate) struct Account {
    folder: File,
    ledger: Ledger,
    /// As it was read last: it stays true when the cgroup is gone.
    last_cpu: Cpu,
}

impl Account {
    /// Of an open folder of the unified hierarchy.
    pub(crate) fn of(folder: File) -> Self {
        Account { folder, ledger: Ledger::default(), last_cpu: Cpu::default() }
    }

    /// Processor time as it was read last.
    pub(crate) fn last_cpu(&self) -> Cpu {
        self.last_cpu
    }

    /// Everything that can be read now.
    pub(crate) fn read(&mut self) -> Application {
        let folder = PathBuf::from(format!("/proc/self/fd/{}", self.folder.as_raw_fd()));
        let members = Members::of(&folder);
        let mut app = Application { n_skipped: members.n_skipped, ..Application::default() };
        let looks = self.look(&members);
        app.n_read = looks.len() as u64;
        // A sum over some of them would be a guess.
        let all = (app.n_skipped == 0).then_some(&looks);
        let sum = |of: fn(&Look) -> u64| all.map(|looks| (Source::Processes, looks.iter().map(of).sum()));
        let files = |looks: &Vec<Look>| looks.iter().map(|look| look.files).sum::<Option<u64>>();
        let legacy = |controller, file| number(&members.legacy(controller)?.join(file));
        let figure = |file, controller, old_file, of| {
            let own = number(&folder.join(file)).map(|value| (Source::CgroupV2, value));
            let old = || legacy(controller, old_file).map(|value| (Source::CgroupV1, value));
            own.or_else(old).or_else(|| sum(of))
        };
        let cpu = text(&folder.join("cpu.stat")).and_then(|text| cpu_stat(&text));
        app.cpu = cpu.map(|cpu| (Source::CgroupV2, cpu));
        if app.cpu.is_none() && all.is_some() {
            app.cpu = Some((Source::Processes, seconds(self.ledger.total())));
        }
        self.last_cpu = app.cpu.map_or(self.last_cpu, |(_, cpu)| cpu);
        app.memory = figure("memory.current", "memory", "memory.usage_in_bytes", |look| look.memory);
        app.threads = figure("pids.current", "pids", "pids.current", |look| look.threads);
        app.files = all.and_then(files).map(|n| (Source::Processes, n));
        if let Some(looks) = all {
            app.programs = self.programs(looks);
        }
        app
    }

    /// Looks at the processes. One that went in between is none of them.
    fn look(&mut self, members: &Members) -> Vec<Look> {
        let looks: Vec<Look> = members.processes.iter().filter_map(|pid| look(*pid)).collect();
        self.ledger.take(&looks);
        looks
    }

    fn programs(&self, looks: &[Look]) -> Vec<Program> {
        let sums = self.ledger.names().map(|(name, ticks)| {
            let of_name: Vec<_> = looks.iter().filter(|look| self.ledger.is_of(look, name)).collect();
            Program {
                name: name.map(str::to_owned),
                cpu: seconds(ticks),
                memory: of_name.iter().map(|look| look.memory).sum(),
                threads: of_name.iter().map(|look| look.threads).sum(),
                files: of_name.iter().map(|look| look.files).sum(),
            }
        });
        sums.collect()
    }
}

/// Name of the executable of the cgroup's first process.
pub(crate) fn executable(folder: &Path) -> Option<String> {
    look(*Members::of(folder).processes.first()?).map(|look| look.name)
}

/// The processes of a cgroup and of those below it.
#[derive(Debug, Default, PartialEq)]
struct Members {
    processes: BTreeSet<u32>,
    /// Those of another PID namespace, and those beyond the cap.
    n_skipped: u64,
}

impl Members {
    fn of(folder: &Path) -> Self {
        let mut members = Members::default();
        let mut folders = vec![folder.to_owned()];
        let mut n_folders = 0;
        while let Some(folder) = folders.pop() {
            n_folders += 1;
            if n_folders > FOLDERS {
                // As many as may hold a process.
                members.n_skipped += 1 + folders.len() as u64;
                break;
            }
            for line in text(&folder.join("cgroup.procs")).unwrap_or_default().lines() {
                // A process of a PID namespace that this one cannot see is shown as 0.
                match line.parse() {
                    Ok(pid) if pid != 0 && members.processes.len() < PROCESSES => {
                        members.processes.insert(pid);
                    }
                    _ => members.n_skipped += 1,
                }
            }
            let below = fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok);
            let below = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            folders.extend(below.map(|entry| entry.path()).take(FOLDERS));
        }
        members
    }

    /// The cgroup of an older hierarchy that holds these processes and no others.
    fn legacy(&self, controller: &str) -> Option<PathBuf> {
        if self.n_skipped > 0 {
            return None;
        }
        let folder = cgroup::legacy(*self.processes.first()?, controller)?;
        (Members::of(&folder) == *self).then_some(folder)
    }
}

fn look(pid: u32) -> Option<Look> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let stat = text(&process.join("stat"))?;
    let (command, _) = stat.split_once('(')?.1.rsplit_once(") ")?;
    // The link is for its user and for CAP_SYS_PTRACE; the command's name, cut to 15 bytes, for everybody.
    let executable = fs::read_link(process.join("exe")).ok();
    let executable = executable.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy());
    let name = executable.as_deref().unwrap_or(command);
    let name = name.strip_suffix(" (deleted)").unwrap_or(name);
    Some(Look {
        pid,
        started: field(&stat, 22)?,
        parent: u32::try_from(field(&stat, 4)?).ok()?,
        own: [field(&stat, 14)?, field(&stat, 15)?],
        // "long int" there, but never below 0.
        waited: [field(&stat, 16)?, field(&stat, 17)?],
        name: name.to_owned(),
        threads: field(&stat, 20)?,
        memory: field(&stat, 24)? * rustix::param::page_size() as u64,
        files: n_files(&process.join("fd")),
    })
}

/// Open descriptors. From Linux 6.2 on the folder's size tells, without the right to read it; before, reading it does.
fn n_files(folder: &Path) -> Option<u64> {
    match fs::metadata(folder).ok()?.size() {
        0 => fs::read_dir(folder).ok().map(|files| files.take(1 << 16).count() as u64),
        n => Some(n),
    }
}

fn cpu_stat(text: &str) -> Option<Cpu> {
    let of = |key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.parse::<u64>().ok())
    };
    let seconds = |micros: u64| micros as f64 / 1e6;
    Some(Cpu { user_s: seconds(of("user_usec")?), system_s: seconds(of("system_usec")?) })
}

fn seconds(ticks: Ticks) -> Cpu {
    let [user_s, system_s] = ticks.map(|n| n as f64 / rustix::param::clock_ticks_per_second() as f64);
    Cpu { user_s, system_s }
}

fn number(path: &Path) -> Option<u64> {
    text(path)?.trim().parse().ok()
}

fn text(path: &Path) -> Option<String> {
    let read = || -> io::Result<String> {
        let mut text = String::new();
        File::open(path)?.take(FILE_MAX).read_to_string(&mut text)?;
        Ok(text)
    };
    read().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_a_cgroup_are_microseconds() {
        let text = "usage_usec 3500000\nuser_usec 2500000\nsystem_usec 1000000\nnice_usec 0\n";
        assert_eq!(cpu_stat(text), Some(Cpu { user_s: 2.5, system_s: 1.0 }));
        assert_eq!(cpu_stat("usage_usec 3500000\n"), None);
    }

    #[test]
    fn this_process_is_seen() {
        let own = look(std::process::id()).expect("this process");
        let executable = fs::read_link("/proc/self/exe").expect("its file");
        assert_eq!(Some(own.name.as_str()), executable.file_name().and_then(|name| name.to_str()));
        assert!(own.memory > 100_000 && own.threads >= 1 && own.files.is_some_and(|n| n >= 3), "{own:?}");
    }
}
