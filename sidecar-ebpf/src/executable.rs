//! Which file the process that a program runs in executes. It is read where the kernel has it, so programs that ask take
//! CAP_PERFMON; and where in its structures that is, user space finds out and says.

use aya_ebpf::helpers::{bpf_probe_read_kernel, generated::bpf_get_current_task};
use sidecar_ebpf::abi::executable::Places;

use crate::maps::{self, PLACES};

/// The inode's number, and that of its file system with the inode's generation above. `None`: a thread of the kernel's, or nobody
/// said where to look.
#[inline(always)]
pub(crate) fn own() -> Option<[u64; 2]> {
    let places = maps::numbered::<Places, _>(&PLACES, 0)?;
    // SAFETY: the verifier proved it.
    let places = unsafe { &*places };
    if places.is_known == 0 {
        return None;
    }
    // SAFETY: helper without preconditions.
    let task = unsafe { bpf_get_current_task() };
    let mm = pointer(task, places.mm)?;
    let file = pointer(mm, places.exe_file)?;
    let inode = pointer(file, places.inode)?;
    let number = word(inode, places.number)?;
    let generation = half(inode, places.generation)?;
    let device = half(pointer(inode, places.file_system)?, places.device)?;
    // While it is the process's, nobody frees it: another one may have come in its place meanwhile (`PR_SET_MM_EXE_FILE`).
    if pointer(mm, places.exe_file)? != file {
        return None;
    }
    Some([number, u64::from(device) | u64::from(generation) << 32])
}

#[inline(always)]
fn pointer(of: u64, at: u32) -> Option<u64> {
    word(of, at).filter(|pointer| *pointer != 0)
}

#[inline(always)]
fn word(of: u64, at: u32) -> Option<u64> {
    let at = of.wrapping_add(at.into()) as *const u64;
    // SAFETY: where nothing is to be read the helper says so.
    unsafe { bpf_probe_read_kernel(at) }.ok()
}

#[inline(always)]
fn half(of: u64, at: u32) -> Option<u32> {
    let at = of.wrapping_add(at.into()) as *const u32;
    // SAFETY: as above.
    unsafe { bpf_probe_read_kernel(at) }.ok()
}
