//! The figures, in plain text.

use super::{
    Measured, Round,
    beside::Kind,
    programs::Program,
    shape::{Shape, Unit},
    statistics::{Median, median},
    world::{OTHERS_CPU, Run, SERVER_CPU},
};

/// Goals: CPU that the application may lose by request above the floor, µs; the share of its CPU that it may lose by
/// byte; what the daemon may take by request, µs; its memory, MiB; what it may take while idle.
pub(super) const GOAL_OVER_FLOOR_US: f64 = 0.5;
pub(super) const GOAL_BULK_SHARE: f64 = 0.02;
pub(super) const GOAL_DAEMON_US: f64 = 1.0;
pub(super) const GOAL_RSS_MIB: f64 = 20.0;
pub(super) const GOAL_IDLE: f64 = 0.001;

pub(super) const MIB: f64 = 1024.0 * 1024.0;

pub(super) fn opening(shape: &Shape, connections: u32, n_rounds: usize, n: u64) {
    let (client, unit) = (shape.client.name(), shape.unit().name());
    println!("{}: {}; {connections} at once by {client}", shape.name, shape.about);
    println!("{n_rounds} rounds of {n} times one {unit} each; CPU {SERVER_CPU}: the server;");
    println!(
        "CPU {OTHERS_CPU}: {client} and what stands beside, the daemon with CAP_BPF and CAP_NET_ADMIN only"
    );
    println!("medians [95 % interval by binomial order statistics]; µs of CPU by {unit}\n");
}

pub(super) fn print(measured: &Measured) {
    println!(
        "{:<10}{:>9}{:>9}{:>9}{:>9}   difference of server + client",
        "", "server", "client", "beside", "units/s"
    );
    for (place, kind) in measured.kinds.iter().enumerate() {
        let of = |each: &dyn Fn(&Run) -> f64| measured.median(|round| each(&round[place]));
        let added = measured.added(*kind, Kind::Nothing);
        let added = if *kind == Kind::Nothing { String::new() } else { told(&added) };
        let line = format!(
            "{:<10}{:>9.2}{:>9.2}{:>9.2}{:>9.0}   {added}",
            kind.name(),
            of(&|run| run.server_us).value,
            of(&|run| run.client_us).value,
            of(&|run| run.beside_us).value,
            of(&|run| run.per_second).value,
        );
        println!("{}", line.trim_end());
    }
    println!();
    goals(measured);
    programs(&measured.programs, measured.n, measured.unit());
    println!("\n");
}

fn goals(measured: &Measured) {
    if measured.place(Kind::Floor).is_some() {
        let over = measured.added(Kind::Sidecar, Kind::Floor);
        let goal = match measured.unit() {
            Unit::Request => goal(&over, GOAL_OVER_FLOOR_US),
            Unit::Mebibyte => String::new(),
        };
        println!("{:<32}{:<26}{goal}", "sidecar over floor, µs", told(&over));
    }
    if measured.unit() == Unit::Mebibyte {
        let share = measured.share();
        println!(
            "{:<32}{:<26}{}",
            "sidecar's share of CPU by byte",
            told(&share),
            goal(&share, GOAL_BULK_SHARE)
        );
    }
    let ratio = measured.ratio(Kind::Sidecar);
    println!("{:<32}{:.3} {}", "units/s, sidecar to nothing", ratio.value, interval(&ratio));
    if measured.place(Kind::Envoy).is_some() {
        let ratio = measured.ratio(Kind::Envoy);
        println!("{:<32}{:.3} {}", "units/s, Envoy to nothing", ratio.value, interval(&ratio));
        let times = measured.envoy_to_sidecar();
        println!("{:<32}{:.1} {}", "all CPU added, Envoy to sidecar", times.value, interval(&times));
    }
    let Some(place) = measured.place(Kind::Sidecar) else { return };
    let daemon = measured.median(|round| round[place].beside_us);
    let of_memory = |each: fn(&super::memory::Memory) -> u64| {
        measured.median(|round| round[place].memory.as_ref().map_or(0.0, |m| each(m) as f64 / MIB)).value
    };
    if measured.unit() == Unit::Request {
        println!(
            "{:<32}{:<26}{}",
            "daemon, µs",
            format!("{:.2} {}", daemon.value, interval(&daemon)),
            goal(&daemon, GOAL_DAEMON_US)
        );
    }
    let rss = of_memory(|m| m.peak_rss);
    println!(
        "{:<32}{:<26}{}",
        "daemon's largest RSS, MiB",
        format!("{rss:.1} ({:.1} at the end)", of_memory(|m| m.rss)),
        goal(&Median::exact(rss), GOAL_RSS_MIB)
    );
    let by_connection =
        measured.rounds.iter().filter_map(|r| r[place].memory.as_ref()).map(|m| m.by_connection).max();
    println!(
        "{:<32}{:.1}, and {} bytes a connection",
        "kernel's maps, MiB",
        of_memory(|m| m.maps),
        by_connection.unwrap_or(0)
    );
    println!(
        "{:<32}{:<26}{}",
        "daemon while idle, of one CPU",
        format!("{:.4} %", measured.idle * 100.0),
        goal(&Median::exact(measured.idle), GOAL_IDLE)
    );
}

