//! Under a service manager: what it is told, and when (sd_notify(3)).

use std::{fs, os::unix::net::UnixDatagram, path::Path};

use rustix::process::Signal;
use sidecar_tests::{cgroup::Cgroup, eventually, sidecar::Sidecar};

/// What was told so far, message by message.
fn told(manager: &UnixDatagram, all: &mut Vec<String>) {
    let mut buffer = [0; 4096];
    while let Ok(n) = manager.recv(&mut buffer) {
        all.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
    }
}

fn manager(dir: &Path) -> (UnixDatagram, Vec<String>) {
    let path = dir.join("notify");
    let manager = UnixDatagram::bind(&path).expect("the manager's socket");
    manager.set_nonblocking(true).expect("a socket that does not wait");
    let variables = [format!("NOTIFY_SOCKET={}", path.display()), "WATCHDOG_USEC=200000".to_owned()];
    (manager, [vec!["env".to_owned()], variables.to_vec()].concat())
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn ready_alive_and_stopping() {
    let dir = tempfile::tempdir().expect("a folder");
    let (manager, wrapper) = manager(dir.path());
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    let cgroup = Cgroup::new();
    let path = cgroup.path().display().to_string();
    let mut sidecar = Sidecar::spawn(dir.path(), &wrapper, &["--cgroup", &path], &[]);
    let mut all = Vec::new();
    eventually("three signs of life", || {
        told(&manager, &mut all);
        (all.iter().filter(|one| *one == "WATCHDOG=1").count() >= 3).then_some(())
    });
    // Before anything else, and once it could be asked.
    assert_eq!(all[0], "READY=1\nSTATUS=9 of 9 programs");
    assert!(sidecar.log().contains("\"attached\""));
    let _ = sidecar.scrape();
    // As `Type=notify-reload` of systemd.service(5) wants it: since when, by CLOCK_MONOTONIC, and that it is over.
    let n_before = all.len();
    sidecar.signal(Signal::HUP);
    eventually("the reload", || {
        told(&manager, &mut all);
        all[n_before..].iter().any(|one| one.starts_with("READY=1")).then_some(())
    });
    let news: Vec<_> = all[n_before..].iter().filter(|one| *one != "WATCHDOG=1").collect();
    let since = news[0].strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("since when");
    let uptime = fs::read_to_string("/proc/uptime").expect("the machine's age");
    let uptime: f64 = uptime.split(' ').next().and_then(|text| text.parse().ok()).expect("seconds");
    // The machine's age is cut to hundredths.
    let is_past = |us| us > 0.0 && us < (uptime + 0.01) * 1e6;
    assert!(since.parse::<f64>().is_ok_and(is_past), "{since}: {uptime}");
    assert_eq!(news[1..], ["READY=1\nSTATUS=9 of 9 programs"]);

    assert_eq!(sidecar.stop().code(), Some(0));
    told(&manager, &mut all);
    assert_eq!(all.iter().filter(|one| *one == "STOPPING=1").count(), 1, "{all:?}");
    assert_eq!(all.iter().filter(|one| one.starts_with("READY")).count(), 2, "{all:?}");
}

/// The unit's state is the command's to tell, which finds the same variables.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_command_tells_for_itself() {
    let dir = tempfile::tempdir().expect("a folder");
    let (manager, wrapper) = manager(dir.path());
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    let script = "import os, socket\n\
                  s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
                  s.sendto(b'READY=1\\nSTATUS=mine', os.environ['NOTIFY_SOCKET'])\n";
    let mut sidecar = Sidecar::spawn(dir.path(), &wrapper, &[], &["python3", "-c", script]);
    assert_eq!(sidecar.wait().code(), Some(0), "{}", sidecar.log());
    let mut all = Vec::new();
    told(&manager, &mut all);
    assert_eq!(all, ["READY=1\nSTATUS=mine"]);
}
