//! What the application costs, against the account of the kernel and of `ps`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sidecar_tests::{
    cgroup::{self, Cgroup},
    eventually,
    process::{self, Process},
    scrape::Scrape,
    sidecar::Sidecar,
};

/// Works, then holds threads and files open, and says so.
const PROGRAM: &str = "
import os, subprocess, threading, time
files = [open('/dev/null') for _ in range(40)]
blocks = bytearray(os.urandom(1)) * (32 << 20)
for _ in range(6):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
while time.process_time() < 0.5: sum(range(10000))
subprocess.run(['python3', '-c', 'import time\\nwhile time.process_time() < 0.3: pass'])
print('ready', flush=True)
threading.Event().wait()
";

fn seconds(scrape: &Scrape, name: &str, mode: &str) -> f64 {
    scrape.sum(name, &[("cpu_mode", mode)]).unwrap_or_else(|| panic!("{name} {mode}"))
}

fn source<'a>(scrape: &'a Scrape, resource: &str) -> &'a str {
    let mut all = scrape.all("sidecar_app_source_info");
    let (labels, _) = all.find(|(labels, _)| labels["sidecar_resource"] == resource).expect(resource);
    &labels["sidecar_source"]
}

/// A value of `cpu.stat`, s.
fn cpu_stat(cgroup: &Path, key: &str) -> f64 {
    let text = fs::read_to_string(cgroup.join("cpu.stat")).expect("cpu.stat");
    let value = text.lines().find_map(|line| line.strip_prefix(key)).expect(key);
    value.trim().parse::<f64>().expect("a number") / 1e6
}

