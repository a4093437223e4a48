//! The checks of `sidecar-wire` with libFuzzer's bytes. The first byte says which. With `FUZZ_SEEDS` it only writes what a
//! fuzzer may begin with into that folder; with `FUZZ_TARGET` only the check of that name is made.
#![no_main]

use sidecar_wire as wire;
use std::{fs, io, path::Path, process::exit, sync::OnceLock};

static ONLY: OnceLock<Option<String>> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        if let Some(folder) = std::env::var_os("FUZZ_SEEDS") {
            seeds(Path::new(&folder)).expect("the seeds");
            exit(0);
        }
    },
    |input: &[u8]| {
        let Some((first, rest)) = input.split_first() else { return };
        let only = ONLY.get_or_init(|| std::env::var("FUZZ_TARGET").ok());
        if let Some((name, check)) = wire::ALL.get(usize::from(*first))
            && only.as_ref().is_none_or(|only| only == name)
        {
            check(rest);
        }
    }
);

/// Conversations of the property tests, and nothing in particular for checks whose bytes are choices.
fn seeds(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for seed in 0..64u64 {
        for (number, (name, _)) in (0u8..).zip(wire::ALL) {
            let noise = noise(seed * 16 + u64::from(number));
            let body = if name == "split" { wire::turns_of_a_talk(&noise) } else { noise };
            fs::write(folder.join(format!("{name}-{seed}")), [&[number][..], &body].concat())?;
        }
    }
    Ok(())
}

/// Bytes that are the same each time.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..400).map(|_| next()).collect()
}
