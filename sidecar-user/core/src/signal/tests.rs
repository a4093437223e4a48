//! Exchanges to series and spans, case by case.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::*;
use crate::model::{
    Activity, Connection, ConnectionId, Cut, Detail, Exchange, Http, HttpVersion, Kind, Ktime, Method,
    MetricDef, Outcome, Reason, Role, Side, Start, Steered, Tcp, TraceContext, TraceParent, Verdict,
};

const SECOND: u64 = 1_000_000_000;

pub(super) fn connection(role: Option<Role>) -> Connection {
    Connection {
        id: ConnectionId(1),
        role,
        local: ([10, 0, 0, 1], 5000).into(),
        remote: ([10, 0, 0, 2], 8080).into(),
        tgid: 0,
        cgroup: 0,
        joined: false,
        steered: None,
    }
}

pub(super) fn exchange(method: Method, status: Option<u16>, outcome: Outcome) -> Exchange {
    let http = Http {
        method: Some(method),
        method_original: None,
        version: HttpVersion::Http11,
        status,
        host: Some("api.test".into()),
        port: None,
        path: Some("/a".into()),
        route: None,
        request_headers: Vec::new(),
        response_headers: Vec::new(),
        exports: None,
        request_body: Some(0),
        response_body: None,
        is_doubtful: false,
    };
    Exchange {
        started: Ktime(1_000_000_000),
        requested: None,
        read: None,
        answered: None,
        ended: Ktime(1_030_000_000),
        outcome,
        is_excluded: false,
        lost: 0,
        trace: None,
        detail: Detail::Http(http),
    }
}

fn to_host(host: &str) -> Exchange {
    let mut exchange = exchange(Method::Get, Some(200), Outcome::Complete);
    let Detail::Http(http) = &mut exchange.detail else { panic!("HTTP") };
    http.host = (!host.is_empty()).then(|| host.into());
    exchange
}

fn told(attributes: &Attributes) -> String {
    let pairs: Vec<String> = attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(" ")
}

fn taken(store: &mut Store) -> Snapshot {
    store.snapshot(Moment { ktime: Ktime(2_000_000_000), unix: UnixNanos(2_000_000_002) })
}

pub(super) fn points(store: &mut Store, def: &MetricDef) -> Vec<(String, PointValue)> {
    let snapshot = taken(store);
    let family = snapshot.family(def);
    family
        .map(|family| {
            family.points.iter().map(|point| (told(&point.attributes), point.value.clone())).collect()
        })
        .unwrap_or_default()
}

#[test]
fn attributes_of_durations() {
    let server = &catalogue::HTTP_SERVER_DURATION;
    let client = &catalogue::HTTP_CLIENT_DURATION;
    let cases = [
        (
            Some(Role::Server),
            exchange(Method::Get, Some(200), Outcome::Complete),
            server,
            "http.request.method=GET url.scheme=http http.response.status_code=200 network.protocol.version=1.1",
        ),
        (
            Some(Role::Server),
            exchange(Method::Other, Some(500), Outcome::Complete),
            server,
            "http.request.method=_OTHER url.scheme=http http.response.status_code=500 error.type=500 \
             network.protocol.version=1.1",
        ),
        (
            Some(Role::Server),
            exchange(Method::Post, Some(999), Outcome::Complete),
            server,
            "http.request.method=POST url.scheme=http http.response.status_code=999 error.type=999 network.protocol.version=1.1",
        ),
        (
            Some(Role::Client),
            exchange(Method::Get, None, Outcome::Unanswered(Cut::Closed(Some(Side::Server)))),
            client,
            "http.request.method=GET url.scheme=http error.type=server_closed network.protocol.version=1.1 \
             server.address=api.test server.port=8080",
        ),
        (
            None,
            to_host(""),
            client,
            "http.request.method=GET url.scheme=http http.response.status_code=200 network.protocol.version=1.1 \
             server.address=10.0.0.2 server.port=8080",
        ),
    ];
    for (role, exchange, def, expected) in cases {
        let mut store = Store::new(Options::default());
        store.exchange(&connection(role), "http", &exchange, None);
        let made = points(&mut store, def);
        assert_eq!(made.len(), 1, "{expected}");
        assert_eq!(made[0].0, expected);
        let PointValue::Histogram(histogram) = &made[0].1 else { panic!("{expected}: not a histogram") };
        assert_eq!(histogram.count, 1);
        assert_eq!(histogram.counts[3], 1, "0.03 s is in (0.025, 0.05]");
        assert!((histogram.sum - 0.03).abs() < 1e-12);
    }
}

