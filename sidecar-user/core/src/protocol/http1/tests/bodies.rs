//! Messages that come whole: heads, bodies, and which response answers which request.

use std::sync::Arc;

use super::script::{Case, c, case, s};
use crate::protocol::{Limits, Oddities};

const GET: &str = "GET / HTTP/1.1|Host: a||";
const OK: &str = "HTTP/1.1 200 OK|Content-Length: 2||ok";
const GOT: &str = "GET a/ -> 200 complete 0/2 @1 1 2 2";

fn malformed() -> Oddities {
    Oddities { malformed: 1, ..Oddities::default() }
}

fn orphan() -> Oddities {
    Oddities { orphan_responses: 1, ..Oddities::default() }
}

fn cases() -> Vec<Case> {
    vec![
        case("get", &[c(GET), s(OK)], &[GOT]),
        case("keep-alive", &[c(GET), s(OK), c(GET), s(OK)], &[GOT, "GET a/ -> 200 complete 0/2 @3 3 4 4"]),
        case(
            "a request in two packets",
            &[c("GET / HTTP/1.1|Ho"), c("st: a||"), s(OK)],
            &["GET a/ -> 200 complete 0/2 @1 2 3 3"],
        ),
        case(
            "a response in four packets",
            &[c(GET), s("HTTP/1.1 200 O"), s("K|Content-Length: 4|"), s("|ab"), s("cd")],
            &["GET a/ -> 200 complete 0/4 @1 1 2 5"],
        ),
        case(
            "post",
            &[c("POST /x?secret HTTP/1.1|Host: b:81|Content-Length: 3||a"), c("bc"), s(OK)],
            &["POST b:81/x -> 200 complete 3/2 @1 2 3 3"],
        ),
        case(
            "an unknown method",
            &[c("BREW /pot HTTP/1.1|Host: a||"), s(OK)],
            &["? a/pot -> 200 complete 0/2 @1 1 2 2"],
        ),
        case(
            "methods are case-sensitive",
            &[c("get / HTTP/1.1|Host: a||"), s(OK)],
            &["? a/ -> 200 complete 0/2 @1 1 2 2"],
        ),
        case(
            "no host",
            &[c("GET / HTTP/1.0||"), s("HTTP/1.0 200 OK|Content-Length: 0||")],
            &["GET -/ -> 200 complete 0/0 @1 1 2 2 1.0"],
        ),
        case(
            "the target's authority outranks Host",
            &[c("GET http://B.example:8080/p HTTP/1.1|Host: a||"), s(OK)],
            &["GET b.example:8080/p -> 200 complete 0/2 @1 1 2 2"],
        ),
        case(
            "asterisk",
            &[c("OPTIONS * HTTP/1.1|Host: a||"), s(OK)],
            &["OPTIONS a- -> 200 complete 0/2 @1 1 2 2"],
        ),
        case(
            "traceparent",
            &[
                c(
                    "GET / HTTP/1.1|Host: a|TraceParent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01||",
                ),
                s(OK),
            ],
            &["GET a/ -> 200 complete 0/2 @1 1 2 2 parent b7"],
        ),
        case(
            "tracestate, in two lines",
            &[
                c(
                    "GET / HTTP/1.1|TraceState: rojo=1|Host: a|traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01|tracestate: t@v=2||",
                ),
                s(OK),
            ],
            &["GET a/ -> 200 complete 0/2 @1 1 2 2 parent b7 state rojo=1,t@v=2"],
        ),
        case("tracestate of no parent", &[c("GET / HTTP/1.1|Host: a|tracestate: a=1||"), s(OK)], &[GOT]),
        case(
            "tracestate of a bad parent",
            &[c("GET / HTTP/1.1|Host: a|tracestate: a=1|traceparent: 00-4BF9||"), s(OK)],
            &[GOT],
        ),
        case("a bad traceparent", &[c("GET / HTTP/1.1|Host: a|traceparent: 00-4BF9||"), s(OK)], &[GOT]),
        case(
            "no paths wanted",
            &[c("GET /p HTTP/1.1|Host: a||"), s(OK)],
            &["GET a- -> 200 complete 0/2 @1 1 2 2"],
        )
        .limits(Limits { keep: Arc::default(), ..Limits::default() }),
        case(
            "bare line feeds",
            &[c("GET / HTTP/1.1\nHost: a\n\n"), s("HTTP/1.1 200 OK\nContent-Length: 2\n\nok")],
            &[GOT],
        ),
        case(
            "empty lines before",
            &[c("||\nGET / HTTP/1.1|Host: a||"), s("|HTTP/1.1 200 OK|Content-Length: 2||ok")],
            &[GOT],
        ),
        case(
            "an empty line after a body",
            &[c("POST / HTTP/1.1|Host: a|Content-Length: 1||x|"), s(OK), c("|"), c(GET), s(OK)],
            &["POST a/ -> 200 complete 1/2 @1 1 2 2", "GET a/ -> 200 complete 0/2 @4 4 5 5"],
        ),
        case("no reason", &[c(GET), s("HTTP/1.1 200|Content-Length: 2||ok")], &[GOT]),
        case(
            "an invalid header line is passed over",
            &[c("GET / HTTP/1.1|Host: a|bad line||"), s("HTTP/1.1 200 OK|Content-Length : 2|a b||ok")],
            &[GOT],
        ),
        case(
            "an unusual status",
            &[c(GET), s("HTTP/1.1 799 Odd|Content-Length: 0||")],
            &["GET a/ -> 799 complete 0/0 @1 1 2 2"],
        ),
        // Bodies of responses, RFC 9112 section 6.3.
        case(
            "head",
            &[c("HEAD / HTTP/1.1|Host: a||"), s("HTTP/1.1 200 OK|Content-Length: 99||"), c(GET), s(OK)],
            &["HEAD a/ -> 200 complete 0/0 @1 1 2 2", "GET a/ -> 200 complete 0/2 @3 3 4 4"],
        ),
        case(
            "head, chunked",
            &[
                c("HEAD / HTTP/1.1|Host: a||"),
                s("HTTP/1.1 200 OK|Transfer-Encoding: chunked||"),
                c(GET),
                s(OK),
            ],
            &["HEAD a/ -> 200 complete 0/0 @1 1 2 2", "GET a/ -> 200 complete 0/2 @3 3 4 4"],
        ),
        case("204", &[c(GET), s("HTTP/1.1 204 No Content||")], &["GET a/ -> 204 complete 0/0 @1 1 2 2"]),
        case(
            "304 with the length of what it does not send",
            &[c(GET), s("HTTP/1.1 304 Not Modified|Content-Length: 99||"), c(GET), s(OK)],
            &["GET a/ -> 304 complete 0/0 @1 1 2 2", "GET a/ -> 200 complete 0/2 @3 3 4 4"],
        ),
        case(
            "chunked",
            &[c(GET), s("HTTP/1.1 200 OK|Transfer-Encoding: chunked||5|hello|"), s("6;x=y| world|0||")],
            &["GET a/ -> 200 complete 0/11 @1 1 2 3"],
        ),
        case(
            "chunked, with trailers",
            &[
                c(GET),
                s("HTTP/1.1 200 OK|Transfer-Encoding: chunked||1|a|0|Sum: 1|Other: 2||"),
                c(GET),
                s(OK),
            ],
            &["GET a/ -> 200 complete 0/1 @1 1 2 2", "GET a/ -> 200 complete 0/2 @3 3 4 4"],
        ),
        case(
            "the coding outranks the length",
            &[c(GET), s("HTTP/1.1 200 OK|Content-Length: 3|Transfer-Encoding: chunked||5|hello|0||")],
            &["GET a/ -> 200 complete 0/5 @1 1 2 2"],
        ),
        case(
            "a chunked request",
            &[c("PUT / HTTP/1.1|Host: a|Transfer-Encoding: chunked||3|abc|"), c("0||"), s(OK)],
            &["PUT a/ -> 200 complete 3/2 @1 2 3 3"],
        ),
        case(
            "a length said twice",
            &[c(GET), s("HTTP/1.1 200 OK|Content-Length: 2|Content-Length: 2||ok")],
            &[GOT],
        ),
        case(
            "two lengths in a response",
            &[c(GET), s("HTTP/1.1 200 OK|Content-Length: 2|Content-Length: 3||okk")],
            &["GET a/ -> 200 not observed 0/- @1 1 2 2"],
        )
        .opaque()
        .odd(malformed())
        .unexplained(3),
        // The server may take it all the same. What follows is read as nothing.
        case(
            "a length that is no number, in a request",
            &[c("POST / HTTP/1.1|Content-Length: x||abc"), s("HTTP/1.1 400 No|Content-Length: 0||"), c(GET)],
            &["POST -/ -> 400 complete -/0 @1 - 2 2"],
        )
        .opaque()
        .odd(malformed())
        .unexplained(3 + 27),
        case(
            "a request that ends in another coding",
            &[c("POST / HTTP/1.1|Transfer-Encoding: gzip||"), s("HTTP/1.1 501 No|Content-Length: 0||")],
            &["POST -/ -> 501 complete -/0 @1 - 2 2"],
        )
        .opaque()
        .odd(malformed()),
        case(
            "what came before garbage is answered",
            &[c(GET), c("\u{0}|"), c(GET), s(OK), s("HTTP/1.1 400 No|Content-Length: 0||")],
            &["GET a/ -> 200 complete 0/2 @1 1 4 4"],
        )
        .opaque()
        .odd(malformed())
        .unexplained(3 + 27 + 38),
        case(
            "a chunk size that is no number",
            &[c(GET), s("HTTP/1.1 200 OK|Transfer-Encoding: chunked||zz|")],
            &["GET a/ -> 200 not observed 0/- @1 1 2 2"],
        )
        .opaque()
        .odd(malformed())
        .unexplained(4),
        case("no HTTP at all", &[c("HELLO\u{0}WORLD||")], &[]).opaque().odd(malformed()).unexplained(15),
        case(
            "a status that none is",
            &[c(GET), s("HTTP/1.1 099 Odd||")],
            &["GET a/ -> - not observed 0/- @1 1 - 2"],
        )
        .opaque()
        .odd(malformed())
        .unexplained(20),
        // Interim responses, RFC 9110 section 15.2.
        case(
            "expect, continue",
            &[
                c("PUT / HTTP/1.1|Host: a|Expect: 100-continue|Content-Length: 3||"),
                s("HTTP/1.1 100 Continue||"),
                c("abc"),
                s(OK),
            ],
            &["PUT a/ -> 200 complete 3/2 @1 3 4 4"],
        ),
        case(
            "several interim responses",
            &[
                c(GET),
                s("HTTP/1.1 103 Early Hints|Link: x||HTTP/1.1 102 Processing||"),
                s("HTTP/1.1 103 Early Hints||"),
                s(OK),
            ],
            &["GET a/ -> 200 complete 0/2 @1 1 4 4"],
        ),
        case(
            "expect, refused, the body sent all the same",
            &[
                c("PUT / HTTP/1.1|Host: a|Expect: 100-continue|Content-Length: 3||"),
                s("HTTP/1.1 417 No|Content-Length: 0||"),
                c("abc"),
                c(GET),
                s(OK),
            ],
            &["PUT a/ -> 417 complete -/0 @1 - 2 2", "GET a/ -> 200 complete 0/2 @4 4 5 5"],
        ),
        case(
            "an early response",
            &[
                c("POST / HTTP/1.1|Host: a|Content-Length: 6||abc"),
                s("HTTP/1.1 413 Too Large|Content-Length: 0||"),
                c("def"),
                c(GET),
                s(OK),
            ],
            &["POST a/ -> 413 complete -/0 @1 - 2 2", "GET a/ -> 200 complete 0/2 @4 4 5 5"],
        ),
        case(
            "an early response that outlasts the request",
            &[
                c("POST / HTTP/1.1|Host: a|Content-Length: 6||abc"),
                s("HTTP/1.1 200 OK|Content-Length: 4||ab"),
                c("def"),
                s("cd"),
            ],
            &["POST a/ -> 200 complete 6/4 @1 3 2 4"],
        ),
        // Other protocols from here on.
        case(
            "upgrade",
            &[
                c("GET /ws HTTP/1.1|Host: a|Upgrade: websocket||"),
                s("HTTP/1.1 101 Switching Protocols||\u{1}\u{2}"),
                c("\u{3}"),
            ],
            &["GET a/ws -> 101 complete 0/0 @1 1 2 2"],
        )
        .opaque()
        .unexplained(3),
        case(
            "an upgrade that is not taken up",
            &[c("GET / HTTP/1.1|Host: a|Upgrade: h2c||"), s(OK), c(GET), s(OK)],
            &[GOT, "GET a/ -> 200 complete 0/2 @3 3 4 4"],
        ),
        case(
            "connect",
            &[
                c("CONNECT B:443 HTTP/1.1|Host: b:443||"),
                s("HTTP/1.1 200 OK|Content-Length: 5||"),
                c("\u{16}"),
            ],
            &["CONNECT b:443- -> 200 complete 0/0 @1 1 2 2"],
        )
        .opaque()
        .unexplained(1),
        case(
            "connect, refused",
            &[c("CONNECT b:443 HTTP/1.1||"), s("HTTP/1.1 407 No|Content-Length: 2||no"), c(GET), s(OK)],
            &["CONNECT b:443- -> 407 complete 0/2 @1 1 2 2", "GET a/ -> 200 complete 0/2 @3 3 4 4"],
        ),
        // Pipelining, RFC 9112 section 9.3.2.
        case(
            "pipelined",
            &[
                c("GET /1 HTTP/1.1|Host: a||HEAD /2 HTTP/1.1|Host: a||"),
                c("GET /3 HTTP/1.1|Host: a||"),
                s("HTTP/1.1 200 OK|Content-Length: 2||okHTTP/1.1 200 OK|Content-Length: 9||"),
                s("HTTP/1.1 404 No|Content-Length: 0||"),
            ],
            &[
                "GET a/1 -> 200 complete 0/2 @1 1 3 3",
                "HEAD a/2 -> 200 complete 0/0 @1 1 3 3",
                "GET a/3 -> 404 complete 0/0 @2 2 4 4",
            ],
        ),
        case(
            "pipelined while the first is answered",
            &[c(GET), s("HTTP/1.1 200 OK|Content-Length: 4||ab"), c(GET), s("cd"), s(OK)],
            &["GET a/ -> 200 complete 0/4 @1 1 2 4", "GET a/ -> 200 complete 0/2 @3 3 5 5"],
        ),
        case(
            "more outstanding than are held",
            &[c(GET), c(GET), c(GET), s(OK)],
            &["GET a/ -> - not observed 0/- @1 1 - 3", "GET a/ -> - not observed 0/- @2 2 - 3"],
        )
        .limits(Limits { outstanding: 2, ..Limits::default() })
        .opaque()
        .odd(Oddities { overflow: 1, ..Oddities::default() })
        .unexplained(67),
        case(
            "more spaces than one",
            &[c("GET   /a  HTTP/1.1|Host: a||"), s("HTTP/1.1 200 OK|Content-Length: 2||ok")],
            &["GET a/a -> 200 complete 0/2 @1 1 2 2"],
        ),
        // Responses to nothing.
        case(
            "a response without a request",
            &[s("HTTP/1.1 408 Timeout|Content-Length: 2||no"), c(GET), s(OK)],
            &["GET a/ -> 200 complete 0/2 @2 2 3 3"],
        )
        .odd(orphan()),
        case(
            "a response without a request, still going on when one begins",
            &[s("HTTP/1.1 408 Timeout|Content-Length: 4||no"), c(GET), s("no"), s(OK)],
            &["GET a/ -> 200 complete 0/2 @2 2 4 4"],
        )
        .odd(orphan()),
    ]
}

#[test]
fn conversations() {
    cases().iter().for_each(Case::check);
}
