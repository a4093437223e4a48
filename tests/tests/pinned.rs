//! A policy that outlives the daemon, against the accounts of whoever got the connections.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;
use sidecar_tests::{
    binary,
    bpffs::Bpffs,
    cgroup::{self, Cgroup},
    eventually, free_port,
    nginx::Nginx,
    process::{self, Process},
    scrape::{self, Scrape},
    sidecar::{Sidecar, TWO_CAPABILITIES},
};

/// Programs that steer an application's cgroup.
const N_STEERING: usize = 10;

/// A cgroup, servers, and a bpffs.
struct World {
    dir: tempfile::TempDir,
    bpffs: Bpffs,
    cgroup: Cgroup,
    servers: Vec<(Nginx, Process)>,
}

impl World {
    /// With so many servers on 127.0.0.1.
    fn new(n_servers: usize) -> World {
        let dir = tempfile::tempdir().expect("a folder");
        let server = |n: usize| {
            let nginx = Nginx::prepare(&dir.path().join(n.to_string()), "127.0.0.1", free_port(), "");
            let words = nginx.command();
            let output = dir.path().join(format!("{n}.log"));
            let process = Process::start(Command::new(&words[0]).args(&words[1..]), &output);
            nginx.await_listening();
            (nginx, process)
        };
        let servers = (0..n_servers).map(server).collect();
        World { dir, bpffs: Bpffs::new(), cgroup: Cgroup::new(), servers }
    }

    fn port(&self, server: usize) -> u16 {
        self.servers[server].0.port
    }

    /// Requests that a server answered with 200, by its log.
    fn served(&self, server: usize) -> u64 {
        let answered = self.servers[server].0.answered();
        answered.get(&("GET".to_owned(), "200".to_owned())).copied().unwrap_or_default()
    }

    /// Runs a daemon that pins, once it has attached.
    fn run(&self, services: &str) -> Sidecar {
        self.run_on(&self.cgroup, "daemon", services, &self.bpffs.pins())
    }

    fn run_on(&self, cgroup: &Cgroup, name: &str, services: &str, pin: &Path) -> Sidecar {
        let dir = self.dir.path().join(name);
        fs::create_dir_all(&dir).expect("a folder");
        let settings = dir.join("settings.yaml");
        let text = format!("traffic:\n  pin: {}\n  services:\n{services}", pin.display());
        fs::write(&settings, text).expect("settings");
        let (cgroup, settings) = (cgroup.path().display().to_string(), settings.display().to_string());
        let args = ["--cgroup", &cgroup, "--config", &settings];
        let mut sidecar = Sidecar::spawn(&dir, &TWO_CAPABILITIES, &args, &[]);
        sidecar.await_attached();
        sidecar.await_ready();
        sidecar
    }

    /// What curl makes of an address, from the cgroup: the status, `refused`, or `late`.
    fn get(&self, address: &str) -> String {
        let url = format!("http://{address}/100.bin");
        let words =
            [self.cgroup.wrapper(), ["curl", "-s", "-m", "5", "-o", "/dev/null"].map(str::to_owned).to_vec()];
        let words = words.concat();
        let output =
            process::output(Command::new(&words[0]).args(&words[1..]).args(["-w", "%{http_code}", &url]));
        match output.status.code() {
            Some(0) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Some(7) => "refused".to_owned(),
            Some(28) => "late".to_owned(),
            other => panic!("curl of {url} ended with {other:?}"),
        }
    }

    /// `hey` from the cgroup, for as long as it is let.
    fn load(&self, name: &str, args: &[&str], address: &str) -> (Process, PathBuf) {
        let output = self.dir.path().join(name);
        let url = format!("http://{address}/100.bin");
        let words =
            [self.cgroup.wrapper(), vec!["hey".to_owned(), "-z".to_owned(), "10m".to_owned()]].concat();
        let process = Process::start(Command::new(&words[0]).args(&words[1..]).args(args).arg(url), &output);
        (process, output)
    }

