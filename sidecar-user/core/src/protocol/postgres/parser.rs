//! The parser: goes through each side's bytes from message to message. Of bodies it keeps beginnings; statements are reduced
//! as they pass, the rest is passed over by its length.

use std::borrow::Cow;
use std::sync::Arc;

use super::ask::{Ask, Passed};
use super::evidence;
use super::exchanges::{Astray, Exchanges};
use super::message::{self, HEADER, NAME_MAX, STARTUP, Startup};
use super::shown::{self, NOTHING, Names};
use crate::model::{Ktime, Side};
use crate::protocol::sql::{Dialect, Summarizer, Summary};
use crate::protocol::{
    Birth, Close, Detect, Limits, Next, Oddities, Parser, Signal, Step, Successor, Then, Transcript, Want,
    tls,
};

/// A body of which more than this is left is not asked for.
const SKIP_FROM: u64 = 16 * 1024;
/// What is looked at to find a message in the middle of a connection.
const TRIAL: usize = 8 * 1024;
/// Turns in which none was found, after which it is given up.
const STRANGE: u32 = 64;
/// ReadyForQuery, but for its last byte.
const READY: [u8; HEADER] = [b'Z', 0, 0, 0, 5];

pub(super) struct Postgres {
    exchanges: Exchanges,
    readers: [Reader; 2],
    next: Next,
    explained: u64,
    /// Who sent the last bytes.
    spoke: Option<Side>,
    first_end: Option<Side>,
    /// No message was found yet, on a connection that was met in the middle.
    is_joining: bool,
    /// What the server sent last, while the place is lost, and whether it sent anything.
    tail: [u8; HEADER + 1],
    has_answered: bool,
    n_strange: u32,
    transcript: Transcript,
    /// Those that were shown under others.
    names: Names,
    successor: Option<Successor>,
}

#[derive(Debug, Default)]
struct Reader {
    place: Place,
    held: Vec<u8>,
    /// A body, as far as nothing was told of it in the transcript.
    untold: Vec<u8>,
    /// When the message that is being read began.
    since: Ktime,
}

#[derive(Debug, Default)]
enum Place {
    /// Before what a client begins with.
    Startup,
    /// Before the byte that answers a wish for encryption.
    Answer(Startup),
    #[default]
    Header,
    Body(Body),
    Lost,
}

#[derive(Debug)]
struct Body {
    kind: u8,
    /// With its header.
    bytes: u64,
    left: u64,
    /// How much of it is held.
    keeps: usize,
    /// What is held is as much as should be.
    is_whole: bool,
    /// All of it waits to be told of in the transcript.
    is_untold: bool,
    text: Text,
}

/// Where in a message with a statement it is.
#[derive(Debug)]
enum Text {
    /// There is none, or it has not begun: what comes is held.
    Before,
    Name,
    Query(Box<Summarizer>),
    Over(Summary),
}

/// A session's parameters, in the place of a type.
pub(super) const SESSION: u8 = 0;

impl Postgres {
    pub(super) fn new(limits: Arc<Limits>, birth: Birth) -> Self {
        let is_joining = birth == Birth::Joined;
        let mut readers = [Reader::default(), Reader::default()];
        if is_joining {
            readers.iter_mut().for_each(|reader| reader.place = Place::Lost);
        } else {
            readers[Side::Client.index()].place = Place::Startup;
        }
        Postgres {
            exchanges: Exchanges::new(limits, is_joining),
            readers,
            next: Next::Continue,
            explained: 0,
            spoke: None,
            first_end: None,
            is_joining,
            tail: [0; HEADER + 1],
            has_answered: false,
            n_strange: 0,
            transcript: Transcript::default(),
            names: Names::default(),
            successor: None,
        }
    }

    fn reader(&mut self, side: Side) -> &mut Reader {
        &mut self.readers[side.index()]
    }

    fn go_through(&mut self, side: Side, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) {
        let mut rest = bytes;
        while !rest.is_empty() && self.next == Next::Continue {
            let used = match self.readers[side.index()].place {
                Place::Startup => self.take_startup(at, rest, out),
                Place::Answer(wish) => self.take_answer(wish, rest, out),
                Place::Header => self.take_header(side, at, rest, out),
                Place::Body(_) => self.take_body(side, at, rest, out),
                Place::Lost => self.take_lost(side, at, rest, out),
            };
            rest = &rest[used..];
        }
        if self.next == Next::Become {
            self.hand_over(side, at, rest);
        }
    }

