//! The harness: real programs in real cgroups and network namespaces, each behind a guard that leaves nothing behind,
//! also while panicking. Expected values come from the other programs' own accounts, never from ours.
#![expect(clippy::missing_panics_doc, reason = "a harness panics where a test fails")]

pub mod arrival;
pub mod bpf;
pub mod bpffs;
pub mod cgroup;
pub mod client;
pub mod compile;
pub mod dnsmasq;
pub mod endpoints;
pub mod endure;
pub mod haproxy;
pub mod image;
pub mod inbound;
pub mod load;
pub mod netns;
pub mod nginx;
pub mod numbered;
pub mod otlp;
pub mod phases;
pub mod pki;
pub mod pod;
pub mod process;
pub mod rotel;
pub mod scrape;
pub mod servers;
pub mod sidecar;
pub mod swaps;
pub mod tmux;
mod tun;
pub mod wire;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Mutex,
    thread::sleep,
    time::{Duration, Instant},
};

/// The workspace's root.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is inside the workspace")
}

/// The daemon under test: `TESTED_BINARY`, else the release build.
#[must_use]
pub fn binary() -> PathBuf {
    std::env::var_os("TESTED_BINARY").map_or_else(|| root().join("target/release/sidecar"), PathBuf::from)
}

/// Programs that `cargo xtask setup` brought and that no package installs: `TESTED_PARTS`, else `target/parts`.
#[must_use]
pub fn parts() -> PathBuf {
    std::env::var_os("TESTED_PARTS").map_or_else(|| root().join("target/parts"), PathBuf::from)
}

/// The Python that has the receivers' packages.
#[must_use]
pub fn python() -> String {
    parts().join("venv/bin/python3").display().to_string()
}

/// Waits until `probe` has an answer, and says `what` was waited for if it never has.
pub fn eventually<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    eventually_within(Duration::from_secs(30), || what.to_owned(), probe)
}

/// The same for so long, where what was waited for is best told at the end.
pub fn eventually_within<T>(
    patience: Duration,
    what: impl Fn() -> String,
    mut probe: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {}", what());
        sleep(Duration::from_millis(20));
    }
}

/// A port that nobody listens on, on 127.0.0.1, just now; another one each time.
#[must_use]
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let probe = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = probe.local_addr().expect("its address").port();
        if GIVEN.lock().expect("nobody panics here").insert(port) {
            return port;
        }
    }
}
