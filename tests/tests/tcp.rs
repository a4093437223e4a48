//! Connections of whatever protocol, by role and peer, against the accounts of both programs and of their kernels.

use std::{path::Path, process::Command, time::Duration};

use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port,
    netns::Netns,
    nginx::Nginx,
    process::{self, Process},
    scrape::Scrape,
    sidecar::Sidecar,
    wire::Wire,
};

/// What a packet is under way.
const DELAY: Duration = Duration::from_millis(20);

/// Does with each connection what its first byte asks for; the rest is sent back.
const SERVER: &str = r#"
import socket, struct, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
print("listening", flush=True)
while True:
    s, _ = listener.accept()
    got = s.recv(4096)
    s.sendall(got)
    if got[:1] == b"r": s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif s.recv(1): raise SystemExit("the client said more")
    s.close()
"#;

/// Prints for each connection how long connect() took and the kernel's round-trip time, in seconds.
const CLIENT: &str = r#"
import socket, struct, sys, time
for what in sys.argv[3]:
    began = time.monotonic()
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
    took = time.monotonic() - began
    s.sendall(what.encode() * 1000)
    got = b""
    while len(got) < 1000: got += s.recv(1000)
    # struct tcp_info (linux/tcp.h): tcpi_rtt is the 16th of the 32-bit fields behind eight bytes.
    rtt = struct.unpack_from("=I", s.getsockopt(socket.SOL_TCP, socket.TCP_INFO, 104), 68)[0] / 1e6
    if what != "r": s.shutdown(socket.SHUT_WR)
    try: assert s.recv(1) == b"" and what != "r"
    except ConnectionResetError: assert what == "r"
    s.close()
    print(took, rtt, flush=True)
"#;

fn observe(cgroup: &Cgroup, dir: &Path, more: &[&str]) -> Sidecar {
    let path = cgroup.path().display().to_string();
    Sidecar::run(dir, &[&["--cgroup", path.as_str()], more].concat(), &[])
}

fn spawn(words: &[String], output: &Path) -> Process {
    Process::start(Command::new(&words[0]).args(&words[1..]), output)
}

fn python(wrappers: &[Vec<String>], script: &str, arguments: &[&str]) -> Vec<String> {
    let mut words = wrappers.concat();
    words.extend(["python3", "-c", script].map(str::to_owned));
    words.extend(arguments.iter().map(|word| (*word).to_owned()));
    words
}

const ROLE: &str = "sidecar_tcp_role";
const PEER: &str = "network_peer_address";

/// Both namespaces joined by a slow wire.
fn slow_wire() -> (Netns, Netns, Wire) {
    let (server, client) = (Netns::new(), Netns::new());
    let ends = [server.tun("wire0", "10.77.0.1/24"), client.tun("wire0", "10.77.0.2/24")];
    let wire = Wire::slow(ends, DELAY);
    (server, client, wire)
}

/// Once its connections are over, a role's peers add up to what the kernel counted of it.
fn assert_adds_up(sidecar: &Sidecar, role: &str) -> Scrape {
    eventually("the peers to add up to their role", || {
        let scrape = sidecar.scrape_at_rest();
        let same = |one: &str, other: &str, more: &[(&str, &str)]| {
            let labels = [&[(ROLE, role)], more].concat();
            scrape.count(one, &labels) == scrape.count(other, &labels)
        };
        let (receive, transmit) = (("network_io_direction", "receive"), ("network_io_direction", "transmit"));
        let adds_up = same("sidecar_tcp_peer_io_bytes_total", "sidecar_tcp_io_bytes_total", &[receive])
            && same("sidecar_tcp_peer_io_bytes_total", "sidecar_tcp_io_bytes_total", &[transmit])
            && same("sidecar_tcp_peer_retransmits_total", "sidecar_tcp_retransmits_total", &[])
            && same("sidecar_tcp_peer_connection_opened_total", "sidecar_tcp_connection_opened_total", &[])
            && same("sidecar_tcp_peer_connection_closed_total", "sidecar_tcp_connection_closed_total", &[])
            && same("sidecar_tcp_peer_connection_reset_total", "sidecar_tcp_connection_reset_total", &[]);
        adds_up.then_some(scrape)
    })
}

