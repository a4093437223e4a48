//! From message to message.

use std::sync::Arc;

use super::frame::{self, LENGTH};
use super::lookup::Answer;
use super::lookups::{self, Lookups};
use super::shown::{NO_MESSAGE, filler};
use crate::dns::{HEADER, QUERY, Question, Reader};
use crate::model::{Cut, Ktime, Outcome, Side};
use crate::protocol::{Birth, Close, Detect, Limits, Next, Oddities, Parser, Signal, Step, Transcript, Want};

pub(super) struct Dns {
    limits: Arc<Limits>,
    places: [Place; 2],
    lookups: Lookups,
    oddities: Oddities,
    transcript: Transcript,
    /// Messages were read: what comes is of the DNS, if not always well-formed.
    is_proven: bool,
    /// Which side sent its last byte first.
    first_end: Option<Side>,
}

/// Where a side is.
enum Place {
    /// Before a message; perhaps the first byte of its length is there.
    Between(Option<(u8, Ktime)>),
    /// In a message.
    In(Box<Current>),
    /// Anywhere: what is held may be the beginning of one.
    Lost(Lost),
}

/// A message that has begun.
struct Current {
    reader: Reader,
    began: Ktime,
    len: u16,
    left: u16,
    /// Bytes of it that came, with its length.
    given: u64,
    /// A question: whether it was told of.
    asked: Option<Told>,
    /// It is not read any further: part of it is missing, or it is none.
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Read,
    Holed,
    Malformed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Yes,
    /// There was no room.
    No,
}

#[derive(Default)]
struct Lost {
    held: Vec<u8>,
    /// When the first of it came.
    at: Ktime,
    /// Bytes that were passed over before it.
    passed: u64,
    /// It was never anywhere else: the connection is older than the daemon.
    is_joined: bool,
}

impl Dns {
    pub(super) fn new(limits: Arc<Limits>, birth: Birth) -> Self {
        let place = || match birth {
            Birth::Seen => Place::Between(None),
            Birth::Joined => Place::Lost(Lost { is_joined: true, ..Lost::default() }),
        };
        Dns {
            limits,
            places: [place(), place()],
            lookups: Lookups::default(),
            oddities: Oddities::default(),
            transcript: Transcript::default(),
            is_proven: birth == Birth::Joined,
            first_end: None,
        }
    }

    fn read(&mut self, side: Side, at: Ktime, mut bytes: &[u8], out: &mut Vec<Signal>) -> Step {
        let mut explained = 0;
        while !bytes.is_empty() {
            match &mut self.places[side.index()] {
                Place::Between(first) => {
                    let Some((high, began)) = *first else {
                        *first = Some((bytes[0], at));
                        bytes = &bytes[1..];
                        continue;
                    };
                    let len = [high, bytes[0]];
                    self.transcript.keep(side, &len);
                    let len = u16::from_be_bytes(len);
                    bytes = &bytes[1..];
                    self.begin(side, began, len);
                    if len == 0 {
                        self.places[side.index()] = Place::Between(None);
                    }
                }
                Place::In(current) => {
                    let n = bytes.len().min(usize::from(current.left));
                    let (own, rest) = bytes.split_at(n);
                    bytes = rest;
                    explained += self.take(side, at, own, out);
                }
                Place::Lost(_) => match self.find(side, at, bytes) {
                    Some((found, began)) => {
                        self.places[side.index()] = Place::Between(None);
                        // No deeper than once: it begins with a message.
                        let step = self.read(side, began, &found, out);
                        return Step { explained: explained + step.explained, ..step };
                    }
                    None => bytes = &[],
                },
            }
        }
        self.step(explained)
    }

    fn begin(&mut self, side: Side, began: Ktime, len: u16) {
        let is_short = usize::from(len) < HEADER;
        self.oddities.malformed += u32::from(is_short);
        let state = if is_short { State::Malformed } else { State::Read };
        let given = LENGTH as u64;
        let reader = Reader::default();
        let current = Current { reader, began, len, left: len, given, asked: None, state };
        self.places[side.index()] = Place::In(Box::new(current));
    }

