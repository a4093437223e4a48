//! CPU time of processes, as the kernel accounts it.

use std::{fs, io};

use anyhow::{Context as _, Result};
use nix::sys::resource::{UsageWho, getrusage};

/// Time on a CPU of all threads of a process, ns: the scheduler's own account, which is exact while they sleep.
pub(crate) fn of_process(pid: i32) -> Result<u64> {
    let mut total = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).context("list the threads")? {
        match fs::read_to_string(thread?.path().join("schedstat")) {
            Ok(text) => {
                let first = text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok());
                total += first.context("read a thread's schedstat")?;
            }
            // A thread that ended in between.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context("read a thread's schedstat"),
        }
    }
    Ok(total)
}

/// Time on a CPU of all children that were waited for so far, µs.
pub(super) fn of_ended_children() -> Result<u64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("getrusage")?;
    let micros = |time: nix::sys::time::TimeVal| time.tv_sec() as u64 * 1_000_000 + time.tv_usec() as u64;
    Ok(micros(usage.user_time()) + micros(usage.system_time()))
}
