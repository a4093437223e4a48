//! cgroups of the unified hierarchy (cgroup2): where it is mounted, which one a process is in, which folder that is.
//!
//! Source: cgroups(7), proc_pid_mountinfo(5), cgroup_namespaces(7). Only cgroup2 counts: programs attach to nothing
//! else. On a hybrid machine it lies in a sub-folder beside the older hierarchies.

use std::{
    fs, io,
    os::{
        fd::AsRawFd as _,
        unix::fs::{DirEntryExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
};

pub(crate) mod child;
use super::mountinfo::{self, Mount};

/// Cgroups below one that are looked into.
const FOLDERS: usize = 256;
/// `CGROUP2_SUPER_MAGIC` of linux/magic.h.
const CGROUP2_MAGIC: u64 = 0x6367_7270;

/// Why a cgroup is not found, made or removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CgroupError {
    /// A file of /proc or of the cgroup cannot be used.
    #[error("{operation} {}", path.display())]
    Io {
        /// `read`, `open`, `create`, `write`.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// No cgroup2 is mounted here.
    #[error(
        "no cgroup2 file system is mounted: the kernel or the container has only the older hierarchies, or `ip netns \
         exec` mounted a /sys of its own, without it (`nsenter --net=` does not)"
    )]
    NotMounted,
    /// The process has no entry of the unified hierarchy.
    #[error("{} has no line of the unified hierarchy (`0::`)", path.display())]
    NoEntry {
        /// The process's file.
        path: PathBuf,
    },
    /// The process's cgroup is being removed.
    #[error("cgroup {path} is already removed")]
    Removed {
        /// As /proc tells it.
        path: String,
    },
    /// The path leaves the cgroup namespace of the daemon.
    #[error("cgroup {path} is outside the daemon's cgroup namespace: give it the host's, or one above both")]
    Outside {
        /// As /proc tells it.
        path: String,
    },
    /// No mount shows this part of the hierarchy.
    #[error("cgroup {path} is not below any cgroup2 mount: only {shown} can be seen")]
    Hidden {
        /// As /proc tells it.
        path: String,
        /// What the mounts show.
        shown: String,
    },
    /// A folder of another file system.
    #[error("{} is not a folder of a cgroup2 file system", path.display())]
    NotACgroup {
        /// The folder.
        path: PathBuf,
    },
    /// The cgroup is still in use.
    #[error("remove {}: {}", path.display(), child::left(processes))]
    Occupied {
        /// The folder.
        path: PathBuf,
        /// Processes in it, or in cgroups below it.
        processes: Vec<u32>,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

impl CgroupError {
    fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, path: path.to_owned(), source }
    }
}

/// A folder of the unified hierarchy.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cgroup {
    /// The folder.
    pub(crate) path: PathBuf,
    /// The kernel's number of it: the folder's inode, what `bpf_skb_cgroup_id` and its kin give.
    pub(crate) id: u64,
}

impl Cgroup {
    /// The cgroup that a folder is.
    ///
    /// # Errors
    /// The folder is not there, or not of a cgroup2.
    pub(crate) fn open(path: &Path) -> Result<Self, CgroupError> {
        let opened = fs::File::open(path).map_err(CgroupError::io("open", path))?;
        let kind =
            rustix::fs::fstatfs(&opened).map_err(|errno| CgroupError::io("open", path)(errno.into()))?;
        let folder = opened.metadata().map_err(CgroupError::io("open", path))?;
        if u64::try_from(kind.f_type) != Ok(CGROUP2_MAGIC) || !folder.is_dir() {
            return Err(CgroupError::NotACgroup { path: path.to_owned() });
        }
        Ok(Self { path: path.to_owned(), id: folder.ino() })
    }

    /// The cgroup that somebody named.
    ///
    /// # Errors
    /// As `open`; `NotMounted` where no folder can be one.
    pub(crate) fn named(path: &Path) -> Result<Self, CgroupError> {
        Self::open(path).or_else(|error| mounts().and(Err(error)))
    }

