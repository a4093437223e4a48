//! What holds on the kernels that `cargo xtask vm` boots. Which of these tests are a kernel's is in its table of kernels.

use std::{env, path::Path, process::Command, time::Duration};

use rustix::process::Signal;
use sidecar_tests::{
    binary,
    bpffs::Bpffs,
    cgroup::Cgroup,
    endure, eventually, free_port,
    load::Load,
    netns::Netns,
    nginx::Nginx,
    process::{self, Process},
    scrape,
    sidecar::{Sidecar, THREE_CAPABILITIES, TWO_CAPABILITIES},
    swaps,
};

/// A daemon with the two capabilities, beside what runs in a cgroup.
fn observe(dir: &Path, cgroup: &Cgroup) -> Sidecar {
    let path = cgroup.path().display().to_string();
    let mut sidecar = Sidecar::spawn(dir, &TWO_CAPABILITIES, &["--cgroup", &path], &[]);
    sidecar.await_attached();
    sidecar
}

fn start(words: &[String], output: &Path) -> Process {
    Process::start(Command::new(&words[0]).args(&words[1..]), output)
}

/// What was counted at both ends is what both ends counted, all of it explained, and nothing was dropped but for these reasons.
fn assert_exact(scrapes: [(&str, &Sidecar); 2], nginx: &Nginx, load: &Load, but: &[&str]) {
    for (role, sidecar) in scrapes {
        let scraped = sidecar.scrape_at_rest();
        let own = if role == "server" { nginx.answered() } else { load.answered.clone() };
        let (seen, explained, mut drops) =
            (scraped.bytes("seen"), scraped.bytes("explained"), scraped.drops());
        let [lost, joined] = ["lost", "before_join"].map(|class| scraped.bytes(class));
        let facts = format!(
            "{role}: seen {seen}, explained {explained}, lost {lost}, before_join {joined}, drops {drops:?}; {}: {}",
            scrape::get(sidecar.admin_port, "/connections", ""),
            sidecar.log()
        );
        assert_eq!(scraped.requests(role), own, "{facts}");
        drops.retain(|reason, _| !but.contains(&reason.as_str()));
        assert!(seen == explained && drops.is_empty(), "{facts}");
    }
}

/// `sidecar doctor` with the two capabilities, and a file of settings (may be empty): exit status, and all that it said.
fn doctor(parent: &Cgroup, settings: &str) -> (Option<i32>, String) {
    let words = [parent.wrapper(), TWO_CAPABILITIES.map(str::to_owned).to_vec()].concat();
    let mut command = Command::new(&words[0]);
    let output = process::output(
        command.args(&words[1..]).arg(binary()).arg("doctor").env("SIDECAR_CONFIG", settings),
    );
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// Every program loads and attaches, by the doctor's account and the daemon's.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn attaches() {
    let (dir, parent) = (tempfile::tempdir().expect("a folder"), Cgroup::new());
    let (status, said) = doctor(&parent, "");
    assert_eq!(status, Some(0), "{said}");
    let mut daemon = observe(dir.path(), &parent);
    assert!(daemon.log().contains("9 of 9 programs"), "{}", daemon.log());
    assert_eq!(daemon.stop().code(), Some(0));
}

/// When requests were read is seen with one more capability, where the kernel has what it takes.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup and a tracepoint"]
fn reads() {
    let (dir, cgroup) = (tempfile::tempdir().expect("a folder"), Cgroup::new());
    let path = cgroup.path().display().to_string();
    let args = ["--cgroup", &path, "--set", "capture.socket_wait=true"];
    let mut daemon = Sidecar::spawn(dir.path(), &THREE_CAPABILITIES, &args, &[]);
    daemon.await_attached();
    assert!(daemon.log().contains("10 of 10 programs"), "{}", daemon.log());
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    let words = [cgroup.wrapper(), nginx.command()].concat();
    let _server = start(&words, &dir.path().join("nginx.out"));
    nginx.await_listening();
    let mut load = Load::new(dir.path(), &[]);
    load.ab(("GET", 200), 50, "-k -c 2", &nginx.url("1000.bin"));
    let scrape = daemon.scrape_at_rest();
    assert_eq!(scrape.requests("server"), nginx.answered());
    assert_eq!(scrape.count("sidecar_http_server_socket_wait_duration_seconds_count", &[]), load.total());
}

