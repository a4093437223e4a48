//! Connections that were watched from their beginning.

use std::sync::Arc;

use super::script::*;
use crate::protocol::{Close, Keep, Limits, Oddities};

#[test]
fn requests_and_responses() {
    let named =
        plain(&[(":method", "PURGE"), (":path", "/a?b"), (":authority", "A.test:81"), (":scheme", "http")]);
    let traced =
        [GET, &plain(&[("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")])].concat();
    let post = [POST, &plain(&[(":authority", "a.test")])].concat();
    let hint = plain(&[(":status", "103"), ("link", "</a>")]);
    case(
        "one after the other",
        &[
            c(&[headers(BOTH, 1, GET)]),
            s(&[headers(BOTH, 1, OK)]),
            c(&[headers(BOTH, 3, &named)]),
            s(&[headers(BOTH, 3, b"\x8d")]),
        ],
        &["GET -/ -> 200 complete 0/0 @1 1 2 2", "PURGE a.test:81/a -> 404 complete 0/0 @3 3 4 4"],
    )
    .check();
    case(
        "bodies, padded and not, both ways",
        &[
            c(&[headers(END_HEADERS, 1, &post), data(0, 1, b"abc")]),
            c(&[data(8, 1, b"\x03abcd---"), data(9, 1, b"\x00")]),
            s(&[headers(END_HEADERS, 1, OK), data(0, 1, b"")]),
            s(&[data(9, 1, b"\x05hello-----")]),
        ],
        &["POST a.test/ -> 200 complete 7/5 @1 2 3 4"],
    )
    .check();
    case(
        "each answered when it is, and in any order",
        &[
            c(&[headers(BOTH, 1, GET), headers(BOTH, 3, &traced)]),
            c(&[headers(END_HEADERS, 5, POST)]),
            s(&[headers(END_HEADERS, 3, OK), headers(END_HEADERS, 1, b"\x8d"), data(1, 3, b"ab")]),
            c(&[data(1, 5, b"x")]),
            s(&[headers(BOTH, 5, OK)]),
            s(&[data(1, 1, b"")]),
        ],
        &[
            "GET -/ -> 200 complete 0/2 @1 1 3 3 parent b7",
            "POST -/ -> 200 complete 1/0 @2 4 5 5",
            "GET -/ -> 404 complete 0/0 @1 1 3 6",
        ],
    )
    .check();
    case(
        "a priority, padding and two continuations",
        &[
            c(&[
                f(1, 0x29, 1, &[&[2][..], &[0, 0, 0, 0, 16], &GET[..1], b"--"].concat()),
                f(9, 0, 1, &GET[1..2]),
            ]),
            c(&[f(9, 4, 1, &GET[2..])]),
            s(&[f(1, 1, 1, b""), f(9, 4, 1, OK)]),
        ],
        &["GET -/ -> 200 complete 0/0 @1 2 3 3"],
    )
    .check();
    case(
        "interim responses and trailers",
        &[
            c(&[headers(END_HEADERS, 1, POST), headers(BOTH, 1, &plain(&[("x-sum", "1")]))]),
            s(&[headers(END_HEADERS, 1, &hint)]),
            s(&[headers(END_HEADERS, 1, OK), data(0, 1, b"a")]),
            s(&[headers(BOTH, 1, &plain(&[("x-sum", "2")]))]),
        ],
        &["POST -/ -> 200 complete 0/1 @1 1 3 4"],
    )
    .check();
    case(
        "a response before the request is whole",
        &[
            c(&[headers(END_HEADERS, 1, POST)]),
            s(&[headers(BOTH, 1, OK)]),
            c(&[data(1, 1, b"late"), reset(1, 8)]),
        ],
        &["POST -/ -> 200 complete -/0 @1 - 2 2"],
    )
    .check();
    case(
        "a tunnel",
        &[
            c(&[headers(END_HEADERS, 1, &plain(&[(":method", "CONNECT"), (":authority", "h:443")]))]),
            s(&[headers(END_HEADERS, 1, OK)]),
            c(&[data(0, 1, b"anything")]),
            s(&[data(1, 1, b"anything")]),
        ],
        &["CONNECT h:443- -> 200 complete -/0 @1 - 2 2"],
    )
    .check();
    case(
        "what a server pushes is passed over, and its fields are inserted",
        &[
            c(&[headers(BOTH, 1, GET)]),
            s(&[f(5, 4, 1, &[&[0, 0, 0, 2][..], b"\x82\x44\x02/b"].concat()), headers(END_HEADERS, 2, OK)]),
            s(&[data(1, 2, b"pushed"), headers(BOTH, 1, b"\x88\x5f\x03a/b")]),
        ],
        &["GET -/ -> 200 complete 0/0 @1 1 3 3"],
    )
    .check();
    case(
        "what is none of ours",
        &[
            c(&[f(4, 1, 0, b""), f(6, 0, 0, &[0; 8]), f(8, 0, 0, &[0, 0, 1, 0]), f(2, 0, 3, &[0; 5])]),
            s(&[f(4, 0, 0, &[0, 5, 0, 1, 0, 0]), f(16, 0, 0, b"extension"), f(6, 1, 0, &[0; 8])]),
        ],
        &[],
    )
    .check();
}

