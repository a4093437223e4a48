//! What is recorded of each capture has the same exchanges, and nothing that is not exported.

use std::sync::Arc;

use serde_json::Value;
use sidecar_core::{
    config::Config,
    protocol::{ALL, Birth, Limits, Then},
    record::{LeftOut, Wish},
    replay::Replay,
};

use crate::{
    fixtures, honest, json,
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

fn captures() -> impl Iterator<Item = (String, Vec<Owned>, Vec<String>)> {
    fixtures().into_iter().map(|(name, bytes, lines)| (name, read(&bytes).expect("a whole capture"), lines))
}

#[test]
fn every_parser_says_what_may_be_shown() {
    for protocol in ALL {
        let (Then::Parse(open) | Then::Handshake(open)) = protocol.then;
        let says = open(Arc::new(Limits::default()), Birth::Seen).transcript().is_some();
        assert!(says, "{}", protocol.name);
    }
}

#[test]
fn it_has_the_same_exchanges() {
    for (name, packets, expected) in captures() {
        assert_eq!(lines_of(&recorded(&packets)), expected, "{name}");
    }
}

#[test]
fn however_the_bytes_came() {
    for (name, packets, expected) in captures() {
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
            alike(&format!("{name} without packet {at}"), &got, &expected);
            let (got, expected) = (lines_of(&recorded(&packets[at..])), lines(&packets[at..]));
            alike(&format!("{name} from packet {at}"), &got, &expected);
        }
    }
}

/// Connections of which no parser says anything: their lengths, and no byte.
#[test]
fn what_nobody_knows_is_lengths() {
    let (_, packets, _) = captures().find(|(name, ..)| name == "http1").expect("a capture");
    let unknown: Vec<_> = packets.iter().map(|packet| packet.with(|byte| byte | 0x80)).collect();
    let whole = read(&recorded(&packets)).expect("a capture");
    let lengths = read(&recorded(&unknown)).expect("a capture");
    assert!(lengths.iter().all(|packet| packet.bytes.len() == 40), "only headers");
    let sum = |packets: &[Owned]| packets.iter().map(|packet| u64::from(packet.len) - 40).sum::<u64>();
    assert!(sum(&lengths) > 1000);
    assert_eq!(sum(&lengths), sum(&whole));
}

/// HTTP/2 is met by a frame that the next one bears out, and that one is not shown: where nothing before it is known, the
/// recording may tell less, and nothing else.
fn alike(name: &str, got: &[String], expected: &[String]) {
    if name.starts_with("http2 ") || name.starts_with("grpc ") {
        let expected: Vec<_> = expected.iter().map(|line| json(line)).collect();
        honest::check(name, got, &expected, false);
    } else {
        assert_eq!(without_ends(got), without_ends(expected), "{name}");
    }
}

/// When something showed to be missing is not when it showed before.
fn without_ends(lines: &[String]) -> Vec<Value> {
    let mut lines: Vec<_> = lines.iter().map(|line| json(line)).collect();
    for line in lines.iter_mut().filter(|line| line["error.type"] == "response_not_observed") {
        line.as_object_mut().expect("an object").remove("duration_ns");
    }
    lines
}
