//! What the daemon may do, and what it keeps: CAP_BPF and CAP_NET_ADMIN suffice, and nothing is in effect afterwards.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
    process::Command,
};

use sidecar_tests::{
    binary,
    cgroup::Cgroup,
    eventually, free_port,
    nginx::Nginx,
    process::{self, Process},
    python,
    scrape::Kind,
    sidecar::Sidecar,
};

// Bits of linux/capability.h.
const DAC_OVERRIDE: u64 = 1 << 1;
const KILL: u64 = 1 << 5;
const NET_ADMIN: u64 = 1 << 12;
const BPF: u64 = 1 << 39;

/// The user `nobody` of Debian.
const NOBODY: u32 = 65534;

/// Root, with no more than these.
fn root_with(capabilities: &str) -> Vec<String> {
    let bounds = format!("--bounding-set=-all,{capabilities}");
    ["setpriv", &bounds, "--inh-caps=-all", "--"].map(str::to_owned).to_vec()
}

/// Another user, with just the two.
fn nobody() -> Vec<String> {
    nobody_with("+bpf,+net_admin")
}

/// Another user, with no more than these.
fn nobody_with(capabilities: &str) -> Vec<String> {
    let (uid, gid) = (format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"));
    let [bounding, inherited, ambient] =
        ["bounding-set", "inh-caps", "ambient-caps"].map(|set| format!("--{set}=-all,{capabilities}"));
    let words =
        ["setpriv", &bounding, &inherited, &ambient, &uid, &gid, "--clear-groups", "--no-new-privs", "--"];
    words.map(str::to_owned).to_vec()
}

/// The wrapper for a daemon of another user, who may not look into the build's folder: started from a copy.
fn copied(dir: &Path) -> Vec<String> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).expect("a folder for everybody");
    let copy = dir.join("sidecar");
    fs::copy(binary(), &copy).expect("a copy");
    // The first word is the path that the harness gives.
    let script = format!("shift; exec {} \"$@\"", copy.display());
    ["sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
}

/// Requests of curl, counted by the status that curl got.
fn check_requests(sidecar: &Sidecar, port: u16) {
    let mut expected: BTreeMap<Kind, u64> = BTreeMap::new();
    for path in ["100.bin", "60000.bin", "status/503", "nowhere"] {
        let url = format!("http://127.0.0.1:{port}/{path}");
        let words = ["-s", "-o", "/dev/null", "-w", "%{http_code}", &url];
        let status = process::run(Command::new("curl").args(words));
        *expected.entry(("GET".to_owned(), status)).or_default() += 1;
    }
    let scrape = sidecar.scrape_at_rest();
    assert_eq!(scrape.requests("server"), expected);
    assert_eq!(scrape.bytes("explained"), scrape.bytes("seen"));
    assert_eq!(scrape.drops(), [].into());
}

/// No thread has anything in effect or to hand on, and all may raise at most `permitted`.
fn check_threads(sidecar: &mut Sidecar, permitted: u64) {
    let folder = format!("/proc/{}/task", sidecar.process().pid().as_raw_nonzero());
    // A thread has its name only once it runs.
    eventually("the threads' names", || {
        let tasks = fs::read_dir(&folder).expect("its threads").filter_map(Result::ok);
        let names: Vec<_> =
            tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok()).collect();
        ["capture", "signals"].iter().all(|name| names.iter().any(|is| is.trim() == *name)).then_some(())
    });
    let tasks: Vec<_> = fs::read_dir(&folder).expect("its threads").filter_map(Result::ok).collect();
    for task in tasks {
        let status = fs::read_to_string(task.path().join("status")).expect("a thread's status");
        let field =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).expect("a field").trim();
        let set = |name| u64::from_str_radix(field(name), 16).expect("a set");
        let name = field("Name:");
        assert_eq!((set("CapEff:"), set("CapInh:"), set("CapAmb:")), (0, 0, 0), "{name}");
        assert_eq!(set("CapPrm:") & !permitted, 0, "{name} may raise {:x}", set("CapPrm:"));
    }
}

/// Beside the application, which the two are enough for, whoever the user is.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn two_capabilities_suffice_beside_an_application() {
    for user in ["root", "nobody"] {
        let dir = tempfile::tempdir().expect("a folder");
        let cgroup = Cgroup::new();
        let wrapper = match user {
            "root" => root_with("+bpf,+net_admin"),
            _ => [nobody(), copied(dir.path())].concat(),
        };
        let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
        let words = [cgroup.wrapper(), nginx.command()].concat();
        let output = dir.path().join("nginx.out");
        let _server = Process::start(Command::new(&words[0]).args(&words[1..]), &output);
        nginx.await_listening();

        let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
        let path = cgroup.path().display().to_string();
        let mut sidecar = Sidecar::spawn(dir.path(), &wrapper, &["--cgroup", &path], &[]);
        sidecar.await_attached();
        check_threads(&mut sidecar, BPF | NET_ADMIN);
        check_requests(&sidecar, nginx.port);
        assert_eq!(sidecar.stop().code(), Some(0), "{user}");
    }
}