    /// Whether it is the root of the whole hierarchy, every process of the machine. The number tells, not the path:
    /// in a private cgroup namespace every process believes to be at `/` (kernfs gives its root the inode 1).
    pub(crate) fn is_real_root(&self) -> bool {
        self.id == 1
    }

    /// The cgroup of the daemon.
    ///
    /// # Errors
    /// [`CgroupError`]
    pub(crate) fn own() -> Result<Self, CgroupError> {
        Self::by_file(Path::new("/proc/self/cgroup"))
    }

    /// The cgroup of a process, by its number in the daemon's PID namespace.
    ///
    /// # Errors
    /// [`CgroupError`]; `Io` where there is no such process.
    pub(crate) fn of(pid: u32) -> Result<Self, CgroupError> {
        Self::by_file(&PathBuf::from(format!("/proc/{pid}/cgroup")))
    }

    /// Ids of the cgroup, and of those above it as far as they can be seen.
    pub(crate) fn lineage(&self) -> Vec<u64> {
        self.path.ancestors().map_while(|path| Cgroup::open(path).ok()).map(|cgroup| cgroup.id).collect()
    }

    fn by_file(file: &Path) -> Result<Self, CgroupError> {
        Self::open(&locate(&mounts()?, &path_of(file)?)?)
    }

    /// The folder, open.
    ///
    /// # Errors
    /// `Io`
    pub(crate) fn folder(&self) -> Result<fs::File, CgroupError> {
        fs::File::open(&self.path).map_err(CgroupError::io("open", &self.path))
    }
}

/// The path in the unified hierarchy that a /proc/PID/cgroup gives, as this process's namespace shows it.
///
/// # Errors
/// `Io`, or `NoEntry`.
pub(crate) fn path_of(file: &Path) -> Result<String, CgroupError> {
    let text = fs::read_to_string(file).map_err(CgroupError::io("read", file))?;
    unified(&text).map(str::to_owned).ok_or_else(|| CgroupError::NoEntry { path: file.to_owned() })
}

/// The folders that show a path of the unified hierarchy, by the text of a /proc/PID/mountinfo.
pub(crate) fn folders_of(mountinfo: &str, path: &str) -> Vec<PathBuf> {
    mountinfo::cgroup2(mountinfo).iter().filter_map(|mount| mount.folder(path)).collect()
}

/// The kernel's number of an open cgroup.
///
/// # Errors
/// The system's, and where it is a folder of another file system.
pub(crate) fn id_of(folder: &fs::File) -> io::Result<u64> {
    let kind = rustix::fs::fstatfs(folder)?;
    let metadata = folder.metadata()?;
    if u64::try_from(kind.f_type) != Ok(CGROUP2_MAGIC) || !metadata.is_dir() {
        return Err(io::Error::other("not a folder of a cgroup2 file system"));
    }
    Ok(metadata.ino())
}

/// The kernel's numbers of an open cgroup, which is `id`, and of those below it, 256 of them at most.
pub(crate) fn below(folder: &fs::File, id: u64) -> Vec<u64> {
    let mut ids = vec![id];
    let mut folders = vec![PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()))];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok) {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) && ids.len() < FOLDERS {
                ids.push(entry.ino());
                folders.push(entry.path());
            }
        }
    }
    ids
}

/// The folder of a process's cgroup in the older hierarchy that has this controller, where there is one.
pub(crate) fn legacy(pid: u32, controller: &str) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = text.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|one| one == controller).then_some(path)
    })?;
    let mounts = mountinfo::legacy(&fs::read_to_string("/proc/self/mountinfo").ok()?, controller);
    locate(&mounts, path).ok()
}

/// Where cgroup2 is mounted, for `doctor`: the folders, the first the one that is used.
///
/// # Errors
/// `Io`, or `NotMounted`.
pub(crate) fn mount_points() -> Result<Vec<PathBuf>, CgroupError> {
    Ok(mounts()?.into_iter().map(|mount| mount.point).collect())
}

