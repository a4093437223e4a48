//! What a folder of pins has: whether it is at work, and whether it is to be understood.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use aya::maps::{Array, MapData};
use sidecar_core::traffic::Room;
use sidecar_ebpf::abi::{
    pins::{Answer, Held, LAYOUT, Layout, Name},
    steer::{Handed, Pair, Rule, RuleKey, Service, ServiceKey, Steer, Steered, Target, Use},
    who::Who,
};
use tracing::{info, warn};

use super::{
    super::{
        maps::Abi,
        programs::{Program, steering},
        steer,
    },
    PinError, files, name, sys,
};

/// A map that is pinned.
pub(super) struct Map {
    pub(super) name: &'static str,
    /// `enum bpf_map_type` of linux/bpf.h.
    kind: u32,
    key: usize,
    value: usize,
}

const HASH: u32 = 1;
const ARRAY: u32 = 2;
const PERCPU_ARRAY: u32 = 6;
const LPM_TRIE: u32 = 11;
const SK_STORAGE: u32 = 24;
/// `BPF_LINK_TYPE_CGROUP`.
pub(super) const CGROUP_LINK: u32 = 3;

const fn map(name: &'static str, kind: u32, key: usize, value: usize) -> Map {
    Map { name, kind, key, value }
}

/// What pinned programs share with the next ones. Other maps they may have for themselves: what is written there after the
/// daemon's end nobody reads.
pub(super) const MAPS: &[Map] = &[
    map("LAYOUT", ARRAY, 4, size_of::<Layout>()),
    map("STEER", ARRAY, 4, size_of::<Steer>()),
    map("RULES", LPM_TRIE, 4 + size_of::<RuleKey>(), size_of::<Rule>()),
    map("SERVICES", HASH, size_of::<ServiceKey>(), size_of::<Service>()),
    map("TABLE", ARRAY, 4, size_of::<u32>()),
    map("TARGETS", ARRAY, 4, size_of::<Target>()),
    map("LOADS", ARRAY, 4, size_of::<u64>()),
    map("RESULTS", ARRAY, 4, size_of::<u64>()),
    map("TRIALS", ARRAY, 4, size_of::<u32>()),
    map("USES", ARRAY, 4, size_of::<Use>()),
    map("DECISIONS", PERCPU_ARRAY, 4, size_of::<u64>()),
    map("SERVED", PERCPU_ARRAY, 4, size_of::<u64>()),
    map("NAMES", ARRAY, 4, size_of::<Name>()),
    map("LEARNED", HASH, size_of::<Answer>(), size_of::<Held>()),
    map("HANDOVER", HASH, size_of::<Pair>(), size_of::<Handed>()),
    map("STEERED", SK_STORAGE, 4, size_of::<Steered>()),
    map("LISTENER", SK_STORAGE, 4, size_of::<u32>()),
    map("WHO", SK_STORAGE, 4, size_of::<Who>()),
];

/// Hooks of programs that may be pinned: `enum bpf_attach_type` of linux/bpf.h.
const ATTACH_TYPES: &[(&str, u32)] = &[
    ("sock_ops", 3),
    ("cgroup/connect4", 10),
    ("cgroup/connect6", 11),
    ("cgroup/sendmsg4", 14),
    ("cgroup/sendmsg6", 15),
    ("cgroup/recvmsg4", 19),
    ("cgroup/recvmsg6", 20),
    ("cgroup/getpeername4", 29),
    ("cgroup/getpeername6", 30),
    ("cgroup/sock_release", 34),
];

/// How the kernel calls a program's hook.
pub(super) fn attach_type(row: &Program) -> u32 {
    ATTACH_TYPES.iter().find(|(hook, _)| *hook == row.hook).map_or(u32::MAX, |(_, number)| *number)
}

/// A program's file for a cgroup.
pub(super) fn link_name(program: &str, cgroup: u64) -> String {
    format!("{program}-{cgroup:016x}")
}

/// The program and the cgroup that a file is named after.
pub(super) fn link_of(file: &str) -> Option<(&str, u64)> {
    let (program, cgroup) = file.rsplit_once('-')?;
    Some((program, u64::from_str_radix(cgroup, 16).ok().filter(|_| cgroup.len() == 16)?))
}

