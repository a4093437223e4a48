//! gRPC, against what a server of it wrote of each call.

use std::{collections::BTreeMap, fs, io::Read as _, net::TcpStream, path::PathBuf};

use serde_json::Value;
use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port, parts,
    phases::{Counts, Load, odd},
    process::{self, Process},
    python, root,
    scrape::{self, Scrape},
    sidecar::Sidecar,
};

/// What the calls are of.
const SERVICE: &str = "truth.v1.Calls";

/// Calls by method and status; `-` where there is none.
type Calls = BTreeMap<(String, String), u64>;

/// A server by grpcio in a cgroup, and clients in the same.
struct World {
    dir: tempfile::TempDir,
    cgroup: Cgroup,
    port: u16,
}

impl World {
    fn new() -> World {
        World { dir: tempfile::tempdir().expect("a folder"), cgroup: Cgroup::new(), port: free_port() }
    }

    fn serve(&self) -> Process {
        self.serve_by("grpc_server.py")
    }

    fn serve_by(&self, script: &str) -> Process {
        let (port, account) = (self.port.to_string(), self.account_file().display().to_string());
        let server = self.start(&[&python(), &support(script), &port, &account], "server.out");
        eventually("the server to listen", || TcpStream::connect(("127.0.0.1", self.port)).ok());
        server
    }

    fn observe(&self) -> Sidecar {
        let path = self.cgroup.path().display().to_string();
        let args = ["--cgroup", &path, "--set", "capture.ring_bytes=33554432"];
        let sidecar = Sidecar::run(self.dir.path(), &args, &[]);
        sidecar.await_ready();
        sidecar
    }

    fn start(&self, words: &[&str], output: &str) -> Process {
        Process::start(&mut self.cgroup.within(words), &self.dir.path().join(output))
    }

    fn account_file(&self) -> PathBuf {
        self.dir.path().join("account")
    }

    /// What the server wrote.
    fn account(&self) -> Calls {
        let mut calls = Calls::new();
        for line in fs::read_to_string(self.account_file()).unwrap_or_default().lines() {
            let (method, status) = line.split_once(' ').expect("a method and a status");
            *calls.entry((method.to_owned(), status.to_owned())).or_default() += 1;
        }
        calls
    }

    fn is_there(&self, name: &str) {
        eventually(name, || self.dir.path().join(name).exists().then_some(()));
    }
}

fn support(name: &str) -> String {
    root().join("tests/support").join(name).display().to_string()
}

/// What the daemon says of a role.
fn told(scrape: &Scrape, role: &str) -> Calls {
    let mut calls = Calls::new();
    for (labels, n) in scrape.all(&format!("rpc_{role}_call_duration_seconds_count")) {
        let of = |name: &str| labels.get(name).cloned();
        let method = of("rpc_method").unwrap_or_default();
        let status = of("rpc_response_status_code").unwrap_or_else(|| "-".to_owned());
        *calls.entry((method, status)).or_default() += n as u64;
    }
    calls.retain(|_, n| *n > 0);
    calls
}

/// The same as the server counts them: of a call whose time is over, or whose client said that nothing more comes, its library
/// may still tell.
fn calls(scrape: &Scrape, role: &str) -> Calls {
    let mut calls = told(scrape, role);
    for (method, status) in [("Late", "DEADLINE_EXCEEDED"), ("Cancelled", "UNAVAILABLE")] {
        let of = |status: &str| (format!("{SERVICE}/{method}"), status.to_owned());
        if let Some(n) = calls.remove(&of(status)) {
            *calls.entry(of("-")).or_default() += n;
        }
    }
    calls
}

