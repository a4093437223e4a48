//! The daemon's counts equal the servers' and the clients' own.

use std::process::Command;

use sidecar_tests::{free_port, nginx::Nginx, process, sidecar::Sidecar};

fn words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_few_requests_by_curl() {
    let dir = tempfile::tempdir().expect("a folder");
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    let command = nginx.command();
    let sidecar = Sidecar::run(dir.path(), &[], &words(&command));
    nginx.await_listening();
    for path in ["100.bin", "10000.bin", "status/500", "nowhere"] {
        let url = format!("http://127.0.0.1:{}/{path}", nginx.port);
        process::run(Command::new("curl").args(["-s", "-o", "/dev/null", &url]));
    }
    let scrape = sidecar.scrape_at_rest();
    assert_eq!(scrape.requests("server"), nginx.answered());
    assert_eq!(scrape.bytes("explained"), scrape.bytes("seen"));
}
