//! What is recorded of each capture has the same exchanges, and nothing that is not exported.

use serde_json::Value;
use sidecar_core::{
    config::Config,
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

/// Fixtures whose parsers say what may be shown.
fn shown() -> impl Iterator<Item = (String, Vec<Owned>, Vec<String>)> {
    const NOT_YET: [&str; 1] = ["http2"];
    let told = fixtures().into_iter().filter(|(name, ..)| !NOT_YET.contains(&name.as_str()));
    told.map(|(name, bytes, lines)| (name, read(&bytes).expect("a whole capture"), lines))
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

/// When something showed to be missing is not when it showed before.
fn without_ends(lines: &[String]) -> Vec<Value> {
    let mut lines: Vec<_> = lines.iter().map(|line| json(line)).collect();
    for line in lines.iter_mut().filter(|line| line["error.type"] == "response_not_observed") {
        line.as_object_mut().expect("an object").remove("duration_ns");
    }
    lines
}
