//! `sidecar top` in a real terminal, against nginx's own account.

use sidecar_tests::{eventually, free_port, load::Load, nginx::Nginx, sidecar::Sidecar, tmux::Terminal};

/// nginx under observation.
fn world(dir: &std::path::Path) -> (Nginx, Sidecar) {
    let nginx = Nginx::prepare(dir, "127.0.0.1", free_port(), "");
    let command = nginx.command();
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let sidecar = Sidecar::run(dir, &[], &command);
    nginx.await_listening();
    (nginx, sidecar)
}

/// The words of each line.
fn words(screen: &str) -> Vec<Vec<&str>> {
    screen.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn in_a_terminal() {
    let dir = tempfile::tempdir().expect("a folder");
    let (nginx, sidecar) = world(dir.path());
    let (binary, admin) = (sidecar_tests::binary(), format!("127.0.0.1:{}", sidecar.admin_port));
    let binary = binary.display().to_string();
    let top = [&*binary, "top", "--interval", "3", "--admin", &admin];
    let terminal = Terminal::start(dir.path(), 80, 24, &top);
    eventually("the empty table", || terminal.screen().contains("0 rows").then_some(()));
    let mut load = Load::new(dir.path(), &[]);
    load.curl(&[("GET", "", nginx.url("status/503"))], 3);
    load.curl(&[("GET", "", nginx.url("100.bin"))], 9);
    let shown = eventually("three errors", || {
        let screen = terminal.screen();
        screen.contains("  3 errors  ").then_some(screen)
    });
    terminal.press(&["p"]);
    eventually("the pause", || terminal.screen().contains("PAUSED").then_some(()));
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    let answered = nginx.answered();
    assert_eq!(answered.values().sum::<u64>(), 12, "{answered:?}");
    let rows = words(&shown);
    let row =
        |what: &str| rows.iter().find(|row| row.get(3) == Some(&what)).unwrap_or_else(|| panic!("{shown}"));
    assert_eq!((row("-")[..3].to_vec(), row("-")[6]), (vec!["http", "server", "GET"], "100.0"));
    assert_eq!(row("/{id}")[6], "0.0", "{shown}");

    // Rows together, a filter, and what is paused stays.
    terminal.press(&["g"]);
    let grouped = eventually("rows together", || {
        let screen = terminal.screen();
        screen.contains("by protocol").then_some(screen)
    });
    let rows = words(&grouped);
    let row = rows.iter().find(|row| row.first() == Some(&"http")).unwrap_or_else(|| panic!("{grouped}"));
    assert_eq!((&row[1..4], row[5]), (&["server", "*", "*"][..], "25.0"), "{grouped}");
    terminal.press(&["g", "/", "i", "d", "Enter"]);
    let filtered = eventually("the filter", || {
        let screen = terminal.screen();
        (screen.contains("filter: id ") && screen.contains("1 rows")).then_some(screen)
    });
    assert!(!filtered.contains("GET - "), "{filtered}");
    terminal.press(&["q"]);
    let status = eventually("its end", || terminal.ended());
    assert_eq!(status, "0");
}
