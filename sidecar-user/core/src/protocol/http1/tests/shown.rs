//! What others may see of a conversation.

use super::super::open;
use super::script::{CLIENT, Do, SERVER, c, case, run, s};
use crate::model::{Ktime, Side};
use crate::protocol::{Birth, Close, Keep, Limits, Signal};

/// What is shown of one side's bytes, `|` for CRLF.
fn shown(script: &[Do], side: Side, limits: &Limits, piece: usize) -> String {
    let shown = run(script, limits.clone(), Birth::Seen, |_| piece).shown;
    let bytes = shown.iter().filter_map(|step| match step {
        Do::Push(of, bytes) if *of == side => Some(bytes.as_slice()),
        _ => None,
    });
    String::from_utf8_lossy(&bytes.collect::<Vec<_>>().concat()).replace("\r\n", "|")
}

#[test]
fn heads() {
    let parent = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let rest = "HTTP/1.1|Host: a.test|";
    for (request, expected) in [
        (format!("GET /a/b?token=secret {rest}|"), format!("GET /a/b?xxxxxxxxxxxx {rest}|")),
        (format!("GET /a#secret {rest}|"), format!("GET /a#xxxxxx {rest}|")),
        (format!("GET http://me:secret@h:1/a?b {rest}|"), format!("GET http://xxxxxxxxx@h:1/a?x {rest}|")),
        (format!("GET secret://h/ {rest}|"), format!("GET xxxxxx://h/ {rest}|")),
        (format!("OPTIONS * {rest}|"), format!("OPTIONS * {rest}|")),
        (format!("OPTIONS secret {rest}|"), format!("OPTIONS xxxxxx {rest}|")),
        (format!("||PURGE  /a  {rest}|"), format!("||PURGE  /a  {rest}|")),
        (
            format!(
                "GET / {rest}Cookie: a=secret|Authorization: Basic c2VjcmV0|X-Key:secret|{parent}|tracestate: a=secret||"
            ),
            format!(
                "GET / {rest}Cookie: xxxxxxxx|Authorization: xxxxxxxxxxxxxx|X-Key:xxxxxx|{parent}|tracestate: xxxxxxxx||"
            ),
        ),
        ("GET / HTTP/1.1|Host: h/p?secret||".to_owned(), "GET / HTTP/1.1|Host: ^^^^^^^^^^||".to_owned()),
        (
            "GET / HTTP/1.1|Host: me:secret@h:1||".to_owned(),
            "GET / HTTP/1.1|Host: xxxxxxxxx@h:1||".to_owned(),
        ),
        (format!("GET / {rest}traceparent: secret||"), format!("GET / {rest}traceparent: xxxxxx||")),
        (
            format!("POST /v1/logs {rest}Content-Type: application/json; a=secret|Content-Length: 6||secret"),
            format!("POST /v1/logs {rest}Content-Type: application/json;xxxxxxxxx|Content-Length: 6||xxxxxx"),
        ),
        (
            format!("GET / {rest}Content-Type: text/secret||"),
            format!("GET / {rest}Content-Type: xxxxxxxxxxx||"),
        ),
        (
            format!("POST / {rest}Transfer-Encoding: secret, chunked||6;a=secret|secret|0|Trailer: secret||"),
            format!("POST / {rest}Transfer-Encoding: xxxxxx, chunked||6;xxxxxxxx|xxxxxx|0|xxxxxxx: xxxxxx||"),
        ),
        (
            format!("GET / {rest}Content-Length: 5, secret||"),
            format!("GET / {rest}Content-Length: 5,xxxxxxx||"),
        ),
        (format!("POST / {rest}Upgrade: secret||"), format!("POST / {rest}Upgrade: xxxxxx||")),
    ] {
        for piece in [1, 7, 1000] {
            assert_eq!(shown(&[c(&request)], CLIENT, &Limits::default(), piece), expected, "{piece}");
        }
    }
    let asked = c(&format!("GET / {rest}|"));
    for (response, expected) in [
        (
            "HTTP/1.1 200 secret|Set-Cookie: a=secret|Location: /?secret|Content-Length: 6||secret",
            "HTTP/1.1 200 xxxxxx|Set-Cookie: xxxxxxxx|Location: xxxxxxxx|Content-Length: 6||xxxxxx",
        ),
        (
            "HTTP/1.1 200|X: a| secret: b|Content-Length: 0||",
            "HTTP/1.1 200|X: x| xxxxxx: x|Content-Length: 0||",
        ),
        ("HTTP/1.0 200 OK||secret", "HTTP/1.0 200 xx||xxxxxx"),
        (
            "HTTP/1.1 200 OK|Content-Type: text/event-stream||\u{feff}id: secret|data: secret||dat: secret|",
            "HTTP/1.1 200 xx|Content-Type: text/event-stream||\u{feff}xxxxxxxxxx|data: xxxxxx||datxxxxxxxx|",
        ),
    ] {
        for piece in [1, 7, 1000] {
            let script = [asked.clone(), s(response)];
            assert_eq!(shown(&script, SERVER, &Limits::default(), piece), expected, "{piece}");
        }
    }
}

