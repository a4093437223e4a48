//! What executable files a path stands for, as the kernel tells them apart: in our own root, and in those of the application's
//! processes.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxFlags, fstatfs, openat2, statx},
    io::Errno,
    ioctl,
};
use sidecar_core::model::FileId;

/// Roots that are looked at besides our own.
const ROOTS: usize = 64;
/// Processes whose roots are looked for.
const PROCESSES: usize = 16_384;

/// A file, held: as long as it is, no other gets its number.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) id: FileId,
    _file: Arc<OwnedFd>,
}

/// Why a file is not told from others.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unclear {
    /// It cannot be looked at.
    #[error("look at it")]
    Io(#[source] io::Error),
    /// A folder, a socket.
    #[error("it is no file")]
    NoFile,
    /// Two files of it may have one number: subvolumes of btrfs, overlays of several file systems.
    #[error("its file system ({major}:{minor}) does not number its files, parts of it do")]
    Parts {
        /// The file system's.
        major: u32,
        /// The file system's.
        minor: u32,
    },
    /// It is on no mount that is shown.
    #[error("its mount is not shown")]
    NoMount,
}

/// Where paths begin, for some processes.
pub(crate) struct Root {
    folder: File,
    /// Of a process that has it.
    mounts: PathBuf,
}

impl Root {
    /// Ours.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(crate) fn own() -> io::Result<Root> {
        Root::of("self")
    }

    /// Those of the processes in these cgroups and below that are not ours, each once; and how many processes do not show theirs.
    /// Takes CAP_SYS_PTRACE for processes of others (`PTRACE_MODE_READ_FSCREDS`).
    pub(crate) fn of_cgroups<'a>(cgroups: impl Iterator<Item = &'a Path>) -> (Vec<Root>, usize) {
        let (mut roots, mut n_hidden) = (Vec::new(), 0);
        let mut known: BTreeSet<_> = place("self").into_iter().collect();
        let mut pids = Vec::new();
        cgroups.for_each(|cgroup| processes(cgroup, &mut pids));
        for pid in pids {
            match place(&pid) {
                Ok(place) if !known.contains(&place) && roots.len() < ROOTS => {
                    known.insert(place);
                    roots.extend(Root::of(&pid));
                }
                Ok(_) => {}
                // It has ended.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => n_hidden += 1,
            }
        }
        (roots, n_hidden)
    }

    fn of(process: &str) -> io::Result<Root> {
        let flags = (OFlags::PATH | OFlags::DIRECTORY).bits();
        let options = OpenOptions::new().read(true).custom_flags(flags as i32).to_owned();
        let folder = options.open(format!("/proc/{process}/root"))?;
        Ok(Root { folder, mounts: PathBuf::from(format!("/proc/{process}/mountinfo")) })
    }

    /// What is at a path, links followed inside of this root; `None`: nothing.
    ///
    /// # Errors
    /// [`Unclear`]
    pub(crate) fn find(&self, path: &Path) -> Result<Option<Held>, Unclear> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        match openat2(&self.folder, path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
            Ok(file) => id(&file, &self.mounts).map(|id| Some(Held { id, _file: Arc::new(file) })),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(Unclear::Io(error.into())),
        }
    }
}

/// What a process executes.
///
/// # Errors
/// [`Unclear`]
pub(crate) fn of_process(pid: u32) -> Result<FileId, Unclear> {
    let options = OpenOptions::new().read(true).custom_flags(OFlags::PATH.bits() as i32).to_owned();
    let file = options.open(format!("/proc/{pid}/exe")).map_err(Unclear::Io)?;
    id(&file.into(), Path::new(&format!("/proc/{pid}/mountinfo")))
}

/// By the number of the inode, and of the file system as the kernel has it: what stat(2) says of that is not always the same.
fn id(file: &OwnedFd, mounts: &Path) -> Result<FileId, Unclear> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    let found =
        statx(file.as_fd(), "", AtFlags::EMPTY_PATH, wanted).map_err(|error| Unclear::Io(error.into()))?;
    if u32::from(found.stx_mode) & libc::S_IFMT != libc::S_IFREG {
        return Err(Unclear::NoFile);
    }
    let text = fs::read_to_string(mounts).map_err(Unclear::Io)?;
    let (major, minor) = device(&text, found.stx_mnt_id).ok_or(Unclear::NoMount)?;
    if (found.stx_dev_major, found.stx_dev_minor) != (major, minor) {
        return Err(Unclear::Parts { major, minor });
    }
    Ok(FileId { device: (major, minor), inode: found.stx_ino, generation: generation(file) })
}

