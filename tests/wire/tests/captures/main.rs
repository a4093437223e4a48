//! Captures of real programs, `sidecar-user/core/fixtures`: what is in each, however it is cut, split, wrapped or written
//! down. `record.sh` there makes them.

mod files;
mod honest;
mod links;
mod packets;
mod recorded;

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::packets::{Owned, lines, read};

/// Each capture: its name, its bytes, and the lines beside it.
fn fixtures() -> Vec<(String, Vec<u8>, Vec<String>)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../sidecar-user/core/fixtures");
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("the folder of captures") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "pcapng") {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let lines = fs::read_to_string(path.with_extension("ndjson")).expect("its lines");
            let lines = lines.lines().map(str::to_owned).collect();
            found.push((name, fs::read(&path).expect("a capture"), lines));
        }
    }
    found.sort();
    assert!(found.len() >= 3, "captures are missing: {}", found.len());
    found
}

fn named(name: &str) -> Vec<Owned> {
    let (_, bytes, _) =
        fixtures().into_iter().find(|(known, ..)| known == name).expect("a capture of that name");
    read(&bytes).expect("a whole capture")
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).expect("JSON")
}

#[test]
fn each_has_the_exchanges_beside_it() {
    for (name, bytes, expected) in fixtures() {
        let packets = read(&bytes).expect("a whole capture");
        assert_eq!(lines(&packets), expected, "{name}");
    }
}

/// What another decoder saw, where it tells: of each answer the client's port, operation and status.
#[test]
fn another_decoder_agrees() {
    let mut n = 0;
    for (name, _, lines) in fixtures() {
        let account =
            format!("{}/../../sidecar-user/core/fixtures/{name}.account", env!("CARGO_MANIFEST_DIR"));
        let Ok(account) = fs::read_to_string(account) else { continue };
        // Whoever tells may know of no status.
        let has_status = account.lines().all(|line| line.split(' ').count() == 3);
        let mut told: Vec<_> = lines
            .iter()
            .map(|line| {
                let line = json(line);
                let text = |key: &str| line[key].as_str().unwrap_or("-").to_owned();
                let operation = text("operation");
                let status = if has_status { format!(" {}", text("status")) } else { String::new() };
                let operation =
                    if has_status { &*operation } else { operation.split(' ').next().unwrap_or_default() };
                format!("{} {operation}{status}", line["client.port"])
            })
            .collect();
        told.sort();
        assert_eq!(told, account.lines().collect::<Vec<_>>(), "{name}");
        n += 1;
    }
    assert!(n >= 3, "accounts are missing: {n}");
}
