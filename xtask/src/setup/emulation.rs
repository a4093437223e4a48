//! What booting other kernels needs.

use super::apt::Package;

pub(super) const PACKAGES: &[Package] = &[
    Package { name: "qemu-system-x86", why: "a machine in software, to boot other kernels on" },
    Package { name: "busybox-static", why: "the first process and the shell in that machine" },
    Package { name: "kmod", why: "depmod and modprobe, to find what a kernel module needs" },
    Package { name: "xz-utils", why: "modules of older kernels are compressed by it" },
    Package { name: "zstd", why: "modules of newer kernels are compressed by it" },
];
