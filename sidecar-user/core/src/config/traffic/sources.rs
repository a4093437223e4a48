//! Who tells of a service's endpoints while running, and what a person gets wrong about that.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EndpointSettings, GearSetting, ServiceSettings, endpoint::WEIGHT};
use crate::model::policy::{Found, Source, Supply};

/// Sources that a file may have, in all services.
pub(super) const SOURCES: usize = 64;
/// Endpoints of one service, and of one source.
pub(super) const ENDPOINTS: usize = 512;

/// Who tells of endpoints: one of `dns`, `srv` and `file`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(inline)]
pub struct SourceSettings {
    /// The addresses of a name (A and AAAA records), `NAME:PORT`. Without a port: the service's only one of `ports`. It is asked
    /// again when the records' time to live is over, and no sooner than after 1 second and no later than after 5 minutes.
    pub dns: Option<String>,
    /// Who serves a name (SRV records, RFC 2782), `_http._tcp.web.internal`: those of the lowest priority, by their weights.
    pub srv: Option<String>,
    /// Absolute path of a file with a list of endpoints, in YAML or JSON, written as `endpoints` is. Changes are noticed within
    /// seconds.
    pub file: Option<PathBuf>,
    /// What each endpoint weighs (with `dns` only). Unset: 100.
    pub weight: Option<u16>,
    /// Zone of all of them (with `dns` and `srv`).
    pub zone: Option<String>,
}

impl SourceSettings {
    /// What is wrong with it, of a service with these ports.
    fn faults(&self, ports: &[u16]) -> Vec<String> {
        let n = [self.dns.is_some(), self.srv.is_some(), self.file.is_some()]
            .into_iter()
            .filter(|is| *is)
            .count();
        if n != 1 {
            return vec!["a source is one of `dns`, `srv` and `file`".to_owned()];
        }
        let mut faults = Vec::new();
        if let Some(text) = &self.dns {
            match split(text) {
                Ok((_, None)) if ports.len() != 1 => {
                    faults.push(format!("source `{text}` has no port: write NAME:PORT"));
                }
                Ok(_) => {}
                Err(why) => faults.push(format!("source `{text}`: {why}")),
            }
        }
        if let Some(text) = &self.srv
            && let Err(why) = name(text)
        {
            faults.push(format!("source `{text}`: {why}"));
        }
        if let Some(path) = &self.file
            && !path.is_absolute()
        {
            faults.push(format!("source {} is no absolute path", path.display()));
        }
        let is_file = self.file.is_some();
        if self.weight == Some(0) {
            faults.push("a source whose endpoints weigh 0 is none".to_owned());
        }
        if self.weight.is_some() && self.dns.is_none() {
            faults.push("`weight` is for `dns`: other sources tell it themselves".to_owned());
        }
        if is_file && self.zone.is_some() {
            faults.push("`zone` is for `dns` and `srv`: a file tells it of each endpoint".to_owned());
        }
        faults
    }

    fn supply(&self, ports: &[u16]) -> Option<Supply> {
        let (source, port) = match (&self.dns, &self.srv, &self.file) {
            (Some(text), None, None) => {
                let (name, port) = split(text).ok()?;
                (Source::Dns(name), port.or(ports.first().copied())?)
            }
            (None, Some(text), None) => (Source::Srv(name(text).ok()?), 0),
            (None, None, Some(path)) => (Source::File(path.clone()), 0),
            _ => return None,
        };
        Some(Supply { source, port, weight: self.weight.unwrap_or(WEIGHT), zone: self.zone.clone() })
    }
}

impl ServiceSettings {
    /// Whether it can be had anywhere.
    pub(super) fn has_endpoints(&self) -> bool {
        !self.endpoints.is_empty() || !self.sources.is_empty()
    }

    /// What is wrong with its sources.
    pub(super) fn faults_of_sources(&self) -> Vec<String> {
        let mut faults: Vec<_> = self.sources.iter().flat_map(|source| source.faults(&self.ports)).collect();
        if self.gear == GearSetting::Deny && !self.sources.is_empty() {
            faults.push("what is denied goes to no endpoint: leave `sources` out".to_owned());
        }
        let supplies = self.supplies();
        let is_twice = |(at, supply): (usize, &Supply)| {
            supplies[..at].iter().any(|other| (&other.source, other.port) == (&supply.source, supply.port))
        };
        if let Some((_, supply)) = supplies.iter().enumerate().find(|one| is_twice(*one)) {
            faults.push(format!("source {} is there twice", supply.source));
        }
        faults
    }

    /// As the traffic plane has them.
    pub(super) fn supplies(&self) -> Vec<Supply> {
        self.sources.iter().filter_map(|source| source.supply(&self.ports)).collect()
    }
}

/// The endpoints of a file's list, or what is wrong with it: with which of them, where it is one.
///
/// # Errors
/// What is wrong, in words.
pub fn endpoints_of(list: &[EndpointSettings]) -> Result<Vec<Found>, (Option<usize>, String)> {
    if list.len() > ENDPOINTS {
        return Err((None, format!("it has {} endpoints, and more than {ENDPOINTS}", list.len())));
    }
    let is_twice = |(at, endpoint): (usize, &EndpointSettings)| {
        list[..at].iter().any(|other| other.address == endpoint.address)
    };
    if let Some((at, endpoint)) = list.iter().enumerate().find(|one| is_twice(*one)) {
        return Err((Some(at), format!("endpoint {} is there twice: give it more weight", endpoint.address)));
    }
    if !list.is_empty() && list.iter().all(|endpoint| endpoint.weight == 0) {
        return Err((None, "all endpoints weigh 0: none would get a connection".to_owned()));
    }
    let found = |endpoint: &EndpointSettings| Found {
        address: endpoint.address.0,
        weight: Some(endpoint.weight),
        zone: endpoint.zone.clone(),
    };
    Ok(list.iter().map(found).collect())
}