fn less(mut calls: Calls, before: &Calls) -> Calls {
    for (call, n) in before {
        *calls.entry(call.clone()).or_default() -= n;
    }
    calls.retain(|_, n| *n > 0);
    calls
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn every_call_is_told_as_the_server_counts_it() {
    let world = World::new();
    let sidecar = world.observe();
    let _server = world.serve();
    // Somebody who says nothing: the server says its settings all the same.
    let mut silent = TcpStream::connect(("127.0.0.1", world.port)).expect("a connection");
    silent.read_exact(&mut [0; 9]).expect("a frame's header");
    drop(silent);
    process::run(&mut world.cgroup.within(&[
        &python(),
        &support("grpc_client.py"),
        "all",
        &world.port.to_string(),
    ]));
    // Another client: a message is a byte that says that it is not compressed, its length and itself.
    let message = world.dir.path().join("message");
    for code in [b"0", b"5", b"7"] {
        fs::write(&message, [&[0, 0, 0, 0, 1][..], code].concat()).expect("a message");
        let (data, url) = (
            format!("@{}", message.display()),
            format!("http://127.0.0.1:{}/truth.v1.Calls/Unary", world.port),
        );
        let headers = ["-H", "content-type: application/grpc", "-H", "te: trailers", "-o", "/dev/null"];
        let curl = ["curl", "-sS", "--http2-prior-knowledge", "--data-binary", &data, &url];
        process::run(&mut world.cgroup.within(&[&curl[..], &headers].concat()));
    }
    let scrape = sidecar.scrape_at_rest();
    let account = world.account();
    assert_eq!(account.values().sum::<u64>(), 3 * 17 + 2000 + 3 + 4 + 1 + 1 + 6 + 3);
    for role in ["server", "client"] {
        assert_eq!(calls(&scrape, role), account, "{role}");
        let reset = [("error_type", "client_stream_reset"), ("rpc_method", "truth.v1.Calls/Cancelled")];
        assert_eq!(scrape.count(&format!("rpc_{role}_call_duration_seconds_count"), &reset), 3, "{role}");
    }
    assert_eq!(scrape.oddities(), BTreeMap::new());
    assert_eq!(scrape.drops(), BTreeMap::new());
    for class in ["lost", "unclassified", "before_join"] {
        assert_eq!(scrape.bytes(class), 0, "{class}");
    }
    // Also of who came to see that the server listens: it says its settings to them, and they say nothing.
    assert_eq!(
        (scrape.bytes("seen"), scrape.sum("sidecar_capture_coverage_ratio", &[])),
        (scrape.bytes("explained"), Some(1.0))
    );
}

/// gRPC-Web over HTTP/1.1: the status is at the end of the response's body, in bytes or in base64.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn every_call_from_a_browser_is_told_as_the_server_counts_it() {
    let world = World::new();
    let sidecar = world.observe();
    let _server = world.serve_by("grpc_web_server.py");
    process::run(&mut world.cgroup.within(&[
        &python(),
        &support("grpc_web_client.py"),
        &world.port.to_string(),
    ]));
    let url = format!("http://127.0.0.1:{}/truth.v1.Calls/Unary", world.port);
    let message = world.dir.path().join("message");
    // The text is what base64.b64encode() makes of the bytes.
    for (code, text) in [(b"0", "AAAAAAEw"), (b"5", "AAAAAAE1"), (b"7", "AAAAAAE3")] {
        let bytes = [&[0, 0, 0, 0, 1][..], code].concat();
        for (kind, body) in
            [("application/grpc-web", &bytes[..]), ("application/grpc-web-text", text.as_bytes())]
        {
            fs::write(&message, body).expect("a message");
            let (data, kind) = (
                format!("@{}", message.display()),
                [format!("content-type: {kind}"), format!("accept: {kind}")],
            );
            let headers = ["-H", &kind[0], "-H", &kind[1], "-o", "/dev/null"];
            let curl = ["curl", "-sS", "--data-binary", &data, &url];
            process::run(&mut world.cgroup.within(&[&curl[..], &headers].concat()));
        }
    }
    let scrape = sidecar.scrape_at_rest();
    let account = world.account();
    assert_eq!(account.values().sum::<u64>(), 3 * 17 + 4 + 2 * 3);
    for role in ["server", "client"] {
        assert_eq!(told(&scrape, role), account, "{role}");
        let web = [("rpc_system_name", "grpc_web")];
        let n = scrape.count(&format!("rpc_{role}_call_duration_seconds_count"), &web);
        assert_eq!((n, scrape.requests(role)), (account.values().sum(), BTreeMap::new()), "{role}");
    }
    assert_eq!(scrape.drops(), BTreeMap::new());
    assert_eq!(scrape.bytes("seen"), scrape.bytes("explained"));
}