fn ps(pid: &str, column: &str) -> f64 {
    let text = process::run(Command::new("ps").args(["-o", &format!("{column}="), "-p", pid]));
    text.trim().parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The kernel's files differ among themselves by what its processors have not added up yet (proc_pid_stat(5), `rss`).
fn check_memory(scrape: &Scrape, name: &str, truth: u64) {
    let seen = scrape.count(name, &[]);
    assert!(seen.abs_diff(truth) <= truth / 50, "{name}: {seen}, {truth}");
}

/// The program inside a cgroup, once it rests.
fn start(dir: &Path, cgroup: &Cgroup) -> Process {
    let words = [cgroup.wrapper(), ["python3", "-c", PROGRAM].map(str::to_owned).to_vec()].concat();
    let output = dir.join("program.out");
    let program = Process::start(Command::new(&words[0]).args(&words[1..]), &output);
    eventually("the program to rest", || process::read(&output).contains("ready").then_some(()));
    program
}

/// The older hierarchy with this controller, on a machine that has it there.
fn legacy(controller: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("the mounts");
    mounts.lines().find_map(|line| {
        let fields: Vec<_> = line.split(' ').collect();
        let is_it = fields[2] == "cgroup" && fields[3].split(',').any(|option| option == controller);
        is_it.then(|| PathBuf::from(fields[1]))
    })
}

/// A folder of an older hierarchy, removed when it is empty again.
struct Legacy(PathBuf);

impl Legacy {
    fn new(controller: &str, process: &Process) -> Option<Legacy> {
        let path = legacy(controller)?.join(format!("test-{}", std::process::id()));
        fs::create_dir(&path).expect("a cgroup");
        let legacy = Legacy(path);
        let pid = process.pid().as_raw_nonzero().to_string();
        fs::write(legacy.0.join("cgroup.procs"), pid).expect("enter it");
        Some(legacy)
    }
}

impl Drop for Legacy {
    fn drop(&mut self) {
        for pid in cgroup::processes(&self.0) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        eventually("the cgroup to empty", || fs::remove_dir(&self.0).ok());
    }
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn costs_are_those_of_the_kernels_files_and_of_ps() {
    let dir = tempfile::tempdir().expect("a folder");
    let cgroup = Cgroup::new();
    let program = start(dir.path(), &cgroup);
    let pid = program.pid().as_raw_nonzero().to_string();
    let path = cgroup.path().display().to_string();
    let sidecar = Sidecar::run(dir.path(), &["--cgroup", &path], &[]);
    let scrape = sidecar.scrape();

    // It rests, so that two readings agree.
    assert_eq!(source(&scrape, "cpu"), "cgroup_v2");
    for (mode, key) in [("user", "user_usec"), ("system", "system_usec")] {
        let (seen, truth) =
            (seconds(&scrape, "container_cpu_time_seconds_total", mode), cpu_stat(cgroup.path(), key));
        assert!((seen - truth).abs() < 0.02, "{mode}: {seen}, {truth}");
    }
    // With the child that is gone; the process alone without it.
    let user = seconds(&scrape, "container_cpu_time_seconds_total", "user");
    let system = seconds(&scrape, "container_cpu_time_seconds_total", "system");
    assert!(user + system >= 0.8, "{user} + {system}");
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let fields: Vec<_> = stat.rsplit_once(") ").expect("fields").1.split(' ').collect();
    let truth: f64 = fields[11].parse::<f64>().expect("utime") / 100.0;
    assert_eq!(seconds(&scrape, "process_cpu_time_seconds_total", "user"), truth);

    let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("its files").count() as u64;
    assert!(files >= 40);
    for (name, expected) in [
        ("sidecar_app_file_descriptors", files),
        ("process_unix_file_descriptor_count", files),
        ("sidecar_app_threads", ps(&pid, "nlwp") as u64),
        ("process_thread_count", ps(&pid, "nlwp") as u64),
    ] {
        assert_eq!(scrape.count(name, &[]), expected, "{name}");
    }
    check_memory(&scrape, "process_memory_usage_bytes", ps(&pid, "rss") as u64 * 1024);
    // The link to the executable of a process with capabilities is not for a daemon without.
    let command = fs::read_to_string(format!("/proc/{pid}/comm")).expect("its name");
    let threads = scrape.count("process_thread_count", &[("process_executable_name", command.trim())]);
    assert_eq!(threads, 7, "{command}");
    assert_eq!(scrape.count("sidecar_app_processes", &[("sidecar_state", "read")]), 1);
    assert_eq!(scrape.count("sidecar_app_processes", &[("sidecar_state", "skipped")]), 0);
}

/// Memory and threads by whichever hierarchy tells them, and only where it holds no other process.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn the_source_of_a_figure_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let cgroup = Cgroup::new();
    let program = start(dir.path(), &cgroup);
    let pid = program.pid().as_raw_nonzero().to_string();
    let path = cgroup.path().display().to_string();
    let sidecar = Sidecar::run(dir.path(), &["--cgroup", &path], &[]);
    let scrape = sidecar.scrape();
    for (resource, file, name, truth) in [
        ("memory", "memory.current", "container_memory_usage_bytes", ps(&pid, "rss") as u64 * 1024),
        ("threads", "pids.current", "sidecar_app_threads", ps(&pid, "nlwp") as u64),
    ] {
        // The unified hierarchy may have the controller or not.
        match fs::read_to_string(cgroup.path().join(file)) {
            Ok(text) => {
                assert_eq!(source(&scrape, resource), "cgroup_v2");
                let truth: u64 = text.trim().parse().expect("a number");
                check_memory(&scrape, name, truth);
            }
            Err(_) => {
                assert_eq!(source(&scrape, resource), "processes");
                check_memory(&scrape, name, truth);
                let Some(legacy) =
                    Legacy::new(if resource == "memory" { "memory" } else { "pids" }, &program)
                else {
                    continue;
                };
                let file = if resource == "memory" { "memory.usage_in_bytes" } else { "pids.current" };
                let scrape = sidecar.scrape();
                assert_eq!(source(&scrape, resource), "cgroup_v1");
                let truth = fs::read_to_string(legacy.0.join(file)).expect(file);
                assert_eq!(scrape.count(name, &[]).to_string(), truth.trim(), "{name}");
                // Another process in it, and it is not the application's any more.
                let other = Process::start(Command::new("sleep").arg("infinity"), &dir.path().join("other"));
                let other_pid = other.pid().as_raw_nonzero().to_string();
                fs::write(legacy.0.join("cgroup.procs"), other_pid).expect("enter it");
                assert_eq!(source(&sidecar.scrape(), resource), "processes");
                drop(other);
                // Back to where it was, for the next one.
                fs::write(legacy.0.parent().expect("above").join("cgroup.procs"), &pid).expect("leave it");
            }
        }
    }
}
