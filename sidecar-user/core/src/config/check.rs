//! What no single field can know: a line here for each setting that is wrong only beside another, or wrong here.

use std::collections::BTreeMap;

use super::{AdminListen, Config, Duration, Notice, Origin, Otlp, Problem, Protocol, traffic};

/// Adds what is wrong, and what is dangerous.
pub(super) fn check(
    config: &Config,
    origins: &BTreeMap<String, Origin>,
    problems: &mut Vec<Problem>,
    notices: &mut Vec<Notice>,
) {
    let mut refuse = |key: &str, message: String| {
        let origin = origins.get(key).cloned().unwrap_or(Origin::Default);
        problems.push(Problem { origin, message: format!("{key}: {message}") });
    };
    let signals = config.otlp.signals();
    let own_timeout = |signal: usize| signals[signal].timeout.unwrap_or(Duration::from_secs(10));
    for (key, value, least) in [
        ("otlp.interval", config.otlp.interval, Duration::from_secs(1)),
        ("otlp.timeout", config.otlp.timeout, Duration::from_secs(1)),
        ("otlp.metrics_timeout", own_timeout(0), Duration::from_secs(1)),
        ("otlp.traces_timeout", own_timeout(1), Duration::from_secs(1)),
    ] {
        if value < least {
            refuse(key, format!("{value} is less than {least}"));
        }
    }
    for (key, value, most) in [
        ("otlp.interval", config.otlp.interval, Duration::from_secs(86_400)),
        ("otlp.timeout", config.otlp.timeout, Duration::from_secs(600)),
        ("otlp.metrics_timeout", own_timeout(0), Duration::from_secs(600)),
        ("otlp.traces_timeout", own_timeout(1), Duration::from_secs(600)),
        ("shutdown.deadline", config.shutdown.deadline, Duration::from_secs(600)),
        ("metrics.expiry", config.metrics.expiry, Duration::from_secs(604_800)),
    ] {
        if value > most {
            refuse(key, format!("{value} is more than {most}"));
        }
    }
    for (key, n, most) in [
        ("http.routes", config.http.routes.len(), 512),
        ("http.request_headers", config.http.request_headers.len(), 16),
        ("http.response_headers", config.http.response_headers.len(), 16),
        ("exclude.ports", config.exclude.ports.len(), 64),
        ("exclude.paths", config.exclude.paths.len(), 64),
        ("exclude.peers", config.exclude.peers.len(), 64),
    ] {
        if n > most {
            refuse(key, format!("{n} are more than {most}"));
        }
    }
    for (key, message) in targets(&config.otlp, origins) {
        refuse(&key, message);
    }
    traffic::check(&config.traffic, &mut refuse);
    for (i, inbound) in config.traffic.inbound.iter().enumerate() {
        let admin = if let AdminListen::Tcp(admin) = &config.admin.listen { Some(*admin) } else { None };
        for (key, own) in [("metrics.listen", Some(config.metrics.listen.0)), ("admin.listen", admin)] {
            if let Some(own) = own.filter(|own| own.port() != 0 && inbound.ports.contains(&own.port())) {
                let message =
                    format!("port {} is the daemon's own ({key}), not the application's", own.port());
                refuse(&format!("traffic.inbound.{i}"), message);
            }
        }
    }
    let expiry = config.metrics.expiry;
    if expiry < Duration::from_secs(1) && expiry != Duration::from_secs(0) {
        refuse("metrics.expiry", format!("{expiry} is less than 1s, and not 0s"));
    }
    for name in ["service.name", "service.namespace", "service.version"] {
        if config.resource.contains_key(name) {
            refuse(&format!("resource.{name}"), format!("set the key {name} instead"));
        }
    }
    if let AdminListen::Tcp(admin) = &config.admin.listen {
        let metrics = config.metrics.listen.0;
        let overlap =
            admin.ip() == metrics.ip() || metrics.ip().is_unspecified() || admin.ip().is_unspecified();
        if admin.port() == metrics.port() && admin.port() != 0 && overlap {
            refuse("admin.listen", format!("port {} is the one of metrics.listen", admin.port()));
        }
        if !admin.ip().to_canonical().is_loopback() {
            let why = format!("other machines reach {admin}, and no password is asked");
            notices.push(Notice::Risky { key: "admin.listen", why });
        }
    }
}

/// What is wrong with where signals are pushed, each key once.
fn targets(otlp: &Otlp, origins: &BTreeMap<String, Origin>) -> BTreeMap<String, String> {
    let mut wrong = BTreeMap::new();
    for own in &otlp.signals() {
        let Some(target) = otlp.target(own) else { continue };
        // The signal's own key where it was set, else the common one.
        let key = |name: &str| {
            let own = format!("otlp.{}{name}", own.prefix);
            if origins.contains_key(&own) { own } else { format!("otlp.{name}") }
        };
        let endpoint = own.endpoint.as_ref().or(otlp.endpoint.as_ref());
        if target.protocol == Protocol::HttpProtobuf && endpoint.is_some_and(|url| !url.has_scheme()) {
            let message = "by http/protobuf it begins with http:// or https://";
            wrong.insert(key("endpoint"), message.to_owned());
        }
        let tls = target.tls.unwrap_or_default();
        let mut beside = |has: Option<_>, lacks: Option<_>, name: &str, missing: &str| {
            if has.is_some() && lacks.is_none() {
                wrong.insert(key(name), format!("otlp.{missing} is missing beside it"));
            }
        };
        let (certificate, private) = (tls.client_certificate, tls.client_key);
        beside(certificate.as_ref(), private.as_ref(), "client_certificate", "client_key");
        beside(private.as_ref(), certificate.as_ref(), "client_key", "client_certificate");
    }
    wrong
}
