//! What was measured, for people.

use std::fmt::Write as _;

use super::{Chooser, Fault, Measured, NAMES, shares::BACK};

/// Around the faults' beginning: a quarter of a second each.
const FINE: u64 = 250_000;
const BEFORE: u64 = 2;
const N_FINE: u64 = 14;
/// Over all of the time.
const COARSE: u64 = 2_500_000;

/// Shares over time.
pub(super) fn print(measured: &Measured) {
    let Measured { chooser, faults, begun, fault: [came, went], ended, .. } = measured;
    println!("\n{}: {}", chooser.name(), names(faults));
    measured.told.iter().for_each(|line| println!("  {line}"));
    let line = |name: &str, cells: Vec<String>| println!("  {name:>8} {}", cells.join(" "));
    println!("  % of connections, by 250 ms; seconds after the fault:");
    let fine: Vec<u64> = (0..N_FINE).map(|n| came - BEFORE * FINE + n * FINE).collect();
    let head = |at: &u64| format!("{:>5.2}", (*at as f64 - *came as f64) / 1e6);
    line("", fine.iter().map(head).collect());
    for (number, name) in NAMES.iter().enumerate() {
        line(name, fine.iter().map(|at| percent(measured.shares.share(number, *at, FINE))).collect());
    }
    println!("  by 2.5 s; the faults end at {:.1}:", (went - came) as f64 / 1e6);
    let coarse: Vec<u64> = (*begun..*ended).step_by(COARSE as usize).collect();
    line("", coarse.iter().map(|at| format!("{:>5.1}", (*at as f64 - *came as f64) / 1e6)).collect());
    for (number, name) in NAMES.iter().enumerate() {
        line(name, coarse.iter().map(|at| percent(measured.shares.share(number, *at, COARSE))).collect());
    }
    for row in rows(measured) {
        println!("  {}", row.join(" | "));
    }
}

/// The page.
pub(super) fn table(all: &[Measured], rate: u64, words: &str) -> String {
    let mut rows_text = String::new();
    for row in all.iter().flat_map(rows) {
        let _ = writeln!(rows_text, "| {} |", row.join(" | "));
    }
    // The first of Envoy's lines, once for each of its kinds.
    let mut settings = String::new();
    for chooser in [Chooser::Envoy, Chooser::EnvoyAlways] {
        let first = all.iter().find(|one| one.chooser == chooser).and_then(|one| one.told.first());
        if let Some(told) = first {
            let _ = writeln!(settings, "- {}: `{told}`", chooser.name());
        }
    }
    let command = format!("cargo xtask bench outliers {words}");
    format!(
        "# When endpoints fail\n\n\
         Made by `{}` on one machine of two virtual processors.\n\n\
         Four servers (nginx), {rate} requests a second, each on a connection of its own, to Envoy too. For 20 s one answers 200 ms late,\n\
         one answers with 503, one is killed; then all three at once. Shares are of the connections that servers wrote down; what went\n\
         to a server that is down is what nobody answered the client.\n\n\
         *below 5 %*: how long after the fault the first second begins in which the endpoint has less than 5 % of the connections.\n\
         *back*: how long after the fault's end the first second begins in which it has {:.0} % of its share again.\n\
         *failed*: requests without a 200, as the client counts them, over the whole run.\n\n\
         Envoy goes in turns (its default) and makes a connection for each request. What it says that it goes by, of\n\
         `/config_dump` and `/runtime`; a panic threshold that is not set is 50 % by its documentation:\n\n{settings}\n\
         | chooser | fault | of | below 5 % | back | requests | failed |\n|---|---|---|---|---|---|---|\n{rows_text}",
        command.trim_end(),
        BACK * 100.0,
    )
}

/// A row for each endpoint that fails.
fn rows(measured: &Measured) -> Vec<Vec<String>> {
    let Measured { chooser, faults, shares, fault: [came, went], ended, n_requests, failed, .. } = measured;
    let row = |(place, fault): (usize, &Fault)| {
        let endpoint = *fault as usize;
        let few = shares.until_few(endpoint, *came, *went);
        let back = match few {
            None => "it never left".to_owned(),
            Some(_) => seconds(shares.until_back(endpoint, *went, *ended)),
        };
        let few = seconds(few);
        let all = if place == 0 {
            format!("{}{}", failed.values().sum::<usize>(), told(failed))
        } else {
            String::new()
        };
        let n = if place == 0 { n_requests.to_string() } else { String::new() };
        vec![chooser.name().to_owned(), names(faults), NAMES[endpoint].to_owned(), few, back, n, all]
    };
    faults.iter().enumerate().map(row).collect()
}

fn told(failed: &std::collections::BTreeMap<String, usize>) -> String {
    let parts: Vec<_> = failed.iter().map(|(what, n)| format!("{n} {what}")).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

fn names(faults: &[Fault]) -> String {
    faults.iter().map(|fault| NAMES[*fault as usize]).collect::<Vec<_>>().join(" + ")
}

fn seconds(us: Option<u64>) -> String {
    us.map_or("never".to_owned(), |us| format!("{:.2} s", us as f64 / 1e6))
}

fn percent(share: Option<f64>) -> String {
    share.map_or("    -".to_owned(), |share| format!("{:>5.1}", share * 100.0))
}
