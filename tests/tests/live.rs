//! Settings that take effect while the daemon runs, against servers that are being asked all the while.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::Command,
    thread,
};

use rustix::process::Signal;
use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port,
    load::Load,
    nginx::Nginx,
    otlp::{Numbers, Receiver},
    pki::{Pki, TlsFront},
    process::{self, Process},
    rotel::Rotel,
    sidecar::Sidecar,
};

/// A server in a cgroup, and a daemon with a file of settings.
struct Place {
    sidecar: Sidecar,
    nginx: Nginx,
    file: PathBuf,
    n_applied: u64,
    #[expect(dead_code, reason = "a guard")]
    server: Process,
    #[expect(dead_code, reason = "a guard")]
    cgroup: Cgroup,
    dir: tempfile::TempDir,
}

impl Place {
    fn new(settings: &str, args: &[&str]) -> Place {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("sidecar.yaml");
        fs::write(&file, settings).expect("settings");
        let cgroup = Cgroup::new();
        let (path, config) = (cgroup.path().display().to_string(), file.display().to_string());
        let args = [&["--cgroup", &path, "--config", &config], args].concat();
        let sidecar = Sidecar::run(dir.path(), &args, &[]);
        let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
        let words = [cgroup.wrapper(), nginx.command()].concat();
        let server = Process::start(Command::new(&words[0]).args(&words[1..]), &dir.path().join("nginx.out"));
        nginx.await_listening();
        Place { sidecar, nginx, file, n_applied: 0, server, cgroup, dir }
    }

    /// Returns once the new settings hold. By the signal, or by itself.
    fn apply(&mut self, settings: &str, by: Option<Signal>) {
        fs::write(&self.file, settings).expect("settings");
        if let Some(signal) = by {
            self.sidecar.signal(signal);
        }
        self.n_applied += 1;
        eventually("the settings to be taken", || {
            (self.count("sidecar_config_reloads_total", "sidecar_state", "applied") >= self.n_applied)
                .then_some(())
        });
    }

    fn count(&self, name: &str, label: &str, value: &str) -> u64 {
        self.sidecar.scrape().count(name, &[(label, value)])
    }

    fn of_route(&self, route: &str) -> u64 {
        self.count("http_server_request_duration_seconds_count", "http_route", route)
    }

    fn curl(&self, path: &str, n: usize) {
        let url = self.nginx.url(path);
        Load::new(self.dir.path(), &[]).curl(&[("GET", "", url)], n);
    }
}

/// Asks for something whose answer has no body.
fn ask(connection: &mut TcpStream, path: &str) {
    write!(connection, "GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n").expect("send the request");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte).expect("an answer");
        answer.push(byte[0]);
    }
}

/// In the midst of requests on many connections: each is counted once, by the old pattern or, from when on that is
/// acknowledged, by the new one.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_route_changes_under_load() {
    let mut place = Place::new("http: {routes: [/100.bin], learn_routes: false}\n", &[]);
    let url = place.nginx.url("100.bin");
    let dir = place.dir.path().join("load");
    fs::create_dir(&dir).expect("a folder");
    let asking = thread::spawn(move || {
        let mut load = Load::new(&dir, &[]);
        load.h2load(("GET", 200), 100_000, "-c 32", 0, &url);
        load.total()
    });
    eventually("requests by the old pattern", || (place.of_route("/100.bin") > 1000).then_some(()));
    place.apply("http: {routes: ['/{file}'], learn_routes: false}\n", Some(Signal::HUP));
    let by_old = place.of_route("/100.bin");
    let sent = asking.join().expect("the load");
    place.curl("100.bin", 10);
    let scrape = place.sidecar.scrape_at_rest();
    assert_eq!(scrape.requests("server"), place.nginx.answered());
    let by_new = place.of_route("/{file}");
    assert_eq!(place.of_route("/100.bin"), by_old, "nothing more once the new one holds");
    assert_eq!(by_old + by_new, sent + 10);
    assert!(by_old > 1000 && by_new > 10, "{by_old} {by_new}");
    assert_eq!((scrape.drops().len(), scrape.count("sidecar_connections_gaps_total", &[])), (0, 0));
}

