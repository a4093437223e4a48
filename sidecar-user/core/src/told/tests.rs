use serde_json::Value as Json;

use super::*;
use crate::model::{ConnectionId, Db, DbSystem, Http, HttpVersion, Ktime, Method, Outcome};

fn connection(role: Role) -> Connection {
    Connection {
        id: ConnectionId(1),
        role: Some(role),
        local: ([10, 0, 0, 1], 80).into(),
        remote: ([10, 0, 0, 2], 40_000).into(),
        tgid: 0,
        cgroup: 0,
        joined: false,
        steered: None,
    }
}

fn exchange(detail: Detail) -> Exchange {
    Exchange {
        started: Ktime(1_000),
        requested: None,
        read: None,
        answered: None,
        ended: Ktime(31_000),
        outcome: Outcome::Complete,
        is_excluded: false,
        lost: 0,
        trace: None,
        detail,
    }
}

fn http(path: &str) -> Detail {
    Detail::Http(Http {
        method: Some(Method::Get),
        method_original: None,
        version: HttpVersion::Http11,
        status: Some(503),
        host: Some("api.test".into()),
        port: None,
        path: Some(path.into()),
        route: None,
        request_headers: Vec::new(),
        response_headers: vec![("x-cache".into(), vec!["a".into(), "b".into()])],
        exports: None,
        request_body: Some(0),
        response_body: None,
        is_doubtful: false,
    })
}

fn told(detail: Detail) -> Told {
    Told::new(&connection(Role::Server), "http", &exchange(detail), Some(5))
}

#[test]
fn the_keys_are_these_and_in_this_order() {
    assert_eq!(
        told(http("/a")).to_json(),
        concat!(
            r#"{"protocol":"http","client.address":"10.0.0.2","client.port":40000,"#,
            r#""server.address":"api.test","server.port":80,"operation":"GET","status":"503","#,
            r#""error.type":"503","start_unix_nano":1005,"duration_ns":30000,"request.bytes":0,"#,
            r#""attributes":{"http.request.method":"GET","http.response.header.x-cache":["a","b"],"#,
            r#""http.response.status_code":503,"network.local.address":"10.0.0.1","network.local.port":80,"#,
            r#""network.peer.address":"10.0.0.2","network.peer.port":40000,"network.protocol.version":"1.1","#,
            r#""url.path":"/a","url.scheme":"http"}}"#
        )
    );
    assert_eq!(
        told(http("/a b")).to_text(),
        concat!(
            "protocol=http client.address=10.0.0.2 client.port=40000 server.address=api.test server.port=80 ",
            "operation=GET status=503 error.type=503 start_unix_nano=1005 duration_ns=30000 request.bytes=0 ",
            r#"http.response.header.x-cache="a, b" network.local.address=10.0.0.1 "#,
            r#"network.protocol.version=1.1 url.path="/a b" url.scheme=http"#
        )
    );
}

#[test]
fn what_is_not_known_is_absent() {
    let db = Detail::Db(Box::new(Db::new(DbSystem::Redis)));
    let told = Told::new(&connection(Role::Client), "redis", &exchange(db), None);
    let json: Json = serde_json::from_str(&told.to_json()).expect("JSON");
    let keys: Vec<_> = json.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        ["attributes", "client.address", "client.port", "protocol", "server.address", "server.port"]
    );
    assert_eq!((&json["client.port"], &json["server.port"]), (&80.into(), &40_000.into()));
    assert_eq!(json["attributes"]["db.system.name"], "redis");
}

#[test]
fn nothing_hostile_gets_through() {
    for (path, escaped, unit) in [
        ("/\u{1b}[2J", r"/\u{1b}[2J", r"\u001b"),
        ("/\u{9b}2J", r"/\u{9b}2J", r"\u009b"),
        ("/\u{7f}", r"/\u{7f}", r"\u007f"),
        ("/a\r\n\tb", r"/a\r\n\tb", r"\r\n\t"),
        ("/\u{202e}gpj", r"/\u{202e}gpj", r"\u202e"),
        ("/\u{2066}a\u{2069}", r"/\u{2066}a\u{2069}", r"\u2066"),
        ("/\u{2028}", r"/\u{2028}", r"\u2028"),
        ("/\u{e0041}", r"/\u{e0041}", r"\udb40\udc41"),
        ("/\\", r"/\\", r"\\"),
        ("/\"", "/\\\"", "\\\""),
    ] {
        let told = told(http(path));
        let (json, text) = (told.to_json(), told.to_text());
        assert!(text.contains(escaped), "{text}");
        assert!(json.contains(unit), "{json}");
        let read: Json = serde_json::from_str(&json).expect("JSON");
        assert_eq!(read["attributes"]["url.path"], path);
        for line in [json, text] {
            let is_plain = |c: char| matches!(c, ' '..='~');
            assert!(line.chars().all(is_plain), "{line:?}");
        }
    }
    // Letters are no danger, wherever they come from.
    assert!(told(http("/é/日本")).to_text().contains("url.path=/é/日本"));
    for (value, expected) in
        [("", "\"\""), ("a", "a"), ("a=b", "\"a=b\""), ("a b", "\"a b\""), ("\\", "\\\\")]
    {
        assert_eq!(quoted(value), expected);
    }
}

#[test]
fn filters() {
    let mut told = told(http("/api/a"));
    told.took = Some(Duration::from_millis(20));
    let takes = |wanted: &[(&str, &str)], unwanted: &[(&str, &str)]| {
        let mut filter = Filter::default();
        for (name, value) in wanted {
            filter.add(name, value, true).expect("a condition");
        }
        for (name, value) in unwanted {
            filter.add(name, value, false).expect("a condition");
        }
        filter.takes(&told)
    };
    assert!(takes(&[], &[]));
    for (name, holds, other) in [
        ("protocol", "HTTP", "redis"),
        ("role", "server", "client"),
        ("status", "503", "504"),
        ("status", "5xx", "2xx"),
        ("path", "/api/*", "/api"),
        ("peer", "10.0.0.0/24", "10.0.1.0/24"),
        ("min-duration", "20ms", "21ms"),
    ] {
        assert!(takes(&[(name, holds)], &[]) && !takes(&[(name, other)], &[]), "{name}");
        assert!(!takes(&[], &[(name, holds)]) && takes(&[], &[(name, other)]), "not {name}");
        // Any of a kind.
        assert!(takes(&[(name, holds), (name, other)], &[]), "{name} or {name}");
    }
    // All kinds, and none of those that are not wanted.
    assert!(takes(&[("protocol", "http"), ("status", "5xx")], &[("path", "/health")]));
    assert!(!takes(&[("protocol", "http"), ("status", "2xx")], &[]));
    assert!(!takes(&[("protocol", "http")], &[("peer", "10.0.0.2")]));
    for (name, value) in [
        ("protocol", ""),
        ("role", "both"),
        ("path", "api"),
        ("peer", "host"),
        ("min-duration", "10"),
        ("min-duration", "-1s"),
        ("min-duration", "1e99h"),
        ("colour", "red"),
    ] {
        assert!(Filter::default().add(name, value, true).is_err(), "{name}={value}");
    }
}