#[test]
fn a_wait_is_split_only_where_the_read_was_seen() {
    let mut store = Store::new(Options::default());
    let mut made = exchange(Method::Get, Some(200), Outcome::Complete);
    (made.requested, made.answered) = (Some(Ktime(1_001_000_000)), Some(Ktime(1_030_000_000)));
    let split = [&catalogue::HTTP_SERVER_SOCKET_WAIT, &catalogue::HTTP_SERVER_WORK];
    store.exchange(&connection(Some(Role::Server)), "http", &made, None);
    for def in split {
        assert_eq!(points(&mut store, def), []);
    }
    made.read = Some(Ktime(1_006_000_000));
    store.exchange(&connection(Some(Role::Server)), "http", &made, None);
    let whole = points(&mut store, &catalogue::HTTP_SERVER_WAIT);
    for (def, expected) in split.into_iter().zip([0.005, 0.024]) {
        let made = points(&mut store, def);
        assert_eq!((made.len(), &made[0].0), (1, &whole[0].0));
        let PointValue::Histogram(histogram) = &made[0].1 else { panic!("not a histogram") };
        assert_eq!(histogram.count, 1);
        assert!((histogram.sum - expected).abs() < 1e-12, "{}", histogram.sum);
    }
}

/// The same attributes must not come out of two keys: an exposition with a series twice is refused whole.
#[test]
fn one_spelling_for_each_address() {
    let mut store = Store::new(Options::default());
    for host in ["", "10.0.0.2", "::ffff:10.0.0.2", "[::ffff:10.0.0.2]"] {
        store.exchange(&connection(Some(Role::Client)), "http", &to_host(host), None);
    }
    assert_eq!(points(&mut store, &catalogue::HTTP_CLIENT_DURATION).len(), 1);
}

#[test]
fn every_request_is_counted_once() {
    let outcomes = [
        Outcome::Complete,
        Outcome::Truncated(Cut::Closed(None)),
        Outcome::Unanswered(Cut::Closed(None)),
        Outcome::Unanswered(Cut::Reset(Side::Client)),
        Outcome::NotObserved,
        Outcome::Aborted(Cut::Expired),
    ];
    let mut store = Store::new(Options::default());
    for outcome in outcomes {
        store.exchange(&connection(Some(Role::Server)), "http", &exchange(Method::Get, None, outcome), None);
    }
    let durations = points(&mut store, &catalogue::HTTP_SERVER_DURATION);
    let counted: u64 = durations
        .iter()
        .map(|(_, value)| match value {
            PointValue::Histogram(histogram) => histogram.count,
            PointValue::U64(_) | PointValue::F64(_) => 0,
        })
        .sum();
    assert_eq!(counted, outcomes.len() as u64);
    let ended: Vec<String> =
        points(&mut store, &catalogue::PARSER_OUTCOMES).into_iter().map(|(k, _)| k).collect();
    let expected = ["aborted", "complete", "not_observed", "truncated", "unanswered"]
        .map(|outcome| format!("sidecar.outcome={outcome} network.protocol.name=http"));
    assert_eq!(ended, expected);
}