/// A path, and a port, are left out and taken in again; the path also on a connection that is open.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn exclusions_come_and_go() {
    let mut place = Place::new("log: {level: info}\n", &[]);
    let mut connection = TcpStream::connect(("127.0.0.1", place.nginx.port)).expect("a connection");
    let mut ask_both = |n_twice: usize| {
        for _ in 0..n_twice {
            ask(&mut connection, "status/204");
            ask(&mut connection, "status/304");
        }
    };
    ask_both(2);
    place.apply("exclude: {paths: [/status/204]}\n", None);
    ask_both(3);
    let port = place.nginx.port;
    place.apply(&format!("exclude: {{ports: [{port}]}}\n"), Some(Signal::HUP));
    // The open one goes on: nothing of it is left out any more.
    ask_both(1);
    place.curl("status/204", 1);
    place.apply("log: {level: info}\n", Some(Signal::HUP));
    place.curl("status/204", 1);
    ask_both(1);

    let scrape = place.sidecar.scrape_at_rest();
    let of = |status: &str| ("GET".to_owned(), status.to_owned());
    let (answered, counted) = (place.nginx.answered(), scrape.requests("server"));
    assert_eq!((answered[&of("204")], answered[&of("304")]), (9, 7));
    // Three by their path, and one by its port.
    assert_eq!((counted[&of("204")], counted[&of("304")]), (9 - 3 - 1, 7));
    let excluded =
        |what, reason| scrape.count(&format!("sidecar_excluded_{what}_total"), &[("sidecar_reason", reason)]);
    assert_eq!((excluded("exchanges", "path"), excluded("connections", "port")), (3, 1));
    assert_eq!(scrape.count("http_server_active_requests", &[]), 0);
    assert_eq!(scrape.count("sidecar_connections_gaps_total", &[]), 0);
}

/// Who becomes a span, and what it says.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn sampling_and_what_spans_say() {
    let receiver_dir = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start(receiver_dir.path());
    let spans = |ratio: &str, more: &str| {
        format!("spans: {{sampler: traceidratio, ratio: {ratio}}}\nexplain: {{exchanges: 4}}\n{more}")
    };
    let mut place = Place::new(&spans("0", ""), &["--otlp-endpoint", &receiver.endpoint()]);
    place.curl("100.bin", 6);
    place.apply(&spans("1", "http: {response_headers: [server]}\n"), Some(Signal::HUP));
    place.curl("1000.bin", 5);
    let hidden = "spans: {sampler: always_on, url_path: false}\nexplain: {exchanges: 1}\n";
    place.apply(hidden, Some(Signal::HUP));
    place.curl("0.bin", 3);
    let scrape = place.sidecar.scrape_at_rest();
    let decided = |word| scrape.count("sidecar_spans_total", &[("sidecar_decision", word)]);
    assert_eq!((decided("not_sampled"), decided("sampled")), (6, 5 + 3));
    let url = format!("http://127.0.0.1:{}/explain", place.sidecar.admin_port);
    let explained = process::run(Command::new("curl").args(["-s", &url]));
    let explained: serde_json::Value = serde_json::from_str(&explained).expect("JSON");
    assert_eq!((&explained["kept"], &explained["exchanges"][0]["path"]), (&1.into(), &().into()));
    place.sidecar.stop();
    let told: Vec<_> = receiver.spans();
    let paths: Vec<_> = told.iter().filter_map(|span| span.attributes.get("url.path")).collect();
    assert_eq!((told.len(), paths.len()), (8, 5));
    assert!(paths.iter().all(|path| *path == "/1000.bin"), "{paths:?}");
    let with_header = told.iter().filter(|span| span.attributes.contains_key("http.response.header.server"));
    assert_eq!(with_header.count(), 5);
}

/// `sidecar.export.*` of spans: sent, failed, dropped.
fn account(place: &Place) -> [u64; 3] {
    let scrape = place.sidecar.scrape();
    let of = |what| scrape.count(&format!("sidecar_export_{what}_total"), &[("sidecar_signal", "traces")]);
    ["sent", "failed", "dropped"].map(of)
}

/// In the midst of requests: each becomes one span, at the one collector or at the other.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_collector_is_replaced_under_load() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    let [old, new] = dirs.each_ref().map(|dir| Rotel::start(dir.path()));
    let settings = |endpoint| format!("otlp: {{endpoint: \"{endpoint}\", interval: 1s}}\n");
    let mut place = Place::new(&settings(old.endpoint()), &[]);
    let url = place.nginx.url("100.bin");
    let dir = place.dir.path().join("load");
    fs::create_dir(&dir).expect("a folder");
    // Fewer than the queue holds, and longer than a batch takes to fill.
    let asking = thread::spawn(move || {
        let mut load = Load::new(&dir, &[]);
        load.hey("GET", 1800, "-c 2 -q 150", &url);
        load.total()
    });
    eventually("spans at the old one", || (!old.spans().is_empty()).then_some(()));
    place.apply(&settings(new.endpoint()), Some(Signal::HUP));
    eventually("metrics at the new one", || (!new.metrics().points.is_empty()).then_some(()));
    let sent = asking.join().expect("the load");
    assert_eq!(place.sidecar.scrape_at_rest().requests("server"), place.nginx.answered());
    assert_eq!(account(&place)[1..], [0, 0]);
    place.sidecar.stop();

    eventually("each span", || (old.spans().len() + new.spans().len() == 1800).then_some(()));
    let (at_old, at_new) = (old.spans(), new.spans());
    assert_eq!((sent, (at_old.len() + at_new.len()) as u64), (1800, sent));
    assert!(at_old.len() >= 100 && at_new.len() >= 100, "{} {}", at_old.len(), at_new.len());
    let traces: BTreeSet<_> = at_old.iter().chain(&at_new).map(|span| &span.trace).collect();
    assert_eq!(traces.len(), 1800, "none of them twice");
    // What is pushed is cumulative: the new one has the whole of it.
    let durations = new.metrics().points.into_iter().filter_map(|((name, _), numbers)| match numbers {
        Numbers::Histogram { count, .. } if name == "http.server.request.duration" => Some(count),
        _ => None,
    });
    assert_eq!(durations.sum::<u64>(), sent);
}