/// Clients of other makes: tonic, and grpc-js.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn calls_of_other_libraries() {
    let world = World::new();
    let sidecar = world.observe();
    let _server = world.serve();
    let port = world.port.to_string();
    process::run(&mut world.cgroup.within(&[env!("CARGO_BIN_EXE_tonic_client"), &port]));
    let packages = parts().join("node/node_modules");
    process::run(
        world.cgroup.within(&["node", &support("grpc_client.js"), &port]).env("NODE_PATH", packages),
    );
    // What lost its connection the server gives up a moment later, and ends its own end then.
    let given_up = (format!("{SERVICE}/Cancelled"), "-".to_owned());
    eventually("the calls to be given up", || {
        let scrape = sidecar.scrape();
        let told = ["server", "client"].map(|role| calls(&scrape, role).remove(&given_up));
        (world.account().get(&given_up) == Some(&6) && told == [Some(6); 2]).then_some(())
    });
    let scrape = sidecar.scrape_at_rest();
    let account = world.account();
    assert_eq!(account.values().sum::<u64>(), (17 + 9 + 3) + (17 + 200 + 9 + 2 + 4 + 1));
    for role in ["server", "client"] {
        assert_eq!(calls(&scrape, role), account, "{role}");
    }
    assert_eq!(odd(&scrape, 0), Counts::new());
    assert_eq!((scrape.drops(), scrape.bytes("unclassified")), (BTreeMap::new(), 0));
}

/// A connection with calls in flight when the daemon comes: what was told before, such as the methods' names, is not known and is
/// counted; no call is told twice, and no status that was not sent.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_connection_that_was_there_before() {
    let world = World::new();
    let _server = world.serve();
    let (port, folder) = (world.port.to_string(), world.dir.path().display().to_string());
    let _client = world.start(&[&python(), &support("grpc_client.py"), "load", &port, &folder], "client.out");
    let more = |n: u64| {
        let enough = world.account().values().sum::<u64>() + n;
        eventually("a load", || (world.account().values().sum::<u64>() >= enough).then_some(()));
    };
    more(100);
    let sidecar = world.observe();
    more(300);
    fs::write(world.dir.path().join("pause"), "").expect("write");
    world.is_there("paused");
    let before = world.account();
    let scrape = sidecar.scrape_at_rest();
    fs::write(world.dir.path().join("go"), "").expect("write");
    world.is_there("done");
    let since = less(world.account(), &before);
    let after = sidecar.scrape_at_rest();
    // That they are calls their messages tell; methods and statuses are in the table.
    let unknown = (String::new(), "-".to_owned());
    for role in ["server", "client"] {
        assert_eq!(after.requests(role), BTreeMap::new(), "{role}");
        let calls = less(told(&after, role), &told(&scrape, role));
        assert_eq!(calls, BTreeMap::from([(unknown.clone(), since.values().sum())]), "{role}");
    }
    assert!(after.count("sidecar_parser_oddities_total", &[("sidecar_reason", "unresolved")]) > 0);
    assert_eq!((after.drops(), after.bytes("unclassified")), (BTreeMap::new(), 0));
}

/// Calls of a phase, by the method whose name has it.
fn of_phase(calls: Calls, phase: &str) -> u64 {
    let name = format!("{SERVICE}/Unary.{phase}.");
    calls.into_iter().filter(|((method, _), _)| method.starts_with(&name)).map(|(_, n)| n).sum()
}