#[test]
fn cap_overflows_into_one_series() {
    let mut store = Store::new(Options { series_cap: 3, ..Options::default() });
    for host in ["a", "b", "c", "d", "e", "a"] {
        store.exchange(&connection(Some(Role::Client)), "http", &to_host(host), None);
    }
    let made = points(&mut store, &catalogue::HTTP_CLIENT_DURATION);
    assert_eq!(made.len(), 4);
    let counts: Vec<(bool, u64)> = made
        .iter()
        .map(|(attributes, value)| match value {
            PointValue::Histogram(histogram) => (attributes == "otel.metric.overflow=true", histogram.count),
            PointValue::U64(_) | PointValue::F64(_) => (false, 0),
        })
        .collect();
    assert_eq!(counts, [(false, 2), (false, 1), (false, 1), (true, 2)]);
    assert_eq!(points(&mut store, &catalogue::SERIES_OVERFLOWED)[0].1, PointValue::U64(2));
    // A duration and a size of the request's body each.
    assert_eq!(points(&mut store, &catalogue::SERIES)[0].1, PointValue::U64(8));
}

#[test]
fn vanished_series_give_their_room_back() {
    let options = Options { series_cap: 2, expiry: Some(Duration::from_secs(5)), ..Options::default() };
    let mut store = Store::new(options);
    let at = |host: &str, seconds: u64| {
        let mut exchange = to_host(host);
        (exchange.started, exchange.ended) = (Ktime(seconds * SECOND), Ktime(seconds * SECOND + 1));
        exchange
    };
    let hosts = |store: &mut Store| -> Vec<String> {
        let made = points(store, &catalogue::HTTP_CLIENT_DURATION);
        let host = |text: &str| text.split_once("server.address=").map_or(text, |(_, host)| host).to_owned();
        made.iter().map(|(attributes, _)| host(attributes).replace(" server.port=8080", "")).collect()
    };
    for (host, seconds) in [("a", 1), ("b", 2), ("c", 3), ("a", 4)] {
        store.exchange(&connection(Some(Role::Client)), "http", &at(host, seconds), None);
    }
    store.expire(Ktime(6 * SECOND), Ktime(u64::MAX));
    assert_eq!(hosts(&mut store), ["a", "b", "otel.metric.overflow=true"]);
    store.expire(Ktime(10 * SECOND), Ktime(0));
    assert_eq!(hosts(&mut store).len(), 3, "their last values were not delivered");
    store.expire(Ktime(10 * SECOND), Ktime(u64::MAX));
    assert_eq!(hosts(&mut store).len(), 3, "looked at a moment ago");
    // Ended 1 ns after the fourth second.
    store.expire(Ktime(9 * SECOND + SECOND / 2 * 3), Ktime(3 * SECOND + 2));
    assert_eq!(hosts(&mut store), ["a"]);
    store.exchange(&connection(Some(Role::Client)), "http", &at("c", 11), None);
    assert_eq!(hosts(&mut store), ["a", "c"]);
    let snapshot = taken(&mut store);
    let family = snapshot.family(&catalogue::HTTP_CLIENT_DURATION).expect("a family");
    let started: Vec<_> = family.points.iter().map(|point| point.started.map(|at| at.0 / SECOND)).collect();
    assert_eq!(started, [Some(1), Some(11)], "what comes back starts anew");
    // A duration and a size each, of one server and of the overflow.
    assert_eq!(points(&mut store, &catalogue::SERIES_EXPIRED)[0].1, PointValue::U64(4));
}

#[test]
fn bounds_are_overridden_by_name() {
    let buckets = [("http.server.request.duration".to_owned(), vec![0.01, 0.03])];
    let mut store = Store::new(Options { buckets: buckets.into(), exponential: true, ..Options::default() });
    for role in [Role::Server, Role::Client] {
        store.exchange(&connection(Some(role)), "http", &to_host("a"), None);
    }
    let bounds = |store: &mut Store, def| match &points(store, def)[0].1 {
        PointValue::Histogram(histogram) => (histogram.bounds.to_vec(), histogram.counts.to_vec()),
        other => panic!("{other:?}"),
    };
    assert_eq!(bounds(&mut store, &catalogue::HTTP_SERVER_DURATION), (vec![0.01, 0.03], vec![0, 1, 0]));
    let own = bounds(&mut store, &catalogue::HTTP_CLIENT_DURATION).0;
    assert_eq!(own, catalogue::DURATION_BUCKETS);
}

