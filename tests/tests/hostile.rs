//! Clients that mean harm: the daemon stays alive, small, and right about what the server took.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use rustix::{
    net::{AddressFamily, SocketType, bind, connect, socket},
    process::{Resource, getrlimit, setrlimit},
};
use sidecar_tests::{
    cgroup::Cgroup, eventually, free_port, load::Load, netns::Netns, nginx::Nginx, process::Process,
    sidecar::Sidecar,
};

/// Bytes that all connections together may hold, in the tests.
const HELD: u64 = 2 << 20;
/// What the daemon may take at most, kB: itself and its ring (charged twice), what it may hold, its series.
const MOST_KB: u64 = 48 * 1024;

fn start(dir: &Path, nginx: &Nginx) -> Sidecar {
    let words = nginx.command();
    let held = format!("capture.held_bytes={HELD}");
    let sidecar = Sidecar::run(dir, &["--set", &held], &words.iter().map(String::as_str).collect::<Vec<_>>());
    nginx.await_listening();
    sidecar
}

/// A connection from an address of the client's choice.
fn connect_from(source: IpAddr, to: SocketAddr) -> TcpStream {
    let family = if source.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &SocketAddr::new(source, 0)).expect("an address of its own");
    connect(&socket, &to).expect("connect");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
    stream
}

/// A number as letters: nginx takes no digits in a method.
fn letters(mut n: u32) -> String {
    let mut text = String::from("X");
    while n > 0 {
        text.push(char::from(b'A' + (n % 26) as u8));
        n /= 26;
    }
    text
}

/// Asks once for something that nobody else asks for, from an address that nobody else has: half of them are IPv4's.
fn ask_as(peer: u32, port: u16) {
    let [a, b, c, d] = peer.to_be_bytes();
    let (source, server): (IpAddr, IpAddr) = if peer.is_multiple_of(2) {
        (Ipv4Addr::new(10, b, c, d).into(), Ipv4Addr::new(10, 255, 255, 254).into())
    } else {
        let words = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
        let v6 = |words: [u16; 2]| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, words[0], words[1]).into();
        (v6(words), v6([0xffff, 0xffff]))
    };
    let mut stream = connect_from(source, SocketAddr::new(server, port));
    let method = letters(peer);
    let request =
        format!("{method} /distinct/p{peer}x HTTP/1.1\r\nHost: h{peer}.example\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("send");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the answer");
    assert!(answer.ends_with(b"</html>\r\n"), "{}", answer.escape_ascii());
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_hundred_thousand_paths_hosts_methods_and_peers() {
    const PEERS: u32 = 100_000;
    /// No more at once than the ring has room for, also where its reader waits for the processor.
    const AT_ONCE: u32 = 1_000;
    const THREADS: u32 = 4;
    let (dir, netns, cgroup) = (tempfile::tempdir().expect("a folder"), Netns::new(), Cgroup::new());
    netns.ip("route add local 10.0.0.0/8 dev lo");
    netns.ip("-6 route add local fd00::/64 dev lo");
    netns.sysctl("net.ipv6.ip_nonlocal_bind", "1");
    let port = free_port();
    let nginx = Nginx::prepare(
        dir.path(),
        "0.0.0.0",
        port,
        &format!("backlog=1024; listen [::]:{port} backlog=1024"),
    );
    let path = cgroup.path().display().to_string();
    let held = format!("capture.held_bytes={HELD}");
    let mut sidecar = Sidecar::run(dir.path(), &["--cgroup", &path, "--set", &held], &[]);
    let words = [cgroup.wrapper(), netns.wrapper(), nginx.command()].concat();
    let _nginx = Process::start(Command::new(&words[0]).args(&words[1..]), &dir.path().join("nginx.out"));
    netns.within(|| nginx.await_listening());

    for first in (1..=PEERS).step_by(AT_ONCE as usize) {
        netns.within(|| {
            thread::scope(|scope| {
                for own in 0..THREADS {
                    scope.spawn(move || {
                        (first..first + AT_ONCE)
                            .skip(own as usize)
                            .step_by(THREADS as usize)
                            .for_each(|peer| ask_as(peer, port));
                    });
                }
            });
        });
        let n_sent = u64::from(first - 1 + AT_ONCE);
        let n_seen = || sidecar.scrape().requests("server").values().sum::<u64>();
        eventually("what was sent", || (n_seen() == n_sent).then_some(()));
    }

    let (answered, clients) = (nginx.answered(), nginx.clients());
    assert_eq!((clients.len(), answered.values().sum::<u64>()), (PEERS as usize, u64::from(PEERS)));
    let scrape = sidecar.scrape_at_rest();
    scrape.assert_whole(&[("server", answered)]);
    // Of peers each has what nginx logged of it; those beyond the bound are one series.
    let of_peers: Vec<_> = scrape.all("sidecar_tcp_peer_connection_opened_total").collect();
    assert_eq!(of_peers.len(), 65, "series of peers");
    let (mut named, mut overflow) = (0, 0);
    for (labels, n) in of_peers {
        match labels.get("network_peer_address").filter(|_| !labels.contains_key("otel_metric_overflow")) {
            // Who waited for nginx to listen asked nothing.
            Some(address) if address == "127.0.0.1" => named += 1,
            Some(address) => {
                assert_eq!(Some(&(n as u64)), clients.get(address), "{address}");
                named += 1;
            }
            None => overflow += n as u64,
        }
    }
    assert_eq!((named, overflow), (64, u64::from(PEERS) + 1 - 64));
    sidecar.assert_sound("distinct everything", MOST_KB);
}

