//! Checks what a parser tells of the bytes that it is given, and what is left of a conversation when only that is shown.

use super::{Reel, Shown};
use crate::{
    model::Side,
    protocol::{Next, Parser},
};

/// Bytes that may wait to be told of without being held as such: a number's digits, a frame's header.
const SLACK: u64 = 192;

/// Watches one parser. Of the calls that it is told of, `T` is the number or whatever else names them.
pub(crate) struct Witness<T> {
    given: [Vec<u8>; 2],
    told: [usize; 2],
    reel: Reel<T>,
    has_transcript: bool,
}

impl<T> Witness<T> {
    /// From the parser's first byte on.
    pub(crate) fn new(parser: &mut dyn Parser) -> Self {
        let transcript = parser.transcript();
        let has_transcript = transcript.is_some();
        if let Some(transcript) = transcript {
            transcript.record(true);
        }
        Witness { given: Default::default(), told: [0; 2], reel: Reel::default(), has_transcript }
    }

    /// Before the call that gives it these bytes.
    pub(crate) fn pushes(&mut self, side: Side, bytes: &[u8], tag: T) {
        self.given[side.index()].extend_from_slice(bytes);
        self.reel.push(side, bytes.len() as u64, tag);
    }

    /// After it.
    pub(crate) fn pushed(&mut self, parser: &mut dyn Parser, next: Next, name: &str) {
        self.look(parser, name);
        if next == Next::Continue && self.has_transcript {
            let untold = [0, 1].map(|side| (self.given[side].len() - self.told[side]) as u64);
            let held = parser.held() as u64;
            assert!(untold[0] + untold[1] <= held + SLACK, "{name}: {untold:?} untold, {held} held");
        }
    }

    /// After one that told it of bytes that nobody saw: those before them are settled now.
    pub(crate) fn missed(&mut self, parser: &mut dyn Parser, side: Side, tag: T, name: &str) {
        self.look(parser, name);
        self.settle(side);
        self.reel.push(side, 0, tag);
    }

    /// After any other.
    pub(crate) fn called(&mut self, parser: &mut dyn Parser, side: Side, tag: T, name: &str) {
        self.look(parser, name);
        self.reel.push(side, 0, tag);
    }

    /// After the last call.
    pub(crate) fn closed(&mut self, parser: &mut dyn Parser, name: &str) {
        self.look(parser, name);
        self.settle(Side::Client);
        self.settle(Side::Server);
    }

    /// What is shown, call by call, and after it how many bytes are not.
    pub(crate) fn shown(&mut self, each: impl FnMut(T, Side, &[u8], u64)) {
        self.reel.ready(each);
    }

    fn settle(&mut self, side: Side) {
        self.told[side.index()] = self.given[side.index()].len();
        self.reel.settle(side);
    }

    fn look(&mut self, parser: &mut dyn Parser, name: &str) {
        let Some(transcript) = parser.transcript() else { return };
        transcript.drain(|piece| {
            let (given, told) = (&self.given[piece.side.index()], &mut self.told[piece.side.index()]);
            let from = *told;
            *told += piece.n as usize;
            assert!(*told <= given.len(), "{name}: {told} told of {}", given.len());
            if let Shown::Kept(kept) = piece.shown {
                let at = &given[from..*told];
                assert_eq!(kept, at, "{name}: kept {}, not {}", kept.escape_ascii(), at.escape_ascii());
            }
            self.reel.tell(&piece);
        });
    }
}
