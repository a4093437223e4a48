//! What a fuzzer begins with: conversations that were recorded, pieces of messages, and a dictionary of those.

use std::{collections::BTreeMap, fmt::Write as _, fs, io, path::Path};

use sidecar_core::replay::File;
use sidecar_wire::{CALL, CHOICES, PUSH, words};

/// Recordings, as captures and as lines of a side and bytes.
const CAPTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sidecar-user/core/fixtures");
const LINES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../sidecar-user/core/src/protocol");
/// The longest entry that libFuzzer's dictionary takes.
const LONGEST_WORD: usize = 64;
/// Packets of a capture that are a file of their own.
const PACKETS: usize = 24;

/// Who sent what: 0 is the client.
type Talk = Vec<(usize, Vec<u8>)>;

/// Writes `folder/seeds/*` and `folder/words`.
pub fn write(target: &str, folder: &Path) -> io::Result<()> {
    let seeds = folder.join("seeds");
    fs::create_dir_all(&seeds)?;
    let made = match target {
        "whole" | "lossy" | "records" => (0..64).map(noise).collect(),
        "split" => (0..64).map(|seed| sidecar_wire::turns_of_a_talk(&noise(seed))).collect(),
        "replay" => captures()?.iter().map(|bytes| beginning(bytes)).collect(),
        "header-blocks" => header_blocks()?,
        _ => calls()?,
    };
    for (number, seed) in made.iter().enumerate() {
        fs::write(seeds.join(number.to_string()), seed)?;
    }
    let mut dictionary = String::new();
    let marks = [0, 1, 2, 3, 4, 5, 6, 7, 16, 17].map(|which| [&CALL[..], &[which]].concat());
    for word in words().iter().copied().chain(marks.iter().map(Vec::as_slice)) {
        let word = &word[..word.len().min(LONGEST_WORD)];
        let _ = writeln!(
            dictionary,
            "\"{}\"",
            word.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>()
        );
    }
    fs::write(folder.join("words"), dictionary)
}

/// Recordings, of seen and of joined connections, and random pieces of messages from both sides.
fn calls() -> io::Result<Vec<Vec<u8>>> {
    let mut talks = recorded()?;
    for seed in 0..192 {
        let (known, choices) = (words(), noise(seed));
        let word =
            |pair: &[u8]| (usize::from(pair[0] & 1), known[usize::from(pair[1]) % known.len()].to_vec());
        talks.push(choices[..2 * (2 + seed as usize % 8)].chunks(2).map(word).collect());
    }
    talks.extend(words().iter().flat_map(|word| [vec![(0, word.to_vec())], vec![(1, word.to_vec())]]));
    let written = |(number, talk): (usize, &Talk)| {
        let mut seed = vec![(number % 4) as u8, (number / 4) as u8, 0];
        assert_eq!(seed.len(), CHOICES);
        for (side, bytes) in talk {
            seed.extend([&CALL[..], &[PUSH[*side]], bytes].concat());
        }
        seed
    };
    // Each recording as seen from its first byte, too.
    let seen = talks.iter().map(|talk| written((0, talk)));
    Ok(seen.chain(talks.iter().enumerate().map(written)).collect())
}

/// HTTP/2's recordings, by the blocks in their frames.
fn header_blocks() -> io::Result<Vec<Vec<u8>>> {
    let mut seeds = Vec::new();
    for talk in recorded()? {
        let mut seed = vec![0; CHOICES];
        for bytes in talk.iter().map(|(_, bytes)| bytes) {
            let mut rest = bytes.strip_prefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap_or(bytes);
            while let [a, b, c, kind, after @ ..] = rest {
                let n = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
                let Some(payload) = after.get(5..5 + n) else { break };
                if *kind == 1 {
                    seed.extend([&[0], payload, &CALL].concat());
                }
                rest = &after[5 + n..];
            }
        }
        if seed.len() > CHOICES {
            seeds.push(seed);
        }
    }
    Ok(seeds)
}

fn recorded() -> io::Result<Vec<Talk>> {
    let mut talks: Vec<Talk> = captures()?.iter().flat_map(|bytes| conversations(bytes)).collect();
    lines(Path::new(LINES), &mut talks)?;
    assert!(talks.len() >= 20, "recordings are missing: {}", talks.len());
    Ok(talks)
}

/// Lines of `c` or `s` and bytes in hexadecimal, in whatever text below the folder.
fn lines(folder: &Path, talks: &mut Vec<Talk>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            lines(&path, talks)?;
        } else if path.extension().is_some_and(|extension| extension == "txt") {
            let text = fs::read_to_string(&path)?;
            let talk: Talk = text.lines().filter_map(line).collect();
            if !talk.is_empty() {
                talks.push(talk);
            }
        }
    }
    Ok(())
}

fn line(line: &str) -> Option<(usize, Vec<u8>)> {
    let (side, digits) = line.split_once(' ')?;
    let side = ["c", "s"].iter().position(|known| side.eq_ignore_ascii_case(known))?;
    let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    Some((side, (0..digits.len()).step_by(2).map(byte).collect::<Option<_>>()?))
}

fn captures() -> io::Result<Vec<Vec<u8>>> {
    let mut captures = Vec::new();
    for entry in fs::read_dir(CAPTURES)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "pcapng") {
            captures.push(fs::read(path)?);
        }
    }
    Ok(captures)
}

/// The first packets of a capture: all of pcapng's blocks have their length behind their type.
fn beginning(capture: &[u8]) -> Vec<u8> {
    let mut at = 0;
    for _ in 0..PACKETS {
        let Some(length) = capture.get(at + 4..at + 8) else { break };
        at += u32::from_le_bytes(length.try_into().expect("4 bytes")) as usize;
    }
    capture[..at.min(capture.len())].to_vec()
}

/// Captures are of loopback: Ethernet, IP without options, TCP. Who sends a SYN alone is the client.
fn conversations(capture: &[u8]) -> Vec<Talk> {
    let mut talks: BTreeMap<[u8; 4], Talk> = BTreeMap::new();
    let mut file = File::open(capture).expect("a capture");
    while let Some(packet) = file.packet().expect("a packet") {
        let bytes = packet.bytes;
        let tcp = if bytes[12] == 0x08 { 34 } else { 54 };
        let Some(head) = bytes.get(tcp..tcp + 20) else { continue };
        let ports: [u8; 4] = head[..4].try_into().expect("4 bytes");
        if head[13] & 0x12 == 0x02 {
            talks.insert(ports, Vec::new());
        }
        let swapped = [ports[2], ports[3], ports[0], ports[1]];
        let (key, side) = if talks.contains_key(&ports) { (ports, 0) } else { (swapped, 1) };
        let payload = bytes.get(tcp + usize::from(head[12] >> 4) * 4..).unwrap_or_default();
        if let Some(talk) = talks.get_mut(&key).filter(|_| !payload.is_empty()) {
            talk.push((side, payload.to_vec()));
        }
    }
    talks.into_values().filter(|talk| !talk.is_empty()).collect()
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
