//! Heads as they are read, and what they lead to.

use super::blank_line::BlankLine;
use super::body::{Body, Follows};
use super::events::Events;
use super::head::{Framing, Parsed, Request, Response};
use super::parser::Http1;
use super::reader::{LongHead, Place};
use super::start_line;
use crate::model::{Headers, Ktime, Method, Outcome, Side};
use crate::protocol::{Detect, Signal};

/// A head of either side.
enum Message {
    Request(Request),
    Response(Response, Headers),
}

impl Http1 {
    /// Takes a head, or a piece of one, from the beginning of `bytes`; says how many bytes of them it took.
    pub(super) fn take_head(&mut self, side: Side, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) -> usize {
        if !self.reader(side).held.is_empty() {
            return self.take_piece(side, at, bytes, out);
        }
        // Empty lines before a head are read over (RFC 9112 section 2.2); some clients send one after a body.
        let empty = start_line::n_line_ends(bytes);
        if empty > 0 {
            return self.take_empty_lines(side, at, &bytes[..empty], out);
        }
        self.reader(side).since = at;
        if side == Side::Client && matches!(self.reader(side).place, Place::Head) {
            self.settle(at, out);
        }
        let head_bytes = self.limits.head_bytes;
        match self.parse(side, bytes) {
            Parsed::Whole(len, message) if len <= head_bytes => {
                self.message(side, at, message, &bytes[..len], out);
                len
            }
            Parsed::Partial if bytes.len() < head_bytes => self.hold(side, bytes),
            // Judged when its end has come, as it is where it comes in pieces.
            Parsed::TooMany | Parsed::Malformed if self.is_open(side, bytes) => self.hold(side, bytes),
            Parsed::Whole(..) | Parsed::Partial | Parsed::TooMany => {
                let prefix = &bytes[..bytes.len().min(head_bytes)];
                let mut blank = BlankLine::default();
                let end = blank.find(prefix);
                let head = &prefix[..end.unwrap_or(prefix.len())];
                self.oversized(side, head, blank, at, out);
                if end.is_some() {
                    self.long_head_ended(side, at, out);
                }
                head.len()
            }
            Parsed::Malformed => {
                self.malformed(side, at, out);
                if !self.is_opaque {
                    return 0;
                }
                self.tell_unread(side, bytes);
                bytes.len()
            }
        }
    }

    /// Line ends before a head; how many of them were taken. Where a body was interrupted, they may be its own.
    fn take_empty_lines(&mut self, side: Side, at: Ktime, lines: &[u8], out: &mut Vec<Signal>) -> usize {
        let reader = &mut self.readers[side.index()];
        let Some(left) = reader.interrupted else {
            self.transcript.keep(side, lines);
            self.explained += lines.len() as u64;
            return lines.len();
        };
        let taken = Body::Length(left).pass(lines.len() as u64);
        self.transcript.keep(side, &lines[..taken.used as usize]);
        reader.interrupted = Some(left - taken.used).filter(|left| *left > 0);
        self.took(side, at, taken, out);
        taken.used as usize
    }

    /// Keeps the beginning of a head; how many bytes that are.
    fn hold(&mut self, side: Side, bytes: &[u8]) -> usize {
        let reader = self.reader(side);
        reader.held.extend_from_slice(bytes);
        reader.blank = BlankLine::default();
        reader.blank.find(bytes);
        bytes.len()
    }

    /// A head that `bytes` begin, and that is none or too many lines so far, may go on.
    fn is_open(&self, side: Side, bytes: &[u8]) -> bool {
        let is_no_trial =
            self.readers[side.index()].place == Place::Trial && start_line::begins(side, bytes) == Detect::No;
        let has_end = || BlankLine::default().find(bytes).is_some();
        bytes.len() < self.limits.head_bytes && !is_no_trial && !has_end()
    }