fn mounts() -> Result<Vec<Mount>, CgroupError> {
    let file = Path::new("/proc/self/mountinfo");
    let text = fs::read_to_string(file).map_err(CgroupError::io("read", file))?;
    let mounts = mountinfo::cgroup2(&text);
    if mounts.is_empty() { Err(CgroupError::NotMounted) } else { Ok(mounts) }
}

/// The path in the unified hierarchy, of a /proc/PID/cgroup.
fn unified(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

/// The folder of a path: below the first mount that shows it.
fn locate(mounts: &[Mount], path: &str) -> Result<PathBuf, CgroupError> {
    if let Some(path) = path.strip_suffix(" (deleted)") {
        return Err(CgroupError::Removed { path: path.to_owned() });
    }
    if path == "/.." || path.starts_with("/../") {
        return Err(CgroupError::Outside { path: path.to_owned() });
    }
    mounts.iter().find_map(|mount| mount.folder(path)).ok_or_else(|| {
        let shown: Vec<_> = mounts.iter().map(|mount| mount.root.as_str()).collect();
        CgroupError::Hidden { path: path.to_owned(), shown: shown.join(", ") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(root: &str, point: &str) -> Mount {
        Mount { root: root.to_owned(), point: point.into() }
    }

    #[test]
    fn the_unified_line_is_the_one_of_hierarchy_0() {
        for (text, expected) in [
            ("0::/system.slice/shop.service\n", Some("/system.slice/shop.service")),
            ("4:memory:/a\n1:name=systemd:/b\n0::/c:d\n", Some("/c:d")),
            ("10::/no\n4:memory:/a\n", None),
            ("", None),
        ] {
            assert_eq!(unified(text), expected, "{text}");
        }
    }

    #[test]
    fn paths_become_folders_below_their_mount() {
        let whole = [mount("/", "/sys/fs/cgroup")];
        let hybrid = [mount("/", "/sys/fs/cgroup/unified")];
        let part = [mount("/pod", "/mnt/pod"), mount("/../..", "/mnt/host")];
        for (mounts, path, folder) in [
            (&whole[..], "/", "/sys/fs/cgroup"),
            (&whole, "/a b/c.service", "/sys/fs/cgroup/a b/c.service"),
            (&hybrid, "/a", "/sys/fs/cgroup/unified/a"),
            (&part, "/pod", "/mnt/pod"),
            (&part, "/pod/app", "/mnt/pod/app"),
        ] {
            assert_eq!(locate(mounts, path).expect(path), PathBuf::from(folder), "{path}");
        }
        for (path, part_of_message) in [
            ("/podium", "cgroup /podium is not below any cgroup2 mount: only /pod, /../.. can be seen"),
            ("/../cri-a.scope", "cgroup /../cri-a.scope is outside the daemon's cgroup namespace"),
            ("/..", "is outside"),
            ("/pod/x (deleted)", "cgroup /pod/x is already removed"),
        ] {
            let message = locate(&part, path).expect_err(path).to_string();
            assert!(message.starts_with(part_of_message) || message.contains(part_of_message), "{message}");
        }
    }

    #[test]
    fn this_machine_has_a_mount_and_the_test_a_cgroup() {
        let points = mount_points().expect("cgroup2 is mounted");
        let root = Cgroup::open(&points[0]).expect("a cgroup");
        let own = Cgroup::own().expect("a cgroup");
        assert!(own.path.starts_with(&root.path), "{own:?}");
        assert_eq!(own, Cgroup::of(std::process::id()).expect("the same"));
        assert!(own.path.join("cgroup.procs").exists());
    }

    #[test]
    fn other_folders_are_no_cgroups() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(Cgroup::open(folder.path()), Err(CgroupError::NotACgroup { .. })));
        let missing = folder.path().join("no");
        let error = Cgroup::open(&missing).expect_err("not there");
        assert_eq!(error.to_string(), format!("open {}", missing.display()));
        assert!(matches!(Cgroup::of(u32::MAX), Err(CgroupError::Io { operation: "read", .. })));
    }
}
