//! Real programs that the tests run: servers to observe, clients that count what they send, receivers of what
//! `sidecar` exports.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use anyhow::{Context as _, Result};

use super::{apt::Package, mirror, node, python};
use crate::{process::find, workspace::Workspace};

const PACKAGES: &[Package] = &[
    Package {
        name: "nginx-light",
        why: "a server to observe, whose access log is the truth to compare with",
    },
    Package { name: "nghttp2-client", why: "h2load, a client that finishes what it starts and counts it" },
    Package { name: "apache2-utils", why: "ab, a client without keep-alive" },
    Package { name: "hey", why: "a client with many connections" },
    Package { name: "haproxy", why: "a proxy to observe, which splices" },
    Package { name: "mptcpize", why: "to let nginx and curl speak MPTCP" },
    Package { name: "default-jdk-headless", why: "a server to observe, in Java, from its source" },
    Package { name: "openssl", why: "certificates, for TLS to a receiver; a client of TLS" },
    Package { name: "node-ws", why: "a client of WebSocket, in another language than the server" },
    Package { name: "curl", why: "a client for single requests of each kind" },
    Package { name: "dnsmasq-base", why: "a resolver whose log tells what it was asked" },
    Package { name: "bind9-dnsutils", why: "dig, a client that minds what answers are like" },
    Package { name: "musl-tools", why: "musl, whose resolver asks in another way than glibc's" },
    Package { name: "libc-ares-dev", why: "c-ares, a resolver that a program brings along" },
    Package { name: "golang-go", why: "Go, which speaks to the kernel and to resolvers without a libc" },
    Package { name: "redis-server", why: "Redis to observe, which counts its commands, and redis-benchmark" },
    Package {
        name: "postgresql",
        why: "PostgreSQL to observe, which counts its statements, pgbench and psql",
    },
    Package {
        name: "mariadb-server",
        why: "MariaDB to observe, which counts its statements, and its client",
    },
    Package { name: "memcached", why: "memcached to observe, which counts its commands" },
    Package { name: "tshark", why: "tshark and capinfos, other readers of captures" },
    Package { name: "wrk", why: "load for measuring" },
    Package { name: "tmux", why: "a terminal whose screen can be read" },
    Package { name: "iproute2", why: "ip, to look into network namespaces" },
    Package { name: "nftables", why: "to lose the packets that a test wants lost" },
    Package { name: "buildah", why: "to put the daemon into a container image" },
    Package { name: "systemd", why: "systemd-analyze, which checks the unit" },
    Package { name: "bpftool", why: "to see what is loaded and attached, by a program that is not ours" },
    Package {
        name: "libcap2-bin",
        why: "to give a copy of the daemon the capabilities that the image's has",
    },
];
const NODE: Package = Package { name: "nodejs", why: "a server to observe, in another language" };
const NPM: Package = Package { name: "npm", why: "clients to observe, in another language" };
const PYTHON: Package = Package { name: "python3", why: "a server to observe, and the receivers' language" };
const VENV: Package = Package { name: "python3-venv", why: "a place for the receivers' Python packages" };

/// Programs of Debian's next release, unpacked and not installed: this one has none, or an older one.
const NEXT: mirror::Unpack = mirror::Unpack {
    release: "forky",
    packages: &["prometheus", "promtool", "musl-dev"],
    programs: &["usr/bin/prometheus", "usr/bin/promtool"],
    files: &["usr/lib/x86_64-linux-musl/libc.a"],
    why: "a real Prometheus to scrape the metrics, and its lint; musl with a resolver that asks over TCP",
};

pub(super) fn packages() -> Vec<&'static Package> {
    let mut packages: Vec<&Package> = PACKAGES.iter().collect();
    if find("node").is_none() {
        packages.push(&NODE);
    }
    if find("npm").is_none() {
        packages.push(&NPM);
    }
    if find("python3").is_none() {
        packages.push(&PYTHON);
    }
    if !python::can_make_venv() {
        packages.push(&VENV);
    }
    packages
}

/// What is not installed on the machine but lies in `target/parts`, its programs in `target/parts/bin`.
pub(super) fn install(workspace: &Workspace) -> Result<()> {
    let bin = workspace.parts().join("bin");
    fs::create_dir_all(&bin)?;
    NEXT.install(&workspace.parts(), &bin)?;
    python::install(workspace, &bin)?;
    node::install(workspace)
}

/// Makes `bin/NAME` lead to `program`, whatever it led to before.
pub(super) fn link(program: &Path, bin: &Path) -> Result<()> {
    link_as(program, bin, program.file_name().context("a program has a name")?.as_ref())
}

pub(super) fn link_as(program: &Path, bin: &Path, name: &Path) -> Result<()> {
    let place = bin.join(name);
    if place.symlink_metadata().is_ok() {
        fs::remove_file(&place)?;
    }
    symlink(program, &place).with_context(|| format!("link {}", place.display()))
}

/// Whether the program in `bin` starts and answers `--version`.
pub(super) fn answers(bin: &Path, name: &str) -> bool {
    let version = Command::new(bin.join(name)).arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}