/// Connections are steered, by both ways, to where they did not ask.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn steers() {
    let (dir, cgroup) = (tempfile::tempdir().expect("a folder"), Cgroup::new());
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    let words = nginx.command();
    let _server = start(&words, &dir.path().join("nginx.out"));
    nginx.await_listening();
    let endpoint = format!("endpoints: ['127.0.0.1:{}']", nginx.port);
    let services = format!(
        "traffic: {{services: [{{name: direct, addresses: [10.9.0.1], {endpoint}}}, \
         {{name: proxied, addresses: [10.9.0.2], gear: proxy, {endpoint}}}]}}\n"
    );
    let (settings, path) = (dir.path().join("settings.yaml"), cgroup.path().display().to_string());
    std::fs::write(&settings, services).expect("settings");
    let settings = settings.display().to_string();
    let args = ["--cgroup", &path, "--config", &settings];
    let mut daemon = Sidecar::spawn(dir.path(), &TWO_CAPABILITIES, &args, &[]);
    daemon.await_attached();
    assert!(daemon.log().contains("16 of 16 programs"), "{}", daemon.log());
    let mut load = Load::new(dir.path(), &cgroup.wrapper());
    for host in ["10.9.0.1", "10.9.0.2"] {
        load.ab(("GET", 200), 200, "-c 4", &format!("http://{host}/1000.bin"));
    }
    let count = |verdict| {
        let labels = [("sidecar_verdict", verdict), ("sidecar_reason", "gear")];
        daemon.scrape().count("sidecar_traffic_connections_total", &labels)
    };
    // ab opens some that it does not use.
    let opened = [count("direct"), count("proxied")];
    assert!(opened.iter().all(|n| (200..=204).contains(n)), "{opened:?}: {}", daemon.log());
    assert_eq!(daemon.scrape().count("sidecar_relay_accepted_total", &[]), opened[1]);
    assert_eq!(nginx.answered(), load.answered);
    eventually("places to be given back", || {
        let scrape = daemon.scrape();
        let n: f64 = scrape.all("sidecar_traffic_service_active").map(|(_, n)| n).sum();
        (n == 0.0).then_some(())
    });
}

/// Where the kernel lacks what steering takes, connections go where they ask, and are observed; log and doctor say what is lost.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn passes() {
    let (dir, cgroup) = (tempfile::tempdir().expect("a folder"), Cgroup::new());
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    let _server = start(&nginx.command(), &dir.path().join("nginx.out"));
    nginx.await_listening();
    let services = format!(
        "traffic: {{services: [{{name: denied, addresses: [127.0.0.1], ports: [{}], gear: deny, while_running: true}}]}}\n",
        nginx.port
    );
    let (settings, path) = (dir.path().join("settings.yaml"), cgroup.path().display().to_string());
    std::fs::write(&settings, services).expect("settings");
    let settings = settings.display().to_string();
    let (status, said) = doctor(&cgroup, &settings);
    assert_eq!(status, Some(3), "{said}");
    let finding = said.lines().find(|line| line.contains("steering  ")).unwrap_or_default();
    assert!(finding.starts_with("lost") && finding.contains("this kernel does not know"), "{said}");
    let mut daemon =
        Sidecar::spawn(dir.path(), &TWO_CAPABILITIES, &["--cgroup", &path, "--config", &settings], &[]);
    daemon.await_attached();
    let log = daemon.log();
    assert!(log.contains("connections are not steered: they go where they ask"), "{log}");
    let mut load = Load::new(dir.path(), &cgroup.wrapper());
    load.h2load(("GET", 200), 200, "-c 4", 0, &nginx.url("1000.bin"));
    assert_eq!(nginx.answered(), load.answered);
    assert_eq!(daemon.scrape_at_rest().requests("client"), load.answered);
    let ready = scrape::get(daemon.port, "/readyz", "");
    assert!(ready.contains("steering degraded"), "{ready}");
}

