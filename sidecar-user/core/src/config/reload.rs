//! Settings that change while the daemon runs: which take effect, and which wait for the next start.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Config, Otlp, Resolved, keys};

/// What a change of the settings comes to.
#[derive(Clone, Debug)]
pub struct Reload {
    /// The settings that hold from now on: those of before, and of the new ones what takes effect.
    pub now: Resolved,
    /// Keys that took effect.
    pub applied: Vec<String>,
    /// Keys that differ and need a restart.
    pub waiting: Vec<String>,
}

/// Copies a key's value from new settings.
type Carry = fn(&mut Config, &Config);

/// A row for each key: its path, and what carries the field of that path.
macro_rules! live {
    ($($section:ident.$key:ident),* $(,)?) => {
        &[$((
            concat!(stringify!($section), ".", stringify!($key)),
            |now, new| now.$section.$key.clone_from(&new.$section.$key),
        )),*]
    };
}

/// Keys that take effect while running, each with what carries it over.
const LIVE: &[(&str, Carry)] = live![
    dns.question_names,
    exclude.paths,
    exclude.peers,
    exclude.ports,
    explain.exchanges,
    http.learn_routes,
    http.request_headers,
    http.response_headers,
    http.route_cap,
    http.routes,
    log.level,
    metrics.expiry,
    metrics.series,
    otlp.certificate,
    otlp.client_certificate,
    otlp.client_key,
    otlp.compression,
    otlp.endpoint,
    otlp.headers,
    otlp.insecure,
    otlp.interval,
    otlp.metrics,
    otlp.metrics_certificate,
    otlp.metrics_client_certificate,
    otlp.metrics_client_key,
    otlp.metrics_compression,
    otlp.metrics_endpoint,
    otlp.metrics_headers,
    otlp.metrics_insecure,
    otlp.metrics_protocol,
    otlp.metrics_timeout,
    otlp.protocol,
    otlp.timeout,
    otlp.traces,
    otlp.traces_certificate,
    otlp.traces_client_certificate,
    otlp.traces_client_key,
    otlp.traces_compression,
    otlp.traces_endpoint,
    otlp.traces_headers,
    otlp.traces_insecure,
    otlp.traces_protocol,
    otlp.traces_timeout,
    spans.b3,
    spans.instrumented,
    spans.ratio,
    spans.sampler,
    spans.url_path,
    traffic.heartbeat,
    traffic.inbound,
    traffic.resolvers,
    traffic.services,
    traffic.zone,
];

/// Whether this key takes effect while running.
#[must_use]
pub fn is_live(key: &str) -> bool {
    LIVE.iter().any(|(live, _)| *live == key)
}

/// Puts the settings that hold beside new ones, which are valid as a whole. `start` are those that the daemon began with: what it
/// loaded then is there still, whatever was switched off since.
#[must_use]
pub fn reload(start: &Config, running: &Resolved, new: &Resolved) -> Reload {
    let mut now = running.clone();
    let changed = changed(&running.config, &new.config);
    // Where nothing was steered at the start, no program is there that could be told. And what is said of traffic is one policy:
    // half of it may be one that nobody wanted.
    let (start, after) = (&start.traffic, &new.config.traffic);
    let can_steer = (start.is_on() || !after.is_on())
        && (start.tells_executables() || !after.tells_executables())
        && (!start.inbound.is_empty() || after.inbound.is_empty());
    let is_traffic = |key: &str| key.starts_with("traffic.");
    let is_whole = changed.iter().filter(|key| is_traffic(key)).all(|key| is_live(key));
    let takes_effect = |key: &str| is_live(key) && (can_steer && is_whole || !is_traffic(key));
    for (key, carry) in LIVE.iter().filter(|(key, _)| changed.contains(*key) && takes_effect(key)) {
        carry(&mut now.config, &new.config);
        // Of the key, or of its entries.
        let is_its =
            |path: &str| path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        now.origins.retain(|path, _| !is_its(path));
        let its = new.origins.iter().filter(|(path, _)| is_its(path));
        now.origins.extend(its.map(|(path, origin)| (path.clone(), origin.clone())));
    }
    let (applied, waiting) = changed.into_iter().partition(|key| takes_effect(key));
    Reload { now, applied, waiting }
}

