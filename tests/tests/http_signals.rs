//! What HTTP metrics and spans say, against what servers and clients measured themselves.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};

use rustix::net::sockopt::set_socket_linger;
use serde_json::Value;
use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port,
    nginx::Nginx,
    otlp::Receiver,
    process::{self, Process},
    root,
    scrape::Scrape,
    sidecar::Sidecar,
};

/// `tests/support/shapes_server.py` in a cgroup of its own, observed from its start.
struct Shapes {
    sidecar: Sidecar,
    _server: Process,
    _cgroup: Cgroup,
    log: PathBuf,
    ports: [u16; 2],
}

impl Shapes {
    fn start(dir: &Path, args: &[&str]) -> Shapes {
        Shapes::start_on(dir, args, [free_port(), free_port()])
    }

    fn start_on(dir: &Path, args: &[&str], ports: [u16; 2]) -> Shapes {
        let (cgroup, log) = (Cgroup::new(), dir.join("shapes.log"));
        let path = cgroup.path().display().to_string();
        let sidecar = Sidecar::run(dir, &[&["--cgroup", &path], args].concat(), &[]);
        let script = root().join("tests/support/shapes_server.py").display().to_string();
        let words = ["python3".to_owned(), script, ports[0].to_string(), ports[1].to_string()];
        let command = [cgroup.wrapper(), words.to_vec()].concat();
        let server = Process::start(Command::new(&command[0]).args(&command[1..]), &log);
        for port in ports {
            eventually("the server to listen", || TcpStream::connect(("127.0.0.1", port)).ok());
        }
        Shapes { sidecar, _server: server, _cgroup: cgroup, log, ports }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports[0])
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.ports[0])).expect("connect");
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).expect("a time-out");
        stream
    }

    /// What the server measured.
    fn logged(&self) -> Vec<Value> {
        let lines = process::read(&self.log);
        lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

/// curl's own account of one request: `--write-out` of these variables.
fn curl(args: &[&str], variables: &[&str]) -> Vec<f64> {
    let format: Vec<String> = variables.iter().map(|name| format!("%{{{name}}}")).collect();
    let mut command = Command::new("curl");
    command.args(["-s", "-o", "/dev/null", "--write-out", &format.join(" ")]).args(args);
    process::run(&mut command).split(' ').map(|number| number.parse().expect("a number")).collect()
}

/// Bytes of the body that curl sends.
const UPLOAD: usize = 300_000;

fn sum(scrape: &Scrape, name: &str, labels: &[(&str, &str)]) -> f64 {
    scrape.sum(name, labels).unwrap_or_else(|| panic!("{name} {labels:?} is not there"))
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn sizes_are_those_of_nginx_and_curl() {
    let dir = tempfile::tempdir().expect("a folder");
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    let cgroup = Cgroup::new();
    let path = cgroup.path().display().to_string();
    let sidecar = Sidecar::run(dir.path(), &["--cgroup", &path], &[]);
    let command = [cgroup.wrapper(), nginx.command()].concat();
    let _nginx = Process::start(Command::new(&command[0]).args(&command[1..]), &dir.path().join("nginx.out"));
    nginx.await_listening();
    let (mut down, mut up, mut n) = (0.0, 0.0, 0.0);
    for (args, path) in [(&[][..], "100.bin"), (&[], "5000000.bin"), (&[], "nowhere"), (&["-I"], "60000.bin")]
    {
        let url = nginx.url(path);
        let mut words = cgroup.wrapper();
        words.extend(["curl", "-s", "-o", "/dev/null"].map(str::to_owned));
        words.extend(args.iter().map(|arg| (*arg).to_owned()));
        words.extend(["--write-out".to_owned(), "%{size_download} %{size_upload}".to_owned(), url]);
        let told = process::run(Command::new(&words[0]).args(&words[1..]));
        let (received, sent) = told.split_once(' ').expect("two numbers");
        down += received.parse::<f64>().expect("a number");
        up += sent.parse::<f64>().expect("a number");
        n += 1.0;
    }
    let scrape = sidecar.scrape_at_rest();
    let log = process::read(&dir.path().join("access.log"));
    let sent: f64 = log.lines().filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
    assert_eq!((down, up), (sent, 0.0), "nginx and curl agree");
    for role in ["server", "client"] {
        let of =
            |what: &str, of: &str| sum(&scrape, &format!("http_{role}_{what}_body_size_bytes_{of}"), &[]);
        assert_eq!((of("response", "sum"), of("response", "count")), (down, n), "{role}");
        assert_eq!((of("request", "sum"), of("request", "count")), (up, n), "{role}");
    }
    assert_eq!(scrape.bytes("explained"), scrape.bytes("seen"));
}

/// Every bound is of a time inside another one, both on CLOCK_MONOTONIC.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn the_first_byte_is_apart_from_the_last() {
    let dir = tempfile::tempdir().expect("a folder");
    let shapes = Shapes::start(dir.path(), &["--set", "http.routes=/sse,/poll,/hints"]);
    let mut first_bytes = BTreeMap::new();
    for path in ["/sse", "/poll", "/hints"] {
        let told = curl(&[&shapes.url(path)], &["time_starttransfer", "time_total", "http_code"]);
        assert_eq!(told[2], 200.0);
        first_bytes.insert(path, (told[0], told[1]));
    }
    let scrape = shapes.sidecar.scrape_at_rest();
    let logged = shapes.logged();
    assert_eq!(logged.len(), 3);
    for entry in &logged {
        let path = entry["path"].as_str().expect("a path");
        let at = |name: &str| entry[name].as_f64().expect("a time");
        let route = [("http_route", path), ("http_response_status_code", "200")];
        let of = |what: &str| sum(&scrape, &format!("{what}_seconds_sum"), &route);
        let (total, first, wait) = (
            of("http_server_request_duration"),
            of("sidecar_http_server_time_to_first_byte"),
            of("sidecar_http_server_wait_duration"),
        );
        let (curls_first, curls_total) = first_bytes[path];
        assert!(wait <= first && first <= total, "{path}: {wait} {first} {total}");
        assert!(total <= curls_total, "{path}: {total} of curl's {curls_total}");
        // curl takes an interim response for the first byte.
        assert!(path == "/hints" || first <= curls_first, "{path}: {first} of curl's {curls_first}");
        // What the server did between the request and the answer lies inside the wait.
        assert!(wait >= at("before") - at("read"), "{path}: waited {wait}, {entry}");
        // So does what it did between the first and the last write inside the rest.
        assert!(
            total - first >= at("last_before") - at("after") - 1e-6,
            "{path}: {total} - {first}, {entry}"
        );
        assert_eq!(sum(&scrape, "http_server_request_duration_seconds_count", &route), 1.0);
    }
    let rest = |path: &str| {
        let route = [("http_route", path)];
        sum(&scrape, "http_server_request_duration_seconds_sum", &route)
            - sum(&scrape, "sidecar_http_server_time_to_first_byte_seconds_sum", &route)
    };
    assert!(rest("/sse") >= 0.3, "six events, one each 50 ms");
    let waited =
        |path: &str| sum(&scrape, "sidecar_http_server_wait_duration_seconds_sum", &[("http_route", path)]);
    assert!(waited("/poll") >= 0.3 && waited("/hints") >= 0.3);
}

const NODE: &str = r"
require('http').createServer((request, response) => {
  response.writeHead(200, {'Content-Type': 'text/event-stream'});
  let n = 0;
  const timer = setInterval(() => {
    response.write(`data: ${n}\n\n`);
    if (++n == 8) { clearInterval(timer); response.end(); }
  }, 50);
}).listen(Number(process.argv[2]), '127.0.0.1');
";

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn events_of_node_are_long_and_begin_at_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let (script, port) = (dir.path().join("server.js"), free_port().to_string());
    std::fs::write(&script, NODE).expect("the server's source");
    let sidecar = Sidecar::run(dir.path(), &[], &["node", &script.display().to_string(), &port]);
    eventually("node to listen", || TcpStream::connect(format!("127.0.0.1:{port}")).ok());
    let told = curl(
        &["-N", &format!("http://127.0.0.1:{port}/events")],
        &["size_download", "time_starttransfer", "time_total"],
    );
    let scrape = sidecar.scrape_at_rest();
    assert_eq!(sum(&scrape, "http_server_response_body_size_bytes_sum", &[]), told[0]);
    let first = sum(&scrape, "sidecar_http_server_time_to_first_byte_seconds_sum", &[]);
    let total = sum(&scrape, "http_server_request_duration_seconds_sum", &[]);
    assert!(first <= told[1] && total <= told[2], "{first}, {total}: curl {told:?}");
    // Eight timers of 50 ms, of which the first may run before the head has left.
    assert!(total - first >= 0.3, "{total} - {first}");
    assert_eq!(scrape.bytes("explained"), scrape.bytes("seen"));
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn odd_shapes_are_counted_once_and_measured_as_far_as_they_went() {
    let dir = tempfile::tempdir().expect("a folder");
    let shapes = Shapes::start(dir.path(), &[]);
    let mut answer = [0; 4096];

    // Answered before the request had ended: the wait is none.
    let mut stream = shapes.connect();
    stream.write_all(b"POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello").expect("send");
    let n = stream.read(&mut answer).expect("the first half");
    assert!(answer[..n].starts_with(b"HTTP/1.1 200"));
    stream.write_all(b"world").expect("send");
    eventually("the second half", || {
        let n = stream.read(&mut answer).expect("the second half");
        answer[..n].ends_with(b"later").then_some(())
    });

    // Answered to the end before the body began: its size is not told.
    let mut stream = shapes.connect();
    stream.write_all(b"POST /soon HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n").expect("send");
    eventually("the answer", || {
        let n = stream.read(&mut answer).expect("an answer");
        answer[..n].ends_with(b"soon").then_some(())
    });
    stream
        .write_all(b"helloworldPOST /users/6 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
        .expect("send");
    eventually("the next answer", || {
        let n = stream.read(&mut answer).expect("an answer");
        answer[..n].ends_with(b"user").then_some(())
    });

    // Given up by the client in the middle of the events.
    let mut stream = shapes.connect();
    stream.write_all(b"GET /sse HTTP/1.1\r\nHost: a\r\n\r\n").expect("send");
    let n = stream.read(&mut answer).expect("a head");
    assert!(answer[..n].starts_with(b"HTTP/1.1 200"));
    eventually("an event", || {
        let n = stream.read(&mut answer).expect("an event");
        answer[..n].windows(5).any(|five| five == b"data:").then_some(())
    });
    set_socket_linger(&stream, Some(std::time::Duration::ZERO)).expect("a reset instead of a FIN");
    drop(stream);

    // An absolute-form target, as to a proxy; and a head longer than is held.
    let target = "http://shop.test:81/users/7?secret=1";
    let body = dir.path().join("upload");
    std::fs::write(&body, vec![b'x'; UPLOAD]).expect("a body");
    let data = format!("@{}", body.display());
    let long = format!("X-Long: {}", "x".repeat(20_000));
    for args in [
        &["-x", &shapes.url(""), target][..],
        &["-H", &long, &shapes.url("/users/8")],
        &["-X", "PUT", "-H", "Expect:", "--data-binary", &data, &shapes.url("/nowhere")],
    ] {
        assert!(curl(args, &["http_code"])[0] >= 200.0);
    }
    let count = |scrape: &Scrape| scrape.count("http_server_request_duration_seconds_count", &[]);
    let scrape = eventually("all seven", || {
        let scrape = shapes.sidecar.scrape_at_rest();
        (count(&scrape) == 7).then_some(scrape)
    });
    let of = |what: &str, labels: &[(&str, &str)]| scrape.sum(what, labels);
    let early = [("http_route", "/early")];
    assert_eq!(of("http_server_request_duration_seconds_count", &early), Some(1.0));
    assert_eq!(of("sidecar_http_server_time_to_first_byte_seconds_count", &early), Some(1.0));
    assert_eq!(of("sidecar_http_server_wait_duration_seconds_count", &early), None);
    assert_eq!(of("http_server_request_body_size_bytes_sum", &early), Some(10.0));
    assert_eq!(of("http_server_response_body_size_bytes_sum", &early), Some(10.0));
    let soon = [("http_response_status_code", "413")];
    assert_eq!(of("http_server_request_duration_seconds_count", &soon), Some(1.0));
    assert_eq!(of("http_server_request_body_size_bytes_count", &soon), None);
    assert_eq!(of("http_server_response_body_size_bytes_sum", &soon), Some(4.0));
    let next = [("http_route", "/users/{id}"), ("http_request_method", "POST")];
    assert_eq!(of("http_server_request_body_size_bytes_sum", &next), Some(3.0));
    let reset = [("error_type", "client_reset_in_response"), ("http_response_status_code", "200")];
    assert_eq!(of("http_server_request_duration_seconds_count", &reset), Some(1.0));
    assert!(of("http_server_response_body_size_bytes_sum", &reset) >= Some(9.0), "an event was seen");
    let users = [("http_route", "/users/{id}"), ("http_request_method", "GET")];
    assert_eq!(of("http_server_request_duration_seconds_count", &users), Some(2.0));
    assert_eq!(scrape.count("sidecar_parser_oddities_total", &[("sidecar_reason", "oversized")]), 1);
    let put = [("http_request_method", "PUT"), ("http_response_status_code", "404")];
    assert_eq!(of("http_server_request_duration_seconds_count", &put), Some(1.0));
    assert_eq!(of("http_server_request_body_size_bytes_sum", &put), Some(UPLOAD as f64));
    let exposed = sidecar_tests::scrape::get(shapes.sidecar.port, "/metrics", "");
    assert!(!exposed.contains("secret") && !exposed.contains("nowhere") && !exposed.contains("/users/7"));
}

/// The server answers what is no request with 400, and goes on: so does the observation, of a connection that was HTTP.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn what_is_no_request_ends_no_connection() {
    let dir = tempfile::tempdir().expect("a folder");
    let shapes = Shapes::start(dir.path(), &[]);
    let mut stream = shapes.connect();
    let mut ask = |request: &str, answer: &str| {
        stream.write_all(request.as_bytes()).expect("send");
        let mut said = Vec::new();
        eventually("an answer", || {
            let mut piece = [0; 4096];
            let n = stream.read(&mut piece).expect("an answer");
            said.extend_from_slice(&piece[..n]);
            said.ends_with(answer.as_bytes()).then_some(())
        });
    };
    let get = "GET /users/1 HTTP/1.1\r\nHost: a\r\n\r\n";
    for _ in 0..3 {
        ask(get, "user");
        ask("no request\r\nat all\r\n\r\n", "what?");
    }
    ask(get, "user");
    drop(stream);
    // One that never was HTTP is given up at its first word.
    let mut stream = shapes.connect();
    for request in ["no request\r\nat all\r\n\r\n", get] {
        stream.write_all(request.as_bytes()).expect("send");
    }
    eventually("two answers", || {
        let mut piece = [0; 4096];
        let n = stream.read(&mut piece).expect("an answer");
        piece[..n].ends_with(b"user").then_some(())
    });
    drop(stream);
    let scrape = shapes.sidecar.scrape_at_rest();
    assert_eq!(shapes.logged().len(), 4 + 1);
    let status = |code| {
        scrape.count("http_server_request_duration_seconds_count", &[("http_response_status_code", code)])
    };
    assert_eq!((status("200"), status("400")), (4, 0));
    assert_eq!(scrape.count("http_server_request_duration_seconds_count", &[]), 4);
    let odd = |reason| scrape.count("sidecar_parser_oddities_total", &[("sidecar_reason", reason)]);
    assert_eq!((odd("malformed"), odd("orphan_response"), odd("resync")), (3, 3, 3));
    assert!(scrape.bytes("unclassified") > 0, "the last");
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn what_is_going_on_is_exact() {
    let dir = tempfile::tempdir().expect("a folder");
    let shapes = Shapes::start(dir.path(), &[]);
    let url = shapes.url("/hold");
    let mut held: Vec<TcpStream> = (0..3).map(|_| shapes.connect()).collect();
    for stream in &mut held {
        stream.write_all(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").expect("send");
    }
    let active = |method: &str| {
        let scrape = shapes.sidecar.scrape();
        scrape.sum("http_server_active_requests", &[("http_request_method", method), ("url_scheme", "http")])
    };
    eventually("three to be held", || (active("GET") == Some(3.0)).then_some(()));
    // A client of the application's cgroup, whose connection is open as long as the answer does not come.
    let mut client = [shapes._cgroup.wrapper(), ["curl", "-s", &url].map(str::to_owned).to_vec()].concat();
    let program = client.remove(0);
    let mut client = Process::start(Command::new(program).args(client), &dir.path().join("curl.out"));
    let port = shapes.ports[0].to_string();
    let open = |state: &str| {
        let labels =
            [("http_connection_state", state), ("server_address", "127.0.0.1"), ("server_port", &port)];
        shapes.sidecar.scrape().sum("http_client_open_connections", &labels)
    };
    eventually("the client's connection", || (open("active") == Some(1.0)).then_some(()));
    assert_eq!((active("GET"), open("idle")), (Some(4.0), Some(0.0)));
    assert_eq!(curl(&[&shapes.url("/go")], &["http_code"]), [200.0]);
    assert!(client.wait().success());
    for stream in &mut held {
        let mut answer = [0; 1024];
        assert!(stream.read(&mut answer).expect("an answer") > 0);
    }
    let scrape = shapes.sidecar.scrape_at_rest();
    assert_eq!(scrape.sum("http_server_active_requests", &[]), Some(0.0));
    assert_eq!(scrape.sum("http_client_open_connections", &[]), None);
    assert_eq!(scrape.count("http_server_request_duration_seconds_count", &[]), 5);
    assert_eq!(scrape.count("http_client_request_duration_seconds_count", &[]), 1);
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn routes_and_headers_are_what_was_asked_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start(dir.path());
    let config = dir.path().join("sidecar.yaml");
    let text = "http:\n  routes:\n    - /users/{user}/posts/*\n  request_headers: [user-agent, x-id, authorization, referer]\n  \
                response_headers: [x-answer]\nspans:\n  url_path: false\n";
    std::fs::write(&config, text).expect("a configuration");
    let (config, endpoint) = (config.display().to_string(), receiver.endpoint());
    let mut shapes = Shapes::start(dir.path(), &["--config", &config, "--otlp-endpoint", &endpoint]);
    const PARENT: &str = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let ids = ["-A", "shopper/1", "-H", "X-Id: 1", "-H", "X-Id: 2", "-H", "Authorization: Bearer word"];
    let trace = ["-H", PARENT, "-H", "tracestate: rojo=1, congo=2", "-H", "tracestate: t@v=3"];
    let referer = ["-H", "Referer: http://ada:word@shop.test:81/basket?token=word#word"];
    let headers = [&ids[..], &trace, &referer].concat();
    let get = |path: &str| {
        let url = shapes.url(path);
        curl(&[&headers[..], &[&url]].concat(), &["http_code"])[0] as u16
    };
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for (path, route) in [
        ("/users/7", "/users/{id}"),
        ("/users/8?token=word", "/users/{id}"),
        ("/users/7/posts/1", "/users/{user}/posts/*"),
        ("/users/me", "/users/me"),
        ("/nowhere/1", ""),
        ("/admin.php", ""),
    ] {
        let code = get(path);
        assert_eq!(code, if route.is_empty() { 404 } else { 200 }, "{path}");
        *expected.entry(route.to_owned()).or_default() += 1;
    }
    let scrape = shapes.sidecar.scrape_at_rest();
    let mut routes: BTreeMap<String, u64> = BTreeMap::new();
    for (labels, n) in scrape.all("http_server_request_duration_seconds_count") {
        *routes.entry(labels.get("http_route").cloned().unwrap_or_default()).or_default() += n as u64;
    }
    assert_eq!(routes, expected);
    assert_eq!(scrape.count("sidecar_routes", &[("sidecar_route_source", "learned")]), 2);
    assert_eq!(scrape.count("sidecar_routes", &[("sidecar_route_source", "configured")]), 1);
    shapes.sidecar.stop();
    eventually("each span", || (receiver.spans().len() == 6).then_some(()));
    for span in receiver.spans() {
        let route = span.attributes.get("http.route");
        let name = route.map_or("GET".to_owned(), |route| format!("GET {route}"));
        assert_eq!(span.name, name);
        assert_eq!(span.attributes.get("url.path"), None, "{span:?}");
        assert_eq!(span.attributes["user_agent.original"], "shopper/1");
        let of = |key: &str| span.attributes.get(key).cloned().unwrap_or_default();
        assert!(
            of("http.request.header.x-id").contains("\"1\"")
                && of("http.request.header.x-id").contains("\"2\"")
        );
        assert!(of("http.request.header.authorization").contains("REDACTED"), "{span:?}");
        assert_eq!(
            of("http.request.header.referer").matches("http://shop.test:81/basket\"").count(),
            1,
            "{span:?}"
        );
        assert_eq!(
            (span.parent.as_str(), span.trace_state.as_str()),
            ("00f067aa0ba902b7", "rojo=1,congo=2,t@v=3")
        );
        assert!(of("http.response.header.x-answer").contains("yes"), "{span:?}");
    }
    let requests = format!("{:?}", receiver.requests("traces"));
    assert!(!requests.contains("word") && !requests.contains("/users/7"), "what nobody asked for");
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn what_is_excluded_is_counted_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a folder");
    let ports = [free_port(), free_port()];
    let port = format!("exclude.ports={}", ports[1]);
    let args = ["--set", &port, "--set", "exclude.paths=/healthz", "--set", "exclude.peers=127.0.0.9"];
    let shapes = Shapes::start_on(dir.path(), &args, ports);
    let before = shapes.sidecar.scrape_at_rest();
    let n_before = before.count("sidecar_excluded_connections_total", &[("sidecar_reason", "port")]);
    let other = format!("http://127.0.0.1:{}/users/1", ports[1]);
    for _ in 0..5 {
        for args in [
            &[shapes.url("/users/1").as_str()][..],
            &[&shapes.url("/healthz")],
            &["--interface", "127.0.0.9", &shapes.url("/users/1")],
            &[&other],
        ] {
            assert_eq!(curl(args, &["http_code"]), [200.0], "{args:?}");
        }
    }
    let scrape = shapes.sidecar.scrape_at_rest();
    let count = |name: &str, labels: &[(&str, &str)]| scrape.count(name, labels);
    assert_eq!(count("http_server_request_duration_seconds_count", &[]), 5);
    assert_eq!(count("sidecar_parser_outcomes_total", &[]), 5);
    assert_eq!(count("sidecar_excluded_exchanges_total", &[("sidecar_reason", "path")]), 5);
    assert_eq!(count("sidecar_excluded_connections_total", &[("sidecar_reason", "port")]) - n_before, 5);
    assert_eq!(count("sidecar_excluded_connections_total", &[("sidecar_reason", "peer")]), 5);
    assert_eq!(scrape.sum("sidecar_capture_coverage_ratio", &[]), Some(1.0));
    assert!(scrape.bytes("excluded") > 0);
    assert_eq!(scrape.bytes("explained") + scrape.bytes("excluded"), scrape.bytes("seen"));
    assert_eq!(scrape.sum("http_server_active_requests", &[]), Some(0.0));
}
