//! Attempts to connect that fail are counted by reason, as the application itself learns it.

use sidecar_tests::{eventually, process, sidecar::Sidecar};

/// Says what each attempt came to, and waits to be looked at.
const CLIENT: &str = r#"
import errno, socket, time
closed = socket.socket(); closed.bind(("127.0.0.1", 0)); nobody = closed.getsockname(); closed.close()
def attempt(to, *options):
    s = socket.socket()
    for option in options: s.setsockopt(*option)
    try: s.connect(to)
    except OSError as e: print(errno.errorcode[e.errno], flush=True)
    return s
for _ in range(3): attempt(nobody)
# An accept queue that is full answers no SYN.
full = socket.socket(); full.bind(("127.0.0.1", 0)); full.listen(0)
first = attempt(full.getsockname())
attempt(full.getsockname(), (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1500))
s = socket.socket(); s.setblocking(False); s.connect_ex(full.getsockname()); s.close()
print("done", flush=True)
time.sleep(60)
"#;

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn failed_attempts_by_reason() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = dir.path().join("client.out");
    let script = format!("exec python3 -c '{CLIENT}' >{}", output.display());
    let sidecar = Sidecar::run(dir.path(), &[], &["sh", "-c", &script]);
    let told = eventually("the client's attempts", || {
        let told = process::read(&output);
        told.contains("done").then_some(told)
    });
    assert_eq!(told, "ECONNREFUSED\nECONNREFUSED\nECONNREFUSED\nETIMEDOUT\ndone\n");
    let scrape = sidecar.scrape_at_rest();
    let failed =
        |reason: &str| scrape.count("sidecar_tcp_connection_failed_total", &[("error_type", reason)]);
    let counted = ["connection_refused", "timeout", "cancelled", "host_unreachable"].map(failed);
    assert_eq!(counted, [3, 1, 1, 0]);
    assert_eq!(scrape.count("sidecar_tcp_connection_opened_total", &[("sidecar_tcp_role", "client")]), 1);
}