#[test]
#[ignore = "privileged: attaches BPF programs, makes network namespaces and TUN devices"]
fn connections_over_a_slow_wire() {
    let (server, client, _wire) = slow_wire();
    let (near, far) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (servers, clients) = (Cgroup::new(), Cgroup::new());
    let (at_server, at_client) = (observe(&servers, near.path(), &[]), observe(&clients, far.path(), &[]));
    let output = near.path().join("server.out");
    let words = python(&[servers.wrapper(), server.wrapper()], SERVER, &["10.77.0.1", "7000"]);
    let _server = spawn(&words, &output);
    eventually("the server to listen", || process::read(&output).contains("listening").then_some(()));

    let words = python(&[clients.wrapper(), client.wrapper()], CLIENT, &["10.77.0.1", "7000", "eererreeee"]);
    let told = process::run(Command::new(&words[0]).args(&words[1..]));
    let told: Vec<Vec<f64>> = told
        .lines()
        .map(|line| line.split(' ').map(|word| word.parse().expect("a number")).collect())
        .collect();
    let (n, n_reset) = (told.len() as u64, 3);
    assert_eq!(n, 10);
    let trip = 2.0 * DELAY.as_secs_f64();

    let of_client = assert_adds_up(&at_client, "client");
    let of_server = assert_adds_up(&at_server, "server");
    // Of a server the port tells its clients nothing; a client's server has one.
    let ends = [
        (&of_client, "client", &[(ROLE, "client"), (PEER, "10.77.0.1"), ("network_peer_port", "7000")][..]),
        (&of_server, "server", &[(ROLE, "server"), (PEER, "10.77.0.2")][..]),
    ];
    for (scrape, role, peer) in ends {
        let count = |name: &str| scrape.count(&format!("sidecar_tcp_{name}"), peer);
        assert_eq!((count("peer_connection_opened_total"), count("peer_connection_active")), (n, 0));
        assert_eq!(scrape.count("sidecar_tcp_connection_active", &[(ROLE, role)]), 0);
        for direction in ["receive", "transmit"] {
            let labels = [peer, &[("network_io_direction", direction)]].concat();
            assert_eq!(scrape.count("sidecar_tcp_peer_io_bytes_total", &labels), 1000 * n);
        }
        let all = scrape.all("sidecar_tcp_peer_connection_opened_total").count();
        assert_eq!(all, 1, "no other peer, and no port of a client");
        // A connection's smoothed round trip is at least the wire's, and that nobody was faster.
        assert_eq!(count("rtt_seconds_count"), n);
        let at_once = [peer, &[("le", "0.025")]].concat();
        assert_eq!(scrape.sum("sidecar_tcp_rtt_seconds_bucket", &at_once), Some(0.0));
        assert!(scrape.sum("sidecar_tcp_rtt_seconds_sum", peer) >= Some(trip * n as f64));
    }
    // Who reset: the server's three, as both kernels counted them, too.
    let resets = |scrape: &Scrape, role, reason| {
        scrape.count("sidecar_tcp_connection_reset_total", &[(ROLE, role), ("sidecar_reason", reason)])
    };
    assert_eq!(
        (resets(&of_server, "server", "sent"), resets(&of_server, "server", "received")),
        (n_reset, 0)
    );
    assert_eq!(
        (resets(&of_client, "client", "received"), resets(&of_client, "client", "sent")),
        (n_reset, 0)
    );
    assert_eq!((server.snmp("Tcp", "EstabResets"), client.snmp("Tcp", "EstabResets")), (n_reset, n_reset));

    // connect() takes a round trip, and no longer than the client waited for it.
    let peer = [(PEER, "10.77.0.1"), ("network_peer_port", "7000")];
    assert_eq!(of_client.count("sidecar_tcp_connect_duration_seconds_count", &peer), n);
    let waited: f64 = told.iter().map(|line| line[0]).sum();
    let took = of_client.sum("sidecar_tcp_connect_duration_seconds_sum", &peer).expect("a sum");
    println!("connect: {took} s, the client waited {waited} s");
    assert!((trip * n as f64..=waited).contains(&took));
    let by_client: f64 = told.iter().map(|line| line[1]).sum();
    println!(
        "round trips: {:?}, the client's {by_client}",
        of_client.sum("sidecar_tcp_rtt_seconds_sum", &peer)
    );
    assert_eq!(of_server.count("sidecar_tcp_connect_duration_seconds_count", &[]), 0);
}

