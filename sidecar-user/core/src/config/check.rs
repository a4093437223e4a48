//! What no single field can know: a line here for each setting that is wrong only beside another, or wrong here.

use std::collections::BTreeMap;

use super::{AdminListen, Config, Duration, Notice, Origin, Problem};

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
    for (key, value, least) in [
        ("otlp.interval", config.otlp.interval, Duration::from_secs(1)),
        ("otlp.timeout", config.otlp.timeout, Duration::from_secs(1)),
    ] {
        if value < least {
            refuse(key, format!("{value} is less than {least}"));
        }
    }
    for (key, value, most) in [
        ("otlp.interval", config.otlp.interval, Duration::from_secs(86_400)),
        ("otlp.timeout", config.otlp.timeout, Duration::from_secs(600)),
        ("shutdown.deadline", config.shutdown.deadline, Duration::from_secs(600)),
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
