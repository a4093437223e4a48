//! How long the scheduler lets this thread run at a time.

use std::{io, mem::size_of};

/// 0.1 ms, the least that EEVDF takes (`Documentation/scheduler/sched-eevdf.rst`).
const SLICE_NS: u64 = 100_000;

/// Asks for short turns for this thread: the same share of the processor, sooner. On two busy processors a reader with the
/// usual 3 ms comes too late for a ring that fills at 1 GB/s. Takes no privilege; before Linux 6.12 it has no effect.
///
/// # Errors
/// Where the kernel (or a seccomp filter) refuses. Nothing depends on it.
#[expect(unsafe_code, reason = "system calls without a wrapper")]
pub(crate) fn shorten() -> io::Result<()> {
    let size = size_of::<libc::sched_attr>() as u32;
    let mut attributes = libc::sched_attr {
        size,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    // Policy and niceness stay what they are.
    // SAFETY: the kernel writes at most `size` bytes to the struct, which has as many.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    attributes.sched_runtime = SLICE_NS;
    // SAFETY: the kernel reads `attributes.size` bytes, which the struct has.
    let set = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if set != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
