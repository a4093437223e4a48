//! Layers in, settings or problems out.

use super::*;

const OTEL_INTERVAL: &str = "OTEL_METRIC_EXPORT_INTERVAL";

fn flag(key: &str, value: &str) -> Setting {
    Setting::new(key, value, Origin::Flag("--set".into()))
}

fn line(line: u64, key: &str, value: &str) -> Setting {
    Setting { origin: Origin::File { line, column: 1 }, ..flag(key, value) }
}

fn layers(file: &[(&str, &str)], variables: &[(&str, &str)], flags: &[(&str, &str)]) -> Layers {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Layers {
        file: file.iter().zip(1..).map(|((key, value), n)| line(n, key, value)).collect(),
        environment: variables.iter().map(owned).collect(),
        flags: flags.iter().map(|(key, value)| flag(key, value)).collect(),
    }
}

fn problems(layers: &Layers) -> Vec<String> {
    resolve(layers).map_or_else(|problems| problems.iter().map(Problem::to_string).collect(), |_| Vec::new())
}

#[test]
fn nothing_given_is_the_default() {
    let resolved = resolve(&Layers::default()).expect("the defaults hold");
    assert_eq!(resolved.config, Config::default());
    assert!(resolved.notices.is_empty() && resolved.origins.is_empty());
    assert_eq!((resolved.config.otlp.to_metrics(), resolved.config.otlp.to_traces()), (None, None));
}

#[test]
fn each_layer_wins_over_those_below() {
    let file = [("otlp.interval", "10s")];
    let otel = [(OTEL_INTERVAL, "20000")];
    let own = [(OTEL_INTERVAL, "20000"), ("SIDECAR_OTLP_INTERVAL", "30s")];
    let flags = [("otlp.interval", "39s"), ("otlp.interval", "40s")];
    for (layers, seconds, origin) in [
        (layers(&[], &[], &[]), 60, "default"),
        (layers(&file, &[], &[]), 10, "file, line 1"),
        (layers(&file, &otel, &[]), 20, OTEL_INTERVAL),
        (layers(&file, &own, &[]), 30, "SIDECAR_OTLP_INTERVAL"),
        (layers(&file, &own, &flags), 40, "--set"),
        (layers(&file, &[("SIDECAR_OTLP_INTERVAL", "")], &[("otlp.interval", "")]), 10, "file, line 1"),
        (layers(&file, &[(OTEL_INTERVAL, "soon")], &[]), 10, "file, line 1"),
    ] {
        let resolved = resolve(&layers).expect("valid");
        assert_eq!(resolved.config.otlp.interval, Duration::from_secs(seconds), "{origin}");
        assert_eq!(resolved.origin("otlp.interval").to_string(), origin);
    }
}

/// What is not valid in OpenTelemetry's variables is as if it were not set ("General SDK Configuration").
#[test]
fn samplers() {
    let by_ratio =
        |sampler, ratio: &str| Spans { sampler, ratio: ratio.parse().expect("a ratio"), ..Spans::default() };
    let (sampler, ratio) = ("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG");
    for (layers, expected, n_notices) in [
        (layers(&[], &[], &[]), by_ratio(Sampler::ParentBasedAlwaysOn, "1"), 0),
        (
            layers(&[], &[(sampler, "parentbased_traceidratio"), (ratio, "0.25")], &[]),
            by_ratio(Sampler::ParentBasedTraceIdRatio, "0.25"),
            0,
        ),
        (
            layers(&[], &[(sampler, "traceidratio"), (ratio, "1.5")], &[]),
            by_ratio(Sampler::TraceIdRatio, "1"),
            1,
        ),
        (layers(&[], &[(sampler, "sometimes")], &[]), by_ratio(Sampler::ParentBasedAlwaysOn, "1"), 1),
        (
            layers(&[("spans.ratio", "1e-3")], &[(sampler, "always_on")], &[("spans.sampler", "always_off")]),
            by_ratio(Sampler::AlwaysOff, "0.001"),
            0,
        ),
    ] {
        let resolved = resolve(&layers).expect("valid");
        assert_eq!((resolved.config.spans, resolved.notices.len()), (expected, n_notices), "{layers:?}");
    }
    for value in ["NaN", "-0.1", "1.1", "half"] {
        let problems = problems(&layers(&[], &[], &[("spans.ratio", value)]));
        assert!(problems.len() == 1 && problems[0].contains("from 0 to 1"), "{problems:?}");
    }
}

