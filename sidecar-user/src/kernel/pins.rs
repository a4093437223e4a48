//! What is left at work when the daemon ends: links of the programs that steer, and the maps that they go by, as files of a
//! folder on a bpffs. Who observes is never among them.
//!
//! The folder is one daemon's at a time, by a lock that ends with it. What it has is adopted whole or not at all: of this
//! build, of this user, and on the cgroups that are observed.

mod examine;
mod found;
mod remove;
mod sys;

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::fs::{DirBuilderExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use aya::{Ebpf, EbpfLoader, maps::Array, programs::ProgramError, sys::SyscallError};
use rustix::fs::{FlockOperation, flock, statfs};
use sidecar_core::traffic::Room;
use sidecar_ebpf::abi::pins::{LAYOUT, Layout};

pub(crate) use found::{is_left, pinned_programs};
pub(crate) use remove::unpin;

use super::{load::Error, maps::Abi, programs::Program};

/// `BPF_FS_MAGIC` of linux/magic.h.
const BPF_FS: u64 = 0xcafe_4a11;

/// Why nothing is pinned, or what is there is not adopted. It stays as it is then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PinError {
    /// It is somewhere else.
    #[error("{} is on no bpffs: mount one (`mount -t bpf bpf /sys/fs/bpf`), and name a folder on it", .0.display())]
    NoBpffs(PathBuf),
    /// It would not be ours alone.
    #[error("{} is {what}: it must be a folder of user {own} with mode 0700, which is made where there is none", path.display())]
    Shared {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: String,
        /// Who we are.
        own: u32,
    },
    /// There is another daemon.
    #[error("{} is in use by a sidecar that runs", .0.display())]
    Busy(PathBuf),
    /// Of another build.
    #[error(
        "{} was pinned by another build: its objects are of version {} (sizes {:08x}), these of {} ({:08x}); it stays at work; \
         `sidecar unpin {}` removes it",
        path.display(), theirs.version, theirs.sizes, LAYOUT.version, LAYOUT.sizes, path.display()
    )]
    Layout {
        /// Where.
        path: PathBuf,
        /// What was found.
        theirs: Layout,
    },
    /// It has a name of ours, and is not ours.
    #[error("{} is not what a sidecar pins there: {why}", path.display())]
    Foreign {
        /// Which.
        path: PathBuf,
        /// What it is.
        why: String,
    },
    /// On a cgroup that is there, and that nobody asked for.
    #[error(
        "{} is at work on cgroup {cgroup}, which is not what is observed now; `sidecar unpin {}` removes it",
        path.display(), path.display()
    )]
    Elsewhere {
        /// Where.
        path: PathBuf,
        /// Its id.
        cgroup: u64,
    },
    /// The file system.
    #[error("{step} {}", path.display())]
    Io {
        /// What was done.
        step: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// The folder, held.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    dir: PathBuf,
    is_adopted: bool,
    /// Cgroups of commands that daemons before left behind.
    orphans: Vec<u64>,
    /// As long as it is open, no other daemon takes the folder.
    _lock: Arc<File>,
}

impl Pins {
    /// Takes the folder, and makes it where there is none. What is of no use any more goes: nothing of it is at work.
    /// What is at work on `observed` cgroups is adopted, and on `orphans`, of which nothing is observed.
    ///
    /// # Errors
    /// [`PinError`]; then everything is as it was.
    pub(crate) fn take(dir: &Path, [observed, orphans]: [&[u64]; 2], room: Room) -> Result<Pins, PinError> {
        match fs::symlink_metadata(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(dir)?,
            Err(source) => return Err(PinError::Io { step: "look at", path: dir.to_owned(), source }),
            Ok(_) => {}
        }
        let lock = lock(dir)?;
        let is_adopted = examine::examine(dir, &[observed, orphans].concat(), room)?;
        match is_adopted {
            true => remove::dead(dir)?,
            false => remove::all(dir)?,
        }
        Ok(Pins { dir: dir.to_owned(), is_adopted, orphans: orphans.to_vec(), _lock: Arc::new(lock) })
    }

    /// Where.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether a daemon before left what holds.
    pub(crate) fn is_adopted(&self) -> bool {
        self.is_adopted
    }

    /// Lets the loader take maps that are there, and pin those that are not.
    pub(super) fn maps(&self, loader: &mut EbpfLoader<'_>) {
        for map in examine::MAPS {
            loader.map_pin_path(map.name, self.dir.join(map.name));
        }
    }

    /// Says whose the maps are, once they are.
    pub(super) fn seal(&self, ebpf: &mut Ebpf) -> Result<(), Error> {
        let wrap = |source| Error::Map { name: "LAYOUT", source };
        let Some(map) = ebpf.map_mut("LAYOUT") else { return Ok(()) };
        let mut map: Array<_, Abi<Layout>> = Array::try_from(map).map_err(wrap)?;
        map.set(0, Abi(LAYOUT), 0).map_err(wrap)
    }

