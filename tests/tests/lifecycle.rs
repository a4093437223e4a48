//! `sidecar run -- COMMAND`: how the command starts, is signalled, ends, and outlives the daemon.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use sidecar_tests::{
    binary,
    cgroup::{self, Cgroup},
    eventually, free_port,
    nginx::Nginx,
    process::{self, Process},
    python,
    scrape::{self, Scrape},
    sidecar::Sidecar,
};

/// A folder, and a cgroup for the daemon, below which it makes that of its command.
struct World {
    dir: tempfile::TempDir,
    cgroup: Cgroup,
}

impl World {
    fn new() -> World {
        World { dir: tempfile::tempdir().expect("a folder"), cgroup: Cgroup::new() }
    }

    fn start(&self, args: &[&str], command: &[&str]) -> Sidecar {
        let wrapper = self.cgroup.wrapper();
        let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
        Sidecar::spawn(self.dir.path(), &wrapper, args, command)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        process::read(&self.path(name))
    }
}

fn nginx(dir: &Path) -> (Nginx, Process) {
    let nginx = Nginx::prepare(dir, "127.0.0.1", free_port(), "");
    let words = nginx.command();
    let process = Process::start(Command::new(&words[0]).args(&words[1..]), &dir.join("nginx.out"));
    nginx.await_listening();
    (nginx, process)
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn what_nohup_ignores_stays_ignored() {
    let dir = tempfile::tempdir().expect("a folder");
    let script = "grep SigIgn /proc/self/status";
    let mut sidecar = Sidecar::spawn(dir.path(), &["nohup"], &[], &["sh", "-c", script]);
    assert!(sidecar.wait().success());
    let mask = sidecar.log().lines().find_map(|line| Some(line.strip_prefix("SigIgn:")?.trim().to_owned()));
    let mask = u64::from_str_radix(&mask.expect("the mask"), 16).expect("a number");
    assert_eq!(mask & 1, 1, "SIGHUP is ignored");
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn it_ends_with_the_status_of_its_command() {
    let world = World::new();
    let plain = world.path("plain");
    fs::write(&plain, "#!/bin/sh\nexit 0\n").expect("a file that is not executable");
    let (plain, folder) = (plain.display().to_string(), world.dir.path().display().to_string());
    let cases: &[(&[&str], i32)] = &[
        (&["true"], 0),
        (&["false"], 1),
        (&["sh", "-c", "exit 7"], 7),
        (&["sh", "-c", "exit 255"], 255),
        (&["sh", "-c", "kill -KILL $$"], 128 + 9),
        (&["sh", "-c", "kill -TERM $$"], 128 + 15),
        (&["sh", "-c", "ulimit -c 0; kill -SEGV $$"], 128 + 11),
        (&["no-such-command-anywhere"], 127),
        (&["/no/such/file"], 127),
        (&[&plain], 126),
        (&[&folder], 126),
    ];
    for (command, expected) in cases {
        let mut sidecar = world.start(&[], command);
        assert_eq!(sidecar.wait().code(), Some(*expected), "{command:?}: {}", sidecar.log());
        assert_eq!(world.cgroup.children(), [] as [PathBuf; 0], "{command:?}: its cgroup is gone");
    }
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn signals_reach_the_command() {
    let world = World::new();
    let script = "
import signal, sys
signals = [signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM]
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
out = open(sys.argv[1], 'w', buffering=1)
print('ready', file=out)
while (name := signal.Signals(signal.sigwait(signals)).name) != 'SIGTERM':
    print(name, file=out)
sys.exit(9)
";
    let told = world.path("told");
    let mut sidecar = world.start(&[], &[&python(), "-c", script, &told.display().to_string()]);
    sidecar.await_attached();
    let mut expected = "ready\n".to_owned();
    eventually("the command to wait", || (world.text("told") == expected).then_some(()));
    let signals = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::USR2, "SIGUSR2"),
    ];
    for (signal, name) in signals {
        sidecar.signal(signal);
        expected += &format!("{name}\n");
        eventually(name, || (world.text("told") == expected).then_some(()));
    }
    assert!(sidecar.process().is_running());
    assert_eq!(sidecar.stop().code(), Some(9), "the last one was SIGTERM");
}

/// A command whose first act is to connect; nothing of it may be missed, or be joined late.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn the_first_socket_is_seen() {
    let world = World::new();
    let (nginx, _process) = nginx(world.dir.path());
    let script = format!(
        "exec 3<>/dev/tcp/127.0.0.1/{port}; printf 'GET /100.bin HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3 >/dev/null; \
         exec 3>&-; exec sleep infinity",
        port = nginx.port
    );
    for _ in 0..5 {
        let mut sidecar = world.start(&[], &["bash", "-c", &script]);
        sidecar.await_attached();
        let closed = |scrape: &Scrape| {
            scrape.count("sidecar_tcp_connection_closed_total", &[("sidecar_tcp_role", "client")])
        };
        let scrape = eventually("the connection to end", || {
            let scrape = sidecar.scrape_at_rest();
            (closed(&scrape) == 1).then_some(scrape)
        });
        assert_eq!(scrape.requests("client"), [(("GET".into(), "200".into()), 1)].into());
        assert_eq!(scrape.count("sidecar_tcp_connection_joined_total", &[]), 0);
        assert_eq!(scrape.bytes("explained"), scrape.bytes("seen"));
        assert_eq!(sidecar.stop().code(), Some(128 + 15));
    }
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn what_the_command_leaves_is_named_and_left_alone() {
    let world = World::new();
    let left = world.path("left");
    let script = "setsid sleep 600 >/dev/null 2>&1 & echo $! >\"$0\"; exit 3";
    let mut sidecar = world.start(&[], &["sh", "-c", script, &left.display().to_string()]);
    assert_eq!(sidecar.wait().code(), Some(3));
    let pid: i32 = world.text("left").trim().parse().expect("a number");
    let log = sidecar.log();
    assert!(log.contains("left something behind") && log.contains(&format!("[{pid}]")), "{log}");
    test_kill_process(Pid::from_raw(pid).expect("a process")).expect("it lives");
    let [made] = &world.cgroup.children()[..] else { panic!("its cgroup stays with it") };
    assert_eq!(cgroup::attached(made), [] as [String; 0]);
}

/// As the first process of a container: whoever loses its parent becomes the daemon's child.
#[test]
#[ignore = "privileged: makes a PID namespace"]
fn as_pid_1_it_reaps_orphans() {
    let world = World::new();
    let script = "
import os, signal, sys
out = open(sys.argv[1], 'a', buffering=1)
for _ in range(3):
    parent = os.fork()
    if parent == 0:
        if os.fork() == 0:
            while os.getppid() != 1: os.sched_yield()
            print('orphan', file=out)
        os._exit(0)
    os.waitpid(parent, 0)
signal.pause()
";
    let told = world.path("told").display().to_string();
    let mut wrapper = world.cgroup.wrapper();
    wrapper.extend(["unshare", "--pid", "--kill-child", "--mount-proc", "--"].map(str::to_owned));
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    let mut sidecar = Sidecar::spawn(world.dir.path(), &wrapper, &[], &[&python(), "-c", script, &told]);
    sidecar.await_attached();
    eventually("three orphans", || (world.text("told") == "orphan\n".repeat(3)).then_some(()));
    let [daemon] = children(sidecar.process().pid())[..] else { panic!("unshare has one child") };
    let rest = eventually("the orphans to be reaped", || {
        let rest = children(daemon);
        (rest.len() == 1).then_some(rest)
    });
    assert_ne!(state(rest[0]), 'Z');
    kill_process(daemon, Signal::TERM).expect("told to stop");
    assert_eq!(sidecar.wait().code(), Some(128 + 15));
}

/// Where the metrics cannot be served: without a command and without a push there is nothing to go on for.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_taken_port_ends_what_only_serves() {
    let world = World::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let settings = world.path("settings.yaml");
    fs::write(&settings, format!("metrics:\n  listen: {address}\n")).expect("written");
    let settings = settings.display().to_string();
    let (program, cgroup) = (binary().display().to_string(), world.cgroup.path().display().to_string());
    let run = |rest: &[&str]| {
        let mut command = Command::new(&program);
        command.args(["run", "--config", &settings, "--admin", "127.0.0.1:0"]).args(rest);
        command.output().expect("run")
    };

    let alone = run(&["--cgroup", &cgroup]);
    let said = String::from_utf8_lossy(&alone.stderr);
    assert_eq!(alone.status.code(), Some(1), "{said}");
    assert!(said.contains("metrics.listen") && said.contains(&address), "{said}");
    assert_eq!(cgroup::attached(world.cgroup.path()), [] as [String; 0]);

    assert_eq!(run(&["--", "sh", "-c", "exit 7"]).status.code(), Some(7));
}