/// A user and an executable file are left alone, and nobody else is.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn excepts() {
    let (dir, cgroup) = (tempfile::tempdir().expect("a folder"), Cgroup::new());
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    let _server = start(&nginx.command(), &dir.path().join("nginx.out"));
    nginx.await_listening();
    let ab = process::run(Command::new("sh").args(["-c", "command -v ab"]));
    let [one, two] = ["one", "two"].map(|name| dir.path().join(name).display().to_string());
    for copy in [&one, &two] {
        std::fs::copy(ab.trim(), copy).expect("a copy");
    }
    // Where nobody is, so that whoever is left alone reaches nobody.
    let services = format!(
        "traffic: {{services: [{{name: direct, addresses: [127.9.0.1], ports: [9], \
         except: {{uids: [4242], executables: [{one}]}}, endpoints: ['127.0.0.1:{}']}}]}}\n",
        nginx.port
    );
    let (settings, path) = (dir.path().join("settings.yaml"), cgroup.path().display().to_string());
    std::fs::write(&settings, services).expect("settings");
    let settings = settings.display().to_string();
    let args = ["--cgroup", &path, "--config", &settings];
    let mut daemon = Sidecar::spawn(dir.path(), &THREE_CAPABILITIES, &args, &[]);
    daemon.await_attached();
    assert!(daemon.log().contains("20 of 20 programs"), "{}", daemon.log());
    let user = ["setpriv", "--reuid=4242", "--clear-groups", "ab"];
    for (words, is_excepted) in
        [(&[one.as_str()][..], true), (&[&two], false), (&user, true), (&["ab"], false)]
    {
        let wrapper = cgroup.wrapper();
        let arguments = ["-q", "-n", "1", "http://127.9.0.1:9/1000.bin"];
        let said = process::output(Command::new(&wrapper[0]).args(&wrapper[1..]).args(words).args(arguments));
        assert_ne!(
            said.status.success(),
            is_excepted,
            "{words:?}: {}",
            String::from_utf8_lossy(&said.stderr)
        );
    }
    let count = |verdict, reason| {
        let labels = [("sidecar_verdict", verdict), ("sidecar_reason", reason)];
        daemon.scrape().count("sidecar_traffic_connections_total", &labels)
    };
    assert_eq!(nginx.answered().values().sum::<u64>(), 2);
    assert!(count("passed", "exception") >= 2 && count("direct", "gear") >= 2, "{}", daemon.log());
}

/// What is pinned holds without a daemon, and another goes on with it.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup, mounts a bpffs"]
fn pins() {
    let (dir, cgroup, bpffs) = (tempfile::tempdir().expect("a folder"), Cgroup::new(), Bpffs::new());
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    let _server = start(&nginx.command(), &dir.path().join("nginx.out"));
    nginx.await_listening();
    let (port, pins) = (nginx.port, bpffs.pins().display().to_string());
    let services = format!(
        "traffic: {{pin: {pins}, services: [{{name: direct, addresses: [127.0.0.2], endpoints: ['127.0.0.1:{port}']}}, \
         {{name: denied, addresses: [127.0.0.1], gear: deny}}]}}\n"
    );
    let (settings, path) = (dir.path().join("settings.yaml"), cgroup.path().display().to_string());
    std::fs::write(&settings, services).expect("settings");
    let settings = settings.display().to_string();
    let args = ["--cgroup", &path, "--config", &settings];
    let mut load = Load::new(dir.path(), &cgroup.wrapper());
    for n_adopted in 0..3 {
        let mut daemon = Sidecar::spawn(dir.path(), &TWO_CAPABILITIES, &args, &[]);
        daemon.await_attached();
        assert!(daemon.log().contains("20 of 20 programs"), "{}", daemon.log());
        assert_eq!(daemon.log().contains("adopted from a daemon before"), n_adopted > 0, "{}", daemon.log());
        daemon.signal(Signal::KILL);
        daemon.wait();
        load.ab(("GET", 200), 20, "-c 2", &format!("http://127.0.0.2:{port}/1000.bin"));
        let words = cgroup.wrapper();
        let denied = format!("http://127.0.0.1:{port}/1000.bin");
        let ab =
            process::output(Command::new(&words[0]).args(&words[1..]).args(["ab", "-q", "-n", "1", &denied]));
        assert!(!ab.status.success(), "{}", String::from_utf8_lossy(&ab.stdout));
    }
    assert_eq!(nginx.answered(), load.answered);
    let unpin = process::output(Command::new(binary()).arg("unpin").arg(&pins));
    assert!(unpin.status.success(), "{}", String::from_utf8_lossy(&unpin.stderr));
    assert_eq!(
        std::fs::read_dir(bpffs.path())
            .expect("the bpffs")
            .filter(|entry| { entry.as_ref().is_ok_and(|entry| entry.file_name() == "sidecar") })
            .count(),
        0
    );
}