impl Measured {
    pub(super) fn median(&self, each: impl Fn(&Round) -> f64) -> Median {
        median(self.rounds.iter().map(each))
    }

    /// CPU of server and client together that `kind` adds to what `base` leaves, µs.
    pub(super) fn added(&self, kind: Kind, base: Kind) -> Median {
        let (Some(kind), Some(base)) = (self.place(kind), self.place(base)) else { return Median::NONE };
        self.median(|round| round[kind].sum_us() - round[base].sum_us())
    }

    /// What observing adds, of what the work takes.
    pub(super) fn share(&self) -> Median {
        let (Some(kind), Some(base)) = (self.place(Kind::Sidecar), self.place(Kind::Nothing)) else {
            return Median::NONE;
        };
        self.median(|round| (round[kind].sum_us() - round[base].sum_us()) / round[base].sum_us())
    }

    pub(super) fn ratio(&self, kind: Kind) -> Median {
        let (Some(kind), Some(base)) = (self.place(kind), self.place(Kind::Nothing)) else {
            return Median::NONE;
        };
        self.median(|round| round[kind].per_second / round[base].per_second)
    }

    /// All CPU that Envoy in the path adds, its own included, by what the sidecar adds, its own included.
    pub(super) fn envoy_to_sidecar(&self) -> Median {
        let places = (self.place(Kind::Envoy), self.place(Kind::Sidecar), self.place(Kind::Nothing));
        let (Some(envoy), Some(sidecar), Some(base)) = places else { return Median::NONE };
        let all = |run: &Run, base: &Run| run.sum_us() + run.beside_us - base.sum_us();
        self.median(|round| all(&round[envoy], &round[base]) / all(&round[sidecar], &round[base]))
    }
}

impl Run {
    pub(super) fn sum_us(&self) -> f64 {
        self.server_us + self.client_us
    }
}

pub(super) fn told(median: &Median) -> String {
    format!("{:+.2} {}", median.value, interval(median))
}

pub(super) fn interval(median: &Median) -> String {
    format!("[{:.2}, {:.2}]", median.low, median.high)
}

pub(super) fn goal(measured: &Median, wanted: f64) -> String {
    format!("goal {wanted}: {}", verdict(measured, wanted))
}

/// What an interval says of a goal: no more than it can.
pub(super) fn verdict(measured: &Median, wanted: f64) -> &'static str {
    if measured.high <= wanted {
        "reached"
    } else if measured.low > wanted {
        "NOT reached"
    } else {
        "not shown, too noisy"
    }
}

fn programs(programs: &[Program], n: u64, unit: Unit) {
    println!("\nBPF programs, in a run of their own with kernel.bpf_stats_enabled=1:");
    let unit = unit.name();
    println!(
        "{:<13}{:>14}{:>9}{:>14}{:>15}",
        "",
        format!("runs/{unit}"),
        "ns/run",
        format!("µs/{unit}"),
        "verified insns"
    );
    let n = n as f64;
    let mut total_ns = 0;
    for program in programs {
        total_ns += program.ns;
        let by_run = if program.runs == 0 { 0.0 } else { program.ns as f64 / program.runs as f64 };
        println!(
            "{:<13}{:>14.2}{:>9.0}{:>14.3}{:>15}",
            program.name,
            program.runs as f64 / n,
            by_run,
            program.ns as f64 / 1000.0 / n,
            program.n_verified
        );
    }
    println!("{:<13}{:>14}{:>9}{:>14.3}", "all", "", "", total_ns as f64 / 1000.0 / n);
}