#[test]
fn numbers() {
    let mut store = Store::new(Options::default());
    store.add(&catalogue::CAPTURE_DROPS, &["flow_full"], 2u64);
    store.add(&catalogue::CAPTURE_DROPS, &["flow_full"], 3u64);
    store.set(&catalogue::CPU_TIME, &["user"], 1.5);
    store.set(&catalogue::CPU_TIME, &["user"], 1.25);
    store.set(&catalogue::CONNECTIONS_TRACKED, &[], 9u64);
    store.set(&catalogue::CONNECTIONS_TRACKED, &[], 4u64);
    store.set(&catalogue::BUILD, &["1.2.3"], 1u64);
    let cases: [(&MetricDef, &str, PointValue); 4] = [
        (&catalogue::CAPTURE_DROPS, "sidecar.reason=flow_full", PointValue::U64(5)),
        (&catalogue::CPU_TIME, "cpu.mode=user", PointValue::F64(1.5)),
        (&catalogue::CONNECTIONS_TRACKED, "", PointValue::U64(4)),
        (&catalogue::BUILD, "sidecar.version=1.2.3", PointValue::U64(1)),
    ];
    for (def, attributes, value) in cases {
        assert_eq!(points(&mut store, def), [(attributes.to_owned(), value)], "{}", def.name);
    }
    store.clear(&catalogue::CONNECTIONS_TRACKED);
    assert!(points(&mut store, &catalogue::CONNECTIONS_TRACKED).is_empty());
}

#[test]
fn snapshots_are_ordered() {
    let hosts = ["c", "a", "b"];
    let make = |turn: usize| {
        let mut store = Store::new(Options::default());
        for i in 0..hosts.len() {
            let host = hosts[(i + turn) % hosts.len()];
            store.exchange(&connection(Some(Role::Client)), "http", &to_host(host), None);
            store.add(&catalogue::CAPTURE_DROPS, &[["x", "y", "z"][(i + turn) % 3]], 1u64);
        }
        taken(&mut store)
    };
    assert_eq!(make(0), make(1));
    assert_eq!(make(0), make(2));
    let order: Vec<&str> = make(0).families.iter().map(|family| family.def.name).collect();
    let catalogue: Vec<&str> =
        catalogue::ALL.iter().map(|def| def.name).filter(|name| order.contains(name)).collect();
    assert_eq!(order, catalogue);
}

#[test]
fn counters_and_gauges_have_few_attributes() {
    for def in catalogue::ALL {
        // The others are made from values of their own.
        let is_number = !matches!(def.kind, Kind::Histogram(_) | Kind::UpDown);
        let is_own = ["sidecar.tcp.peer.", "traces."].iter().any(|family| def.name.starts_with(family));
        assert!(!is_number || is_own || def.attributes.len() <= store::MAX_ATTRIBUTES, "{}", def.name);
    }
}

#[test]
fn spans() {
    let ids = SpanIds { trace: [1; 16], span: [2; 8] };
    let mut traced = exchange(Method::Get, Some(404), Outcome::Complete);
    let parent = TraceParent { trace: [7; 16], span: [8; 8], flags: 2 };
    traced.trace = Some(Box::new(TraceContext { parent, state: None }));

    let server = Span::new(&connection(Some(Role::Server)), &traced, ids, None);
    assert_eq!((&*server.name, server.role, server.error), ("GET", Role::Server, false));
    assert_eq!((server.trace, server.parent, server.id), ([1; 16], Some([8; 8]), [2; 8]));
    assert_eq!(server.flags, 3, "the sender's, and sampled");
    assert_eq!(
        told(&server.attributes),
        "http.request.method=GET url.scheme=http url.path=/a client.address=10.0.0.2 \
         http.response.status_code=404 network.protocol.version=1.1 server.address=api.test server.port=5000 \
         network.peer.address=10.0.0.2 network.peer.port=8080"
    );

    let client = Span::new(&connection(Some(Role::Client)), &traced, ids, None);
    assert_eq!((client.role, client.error), (Role::Client, true));
    assert_eq!(
        told(&client.attributes),
        "http.request.method=GET url.scheme=http url.full=http://api.test:8080/a \
         http.response.status_code=404 error.type=404 network.protocol.version=1.1 server.address=api.test \
         server.port=8080 network.peer.address=10.0.0.2 network.peer.port=8080"
    );

    let mut own = exchange(Method::Other, None, Outcome::Unanswered(Cut::Reset(Side::Client)));
    let Detail::Http(http) = &mut own.detail else { panic!("HTTP") };
    http.method_original = Some("PURGE".into());
    let root = Span::new(&connection(Some(Role::Server)), &own, ids, None);
    assert_eq!((&*root.name, root.trace, root.parent), ("HTTP", [1; 16], None));
    assert!(root.flags == 1 && root.error);
    assert!(told(&root.attributes).contains("http.request.method=_OTHER"));
    assert!(told(&root.attributes).contains("http.request.method_original=PURGE"));
    assert_eq!(root.ended.since(root.started).as_millis(), 30);

    let unseen = exchange(Method::Get, None, Outcome::NotObserved);
    assert!(!Span::new(&connection(Some(Role::Server)), &unseen, ids, None).error);
}

