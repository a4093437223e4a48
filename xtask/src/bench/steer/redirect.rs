//! What a redirect alone adds to connect(): ours and the packet filter's, each in turns with its listener's own address, connection by
//! connection. The listener is the relay's, and the daemon runs and observes in both. What is not handed over it closes, so that no byte
//! is waited for. What the packet filter's hooks cost a connection that is not redirected is in both of its columns.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use sidecar_tests::{cgroup::Cgroup, process, sidecar::Sidecar};

use super::{
    super::{
        open::listeners,
        statistics::{Median, median},
        world::SERVER_CPU,
    },
    CONNECTIONS, Figures, numbers,
    ways::{self, ASKED, ELSEWHERE, Redirect},
};

/// Connections of one run to each of two addresses.
const EACH: usize = CONNECTIONS / 2;

/// A redirect, and the way without it.
const NAMES: [&str; 2] = ["our redirect", "nft redirect"];

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
    let n_ways = if Redirect::new(dir, ELSEWHERE, port)?.is_some() { 2 } else { 1 };
    let mut rounds: Vec<Vec<Figures>> = Vec::new();
    for round in 0..=n_rounds {
        let mut figures = vec![[f64::NAN; 2]; n_ways];
        let mut order: Vec<usize> = (0..n_ways).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let _redirect = (at == 1).then(|| Redirect::new(dir, ELSEWHERE, port)).transpose()?;
            let there = [ASKED, ELSEWHERE][at];
            figures[at] = in_turns(cgroup, program, &format!("127.0.0.1:{port}"), &format!("{there}:80"))?;
        }
        // The first pays for cold caches.
        if round > 0 {
            rounds.push(figures);
        }
    }
    check(&sidecar, n_rounds)?;
    println!("\nredirects alone, to the relay's listener, observed; connect() only, µs [95 %]\n");
    println!("{:24} {:>22} {:>22} {:>22}", "", "connect()", "to its own address", "added");
    let told = |Median { value, low, high }: Median| format!("{value:.2} [{low:.2}, {high:.2}]");
    for (at, name) in NAMES.iter().enumerate().take(n_ways) {
        let [own, there, added] = [
            told(median(rounds.iter().map(|round| round[at][0]))),
            told(median(rounds.iter().map(|round| round[at][1]))),
            told(median(rounds.iter().map(|round| round[at][1] - round[at][0]))),
        ];
        println!("{name:24} {there:>22} {own:>22} {added:>22}");
    }
    Ok(())
}

fn in_turns(cgroup: &Cgroup, program: &str, own: &str, there: &str) -> Result<Figures> {
    let n = EACH.to_string();
    let client = ["taskset", "-c", SERVER_CPU, program, own, there, &n].map(str::to_owned);
    let words = [cgroup.wrapper(), client.to_vec()].concat();
    let said = process::run(Command::new(&words[0]).args(&words[1..]));
    numbers(&said)
}

/// Ours was taken over each time.
fn check(sidecar: &Sidecar, n_rounds: usize) -> Result<()> {
    let n = ((n_rounds + 1) * EACH) as u64;
    let accepted = sidecar.scrape().count("sidecar_relay_accepted_total", &[]);
    ensure!(accepted == n, "the relay took {accepted} connections of {n}");
    Ok(())
}
