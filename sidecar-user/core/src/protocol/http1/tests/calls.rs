//! Calls of gRPC-Web.

use super::super::open;
use super::script::*;
use crate::model::{Detail, Ktime};
use crate::protocol::{Birth, Keep, Limits, Signal, Want};

const ASK: &str = "POST /p.S/M HTTP/1.1|Host: a|Content-Type: application/grpc-web+proto|Content-Length: 8||\0\0\0\0\u{3}abc";
const TYPE: &str = "Content-Type: application/grpc-web+proto";
/// A message of three bytes.
const MESSAGE: &str = "\0\0\0\0\u{3}abc";
/// A body's end, after the byte that says that it is one.
const TRAILER: &str = "\0\0\0\u{22}grpc-message: no|grpc-status: 5|";

/// With a byte that is no text by itself.
fn sent(side: Do, bytes: &[&[u8]]) -> Do {
    let Do::Push(side, mut head) = side else { panic!("bytes") };
    head.extend(bytes.concat());
    Do::Push(side, head)
}

fn body(piece: &str) -> Vec<u8> {
    let Do::Push(_, bytes) = s(piece) else { panic!("bytes") };
    bytes
}

fn trailer() -> Vec<u8> {
    [&[0x80][..], &body(TRAILER)].concat()
}

#[test]
fn their_status_is_in_the_body_or_in_the_head() {
    let all = [body(MESSAGE), body(MESSAGE), trailer()].concat();
    case(
        "in the body",
        &[
            c(ASK),
            sent(s(&format!("HTTP/1.1 200 OK|{TYPE}|Content-Length: {}||", all.len())), &[&all]),
            c("GET / HTTP/1.1||"),
            s("HTTP/1.1 204 No||"),
        ],
        &[
            "POST a/p.S/M -> 200 complete 8/55 @1 1 2 2 call p.S/M 5 1/2",
            "GET -/ -> 204 complete 0/0 @3 3 4 4",
        ],
    )
    .check();
    let chunks: Vec<u8> = all
        .chunks(7)
        .flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat())
        .collect();
    case(
        "in chunks",
        &[
            c(&ASK.replace("Content-Length", "grpc-timeout: 2S|Content-Length")),
            sent(
                s(&format!("HTTP/1.1 200 OK|{TYPE}|Transfer-Encoding: chunked||")),
                &[&chunks, b"0\r\n\r\n"],
            ),
        ],
        &["POST a/p.S/M -> 200 complete 8/55 @1 1 2 2 call p.S/M 5 1/2 within 2s"],
    )
    .check();
    case(
        "in the head",
        &[c(ASK), s(&format!("HTTP/1.1 200 OK|{TYPE}|grpc-status: 12|Content-Length: 0||"))],
        &["POST a/p.S/M -> 200 complete 8/0 @1 1 2 2 call p.S/M 12 1/0"],
    )
    .check();
    case(
        "nowhere, of who is no server of calls, or where it was cut off",
        &[
            c(ASK),
            s("HTTP/1.1 503 No|grpc-status: 5|Content-Length: 2||no"),
            c(ASK),
            sent(s(&format!("HTTP/1.1 200 OK|{TYPE}|Content-Length: 55||")), &[&all[..20]]),
            Do::End(SERVER),
        ],
        &[
            "POST a/p.S/M -> 503 complete 8/2 @1 1 2 2 call p.S/M - 1/0",
            "POST a/p.S/M -> 200 truncated by server FIN 8/20 @3 3 4 5 call p.S/M - 1/2",
        ],
    )
    .check();
    case(
        "of what is no call nothing is read",
        &[
            c("GET /p.S/M HTTP/1.1|Content-Type: application/grpc-web||"),
            sent(s(&format!("HTTP/1.1 200 OK|{TYPE}|Content-Length: 55||")), &[&all]),
        ],
        &["GET -/p.S/M -> 200 complete 0/55 @1 1 2 2"],
    )
    .check();
}

#[test]
fn as_text() {
    let script = [
        c(
            "POST /p.S/M HTTP/1.1|Host: a|Content-Type: application/grpc-web-text|Content-Length: 12||AAAAAANhYmM=",
        ),
        s(
            "HTTP/1.1 200 OK|Content-Type: application/grpc-web-text|Content-Length: 40||AAAAAANhYmM=gAAAABBncnBjLXN0YXR1czogNQ0K",
        ),
    ];
    for piece in 1..50 {
        let run = run(&script, Limits::default(), Birth::Seen, |_| piece);
        let exchanges: Vec<String> = run.exchanges.iter().map(written).collect();
        assert_eq!(exchanges, ["POST a/p.S/M -> 200 complete 12/40 @1 1 2 2 call p.S/M 5 1/1"], "{piece}");
        assert_eq!(run.given, run.explained);
    }
}

/// The method names the code: it is told where paths are not. Nothing is told as begun by a method of HTTP.
#[test]
fn what_is_told() {
    let limits = Limits { keep: Keep::default().into(), ..Limits::default() };
    let mut parser = open(limits.into(), Birth::Seen);
    let mut out = Vec::new();
    let Do::Push(_, ask) = c(ASK) else { panic!("bytes") };
    let step = parser.push(CLIENT, Ktime(1), &ask, &mut out);
    // The status is the last thing that is said.
    assert_eq!(step.want, [Want::Stream; 2]);
    let head = format!("HTTP/1.1 200 OK|{TYPE}|Content-Length: 100000||");
    let step = parser.push(SERVER, Ktime(2), &body(&head), &mut out);
    assert_eq!(step.want, [Want::Stream; 2]);
    let content = [&[0, 0, 1, 0x86, 0x75][..], &vec![b'x'; 99_957], &trailer()].concat();
    let _ = parser.push(SERVER, Ktime(3), &content[..50_000], &mut out);
    let _ = parser.push(SERVER, Ktime(4), &content[50_000..], &mut out);
    let kinds: Vec<String> = out
        .iter()
        .map(|signal| match signal {
            Signal::Started(start) => format!("started {:?}", start.method),
            Signal::Message(message) => format!("message {} {:?}", message.bytes, message.side),
            Signal::Finished(exchange) => match &exchange.detail {
                Detail::Rpc(rpc) => format!("finished {:?} {:?} {:?}", rpc.system, rpc.method(), rpc.status),
                other => panic!("{other:?}"),
            },
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "started None",
            "message 3 Client",
            "message 99957 Server",
            "finished GrpcWeb Some(\"p.S/M\") Some(5)"
        ]
    );
}