/// Written out or in Huffman's code, no value that is not exported is shown, nor any body.
#[test]
fn what_others_do_not_see() {
    let secret = "canary-of-somebody";
    let mut coded = Vec::new();
    httlib_huffman::encode(secret.as_bytes(), &mut coded).expect("a code");
    let huffman = |name: &str| {
        let name = name.as_bytes();
        [&[0x40, name.len() as u8][..], name, &[0x80 | coded.len() as u8], &coded].concat()
    };
    let path = format!("/a?{secret}");
    let fields = plain(&[(":path", &path), (":authority", "me@a.test"), ("cookie", secret), (secret, "1")]);
    let request =
        [&b"\x83\x86"[..], &fields, &huffman("authorization"), &huffman("content-type"), &huffman("x-b")]
            .concat();
    let body = [secret.as_bytes(), &coded].concat();
    let script = [
        c(&[headers(END_HEADERS, 1, &request), data(8, 1, &[&[18][..], &body, secret.as_bytes()].concat())]),
        c(&[headers(BOTH, 1, &huffman("x-sum"))]),
        s(&[
            f(6, 0, 0, b"canary-o"),
            f(16, 0, 0, secret.as_bytes()),
            headers(END_HEADERS, 1, &[OK, &huffman("set-cookie")].concat()),
            data(0, 1, &body),
            headers(BOTH, 1, &plain(&[("grpc-message", secret)])),
            f(7, 0, 0, &[&[0; 8][..], secret.as_bytes()].concat()),
        ]),
    ];
    for piece in [1, 3, 17, 10_000] {
        let mut parser = super::super::open(Limits::default().into(), crate::protocol::Birth::Seen);
        let _ = parser.push(CLIENT, Default::default(), PREFACE, &mut Vec::new());
        let shown = run(parser, &script, |_| piece).shown;
        for step in &shown {
            let Do::Push(_, bytes) = step else { continue };
            for canary in [&secret.as_bytes()[..8], &coded[..8]] {
                assert!(!bytes.windows(8).any(|some| some == canary), "{piece}: {}", bytes.escape_ascii());
            }
        }
        let sum = shown
            .iter()
            .map(|step| if let Do::Push(_, bytes) = step { bytes.len() } else { 0 })
            .sum::<usize>();
        assert!(sum > 200, "it is there at all: {sum}");
    }
}

#[test]
fn parents_by_b3() {
    let w3c = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let b3 = ("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1");
    let several = [("x-b3-traceid", "80f198ee56343ba864fe8b2a57d3eff7"), ("x-b3-spanid", "e457b5a2e4d86bd1")];
    for (is_on, fields, parent) in [
        (true, &[b3][..], " parent d1"),
        (true, &several, " parent d1"),
        (true, &[b3, w3c], " parent b7"),
        (true, &[b3, b3], ""),
        (false, &[b3], ""),
    ] {
        let keep = Keep { b3: is_on, paths: true, ..Keep::default() };
        case(
            "a request",
            &[c(&[headers(BOTH, 1, &[GET, &plain(fields)].concat())]), s(&[headers(BOTH, 1, OK)])],
            &[&format!("GET -/ -> 200 complete 0/0 @1 1 2 2{parent}")],
        )
        .limits(Limits { keep: keep.into(), ..Limits::default() })
        .check();
    }
}

