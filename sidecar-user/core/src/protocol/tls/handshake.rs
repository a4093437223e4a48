//! What is said before anything is encrypted.

use std::sync::Arc;

use crate::model::{Ktime, Side};
use crate::protocol::{Birth, Close, Limits, Next, Parser, Signal, Step, Want};

pub(super) fn open(_: Arc<Limits>, _: Birth) -> Box<dyn Parser> {
    Box::new(Handshake)
}

struct Handshake;

const OVER: Step = Step { next: Next::Encrypted, explained: 0, want: [Want::Undecided; 2] };

impl Parser for Handshake {
    fn push(&mut self, _: Side, _: Ktime, _: &[u8], _: &mut Vec<Signal>) -> Step {
        OVER
    }
    fn skipped(&mut self, _: Side, _: Ktime, _: u64, _: &mut Vec<Signal>) -> Step {
        OVER
    }
    fn gap(&mut self, _: Side, _: Ktime, _: u64, _: &mut Vec<Signal>) -> Step {
        OVER
    }
    fn end(&mut self, _: Side, _: Ktime, _: &mut Vec<Signal>) -> Step {
        OVER
    }
    fn limit(&mut self, _: &Arc<Limits>) {}
    fn close(&mut self, _: Ktime, _: Close, _: &mut Vec<Signal>) {}
}