    /// Takes bytes of the message that `side` is in; how many are explained with them.
    fn take(&mut self, side: Side, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) -> u64 {
        let Place::In(current) = &mut self.places[side.index()] else { return 0 };
        current.left -= bytes.len() as u16;
        current.given += bytes.len() as u64;
        let (transcript, mut n_told) = (&mut self.transcript, 0);
        if current.state == State::Read {
            let read = current.reader.push_parts(bytes, |piece, part| {
                n_told += piece.len();
                match filler(part) {
                    None => transcript.keep(side, piece),
                    Some(filler) => transcript.hide(side, piece.len() as u64, filler),
                }
            });
            if read.is_err() {
                current.state = State::Malformed;
                self.oddities.malformed += 1;
            }
        }
        transcript.hide(side, (bytes.len() - n_told) as u64, NO_MESSAGE);
        if side == Side::Client
            && current.asked.is_none()
            && let Some((id, question)) = current.asks()
        {
            self.is_proven = true;
            if self.lookups.len() < self.limits.outstanding {
                self.lookups.ask(lookups::begun(id, question, current.began), out);
                current.asked = Some(Told::Yes);
            } else {
                self.oddities.overflow += 1;
                current.asked = Some(Told::No);
            }
        }
        if current.left == 0 { self.end_message(side, at, out) } else { 0 }
    }

    /// The message that `side` is in is over, or as much of it as there will be.
    fn end_message(&mut self, side: Side, at: Ktime, out: &mut Vec<Signal>) -> u64 {
        let place = std::mem::replace(&mut self.places[side.index()], Place::Between(None));
        let Place::In(current) = place else { return 0 };
        let bytes = (current.left == 0).then_some(u64::from(current.len));
        match (side, current.asked) {
            (Side::Client, Some(Told::Yes)) => self.lookups.asked(at, bytes),
            _ if current.state == State::Malformed => return 0,
            (Side::Client, _) => {}
            (Side::Server, _) => self.end_answer(&current, at, bytes, out),
        }
        current.given
    }

    fn end_answer(&mut self, current: &Current, at: Ktime, bytes: Option<u64>, out: &mut Vec<Signal>) {
        let is_holed = current.state == State::Holed;
        let Some(header) = current.reader.header() else { return self.lookups.hide() };
        if header.op_code() != QUERY {
            return;
        }
        if !header.is_response() {
            self.oddities.malformed += 1;
            return;
        }
        self.is_proven = true;
        let answer = Answer::of(&current.reader, current.began, bytes);
        if !self.lookups.answer(&current.reader, is_holed, answer, at, out) {
            self.oddities.orphan_responses += 1;
            if is_holed {
                self.lookups.hide();
            }
        }
    }

    /// Looks for a message in what comes; it and what follows, and when it began to come.
    fn find(&mut self, side: Side, at: Ktime, bytes: &[u8]) -> Option<(Vec<u8>, Ktime)> {
        let Place::Lost(lost) = &mut self.places[side.index()] else { return None };
        if lost.held.is_empty() {
            lost.at = at;
        }
        lost.held.extend_from_slice(bytes);
        let found = (0..lost.held.len()).find_map(|from| match frame::of(side, &lost.held[from..]) {
            Detect::No => None,
            found => Some((from, found == Detect::Yes)),
        });
        let (from, is_there) = found.unwrap_or((lost.held.len(), false));
        lost.passed += from as u64;
        self.transcript.hide(side, from as u64, NO_MESSAGE);
        lost.held.drain(..from);
        if from > 0 {
            lost.at = at;
        }
        if is_there {
            let counted = if lost.is_joined { lost.passed } else { 0 };
            self.oddities.before_join += counted;
            self.oddities.resyncs += u32::from(!lost.is_joined);
            self.is_proven = true;
            return Some((std::mem::take(&mut lost.held), lost.at));
        }
        if lost.held.len() > self.limits.head_bytes {
            lost.passed += lost.held.len() as u64;
            self.transcript.hide(side, lost.held.len() as u64, NO_MESSAGE);
            lost.held.clear();
        }
        lost.held.shrink_to_fit();
        None
    }

