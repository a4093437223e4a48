//! The end of a side, and of the connection.

use super::parser::Http2;
use super::stream::Stream;
use crate::model::{Cut, Ktime, Outcome, Side};
use crate::protocol::{Close, Signal};

impl Http2 {
    /// `side` sent its last byte. After the client's FIN the server may still answer; after the server's nothing is
    /// answered.
    pub(super) fn side_ended(&mut self, side: Side, at: Ktime, out: &mut Vec<Signal>) {
        self.first_end.get_or_insert((side, at));
        if side == Side::Server {
            let cut = Cut::Closed(self.first_end.map(|(side, _)| side));
            self.finish_all(at, Some(cut), out);
        }
    }

    /// The connection is gone.
    pub(super) fn closed(&mut self, at: Ktime, how: Close, out: &mut Vec<Signal>) {
        // A side that closed and was answered by its peer's data resets too; that one is told.
        let first = self.first_end.map(|(side, _)| side);
        let cut = match how {
            Close::Forgotten => None,
            Close::Expired => Some(Cut::Expired),
            Close::Reset(by) if first.is_none_or(|side| side == by) => Some(Cut::Reset(by)),
            Close::Reset(_) | Close::Closed => Some(Cut::Closed(first)),
        };
        self.finish_all(at, cut, out);
        self.is_opaque = true;
    }

    /// All are over; by what, if that is known.
    fn finish_all(&mut self, at: Ktime, cut: Option<Cut>, out: &mut Vec<Signal>) {
        let client_end = self.first_end.filter(|_| cut == Some(Cut::Closed(Some(Side::Client))));
        // Where it is not known how the server's bytes go on, all that is outstanding may have been in them.
        let is_lost = !self.readers[Side::Server.index()].is_in_place();
        for stream in self.streams.take_all(|_| true) {
            let outcome = match cut {
                Some(cut) if !stream.is_hidden && !is_lost => stream.cut(cut),
                _ => Outcome::NotObserved,
            };
            let ended = match (outcome, client_end) {
                (Outcome::Aborted(_), Some((_, end))) => end,
                _ => at,
            };
            out.push(stream.finish(outcome, ended, &mut self.had));
        }
    }
}

impl Stream {
    /// What it comes to, if this ends it.
    pub(super) fn cut(&self, cut: Cut) -> Outcome {
        match (self.answered, self.requested) {
            (Some(_), _) => Outcome::Truncated(cut),
            (None, None) => Outcome::Aborted(cut),
            (None, Some(_)) => Outcome::Unanswered(cut),
        }
    }
}
