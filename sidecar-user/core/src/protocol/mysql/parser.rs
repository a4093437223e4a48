//! The parser: where each side stands, and what its bytes are taken for.

use std::sync::Arc;

use super::answer::LOOKED_AT;
use super::commands::{Asking, Data};
use super::packet::{HEADER, Piece, Reader};
use super::queue::Queue;
use super::session::Session;
use super::shown::{NOTHING, Untold};
use super::statements::Statements;
use crate::model::{Ktime, Side};
use crate::protocol::ends::Ends;
use crate::protocol::{
    Birth, Close, Limits, Next, Oddities, Parser, Signal, Step, Successor, Then, Transcript, Want, tls,
};

/// One connection that speaks MySQL's protocol.
pub(super) struct Mysql {
    pub(super) limits: Arc<Limits>,
    pub(super) readers: [Reader; 2],
    pub(super) places: [Place; 2],
    pub(super) phase: Phase,
    pub(super) session: Session,
    /// The server's capabilities.
    pub(super) capabilities: u32,
    /// The client's current message.
    pub(super) asking: Asking,
    /// The beginning of the server's current message, where it comes in pieces.
    pub(super) heard: Vec<u8>,
    /// The rest of that beginning was not seen.
    pub(super) is_heard_cut: bool,
    pub(super) queue: Queue,
    pub(super) transcript: Transcript,
    pub(super) untold: [Untold; 2],
    /// What the client sends besides commands.
    pub(super) data: Option<Data>,
    pub(super) statements: Statements,
    pub(super) odd: Oddities,
    /// Bytes of this call that were explained.
    pub(super) explained: u64,
    pub(super) trial: Trial,
    /// Who sent the last bytes.
    pub(super) spoke: Option<Side>,
    pub(super) ends: Ends,
    /// When the client sent its last byte.
    pub(super) client_ended: Option<Ktime>,
    /// What becomes of it, where this parser goes no further.
    pub(super) over: Option<Next>,
    /// No boundary has been found, on a connection that was joined in the middle.
    pub(super) is_joining: bool,
    /// Commands were sent before others were answered: after a loss it cannot be told which answer is whose.
    pub(super) has_pipelined: bool,
    /// Times in a row that the place was not found again.
    pub(super) n_strange: u32,
    /// Who goes on.
    pub(super) successor: Option<Box<dyn Parser>>,
    successor_said: Vec<Signal>,
    successor_wants: [Want; 2],
}

/// How far the connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The server is to speak.
    Greeting,
    /// The client is to say who logs in.
    Login,
    /// Both go on with that.
    Authentication,
    Commands,
}

/// Whether a side's bytes are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Known,
    /// They may be: nothing is said of them before an answer has shown it.
    Trial,
    Lost,
}

/// What is on trial.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trial {
    /// Bytes of both sides.
    pub(super) bytes: u64,
    /// Of these, bytes of whole messages.
    pub(super) explained: u64,
}

/// A packet with less than this to come is not worth a verdict to the kernel,
const SKIP_FROM: u32 = 256 * 1024;
/// nor is a text with less, as it is not understood without its end.
const SKIP_TEXT_FROM: u32 = 1024 * 1024;

impl Mysql {
    pub(super) fn new(limits: Arc<Limits>, birth: Birth) -> Self {
        let is_joined = birth == Birth::Joined;
        let (place, phase) =
            if is_joined { (Place::Lost, Phase::Commands) } else { (Place::Known, Phase::Greeting) };
        Mysql {
            limits,
            readers: Default::default(),
            places: [place; 2],
            phase,
            session: Session::new(),
            capabilities: 0,
            asking: Asking::default(),
            heard: Vec::new(),
            is_heard_cut: false,
            queue: Queue::default(),
            transcript: Transcript::default(),
            untold: Default::default(),
            data: None,
            statements: Statements::default(),
            odd: Oddities::default(),
            explained: 0,
            trial: Trial::default(),
            spoke: None,
            ends: Ends::default(),
            client_ended: None,
            over: None,
            is_joining: is_joined,
            has_pipelined: false,
            n_strange: 0,
            successor: None,
            successor_said: Vec::new(),
            successor_wants: [Want::Undecided; 2],
        }
    }

    pub(super) fn reader(&mut self, side: Side) -> &mut Reader {
        &mut self.readers[side.index()]
    }

    pub(super) fn place(&self, side: Side) -> Place {
        self.places[side.index()]
    }