/// A collector that does not answer is replaced by one that speaks otherwise; then by nobody, and by somebody again.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn what_waits_goes_to_the_new_collector() {
    let dir = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::with(dir.path(), &["--http"]);
    let dead = format!("otlp: {{endpoint: \"http://127.0.0.1:{}\"}}\n", free_port());
    let alive = format!(
        "otlp: {{endpoint: \"{}\", protocol: http/protobuf, compression: gzip, headers: {{x-key: new}}}}\n",
        receiver.endpoint()
    );
    let mut place = Place::new(&dead, &["--log-level", "debug"]);
    place.curl("100.bin", 30);
    eventually("a try", || place.sidecar.log().contains("and is tried again").then_some(()));
    place.apply(&alive, Some(Signal::HUP));
    eventually("each span", || (receiver.taken("traces") == 30).then_some(()));
    assert_eq!(account(&place), [30, 0, 0]);
    for request in receiver.requests("traces") {
        assert_eq!(request["headers"]["x-key"], "new", "{request}");
    }

    // Nobody: no span is made, and none waits.
    place.apply("log: {level: info}\n", None);
    place.curl("100.bin", 5);
    assert_eq!(place.count("sidecar_spans_total", "sidecar_decision", "sampled"), 30);
    place.apply(&alive, Some(Signal::HUP));
    place.curl("100.bin", 7);
    let scrape = place.sidecar.scrape_at_rest();
    assert_eq!(scrape.requests("server"), place.nginx.answered());
    assert!(place.sidecar.log().contains("otlp.compression, otlp.endpoint, otlp.headers, otlp.protocol"));
    place.sidecar.stop();
    assert_eq!(receiver.taken("traces"), 37);
}

/// A certificate that is renewed under its name is taken without a signal or other settings; one that is broken is not.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_renewed_certificate_is_taken() {
    let dir = tempfile::tempdir().expect("a folder");
    let (pki, receiver) = (Pki::new(dir.path()), Receiver::start(dir.path()));
    let front = TlsFront::start(&pki, &format!("grpc_pass grpc://127.0.0.1:{}", receiver.port()));
    let authority = pki.path("now.pem");
    // As a mounted Secret is: in place at once.
    let renew = |content: &[u8]| {
        fs::write(pki.path("new.pem"), content).expect("written");
        fs::rename(pki.path("new.pem"), &authority).expect("in place");
    };
    let file = |name| fs::read(pki.path(name)).expect("a file");
    renew(&file("other.pem"));
    let settings = format!(
        "otlp:\n  endpoint: {}\n  certificate: {authority}\n  client_certificate: {}\n  client_key: {}\n",
        front.endpoint(),
        pki.path("client.pem"),
        pki.path("client.key")
    );
    let mut place = Place::new(&settings, &["--log-level", "debug"]);
    place.curl("100.bin", 10);
    eventually("a try", || place.sidecar.log().contains("UnknownIssuer").then_some(()));
    renew(&file("ca.pem"));
    eventually("each span", || (receiver.taken("traces") == 10).then_some(()));
    assert!(place.sidecar.log().contains("\"applied\":\"otlp.certificate\""), "{}", place.sidecar.log());

    renew(b"no certificate\n");
    let refused = || place.count("sidecar_config_reloads_total", "sidecar_state", "refused");
    eventually("the refusal", || (refused() == 1).then_some(()));
    assert!(place.sidecar.log().contains("sidecar.yaml:3:16: otlp.certificate: "), "{}", place.sidecar.log());
    place.curl("100.bin", 5);
    assert_eq!(place.sidecar.scrape_at_rest().requests("server"), place.nginx.answered());
    assert_eq!(account(&place)[1..], [0, 0]);
    place.sidecar.stop();
    assert_eq!(receiver.taken("traces"), 15);
}
