//! Remote procedure calls.

use std::sync::Arc;

use super::super::open;
use super::script::*;
use crate::protocol::{Birth, Keep, Limits, Oddities};

const GRPC: (&str, &str) = ("content-type", "application/grpc");
const PATH: (&str, &str) = (":path", "/p.S/M");

fn call(fields: &[(&str, &str)]) -> Vec<u8> {
    [&b"\x83\x86"[..], &plain(fields)].concat()
}

fn message(text: &[u8]) -> Vec<u8> {
    [&[0][..], &(text.len() as u32).to_be_bytes(), text].concat()
}

fn answer() -> Vec<u8> {
    [OK, &plain(&[GRPC])].concat()
}

fn status(code: &str) -> Vec<u8> {
    plain(&[("grpc-status", code)])
}

#[test]
fn kinds_and_endings() {
    let request = headers(END_HEADERS, 1, &call(&[PATH, GRPC, ("grpc-timeout", "100m")]));
    let two = [message(b"a"), message(b"")].concat();
    case(
        "unary",
        &[
            c(&[request.clone(), data(1, 1, &message(b"abc"))]),
            s(&[
                headers(END_HEADERS, 1, &answer()),
                data(0, 1, &message(b"d")),
                headers(BOTH, 1, &status("0")),
            ]),
        ],
        &["Grpc p.S/M -> 0 complete 1/1 within 100ms @1 1 2 2"],
    )
    .check();
    case(
        "streams, with messages across frames",
        &[
            c(&[request.clone(), data(0, 1, &two[..3])]),
            c(&[data(0, 1, &two[3..])]),
            s(&[headers(END_HEADERS, 1, &answer()), data(0, 1, &two)]),
            c(&[data(1, 1, b"")]),
            s(&[headers(BOTH, 1, &status("13"))]),
        ],
        &["Grpc p.S/M -> 13 complete 2/2 within 100ms @1 4 3 5"],
    )
    .check();
    case(
        "trailers only",
        &[
            c(&[request.clone(), data(1, 1, &two)]),
            s(&[headers(BOTH, 1, &[answer(), status("12")].concat())]),
        ],
        &["Grpc p.S/M -> 12 complete 2/0 within 100ms @1 1 2 2"],
    )
    .check();
    case(
        "no status is invented",
        &[
            c(&[request.clone(), data(1, 1, &two)]),
            s(&[headers(END_HEADERS, 1, &answer()), data(1, 1, &two)]),
            c(&[headers(BOTH, 3, &call(&[PATH, GRPC]))]),
            s(&[headers(BOTH, 3, &[b"\x8e", &plain(&[("content-type", "text/html")])[..]].concat())]),
        ],
        &["Grpc p.S/M -> - complete 2/2 within 100ms @1 1 2 2", "Grpc p.S/M -> - complete 0/0 @3 3 4 4"],
    )
    .check();
    case(
        "cancelled",
        &[
            c(&[request.clone(), data(0, 1, &two)]),
            s(&[headers(END_HEADERS, 1, &answer())]),
            c(&[reset(1, 8)]),
            c(&[headers(BOTH, 3, &call(&[PATH, GRPC])), reset(3, 8)]),
            c(&[headers(BOTH, 5, &call(&[PATH, GRPC]))]),
            s(&[reset(5, 7)]),
        ],
        &[
            "Grpc p.S/M -> - truncated by client's stream end 2/0 within 100ms code 8 @1 - 2 3",
            "Grpc p.S/M -> - unanswered by client's stream end 0/0 code 8 @4 4 - 4",
            "Grpc p.S/M -> - unanswered by server's stream end 0/0 code 7 @5 5 - 6",
        ],
    )
    .check();
    case(
        "the connection is gone",
        &[c(&[request, data(0, 1, &two)]), Do::End(CLIENT), Do::End(SERVER)],
        &["Grpc p.S/M -> - aborted by client FIN 2/0 within 100ms @1 - - 2"],
    )
    .check();
}

#[test]
fn in_the_browsers_way() {
    let web = |kind: &str| call(&[PATH, ("content-type", kind)]);
    let answer = |kind: &str| [OK, &plain(&[("content-type", kind)])].concat();
    let body = [message(b"abc"), b"\x80\x00\x00\x00\x10grpc-status: 5\r\n".to_vec()].concat();
    case(
        "binary, and as text",
        &[
            c(&[headers(END_HEADERS, 1, &web("application/grpc-web+proto")), data(1, 1, &message(b"x"))]),
            s(&[headers(END_HEADERS, 1, &answer("application/grpc-web+proto")), data(1, 1, &body)]),
            c(&[headers(END_HEADERS, 3, &web("application/grpc-web-text")), data(1, 3, b"AAAAAAF4")]),
            s(&[headers(END_HEADERS, 3, &answer("application/grpc-web-text"))]),
            s(&[data(0, 3, b"AAAAAANhYmM="), data(1, 3, b"gAAAABBncnBjLXN0YXR1czogNQ0K")]),
        ],
        &["GrpcWeb p.S/M -> 5 complete 1/1 @1 1 2 2", "GrpcWeb p.S/M -> 5 complete 1/1 @3 3 4 5"],
    )
    .hidden()
    .check();
}