    /// The same, where the head's beginning is held.
    fn take_piece(&mut self, side: Side, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) -> usize {
        let head_bytes = self.limits.head_bytes;
        let reader = self.reader(side);
        let room = head_bytes.saturating_sub(reader.held.len()).min(bytes.len());
        let end = reader.blank.find(&bytes[..room]);
        let used = end.unwrap_or(room);
        reader.held.extend_from_slice(&bytes[..used]);
        if reader.place == Place::Trial && start_line::begins(side, &reader.held) == Detect::No {
            self.malformed(side, at, out);
            return used;
        }
        if end.is_none() && reader.held.len() < head_bytes {
            return used;
        }
        let blank = reader.blank;
        let held = std::mem::take(&mut reader.held);
        match self.parse(side, &held) {
            Parsed::Whole(_, message) => self.message(side, at, message, &held, out),
            Parsed::Partial | Parsed::TooMany if end.is_none() => {
                self.oversized(side, &held, blank, at, out);
            }
            Parsed::TooMany => {
                self.oversized(side, &held, blank, at, out);
                self.long_head_ended(side, at, out);
            }
            Parsed::Partial | Parsed::Malformed => {
                self.reader(side).held.clone_from(&held);
                self.malformed(side, at, out);
                if self.is_opaque {
                    self.tell_unread(side, &held);
                }
                return used;
            }
        }
        let reader = self.reader(side);
        reader.held = held;
        reader.let_go();
        used
    }

    fn parse(&self, side: Side, bytes: &[u8]) -> Parsed<Message> {
        match side {
            Side::Client => self.heads().request(bytes).map(Message::Request),
            Side::Server => {
                self.heads().response(bytes).map(|(response, headers)| Message::Response(response, headers))
            }
        }
    }

    /// A head was read to its end.
    fn message(&mut self, side: Side, at: Ktime, message: Message, head: &[u8], out: &mut Vec<Signal>) {
        let len = head.len() as u64;
        match message {
            // After a loss, what is left of a method looks like one that nobody knows.
            Message::Request(request)
                if matches!(self.reader(side).place, Place::Trial)
                    && start_line::is_rest_of_method(&request.http) =>
            {
                self.tell_unread(side, head);
                self.malformed(side, at, out);
            }
            Message::Request(request) => match Body::of_request(request.framing) {
                // It may be answered all the same; what follows it is anybody's guess.
                Follows::Malformed => {
                    self.tell_head(side, head);
                    if self.begin_request(request, at, out) {
                        self.explained += len;
                        self.malformed(side, at, out);
                    }
                }
                follows => {
                    self.tell_head(side, head);
                    if self.begin_request(request, at, out) {
                        self.explained += len;
                        self.follow(side, follows, at, out);
                    }
                }
            },
            Message::Response(response, headers) => {
                self.begin_response(response, headers);
                self.tell_head(side, head);
                self.explained += len;
                self.follow_response(response, at, out);
            }
        }
    }

    /// A request is known. Says whether there was room for it.
    pub(super) fn begin_request(&mut self, request: Request, at: Ktime, out: &mut Vec<Signal>) -> bool {
        let since = self.readers[Side::Client.index()].since;
        if self.found(Side::Client) {
            self.settle(since, out);
        }
        if self.queue.len() >= self.limits.outstanding {
            self.odd.overflow += 1;
            self.give_up(at, out);
            return false;
        }
        self.has_calls |= request.call.is_some();
        self.queue.start(since, request, out);
        self.overlaps |= self.queue.len() > 1;
        true
    }

    /// A response's status is known. An interim one answers nothing (RFC 9110 section 15.2).
    pub(super) fn begin_response(&mut self, response: Response, headers: Headers) {
        if self.found(Side::Server) {
            self.is_hidden = false;
        }
        if is_interim(response) {
            return;
        }
        self.is_orphan = self.queue.is_empty();
        if self.is_orphan {
            self.odd.orphan_responses += 1;
            // Its request may have had a method that leaves it without a body: where it ends is a guess.
            self.is_doubtful = true;
        } else {
            self.queue.answer(self.readers[Side::Server.index()].since, response, headers);
        }
    }

    fn follow_response(&mut self, response: Response, at: Ktime, out: &mut Vec<Signal>) {
        if is_interim(response) {
            self.reader(Side::Server).place = Place::Head;
            return;
        }
        let method = match self.queue.oldest() {
            Some(pending) if !self.is_orphan => pending.http.method.unwrap_or(Method::Get),
            _ => Method::Get,
        };
        let is_wanted = !self.is_orphan && self.queue.oldest().is_some_and(|pending| !pending.is_excluded);
        let events = response.has_events && is_wanted;
        self.reader(Side::Server).events = events.then(|| Box::new(Events::new()));
        self.follow(Side::Server, Body::of_response(method, response), at, out);
    }

