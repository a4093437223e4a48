//! Several containers of one pod: whose each request, connection and span is.

use std::{collections::BTreeMap, path::Path, process::Command};

use sidecar_tests::{
    cgroup, eventually, free_port,
    load::Load,
    nginx::Nginx,
    otlp::Receiver,
    pod::{DEFAULT, Pod, UID},
    process::{self, Process},
    scrape::{self, Scrape},
    sidecar::Sidecar,
};

/// A web server as a container.
struct Server {
    nginx: Nginx,
    id: String,
    #[expect(dead_code, reason = "a guard")]
    process: Process,
}

impl Server {
    /// `inner`: it makes itself a cgroup below the container's, as a service manager in a container does.
    fn start(pod: &Pod, dir: &Path, digit: char, inner: bool) -> Server {
        let dir = dir.join(digit.to_string());
        let nginx = Nginx::prepare(&dir, "127.0.0.1", free_port(), "");
        let below = pod.scope(digit).join("init.scope");
        let enter = format!("mkdir {0} && echo 0 >{0}/cgroup.procs", below.display());
        let mut words = pod.container(digit, if inner { &enter } else { "" }, DEFAULT);
        words.extend(nginx.command());
        let process = Process::start(Command::new(&words[0]).args(&words[1..]), &dir.join("out"));
        nginx.await_listening();
        Server { nginx, id: digit.to_string().repeat(64), process }
    }

    /// What it answered, by its own log.
    fn n_answered(&self) -> u64 {
        self.nginx.answered().values().sum()
    }
}

fn of(scrape: &Scrape, name: &str, id: &str, more: &[(&str, &str)]) -> u64 {
    scrape.count(name, &[&[("container_name", id)], more].concat())
}

fn requests(scrape: &Scrape, role: &str, id: &str) -> u64 {
    of(scrape, &format!("http_{role}_request_duration_seconds_count"), id, &[])
}

const OPENED: &str = "sidecar_tcp_peer_connection_opened_total";

