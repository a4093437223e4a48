//! What ended a connection, and what that makes of a request that was outstanding.

use super::Close;
use crate::model::{Cut, Outcome, Side};

/// Whose end came first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ends(Option<Side>);

/// How far a request had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It was not whole.
    Sending,
    /// It was, and nothing of its answer had come.
    Sent,
    /// Its answer had begun.
    Answering,
}

impl Ends {
    /// `side` sent its last byte.
    pub(super) fn ended(&mut self, side: Side) {
        self.0.get_or_insert(side);
    }

    /// What becomes of a request that was outstanding when the server sent its last byte.
    pub(super) fn unanswered(self, progress: Progress) -> Outcome {
        cut_off(Cut::Closed(self.0), progress)
    }

    /// What becomes of it at the connection's end. A side that closed and was answered by its peer's data resets too;
    /// that one is told.
    pub(super) fn outcome(self, how: Close, progress: Progress) -> Outcome {
        match (how, self.0) {
            (Close::Forgotten, _) => Outcome::NotObserved,
            (Close::Expired, _) => cut_off(Cut::Expired, progress),
            (Close::Reset(by), first) if first.is_none_or(|side| side == by) => {
                cut_off(Cut::Reset(by), progress)
            }
            (Close::Reset(_) | Close::Closed, first) => cut_off(Cut::Closed(first), progress),
        }
    }
}

fn cut_off(cut: Cut, progress: Progress) -> Outcome {
    match progress {
        Progress::Sending => Outcome::Aborted(cut),
        Progress::Sent => Outcome::Unanswered(cut),
        Progress::Answering => Outcome::Truncated(cut),
    }
}
