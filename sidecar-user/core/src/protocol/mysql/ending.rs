//! The end of a side, and of the connection.

use super::parser::{Mysql, Phase, Place};
use crate::model::{Cut, Ktime, Outcome, Side};
use crate::protocol::ends::Progress;
use crate::protocol::{Close, Next, Signal};

impl Mysql {
    /// `side` sent its last byte. After the client's FIN the server may still answer; after the server's nothing is answered.
    pub(super) fn side_ended(&mut self, side: Side, at: Ktime, out: &mut Vec<Signal>) {
        self.ends.ended(side);
        if side == Side::Client {
            self.client_ended.get_or_insert(at);
        }
        if side == Side::Server {
            self.finish_all(at, None, out);
        }
    }

    /// The connection is gone.
    pub(super) fn closed(&mut self, at: Ktime, how: Close, out: &mut Vec<Signal>) {
        self.finish_all(at, Some(how), out);
        self.over.get_or_insert(Next::Opaque);
    }

    fn finish_all(&mut self, at: Ktime, how: Option<Close>, out: &mut Vec<Signal>) {
        self.settle(out);
        if self.places.contains(&Place::Trial) {
            let trial = std::mem::take(&mut self.trial);
            self.unread(trial.bytes);
            self.queue.drop_untold();
        }
        let is_lost = self.phase == Phase::Commands && self.place(Side::Server) == Place::Lost;
        let server = &self.readers[Side::Server.index()];
        let mut begun = (!server.is_idle() && self.phase == Phase::Commands).then(|| server.message().since);
        while let Some(oldest) = self.queue.oldest() {
            if let Some(begun) = begun.take() {
                oldest.answered.get_or_insert(begun);
            }
            let is_answered = oldest.answered.is_some();
            let progress = match () {
                () if is_answered => Progress::Answering,
                () if self.queue.is_sending_oldest() => Progress::Sending,
                () => Progress::Sent,
            };
            let outcome = match how {
                _ if is_lost => Outcome::NotObserved,
                Some(how) => self.ends.outcome(how, progress),
                None => self.ends.unanswered(progress),
            };
            // Nothing more came of it from then on.
            let ended = match outcome {
                Outcome::Aborted(Cut::Closed(Some(Side::Client))) => self.client_ended.unwrap_or(at),
                _ => at,
            };
            self.queue.finish(self.session.system, outcome, ended, out);
        }
    }
}
