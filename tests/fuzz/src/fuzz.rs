//! The checks of `sidecar-wire` with libFuzzer's bytes, by what is set: `FUZZ_TARGET` is the check's name; with `FUZZ_SEEDS` it only
//! writes what a fuzzer may begin with into that folder, and with `FUZZ_NAMES` which checks there are.
#![no_main]

mod seeds;

use std::{env, path::Path, process::exit, sync::OnceLock};

static TARGET: OnceLock<String> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        if env::var_os("FUZZ_NAMES").is_some() {
            sidecar_wire::names().for_each(|(group, name)| println!("{group} {name}"));
            exit(0);
        }
        let target = env::var("FUZZ_TARGET").expect("FUZZ_TARGET");
        if let Some(folder) = env::var_os("FUZZ_SEEDS") {
            seeds::write(&target, Path::new(&folder)).expect("the seeds");
            exit(0);
        }
        TARGET.set(target).expect("once");
    },
    |input: &[u8]| sidecar_wire::check(TARGET.get().expect("set before"), input)
);
