//! What is denied of datagrams, against what the application is told and what the other side got.

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    process::Command,
    time::Duration,
};

use rustix::process::Signal;
use sidecar_tests::{cgroup::Cgroup, eventually, process, sidecar::Sidecar};

/// Says something to each address, in both ways, and prints what came of it.
const CLIENT: &str = r#"
import errno, socket, sys
for address in sys.argv[1:]:
    host, port = address.rsplit("/", 1)
    for how in ["connected", "unconnected"]:
        s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            if how == "connected": s.connect((host, int(port))); s.send(b"x")
            else: s.sendto(b"x", (host, int(port)))
            print("sent")
        except OSError as error: print(errno.errorcode[error.errno])
"#;

/// A denied destination gets no datagram, connected or not, of either family; others get theirs, and those of a service count.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn denied_datagrams_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let cgroup = Cgroup::new();
    let receiver = |address: &str| {
        let socket = UdpSocket::bind((address, 0)).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
        let port = socket.local_addr().expect("its address").port();
        (socket, port)
    };
    let [denied, excepted, served, free] = ["127.7.0.3", "127.7.0.3", "127.7.0.4", "127.7.0.5"].map(receiver);
    let nobodys = receiver("127.0.0.1");
    let [denied_six, served_six] = ["::1", "::1"].map(receiver);
    let settings = folder.path().join("settings.yaml");
    let text = format!(
        "traffic:
  services:
    - {{name: denied, addresses: [127.7.0.3], except: {{ports: [{}]}}, gear: deny, while_running: true}}
    - {{name: loopback, addresses: ['::ffff:127.0.0.1', '::1'], ports: [{}], gear: deny, while_running: true}}
    - {{name: six, addresses: ['::1'], ports: [{}], gear: deny, while_running: true}}
    - {{name: served, addresses: [127.7.0.4, '::1'], ports: [{}, {}]}}\n",
        excepted.1, nobodys.1, denied_six.1, served.1, served_six.1
    );
    fs::write(&settings, text).expect("settings");
    let (path, settings) = (cgroup.path().display().to_string(), settings.display().to_string());
    let sidecar = Sidecar::run(folder.path(), &["--cgroup", &path, "--config", &settings], &[]);
    sidecar.await_ready();
    let to = [
        (format!("127.7.0.3/{}", denied.1), "EPERM"),
        (format!("::ffff:127.7.0.3/{}", denied.1), "EPERM"),
        (format!("::1/{}", denied_six.1), "EPERM"),
        // Which the kernel takes for loopback.
        (format!("0.0.0.0/{}", nobodys.1), "EPERM"),
        (format!("::ffff:0.0.0.0/{}", nobodys.1), "EPERM"),
        (format!("::/{}", nobodys.1), "EPERM"),
        (format!("127.7.0.3/{}", excepted.1), "sent"),
        (format!("127.7.0.4/{}", served.1), "sent"),
        (format!("::ffff:127.7.0.4/{}", served.1), "sent"),
        (format!("::1/{}", served_six.1), "sent"),
        (format!("127.7.0.5/{}", free.1), "sent"),
    ];
    let words = [cgroup.wrapper(), ["python3", "-c", CLIENT].map(str::to_owned).to_vec()].concat();
    let addresses = to.iter().map(|(address, _)| address);
    let said = process::run(Command::new(&words[0]).args(&words[1..]).args(addresses));
    let expected: Vec<_> = to.iter().flat_map(|(_, word)| [*word; 2]).collect();
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    // Loopback has delivered what it delivers when sending returns.
    let got = |receiver: &(UdpSocket, u16)| (0..).take_while(|_| receiver.0.recv(&mut [0]).is_ok()).count();
    let all = [&denied, &denied_six, &nobodys, &excepted, &served, &served_six, &free].map(got);
    assert_eq!(all, [0, 0, 0, 2, 4, 2, 2]);
    let scrape = sidecar.scrape();
    let n = |verdict, reason| {
        let labels = [("sidecar_verdict", verdict), ("sidecar_reason", reason)];
        scrape.count("sidecar_traffic_connections_total", &labels)
    };
    // A connected socket counts once; one that is connected to a mapped address also sends as if it were not.
    assert_eq!([n("denied", "gear"), n("passed", "protocol"), n("passed", "exception")], [12, 7, 2]);
    // Where nothing is denied and no name is configured, nobody looks at datagrams.
    drop(sidecar);
    fs::write(&settings, "traffic: {services: [{name: a, addresses: [127.7.0.9]}]}\n").expect("settings");
    let sidecar = Sidecar::run(folder.path(), &["--cgroup", &path, "--config", &settings], &[]);
    sidecar.await_ready();
    let attached = process::run(Command::new("bpftool").args(["cgroup", "show", &path]));
    assert!(attached.contains("steer4") && !attached.contains("say4"), "{attached}");
    // Of both ways to send, connect() alone is seen.
    let words =
        [cgroup.wrapper(), ["python3", "-c", CLIENT, "127.7.0.9/9"].map(str::to_owned).to_vec()].concat();
    assert_eq!(process::run(Command::new(&words[0]).args(&words[1..])), "sent\n".repeat(2));
    let labels = [("sidecar_verdict", "passed"), ("sidecar_reason", "protocol")];
    assert_eq!(sidecar.scrape().count("sidecar_traffic_connections_total", &labels), 1);
    // With the first denial that comes while running somebody does.
    let mut denied = UdpSocket::bind(("127.7.0.3", 0)).expect("a socket");
    denied.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
    let port = denied.local_addr().expect("its address").port();
    let says = || {
        let words = [cgroup.wrapper(), ["python3", "-c", CLIENT].map(str::to_owned).to_vec()].concat();
        let addresses = [format!("127.7.0.3/{port}"), format!("::ffff:127.7.0.3/{port}")];
        process::run(Command::new(&words[0]).args(&words[1..]).args(addresses))
    };
    let got = |socket: &mut UdpSocket| (0..).take_while(|_| socket.recv(&mut [0]).is_ok()).count();
    assert_eq!((says(), got(&mut denied)), ("sent\n".repeat(4), 4));
    let listener = TcpListener::bind(("127.7.0.3", port)).expect("a listener");
    let connects = || {
        let script = format!("import socket; socket.create_connection(('127.7.0.3', {port}))");
        let words = [cgroup.wrapper(), ["python3", "-c", &script].map(str::to_owned).to_vec()].concat();
        process::output(Command::new(&words[0]).args(&words[1..])).status.success()
    };
    assert!(connects());
    let denying = "[{name: a, addresses: [127.7.0.3], gear: deny, while_running: true}]";
    let denying_more = "[{name: a, addresses: [127.7.0.3, 127.7.0.4], gear: deny, while_running: true}]";
    for (n, services) in [(1, denying), (2, denying_more), (3, "[]")] {
        fs::write(&settings, format!("traffic: {{services: {services}}}\n")).expect("settings");
        sidecar.signal(Signal::HUP);
        eventually("the new settings", || {
            (sidecar.log().matches("settings read again").count() == n).then_some(())
        });
        let is_denied = n < 3;
        let (word, n) = if is_denied { ("EPERM\n", 0) } else { ("sent\n", 4) };
        assert_eq!((says(), got(&mut denied)), (word.repeat(4), n));
        assert_ne!(connects(), is_denied);
    }
    drop(listener);
    let attached = process::run(Command::new("bpftool").args(["cgroup", "show", &path]));
    // It is told of when it begins.
    assert_eq!(sidecar.log().matches("programs look at datagrams from now on").count(), 1);
    assert!(["hear4", "hear6", "say4", "say6"].iter().all(|name| attached.contains(name)), "{attached}");
    // Once.
    assert_eq!(attached.matches("say4").count(), 1, "{attached}");
}