/// Keys with another value, in the order of their paths.
fn changed(old: &Config, new: &Config) -> BTreeSet<String> {
    let values = |config: &Config| serde_json::to_value(config).unwrap_or_default();
    let (before, after) = (values(old), values(new));
    let at = |values: &Value, path: &str| path.split('.').fold(values, |at, segment| &at[segment]).clone();
    let keys = keys();
    let differs = |path: &&str| {
        // Secrets are written as `***`: their change shows on the values themselves.
        let headers = |otlp: &Otlp| match *path {
            "otlp.headers" => Some(otlp.headers.clone()),
            "otlp.metrics_headers" => Some(otlp.metrics_headers.clone()),
            "otlp.traces_headers" => Some(otlp.traces_headers.clone()),
            _ => None,
        };
        at(&before, path) != at(&after, path) || headers(&old.otlp) != headers(&new.otlp)
    };
    keys.iter().map(|key| key.path.as_str()).filter(differs).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Layers, Level, Origin, Setting, resolve};

    /// Of settings that the daemon began with.
    fn reload_of(running: &Resolved, new: &Resolved) -> Reload {
        reload(&running.config, running, new)
    }

    fn resolved(pairs: &[(&str, &str)]) -> Resolved {
        let setting = |(line, (key, value)): (usize, &(&str, &str))| {
            Setting::new(*key, *value, Origin::File { line: line as u64 + 1, column: 1 })
        };
        let file = pairs.iter().enumerate().map(setting).collect();
        resolve(&Layers { file, ..Layers::default() }).expect("valid settings")
    }

    #[test]
    fn live_keys_take_effect_and_others_wait() {
        let running = resolved(&[("log.level", "info"), ("tcp.peers", "500"), ("otlp.headers", "a=b")]);
        for (new, applied, waiting) in [
            (vec![("log.level", "info"), ("tcp.peers", "500"), ("otlp.headers", "a=b")], vec![], vec![]),
            (
                vec![("log.level", "debug"), ("tcp.peers", "501"), ("otlp.headers", "a=c")],
                vec!["log.level", "otlp.headers"],
                vec!["tcp.peers"],
            ),
            (
                vec![("shutdown.deadline", "9s"), ("otlp.temporality", "delta")],
                vec!["otlp.headers"],
                vec!["otlp.temporality", "shutdown.deadline", "tcp.peers"],
            ),
        ] {
            let change = reload_of(&running, &resolved(&new));
            assert_eq!(
                (change.applied.clone(), change.waiting.clone()),
                (
                    applied.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>(),
                    waiting.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>(),
                )
            );
            // What waits is not half in force.
            assert_eq!(change.now.config.tcp, running.config.tcp);
            assert_eq!(change.now.config.otlp.temporality, running.config.otlp.temporality);
        }
        let change = reload_of(&running, &resolved(&[("log.level", "debug")]));
        assert_eq!(change.now.config.log.level, Level::Debug);
        assert_eq!(change.now.origin("log.level"), &Origin::File { line: 1, column: 1 });
        assert_eq!(change.now.origin("otlp.headers.a"), &Origin::Default);
        for key in ["otlp.headers", "otlp.metrics_headers", "otlp.traces_headers"] {
            let change =
                reload_of(&resolved(&[(key, "a=b")]), &resolved(&[("log.level", "info"), (key, "a=c")]));
            assert_eq!(change.applied, [key]);
            assert_eq!(change.now.origin(&format!("{key}.a")), &Origin::File { line: 2, column: 1 });
        }
    }

    /// Each row carries its own key's value, and no other's.
    #[test]
    fn each_live_key_is_carried_alone() {
        let values = [
            ("dns.question_names", "9"),
            ("exclude.paths", "/a"),
            ("exclude.peers", "10.0.0.0/8"),
            ("exclude.ports", "81"),
            ("explain.exchanges", "7"),
            ("http.learn_routes", "false"),
            ("http.request_headers", "x-a"),
            ("http.response_headers", "x-b"),
            ("http.route_cap", "9"),
            ("http.routes", "/b"),
            ("log.level", "debug"),
            ("metrics.expiry", "9s"),
            ("metrics.series", "77"),
            ("otlp.certificate", "a.pem"),
            ("otlp.client_certificate", "b.pem"),
            ("otlp.client_key", "c.pem"),
            ("otlp.compression", "gzip"),
            ("otlp.endpoint", "http://a:1"),
            ("otlp.headers", "a=b"),
            ("otlp.insecure", "true"),
            ("otlp.interval", "9s"),
            ("otlp.metrics", "false"),
            ("otlp.metrics_certificate", "d.pem"),
            ("otlp.metrics_client_certificate", "e.pem"),
            ("otlp.metrics_client_key", "f.pem"),
            ("otlp.metrics_compression", "gzip"),
            ("otlp.metrics_endpoint", "http://b:1"),
            ("otlp.metrics_headers", "c=d"),
            ("otlp.metrics_insecure", "true"),
            ("otlp.metrics_protocol", "grpc"),
            ("otlp.metrics_timeout", "8s"),
            ("otlp.protocol", "http/protobuf"),
            ("otlp.timeout", "7s"),
            ("otlp.traces", "false"),
            ("otlp.traces_certificate", "g.pem"),
            ("otlp.traces_client_certificate", "h.pem"),
            ("otlp.traces_client_key", "i.pem"),
            ("otlp.traces_compression", "gzip"),
            ("otlp.traces_endpoint", "http://c:1"),
            ("otlp.traces_headers", "e=f"),
            ("otlp.traces_insecure", "true"),
            ("otlp.traces_protocol", "grpc"),
            ("otlp.traces_timeout", "6s"),
            ("spans.b3", "true"),
            ("spans.instrumented", "ignore"),
            ("spans.ratio", "0.5"),
            ("spans.sampler", "always_off"),
            ("spans.url_path", "false"),
            ("traffic.heartbeat", "3s"),
            ("traffic.inbound", r#"[{"name": "b", "ports": [80]}]"#),
            ("traffic.resolvers", "127.0.0.1:53"),
            ("traffic.services", r#"[{"name": "b", "addresses": ["10.0.0.2"]}]"#),
            ("traffic.zone", "a"),
        ];
        assert_eq!(values.map(|(key, _)| key).to_vec(), LIVE.iter().map(|(key, _)| *key).collect::<Vec<_>>());
        let steers = ("traffic.services", r#"[{"name": "a", "addresses": ["10.0.0.1"]}]"#);
        let takes_in = ("traffic.inbound", r#"[{"name": "c", "ports": [81]}]"#);
        for pair in values {
            // Only where something is steered already, and something that comes in.
            let before = if pair.0.starts_with("traffic.") { vec![steers, takes_in] } else { vec![] };
            let others = before.iter().filter(|(key, _)| *key != pair.0);
            let running = resolved(&before);
            let new = resolved(&others.chain([&pair]).copied().collect::<Vec<_>>());
            let change = reload_of(&running, &new);
            assert_eq!((change.applied, change.waiting), (vec![pair.0.to_owned()], vec![]));
            assert_eq!(change.now.config, new.config, "{}", pair.0);
        }
        let change = reload_of(&resolved(&[]), &resolved(&[steers]));
        assert_eq!((change.applied, change.waiting), (vec![], vec![steers.0.to_owned()]));
        assert!(!change.now.config.traffic.is_on());
    }

    /// All of what is said of traffic, or nothing; what was there at the start can come back.
    #[test]
    fn a_policy_is_taken_as_a_whole() {
        let service =
            |name: &str, more: &str| format!(r#"[{{"name": "{name}", "endpoints": ["10.0.0.9:80"]{more}}}]"#);
        let plain = service("web", r#", "addresses": ["10.0.0.1"]"#);
        let named = service("api", r#", "hosts": ["a.b"], "addresses": ["10.0.0.1"]"#);
        let told = service("api", r#", "addresses": ["10.0.0.1"], "except": {"executables": ["/bin/a"]}"#);
        let inbound = |name: &str| format!(r#"[{{"name": "{name}", "ports": [80]}}]"#);
        let (before, after) = (inbound("in"), inbound("web"));
        let settings = |services: &str, inbound: &str| {
            resolved(&[("traffic.services", services), ("traffic.inbound", inbound)])
        };
        let start = settings(&plain, &before);
        // A file to be told by takes a restart: so does everything beside it, and a pin.
        let change = reload_of(&start, &settings(&told, &after));
        assert_eq!(change.waiting, ["traffic.inbound", "traffic.services"]);
        assert_eq!(change.now.config, start.config);
        let pinned = resolved(&[("traffic.services", named.as_str()), ("traffic.pin", "/sys/fs/bpf/a")]);
        assert_eq!(reload_of(&start, &pinned).applied, Vec::<String>::new());
        // A name and a denial do not.
        let denied = r#"[{"name": "no", "addresses": ["10.0.0.1"], "gear": "deny", "while_running": true}]"#;
        for services in [named.as_str(), denied] {
            assert_eq!(reload_of(&start, &settings(services, &after)).waiting, Vec::<String>::new());
        }
        // Off, and on again.
        let start = settings(&named, &before);
        let off = reload(&start.config, &start, &resolved(&[]));
        assert_eq!((off.applied.len(), off.waiting.len()), (2, 0));
        let on = reload(&start.config, &off.now, &start);
        assert_eq!((on.applied.len(), on.now.config), (2, start.config));
    }
}
