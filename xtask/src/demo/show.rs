//! What was seen, beside what the server and the receiver say, in 80 columns.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use sidecar_tests::scrape::{Kind, Scrape};

use super::{receiver::Received, stage::Stage, visitors::TRACE};

/// Counts by method and status.
pub(super) type Kinds = BTreeMap<Kind, u64>;

pub(super) fn everything(stage: &Stage, seen: &Scrape, logged: &Kinds, received: &Received) {
    requests(seen, logged, received);
    connections(seen);
    coverage(seen);
    trace(received);
    daemon(seen);
    println!("metrics      http://127.0.0.1:{}/metrics", stage.sidecar.port);
    println!("admin        http://127.0.0.1:{}/connections", stage.sidecar.admin_port);
}

/// An error that says where the accounts differ.
pub(super) fn verdict(seen: &Scrape, logged: &Kinds, received: &Received) -> Result<()> {
    let counted = seen.requests("server");
    ensure!(!logged.is_empty(), "the server answered nothing");
    ensure!(
        counted == *logged,
        "what sidecar saw is not what the access log says: {}",
        differing(&counted, logged)
    );
    ensure!(
        received.requests == counted,
        "the OTLP receiver's counts are not those of /metrics: {}",
        differing(&received.requests, &counted)
    );
    ensure!(
        received.spans == counted,
        "the OTLP receiver's spans are not the requests: {}",
        differing(&received.spans, &counted)
    );
    ensure!(received.traces.iter().any(|trace| trace == TRACE), "no span belongs to the trace that was sent");
    let (explained, total) = (seen.bytes("explained"), seen.bytes("seen"));
    ensure!(explained == total, "only {explained} of {total} bytes were explained");
    println!("\nAll accounts are equal: sidecar, access log, OTLP metrics, OTLP spans.");
    Ok(())
}

fn requests(seen: &Scrape, logged: &Kinds, received: &Received) {
    let counted = seen.requests("server");
    let sums = sums(seen);
    println!(
        "{:<8}{:<8}{:>9}{:>12}{:>14}{:>12}{:>15}",
        "method", "status", "sidecar", "access log", "OTLP metrics", "OTLP spans", "mean duration"
    );
    let row = |method: &str, status: &str, counts: [u64; 4], mean: &str| {
        let [ours, log, metrics, spans] = counts;
        println!("{method:<8}{status:<8}{ours:>9}{log:>12}{metrics:>14}{spans:>12}{mean:>15}");
    };
    let all = [&counted, logged, &received.requests, &received.spans];
    let mut kinds: Vec<&Kind> = all.iter().flat_map(|kinds| kinds.keys()).collect();
    kinds.sort();
    kinds.dedup();
    for kind in kinds {
        let counts = all.map(|kinds| kinds.get(kind).copied().unwrap_or(0));
        let mean = match sums.get(kind) {
            Some(sum) if counts[0] > 0 => format!("{:.3} ms", sum * 1000.0 / counts[0] as f64),
            _ => String::new(),
        };
        row(&kind.0, &kind.1, counts, &mean);
    }
    row("all", "", all.map(|kinds| kinds.values().sum()), "");
    println!();
}

/// Seconds in sum, by method and status.
fn sums(seen: &Scrape) -> BTreeMap<Kind, f64> {
    let mut sums = BTreeMap::new();
    for (labels, value) in seen.all("http_server_request_duration_seconds_sum") {
        let label = |name: &str| labels.get(name).cloned();
        let status = label("http_response_status_code").or_else(|| label("error_type"));
        let kind = (label("http_request_method").unwrap_or_default(), status.unwrap_or_default());
        *sums.entry(kind).or_default() += value;
    }
    sums
}

fn connections(seen: &Scrape) {
    let of = |name: &str| seen.count(name, &[("sidecar_tcp_role", "server")]);
    let bytes = |direction: &str| {
        let labels = [("sidecar_tcp_role", "server"), ("network_io_direction", direction)];
        seen.count("sidecar_tcp_io_bytes_total", &labels)
    };
    let (opened, closed) =
        (of("sidecar_tcp_connection_opened_total"), of("sidecar_tcp_connection_closed_total"));
    println!(
        "connections  {opened} opened, {closed} closed; {} bytes in, {} bytes out",
        bytes("receive"),
        bytes("transmit")
    );
}

fn coverage(seen: &Scrape) {
    let (explained, total) = (seen.bytes("explained"), seen.bytes("seen"));
    let drops: u64 = seen.drops().values().sum();
    let ratio = explained as f64 / total as f64;
    println!("coverage     {ratio:.3}: {explained} of {total} payload bytes explained; {drops} drops");
}

fn trace(received: &Received) {
    let n = received.traces.iter().filter(|trace| *trace == TRACE).count();
    println!("trace        {n} span in the trace of the request that had a traceparent");
}

fn daemon(seen: &Scrape) {
    let rss_mib = seen.sum("sidecar_process_memory_usage_bytes", &[]).unwrap_or(0.0) / f64::from(1 << 20);
    let cpu_s = seen.sum("sidecar_process_cpu_time_seconds_total", &[]).unwrap_or(0.0);
    println!("daemon       RSS {rss_mib:.1} MiB; {cpu_s:.2} s of CPU since it started, loading included");
}

/// The kinds whose counts differ, as `GET 200: 3 and 4`.
fn differing(ours: &Kinds, theirs: &Kinds) -> String {
    let mut kinds: Vec<&Kind> = ours.keys().chain(theirs.keys()).collect();
    kinds.sort();
    kinds.dedup();
    let count = |of: &Kinds, kind| of.get(kind).copied().unwrap_or(0);
    let differ = kinds.into_iter().filter(|kind| count(ours, *kind) != count(theirs, *kind));
    let told = differ
        .map(|kind| format!("{} {}: {} and {}", kind.0, kind.1, count(ours, kind), count(theirs, kind)));
    told.collect::<Vec<_>>().join(", ")
}