    /// Holds up to `n` bytes; how many were taken, and whether they are all there.
    fn hold(&mut self, side: Side, at: Ktime, bytes: &[u8], n: usize) -> (usize, bool) {
        let reader = self.reader(side);
        if reader.held.is_empty() {
            reader.since = at;
        }
        let used = bytes.len().min(n - reader.held.len());
        reader.held.extend_from_slice(&bytes[..used]);
        (used, reader.held.len() == n)
    }

    fn take_startup(&mut self, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) -> usize {
        let (used, is_whole) = self.hold(Side::Client, at, bytes, STARTUP);
        let reader = &mut self.readers[Side::Client.index()];
        let Some(first) = reader.held.first_chunk().copied().filter(|_| is_whole) else { return used };
        let Some((startup, len)) = message::startup(first) else {
            self.malformed(Side::Client, at, out);
            return used;
        };
        reader.held.clear();
        self.transcript.keep(Side::Client, &first);
        self.explained += STARTUP as u64;
        match startup {
            Startup::Session | Startup::Cancel => {
                let keeps = if startup == Startup::Session { len as usize } else { 0 };
                self.begin_body(Side::Client, SESSION, len.into(), len - STARTUP as u32, keeps, Text::Before);
            }
            Startup::Tls | Startup::Gss => {
                self.hide_untold(Side::Server);
                *self.reader(Side::Server) = Reader { place: Place::Answer(startup), ..Reader::default() };
            }
        }
        used
    }

    fn take_answer(&mut self, wish: Startup, bytes: &[u8], out: &mut Vec<Signal>) -> usize {
        self.reader(Side::Server).place = Place::Header;
        match bytes[0] {
            b'N' => {}
            b'S' if wish == Startup::Tls => self.next = Next::Become,
            b'G' if wish == Startup::Gss => self.next = Next::Encrypted,
            // A server that does not know the wish says so in a message.
            b'E' => return 0,
            _ => {
                self.transcript.hide(Side::Server, 1, NOTHING);
                self.malformed(Side::Server, self.readers[Side::Server.index()].since, out);
                return 1;
            }
        }
        self.transcript.keep(Side::Server, &bytes[..1]);
        self.explained += 1;
        1
    }

    fn take_header(&mut self, side: Side, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) -> usize {
        let (used, is_whole) = self.hold(side, at, bytes, HEADER);
        let reader = &mut self.readers[side.index()];
        let Some(header) = reader.held.first_chunk().copied().filter(|_| is_whole) else { return used };
        let Some(len) = message::body_len(side, header) else {
            self.malformed(side, at, out);
            return used;
        };
        reader.held.clear();
        self.transcript.keep(side, &header);
        self.explained += HEADER as u64;
        let kind = header[0];
        let (keeps, text) = match (side, kind) {
            (Side::Client, b'Q') => (0, Text::Query(Box::new(Summarizer::new(Dialect::PostgreSql)))),
            (Side::Client, b'P') => (0, Text::Name),
            (Side::Client, b'B') => (512, Text::Before),
            (Side::Client, b'E' | b'C') | (Side::Server, b'E') => (256, Text::Before),
            (Side::Server, b'C' | b'Z') => (64, Text::Before),
            _ => (0, Text::Before),
        };
        if (side, kind) == (Side::Client, b'Q') {
            let since = self.readers[side.index()].since;
            let done = self.exchanges.query_began(since, out);
            if self.is_astray(done, at, out) {
                return used;
            }
        }
        self.begin_body(side, kind, HEADER as u64 + u64::from(len), len, keeps, text);
        if len == 0 {
            self.message(side, at, out);
        }
        used
    }

    fn begin_body(&mut self, side: Side, kind: u8, bytes: u64, left: u32, keeps: usize, text: Text) {
        let keeps = keeps.min(self.exchanges.limits.head_bytes);
        let is_untold = self.transcript.is_recorded() && left as usize <= self.exchanges.limits.head_bytes;
        let body = Body { kind, bytes, left: left.into(), keeps, is_whole: true, is_untold, text };
        self.reader(side).place = Place::Body(body);
    }

    fn take_body(&mut self, side: Side, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) -> usize {
        let Reader { place, held, untold, .. } = &mut self.readers[side.index()];
        let Place::Body(body) = place else { return 0 };
        let used = bytes.len().min(usize::try_from(body.left).unwrap_or(usize::MAX));
        body.take(&bytes[..used], held);
        untold.extend_from_slice(if body.is_untold { &bytes[..used] } else { b"" });
        if !body.is_untold {
            self.transcript.hide(side, used as u64, NOTHING);
        }
        body.left -= used as u64;
        let is_over = body.left == 0;
        self.explained += used as u64;
        if is_over {
            self.message(side, at, out);
        }
        used
    }