    /// What the doctor finds of pins.
    fn examined(&self) -> String {
        let mut doctor = Command::new(binary());
        let output = process::output(doctor.arg("doctor").env("SIDECAR_TRAFFIC_PIN", self.bpffs.pins()));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = said.lines().find(|line| line.split_whitespace().nth(1) == Some("pins"));
        line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn unpin(&self) -> (Option<i32>, String) {
        let output = process::output(Command::new(binary()).arg("unpin").arg(self.bpffs.pins()));
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }

    /// How many programs are attached, whoever attached them.
    fn n_attached(&self) -> usize {
        cgroup::attached(self.cgroup.path()).len()
    }
}

fn kill(mut sidecar: Sidecar) {
    sidecar.signal(Signal::KILL);
    sidecar.wait();
}

/// Stops one thread of a daemon, until the tracer ends.
fn stop_thread(world: &World, sidecar: &mut Sidecar, name: &str) -> Process {
    const STOP: &str = "import ctypes, signal, sys
PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207
libc, thread = ctypes.CDLL(None, use_errno=True), int(sys.argv[1])
for request in PTRACE_SEIZE, PTRACE_INTERRUPT:
    assert libc.ptrace(request, thread, None, None) == 0, ctypes.get_errno()
signal.pause()
";
    let tasks = PathBuf::from(format!("/proc/{}/task", sidecar.process().pid().as_raw_nonzero()));
    let tasks: Vec<_> =
        fs::read_dir(tasks).expect("threads").map(|task| task.expect("a thread").path()).collect();
    let is_it = |task: &&PathBuf| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name);
    let task = tasks.iter().find(is_it).expect("a thread of that name");
    let thread = task.file_name().expect("its id");
    let mut python = Command::new("python3");
    let tracer = Process::start(python.args(["-c", STOP]).arg(thread), &world.dir.path().join("tracer"));
    eventually("the thread to be stopped", || {
        let status = fs::read_to_string(task.join("status")).expect("its status");
        status.contains("tracing stop").then_some(())
    });
    tracer
}

/// What `/readyz` says of steering.
fn readiness(sidecar: &Sidecar) -> String {
    let ready = scrape::get(sidecar.port, "/readyz", "");
    ready.lines().find(|line| line.starts_with("steering")).unwrap_or_default().to_owned()
}

/// Ends a load: how many responses it counted, none of them and nothing else an error.
fn finish((mut load, output): (Process, PathBuf)) -> u64 {
    load.signal(Signal::INT);
    load.wait();
    let said = process::read(&output);
    let codes: Vec<_> = said.lines().map(str::trim).filter(|line| line.ends_with("responses")).collect();
    assert!(!said.contains("Error distribution"), "{said}");
    let [only] = codes.as_slice() else { panic!("not one status: {said}") };
    let count = only.strip_prefix("[200]").unwrap_or_else(|| panic!("not 200: {said}"));
    count.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a count")
}

fn connections(scrape: &Scrape, service: &str, verdict: &str) -> u64 {
    let labels = [("sidecar_service", service), ("sidecar_verdict", verdict)];
    scrape.count("sidecar_traffic_service_connections_total", &labels)
}

