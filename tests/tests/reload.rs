//! New settings while the daemon runs: valid as a whole or not taken, and what needs a restart is said.

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use rustix::process::Signal;
use sidecar_tests::{cgroup::Cgroup, eventually, process, scrape, sidecar::Sidecar};

/// The settings that hold.
fn config(sidecar: &Sidecar) -> serde_json::Value {
    let config = scrape::get(sidecar.admin_port, "/config", "");
    let mut config: serde_json::Value = serde_json::from_str(&config).expect("JSON");
    config["config"].take()
}

fn level(sidecar: &Sidecar) -> String {
    config(sidecar)["log"]["level"].as_str().expect("a level").to_owned()
}

fn reloads(sidecar: &Sidecar, state: &str) -> u64 {
    sidecar.scrape().count("sidecar_config_reloads_total", &[("sidecar_state", state)])
}

fn ready(sidecar: &Sidecar) -> String {
    scrape::get(sidecar.port, "/readyz?verbose", "")
}

/// As a mounted ConfigMap changes: the file is a link through a folder's link, and that one is replaced.
fn publish(folder: &Path, generation: &str, text: &str) {
    let data = folder.join(generation);
    fs::create_dir(&data).expect("a generation");
    fs::write(data.join("sidecar.yaml"), text).expect("its settings");
    symlink(generation, folder.join("..new")).expect("a link");
    fs::rename(folder.join("..new"), folder.join("..data")).expect("the link in its place");
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn settings_are_taken_whole_or_not_at_all() {
    let dir = tempfile::tempdir().expect("a folder");
    let cgroup = Cgroup::new();
    publish(dir.path(), "..1", "log: {level: info}\n");
    let file = dir.path().join("sidecar.yaml");
    symlink("..data/sidecar.yaml", &file).expect("the file");
    let (path, file) = (cgroup.path().display().to_string(), file.display().to_string());
    let sidecar = Sidecar::run(dir.path(), &["--cgroup", &path, "--config", &file], &[]);
    assert_eq!(level(&sidecar), "info");

    publish(dir.path(), "..2", "log: {level: debug}\n");
    eventually("the change to be seen", || (level(&sidecar) == "debug").then_some(()));
    assert_eq!(scrape::get(sidecar.admin_port, "/log", "").trim(), r#"{"level":"debug"}"#);
    assert_eq!((reloads(&sidecar, "applied"), reloads(&sidecar, "refused")), (1, 0));

    // One key is wrong, and the other is not taken either.
    publish(dir.path(), "..3", "log: {level: warn}\ntcp: {peers: many}\n");
    eventually("the refusal", || (reloads(&sidecar, "refused") == 1).then_some(()));
    assert_eq!(level(&sidecar), "debug");
    for text in [sidecar.log(), ready(&sidecar)] {
        assert!(text.contains("the old ones hold") && text.contains("sidecar.yaml:2:"), "{text}");
    }

    // What needs a restart is named and not in force; what does not is.
    publish(dir.path(), "..4", "log: {level: info}\ntcp: {peers: 77}\n");
    eventually("the change to be seen", || (level(&sidecar) == "info").then_some(()));
    assert!(ready(&sidecar).contains("a restart is needed for tcp.peers"), "{}", ready(&sidecar));
    assert_eq!(config(&sidecar)["tcp"]["peers"], 64);

    // The same by a signal, which does not wait for a look.
    sidecar.signal(Signal::HUP);
    eventually("the settings to be read again", || (reloads(&sidecar, "applied") == 3).then_some(()));
}

/// A command keeps getting SIGHUP; its file is looked at all the same.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_command_gets_the_signal_itself() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("sidecar.yaml");
    fs::write(&file, "log: {level: info}\n").expect("settings");
    let script = "trap 'echo got-hup' HUP; echo trap-is-set; while :; do sleep 0.1; done";
    let path = file.display().to_string();
    let sidecar = Sidecar::run(dir.path(), &["--config", &path], &["sh", "-c", script]);
    eventually("the command", || sidecar.log().contains("trap-is-set").then_some(()));
    sidecar.signal(Signal::HUP);
    eventually("its signal", || sidecar.log().contains("got-hup").then_some(()));
    assert_eq!(reloads(&sidecar, "applied"), 0);
    fs::write(&file, "log: {level: warn}\n").expect("settings");
    eventually("the change to be seen", || (level(&sidecar) == "warn").then_some(()));
}

/// A file that is gone, and one that is being written, are not the settings that somebody means.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_file_that_vanishes_or_is_being_written_leaves_what_holds() {
    let dir = tempfile::tempdir().expect("a folder");
    let cgroup = Cgroup::new();
    let file = dir.path().join("sidecar.yaml");
    fs::write(&file, "log: {level: debug}\n").expect("settings");
    let (path, config) = (cgroup.path().display().to_string(), file.display().to_string());
    let sidecar = Sidecar::run(dir.path(), &["--cgroup", &path, "--config", &config], &[]);

    fs::remove_file(&file).expect("removed");
    eventually("the refusal", || (reloads(&sidecar, "refused") == 1).then_some(()));
    for text in [sidecar.log(), ready(&sidecar)] {
        assert!(text.contains("the old ones hold") && text.contains("No such file"), "{text}");
    }
    assert_eq!(level(&sidecar), "debug");
    // Its return is taken, and its absence was told once.
    fs::write(&file, "log: {level: info}\n").expect("settings");
    eventually("its return", || (level(&sidecar) == "info").then_some(()));
    assert_eq!((reloads(&sidecar, "applied"), reloads(&sidecar, "refused")), (1, 1));
    assert!(!ready(&sidecar).contains("No such file"), "{}", ready(&sidecar));

    // Whoever writes slowly: what there is meanwhile is never the same at two looks.
    let script =
        "exec >$0; for n in $(seq 60); do echo \"# line $n\"; sleep 0.05; done; echo 'log: {level: warn}'";
    process::run(Command::new("sh").args(["-c", script, &config]));
    eventually("the change to be seen", || (level(&sidecar) == "warn").then_some(()));
    assert_eq!((reloads(&sidecar, "applied"), reloads(&sidecar, "refused")), (2, 1));
    // The signal does not wait for a second look, and a file that says the same changes nothing.
    sidecar.signal(Signal::HUP);
    eventually("the settings to be read again", || (reloads(&sidecar, "applied") == 3).then_some(()));
    assert_eq!((level(&sidecar), reloads(&sidecar, "refused")), ("warn".to_owned(), 1));
}

