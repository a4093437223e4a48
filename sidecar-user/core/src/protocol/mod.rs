//! Protocols: bytes in order to exchanges. A protocol is one folder and one row of [`ALL`].
//!
//! Parsing never fails. A parser yields signals, asks for more, or gives up; whatever it is given, it does not panic
//! and holds no more than its [`Limits`].
//!
//! A parser also says which of the bytes may be shown to others ([`Transcript`]): it has one, answers [`Parser::transcript`] with
//! it, and tells of each side's bytes in their order, every byte that was pushed once, when it knows what it is.
//! - [`Transcript::keep`]: what frames messages (lengths, types, delimiters, stream ids), and what of them is exported. The parser
//!   gives the bytes themselves, so that no miscount shows others.
//! - [`Transcript::hide`]: all else, bodies, literals, keys, values, credentials, what is passed over while the place is lost or
//!   is malformed. The filler keeps the message what it is: whoever reads the recorded bytes finds the same exchanges in them. So
//!   it is a digit in a number, and for what is no message a byte that begins none.
//! - [`Transcript::write`]: where others of another length stand for them: header blocks, statements.
//!
//! Bytes that it holds are not told of yet. When it has returned from `skipped`, `gap` (of the side's) or `close`, and when it
//! gives up, those that it has not told of are hidden, and must not be told of later. A parser that hands over lets its successor go on with its transcript
//! ([`Transcript::hand_over`]) before it gives it bytes. The conformance test checks that what is kept is what was pushed at its
//! place, and that nothing but what is held stays untold. `http1` shows how: in `shown.rs`, and where its `transcript` is told; its
//! tests read each conversation again as it is shown (`transcript/witness.rs`), and find the same exchanges.

#[cfg(test)]
mod conformance;
mod detect;
pub mod dns;
mod ends;
mod grpc;
mod http;
pub mod http1;
pub mod http2;
mod line;
pub mod memcached;
pub mod mysql;
mod pipelined;
pub mod postgres;
pub mod redis;
pub mod sql;
pub mod tls;
mod transcript;
mod trial;
pub mod websocket;
#[cfg(test)]
mod words;

pub use detect::{Detection, Detector};
pub use transcript::{Piece, Reel, Shown, TEXT, Transcript};

use std::sync::Arc;

use crate::model::{Exchange, Ktime, Message, PathPattern, Side, Start};

/// Every protocol that is understood. Their order means nothing.
pub const ALL: &[&Protocol] = &[
    &dns::PROTOCOL,
    &http1::PROTOCOL,
    &http2::PROTOCOL,
    &memcached::PROTOCOL,
    &mysql::PROTOCOL,
    &postgres::PROTOCOL,
    &redis::PROTOCOL,
    &tls::PROTOCOL,
    &websocket::PROTOCOL,
];

/// A row of the table.
#[derive(Debug)]
pub struct Protocol {
    /// Its name in metrics: `network.protocol.name` of the semantic conventions where they have one.
    pub name: &'static str,
    /// Is this it? Asked with the first bytes of both sides, as far as they have come; pure.
    pub detect: fn(client: &[u8], server: &[u8]) -> Detect,
    /// Ports that its servers have as a rule: where several rows say yes to the same bytes, the one that has the server's
    /// is taken.
    pub ports: &'static [u16],
    /// What becomes of a connection that speaks it.
    pub then: Then,
}

/// What becomes of a connection once its protocol is known.
#[derive(Clone, Copy, Debug)]
pub enum Then {
    /// A parser reads it.
    Parse(fn(Arc<Limits>, Birth) -> Box<dyn Parser>),
    /// A parser reads its beginning; the rest is encrypted, and so is all of it where its beginning was not seen.
    Handshake(fn(Arc<Limits>, Birth) -> Box<dyn Parser>),
}

/// Where in a connection's life the first bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Birth {
    /// Its beginning was seen: the first bytes are the protocol's first.
    Seen,
    /// It was met in the middle: the first bytes may be the middle of anything.
    Joined,
}

/// The answer of [`Protocol::detect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detect {
    /// Whatever comes, it is not.
    No,
    /// It may be; ask again when there is more.
    NeedMore,
    /// It is.
    Yes,
}

/// What a parser may hold and should keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest start line and header section that is held, bytes.
    pub head_bytes: usize,
    /// Requests without their response that are held per connection; see [`Limits::small`].
    pub outstanding: usize,
    /// What leaves the parser besides what metrics need.
    pub keep: Arc<Keep>,
}

impl Limits {
    /// Requests without their response that are held where next to nothing is held of each.
    #[must_use]
    pub fn small(&self) -> usize {
        self.outstanding.saturating_mul(32)
    }
}

/// What leaves a parser, and what is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// The target's path (spans and routes want it).
    pub paths: bool,
    /// And others may see it: in recordings it is shown.
    pub shown_paths: bool,
    /// Request headers, by name in lower case.
    pub request_headers: Vec<Arc<str>>,
    /// Response headers, by name in lower case.
    pub response_headers: Vec<Arc<str>>,
    /// Headers of B3 name a request's parent, where `traceparent` does not.
    pub b3: bool,
    /// Exchanges with these paths are marked as excluded.
    pub excluded: Vec<PathPattern>,
}

