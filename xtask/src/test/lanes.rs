//! Which files of tests run beside others. Each of those has a network namespace of its own, so that its ports are nobody
//! else's.

/// Files at a time. They wait more than they compute: on two processors the third costs the others nothing.
pub(super) const LANES: usize = 3;

/// Files that run alone, in the machine's own network namespace, each with the reason. All others run beside each other.
pub(super) const ALONE: &[(&str, &str)] = &[
    ("at_scale", "both processors are the load's, and no record may be lost"),
    ("attaching", "attaches to the root cgroup, and so to everything that runs"),
    ("costs", "compares times and memory of processes with the kernel's account of a moment later"),
    (
        "health",
        "endpoints get their shares by latencies, which beside others are those of waiting for a processor",
    ),
    ("in_mid_load", "no record may be lost under a load that does not wait"),
    ("loss_of_records", "says how much is lost where the reader alone is at fault"),
    ("sendfile", "a transfer's time is curl's to a hundredth"),
    ("socket_wait", "has the kernel count the runs of all BPF programs, of others as well"),
    ("stopped", "records that are lost are counted against those that a load offers in this time"),
    ("truth", "no record may be lost under a load that takes both processors"),
];

/// Those that take longest: they begin first, so that none of them runs on while the other lanes have nothing left.
pub(super) const LONG: &[&str] = &[
    "sources",
    "collector_faults",
    "runtimes",
    "live",
    "pinned",
    "beside",
    "reload",
    "steering",
    "names",
    "resolvers",
    "pod",
    "relay_limits",
    "inbound",
    "hostile",
    "smuggling",
    "clients",
    "containers",
    "lossy",
];

/// Whether a file runs alone.
pub(super) fn is_alone(name: &str) -> bool {
    ALONE.iter().any(|(alone, _)| *alone == name)
}

/// Where a file stands among those that begin first.
pub(super) fn turn(name: &str) -> usize {
    LONG.iter().position(|long| *long == name).unwrap_or(LONG.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Workspace;

    #[test]
    fn what_is_named_is_there_and_once() {
        let mut names: Vec<&str> = ALONE.iter().map(|(name, _)| *name).chain(LONG.iter().copied()).collect();
        for name in &names {
            let file = format!("tests/tests/{name}.rs");
            assert!(Workspace::of_this_crate().path(&file).is_file(), "no {file}");
        }
        let n = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), n, "one is named twice: {names:?}");
    }
}
