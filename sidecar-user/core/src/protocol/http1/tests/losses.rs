//! Bytes that nobody saw, connections met in the middle, and heads too long to hold.

use super::script::{CLIENT, CLOSED, Case, Do, RESET, SERVER, c, case, s};
use crate::protocol::{Limits, Oddities};

const GET: &str = "GET / HTTP/1.1|Host: a||";
const OK: &str = "HTTP/1.1 200 OK|Content-Length: 2||ok";
const LONG: &str = "HTTP/1.1 200 OK|Content-Length: 100||ab";
const CHUNK: &str = "HTTP/1.1 200 OK|Transfer-Encoding: chunked||64|ab";

fn resyncs(resyncs: u32) -> Oddities {
    Oddities { resyncs, ..Oddities::default() }
}

fn met(before_join: u64) -> Oddities {
    Oddities { before_join, ..Oddities::default() }
}

fn lost() -> Vec<Case> {
    vec![
        case(
            "skipped in a body",
            &[c(GET), s(LONG), Do::Skip(SERVER, 98), c(GET), s(OK)],
            &["GET a/ -> 200 complete 0/100 @1 1 2 3", "GET a/ -> 200 complete 0/2 @4 4 5 5"],
        ),
        case(
            "lost in a body",
            &[c(GET), s(LONG), Do::Gap(SERVER, 97), s("z"), c(GET), s(OK)],
            &["GET a/ -> 200 complete 0/100 @1 1 2 4", "GET a/ -> 200 complete 0/2 @5 5 6 6"],
        ),
        case(
            "skipped in a request's body",
            &[
                c("POST / HTTP/1.1|Host: a|Content-Length: 50||"),
                Do::Skip(CLIENT, 40),
                Do::Gap(CLIENT, 10),
                s(OK),
            ],
            &["POST a/ -> 200 complete 50/2 @1 3 4 4"],
        ),
        case(
            "skipped in a chunk",
            &[c(GET), s(CHUNK), Do::Skip(SERVER, 98), s("|0||")],
            &["GET a/ -> 200 complete 0/100 @1 1 2 4"],
        ),
        case(
            "skipped until the close",
            &[c(GET), s("HTTP/1.0 200 OK||"), Do::Skip(SERVER, 1000), CLOSED],
            &["GET a/ -> 200 complete 0/1000 @1 1 2 3"],
        ),
        case(
            "skipped nothing",
            &[c(GET), Do::Skip(SERVER, 0), Do::Gap(CLIENT, 0), s(OK)],
            &["GET a/ -> 200 complete 0/2 @1 1 4 4"],
        ),
        // The server's place is lost.
        case(
            "past the end of a body",
            &[c(GET), s(LONG), Do::Skip(SERVER, 99), c(GET), s(OK)],
            &["GET a/ -> 200 complete 0/100 @1 1 2 3", "GET a/ -> 200 complete 0/2 @4 4 5 5"],
        )
        .odd(resyncs(1))
        .unexplained(1),
        case(
            "past a chunk: the next turn ends it",
            &[c(GET), s(CHUNK), Do::Skip(SERVER, 200), s("tail|0||"), c(GET), s(OK)],
            &["GET a/ -> 200 complete 0/- @1 1 2 4", "GET a/ -> 200 complete 0/2 @5 5 6 6"],
        )
        .odd(resyncs(1))
        .unexplained(200 - 98 + 11),
        case(
            "past a chunk: the close ends it",
            &[c(GET), s(CHUNK), Do::Skip(SERVER, 200), CLOSED],
            &["GET a/ -> 200 complete 0/- @1 1 2 3"],
        )
        .unexplained(102),
        case(
            "the response was lost",
            &[c(GET), Do::Gap(SERVER, 40), c(GET), s(OK)],
            &["GET a/ -> - not observed 0/- @1 1 - 3", "GET a/ -> 200 complete 0/2 @3 3 4 4"],
        )
        .odd(resyncs(1))
        .unexplained(40),
        case(
            "the response's head was lost",
            &[c(GET), Do::Gap(SERVER, 40), s("body"), c(GET), s(OK)],
            &["GET a/ -> - not observed 0/- @1 1 - 4", "GET a/ -> 200 complete 0/2 @4 4 5 5"],
        )
        .odd(resyncs(1))
        .unexplained(44),
        case(
            "half of the response's head was lost",
            &[c(GET), s("HTTP/1.1 2"), Do::Gap(SERVER, 30), c(GET), s(OK)],
            &["GET a/ -> - not observed 0/- @1 1 - 4", "GET a/ -> 200 complete 0/2 @4 4 5 5"],
        )
        .odd(resyncs(1))
        .unexplained(40),
        case(
            "what looks like a response in the middle of a turn is none",
            &[c(GET), Do::Gap(SERVER, 40), s(OK), c(GET), s(OK)],
            &["GET a/ -> - not observed 0/- @1 1 - 4", "GET a/ -> 200 complete 0/2 @4 4 5 5"],
        )
        .odd(resyncs(1))
        .unexplained(80),
        case(
            "lost, pipelined",
            &[c(GET), c(GET), s(CHUNK), Do::Gap(SERVER, 500), c(GET), s(OK)],
            &[
                "GET a/ -> 200 complete 0/- @1 1 3 3",
                "GET a/ -> - not observed 0/- @2 2 - 5",
                "GET a/ -> 200 complete 0/2 @5 5 6 6",
            ],
        )
        .odd(resyncs(1))
        .unexplained(402),
        case(
            "lost, then closed",
            &[c(GET), Do::Gap(SERVER, 40), CLOSED],
            &["GET a/ -> - not observed 0/- @1 1 - 3"],
        )
        .unexplained(40),
        case(
            "lost, then reset",
            &[c(GET), Do::Gap(SERVER, 40), RESET],
            &["GET a/ -> - not observed 0/- @1 1 - 3"],
        )
        .unexplained(40),
        case(
            "lost, then the server's FIN",
            &[c(GET), Do::Gap(SERVER, 40), Do::End(SERVER)],
            &["GET a/ -> - not observed 0/- @1 1 - 3"],
        )
        .unexplained(40),
        case(
            "the invitation to continue was lost",
            &[c("PUT / HTTP/1.1|Host: a|Content-Length: 3||"), Do::Gap(SERVER, 25), c("abc"), s(OK)],
            &["PUT a/ -> 200 complete 3/2 @1 3 4 4"],
        )
        .odd(resyncs(1))
        .unexplained(25),
        // The client's place is lost.
        case(
            "the rest of a method is none",
            &[c(GET), Do::Gap(CLIENT, 1), s(OK), c("OST /x HTTP/1.1||"), s(OK), c("PROPFIND / HTTP/1.1||")],
            &["GET a/ -> 200 complete 0/2 @1 1 3 3"],
        )
        .odd(Oddities { orphan_responses: 1, resyncs: 1, ..Oddities::default() })
        .unexplained(1 + 19),
        case(
            "a request was lost",
            &[c(GET), s(OK), Do::Gap(CLIENT, 25), s(OK), c(GET), s(OK)],
            &["GET a/ -> 200 complete 0/2 @1 1 2 2", "GET a/ -> 200 complete 0/2 @5 5 6 6"],
        )
        .odd(Oddities { orphan_responses: 1, resyncs: 1, ..Oddities::default() })
        .unexplained(25),
        case(
            "a request's end was lost",
            &[c("POST / HTTP/1.1|Host: a|Content-Length: 5||ab"), Do::Gap(CLIENT, 30), s(OK), c(GET), s(OK)],
            &["POST a/ -> 200 complete 5/2 @1 2 3 3", "GET a/ -> 200 complete 0/2 @4 4 5 5"],
        )
        .odd(resyncs(1))
        .unexplained(27),
        case(
            "a request's chunks were lost",
            &[c("POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked||2|ab|"), Do::Gap(CLIENT, 30), CLOSED],
            &["POST a/ -> - unanswered by FIN -/- @1 - - 3"],
        )
        .unexplained(30),
        case(
            "the client speaks on in the middle of what was lost",
            &[c(GET), s(OK), Do::Gap(CLIENT, 25), c(GET), s(OK), c("body"), s(OK), c(GET), s(OK)],
            &["GET a/ -> 200 complete 0/2 @1 1 2 2", "GET a/ -> 200 complete 0/2 @8 8 9 9"],
        )
        .odd(Oddities { orphan_responses: 2, resyncs: 1, ..Oddities::default() })
        .unexplained(25 + 27 + 4),
        case(
            "both were lost",
            &[c(GET), Do::Gap(CLIENT, 50), c(GET), Do::Gap(SERVER, 90), s(OK), c(GET), s(OK)],
            &["GET a/ -> - not observed 0/- @1 1 - 6", "GET a/ -> 200 complete 0/2 @6 6 7 7"],
        )
        .odd(resyncs(2))
        .unexplained(50 + 27 + 90 + 40),
        case(
            "both were lost, and the next response is not taken for the first",
            &[c(GET), Do::Gap(SERVER, 40), Do::Gap(CLIENT, 27), s(OK), c(GET), s(OK)],
            &["GET a/ -> - not observed 0/- @1 1 - 5", "GET a/ -> 200 complete 0/2 @5 5 6 6"],
        )
        .odd(resyncs(2))
        .unexplained(40 + 27 + 40),
        case(
            "after a loss, what is malformed is lost again",
            &[c(GET), Do::Gap(SERVER, 40), c(GET), s("HTTP/1.1 200 OK|Content-Length: x||"), c(GET), s(OK)],
            &[
                "GET a/ -> - not observed 0/- @1 1 - 3",
                "GET a/ -> 200 complete 0/- @3 3 4 4",
                "GET a/ -> 200 complete 0/2 @5 5 6 6",
            ],
        )
        .odd(Oddities { malformed: 1, resyncs: 2, ..Oddities::default() })
        .unexplained(40),
    ]
}