/// The daemon dies, the application serves on, and the kernel has nothing of ours left.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn killed_it_leaves_the_command_alone_and_nothing_attached() {
    let world = World::new();
    let nginx = Nginx::prepare(world.dir.path(), "127.0.0.1", free_port(), "");
    let words = nginx.command();
    let mut sidecar = world.start(&[], &words.iter().map(String::as_str).collect::<Vec<_>>());
    sidecar.await_attached();
    nginx.await_listening();
    let [made] = &world.cgroup.children()[..] else { panic!("one cgroup for the command") };
    let mut names = cgroup::attached(made);
    names.sort_unstable();
    let expected = [
        "sk_bind4",
        "sk_bind6",
        "sk_connect4",
        "sk_connect6",
        "sk_create",
        "sk_release",
        "skb_in",
        "skb_out",
        "tcp_ops",
    ];
    assert_eq!(names, expected);
    let before = cgroup::processes(made);

    sidecar.signal(Signal::KILL);
    sidecar.wait();
    eventually("the programs to go", || cgroup::attached(made).is_empty().then_some(()));
    assert_eq!(cgroup::processes(made), before);
    assert_eq!(scrape::get(nginx.port, "/100.bin", "").len(), 100);

    // Another one takes over what the first one left.
    let path = made.display().to_string();
    let mut second = Sidecar::run(world.dir.path(), &["--cgroup", &path], &[]);
    let start = nginx.answered().values().sum::<u64>();
    assert_eq!(scrape::get(nginx.port, "/1000.bin", "").len(), 1000);
    let scrape = second.scrape_at_rest();
    assert_eq!(scrape.requests("server"), [(("GET".into(), "200".into()), 1)].into());
    assert_eq!(nginx.answered().values().sum::<u64>(), start + 1);
    assert_eq!(second.stop().code(), Some(0));
    assert_eq!(cgroup::attached(made), [] as [String; 0]);
}

fn children(parent: Pid) -> Vec<Pid> {
    let pid = parent.as_raw_nonzero();
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|word| Pid::from_raw(word.parse().ok()?)).collect()
}

fn state(pid: Pid) -> char {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).expect("its state");
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).expect("a letter")
}