/// Ten times killed and adopted under requests, a connection for each and on kept connections: none fails, and none goes where
/// the policy does not let it go.
#[test]
#[ignore = "privileged: attaches BPF programs, mounts a bpffs"]
fn a_killed_daemon_costs_a_direct_service_nothing() {
    const EACH: [&str; 5] = ["-disable-keepalive", "-c", "8", "-q", "40"];
    const KEPT: [&str; 4] = ["-c", "2", "-q", "40"];
    let world = World::new(4);
    let asked = format!("127.0.0.1:{}", world.port(0));
    // Where nobody steers, all of it goes where it asks, and without a failure.
    let load = world.load("before", &EACH, &asked);
    eventually("requests", || (world.served(0) > 500).then_some(()));
    assert_eq!(finish(load), world.served(0));
    let unsteered = world.served(0);

    let endpoints = [1, 2, 3].map(|server| format!("'127.0.0.1:{}'", world.port(server))).join(", ");
    let [each, kept] = ["each", "kept"].map(|name| {
        let address = if name == "each" { "127.0.0.1" } else { "127.0.0.2" };
        let port = world.port(0);
        format!("    - {{name: {name}, addresses: [{address}], ports: [{port}], endpoints: [{endpoints}]}}\n")
    });
    let services = format!("{each}{kept}");
    let mut sidecar = world.run(&services);
    assert_eq!(readiness(&sidecar), format!("steering ok: pinned at {}", world.bpffs.pins().display()));
    let loads = [
        world.load("each", &EACH, &asked),
        world.load("kept", &KEPT, &format!("127.0.0.2:{}", world.port(0))),
    ];
    let served = || [1, 2, 3].map(|server| world.served(server)).iter().sum::<u64>();
    for round in 0..10 {
        let before = served();
        eventually("requests with a daemon", || (served() > before + 50).then_some(()));
        kill(sidecar);
        assert_eq!(world.n_attached(), N_STEERING, "round {round}");
        let before = served();
        eventually("requests without a daemon", || (served() > before + 50).then_some(()));
        sidecar = world.run(&services);
        assert!(readiness(&sidecar).ends_with("adopted from a daemon before"), "{}", readiness(&sidecar));
        assert_eq!(sidecar.scrape().count("sidecar_traffic_pinned", &[("sidecar_state", "adopted")]), 1);
    }
    let counted = loads.map(finish);
    println!("{counted:?} requests, {:?} by server", [1, 2, 3].map(|server| world.served(server)));
    assert_eq!(served(), counted.iter().sum::<u64>());
    assert_eq!(world.served(0), unsteered, "where it asked nothing went");
    assert!([1, 2, 3].iter().all(|server| world.served(*server) > counted[0] / 10));
    // Counted on through all daemons, and every place given back.
    let scrape = sidecar.scrape();
    assert_eq!(connections(&scrape, "each", "direct"), counted[0]);
    let kept = connections(&scrape, "kept", "direct");
    assert!((2..=4).contains(&kept), "{kept}: each was kept");
    eventually("places to be given back", || {
        let scrape = sidecar.scrape();
        let mut active = scrape.all("sidecar_traffic_service_active");
        active.all(|(_, n)| n == 0.0).then_some(())
    });
    sidecar.assert_sound("ten adoptions", 64 * 1024);
    // By the maps' own account, too.
    let dump = ["-j", "map", "dump", "pinned"];
    let loads = process::run(Command::new("bpftool").args(dump).arg(world.bpffs.pins().join("LOADS")));
    let loads: Vec<serde_json::Value> = serde_json::from_str(&loads).expect("JSON");
    let is_zero = |load: &serde_json::Value| {
        load["value"].as_array().is_some_and(|bytes| bytes.iter().all(|byte| byte == "0x00"))
    };
    assert!(loads.len() > 1000 && loads.iter().all(is_zero));
}