#[test]
fn what_is_no_head_or_not_exported_is_not_shown() {
    let limits = Limits { head_bytes: 64, ..Limits::default() };
    let long = format!("GET /a?secret HTTP/1.1|Host: secret|X: {}||", "secret".repeat(20));
    let expected = format!("GET /a?xxxxxx HTTP/1.1|xxxx: xxxxxx|x: {}||", "xxxxxx".repeat(20));
    let no_paths = Limits { keep: Keep::default().into(), ..Limits::default() };
    for piece in [1, 7, 1000] {
        assert_eq!(shown(&[c(&long)], CLIENT, &limits, piece), expected, "{piece}");
        let begun = "GET /secret HTTP/1.1|Host: a|Cookie: secret";
        let told = shown(&[c(begun), Do::End(CLIENT)], CLIENT, &Limits::default(), piece);
        assert_eq!(told, "GET /secret HTTP/1.1|xxxx: x|xxxxxx: xxxxxx");
        let told = shown(&[c("GET /secret/path HTTP/1.1||")], CLIENT, &no_paths, piece);
        assert_eq!(told, "GET /xxxxxxxxxxx HTTP/1.1||");
        let script = [c("GET / HTTP/1.1||"), s("HTTP/1.1 204 a||"), c("secret|secret||more")];
        let told = shown(&script, CLIENT, &Limits::default(), piece);
        assert_eq!(told.replace('\0', "0"), "GET / HTTP/1.1||000000|000000||0000", "{piece}");
    }
}

#[test]
fn parents_by_b3() {
    let ids = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1";
    let several = ids.replace('-', "|X-B3-SpanId: ");
    for (is_on, lines, parent) in [
        (true, format!("b3: {ids}-1"), " parent d1"),
        (true, format!("X-B3-TraceId: {several}|X-B3-Sampled: 1"), " parent d1"),
        (
            true,
            format!("B3: {ids}-1|traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            " parent b7",
        ),
        (true, format!("traceparent: none|b3: {ids}"), " parent d1"),
        (true, format!("b3: {ids}-1|b3: {ids}-1"), ""),
        (true, "b3: 0".to_owned(), ""),
        (false, format!("b3: {ids}-1"), ""),
    ] {
        let keep = Keep { b3: is_on, paths: true, ..Keep::default() };
        let script = [c(&format!("GET / HTTP/1.1|{lines}||")), s("HTTP/1.1 204 No||")];
        case("a request", &script, &[&format!("GET -/ -> 204 complete 0/0 @1 1 2 2{parent}")])
            .limits(Limits { keep: keep.into(), ..Limits::default() })
            .check();
    }
}

#[test]
fn events_are_counted_in_what_is_shown() {
    let head = "HTTP/1.1 200 OK|Content-Type: text/event-stream|Transfer-Encoding: chunked||";
    let stream =
        ": a\n\ndata: one\ndata:two\n\nevent: data\nid\r\rdata\n\ndata: a\r\n\r\n\ndatab\n\ndata: end";
    let chunks: String =
        stream.split_inclusive('o').map(|part| format!("{:x}|{part}|", part.len())).collect();
    let script = [c("GET / HTTP/1.1||"), s(&format!("{head}{chunks}"))];
    let messages = |script: &[Do]| {
        let mut parser = open(Limits::default().into(), Birth::Seen);
        let mut out = Vec::new();
        for step in script {
            let Do::Push(side, bytes) = step else { continue };
            let _ = parser.push(*side, Ktime(1), bytes, &mut out);
        }
        parser.close(Ktime(2), Close::Closed, &mut out);
        out.retain(|signal| matches!(signal, Signal::Message(_)));
        out
    };
    let told = messages(&script);
    assert_eq!(told.len(), 3);
    for piece in [1, 5, 1000] {
        let shown = run(&script, Limits::default(), Birth::Seen, |_| piece).shown;
        assert_eq!(messages(&shown), told, "{piece}: {shown:?}");
    }
}