    /// A message has passed to its end.
    fn message(&mut self, side: Side, at: Ktime, out: &mut Vec<Signal>) {
        let reader = &mut self.readers[side.index()];
        let Place::Body(body) = std::mem::take(&mut reader.place) else { return };
        let mut held = std::mem::take(&mut reader.held);
        let untold = std::mem::take(&mut reader.untold);
        shown::tell(&mut self.transcript, &mut self.names, side, body.kind, &untold);
        let passed = Passed { since: reader.since, at, bytes: body.bytes };
        let done = match side {
            Side::Client => self.of_client(body, &held, passed, out),
            Side::Server => self.exchanges.answered(body.kind, passed, &held, out),
        };
        if !self.is_astray(done, at, out) {
            held.clear();
            held.shrink_to(512);
            self.reader(side).held = held;
        }
    }

    fn of_client(
        &mut self,
        body: Body,
        held: &[u8],
        passed: Passed,
        out: &mut Vec<Signal>,
    ) -> Result<(), Astray> {
        let ask = match body.kind {
            SESSION => {
                self.exchanges.database = message::database(held).map(Into::into);
                return Ok(());
            }
            b'Q' => Ask::Query(Box::new(body.text.summary())),
            b'P' => {
                let name = held.get(..held.len().min(NAME_MAX)).filter(|_| body.is_whole);
                Ask::Parse(name.map(Cow::Borrowed), Box::new(body.text.summary()))
            }
            b'B' => Ask::Bind(message::text(held).and_then(|(portal, rest)| {
                Some([Cow::Borrowed(cut_off(portal)), Cow::Borrowed(cut_off(message::text(rest)?.0))])
            })),
            b'D' => Ask::Describe,
            b'E' => Ask::Execute(message::text(held).map(|(portal, _)| Cow::Borrowed(cut_off(portal)))),
            b'C' => Ask::Close(
                held.split_first()
                    .and_then(|(kind, name)| Some((*kind, Cow::Borrowed(cut_off(message::text(name)?.0))))),
            ),
            b'S' => Ask::Sync,
            b'F' => Ask::Function,
            b'd' | b'c' | b'f' => Ask::Data { is_end: body.kind != b'd' },
            _ => return Ok(()),
        };
        self.exchanges.asked(ask, passed, out)
    }

    /// Bytes passed that nobody saw.
    fn pass(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) {
        if n == 0 || self.next != Next::Continue {
            return;
        }
        let mut left = n;
        // What is not told of by now never is.
        let reader = self.reader(side);
        reader.untold.clear();
        if !matches!(reader.place, Place::Body(_)) {
            reader.held.clear();
        }
        if let Place::Body(body) = &mut self.reader(side).place {
            body.is_untold = false;
            let used = left.min(body.left);
            body.pass(used);
            left -= used;
            let is_over = body.left == 0;
            self.explained += used;
            if is_over {
                self.message(side, at, out);
            }
        }
        if left > 0 && self.next == Next::Continue {
            self.spoke = Some(side);
            self.lose(at, out);
            self.unread(left);
            if side == Side::Server {
                self.tail = [0; HEADER + 1];
            }
        }
    }

    fn malformed(&mut self, side: Side, at: Ktime, out: &mut Vec<Signal>) {
        self.exchanges.odd.malformed += 1;
        let n = self.readers[side.index()].held.len() as u64;
        // It never was this.
        if !self.exchanges.is_open {
            self.next = Next::Opaque;
            return;
        }
        self.lose(at, out);
        self.unread(n);
    }

    fn is_astray(&mut self, done: Result<(), Astray>, at: Ktime, out: &mut Vec<Signal>) -> bool {
        let is_astray = done == Err(Astray);
        if is_astray {
            self.exchanges.mistrust();
            self.lose(at, out);
        }
        is_astray
    }

    /// Where messages begin is not known any more, or which answers which.
    fn lose(&mut self, at: Ktime, out: &mut Vec<Signal>) {
        self.exchanges.forget(at, out);
        for side in [Side::Client, Side::Server] {
            self.hide_untold(side);
            *self.reader(side) = Reader { place: Place::Lost, ..Reader::default() };
        }
        self.tail = [0; HEADER + 1];
        self.has_answered = true;
    }

    /// What is not told of will not be shown.
    fn hide_untold(&mut self, side: Side) {
        let reader = &self.readers[side.index()];
        let untold = if let Place::Body(_) = reader.place { &reader.untold } else { &reader.held };
        self.transcript.hide(side, untold.len() as u64, NOTHING);
    }

    fn unread(&mut self, n: u64) {
        if self.is_joining {
            self.exchanges.odd.before_join += n;
        }
    }

