//! Who the telemetry is about: resource attributes, as far as they can be known without asking anybody.

use std::path::Path;

use sidecar_core::config::Config;

use super::attach::Cgroup;
use crate::cli::Target;

/// Resource attributes (semantic conventions v1.44.0, "Resource"). Those of the configuration win.
pub(super) fn attributes(config: &Config, target: &Target, cgroup: &Cgroup) -> Vec<(String, String)> {
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy().into_owned();
    let service = &config.service;
    let name = service.name.clone().or_else(|| name(target, cgroup.path()));
    let own = [
        ("host.name", Some(host.clone())),
        ("os.type", Some("linux".to_owned())),
        ("service.instance.id", Some(format!("{host}-{}", cgroup.id()))),
        ("service.name", name),
        ("service.namespace", service.namespace.clone()),
        ("service.version", service.version.clone()),
        ("telemetry.distro.name", Some("sidecar".to_owned())),
        ("telemetry.distro.version", Some(env!("CARGO_PKG_VERSION").to_owned())),
    ];
    let own = own.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    // A key that comes twice counts with its last value.
    let explicit = service.name.clone().map(|name| ("service.name".to_owned(), name));
    own.chain(config.resource.clone()).chain(explicit).collect()
}

/// The command's name, or the unit's, without its kind: `nginx.service` is `nginx`.
fn name(target: &Target, cgroup: &Path) -> Option<String> {
    let last = match target {
        Target::Command(command) => Path::new(command.first()?).file_name()?,
        Target::Cgroup(_) | Target::Pid(_) => cgroup.file_name()?,
    };
    let last = last.to_string_lossy();
    let unit = [".service", ".scope", ".slice"].iter().find_map(|kind| last.strip_suffix(kind));
    Some(unit.unwrap_or(&last).to_owned())
}
