//! The end of a side, and of the connection.

use super::blank_line::BlankLine;
use super::body::Body;
use super::messages::is_interim;
use super::parser::Http1;
use super::queue::Pending;
use super::reader::{LongHead, Place};
use crate::model::{Cut, Headers, Ktime, Outcome, Side};
use crate::protocol::{Close, Signal};

impl Http1 {
    /// `side` sent its last byte. After the client's FIN the server may still answer, even a request that was cut
    /// off; after the server's nothing is answered.
    pub(super) fn side_ended(&mut self, side: Side, at: Ktime, out: &mut Vec<Signal>) {
        self.first_end.get_or_insert((side, at));
        match side {
            Side::Client => self.cut_request(at, out),
            Side::Server => {
                self.cut_response();
                self.finish_all(at, Cause::ServerEnd, out);
                let reader = self.reader(side);
                reader.interrupted = None;
                if reader.place != Place::Lost {
                    reader.place = Place::Head;
                }
            }
        }
    }

    /// The connection is gone.
    pub(super) fn closed(&mut self, at: Ktime, how: Close, out: &mut Vec<Signal>) {
        if !self.is_opaque {
            self.cut_request(at, out);
            self.cut_response();
        }
        self.finish_all(at, Cause::Close(how), out);
        self.is_opaque = true;
    }

    /// A request whose head was cut off counts if its first line came.
    fn cut_request(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        let Some(held) = self.cut_head(Side::Client) else { return };
        let Some(request) = self.heads().request_line(&held) else {
            return self.tell_unread(Side::Client, &held);
        };
        self.tell_begun(Side::Client, &held);
        self.begin_request(request, at, out);
    }

    /// A response whose head was cut off began if its status line came.
    fn cut_response(&mut self) {
        let Some(held) = self.cut_head(Side::Server) else { return };
        let Some(response) = self.heads().status_line(&held) else {
            return self.tell_unread(Side::Server, &held);
        };
        self.tell_begun(Side::Server, &held);
        if !is_interim(response) {
            self.begin_response(response, Headers::new());
        }
    }

    /// What is held of a head whose rest is not coming.
    fn cut_head(&mut self, side: Side) -> Option<Vec<u8>> {
        let reader = self.reader(side);
        if reader.place != Place::Head || reader.held.is_empty() {
            return None;
        }
        let held = std::mem::take(&mut reader.held);
        let len = held.len() as u64;
        reader.place =
            Place::LongHead(Box::new(LongHead { blank: BlankLine::default(), len, response: None }));
        Some(held)
    }

    fn finish_all(&mut self, at: Ktime, cause: Cause, out: &mut Vec<Signal>) {
        let server = &self.readers[Side::Server.index()];
        let is_lost = matches!(server.place, Place::Lost | Place::Trial) && self.is_hidden;
        let is_until_close = server.place == Place::Body(Body::UntilClose);
        let (last, cut) = (server.last, self.cut(cause));
        let client_end = self.first_end.filter(|_| cut == Cut::Closed(Some(Side::Client)));
        self.queue.finish_all(out, |Pending { answered, .. }, is_sending| match (cause, answered) {
            (Cause::Close(Close::Forgotten), _) => (Outcome::NotObserved, at),
            (_, Some(_)) if is_lost => (Outcome::Complete, last),
            (_, None) if is_lost => (Outcome::NotObserved, at),
            // A reset is the one close that does not end such a body in order (RFC 9112 section 8).
            (Cause::ServerEnd | Cause::Close(Close::Closed), Some(_)) if is_until_close => {
                (Outcome::Complete, last)
            }
            (_, Some(_)) => (Outcome::Truncated(cut), at),
            (_, None) if is_sending => (Outcome::Aborted(cut), client_end.map_or(at, |(_, end)| end)),
            (_, None) => (Outcome::Unanswered(cut), at),
        });
    }

    /// What ended the connection, by whose end came first. A side that closed and was answered by its peer's data resets
    /// too; that one is told.
    fn cut(&self, cause: Cause) -> Cut {
        let first = self.first_end.map(|(side, _)| side);
        match (cause, first) {
            (Cause::Close(Close::Expired), _) => Cut::Expired,
            (Cause::Close(Close::Reset(by)), first) if first.is_none_or(|side| side == by) => Cut::Reset(by),
            (_, first) => Cut::Closed(first),
        }
    }
}

/// What ends the requests that are outstanding.
#[derive(Clone, Copy)]
enum Cause {
    /// The server sent its last byte.
    ServerEnd,
    Close(Close),
}
