//! The figures, in plain text.

use super::{
    Pair,
    programs::Program,
    shape::{CONNECTIONS, Shape},
    statistics::{Median, median},
    world::{Daemon, OTHERS_CPU, SERVER_CPU},
};

/// Goals: CPU that the application may lose by request, µs; that the daemon may take, µs; its memory, MiB.
const GOAL_ADDED_US: f64 = 1.0;
const GOAL_DAEMON_US: f64 = 1.0;
const GOAL_RSS_MIB: f64 = 20.0;

pub(super) fn opening(shape: &Shape, n_pairs: usize, n_requests: u64) {
    let client = shape.client.name();
    println!("{}: {}; {CONNECTIONS} at once by {client}", shape.name, shape.about);
    println!("{n_pairs} pairs of {n_requests} requests; CPU {SERVER_CPU}: nginx, one worker, no access log;");
    println!("CPU {OTHERS_CPU}: {client} and the daemon, which has CAP_BPF and CAP_NET_ADMIN only");
    println!("median of pairs [95 % interval by binomial order statistics]; µs of CPU by request\n");
}

pub(super) fn pairs(pairs: &[Pair]) {
    let of = |each: &dyn Fn(&Pair) -> f64| median(pairs.iter().map(each));
    println!("{:<13}{:>9}{:>9}   {:<26}goal", "", "without", "with", "difference");
    difference("server", &of(&|p| p.without.server_us), &of(&|p| p.with.server_us), None, &|each| {
        of(&|p| each(p.without.server_us, p.with.server_us))
    });
    difference("client", &of(&|p| p.without.client_us), &of(&|p| p.with.client_us), None, &|each| {
        of(&|p| each(p.without.client_us, p.with.client_us))
    });
    let (without, with) = (|p: &Pair| p.without.sum_us(), |p: &Pair| p.with.sum_us());
    difference("their sum", &of(&without), &of(&with), Some(GOAL_ADDED_US), &|each| {
        of(&|p| each(without(p), with(p)))
    });
    let daemon = |each: &dyn Fn(&Daemon) -> f64| of(&|p| p.with.daemon.as_ref().map_or(0.0, each));
    let us = daemon(&|daemon| daemon.us);
    println!(
        "{:<13}{:>9}{:>9.2}   {:<26}{}",
        "daemon",
        "",
        us.value,
        interval(&us),
        goal(us.value, GOAL_DAEMON_US)
    );
    let (rss, pss) = (daemon(&|d| d.rss_kb as f64 / 1024.0), daemon(&|d| d.pss_kb as f64 / 1024.0));
    let shared = format!("{:.1} counted by its share", pss.value);
    println!(
        "{:<13}{:>9}{:>9.1}   {shared:<26}{}",
        "its RSS, MiB",
        "",
        rss.value,
        goal(rss.value, GOAL_RSS_MIB)
    );
    let (without, with) = (of(&|p| p.without.per_second), of(&|p| p.with.per_second));
    let ratio = of(&|p| p.with.per_second / p.without.per_second);
    println!(
        "{:<13}{:>9.0}{:>9.0}   {:.3} {}",
        "requests/s",
        without.value,
        with.value,
        ratio.value,
        interval(&ratio)
    );
}

impl super::Run {
    fn sum_us(&self) -> f64 {
        self.server_us + self.client_us
    }
}

type Each<'a> = &'a dyn Fn(&dyn Fn(f64, f64) -> f64) -> Median;

fn difference(name: &str, without: &Median, with: &Median, wanted: Option<f64>, of: Each<'_>) {
    let added = of(&|without, with| with - without);
    let told = format!("{:+.2} {}", added.value, interval(&added));
    let goal = wanted.map_or(String::new(), |wanted| goal(added.value, wanted));
    let line = format!("{:<13}{:>9.2}{:>9.2}   {:<26}{goal}", name, without.value, with.value, told);
    println!("{}", line.trim_end());
}

fn interval(median: &Median) -> String {
    format!("[{:.2}, {:.2}]", median.low, median.high)
}

fn goal(value: f64, wanted: f64) -> String {
    let is_reached = value <= wanted;
    format!("{wanted:.1}: {}", if is_reached { "reached" } else { "NOT reached" })
}

pub(super) fn programs(programs: &[Program], n_requests: u64) {
    println!("\nBPF programs, in a run of their own with kernel.bpf_stats_enabled=1:");
    println!("{:<13}{:>9}{:>9}{:>14}{:>15}", "", "runs/req", "ns/run", "µs/request", "verified insns");
    let n = n_requests as f64;
    let mut total_ns = 0;
    for program in programs {
        total_ns += program.ns;
        let by_run = if program.runs == 0 { 0.0 } else { program.ns as f64 / program.runs as f64 };
        println!(
            "{:<13}{:>9.2}{:>9.0}{:>14.3}{:>15}",
            program.name,
            program.runs as f64 / n,
            by_run,
            program.ns as f64 / 1000.0 / n,
            program.n_verified
        );
    }
    println!("{:<13}{:>9}{:>9}{:>14.3}", "all", "", "", total_ns as f64 / 1000.0 / n);
}

pub(super) fn idle(share: f64) {
    println!("\ndaemon while nothing happens: {:.4} % of one CPU", share * 100.0);
}