/// Those of them that are told as requests, with the method for a path.
fn as_requests(sidecar: &Sidecar, role: &str, phase: &str) -> u64 {
    let query = format!("/explain?metric=http.{role}.request.duration&limit=1000");
    let answer: Value = serde_json::from_str(&scrape::get(sidecar.admin_port, &query, "")).expect("JSON");
    let path = format!("/{SERVICE}/Unary.{phase}.");
    let of_phase = |one: &&Value| one["path"].as_str().is_some_and(|of| of.starts_with(&path));
    answer["exchanges"].as_array().expect("a list").iter().filter(of_phase).count() as u64
}

/// Twenty calls at a time on each of three connections, while daemons come and are killed, and one does not see all. What says that they are calls the
/// header tables have from before.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn begun_in_mid_load() {
    let world = World::new();
    let _server = world.serve();
    let (port, folder) = (world.port.to_string(), world.dir.path().display().to_string());
    let counts = |n: u64| Counts::from([("calls".to_owned(), n)]);
    let load = Load {
        cgroup: &world.cgroup,
        dir: world.dir.path(),
        client: vec![python(), support("grpc_client.py"), "phases".into(), port, folder],
        settings: &["--set", "explain.exchanges=5000"],
        may_be_unresolved: false,
        account: &|phase| counts(of_phase(world.account(), phase)),
        told: &|sidecar, role, phase| {
            counts(of_phase(told(&sidecar.scrape(), role), phase) + as_requests(sidecar, role, phase))
        },
    };
    let mut running = load.start();
    let by_second = running.observe();
    let odd = odd(&by_second, 2 * 3 * 20);
    assert!(odd.keys().eq(["unresolved"]), "{odd:?}");
    // No status that was not sent.
    let account = world.account();
    for role in ["server", "client"] {
        let mut told = told(&by_second, role);
        told.retain(|(method, status), _| !method.is_empty() && status != "-");
        let is_more = |(call, n): (&(String, String), &u64)| account.get(call).is_none_or(|all| n > all);
        assert!(!told.iter().any(is_more), "{role}: {told:?}");
    }
    running.hide();
}

/// A connection that was opened and used before: each call since is told once, as a call, with the status that the server gave
/// it or, where that is in the header table, with none.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn every_status_on_a_connection_that_was_there_before() {
    let world = World::new();
    let _server = world.serve();
    let (port, folder) = (world.port.to_string(), world.dir.path().display().to_string());
    let _client = world.start(&[&python(), &support("grpc_client.py"), "warm", &port, &folder], "client.out");
    world.is_there("paused");
    let before = world.account();
    let sidecar = world.observe();
    fs::write(world.dir.path().join("go"), "").expect("write");
    world.is_there("done");
    let since = less(world.account(), &before);
    assert_eq!(since.values().sum::<u64>(), 3 * 17 + 2000 + 3 + 4 + 1 + 1 + 6);
    let scrape = sidecar.scrape_at_rest();
    // The table had the method and the status of one kind of call.
    let mut expected = Calls::new();
    for ((method, status), n) in since {
        let status = if status == "OK" { "-".to_owned() } else { status };
        let method = if method.ends_with("/Unary") { String::new() } else { method };
        *expected.entry((method, status)).or_default() += n;
    }
    for role in ["server", "client"] {
        let mut calls = told(&scrape, role);
        let late = |status: &str| ("truth.v1.Calls/Late".to_owned(), status.to_owned());
        if let Some(n) = calls.remove(&late("DEADLINE_EXCEEDED")) {
            *calls.entry(late("-")).or_default() += n;
        }
        assert_eq!(calls, expected, "{role}");
        assert_eq!(scrape.requests(role), BTreeMap::new(), "{role}");
    }
    assert!(scrape.count("sidecar_parser_oddities_total", &[("sidecar_reason", "unresolved")]) > 0);
    assert_eq!((scrape.drops(), scrape.bytes("unclassified")), (BTreeMap::new(), 0));
}
