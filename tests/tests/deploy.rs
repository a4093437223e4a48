//! What is under `deploy/`, by the checkers that its users have; and each of them by a mistake that it must find.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use sidecar_tests::{binary, parts, process, python, root};

/// Whether a checker is content, and what it said.
type Verdict = (bool, String);

fn verdict(command: &mut Command) -> Verdict {
    let output = process::output(command);
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// A program that a Python package brought.
fn packaged(name: &str) -> Command {
    Command::new(parts().join("venv/bin").join(name))
}

/// The checker takes the file, and refuses it where `right` is written `wrong`.
fn check(file: &str, (right, wrong): (&str, &str), checker: impl Fn(&Path) -> Verdict) {
    let file = root().join("deploy").join(file);
    let (is_content, said) = checker(&file);
    assert!(is_content, "{}: {said}", file.display());
    let text = fs::read_to_string(&file).expect("the file");
    assert!(text.contains(right), "{}: no {right}", file.display());
    let dir = tempfile::tempdir().expect("a folder");
    let spoilt = dir.path().join(file.file_name().expect("a name"));
    fs::write(&spoilt, text.replace(right, wrong)).expect("the spoilt one");
    let (is_content, said) = checker(&spoilt);
    assert!(!is_content, "{}: {wrong} was taken: {said}", file.display());
}

/// One run of the checker for all of them, and for all of them spoilt: it takes seconds to begin.
#[test]
#[ignore = "needs what `cargo xtask setup` brings"]
fn kubernetes_manifests() {
    let folder = root().join("deploy/kubernetes");
    let monitor = [("interval:", "intervall:"), ("30s", "30q"), ("  selector:", "  select:")];
    let pod =
        [("readOnlyRootFilesystem", "readOnlyRootFileSystem"), ("containerPort: 9464", "containerPort: x")];
    let dir = tempfile::tempdir().expect("a folder");
    let (mut sound, mut spoilt) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).expect("the manifests") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_str().expect("text").to_owned();
        let text = fs::read_to_string(&path).expect("a manifest");
        sound.push(path);
        let mistakes = if name == "podmonitor" { &monitor[..] } else { &pod };
        for (n, (right, wrong)) in mistakes.iter().enumerate() {
            assert!(text.contains(right), "{name}: no {right}");
            spoilt.push(dir.path().join(format!("{name}-{n}.yaml")));
            fs::write(&spoilt[spoilt.len() - 1], text.replace(right, wrong)).expect("a spoilt one");
        }
    }
    assert_eq!((sound.len(), spoilt.len()), (4, 9));
    let script = root().join("tests/support/check_manifest.py");
    let told = process::run(Command::new(python()).arg(script).args(&sound).args(&spoilt));
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    let problems = |path: &Path| told[path.to_str().expect("text")].as_array().expect("a verdict").len();
    assert!(sound.iter().all(|path| problems(path) == 0), "{told:#}");
    assert!(spoilt.iter().all(|path| problems(path) > 0), "{told:#}");
}

#[test]
#[ignore = "needs what `cargo xtask setup` brings"]
fn compose_file() {
    let config =
        |file: &Path| verdict(packaged("docker-compose").arg("-f").arg(file).args(["config", "--quiet"]));
    for mistake in [("cap_add", "cap_adds"), ("network_mode: service:app", "network_mode: service:none")] {
        check("compose/compose.yaml", mistake, config);
    }
}

#[test]
#[ignore = "needs what `cargo xtask setup` brings"]
fn containerfile() {
    let lint = |file: &Path| verdict(packaged("hadolint").arg("--failure-threshold=style").arg(file));
    for mistake in [("COPY --from=build", "COPYY --from=build"), ("COPY . .", "ADD . .")] {
        check("Containerfile", mistake, lint);
    }
}