    fn follow(&mut self, side: Side, follows: Follows, at: Ktime, out: &mut Vec<Signal>) {
        match follows {
            Follows::Nothing => self.message_ended(side, at, out),
            Follows::Body(body) => {
                let reader = self.reader(side);
                reader.has_chunked |= matches!(body, Body::Chunked(_));
                reader.place = Place::Body(body);
            }
            Follows::Tunnel(to) => {
                self.successor = to.map(|to| self.upgrade(to, at));
                self.message_ended(side, at, out);
                self.give_up(at, out);
            }
            Follows::Unknown => self.lose(side),
            Follows::Malformed => self.malformed(side, at, out),
        }
    }

    /// `side`'s current message passed to its end.
    pub(super) fn message_ended(&mut self, side: Side, at: Ktime, out: &mut Vec<Signal>) {
        let reader = self.reader(side);
        (reader.place, reader.events) = (Place::Head, None);
        match side {
            Side::Client => self.queue.request_ended(Some(at)),
            Side::Server if std::mem::take(&mut self.is_orphan) => {}
            Side::Server => {
                // Answered before its body came: the next request may follow that body without a turn between them.
                self.overlaps |= matches!(self.readers[Side::Client.index()].place, Place::Body(_));
                self.queue.finish(Outcome::Complete, at, out);
                self.has_exchanged = true;
                if self.is_closing && self.queue.is_empty() {
                    self.give_up(at, out);
                }
            }
        }
    }

    /// The head that `prefix` begins is too long to hold.
    fn oversized(&mut self, side: Side, prefix: &[u8], blank: BlankLine, at: Ktime, out: &mut Vec<Signal>) {
        self.odd.oversized += 1;
        self.begin_long(side, prefix, blank, at, out);
    }

    /// What the start line of a head says is known, and its end is looked for.
    fn begin_long(&mut self, side: Side, prefix: &[u8], blank: BlankLine, at: Ktime, out: &mut Vec<Signal>) {
        let len = prefix.len() as u64;
        let response = match side {
            Side::Client => self.heads().request_line(prefix).map(|request| {
                self.begin_request(request, at, out);
                None
            }),
            Side::Server => self.heads().status_line(prefix).map(|response| {
                self.begin_response(response, Headers::new());
                Some(response)
            }),
        };
        let Some(response) = response.filter(|_| !self.is_opaque) else {
            self.tell_unread(side, prefix);
            self.unread(side, len);
            return self.lose(side);
        };
        self.tell_begun(side, prefix);
        self.reader(side).place = Place::LongHead(Box::new(LongHead { blank, len, response }));
    }

    /// The rest of a head, of which something is held, will not be seen: it was not copied, or lost. What its start line
    /// says is known. Says whether there was one.
    pub(super) fn break_off(&mut self, side: Side, at: Ktime, out: &mut Vec<Signal>) -> bool {
        let reader = self.reader(side);
        if reader.place != Place::Head || reader.held.is_empty() {
            return false;
        }
        let held = std::mem::take(&mut reader.held);
        self.begin_long(side, &held, BlankLine::default(), at, out);
        true
    }

    /// The end of a head that was too long to hold passed. Whether a body follows is known of few.
    pub(super) fn long_head_ended(&mut self, side: Side, at: Ktime, out: &mut Vec<Signal>) {
        let Place::LongHead(long) = &self.reader(side).place else { return };
        let (len, response) = (long.len, long.response);
        self.explained += len;
        match response {
            Some(response) => self.follow_response(response, at, out),
            None => self.follow(side, Body::of_request(Framing::Unknown), at, out),
        }
    }
}

impl<T> Parsed<T> {
    fn map<U>(self, to: impl FnOnce(T) -> U) -> Parsed<U> {
        match self {
            Parsed::Whole(len, head) => Parsed::Whole(len, to(head)),
            Parsed::Partial => Parsed::Partial,
            Parsed::TooMany => Parsed::TooMany,
            Parsed::Malformed => Parsed::Malformed,
        }
    }
}

/// `101` is final: what follows it is another protocol.
pub(super) fn is_interim(response: Response) -> bool {
    (100..=199).contains(&response.status) && response.status != 101
}