/// A link that is at work.
pub(super) struct AtWork {
    path: PathBuf,
    program: String,
    info: sys::LinkInfo,
}

/// Between two looks whether a cgroup's links are let go of.
const PACE: Duration = Duration::from_millis(50);
/// How many looks.
const LOOKS: u32 = 20;

/// Whether there is something at work, to be adopted.
pub(super) fn examine(dir: &Path, cgroups: &[u64], room: Room) -> Result<bool, PinError> {
    let mut living = at_work(dir)?;
    for _ in 0..LOOKS {
        if living.iter().all(|link| cgroups.contains(&link.info.cgroup)) {
            break;
        }
        // It may have been removed just now: the kernel lets go of its links later (`cgroup_bpf_release`).
        sleep(PACE);
        living = at_work(dir)?;
    }
    if living.len() < n_links(dir)? {
        info!(dir = %dir.display(), "cgroups are gone that something was pinned for: it is replaced");
    }
    if living.is_empty() {
        return Ok(false);
    }
    is_of_this_build(dir)?;
    for AtWork { path, program, info } in living {
        let row = steering().find(|row| row.name == program);
        if row.is_none_or(|row| attach_type(row) != info.attach_type) {
            let why = format!("a link of attach type {}", info.attach_type);
            return Err(PinError::Foreign { path, why });
        }
        if !cgroups.contains(&info.cgroup) {
            return Err(PinError::Elsewhere { path: dir.to_owned(), cgroup: info.cgroup });
        }
    }
    for map in MAPS {
        fits(dir, map, room)?;
    }
    Ok(true)
}

/// What is at work, of any build.
pub(super) fn at_work(dir: &Path) -> Result<Vec<AtWork>, PinError> {
    let mut living = Vec::new();
    for path in files(dir)? {
        let Some((program, cgroup)) = link_of(name(&path)) else {
            continue;
        };
        let found = link(&path)?;
        if found.cgroup == cgroup {
            let program = program.to_owned();
            living.push(AtWork { path, program, info: found });
        } else if found.cgroup != 0 {
            let why = format!("it is at work on cgroup {}", found.cgroup);
            return Err(PinError::Foreign { path, why });
        }
    }
    Ok(living)
}

/// Whether this build understands what is there.
pub(super) fn is_of_this_build(dir: &Path) -> Result<(), PinError> {
    match layout(dir)? {
        LAYOUT => Ok(()),
        theirs => Err(PinError::Layout { path: dir.to_owned(), theirs }),
    }
}

/// Files of links, at work or not. What else has a name of none of ours is told of.
fn n_links(dir: &Path) -> Result<usize, PinError> {
    let (links, others): (Vec<_>, Vec<_>) =
        files(dir)?.into_iter().partition(|path| link_of(name(path)).is_some());
    for path in others.iter().filter(|path| !MAPS.iter().any(|map| map.name == name(path))) {
        warn!(path = %path.display(), "nothing that a sidecar pins: left alone");
    }
    Ok(links.len())
}

/// What a link tells of itself, if it is one to a cgroup, and ours.
pub(super) fn link(path: &Path) -> Result<sys::LinkInfo, PinError> {
    is_own(path)?;
    let failed = |source| PinError::Io { step: "open", path: path.to_owned(), source };
    let link = sys::open(path).map_err(failed)?;
    let found: sys::LinkInfo = sys::info(&link).map_err(failed)?;
    if found.kind != CGROUP_LINK {
        return Err(PinError::Foreign { path: path.to_owned(), why: "no link to a cgroup".to_owned() });
    }
    Ok(found)
}

/// What a map tells of itself, if it is the one that its file is named after, and ours.
pub(super) fn map_at(path: &Path) -> Result<sys::MapInfo, PinError> {
    is_own(path)?;
    let failed = |source| PinError::Io { step: "open", path: path.to_owned(), source };
    let found: sys::MapInfo = sys::open(path).and_then(|map| sys::info(&map)).map_err(failed)?;
    if !found.is_called(name(path)) {
        return Err(PinError::Foreign { path: path.to_owned(), why: "no map of that name".to_owned() });
    }
    Ok(found)
}