fn joined() -> Vec<Case> {
    vec![
        case("met at rest", &[c(GET), s(OK)], &["GET a/ -> 200 complete 0/2 @1 1 2 2"]),
        case("met in a response", &[s("...body"), c(GET), s(OK)], &["GET a/ -> 200 complete 0/2 @2 2 3 3"])
            .odd(met(7))
            .unexplained(7),
        case(
            "met in a request",
            &[c("\u{1}body"), s(OK), c(GET), s(OK)],
            &["GET a/ -> 200 complete 0/2 @3 3 4 4"],
        )
        .odd(Oddities { before_join: 5, orphan_responses: 1, ..Oddities::default() })
        .unexplained(5),
        case(
            "met in what looks like a request",
            &[c("GET it "), s(OK), c(GET), s(OK)],
            &["GET a/ -> 200 complete 0/2 @3 3 4 4"],
        )
        .odd(Oddities { before_join: 7, orphan_responses: 1, ..Oddities::default() })
        .unexplained(7),
        case("met before a response", &[s(OK), c(GET), s(OK)], &["GET a/ -> 200 complete 0/2 @2 2 3 3"])
            .odd(Oddities { orphan_responses: 1, ..Oddities::default() }),
        case(
            "met before the response to a HEAD",
            &[s("HTTP/1.1 200 OK|Content-Length: 500||"), c(GET), s(OK)],
            &["GET a/ -> 200 complete 0/2 @2 2 3 3"],
        )
        .odd(Oddities { orphan_responses: 1, resyncs: 1, ..Oddities::default() }),
        case(
            "met before a response whose rest begins as a response does",
            &[s("HTTP/1.1 200 OK|Content-Length: 20||ab"), c(GET), s("HTTP/0.9 cdefghijk"), s(OK)],
            &["GET a/ -> 200 complete 0/2 @2 2 4 4"],
        )
        .odd(Oddities { orphan_responses: 1, ..Oddities::default() }),
        case(
            "met before a response whose rest begins with line ends",
            &[s("HTTP/1.1 200 OK|Content-Length: 8||ab"), c(GET), s("||cd"), s(OK)],
            &["GET a/ -> 200 complete 0/2 @2 2 4 4"],
        )
        .odd(Oddities { orphan_responses: 1, ..Oddities::default() }),
        case(
            "met before a response whose rest is line ends",
            &[s("HTTP/1.1 200 OK|Content-Length: 6||ab"), c(GET), s("||"), s(OK)],
            &["GET a/ -> 200 complete 0/2 @2 2 4 4"],
        )
        .odd(Oddities { orphan_responses: 1, ..Oddities::default() }),
        case(
            "met before a response whose rest runs on into the next",
            &[
                s("HTTP/1.1 200 OK|Content-Length: 8||ab"),
                c(GET),
                s("HTTP/2HTTP/1.1 200 OK|Content-Length: 0||"),
            ],
            &["GET a/ -> 200 complete 0/0 @2 2 3 3"],
        )
        .odd(Oddities { orphan_responses: 1, ..Oddities::default() }),
        case(
            "met before a response during which a request's body goes on like a request",
            &[
                s("HTTP/1.1 200 OK|Content-Length: 6||ab"),
                c("PUT / HTTP/1.1|Host: a|Content-Length: 23||abc"),
                s("cd"),
                c("GET /a HTTP/1.1||."),
                s("ef"),
                s(OK),
            ],
            &["PUT a/ -> 200 complete 23/2 @2 4 6 6"],
        )
        .odd(Oddities { orphan_responses: 1, ..Oddities::default() }),
        case(
            "met while bytes were skipped",
            &[Do::Skip(SERVER, 70), Do::Gap(CLIENT, 3), s("x"), c(GET), s(OK)],
            &["GET a/ -> 200 complete 0/2 @4 4 5 5"],
        )
        .odd(met(74))
        .unexplained(74),
        case(
            "met in a response that goes on after a request",
            &[c(GET), s("...tail"), c(GET), s(OK)],
            &["GET a/ -> - not observed 0/- @1 1 - 3", "GET a/ -> 200 complete 0/2 @3 3 4 4"],
        )
        .odd(met(7))
        .unexplained(7),
        case("never understood", &[c("\u{1}\u{2}"), s("\u{3}"), c("\u{4}"), CLOSED], &[])
            .odd(met(4))
            .unexplained(4),
    ]
}