/// File systems that tell a file's generation as the kernel has it (`i_generation`), by their magic numbers: ext4 and those before
/// it, XFS, F2FS. Others pass the question on to whoever serves them, or have it from the file below.
const TELLING: [u64; 3] = [0xef53, 0x5846_5342, 0xf2f5_2010];

/// `None`: it is not told, or not to us.
fn generation(file: &OwnedFd) -> Option<u32> {
    if !TELLING.contains(&(fstatfs(file).ok()?.f_type as u64)) {
        return None;
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags as i32).open(path).ok()?;
    version(&file).ok()
}

/// `FS_IOC_GETVERSION`, which by its number fills a long, and by its deeds an int.
#[expect(unsafe_code, reason = "an ioctl that has no wrapper")]
fn version(file: &File) -> rustix::io::Result<u32> {
    const GET: ioctl::Opcode = ioctl::opcode::read::<libc::c_long>(b'v', 1);
    // SAFETY: the file systems that are asked write four bytes.
    let get = unsafe { ioctl::Getter::<GET, u32>::new() };
    // SAFETY: it does nothing else.
    unsafe { ioctl::ioctl(file, get) }
}

/// A mount's file system, in the text of /proc/PID/mountinfo (proc_pid_mountinfo(5)).
fn device(text: &str, mount: u64) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let is_it = fields.next()?.parse() == Ok(mount);
        let (major, minor) = fields.nth(1)?.split_once(':')?;
        is_it.then_some((major.parse().ok()?, minor.parse().ok()?))
    })
}

/// What tells a process's root from others: its mount namespace, and the folder there.
fn place(process: &str) -> io::Result<(u64, u64, u64)> {
    let process = Path::new("/proc").join(process);
    let namespace = fs::metadata(process.join("ns/mnt"))?.ino();
    let root = fs::metadata(process.join("root"))?;
    Ok((namespace, root.dev(), root.ino()))
}

fn processes(cgroup: &Path, pids: &mut Vec<String>) {
    let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    let left = PROCESSES.saturating_sub(pids.len());
    pids.extend(text.lines().filter(|pid| *pid != "0").take(left).map(str::to_owned));
    let below = fs::read_dir(cgroup).into_iter().flatten().filter_map(Result::ok);
    for entry in below {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            processes(&entry.path(), pids);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_itself_by_any_name() {
        let dir = tempfile::tempdir().expect("a folder");
        let [one, link, copy] = ["one", "link", "copy"].map(|name| dir.path().join(name));
        fs::write(&one, "x").expect("a file");
        fs::copy(&one, &copy).expect("a copy");
        std::os::unix::fs::symlink(&one, &link).expect("a link");
        let root = Root::own().expect("a root");
        let id = |path: &Path| root.find(path).map(|held| held.map(|held| held.id));
        let own = id(&one).expect("clear").expect("there");
        assert_eq!(id(&link).expect("clear"), Some(own));
        assert_ne!(id(&copy).expect("clear"), Some(own));
        assert!(id(&dir.path().join("none")).expect("clear").is_none());
        assert!(matches!(id(dir.path()), Err(Unclear::NoFile)));
        // While it is held its number is nobody else's.
        let held = root.find(&one).expect("clear").expect("there");
        fs::remove_file(&one).expect("removed");
        for _ in 0..100 {
            fs::write(&one, "x").expect("a file");
            assert_ne!(id(&one).expect("clear"), Some(held.id));
            fs::remove_file(&one).expect("removed");
        }
    }

    #[test]
    fn we_execute_what_proc_says() {
        let path = fs::read_link("/proc/self/exe").expect("a path");
        let held = Root::own().expect("a root").find(&path).expect("clear").expect("there");
        assert_eq!(of_process(std::process::id()).expect("clear"), held.id);
    }

    #[test]
    fn mounts_are_found_by_their_numbers() {
        let text = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n220 22 0:45 / /a\\040b rw - overlay overlay rw\n";
        assert_eq!(device(text, 22), Some((8, 1)));
        assert_eq!(device(text, 220), Some((0, 45)));
        assert_eq!((device(text, 2), device("", 22), device("22 1\n", 22)), (None, None, None));
    }
}
