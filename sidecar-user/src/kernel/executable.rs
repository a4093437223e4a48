//! What programs take that tell which file a process executes.

use std::fs;

use aya::{Ebpf, maps::Array};
use sidecar_ebpf::abi::executable::Places;

use super::{
    btf,
    caps::{self, Capability},
    load::Refusal,
    maps::Abi,
    programs::Program,
};

/// The kernel's own description of its types.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Says where the kernel has what they look for.
///
/// # Errors
/// What is missing.
pub(super) fn tell(ebpf: &mut Ebpf) -> Result<(), String> {
    let perfmon = Capability::Perfmon;
    if !caps::is_permitted(perfmon) {
        return Err(format!("{} is needed", perfmon.name()));
    }
    let btf = fs::read(BTF).map_err(|error| format!("the kernel's BTF ({BTF}) cannot be read: {error}"))?;
    let places = btf::places(&btf).map_err(|error| error.to_string())?;
    let map = ebpf.map_mut("PLACES").ok_or("map PLACES is missing")?;
    let mut map: Array<_, Abi<Places>> = Array::try_from(map).map_err(|error| error.to_string())?;
    map.set(0, Abi(places), 0).map_err(|error| error.to_string())
}

/// A program that is not loaded, as it could not tell.
pub(super) fn refusal(row: &'static Program, reason: &str) -> Refusal {
    Refusal {
        step: "load",
        program: row.name,
        hook: row.hook,
        loses: row.loses,
        reason: format!("a service excepts executables (`except.executables`): {reason}"),
        needed: false,
        errno: 0,
    }
}
