//! Tells the daemon where the BPF object is. It does not build it: that takes another toolchain, which
//! `cargo xtask build` finds and runs.

#[path = "../xtask/src/bpf_hash.rs"]
mod bpf_hash;

use std::{env, fs, path::Path, process::exit};

const STALE: &str = "the BPF object is not built (or older than sidecar-ebpf/): run `cargo xtask build`";

fn main() {
    let package = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let root = Path::new(&package).parent().unwrap_or_else(|| Path::new(".."));
    let object = root.join("target/bpf/sidecar-bpf.o");
    let recorded = root.join("target/bpf/sources.hash");

    for source in bpf_hash::SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    for file in [&object, &recorded, &root.join("Cargo.toml")] {
        println!("cargo::rerun-if-changed={}", file.display());
    }

    let made_from = fs::read_to_string(&recorded).unwrap_or_default();
    match bpf_hash::sources_hash(root) {
        Ok(hash) if hash == made_from.trim() && object.is_file() => {
            println!("cargo::rustc-env=SIDECAR_BPF_OBJECT={}", object.display());
        }
        Ok(_) => println!("cargo::error={STALE}"),
        Err(error) => {
            println!("cargo::error=read the sources of the BPF object: {error}");
            exit(1);
        }
    }
}
