//! Lines of the BPF programs themselves reach the daemon's log, where they are asked for and nowhere else.

use std::process::Command;

use sidecar_tests::{eventually, free_port, nginx::Nginx, process, sidecar::Sidecar};

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn lines_of_the_programs_reach_the_log() {
    for (setting, wanted) in [("kernel_log=debug", true), ("kernel_log=off", false)] {
        let dir = tempfile::tempdir().expect("a folder");
        let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
        let command = nginx.command();
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let sidecar = Sidecar::run(dir.path(), &["--log-level", "debug", "--set", setting], &words);
        nginx.await_listening();
        process::run(Command::new("curl").args(["-s", &format!("http://127.0.0.1:{}/100.bin", nginx.port)]));
        let line = format!("established, role 2, local port {}", nginx.port);
        if wanted {
            eventually("the program's line", || sidecar.log().contains(&line).then_some(()));
        } else {
            assert_eq!(sidecar.scrape_at_rest().requests("server"), nginx.answered());
            assert!(!sidecar.log().contains("established, role"), "{}", sidecar.log());
        }
    }
}