fn split(text: &str) -> Result<(String, Option<u16>), &'static str> {
    match text.split_once(':') {
        None => Ok((name(text)?, None)),
        Some((host, port)) => {
            let port =
                port.parse().ok().filter(|port| *port != 0).ok_or("what stands behind `:` is no port")?;
            Ok((name(host)?, Some(port)))
        }
    }
}

/// In lower case. A dot at its end says that it is whole, and that no domain of /etc/resolv.conf is to be tried.
fn name(text: &str) -> Result<String, &'static str> {
    let is_label = |label: &str| {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !label.is_empty() && label.len() <= 63 && label.chars().all(is_part)
    };
    let whole = text.strip_suffix('.').unwrap_or(text);
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Err("an address is an endpoint: write it under `endpoints`");
    }
    if whole.len() > 253 || !whole.split('.').all(is_label) {
        return Err("it is no name of a host");
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(sources: &str, ports: &[u16]) -> ServiceSettings {
        let sources: serde_json::Value = serde_json::from_str(sources).expect("JSON");
        let json =
            serde_json::json!({"name": "a", "addresses": ["10.0.0.1"], "ports": ports, "sources": sources});
        serde_json::from_value(json).expect("a service")
    }

    #[test]
    fn what_a_source_cannot_be_is_told() {
        for (sources, ports, part) in [
            (r#"[{}]"#, &[80][..], "one of `dns`"),
            (r#"[{"dns": "a:1", "srv": "b"}]"#, &[80], "one of `dns`"),
            (r#"[{"dns": "web"}]"#, &[], "no port"),
            (r#"[{"dns": "web"}]"#, &[80, 81], "no port"),
            (r#"[{"dns": "web:0"}]"#, &[80], "is no port"),
            (r#"[{"dns": "*.web:1"}]"#, &[80], "no name"),
            (r#"[{"dns": "10.0.0.1:80"}]"#, &[80], "under `endpoints`"),
            (r#"[{"srv": "a..b"}]"#, &[80], "no name"),
            (r#"[{"file": "web.yaml"}]"#, &[80], "no absolute path"),
            (r#"[{"file": "/web.yaml", "zone": "a"}]"#, &[80], "`zone` is for"),
            (r#"[{"srv": "web", "weight": 3}]"#, &[80], "`weight` is for `dns`"),
            (r#"[{"dns": "web", "weight": 0}]"#, &[80], "weigh 0"),
            (r#"[{"dns": "web"}, {"dns": "WEB:80"}]"#, &[80], "there twice"),
        ] {
            let faults = service(sources, ports).faults_of_sources();
            assert!(faults.len() == 1 && faults[0].contains(part), "{sources}: {faults:?}");
        }
        let good = service(
            r#"[{"dns": "Web.internal.", "weight": 7}, {"dns": "web:81"}, {"srv": "_http._tcp.web"}, {"file": "/w"}]"#,
            &[80],
        );
        assert_eq!(good.faults_of_sources(), Vec::<String>::new());
        let told: Vec<_> =
            good.supplies().iter().map(|one| (one.source.to_string(), one.port, one.weight)).collect();
        let expected = [
            ("dns:web.internal.", 80, 7),
            ("dns:web", 81, 100),
            ("srv:_http._tcp.web", 0, 100),
            ("file:/w", 0, 100),
        ];
        assert_eq!(told, expected.map(|(source, port, weight)| (source.to_owned(), port, weight)));
        let mut denied = good;
        denied.gear = GearSetting::Deny;
        assert!(denied.faults_of_sources()[0].contains("denied"));
    }

    #[test]
    fn a_list_has_the_faults_of_endpoints() {
        let list = |text: &str| serde_json::from_str::<Vec<EndpointSettings>>(text).expect("a list");
        let twice = endpoints_of(&list(r#"["10.0.0.1:1", {"address": "10.0.0.1:1", "weight": 3}]"#));
        assert!(twice.is_err_and(|(at, why)| at == Some(1) && why.contains("twice")));
        let none = endpoints_of(&list(r#"[{"address": "10.0.0.1:1", "weight": 0}]"#));
        assert!(none.is_err_and(|(_, why)| why.contains("weigh 0")));
        let many: Vec<_> = (1..=513).map(|port| format!("\"10.0.0.1:{port}\"")).collect();
        assert!(
            endpoints_of(&list(&format!("[{}]", many.join(",")))).is_err_and(|(_, why)| why.contains("513"))
        );
        let found =
            endpoints_of(&list(r#"["10.0.0.1:1", {"address": "[fd00::1]:2", "zone": "a"}]"#)).expect("valid");
        assert_eq!((found.len(), found[1].zone.as_deref()), (2, Some("a")));
        assert_eq!(endpoints_of(&[]), Ok(Vec::new()));
    }
}
