//! Where each side stands on a connection whose answers have nothing but their order, and what becomes of it where that is not known:
//! in the middle of a connection, or after a loss.
//!
//! A place is found where the bytes of a packet begin with a whole message; it is lost where they do not go on so. Which answer is
//! whose is another matter, and settled by `trial`.

use super::trial::{Asks, Trial};
use super::{Limits, Oddities, Signal};
use crate::model::{Ktime, Outcome, Side};

/// Turns in a row that are nothing that is known end the reading.
const STRANGE_MAX: u32 = 64;

/// What is known of the place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Where messages of each side begin and end.
    pub(super) framed: [bool; 2],
    /// It was met in the middle, and nothing was settled yet.
    is_joining: bool,
    /// It was met in the middle, or bytes were lost: what is believed may turn out to be wrong.
    pub(super) is_doubtful: bool,
    /// Times that it did.
    n_wrong: u32,
    n_strange: u32,
    spoke: Option<Side>,
}

impl Place {
    pub(super) fn new(is_joined: bool) -> Self {
        Place {
            framed: [!is_joined; 2],
            is_joining: is_joined,
            is_doubtful: is_joined,
            n_wrong: 0,
            n_strange: 0,
            spoke: None,
        }
    }

    pub(super) fn is_framed(&self, side: Side) -> bool {
        self.framed[side.index()]
    }
}

/// What every such parser has.
pub(super) struct Line<'a, C, R> {
    pub(super) limits: &'a Limits,
    pub(super) place: &'a mut Place,
    /// Where it is not known which answer is whose.
    pub(super) trial: &'a mut Option<Trial<C, R>>,
    pub(super) odd: &'a mut Oddities,
    /// The request that is being sent was told of.
    pub(super) is_started: &'a mut bool,
    /// And is over already, as nothing is known of it.
    pub(super) is_dropped: &'a mut bool,
    /// What the client sends is no message any more: only what is outstanding is followed.
    pub(super) is_closing: &'a mut bool,
    pub(super) is_opaque: &'a mut bool,
}

/// A parser of such a protocol.
pub(super) trait Pipelined {
    type Ask: Asks<Self::Answer>;
    type Answer;

    fn line(&mut self) -> Line<'_, Self::Ask, Self::Answer>;
    /// What of `side` was not told of in the transcript is not shown.
    fn hide(&mut self, side: Side);
    /// Whatever is read now begins a message.
    fn restart(&mut self);
    /// What commands before may have changed is not known any more.
    fn forget(&mut self);
    /// It was asked before, and is outstanding.
    fn begin(&mut self, ask: Self::Ask, out: &mut Vec<Signal>);
    fn told(&mut self, answer: Self::Answer, out: &mut Vec<Signal>);
    /// The request that is being sent is over.
    fn finish_sending(&mut self, outcome: Outcome, at: Ktime, out: &mut Vec<Signal>);
    /// All that is outstanding is over, and nothing is known of its end.
    fn finish_unseen(&mut self, at: Ktime, out: &mut Vec<Signal>);

    /// `side` speaks. Says whether the other one did before.
    fn spoken(&mut self, side: Side, at: Ktime, out: &mut Vec<Signal>) -> bool {
        if self.line().trial.as_mut().is_some_and(|trial| trial.speaks(side, at)) {
            self.settle(out);
        }
        self.line().place.spoke.replace(side) != Some(side)
    }

    /// `n` bytes passed while the place was not known.
    fn unread(&mut self, n: u64) {
        let line = self.line();
        if line.place.is_joining {
            line.odd.before_join += n;
        }
    }

    /// Bytes were nothing that is known.
    fn wonder(&mut self, is_turn: bool, at: Ktime, out: &mut Vec<Signal>) {
        let place = self.line().place;
        place.n_strange += u32::from(is_turn);
        if place.n_strange >= STRANGE_MAX {
            self.give_up(at, out);
        }
    }

    /// Bytes of `side` are no message, with the `n` from here on.
    fn malformed(&mut self, side: Side, n: u64, at: Ktime, out: &mut Vec<Signal>) {
        self.hide(side);
        if self.line().place.is_doubtful {
            // Most likely the place was none.
            self.unread(n);
            self.lose(at, out);
            return self.wonder(true, at, out);
        }
        self.line().odd.malformed += 1;
        match side {
            // It is told so, or the connection closed.
            Side::Client => {
                *self.line().is_closing = true;
                self.finish_sending(Outcome::NotObserved, at, out);
            }
            Side::Server => self.give_up(at, out),
        }
    }

    /// Where both sides stand is not known any more.
    fn lose(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        self.line().place.framed = [false; 2];
        self.hide(Side::Client);
        self.hide(Side::Server);
        self.doubt(at, out);
        self.restart();
        *self.line().is_dropped = false;
    }

    /// What was believed of answers was wrong.
    fn mistrust(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        self.line().place.n_wrong += 1;
        self.doubt(at, out);
        self.wonder(true, at, out);
    }

    /// Which answer is whose is not known any more.
    fn doubt(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        self.drop_trial();
        self.finish_unseen(at, out);
        let line = self.line();
        *line.is_dropped = *line.is_started;
        self.finish_sending(Outcome::NotObserved, at, out);
        self.try_anew();
        self.line().place.is_doubtful = true;
        self.forget();
    }

    /// What is held unsettled is told as what is not known.
    fn drop_trial(&mut self) {
        let line = self.line();
        let Some(trial) = line.trial.take() else { return };
        let (requests, answers) = trial.len();
        count(line.odd, requests, answers);
    }

    /// What is unsettled is dropped.
    fn try_anew(&mut self) {
        self.drop_trial();
        let line = self.line();
        *line.trial = Some(Trial::new(line.place.n_wrong));
    }

    /// There is room for what is unsettled, or the oldest of it is dropped.
    fn make_room(&mut self) {
        let line = self.line();
        let Some(trial) = line.trial else { return };
        let (answers, requests) = trial.make_room(line.limits);
        count(line.odd, requests, answers);
    }

    /// It is believed which answer is whose.
    fn settle(&mut self, out: &mut Vec<Signal>) {
        let line = self.line();
        let Some(trial) = line.trial.take() else { return };
        let settled = trial.settle();
        count(line.odd, 0, usize::try_from(settled.orphans).unwrap_or(usize::MAX));
        if !std::mem::take(&mut line.place.is_joining) {
            line.odd.resyncs += 1;
        }
        line.place.n_strange = 0;
        for ask in settled.requests {
            self.begin(ask, out);
        }
        for answer in settled.answers {
            self.told(answer, out);
        }
    }

    /// The connection ends, which may settle it.
    fn end_trial(&mut self, out: &mut Vec<Signal>) {
        if self.line().trial.as_ref().is_some_and(Trial::ends) {
            self.settle(out);
        }
    }

    /// Nothing more is read. What was outstanding is over, and nothing is known of its end.
    fn give_up(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        *self.line().is_opaque = true;
        self.drop_trial();
        self.finish_sending(Outcome::NotObserved, at, out);
        self.finish_unseen(at, out);
    }
}

fn count(odd: &mut Oddities, requests: usize, answers: usize) {
    odd.unresolved += u32::try_from(requests).unwrap_or(u32::MAX);
    odd.orphan_responses += u32::try_from(answers).unwrap_or(u32::MAX);
}