    /// Puts a program to work on a cgroup for good: in the place of the one that does its work there already, or anew.
    pub(super) fn attach(
        &self,
        row: &Program,
        program: &aya::programs::Program,
        (id, cgroup): (u64, BorrowedFd<'_>),
    ) -> Result<(), ProgramError> {
        let program = program.fd()?.as_fd();
        let path = self.dir.join(examine::link_name(row.name, id));
        if replace(&path, program)? {
            return Ok(());
        }
        let link =
            sys::link(program, cgroup, examine::attach_type(row)).map_err(failed("bpf_link_create"))?;
        sys::pin(&link, &path).map_err(failed("bpf_obj_pin"))
    }

    /// Puts it in the place of the one that does its work for commands that were left behind: those may be other programs, that
    /// tell less.
    pub(super) fn attach_to_orphans(
        &self,
        row: &Program,
        program: &aya::programs::Program,
    ) -> Result<(), ProgramError> {
        let program = program.fd()?.as_fd();
        for id in &self.orphans {
            replace(&self.dir.join(examine::link_name(row.name, *id)), program)?;
        }
        Ok(())
    }

    /// Lets go of a cgroup that is gone.
    pub(super) fn detach(&self, id: u64) {
        for row in super::programs::steering() {
            // It may not have been there.
            let _ = fs::remove_file(self.dir.join(examine::link_name(row.name, id)));
        }
    }

    /// Steering did not come about: nothing is left that was not there before.
    pub(crate) fn give_up(&self) {
        if !self.is_adopted
            && let Err(error) = remove::all(&self.dir)
        {
            tracing::warn!(%error, "what was pinned may be left");
        }
    }
}

/// Puts a program in the place of the one that is at work by a link; whether there is one.
fn replace(path: &Path, program: BorrowedFd<'_>) -> Result<bool, ProgramError> {
    match sys::open(path) {
        Ok(link) => match sys::update(&link, program) {
            // Its cgroup was removed.
            Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {
                fs::remove_file(path).map(|()| false).map_err(failed("unlink"))
            }
            done => done.map(|()| true).map_err(failed("bpf_link_update")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("bpf_obj_get")(error)),
    }
}

fn failed(call: &'static str) -> impl FnOnce(io::Error) -> ProgramError {
    move |io_error| ProgramError::SyscallError(SyscallError { call, io_error })
}

/// What a folder has, in words, for whoever does not take it.
///
/// # Errors
/// [`PinError`], where a daemon would not take it.
pub(crate) fn pinned(dir: &Path) -> Result<&'static str, PinError> {
    if fs::symlink_metadata(dir).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return may_be_made(dir).map(|()| "nothing is pinned yet; it will be made");
    }
    match lock(dir) {
        Err(PinError::Busy(_)) => Ok("a sidecar is at work with what is pinned"),
        Err(error) => Err(error),
        Ok(_) => match examine::at_work(dir)?.is_empty() {
            true => Ok("nothing is pinned"),
            false => examine::is_of_this_build(dir)
                .map(|()| "a daemon that is gone left its policy at work: the next one adopts it"),
        },
    }
}

/// Makes the folder where its parent is on a bpffs.
fn make(dir: &Path) -> Result<(), PinError> {
    may_be_made(dir)?;
    let failed = |source| PinError::Io { step: "make", path: dir.to_owned(), source };
    DirBuilder::new().mode(0o700).create(dir).map_err(failed)
}

fn may_be_made(dir: &Path) -> Result<(), PinError> {
    match is_bpffs(dir.parent().unwrap_or(dir))? {
        true => Ok(()),
        false => Err(PinError::NoBpffs(dir.to_owned())),
    }
}

fn is_bpffs(path: &Path) -> Result<bool, PinError> {
    let failed = |error: rustix::io::Errno| PinError::Io {
        step: "look at",
        path: path.to_owned(),
        source: error.into(),
    };
    Ok(statfs(path).map_err(failed)?.f_type as u64 == BPF_FS)
}

/// What makes a folder fit.
fn check(dir: &Path) -> Result<(), PinError> {
    let failed = |source| PinError::Io { step: "look at", path: dir.to_owned(), source };
    let found = fs::symlink_metadata(dir).map_err(failed)?;
    let own = rustix::process::geteuid().as_raw();
    let shared = |what: String| Err(PinError::Shared { path: dir.to_owned(), what, own });
    if !found.is_dir() {
        return shared("no folder".to_owned());
    }
    if !is_bpffs(dir)? {
        return Err(PinError::NoBpffs(dir.to_owned()));
    }
    if found.uid() != own {
        return shared(format!("of user {}", found.uid()));
    }
    match found.mode() & 0o7777 {
        mode if mode & 0o077 != 0 => shared(format!("open to others (mode {mode:04o})")),
        _ => Ok(()),
    }
}

/// Whoever has it is the folder's one daemon.
fn lock(dir: &Path) -> Result<File, PinError> {
    check(dir)?;
    let failed = |source| PinError::Io { step: "lock", path: dir.to_owned(), source };
    let folder = File::open(dir).map_err(failed)?;
    match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(folder),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(PinError::Busy(dir.to_owned())),
        Err(error) => Err(failed(error.into())),
    }
}

/// Files of the folder, in the order of their names.
fn files(dir: &Path) -> Result<Vec<PathBuf>, PinError> {
    let failed = |source| PinError::Io { step: "read", path: dir.to_owned(), source };
    let entries = fs::read_dir(dir).map_err(failed)?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>().map_err(failed)?;
    files.sort();
    Ok(files)
}

fn told(error: &PinError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(std::ffi::OsStr::to_str).unwrap_or_default()
}
