//! Clients that mean harm: the daemon stays alive, small, and right about what the server took.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    path::Path,
    time::Duration,
};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use sidecar_tests::{eventually, free_port, nginx::Nginx, sidecar::Sidecar};

/// Bytes that all connections together may hold, in the tests.
const HELD: u64 = 2 << 20;
/// What the daemon may take at most, kB: itself and its ring (charged twice), what it may hold, its series.
const MOST_KB: u64 = 48 * 1024;

fn start(dir: &Path) -> (Nginx, Sidecar) {
    let nginx = Nginx::prepare(dir, "127.0.0.1", free_port(), "");
    let words = nginx.command();
    let held = format!("capture.held_bytes={HELD}");
    let sidecar = Sidecar::run(dir, &["--set", &held], &words.iter().map(String::as_str).collect::<Vec<_>>());
    nginx.await_listening();
    (nginx, sidecar)
}

/// A connection from any address of the loopback network.
fn from(address: Ipv4Addr, port: u16) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &SocketAddrV4::new(address, 0)).expect("an address of its own");
    connect(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).expect("connect");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time-out");
    stream
}

/// What must hold after any attack: alive, no panic, small. The figure is printed.
fn check_health(what: &str, sidecar: &mut Sidecar) {
    assert!(sidecar.process().is_running(), "{what}: {}", sidecar.log());
    assert!(!sidecar.log().contains("panicked"), "{what}: {}", sidecar.log());
    let pid = sidecar.process().pid().as_raw_nonzero();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    let most: u64 = most.trim().trim_end_matches(" kB").parse().expect("a number");
    println!("{what}: {most} kB at most");
    assert!(most < MOST_KB, "{what}: {most} kB");
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

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_hundred_thousand_paths_hosts_methods_and_two_thousand_peers() {
    const PEERS: u32 = 2_000;
    const EACH: u32 = 50;
    let dir = tempfile::tempdir().expect("a folder");
    let (nginx, mut sidecar) = start(dir.path());
    for peer in 0..PEERS {
        let [_, b, c, d] = (peer + 256).to_be_bytes();
        let mut stream = from(Ipv4Addr::new(127, b, c, d), nginx.port);
        for n in (0..EACH).map(|n| peer * EACH + n) {
            let method = letters(n);
            let request = format!("{method} /distinct/p{n}x HTTP/1.1\r\nHost: h{n}.example\r\n\r\n");
            stream.write_all(request.as_bytes()).expect("send");
            let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
            while !answer.ends_with(b"</html>\r\n") {
                let n = stream.read(&mut piece).expect("the answer");
                assert!(n > 0, "{}", answer.escape_ascii());
                answer.extend_from_slice(&piece[..n]);
            }
        }
        // No more at once than the ring has room for, also where its reader waits for the processor.
        if peer % 50 == 49 {
            let n_sent = u64::from((peer + 1) * EACH);
            let n_seen = || sidecar.scrape().requests("server").values().sum::<u64>();
            eventually("what was sent", || (n_seen() == n_sent).then_some(()));
        }
    }
    let answered = nginx.answered();
    assert_eq!(answered.values().sum::<u64>(), u64::from(PEERS * EACH));
    let scrape = sidecar.scrape_at_rest();
    assert_eq!(scrape.requests("server"), answered, "dropped {:?}", scrape.drops());
    let peers = || scrape.all("sidecar_tcp_peer_connection_opened_total");
    assert!(peers().count() <= 65, "{} series of peers", peers().count());
    assert!(peers().any(|(labels, _)| labels.contains_key("otel_metric_overflow")));
    check_health("distinct everything", &mut sidecar);
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn heads_that_do_not_end_are_held_up_to_the_bound() {
    let dir = tempfile::tempdir().expect("a folder");
    let (nginx, mut sidecar) = start(dir.path());
    // One byte at a time on each, then heads as long as nginx takes, on all of them: 12 MB.
    let mut slow: Vec<_> = (0..900).map(|_| from(Ipv4Addr::LOCALHOST, nginx.port)).collect();
    for byte in b"GET /slow HTTP/1.1\r\nX: " {
        slow.iter_mut().for_each(|stream| stream.write_all(&[*byte]).expect("a byte"));
    }
    let line = format!("{}\r\nX: ", "v".repeat(3500));
    for _ in 0..4 {
        slow.iter_mut().for_each(|stream| stream.write_all(line.as_bytes()).expect("a line"));
    }
    let full = eventually("the bound", || {
        let scrape = sidecar.scrape();
        (scrape.count("sidecar_capture_drops_total", &[("sidecar_reason", "memory_full")]) > 0)
            .then_some(scrape)
    });
    println!("dropped {:?}", full.drops());
    // Whoever behaves is still seen.
    let answer = sidecar_tests::scrape::get(nginx.port, "/100.bin", "");
    assert_eq!(answer.len(), 100);
    eventually("the honest request", || {
        (sidecar.scrape().requests("server").get(&("GET".into(), "200".into())) == Some(&1)).then_some(())
    });
    check_health("unfinished heads", &mut sidecar);
    drop(slow);
    eventually("the connections to go", || {
        (sidecar.scrape().count("sidecar_connections_tracked", &[]) == 0).then_some(())
    });
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn bombs_garbage_and_smuggling_never_count_twice() {
    let dir = tempfile::tempdir().expect("a folder");
    let (nginx, mut sidecar) = start(dir.path());
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
        let mut stream = from(Ipv4Addr::LOCALHOST, nginx.port);
        // The server may have had enough before the end, and reset it.
        let _ = stream.write_all(attack);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let scrape = sidecar.scrape_at_rest();
    let (seen, answered) = (scrape.requests("server"), nginx.answered());
    let ok = |kinds: &std::collections::BTreeMap<_, u64>, method: &str, status: &str| {
        kinds.get(&(method.to_owned(), status.to_owned())).copied().unwrap_or(0)
    };
    println!("seen {seen:?}, answered {answered:?}");
    for (method, status) in [("GET", "200"), ("POST", "201")] {
        assert_eq!(ok(&seen, method, status), ok(&answered, method, status), "{method} {status}");
    }
    let sum = |kinds: &std::collections::BTreeMap<_, u64>| kinds.values().sum::<u64>();
    assert!(sum(&seen) <= sum(&answered), "{seen:?}, {answered:?}");
    assert!(scrape.count("sidecar_parser_oddities_total", &[("sidecar_reason", "malformed")]) > 0);
    check_health("bombs, garbage, smuggling", &mut sidecar);
}
