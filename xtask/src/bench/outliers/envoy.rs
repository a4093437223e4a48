//! Envoy before the same endpoints, as a cluster of static ones.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};
use sidecar_tests::{
    endpoints::Endpoint,
    eventually, parts,
    process::{self, Process},
};

pub(super) const PORT: u16 = 8000;
const ADMIN: u16 = 8001;

pub(super) struct Envoy(#[expect(dead_code, reason = "a guard")] Process);

impl Envoy {
    /// `outlier_detection` as it stands in its configuration.
    pub(super) fn start(dir: &Path, endpoints: &[Endpoint], outlier_detection: &str) -> Result<Envoy> {
        let config = dir.join("envoy.yaml");
        fs::write(&config, settings(endpoints, outlier_detection)).context("write Envoy's configuration")?;
        let mut command = Command::new(parts().join("bin/envoy"));
        command.arg("-c").arg(&config);
        command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warn"]);
        let log = dir.join("envoy.out");
        let mut process = Process::start(&mut command, &log);
        eventually("Envoy to listen", || {
            assert!(process.is_running(), "Envoy ended:\n{}", process::read(&log));
            std::net::TcpStream::connect(("127.0.0.1", PORT)).ok()
        });
        Ok(Envoy(process))
    }

    /// What it goes by, as its admin interface tells it.
    pub(super) fn told(&self) -> Result<String> {
        let dump: serde_json::Value = serde_json::from_str(&ask("config_dump")?).context("config_dump")?;
        let configs = dump["configs"].as_array().into_iter().flatten();
        let mut clusters = configs.filter_map(|config| config["static_clusters"].as_array()).flatten();
        let cluster = clusters.next().context("Envoy tells of no cluster")?;
        let of = |key: &str| cluster["cluster"].get(key).map_or("not set".to_owned(), ToString::to_string);
        let runtime: serde_json::Value = serde_json::from_str(&ask("runtime")?).context("runtime")?;
        let panic = runtime["entries"].get("upstream.healthy_panic_threshold");
        let panic = panic.map_or("not set".to_owned(), |entry| entry["final_value"].to_string());
        Ok(format!(
            "outlier_detection {}, lb_policy {}, common_lb_config (healthy_panic_threshold) {}, runtime \
             upstream.healthy_panic_threshold {panic}",
            of("outlier_detection"),
            of("lb_policy"),
            of("common_lb_config"),
        ))
    }

    /// What it counted of ejections, and of panics.
    pub(super) fn counted(&self) -> Result<String> {
        let stats = ask(
            "stats?usedonly&filter=cluster.web.(outlier_detection.ejections_(total|enforced_total|overflow)|lb_healthy_panic)$",
        )?;
        let short = |line: &str| line.replace("cluster.web.", "").replace("outlier_detection.", "");
        Ok(stats.lines().map(short).collect::<Vec<_>>().join(", "))
    }
}

fn ask(path: &str) -> Result<String> {
    let url = format!("http://127.0.0.1:{ADMIN}/{path}");
    let output = process::output(Command::new("curl").args(["-sfg", &url]));
    anyhow::ensure!(output.status.success(), "ask Envoy for {path}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A connection for each request, so that both choose as often.
fn settings(endpoints: &[Endpoint], outlier_detection: &str) -> String {
    let endpoint = |one: &Endpoint| {
        let (host, port) = one.address.split_once(':').unwrap_or_default();
        format!(
            "        - endpoint: {{address: {{socket_address: {{address: {host}, port_value: {port}}}}}}}\n"
        )
    };
    let endpoints: String = endpoints.iter().map(endpoint).collect();
    format!(
        "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {ADMIN}}}}}}}
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {PORT}}}}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          http_filters:
          - name: router
            typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - {{name: all, domains: ['*'], routes: [{{match: {{prefix: /}}, route: {{cluster: web}}}}]}}
  clusters:
  - name: web
    type: STATIC
    outlier_detection: {outlier_detection}
    circuit_breakers:
      thresholds: [{{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}}]
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        common_http_protocol_options: {{max_requests_per_connection: 1}}
        explicit_http_config: {{http_protocol_options: {{}}}}
    load_assignment:
      cluster_name: web
      endpoints:
      - lb_endpoints:
{endpoints}"
    )
}
