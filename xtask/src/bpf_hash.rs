//! What the BPF object was made from, as one number. Also compiled into `sidecar-user/build.rs`, so it uses `std`
//! only.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What the object is made from, besides the lines of [`PINS`].
pub(crate) const SOURCES: [&str; 3] =
    ["sidecar-ebpf/src", "sidecar-ebpf/Cargo.toml", "xtask/src/bpf_object.rs"];

/// Of the workspace's Cargo.toml only the lines that begin so: its other versions do not reach the object.
const PINS: [&str; 4] = ["aya-ebpf ", "aya-log-ebpf ", "zerocopy ", "edition "];

/// Hash over names and contents, as 16 hexadecimal digits.
pub(crate) fn sources_hash(root: &Path) -> io::Result<String> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(&root.join(source), &mut files)?;
    }
    files.sort();
    let mut hash = Fnv::new();
    for file in files {
        let name = file.strip_prefix(root).unwrap_or(&file);
        hash.add(name.as_os_str().as_encoded_bytes());
        hash.add(&fs::read(&file)?);
    }
    for line in fs::read_to_string(root.join("Cargo.toml"))?.lines() {
        if PINS.iter().any(|pin| line.starts_with(pin)) {
            hash.add(line.as_bytes());
        }
    }
    Ok(format!("{:016x}", hash.0))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(&entry?.path(), files)?;
        }
    } else {
        files.push(path.to_path_buf());
    }
    Ok(())
}

/// FNV-1a, 64 bits: std's hasher promises no stable value between releases.
struct Fnv(u64);

impl Fnv {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// The length goes in first, so that a byte cannot move from one item to the next unnoticed.
    fn add(&mut self, bytes: &[u8]) {
        for &byte in (bytes.len() as u64).to_le_bytes().iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
