//! Clients of many makes, which know nothing of what they are steered by: nginx's own accounts say who got them.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port,
    nginx::Nginx,
    parts,
    process::{self, Process},
    root,
    sidecar::Sidecar,
};

/// A request needs a connection.
const N: u64 = 20;
/// What the application asks: nobody has these addresses.
const DIRECT: &str = "10.9.0.1";
const PROXIED: &str = "10.9.0.2";
const ITSELF: &str = "10.9.0.3";

/// Two endpoints, and a cgroup whose connections go to them.
struct World {
    dir: tempfile::TempDir,
    cgroup: Cgroup,
    endpoints: Vec<(Nginx, Process)>,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().expect("a folder");
        let start = |name: &str| {
            let dir = dir.path().join(name);
            fs::create_dir(&dir).expect("a folder");
            let nginx = Nginx::prepare(&dir, "127.0.0.1", free_port(), "");
            let words = nginx.command();
            let process = Process::start(Command::new(&words[0]).args(&words[1..]), &dir.join("nginx.out"));
            nginx.await_listening();
            (nginx, process)
        };
        let endpoints = ["a", "b"].map(start).into();
        World { dir, cgroup: Cgroup::new(), endpoints }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `itself`: where the application listens.
    fn run(&self, itself: u16) -> Sidecar {
        let all: Vec<_> =
            self.endpoints.iter().map(|(nginx, _)| format!("'127.0.0.1:{}'", nginx.port)).collect();
        let all = all.join(", ");
        let settings = format!(
            "traffic:\n  services:\n\
             \x20 - {{name: direct, addresses: [{DIRECT}], endpoints: [{all}]}}\n\
             \x20 - {{name: proxied, addresses: [{PROXIED}], gear: proxy, endpoints: [{all}]}}\n\
             \x20 - {{name: itself, addresses: [{ITSELF}], endpoints: ['127.0.0.1:{itself}']}}\n"
        );
        fs::write(self.path("settings.yaml"), settings).expect("settings");
        let settings = self.path("settings.yaml").display().to_string();
        let cgroup = self.cgroup.path().display().to_string();
        let sidecar = Sidecar::run(self.dir.path(), &["--cgroup", &cgroup, "--config", &settings], &[]);
        sidecar.await_ready();
        sidecar
    }

    fn command(&self, words: &[&str]) -> Command {
        let wrapper = self.cgroup.wrapper();
        let mut command = Command::new(&wrapper[0]);
        command.args(&wrapper[1..]).args(words);
        command
    }

    /// What a client says.
    fn say(&self, words: &[&str]) -> String {
        process::run(&mut self.command(words))
    }

    /// What both endpoints answered.
    fn served(&self) -> [u64; 2] {
        [0, 1].map(|at| self.endpoints[at].0.answered().values().sum())
    }

    /// The endpoints got all requests that were made since `before`. How they share them is a matter of who is faster.
    fn assert_served(&self, before: [u64; 2], who: &str) {
        // A line is written after its answer.
        let served = || self.served().iter().sum::<u64>() - before.iter().sum::<u64>();
        eventually("all to be logged", || (served() >= N).then_some(()));
        assert_eq!(served(), N, "{who}");
    }
}

fn client(name: &str) -> String {
    root().join("tests/support/clients").join(name).display().to_string()
}

/// Each runtime's connections are balanced, by the kernel or through the relay, and it believes that it has what it asked for.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn every_runtime_is_steered() {
    let world = World::new();
    let mut sidecar = world.run(free_port());
    let n = N.to_string();
    let [java, node, python] = ["Client.java", "client.js", "client.py"].map(client);
    for address in [DIRECT, PROXIED] {
        let url = format!("http://{address}/100.bin");
        let curls = format!("http://{address}/100.bin?[1-{N}]");
        let to = format!("{address}:80");
        let peer = format!("200 {address} 80");
        let curl =
            ["curl", "-s", "-H", "Connection: close", "-w", "%{http_code} %{remote_ip} %{remote_port}\n"];
        for (words, each) in [
            ([&curl[..], &["-o", "/dev/null", &curls]].concat(), peer.as_str()),
            (vec!["python3", &python, &url, &n], &peer),
            (vec!["node", &node, &url, &n], &peer),
            (vec!["java", &java, &url, &n], "200"),
            (vec![env!("CARGO_BIN_EXE_uring_client"), &to, &n], "200"),
        ] {
            let before = world.served();
            let said = world.say(&words);
            let lines: BTreeSet<_> = said.lines().collect();
            assert_eq!((said.lines().count() as u64, lines), (N, [each].into()), "{words:?}");
            world.assert_served(before, words[0]);
        }
        // Go's net/http.
        let before = world.served();
        let said = world.say(&["hey", "-n", &n, "-c", "2", "-disable-keepalive", &url]);
        assert!(said.contains(&format!("[200]\t{N} responses")), "{said}");
        world.assert_served(before, "hey");
    }
    assert!(world.served().iter().all(|n| *n > 0), "{:?}", world.served());
    sidecar.assert_sound("clients", 64 * 1024);
}

