//! What holds for every row of the table, whatever it is given. A new protocol is tested by being in the table.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{
    ALL, Birth, Close, Keep, Limits, Next, Parser, Signal, Successor, Then, transcript::witness::Witness,
};
use crate::model::{Ktime, Side};

/// One call.
#[derive(Clone, Debug)]
enum Call {
    Push(Side, Vec<u8>),
    Skipped(Side, u64),
    Gap(Side, u64),
    End(Side),
}

/// Pieces of protocols, so that random calls get further than the first check.
const WORDS: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\n",
    b"HEAD http://h:1/p?q HTTP/1.0\r\n",
    b"CONNECT h:443 HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\n\r\n",
    b"HTTP/1.0 204 None\r\n\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: 18446744073709551615\r\n",
    b"Content-Length: x\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: h\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"3\r\nabc\r\n",
    b"ffffffffffffffff\r\n",
    b"0\r\n\r\n",
    b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
    b"\x17\x03\x03\x00\x02ab",
    b"\x16\x03\x03\x00\x2c\x02\x00\x00\x28\x03\x03abcdefghijklmnopqrstuvwxyzabcdef\x00\x13\x01\x00\x00\x00",
    b"\x16\x03\x03\x00\x04\x0b\x00\x00\x09",
    b"\x14\x03\x03\x00\x01\x01",
    b"\x15\x03\x03\x00\x02\x01\x5a",
    b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n",
    b"\x81\x05Hello",
    b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58",
    b"\x88\x02\x03\xe8",
    b"\x88\x82\x00\x00\x00\x00\x03\xe8",
    b"\x02\x7f\x00\x00\x00\x00\x00\x01\x00\x00",
    b"\x80\xfe\x01\x00\x00\x00\x00\x00",
    b"\0\x13\0\x01\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01",
    b"\0\x1c\0\x02\x01\0\0\x01\0\0\0\0\0\x01\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0",
    b"\0\x11\0\x01\x81\x80\0\x01\0\0\0\0\0\0",
    b"\x01a\0\0\xfc\0\x01",
    b"\xc0\x0c\0\x06\0\x01\0\0\0\0\0\0",
    b"\x00",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    b"\x00\x00\x03\x01\x05\x00\x00\x00\x01\x82\x86\x84",
    b"\x00\x00\x03\x01\x00\x00\x00\x00\x03\x83\x86\x84",
    b"\x00\x00\x04\x01\x04\x00\x00\x00\x05\x83\xbe\xbf\xc0",
    b"\x00\x00\x13\x09\x04\x00\x00\x00\x03\x5f\x10application/grpc\xbe",
    b"\x00\x00\x01\x01\x04\x00\x00\x00\x01\x88",
    b"\x00\x00\x01\x01\x05\x00\x00\x00\x03\x8d",
    b"\x00\x00\x06\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x01a",
    b"\x00\x00\x06\x00\x08\x00\x00\x00\x03\x02abcde",
    b"\x00\x00\x04\x03\x00\x00\x00\x00\x03\x00\x00\x00\x08",
    b"\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00",
    b"\x00\x00\x05\x05\x04\x00\x00\x00\x01\x00\x00\x00\x02\x82",
    b"*1\r\n$4\r\nPING\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nabcde\r\n",
    b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n",
    b"*1\r\n$11\r\nUNSUBSCRIBE\r\n",
    b"*1\r\n$5\r\nMULTI\r\n",
    b"*1\r\n$4\r\nEXEC\r\n",
    b"*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$4\r\nSKIP\r\n",
    b"*3\r\n$5\r\nPSYNC\r\n$1\r\n?\r\n$2\r\n-1\r\n",
    b"+OK\r\n",
    b"+QUEUED\r\n",
    b"-ERR unknown command\r\n",
    b":1\r\n",
    b"$-1\r\n",
    b"$300000\r\n",
    b"*2\r\n:1\r\n-WRONGTYPE a\r\n",
    b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
    b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n",
    b"%1\r\n",
    b"|1\r\n+a\r\n",
    b"$?\r\n;2\r\nab\r\n;0\r\n",
    b"*?\r\n",
    b".\r\n",
    b"get a b\r\n",
    b"set k 0 0 5\r\nabcde\r\n",
    b"set k 0 0 300000\r\n",
    b"set k 0 0 1 noreply\r\nx\r\n",
    b"mg k v q Oa\r\n",
    b"mn\r\n",
    b"VALUE a 0 2\r\nab\r\n",
    b"END\r\n",
    b"STORED\r\n",
    b"VA 2 Oa\r\nab\r\n",
    b"MN\r\n",
    b"SERVER_ERROR a\r\n",
    b"\x80\x0d\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\x00k",
    b"\x81\x0d\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\x00",
    b"\x2d\x00\x00\x00\x0a8\x001234abcdefgh\x00\xff\xff\x2d\x02\x00\xff\xff\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00abcdefghijkl\x00",
    b"\x24\x00\x00\x01\x08\x82\x00\x00\x00\x00\x00\x01\x2d\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00u\x00",
    b"\x01\x00\x00\x00\x0e",
    b"\x0b\x00\x00\x00\x03select 1;x",
    b"\x0e\x00\x00\x00\x16insert into t",
    b"\x0a\x00\x00\x00\x17\x01\x00\x00\x00\x00\x01\x00\x00\x00",
    b"\x05\x00\x00\x00\x11u\x00\x00\x00",
    b"\x07\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00",
    b"\x07\x00\x00\x02\x00\x00\x00\x0a\x00\x00\x00",
    b"\x0c\x00\x00\x01\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    b"\x0c\x00\x00\x01\x00\x01\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x04\x00\x00\x02\x03def",
    b"\x01\x00\x00\x01\x01\x04\x00\x00\x02\x03def\x05\x00\x00\x03\xfe\x00\x00\x02\x00",
    b"\x02\x00\x00\x04\x00\x00\x05\x00\x00\x05\xfe\x00\x00\x02\x00",
    b"\x09\x00\x00\x01\xff\x1e\x04#42S22",
    b"\x02\x00\x00\x01\xfbf",
    b"\x00\x00\x00\x02",
    b"\xff\xff\xff\x00\x03select",
    b"\0\0\0\x1d\0\x03\0\0user\0u\0database\0d\0\0",
    b"\0\0\0\x08\x04\xd2\x16\x2f",
    b"Q\0\0\0\x14SELECT a FROM t\0",
    b"Q\0\0\0\x14COPY t FROM '\0",
    b"P\0\0\0\x14a\0DELETE FROM\0\0\0",
    b"B\0\0\0\x0d\0a\0\0\0\0\0\0\0",
    b"D\0\0\0\x06P\0",
    b"E\0\0\0\x09\0\0\0\0\0",
    b"C\0\0\0\x07Sa\0",
    b"S\0\0\0\x04",
    b"d\0\0\0\x08abcd",
    b"c\0\0\0\x04",
    b"1\0\0\0\x042\0\0\0\x04",
    b"3\0\0\0\x04n\0\0\0\x04",
    b"C\0\0\0\x0dSELECT 1\0",
    b"E\0\0\0\x14SERROR\0C22012\0\0\0",
    b"G\0\0\0\x07\0\0\0",
    b"Z\0\0\0\x05I",
];

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => vec(proptest::sample::select(WORDS), 1..6).prop_map(|words| words.concat()),
        1 => vec(any::<u8>(), 0..64),
        1 => vec(proptest::sample::select(WORDS), 1..2).prop_map(|words| words.concat().repeat(200)),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    let side = || prop_oneof![Just(Side::Client), Just(Side::Server)];
    let n = || prop_oneof![0..10u64, 0..100_000u64, Just(u64::from(u32::MAX))];
    prop_oneof![
        10 => (side(), bytes()).prop_map(|(side, bytes)| Call::Push(side, bytes)),
        1 => (side(), n()).prop_map(|(side, n)| Call::Skipped(side, n)),
        1 => (side(), n()).prop_map(|(side, n)| Call::Gap(side, n)),
        1 => side().prop_map(Call::End),
    ]
}