/// A third one for reads, which goes with the others' effect and cannot come back.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup and a tracepoint"]
fn one_more_suffices_for_the_wait_in_the_socket() {
    const THREE: &str = "+bpf,+net_admin,+perfmon";
    for user in ["root", "nobody"] {
        let dir = tempfile::tempdir().expect("a folder");
        let cgroup = Cgroup::new();
        let wrapper = match user {
            "root" => root_with(THREE),
            _ => [nobody_with(THREE), copied(dir.path())].concat(),
        };
        let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
        let words = [cgroup.wrapper(), nginx.command()].concat();
        let output = dir.path().join("nginx.out");
        let _server = Process::start(Command::new(&words[0]).args(&words[1..]), &output);
        nginx.await_listening();
        let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
        let path = cgroup.path().display().to_string();
        let args = ["--cgroup", &path, "--set", "capture.socket_wait=true"];
        let mut sidecar = Sidecar::spawn(dir.path(), &wrapper, &args, &[]);
        sidecar.await_attached();
        check_threads(&mut sidecar, BPF | NET_ADMIN);
        check_requests(&sidecar, nginx.port);
        let n = nginx.answered().values().sum::<u64>();
        let counted = sidecar.scrape().count("sidecar_http_server_socket_wait_duration_seconds_count", &[]);
        assert_eq!(counted, n, "{user}: {}", sidecar.log());
        assert_eq!(sidecar.stop().code(), Some(0), "{user}");
    }
}

/// With a command, given a parent cgroup that its user may write.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn two_capabilities_suffice_for_a_command() {
    for user in ["root", "nobody"] {
        let dir = tempfile::tempdir().expect("a folder");
        let parent = Cgroup::new();
        let wrapper = match user {
            "root" => root_with("+bpf,+net_admin"),
            _ => {
                // As cgroup-v2.rst, "Delegation", says.
                for file in ["", "cgroup.procs", "cgroup.subtree_control"] {
                    chown(parent.path().join(file), Some(NOBODY), Some(NOBODY)).expect("delegated");
                }
                [nobody(), copied(dir.path())].concat()
            }
        };
        // nginx started as root wants to become somebody else, for which two other capabilities are needed.
        let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
        let (content, port) = (dir.path().join("html").display().to_string(), nginx.port.to_string());
        let command = match user {
            "root" => [&python(), "-m", "http.server", "--bind", "127.0.0.1", "--directory", &content, &port]
                .map(str::to_owned)
                .to_vec(),
            _ => nginx.command(),
        };
        if user == "nobody" {
            process::run(Command::new("chown").args(["-R", "65534:65534"]).arg(dir.path()));
        }
        let words = [parent.wrapper(), wrapper].concat();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let command: Vec<_> = command.iter().map(String::as_str).collect();
        let mut sidecar = Sidecar::spawn(dir.path(), &words, &[], &command);
        sidecar.await_attached();
        nginx.await_listening();
        check_threads(&mut sidecar, BPF | NET_ADMIN);
        check_requests(&sidecar, nginx.port);
        // Whatever it ends with, it ends.
        let status = sidecar.stop();
        assert!(status.code().is_some_and(|code| code == 0 || code == 128 + 15), "{user}: {status}");
        assert_eq!(parent.children(), [] as [std::path::PathBuf; 0], "{user}: {}", sidecar.log());
    }
}

/// With everything at hand it keeps, besides the two, what its command's end needs.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn what_is_not_needed_is_given_away() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut sidecar = Sidecar::run(dir.path(), &[], &["sleep", "infinity"]);
    check_threads(&mut sidecar, BPF | NET_ADMIN | KILL | DAC_OVERRIDE);
    assert_eq!(sidecar.stop().code(), Some(128 + 15));

    let parent = Cgroup::new();
    let wrapper = parent.wrapper();
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    // Its command becomes another user, whom it can signal all the same.
    let command = ["setpriv", "--reuid=65534", "--clear-groups", "--", "sleep", "infinity"];
    let mut sidecar = Sidecar::spawn(dir.path(), &wrapper, &[], &command);
    sidecar.await_attached();
    check_threads(&mut sidecar, BPF | NET_ADMIN | KILL);
    assert_eq!(sidecar.stop().code(), Some(128 + 15));
    assert_eq!(parent.children(), [] as [std::path::PathBuf; 0], "{}", sidecar.log());
}
