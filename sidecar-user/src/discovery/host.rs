//! What the kernel offers, as far as files tell.

use std::path::Path;

/// The kernel describes its own types. Not needed by our programs; its absence says that the kernel is a small one.
pub(crate) fn has_btf() -> bool {
    Path::new("/sys/kernel/btf/vmlinux").exists()
}

/// Release of the kernel, as `uname -r` prints it.
pub(crate) fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}
