//! The parser: goes through each side's bytes from place to place.

use std::sync::Arc;

use super::body::{Part, State, Taken};
use super::events::Events;
use super::head::Heads;
use super::queue::Queue;
use super::reader::{Place, Reader};
use super::shown;
use crate::model::{Ktime, Message, MessageKind, Side};
use crate::protocol::{
    Birth, Close, Limits, Next, Oddities, Parser, Signal, Step, Successor, TEXT, Transcript, Want, grpc::Show,
};

/// One connection that speaks HTTP/1.
pub(super) struct Http1 {
    pub(super) limits: Arc<Limits>,
    pub(super) readers: [Reader; 2],
    pub(super) queue: Queue,
    pub(super) odd: Oddities,
    pub(super) transcript: Transcript,
    /// Bytes of this call that were explained.
    pub(super) explained: u64,
    /// Who sent the last bytes.
    pub(super) spoke: Option<Side>,
    /// Whose FIN came first, and when.
    pub(super) first_end: Option<(Side, Ktime)>,
    /// It was given up, or speaks something else now.
    pub(super) is_opaque: bool,
    /// Who reads what it speaks now.
    pub(super) successor: Option<Successor>,
    /// What the client sends is no HTTP any more: only what is outstanding is followed.
    pub(super) is_closing: bool,
    /// Bytes went by unread at some time: what looks malformed may be a misunderstanding of ours.
    pub(super) is_doubtful: bool,
    /// A request was answered to the end: whatever comes, HTTP is spoken here.
    pub(super) has_exchanged: bool,
    /// Turns that began as no message since something was malformed and the place not found again.
    pub(super) n_strange: Option<u32>,
    /// Bytes of these turns.
    pub(super) strange_bytes: u64,
    /// Messages did not alternate: two requests were open at once, or one was answered before it was all there.
    pub(super) overlaps: bool,
    /// There were calls, whose status is the last thing that is said.
    pub(super) has_calls: bool,
    /// The server's current message answers no request that is known.
    pub(super) is_orphan: bool,
    /// The server's bytes went by unread while requests were outstanding: their responses may be in them.
    pub(super) is_hidden: bool,
}

impl Http1 {
    pub(super) fn new(limits: Arc<Limits>, birth: Birth) -> Self {
        let is_joined = birth == Birth::Joined;
        Http1 {
            limits,
            readers: [Reader::new(is_joined), Reader::new(is_joined)],
            queue: Queue::default(),
            odd: Oddities::default(),
            transcript: Transcript::default(),
            explained: 0,
            spoke: None,
            first_end: None,
            is_opaque: false,
            successor: None,
            is_closing: false,
            is_doubtful: is_joined,
            has_exchanged: false,
            n_strange: None,
            strange_bytes: 0,
            overlaps: false,
            has_calls: false,
            is_orphan: false,
            is_hidden: false,
        }
    }