/// With the node's hierarchy: the programs are on the pod, and its containers are told apart all the same, from the first
/// request of each on, in metrics, spans and what explains them.
#[test]
#[ignore = "privileged: makes namespaces, attaches BPF programs to cgroups"]
fn each_containers_requests_connections_and_spans_are_its_own() {
    let dir = tempfile::tempdir().expect("a folder");
    let pod = Pod::new(dir.path());
    let receiver = Receiver::start(dir.path());
    let node = dir.path().join("node");
    std::fs::create_dir(&node).expect("a place for the mount");
    let script = format!(
        "mount --bind {mount} {node} && mount -o remount,bind,ro {node} && export POD_UID={UID}",
        mount = cgroup::mount().display(),
        node = node.display()
    );
    let args = ["--otlp-endpoint", &receiver.endpoint()];
    let mut sidecar = pod.sidecar(dir.path(), "bpf,net_admin", &script, &args);
    sidecar.await_attached();

    let first = Server::start(&pod, dir.path(), 'a', false);
    await_told_apart(&sidecar, &first.id);
    let second = Server::start(&pod, dir.path(), 'b', true);
    let mut load = Load::new(dir.path(), &[]);
    let opened = |scrape: &Scrape, id, role| of(scrape, OPENED, id, &[("sidecar_tcp_role", role)]);
    // The harness's own look for the server may have come before there were two.
    let looked = opened(&sidecar.scrape_at_rest(), &first.id, "server");
    load.h2load(("GET", 200), 200, "-c 8", 0, &first.nginx.url("100.bin"));
    load.h2load(("GET", 200), 120, "-c 4 -m 4", 0, &second.nginx.url("1000.bin"));
    // From one container to the other.
    let mut words = pod.container('a', "", DEFAULT);
    let url = second.nginx.url("numbered/[100-106]/x");
    words.extend(["curl", "-s", "-o", "/dev/null", "--http1.1", &url].map(str::to_owned));
    process::run(Command::new(&words[0]).args(&words[1..]));

    let scrape = sidecar.scrape_at_rest();
    let answered = |servers: &[&Server]| -> BTreeMap<String, u64> {
        servers.iter().map(|server| (server.id.clone(), server.n_answered())).collect()
    };
    assert_eq!(answered(&[&first, &second]).values().collect::<Vec<_>>(), [&200, &127]);
    for server in [&first, &second] {
        assert_eq!(requests(&scrape, "server", &server.id), server.n_answered(), "{}", server.id);
        assert_eq!(of(&scrape, "http_server_active_requests", &server.id, &[]), 0);
    }
    assert_eq!((requests(&scrape, "client", &first.id), requests(&scrape, "client", &second.id)), (7, 0));
    // As many as the tools were told to make, and one that waited for the server.
    let both = |role| [&first.id, &second.id].map(|id| opened(&scrape, id, role));
    assert_eq!((both("server"), both("client")), ([8 + looked, 4 + 1 + 1], [1, 0]));

    let query = format!("/explain?metric=http.server.request.duration&container.name={}", second.id);
    let explained: serde_json::Value =
        serde_json::from_str(&scrape::get(sidecar.admin_port, &query, "")).expect("JSON");
    assert_eq!(explained["matched"], 127);
    assert_eq!(explained["exchanges"][0]["series"]["container.name"], second.id.as_str());

    // A container that starts again is another one, and what its forerunner did stays its own.
    let before = answered(&[&first]);
    drop(first);
    pod.remove('a');
    let third = Server::start(&pod, dir.path(), 'c', false);
    load.h2load(("GET", 200), 50, "-c 2", 0, &third.nginx.url("100.bin"));
    load.h2load(("GET", 200), 30, "-c 2", 0, &second.nginx.url("100.bin"));
    let expected: BTreeMap<_, _> = before.into_iter().chain(answered(&[&second, &third])).collect();
    let scrape = sidecar.scrape_at_rest();
    let found: BTreeMap<_, _> =
        expected.keys().map(|id| (id.clone(), requests(&scrape, "server", id))).collect();
    assert_eq!(found, expected);
    assert_eq!(scrape.requests("server").values().sum::<u64>(), expected.values().sum::<u64>());

    // The last batch does not wait for long.
    let n_spans = expected.values().sum::<u64>() as usize + 7;
    let all = eventually("the spans", || Some(receiver.spans()).filter(|spans| spans.len() >= n_spans));
    let mut spans = BTreeMap::new();
    for span in all {
        assert!(span.kind != "SPAN_KIND_CLIENT" || span.attributes["container.name"] == "a".repeat(64));
        if span.kind == "SPAN_KIND_SERVER" {
            *spans.entry(span.attributes["container.name"].clone()).or_insert(0) += 1;
        }
    }
    assert_eq!(spans, expected);
}

/// The container's own figures show that there is something to tell it from.
fn await_told_apart(sidecar: &Sidecar, id: &str) {
    eventually("the container to be known", || {
        sidecar.scrape().sum("container_cpu_time_seconds_total", &[("container_name", id)])
    });
}

/// Container by container, those that are reached through their processes.
#[test]
#[ignore = "privileged: makes namespaces, attaches BPF programs to cgroups"]
fn containers_that_were_attached_to_one_by_one_are_told_apart() {
    let dir = tempfile::tempdir().expect("a folder");
    let pod = Pod::new(dir.path());
    let mut sidecar = pod.sidecar(dir.path(), "bpf,net_admin,sys_ptrace", "", &[]);
    sidecar.await_attached();
    let first = Server::start(&pod, dir.path(), 'a', true);
    let second = Server::start(&pod, dir.path(), 'b', false);
    for server in [&first, &second] {
        await_told_apart(&sidecar, &server.id);
    }
    let mut load = Load::new(dir.path(), &[]);
    load.h2load(("GET", 200), 100, "-c 4", 0, &first.nginx.url("100.bin"));
    load.h2load(("GET", 200), 60, "-c 2", 0, &second.nginx.url("100.bin"));
    let scrape = sidecar.scrape_at_rest();
    for server in [&first, &second] {
        let name = ("container_name", &*server.id);
        assert_eq!(requests(&scrape, "server", &server.id), server.n_answered(), "{name:?}");
    }
    let received = |id| of(&scrape, "sidecar_tcp_peer_connection_opened_total", id, &[]);
    assert_eq!((received(&first.id), received(&second.id)), (4, 2));
}
