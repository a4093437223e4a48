//! The variables of this program: `SIDECAR_` and the key's path. One that is no key is refused, since a misspelt
//! variable that is silently ignored is found by nobody.

use super::{Key, Keys, Origin, Problem, Setting, keys::nearest};

/// Names the file of settings, as `--config` does. No key: it says where keys are.
pub const FILE_VARIABLE: &str = "SIDECAR_CONFIG";

/// The settings that the environment's `SIDECAR_…` variables make, in the order of the keys.
pub(super) fn settings(
    environment: &[(String, String)],
    keys: &Keys,
    problems: &mut Vec<Problem>,
) -> Vec<Setting> {
    let known: Vec<(String, &Key)> = keys.iter().map(|key| (key.variable(), key)).collect();
    let mut settings = Vec::new();
    for (name, value) in environment.iter().filter(|(name, _)| name.starts_with("SIDECAR_")) {
        if let Some((_, key)) = known.iter().find(|(known, _)| known == name) {
            let origin = Origin::Variable(name.clone().into());
            settings.push(Setting::new(key.path.clone(), value.clone(), origin));
        } else if name != FILE_VARIABLE && !is_service_link(name, value) {
            let bare = |name: &str| name.trim_start_matches("SIDECAR_").to_owned();
            let all: Vec<String> =
                known.iter().map(|(known, _)| bare(known)).chain([bare(FILE_VARIABLE)]).collect();
            let meant = nearest(&bare(name), all.iter().map(String::as_str));
            let hint = meant.map(|meant| format!(", did you mean `SIDECAR_{meant}`?")).unwrap_or_default();
            let message = format!("no key has this variable{hint}");
            problems.push(Problem { origin: Origin::Variable(name.clone().into()), message });
        }
    }
    settings
}

/// Whether Kubernetes made this variable, for a Service whose name begins with `sidecar` (kubernetes.io, "Service",
/// environment variables: `{SVC}_SERVICE_HOST`, `{SVC}_SERVICE_PORT[_NAME]`, and Docker's links).
fn is_service_link(name: &str, value: &str) -> bool {
    let is_url = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let is_link = name.split_once("_PORT_").is_some_and(|(_, rest)| {
        let mut parts = rest.split('_');
        let is_port = parts.next().is_some_and(|port| port.parse::<u16>().is_ok());
        let is_protocol = parts.next().is_some_and(|protocol| ["TCP", "UDP", "SCTP"].contains(&protocol));
        is_port && is_protocol
    });
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && is_url)
        || is_link
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys;

    fn check(name: &str, value: &str) -> (Vec<(String, String)>, Vec<String>) {
        let mut problems = Vec::new();
        let settings = settings(&[(name.to_owned(), value.to_owned())], &keys(), &mut problems);
        let settings = settings.into_iter().map(|s| (s.key, s.value)).collect();
        (settings, problems.iter().map(Problem::to_string).collect())
    }

    #[test]
    fn each_key_has_its_variable() {
        for key in keys().iter() {
            assert_eq!(check(&key.variable(), "x"), (vec![(key.path.clone(), "x".to_owned())], vec![]));
        }
        assert_eq!(check("SIDECAR_CONFIG", "/etc/sidecar.yaml"), (vec![], vec![]));
    }

    #[test]
    fn a_misspelt_variable_is_refused_with_the_nearest() {
        for (name, expected) in [
            (
                "SIDECAR_OTLP_INTERVALL",
                "SIDECAR_OTLP_INTERVALL: no key has this variable, did you mean `SIDECAR_OTLP_INTERVAL`?",
            ),
            (
                "SIDECAR_LOGLEVEL",
                "SIDECAR_LOGLEVEL: no key has this variable, did you mean `SIDECAR_LOG_LEVEL`?",
            ),
        ] {
            assert_eq!(check(name, "1"), (vec![], vec![expected.to_owned()]));
        }
    }

    #[test]
    fn what_kubernetes_sets_for_a_service_of_our_name_is_nobodys_mistake() {
        for (name, value) in [
            ("SIDECAR_SERVICE_HOST", "10.0.0.1"),
            ("SIDECAR_SERVICE_PORT", "9464"),
            ("SIDECAR_SERVICE_PORT_METRICS", "9464"),
            ("SIDECAR_PORT", "tcp://10.0.0.1:9464"),
            ("SIDECAR_PORT_9464_TCP", "tcp://10.0.0.1:9464"),
            ("SIDECAR_PORT_9464_TCP_PROTO", "tcp"),
            ("SIDECAR_DEMO_SERVICE_HOST", "10.0.0.1"),
        ] {
            assert_eq!(check(name, value), (vec![], vec![]), "{name}");
        }
        assert_eq!(check("SIDECAR_PORT", "9464").1.len(), 1);
    }
}