    /// What reads heads.
    pub(super) fn heads(&self) -> Heads<'_> {
        Heads::new(&self.limits.keep)
    }

    pub(super) fn reader(&mut self, side: Side) -> &mut Reader {
        &mut self.readers[side.index()]
    }

    /// Takes all of `bytes`, from place to place.
    pub(super) fn go_through(&mut self, side: Side, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_opaque {
            let used = self.take(side, at, rest, out);
            rest = &rest[used..];
        }
        if let Some(next) = self.successor.as_mut().filter(|_| !rest.is_empty()) {
            self.explained += next.parser.push(side, at, rest, &mut next.signals).explained;
        }
    }

    /// Takes from the beginning of `bytes` what belongs to one place; says how many that are. May change the place
    /// and take none.
    fn take(&mut self, side: Side, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) -> usize {
        let Http1 { readers, transcript, queue, is_orphan, .. } = self;
        let is_known = side == Side::Client || !*is_orphan;
        let reader = &mut readers[side.index()];
        match &mut reader.place {
            Place::Head | Place::Trial => self.take_head(side, at, bytes, out),
            Place::LongHead(long) => {
                let end = long.blank.find(bytes);
                let used = end.unwrap_or(bytes.len());
                long.len += used as u64;
                self.tell_lines(side, &bytes[..used]);
                if end.is_some() {
                    self.long_head_ended(side, at, out);
                }
                used
            }
            Place::Body(body) => {
                let taken = body.take(bytes, |part| match (part, &mut reader.events) {
                    (Part::Framing(bytes), _) => transcript.keep(side, bytes),
                    (Part::Lines(bytes), _) => transcript.sift(side, bytes, TEXT, shown::is_of_line),
                    (Part::Content(content), None) => {
                        let show = |bytes: &[u8], how| match how {
                            Show::As => transcript.keep(side, bytes),
                            Show::Filled(filler) => transcript.hide(side, bytes.len() as u64, filler),
                        };
                        if !is_known || !queue.content(side, at, content, show, out) {
                            transcript.hide(side, content.len() as u64, TEXT);
                        }
                    }
                    (Part::Content(content), Some(events)) => {
                        let show = |bytes: &[u8], is_shown| match is_shown {
                            true => transcript.keep(side, bytes),
                            false => transcript.hide(side, bytes.len() as u64, TEXT),
                        };
                        let kind = MessageKind::Event;
                        events.push(content, show, |bytes| {
                            out.push(Signal::Message(Message { at, side, kind, bytes }))
                        });
                    }
                });
                self.took(side, at, taken, out);
                taken.used as usize
            }
            Place::Lost => {
                self.tell_unread(side, bytes);
                self.unread(side, bytes.len() as u64);
                self.strange(bytes.len() as u64, at, out);
                bytes.len()
            }
        }
    }

    /// Bytes of a body passed.
    pub(super) fn took(&mut self, side: Side, at: Ktime, taken: Taken, out: &mut Vec<Signal>) {
        self.explained += taken.used;
        match side {
            Side::Client => self.queue.sent(taken.content),
            Side::Server if self.is_orphan => {}
            Side::Server => self.queue.received(taken.content),
        }
        match taken.state {
            State::More => {}
            State::Done => self.message_ended(side, at, out),
            State::Malformed => self.malformed(side, at, out),
        }
    }

    /// `n` bytes passed that nobody saw.
    fn pass(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) -> Step {
        self.explained = 0;
        if n == 0 || self.is_opaque {
            return self.step();
        }
        self.spoke = Some(side);
        let mut used = 0;
        let reader = self.reader(side);
        if let Place::Body(body) = &mut reader.place {
            let taken = body.pass(n);
            reader.events.iter_mut().for_each(|events| events.miss());
            used = taken.used;
            if side == Side::Client || !self.is_orphan {
                self.queue.miss(side);
            }
            self.took(side, at, taken, out);
        }
        if used < n {
            self.lose(side);
            self.unread(side, n - used);
            self.strange(n - used, at, out);
        }
        self.step()
    }

    fn step(&self) -> Step {
        if self.successor.is_some() {
            return Step { next: Next::Become, explained: self.explained, want: [Want::Stream; 2] };
        }
        let next = if self.is_opaque { Next::Opaque } else { Next::Continue };
        Step { next, explained: self.explained, want: [self.want(Side::Client), self.want(Side::Server)] }
    }
}

impl Parser for Http1 {
    fn push(&mut self, side: Side, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) -> Step {
        self.explained = 0;
        if bytes.is_empty() || self.is_opaque {
            return self.step();
        }
        if self.spoke.replace(side) != Some(side) {
            self.turn(side, at, bytes, out);
        }
        self.reader(side).last = at;
        self.go_through(side, at, bytes, out);
        self.step()
    }

    fn skipped(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) -> Step {
        if n > 0 {
            self.reader(side).last = at;
            self.odd.oversized += u32::from(self.break_off(side, at, out));
        }
        self.pass(side, at, n, out)
    }

    fn gap(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) -> Step {
        if n > 0 {
            self.break_off(side, at, out);
        }
        self.queue.lose(n);
        self.pass(side, at, n, out)
    }

    fn end(&mut self, side: Side, at: Ktime, out: &mut Vec<Signal>) -> Step {
        self.explained = 0;
        if !self.is_opaque {
            self.side_ended(side, at, out);
        }
        self.step()
    }

    fn limit(&mut self, limits: &Arc<Limits>) {
        self.limits = Arc::clone(limits);
    }

    fn close(&mut self, at: Ktime, how: Close, out: &mut Vec<Signal>) {
        self.closed(at, how, out);
    }

    fn successor(&mut self) -> Option<Successor> {
        self.successor.take()
    }

    fn transcript(&mut self) -> Option<&mut Transcript> {
        Some(&mut self.transcript)
    }

    fn oddities(&mut self) -> Oddities {
        std::mem::take(&mut self.odd)
    }

    fn held(&self) -> usize {
        let events = |reader: &Reader| if reader.events.is_some() { size_of::<Events>() } else { 0 };
        self.readers.iter().map(|reader| reader.held.capacity() + events(reader)).sum::<usize>()
            + self.queue.held()
    }
}
