//! What resolvers told of names, through the end of a daemon and the start of the next: against the accounts of whoever got the
//! connections.

use std::{fs, process::Command};

use rustix::process::Signal;
use sidecar_tests::{
    binary,
    bpffs::Bpffs,
    cgroup::Cgroup,
    dnsmasq, eventually, free_port,
    nginx::Nginx,
    process::{self, Process},
    sidecar::{Sidecar, TWO_CAPABILITIES},
};

const RESOLVER: &str = "127.53.0.3";

/// What the resolver knows: names that are asked for in the tests, with their addresses.
const RECORDS: [&str; 6] = [
    "bad.example,127.8.1.1,::1",
    "worse.example,127.8.1.2",
    "gone.example,127.8.1.3",
    "geared.example,127.8.1.4",
    "covered.example,127.8.1.5",
    "relayed.example,127.8.1.6",
];

/// Connects to hosts in turn, over and over; a line of what came of each.
const CONNECTS: &str = r#"
import errno, socket, sys, time
port, *hosts = sys.argv[1:]
while True:
    for host in hosts:
        s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        s.settimeout(10)
        try:
            s.connect((host, int(port)))
            s.sendall(b"GET /100.bin HTTP/1.0\r\n\r\n")
            while s.recv(65536): pass
            print(host, "reached", flush=True)
        except OSError as error:
            print(host, errno.errorcode.get(error.errno, error), flush=True)
        s.close()
    time.sleep(0.002)
"#;

/// A resolver, a server on all addresses of IPv4 and one on ::1, a cgroup, and a bpffs.
struct World {
    dir: tempfile::TempDir,
    bpffs: Bpffs,
    cgroup: Cgroup,
    port: u16,
    servers: Vec<(Nginx, Process)>,
    _resolver: Process,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let server = |address: &str| {
            let folder = dir.path().join(address);
            let nginx = Nginx::prepare(&folder, address, port, "");
            let words = nginx.command();
            let process = Process::start(Command::new(&words[0]).args(&words[1..]), &folder.join("out"));
            nginx.await_listening();
            (nginx, process)
        };
        let servers = ["0.0.0.0", "[::1]"].map(server).into();
        let mut known = vec!["--local-ttl=5".to_owned(), "--local=/example/".to_owned()];
        known.extend(RECORDS.iter().map(|record| format!("--host-record={record}")));
        let log = dir.path().join("resolver");
        let resolver = dnsmasq::start(RESOLVER, &known, &log, ["bad.example", "127.8.1.1"]);
        World { dir, bpffs: Bpffs::new(), cgroup: Cgroup::new(), port, servers, _resolver: resolver }
    }

    /// Requests that the servers answered, by their logs.
    fn served(&self) -> [u64; 2] {
        [0, 1].map(|at| self.servers[at].0.answered().values().sum())
    }

    /// Runs a daemon that pins. `PORT` is the servers'.
    fn run(&self, name: &str, services: &str) -> Sidecar {
        let dir = self.dir.path().join(name);
        fs::create_dir_all(&dir).expect("a folder");
        let settings = dir.join("settings.yaml");
        let services = services.replace("PORT", &self.port.to_string());
        let text = format!("traffic:\n  pin: {}\n  services:\n{services}", self.bpffs.pins().display());
        fs::write(&settings, text).expect("settings");
        let (cgroup, settings) = (self.cgroup.path().display().to_string(), settings.display().to_string());
        let args = ["--cgroup", &cgroup, "--config", &settings];
        let mut sidecar = Sidecar::spawn(&dir, &TWO_CAPABILITIES, &args, &[]);
        sidecar.await_attached();
        sidecar.await_ready();
        sidecar
    }

    /// What a program says that runs in the application's cgroup.
    fn say(&self, words: &[&str]) -> String {
        let wrapper = self.cgroup.wrapper();
        let output = process::output(Command::new(&wrapper[0]).args(&wrapper[1..]).args(words));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Has the application ask for a name.
    fn ask(&self, name: &str) {
        let at = format!("@{RESOLVER}");
        for kind in ["A", "AAAA"] {
            let _ = self.say(&["dig", "+time=5", "+tries=1", &at, name, kind]);
        }
    }

    /// The status that a server answers with, or the way in which there is no connection.
    fn get(&self, host: &str) -> String {
        let url = format!("http://{host}:{}/100.bin", self.port);
        let said = ["-w", "%{http_code} %{errormsg}", "-sgo", "/dev/null", "-m", "10", &url];
        let said = self.say(&[&["curl"][..], &said].concat());
        match said.trim() {
            said if said.starts_with("000") => "none".to_owned(),
            said => said.to_owned(),
        }
    }

    /// Connects to hosts over and over.
    fn connect(&self, hosts: &[&str]) -> Connects {
        let wrapper = self.cgroup.wrapper();
        let output = self.dir.path().join("connects");
        let port = self.port.to_string();
        let python = ["python3", "-c", CONNECTS, &port];
        let mut command = Command::new(&wrapper[0]);
        let _process = Process::start(command.args(&wrapper[1..]).args(python).args(hosts), &output);
        Connects { _process, output }
    }

    /// How many answers are kept for the next daemon, by the kernel's own account.
    fn n_kept(&self) -> usize {
        let dump = ["-j", "map", "dump", "pinned"];
        let dumped = process::run(Command::new("bpftool").args(dump).arg(self.bpffs.pins().join("LEARNED")));
        serde_json::from_str::<Vec<serde_json::Value>>(&dumped).expect("JSON").len()
    }
}

