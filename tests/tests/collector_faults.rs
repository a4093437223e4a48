//! A collector that is dead, hangs, refuses, takes a part or talks nonsense: every span is accounted for, and the
//! application does not notice. The truth: nginx's log of requests, and the receiver's own count of what it took.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;
use sidecar_tests::{
    eventually, free_port, nginx::Nginx, otlp::Receiver, process, scrape::Scrape, sidecar::Sidecar,
};

/// Exactly one batch of spans: it is pushed as soon as it is full.
const REQUESTS: u64 = 512;

/// nginx under a daemon that pushes to `endpoint`, after the load: the daemon, and how many spans it made.
fn loaded(dir: &Path, endpoint: &str, settings: &[&str]) -> (Sidecar, u64) {
    let nginx = Nginx::prepare(dir, "127.0.0.1", free_port(), "");
    let words = nginx.command();
    let mut args = vec!["--otlp-endpoint", endpoint, "--set", "otlp.interval=1s", "--set", "otlp.timeout=1s"];
    args.extend(settings.iter().flat_map(|setting| ["--set", *setting]));
    let sidecar = Sidecar::run(dir, &args, &words.iter().map(String::as_str).collect::<Vec<_>>());
    nginx.await_listening();
    let url = format!("http://127.0.0.1:{}/1000.bin", nginx.port);
    let n = REQUESTS.to_string();
    let said = process::run(Command::new("h2load").args(["--h1", "-n", &n, "-c", "4", "-t", "1", &url]));
    // The client's own account: nothing failed on its way.
    let all = format!("{n} total, {n} started, {n} done, {n} succeeded, 0 failed, 0 errored, 0 timeout");
    assert!(said.contains(&all), "{said}");
    let scrape = sidecar.scrape_at_rest();
    assert_eq!(
        scrape.requests("server"),
        nginx.answered(),
        "each request is counted, whatever the collector does"
    );
    (sidecar, nginx.answered().values().sum())
}

/// What became of the spans: `sent`, `failed REASON`, `dropped REASON`, `queue`, where it is not 0.
fn account(scrape: &Scrape, signal: &str) -> BTreeMap<String, u64> {
    let mut account = BTreeMap::new();
    for (name, word) in [
        ("sent_total", "sent"),
        ("failed_total", "failed"),
        ("dropped_total", "dropped"),
        ("queue_size", "queue"),
    ] {
        for (labels, n) in scrape.all(&format!("sidecar_export_{name}")) {
            if labels["sidecar_signal"] == signal && n > 0.0 {
                let reason =
                    labels.get("sidecar_reason").map(|reason| format!(" {reason}")).unwrap_or_default();
                account.insert(format!("{word}{reason}"), n as u64);
            }
        }
    }
    account
}

/// Waits until no span waits any more, and checks the sum.
fn settled(sidecar: &Sidecar, n: u64) -> BTreeMap<String, u64> {
    let account = eventually("the spans' end", || {
        let account = account(&sidecar.scrape(), "traces");
        (!account.is_empty() && !account.contains_key("queue")).then_some(account)
    });
    assert_eq!(account.values().sum::<u64>(), n, "{account:?}");
    account
}

/// The last word in the log: level, and the account of a signal as sent, failed, dropped.
fn last_word(sidecar: &Sidecar, items: &str) -> (String, [u64; 3]) {
    let log = sidecar.log();
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let last = lines.iter().rfind(|line| !line["spans_sent"].is_null()).expect("the last word");
    let numbers = ["sent", "failed", "dropped"].map(|what| last[format!("{items}_{what}")].as_u64());
    (last["level"].as_str().unwrap_or_default().to_owned(), numbers.map(|n| n.expect("a number")))
}

fn named(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect()
}

const HTTP: &str = "otlp.protocol=http/protobuf";

/// The answers, what becomes of the spans (0 stands for all of them), and how often they are pushed.
type Case<'a> = (&'a str, &'a [(&'a str, u64)], u64);

/// Each way to refuse, and what is counted. What is worth another try is tried again, and then taken.
fn refused(args: &[&str], settings: &[&str], cases: &[Case]) {
    for (answers, expected, tries) in cases {
        let dir = tempfile::tempdir().expect("a folder");
        let receiver = Receiver::with(dir.path(), &[args, &["--answers", answers]].concat());
        let (mut sidecar, n) = loaded(dir.path(), &receiver.endpoint(), settings);
        let account = settled(&sidecar, n);
        let expected = expected.iter().map(|(name, part)| (*name, if *part == 0 { n } else { *part }));
        assert_eq!(account, named(&expected.collect::<Vec<_>>()), "{answers}");
        assert_eq!(receiver.taken("traces"), account.get("sent").copied().unwrap_or(0), "{answers}");
        assert_eq!(receiver.requests("traces").len() as u64, *tries, "{answers}");
        sidecar.stop();
        let sent = last_word(&sidecar, "points").1[0];
        // A push whose answer was cut off by the end may have been taken all the same.
        assert!(receiver.taken("metrics") >= sent, "{answers}");
    }
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn http_answers() {
    let all: &[(&str, u64)] = &[("sent", 0)];
    refused(
        &["--http"],
        &[HTTP],
        &[
            ("503,429,ok", all, 3),
            ("429:1,502,504,ok", all, 4),
            ("partial:7", &[("sent", REQUESTS - 7), ("failed rejected", 7)], 1),
            ("400", &[("failed refused", 0)], 1),
            ("garbage", &[("failed bad_answer", 0)], 1),
            ("noise", &[("failed bad_answer", 0)], 1),
            ("cut,ok", all, 2),
            ("hang,ok", all, 2),
        ],
    );
}

#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn grpc_answers() {
    let all: &[(&str, u64)] = &[("sent", 0)];
    refused(
        &[],
        &[],
        &[
            ("UNAVAILABLE,ABORTED,ok", all, 3),
            ("RESOURCE_EXHAUSTED:1,ok", all, 2),
            ("RESOURCE_EXHAUSTED", &[("failed refused", 0)], 1),
            ("partial:7", &[("sent", REQUESTS - 7), ("failed rejected", 7)], 1),
            ("INVALID_ARGUMENT", &[("failed refused", 0)], 1),
            ("hang,ok", all, 2),
        ],
    );
}

