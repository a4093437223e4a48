//! From a test's choices, through records, to exchanges: what property tests and the fuzzer check alike.
#![expect(clippy::missing_panics_doc, reason = "a check panics where it fails")]

mod capture;
mod choices;
mod link;
mod parser;
mod raw;
mod seen;
mod talk;
mod transcript;
#[path = "../../../sidecar-user/core/src/protocol/words.rs"]
mod words;

use std::collections::BTreeSet;

use sidecar_core::{flow::Tally, model, protocol};

use crate::{
    choices::Choices,
    link::Link,
    seen::{Core, written},
    talk::{Side, Talk},
};

/// Where a turn begins in [`split`]'s input.
pub const CLIENT: u8 = 0xfe;
/// The same, of the server.
pub const SERVER: u8 = 0xff;

pub use parser::{CALL, CHOICES, PUSH};

type Check = fn(&[u8]);

/// Those that are not one protocol's.
const OTHERS: [(&str, &str, Check); 6] = [
    ("parsers", "header-blocks", capture::header_blocks),
    ("parsers", "replay", capture::replay),
    ("core", "whole", whole),
    ("core", "split", split),
    ("core", "lossy", lossy),
    ("core", "records", records),
];

/// Pieces of all protocols' messages.
#[must_use]
pub fn words() -> &'static [&'static [u8]] {
    words::WORDS
}

/// What there are checks of, each with its group: what reads a protocol or a file, and the core from records to series.
pub fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    let protocols = protocol::ALL.iter().map(|protocol| ("parsers", protocol.name));
    protocols.chain(OTHERS.map(|(group, name, _)| (group, name)))
}

/// The check of that name, which panics where it fails: of a protocol that its detection and its parser bear any calls.
pub fn check(name: &str, input: &[u8]) {
    match OTHERS.iter().find(|(_, other, _)| *other == name) {
        Some((.., check)) => check(input),
        None => parser::check(name, input),
    }
}

/// Whatever the pieces, their order, overlaps and repetitions: the same exchanges, and every byte explained.
pub fn whole(input: &[u8]) {
    let choices = &mut Choices::new(input);
    let observed = choices.of(&[Side::Server, Side::Client]);
    let talk = Talk::choose(choices, false);
    let mut core = Core::new();
    Link::new(choices, 0).carry(&talk, observed, choices, &mut core);
    let tally = core.tally();
    let exchanges: Vec<_> = core.finish().iter().map(written).collect();
    assert_eq!(exchanges, talk.exchanges, "{talk:?}");
    let n_bytes = talk.messages.iter().map(|message| message.bytes.len() as u64).sum::<u64>();
    assert_eq!((tally.lost, tally.skipped, tally.explained), (0, 0, n_bytes), "{talk:?}");
}

/// With records lost: none twice, none that was not, and what is missing or wrong is on a connection with a gap.
pub fn lossy(input: &[u8]) {
    let choices = &mut Choices::new(input);
    let observed = choices.of(&[Side::Server, Side::Client]);
    let loss = choices.of(&[4, 16, 64]);
    let talk = Talk::choose(choices, true);
    let mut core = Core::new();
    Link::new(choices, loss).carry(&talk, observed, choices, &mut core);
    let tally = core.tally();
    let exchanges: Vec<_> = core.finish().iter().map(written).collect();
    let name = |exchange: &String| exchange.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let known: BTreeSet<_> = talk.exchanges.iter().map(name).collect();
    let mut reported = BTreeSet::new();
    for exchange in &exchanges {
        assert!(known.contains(&name(exchange)), "{exchange} never was, of {exchanges:?}: {talk:?}");
        assert!(reported.insert(name(exchange)), "{exchange} twice, of {exchanges:?}: {talk:?}");
    }
    assert!(exchanges == talk.exchanges || tally.lost > 0, "{exchanges:?} without a gap: {talk:?}");
}

/// Any bytes: the same exchanges, of the same times, whether turns come at once or in pieces; but for connections that the
/// bound of what is held ended, which is looked at with each piece, and for those that only one way were taken for what they are: a
/// side that says what no protocol does is held against the first bytes of the other, not against its whole message.
pub fn split(input: &[u8]) {
    let (seed, input) = input.split_at(input.len().min(2));
    let turns = turns(input);
    let run = |piece: &mut dyn FnMut(usize) -> usize| {
        let mut core = Core::new();
        Link::new(&mut Choices::new(b""), 0).turns(&turns, &mut core, piece);
        let Tally { memory_full, classified, .. } = core.tally();
        (core.finish(), memory_full > 0, classified)
    };
    let (at_once, is_bounded, classified) = run(&mut |n| n);
    let mut state = seed.iter().fold(1u64, |state, byte| state * 257 + u64::from(*byte));
    let longest = [1, 3, 30, 600][(state % 4) as usize];
    let (in_pieces, is_bounded_in_pieces, classified_in_pieces) = run(&mut |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        1 + (state >> 33) as usize % longest
    });
    let shown: Vec<_> =
        turns.iter().map(|(side, bytes)| format!("{side:?} {}", bytes.escape_ascii())).collect();
    assert!(
        at_once == in_pieces || is_bounded || is_bounded_in_pieces || classified != classified_in_pieces,
        "{at_once:?} {in_pieces:?} {shown:#?}"
    );
}

/// Any records: no panic, no more than the bounds, each start finished and measured once.
pub fn records(input: &[u8]) {
    raw::records(&mut Choices::new(input), Core::new());
}

/// A conversation as [`split`]'s input.
pub fn turns_of_a_talk(input: &[u8]) -> Vec<u8> {
    let talk = Talk::choose(&mut Choices::new(input), false);
    let mut turns = input.iter().copied().take(2).collect::<Vec<_>>();
    for message in talk.messages {
        turns.push(if message.side == Side::Client { CLIENT } else { SERVER });
        turns.extend_from_slice(&message.bytes);
    }
    turns
}

fn turns(input: &[u8]) -> Vec<(Side, &[u8])> {
    let mut turns: Vec<(Side, &[u8])> = Vec::new();
    let (mut side, mut rest) = (Side::Client, input);
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| matches!(*byte, CLIENT | SERVER)).unwrap_or(rest.len());
        turns.push((side, &rest[..end]));
        let Some(mark) = rest.get(end) else { break };
        side = if *mark == CLIENT { Side::Client } else { Side::Server };
        rest = &rest[end + 1..];
    }
    turns
}
