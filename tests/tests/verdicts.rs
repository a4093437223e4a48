//! What is told of connections that are steered, against the accounts of whoever asked and whoever answered.

use std::{collections::BTreeMap, fs, process::Command};

use serde_json::Value;
use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port,
    nginx::Nginx,
    otlp::{Receiver, Span},
    process::{self, Process},
    scrape,
    sidecar::Sidecar,
};

/// Endpoints, and who is steered to them.
struct World {
    dir: tempfile::TempDir,
    cgroup: Cgroup,
    servers: Vec<(Nginx, Process)>,
}

impl World {
    /// Two servers on 127.0.0.1 and one on ::1, which say of each request which of them got it.
    fn new() -> World {
        let dir = tempfile::tempdir().expect("a folder");
        let mut servers = Vec::new();
        for (name, address) in [("one", "127.0.0.1"), ("two", "127.0.0.1"), ("six", "[::1]")] {
            let nginx = Nginx::prepare(&dir.path().join(name), address, free_port(), "");
            nginx.amend(
                "'$request_method $status $remote_addr $body_bytes_sent'",
                "'$request_uri $server_addr:$server_port'",
            );
            let command = nginx.command();
            let mut command_line = Command::new(&command[0]);
            let log = dir.path().join(format!("{name}.log"));
            let process = Process::start(command_line.args(&command[1..]), &log);
            nginx.await_listening();
            servers.push((nginx, process));
        }
        World { dir, cgroup: Cgroup::new(), servers }
    }

    fn port(&self, server: usize) -> u16 {
        self.servers[server].0.port
    }

    fn run(&self, services: &str, args: &[&str]) -> Sidecar {
        let settings = self.dir.path().join("settings.yaml");
        fs::write(&settings, format!("traffic:\n  services:\n{services}")).expect("settings");
        let (cgroup, settings) = (self.cgroup.path().display().to_string(), settings.display().to_string());
        let all = [&["--cgroup", &cgroup, "--config", &settings], args].concat();
        let sidecar = Sidecar::run(self.dir.path(), &all, &[]);
        sidecar.await_ready();
        sidecar
    }

    fn curl(&self, args: &[&str]) -> Vec<String> {
        let words = ["curl", "-s", "-g", "-o", "/dev/null"];
        [self.cgroup.wrapper(), words.iter().chain(args).map(|word| (*word).to_owned()).collect()].concat()
    }

    /// Who answered, by the path that was asked for.
    fn answered(&self) -> BTreeMap<String, String> {
        let log = |name| process::read(&self.dir.path().join(name).join("access.log"));
        let lines: String = ["one", "two", "six"].map(log).concat();
        let line = |line: &str| {
            let (path, server) = line.rsplit_once(' ')?;
            let (host, port) = server.rsplit_once(':')?;
            Some((path.to_owned(), joined(host, port)))
        };
        lines.lines().filter_map(line).collect()
    }
}