/// Calls `parser` until it gives up, and checks what must hold after each call and at the end.
fn check(mut parser: Box<dyn Parser>, limits: &Limits, calls: &[Call], how: Close, name: &str) {
    let (mut out, mut given, mut explained) = (Vec::new(), 0u64, 0u64);
    let bound = 4 * limits.head_bytes + 4096 * limits.outstanding;
    let mut witness = Witness::new(parser.as_mut());
    for (at, call) in (1..).map(Ktime).zip(calls) {
        let step = match call {
            Call::Push(side, bytes) => {
                given += bytes.len() as u64;
                witness.pushes(*side, bytes, ());
                parser.push(*side, at, bytes, &mut out)
            }
            Call::Skipped(side, n) => {
                given += n;
                parser.skipped(*side, at, *n, &mut out)
            }
            Call::Gap(side, n) => {
                given += n;
                parser.gap(*side, at, *n, &mut out)
            }
            Call::End(side) => parser.end(*side, at, &mut out),
        };
        match call {
            Call::Push(..) | Call::Skipped(_, 0) | Call::Gap(_, 0) | Call::End(_) => {
                witness.pushed(parser.as_mut(), step.next, name);
            }
            Call::Skipped(side, _) | Call::Gap(side, _) => {
                witness.missed(parser.as_mut(), *side, (), name);
            }
        }
        explained += step.explained;
        assert!(explained <= given, "{name}: {explained} of {given} bytes explained");
        assert!(parser.held() <= bound, "{name}: holds {}", parser.held());
        if step.next != Next::Continue {
            break;
        }
    }
    if let Some(Successor { mut parser, .. }) = parser.successor() {
        witness.pushed(parser.as_mut(), Next::Become, name);
    }
    parser.close(Ktime(calls.len() as u64 + 1), how, &mut out);
    witness.closed(parser.as_mut(), name);
    let mut n_open = 0i64;
    for signal in &out {
        n_open += match signal {
            Signal::Started(_) => 1,
            Signal::Finished(_) => -1,
            Signal::Message(_) => 0,
        };
        assert!(n_open >= 0, "{name}: finished before it started");
    }
    assert_eq!(n_open, 0, "{name}: started and never finished");
}

