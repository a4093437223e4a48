//! Settings: where they come from, which one wins, what is refused, what is never shown.

use std::{fs, io::ErrorKind, net::TcpStream, path::Path, process::Command};

use sidecar_tests::{binary, free_port, nginx::Nginx, pki::Pki, process, scrape, sidecar::Sidecar};

/// Variables, by name and value.
type Environment<'a> = &'a [(&'a str, &'a str)];

struct Answer {
    status: Option<i32>,
    out: String,
    err: String,
}

fn sidecar(args: &[&str], environment: Environment<'_>) -> Answer {
    let mut command = Command::new(binary());
    // What the machine has set is none of the test's.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("SIDECAR_") || name.starts_with("OTEL_")) {
            command.env_remove(name);
        }
    }
    let output = process::output(command.args(args).envs(environment.iter().copied()));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Answer { status: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn written(dir: &Path, text: &str) -> String {
    let path = dir.join("sidecar.yaml");
    fs::write(&path, text).expect("written");
    path.display().to_string()
}

/// `value # origin` of a key of the last level, in what is printed.
fn line<'a>(printed: &'a str, name: &str) -> &'a str {
    let line = printed.lines().find_map(|line| line.trim().strip_prefix(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("no {name} in {printed}"))
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let dir = tempfile::tempdir().expect("a folder");
    let cases: &[(&str, &[&str])] = &[
        (
            "metrics:\n  listne: :9464\n",
            &[":2:3:", "unknown key `metrics.listne`", "`metrics.listen`", "  listne: :9464"],
        ),
        ("otpl: {}\n", &[":1:1:", "unknown key `otpl`", "did you mean `otlp`"]),
        ("log: {level: loud}\n", &[":1:14:", "`loud` is not one of off, error, warn, info, debug, trace"]),
        ("capture:\n  ring_bytes: 12\n", &[":2:15:", "capture.ring_bytes"]),
        ("log: [\n", &[":1:1:", "log: found a list, expected the section's keys"]),
        ("log:\n  level: [info]\n", &[":2:10:", "log.level: found a list, expected `off`, `error`"]),
        (
            "exclude:\n  ports:\n    - 80\n    - x\n",
            &[":4:7:", "exclude.ports: `x` is not a whole number", "    - x"],
        ),
        (
            "metrics:\n  buckets: {http.server.request.duration: 2 1}\n",
            &[":2:43:", "metrics.buckets.http.server.request.duration: `1` is not above the bound before it"],
        ),
        ("http.route_cap: 9\n", &[":1:1:", "write `http: {route_cap: …}`"]),
        (
            "otlp:\n  endpoint: https://127.0.0.1:1\n  certificate: /none/ca.pem\n",
            &[
                ":3:16:",
                "otlp.certificate: read the certificates in /none/ca.pem: No such file",
                "  certificate: /none/ca.pem",
            ],
        ),
    ];
    for (text, parts) in cases {
        let file = written(dir.path(), text);
        for args in [&["check", &file][..], &["run", "--strict", "--config", &file, "--", "echo", "it runs"]]
        {
            let Answer { status, out, err } = sidecar(args, &[]);
            assert_eq!((status, out.as_str()), (Some(2), ""), "{args:?}: {err}");
            for part in *parts {
                assert!(err.contains(part), "{part} is not in:\n{err}");
            }
        }
    }
    let missing = dir.path().join("none.yaml").display().to_string();
    let Answer { status, err, .. } = sidecar(&["check", &missing], &[]);
    assert_eq!(status, Some(2));
    assert!(err.contains(&missing) && err.contains("No such file"), "{err}");
}

/// The key is named once.
#[test]
fn what_is_wrong_on_the_command_line_is_named() {
    for (args, expected) in [
        (&["--set", "otlp.timeout=0s"][..], "sidecar: --set: otlp.timeout: 0s is less than 1s\n"),
        (
            &["--set", "otlp.timout=1s"],
            "sidecar: --set: unknown key `otlp.timout`, did you mean `otlp.timeout`?\n",
        ),
        (
            &["--log-level", "loud"],
            "sidecar: --log-level: log.level: `loud` is not one of off, error, warn, info, debug, trace\n",
        ),
        (
            &["--set", "otlp.endpoint=https://h", "--set", "otlp.certificate=/none/ca.pem"],
            "sidecar: --set: otlp.certificate: read the certificates in /none/ca.pem: No such file or directory (os error 2)\n",
        ),
    ] {
        let Answer { status, out, err } =
            sidecar(&[&["run"], args, &["--", "echo", "it runs"]].concat(), &[]);
        assert_eq!((status, out.as_str(), err.as_str()), (Some(2), "", expected));
    }
}