/// The unit's instance for a service that exists, with the daemon where it is.
#[test]
#[ignore = "needs systemd-analyze"]
fn systemd_unit() {
    let verify = |file: &Path| {
        let dir = tempfile::tempdir().expect("a folder");
        let unit = fs::read_to_string(file).expect("the unit");
        let unit = unit.replace("/usr/local/bin/sidecar", &binary().display().to_string());
        fs::write(dir.path().join("sidecar@shop.service"), unit).expect("the unit");
        fs::write(dir.path().join("shop.service"), "[Service]\nExecStart=/bin/true\n").expect("a service");
        let path = format!("{}:", dir.path().display());
        let mut command = Command::new("systemd-analyze");
        command.env("SYSTEMD_UNIT_PATH", path).arg("verify").arg(dir.path().join("sidecar@shop.service"));
        let (has_passed, said) = verdict(&mut command);
        // It only warns of unknown keys.
        (has_passed && said.is_empty(), said)
    };
    for mistake in [("WatchdogSec", "WatchDogSec"), ("Type=notify", "Type=notified")] {
        check("systemd/sidecar@.service", mistake, verify);
    }
    // 0 is sealed, 10 is open; of a figure of 2.0 it says "OK". Given in tenths.
    let security = |file: &Path| {
        let words = ["security", "--offline=true", "--threshold=20", "--no-pager"];
        verdict(Command::new("systemd-analyze").args(words).arg(file))
    };
    check("systemd/sidecar@.service", ("ProtectKernelModules=yes", ""), security);
}

/// The expressions of all panels and variables.
fn expressions(dashboard: &serde_json::Value) -> Vec<String> {
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let mut all = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            all.push(text(&target["expr"]));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().expect("variables") {
        if variable["type"] == "query" {
            let query = text(&variable["definition"]);
            let inner = query.strip_prefix("label_values(").and_then(|rest| rest.rsplit_once(','));
            all.push(inner.expect("label_values(SELECTOR, LABEL)").0.to_owned());
        }
    }
    all
}

