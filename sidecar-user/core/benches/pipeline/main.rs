//! What user space spends on an exchange, stage by stage: records of the ring, as the kernel writes them, through
//! decoding, ordering, parsing and the signals. Not for the price of waking up and of cold caches, which
//! `cargo xtask bench observe` has in it.
//!
//! Each stage is measured with all before it, in interleaved laps; the table has the median and what the stage adds.

mod records;
mod stages;

use std::{hint::black_box, time::Instant};

use self::{
    records::Records,
    stages::{STAGES, Stage},
};

const ROUNDS: usize = 41;
/// Exchanges that a lap has at least.
const EXCHANGES: usize = 8192;

fn main() {
    // Numbers of connections, and parts of stages' names; cargo adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let (counts, names): (Vec<_>, Vec<_>) =
        words.iter().map(|word| word.parse().ok().ok_or(word)).partition(|word| word.is_ok());
    let mut counts: Vec<usize> = counts.into_iter().flatten().collect();
    if counts.is_empty() {
        counts = vec![1, 64, 10_000];
    }
    let names: Vec<&String> = names.into_iter().filter_map(Result::err).collect();
    let is_asked = |stage: &&Stage| names.is_empty() || names.iter().any(|name| stage.name.contains(*name));
    let stages: Vec<&Stage> = STAGES.iter().filter(is_asked).collect();
    println!("{:>11}  {:<34} {:>9} {:>9}", "connections", "stage", "ns", "adds");
    for connections in counts {
        measure(connections, &stages);
    }
}

fn measure(connections: usize, stages: &[&Stage]) {
    let per_connection = EXCHANGES.div_ceil(connections);
    let mut records = Records::new(connections);
    let mut worlds: Vec<_> = stages.iter().map(|stage| stage.build()).collect();
    let opening: Vec<Vec<u8>> = records.opening();
    for world in &mut worlds {
        opening.iter().for_each(|record| world.take(record));
    }
    let mut times = vec![Vec::with_capacity(ROUNDS); stages.len()];
    for round in 0..=ROUNDS {
        let lap = records.lap(per_connection);
        for index in 0..stages.len() {
            // Forwards and backwards: what drifts hits all alike.
            let index = if round % 2 == 0 { index } else { stages.len() - 1 - index };
            let world = &mut worlds[index];
            let begin = Instant::now();
            for record in records::each(&lap) {
                world.take(black_box(record));
            }
            let took = begin.elapsed().as_nanos() as f64 / (per_connection * connections) as f64;
            // The first one warms up.
            if round > 0 {
                times[index].push(took);
            }
        }
    }
    let mut before = 0.0;
    for (stage, times) in stages.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2];
        println!("{connections:>11}  {:<34} {median:>9.0} {:>9.0}", stage.name, median - before);
        before = median;
    }
    for world in &worlds {
        world.check(connections, per_connection * (ROUNDS + 1));
    }
}