/// Cuts each push in two at a place of its own.
fn cut(calls: &[Call], at: usize) -> Vec<Call> {
    let mut cut = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        match call {
            Call::Push(side, bytes) => {
                let (first, second) = bytes.split_at((at.wrapping_mul(index + 1)) % (bytes.len() + 1));
                cut.push(Call::Push(*side, first.to_vec()));
                cut.push(Call::Push(*side, second.to_vec()));
            }
            other => cut.push(other.clone()),
        }
    }
    cut
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_parser_bears_anything(
        calls in vec(call(), 0..40),
        at in any::<usize>(),
        joined in any::<bool>(),
        is_small in any::<bool>(),
        how in proptest::sample::select(vec![
            Close::Closed,
            Close::Reset(Side::Client),
            Close::Reset(Side::Server),
            Close::Expired,
            Close::Forgotten,
        ]),
    ) {
        let birth = if joined { Birth::Joined } else { Birth::Seen };
        let keep = Keep {
            paths: true,
            request_headers: vec!["host".into(), "transfer-encoding".into()],
            response_headers: vec!["content-length".into()],
            excluded: vec!["/".parse().expect("a pattern")],
        };
        let small = Limits { head_bytes: 64, outstanding: 4, keep: Arc::new(keep) };
        let limits = if is_small { small } else { Limits::default() };
        for protocol in ALL {
            let (Then::Parse(open) | Then::Handshake(open)) = protocol.then;
            check(open(limits.clone().into(), birth), &limits, &calls, how, protocol.name);
            check(open(limits.clone().into(), birth), &limits, &cut(&calls, at), how, protocol.name);
        }
    }

    /// More bytes may settle an open answer; they never turn a settled one round for the side that spoke.
    #[test]
    fn every_detection_bears_anything(client in bytes(), server in bytes(), at in any::<usize>()) {
        for protocol in ALL {
            let (first, _) = client.split_at(at % (client.len() + 1));
            let before = (protocol.detect)(first, b"");
            let after = (protocol.detect)(&client, b"");
            prop_assert!(
                before == super::Detect::NeedMore || before == after,
                "{}: {before:?}, then {after:?}", protocol.name
            );
            let _ = (protocol.detect)(&client, &server);
        }
    }

    #[test]
    fn every_row_has_a_name_of_its_own(at in 0..ALL.len()) {
        prop_assert_eq!(ALL.iter().filter(|protocol| protocol.name == ALL[at].name).count(), 1);
    }
}