/// A file that somebody emptied takes no policy away; one that says nothing of traffic does.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn an_empty_file_leaves_what_is_denied() {
    let dir = tempfile::tempdir().expect("a folder");
    let cgroup = Cgroup::new();
    let file = dir.path().join("sidecar.yaml");
    let denied = "{name: no, addresses: [127.9.0.1], gear: deny, while_running: true}";
    fs::write(&file, format!("traffic: {{services: [{denied}]}}\n")).expect("settings");
    let (path, config) = (cgroup.path().display().to_string(), file.display().to_string());
    let sidecar = Sidecar::run(dir.path(), &["--cgroup", &path, "--config", &config], &[]);
    sidecar.await_ready();
    let script = "import socket, errno\ntry: socket.create_connection(('127.9.0.1', 1))\nexcept OSError as error: print(errno.errorcode[error.errno])";
    let connect = || {
        let words = [cgroup.wrapper(), ["python3", "-c", script].map(str::to_owned).to_vec()].concat();
        process::run(Command::new(&words[0]).args(&words[1..]))
    };
    assert_eq!(connect(), "EPERM\n");
    for (n, (text, by_signal)) in
        [("", true), ("# traffic:\n\n", true), (" \n", false)].into_iter().enumerate()
    {
        fs::write(&file, text).expect("settings");
        if by_signal {
            sidecar.signal(Signal::HUP);
        }
        eventually("the refusal", || (reloads(&sidecar, "refused") > n as u64).then_some(()));
        let expected = format!("{config}: nothing is in it");
        assert!(ready(&sidecar).contains(&expected), "{}", ready(&sidecar));
        assert_eq!(connect(), "EPERM\n", "{text:?}");
    }
    let log = sidecar.log();
    assert!(log.contains("the old ones hold") && log.contains("nothing is in it"), "{log}");
    assert_eq!(reloads(&sidecar, "applied"), 0);
    let checked = process::run(Command::new(sidecar_tests::binary()).args(["check", &config]));
    assert!(checked.starts_with("nothing is in the file"), "{checked}");
    // Somebody means that there are no services.
    fs::write(&file, "log: {level: debug}\n").expect("settings");
    eventually("the change to be seen", || (reloads(&sidecar, "applied") == 1).then_some(()));
    assert_eq!((connect().as_str(), level(&sidecar).as_str()), ("ECONNREFUSED\n", "debug"));
    assert!(!ready(&sidecar).contains("nothing is in it"), "{}", ready(&sidecar));
}

/// Settings by a shell's process substitution, read to their end; a reload cannot read them again, and does not wait.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn what_is_read_once_is_read_at_the_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let cgroup = Cgroup::new();
    let path = cgroup.path().display().to_string();
    // It comes in two parts, the second after the daemon has begun to read.
    let script = "exec \"$@\" --config <(echo 'log:'; sleep 0.5; echo '  level: debug')";
    let wrapper = ["bash", "-c", script, "bash"];
    let mut sidecar = Sidecar::spawn(dir.path(), &wrapper, &["--cgroup", &path], &[]);
    sidecar.await_attached();
    assert_eq!(level(&sidecar), "debug");
    sidecar.signal(Signal::HUP);
    eventually("the refusal", || (reloads(&sidecar, "refused") == 1).then_some(()));
    assert!(ready(&sidecar).contains("is read once, at the start"), "{}", ready(&sidecar));
    assert_eq!((level(&sidecar), sidecar.stop().code()), ("debug".to_owned(), Some(0)));
}
