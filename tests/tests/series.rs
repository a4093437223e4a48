//! Series as the configuration wants them: their bounds, and how long they live.

use std::{collections::BTreeSet, path::Path, process::Command};

use sidecar_tests::{eventually, free_port, nginx::Nginx, process, scrape::Scrape, sidecar::Sidecar};

fn start(dir: &Path, args: &[&str]) -> (Nginx, Sidecar) {
    let nginx = Nginx::prepare(dir, "127.0.0.1", free_port(), "");
    let words = nginx.command();
    let sidecar = Sidecar::run(dir, args, &words.iter().map(String::as_str).collect::<Vec<_>>());
    nginx.await_listening();
    (nginx, sidecar)
}

fn request(nginx: &Nginx, method: &str) {
    let url = format!("http://127.0.0.1:{}/100.bin", nginx.port);
    process::run(Command::new("curl").args(["-s", "-o", "/dev/null", "-X", method, &url]));
}

const COUNT: &str = "http_server_request_duration_seconds_count";

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn series_that_nothing_adds_to_vanish_and_begin_anew() {
    let dir = tempfile::tempdir().expect("a folder");
    let (nginx, sidecar) = start(dir.path(), &["--set", "metrics.expiry=5s"]);
    (0..3).for_each(|_| request(&nginx, "DELETE"));
    let of = |method: &str| {
        let scrape = Scrape::of(sidecar.port);
        scrape.sum(COUNT, &[("http_request_method", method)]).map(|n| n as u64)
    };
    eventually("the three", || (of("DELETE") == Some(3)).then_some(()));
    // The other one lives on, because it is used.
    eventually("the series to vanish", || {
        request(&nginx, "GET");
        of("DELETE").is_none().then_some(())
    });
    request(&nginx, "DELETE");
    eventually("the one since", || (of("DELETE") == Some(1)).then_some(()));
    let n = nginx.answered();
    let n_gets: u64 = n.iter().filter(|((method, _), _)| method == "GET").map(|(_, n)| n).sum();
    eventually("all others", || (of("GET") == Some(n_gets)).then_some(()));
    assert!(sidecar.scrape_at_rest().count("sidecar_series_expired_total", &[]) > 0);
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn series_have_the_bounds_that_are_configured() {
    let dir = tempfile::tempdir().expect("a folder");
    let (nginx, sidecar) =
        start(dir.path(), &["--set", "metrics.buckets=http.server.request.duration=0.25 30"]);
    request(&nginx, "GET");
    let scrape = sidecar.scrape_at_rest();
    let bounds = |metric: &str| -> BTreeSet<String> {
        let name = format!("{metric}_bucket");
        scrape.all(&name).map(|(labels, _)| labels["le"].clone()).collect()
    };
    let configured = bounds("http_server_request_duration_seconds");
    assert_eq!(configured, ["+Inf", "0.25", "30.0"].map(str::to_owned).into());
    assert!(bounds("http_server_response_body_size_bytes").len() > 3, "the others have their own");
}
