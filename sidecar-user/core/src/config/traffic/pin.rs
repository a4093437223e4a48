//! What holds when the daemon is gone, and what that takes.

use std::path::Path;

use super::{GearSetting, ServiceSettings, Traffic, WhenGoneSetting};

/// Whether a service asks for something that only holds while somebody enforces it: without pinning, while the daemon runs.
fn outlives_the_daemon(service: &ServiceSettings) -> bool {
    service.gear == GearSetting::Deny
        || service.when_gone == Some(WhenGoneSetting::Closed)
        || service.has_virtual_names()
}

/// What is wrong with where pins go.
pub(super) fn fault(pin: &Path) -> Option<&'static str> {
    (!pin.is_absolute()).then_some("it is no absolute path")
}

/// What is wrong with what a service says of the time when the daemon is gone.
pub(super) fn faults(service: &ServiceSettings, is_pinned: bool) -> Vec<&'static str> {
    let (denies, relays) = (service.gear == GearSetting::Deny, service.gear == GearSetting::Proxy);
    let outlives = outlives_the_daemon(service);
    let rows = [
        (
            denies && service.when_gone.is_some(),
            "what is denied stays denied, whoever is gone: leave `when_gone` out",
        ),
        (
            !denies && !relays && service.when_gone == Some(WhenGoneSetting::Closed),
            "`when_gone` is for `gear: proxy`: nothing else needs the daemon",
        ),
        (
            relays && service.when_gone == Some(WhenGoneSetting::Open) && service.has_virtual_names(),
            "nobody has a virtual address, so that without the daemon there is nowhere to go: leave `when_gone: open` out",
        ),
        (
            outlives && !is_pinned && !service.while_running,
            "what it refuses, and where its names lead, holds while the daemon runs only: set `traffic.pin`, or say `while_running: true` \
             if that is enough",
        ),
        (
            service.while_running && is_pinned,
            "with `traffic.pin` everything holds without the daemon: `while_running` says nothing, leave it out",
        ),
        (
            service.while_running && !is_pinned && !outlives,
            "`while_running` says something of what is denied or closed only, and of virtual names",
        ),
    ];
    rows.into_iter().filter(|(is_wrong, _)| *is_wrong).map(|(_, message)| message).collect()
}

impl Traffic {
    /// What is pinned, and not as good while no daemon is there.
    #[must_use]
    pub fn risks_of_pins(&self) -> Vec<String> {
        let excepts =
            |service: &&ServiceSettings| self.pin.is_some() && !service.except.executables.is_empty();
        let told = self.services.iter().filter(excepts).map(|service| {
            format!(
                "`{}` excepts executables: while no daemon is there nobody looks at their paths, so a file that takes the place of one is \
                 not excepted; and where files have no generation to tell them by (overlayfs, tmpfs), one that gets the number of one that \
                 is gone is",
                service.name
            )
        });
        told.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_keeps_up_is_said() {
        let services = r#"[{"name": "a", "addresses": ["10.0.0.1"], "except": {"executables": ["/bin/a"]}},
            {"name": "b", "addresses": ["10.0.0.2"], "except": {"uids": ["7"]}}]"#;
        let services: Vec<ServiceSettings> = serde_json::from_str(services).expect("services");
        for (pin, expected) in [(None, 0), (Some("/sys/fs/bpf/a".into()), 1)] {
            let traffic = Traffic { services: services.clone(), pin, ..Traffic::default() };
            let risks = traffic.risks_of_pins();
            assert_eq!(risks.len(), expected, "{risks:?}");
            assert!(risks.iter().all(|risk| risk.starts_with("`a` excepts executables")), "{risks:?}");
        }
    }

    #[test]
    fn what_holds_without_the_daemon_is_said_or_pinned() {
        for (more, unpinned, pinned) in [
            ("", "", ""),
            ("gear: deny", "traffic.pin", ""),
            ("gear: deny, while_running: true", "", "says nothing"),
            ("gear: deny, while_running: true, when_gone: open", "stays denied", "stays denied"),
            ("gear: deny, while_running: true, when_gone: closed", "stays denied", "stays denied"),
            ("gear: proxy, when_gone: closed", "traffic.pin", ""),
            ("gear: proxy, when_gone: closed, while_running: true", "", "says nothing"),
            ("gear: proxy, when_gone: open", "", ""),
            ("gear: proxy, while_running: true", "denied or closed only", "says nothing"),
            ("when_gone: closed, while_running: true", "`gear: proxy`", "`gear: proxy`"),
        ] {
            let json = more
                .split(", ")
                .filter_map(|pair| pair.split_once(": "))
                .map(|(key, value)| match value {
                    "true" => (key.to_owned(), true.into()),
                    word => (key.to_owned(), word.into()),
                })
                .chain([("name".to_owned(), "a".into()), ("addresses".to_owned(), vec!["10.0.0.1"].into())])
                .collect::<serde_json::Map<_, _>>();
            let service: ServiceSettings = serde_json::from_value(json.into()).expect("a service");
            for (is_pinned, expected) in [(false, unpinned), (true, pinned)] {
                let faults = faults(&service, is_pinned).join("; ");
                assert_eq!(faults.is_empty(), expected.is_empty(), "{more}, pinned {is_pinned}: {faults}");
                assert!(faults.contains(expected), "{more}, pinned {is_pinned}: {faults}");
            }
        }
        assert!(fault(Path::new("sidecar")).is_some() && fault(Path::new("/sys/fs/bpf/sidecar")).is_none());
    }
}