/// `NAME` of the environment, or a number.
fn size(name: &str, otherwise: usize) -> usize {
    env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Connections go by the policy that holds, of `GUEST_SWAPS` that follow one another: as `cargo xtask bench swaps`.
#[test]
#[ignore = "privileged: attaches BPF programs, makes a network namespace"]
fn swaps() {
    let n_swaps = size("GUEST_SWAPS", 10);
    let account = swaps::run(swaps::Extent { swaps: n_swaps, connections: 40 * n_swaps });
    println!("{account}");
    assert_eq!(account.n_faults(), 0, "{account}");
    assert!(account.n_decisive >= 10 * n_swaps, "{account}");
}

/// No request fails while everything about its service changes, `GUEST_RELOADS` times: as `cargo xtask bench endure`.
#[test]
#[ignore = "privileged: attaches BPF programs, makes a network namespace"]
fn endures() {
    let client = env::var_os("TESTED_CLIENT").expect("TESTED_CLIENT: where `requests` is");
    let reloads = size("GUEST_RELOADS", 20);
    let extent = endure::Extent { rate: 40, workers: 4, alone: Duration::from_secs(5), reloads };
    let report = endure::run(extent, Path::new(&client)).expect("what the load and its servers told");
    println!("{report}");
    assert_eq!(report.n_faults(), 0, "{report}");
    assert!(report.n_answered() > 10 * reloads, "{report}");
}

/// 2,000 requests of every shape.
fn requests(load: &mut Load, nginx: &Nginx) {
    load.h2load(("GET", 200), 600, "-c 8", 0, &nginx.url("1000.bin"));
    load.h2load(("GET", 200), 300, "-c 4 -m 16", 0, &nginx.url("10000.bin"));
    load.h2load(("GET", 200), 150, "-c 4", 0, &nginx.url("60000.bin"));
    load.h2load(("GET", 404), 200, "-c 4 -m 16", 0, &nginx.url("nowhere"));
    load.h2load(("POST", 201), 200, "-c 4", 10_000, &nginx.url("made"));
    load.ab(("GET", 200), 300, "-c 8", &nginx.url("1000.bin"));
    load.ab(("GET", 503), 200, "-k -c 4", &nginx.url("status/503"));
    let upload = format!("data-binary = \"@{}\"", load.body(60_000));
    let requests = [
        ("GET", "", nginx.url("5000000.bin")),
        ("PUT", &upload, nginx.url("made")),
        ("HEAD", "", nginx.url("60000.bin")),
        ("DELETE", "", nginx.url("status/204")),
        ("GET", "http1.0", nginx.url("100.bin")),
    ];
    load.curl(&requests, 10);
    assert_eq!(load.total(), 2_000);
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn counts() {
    let (dir, cgroup) = (tempfile::tempdir().expect("a folder"), Cgroup::new());
    let daemon = observe(dir.path(), &cgroup);
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    let words = [cgroup.wrapper(), nginx.command()].concat();
    let _server = start(&words, &dir.path().join("nginx.out"));
    nginx.await_listening();
    let mut load = Load::new(dir.path(), &cgroup.wrapper());
    requests(&mut load, &nginx);
    assert_exact([("server", &daemon), ("client", &daemon)], &nginx, &load, &[]);
}

/// The kernel's own faults on a wire: both ends' devices lose, double and swap what they send.
#[test]
#[ignore = "privileged: attaches BPF programs, makes network namespaces"]
fn netem() {
    let (server, client) = (Netns::new(), Netns::new());
    server.cable(&client, "wire0", [&["10.78.0.1/24"], &["10.78.0.2/24"]]);
    for netns in [&server, &client] {
        // A lost tail is sent again after 40 ms rather than 200.
        netns.ip("route replace 10.78.0.0/24 dev wire0 rto_min 40ms");
        let faults =
            "qdisc add dev wire0 root netem limit 10000 delay 2ms loss 2% duplicate 5% reorder 90% 50%";
        process::run(Command::new("tc").args(["-n", netns.name()]).args(faults.split_whitespace()));
    }
    let (near, far) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (servers, clients) = (Cgroup::new(), Cgroup::new());
    let (at_server, at_client) = (observe(near.path(), &servers), observe(far.path(), &clients));
    let nginx = Nginx::prepare(near.path(), "10.78.0.1", 8080, "");
    let words = [servers.wrapper(), server.wrapper(), nginx.command()].concat();
    let _server = start(&words, &near.path().join("nginx.out"));
    eventually("nginx to start", || {
        near.path().join("nginx.pid").metadata().ok().filter(|file| file.len() > 0)
    });
    let mut load = Load::new(far.path(), &[clients.wrapper(), client.wrapper()].concat());
    requests(&mut load, &nginx);
    // The wire's copy of a segment may come when its connection's end has just been told: no byte of it is new.
    assert_exact([("server", &at_server), ("client", &at_client)], &nginx, &load, &["unknown_connection"]);
    // By the kernels' own account it was that kind of wire.
    for netns in [&server, &client] {
        for (group, name) in
            [("Tcp", "RetransSegs"), ("TcpExt", "TCPOFOQueue"), ("TcpExt", "TCPDSACKOldSent")]
        {
            let count = netns.snmp(group, name);
            println!("{name}: {count}");
            assert!(count > 0, "{name}");
        }
    }
}
