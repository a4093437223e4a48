//! Requests of several kinds, by programs that are not ours.

use std::process::Command;

use anyhow::{Result, ensure};
use sidecar_tests::{nginx::Nginx, process};

/// The trace that one of the requests belongs to.
pub(super) const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Each by curl on a connection of its own, with words before the address.
const SINGLE: &[(&[&str], &str)] = &[
    (&[], "100.bin"),
    (&[], "60000.bin"),
    (&["--head"], "10000.bin"),
    (&["--data", "name=value"], "made"),
    (&["--request", "PUT", "--data", "name=value"], "made"),
    (&["--request", "DELETE"], "100.bin"),
    (&["--http1.0"], "1000.bin"),
    (&[], "status/204"),
    (&[], "status/301"),
    (&[], "nowhere"),
    (&[], "status/500"),
    (&[], "status/503"),
];

/// Fewer spans in one go than the exporter's queue holds.
const KEEP_ALIVE: u32 = 1000;
const PIPELINED: u32 = 500;

pub(super) fn all(nginx: &Nginx) -> Result<()> {
    for (words, path) in SINGLE {
        curl(nginx, words, path);
    }
    let parent = format!("traceparent: 00-{TRACE}-00f067aa0ba902b7-01");
    curl(nginx, &["--header", &parent], "1000.bin");
    h2load(nginx, KEEP_ALIVE, "1")?;
    h2load(nginx, PIPELINED, "16")
}

/// One more, light.
pub(super) fn one(nginx: &Nginx) -> Result<()> {
    let url = url(nginx, "100.bin");
    let ended = process::output(Command::new("curl").args(["--silent", "--output", "/dev/null", &url]));
    ensure!(ended.status.success(), "curl ended with {}", ended.status);
    Ok(())
}

fn curl(nginx: &Nginx, words: &[&str], path: &str) {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--output", "/dev/null"]).args(words);
    process::run(command.arg(url(nginx, path)));
}

/// Eight connections, with so many requests under way on each.
fn h2load(nginx: &Nginx, n: u32, depth: &str) -> Result<()> {
    let n_text = n.to_string();
    let mut command = Command::new("h2load");
    command.args(["--h1", "-t", "1", "-c", "8", "-m", depth, "-n", &n_text]);
    let said = process::run(command.arg(url(nginx, "100.bin")));
    ensure!(said.contains(&format!("{n} succeeded")), "h2load did not get {n} answers:\n{said}");
    Ok(())
}

fn url(nginx: &Nginx, path: &str) -> String {
    format!("http://127.0.0.1:{}/{path}", nginx.port)
}
