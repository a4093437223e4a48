//! What a redirect alone adds to connect(): ours and the packet filter's, to the same listener, beside the listener's own address. It
//! is the relay's, and the daemon runs and observes in all three. What is not handed over it closes, so that no byte is waited for.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use sidecar_tests::{cgroup::Cgroup, process, sidecar::Sidecar};

use super::{
    super::{
        open::listeners,
        statistics::{Median, median},
        world::SERVER_CPU,
    },
    CONNECTIONS,
    ways::{self, ASKED, ELSEWHERE, Redirect},
};

const NAMES: [&str; 3] = ["its own address", "nft redirect", "our redirect"];

/// Prints what each takes. `endpoint` is where the relay goes.
pub(super) fn measure(
    dir: &Path,
    cgroup: &Cgroup,
    n_rounds: usize,
    program: &str,
    endpoint: u16,
) -> Result<()> {
    let mut sidecar = ways::sidecar(dir, cgroup, Some(ways::service("proxy", endpoint)))?;
    let port = *listeners(&mut sidecar)?.first().context("the relay has no listener")?;
    let mut all = NAMES.len();
    if Redirect::new(dir, ELSEWHERE, port)?.is_none() {
        all = 1;
    }
    let mut rounds: Vec<[f64; 3]> = Vec::new();
    for round in 0..=n_rounds {
        let mut figures = [f64::NAN; 3];
        let mut order: Vec<usize> = if all == 1 { vec![0, 2] } else { vec![0, 1, 2] };
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let _redirect = (at == 1).then(|| Redirect::new(dir, ELSEWHERE, port)).transpose()?;
            let address = [format!("127.0.0.1:{port}"), format!("{ELSEWHERE}:80"), format!("{ASKED}:80")];
            figures[at] = connect(cgroup, program, &address[at])?;
        }
        // The first pays for cold caches.
        if round > 0 {
            rounds.push(figures);
        }
    }
    check(&sidecar, n_rounds)?;
    println!("\nredirects alone, to the relay's listener, observed; connect() only, µs [95 %]\n");
    println!("{:24} {:>22} {:>22}", "", "connect()", "added");
    let told = |Median { value, low, high }: Median| format!("{value:.2} [{low:.2}, {high:.2}]");
    for (at, name) in NAMES.iter().enumerate() {
        let cells = [
            told(median(rounds.iter().map(|round| round[at]))),
            told(median(rounds.iter().map(|round| round[at] - round[0]))),
        ];
        println!("{name:24} {:>22} {:>22}", cells[0], cells[1]);
    }
    Ok(())
}

fn connect(cgroup: &Cgroup, program: &str, address: &str) -> Result<f64> {
    let n = CONNECTIONS.to_string();
    let client = ["taskset", "-c", SERVER_CPU, program, address, &n, "only"].map(str::to_owned);
    let words = [cgroup.wrapper(), client.to_vec()].concat();
    let said = process::run(Command::new(&words[0]).args(&words[1..]));
    Ok(said.trim().parse::<f64>().context("a number")? / 1000.0)
}

/// Ours was taken over each time.
fn check(sidecar: &Sidecar, n_rounds: usize) -> Result<()> {
    let n = ((n_rounds + 1) * CONNECTIONS) as u64;
    let accepted = sidecar.scrape().count("sidecar_relay_accepted_total", &[]);
    ensure!(accepted == n, "the relay took {accepted} connections of {n}");
    Ok(())
}