/// With no daemon there, what is denied or closed is refused, what is open goes where it asks, and nobody who takes the relay's
/// ports is sent anything. So after the daemon's proper end, until it is unpinned.
#[test]
#[ignore = "privileged: attaches BPF programs, mounts a bpffs"]
fn what_is_refused_stays_refused_without_a_daemon() {
    let world = World::new(1);
    let port = world.port(0);
    let elsewhere = Nginx::prepare(&world.dir.path().join("denied"), "127.0.0.3", port, "");
    let words = elsewhere.command();
    let _denied =
        Process::start(Command::new(&words[0]).args(&words[1..]), &world.dir.path().join("denied.log"));
    elsewhere.await_listening();
    let services = format!(
        "    - {{name: denied, addresses: [127.0.0.3], gear: deny}}
    - {{name: open, addresses: [127.0.0.1], ports: [{port}], gear: proxy}}
    - {{name: closed, addresses: [127.0.0.4], gear: proxy, when_gone: closed, endpoints: ['127.0.0.1:{port}']}}
    - {{name: limited, addresses: [127.0.0.5], endpoints: ['127.0.0.1:{port}'], limits: {{connections: 1}}}}
"
    );
    let all = ["127.0.0.3", "127.0.0.1", "127.0.0.4", "127.0.0.5"].map(|host| format!("{host}:{port}"));
    let get = || all.each_ref().map(|address| world.get(address));
    let expected = |closed: &str| ["refused", "200", closed, "200"].map(str::to_owned);

    let mut sidecar = world.run(&services);
    assert_eq!(get(), expected("200"));
    let pid = format!("pid={},", sidecar.process().pid().as_raw_nonzero());
    let listening = process::run(Command::new("ss").args(["-Htlnp4"]));
    let mine = [sidecar.port, sidecar.admin_port];
    let ports = listening.lines().filter(|line| line.contains(&pid)).filter_map(|line| {
        line.split_whitespace().nth(3)?.rsplit_once(':')?.1.parse().ok().filter(|port| !mine.contains(port))
    });
    let ports: Vec<u16> = ports.collect();
    assert_eq!(ports.len(), 8, "{listening}");
    kill(sidecar);
    let strangers =
        ports.iter().map(|port| TcpListener::bind(("127.0.0.1", *port)).expect("a port that is free"));
    let strangers: Vec<_> = strangers.collect();
    for _ in 0..3 {
        assert_eq!(get(), expected("refused"));
    }
    for stranger in &strangers {
        stranger.set_nonblocking(true).expect("nonblocking");
        assert!(stranger.accept().is_err(), "somebody was sent to a stranger");
    }
    drop(strangers);

    let mut sidecar = world.run(&services);
    assert_eq!(get(), expected("200"));
    // One that hangs is as good as gone.
    sidecar.signal(Signal::STOP);
    eventually("the heartbeat to be missed", || (world.get(&all[2]) == "refused").then_some(()));
    assert_eq!(get(), expected("refused"));
    sidecar.signal(Signal::CONT);
    eventually("the heartbeat to go on", || (world.get(&all[2]) == "200").then_some(()));
    assert!(sidecar.scrape().count("sidecar_traffic_heartbeat_late_total", &[]) >= 1);
    assert_eq!(get(), expected("200"));
    let late = sidecar.scrape().count("sidecar_traffic_heartbeat_late_total", &[]);
    // So is one whose relay hangs, and nothing else of it.
    let mut tracer = stop_thread(&world, &mut sidecar, "relay");
    eventually("the relay to be missed", || (world.get(&all[2]) == "refused").then_some(()));
    assert_eq!(get(), expected("refused"));
    assert!(readiness(&sidecar).starts_with("steering degraded: no sign of life"), "{}", readiness(&sidecar));
    assert_eq!(sidecar.scrape().count("sidecar_traffic_heartbeat_late_total", &[]), late);
    tracer.signal(Signal::KILL);
    tracer.wait();
    eventually("the relay to go on", || (world.get(&all[2]) == "200").then_some(()));
    assert_eq!(sidecar.scrape().count("sidecar_traffic_heartbeat_late_total", &[]), late + 1);
    assert_eq!(get(), expected("200"));
    let reason = |verdict, reason| {
        let labels = [("sidecar_verdict", verdict), ("sidecar_reason", reason)];
        sidecar.scrape().count("sidecar_traffic_connections_total", &labels)
    };
    assert_eq!([reason("passed", "daemon"), reason("denied", "gear")], [5, 9]);
    assert!(sidecar.stop().success());
    assert_eq!(get(), expected("refused"), "after its proper end");
    assert_eq!(world.n_attached(), N_STEERING);

    // Another policy is in force at once, and nothing of the one before.
    let mut sidecar = world.run(
        &services
            .replace("name: denied, addresses: [127.0.0.3]", "name: denied, addresses: [127.0.0.5]")
            .replace("name: limited, addresses: [127.0.0.5]", "name: limited, addresses: [127.0.0.3]"),
    );
    assert_eq!([world.get(&all[0]), world.get(&all[3])], ["200", "refused"]);
    let (status, said) = world.unpin();
    assert!(status == Some(1) && said.contains("in use by a sidecar that runs"), "{status:?}: {said}");
    assert!(sidecar.stop().success());
    assert_eq!(world.get(&all[3]), "refused");
    let (status, said) = world.unpin();
    assert!(status == Some(0) && said.contains("28 pinned objects removed"), "{status:?}: {said}");
    assert_eq!(world.n_attached(), 0);
    assert!(!world.bpffs.pins().exists());
    assert_eq!(world.get(&all[0]), "200");
    assert_eq!(world.unpin().0, Some(0), "there is nothing any more");
}

