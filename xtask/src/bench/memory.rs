//! Memory of a process, and of the BPF maps that it holds.

use std::{fs, io};

use anyhow::{Context as _, Result};

/// Bytes, of a process and its maps.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    /// The largest resident set so far.
    pub(super) peak_rss: u64,
    pub(super) rss: u64,
    /// What the kernel charges for its maps: all that is not by connection.
    pub(super) maps: u64,
    /// Values of the socket storages, by connection.
    pub(super) by_connection: u64,
}

/// `BPF_MAP_TYPE_SK_STORAGE`
const SK_STORAGE: u64 = 24;

pub(super) fn of_process(pid: i32) -> Result<Memory> {
    let status = format!("/proc/{pid}/status");
    let mut memory = Memory {
        peak_rss: field(&status, "VmHWM:")? * 1024,
        rss: field(&status, "VmRSS:")? * 1024,
        maps: 0,
        by_connection: 0,
    };
    let mut seen = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).context("list the descriptors")? {
        // A descriptor may be gone again.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        let value = |name: &str| number(&text, name);
        let (Some(id), Some(kind), Some(memlock)) = (value("map_id:"), value("map_type:"), value("memlock:"))
        else {
            continue;
        };
        if seen.contains(&id) {
            continue;
        }
        seen.push(id);
        memory.maps += memlock;
        if kind == SK_STORAGE {
            memory.by_connection += value("value_size:").unwrap_or(0);
        }
    }
    Ok(memory)
}

fn field(file: &str, name: &str) -> Result<u64> {
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        text => text.with_context(|| format!("read {file}"))?,
    };
    number(&text, name).with_context(|| format!("no {name} in {file}"))
}

fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
