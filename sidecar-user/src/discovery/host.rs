//! What the kernel offers, as far as files tell.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::mountinfo;

/// The kernel describes its own types. Not needed by our programs; its absence says that the kernel is a small one.
pub(crate) fn has_btf() -> bool {
    Path::new("/sys/kernel/btf/vmlinux").exists()
}

/// The network namespace of a process, or of the daemon: its inode, which no two have at a time.
///
/// # Errors
/// There is no such process, or it is none of ours to look at (`PTRACE_MODE_READ_FSCREDS`, see namespaces(7)).
pub(crate) fn netns(pid: Option<u32>) -> io::Result<u64> {
    let process = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    Ok(fs::metadata(PathBuf::from(format!("/proc/{process}/ns/net")))?.ino())
}

/// The real user of a process, as the initial user namespace counts; `None`: it could not be read, or we count otherwise.
pub(crate) fn uid(pid: u32) -> Option<u32> {
    // The initial one has all ids, each as it is (user_namespaces(7)).
    let map = fs::read_to_string("/proc/self/uid_map").ok()?;
    if !map.split_whitespace().eq(["0", "0", "4294967295"]) {
        return None;
    }
    let status = fs::read_to_string(PathBuf::from(format!("/proc/{pid}/status"))).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()?.parse().ok())
}

/// Where a bpffs is mounted, as far as this process sees.
pub(crate) fn bpf_mounts() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mountinfo::bpf(&text).into_iter().map(|mount| mount.point).collect()
}

/// Release of the kernel, as `uname -r` prints it.
pub(crate) fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The network namespace that this process is in.
///
/// # Errors
/// If /proc does not show it.
pub(crate) fn own_netns() -> io::Result<File> {
    File::open("/proc/self/ns/net")
}