/// What is not to be adopted is told, and stays as it is.
#[test]
#[ignore = "privileged: attaches BPF programs, mounts a bpffs"]
fn what_is_not_ours_is_told_and_left() {
    let world = World::new(1);
    let pins = world.bpffs.pins();
    let denied = format!("127.0.0.1:{}", world.port(0));
    let services = "    - {name: denied, addresses: [127.0.0.1], gear: deny}\n";
    let told = |part: &str| {
        let sidecar = world.run(services);
        let ready = readiness(&sidecar);
        assert!(
            ready.starts_with("steering degraded: connections are not steered") && ready.contains(part),
            "{part}: {ready}"
        );
        assert!(sidecar.log().contains(part), "{part}: {}", sidecar.log());
    };
    // No place for pins.
    let nowhere = world.dir.path().join("pins");
    let sidecar = world.run_on(&world.cgroup, "nowhere", services, &nowhere);
    let ready = readiness(&sidecar);
    assert!(ready.contains(&format!("{} is on no bpffs", nowhere.display())) && !nowhere.exists(), "{ready}");
    drop(sidecar);
    assert_eq!(world.get(&denied), "200");

    assert!(world.examined().ends_with("nothing is pinned yet; it will be made"), "{}", world.examined());

    // Not ours alone.
    fs::create_dir(&pins).expect("a folder");
    fs::set_permissions(&pins, fs::Permissions::from_mode(0o755)).expect("a mode");
    told("open to others (mode 0755)");
    fs::set_permissions(&pins, fs::Permissions::from_mode(0o700)).expect("a mode");
    chown(&pins, Some(65_534), None).expect("another owner");
    told("of user 65534");
    chown(&pins, Some(0), None).expect("the owner");

    // Something else under a name of ours; what has no name of ours is nobody's business.
    let create = |name: &str, called: &str| {
        let file = pins.join(name).display().to_string();
        let args = [
            "map", "create", &file, "type", "array", "key", "4", "value", "4", "entries", "1", "name", called,
        ];
        process::run(Command::new("bpftool").args(args));
    };
    create("STEER", "other");
    told("no map of that name");
    assert!(pins.join("STEER").exists());
    let (status, said) = world.unpin();
    assert!(
        status == Some(3) && said.contains("no map of that name") && pins.join("STEER").exists(),
        "{said}"
    );
    fs::remove_file(pins.join("STEER")).expect("removed");
    // Its name alone, which libbpf gives it, too, makes it none of ours.
    create("RULES", "RULES");
    told("type 2, entries of 4 and 4 bytes");
    create("zzz", "zzz");
    let (status, said) = world.unpin();
    assert!(status == Some(3) && said.contains("0 pinned objects removed") && said.contains("zzz"), "{said}");
    assert!(pins.join("RULES").exists() && pins.join("zzz").exists(), "{said}");
    fs::remove_file(pins.join("RULES")).expect("removed");
    fs::remove_file(pins.join("zzz")).expect("removed");
    create("note", "note");

    // A second daemon.
    let first = world.run(services);
    assert_eq!(world.get(&denied), "refused");
    assert!(world.examined().ends_with("a sidecar is at work with what is pinned"), "{}", world.examined());
    let second = world.run_on(&world.cgroup, "second", services, &pins);
    assert!(readiness(&second).contains("in use by a sidecar that runs"), "{}", readiness(&second));
    drop(second);
    assert!(readiness(&first).ends_with(&format!("pinned at {}", pins.display())), "{}", readiness(&first));
    kill(first);
    assert!(world.examined().ends_with("the next one adopts it"), "{}", world.examined());

    // Another cgroup than the one that it is at work on.
    let other = Cgroup::new();
    let sidecar = world.run_on(&other, "other", services, &pins);
    assert!(readiness(&sidecar).contains("which is not what is observed now"), "{}", readiness(&sidecar));
    drop(sidecar);

    // Another build: version 9.
    let layout = pins.join("LAYOUT").display().to_string();
    let update = format!("map update pinned {layout} key 0 0 0 0 value 9 0 0 0 1 2 3 4");
    process::run(Command::new("bpftool").args(update.split(' ')));
    told("its objects are of version 9 (sizes 04030201), these of ");
    assert!(world.examined().starts_with("lost pins"), "{}", world.examined());
    assert_eq!(world.get(&denied), "refused", "it is at work all the same");
    assert_eq!(world.n_attached(), N_STEERING);
    let (status, said) = world.unpin();
    assert!(
        status == Some(3) && said.contains("28 pinned objects removed") && said.contains("note"),
        "{said}"
    );
    assert!(pins.join("note").exists());
    assert_eq!((world.get(&denied).as_str(), world.n_attached()), ("200", 0));
}

