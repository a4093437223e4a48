//! What becomes of a side whose place was lost, and how it is found again.
//!
//! A place is found again only where a turn begins (the other side spoke since) and the bytes look like a message:
//! in the middle of a turn anything may look like one. Responses that may have passed unread are never guessed at;
//! their requests are over when the client's next turn begins.

use super::body::Body;
use super::parser::Http1;
use super::reader::Place;
use super::start_line;
use crate::model::{Ktime, Outcome, Side};
use crate::protocol::{Detect, Signal};

/// So many turns in a row that are no message are something else than HTTP, whatever was before.
const STRANGE_MAX: u32 = 64;
/// And so are so many bytes of them.
const STRANGE_BYTES_MAX: u64 = 1 << 20;

impl Http1 {
    /// A turn of `side` begins with `bytes`.
    pub(super) fn turn(&mut self, side: Side, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) {
        // A head is not interrupted by the other side: what was on trial is none, or is not coming.
        if matches!(self.reader(side).place, Place::Trial) {
            self.lose(side);
            self.wonder(at, out);
        }
        let is_due = match &self.reader(side).place {
            Place::Lost => match side {
                Side::Client => !self.is_closing,
                Side::Server => !self.is_hidden || self.is_continuing(),
            },
            // The unknown request may have been a HEAD, and its response's body is not coming.
            Place::Body(Body::Length(_)) => side == Side::Server && self.is_orphan && self.is_doubtful,
            Place::Body(_) | Place::Head | Place::Trial | Place::LongHead(_) => false,
        };
        if !is_due {
            return;
        }
        if start_line::begins(side, bytes) != Detect::No {
            let reader = self.reader(side);
            let place = std::mem::replace(&mut reader.place, Place::Trial);
            reader.interrupted = if let Place::Body(Body::Length(left)) = place { Some(left) } else { None };
        } else if self.reader(side).place == Place::Lost {
            self.wonder(at, out);
        }
    }

    /// A turn was no message. Too many of them end the reading, so that the kernel copies nothing more.
    fn wonder(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        let Some(n) = &mut self.n_strange else { return };
        *n += 1;
        if *n >= STRANGE_MAX {
            self.give_up(at, out);
        }
    }

    /// `n` bytes passed of what is no message: a turn that never ends is none either.
    pub(super) fn strange(&mut self, n: u64, at: Ktime, out: &mut Vec<Signal>) {
        if self.n_strange.is_none() {
            return;
        }
        self.strange_bytes = self.strange_bytes.saturating_add(n);
        if self.strange_bytes >= STRANGE_BYTES_MAX {
            self.give_up(at, out);
        }
    }

    /// The client spoke since, and began no new request (that would have settled it): it went on with the one that is
    /// outstanding. So what passed unread of the server was not its response; most likely `100 Continue`.
    fn is_continuing(&self) -> bool {
        let is_in_place = !matches!(self.readers[Side::Client.index()].place, Place::Lost | Place::Trial);
        let is_unanswered = self.queue.oldest().is_some_and(|pending| pending.answered.is_none());
        self.queue.len() == 1 && is_in_place && is_unanswered
    }

    /// A head of `side` was read. Says whether the place had been lost; it is found then.
    pub(super) fn found(&mut self, side: Side) -> bool {
        let reader = self.reader(side);
        reader.has_read = true;
        let was_lost = matches!(reader.place, Place::Trial);
        if was_lost {
            reader.place = Place::Head;
            reader.interrupted = None;
            if !std::mem::take(&mut reader.is_joining) {
                self.odd.resyncs += 1;
            }
            self.n_strange = None;
            self.strange_bytes = 0;
        }
        was_lost
    }

    /// A new request began at `at`. Requests before it whose responses may have passed unread are over: where the
    /// response's head was seen, with the last byte that was.
    pub(super) fn settle(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        let server = &self.readers[Side::Server.index()];
        if server.place != Place::Lost || !std::mem::take(&mut self.is_hidden) {
            return;
        }
        let last = server.last;
        self.queue.finish_all(out, |pending, _| match pending.answered {
            Some(_) => (Outcome::Complete, last),
            None => (Outcome::NotObserved, at),
        });
    }

    /// Where `side` stands is not known any more.
    pub(super) fn lose(&mut self, side: Side) {
        self.is_doubtful = true;
        let reader = self.reader(side);
        (reader.place, reader.events) = (Place::Lost, None);
        reader.interrupted = None;
        let held = std::mem::take(&mut reader.held);
        self.tell_unread(side, &held);
        self.unread(side, held.len() as u64);
        let reader = self.reader(side);
        reader.held = held;
        reader.let_go();
        match side {
            Side::Client => self.queue.request_ended(None),
            Side::Server => {
                if !std::mem::take(&mut self.is_orphan) {
                    self.queue.lose_response();
                }
                self.is_hidden = !self.queue.is_empty();
            }
        }
    }

    /// `n` bytes of `side` passed while its place was lost.
    pub(super) fn unread(&mut self, side: Side, n: u64) {
        if self.reader(side).is_joining {
            self.odd.before_join += n;
        }
        if side == Side::Server {
            self.is_hidden |= !self.queue.is_empty();
        }
    }

    /// Bytes of `side` are not HTTP, where they should be. On a connection that has shown that it speaks it, or of which
    /// something went by unread, its next turn may be again; else nothing more is read.
    pub(super) fn malformed(&mut self, side: Side, at: Ktime, out: &mut Vec<Signal>) {
        if self.reader(side).place == Place::Trial {
            return self.refute(side, at, out);
        }
        self.odd.malformed += 1;
        if self.is_doubtful || self.has_exchanged {
            self.n_strange = self.n_strange.or(self.has_exchanged.then_some(0));
            self.lose(side);
        } else if side == Side::Client && !self.queue.is_empty() {
            self.is_closing = true;
            self.lose(side);
        } else {
            self.give_up(at, out);
        }
    }

    /// What was on trial is no head.
    fn refute(&mut self, side: Side, at: Ktime, out: &mut Vec<Signal>) {
        let reader = self.reader(side);
        let Some(left) = reader.interrupted.take() else {
            self.lose(side);
            return self.wonder(at, out);
        };
        reader.place = Place::Body(Body::Length(left));
        let held = std::mem::take(&mut reader.held);
        self.go_through(side, at, &held, out);
    }

    /// Nothing more is read. What was outstanding is over, and nothing is known of its end.
    pub(super) fn give_up(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        self.is_opaque = true;
        self.queue.finish_all(out, |_, _| (Outcome::NotObserved, at));
        for reader in &mut self.readers {
            reader.held = Vec::new();
            (reader.place, reader.events) = (Place::Lost, None);
        }
    }
}