/// What was asked for is the server, the endpoint the peer, though the socket leads to the relay.
#[test]
fn spans_and_series_of_steered_connections() {
    let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let steered = |verdict, endpoint: Option<&str>| Connection {
        steered: Some(Arc::new(Steered {
            verdict,
            reason: Reason::Gear,
            service: Some("api".into()),
            asked: address("10.0.0.9:80"),
            host: None,
            endpoint: endpoint.map(address),
        })),
        ..connection(Some(Role::Client))
    };
    let ids = SpanIds { trace: [1; 16], span: [2; 8] };
    let named = exchange(Method::Get, Some(200), Outcome::Complete);
    let mut nameless = named.clone();
    let Detail::Http(http) = &mut nameless.detail else { panic!("HTTP") };
    http.host = None;
    let direct = steered(Verdict::Direct, Some("10.0.0.2:8080"));
    let proxied = steered(Verdict::Proxied, Some("10.0.1.1:81"));
    let relayed = steered(Verdict::Proxied, None);
    let mut by_name = direct.clone();
    let steered =
        Steered { host: Some("web.test".into()), ..by_name.steered.as_deref().expect("steered").clone() };
    by_name.steered = Some(Arc::new(steered));
    // Connection, exchange => server, peer, verdict.
    for (connection, exchange, server, peer, verdict) in [
        (&by_name, &named, "api.test 80", "10.0.0.2 8080", "direct"),
        (&by_name, &nameless, "web.test 80", "10.0.0.2 8080", "direct"),
        (&direct, &named, "api.test 80", "10.0.0.2 8080", "direct"),
        (&direct, &nameless, "10.0.0.9 80", "10.0.0.2 8080", "direct"),
        (&proxied, &nameless, "10.0.0.9 80", "10.0.1.1 81", "proxied"),
        (&relayed, &nameless, "10.0.0.9 80", "10.0.0.9 80", "proxied"),
    ] {
        let told = told(&Span::new(connection, exchange, ids, None).attributes);
        let pair = |of: &str, both: &str| {
            let (host, port) = both.split_once(' ').expect("two words");
            format!("{of}.address={host} {of}.port={port}")
        };
        let end = format!("sidecar.verdict={verdict} sidecar.service=api");
        let expected = [pair("server", server), pair("network.peer", peer), end].join(" ");
        assert!(told.ends_with(&expected), "{told}, not {expected}");
    }
    let mut store = Store::new(Options { peers: 4, ..Options::default() });
    store.exchange(&proxied, "http", &nameless, None);
    store.exchange(&relayed, "http", &nameless, None);
    store.activity(&proxied, None, Some(Activity::Idle));
    store.exchange(&by_name, "http", &nameless, None);
    store.activity(&by_name, None, Some(Activity::Idle));
    store.tcp(Ktime(0), Some(&proxied), Tcp::Opened(None));
    let mut has = |def: &MetricDef, text: &str| {
        let all = points(&mut store, def);
        assert!(all.iter().any(|(labels, _)| labels.contains(text)), "{text} in {all:?}");
    };
    let asked = "server.address=10.0.0.9 server.port=80";
    let peer = "network.peer.address=10.0.1.1 network.peer.port=81";
    has(&catalogue::HTTP_CLIENT_DURATION, &format!("{asked} {peer}"));
    has(&catalogue::HTTP_CLIENT_OPEN, asked);
    for def in [&catalogue::HTTP_CLIENT_DURATION, &catalogue::HTTP_CLIENT_OPEN] {
        has(def, "server.address=web.test server.port=80");
    }
    has(&catalogue::PEER_OPENED, peer);
    assert!(
        points(&mut store, &catalogue::HTTP_CLIENT_DURATION)
            .iter()
            .any(|(labels, _)| labels.ends_with(asked))
    );
}

