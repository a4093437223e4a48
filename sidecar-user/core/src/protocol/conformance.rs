//! What holds for every row of the table, whatever it is given. A new protocol is tested by being in the table.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{
    ALL, Birth, Close, Keep, Limits, Next, Parser, Signal, Successor, Then, transcript::witness::Witness,
    words::WORDS,
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
    let bound = 4 * limits.head_bytes + 4096 * limits.outstanding + 256 * limits.small();
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
            shown_paths: true,
            request_headers: vec!["host".into(), "transfer-encoding".into()],
            response_headers: vec!["content-length".into()],
            b3: true,
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
