//! Settings that change while the daemon runs: which take effect, and which wait for the next start.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Config, Resolved, keys};

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

/// Keys that take effect while running, each with what carries it over.
const LIVE: &[(&str, Carry)] = &[
    ("exclude.paths", |now, new| now.exclude.paths.clone_from(&new.exclude.paths)),
    ("exclude.peers", |now, new| now.exclude.peers.clone_from(&new.exclude.peers)),
    ("exclude.ports", |now, new| now.exclude.ports.clone_from(&new.exclude.ports)),
    ("explain.exchanges", |now, new| now.explain.exchanges = new.explain.exchanges),
    ("http.learn_routes", |now, new| now.http.learn_routes = new.http.learn_routes),
    ("http.request_headers", |now, new| now.http.request_headers.clone_from(&new.http.request_headers)),
    ("http.response_headers", |now, new| now.http.response_headers.clone_from(&new.http.response_headers)),
    ("http.route_cap", |now, new| now.http.route_cap = new.http.route_cap),
    ("http.routes", |now, new| now.http.routes.clone_from(&new.http.routes)),
    ("log.level", |now, new| now.log.level = new.log.level),
    ("metrics.expiry", |now, new| now.metrics.expiry = new.metrics.expiry),
    ("metrics.series", |now, new| now.metrics.series = new.metrics.series),
    ("spans.instrumented", |now, new| now.spans.instrumented = new.spans.instrumented),
    ("spans.ratio", |now, new| now.spans.ratio = new.spans.ratio),
    ("spans.sampler", |now, new| now.spans.sampler = new.spans.sampler),
    ("spans.url_path", |now, new| now.spans.url_path = new.spans.url_path),
];

/// Whether this key takes effect while running.
#[must_use]
pub fn is_live(key: &str) -> bool {
    LIVE.iter().any(|(live, _)| *live == key)
}

/// Puts the settings that hold beside new ones, which are valid as a whole.
#[must_use]
pub fn reload(running: &Resolved, new: &Resolved) -> Reload {
    let mut now = running.clone();
    let changed = changed(&running.config, &new.config);
    for (key, carry) in LIVE.iter().filter(|(key, _)| changed.contains(*key)) {
        carry(&mut now.config, &new.config);
        match new.origins.get(*key) {
            Some(origin) => drop(now.origins.insert((*key).to_owned(), origin.clone())),
            None => drop(now.origins.remove(*key)),
        }
    }
    let (applied, waiting) = changed.into_iter().partition(|key| is_live(key));
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
        at(&before, path) != at(&after, path)
            || (*path == "otlp.headers" && old.otlp.headers != new.otlp.headers)
    };
    keys.iter().map(|key| key.path.as_str()).filter(differs).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Layers, Level, Origin, Setting, resolve};

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
                vec!["log.level"],
                vec!["otlp.headers", "tcp.peers"],
            ),
            (
                vec![("shutdown.deadline", "9s")],
                vec![],
                vec!["otlp.headers", "shutdown.deadline", "tcp.peers"],
            ),
        ] {
            let change = reload(&running, &resolved(&new));
            assert_eq!(
                (change.applied.clone(), change.waiting.clone()),
                (
                    applied.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>(),
                    waiting.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>(),
                )
            );
            // What waits is not half in force.
            assert_eq!(change.now.config.tcp, running.config.tcp);
            assert_eq!(change.now.config.otlp, running.config.otlp);
        }
        let change = reload(&running, &resolved(&[("log.level", "debug")]));
        assert_eq!(change.now.config.log.level, Level::Debug);
        assert_eq!(change.now.origin("log.level"), &Origin::File { line: 1, column: 1 });
    }

    /// Each row carries its own key's value, and no other's.
    #[test]
    fn each_live_key_is_carried_alone() {
        let values = [
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
            ("spans.instrumented", "ignore"),
            ("spans.ratio", "0.5"),
            ("spans.sampler", "always_off"),
            ("spans.url_path", "false"),
        ];
        assert_eq!(values.map(|(key, _)| key).to_vec(), LIVE.iter().map(|(key, _)| *key).collect::<Vec<_>>());
        let running = resolved(&[]);
        for pair in values {
            let new = resolved(&[pair]);
            let change = reload(&running, &new);
            assert_eq!((change.applied, change.waiting), (vec![pair.0.to_owned()], vec![]));
            assert_eq!(change.now.config, new.config, "{}", pair.0);
        }
    }
}