/// Every metric and label that `docs/metrics.md` knows, in Prometheus' spelling; histograms by their parts.
fn documented() -> (BTreeSet<String>, BTreeSet<String>) {
    let page = fs::read_to_string(root().join("docs/metrics.md")).expect("the metrics");
    let (mut names, mut labels) =
        (BTreeSet::new(), BTreeSet::from(["job", "instance", "le"].map(str::to_owned)));
    let quoted =
        |line: &str| -> Vec<String> { line.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let mut last = String::new();
    for line in page.lines() {
        if line.starts_with("- Prometheus: ") {
            last = quoted(line)[0].clone();
        } else if line.starts_with("- histogram") {
            names.extend(["_bucket", "_count", "_sum"].map(|part| format!("{last}{part}")));
        } else if ["- counter", "- gauge", "- info", "- up-down"].iter().any(|kind| line.starts_with(kind)) {
            names.insert(last.clone());
        } else if line.starts_with("- attributes: ") {
            labels.extend(quoted(line).into_iter().skip(1).step_by(2));
        }
    }
    (names, labels)
}

/// Metrics (what stands before a brace) and labels (matched, or grouped by) of an expression.
fn mentioned(expression: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (mut names, mut labels) = (BTreeSet::new(), BTreeSet::new());
    for (at, _) in expression.match_indices('{') {
        let before = &expression[..at];
        names.insert(before[before.trim_end_matches(is_name).len()..].to_owned());
        let inside = expression[at + 1..].split_once('}').expect("a closing brace").0;
        let matchers = inside.split(',').filter(|matcher| !matcher.is_empty());
        labels.extend(matchers.map(|matcher| matcher.split(['=', '!']).next().unwrap_or("").to_owned()));
    }
    for (at, by) in expression.match_indices("by (") {
        let list = expression[at + by.len()..].split_once(')').expect("a closing parenthesis").0;
        labels.extend(list.split(',').map(|label| label.trim().to_owned()));
    }
    (names, labels)
}

/// What the dashboard does without; a new metric goes on it, or here.
const NOT_SHOWN: [&str; 24] = [
    "http_client_request_body_size_bytes",
    "http_client_response_body_size_bytes",
    "process_cpu_time_seconds_total",
    "process_thread_count",
    "process_unix_file_descriptor_count",
    "sidecar_app_otlp",
    "sidecar_app_processes",
    "sidecar_app_source_info",
    "sidecar_capture_copied_bytes_total",
    "sidecar_record_left_out_total",
    "sidecar_series_expired_total",
    "sidecar_tap_left_out_total",
    "sidecar_tcp_connection_closed_total",
    "sidecar_tcp_peer_connection_closed_total",
    "sidecar_tcp_peer_connection_opened_total",
    "sidecar_traffic_heartbeat_age_seconds",
    "sidecar_traffic_heartbeat_late_total",
    "sidecar_traffic_pinned",
    "traces_service_graph_request_client_seconds",
    "traces_service_graph_request_failed_total",
    "traces_service_graph_request_server_seconds",
    "traces_service_graph_request_total",
    "traces_span_metrics_calls_total",
    "traces_span_metrics_duration_seconds",
];

#[test]
#[ignore = "needs what `cargo xtask setup` brings"]
fn dashboard_shows_what_there_is() {
    let dashboard = fs::read_to_string(root().join("deploy/grafana/sidecar.json")).expect("the dashboard");
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).expect("JSON");
    // A histogram is shown by any of its parts.
    let family = |name: &str| {
        let mut parts = ["_bucket", "_count", "_sum"].iter().filter_map(|part| name.strip_suffix(part));
        parts.next().unwrap_or(name).to_owned()
    };
    let shown: BTreeSet<String> = expressions(&dashboard)
        .iter()
        .flat_map(|expression| mentioned(expression).0)
        .map(|name| family(&name))
        .chain([String::from("sidecar_build_info")])
        .collect();
    let page = fs::read_to_string(root().join("docs/metrics.md")).expect("the metrics");
    let all = page.lines().filter_map(|line| line.strip_prefix("- Prometheus: `")?.strip_suffix('`'));
    let not_shown: Vec<&str> = {
        let mut names: Vec<_> = all.filter(|name| !shown.contains(&family(name))).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(not_shown, NOT_SHOWN);
}

#[test]
#[ignore = "needs what `cargo xtask setup` brings"]
fn dashboard() {
    let promtool = |dashboard: &serde_json::Value| {
        let dir = tempfile::tempdir().expect("a folder");
        let rules: Vec<_> = expressions(dashboard)
            .iter()
            .map(|expr| expr.replace("$__rate_interval", "5m"))
            .enumerate()
            .map(|(n, expr)| serde_json::json!({ "record": format!("panel:{n}"), "expr": expr }))
            .collect();
        let file = dir.path().join("rules.yaml");
        let groups = serde_json::json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
        // JSON is YAML.
        fs::write(&file, groups.to_string()).expect("the rules");
        verdict(Command::new(parts().join("bin/promtool")).args(["check", "rules"]).arg(file))
    };
    let sound = |file: &Path| -> Verdict {
        let dashboard = fs::read_to_string(file).expect("the dashboard");
        let dashboard: serde_json::Value = serde_json::from_str(&dashboard).expect("JSON");
        let (names, labels) = documented();
        for expression in expressions(&dashboard) {
            let (own_names, own_labels) = mentioned(&expression);
            let is_known = !own_names.is_empty() || expression == "sidecar_build_info";
            if !is_known || !own_names.is_subset(&names) || !own_labels.is_subset(&labels) {
                return (false, format!("{expression}: not in docs/metrics.md"));
            }
        }
        let mut ids = BTreeSet::new();
        for panel in dashboard["panels"].as_array().expect("panels") {
            let title = &panel["title"];
            if !ids.insert(panel["id"].as_u64().expect("an id")) {
                return (false, format!("{title}: its id is another's"));
            }
            if panel["type"] != "row" && panel["datasource"]["uid"] != "${datasource}" {
                return (false, format!("{title}: the data source is not the variable"));
            }
        }
        promtool(&dashboard)
    };
    for mistake in [
        ("sidecar_tcp_retransmits_total", "sidecar_tcp_retransmissions_total"),
        ("sum by (sidecar_reason)", "sum by (reason)"),
        ("histogram_quantile(", "histogram_quantil("),
        ("\"id\": 3,", "\"id\": 2,"),
    ] {
        check("grafana/sidecar.json", mistake, sound);
    }
}
