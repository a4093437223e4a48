//! What this process may do, as the kernel says.

use std::fs;

use anyhow::{Context as _, Result, bail};

/// Capabilities that the privileged tests need: bit number (`linux/capability.h`), name, and what for.
const NEEDED: &[(u32, &str, &str)] = &[
    (12, "CAP_NET_ADMIN", "attaching programs to cgroups, making network namespaces"),
    (21, "CAP_SYS_ADMIN", "mounting, making cgroups and namespaces for the tests' own worlds"),
    (39, "CAP_BPF", "loading programs and maps"),
];

/// Whether the effective user is root.
pub(crate) fn is_root() -> Result<bool> {
    Ok(effective_uid(&status()?)? == 0)
}

/// An error that names the first thing missing for the privileged tests.
pub(crate) fn check() -> Result<()> {
    check_status(&status()?)
}

fn check_status(status: &str) -> Result<()> {
    let effective = u64::from_str_radix(field(status, "CapEff:")?, 16).context("read CapEff")?;
    for (bit, name, why) in NEEDED {
        if effective & (1 << bit) == 0 {
            bail!("{name} is missing, and the tests need it for {why}");
        }
    }
    if effective_uid(status)? != 0 {
        bail!("the tests run as root, for the owner of files under /sys/fs/cgroup is root");
    }
    Ok(())
}

fn status() -> Result<String> {
    fs::read_to_string("/proc/self/status").context("read /proc/self/status")
}

fn effective_uid(status: &str) -> Result<u32> {
    field(status, "Uid:")?.parse().context("read Uid")
}

/// `Uid:` has four numbers, of which the second is the effective one; `CapEff:` has one.
fn field<'a>(status: &'a str, name: &str) -> Result<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let mut words = line.with_context(|| format!("no {name} in /proc/self/status"))?.split_whitespace();
    let first = words.next();
    words.next().or(first).with_context(|| format!("{name} is empty"))
}

#[cfg(test)]
mod tests {
    use super::check_status;

    fn check(uid: &str, cap_eff: &str) -> String {
        let status = format!("Name:\tx\nUid:\t0\t{uid}\t0\t0\nCapEff:\t{cap_eff}\n");
        check_status(&status).map_or_else(|error| error.to_string(), |()| String::from("fine"))
    }

    #[test]
    fn names_what_is_missing() {
        assert_eq!(check("0", "000001ffffffffff"), "fine");
        assert!(check("0", "0000007fffffffff").starts_with("CAP_BPF is missing"));
        assert!(check("0", "000001ffffffefff").starts_with("CAP_NET_ADMIN is missing"));
        assert!(check("0", "000001ffffdfffff").starts_with("CAP_SYS_ADMIN is missing"));
        assert!(check("1000", "000001ffffffffff").starts_with("the tests run as root"));
    }
}
