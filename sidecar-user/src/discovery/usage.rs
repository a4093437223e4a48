//! What this process itself costs, from `/proc/self/stat` (proc_pid_stat(5)), and what the application costs.

use std::fs;

mod application;
mod ledger;

pub(crate) use application::{Account, executable};

/// Processor time and memory of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// Time in user mode, s.
    pub(crate) user_s: f64,
    /// Time in the kernel, s.
    pub(crate) system_s: f64,
    /// Resident set, bytes.
    pub(crate) rss_bytes: u64,
}

/// Reads it; zeros where /proc is not mounted.
pub(crate) fn own() -> Usage {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = rustix::param::clock_ticks_per_second();
    parse(&stat, ticks, rustix::param::page_size() as u64).unwrap_or_default()
}

/// Signals that were ignored when this process started, bit by number less one (proc_pid_status(5), `SigIgn`).
pub(crate) fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn parse(stat: &str, ticks_per_second: u64, page_bytes: u64) -> Option<Usage> {
    let seconds = |ticks: u64| ticks as f64 / ticks_per_second as f64;
    Some(Usage {
        user_s: seconds(field(stat, 14)?),
        system_s: seconds(field(stat, 15)?),
        rss_bytes: field(stat, 24)? * page_bytes,
    })
}

/// A field of a process's `stat`, from 3 on, numbered as in proc_pid_stat(5). The second one is the command in
/// parentheses, which may itself hold spaces and parentheses.
fn field(stat: &str, number: usize) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_after_the_command() {
        let stat =
            "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 99 1000000 5 184467 1 1 0 0 0\n";
        let usage = parse(stat, 100, 4096);
        assert_eq!(usage, Some(Usage { user_s: 2.5, system_s: 0.5, rss_bytes: 5 * 4096 }));
        assert_eq!(parse("", 100, 4096), None);
        assert_eq!(parse("7 (a) S 1", 100, 4096), None);
    }

    #[test]
    fn this_process_has_a_resident_set() {
        assert!(own().rss_bytes > 100_000);
    }
}
