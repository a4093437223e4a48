//! A body that the application never had in its memory.

use std::process::Command;

use sidecar_tests::{
    cgroup::Cgroup,
    free_port,
    netns::Netns,
    nginx::Nginx,
    process::{self, Process},
    sidecar::Sidecar,
};

/// 1 GiB by sendfile(2): hardly anything of it is copied, and its time is curl's.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_gibibyte_by_sendfile() {
    const SIZE: u64 = 1 << 30;
    let dir = tempfile::tempdir().expect("a folder");
    let netns = Netns::new();
    // What the receiver has in its socket and has not read yet, the sender has sent: little of it, for the times to agree.
    let sysctl = ["sysctl", "-q", "-w", "net.ipv4.tcp_rmem=4096 65536 262144"].map(str::to_owned);
    let words = [netns.wrapper(), sysctl.to_vec()].concat();
    process::run(Command::new(&words[0]).args(&words[1..]));
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    nginx.amend("keepalive_requests", "sendfile on;\n  keepalive_requests");
    let file = std::fs::File::create(dir.path().join("html/large.bin")).expect("content");
    file.set_len(SIZE).expect("a file with nothing in it");

    let cgroup = Cgroup::new();
    let path = cgroup.path().display().to_string();
    let sidecar = Sidecar::run(dir.path(), &["--cgroup", &path], &[]);
    let words = [cgroup.wrapper(), netns.wrapper(), nginx.command()].concat();
    let _nginx = Process::start(Command::new(&words[0]).args(&words[1..]), &dir.path().join("nginx.out"));
    netns.within(|| nginx.await_listening());

    let records = || sidecar.scrape_at_rest().count("sidecar_capture_records_total", &[]);
    let before = records();
    // Evenly: a transfer of one second would be at the mercy of a few milliseconds of somebody else's.
    let told = "%{size_download} %{time_pretransfer} %{time_total}";
    let url = nginx.url("large.bin");
    let curl = ["curl", "-s", "-o", "/dev/null", "--limit-rate", "256M", "-w", told, &url];
    let words = [netns.wrapper(), curl.map(str::to_owned).to_vec()].concat();
    let told = process::run(Command::new(&words[0]).args(&words[1..]));
    let numbers: Vec<f64> = told.split(' ').map(|number| number.parse().expect("a number")).collect();
    assert_eq!(numbers[0] as u64, SIZE);
    let n_records = records() - before;

    let scrape = sidecar.scrape_at_rest();
    scrape.assert_whole(&[("server", nginx.answered())]);
    let duration = scrape.sum("http_server_request_duration_seconds_sum", &[]).expect("its time");
    let curls = numbers[2] - numbers[1];
    println!("{n_records} records; {duration} s, by curl {curls} s");
    assert!((duration - curls).abs() < curls / 100.0, "{duration} s here, {curls} s by curl");
    assert!(n_records < 100, "{n_records} records");
}
