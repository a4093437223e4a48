//! The same figures as a page of docs/.

use std::fmt::Write as _;

use super::{
    Measured,
    beside::Kind,
    options::Options,
    report::{
        GOAL_BULK_SHARE, GOAL_DAEMON_US, GOAL_IDLE, GOAL_OVER_FLOOR_US, GOAL_RSS_MIB, MIB, interval, verdict,
    },
    shape::Unit,
    statistics::Median,
};

/// Rows, as they come.
#[derive(Default)]
pub(super) struct Table {
    rows: String,
    goals: String,
    verdicts: String,
    repeated: usize,
}

impl Table {
    pub(super) fn add(&mut self, measured: &Measured) {
        let load = format!("{} x {}", measured.shape.name, measured.connections);
        for (place, kind) in measured.kinds.iter().enumerate() {
            let of = |each: &dyn Fn(&super::Run) -> f64| measured.median(|round| each(&round[place])).value;
            let added = measured.added(*kind, Kind::Nothing);
            let added = match kind {
                Kind::Nothing => "-".to_owned(),
                _ => format!("{:+.2} {}", added.value, interval(&added)),
            };
            let _ = writeln!(
                self.rows,
                "| {load} | {} | {:.2} | {:.2} | {added} | {:.2} | {:.0} |",
                kind.name(),
                of(&|run| run.server_us),
                of(&|run| run.client_us),
                of(&|run| run.beside_us),
                of(&|run| run.per_second),
            );
        }
        self.repeated += measured.repeated;
        self.memory(measured, &load);
        self.verdict(measured, &load);
    }

    fn memory(&mut self, measured: &Measured, load: &str) {
        let Some(place) = measured.place(Kind::Sidecar) else { return };
        let of = |each: fn(&super::memory::Memory) -> u64| {
            measured.median(|round| round[place].memory.as_ref().map_or(0.0, |m| each(m) as f64 / MIB)).value
        };
        let by_connection = measured
            .rounds
            .iter()
            .filter_map(|round| round[place].memory.as_ref())
            .map(|m| m.by_connection)
            .max();
        let ns: u64 = measured.programs.iter().map(|program| program.ns).sum();
        let _ = writeln!(
            self.goals,
            "| {load} | {:.2} | {:.1} | {:.1} | {:.1} | {} | {:.4} % |",
            ns as f64 / 1000.0 / measured.n as f64,
            of(|m| m.peak_rss),
            of(|m| m.rss),
            of(|m| m.maps),
            by_connection.unwrap_or(0),
            measured.idle * 100.0,
        );
    }

    fn verdict(&mut self, measured: &Measured, load: &str) {
        let Some(place) = measured.place(Kind::Sidecar) else { return };
        let mut line = |what: &str, value: &Median, wanted: f64, told: String| {
            let is = verdict(value, wanted);
            let _ = writeln!(self.verdicts, "| {load} | {what} | {told} | {wanted} | {is} |");
        };
        let rss =
            measured.median(|round| round[place].memory.as_ref().map_or(0.0, |m| m.peak_rss as f64 / MIB));
        match measured.unit() {
            Unit::Request => {
                if measured.place(Kind::Floor).is_some() {
                    let over = measured.added(Kind::Sidecar, Kind::Floor);
                    let told = format!("{:.2} {}", over.value, interval(&over));
                    line("application's CPU over the floor, µs a request", &over, GOAL_OVER_FLOOR_US, told);
                }
                let daemon = measured.median(|round| round[place].beside_us);
                let told = format!("{:.2} {}", daemon.value, interval(&daemon));
                line("daemon's CPU, µs a request", &daemon, GOAL_DAEMON_US, told);
            }
            Unit::Mebibyte => {
                let share = measured.share();
                let told = format!("{:.3} {}", share.value, interval(&share));
                line("share of CPU by byte", &share, GOAL_BULK_SHARE, told);
            }
        }
        line("daemon's largest RSS, MiB", &rss, GOAL_RSS_MIB, format!("{:.1}", rss.value));
        line(
            "daemon while idle, of one CPU",
            &Median::exact(measured.idle),
            GOAL_IDLE,
            format!("{:.6}", measured.idle),
        );
    }

    /// The page.
    pub(super) fn page(&self, options: &Options) -> String {
        format!(
            "# What observing costs\n\n\
             Made by `cargo xtask bench observe {}` on one machine of two virtual processors. The ratios travel, the\n\
             absolute times do not: run it on yours.\n\n\
             Each row is the median of {} interleaved rounds, intervals are of 95 % by binomial order statistics. CPU\n\
             is the scheduler's account, softirqs included, in µs by request (`bulk`, iperf3: by MiB). *floor* is an empty\n\
             program on both `cgroup_skb` hooks; *sidecar* has CAP_BPF and CAP_NET_ADMIN only; *envoy* stands in the\n\
             path with one worker and no access log. Runs with it that were made again, as it had not answered all: {}.\n\n\
             | load x connections | beside | server | client | added to their sum | the bystander's own | units/s |\n\
             |---|---|---|---|---|---|---|\n{}\n\
             ## Goals\n\n\
             | load x connections | | measured | goal | |\n|---|---|---|---|---|\n{}\n\
             ## Programs and memory\n\n\
             BPF run time is taken with `kernel.bpf_stats_enabled=1`, which costs time itself.\n\n\
             | load x connections | BPF, µs a unit | largest RSS, MiB | RSS after, MiB | kernel's maps, MiB | and by \
             connection, bytes | idle, of one CPU |\n|---|---|---|---|---|---|---|\n{}",
            options.words, options.n_rounds, self.repeated, self.rows, self.verdicts, self.goals
        )
    }
}
