//! `target/bpf/sidecar-bpf.o`, and beside it the hash of what it was made from.

use std::{ffi::OsString, fs, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    bpf_hash::sources_hash,
    process::{cargo, run},
    setup::{Compiler, linker},
    workspace::Workspace,
};

const TARGET: &str = "bpfel-unknown-none";

/// Builds the object, unless it is there and was made from the sources as they are.
pub(crate) fn build(workspace: &Workspace, compiler: &Compiler) -> Result<()> {
    let folder = workspace.bpf();
    let (object, recorded) = (folder.join("sidecar-bpf.o"), folder.join("sources.hash"));
    let hash = sources_hash(workspace.root()).context("hash the sources of the BPF object")?;
    if object.is_file() && fs::read_to_string(&recorded).is_ok_and(|old| old == hash) {
        return Ok(());
    }
    println!("build: the BPF object, with {compiler}");
    fs::create_dir_all(&folder)?;
    if recorded.exists() {
        fs::remove_file(&recorded)?;
    }
    compile(workspace, compiler)?;
    let built = workspace.path("target/bpf-build").join(TARGET).join("release/sidecar-bpf");
    strip(&built, &object)?;
    fs::write(&recorded, hash)?;
    Ok(())
}

fn compile(workspace: &Workspace, compiler: &Compiler) -> Result<()> {
    let mut command = cargo(workspace);
    command.args(["build", "--quiet", "--release", "--package", "sidecar-ebpf", "--bin", "sidecar-bpf"]);
    command.args(["--features", "bpf", "--target", TARGET, "-Z", "build-std=core"]);
    command.arg("--target-dir").arg(workspace.path("target/bpf-build"));
    // The target has no prebuilt core, and building it is a nightly option; no nightly is needed for it.
    command.env("RUSTC_BOOTSTRAP", "1");
    command.env("RUSTC", compiler.rustc());
    for wrapper in ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        command.env_remove(wrapper);
    }
    command.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", linker::path(workspace));
    command.env("CARGO_ENCODED_RUSTFLAGS", flags(workspace, compiler));
    // bpf-linker does the work of LTO itself, on bitcode, and makes BTF of the debug information.
    command.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_STRIP", "none");
    command.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1").env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3");
    run(&mut command)
}

/// Flags for rustc, separated as cargo wants them (0x1f), with the machine's own paths taken out of the object.
fn flags(workspace: &Workspace, compiler: &Compiler) -> OsString {
    // Memory is set by stores and never by a call of `memset`, into which "in order" would turn the smallest one: its
    // loop adds a register to a pointer, and without CAP_PERFMON the verifier lets each such addition have one bound
    // only ("tried to add from different maps, paths or scalars", `sanitize_err` in kernel/bpf/verifier.c).
    let mut flags = OsString::from(
        "-Cdebuginfo=2\x1f-Clink-arg=--btf\x1f-Clink-arg=--disable-expand-memcpy-in-order\x1f--cfg=bpf_target_arch=\"",
    );
    flags.push(std::env::consts::ARCH);
    flags.push("\"");
    let home = std::env::var_os("CARGO_HOME").map(Into::into);
    let cargo_home = home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let mut remap = |from: &Path, to: &str| {
        flags.push("\x1f--remap-path-prefix=");
        flags.push(from);
        flags.push("=");
        flags.push(to);
    };
    if let Some(home) = cargo_home {
        remap(&home.join("registry/src"), "registry");
    }
    remap(&compiler.sources(), "rust");
    remap(workspace.root(), ".");
    flags
}

/// Without DWARF the object is a quarter of the size; BTF stays.
fn strip(built: &Path, object: &Path) -> Result<()> {
    let mut command = std::process::Command::new(format!("/usr/lib/llvm-{}/bin/llvm-strip", linker::LLVM));
    run(command.arg("--strip-debug").arg("-o").arg(object).arg(built))
}
