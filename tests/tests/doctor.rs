//! `sidecar doctor`: what it tries, and the exit status that tells.

use std::{path::PathBuf, process::Command};

use serde_json::Value;
use sidecar_tests::{
    binary,
    cgroup::Cgroup,
    process,
    sidecar::{Sidecar, TWO_CAPABILITIES},
};

/// Each program and its hook, as the kernel names it.
const PROGRAMS: [&str; 9] = [
    "sk_create on cgroup/sock_create",
    "sk_bind4 on cgroup/post_bind4",
    "sk_bind6 on cgroup/post_bind6",
    "sk_release on cgroup/sock_release",
    "sk_connect4 on cgroup/connect4",
    "sk_connect6 on cgroup/connect6",
    "tcp_ops on sock_ops",
    "skb_in on cgroup_skb/ingress",
    "skb_out on cgroup_skb/egress",
];

/// Exit status and text of `doctor` behind a wrapper.
fn doctor(wrapper: &[String], args: &[&str]) -> (Option<i32>, String) {
    let words = [wrapper, &[binary().display().to_string(), "doctor".into()]].concat();
    let output = process::output(Command::new(&words[0]).args(&words[1..]).args(args));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    (output.status.code(), String::from_utf8(output.stdout).expect("text"))
}

fn wrapper(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// State by name of what is found.
fn state<'a>(findings: &'a [Value], name: &str) -> &'a str {
    let finding = findings.iter().find(|finding| finding["name"] == name);
    finding.and_then(|finding| finding["state"].as_str()).unwrap_or_else(|| panic!("{name}: {findings:#?}"))
}

#[test]
#[ignore = "privileged: loads BPF programs"]
fn all_is_well_for_root() {
    let parent = Cgroup::new();
    let (status, text) = doctor(&parent.wrapper(), &[]);
    assert_eq!(status, Some(0), "{text}");
    for program in PROGRAMS {
        let line =
            text.lines().find(|line| line.contains(program)).unwrap_or_else(|| panic!("{program}: {text}"));
        assert!(line.starts_with("ok ") && line.ends_with("loads, attaches"), "{line}");
    }
    let reads = text.lines().find(|line| line.contains("tcp_read on tp_btf/tcp_rcv_space_adjust"));
    let reads = reads.unwrap_or_else(|| panic!("{text}"));
    assert!(reads.starts_with("ok ") && reads.contains("loads, attaches"), "{reads}");
    assert!(reads.contains("the whole node"), "{reads}");
    let (status, json) = doctor(&parent.wrapper(), &["-o", "json"]);
    let findings: Vec<Value> = serde_json::from_str(&json).expect("JSON");
    assert_eq!(status, Some(0));
    for name in PROGRAMS.iter().chain(&[
        "kernel",
        "kernel BTF",
        "cgroup v2",
        "capabilities",
        "own cgroup",
        "settings",
    ]) {
        assert_eq!(state(&findings, name), "ok", "{name}");
    }
    // Nothing is left of the trial.
    assert_eq!(parent.children(), [] as [PathBuf; 0]);
    assert_eq!(sidecar_tests::cgroup::attached(parent.path()), [] as [String; 0]);
}

/// Who else has programs there, in the kernel's order, by bpftool's account.
#[test]
#[ignore = "privileged: attaches BPF programs"]
fn programs_of_others_are_named() {
    let parent = Cgroup::new();
    let path = parent.path().display().to_string();
    let dir = tempfile::tempdir().expect("a folder");
    let _others = [1, 2].map(|n: u8| {
        let folder = dir.path().join(n.to_string());
        std::fs::create_dir(&folder).expect("a folder");
        let sidecar = Sidecar::run(&folder, &["--cgroup", &path], &[]);
        sidecar.await_ready();
        sidecar
    });
    let shown = process::run(Command::new("bpftool").args(["-j", "cgroup", "show", &path]));
    let shown: Vec<Value> = serde_json::from_str(&shown).expect("JSON");
    let of = |hook: &str| {
        let ids = shown.iter().filter(|one| one["attach_type"].as_str().is_some_and(|name| name == hook));
        ids.map(|one| (one["id"].to_string(), one["name"].as_str().unwrap_or_default().to_owned()))
            .collect::<Vec<_>>()
    };
    let (status, json) = doctor(&parent.wrapper(), &["-o", "json"]);
    assert_eq!(status, Some(0));
    let findings: Vec<Value> = serde_json::from_str(&json).expect("JSON");
    for (hook, theirs) in [("connect4", "cgroup_inet4_connect"), ("sock_ops", "cgroup_sock_ops")] {
        let expected = of(theirs);
        assert!(expected.len() >= 2, "{shown:#?}");
        let name = format!("programs of others on {hook}");
        let finding = findings.iter().find(|one| one["name"] == name.as_str()).expect("a finding");
        let detail = finding["detail"].as_str().expect("text");
        let listed = detail.trim_start_matches("in this order: ").split(", ");
        // Whatever the machine's own have, above.
        let listed: Vec<_> = listed.filter(|one| !one.ends_with(" above")).map(str::to_owned).collect();
        let expected: Vec<_> = expected.iter().map(|(id, name)| format!("{id} ({name})")).collect();
        assert_eq!(listed, expected, "{hook}");
    }
}

#[test]
#[ignore = "privileged: makes a cgroup"]
fn what_is_missing_is_named() {
    let parent = Cgroup::new();
    let unable = wrapper(&["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"]);
    let words = [parent.wrapper(), unable].concat();
    let (status, text) = doctor(&words, &[]);
    assert_eq!(status, Some(1), "{text}");
    let line = text.lines().find(|line| line.contains("capabilities")).expect("a line");
    assert!(line.starts_with("FAIL") && line.contains("CAP_BPF") && line.contains("CAP_NET_ADMIN"), "{line}");

    // What the kernel answers, with its number: a map of sockets is a network administrator's to make.
    let half = wrapper(&["setpriv", "--bounding-set=-all,+bpf", "--inh-caps=-all", "--"]);
    let (status, json) = doctor(&[parent.wrapper(), half].concat(), &["-o", "json"]);
    let findings: Vec<Value> = serde_json::from_str(&json).expect("JSON");
    assert_eq!(status, Some(1), "{json}");
    let find = |name: &str| findings.iter().find(|finding| finding["name"] == name).expect("a finding");
    let refused = find("programs");
    let detail = refused["detail"].as_str().unwrap_or_default();
    assert!(refused["state"] == "fail" && detail.contains("`INBOUND`"), "{refused:#}");
    assert!(detail.contains("not permitted") && detail.contains("os error 1"), "{detail}");
    assert_eq!(find("capabilities")["detail"], "missing CAP_NET_ADMIN");
    assert_eq!(find(PROGRAMS[7])["state"], "fail");
}

/// Observing works, making a cgroup for a command does not: the parent is another user's.
#[test]
#[ignore = "privileged: loads BPF programs"]
fn losses_have_a_status_of_their_own() {
    let parent = Cgroup::new();
    std::os::unix::fs::chown(parent.path(), Some(65534), Some(65534)).expect("another user's");
    let able = wrapper(&TWO_CAPABILITIES);
    let (status, json) = doctor(&[parent.wrapper(), able].concat(), &["-o", "json"]);
    assert_eq!(status, Some(3), "{json}");
    let findings: Vec<Value> = serde_json::from_str(&json).expect("JSON");
    assert_eq!(state(&findings, "cgroup for commands"), "lost");
    for program in PROGRAMS {
        assert_eq!(state(&findings, program), "ok");
    }
}