/// As many as the machine lets one process have, up to 5,000.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn heads_that_do_not_end_are_held_up_to_the_bound() {
    const OTHERS: u64 = 500;
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("as many descriptors as there may be");
    let n = limit.maximum.map_or(5_000, |most| most.saturating_sub(OTHERS).min(5_000));
    assert!(n >= 1_000, "only {n} connections are possible here");

    let dir = tempfile::tempdir().expect("a folder");
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "backlog=4096");
    nginx.amend("worker_connections 1024", &format!("worker_connections {}", n + OTHERS));
    let mut sidecar = start(dir.path(), &nginx);
    // One byte at a time on each, then heads as long as nginx takes, on all of them: 14 kB each.
    let (here, server) =
        (Ipv4Addr::LOCALHOST.into(), SocketAddr::new(Ipv4Addr::LOCALHOST.into(), nginx.port));
    let mut slow: Vec<_> = (0..n).map(|_| connect_from(here, server)).collect();
    let mut to_all = |bytes: &[u8]| {
        for some in slow.chunks_mut(250) {
            some.iter_mut().for_each(|stream| stream.write_all(bytes).expect("send"));
            // The daemon's reader has its turn.
            let _ = sidecar.scrape();
        }
    };
    for byte in b"GET /slow HTTP/1.1\r\nX: " {
        to_all(&[*byte]);
    }
    let line = format!("{}\r\nX: ", "v".repeat(3500));
    for _ in 0..4 {
        to_all(line.as_bytes());
    }
    let full = eventually("the bound", || {
        let scrape = sidecar.scrape();
        (scrape.count("sidecar_capture_drops_total", &[("sidecar_reason", "memory_full")]) > 0)
            .then_some(scrape)
    });
    println!("{n} connections, dropped {:?}", full.drops());
    // Whoever behaves is still seen.
    let mut honest = Load::new(dir.path(), &[]);
    honest.h2load(("GET", 200), 2_000, "-c 8", 0, &nginx.url("100.bin"));
    honest.hey("POST", 100, "-c 4 -d abc", &nginx.url("made"));
    let (counted, before) = (sidecar.scrape_at_rest().requests("server"), nginx.answered());
    assert_eq!(before, honest.answered);
    for (kind, n) in &before {
        assert_eq!(counted.get(kind), Some(n), "{kind:?}");
    }
    drop(slow);
    eventually("the connections to go", || {
        (sidecar.scrape().count("sidecar_connections_tracked", &[]) == 0).then_some(())
    });
    let (counted, answered) = (sidecar.scrape_at_rest().requests("server"), nginx.answered());
    // nginx logs with 400 whoever goes before the end, and sends nothing. Of those that were read to the end it is told that
    // they went, of the others that nothing is known of their answer.
    let own = |what: &str| counted.get(&("GET".to_owned(), what.to_owned())).copied().unwrap_or(0);
    println!("counted {counted:?}, answered {answered:?}");
    assert_eq!(answered.get(&("GET".to_owned(), "400".to_owned())), Some(&n));
    assert_eq!(own("client_closed_in_request") + own("response_not_observed"), n);
    assert_eq!(counted.values().sum::<u64>(), answered.values().sum::<u64>());
    let full = sidecar.scrape().count("sidecar_capture_drops_total", &[("sidecar_reason", "memory_full")]);
    assert_eq!(own("response_not_observed"), full);
    sidecar.assert_sound("unfinished heads", MOST_KB);
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn bombs_garbage_and_smuggling_never_count_twice() {
    let dir = tempfile::tempdir().expect("a folder");
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    let mut sidecar = start(dir.path(), &nginx);
    let mut noise = 1u64;
    let mut garbage = |n: usize| -> Vec<u8> {
        (0..n)
            .map(|_| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (noise >> 33) as u8
            })
            .collect()
    };
    let head = |lines: &str| format!("POST /made HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes();
    let get = b"GET /100.bin HTTP/1.1\r\nHost: a\r\n\r\n";
    let chunks = b"5\r\nhello\r\n0\r\n\r\n";
    let mut attacks: Vec<Vec<u8>> = vec![
        format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "v".repeat(2 << 20)).into_bytes(),
        format!("GET / HTTP/1.1\r\n{}\r\n", "X-Small: a\r\n".repeat(50_000)).into_bytes(),
        format!("GET /{} HTTP/1.1\r\n\r\n", "p".repeat(100_000)).into_bytes(),
    ];
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 15\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 15\r\n",
        "Content-Length: +15\r\n",
        "Content-Length : 15\r\n",
        "Transfer-Encoding: chunked\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        attacks.push([&head(lines)[..], chunks, get].concat());
    }
    attacks.push([&head("Transfer-Encoding: chunked\r\n")[..], b"5;a=b\r\nhello\r\n0\r\n\r\n", get].concat());
    attacks.push([&get[..], b"\x00\x01\r\n\r\n", get].concat());
    attacks.extend((0..50).map(|n| garbage(1 << (n % 15))));
    attacks.extend((0..50).map(|n| [&get[..], &garbage(1 << (n % 15))].concat()));
    for attack in &attacks {
        let mut stream = TcpStream::connect(("127.0.0.1", nginx.port)).expect("connect");
        // The server may have had enough before the end, and reset it.
        let _ = stream.write_all(attack);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let scrape = sidecar.scrape_at_rest();
    let (seen, answered) = (scrape.requests("server"), nginx.answered());
    let ok = |kinds: &BTreeMap<_, u64>, method: &str, status: &str| {
        kinds.get(&(method.to_owned(), status.to_owned())).copied().unwrap_or(0)
    };
    println!("seen {seen:?}, answered {answered:?}");
    for (method, status) in [("GET", "200"), ("POST", "201")] {
        assert_eq!(ok(&seen, method, status), ok(&answered, method, status), "{method} {status}");
    }
    let sum = |kinds: &BTreeMap<_, u64>| kinds.values().sum::<u64>();
    assert!(sum(&seen) <= sum(&answered), "{seen:?}, {answered:?}");
    // Those that came behind one that nginx refused, and closed for, are nobody's answer.
    for (kind, n) in &seen {
        let is_unanswered = ["client_", "server_"].iter().any(|who| kind.1.starts_with(who));
        assert!(is_unanswered || answered.get(kind) >= Some(n), "{kind:?}: {seen:?}, {answered:?}");
    }
    assert!(scrape.count("sidecar_parser_oddities_total", &[("sidecar_reason", "malformed")]) > 0);
    sidecar.assert_sound("bombs, garbage, smuggling", MOST_KB);
}
