//! What stands beside the application, or in its way, during a run.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port, parts,
    process::{self, Process},
    sidecar::{Sidecar, TWO_CAPABILITIES},
};

use super::{shape::Unit, world::OTHERS_CPU};

/// CAP_BPF and CAP_NET_ADMIN, as the masks of `/proc/PID/status` have them.
const TWO: u64 = 1 << 39 | 1 << 12;

/// The kinds, in the order in which reports show them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Nothing,
    /// An empty program on both `cgroup_skb` hooks: what no observer by these hooks can be below.
    Floor,
    Sidecar,
    /// A proxy between client and server, as a sidecar of that kind is.
    Envoy,
}

impl Kind {
    pub(super) const ALL: [Kind; 4] = [Kind::Nothing, Kind::Floor, Kind::Sidecar, Kind::Envoy];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Nothing => "nothing",
            Kind::Floor => "floor",
            Kind::Sidecar => "sidecar",
            Kind::Envoy => "envoy",
        }
    }
}

/// One of them, running.
pub(super) enum Beside {
    Nothing,
    /// Held for its programs.
    Floor(#[expect(dead_code, reason = "a guard")] Process),
    Sidecar(Box<Sidecar>),
    Envoy(Process, u16),
}

impl Beside {
    /// Starts it on the server's cgroup, or before the server's port.
    pub(super) fn start(kind: Kind, dir: &Path, cgroup: &Cgroup, port: u16, unit: Unit) -> Result<Self> {
        Ok(match kind {
            Kind::Nothing => Beside::Nothing,
            Kind::Floor => Beside::Floor(floor(dir, cgroup)?),
            Kind::Sidecar => Beside::Sidecar(Box::new(sidecar(dir, cgroup)?)),
            Kind::Envoy => {
                let own = free_port();
                Beside::Envoy(envoy(dir, own, port, unit)?, own)
            }
        })
    }

    /// The process whose CPU time is the bystander's own; the floor has none.
    pub(super) fn pid(&mut self) -> Option<i32> {
        let process = match self {
            Beside::Nothing | Beside::Floor(_) => return None,
            Beside::Sidecar(sidecar) => sidecar.process(),
            Beside::Envoy(process, _) => process,
        };
        Some(process.pid().as_raw_nonzero().get())
    }

    /// Where clients have to go.
    pub(super) fn port(&self, server: u16) -> u16 {
        match self {
            Beside::Envoy(_, own) => *own,
            _ => server,
        }
    }
}

fn floor(dir: &Path, cgroup: &Cgroup) -> Result<Process> {
    let script = dir.join("floor.py");
    fs::write(&script, include_str!("floor.py")).context("write the floor's script")?;
    let mut command = Command::new("setpriv");
    command.args(&TWO_CAPABILITIES[1..]).arg("python3").arg(&script).arg(cgroup.path());
    let log = dir.join("floor.out");
    let mut process = Process::start(&mut command, &log);
    eventually("the empty programs to be attached", || {
        assert!(process.is_running(), "floor.py ended:\n{}", process::read(&log));
        process::read(&log).contains("attached").then_some(())
    });
    Ok(process)
}

fn sidecar(dir: &Path, cgroup: &Cgroup) -> Result<Sidecar> {
    let wrapper = [vec!["taskset", "-c", OTHERS_CPU], TWO_CAPABILITIES.to_vec()].concat();
    let cgroup = cgroup.path().display().to_string();
    let mut daemon = Sidecar::spawn(dir, &wrapper, &["--cgroup", &cgroup], &[]);
    daemon.await_attached();
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.process().pid().as_raw_nonzero()))?;
    for name in ["CapPrm:", "CapBnd:"] {
        let mask = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
        ensure!(
            u64::from_str_radix(mask, 16) == Ok(TWO),
            "the daemon has other capabilities than CAP_BPF and CAP_NET_ADMIN: {name} {mask}"
        );
    }
    Ok(daemon)
}

fn envoy(dir: &Path, own: u16, server: u16, unit: Unit) -> Result<Process> {
    let config = dir.join("envoy.yaml");
    fs::write(&config, envoy_config(own, server, unit)).context("write Envoy's configuration")?;
    let mut command = Command::new("taskset");
    command.args(["-c", OTHERS_CPU]).arg(parts().join("bin/envoy")).arg("-c").arg(&config);
    command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warn"]);
    let log = dir.join("envoy.out");
    let mut process = Process::start(&mut command, &log);
    eventually("Envoy to listen", || {
        assert!(process.is_running(), "Envoy ended:\n{}", process::read(&log));
        std::net::TcpStream::connect(("127.0.0.1", own)).ok()
    });
    Ok(process)
}

/// The least that counts requests: one route, one cluster, no access log. Bytes go through its TCP proxy.
fn envoy_config(own: u16, server: u16, unit: Unit) -> String {
    let filter = match unit {
        Unit::Request => {
            "name: http
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          http_filters:
          - name: router
            typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - {name: all, domains: ['*'], routes: [{match: {prefix: /}, route: {cluster: server}}]}"
        }
        Unit::Mebibyte => {
            "name: tcp
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: in
          cluster: server"
        }
    };
    format!(
        "static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {own}}}}}
    filter_chains:
    - filters:
      - {filter}
  clusters:
  - name: server
    type: STATIC
    circuit_breakers:
      thresholds: [{{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}}]
    load_assignment:
      cluster_name: server
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {server}}}}}}}
"
    )
}
