//! What the direct gear costs by the byte: nothing runs. The programs that are left when the daemon is gone are those that steer;
//! while iperf3's bytes flow through a service of theirs, the kernel counts no run of any of them.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use sidecar_tests::{
    cgroup::Cgroup,
    eventually, free_port,
    process::{self, Process},
};

use super::{
    super::{
        programs::{self, Counting, Program},
        statistics::{Median, median},
        world::{OTHERS_CPU, SERVER_CPU},
    },
    ways::{ASKED, Pinned},
};

/// What one run sends.
const MEBIBYTES: u64 = 4096;
/// Reports of iperf3, one a second, between which runs are counted.
const REPORTS: [usize; 2] = [1, 5];

/// Prints the throughput's ratio and what ran.
pub(super) fn measure(dir: &Path, cgroup: &Cgroup, n_rounds: usize) -> Result<()> {
    let port = free_port();
    let server = ["-c", OTHERS_CPU, "iperf3", "-s", "-B", "127.0.0.1", "-p", &port.to_string()];
    let log = dir.join("iperf3.out");
    let _server = Process::start(Command::new("taskset").args(server), &log);
    // It reports a connection without a test as an error, and goes on.
    eventually("iperf3 to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    let plain = ("127.0.0.1", port);
    let mut ratios = Vec::new();
    for round in 0..n_rounds {
        let mut figures = [0.0; 2];
        for at in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            let pinned = (at == 1).then(|| Pinned::new(dir, cgroup, port)).transpose()?;
            figures[at] = throughput(cgroup, if pinned.is_some() { (ASKED, 80) } else { plain })?;
        }
        ratios.push(figures[1] / figures[0]);
    }
    let Median { value, low, high } = median(ratios);
    println!(
        "\niperf3, {n_rounds} rounds of {MEBIBYTES} MiB: throughput of the direct gear, unobserved, to that without a sidecar \
         {value:.3} [{low:.3}, {high:.3}]"
    );
    let _pinned = Pinned::new(dir, cgroup, port)?;
    let _counting = Counting::start()?;
    let before = programs::of_cgroup(cgroup.path())?;
    ensure!(!before.is_empty(), "no program is left on the cgroup");
    let output = dir.join("bulk.out");
    let words = [
        cgroup.wrapper(),
        ["iperf3", "-c", ASKED, "-p", "80", "-i", "1", "-t", "20", "--forceflush"]
            .map(str::to_owned)
            .to_vec(),
    ]
    .concat();
    let mut client = Process::start(Command::new(&words[0]).args(&words[1..]), &output);
    let mut at_report = |n: usize| {
        eventually("iperf3 to report", || {
            let said = process::read(&output);
            assert!(client.is_running(), "{said}");
            (said.matches(" sec ").count() >= n).then_some(())
        });
        programs::of_cgroup(cgroup.path())
    };
    let [begun, later] = [at_report(REPORTS[0])?, at_report(REPORTS[1])?];
    ensure!(client.is_running(), "iperf3 had ended when runs were counted");
    ensure!(client.wait().success(), "{}", process::read(&output));
    let said = process::read(&output);
    println!(
        "\nruns of the programs at work (kernel.bpf_stats_enabled) while iperf3 sent through the service:"
    );
    println!("{:12} {:>22} {:>22}", "", "while it began", "in 4 s or more then");
    let first = programs::between(&before, &begun);
    let then = programs::between(&begun, &later);
    for Program { name, runs, .. } in &first {
        let later: u64 = then.iter().filter(|one| one.name == *name).map(|one| one.runs).sum();
        println!("{name:12} {runs:>22} {later:>22}");
    }
    let sums: Vec<_> = said.lines().filter(|line| line.ends_with("receiver")).collect();
    println!("{}", sums.join("\n"));
    let sum = |programs: &[Program]| programs.iter().map(|one| one.runs).sum::<u64>();
    ensure!(sum(&first) > 0, "the connection was not steered, or nothing is counted here");
    ensure!(sum(&then) == 0, "programs ran while bytes flowed");
    Ok(())
}

/// Bits a second that arrived.
fn throughput(cgroup: &Cgroup, (host, port): (&str, u16)) -> Result<f64> {
    let (port, n) = (port.to_string(), format!("{MEBIBYTES}M"));
    let client = ["taskset", "-c", SERVER_CPU, "iperf3", "-c", host, "-p", &port, "-n", &n, "-J"];
    let words = [cgroup.wrapper(), client.map(str::to_owned).to_vec()].concat();
    let said = process::run(Command::new(&words[0]).args(&words[1..]));
    let told: serde_json::Value = serde_json::from_str(&said).context("read iperf3's report")?;
    told["end"]["sum_received"]["bits_per_second"].as_f64().context("bits a second")
}