#[test]
fn endings() {
    let open = c(&[headers(BOTH, 1, GET), headers(END_HEADERS, 3, POST), headers(BOTH, 5, GET)]);
    let begun = s(&[headers(END_HEADERS, 1, OK), data(0, 1, b"ab")]);
    case(
        "by RST_STREAM",
        &[
            open.clone(),
            begun.clone(),
            c(&[reset(1, 8)]),
            s(&[reset(3, 7), reset(5, 2), data(1, 1, b"late"), headers(BOTH, 3, OK)]),
        ],
        &[
            "GET -/ -> 200 truncated by client's stream end 0/2 @1 1 2 3",
            "POST -/ -> - aborted by server's stream end -/- @1 - - 4",
            "GET -/ -> - unanswered by server's stream end 0/- @1 1 - 4",
        ],
    )
    .check();
    case(
        "by GOAWAY",
        &[open.clone(), begun.clone(), s(&[away(i32::MAX as u32), away(1)]), s(&[data(1, 1, b"c")])],
        &[
            "POST -/ -> - unanswered by server's stream end -/- @1 - - 3",
            "GET -/ -> - unanswered by server's stream end 0/- @1 1 - 3",
            "GET -/ -> 200 complete 0/3 @1 1 2 4",
        ],
    )
    .check();
    for (how, by) in [
        (Do::Close(Close::Reset(SERVER)), "server RST"),
        (Do::Close(Close::Reset(CLIENT)), "client RST"),
        (Do::Close(Close::Closed), "FIN"),
        (Do::Close(Close::Expired), "timeout"),
        (Do::End(SERVER), "server FIN"),
    ] {
        case(
            "of the connection",
            &[open.clone(), begun.clone(), how],
            &[
                &format!("GET -/ -> 200 truncated by {by} 0/2 @1 1 2 3"),
                &format!("POST -/ -> - aborted by {by} -/- @1 - - 3"),
                &format!("GET -/ -> - unanswered by {by} 0/- @1 1 - 3"),
            ],
        )
        .check();
    }
    case(
        "of which nothing is known",
        &[open, begun, Do::Close(Close::Forgotten)],
        &[
            "GET -/ -> 200 not observed 0/- @1 1 2 3",
            "POST -/ -> - not observed -/- @1 - - 3",
            "GET -/ -> - not observed 0/- @1 1 - 3",
        ],
    )
    .check();
    case(
        "the client's FIN is waited out",
        &[c(&[headers(BOTH, 1, GET)]), Do::End(CLIENT), s(&[headers(BOTH, 1, OK)])],
        &["GET -/ -> 200 complete 0/0 @1 1 3 3"],
    )
    .check();
}

#[test]
fn bounds() {
    let limits = Limits { head_bytes: 64, outstanding: 2, ..Limits::default() };
    let long = [GET, &plain(&[(":authority", "a.test"), ("x", &"y".repeat(100))])].concat();
    case(
        "a header block that is too long: what it began with is known, and the table is not any more",
        &[
            c(&[headers(BOTH, 1, &long)]),
            s(&[headers(BOTH, 1, OK)]),
            c(&[headers(BOTH, 3, b"\x82\xbe")]),
            s(&[headers(BOTH, 3, OK)]),
        ],
        &["GET a.test/ -> 200 complete 0/0 @1 1 2 2", "GET -- -> 200 complete 0/0 @3 3 4 4"],
    )
    .limits(limits.clone())
    .odd(Oddities { oversized: 1, unresolved: 1, ..Oddities::default() })
    .check();
    case(
        "the same in continuations",
        &[
            c(&[headers(1, 1, &long[..40]), f(9, 0, 1, &long[40..100]), f(9, 4, 1, &long[100..])]),
            s(&[headers(BOTH, 1, OK)]),
        ],
        &["GET a.test/ -> 200 complete 0/0 @1 1 2 2"],
    )
    .limits(limits.clone())
    .odd(Oddities { oversized: 1, ..Oddities::default() })
    .check();
    case(
        "more streams than are held",
        &[
            c(&[headers(BOTH, 1, GET), headers(BOTH, 3, GET), headers(BOTH, 5, GET)]),
            s(&[headers(BOTH, 5, OK), headers(BOTH, 3, OK)]),
        ],
        &["GET -/ -> 200 complete 0/0 @1 1 2 2"],
    )
    .limits(limits)
    .odd(Oddities { overflow: 1, ..Oddities::default() })
    .check();
    let limits = Limits { head_bytes: 16_384, outstanding: 2, ..Limits::default() };
    // Of each next to nothing is held, or as much as may be.
    let long = [&b"\x82\x86"[..], &long_path(1000)].concat();
    for (fields, held) in [(&b"\x82\x86\x84"[..], 64..=64), (&long, 16..=2 * 16_384 / 1000)] {
        let mut parser = super::super::open(limits.clone().into(), crate::protocol::Birth::Seen);
        let mut out = Vec::new();
        let _ = parser.push(CLIENT, Default::default(), PREFACE, &mut out);
        for id in 0..100 {
            let _ = parser.push(CLIENT, Default::default(), &headers(BOTH, 2 * id + 1, fields), &mut out);
        }
        assert!(held.contains(&out.len()), "{} of {held:?}", out.len());
        assert_eq!(parser.oddities().overflow as usize, 100 - out.len());
        assert!(parser.held() < 2 * 2 * 16_384, "{}", parser.held());
    }
}

