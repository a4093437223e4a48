//! How connections end, and what that makes of requests that were outstanding.

use super::script::{
    CLIENT, CLOSED, Case, Do, EXPIRED, FORGOTTEN, RESET, RESET_BY_CLIENT, SERVER, c, case, s,
};
use crate::protocol::Oddities;

const GET: &str = "GET / HTTP/1.1|Host: a||";
const POST: &str = "POST / HTTP/1.1|Host: a|Content-Length: 6||abc";
const PART: &str = "HTTP/1.1 200 OK|Content-Length: 6||abc";
const CHUNK: &str = "HTTP/1.1 200 OK|Transfer-Encoding: chunked||3|abc|";
const UNTIL_CLOSE: &str = "HTTP/1.0 200 OK||abc";

fn cases() -> Vec<Case> {
    vec![
        case("nothing", &[CLOSED], &[]),
        case(
            "until the server's FIN",
            &[c(GET), s(UNTIL_CLOSE), s("def"), Do::End(SERVER), CLOSED],
            &["GET a/ -> 200 complete 0/6 @1 1 2 3"],
        ),
        case("until the close", &[c(GET), s(UNTIL_CLOSE), CLOSED], &["GET a/ -> 200 complete 0/3 @1 1 2 2"]),
        case(
            "until the close, HTTP/1.1",
            &[c(GET), s("HTTP/1.1 200 OK||abc"), CLOSED],
            &["GET a/ -> 200 complete 0/3 @1 1 2 2"],
        ),
        case(
            "until the close, another coding",
            &[c(GET), s("HTTP/1.1 200 OK|Transfer-Encoding: gzip||abc"), CLOSED],
            &["GET a/ -> 200 complete 0/3 @1 1 2 2"],
        ),
        case(
            "until a reset",
            &[c(GET), s(UNTIL_CLOSE), RESET],
            &["GET a/ -> 200 truncated by server RST 0/3 @1 1 2 3"],
        ),
        case(
            "until close, without a byte",
            &[c(GET), s("HTTP/1.0 200 OK||"), Do::End(SERVER)],
            &["GET a/ -> 200 complete 0/0 @1 1 2 2"],
        ),
        case(
            "HTTP/1.0 with keep-alive",
            &[
                c("GET / HTTP/1.0|Host: a|Connection: keep-alive||"),
                s("HTTP/1.0 200 OK|Connection: keep-alive|Content-Length: 2||ok"),
                c("GET / HTTP/1.0|Host: a||"),
                s(UNTIL_CLOSE),
                CLOSED,
            ],
            &["GET a/ -> 200 complete 0/2 @1 1 2 2 1.0", "GET a/ -> 200 complete 0/3 @3 3 4 4 1.0"],
        ),
        case(
            "the version is the request's",
            &[c("GET / HTTP/1.0|Host: a||"), s("HTTP/1.1 204 No||"), c(GET), s("HTTP/1.0 204 No||")],
            &["GET a/ -> 204 complete 0/0 @1 1 2 2 1.0", "GET a/ -> 204 complete 0/0 @3 3 4 4"],
        ),
        case("unanswered", &[c(GET), CLOSED], &["GET a/ -> - unanswered by FIN 0/- @1 1 - 2"]),
        case(
            "unanswered, by the server's FIN",
            &[c(GET), Do::End(SERVER)],
            &["GET a/ -> - unanswered by server FIN 0/- @1 1 - 2"],
        ),
        case("reset", &[c(GET), RESET], &["GET a/ -> - unanswered by server RST 0/- @1 1 - 2"]),
        case("forgotten", &[c(GET), FORGOTTEN], &["GET a/ -> - not observed 0/- @1 1 - 2"]),
        case(
            "forgotten in the response",
            &[c(GET), s(PART), FORGOTTEN],
            &["GET a/ -> 200 not observed 0/- @1 1 2 3"],
        ),
        case(
            "an interim response is no answer",
            &[c(GET), s("HTTP/1.1 102 Processing||"), CLOSED],
            &["GET a/ -> - unanswered by FIN 0/- @1 1 - 3"],
        ),
        case(
            "the client's FIN alone ends nothing",
            &[c(GET), Do::End(CLIENT), s(PART), s("def")],
            &["GET a/ -> 200 complete 0/6 @1 1 3 4"],
        ),
        case(
            "truncated, a length",
            &[c(GET), s(PART), CLOSED],
            &["GET a/ -> 200 truncated by FIN 0/3 @1 1 2 3"],
        ),
        case(
            "truncated, by the server's FIN",
            &[c(GET), s(PART), Do::End(SERVER)],
            &["GET a/ -> 200 truncated by server FIN 0/3 @1 1 2 3"],
        ),
        case(
            "truncated, chunks",
            &[c(GET), s(CHUNK), CLOSED],
            &["GET a/ -> 200 truncated by FIN 0/3 @1 1 2 3"],
        ),
        case(
            "truncated, by a reset",
            &[c(GET), s(CHUNK), RESET],
            &["GET a/ -> 200 truncated by server RST 0/3 @1 1 2 3"],
        ),
        case(
            "truncated in the head",
            &[c(GET), s("HTTP/1.1 500 Oh|Content-"), CLOSED],
            &["GET a/ -> 500 truncated by FIN 0/0 @1 1 2 3"],
        )
        .unexplained(25),
        case(
            "cut off in the status line",
            &[c(GET), s("HTTP/1.1 5"), CLOSED],
            &["GET a/ -> - unanswered by FIN 0/- @1 1 - 3"],
        )
        .unexplained(10),
        case(
            "pipelined and closed",
            &[c(GET), c(GET), s(PART), CLOSED],
            &["GET a/ -> 200 truncated by FIN 0/3 @1 1 3 4", "GET a/ -> - unanswered by FIN 0/- @2 2 - 4"],
        ),
        case("aborted in the body", &[c(POST), CLOSED], &["POST a/ -> - aborted by FIN -/- @1 - - 2"]),
        case(
            "aborted by a FIN",
            &[c(POST), Do::End(CLIENT), CLOSED],
            &["POST a/ -> - aborted by client FIN -/- @1 - - 2"],
        ),
        case(
            "aborted, and answered",
            &[c(POST), Do::End(CLIENT), s("HTTP/1.1 400 No|Content-Length: 0||")],
            &["POST a/ -> 400 complete -/0 @1 - 3 3"],
        ),
        case(
            "aborted, then the server's FIN",
            &[c(POST), Do::End(CLIENT), Do::End(SERVER)],
            &["POST a/ -> - aborted by client FIN -/- @1 - - 2"],
        ),
        case(
            "the server ends it before the request does",
            &[c(POST), Do::End(SERVER), c("def")],
            &["POST a/ -> - aborted by server FIN -/- @1 - - 2"],
        ),
        case(
            "reset in the request, by the client",
            &[c(POST), RESET_BY_CLIENT],
            &["POST a/ -> - aborted by client RST -/- @1 - - 2"],
        ),
        case(
            "the client gives up",
            &[c(GET), Do::End(CLIENT), Do::End(SERVER), CLOSED],
            &["GET a/ -> - unanswered by client FIN 0/- @1 1 - 3"],
        ),
        case(
            "the client gives up, by a reset",
            &[c(GET), RESET_BY_CLIENT],
            &["GET a/ -> - unanswered by client RST 0/- @1 1 - 2"],
        ),
        case(
            "the client gives up, and resets what comes",
            &[c(GET), s(PART), Do::End(CLIENT), s("d"), RESET_BY_CLIENT],
            &["GET a/ -> 200 truncated by client RST 0/4 @1 1 2 5"],
        ),
        case(
            "the client gives up, the server resets",
            &[c(GET), s(PART), Do::End(CLIENT), RESET],
            &["GET a/ -> 200 truncated by client FIN 0/3 @1 1 2 4"],
        ),
        case(
            "nobody acknowledges",
            &[c(GET), s(PART), EXPIRED],
            &["GET a/ -> 200 truncated by timeout 0/3 @1 1 2 3"],
        ),
        case(
            "nobody acknowledges, after a FIN",
            &[c(GET), Do::End(CLIENT), EXPIRED],
            &["GET a/ -> - unanswered by timeout 0/- @1 1 - 3"],
        ),
        case("reset in the request", &[c(POST), RESET], &["POST a/ -> - aborted by server RST -/- @1 - - 2"]),
        case(
            "aborted in the head",
            &[c("GET /x HTTP/1.1|Host: a|X"), CLOSED],
            &["GET -/x -> - aborted by FIN -/- @1 - - 2"],
        )
        .unexplained(27),
        case(
            "aborted in the head, by a FIN, and answered",
            &[c("GET /x HTTP/1.1|Host: a|X"), Do::End(CLIENT), s("HTTP/1.1 400 No|Content-Length: 0||")],
            &["GET -/x -> 400 complete -/0 @1 - 3 3"],
        )
        .unexplained(27),
        case("cut off in the request line", &[c("GET /x HT"), CLOSED], &[]).unexplained(9),
        case(
            "a request after the server's FIN",
            &[Do::End(SERVER), c(GET), RESET],
            &["GET a/ -> - unanswered by server RST 0/- @2 2 - 3"],
        ),
        case("a response to no request is cut off", &[s(PART), CLOSED], &[])
            .odd(Oddities { orphan_responses: 1, ..Oddities::default() }),
    ]
}

#[test]
fn conversations() {
    cases().iter().for_each(Case::check);
}