/// Each measure is there where its ends were seen, and only there.
#[test]
fn measures_of_an_exchange() {
    let mut whole = exchange(Method::Post, Some(200), Outcome::Complete);
    (whole.requested, whole.answered) = (Some(Ktime(1_010_000_000)), Some(Ktime(1_012_000_000)));
    let Detail::Http(http) = &mut whole.detail else { panic!("HTTP") };
    (http.request_body, http.response_body) = (Some(3000), Some(20_000_000_000));
    let mut early = whole.clone();
    early.answered = Some(Ktime(1_001_000_000));
    let Detail::Http(http) = &mut early.detail else { panic!("HTTP") };
    http.request_body = None;
    let none = exchange(Method::Post, None, Outcome::Unanswered(Cut::Reset(Side::Client)));
    // What is measured => sums of the three, in their order.
    let cases: [(&MetricDef, [Option<f64>; 3]); 5] = [
        (&catalogue::HTTP_SERVER_DURATION, [Some(0.03), Some(0.03), Some(0.03)]),
        (&catalogue::HTTP_SERVER_FIRST_BYTE, [Some(0.012), Some(0.001), None]),
        (&catalogue::HTTP_SERVER_WAIT, [Some(0.002), None, None]),
        (&catalogue::HTTP_SERVER_REQUEST_SIZE, [Some(3000.0), None, Some(0.0)]),
        (&catalogue::HTTP_SERVER_RESPONSE_SIZE, [Some(2e10), Some(2e10), None]),
    ];
    for (def, sums) in cases {
        for (exchange, expected) in [&whole, &early, &none].into_iter().zip(sums) {
            let mut store = Store::new(Options::default());
            store.exchange(&connection(Some(Role::Server)), "http", exchange, None);
            let sum = points(&mut store, def).into_iter().next().map(|(_, value)| match value {
                PointValue::Histogram(histogram) => histogram.sum,
                PointValue::U64(_) | PointValue::F64(_) => f64::NAN,
            });
            let is_same = |sum: f64, expected: f64| (sum - expected).abs() < 1e-9;
            let is_right = sum.zip(expected).map_or(sum == expected, |(a, b)| is_same(a, b));
            assert!(is_right, "{}: {sum:?}, not {expected:?}", def.name);
        }
    }
}

