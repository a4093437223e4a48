//! What is recorded of each capture has the same exchanges, and nothing that is not exported.

use std::sync::Arc;

use serde_json::Value;
use sidecar_core::{
    config::Config,
    protocol::{ALL, Birth, Limits, Protocol, Then},
    record::{LeftOut, Wish},
    replay::Replay,
};

use crate::{
    fixtures, json,
    packets::{Owned, lines, read},
};

/// What others may see of these packets: a capture.
pub(crate) fn recorded<'a>(packets: impl IntoIterator<Item = &'a Owned>) -> Vec<u8> {
    let mut replay = Replay::new(&Config::default());
    replay.record(Wish::default());
    for packet in packets {
        replay.packet(&packet.lend());
    }
    replay.finish();
    let recorder = replay.recorder().expect("a recording");
    assert_eq!(recorder.left_out(), LeftOut::default());
    recorder.take().0
}

fn lines_of(recorded: &[u8]) -> Vec<String> {
    lines(&read(recorded).expect("a whole capture"))
}

/// Rows whose parsers do not say what may be shown: of theirs nothing is.
const NOT_YET: [&str; 3] = ["http2", "mysql", "postgresql"];

/// Captures of the others.
fn shown() -> impl Iterator<Item = (String, Vec<Owned>, Vec<String>)> {
    let untold: Vec<_> =
        ALL.iter().filter(|protocol| !tells(protocol)).map(|protocol| protocol.name).collect();
    assert!(untold.iter().all(|name| NOT_YET.contains(name)), "{untold:?}");
    let is_shown = move |lines: &[String]| {
        !lines.iter().map(|line| json(line)).any(|line| {
            let name = line["protocol"].as_str().expect("a name");
            untold.contains(&name) || name == "grpc" && untold.contains(&"http2")
        })
    };
    let told = fixtures().into_iter().filter(move |(_, _, lines)| is_shown(lines));
    told.map(|(name, bytes, lines)| (name, read(&bytes).expect("a whole capture"), lines))
}

fn tells(protocol: &Protocol) -> bool {
    let (Then::Parse(open) | Then::Handshake(open)) = protocol.then;
    open(Arc::new(Limits::default()), Birth::Seen).transcript().is_some()
}

#[test]
fn it_has_the_same_exchanges() {
    for (name, packets, expected) in shown() {
        assert_eq!(lines_of(&recorded(&packets)), expected, "{name}");
    }
}

#[test]
fn however_the_bytes_came() {
    for (name, packets, expected) in shown() {
        let single: Vec<_> = packets
            .iter()
            .flat_map(|packet| match packet.payload() {
                0 => vec![packet.clone()],
                n => (0..n).map(|at| packet.piece(at, at + 1)).collect(),
            })
            .collect();
        assert_eq!(lines_of(&recorded(&single)), expected, "{name}, in single bytes");
        for at in 0..packets.len() {
            let without: Vec<_> = packets[..at].iter().chain(&packets[at + 1..]).collect();
            let expected = lines(without.iter().copied());
            let got = lines_of(&recorded(without));
            assert_eq!(without_ends(&got), without_ends(&expected), "{name} without packet {at}");
            let (got, expected) = (lines_of(&recorded(&packets[at..])), lines(&packets[at..]));
            assert_eq!(without_ends(&got), without_ends(&expected), "{name} from packet {at}");
        }
    }
}

/// Connections of which no parser says anything: their lengths, and no byte.
#[test]
fn what_nobody_knows_is_lengths() {
    let (_, packets, _) = shown().find(|(name, ..)| name == "http1").expect("a capture");
    let unknown: Vec<_> = packets.iter().map(|packet| packet.with(|byte| byte | 0x80)).collect();
    let whole = read(&recorded(&packets)).expect("a capture");
    let lengths = read(&recorded(&unknown)).expect("a capture");
    assert!(lengths.iter().all(|packet| packet.bytes.len() == 40), "only headers");
    let sum = |packets: &[Owned]| packets.iter().map(|packet| u64::from(packet.len) - 40).sum::<u64>();
    assert!(sum(&lengths) > 1000);
    assert_eq!(sum(&lengths), sum(&whole));
}

/// When something showed to be missing is not when it showed before.
fn without_ends(lines: &[String]) -> Vec<Value> {
    let mut lines: Vec<_> = lines.iter().map(|line| json(line)).collect();
    for line in lines.iter_mut().filter(|line| line["error.type"] == "response_not_observed") {
        line.as_object_mut().expect("an object").remove("duration_ns");
    }
    lines
}