/// An address as a URL has it.
fn joined(host: &str, port: &str) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Where somebody connects to; the verdict, its reason and the service that are to be told.
type Destination = (String, &'static str, &'static str, Option<&'static str>);

/// Services of each kind, and destinations with what is to become of connections there.
fn services(world: &World) -> (String, Vec<Destination>) {
    let [one, two, six] = [0, 1, 2].map(|server| world.port(server));
    let endpoints = format!("['127.0.0.1:{one}', '127.0.0.1:{two}', '[::1]:{six}']");
    let text = format!(
        "
    - name: direct
      addresses: [10.9.0.1, 'fd99::1']
      endpoints: {endpoints}
    - name: proxied
      addresses: [10.9.0.2, 'fd99::2']
      gear: proxy
      endpoints: {endpoints}
    - name: relayed
      addresses: [127.0.0.1]
      ports: [{two}]
      gear: proxy
    - name: excepting
      addresses: [127.0.0.0/8]
      except: {{addresses: [127.0.0.1]}}
      endpoints: ['127.0.0.1:{two}']
"
    );
    let destinations = vec![
        ("10.9.0.1:80".to_owned(), "direct", "gear", Some("direct")),
        ("[fd99::1]:8080".to_owned(), "direct", "gear", Some("direct")),
        ("10.9.0.2:80".to_owned(), "proxied", "gear", Some("proxied")),
        ("[fd99::2]:81".to_owned(), "proxied", "gear", Some("proxied")),
        (format!("127.0.0.1:{two}"), "proxied", "gear", Some("relayed")),
        (format!("127.0.0.1:{one}"), "passed", "exception", Some("excepting")),
        (format!("[::1]:{six}"), "passed", "no_rule", None),
    ];
    (text, destinations)
}

/// Spans and metrics have what curl asked for and the server that answered it, though the relay may be in between.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn spans_and_metrics_have_both_what_was_asked_for_and_who_answered() {
    const EACH: usize = 4;
    let world = World::new();
    let (services, destinations) = services(&world);
    let receiver = Receiver::start(world.dir.path());
    let mut sidecar = world.run(&services, &["--otlp-endpoint", &receiver.endpoint()]);
    let mut asked = BTreeMap::new();
    for (at, (to, verdict, _, service)) in destinations.iter().enumerate() {
        for n in 0..EACH {
            let path = format!("/numbered/100/{at}-{n}");
            // Without a Host only the connection knows what was asked for.
            let headers: &[&str] = if n == 0 { &["-0", "-H", "Host:"] } else { &[] };
            let url = format!("http://{to}{path}");
            let words = world.curl(&[headers, &[&url]].concat());
            process::run(Command::new(&words[0]).args(&words[1..]));
            asked.insert(path, (to.as_str(), *verdict, *service));
        }
    }
    let answered = world.answered();
    assert_eq!(answered.len(), destinations.len() * EACH, "{answered:?}");
    let scrape = sidecar.scrape_at_rest();
    sidecar.stop();
    let spans: Vec<Span> = receiver.spans();
    assert_eq!(spans.len(), asked.len());
    let address = |span: &Span, of: &str| {
        let [host, port] = ["address", "port"].map(|key| span.attributes[&format!("{of}.{key}")].clone());
        joined(&host, &port)
    };
    let mut by_endpoint: BTreeMap<(String, String), u64> = BTreeMap::new();
    for span in &spans {
        let url = &span.attributes["url.full"];
        let path = &url[url.find("/numbered").expect("the path")..];
        let (to, verdict, service) = asked[path];
        assert_eq!(address(span, "server"), to, "{path}");
        assert_eq!(address(span, "network.peer"), answered[path], "{path}");
        assert_eq!(span.attributes["sidecar.verdict"], verdict, "{path}");
        assert_eq!(span.attributes.get("sidecar.service").map(String::as_str), service, "{path}");
        if verdict != "passed" && service != Some("relayed") {
            *by_endpoint.entry((to.to_owned(), answered[path].clone())).or_default() += 1;
        }
    }
    // So do metrics of services that have endpoints.
    let mut seen = BTreeMap::new();
    for (labels, n) in scrape.all("http_client_request_duration_seconds_count") {
        let address = |of: &str| {
            let [host, port] = ["address", "port"].map(|key| labels.get(&format!("{of}_{key}")));
            let (host, port) = (host?, port?);
            Some(joined(host, port))
        };
        if let (Some(server), Some(peer)) = (address("server"), address("network_peer")) {
            *seen.entry((server, peer)).or_default() += n as u64;
        }
    }
    assert_eq!(seen, by_endpoint);
    // TCP's peers are the servers, by their own account, and none is the relay.
    let mut of_servers: BTreeMap<&str, u64> = BTreeMap::new();
    answered.values().for_each(|server| *of_servers.entry(server).or_default() += 1);
    let opened = scrape.all("sidecar_tcp_peer_connection_opened_total");
    let opened: BTreeMap<_, _> = opened
        .map(|(labels, n)| {
            let (host, port) = (&labels["network_peer_address"], &labels["network_peer_port"]);
            (joined(host, port), n as u64)
        })
        .collect();
    assert_eq!(opened, of_servers.into_iter().map(|(server, n)| (server.to_owned(), n)).collect());
}

/// `/connections` has the verdict on each, what was asked for, and the server that in the end logs it.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn connections_are_listed_with_what_was_decided() {
    let world = World::new();
    let (services, destinations) = services(&world);
    let sidecar = world.run(&services, &[]);
    let mut clients = Vec::new();
    for (at, (to, ..)) in destinations.iter().enumerate() {
        let url = format!("http://{to}/numbered/5000000/{at}");
        let words = world.curl(&["--limit-rate", "1k", &url]);
        let output = world.dir.path().join(format!("curl{at}"));
        clients.push(Process::start(Command::new(&words[0]).args(&words[1..]), &output));
    }
    let lines = eventually("all connections to be listed", || {
        let lines = scrape::get(sidecar.admin_port, "/connections", "");
        let lines: Vec<Value> = serde_json::from_str(&lines).expect("JSON");
        (lines.len() == destinations.len()).then_some(lines)
    });
    // Killed, so that the servers write their lines.
    drop(clients);
    let answered = eventually("the servers' accounts", || {
        let answered = world.answered();
        (answered.len() == destinations.len()).then_some(answered)
    });
    for (at, (to, verdict, reason, service)) in destinations.iter().enumerate() {
        let line = lines.iter().find(|line| line["asked"] == to.as_str());
        let line = line.unwrap_or_else(|| panic!("no {to} in {lines:#?}"));
        let server = answered[&format!("/numbered/5000000/{at}")].as_str();
        assert_eq!((&line["verdict"], &line["reason"]), (&(*verdict).into(), &(*reason).into()), "{to}");
        assert_eq!(line["service"].as_str(), *service, "{to}");
        match *verdict {
            "direct" => assert_eq!((&line["endpoint"], &line["remote"]), (&server.into(), &server.into())),
            "proxied" if *service == Some("relayed") => {
                assert_eq!((&line["endpoint"], server), (&Value::Null, to.as_str()))
            }
            "proxied" => assert_eq!(line["endpoint"], server, "{to}"),
            _ => assert_eq!((&line["endpoint"], &line["remote"]), (&Value::Null, &server.into()), "{to}"),
        }
    }
}
