//! Pins of any sidecar, wherever this process sees a bpffs.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use aya::maps::{Array, Map, MapData};
use sidecar_ebpf::abi::steer::Steer;

use super::{
    super::{clock, maps::Abi, programs::steers},
    examine::{self, link_of},
    name, sys,
};

/// Levels of folders below a mount.
const LEVELS: usize = 4;
/// Folders that are looked into.
const FOLDERS: usize = 1024;
/// A daemon that gives no sign of life for so long is taken to be gone: it does five times a second.
const SILENCE: Duration = Duration::from_secs(5);

/// Programs that steer by a link that is pinned below these folders, by their ids: the folder that it is in. What this process
/// may not open is left out.
pub(crate) fn pinned_programs(folders: &[PathBuf]) -> BTreeMap<u32, PathBuf> {
    let mut programs = BTreeMap::new();
    let (mut level, mut n_left) = (folders.to_vec(), FOLDERS);
    for _ in 0..LEVELS {
        level.truncate(n_left);
        n_left -= level.len();
        let mut next = Vec::new();
        for folder in &level {
            let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
            for entry in entries {
                let path = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    next.push(path);
                } else if let Some(program) = program(&path) {
                    programs.insert(program, folder.clone());
                }
            }
        }
        level = next;
    }
    programs
}

/// Whether whoever pinned a folder gives no sign of life; `false` also where nobody can tell, as of another build's.
pub(crate) fn is_left(dir: &Path) -> bool {
    let beaten = || {
        examine::is_of_this_build(dir).ok()?;
        let map = Map::Array(MapData::from_pin(dir.join("STEER")).ok()?);
        let map: Array<_, Abi<Steer>> = Array::try_from(map).ok()?;
        Some(clock::now().0.saturating_sub(map.get(&0, 0).ok()?.0.beat_ns))
    };
    beaten().is_some_and(|age| u128::from(age) > SILENCE.as_nanos())
}

fn program(path: &Path) -> Option<u32> {
    link_of(name(path)).filter(|(program, _)| steers(program))?;
    let found: sys::LinkInfo = sys::open(path).and_then(|link| sys::info(&link)).ok()?;
    (found.kind == examine::CGROUP_LINK && found.cgroup != 0).then_some(found.program)
}
