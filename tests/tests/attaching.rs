//! What is attached to, what is refused, and that the daemon never observes itself.

use std::{path::Path, process::Command};

use sidecar_tests::{
    cgroup::{self, Cgroup},
    eventually, free_port,
    netns::Netns,
    nginx::Nginx,
    otlp::Receiver,
    process::{self, Process},
    scrape::{self, Kind},
    sidecar::Sidecar,
};

/// nginx inside a cgroup.
fn nginx(dir: &Path, cgroup: &Cgroup) -> (Nginx, Process) {
    let nginx = Nginx::prepare(dir, "127.0.0.1", free_port(), "");
    let words = [cgroup.wrapper(), nginx.command()].concat();
    let process = Process::start(Command::new(&words[0]).args(&words[1..]), &dir.join("nginx.out"));
    nginx.await_listening();
    (nginx, process)
}

fn curl(nginx: &Nginx, path: &str) {
    let url = format!("http://127.0.0.1:{}/{path}", nginx.port);
    process::run(Command::new("curl").args(["-s", "-o", "/dev/null", &url]));
}

fn got(n: u64) -> std::collections::BTreeMap<Kind, u64> {
    [(("GET".to_owned(), "200".to_owned()), n)].into()
}

const UNABLE: [&str; 4] = ["setpriv", "--bounding-set=-bpf,-sys_admin", "--inh-caps=-all", "--"];

#[test]
#[ignore = "privileged: gives capabilities away, makes a cgroup"]
fn without_capabilities_the_command_runs_unobserved_or_with_strict_not_at_all() {
    let dir = tempfile::tempdir().expect("a folder");
    let cgroup = Cgroup::new();
    let wrapper = [cgroup.wrapper(), UNABLE.map(str::to_owned).to_vec()].concat();
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    let trace = dir.path().join("ran");
    let script = "echo ran >>\"$0\"; exit 11";
    let command = ["sh", "-c", script, &trace.display().to_string()];

    let mut strict = Sidecar::spawn(dir.path(), &wrapper, &["--strict"], &command);
    assert_eq!(strict.wait().code(), Some(125));
    let log = strict.log();
    assert!(log.contains("--strict was given") && log.contains("missing CAP_BPF"), "{log}");
    assert!(!trace.exists(), "the command was not started");

    let mut lenient = Sidecar::spawn(dir.path(), &wrapper, &[], &command);
    assert_eq!(lenient.wait().code(), Some(11));
    let log = lenient.log();
    assert!(
        log.contains("running unobserved") && log.contains("missing CAP_BPF: load the BPF object"),
        "{log}"
    );
    assert_eq!(process::read(&trace), "ran\n");
    assert_eq!(cgroup.children(), [] as [std::path::PathBuf; 0]);

    // There is nothing to run where nothing can be observed.
    let path = cgroup.path().display().to_string();
    let mut beside = Sidecar::spawn(dir.path(), &wrapper, &["--cgroup", &path], &[]);
    assert_eq!(beside.wait().code(), Some(1));
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn what_exists_is_attached_to_and_let_go() {
    let dir = tempfile::tempdir().expect("a folder");
    let cgroup = Cgroup::new();
    let (nginx, server) = nginx(dir.path(), &cgroup);
    let (path, pid) = (cgroup.path().display().to_string(), server.pid().as_raw_nonzero().to_string());
    for target in [["--cgroup", &path], ["--pid", &pid]] {
        let mut sidecar = Sidecar::run(dir.path(), &target, &[]);
        assert_eq!(cgroup::attached(cgroup.path()).len(), 9, "{target:?}");
        curl(&nginx, "100.bin");
        curl(&nginx, "1000.bin");
        assert_eq!(sidecar.scrape_at_rest().requests("server"), got(2), "{target:?}");
        assert_eq!(sidecar.stop().code(), Some(0), "{target:?}: {}", sidecar.log());
        assert_eq!(cgroup::attached(cgroup.path()), [] as [String; 0], "{target:?}");
        curl(&nginx, "100.bin");
    }
}

/// `ip netns exec` gives what it starts a /sys without cgroups; the error says so.
#[test]
#[ignore = "privileged: makes network namespaces"]
fn where_no_cgroups_are_mounted_is_said() {
    let dir = tempfile::tempdir().expect("a folder");
    let (netns, cgroup) = (Netns::new(), Cgroup::new());
    let wrapper = netns.wrapper();
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    let (path, root) = (cgroup.path().display().to_string(), cgroup::mount().display().to_string());
    for target in [["--cgroup", &path], ["--cgroup", &root], ["--pid", "1"]] {
        let mut sidecar = Sidecar::spawn(dir.path(), &wrapper, &target, &[]);
        assert_eq!(sidecar.wait().code(), Some(1));
        let log = sidecar.log();
        assert!(
            log.contains("no cgroup2 file system is mounted") && log.contains("`nsenter --net=`"),
            "{log}"
        );
    }
}

#[test]
#[ignore = "privileged: attaches BPF programs to the root cgroup"]
fn the_whole_machine_only_when_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = cgroup::mount();
    let inode = std::os::unix::fs::MetadataExt::ino(&root.metadata().expect("the mount"));
    assert_eq!(inode, 1, "{} is the real root here", root.display());
    let root = root.display().to_string();
    let mut refused = Sidecar::spawn(dir.path(), &[], &["--cgroup", &root], &[]);
    assert_eq!(refused.wait().code(), Some(1));
    assert!(refused.log().contains("give --whole-node"), "{}", refused.log());

    let cgroup = Cgroup::new();
    let (nginx, _server) = nginx(dir.path(), &cgroup);
    let sidecar = Sidecar::run(dir.path(), &["--whole-node", "--cgroup", &root], &[]);
    curl(&nginx, "100.bin");
    let ours = [("server_port", nginx.port.to_string())];
    let ours = ours.each_ref().map(|(key, value)| (*key, value.as_str()));
    eventually("both ends of the request", || {
        let scrape = sidecar.scrape();
        let server = scrape.requests("server").values().sum::<u64>();
        let client = scrape.count("http_client_request_duration_seconds_count", &ours);
        (server >= 1 && client == 1).then_some(())
    });
    // The connection that asks is listed at its other end, which is ours, and not at the daemon's.
    let lines = scrape::get(sidecar.admin_port, "/connections", "");
    let lines: Vec<serde_json::Value> = serde_json::from_str(&lines).expect("JSON");
    let at = |end: &str| {
        let address = format!("127.0.0.1:{}", sidecar.admin_port);
        lines.iter().filter(|line| line[end] == address.as_str()).count()
    };
    assert_eq!((at("remote"), at("local")), (1, 0), "{lines:#?}");
}