#[test]
fn messages_are_told_one_by_one() {
    let script = [
        c(&[
            headers(END_HEADERS, 1, &call(&[PATH, GRPC])),
            data(1, 1, &[message(b"a"), message(b"bc")].concat()),
        ]),
        s(&[
            headers(END_HEADERS, 1, &answer()),
            data(0, 1, &message(b"def")),
            headers(BOTH, 1, &status("0")),
        ]),
    ];
    for piece in [1, 2, 7, 1000] {
        let mut parser = open(Default::default(), Birth::Seen);
        let _ = parser.push(CLIENT, Default::default(), PREFACE, &mut Vec::new());
        let run = run(parser, &script, |_| piece);
        assert_eq!(run.messages, [(CLIENT, 1), (CLIENT, 2), (SERVER, 3)]);
    }
}

#[test]
fn the_method_is_kept_where_paths_are_not() {
    let keep = Keep { paths: false, ..Keep::default() };
    let limits = Limits { keep: Arc::new(keep), ..Limits::default() };
    case(
        "a call",
        &[
            c(&[headers(BOTH, 1, &call(&[PATH, GRPC]))]),
            s(&[headers(BOTH, 1, &[answer(), status("0")].concat())]),
        ],
        &["Grpc p.S/M -> 0 complete 0/0 @1 1 2 2"],
    )
    .limits(limits)
    .check();
}

/// What names a call was told before the connection was met.
#[test]
fn joined_in_the_middle() {
    let unknown = b"\x83\x86\xc0\xbf";
    case(
        "the response tells",
        &[
            c(&[headers(END_HEADERS, 9, unknown), data(1, 9, &message(b"abc"))]),
            s(&[
                headers(END_HEADERS, 9, &answer()),
                data(0, 9, &message(b"d")),
                headers(BOTH, 9, &status("3")),
            ]),
        ],
        &["Grpc - -> 3 complete 1/1 @1 1 2 2"],
    )
    .joined()
    .odd(Oddities { unresolved: 2, ..Oddities::default() })
    .check();
    case(
        "the trailers tell",
        &[
            c(&[headers(END_HEADERS, 9, unknown), data(1, 9, &message(b"abc"))]),
            s(&[
                headers(END_HEADERS, 9, b"\x88\xbe"),
                data(0, 9, &message(b"d")),
                headers(BOTH, 9, &status("3")),
            ]),
        ],
        &["Grpc - -> 3 complete 1/1 @1 1 2 2"],
    )
    .joined()
    .odd(Oddities { unresolved: 3, ..Oddities::default() })
    .check();
    case(
        "its messages tell",
        &[
            c(&[headers(END_HEADERS, 9, unknown), data(1, 9, &message(b"abc"))]),
            s(&[headers(END_HEADERS, 9, b"\x88\xbe"), data(0, 9, &message(b"d")), headers(BOTH, 9, b"\xbf")]),
        ],
        &["Grpc - -> - complete 1/1 @1 1 2 2"],
    )
    .joined()
    .odd(Oddities { unresolved: 4, ..Oddities::default() })
    .check();
    case(
        "a trailer of gRPC-Web tells",
        &[
            c(&[headers(END_HEADERS, 9, unknown), data(1, 9, &message(b"abc"))]),
            s(&[
                headers(END_HEADERS, 9, b"\x88\xbe"),
                data(1, 9, &[message(b"d"), b"\x80\0\0\0\x01\n".to_vec()].concat()),
            ]),
        ],
        &["GrpcWeb - -> - complete 1/1 @1 1 2 2"],
    )
    .joined()
    .odd(Oddities { unresolved: 3, ..Oddities::default() })
    .check();
}

/// Nothing that was seen names it, and its bodies are no messages.
#[test]
fn joined_in_the_middle_and_no_call() {
    let unknown = b"\x83\x86\xc0\xbf";
    let asks = |id, body: &[u8]| c(&[headers(END_HEADERS, id, unknown), data(1, id, body)]);
    let answers = |id, body: &[u8]| s(&[headers(END_HEADERS, id, OK), data(1, id, body)]);
    let case = |name, script: &[Do], exchanges: &[&str], unresolved| {
        case(name, script, exchanges).joined().odd(Oddities { unresolved, ..Oddities::default() }).check();
    };
    case("another body", &[asks(9, b"{}"), answers(9, b"ok")], &["POST -- -> 200 complete 2/2 @1 1 2 2"], 2);
    case(
        "what begins as a message does, and is longer",
        &[asks(9, b"\0\0\0\0\x01ab"), answers(9, b"ok")],
        &["POST -- -> 200 complete 7/2 @1 1 2 2"],
        2,
    );
    case(
        "what tells neither: of a call 200 would be no status",
        &[
            asks(9, b""),
            answers(9, b""),
            asks(11, &[0; 10]),
            answers(11, b""),
            asks(13, b"AAAA"),
            answers(13, b""),
        ],
        &[
            "POST -- -> - complete 0/0 @1 1 2 2",
            "POST -- -> - complete 10/0 @3 3 4 4",
            "POST -- -> - complete 4/0 @5 5 6 6",
        ],
        6,
    );
    case(
        "any other status is one",
        &[asks(9, b""), s(&[headers(BOTH, 9, b"\x8d")])],
        &["POST -- -> 404 complete 0/0 @1 1 2 2"],
        2,
    );
    case(
        "what the connection else had tells",
        &[
            asks(9, &message(b"a")),
            answers(9, &message(b"b")),
            asks(11, b""),
            answers(11, b""),
            c(&[headers(BOTH, 13, GET)]),
            s(&[headers(BOTH, 13, OK)]),
            asks(15, b""),
            answers(15, b""),
        ],
        &[
            "Grpc - -> - complete 1/1 @1 1 2 2",
            "Grpc - -> - complete 0/0 @3 3 4 4",
            "GET -/ -> 200 complete 0/0 @5 5 6 6",
            "POST -- -> - complete 0/0 @7 7 8 8",
        ],
        6,
    );
}
