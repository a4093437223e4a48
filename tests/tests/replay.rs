//! `sidecar replay`: what the program does with captures. What is in them is checked in `tests/wire/tests/captures`.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Command, Output},
};

use sidecar_tests::{binary, parts, process};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../sidecar-user/core/fixtures").join(name)
}

fn replay(args: &[&str], file: &str) -> Output {
    process::output(Command::new(binary()).arg("replay").args(args).arg(file))
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
#[ignore = "privileged: runs the release build"]
fn a_file_and_standard_input_say_the_same() {
    let (path, expected) =
        (fixture("http1.pcapng"), fs::read_to_string(fixture("http1.ndjson")).expect("lines"));
    let file = path.display().to_string();
    assert_eq!(said(&replay(&[], &file)), (Some(0), expected.clone(), String::new()));
    let stdin = File::open(&path).expect("a capture");
    let output = Command::new(binary()).args(["replay", "-"]).stdin(stdin).output();
    assert_eq!(said(&output.expect("sidecar")), (Some(0), expected.clone(), String::new()));
    let (code, text, _) = said(&replay(&["-o", "text"], &file));
    assert_eq!((code, text.lines().count()), (Some(0), expected.lines().count()));
    assert!(text.starts_with("protocol=http client.address=127.0.0.1 client.port="), "{text}");
}

#[test]
#[ignore = "privileged: runs the release build"]
fn what_comes_before_the_cut_is_printed() {
    let (bytes, dir) =
        (fs::read(fixture("http1.pcapng")).expect("a capture"), tempfile::tempdir().expect("a folder"));
    let path = dir.path().join("cut.pcapng");
    fs::write(&path, &bytes[..bytes.len() / 2]).expect("written");
    let (code, out, why) = said(&replay(&[], &path.display().to_string()));
    let whole = fs::read_to_string(fixture("http1.ndjson")).expect("lines");
    assert_eq!(code, Some(1), "{why}");
    let ended: Vec<_> = out.lines().filter(|line| !line.contains("response_not_observed")).collect();
    assert!(ended.len() >= 3 && whole.lines().take(ended.len()).eq(ended.iter().copied()), "{out}");
    assert!(
        why.contains("cut.pcapng: packet ") && why.contains(": the file ends in the middle of it"),
        "{why}"
    );
    for (file, expected) in [("/nowhere", "open /nowhere"), ("/etc/passwd", "it is no capture")] {
        let (code, out, why) = said(&replay(&[], file));
        assert_eq!((code, out.as_str()), (Some(1), ""), "{why}");
        assert!(why.contains(expected), "{why}");
    }
}

#[test]
#[ignore = "privileged: runs the release build"]
fn metrics_are_an_exposition() {
    let (code, out, why) = said(&replay(&["--metrics"], &fixture("http1.pcapng").display().to_string()));
    assert_eq!((code, why.as_str()), (Some(0), ""));
    let n: u64 = out
        .lines()
        .filter(|line| line.starts_with("http_server_request_duration_seconds_count"))
        .map(|line| line.rsplit(' ').next().and_then(|n| n.parse::<u64>().ok()).expect("a number"))
        .sum();
    assert_eq!(n, 9, "{out}");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("metrics");
    fs::write(&path, &out).expect("written");
    let mut lint = Command::new(parts().join("bin/promtool"));
    let lint = lint.args(["check", "metrics"]).stdin(File::open(&path).expect("the exposition")).output();
    assert_eq!(said(&lint.expect("promtool")), (Some(0), String::new(), String::new()));
}