/// What is no message, where one was to come.
fn malformed() -> Vec<Case> {
    let once = Oddities { malformed: 1, ..Oddities::default() };
    let refused = Oddities { malformed: 1, orphan_responses: 1, resyncs: 1, ..Oddities::default() };
    let no = "HTTP/1.1 400 No|Content-Length: 2||no";
    let strange = vec![[s("\u{1}||"), c("\u{1}||")]; 33].concat();
    vec![
        case("never HTTP", &[c("no request||"), s(no), c(GET), s(OK)], &[])
            .odd(once)
            .unexplained(14 + 40 + 27 + 40)
            .opaque(),
        case(
            "never answered",
            &[c(GET), s("no response||"), c(GET), s(OK)],
            &["GET a/ -> - not observed 0/- @1 1 - 2"],
        )
        .odd(once)
        .unexplained(15 + 27 + 40)
        .opaque(),
        case(
            "no request, and refused",
            &[c(GET), s(OK), c("no request||"), s(no), c(GET), s(OK)],
            &["GET a/ -> 200 complete 0/2 @1 1 2 2", "GET a/ -> 200 complete 0/2 @5 5 6 6"],
        )
        .odd(refused)
        .unexplained(14),
        case(
            "no request, behind one",
            &[c(GET), s(OK), c(GET), c("no request||"), s(OK), s(no), c(GET), s(OK)],
            &[
                "GET a/ -> 200 complete 0/2 @1 1 2 2",
                "GET a/ -> 200 complete 0/2 @3 3 5 5",
                "GET a/ -> 200 complete 0/2 @7 7 8 8",
            ],
        )
        .odd(refused)
        .unexplained(14),
        case(
            "no response",
            &[c(GET), s(OK), c(GET), s("no response||"), c(GET), s(OK)],
            &[
                "GET a/ -> 200 complete 0/2 @1 1 2 2",
                "GET a/ -> - not observed 0/- @3 3 - 5",
                "GET a/ -> 200 complete 0/2 @5 5 6 6",
            ],
        )
        .odd(Oddities { malformed: 1, resyncs: 1, ..Oddities::default() })
        .unexplained(15),
        case(
            "no chunk",
            &[c(GET), s(OK), c(GET), s("HTTP/1.1 200 OK|Transfer-Encoding: chunked||xyz"), c(GET), s(OK)],
            &[
                "GET a/ -> 200 complete 0/2 @1 1 2 2",
                "GET a/ -> 200 complete 0/- @3 3 4 4",
                "GET a/ -> 200 complete 0/2 @5 5 6 6",
            ],
        )
        .odd(Oddities { malformed: 1, resyncs: 1, ..Oddities::default() })
        .unexplained(3),
        case(
            "no HTTP any more",
            &[c(GET), s(OK), c("no request||"), s("no response||"), c("no"), s("no")],
            &["GET a/ -> 200 complete 0/2 @1 1 2 2"],
        )
        .odd(Oddities { malformed: 2, ..Oddities::default() })
        .unexplained(14 + 15 + 4),
        case(
            "no HTTP for good",
            &[&[c(GET), s(OK), c("no request||")][..], &strange, &[c(GET), s(OK)]].concat(),
            &["GET a/ -> 200 complete 0/2 @1 1 2 2"],
        )
        .odd(Oddities { malformed: 2, ..Oddities::default() })
        .unexplained(14 + 66 * 5 + 27 + 40)
        .opaque(),
        case(
            "no HTTP for good, in one turn",
            &[c(GET), s(OK), c("no request||"), s("no response||"), Do::Skip(SERVER, 1 << 20)],
            &["GET a/ -> 200 complete 0/2 @1 1 2 2"],
        )
        .odd(Oddities { malformed: 2, ..Oddities::default() })
        .unexplained(14 + 15 + (1 << 20))
        .opaque(),
    ]
}