#[test]
#[ignore = "privileged: attaches BPF programs, makes network namespaces and TUN devices"]
fn delivery_is_what_the_wire_takes() {
    let (server, client, _wire) = slow_wire();
    let dir = tempfile::tempdir().expect("a folder");
    let cgroup = Cgroup::new();
    let sidecar = observe(&cgroup, dir.path(), &[]);
    let nginx = Nginx::prepare(dir.path(), "10.77.0.1", 8080, "");
    let _nginx =
        spawn(&[cgroup.wrapper(), server.wrapper(), nginx.command()].concat(), &dir.path().join("nginx.out"));
    eventually("nginx to start", || {
        dir.path().join("nginx.pid").metadata().ok().filter(|file| file.len() > 0)
    });
    // One connection for four requests, and four for one each.
    let mut times = Vec::new();
    let mut curl = |options: &[&str], files: &[&str]| {
        let mut command = client.wrapper();
        command.extend(["curl", "-s", "-w", "\n%{time_total}\n"].map(str::to_owned));
        command.extend(options.iter().map(|option| (*option).to_owned()));
        for file in files {
            command.extend(["-o".into(), "/dev/null".into(), nginx.url(file)]);
        }
        let told = process::run(Command::new(&command[0]).args(&command[1..]));
        times.extend(told.lines().filter_map(|line| line.parse::<f64>().ok()));
    };
    curl(&[], &["100.bin", "1000.bin", "5000000.bin", "1000.bin"]);
    for file in ["0.bin", "60000.bin"] {
        curl(&["--http1.0"], &[file]);
        curl(&["-H", "Connection: close"], &[file]);
    }
    let n = nginx.answered().values().sum::<u64>();
    assert_eq!((n, times.len()), (8, 8));
    let scrape = eventually("all responses to be acknowledged", || {
        let scrape = sidecar.scrape_at_rest();
        (scrape.count("sidecar_http_server_delivery_duration_seconds_count", &[]) == n).then_some(scrape)
    });
    let sum = scrape.sum("sidecar_http_server_delivery_duration_seconds_sum", &[]).expect("a sum");
    // Each takes a round trip at least. What ends it at curl is on its way back for half of one, and may wait for the
    // delayed acknowledgement's 200 ms (TCP_DELACK_MAX).
    let longest = times.iter().sum::<f64>() + n as f64 * (DELAY.as_secs_f64() + 0.2);
    println!("delivery: {sum} s, curl's total {} s", times.iter().sum::<f64>());
    assert!((n as f64 * 2.0 * DELAY.as_secs_f64()..=longest).contains(&sum), "{sum} {longest}");
    assert_eq!(
        scrape.sum("sidecar_http_server_delivery_duration_seconds_bucket", &[("le", "0.025")]),
        Some(0.0)
    );
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn what_is_encrypted_is_counted_by_peer() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (key, certificate) = (file("key.pem"), file("certificate.pem"));
    let words =
        ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-batch"];
    process::run(Command::new("openssl").args(words).args(["-keyout", &key, "-out", &certificate]));
    let port = free_port();
    let accept = format!("127.0.0.1:{port}");
    let server = ["openssl", "s_server", "-www", "-key", &key, "-cert", &certificate, "-accept", &accept];
    let sidecar = Sidecar::run(dir.path(), &[], &server);
    eventually("the server to listen", || sidecar.log().contains("ACCEPT").then_some(()));
    let n = 5;
    for _ in 0..n {
        let url = format!("https://127.0.0.1:{port}/");
        process::run(Command::new("curl").args(["-sk", "--http1.1", "-o", "/dev/null", &url]));
    }
    let labels = [(ROLE, "server"), (PEER, "127.0.0.1")];
    let scrape = assert_adds_up(&sidecar, "server");
    assert_eq!(scrape.count("sidecar_tcp_peer_connection_opened_total", &labels), n);
    assert_eq!(scrape.count("sidecar_tcp_rtt_seconds_count", &labels), n);
    let total = scrape.count("sidecar_tcp_peer_io_bytes_total", &labels);
    assert!(total > 0 && total == scrape.bytes("encrypted"), "{total} {}", scrape.bytes("encrypted"));
    assert_eq!(scrape.count("sidecar_http_server_delivery_duration_seconds_count", &[]), 0);
}

/// Says something now and then, for as long as it is let.
const CHAT: &str = r#"
import os, socket, sys, threading, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
def echo():
    s, _ = listener.accept()
    while got := s.recv(4096): s.sendall(got)
    s.close()
thread = threading.Thread(target=echo)
thread.start()
s = socket.create_connection(listener.getsockname())
print("connected", flush=True)
n = 0
while not os.path.exists(sys.argv[2]):
    s.sendall(b"x" * 100); n += len(s.recv(4096)); time.sleep(0.1)
    print(n, flush=True)
s.close(); thread.join()
print("done", flush=True)
"#;

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_connection_that_goes_on_is_told_of_too() {
    let dir = tempfile::tempdir().expect("a folder");
    let (output, end) = (dir.path().join("chat.out"), dir.path().join("end"));
    let cgroup = Cgroup::new();
    let port = free_port().to_string();
    let words = python(&[cgroup.wrapper()], CHAT, &[&port, &end.display().to_string()]);
    let mut chat = spawn(&words, &output);
    eventually("the connection", || process::read(&output).contains("connected").then_some(()));
    // It is older than the programs.
    let sidecar = observe(&cgroup, dir.path(), &[]);
    let peer = [(PEER, "127.0.0.1")];
    let told = eventually("an account of it", || {
        let scrape = sidecar.scrape();
        (scrape.count("sidecar_tcp_peer_io_bytes_total", &peer) > 0).then_some(scrape)
    });
    assert!(told.count("sidecar_tcp_rtt_seconds_count", &peer) > 0);
    assert_eq!(told.count("sidecar_tcp_peer_connection_active", &peer), 0, "it was met in the middle");
    std::fs::write(&end, "").expect("the end");
    assert!(chat.wait().success());
    eventually("all of it to be told", || {
        let scrape = sidecar.scrape_at_rest();
        let told = scrape.count("sidecar_tcp_peer_io_bytes_total", &peer);
        (told == scrape.count("sidecar_tcp_io_bytes_total", &[])).then_some(())
    });
}