    fn take_lost(&mut self, side: Side, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) -> usize {
        match side {
            Side::Client => return self.try_client(at, bytes, out),
            Side::Server => {
                self.has_answered = true;
                self.unread(bytes.len() as u64);
                // The client's place is found after it.
                let ready =
                    if is_ready(&bytes[bytes.len().saturating_sub(HEADER + 1)..]) { HEADER + 1 } else { 0 };
                let (before, ready) = bytes.split_at(bytes.len() - ready);
                self.transcript.hide(side, before.len() as u64, NOTHING);
                self.transcript.keep(side, ready);
                for byte in &bytes[bytes.len().saturating_sub(self.tail.len())..] {
                    self.tail.rotate_left(1);
                    *self.tail.last_mut().expect("it is not empty") = *byte;
                }
            }
        }
        bytes.len()
    }

    /// A client that begins to speak after the server was ready begins with a message.
    fn try_client(&mut self, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) -> usize {
        if self.has_answered && !is_ready(&self.tail) {
            self.transcript.hide(Side::Client, bytes.len() as u64, NOTHING);
            self.unread(bytes.len() as u64);
            return bytes.len();
        }
        let room = TRIAL.min(self.exchanges.limits.head_bytes);
        let is_first = self.reader(Side::Client).held.is_empty();
        let n = (self.readers[Side::Client.index()].held.len() + bytes.len()).min(room);
        let (used, _) = self.hold(Side::Client, at, bytes, n);
        let reader = &mut self.readers[Side::Client.index()];
        match evidence::chain(Side::Client, &reader.held) {
            Detect::Yes => {
                let (held, since) = (std::mem::take(&mut reader.held), reader.since);
                for reader in &mut self.readers {
                    reader.place = Place::Header;
                }
                self.exchanges.odd.resyncs += u32::from(!std::mem::take(&mut self.is_joining));
                self.exchanges.found();
                self.n_strange = 0;
                // A whole message in it began when its first byte came.
                let began = if is_first { at } else { since };
                let first = held.len() - used;
                self.go_through(Side::Client, began, &held[..first], out);
                self.go_through(Side::Client, at, &held[first..], out);
            }
            Detect::NeedMore if used > 0 && reader.held.len() < room => {}
            Detect::NeedMore | Detect::No => {
                let n = (reader.held.len() + bytes.len() - used) as u64;
                reader.held = Vec::new();
                self.transcript.hide(Side::Client, n, NOTHING);
                self.unread(n);
                self.no_message();
                return bytes.len();
            }
        }
        used
    }

    /// What was looked at will not become a message.
    fn drop_trial(&mut self) {
        if matches!(self.reader(Side::Client).place, Place::Lost) {
            let n = std::mem::take(&mut self.reader(Side::Client).held).len() as u64;
            self.transcript.hide(Side::Client, n, NOTHING);
            self.unread(n);
        }
    }

    /// The client's turn did not begin with one: its rest is waited out.
    fn no_message(&mut self) {
        self.tail = [0; HEADER + 1];
        self.has_answered = true;
        self.n_strange += 1;
        if self.n_strange > STRANGE {
            self.next = Next::Opaque;
        }
    }

    fn hand_over(&mut self, side: Side, at: Ktime, rest: &[u8]) {
        let (Then::Parse(open) | Then::Handshake(open)) = tls::PROTOCOL.then;
        let mut parser = open(Arc::clone(&self.exchanges.limits), Birth::Seen);
        let mut signals = Vec::new();
        self.transcript.hand_over(parser.as_mut());
        if !rest.is_empty() {
            self.explained += parser.push(side, at, rest, &mut signals).explained;
        }
        self.successor = Some(Successor { protocol: &tls::PROTOCOL, parser, signals });
    }

    fn step(&self) -> Step {
        let want = |side: Side| match &self.readers[side.index()].place {
            Place::Body(body) if body.left > SKIP_FROM && body.is_passed_over() => Want::Skip(body.left),
            _ => Want::Stream,
        };
        let want = [want(Side::Client), want(Side::Server)];
        Step { next: self.next, explained: self.explained, want }
    }
}

impl Reader {
    /// No message has begun that has not ended.
    fn is_between(&self) -> bool {
        matches!(self.place, Place::Header) && self.held.is_empty()
    }
}

