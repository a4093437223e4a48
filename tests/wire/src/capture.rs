//! A capture's file of any content, and header blocks of any content.

use std::ops::Range;

use sidecar_core::{
    config::Config,
    replay::{File, Replay},
    told::Told,
};

use crate::parser::{self, CALL, CHOICES, PUSH};

/// Packets of one file; more take only longer.
const PACKETS: usize = 2000;

/// A file that is read as far as it goes: no panic, and what is told of it can be written down.
pub(crate) fn replay(input: &[u8]) {
    let Ok(mut file) = File::open(input) else { return };
    let mut replay = Replay::new(&Config::default());
    for _ in 0..PACKETS {
        let Ok(Some(packet)) = file.packet() else { break };
        replay.packet(&packet);
    }
    replay.finish();
    for line in replay.take().iter().map(Told::to_json) {
        assert!(!line.contains('\n'), "a line is one: {line}");
    }
    let _ = replay.snapshot();
}

/// Header blocks, by turns the client's and the server's, each in a frame of its own or, where it begins with an odd byte, in two: what
/// a fuzzer would else have to find lengths for.
pub(crate) fn header_blocks(input: &[u8]) {
    let (choices, blocks) = input.split_at(input.len().min(CHOICES));
    let mut talk = choices.to_vec();
    talk.resize(CHOICES, 0);
    talk.extend(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    talk.extend([&CALL[..], &[PUSH[1]], b"\0\0\0\x04\0\0\0\0\0"].concat());
    for (number, range) in (0u32..).zip(ranges(blocks)) {
        let block = &blocks[range];
        let Some((first, block)) = block.split_first() else { continue };
        talk.extend(CALL);
        talk.push(PUSH[number as usize % 2]);
        let stream = number / 2 * 2 + 1;
        let n = if first & 1 == 0 { block.len() } else { usize::from(first >> 1).min(block.len()) };
        let (head, more) = block.split_at(n);
        let ends = first & 1 == 0;
        talk.extend(frame(1, if ends { 5 } else { 1 }, stream, head));
        if !ends {
            talk.extend(frame(9, 4, stream, more));
        }
    }
    parser::check("http2", &talk);
}

fn ranges(input: &[u8]) -> Vec<Range<usize>> {
    let (mut ranges, mut from) = (Vec::new(), 0);
    while let Some(n) = input[from..].windows(2).position(|two| two == CALL) {
        ranges.push(from..from + n);
        from += n + CALL.len();
    }
    ranges.push(from..input.len());
    ranges
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}
