//! Who started a process. Ids are those of the initial PID namespace, as the kernel's programs have them: they mean
//! something in `/proc` only where this process is in that namespace too.

use std::fs;

/// `/proc/self/ns/pid` of the initial PID namespace: PROC_PID_INIT_INO (include/linux/proc_ns.h).
const INITIAL: &str = "pid:[4026531836]";
/// Generations that are looked up.
const DEPTH: usize = 8;

/// Ids from the kernel can be looked up in `/proc`.
pub(crate) fn can_be_looked_up() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == INITIAL)
}

/// The parents of a process that share its cgroup, nearest first.
pub(crate) fn parents(tgid: u32) -> Vec<u32> {
    let Some(cgroup) = cgroup(tgid) else { return Vec::new() };
    let next = |tgid: &u32| parent(*tgid).filter(|parent| self::cgroup(*parent).as_ref() == Some(&cgroup));
    std::iter::successors(Some(tgid), next).skip(1).take(DEPTH).collect()
}

fn cgroup(tgid: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{tgid}/cgroup")).ok()
}

/// The fourth field of `stat`; the second may hold spaces and parentheses itself (proc_pid_stat(5)).
fn parent(tgid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{tgid}/stat")).ok()?;
    parent_of(&stat).filter(|parent| *parent != 0)
}

fn parent_of(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_follows_the_name_whatever_that_is() {
        assert_eq!(parent_of("42 (a) b) (c)) S 7 42 42 0"), Some(7));
        assert_eq!(parent_of("42 (sh) S"), None);
        assert_eq!(parent_of(""), None);
    }

    #[test]
    fn ours_is_found() {
        let parent = parent(std::process::id());
        assert_eq!(parent, rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().cast_unsigned()));
    }
}