    /// A message of so many bytes was read to its end.
    pub(super) fn explain(&mut self, side: Side, n: u64) {
        match self.place(side) {
            Place::Trial => self.trial.explained += n,
            Place::Known | Place::Lost => self.explained += n,
        }
    }

    /// Takes from the beginning of `bytes` what belongs together; says how many bytes those are.
    fn take(&mut self, side: Side, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) -> usize {
        if self.place(side) == Place::Lost {
            self.transcript.hide(side, bytes.len() as u64, NOTHING);
            self.unread(bytes.len() as u64);
            return bytes.len();
        }
        let (used, piece) = self.reader(side).take(at, bytes);
        let n_payload = if let Piece::Payload { bytes, .. } = piece { bytes.len() } else { 0 };
        self.tell_piece(side, used - n_payload, &piece);
        if self.place(side) == Place::Trial {
            self.trial.bytes += used as u64;
        }
        match piece {
            Piece::Nothing => {}
            Piece::Broken => self.malformed(at, out),
            Piece::Payload { bytes, is_first, is_last } => match side {
                Side::Client => self.asked(at, bytes, is_first, is_last, out),
                Side::Server => self.heard(at, bytes, is_first, is_last, out),
            },
        }
        used
    }

    /// Lets TLS go on with what the client sends after these bytes.
    fn hand_over(&mut self, side: Side, at: Ktime, rest: &[u8]) {
        let (Then::Parse(open) | Then::Handshake(open)) = tls::PROTOCOL.then;
        let mut parser = open(Arc::clone(&self.limits), Birth::Seen);
        self.transcript.hand_over(parser.as_mut());
        if !rest.is_empty() {
            let step = parser.push(side, at, rest, &mut self.successor_said);
            self.explained += step.explained;
            self.successor_wants = step.want;
        }
        self.successor = Some(parser);
    }

    fn want(&self, side: Side) -> Want {
        let reader = &self.readers[side.index()];
        let left = reader.left();
        let is_known_by_now = reader.message().passed >= (HEADER + LOOKED_AT) as u64;
        let from = if side == Side::Client && self.asking.has_text() { SKIP_TEXT_FROM } else { SKIP_FROM };
        match self.place(side) {
            Place::Known if left >= from && is_known_by_now => Want::Skip(u64::from(left)),
            _ => Want::Stream,
        }
    }

    fn step(&self) -> Step {
        let want = match self.over {
            Some(_) => self.successor_wants,
            None => [self.want(Side::Client), self.want(Side::Server)],
        };
        Step { next: self.over.unwrap_or(Next::Continue), explained: self.explained, want }
    }

    /// `n` bytes passed that nobody saw.
    fn pass(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) -> Step {
        self.explained = 0;
        if n > 0 && self.over.is_none() {
            self.forget_untold(side);
            if self.spoke.replace(side) != Some(side) {
                self.turn(side, at, out);
            }
            self.passed(side, at, n, out);
        }
        self.step()
    }
}

impl Parser for Mysql {
    fn push(&mut self, side: Side, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) -> Step {
        self.explained = 0;
        if bytes.is_empty() || self.over.is_some() {
            return self.step();
        }
        if self.spoke.replace(side) != Some(side) {
            self.turn(side, at, out);
        }
        if side == Side::Server {
            self.greet(bytes);
        }
        let mut rest = bytes;
        while !rest.is_empty() && self.over.is_none() {
            let used = self.take(side, at, rest, out);
            rest = &rest[used..];
        }
        if self.over == Some(Next::Become) {
            self.hand_over(side, at, rest);
        }
        self.step()
    }

    fn skipped(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) -> Step {
        self.pass(side, at, n, out)
    }

    fn gap(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) -> Step {
        self.queue.lose(n);
        self.pass(side, at, n, out)
    }

    fn end(&mut self, side: Side, at: Ktime, out: &mut Vec<Signal>) -> Step {
        self.explained = 0;
        if self.over.is_none() {
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
        let parser = self.successor.take()?;
        let signals = std::mem::take(&mut self.successor_said);
        Some(Successor { protocol: &tls::PROTOCOL, parser, signals })
    }

    fn transcript(&mut self) -> Option<&mut Transcript> {
        Some(&mut self.transcript)
    }

    fn oddities(&mut self) -> Oddities {
        std::mem::take(&mut self.odd)
    }

    fn held(&self) -> usize {
        let untold = self.untold.iter().map(Untold::held).sum::<usize>();
        untold + self.heard.capacity() + self.asking.held() + self.queue.held() + self.statements.held()
    }
}
