//! Handshakes of TLS, against nginx's own account and what clients say.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port,
    nginx::Nginx,
    pki::Pki,
    process::{self, Process},
    scrape::Scrape,
    sidecar::Sidecar,
};

/// nginx with TLS in a cgroup, observed from its start; clients join it.
struct World {
    sidecar: Sidecar,
    _server: Process,
    cgroup: Cgroup,
    nginx: Nginx,
    pki: Pki,
    dir: PathBuf,
}

/// Version, server name, whether it was resumed, application protocol: as the metrics have them.
type Handshake = [String; 4];

impl World {
    fn start(dir: &Path) -> World {
        let pki = Pki::new(dir);
        let nginx = with_tls(dir, &pki);
        let cgroup = Cgroup::new();
        let path = cgroup.path().display().to_string();
        let sidecar = Sidecar::run(dir, &["--cgroup", &path], &[]);
        let command = [cgroup.wrapper(), nginx.command()].concat();
        let server = Process::start(Command::new(&command[0]).args(&command[1..]), &dir.join("nginx.out"));
        nginx.await_listening();
        World { sidecar, _server: server, cgroup, nginx, pki, dir: dir.to_path_buf() }
    }

    /// Runs a client in the cgroup; what it said, whether it succeeded or not.
    fn client(&self, words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let command = [self.cgroup.wrapper(), words].concat();
        let output = process::output(Command::new(&command[0]).args(&command[1..]).stdin(Stdio::null()));
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    fn curl(&self, words: &[&str]) -> String {
        let ca = self.pki.path("ca.pem");
        let (port, url) = (self.nginx.port, format!("https://LocalHost:{}/100.bin", self.nginx.port));
        let to = format!("LocalHost:{port}:127.0.0.1");
        let fixed = ["curl", "-sS", "-o", "/dev/null", "--cacert", &ca, "--resolve", &to, &url];
        self.client(&[&fixed[..], words].concat())
    }

    /// `openssl s_client`, with a request where it gets so far.
    fn openssl(&self, words: &[&str]) -> String {
        let script = "(printf 'GET /100.bin HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n'; sleep 0.3) \
                      | openssl s_client \"$@\"";
        let (ca, to) = (self.pki.path("ca.pem"), format!("127.0.0.1:{}", self.nginx.port));
        let fixed = ["sh", "-c", script, "s_client", "-CAfile", &ca, "-connect", &to, "-ign_eof"];
        self.client(&[&fixed[..], words].concat())
    }

    /// What nginx says of connections that a request came on. It tells of what was chosen.
    fn logged(&self, n: u64) -> BTreeMap<Handshake, u64> {
        eventually("nginx to write its log", || {
            let mut handshakes = BTreeMap::new();
            for line in process::read(&self.dir.join("access.log")).lines() {
                let words: Vec<&str> = line.split(' ').collect();
                let [version, name, reused, alpn] = [words[4], words[5], words[6], words[7]];
                // Which of two was chosen is encrypted in TLS 1.3.
                let alpn = if (version, words[8]) == ("TLSv1.3", "two") { "-" } else { alpn };
                let text = |word: &str| if word == "-" { String::new() } else { word.to_ascii_lowercase() };
                let resumed = if reused == "r" { "true" } else { "false" };
                let version = version.strip_prefix("TLSv").expect("a version").to_owned();
                *handshakes.entry([version, text(name), resumed.to_owned(), text(alpn)]).or_default() += 1;
            }
            (handshakes.values().sum::<u64>() >= n).then_some(handshakes)
        })
    }
}

/// nginx that ends TLS, and logs what it says of it.
fn with_tls(dir: &Path, pki: &Pki) -> Nginx {
    let nginx = Nginx::prepare(dir, "127.0.0.1", free_port(), "ssl");
    let certificate = format!(
        "ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.2 TLSv1.3;\n\
         ssl_session_cache shared:tls:1m; root ",
        pki.path("server.pem"),
        pki.path("server.key")
    );
    nginx.amend("root ", &certificate);
    nginx.amend(
        "$body_bytes_sent'",
        "$body_bytes_sent $ssl_protocol $ssl_server_name $ssl_session_reused $ssl_alpn_protocol $http_user_agent'",
    );
    nginx
}

fn told(scrape: &Scrape, role: &str) -> BTreeMap<Handshake, u64> {
    let mut handshakes = BTreeMap::new();
    let name = format!("sidecar_tls_{role}_handshake_duration_seconds_count");
    for (labels, n) in scrape.all(&name) {
        if labels.contains_key("error_type") {
            continue;
        }
        let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
        let words = ["tls_protocol_version", "tls_client_server_name", "tls_resumed", "tls_next_protocol"];
        *handshakes.entry(words.map(label)).or_default() += n as u64;
    }
    handshakes
}

fn failed(scrape: &Scrape, role: &str) -> BTreeMap<String, u64> {
    let mut errors = BTreeMap::new();
    let name = format!("sidecar_tls_{role}_handshake_duration_seconds_count");
    for (labels, n) in scrape.all(&name) {
        if let Some(error) = labels.get("error_type") {
            *errors.entry(error.clone()).or_default() += n as u64;
        }
    }
    errors
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn handshakes_are_those_of_nginx() {
    let dir = tempfile::tempdir().expect("a folder");
    let world = World::start(dir.path());
    for version in [&["--tls-max", "1.2", "--tlsv1.2"][..], &["--tlsv1.3"]] {
        world.curl(&[version, &["-A", "two"]].concat());
        world.curl(&[version, &["--http1.1"]].concat());
        world.curl(&[version, &["--no-alpn"]].concat());
    }
    for (version, more) in [("-tls1_2", ""), ("-tls1_2", "-no_ticket"), ("-tls1_3", "")] {
        let session = dir.path().join(format!("session{version}{more}")).display().to_string();
        let more = Some(more).filter(|word| !word.is_empty());
        let words: Vec<&str> = [version, "-servername", "Shop.Test"].into_iter().chain(more).collect();
        world.openssl(&[&words[..], &["-sess_out", &session]].concat());
        assert!(fs::metadata(&session).is_ok(), "a session to resume");
        world.openssl(&[&words[..], &["-sess_in", &session]].concat());
    }
    world.openssl(&["-tls1_3", "-noservername", "-groups", "P-384:P-256"]);
    let logged = world.logged(13);
    let scrape = world.sidecar.scrape_at_rest();
    assert_eq!(logged.values().sum::<u64>(), 13);
    for role in ["server", "client"] {
        assert_eq!(told(&scrape, role), logged, "{role}");
        assert_eq!(failed(&scrape, role), BTreeMap::new(), "{role}");
    }
    let resumed = logged.iter().filter(|(words, _)| words[2] == "true").map(|(_, n)| n).sum::<u64>();
    assert_eq!(resumed, 3, "by a ticket, by a session id, in TLS 1.3");
    assert_eq!(scrape.bytes("encrypted") + scrape.bytes("explained"), scrape.bytes("seen"));
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn failures_are_told_by_their_alerts() {
    let dir = tempfile::tempdir().expect("a folder");
    let world = World::start(dir.path());
    let other = world.pki.path("other.pem");
    for version in ["--tlsv1.2", "--tlsv1.3"] {
        let said = world.curl(&["--cacert", &other, version, "--tls-max", &version["--tlsv".len()..]]);
        assert!(said.contains("certificate"), "{said}");
    }
    let said = world.openssl(&["-tls1_1", "-cipher", "ALL@SECLEVEL=0"]);
    assert!(said.contains("alert protocol version"), "{said}");
    let said = world.openssl(&["-tls1_3", "-alpn", "smtp"]);
    assert!(said.contains("no application protocol"), "{said}");
    // One that encrypts its alert, and one that says nothing.
    let port = world.nginx.port;
    let script = format!(
        "import socket\ns = socket.create_connection(('127.0.0.1', {port}))\n\
         s.send(bytes.fromhex('160301000a01000006'))\ns.close()"
    );
    world.client(&["python3", "-c", &script]);
    let expected = [
        ("unknown_ca", 2),
        ("protocol_version", 1),
        ("no_application_protocol", 1),
        ("client_closed_in_request", 1),
    ];
    let expected: BTreeMap<String, u64> = expected.map(|(error, n)| (error.to_owned(), n)).into();
    let scrape = eventually("all handshakes to be over", || {
        let scrape = world.sidecar.scrape_at_rest();
        (failed(&scrape, "server").values().sum::<u64>() >= 5).then_some(scrape)
    });
    for role in ["server", "client"] {
        assert_eq!(failed(&scrape, role), expected, "{role}");
        assert_eq!(told(&scrape, role), BTreeMap::new(), "{role}");
    }
}

/// What began before the daemon is encrypted, and no handshake.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_connection_that_is_older_has_no_handshake() {
    let dir = tempfile::tempdir().expect("a folder");
    let (cgroup, pki) = (Cgroup::new(), Pki::new(dir.path()));
    let nginx = with_tls(dir.path(), &pki);
    let command = [cgroup.wrapper(), nginx.command()].concat();
    let _server =
        Process::start(Command::new(&command[0]).args(&command[1..]), &dir.path().join("nginx.out"));
    nginx.await_listening();
    let script = "import socket, ssl, sys\n\
        context = ssl.create_default_context(cafile=sys.argv[2])\n\
        raw = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n\
        tls = context.wrap_socket(raw, server_hostname='localhost')\n\
        for line in sys.stdin:\n    \
            tls.sendall(b'GET /100.bin HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n')\n    \
            print(tls.recv(100000)[:15].decode(), flush=True)\n";
    let (port, ca) = (nginx.port.to_string(), pki.path("ca.pem"));
    let words = ["python3", "-c", script, &port, &ca].map(str::to_owned).to_vec();
    let command = [cgroup.wrapper(), words].concat();
    let mut client = Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a client");
    let mut input = client.stdin.take().expect("a pipe");
    let mut lines = BufReader::new(client.stdout.take().expect("a pipe")).lines();
    let mut ask = || {
        input.write_all(b"\n").expect("asked");
        assert_eq!(lines.next().expect("a line").expect("text"), "HTTP/1.1 200 OK");
    };
    ask();
    let path = cgroup.path().display().to_string();
    let sidecar = Sidecar::run(dir.path(), &["--cgroup", &path], &[]);
    eventually("the kernel to be told", || {
        ask();
        (sidecar.scrape().bytes("encrypted") > 0).then_some(())
    });
    let scrape = sidecar.scrape_at_rest();
    for role in ["server", "client"] {
        assert_eq!(
            (told(&scrape, role), failed(&scrape, role)),
            (BTreeMap::new(), BTreeMap::new()),
            "{role}"
        );
    }
    assert_eq!(scrape.bytes("encrypted"), scrape.bytes("seen"));
    drop(input);
    assert!(client.wait().expect("it ended").success());
}
