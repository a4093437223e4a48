//! Who the telemetry is about: resource attributes, as far as they can be known without asking anybody.

use std::path::Path;

use sidecar_core::config::Config;

use crate::{
    cli::Target,
    config::Downward,
    discovery::{cgroup, pod, usage},
};

/// The cgroup that is observed, if there is one yet.
pub(super) struct Subject<'a> {
    pub(super) path: &'a Path,
    pub(super) id: u64,
}

/// Resource attributes (semantic conventions v1.44.0, "Resource", and "Kubernetes attributes"). Those of the
/// configuration win, OTEL_RESOURCE_ATTRIBUTES among them.
pub(super) fn attributes(
    config: &Config,
    target: &Target,
    subject: Option<&Subject<'_>>,
    pod: &Downward,
) -> Vec<(String, String)> {
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy().into_owned();
    let service = &config.service;
    let folder = subject.and_then(|subject| subject.path.file_name()?.to_str());
    let own = [
        ("container.id", folder.and_then(pod::container_id).map(str::to_owned)),
        ("host.arch", Some(architecture(&uname.machine().to_string_lossy()))),
        ("host.name", Some(host.clone())),
        ("k8s.container.name", pod.container.clone()),
        ("k8s.namespace.name", pod.namespace.clone()),
        ("k8s.node.name", pod.node.clone()),
        ("k8s.pod.name", pod.pod.clone()),
        ("k8s.pod.uid", pod.uid.clone()),
        ("os.type", Some("linux".to_owned())),
        ("service.instance.id", instance(pod, &host, subject)),
        ("service.name", service.name.clone().or_else(|| name(target, subject, pod))),
        ("service.namespace", service.namespace.clone().or_else(|| pod.namespace.clone())),
        ("service.version", service.version.clone()),
        ("telemetry.distro.name", Some("sidecar".to_owned())),
        ("telemetry.distro.version", Some(env!("CARGO_PKG_VERSION").to_owned())),
    ];
    let own = own.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    // A key that comes twice counts with its last value.
    let explicit = service.name.clone().map(|name| ("service.name".to_owned(), name));
    own.chain(config.resource.clone()).chain(explicit).collect()
}

/// As the conventions want it in Kubernetes: namespace, pod and container, joined by dots. Elsewhere the machine, and
/// the cgroup, which no other application of the machine has.
fn instance(pod: &Downward, host: &str, subject: Option<&Subject<'_>>) -> Option<String> {
    let parts = [&pod.namespace, &pod.pod, &pod.container];
    let in_pod: Vec<&str> = parts.into_iter().filter_map(|part| part.as_deref()).collect();
    match (&pod.pod, subject) {
        (Some(_), _) => Some(in_pod.join(".")),
        (None, Some(subject)) => Some(format!("{host}-{}", subject.id)),
        // The pod's host name is the pod's name.
        (None, None) => Some(host.to_owned()),
    }
}

/// The container's name, else the pod's, else the unit's without its kind (`nginx.service` is `nginx`), else the
/// executable's.
fn name(target: &Target, subject: Option<&Subject<'_>>, pod: &Downward) -> Option<String> {
    if let Some(name) = pod.container.as_ref().or(pod.pod.as_ref()) {
        return Some(name.clone());
    }
    if let Target::Command(command) = target {
        return Some(Path::new(command.first()?).file_name()?.to_string_lossy().into_owned());
    }
    let path = subject?.path;
    let folder = path.file_name()?.to_string_lossy().into_owned();
    let executable = || usage::executable(path);
    match named(&folder) {
        Named::Unit(name) => Some(name.to_owned()),
        // A session of a user is named after nobody.
        Named::Other if matches!(target, Target::Pid(_)) => executable().or(Some(folder)),
        Named::Other => Some(folder),
        Named::Nothing => executable().or(Some(folder)),
    }
}

enum Named<'a> {
    Unit(&'a str),
    /// A name that somebody chose.
    Other,
    /// A number: of a container, or of a daemon that made the cgroup for its command.
    Nothing,
}

fn named(folder: &str) -> Named<'_> {
    if pod::container_id(folder).is_some() || cgroup::child::daemon_of(folder).is_some() {
        return Named::Nothing;
    }
    let unit = [".service", ".slice"].iter().find_map(|kind| folder.strip_suffix(kind));
    match (unit, folder.strip_suffix(".scope")) {
        (Some(unit), _) => Named::Unit(unit),
        (None, Some(scope)) if !scope.starts_with("session-") => Named::Unit(scope),
        _ => Named::Other,
    }
}

/// The convention's word for `uname -m`.
fn architecture(machine: &str) -> String {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(target: &Target, path: &str, pod: &Downward, key: &str) -> Option<String> {
        let subject = Subject { path: Path::new(path), id: 7 };
        let subject = (!path.is_empty()).then_some(&subject);
        let all = attributes(&Config::default(), target, subject, pod);
        all.into_iter().rfind(|(name, _)| name == key).map(|(_, value)| value)
    }

    #[test]
    fn a_name_is_the_pods_the_units_or_the_executables() {
        let none = Downward::default();
        let pod = Downward { pod: Some("shop-7d9f-x".into()), namespace: Some("web".into()), ..none.clone() };
        let container = Downward { container: Some("shop".into()), ..pod.clone() };
        let command = Target::Command(vec!["/usr/sbin/nginx".into()]);
        let cgroups = || Target::Cgroups(Vec::new());
        for (target, path, pod, name) in [
            (&command, "/a/sidecar-7", &none, Some("nginx")),
            (&cgroups(), "/system.slice/nginx.service", &none, Some("nginx")),
            (&cgroups(), "/shop.slice", &none, Some("shop")),
            (&cgroups(), "/a/shop", &none, Some("shop")),
            (&Target::Pod, "", &none, None),
            (&Target::Pod, "", &pod, Some("shop-7d9f-x")),
            (&Target::Pod, "", &container, Some("shop")),
        ] {
            assert_eq!(attribute(target, path, pod, "service.name").as_deref(), name, "{path}");
        }
        assert_eq!(
            attribute(&Target::Pod, "", &container, "service.instance.id").as_deref(),
            Some("web.shop-7d9f-x.shop")
        );
        assert_eq!(attribute(&Target::Pod, "", &container, "service.namespace").as_deref(), Some("web"));
        let id = "a".repeat(64);
        let path = format!("/x/docker-{id}.scope");
        assert_eq!(attribute(&cgroups(), &path, &none, "container.id"), Some(id));
    }
}
