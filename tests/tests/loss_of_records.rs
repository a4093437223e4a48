//! Records that are discarded lower the coverage. They invent nothing.

use rustix::process::Signal;
use sidecar_tests::{free_port, load::Load, nginx::Nginx, scrape::Scrape, sidecar::Sidecar};

/// No more of any kind than nginx answered, no more requests in all, and of what is missing no status.
fn assert_nothing_invented(scrape: &Scrape, nginx: &Nginx) {
    let (counted, answered) = (scrape.requests("server"), nginx.answered());
    for (kind, n) in counted.iter().filter(|((_, status), _)| status.parse::<u16>().is_ok()) {
        let own = answered.get(kind).copied().unwrap_or(0);
        assert!(*n <= own, "{kind:?}: counted {n}, nginx answered {own}");
    }
    for (method, status) in counted.keys() {
        let is_told = status.parse::<u16>().is_ok() || status == "response_not_observed";
        assert!(is_told, "{method} ended with {status}");
    }
    let (counted, answered): (u64, u64) = (counted.values().sum(), answered.values().sum());
    assert!(counted <= answered, "counted {counted}, nginx answered {answered}");
}

fn assert_debt(scrape: &Scrape) {
    let shed = scrape.count("sidecar_capture_shed_bytes_total", &[]);
    let dropped = scrape.drops().get("ring_full").copied().unwrap_or(0);
    assert!(shed + dropped > 0, "nothing was discarded");
    let coverage = scrape.sum("sidecar_capture_coverage_ratio", &[]).expect("there is something to cover");
    println!("{shed} bytes shed, {dropped} records dropped, coverage {coverage}");
    assert!(coverage < 1.0, "coverage {coverage}");
    assert!(scrape.bytes("explained") < scrape.bytes("seen"));
}

fn mixed(load: &mut Load, nginx: &Nginx) {
    load.h2load(("GET", 200), 600, "-c 8 -m 16", 0, &nginx.url("60000.bin"));
    load.h2load(("GET", 404), 1_000, "-c 8 -m 16", 0, &nginx.url("nowhere"));
    load.h2load(("POST", 201), 500, "-c 8 -m 16", 10_000, &nginx.url("made"));
    load.h2load(("GET", 200), 500, "-c 8", 0, &nginx.url("10000.bin"));
    load.hey("GET", 200, "-c 8 -disable-keepalive", &nginx.url("1000.bin"));
}

fn start(args: &[&str]) -> (tempfile::TempDir, Nginx, Sidecar) {
    let dir = tempfile::tempdir().expect("a folder");
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    let command = nginx.command();
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let sidecar = Sidecar::run(dir.path(), args, &command);
    nginx.await_listening();
    (dir, nginx, sidecar)
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_ring_that_is_too_small() {
    let (dir, nginx, mut sidecar) = start(&["--set", "capture.ring_bytes=65536"]);
    mixed(&mut Load::new(dir.path(), &[]), &nginx);
    let scrape = sidecar.scrape_at_rest();
    assert_debt(&scrape);
    assert_nothing_invented(&scrape, &nginx);
    assert!(sidecar.process().is_running());
    assert!(sidecar.stop().success() || !sidecar.log().contains("panicked"), "{}", sidecar.log());
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_reader_that_is_stopped() {
    let (dir, nginx, mut sidecar) = start(&[]);
    let mut load = Load::new(dir.path(), &[]);
    for _ in 0..3 {
        // Meanwhile nobody reads the ring: the application goes on, and what finds no room is counted.
        sidecar.signal(Signal::STOP);
        mixed(&mut load, &nginx);
        sidecar.signal(Signal::CONT);
        let scrape = sidecar.scrape_at_rest();
        assert_debt(&scrape);
        assert_nothing_invented(&scrape, &nginx);
    }
    // What comes after is whole again.
    let before = sidecar.scrape_at_rest();
    load.ab(("GET", 200), 300, "-c 4", &nginx.url("100.bin"));
    let after = sidecar.scrape_at_rest();
    let kind = ("GET".to_owned(), "200".to_owned());
    let of = |scrape: &Scrape| scrape.requests("server").get(&kind).copied().unwrap_or(0);
    assert_eq!(of(&after) - of(&before), 300);
    assert_eq!(
        after.bytes("seen") - before.bytes("seen"),
        after.bytes("explained") - before.bytes("explained")
    );
    assert!(sidecar.process().is_running());
}