/// Daemon and application in one cgroup, with everything on that makes traffic of the daemon's own.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn its_own_sockets_are_not_seen_in_a_shared_cgroup() {
    let dir = tempfile::tempdir().expect("a folder");
    let cgroup = Cgroup::new();
    let (nginx, _server) = nginx(dir.path(), &cgroup);
    let receiver = Receiver::start(dir.path());
    let wrapper = cgroup.wrapper();
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    let path = cgroup.path().display().to_string();
    let args = ["--cgroup", &path, "--otlp-endpoint", &receiver.endpoint(), "--set", "otlp.interval=1s"];
    let mut sidecar = Sidecar::spawn(dir.path(), &wrapper, &args, &[]);
    sidecar.await_attached();
    assert!(cgroup.processes().contains(&sidecar.process().pid()), "they share it");

    const REQUESTS: u64 = 20;
    for _ in 0..REQUESTS {
        curl(&nginx, "1000.bin");
        let _ = sidecar.scrape();
        let _ = scrape::get(sidecar.admin_port, "/connections", "");
    }
    eventually("pushes of metrics and of each span", || {
        let sent =
            |signal| sidecar.scrape().count("sidecar_export_sent_total", &[("sidecar_signal", signal)]);
        (sent("metrics") > 100 && sent("traces") == REQUESTS).then_some(())
    });

    let scrape = sidecar.scrape_at_rest();
    assert_eq!(scrape.requests("server"), got(REQUESTS));
    assert_eq!(scrape.requests("client"), [].into());
    let role = |name, role| scrape.count(name, &[("sidecar_tcp_role", role)]);
    for (name, server) in
        [("sidecar_tcp_connection_opened_total", REQUESTS), ("sidecar_tcp_connection_closed_total", REQUESTS)]
    {
        assert_eq!(
            (role(name, "server"), role(name, "client"), role(name, "unknown")),
            (server, 0, 0),
            "{name}"
        );
    }
    assert_eq!(role("sidecar_tcp_io_bytes_total", "client"), 0);
    assert_eq!(role("sidecar_tcp_io_bytes_total", "unknown"), 0);
    assert_eq!(scrape.count("sidecar_tcp_connection_joined_total", &[]), 0);
    assert_eq!(scrape.bytes("seen"), role("sidecar_tcp_io_bytes_total", "server"));
    assert_eq!(scrape.bytes("explained"), scrape.bytes("seen"));
    assert_eq!(scrape.drops(), [].into());
    assert_eq!(sidecar.stop().code(), Some(0));
}

/// Nobody takes what it would push at the end: the deadline passes, and it ends as it would have.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_receiver_that_does_not_answer_holds_nothing_up() {
    let dir = tempfile::tempdir().expect("a folder");
    let cgroup = Cgroup::new();
    let (nginx, _server) = nginx(dir.path(), &cgroup);
    let path = cgroup.path().display().to_string();
    // It lets connect and says nothing; nobody is there at all.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    for port in [silent.local_addr().expect("its address").port(), free_port()] {
        let endpoint = format!("http://127.0.0.1:{port}");
        let args = ["--cgroup", &path, "--otlp-endpoint", &endpoint, "--set", "shutdown.deadline=1s"];
        let mut sidecar = Sidecar::run(dir.path(), &args, &[]);
        curl(&nginx, "100.bin");
        assert_eq!(sidecar.scrape_at_rest().requests("server"), got(1));
        assert_eq!(sidecar.stop().code(), Some(0), "{}", sidecar.log());
        assert_eq!(cgroup::attached(cgroup.path()), [] as [String; 0]);
    }
}