/// What an operator changes while the application is elsewhere does not keep it from starting; what is typed beside the
/// command does.
#[test]
fn a_command_runs_with_settings_that_are_wrong() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = written(dir.path(), "otlp:\n  endpoint: https://127.0.0.1:1\n  certificate: /none/ca.pem\n");
    let missing = dir.path().join("none.yaml").display().to_string();
    let broken = dir.path().join("broken.yaml").display().to_string();
    fs::write(&broken, "metrics:\n  listne: :9464\n").expect("written");
    let cases: [(&[&str], Environment<'_>, &str, bool); 6] = [
        (&["--config", &broken], &[], "broken.yaml:2:3: unknown key `metrics.listne`", true),
        (&["--config", &missing], &[], "No such file", true),
        (&["--config", &file], &[], "/none/ca.pem", true),
        (&[], &[("SIDECAR_LOG_LEVEL", "loud")], "SIDECAR_LOG_LEVEL: log.level: `loud`", true),
        (&["--set", "log.level=loud"], &[], "log.level: `loud`", false),
        (&["--set", "log.level=loud", "--config", &broken], &[], "broken.yaml:2:3:", false),
    ];
    let command = ["--", "sh", "-c", "echo it runs; exit 7"];
    for (args, environment, named, runs) in cases {
        for (strict, runs) in [(&[][..], runs), (&["--strict"], false)] {
            let args = [&["run"], strict, args, &command].concat();
            let Answer { status, out, err } = sidecar(&args, environment);
            let expected = if runs { (Some(7), "it runs\n") } else { (Some(2), "") };
            assert_eq!((status, out.as_str()), expected, "{args:?}: {err}");
            assert!(err.contains(named) && err.contains("running unobserved") == runs, "{named}: {err}");
        }
    }
}

/// By a shell's own means: a pipe, standard input, nothing.
#[test]
fn settings_come_by_a_pipe_too() {
    let dir = tempfile::tempdir().expect("a folder");
    let binary = binary().display().to_string();
    let shell = |script: &str| {
        let mut command = Command::new("bash");
        let output = process::output(command.args(["-c", script, &binary]).current_dir(dir.path()));
        let err = String::from_utf8(output.stderr).expect("text");
        (output.status.code(), format!("{}{err}", String::from_utf8(output.stdout).expect("text")))
    };
    for (script, status, told) in [
        ("\"$0\" run --print-config --config <(echo 'service: {name: shop}')", 0, "\"shop\" # file, line 1"),
        (
            "echo 'service: {name: shop}' | \"$0\" run --print-config --config /dev/stdin",
            0,
            "\"shop\" # file, line 1",
        ),
        ("mkfifo f; echo 'log: {level: info}' >f & \"$0\" check f", 0, "f: valid"),
        ("\"$0\" check /dev/null", 0, "/dev/null: valid"),
        ("\"$0\" check <(echo 'log: {level: loud}')", 2, ":1:14: log.level: `loud`"),
        ("\"$0\" check /dev/zero", 2, "it has more than 1048576 bytes"),
        ("\"$0\" check .", 2, "Is a directory"),
    ] {
        let (found, out) = shell(script);
        assert_eq!(found, Some(status), "{script}: {out}");
        assert!(out.contains(told), "{script}: {out}");
    }
    // Certificates and their key, of which both signals have need.
    let pki = Pki::new(dir.path());
    let file = |name: &str| format!("<(cat {})", pki.path(name));
    let script = format!(
        "\"$0\" run --strict --set otlp.endpoint=https://127.0.0.1:1 --set otlp.certificate={} \
         --set otlp.client_certificate={} --set otlp.client_key={} -- false",
        file("ca.pem"),
        file("client.pem"),
        file("server.key")
    );
    let (status, out) = shell(&script);
    assert!(status == Some(2) && out.contains("otlp.client_key: use the client key in /dev/fd/"), "{out}");
}

/// A server answers, and gets the signal that ends it; nobody listens for the daemon.
#[test]
fn a_server_serves_with_settings_that_are_wrong() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = written(dir.path(), "metrics:\n  listne: :9464\n");
    let nginx = Nginx::prepare(dir.path(), "127.0.0.1", free_port(), "");
    let words = nginx.command();
    let command: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut sidecar = Sidecar::spawn(dir.path(), &[], &["--config", &file], &command);
    nginx.await_listening();
    let answer = process::run(Command::new("curl").args(["-sf", &nginx.url("100.bin")]));
    assert_eq!(answer.len(), 100);
    for port in [sidecar.port, sidecar.admin_port] {
        let refused = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.kind());
        assert!(matches!(refused, Err(ErrorKind::ConnectionRefused)), "{refused:?}");
    }
    assert_eq!(sidecar.stop().code(), Some(0), "{}", sidecar.log());
    assert!(sidecar.log().contains("sidecar.yaml:2:3:"), "{}", sidecar.log());
}

#[test]
fn a_good_file_is_said_to_be_good() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = written(dir.path(), "service: {name: shop}\notlp: {endpoint: \"http://collector:4317\"}\n");
    let Answer { status, out, err } = sidecar(&["check", &file], &[]);
    assert_eq!((status, err.as_str()), (Some(0), ""));
    assert_eq!(out, format!("{file}: valid\n"));
    // What is printed is a good file again.
    let printed = sidecar(&["run", "--config", &file, "--print-config"], &[]).out;
    let file = written(dir.path(), &printed);
    assert_eq!(sidecar(&["check", &file], &[]).status, Some(0), "{printed}");
}