/// A proxy that is the application has its servers found for it: HAProxy, and Caddy, whose client is Go's.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn a_proxys_servers_are_found() {
    let world = World::new();
    let sidecar = world.run(free_port());
    let [haproxy, caddy] = [free_port(), free_port()];
    let config = format!(
        "global\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
         \x20 option http-server-close\n  http-reuse never\n\
         frontend shop\n  bind 127.0.0.1:{haproxy}\n  use_backend proxied if {{ path_beg /proxied }}\n  default_backend direct\n\
         backend direct\n  server one {DIRECT}:80\n\
         backend proxied\n  http-request set-path /100.bin\n  server one {PROXIED}:80\n"
    );
    fs::write(world.path("haproxy.cfg"), config).expect("settings");
    let config = format!(
        "{{\n  admin off\n  persist_config off\n}}\nhttp://:{caddy} {{\n  bind 127.0.0.1\n\
         \x20 rewrite /proxied /100.bin\n\
         \x20 @proxied path /100.bin\n\
         \x20 reverse_proxy {DIRECT}:80 {{\n    transport http {{\n      keepalive off\n    }}\n  }}\n}}\n"
    );
    fs::write(world.path("Caddyfile"), config).expect("settings");
    let [haproxy_cfg, caddyfile] =
        ["haproxy.cfg", "Caddyfile"].map(|name| world.path(name).display().to_string());
    let home = format!("HOME={}", world.dir.path().display());
    let caddys = parts().join("venv/bin/caddy").display().to_string();
    let _haproxy = Process::start(
        &mut world.command(&["haproxy", "-db", "-f", &haproxy_cfg]),
        &world.path("haproxy.out"),
    );
    let _caddy = Process::start(
        &mut world.command(&["env", &home, &caddys, "run", "--config", &caddyfile]),
        &world.path("caddy.out"),
    );
    for (port, path) in [(haproxy, "100.bin"), (haproxy, "proxied"), (caddy, "100.bin")] {
        eventually("the proxy to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        let before = world.served();
        // From outside of the cgroup.
        let urls = format!("http://127.0.0.1:{port}/{path}?[1-{N}]");
        let said =
            process::run(Command::new("curl").args(["-s", "-o", "/dev/null", "-w", "%{http_code}\n", &urls]));
        assert_eq!(said.lines().filter(|line| *line == "200").count() as u64, N, "{path}: {said}");
        world.assert_served(before, path);
    }
    let labels = |verdict| [("sidecar_verdict", verdict), ("sidecar_reason", "gear")];
    let scrape = sidecar.scrape();
    assert_eq!(scrape.count("sidecar_traffic_connections_total", &labels("direct")), 2 * N);
    assert_eq!(scrape.count("sidecar_traffic_connections_total", &labels("proxied")), N);
}

/// The application asks itself: by loopback, by an address of its host, and by the address of a service that it is.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn the_application_calls_itself() {
    let world = World::new();
    let port = free_port();
    let sidecar = world.run(port);
    let dir = world.path("app");
    fs::create_dir(&dir).expect("a folder");
    let nginx = Nginx::prepare(&dir, "127.0.0.1", port, "");
    nginx.amend(&format!("listen 127.0.0.1:{port} ;"), &format!("listen {port};"));
    let pass =
        |path: &str, to: &str| format!("location = /{path} {{ proxy_pass http://{to}/100.bin; }}\n    ");
    let routes = [
        pass("loopback", &format!("127.0.0.1:{port}")),
        pass("own", &format!("127.0.0.77:{port}")),
        pass("service", ITSELF),
    ];
    nginx.amend("location = /made", &format!("{}location = /made", routes.concat()));
    let words = nginx.command();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let _server = Process::start(&mut world.command(&words), &dir.join("nginx.out"));
    nginx.await_listening();
    for path in ["loopback", "own", "service"] {
        let before: u64 = nginx.answered().values().sum();
        let url = format!("http://127.0.0.1:{port}/{path}?[1-{N}]");
        let said = world.say(&["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}\n", &url]);
        assert_eq!(said.lines().filter(|line| *line == "200").count() as u64, N, "{path}: {said}");
        // Each is there twice: as it came, and as it asked itself.
        let n = || nginx.answered().values().sum::<u64>() - before;
        eventually("all to be logged", || (n() >= 2 * N).then_some(()));
        assert_eq!(n(), 2 * N, "{path}");
    }
    let labels = [("sidecar_verdict", "direct"), ("sidecar_service", "itself")];
    assert_eq!(sidecar.scrape().count("sidecar_traffic_service_connections_total", &labels), N);
}