#[test]
fn maps_are_merged_name_by_name() {
    let layers = layers(
        &[("resource.a", "file"), ("resource.b.c", "1, 2=3"), ("otlp.headers.Authorization", "file")],
        &[("OTEL_RESOURCE_ATTRIBUTES", "a=otel"), ("SIDECAR_OTLP_HEADERS", "authorization=own,x=y%20z")],
        &[("resource.d", "flag")],
    );
    let resolved = resolve(&layers).expect("valid");
    let resource: Vec<_> = resolved.config.resource.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(resource, [("a", "otel"), ("b.c", "1, 2=3"), ("d", "flag")]);
    let headers: Vec<_> = resolved.config.otlp.headers.iter().map(|(k, v)| (k, v.expose())).collect();
    assert_eq!(headers, [("authorization", "own"), ("x", "y z")]);
    assert_eq!(resolved.origin("resource.a").to_string(), "OTEL_RESOURCE_ATTRIBUTES");
}

#[test]
fn buckets_are_given_by_metric() {
    let given = layers(
        &[("metrics.buckets.a.b", "1 2"), ("metrics.buckets.c", "0.5, 1")],
        &[("SIDECAR_METRICS_BUCKETS", "c=3 4")],
        &[("metrics.expiry", "0s")],
    );
    let metrics = resolve(&given).expect("valid").config.metrics;
    let buckets: Vec<_> = metrics.buckets.iter().map(|(name, of)| (name.as_str(), of.bounds())).collect();
    assert_eq!(buckets, [("a.b", &[1.0, 2.0][..]), ("c", &[3.0, 4.0])]);
}

#[test]
fn endpoints_turn_the_push_on() {
    let on =
        layers(&[("otlp.endpoint", "http://all:4317"), ("otlp.traces_endpoint", "http://t:4317")], &[], &[]);
    let config = resolve(&on).expect("valid").config;
    assert_eq!(config.otlp.to_metrics().map(|to| to.url).as_deref(), Some("http://all:4317"));
    assert_eq!(config.otlp.to_traces().map(|to| to.url).as_deref(), Some("http://t:4317"));
    let off = layers(&[("otlp.endpoint", "http://all:4317")], &[("OTEL_SDK_DISABLED", "true")], &[]);
    let config = resolve(&off).expect("valid").config;
    assert_eq!((config.otlp.to_metrics(), config.otlp.to_traces()), (None, None));
}

#[test]
fn all_problems_are_reported_each_with_who_said_it() {
    let layers = layers(
        &[("otlp.intervall", "1s"), ("capture.ring_bytes", "100000"), ("otlp", "x")],
        &[("SIDECAR_LOG_LEVEL", "inf"), ("SIDECAR_SHUTDOWN_DEADLINE", "5"), ("SIDECAR_NO", "1")],
        &[("otlp.traces", "on"), ("metrics.series", "1"), ("otlp.timeout", "0s")],
    );
    assert_eq!(
        problems(&layers),
        [
            "SIDECAR_NO: no key has this variable",
            "file, line 1: unknown key `otlp.intervall`, did you mean `otlp.interval`?",
            "file, line 2: capture.ring_bytes: 100000 is not a power of two from 65536 to 1073741824",
            "file, line 3: `otlp` is a section, not a key",
            "SIDECAR_LOG_LEVEL: log.level: `inf` is not one of off, error, warn, info, debug, trace, \
             did you mean `info`?",
            "SIDECAR_SHUTDOWN_DEADLINE: shutdown.deadline: `5` is not a length of time: write 500ms, 10s, 2m or 1h",
            "--set: otlp.traces: `on` is neither true nor false",
            "--set: metrics.series: 1 is not from 10 to 1000000",
            "--set: otlp.timeout: 0s is less than 1s",
        ]
    );
}

#[test]
fn values_that_contradict_each_other_are_refused() {
    for (flags, part) in [
        (vec![("admin.listen", "127.0.0.1:9464")], "port 9464 is the one of metrics.listen"),
        (vec![("resource.service.name", "x")], "set the key service.name instead"),
        (vec![("otlp.interval", "2m"), ("otlp.timeout", "11m")], "is more than"),
        (vec![("admin.listen", "unix:relative")], "absolute path"),
        (vec![("metrics.expiry", "5ms")], "5ms is less than 1s, and not 0s"),
        (
            vec![("metrics.buckets", "a.b=1 3,c.d=3 1")],
            "--set: metrics.buckets.c.d: `1` is not above the bound before it",
        ),
        (vec![("otlp.temporality", "deltas")], "did you mean `delta`?"),
        (vec![("metrics.listen", "localhost:1")], "is not an address"),
        (vec![("otlp.endpoint", "h:4318"), ("otlp.protocol", "http/protobuf")], "begins with http://"),
        (
            vec![("otlp.endpoint", "https://h"), ("otlp.client_key", "k")],
            "otlp.client_certificate is missing",
        ),
        (vec![("otlp.traces_timeout", "1ms")], "otlp.traces_timeout: 1ms is less than 1s"),
        (vec![("otlp.metrics_protocol", "http")], "is not one of grpc, http/protobuf"),
    ] {
        let problems = problems(&layers(&[], &[], &flags));
        assert!(problems.len() == 1 && problems[0].contains(part), "{part}: {problems:?}");
    }
}