    /// The next `n` bytes of `side` were not seen.
    fn miss(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) -> Step {
        if n == 0 {
            return self.step(0);
        }
        let mut explained = 0;
        if let Place::In(current) = &mut self.places[side.index()] {
            if current.state == State::Read {
                current.state = State::Holed;
            }
            let is_inside = n <= u64::from(current.left);
            if is_inside {
                current.left -= n as u16;
            }
            if current.left == 0 || !is_inside {
                explained = self.end_message(side, at, out);
            }
            if is_inside {
                return self.step(explained);
            }
        }
        if side == Side::Server {
            self.lookups.hide();
        }
        let is_joined = matches!(&self.places[side.index()], Place::Lost(lost) if lost.is_joined);
        let passed = match &self.places[side.index()] {
            Place::Lost(lost) if is_joined => lost.passed + lost.held.len() as u64 + n,
            _ => 0,
        };
        self.places[side.index()] = Place::Lost(Lost { is_joined, passed, ..Lost::default() });
        self.step(explained)
    }

    fn step(&self, explained: u64) -> Step {
        let is_none = !self.is_proven && self.oddities.malformed > 0;
        let next = if is_none { Next::Opaque } else { Next::Continue };
        Step { next, explained, want: [Want::Stream; 2] }
    }

    /// Nothing more is answered.
    fn finish(&mut self, at: Ktime, how: Option<Close>, out: &mut Vec<Signal>) {
        let cut = match (how, self.first_end) {
            (Some(Close::Expired), _) => Cut::Expired,
            (Some(Close::Reset(by)), first) if first.is_none_or(|side| side == by) => Cut::Reset(by),
            (_, first) => Cut::Closed(first),
        };
        let is_known = how != Some(Close::Forgotten);
        let server = std::mem::replace(&mut self.places[Side::Server.index()], Place::Between(None));
        let n_untold = match &server {
            Place::Between(first) => u64::from(first.is_some()),
            Place::In(_) => 0,
            Place::Lost(lost) => lost.held.len() as u64,
        };
        self.transcript.hide(Side::Server, n_untold, NO_MESSAGE);
        if let Place::In(current) = server
            && is_known
            && current.state == State::Read
        {
            let answer = Answer::of(&current.reader, current.began, None);
            self.lookups.cut(&current.reader, answer, at, Outcome::Truncated(cut), out);
        }
        let outcome = |is_asked: bool, is_begun: bool| match (is_known, is_begun, is_asked) {
            (false, ..) => Outcome::NotObserved,
            (_, true, _) => Outcome::Truncated(cut),
            (_, _, true) => Outcome::Unanswered(cut),
            _ => Outcome::Aborted(cut),
        };
        self.lookups.finish_all(at, outcome, out);
    }
}

impl Current {
    /// Under which id it asks what, once that is there.
    fn asks(&self) -> Option<(u16, &Question)> {
        let header = self.reader.header()?;
        let is_one = !header.is_response() && header.op_code() == QUERY && header.n_questions() == 1;
        let question = self.reader.question().filter(|_| is_one && self.state == State::Read)?;
        Some((header.id(), question))
    }
}

impl Parser for Dns {
    fn push(&mut self, side: Side, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) -> Step {
        self.read(side, at, bytes, out)
    }

    fn skipped(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) -> Step {
        self.miss(side, at, n, out)
    }

    fn gap(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) -> Step {
        self.lookups.lose(n);
        self.miss(side, at, n, out)
    }

    fn end(&mut self, side: Side, at: Ktime, out: &mut Vec<Signal>) -> Step {
        self.first_end.get_or_insert(side);
        if side == Side::Server {
            self.finish(at, None, out);
        }
        self.step(0)
    }

    fn limit(&mut self, limits: &Arc<Limits>) {
        self.limits = Arc::clone(limits);
    }

    fn close(&mut self, at: Ktime, how: Close, out: &mut Vec<Signal>) {
        for place in &mut self.places {
            if let Place::Lost(lost) = place
                && lost.is_joined
            {
                self.oddities.before_join += std::mem::take(&mut lost.passed) + lost.held.len() as u64;
                lost.held = Vec::new();
            }
        }
        self.finish(at, Some(how), out);
    }

    fn transcript(&mut self) -> Option<&mut Transcript> {
        Some(&mut self.transcript)
    }

    fn oddities(&mut self) -> Oddities {
        std::mem::take(&mut self.oddities)
    }

    fn held(&self) -> usize {
        let held = |place: &Place| match place {
            Place::Between(_) => 0,
            // Its question's name, beside itself.
            Place::In(_) => size_of::<Current>() + 1024,
            Place::Lost(lost) => lost.held.capacity(),
        };
        self.places.iter().map(held).sum::<usize>() + self.lookups.held()
    }
}
