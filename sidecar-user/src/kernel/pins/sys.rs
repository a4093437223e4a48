//! bpf(2), for links that are known by their file or made for one: aya's hold on a link ends with the process.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use zerocopy::{FromZeros, Immutable, IntoBytes};

/// `enum bpf_cmd` of linux/bpf.h.
#[derive(Clone, Copy)]
enum Command {
    ObjPin = 6,
    ObjGet = 7,
    ObjGetInfoByFd = 15,
    LinkCreate = 28,
    LinkUpdate = 29,
    LinkDetach = 34,
}

/// Names are part of `union bpf_attr`.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Object {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Info {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Create {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Update {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Detach {
    link_fd: u32,
}

/// Beginning of `struct bpf_link_info`, of a link to a cgroup.
#[derive(FromZeros, IntoBytes)]
#[repr(C)]
pub(super) struct LinkInfo {
    pub(super) kind: u32,
    id: u32,
    pub(super) program: u32,
    pad: u32,
    /// 0: the cgroup is gone.
    pub(super) cgroup: u64,
    pub(super) attach_type: u32,
    tail: u32,
}

/// Beginning of `struct bpf_map_info`.
#[derive(FromZeros, IntoBytes)]
#[repr(C)]
pub(super) struct MapInfo {
    pub(super) kind: u32,
    id: u32,
    pub(super) key: u32,
    pub(super) value: u32,
    pub(super) entries: u32,
    flags: u32,
    name: [u8; 16],
}

impl MapInfo {
    pub(super) fn is_called(&self, name: &str) -> bool {
        let len = self.name.iter().position(|byte| *byte == 0).unwrap_or(self.name.len());
        self.name[..len] == *name.as_bytes()
    }
}

/// What is pinned there.
pub(super) fn open(path: &Path) -> io::Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let object = Object { pathname: name.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    call(Command::ObjGet, &object).map(owned)
}

/// Pins a link.
pub(super) fn pin(link: &OwnedFd, path: &Path) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let object = Object { pathname: name.as_ptr() as u64, bpf_fd: number(link), file_flags: 0 };
    call(Command::ObjPin, &object).map(drop)
}

/// What the kernel tells of it: of another kind of object than was thought, nonsense.
pub(super) fn info<T: FromZeros + IntoBytes>(of: &OwnedFd) -> io::Result<T> {
    let mut told = T::new_zeroed();
    let info = Info { bpf_fd: number(of), info_len: size_of::<T>() as u32, info: (&raw mut told) as u64 };
    call(Command::ObjGetInfoByFd, &info)?;
    Ok(told)
}

/// Puts a program to work on a cgroup.
pub(super) fn link(program: BorrowedFd<'_>, cgroup: BorrowedFd<'_>, attach_type: u32) -> io::Result<OwnedFd> {
    let create = Create { prog_fd: number(program), target_fd: number(cgroup), attach_type, flags: 0 };
    call(Command::LinkCreate, &create).map(owned)
}

/// Puts a program in the place of the link's own. Whoever comes meets one or the other.
pub(super) fn update(link: &OwnedFd, program: BorrowedFd<'_>) -> io::Result<()> {
    let update = Update { link_fd: number(link), new_prog_fd: number(program), flags: 0, old_prog_fd: 0 };
    call(Command::LinkUpdate, &update).map(drop)
}

/// Ends a link's work, whoever still holds it.
pub(super) fn detach(link: &OwnedFd) -> io::Result<()> {
    call(Command::LinkDetach, &Detach { link_fd: number(link) }).map(drop)
}

fn number(fd: impl std::os::fd::AsFd) -> u32 {
    fd.as_fd().as_raw_fd() as u32
}

#[expect(unsafe_code, reason = "bpf(2) has no wrapper")]
fn call<T: IntoBytes + Immutable>(command: Command, attributes: &T) -> io::Result<i32> {
    let (at, len) = (std::ptr::from_ref(attributes), size_of::<T>());
    // SAFETY: the kernel reads `len` bytes of attributes; addresses in them are of callers' values that outlive the call, and
    // what it writes is bounded by the length beside it.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command as libc::c_long, at, len) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done as i32) }
}

#[expect(unsafe_code, reason = "a descriptor that was just made")]
fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the kernel gave it to us, and to nobody else.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
