//! Verdicts and reasons in words.

use sidecar_ebpf::abi::steer::{REASONS, VERDICTS, decision};

/// `sidecar.verdict`, by `VERDICT_…`.
pub const VERDICT: [&str; VERDICTS] = ["undecided", "direct", "proxied", "passed", "denied"];
/// `sidecar.reason`, by `REASON_…`.
pub const REASON: [&str; REASONS] = [
    "gear",
    "no_rule",
    "exception",
    "first_use",
    "netns",
    "device",
    "no_endpoint",
    "daemon",
    "connection_limit",
    "rate_limit",
    "protocol",
    "no_memory",
];

/// Verdict, reason and count of each decision that was made at all.
pub fn decisions(counts: &[u64]) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
    let all = (0..VERDICTS).flat_map(|verdict| (0..REASONS).map(move |reason| (verdict, reason)));
    all.filter_map(|(verdict, reason)| {
        let n = counts.get(decision(verdict as u8, reason as u8) as usize).copied().filter(|n| *n > 0)?;
        Some((VERDICT[verdict], REASON[reason], n))
    })
}

/// What goes on at a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Connections that are open, or being opened.
    pub active: u64,
    /// All of them by verdict.
    pub verdicts: Vec<(&'static str, u64)>,
}

impl Usage {
    /// Of counts by `VERDICT_…`.
    #[must_use]
    pub fn new(active: u64, verdicts: [u64; VERDICTS]) -> Self {
        Usage { active, verdicts: VERDICT.into_iter().zip(verdicts).skip(1).collect() }
    }
}

#[cfg(test)]
mod tests {
    use sidecar_ebpf::abi::steer::{DECISIONS, REASON_MEMORY, REASON_NETNS, VERDICT_DENIED, VERDICT_PASSED};

    use super::*;

    #[test]
    fn words_are_by_number() {
        let mut counts = [0; DECISIONS as usize];
        counts[decision(VERDICT_PASSED, REASON_NETNS) as usize] = 3;
        counts[decision(VERDICT_DENIED, REASON_MEMORY) as usize] = 4;
        let told: Vec<_> = decisions(&counts).collect();
        assert_eq!(told, [("passed", "netns", 3), ("denied", "no_memory", 4)]);
    }
}