#[test]
fn what_is_no_message() {
    malformed().iter().for_each(Case::check);
}

fn oversized() -> Vec<Case> {
    let limits = Limits { head_bytes: 40, ..Limits::default() };
    let request = "GET /x HTTP/1.1|Host: a|Cookie: 0123456789012345678901234567890123456789||";
    let response =
        "HTTP/1.1 200 OK|Set-Cookie: 0123456789012345678901234567890123456789|Content-Length: 2||ok";
    let no_body = "HTTP/1.1 204 No|Set-Cookie: 0123456789012345678901234567890123456789||";
    let many = format!("GET /x HTTP/1.1|{}|", "a: b|".repeat(129));
    let once = Oddities { oversized: 1, ..Oddities::default() };
    vec![
        case(
            "a request",
            &[c(request), s("HTTP/1.1 204 No||"), c("GET / HTTP/1.1||"), s("HTTP/1.1 204 No||")],
            &["GET -/x -> 204 complete -/0 @1 - 2 2", "GET -/ -> 204 complete 0/0 @3 3 4 4"],
        )
        .limits(limits.clone())
        .odd(Oddities { resyncs: 1, ..once }),
        case("a request line", &[c(&format!("GET /{}", "x".repeat(40)))], &[])
            .limits(limits.clone())
            .odd(once)
            .unexplained(45),
        case(
            "a response with a body",
            &[c("GET /x HTTP/1.1||"), s(response), c("GET / HTTP/1.1||")],
            &["GET -/x -> 200 complete 0/- @1 1 2 2"],
        )
        .limits(limits.clone())
        .odd(once)
        .unexplained(2),
        case(
            "a response without a body",
            &[c("GET /x HTTP/1.1||"), s(no_body)],
            &["GET -/x -> 204 complete 0/0 @1 1 2 2"],
        )
        .limits(limits.clone())
        .odd(once),
        case(
            "a response, cut off",
            &[c("GET /x HTTP/1.1||"), s(&response[..60]), CLOSED],
            &["GET -/x -> 200 truncated by FIN 0/0 @1 1 2 3"],
        )
        .limits(limits.clone())
        .odd(once)
        .unexplained(61),
        case(
            "a request whose rest is not copied",
            &[
                c("PUT /x HTTP/1.1|Host: a|Cookie: 01"),
                Do::Skip(CLIENT, 5000),
                s("HTTP/1.1 200 OK|Content-Length: 2||ok"),
                c("GET / HTTP/1.1||"),
                s("HTTP/1.1 204 No||"),
            ],
            &["PUT -/x -> 200 complete -/2 @1 - 3 3", "GET -/ -> 204 complete 0/0 @4 4 5 5"],
        )
        .odd(Oddities { resyncs: 1, ..once })
        .unexplained(5036),
        case(
            "a response whose rest is lost",
            &[
                c("GET /x HTTP/1.1||"),
                s("HTTP/1.1 503 No|Set-Cookie: 01"),
                Do::Gap(SERVER, 5000),
                c("GET / HTTP/1.1||"),
                s("HTTP/1.1 204 No||"),
            ],
            &["GET -/x -> 503 complete 0/- @1 1 2 2", "GET -/ -> 204 complete 0/0 @4 4 5 5"],
        )
        .odd(Oddities { resyncs: 1, ..Oddities::default() })
        .unexplained(5031),
        case(
            "too many lines",
            &[c(&many), s("HTTP/1.1 204 No||")],
            &["GET -/x -> 204 complete -/0 @1 - 2 2"],
        )
        .odd(once),
    ]
}