#[test]
fn the_nearest_wins() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = written(dir.path(), "service:\n  name: of-the-file\n");
    // From the weakest to the strongest; each row has all before it.
    let flag = ["--service-name", "of-the-flag"];
    let variables = [("OTEL_SERVICE_NAME", "of-otel"), ("SIDECAR_SERVICE_NAME", "of-sidecar")];
    let config = ["--config", &file];
    let cases: [(&[&str], Environment<'_>, &str); 5] = [
        (&[], &[], "null # default"),
        (&config, &[], "\"of-the-file\" # file, line 2"),
        (&config, &variables[..1], "\"of-otel\" # OTEL_SERVICE_NAME"),
        (&config, &variables, "\"of-sidecar\" # SIDECAR_SERVICE_NAME"),
        (&[config, flag].concat(), &variables, "\"of-the-flag\" # --service-name"),
    ];
    for (args, environment, expected) in cases {
        let args = [&["run", "--print-config"], args].concat();
        let Answer { status, out, err } = sidecar(&args, environment);
        assert_eq!((status, err.as_str()), (Some(0), ""));
        let found = line(&out, "name");
        assert!(found.starts_with(expected), "{found}, not {expected}");
    }
    // The file may be named by a variable; the flag's file wins.
    let named = [("SIDECAR_CONFIG", file.as_str())];
    assert!(line(&sidecar(&["run", "--print-config"], &named).out, "name").starts_with("\"of-the-file\""));
}

#[test]
fn secrets_are_not_shown() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = written(dir.path(), "otlp:\n  headers:\n    authorization: Bearer hunter2-file\n");
    let cases: [(&[&str], Environment<'_>); 4] = [
        (&["--config", &file], &[]),
        (&[], &[("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hunter2-otel")]),
        (&[], &[("SIDECAR_OTLP_HEADERS", "authorization=hunter2-sidecar")]),
        (&["--set", "otlp.headers=authorization=hunter2-flag"], &[]),
    ];
    for (args, environment) in cases {
        let args = [&["run", "--print-config"], args].concat();
        let Answer { status, out, err } = sidecar(&args, environment);
        assert_eq!(status, Some(0), "{err}");
        assert!(out.contains("authorization") && out.contains("***"), "{out}");
        assert!(!out.contains("hunter2") && !err.contains("hunter2"), "{out}{err}");
    }
    // Nor where the secret is what is wrong.
    let file = written(dir.path(), "otlp:\n  headers:\n    authorization: \"hunter2-é\"\n");
    let Answer { status, err, .. } = sidecar(&["check", &file], &[]);
    assert_eq!(status, Some(2));
    assert!(err.contains("authorization") && !err.contains("hunter2"), "{err}");
}

/// Known variables that do nothing yet are named at start, and do not stop it; the same for values that are not valid.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn what_is_not_yet_honoured_is_said() {
    let cases = [
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "is ignored"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "is ignored"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATES", "/ca.pem", "did you mean `OTEL_EXPORTER_OTLP_CERTIFICATE`?"),
        ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "a=b", "not yet honoured"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon", "is ignored"),
    ];
    let environment = cases.map(|(name, value, _)| (name, value));
    let (listen, admin) = ("127.0.0.1:0", "127.0.0.1:0");
    let args = ["run", "--listen", listen, "--admin", admin, "--", "true"];
    let Answer { status, err, .. } = sidecar(&args, &environment);
    assert_eq!(status, Some(0), "{err}");
    for (name, _, what) in cases {
        let said =
            err.lines().any(|line| line.contains("WARN") && line.contains(name) && line.contains(what));
        assert!(said, "{name} in\n{err}");
    }
}

/// A variable that many programs have for themselves names the application in a pod only.
#[test]
#[ignore = "privileged: attaches BPF programs to a cgroup"]
fn a_container_is_named_in_a_pod_only() {
    let name = "CONTAINER_NAME=shop";
    for (variables, expected) in [(&[name][..], "sleep"), (&[name, "KUBERNETES_SERVICE_HOST=::1"], "shop")] {
        let dir = tempfile::tempdir().expect("a folder");
        let clean = ["-u", "KUBERNETES_SERVICE_HOST", "-u", "POD_NAME", "-u", "POD_UID"];
        let wrapper = [&["env"], &clean[..], variables].concat();
        let mut sidecar = Sidecar::spawn(dir.path(), &wrapper, &[], &["sleep", "infinity"]);
        sidecar.await_attached();
        let metrics = scrape::get(sidecar.port, "/metrics", "");
        let line = metrics.lines().find(|line| line.starts_with("target_info{")).expect("the resource");
        assert!(line.contains(&format!("service_name=\"{expected}\"")), "{variables:?}: {line}");
        assert_eq!(line.contains("k8s_container_name=\"shop\""), expected == "shop", "{line}");
    }
}