struct Connects {
    _process: Process,
    output: std::path::PathBuf,
}

impl Connects {
    /// All that came of them so far.
    fn said(&self) -> Vec<String> {
        let said = process::read(&self.output);
        let whole = said.rsplit_once('\n').map(|(whole, _)| whole).unwrap_or_default();
        whole.lines().map(str::to_owned).collect()
    }

    /// Waits for some more.
    fn go_on(&self, when: &str) {
        let before = self.said().len();
        eventually(when, || (self.said().len() > before + 40).then_some(()));
    }
}

fn kill(mut sidecar: Sidecar) {
    sidecar.signal(Signal::KILL);
    sidecar.wait();
}

fn explained(sidecar: &Sidecar, to: &str) -> String {
    let admin = format!("127.0.0.1:{}", sidecar.admin_port);
    let output = process::output(Command::new(binary()).args(["explain", to, "--admin", &admin]));
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// Over both families, whatever becomes of the daemon: what is denied by a real name stays so, from the answer on.
#[test]
#[ignore = "privileged: attaches BPF programs, mounts a bpffs"]
fn what_is_denied_by_a_real_name_stays_denied() {
    let world = World::new();
    let services = "    - {name: bad, hosts: [bad.example], resolve: real, ports: [PORT], gear: deny}
    - {name: closed, hosts: [relayed.example], resolve: real, ports: [PORT], gear: proxy, when_gone: closed}
    - {name: virtual, hosts: [virtual.example], ports: [PORT], endpoints: ['127.8.1.9:PORT']}
";
    let mut sidecar = world.run("daemon", services);
    // Nobody asked yet: an address alone is nobody's.
    assert_eq!(["127.8.1.1", "[::1]"].map(|host| world.get(host)), ["200", "200"]);
    world.ask("bad.example");
    world.ask("relayed.example");
    assert_eq!(["127.8.1.1", "[::1]", "127.8.1.6"].map(|host| world.get(host)), ["none", "none", "200"]);
    let before = [2, 1];
    assert_eq!(world.served(), before);

    let connects = world.connect(&["127.8.1.1", "::1"]);
    for round in 0..4 {
        connects.go_on("connections with a daemon");
        assert_eq!(sidecar.scrape().count("sidecar_dns_addresses", &[]), 3, "round {round}");
        let to = format!("bad.example:{}", world.port);
        assert!(
            explained(&sidecar, &to).contains("connect() fails with EPERM"),
            "{}",
            explained(&sidecar, &to)
        );
        if round == 3 {
            assert!(sidecar.stop().success());
        } else {
            kill(sidecar);
        }
        connects.go_on("connections without a daemon");
        assert_eq!(world.get("127.8.1.6"), "none", "round {round}");
        sidecar = world.run("daemon", services);
        connects.go_on("connections with another daemon");
        assert_eq!(world.get("127.8.1.6"), "200", "round {round}");
    }
    let said = connects.said();
    let others: Vec<_> = said.iter().filter(|said| !said.ends_with(" EPERM")).collect();
    assert!(others.is_empty(), "{others:?}");
    assert!(["127.8.1.1 EPERM", "::1 EPERM"].iter().all(|one| said.iter().any(|said| said == one)));
    // By the servers' own account.
    assert_eq!(world.served(), [before[0] + 4, before[1]]);
    assert_eq!(world.n_kept(), 3);
}

/// Settings that changed while no daemon was there hold at once, of what was learned before too.
#[test]
#[ignore = "privileged: attaches BPF programs, mounts a bpffs"]
fn what_was_learned_is_whose_name_it_is_now() {
    let world = World::new();
    let hosts: Vec<_> = (1..=5).map(|n| format!("127.8.1.{n}")).collect();
    let get = || hosts.iter().map(|host| world.get(host)).collect::<Vec<_>>();
    let service = |name: &str, hosts: &str, more: &str| {
        format!("    - {{name: {name}, hosts: [{hosts}], resolve: real, ports: [PORT]{more}}}\n")
    };
    let deny = ", gear: deny";
    let first = [
        service("bad", "bad.example, worse.example", deny),
        service("gone", "gone.example", deny),
        service("geared", "geared.example", deny),
        service("covered", "covered.example", deny),
    ];
    let sidecar = world.run("daemon", &first.concat());
    for name in ["bad", "worse", "gone", "geared", "covered"] {
        world.ask(&format!("{name}.example"));
    }
    assert_eq!(get(), ["none"; 5]);
    assert_eq!(world.n_kept(), 6);
    kill(sidecar);
    assert_eq!(get(), ["none"; 5]);
    assert_eq!(world.served(), [0, 0]);

    let static_one = "    - {name: static, addresses: [127.8.1.5], ports: [PORT]}\n".to_owned();
    let second = [
        static_one,
        service("bad", "bad.example", deny),
        service("geared", "geared.example", ""),
        service("covered", "covered.example", deny),
        service("new", "worse.example.example", deny),
    ];
    let sidecar = world.run("daemon", &second.concat());
    assert_eq!(get(), ["none", "200", "200", "200", "200"]);
    assert_eq!(world.get("[::1]"), "none");
    assert_eq!(world.served(), [4, 0]);
    assert_eq!(world.n_kept(), 4, "what is nobody's any more is not kept");
    assert_eq!(sidecar.scrape().count("sidecar_dns_addresses", &[]), 4);
    kill(sidecar);
    assert_eq!(get(), ["none", "200", "200", "200", "200"]);

    // A name that another service has now, and `*.` above one that was learned.
    let third = [service("wide", "'*.example'", deny), service("own", "geared.example", "")];
    let mut sidecar = world.run("daemon", &third.concat());
    assert_eq!(get(), ["none", "200", "200", "200", "none"]);
    assert_eq!(world.served(), [4 + 4 + 3, 0]);
    // The same while running, and what the next daemon finds is that.
    let settings = world.dir.path().join("daemon/settings.yaml");
    let text = process::read(&settings).replace("*.example", "bad.example");
    fs::write(&settings, text).expect("settings");
    sidecar.signal(Signal::HUP);
    eventually("the new settings", || sidecar.log().contains("settings read again").then_some(()));
    assert_eq!(get(), ["none", "200", "200", "200", "200"]);
    assert_eq!(world.n_kept(), 3);
    assert!(sidecar.stop().success());
    let sidecar = world.run("daemon", "    []\n");
    assert_eq!(get(), ["200"; 5]);
    assert_eq!(world.n_kept(), 0);
    drop(sidecar);
}