#[test]
fn what_is_going_on_is_exact() {
    let mut store = Store::new(Options { series_cap: 4, ..Options::default() });
    let (server, client) = (connection(Some(Role::Server)), connection(Some(Role::Client)));
    let start = Start { at: Ktime(0), method: Some(Method::Get), is_excluded: false };
    assert!(points(&mut store, &catalogue::HTTP_SERVER_ACTIVE).is_empty());
    for start in
        [start, start, Start { method: Some(Method::Put), ..start }, Start { is_excluded: true, ..start }]
    {
        store.started(&server, &start);
        store.started(&client, &start);
    }
    store.exchange(&server, "http", &exchange(Method::Put, Some(200), Outcome::Complete), None);
    let excluded = Exchange { is_excluded: true, ..exchange(Method::Get, Some(200), Outcome::Complete) };
    store.exchange(&server, "http", &excluded, None);
    let active = [
        ("http.request.method=GET url.scheme=http".to_owned(), PointValue::U64(2)),
        ("http.request.method=PUT url.scheme=http".to_owned(), PointValue::U64(0)),
    ];
    assert_eq!(points(&mut store, &catalogue::HTTP_SERVER_ACTIVE), active);
    assert_eq!(points(&mut store, &catalogue::EXCLUDED_EXCHANGES)[0].1, PointValue::U64(1));
    let n_durations = points(&mut store, &catalogue::HTTP_SERVER_DURATION).len();
    assert_eq!(n_durations, 1, "the excluded one is none of them");

    let others: Vec<Connection> =
        (1..=2).map(|i| Connection { remote: ([10, 0, 0, 2 + i], 80).into(), ..client.clone() }).collect();
    let (idle, active) = (Some(Activity::Idle), Some(Activity::Active));
    store.activity(&server, None, idle);
    for connection in [&client, &client, &others[0], &others[1]] {
        store.activity(connection, None, idle);
    }
    store.activity(&client, idle, active);
    let of = |state: &str, address: &str, port: u16, n: u64| {
        let attributes = format!(
            "http.connection.state={state} server.address={address} server.port={port} url.scheme=http"
        );
        (attributes, PointValue::U64(n))
    };
    // The third server is beyond the cap: each has two series.
    let expected = [
        of("active", "10.0.0.2", 8080, 1),
        of("active", "10.0.0.3", 80, 0),
        of("idle", "10.0.0.2", 8080, 1),
        of("idle", "10.0.0.3", 80, 1),
        ("otel.metric.overflow=true".to_owned(), PointValue::U64(1)),
    ];
    assert_eq!(points(&mut store, &catalogue::HTTP_CLIENT_OPEN), expected);
    for (connection, from) in [(&client, active), (&client, idle), (&others[0], idle), (&others[1], idle)] {
        store.activity(connection, from, None);
    }
    assert!(points(&mut store, &catalogue::HTTP_CLIENT_OPEN).is_empty(), "vanished servers leave nothing");
}

/// Routes are the server's; headers are shown as they were asked for.
#[test]
fn routes_and_headers() {
    let mut routes = Routes::new(RouteOptions { learn: true, cap: 8, ..RouteOptions::default() });
    let ids = SpanIds { trace: [1; 16], span: [2; 8] };
    let mut store = Store::new(Options::default());
    for (role, name, is_shown) in [(Role::Server, "GET /a", true), (Role::Client, "GET", false)] {
        let connection = connection(Some(role));
        let mut exchange = exchange(Method::Get, Some(200), Outcome::Complete);
        let Detail::Http(http) = &mut exchange.detail else { panic!("HTTP") };
        http.request_headers =
            vec![("user-agent".into(), vec!["curl".into()]), ("x-id".into(), vec!["1".into(), "2".into()])];
        http.response_headers = vec![("etag".into(), vec!["z".into()])];
        routes.label(&connection, &mut exchange);
        store.exchange(&connection, "http", &exchange, None);
        let span = Span::new(&connection, &exchange, ids, None);
        assert_eq!(span.name, name);
        let attributes = told(&span.attributes);
        assert_eq!(attributes.contains("http.route=/a"), is_shown, "{attributes}");
        assert!(attributes.ends_with("user_agent.original=curl"), "{attributes}");
        let headers: Vec<_> =
            span.headers.iter().map(|(key, values)| format!("{key}={}", values.join(","))).collect();
        assert_eq!(headers, ["http.request.header.x-id=1,2", "http.response.header.etag=z"]);
    }
    let of_server = &points(&mut store, &catalogue::HTTP_SERVER_DURATION)[0].0;
    assert!(of_server.contains("http.route=/a") && !of_server.contains("x-id"), "{of_server}");
    let of_client = &points(&mut store, &catalogue::HTTP_CLIENT_DURATION)[0].0;
    assert!(!of_client.contains("http.route"), "{of_client}");
}