impl Body {
    fn take(&mut self, bytes: &[u8], held: &mut Vec<u8>) {
        match &mut self.text {
            Text::Before => {
                let room = self.keeps.saturating_sub(held.len()).min(bytes.len());
                held.extend_from_slice(&bytes[..room]);
            }
            Text::Name => {
                let end = bytes.iter().position(|byte| *byte == 0);
                let name = &bytes[..end.unwrap_or(bytes.len())];
                let room = NAME_MAX.saturating_sub(held.len()).min(name.len());
                held.extend_from_slice(&name[..room]);
                if let Some(end) = end {
                    self.text = Text::Query(Box::new(Summarizer::new(Dialect::PostgreSql)));
                    self.take(&bytes[end + 1..], held);
                }
            }
            Text::Query(summarizer) => {
                let end = bytes.iter().position(|byte| *byte == 0);
                summarizer.push(&bytes[..end.unwrap_or(bytes.len())]);
                if end.is_some() {
                    self.text = Text::Over(std::mem::replace(&mut self.text, Text::Before).summary());
                }
            }
            Text::Over(_) => {}
        }
    }

    /// `n` bytes passed that nobody saw.
    fn pass(&mut self, n: u64) {
        self.left -= n;
        self.is_whole &= !matches!(self.text, Text::Name);
        if let Text::Query(_) | Text::Name = &self.text {
            let cut = match std::mem::replace(&mut self.text, Text::Before) {
                Text::Query(summarizer) => summarizer.cut(),
                _ => Summary::default(),
            };
            self.text = Text::Over(cut);
        }
        // What follows the hole is not what would have been held.
        self.keeps = 0;
    }

    /// Nothing of its rest is looked at.
    fn is_passed_over(&self) -> bool {
        match self.text {
            Text::Before => self.keeps == 0 || self.bytes - self.left > (self.keeps + HEADER) as u64,
            Text::Name | Text::Query(_) => false,
            Text::Over(_) => true,
        }
    }

    fn held(&self) -> usize {
        match &self.text {
            Text::Query(summarizer) => size_of::<Summarizer>() + summarizer.held(),
            Text::Before | Text::Name | Text::Over(_) => 0,
        }
    }
}

impl Text {
    /// What was understood of it; a text without its NUL has no end.
    fn summary(self) -> Summary {
        match self {
            Text::Query(summarizer) => summarizer.finish(),
            Text::Over(summary) => summary,
            Text::Before | Text::Name => Summary::default(),
        }
    }
}

/// What a server ends with before the client goes on.
fn is_ready(bytes: &[u8]) -> bool {
    matches!(bytes, [ready @ .., b'I' | b'T' | b'E'] if ready == READY)
}

fn cut_off(name: &[u8]) -> &[u8] {
    &name[..name.len().min(NAME_MAX)]
}

impl Parser for Postgres {
    fn push(&mut self, side: Side, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) -> Step {
        self.explained = 0;
        if bytes.is_empty() || self.next != Next::Continue {
            return self.step();
        }
        if self.spoke.replace(side) != Some(side) {
            // The server has spoken into what was looked at.
            self.drop_trial();
        }
        let is_between = self.readers.iter().all(Reader::is_between);
        let done = self.exchanges.speaks(side, at, is_between, out);
        self.is_astray(done, at, out);
        self.go_through(side, at, bytes, out);
        self.step()
    }

    fn skipped(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) -> Step {
        self.explained = 0;
        self.pass(side, at, n, out);
        self.step()
    }

    fn gap(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) -> Step {
        self.explained = 0;
        self.exchanges.lose(n);
        self.pass(side, at, n, out);
        self.step()
    }

    fn end(&mut self, side: Side, at: Ktime, out: &mut Vec<Signal>) -> Step {
        self.explained = 0;
        self.first_end.get_or_insert(side);
        if side == Side::Server {
            self.exchanges.cut(at, None, self.first_end, out);
        }
        self.step()
    }

    fn limit(&mut self, limits: &Arc<Limits>) {
        self.exchanges.limits = Arc::clone(limits);
    }

    fn close(&mut self, at: Ktime, how: Close, out: &mut Vec<Signal>) {
        self.drop_trial();
        self.exchanges.cut(at, Some(how), self.first_end, out);
    }

    fn successor(&mut self) -> Option<Successor> {
        self.successor.take()
    }

    fn transcript(&mut self) -> Option<&mut Transcript> {
        Some(&mut self.transcript)
    }

    fn oddities(&mut self) -> Oddities {
        std::mem::take(&mut self.exchanges.odd)
    }

    fn held(&self) -> usize {
        let of = |reader: &Reader| match &reader.place {
            Place::Body(body) => reader.held.capacity() + body.held(),
            _ => reader.held.capacity(),
        };
        let untold = self.readers.iter().map(|reader| reader.untold.capacity()).sum::<usize>();
        self.readers.iter().map(of).sum::<usize>() + untold + self.names.held() + self.exchanges.held()
    }
}
