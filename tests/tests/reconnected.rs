//! One socket, connected again: what it was before is over, and each connection counts by itself. By nginx's log, and by what
//! the client itself sent and got.

use std::{collections::BTreeMap, process::Command};

use sidecar_tests::{
    cgroup::Cgroup,
    free_port,
    netns::Netns,
    nginx::Nginx,
    process::{self, Process},
    sidecar::Sidecar,
};

/// Uses one socket again and again, as each word says: what it sent and got, and how often it was connected and refused.
const CLIENT: &str = r#"
import ctypes, json, select, socket, struct, sys
nobody, to = [(address, int(port)) for address, port in (word.rsplit("/", 1) for word in sys.argv[1:3])]
n, protocol = int(sys.argv[3]), int(sys.argv[4])
libc = ctypes.CDLL(None, use_errno=True)
told = {"sent": 0, "got": 0, "connected": 0, "refused": 0}
def let_go(s):
    # connect() to AF_UNSPEC: connect(2).
    if libc.connect(s.fileno(), struct.pack("=H14x", 0), 16): raise OSError(ctypes.get_errno(), "AF_UNSPEC")
def got(s):
    some = s.recv(65536); told["got"] += len(some); return some
def ask(path, more=""):
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode()
def answer(s):
    text = b""
    while b"\r\n\r\n" not in text: text += got(s)
    head, _, body = text.partition(b"\r\n\r\n")
    left = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]) - len(body)
    while left: left -= len(got(s))
def exchange(s, request): told["sent"] += s.send(request); answer(s)
def connect(s):
    s.connect(to); told["connected"] += 1
def refused(s):
    try: s.connect(nobody)
    except ConnectionRefusedError: told["refused"] += 1
def refused_later(s):
    s.setblocking(False); s.connect_ex(nobody); select.select([], [s], [])
    assert s.connect_ex(nobody); told["refused"] += 1; s.setblocking(True)
def asks(s): connect(s); exchange(s, ask("/100.bin")); exchange(s, ask("/1000.bin"))
# What the kernel was told of this connection is not of the next.
def large(s):
    connect(s)
    for _ in range(3): exchange(s, ask("/5000000.bin"))
def ends(s):
    connect(s); exchange(s, ask("/100.bin", "Connection: close\r\n"))
    while got(s): pass
def early(s):
    request = ask("/100.bin")
    told["sent"] += s.sendto(request, socket.MSG_FASTOPEN, to); told["connected"] += 1; answer(s)
for _ in range(n):
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol)
    for what in sys.argv[5:]:
        globals()[what](s)
        if "refused" not in what: let_go(s)
    s.close()
print(json.dumps(told))
"#;

struct World {
    dir: tempfile::TempDir,
    netns: Netns,
    cgroup: Cgroup,
    nginx: Nginx,
    _server: Process,
}

impl World {
    fn new() -> World {
        let (dir, netns, cgroup) = (tempfile::tempdir().expect("a folder"), Netns::new(), Cgroup::new());
        // As in `transports`, and from the first connection on.
        netns.sysctl("net.ipv4.tcp_fastopen", &(0x1 | 0x2 | 0x4 | 0x200 | 0x400).to_string());
        let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
        let words = [netns.wrapper(), nginx.command()].concat();
        let server = Process::start(Command::new(&words[0]).args(&words[1..]), &dir.path().join("nginx.out"));
        netns.within(|| nginx.await_listening());
        World { dir, netns, cgroup, nginx, _server: server }
    }

    fn observe(&self) -> Sidecar {
        let path = self.cgroup.path().display().to_string();
        Sidecar::run(self.dir.path(), &["--cgroup", &path], &[])
    }

    /// Ten sockets do all of these each: the client's own account. Nobody is at port 1.
    fn client(&self, protocol: u32, what: &[&str]) -> BTreeMap<String, u64> {
        let words = [self.cgroup.wrapper(), self.netns.wrapper()].concat();
        let to = format!("127.0.0.1/{}", self.nginx.port);
        let arguments = ["127.0.0.1/1", &to, "10", &protocol.to_string()];
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["python3", "-c", CLIENT]).args(arguments).args(what);
        serde_json::from_str(&process::run(&mut command)).expect("JSON")
    }
}

#[test]
#[ignore = "privileged: attaches BPF programs, makes a network namespace"]
fn each_connection_counts_by_itself() {
    const TCP: u32 = 6;
    const MPTCP: u32 = 262;
    let ways: [(u32, &[&str]); 8] = [
        (TCP, &["refused", "asks"]),
        (TCP, &["refused_later", "refused", "ends"]),
        (TCP, &["asks", "asks"]),
        (TCP, &["ends", "ends", "asks"]),
        (TCP, &["large", "asks", "refused", "large"]),
        (TCP, &["early", "early", "refused", "early"]),
        (TCP, &["asks", "early", "ends", "early"]),
        // nginx speaks TCP, so that it falls back to that.
        (MPTCP, &["refused", "asks"]),
    ];
    for (protocol, what) in ways {
        let world = World::new();
        let mut sidecar = world.observe();
        let told = world.client(protocol, what);
        let answered = world.nginx.answered();
        let scrape = sidecar.scrape_at_rest();
        let count = |name: &str, more: &[(&str, &str)]| {
            let role = ("sidecar_tcp_role", "client");
            let of =
                |name: &str| scrape.count(&format!("sidecar_tcp_{name}_total"), &[&[role], more].concat());
            let of_peers = of(&format!("peer_{name}"));
            assert_eq!(of(name), of_peers, "{name} {more:?} {what:?}");
            of_peers
        };
        let direction = |word| [("network_io_direction", word)];
        assert_eq!(count("io_bytes", &direction("transmit")), told["sent"], "{what:?}");
        assert_eq!(count("io_bytes", &direction("receive")), told["got"], "{what:?}");
        assert_eq!(count("connection_opened", &[]), told["connected"], "{what:?}");
        assert_eq!(count("connection_closed", &[]), told["connected"], "{what:?}");
        assert_eq!(count("retransmits", &[]), 0, "{what:?}");
        let failed =
            scrape.count("sidecar_tcp_connection_failed_total", &[("error_type", "connection_refused")]);
        assert_eq!(failed, told["refused"], "{what:?}");
        scrape.assert_whole(&[("client", answered)]);
        assert_eq!(scrape.count("http_client_open_connections", &[]), 0, "{what:?}");
        assert_eq!(world.netns.snmp("TcpExt", "TCPFastOpenActive") > 0, what.contains(&"early"), "{what:?}");
        sidecar.assert_sound("sockets that were connected again", 64 * 1024);
    }
}
