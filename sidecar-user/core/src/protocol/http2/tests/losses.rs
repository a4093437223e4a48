//! Bytes that were not seen: lost, skipped, or before the connection was met.

use super::script::*;
use crate::protocol::{Close, Oddities, Want};

#[test]
fn inside_of_data_nothing_is_lost() {
    let big = f(0, 1, 1, &[0; 600_000]);
    let script = |pass: Do| {
        [
            c(&[f(4, 0, 0, &[0, 5, 0, 16, 0, 0]), headers(BOTH, 1, GET)]),
            s(&[headers(END_HEADERS, 1, OK), big[..1000].to_vec()]),
            pass,
            s(&[big[500_000..].to_vec(), f(6, 1, 0, &[0; 8])]),
        ]
    };
    let whole = "GET -/ -> 200 complete 0/600000 @1 1 2 4";
    case("skipped", &script(Do::Skip(SERVER, 499_000)), &[whole]).check();
    case("lost", &script(Do::Gap(SERVER, 499_000)), &[whole]).check();
}

#[test]
fn a_long_body_need_not_be_copied() {
    let mut parser = super::super::open(Default::default(), crate::protocol::Birth::Seen);
    let mut out = Vec::new();
    let mut push = |side, bytes: &[u8]| parser.push(side, Default::default(), bytes, &mut out).want;
    assert_eq!(push(CLIENT, PREFACE), [Want::Stream; 2]);
    push(CLIENT, &[f(4, 0, 0, &[0, 5, 0, 16, 0, 0]), headers(BOTH, 1, GET)].concat());
    let body = f(0, 0, 1, &[0; 600_000]);
    assert_eq!(
        push(SERVER, &[headers(END_HEADERS, 1, OK), body[..109].to_vec()].concat()),
        [Want::Stream, Want::Skip(599_900)]
    );
    assert_eq!(push(SERVER, &body[109..400_000]), [Want::Stream; 2]);
}

#[test]
fn after_a_loss_frames_are_found_again() {
    let (first, second) = (b"\x82\x86\x44\x02/a".as_slice(), b"\x82\x86\xbe".as_slice());
    case(
        "of the server: what was outstanding and shows again is whole, what does not is not observed",
        &[
            c(&[headers(BOTH, 1, GET), headers(BOTH, 3, GET)]),
            s(&[headers(END_HEADERS, 1, OK)]),
            Do::Gap(SERVER, 100),
            s(&[data(1, 1, b"end"), f(6, 1, 0, &[0; 8])]),
            Do::Close(Close::Closed),
        ],
        &["GET -/ -> 200 complete 0/- @1 1 2 4", "GET -/ -> - not observed 0/- @1 1 - 5"],
    )
    .odd(Oddities { resyncs: 1, ..Oddities::default() })
    .unexplained(100)
    .check();
    case(
        "of the client: its table is not known any more, and its answers may be to what was lost",
        &[
            c(&[headers(BOTH, 1, first)]),
            s(&[headers(BOTH, 1, OK)]),
            Do::Gap(CLIENT, 50),
            c(&[headers(BOTH, 5, second), f(6, 0, 0, &[0; 8])]),
            s(&[headers(BOTH, 3, OK), headers(BOTH, 5, OK)]),
            c(&[headers(BOTH, 7, first)]),
            c(&[headers(BOTH, 9, second)]),
            s(&[headers(BOTH, 7, OK), headers(BOTH, 9, OK)]),
        ],
        &[
            "GET -/a -> 200 complete 0/0 @1 1 2 2",
            "GET -- -> 200 complete 0/0 @4 4 5 5",
            "GET -/a -> 200 complete 0/0 @6 6 8 8",
            "GET -/a -> 200 complete 0/0 @7 7 8 8",
        ],
    )
    .odd(Oddities { resyncs: 1, orphan_responses: 1, unresolved: 1, ..Oddities::default() })
    .unexplained(50)
    .check();
    let request = headers(BOTH, 1, &[GET, &plain(&[(":authority", "a.test")])].concat());
    case(
        "in the middle of a request",
        &[
            c(&[request[..12].to_vec()]),
            Do::Gap(CLIENT, request.len() as u64 - 14),
            c(&[request[request.len() - 2..].to_vec(), headers(BOTH, 3, GET)]),
            s(&[headers(BOTH, 1, OK), headers(BOTH, 3, OK)]),
        ],
        &["GET -/ -> 200 complete 0/0 @1 3 4 4", "GET -/ -> 200 complete 0/0 @3 3 4 4"],
    )
    .check();
    let byte = |byte: u8| Do::Push(CLIENT, vec![byte]);
    let request = headers(BOTH, 3, GET);
    let single = request.iter().map(|value| byte(*value));
    let rest = [c(&[f(6, 0, 0, &[0; 8])]), s(&[headers(BOTH, 3, OK), f(6, 0, 0, &[0; 8])])];
    case(
        "the frame that is found begins with its first byte",
        &[
            c(&[headers(BOTH, 1, GET)]),
            s(&[headers(BOTH, 1, OK)]),
            Do::Gap(CLIENT, 9),
            c(&[b"abcdefgh".to_vec()]),
        ]
        .into_iter()
        .chain(single)
        .chain(rest)
        .collect::<Vec<_>>(),
        &["GET -/ -> 200 complete 0/0 @1 1 2 2", "GET -/ -> 200 complete 0/0 @5 16 18 18"],
    )
    .odd(Oddities { resyncs: 1, ..Oddities::default() })
    .unexplained(17)
    .check();
}

#[test]
fn joined_in_the_middle() {
    case(
        "between two requests: what is inserted from then on is known",
        &[
            c(&[headers(BOTH, 21, b"\x82\x86\xbe\x41\x03a.b")]),
            s(&[headers(END_HEADERS, 21, b"\xbe"), data(1, 21, b"ab")]),
            c(&[headers(BOTH, 23, b"\x82\x86\x44\x02/a\xbf")]),
            s(&[headers(BOTH, 23, OK)]),
        ],
        &["GET a.b- -> - complete 0/2 @1 1 2 2", "GET a.b/a -> 200 complete 0/0 @3 3 4 4"],
    )
    .joined()
    .odd(Oddities { unresolved: 2, ..Oddities::default() })
    .check();
    case(
        "in the middle of a body, with what came before it outstanding",
        &[
            s(&[b"middle of something".to_vec()]),
            c(&[headers(BOTH, 9, GET), f(8, 0, 0, &[0, 0, 1, 0])]),
            s(&[data(1, 7, b"x"), headers(BOTH, 5, OK), headers(BOTH, 9, OK)]),
        ],
        &["GET -/ -> 200 complete 0/- @2 2 3 3"],
    )
    .joined()
    .odd(Oddities { orphan_responses: 1, before_join: 19, ..Oddities::default() })
    .unexplained(19)
    .check();
    case(
        "a request's trailers are no request",
        &[
            c(&[headers(BOTH, 9, &plain(&[("x-sum", "1")])), f(8, 0, 0, &[0, 0, 1, 0])]),
            s(&[headers(END_HEADERS, 9, OK), data(1, 9, b"")]),
        ],
        &[],
    )
    .joined()
    .odd(Oddities { orphan_responses: 1, ..Oddities::default() })
    .check();
    case("what never becomes a frame is given up", &[c(&[PREFACE.to_vec()]), s(&[vec![b'x'; 5 << 20]])], &[])
        .joined()
        .odd(Oddities { before_join: (5 << 20) - 8, ..Oddities::default() })
        .unexplained(5 << 20)
        .opaque()
        .check_whole();
}