/// Whose maps a folder has.
#[derive(Clone, Copy)]
pub(super) enum Build {
    /// This build's, or nobody said.
    This,
    /// Types and sizes may be others.
    Other,
}

/// By what LAYOUT says.
pub(super) fn build(dir: &Path) -> Build {
    match layout(dir) {
        Ok(theirs) if theirs != LAYOUT && theirs != Layout::default() => Build::Other,
        _ => Build::This,
    }
}

/// Whether a map is one that a sidecar pins. That it has its file's name is not enough: so has whatever libbpf pins by name.
pub(super) fn is_ours(path: &Path, build: Build) -> Result<(), PinError> {
    let foreign = |why: String| Err(PinError::Foreign { path: path.to_owned(), why });
    let found = map_at(path)?;
    let Some(map) = MAPS.iter().find(|map| map.name == name(path)) else {
        return foreign("no map of a sidecar has that name".to_owned());
    };
    let theirs = (found.kind, found.key as usize, found.value as usize);
    let is_alike = theirs == (map.kind, map.key, map.value);
    match build {
        Build::This if !is_alike => {
            let (kind, key, value) = theirs;
            foreign(format!("type {kind}, entries of {key} and {value} bytes"))
        }
        Build::This | Build::Other => Ok(()),
    }
}

fn is_own(path: &Path) -> Result<(), PinError> {
    let failed = |source| PinError::Io { step: "look at", path: path.to_owned(), source };
    let found = fs::symlink_metadata(path).map_err(failed)?;
    let why = match found.uid() {
        uid if uid != rustix::process::geteuid().as_raw() => format!("it is of user {uid}"),
        _ if !found.is_file() => "no file".to_owned(),
        _ => return Ok(()),
    };
    Err(PinError::Foreign { path: path.to_owned(), why })
}

/// Which build's it is: all zero where that is not told.
fn layout(dir: &Path) -> Result<Layout, PinError> {
    let path = dir.join("LAYOUT");
    if !path.exists() {
        return Ok(Layout::default());
    }
    map_at(&path)?;
    let open =
        || Array::<_, Abi<Layout>>::try_from(aya::maps::Map::Array(MapData::from_pin(&path)?))?.get(&0, 0);
    open().map(|Abi(layout)| layout).map_err(|error| PinError::Foreign { path, why: error.to_string() })
}

/// Whether a map is as this build has it.
fn fits(dir: &Path, map: &Map, room: Room) -> Result<(), PinError> {
    let path = dir.join(map.name);
    let found = map_at(&path)?;
    let n_entries = steer::entries(room).into_iter().find(|(name, _)| *name == map.name).map(|(_, n)| n);
    let theirs = (found.kind, found.key as usize, found.value as usize, found.entries);
    let ours = (map.kind, map.key, map.value, n_entries.unwrap_or(found.entries));
    if theirs == ours {
        return Ok(());
    }
    let told = |(kind, key, value, entries): (u32, usize, usize, u32)| {
        format!("type {kind}, {entries} entries of {key} and {value} bytes")
    };
    Err(PinError::Foreign { path, why: format!("{}, not {}", told(theirs), told(ours)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_after_program_and_cgroup() {
        for (file, expected) in [
            (link_name("steer4", 0x2a), Some(("steer4", 0x2a))),
            (link_name("hand_over", u64::MAX), Some(("hand_over", u64::MAX))),
            ("STEER".to_owned(), None),
            ("steer4-2a".to_owned(), None),
            ("steer4-zzzzzzzzzzzzzzzz".to_owned(), None),
        ] {
            assert_eq!(link_of(&file), expected, "{file}");
        }
    }

    /// Whoever adds a program to those that steer sees to its being pinned.
    #[test]
    fn each_program_that_steers_can_be_pinned() {
        for row in steering() {
            assert_ne!(attach_type(row), u32::MAX, "{}: no attach type for {}", row.name, row.hook);
        }
    }
}