/// Pins of a cgroup that is gone are of no use: said, and replaced.
#[test]
#[ignore = "privileged: attaches BPF programs, mounts a bpffs"]
fn pins_of_a_cgroup_that_is_gone_are_replaced() {
    let mut world = World::new(1);
    let address = format!("127.0.0.1:{}", world.port(0));
    let services = "    - {name: denied, addresses: [127.0.0.1], gear: deny}\n";
    let sidecar = world.run(services);
    assert_eq!(world.get(&address), "refused");
    kill(sidecar);
    world.cgroup = Cgroup::new();
    assert_eq!(world.get(&address), "200");
    let mut sidecar = world.run(services);
    assert!(sidecar.log().contains("cgroups are gone that something was pinned for"), "{}", sidecar.log());
    assert_eq!(readiness(&sidecar), format!("steering ok: pinned at {}", world.bpffs.pins().display()));
    assert_eq!(world.get(&address), "refused");
    let links = || {
        let entries = fs::read_dir(world.bpffs.pins()).expect("the pins").filter_map(Result::ok);
        entries.filter(|entry| entry.file_name().to_string_lossy().contains('-')).count()
    };
    assert_eq!(links(), N_STEERING);
    assert!(sidecar.stop().success());
}

/// A command that its killed daemon left behind keeps its policy, and the next daemon's command has it too.
#[test]
#[ignore = "privileged: attaches BPF programs, mounts a bpffs"]
fn a_killed_daemons_command_has_the_next_ones_policy() {
    let world = World::new(2);
    let script = world.dir.path().join("asks.sh");
    let asks = "while [ ! -e $3 ]; do curl -s -o /dev/null -w '%{http_code}\\n' --max-time 5 $1/100.bin >> $2; sleep 0.05; done\n";
    fs::write(&script, asks).expect("a script");
    let enough = world.dir.path().join("enough");
    let start = |name: &str, services: &str| {
        let settings = world.dir.path().join(format!("{name}.yaml"));
        let pin = world.bpffs.pins();
        let text = format!("traffic:\n  pin: {}\n  services:\n{services}", pin.display());
        fs::write(&settings, text).expect("settings");
        let (settings, said) =
            (settings.display().to_string(), world.dir.path().join(format!("{name}.said")));
        let (script, asked) = (script.display().to_string(), format!("http://127.0.0.1:{}", world.port(0)));
        let dir = world.dir.path().join(name);
        fs::create_dir(&dir).expect("a folder");
        let command = ["sh", &script, &asked, &said.display().to_string(), &enough.display().to_string()];
        let sidecar = Sidecar::run(&dir, &["--config", &settings], &command);
        sidecar.await_ready();
        (sidecar, said)
    };
    let last = |said: &Path| process::read(said).lines().last().unwrap_or_default().to_owned();
    let says = |said: &Path, what: &str| {
        let before = process::read(said).lines().count();
        eventually(what, || {
            (process::read(said).lines().count() > before + 2 && last(said) == what).then_some(())
        });
    };
    let to = |gear: &str| {
        format!("    - {{name: web, addresses: [127.0.0.1], ports: [{}], {gear}}}\n", world.port(0))
    };
    let (first, left) = start("first", &to("gear: deny"));
    says(&left, "000");
    kill(first);
    says(&left, "000");
    let endpoint = format!("endpoints: ['127.0.0.1:{}']", world.port(1));
    let (second, own) = start("second", &to(&endpoint));
    assert!(readiness(&second).contains("adopted from a daemon before"), "{}", readiness(&second));
    for said in [&left, &own] {
        says(said, "200");
    }
    assert_eq!(world.served(0), 0, "nobody goes where it asked");
    kill(second);
    // Who excepts executables needs other programs than the ones that the first two brought.
    let curl = process::run(Command::new("sh").args(["-c", "command -v curl"]));
    let excepts = format!("gear: deny, except: {{executables: [{}]}}", curl.trim());
    let (third, newest) = start("third", &to(&excepts));
    assert!(readiness(&third).contains("adopted from a daemon before"), "{}", readiness(&third));
    for said in [&left, &own, &newest] {
        says(said, "200");
    }
    assert!(world.served(0) > 0);
    kill(third);
    // And who does not needs none.
    let (mut fourth, latest) = start("fourth", &to("gear: deny"));
    for said in [&left, &own, &newest, &latest] {
        says(said, "000");
    }
    // The commands end, and the next daemon removes what the first one's was in.
    fs::write(&enough, "").expect("a file");
    assert!(fourth.wait().success());
    let words = [binary().display().to_string(), "run".to_owned(), "--".to_owned(), "true".to_owned()];
    process::run(Command::new(&words[0]).args(&words[1..]));
}
