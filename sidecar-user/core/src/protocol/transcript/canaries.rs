//! A secret in every field that is not exported: none is shown, however the bytes come, and what is shown reads the same.

use super::witness::Witness;
use crate::{
    model::{Ktime, Side},
    protocol::{ALL, Birth, Close, Limits, Parser, Signal, Then},
};

use Side::{Client, Server};

type Talk = Vec<(Side, Vec<u8>)>;

fn talk(name: &str) -> Talk {
    let text = |side: Side, text: &str| (side, text.replace('|', "\r\n").into_bytes());
    match name {
        "http" => vec![
            text(Client, "POST http://s3cret:s3cret@h/a?s3cret HTTP/1.1|Cookie: s3cret|Host: s3cret/|X: s3cret|Content-Type: a/s3cret|Content-Length: 6||s3cret"),
            text(Server, "HTTP/1.1 200 s3cret|Set-Cookie: s3cret|Transfer-Encoding: chunked||6;s3cret|s3cret|0|T: s3cret||"),
            text(Client, "GET /ws HTTP/1.1|Upgrade: websocket|Sec-WebSocket-Key: s3cret||"),
            text(Server, "HTTP/1.1 101 a|Upgrade: websocket|Sec-WebSocket-Accept: s3cret||"),
            (Client, b"\x81\x86\0\0\0\0s3cret\x89\x86\0\0\0\0s3cret".to_vec()),
            (Server, b"\x02\x06s3cret\x80\x06s3cret\x88\x08\x03\xe8s3cret".to_vec()),
            (Client, b"\x88\x82\0\0\0\0\x03\xe8".to_vec()),
        ],
        "redis" => vec![
            text(Client, "*3|$3|SET|$6|s3cret|$6|s3cret|*2|$4|AUTH|$6|s3cret|*2|$3|GET|$6|s3cret|*2|$6|s3cret|$6|s3cret|"),
            text(Server, "+s3cret|-s3cret s3cret|$6|s3cret|-ERR unknown command 's3cret'|"),
            text(Client, "*2|$9|SUBSCRIBE|$6|s3cret|"),
            text(Server, "*3|$9|subscribe|$6|s3cret|:1|*3|$7|message|$6|s3cret|$6|s3cret|>2|+s3cret|$6|s3cret|"),
            text(Client, "*4|$5|HELLO|$1|3|$6|s3cret|$6|s3cret|*2|$6|LRANGE|$6|s3cret|*2|$6|CONFIG|$6|s3cret|"),
            text(Server, "%1|+s3cret|=10|txt:s3cret|*2|$6|s3cret|!10|ERR s3cret|$?|;6|s3cret|;0|"),
        ],
        "memcached" => vec![
            text(Client, "set s3cret 7 0 6|s3cret|get s3cret s3cret|s3cret s3cret|mg s3cret v Oa Ns3cret|ms s3cret 6 Fs3cret|s3cret|"),
            text(Server, "STORED|VALUE s3cret 7 6|s3cret|END|ERROR|VA 6 Oa ks3cret|s3cret|HD|"),
            text(Client, "incr s3cret 5|delete s3cret|stats s3cret|"),
            text(Server, "CLIENT_ERROR s3cret|NOT_FOUND|STAT s3cret s3cret|END|"),
        ],
        "dns" => vec![
            (Client, b"\0\x23\0\x01\x01\0\0\x01\0\0\0\0\0\x01\x01a\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\x06s3cret".to_vec()),
            (Server, b"\0\x26\0\x01\x81\x80\0\x01\0\x01\0\0\0\0\x01a\0\0\x10\0\x01\xc0\x0c\0\x10\0\x01\0\0\0\x00\0\x07\x06s3cret".to_vec()),
        ],
        "tls" => vec![
            (Client, hello(1, &[(0, b"\0\x06\0\0\x03a.b"), (43, b"\x02\x03\x04"), (51, b"s3cret"), (41, b"s3cret")])),
            (Server, hello(2, &[(43, b"\x03\x04"), (51, b"s3cret")])),
            (Server, b"\x17\x03\x03\0\x06s3cret".to_vec()),
            (Client, b"\x17\x03\x03\0\x06s3cret".to_vec()),
        ],
        _ => Vec::new(),
    }
}

/// A hello in a record: the secret is its random and its session.
fn hello(kind: u8, extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = b"\x03\x03s3crets3crets3crets3crets3cretab\x06s3cret".to_vec();
    body.extend(if kind == 1 { &b"\0\x02\x13\x01\x01\0"[..] } else { b"\x13\x01\0" });
    let extensions: Vec<u8> = extensions
        .iter()
        .flat_map(|(number, data)| {
            [&number.to_be_bytes()[..], &(data.len() as u16).to_be_bytes(), data].concat()
        })
        .collect();
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    let message = [&[kind, 0, 0, body.len() as u8][..], &body].concat();
    [&[0x16, 3, 1, 0, message.len() as u8][..], &message].concat()
}

/// What a parser says of a conversation, and what is shown of it.
fn read(
    open: fn(std::sync::Arc<Limits>, Birth) -> Box<dyn Parser>,
    talk: &Talk,
    piece: usize,
) -> (Vec<Signal>, Talk) {
    let mut parser = open(Limits::default().into(), Birth::Seen);
    let mut witness = Witness::new(parser.as_mut());
    let mut signals = Vec::new();
    for (at, (side, bytes)) in talk.iter().enumerate() {
        for bytes in bytes.chunks(piece) {
            witness.pushes(*side, bytes, at);
            let step = parser.push(*side, Ktime(at as u64), bytes, &mut signals);
            witness.pushed(parser.as_mut(), step.next, "canaries");
            if let Some(next) = parser.successor() {
                parser = next.parser;
                signals.extend(next.signals);
                witness.pushed(parser.as_mut(), step.next, "canaries");
            }
        }
    }
    witness.closed(parser.as_mut(), "canaries");
    parser.close(Ktime(99), Close::Closed, &mut signals);
    let mut shown: Talk = talk.iter().map(|(side, _)| (*side, Vec::new())).collect();
    witness.shown(|at, _, bytes, _| shown[at].1.extend_from_slice(bytes));
    (signals, shown)
}

#[test]
fn no_secret_is_shown_and_what_is_reads_the_same() {
    let mut n_told = 0;
    for protocol in ALL {
        let (Then::Parse(open) | Then::Handshake(open)) = protocol.then;
        let talk = talk(protocol.name);
        n_told += usize::from(!talk.is_empty());
        for piece in [1, 2, 7, 10_000] {
            let (signals, shown) = read(open, &talk, piece);
            let name = protocol.name;
            assert!(talk.is_empty() || !signals.is_empty(), "{name}");
            for (_, bytes) in &shown {
                let has = bytes.windows(6).any(|window| window == b"s3cret");
                assert!(!has, "{name} by {piece}: {}", bytes.escape_ascii());
            }
            let (again, _) = read(open, &shown, piece);
            assert_eq!(again, signals, "{name} by {piece}: {shown:?}");
        }
    }
    assert_eq!(n_told, 5);
}
