//! Ways to resolve names that do not pass port 53, as far as files tell.

use std::{fs, path::Path};

/// What the daemon cannot see names of, and how that shows. DNS over TLS or HTTPS shows nowhere.
pub(crate) fn bypasses() -> Vec<String> {
    let mut all = Vec::new();
    let services = fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
    if uses_resolve(&services) {
        all.push(
            "/etc/nsswitch.conf names `resolve` for hosts: libc asks systemd-resolved by its socket"
                .to_owned(),
        );
    }
    let socket = "/run/systemd/resolve/io.systemd.Resolve";
    if Path::new(socket).exists() {
        all.push(format!("systemd-resolved answers at {socket}"));
    }
    all
}

/// Whether nss-resolve is among the sources of host names (nsswitch.conf(5)).
fn uses_resolve(text: &str) -> bool {
    let hosts = text.lines().filter_map(|line| line.split('#').next()?.trim().strip_prefix("hosts:"));
    hosts.flat_map(str::split_whitespace).any(|source| source == "resolve")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_host_names() {
        for (text, expected) in [
            ("", false),
            ("hosts: files dns\n", false),
            ("passwd: files\nhosts: files resolve [!UNAVAIL=return] dns\n", true),
            ("# hosts: resolve\nhosts: files dns # resolve\n", false),
            ("networks: resolve\n", false),
            ("hosts:\tmymachines resolve", true),
        ] {
            assert_eq!(uses_resolve(text), expected, "{text:?}");
        }
    }
}
