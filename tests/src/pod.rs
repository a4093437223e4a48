//! A pod without a container runtime: processes stand in for containers. Each has a private cgroup namespace and its own
//! read-only mount of its cgroup, all share a PID namespace whose first process is the pause container's; users and
//! capabilities are those of `setpriv`. No seccomp filter or security module is in the way.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    cgroup::{self, Cgroup},
    eventually, free_port,
    process::{self, Process},
    sidecar::Sidecar,
};

/// The pod's uid.
pub const UID: &str = "0f3b6e8a-1c2d-4e5f-8a9b-0c1d2e3f4a5b";
/// What runtimes give by default, in part.
pub const DEFAULT: &str = "chown,dac_override,fowner,kill,setgid,setuid,net_bind_service,sys_chroot";

/// The pod. Everything in it ends when it is dropped.
#[derive(Debug)]
pub struct Pod {
    // In the order of their ends.
    pause: Process,
    cgroup: Cgroup,
    /// Its cgroup.
    pub folder: PathBuf,
    first: Pid,
}

/// What a container may do.
#[derive(Clone, Debug, Default)]
pub struct Confined {
    /// At most these, by the names that `setpriv` knows.
    pub capabilities: String,
    /// Its user and group; `None`: root.
    pub user: Option<(u32, u32)>,
    /// Nothing that it starts gets more than it has.
    pub no_new_privs: bool,
    /// It does not see the pod's other processes.
    pub own_processes: bool,
}

impl Pod {
    /// With its first process, and no container.
    #[must_use]
    pub fn new(dir: &Path) -> Pod {
        let cgroup = Cgroup::new();
        let slice = format!(
            "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice",
            UID.replace('-', "_")
        );
        let folder = cgroup.path().join(slice);
        fs::create_dir_all(folder.join("pause.scope")).expect("the pod's cgroups");
        let sleep = process::run(Command::new("sh").args(["-c", "command -v sleep"]));
        let pause = dir.join("pause");
        fs::copy(sleep.trim(), &pause).expect("a pause program");
        let script = format!(
            "echo 0 >{}/pause.scope/cgroup.procs && exec unshare --pid --fork --kill-child --mount --cgroup \
             --mount-proc {} infinity",
            folder.display(),
            pause.display()
        );
        let pause = Process::start(Command::new("sh").args(["-c", &script]), &dir.join("pause.out"));
        let first = eventually("the pause process", || {
            let pids = cgroup::processes(&folder.join("pause.scope"));
            let is_it = |pid: &Pid| {
                let comm = fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero()));
                comm.is_ok_and(|comm| comm.trim() == "pause")
            };
            pids.into_iter().find(is_it)
        });
        Pod { pause, cgroup, folder, first }
    }

    /// The cgroup of a container with this digit all over its id.
    #[must_use]
    pub fn scope(&self, digit: char) -> PathBuf {
        self.folder.join(format!("cri-containerd-{}.scope", digit.to_string().repeat(64)))
    }

    /// Words that run what follows them as a container's first process; `script` is done before its own mounts.
    #[must_use]
    pub fn container(&self, digit: char, script: &str, capabilities: &str) -> Vec<String> {
        let confined = Confined { capabilities: capabilities.to_owned(), ..Confined::default() };
        self.confined(digit, script, &confined)
    }

    /// The same, as a security context says.
    #[must_use]
    pub fn confined(&self, digit: char, script: &str, confined: &Confined) -> Vec<String> {
        let scope = self.scope(digit);
        fs::create_dir_all(&scope).expect("the container's cgroup");
        let mut bounding = String::from("--bounding-set=-all");
        for one in confined.capabilities.split(',').filter(|one| !one.is_empty()) {
            bounding.push_str(&format!(",+{one}"));
        }
        let user = confined
            .user
            .map_or_else(String::new, |(uid, gid)| format!(" --reuid={uid} --regid={gid} --clear-groups"));
        let no_new = if confined.no_new_privs { " --no-new-privs" } else { "" };
        let inside = format!(
            "{script}\numount -R -l /sys/fs/cgroup; mount -t proc proc /proc && \
             mount -t cgroup2 -o ro cgroup2 /sys/fs/cgroup && exec setpriv \
             {bounding} --inh-caps=-all{user}{no_new} -- \"$@\""
        );
        let own_processes = if confined.own_processes { "--pid --fork --kill-child " } else { "" };
        let outside = format!(
            "echo 0 >{}/cgroup.procs && exec unshare {own_processes}--mount --cgroup sh -c '{inside}' sh \"$@\"",
            scope.display()
        );
        let words = ["sh", "-c", &outside, "sh"].map(str::to_owned).to_vec();
        if confined.own_processes {
            return words;
        }
        let first = self.first.as_raw_nonzero().to_string();
        let shared = ["nsenter", "-t", &first, "--pid", "--"].map(str::to_owned);
        [shared.to_vec(), words].concat()
    }

    /// A web server as a container; returns when it answers.
    #[must_use]
    pub fn application(&self, dir: &Path, digit: char, capabilities: &str) -> Application {
        let port = free_port();
        let mut words = self.container(digit, "", capabilities);
        words.extend(
            ["python3", "-m", "http.server", "--bind", "127.0.0.1", &port.to_string()].map(str::to_owned),
        );
        let process =
            Process::start(Command::new(&words[0]).args(&words[1..]), &dir.join(format!("app-{port}.out")));
        eventually("the application to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Application { process, port, scope: self.scope(digit) }
    }

    /// The daemon as a container that was told nothing.
    #[must_use]
    pub fn sidecar(&self, dir: &Path, capabilities: &str, script: &str, args: &[&str]) -> Sidecar {
        let words = self.container('d', script, capabilities);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        Sidecar::spawn(dir, &words, args, &[])
    }

    /// Ends whatever is in a container, and lets its cgroup go as a runtime does.
    pub fn remove(&self, digit: char) {
        let scope = self.scope(digit);
        eventually("the container to end", || {
            for pid in cgroup::processes(&scope) {
                let _ = kill_process(pid, Signal::KILL);
            }
            fs::remove_dir(&scope).ok()
        });
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // Everything in its PID namespace ends with the first process.
        let _ = kill_process(self.first, Signal::KILL);
        let _ = (&self.pause, &self.cgroup);
    }
}

/// A web server in a cgroup.
#[derive(Debug)]
pub struct Application {
    #[expect(dead_code, reason = "a guard")]
    process: Process,
    port: u16,
    /// Its container's cgroup.
    pub scope: PathBuf,
}

impl Application {
    /// In a cgroup that is there; returns when it answers.
    #[must_use]
    pub fn in_cgroup(dir: &Path, folder: &Path) -> Application {
        let port = free_port();
        let script = format!("echo 0 >{}/cgroup.procs && exec \"$@\"", folder.display());
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh", "python3", "-m", "http.server", "--bind", "127.0.0.1"]);
        let process = Process::start(command.arg(port.to_string()), &dir.join(format!("app-{port}.out")));
        eventually("the application to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Application { process, port, scope: folder.to_owned() }
    }

    /// Asks it for something, once.
    pub fn request(&self) {
        let url = format!("http://127.0.0.1:{}/", self.port);
        process::run(Command::new("curl").args(["-s", "-o", "/dev/null", &url]));
    }
}