impl Default for Limits {
    fn default() -> Self {
        let keep = Arc::new(Keep { paths: true, shown_paths: true, ..Keep::default() });
        Limits { head_bytes: 16 * 1024, outstanding: 256, keep }
    }
}

/// What a parser has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "moved once and never kept: a box would be an allocation a request"
)]
pub enum Signal {
    /// A request began. Each is followed by one `Finished`.
    Started(Start),
    /// A request that was started and not finished is over, in whatever order.
    Finished(Exchange),
    /// A message of a stream.
    Message(Message),
}

/// What a parser made of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Step {
    /// Go on, or not.
    pub next: Next,
    /// How many more bytes are known to lie inside messages that the parser read or knows the length of. A head
    /// counts when its end has come, with what came of it in earlier calls; so it is over the connection's life, not
    /// in each call, that this never adds up to more than was given.
    pub explained: u64,
    /// What it wants to see of each side's bytes from here on ([`Side::index`]).
    pub want: [Want; 2],
}

/// Whether a parser goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Give me what comes.
    Continue,
    /// The connection speaks something else from here on (CONNECT), or was never this: no more calls but `close`.
    Opaque,
    /// It is encrypted from here on: no more calls but `close`.
    Encrypted,
    /// It speaks another protocol from here on (Upgrade): [`Parser::successor`] says who reads it.
    Become,
}

/// How much of a side's bytes a parser wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Nothing has shown yet: what there is now will do.
    Undecided,
    /// The beginning of each turn is enough: messages alternate.
    Heads,
    /// All of it.
    Stream,
    /// Nothing of the next n bytes: they are a body whose length is known. Then as before.
    Skip(u64),
}

/// One connection's parser. `at` is the time of the packet that brought the bytes.
pub trait Parser: Send {
    /// The next bytes of `side`, in order.
    fn push(&mut self, side: Side, at: Ktime, bytes: &[u8], out: &mut Vec<Signal>) -> Step;
    /// The next `n` bytes of `side` went by and were, by design, not copied.
    fn skipped(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) -> Step;
    /// The next `n` bytes of `side` were lost. Inside a body of known length this is as good as skipped.
    fn gap(&mut self, side: Side, at: Ktime, n: u64, out: &mut Vec<Signal>) -> Step;
    /// `side` sent its last byte (FIN).
    fn end(&mut self, side: Side, at: Ktime, out: &mut Vec<Signal>) -> Step;
    /// What it may hold, and what leaves it, from the next message on.
    fn limit(&mut self, limits: &Arc<Limits>);
    /// The connection is gone. Whatever was started is finished here.
    fn close(&mut self, at: Ktime, how: Close, out: &mut Vec<Signal>);
    /// Who goes on, once after [`Next::Become`].
    fn successor(&mut self) -> Option<Successor> {
        None
    }
    /// What of the bytes may be shown. `None`: nothing.
    fn transcript(&mut self) -> Option<&mut Transcript> {
        None
    }
    /// Counts of what was odd, by a reason from a fixed set, since the last call.
    fn oddities(&mut self) -> Oddities {
        Oddities::default()
    }
    /// Bytes of memory that it holds for the connection, besides itself. Bounded by its [`Limits`].
    fn held(&self) -> usize {
        0
    }
}

/// The parser of the protocol that a connection changed to. What came after the change in the same call has been given to it,
/// and its bytes are part of that call's [`Step`].
pub struct Successor {
    /// The row of the table.
    pub protocol: &'static Protocol,
    /// Who reads it.
    pub parser: Box<dyn Parser>,
    /// What it said so far.
    pub signals: Vec<Signal>,
}

/// How a connection went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// FIN from both sides, or the application closed it in order.
    Closed,
    /// RST, from this side.
    Reset(Side),
    /// One side acknowledged nothing until the other gave it up.
    Expired,
    /// It is no longer followed (a bound was reached, the daemon stops): nothing is known of its end.
    Forgotten,
}

/// Things a parser met that are not exchanges. Each is a counter's increment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Oddities {
    /// Responses to no known request (the connection was joined in the middle, or a request was lost).
    pub orphan_responses: u32,
    /// Heads that were not well-formed.
    pub malformed: u32,
    /// Heads longer than [`Limits::head_bytes`].
    pub oversized: u32,
    /// Requests past [`Limits::outstanding`].
    pub overflow: u32,
    /// Times that the parser lost its place and found it again.
    pub resyncs: u32,
    /// Bytes passed over, on a connection joined in the middle, before the first message boundary.
    pub before_join: u64,
    /// References to what was told before the connection was met, or in bytes that were lost: fields of a header table,
    /// prepared statements.
    pub unresolved: u32,
}

impl Oddities {
    /// Adds another's counts.
    pub fn add(&mut self, other: Oddities) {
        self.orphan_responses += other.orphan_responses;
        self.malformed += other.malformed;
        self.oversized += other.oversized;
        self.overflow += other.overflow;
        self.resyncs += other.resyncs;
        self.before_join += other.before_join;
        self.unresolved += other.unresolved;
    }
}