#[test]
fn bytes_that_nobody_saw() {
    lost().iter().for_each(Case::check);
}

#[test]
fn connections_met_in_the_middle() {
    joined().into_iter().for_each(|case| case.joined().check());
}

#[test]
fn heads_too_long_to_hold() {
    oversized().iter().for_each(Case::check);
}

/// Whoever looks at an exchange can tell whether what it says may be touched by a loss.
#[test]
fn a_loss_marks_the_requests_that_are_outstanding() {
    use super::super::open;
    use crate::model::{Exchange, Ktime, Side};
    use crate::protocol::{Birth, Signal};
    let text = |text: &str| text.replace('|', "\r\n");
    let mut parser = open(Limits::default().into(), Birth::Seen);
    let mut out = Vec::new();
    let _ = parser.push(Side::Client, Ktime(1), text(GET).as_bytes(), &mut out);
    let _ = parser.push(Side::Server, Ktime(2), text(LONG).as_bytes(), &mut out);
    let _ = parser.gap(Side::Server, Ktime(3), 98, &mut out);
    let _ = parser.push(Side::Client, Ktime(4), text(GET).as_bytes(), &mut out);
    let _ = parser.push(Side::Server, Ktime(5), text(OK).as_bytes(), &mut out);
    let lost = |signal: &Signal| match signal {
        Signal::Finished(Exchange { lost, .. }) => Some(*lost),
        Signal::Started(_) | Signal::Message(_) => None,
    };
    assert_eq!(out.iter().filter_map(lost).collect::<Vec<_>>(), [98, 0]);
}
