//! Mounts by their type, in the text of /proc/PID/mountinfo (proc_pid_mountinfo(5)).

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

/// One mount.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mount {
    /// The path in the hierarchy that is mounted, as the reader's cgroup namespace shows it: `/` mostly, `/..` and
    /// more where the mount was made outside the namespace.
    pub(super) root: String,
    /// Where it is mounted.
    pub(super) point: PathBuf,
}

impl Mount {
    /// The folder of a path of the hierarchy, if this mount shows it.
    pub(super) fn folder(&self, path: &str) -> Option<PathBuf> {
        let root = self.root.trim_end_matches('/');
        let below = path.strip_prefix(root).filter(|below| below.is_empty() || below.starts_with('/'))?;
        Some(join(&self.point, below.trim_matches('/')))
    }
}

/// The folder itself where nothing is below it: `join("")` would leave a slash.
fn join(point: &Path, below: &str) -> PathBuf {
    if below.is_empty() { point.to_owned() } else { point.join(below) }
}

/// All mounts of type cgroup2, those of the whole hierarchy first. A mount that another one covers is left out.
pub(super) fn cgroup2(text: &str) -> Vec<Mount> {
    mounts(text, |kind, _| kind == "cgroup2")
}

/// The same of bpffs: where objects are pinned.
pub(super) fn bpf(text: &str) -> Vec<Mount> {
    mounts(text, |kind, _| kind == "bpf")
}

/// The same of the older hierarchy that has this controller (cgroups(7), "Mounting v1 controllers").
pub(super) fn legacy(text: &str, controller: &str) -> Vec<Mount> {
    mounts(text, |kind, options| kind == "cgroup" && options.split(',').any(|option| option == controller))
}

/// Mounts by type and by the file system's own options.
fn mounts(text: &str, is_wanted: impl Fn(&str, &str) -> bool) -> Vec<Mount> {
    let mut mounts: Vec<(Mount, bool)> = Vec::new();
    for line in text.lines() {
        let Some((fields, file_system)) = line.split_once(" - ") else { continue };
        // Mount id, parent id, device, root, mount point, options, optional fields.
        let mut fields = fields.split(' ').skip(3);
        let (Some(root), Some(point)) = (fields.next(), fields.next()) else { continue };
        let point = PathBuf::from(OsString::from_vec(unescaped(point)));
        mounts.retain(|(mount, _)| mount.point != point);
        let root = String::from_utf8_lossy(&unescaped(root)).into_owned();
        // Type, source, options of the file system.
        let mut file_system = file_system.split(' ');
        let (kind, options) =
            (file_system.next().unwrap_or_default(), file_system.nth(1).unwrap_or_default());
        mounts.push((Mount { root, point }, is_wanted(kind, options)));
    }
    let mut mounts: Vec<_> = mounts.into_iter().filter(|(_, is_wanted)| *is_wanted).map(|(m, _)| m).collect();
    mounts.sort_by_key(|mount| mount.root != "/");
    mounts
}

/// Space, tab, line feed and backslash are written as `\040` and the like.
fn unescaped(field: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let [first, after @ ..] = rest {
        let octal = after.get(..3).filter(|_| *first == b'\\').and_then(octal);
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    bytes
}

fn octal(digits: &[u8]) -> Option<u8> {
    let text = std::str::from_utf8(digits).ok()?;
    u8::from_str_radix(text, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let found = cgroup2(text);
        let found: Vec<_> =
            found.iter().map(|m| (m.root.as_str(), m.point.to_str().expect("text"))).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn mounts_are_found_by_type() {
        let unified =
            "25 30 0:23 / /sys/fs/cgroup rw,nosuid shared:9 master:1 - cgroup2 cgroup2 rw,nsdelegate\n";
        let hybrid = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup2 rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
        check(unified, &[("/", "/sys/fs/cgroup")]);
        check(hybrid, &[("/", "/sys/fs/cgroup/unified")]);
        check("", &[]);
        let memory = legacy("35 31 0:32 /a /m rw - cgroup cgroup rw,memory\n", "memory");
        assert_eq!(memory, [Mount { root: "/a".to_owned(), point: "/m".into() }]);
        assert_eq!(legacy(hybrid, "memory")[0].point, PathBuf::from("/sys/fs/cgroup/memory"));
        assert_eq!(legacy(hybrid, "pids"), []);
        let bpffs = format!("{unified}40 30 0:33 / /sys/fs/bpf rw,nosuid - bpf bpf rw,mode=700\n");
        assert_eq!(bpf(&bpffs), [Mount { root: "/".to_owned(), point: "/sys/fs/bpf".into() }]);
        check("31 23 0:28 / /sys/fs/cgroup\nbroken - cgroup2\n", &[]);
    }

    #[test]
    fn escapes_parts_and_covered_mounts() {
        check("1 2 0:1 /a\\040b /mnt/x\\134y\\040z rw - cgroup2 none rw", &[("/a b", "/mnt/x\\y z")]);
        check("1 2 0:1 / /m\\9 rw - cgroup2 none rw", &[("/", "/m\\9")]);
        let part = "1 2 0:1 /../.. /host rw - cgroup2 c rw\n1 2 0:1 / /own rw - cgroup2 c rw\n";
        check(part, &[("/", "/own"), ("/../..", "/host")]);
        let covered = "1 2 0:1 / /m rw - cgroup2 c rw\n3 1 0:2 / /m rw - tmpfs t rw\n";
        check(covered, &[]);
    }
}