/// Each signal names the container once there are several; what is counted in and out stays even though it becomes known in
/// between.
#[test]
fn containers_are_told_apart() {
    let mut store = Store::new(Options { peers: 4, ..Options::default() });
    let of = |cgroup, role| Connection { cgroup, id: ConnectionId(cgroup), ..connection(Some(role)) };
    let start = Start { at: Ktime(0), method: Some(Method::Get), is_excluded: false };
    let done = exchange(Method::Get, Some(200), Outcome::Complete);
    store.started(&of(7, Role::Server), &start);
    store.activity(&of(7, Role::Client), None, Some(Activity::Active));
    let named = |cgroups: &[(u64, &str)]| -> Vec<(u64, std::sync::Arc<str>)> {
        cgroups.iter().map(|(cgroup, name)| (*cgroup, (*name).into())).collect()
    };
    store.containers_mut().set(false, named(&[(7, "a")]));
    let active = |store: &mut Store| points(store, &catalogue::HTTP_SERVER_ACTIVE);
    let one = |attributes: &str, n| {
        (format!("http.request.method=GET url.scheme=http{attributes}"), PointValue::U64(n))
    };
    assert_eq!(active(&mut store), [one("", 1)]);

    // 9 is below the second container, of 5 nothing is known.
    store.containers_mut().set(true, named(&[(7, "a"), (8, "b"), (9, "b")]));
    for cgroup in [8, 9, 5] {
        store.started(&of(cgroup, Role::Server), &start);
        store.tcp(Ktime(0), Some(&of(cgroup, Role::Server)), Tcp::Opened(None));
    }
    assert_eq!(active(&mut store), [one("", 1), one(" container.name=a", 1), one(" container.name=b", 2)]);
    for cgroup in [7, 8, 9, 5] {
        store.exchange(&of(cgroup, Role::Server), "http", &done, None);
        store.exchange(&of(cgroup, Role::Client), "http", &done, None);
        store.delivered(Ktime(0), &of(cgroup, Role::Server), Duration::from_millis(1));
    }
    assert_eq!(active(&mut store), [one("", 0), one(" container.name=a", 0), one(" container.name=b", 0)]);
    let counts = |store: &mut Store, def| -> Vec<(String, u64)> {
        let count = |(attributes, value): (String, PointValue)| {
            let n = match value {
                PointValue::U64(n) => n,
                PointValue::F64(_) => 0,
                PointValue::Histogram(histogram) => histogram.count,
            };
            let name = attributes.rsplit_once("container.name=").map_or("", |(_, name)| name);
            (name.to_owned(), n)
        };
        points(store, def).into_iter().map(count).collect()
    };
    let expected = |n: [u64; 3]| -> Vec<(String, u64)> {
        ["", "a", "b"].map(str::to_owned).into_iter().zip(n).collect()
    };
    for def in
        [&catalogue::HTTP_SERVER_DURATION, &catalogue::HTTP_CLIENT_DURATION, &catalogue::HTTP_SERVER_DELIVERY]
    {
        assert_eq!(counts(&mut store, def), expected([1, 1, 2]), "{}", def.name);
    }
    let peers = [("".to_owned(), 1), ("b".to_owned(), 2)];
    assert_eq!(counts(&mut store, &catalogue::PEER_OPENED), peers);
    store.activity(&of(7, Role::Client), Some(Activity::Active), Some(Activity::Idle));
    assert_eq!(counts(&mut store, &catalogue::HTTP_CLIENT_OPEN), [("a".to_owned(), 0), ("a".to_owned(), 1)]);
    store.activity(&of(7, Role::Client), Some(Activity::Idle), None);
    assert!(counts(&mut store, &catalogue::HTTP_CLIENT_OPEN).is_empty());

    // One ends: what is late of it has its name, and the other keeps its own.
    store.containers_mut().set(true, named(&[(8, "b"), (9, "b")]));
    store.exchange(&of(7, Role::Server), "http", &done, None);
    assert_eq!(counts(&mut store, &catalogue::HTTP_SERVER_DURATION), expected([1, 2, 2]));
    assert_eq!(active(&mut store), [one("", 0), one(" container.name=b", 0)]);
    let ids = SpanIds { trace: [1; 16], span: [2; 8] };
    let span = Span::new(&of(8, Role::Server), &done, ids, Some("b"));
    assert!(told(&span.attributes).ends_with(" container.name=b"));
}