/// The right host and the wrong protocol: not tried for long, since it would not help.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn another_protocol_on_the_port() {
    for (args, settings) in [(&["--http"][..], &[][..]), (&[], &[HTTP])] {
        let dir = tempfile::tempdir().expect("a folder");
        let receiver = Receiver::with(dir.path(), args);
        let (sidecar, n) = loaded(dir.path(), &receiver.endpoint(), settings);
        assert_eq!(settled(&sidecar, n), named(&[("failed bad_answer", n)]), "{settings:?}");
    }
}

/// What a receiver asks for is waited for, by its own clock.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn retry_after_is_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::with(dir.path(), &["--http", "--answers", "503:3,ok"]);
    let (sidecar, n) = loaded(dir.path(), &receiver.endpoint(), &[HTTP, "otlp.metrics=false"]);
    assert_eq!(settled(&sidecar, n), named(&[("sent", n)]));
    let times: Vec<f64> = receiver.requests("traces").iter().filter_map(|line| line["at"].as_f64()).collect();
    assert!(times.len() == 2 && times[1] - times[0] >= 3.0, "{times:?}");
}

/// Nobody listens: the end comes at once, with one warning, and each span is accounted for.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_dead_collector_does_not_delay_the_end() {
    for settings in [&[][..], &[HTTP]] {
        let dir = tempfile::tempdir().expect("a folder");
        let endpoint = format!("http://127.0.0.1:{}", free_port());
        let (mut sidecar, n) =
            loaded(dir.path(), &endpoint, &[settings, &["shutdown.deadline=30s"]].concat());
        let asked = Instant::now();
        assert_eq!(sidecar.stop().code(), Some(0));
        // Far less than what is allowed.
        assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
        let (level, [sent, failed, dropped]) = last_word(&sidecar, "spans");
        assert_eq!((level.as_str(), sent, failed + dropped), ("WARN", 0, n), "{}", sidecar.log());
        let log = sidecar.log();
        let stopping = log.split("\"stopping\"").nth(1).expect("the end");
        assert_eq!(stopping.matches("\"WARN\"").count(), 1, "{stopping}");
    }
}

/// It accepts connections and says nothing: the deadline ends it, and the other signal is not held up.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_hanging_collector_holds_up_nobody() {
    for settings in [&["otlp.traces_protocol=grpc"][..], &["otlp.traces_protocol=http/protobuf"]] {
        let dir = tempfile::tempdir().expect("a folder");
        let receiver = Receiver::start(dir.path());
        let silent = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let traces = format!("otlp.traces_endpoint=http://{}", silent.local_addr().expect("its address"));
        let settings = [settings, &[&traces, "otlp.traces_timeout=60s", "shutdown.deadline=1s"]].concat();
        let (mut sidecar, n) = loaded(dir.path(), &receiver.endpoint(), &settings);
        eventually("metrics, meanwhile", || (receiver.taken("metrics") > 0).then_some(()));
        let before = receiver.requests("metrics").len();
        assert_eq!(sidecar.stop().code(), Some(0));
        assert!(receiver.requests("metrics").len() > before, "the last push of metrics");
        let (level, spans) = last_word(&sidecar, "spans");
        assert_eq!((level.as_str(), spans), ("WARN", [0, 0, n]));
        assert_eq!(last_word(&sidecar, "points").1[0], receiver.taken("metrics"));
    }
}

/// More spans than the queue holds, and a receiver that does not take them: the rest is dropped, and counted.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_full_queue_drops_and_counts() {
    let dir = tempfile::tempdir().expect("a folder");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let endpoint = format!("http://{}", silent.local_addr().expect("its address"));
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    let words = nginx.command();
    let args = ["--otlp-endpoint", &endpoint, "--set", "shutdown.deadline=1s"];
    let mut sidecar = Sidecar::run(dir.path(), &args, &words.iter().map(String::as_str).collect::<Vec<_>>());
    nginx.await_listening();
    let url = format!("http://127.0.0.1:{}/100.bin", nginx.port);
    process::run(Command::new("h2load").args(["--h1", "-n", "5000", "-c", "4", "-t", "1", &url]));
    let scrape = sidecar.scrape_at_rest();
    assert_eq!(scrape.requests("server"), nginx.answered());
    let account = account(&scrape, "traces");
    assert_eq!(account.values().sum::<u64>(), 5000, "{account:?}");
    // 2,048 in the queue and a batch of 512 under way.
    assert!(
        (2048..=2560).contains(&account["queue"]) && account["dropped queue_full"] >= 2440,
        "{account:?}"
    );
    sidecar.stop();
    assert_eq!(last_word(&sidecar, "spans"), ("WARN".to_owned(), [0, 0, 5000]));
}