#[test]
fn an_admin_listener_that_others_reach_is_pointed_out() {
    let notices = |listen| resolve(&layers(&[], &[], &[("admin.listen", listen)])).expect("valid").notices;
    assert!(notices("[::1]:1").is_empty() && notices("unix:/run/s").is_empty());
    assert!(matches!(notices("0.0.0.0:9000")[..], [Notice::Risky { key: "admin.listen", .. }]));
}

#[test]
fn otel_values_that_a_type_refuses_are_ignored() {
    let layers = layers(&[], &[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")], &[]);
    let resolved = resolve(&layers).expect("valid");
    assert_eq!(resolved.config, Config::default());
    assert!(
        matches!(&resolved.notices[..], [Notice::Ignored { why, .. }] if why.contains("grpc, http/protobuf"))
    );
}

#[test]
fn what_is_printed_holds_no_secret_and_names_who_said_it() {
    let layers = layers(
        &[("otlp.headers.authorization", "hunter2"), ("resource.a b", "c: \"d\" # e")],
        &[("OTEL_SERVICE_NAME", "shop")],
        &[],
    );
    let resolved = resolve(&layers).expect("valid");
    let (printed, json) = (resolved.print(), resolved.to_json());
    assert!(!format!("{printed}{json}{resolved:?}{layers:?}").contains("hunter2"));
    for part in [
        "\nservice:\n  name: \"shop\" # OTEL_SERVICE_NAME\n",
        "    \"authorization\": \"***\" # file, line 1\n",
        "resource:\n  \"a b\": \"c: \\\"d\\\" # e\" # file, line 2\n",
        "  listen: \"[::]:9464\" # default\n",
        "  endpoint: null # default\n",
    ] {
        assert!(format!("\n{printed}").contains(part), "{part}\nin\n{printed}");
    }
    assert_eq!(json["config"]["otlp"]["headers"]["authorization"], "***");
    assert_eq!(json["origins"]["service.name"], "OTEL_SERVICE_NAME");
}

#[test]
fn lists_are_replaced_whole_and_each_item_is_judged() {
    let file = [("http.routes", "/a, /users/{id},,/static/*"), ("exclude.ports", "80")];
    let variable = [("SIDECAR_EXCLUDE_PORTS", "8080,9000")];
    let flags = [("exclude.peers", "10.0.0.0/8,::1"), ("http.request_headers", "X-Id")];
    let resolved = resolve(&layers(&file, &variable, &flags)).expect("valid");
    let Config { http, exclude, .. } = &resolved.config;
    let routes: Vec<String> = http.routes.iter().map(Pattern::to_string).collect();
    assert_eq!(routes, ["/a", "/users/{id}", "/static/*"]);
    assert_eq!(exclude.ports, [8080, 9000]);
    assert_eq!(exclude.peers.len(), 2);
    assert_eq!(http.request_headers[0].as_str(), "x-id");
    assert!(resolved.print().contains("ports: [8080,9000] # SIDECAR_EXCLUDE_PORTS"), "{}", resolved.print());

    // Where each item has a place of its own, a wrong one is found there; commas without an item between them count.
    let mut list = line(3, "exclude.ports", "80,,x");
    list.items = (4..7).map(|line| Origin::File { line, column: 7 }).collect();
    let given = Layers { file: vec![list], ..Layers::default() };
    assert_eq!(problems(&given), ["file, line 6: exclude.ports: `x` is not a whole number"]);

    let many = (0..65).map(|port| port.to_string()).collect::<Vec<_>>().join(",");
    for (key, value, expected) in [
        ("exclude.ports", "80,x", "exclude.ports: `x` is not a whole number"),
        ("exclude.ports", "65536", "exclude.ports: 65536 is not from 0 to 65535"),
        ("exclude.ports", &many, "exclude.ports: 65 are more than 64"),
        ("exclude.peers", "10.0.0.0/33", "exclude.peers: `10.0.0.0/33` is not a network"),
        ("exclude.paths", "/a,b", "exclude.paths: `b` is not a path pattern"),
        ("http.response_headers", "a b", "http.response_headers: `a b` is not a header name"),
        ("dns.question_names", "0", "dns.question_names: 0 is not from 1 to 10000"),
        ("http.route_cap", "0", "http.route_cap: 0 is not from 1 to 10000"),
    ] {
        let found = problems(&layers(&[], &[], &[(key, value)]));
        assert!(found.len() == 1 && found[0].contains(expected), "{found:?}");
    }
}