/// `:path`, of so many bytes.
fn long_path(len: usize) -> Vec<u8> {
    // A length of 127 and more takes bytes of its own (RFC 7541 section 5.1).
    let rest = len - 127;
    let text = format!("/{}", "p".repeat(len - 1));
    [&[4, 127, (rest % 128) as u8 | 128, (rest / 128) as u8], text.as_bytes()].concat()
}

#[test]
fn what_is_malformed() {
    let whole = c(&[headers(BOTH, 1, GET)]);
    let answer = s(&[headers(BOTH, 1, OK)]);
    case(
        "a block that is none",
        &[c(&[headers(BOTH, 1, b"\x80")]), c(&[headers(BOTH, 3, GET)]), s(&[headers(BOTH, 3, OK)])],
        &["GET -/ -> 200 complete 0/0 @2 2 3 3"],
    )
    .odd(Oddities { malformed: 1, ..Oddities::default() })
    .check();
    case(
        "an answer to nothing",
        &[whole, answer, s(&[headers(BOTH, 7, OK)])],
        &["GET -/ -> 200 complete 0/0 @1 1 2 2"],
    )
    .odd(Oddities { orphan_responses: 1, ..Oddities::default() })
    .check();
}

#[test]
fn what_is_kept_and_what_is_left_out() {
    let keep = Keep {
        paths: false,
        shown_paths: false,
        request_headers: vec!["x-id".into(), "user-agent".into(), "cookie".into()],
        response_headers: vec!["server".into(), "content-type".into()],
        b3: false,
        excluded: vec!["/health".parse().expect("a pattern")],
    };
    let limits = Limits { keep: Arc::new(keep), ..Limits::default() };
    let fields =
        plain(&[(":path", "/a"), ("x-id", "7"), ("user-agent", "me"), ("cookie", "secret"), ("x-id", "8")]);
    let request = [b"\x82\x86", &fields[..]].concat();
    let health = [b"\x82\x86", &plain(&[(":path", "/health")])[..]].concat();
    let answer = [OK, &plain(&[("server", "s"), ("content-type", "text/plain")])].concat();
    let script = [
        c(&[headers(BOTH, 1, &request), headers(BOTH, 3, &health)]),
        s(&[headers(BOTH, 1, &answer), headers(BOTH, 3, OK)]),
    ];
    let mut parser = super::super::open(limits.into(), crate::protocol::Birth::Seen);
    let _ = parser.push(CLIENT, Default::default(), PREFACE, &mut Vec::new());
    let run = run(parser, &script, |bytes| bytes.len());
    let [exchange, excluded] = &run.exchanges[..] else { panic!("two exchanges") };
    let http = exchange.http().expect("HTTP");
    let shown = |headers: &crate::model::Headers| {
        let line = |(name, values): &(Arc<str>, Vec<Box<str>>)| format!("{name}: {}", values.join(" | "));
        headers.iter().map(line).collect::<Vec<_>>()
    };
    assert_eq!(shown(&http.request_headers), ["x-id: 7 | 8", "user-agent: me", "cookie: REDACTED"]);
    assert_eq!(shown(&http.response_headers), ["server: s", "content-type: text/plain"]);
    assert_eq!((http.path.as_deref(), exchange.is_excluded, excluded.is_excluded), (None, false, true));
}

/// What its settings allow the client holds from the first frame on.
#[test]
fn a_server_that_speaks_before_the_client() {
    let mut parser = super::super::open(Arc::default(), crate::protocol::Birth::Seen);
    let larger = f(4, 0, 0, &[0, 5, 0, 0x40, 0, 0]);
    let body = data(END_STREAM, 1, &[b'x'; 20_000]);
    let asked = [PREFACE, &headers(END_HEADERS, 1, POST), &body].concat();
    for (side, bytes) in [(SERVER, larger), (CLIENT, asked), (SERVER, headers(BOTH, 1, OK))] {
        let step = parser.push(side, Default::default(), &bytes, &mut Vec::new());
        assert_eq!(step.explained, bytes.len() as u64, "{side:?}");
    }
    assert_eq!(parser.oddities(), Oddities::default());
}
